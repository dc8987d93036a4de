/**
 * One node's IPAM on an etcd or a served store, as a process of its own: assigns and releases, and says
 * on standard output what it does and when (nanoseconds of the machine's monotonic clock, the same in
 * all):
 *
 *     try <handle>                       an address is asked for
 *     got <time> <handle> <address>      the address is this handle's from here
 *     free <time> <handle> <address>     from here it may be anybody's
 *     gone <handle>                      it has been released, and nothing is left of it
 *     unsure <handle> <why>              an assignment ended without an answer; it was then released
 *     held <handle> <address>            at the end: still this handle's
 *     done <assigned> <unsure>
 *
 * After `done` it waits for a line on standard input, releases what it holds, and ends. With `--check`
 * it reads all records instead, and prints what is allocated as JSON.
 *
 * A process that was killed has a successor: it is told what its forerunner held, and which handles it
 * had not done with, which are released first, as a runtime does with pods that it knows nothing of.
 *
 *     deno run -A ipam_process.ts --work '{"endpoints": [...], "node": "n1", "count": 100, "hold": 20}'
 */
import { Ipam } from "../../mod/ipam/ipam.ts";
import { IpamError } from "../../mod/ipam/errors.ts";
import { checkRecords } from "../../mod/ipam/testing/checks.ts";
import { NODES, POOLS, texts } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { openEtcd } from "../../mod/store/etcd/mod.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { StoreError } from "../../mod/store/store.ts";
import type { Held, Standing } from "./ipam_log.ts";

export interface ProcessOptions {
  /** Of an etcd; or the socket of a served store. */
  endpoints?: string[];
  socket?: string;
  node: string;
  /** Addresses to assign in all, and to hold at a time. */
  count: number;
  hold: number;
  /** Of its forerunner. */
  before?: Standing;
}

const LANES = 4;
const encoder = new TextEncoder();

function say(text: string): void {
  const bytes = encoder.encode(`${text}\n`);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

// The runtime's own clocks begin with its process, and no two could be compared.
const { symbols: libc } = Deno.dlopen("libc.so.6", {
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
});
const CLOCK_MONOTONIC = 1;
const time = new BigInt64Array(2);

function now(): bigint {
  if (libc.clock_gettime(CLOCK_MONOTONIC, time) !== 0) throw new Error("no monotonic clock");
  return time[0] * 1_000_000_000n + time[1];
}
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Passing trouble: the store is away, or others were quicker for too long. */
function passes(error: unknown): boolean {
  if (error instanceof StoreError) return error.kind === "unavailable";
  return error instanceof IpamError && (error.kind === "conflict" || error.kind === "draining");
}

async function insist<T>(run: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await run();
    } catch (error) {
      if (!passes(error)) throw error;
      await pause(50);
    }
  }
}

const [mode, json] = Deno.args[0] === "--work" ? Deno.args : ["--check", Deno.args[1]];
const { endpoints, socket, node, count, hold, before }: ProcessOptions = JSON.parse(json);
const store = endpoints
  ? await openEtcd({ kind: "etcd", endpoints, tls: {} }, { lazily: true })
  : remoteStore(socket!, { patienceMs: 5000 });

if (mode === "--check") {
  if (count > 0) {
    await insist(() =>
      store.put(resourceKey(POOLS, "p"), {
        metadata: { name: "p" },
        spec: { cidr: "10.0.0.0/12", blockSize: 26 },
      })
    );
    for (let i = 0; i < count; i++) {
      const name = `n${i}`;
      await insist(() => store.put(resourceKey(NODES, name), { metadata: { name } }));
    }
  }
  const { allocated, handles } = await insist(() => checkRecords(store));
  say(JSON.stringify({ allocated: [...allocated], handles: [...handles.keys()] }));
  await store.close();
  Deno.exit(0);
}

const ipam = new Ipam(store);
const held: Held[] = [...before?.held ?? []];
let started = before?.started ?? 0, assigned = before?.assigned ?? 0, unsure = 0;

async function assign(): Promise<void> {
  const handle = `${node}.${++started}`;
  say(`try ${handle}`);
  try {
    const [address] = texts(await ipam.assign({ num4: 1, host: node, handle, use: "Workload" }));
    say(`got ${now()} ${handle} ${address}`);
    held.push({ handle, address });
    assigned++;
  } catch (error) {
    if (!passes(error)) throw error;
    // As a runtime does with a pod whose ADD failed.
    unsure++;
    say(`unsure ${handle} ${(error as Error).message}`);
    await giveBack(handle);
  }
}

async function giveBack(handle: string): Promise<void> {
  await insist(() => ipam.releaseByHandle(handle));
  say(`gone ${handle}`);
}

async function release(): Promise<void> {
  const [{ handle, address }] = held.splice(Math.floor(Math.random() * held.length), 1);
  say(`free ${now()} ${handle} ${address}`);
  await giveBack(handle);
}

for (const handle of before?.loose ?? []) await giveBack(handle);
await Promise.all(Array.from({ length: LANES }, async () => {
  while (assigned < count) {
    if (held.length >= hold && Math.random() < 0.6) await release();
    else if (held.length < 2 * hold) await assign();
    else await release();
  }
}));
for (const { handle, address } of held) say(`held ${handle} ${address}`);
say(`done ${assigned} ${unsure}`);
await Deno.stdin.read(new Uint8Array(16));
while (held.length > 0) await release();
await store.close();
