/**
 * From a store event to the kernel, with the real node service: another client writes one object to
 * the datastore (a served store, over its socket), the service's watch, engine and dataplane follow,
 * and the time ends when the kernel tells of the commit (of the last family that the change concerns).
 * One address more in a set, one policy more, one endpoint more.
 *
 * The peers get the very same change of the very same table in the same namespace, as text: `nft -f -`,
 * one process a change, as network plugins that run nft do it; and one `nft -i` that lives on, which
 * spares the start of the process and keeps libnftables' cache. They know already what to change; our
 * times have the datastore and the policy's computation in them. Theirs, too, end when the kernel
 * tells of the commit.
 *
 *     deno task bench policy-changes
 *     deno run -A --unstable-kv tests/bench/policy_changes.ts [endpoints] [policies] [addresses]
 */
import { NftEvents } from "../../ffi/nft/events.ts";
import { openNftListener } from "../../ffi/nft/socket.ts";
import { createNetns, Netns } from "../../ffi/netns.ts";
import { reactor } from "../../ffi/reactor.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { endProcess, netnsPath } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import type { PolicyObject } from "../../policy/inputs.ts";
import type { Family, RulesetDelta } from "../../policy/rules.ts";
import { printDelta } from "../../policy/text.ts";
import { binary, pause, until, withLab } from "../cluster/harness.ts";
import { memoryOf } from "./memory.ts";
import { keyOf, PolicyWorld, putAll, type Size } from "./policy_world.ts";
import { ms, type Outcome, ratio, type Spread, spread, timed } from "./report.ts";

/** What is promised of the large size, milliseconds. */
const GOAL = 25;
export const SIZES: readonly Size[] = [
  { endpoints: 110, policies: 100, addresses: 100 },
  { endpoints: 1000, policies: 1000, addresses: 100 },
];
const ROUNDS = 200, PEER_ROUNDS = 100;

type Kind = "one address" | "one policy" | "one endpoint";

export interface ChangeFigures {
  readonly size: Size;
  readonly rules: number;
  readonly elements: number;
  /** MB. */
  readonly resident: number;
  /** How late the machine let this process's timers be, between the changes: its noise. */
  readonly noise: Spread;
  readonly ours: Record<Kind, Spread>;
  readonly nft: Record<Kind, Spread>;
  readonly nftInteractive: Record<Kind, Spread>;
}

/** Tells of commits that concern the table `calico`, by family. */
class Commits {
  readonly #events: NftEvents;
  readonly #registration: { close(): void };
  #waiting:
    | { families: Set<Family>; resolve: (at: number) => void; reject: (error: Error) => void }
    | undefined;
  #touched = new Set<Family>();

  constructor(netns: Netns) {
    const listener = openNftListener(netns);
    this.#events = new NftEvents(listener);
    this.#registration = reactor().add(listener.fd, { read: true }, () => this.#hear());
  }

  #hear(): void {
    this.#events.drain(-1, {
      changed: (family, table) => {
        if (table === "calico") this.#touched.add(family === "ip" ? 4 : 6);
      },
      committed: () => {
        for (const family of this.#touched) this.#waiting?.families.delete(family);
        this.#touched = new Set();
        if (this.#waiting?.families.size !== 0) return;
        this.#waiting.resolve(performance.now());
        this.#waiting = undefined;
      },
      // While the world comes in, nobody waits for any.
      lost: () => this.#waiting?.reject(new Error("notifications of commits were lost")),
    });
  }

  /** When these families have been committed to; rejects after 30 s. */
  next(families: Iterable<Family>): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("no commit within 30 s")), 30_000);
      this.#waiting = {
        families: new Set(families),
        reject,
        resolve: (at) => {
          clearTimeout(timer);
          resolve(at);
        },
      };
    });
  }

  close(): void {
    this.#registration.close();
    this.#events.close();
  }
}

/** Where the rest of a turn (routes, sysctls) and its own garbage are not in the next one's way. */
const BETWEEN = 30;

export async function measure(size: Size): Promise<ChangeFigures> {
  binary();
  let figures: ChangeFigures | undefined;
  await withLab({ subnets: "1", mesh: false }, async (lab) => {
    figures = await measureIn(lab, size);
  });
  return figures!;
}

async function measureIn(lab: Lab, size: Size): Promise<ChangeFigures> {
  const { namespace } = lab.node("node1");
  const world = new PolicyWorld(size);
  const netns = Netns.open(netnsPath(namespace));
  // Goes with the lab.
  createNetns(`${namespace}-pods`);
  const pods = Netns.open(netnsPath(`${namespace}-pods`));
  const store = remoteStore(lab.record.layout.storeSocket);
  const commits = new Commits(netns);
  try {
    const all = ROUNDS + 2 * PEER_ROUNDS;
    addLinks(netns, pods, world, size.endpoints + all);
    const objects = world.objects();
    await putAll(store, objects);
    // The same computation here: which families a change concerns, and what nft is to be given.
    const engine = new PolicyEngine({ nodeName: "node1" });
    engine.update(objects.map((put) => ({ put })));
    const { elements, rules } = count(engine);
    const makers: Record<Kind, (i: number) => PolicyObject> = {
      "one address": (i) => world.member(100_000 + i, world.setOf(i % size.policies)),
      "one policy": (i) => world.policy(size.policies + i),
      "one endpoint": (i) => world.endpoint(size.endpoints + i),
    };
    const kinds = Object.keys(makers) as Kind[];
    let next = ROUNDS;
    const deltasOf = (object: PolicyObject): RulesetDelta[] => {
      engine.update([{ put: object }]);
      return ([4, 6] as const).flatMap((family) => engine.changes(family) ?? []);
    };
    deltasOf(objects[0]);
    // What was written last is in the kernel: so is everything before it.
    const marker = world.member(99_999, world.setOf(0));
    const [{ sets }] = deltasOf(marker);
    await store.put(keyOf(marker), marker);
    const [set] = sets.keys(), address = world.addressOf(99_999);
    await until("all in the kernel", 180_000, async () => {
      await nft(namespace, ["get", "element", "ip", "calico", set, `{ ${address} }`]);
      return true;
    });
    await pause(2000);
    const prepare = async (kind: Kind, i: number) => {
      if (kind !== "one endpoint") return;
      // The pod is known long before its endpoint is.
      const pod = world.pod(size.endpoints + i);
      deltasOf(pod);
      await store.put(keyOf(pod), pod);
      await pause(BETWEEN);
    };
    const late: number[] = [];
    const breathe = async () => {
      const took = await timed(() => pause(BETWEEN));
      late.push(took - BETWEEN);
    };
    const ours = {} as Record<Kind, Spread>;
    for (const kind of kinds) {
      const times: number[] = [];
      for (let i = 0; i < ROUNDS; i++) {
        await prepare(kind, i);
        const object = makers[kind](i);
        const families = deltasOf(object).map((delta) => delta.family);
        const committed = commits.next(families);
        const began = performance.now();
        const written = store.put(keyOf(object), object);
        times.push(await committed - began);
        await written;
        await breathe();
      }
      ours[kind] = spread(times);
    }
    const resident = (await memoryOf(lab.record.processes.node1.pid, 0)).resident;
    // It would mend what others change.
    await endProcess(lab.record.processes.node1);

    const peer = async (run: (script: string) => Promise<unknown>) => {
      const figures = {} as Record<Kind, Spread>;
      const from = next;
      for (const kind of kinds) {
        const times: number[] = [];
        for (let i = from; i < from + PEER_ROUNDS; i++) {
          if (kind === "one endpoint") deltasOf(world.pod(size.endpoints + i));
          const deltas = deltasOf(makers[kind](i));
          const script = deltas.map((delta) => printDelta(delta)).join("");
          const committed = commits.next(deltas.map((delta) => delta.family));
          const began = performance.now();
          const ended = run(script);
          times.push(await committed - began);
          await ended;
        }
        figures[kind] = spread(times);
      }
      next += PEER_ROUNDS;
      return figures;
    };
    const nftFigures = await peer((script) => nft(namespace, ["-f", "-"], script));
    const interactive = new Deno.Command("ip", {
      args: ["netns", "exec", namespace, "nft", "-i"],
      stdin: "piped",
      stdout: "null",
      stderr: "inherit",
    }).spawn();
    const writer = interactive.stdin.getWriter();
    // A line is a transaction.
    const nftInteractive = await peer((script) =>
      writer.write(new TextEncoder().encode(`${script.trimEnd().replaceAll("\n", "; ")}\n`))
    );
    await writer.close();
    await interactive.status;
    return {
      size,
      rules,
      elements,
      resident,
      noise: spread(late),
      ours,
      nft: nftFigures,
      nftInteractive,
    };
  } finally {
    commits.close();
    await store.close();
    netns.close();
    pods.close();
  }
}

function count(engine: PolicyEngine): { rules: number; elements: number } {
  let rules = 0, elements = 0;
  for (const { chains, sets } of [engine.ruleset(4), engine.ruleset(6)]) {
    for (const chain of chains.values()) rules += chain.rules.length;
    for (const set of sets.values()) elements += set.members.size;
  }
  return { rules, elements };
}

/** The host's sides of pods' pairs; the other sides are all in one namespace, which nobody uses. */
function addLinks(node: Netns, pods: Netns, world: PolicyWorld, number: number): void {
  using socket = RouteSocket.open(node);
  for (let i = 0; i < number; i++) {
    const peer = { name: `e${i}`, netns: pods };
    socket.addLink({ kind: "veth", name: world.interfaceOf(i), peer });
  }
}

async function nft(namespace: string, args: string[], script?: string) {
  const child = new Deno.Command("ip", {
    args: ["netns", "exec", namespace, "nft", ...args],
    stdin: script === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  if (script !== undefined) {
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(script));
    await writer.close();
  }
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (code !== 0) throw new Error(`nft ${args.join(" ")}: ${text(stderr)} for ${script}`);
  return { stdout: text(stdout) };
}

export async function run(sizes: readonly Size[] = SIZES): Promise<Outcome> {
  const tables = [], failed: string[] = [];
  for (const size of sizes) {
    const f = await measure(size);
    const name =
      `${size.endpoints} endpoints, ${size.policies} policies, ${size.addresses} addresses`;
    const large = size.endpoints >= 1000;
    const worst = Math.max(...Object.values(f.ours).map((s) => s.p99));
    const verdict = `${worst <= GOAL ? "PASS" : "FAIL"}: p99 at most ${
      ms(worst)
    } ms (goal ${GOAL})`;
    if (large && worst > GOAL) failed.push(`${name}: ${verdict}`);
    tables.push({
      title: `Store event to kernel, ${name}; ms, and ours in relation to each peer`,
      columns: [
        ...["", "p50", "p99", "nft -f: p50", "ratio", "p99", "ratio"],
        ...["nft -i: p50", "ratio", "p99", "ratio"],
      ],
      rows: (Object.keys(f.ours) as Kind[]).map((kind) => {
        const ours = f.ours[kind];
        const beside = [f.nft[kind], f.nftInteractive[kind]].flatMap((peer) => [
          ...[ms(peer.p50), ratio(ours.p50, peer.p50)],
          ...[ms(peer.p99), ratio(ours.p99, peer.p99)],
        ]);
        return [kind, ms(ours.p50), ms(ours.p99), ...beside];
      }),
      notes: [
        `${f.rules} rules and ${f.elements} elements in both families; ${ROUNDS} changes of each ` +
        `kind, ${PEER_ROUNDS} by each peer; the service has ${
          ms(f.resident)
        } MB resident. Meanwhile a ` +
        `timer of an idle process was late by ${ms(f.noise.p50)} (p50), ${
          ms(f.noise.p99)
        } (p99) ms.`,
        ...(large ? [verdict] : []),
      ],
    });
  }
  return { tables, failed };
}

if (import.meta.main) {
  const [endpoints, policies, addresses] = Deno.args.map(Number);
  const sizes = endpoints ? [{ endpoints, policies, addresses }] : SIZES;
  const { render } = await import("./report.ts");
  for (const table of (await run(sizes)).tables) console.log(`${render(table)}\n`);
  Deno.exit();
}
