/**
 * What processes of `ipam_process.ts` said, and the judgement of it: no address was two handles' at a
 * time, and what is held at the end is what they were given and did not give back.
 */
import assert from "node:assert/strict";
import { poolOf } from "./ipam_pools.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const HERE = new URL(".", import.meta.url).pathname;

/**
 * The network of a CNI call for this container, and the handle in the datastore. Several networks: a
 * service works on one call of an IPAM plugin at a time for each, and it waits for the end of the calling
 * process, which here goes on.
 */
export function networkOf(container: string): string {
  return `pods${Number(container.split(".")[1]) % 8}`;
}

/** Throws where the datastore has others than what is held, by address; services write networks too. */
export function assertRecorded(
  recorded: Iterable<[address: string, handle: string]>,
  held: ReadonlyMap<string, string>,
  byServices: boolean,
): void {
  const written = (handle: string) => byServices ? `${networkOf(handle)}.${handle}` : handle;
  const due = new Map([...held].map(([address, handle]) => [address, written(handle)] as const));
  assertSame(new Map(recorded), due, "the datastore", "the processes");
}

/** As deepEqual, which for thousands of entries that differ takes an hour to say how. */
function assertSame(
  one: ReadonlyMap<string, string>,
  other: ReadonlyMap<string, string>,
  says: string,
  say: string,
): void {
  const differ = [...new Set([...one.keys(), ...other.keys()])].sort()
    .filter((key) => one.get(key) !== other.get(key));
  const shown = differ.slice(0, 20).map((key) =>
    `${key}: ${says}: ${one.get(key) ?? "none"}, ${say}: ${other.get(key) ?? "none"}`
  );
  assert(differ.length === 0, `${differ.length} addresses differ:\n${shown.join("\n")}`);
}

export interface Held {
  readonly handle: string;
  readonly address: string;
}

/** Starts a process in a network namespace, or in ours. */
export function spawnIpam(mode: "--work" | "--check", options: unknown, netns?: string) {
  const words = [
    ...(netns ? ["ip", "netns", "exec", netns] : []),
    ...[Deno.execPath(), ...RUN_MODULE],
    ...[`${HERE}ipam_process.ts`, mode, JSON.stringify(options)],
  ];
  return new Deno.Command(words[0], {
    args: words.slice(1),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

/** What one process said, and the process. */
export class Speaker {
  readonly lines: string[] = [];
  done = false;
  killed = false;
  readonly ended: Promise<void>;

  constructor(readonly child: Deno.ChildProcess) {
    this.ended = this.#listen();
  }

  /** kill -9; what it had said is heard first. */
  async kill(): Promise<void> {
    this.killed = true;
    try {
      this.child.kill("SIGKILL");
    } catch { /* It has ended. */ }
    await this.ended;
    await this.child.stdin.close().catch(() => {});
  }

  /** Lets it go: it gives back what it holds, and ends. */
  async release(): Promise<void> {
    await this.child.stdin.close();
    await this.ended;
  }

  async #listen(): Promise<void> {
    let rest = "";
    const text = new TextDecoder();
    const complaint = new Response(this.child.stderr).text();
    for await (const chunk of this.child.stdout) {
      const lines = (rest + text.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop()!;
      this.lines.push(...lines);
      if (lines.some((line) => line.startsWith("done "))) this.done = true;
    }
    const { success } = await this.child.status;
    assert(success || this.killed, `a process ended by itself: ${await complaint}`);
  }
}

/** Where a process that was killed had come to, by its words: its successor goes on from there. */
export interface Standing {
  readonly held: readonly Held[];
  /** Handles of which it is not known whether they have an address: asked for, or being released. */
  readonly loose: readonly string[];
  readonly assigned: number;
  /** Number of the last handle. */
  readonly started: number;
}

export function standing(lines: readonly string[]): Standing {
  const held = new Map<string, string>();
  const loose = new Set<string>();
  let assigned = 0, started = 0;
  for (const line of lines) {
    const [word, ...rest] = line.split(" ");
    if (word === "try") {
      loose.add(rest[0]);
      started = Math.max(started, Number(rest[0].split(".")[1]));
    } else if (word === "got") {
      loose.delete(rest[1]);
      held.set(rest[1], rest[2]);
      assigned++;
    } else if (word === "free") {
      held.delete(rest[1]);
      loose.add(rest[1]);
    } else if (word === "gone") loose.delete(rest[0]);
  }
  return {
    held: [...held].map(([handle, address]) => ({ handle, address })),
    loose: [...loose],
    assigned,
    started,
  };
}

/** By process, all that it and its predecessors said; throws where it is not as it must be. */
export function judge(logs: readonly (readonly string[])[]) {
  const events: { at: bigint; got: boolean; handle: string; address: string }[] = [];
  const held = new Map<string, string>();
  let assigned = 0, narrow = 0, unsure = 0;
  for (const line of logs.flat()) {
    const [word, ...rest] = line.split(" ");
    if (word === "got" || word === "free") {
      const [at, handle, address] = rest;
      events.push({ at: BigInt(at), got: word === "got", handle, address });
      if (word === "got") assigned++;
      if (word === "got" && poolOf(address) === "narrow") narrow++;
    } else if (word === "held") held.set(rest[1], rest[0]);
    else if (word === "unsure") unsure++;
  }
  events.sort((a, b) => a.at < b.at ? -1 : 1);
  const owner = new Map<string, string>();
  for (const { got, handle, address } of events) {
    if (got) {
      const had = owner.get(address);
      assert.equal(had, undefined, `${address} was given twice, the second to ${handle}`);
      owner.set(address, handle);
    } else {
      if (owner.get(address) !== handle) {
        const said = logs.flat().filter((line) => line.split(" ").includes(handle));
        assert.fail(`${address} is not ${handle}'s: ${said.join("; ")}`);
      }
      owner.delete(address);
    }
  }
  assertSame(owner, held, "their log", "the processes at the end");
  // The others have met nobody.
  assert(narrow > assigned / 5, `${narrow} of ${assigned} addresses are of the narrow pool`);
  return { assigned, narrow, unsure, held };
}
