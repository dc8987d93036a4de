/**
 * One node's pods, as a process of its own: assigns and releases addresses, by an IPAM of its own on an
 * etcd or a served store, or by CNI calls of the IPAM plugin to a node's service. Says on standard output
 * what it does and when (nanoseconds of the machine's monotonic clock, the same in all):
 *
 *     try <handle>                       an address is asked for
 *     got <time> <handle> <address>      the address is this handle's from here
 *     free <time> <handle> <address>     from here it may be anybody's
 *     gone <handle>                      it has been released, and nothing is left of it
 *     unsure <handle> <why>              an assignment ended without an answer; it was then released
 *     held <handle> <address>            at the end: still this handle's
 *     done <assigned> <unsure>
 *
 * Addresses that a service gave are put on the loopback interface of the process's network namespace, and
 * taken away before they are given back: a node that is asked for them finds them in use.
 *
 * After `done` it waits for a line on standard input, releases what it holds, and ends. With `--check`
 * it reads all records instead, and prints what is allocated as JSON.
 *
 * A process that was killed has a successor: it is told what its forerunner held, and which handles it
 * had not done with, which are released first, as a runtime does with pods that it knows nothing of.
 *
 *     deno run -A ipam_process.ts --work '{"endpoints": [...], "node": "n1", "count": 100, "hold": 20}'
 */
import { RouteSocket } from "../../ffi/mod.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { IpamError } from "../../mod/ipam/errors.ts";
import { checkRecords } from "../../mod/ipam/testing/checks.ts";
import { NODES, POOLS, texts } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { openEtcd } from "../../mod/store/etcd/mod.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { StoreError } from "../../mod/store/store.ts";
import { type Held, networkOf, type Standing } from "./ipam_log.ts";
import { CallError, callService } from "./service_call.ts";

export interface ProcessOptions {
  /** Of an etcd; or the socket of a served store; or that of a node's service, and pods' namespace. */
  endpoints?: string[];
  socket?: string;
  service?: { socket: string; netns: string };
  node: string;
  /** Addresses to assign in all, and to hold at a time. */
  count: number;
  hold: number;
  /** Of its forerunner. */
  before?: Standing;
}

const LANES = 4;
/** Index of `lo` in every network namespace. */
const LOOPBACK = 1;
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
  if (error instanceof CallError) return error.code === undefined || error.code === 11;
  return error instanceof IpamError && (error.kind === "conflict" || error.kind === "draining");
}

/** What a runtime would run `tortie-ipam` for. */
const call = (
  { socket, netns }: NonNullable<ProcessOptions["service"]>,
  command: string,
  handle: string,
) =>
  callService(socket, {
    plugin: "tortie-ipam",
    command,
    container: handle,
    netns,
    conf: { name: networkOf(handle), type: "tortie", ipam: { type: "tortie-ipam" } },
  });

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
const { endpoints, socket, service, node, count, hold, before }: ProcessOptions = JSON.parse(json);
const store = endpoints
  ? await openEtcd({ kind: "etcd", endpoints, tls: {} }, { lazily: true })
  : socket
  ? remoteStore(socket, { patienceMs: 5000 })
  : undefined;

if (store && mode === "--check") {
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

/** How addresses are had. */
const addresses = store ? byIpam(new Ipam(store)) : byService(service!);

function byIpam(ipam: Ipam) {
  return {
    assign: async (handle: string) =>
      texts(await ipam.assign({ num4: 1, host: node, handle, use: "Workload" }))[0],
    release: (handle: string) => ipam.releaseByHandle(handle),
    wire: (_address: string, _there: boolean) => {},
  };
}

function byService(service: NonNullable<ProcessOptions["service"]>) {
  const routes = RouteSocket.open();
  return {
    assign: async (handle: string): Promise<string> =>
      (await call(service, "ADD", handle)).ips[0].address.split("/")[0],
    release: (handle: string) => call(service, "DEL", handle),
    wire: (address: string, there: boolean) => {
      const one = { index: LOOPBACK, ip: mustIp(address), length: 32 };
      if (there) routes.addAddress(one);
      else routes.deleteAddress(one);
    },
  };
}

const held: Held[] = [...before?.held ?? []];
let started = before?.started ?? 0, assigned = before?.assigned ?? 0, unsure = 0;

async function assign(): Promise<void> {
  const handle = `${node}.${++started}`;
  say(`try ${handle}`);
  try {
    const address = await addresses.assign(handle);
    say(`got ${now()} ${handle} ${address}`);
    addresses.wire(address, true);
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
  await insist(() => addresses.release(handle));
  say(`gone ${handle}`);
}

async function release(): Promise<void> {
  const [{ handle, address }] = held.splice(Math.floor(Math.random() * held.length), 1);
  addresses.wire(address, false);
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
await store?.close();
