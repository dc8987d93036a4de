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
 * Half of its lanes work in each pool (`ipam_pools.ts`).
 *
 * Addresses that a service gave are put on the loopback interface of the pods' network namespace, and taken
 * away before they are given back: a node that is asked for them, and sees that namespace, finds them in use.
 *
 * After `done` it waits for a line on standard input, releases what it holds, and ends. With `--check`
 * it reads all records instead, and prints what is allocated as JSON.
 *
 * A process that was killed has a successor: it is told what its forerunner held, and which handles it
 * had not done with, which are released first, as a runtime does with pods that it knows nothing of.
 *
 *     deno run -A ipam_process.ts --work '{"endpoints": [...], "node": "n1", "count": 100, "hold": 20}'
 */
import { Netns, RouteSocket } from "../../ffi/mod.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { IpamError } from "../../mod/ipam/errors.ts";
import { checkRecords } from "../../mod/ipam/testing/checks.ts";
import { NODES, texts } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { openEtcd } from "../../mod/store/etcd/mod.ts";
import { remoteStore } from "../../mod/store/remote.ts";
import { StoreError } from "../../mod/store/store.ts";
import { type Held, networkOf, type Standing } from "./ipam_log.ts";
import { NARROW_HOLD, type PoolName, poolOf, putPools } from "./ipam_pools.ts";
import { CallError, callService } from "./service_call.ts";

export interface ProcessOptions {
  /** Of an etcd; or the socket of a served store; or that of a node's service, and pods' namespace. */
  endpoints?: string[];
  socket?: string;
  service?: { socket: string; netns: string };
  node: string;
  /** Addresses to assign in all, and to hold at a time of the wide pool. */
  count: number;
  hold: number;
  /** Of its forerunner. */
  before?: Standing;
}

/** What is done at a time, each in its pool. */
const LANES: readonly PoolName[] = ["wide", "narrow", "wide", "narrow"];
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

/** What a runtime would run `tortie-ipam` for; of this pool, where one is named. */
function call(
  { socket, netns }: NonNullable<ProcessOptions["service"]>,
  command: string,
  handle: string,
  pool?: PoolName,
) {
  const ipam = { type: "tortie-ipam", ...(pool && { ipv4_pools: [pool] }) };
  return callService(socket, {
    plugin: "tortie-ipam",
    command,
    container: handle,
    netns,
    conf: { name: networkOf(handle), type: "tortie", ipam },
  });
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
const { endpoints, socket, service, node, count, hold, before }: ProcessOptions = JSON.parse(json);
const store = endpoints
  ? await openEtcd({ kind: "etcd", endpoints, tls: {} }, { lazily: true })
  : socket
  ? remoteStore(socket, { patienceMs: 5000 })
  : undefined;

if (store && mode === "--check") {
  if (count > 0) {
    await insist(() => putPools(store));
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
    assign: async (handle: string, pool: PoolName) =>
      texts(
        await ipam.assign({ num4: 1, host: node, handle, use: "Workload", pools4: [pool] }),
      )[0],
    release: (handle: string) => ipam.releaseByHandle(handle),
    wire: (_address: string, _there: boolean) => {},
  };
}

function byService(service: NonNullable<ProcessOptions["service"]>) {
  using pods = Netns.open(service.netns);
  const routes = RouteSocket.open(pods);
  return {
    assign: async (handle: string, pool: PoolName): Promise<string> =>
      (await call(service, "ADD", handle, pool)).ips[0].address.split("/")[0],
    release: (handle: string) => call(service, "DEL", handle),
    wire: (address: string, there: boolean) => {
      const one = { index: LOOPBACK, ip: mustIp(address), length: 32 };
      if (there) routes.addAddress(one);
      else routes.deleteAddress(one);
    },
  };
}

const held: Record<PoolName, Held[]> = { wide: [], narrow: [] };
for (const one of before?.held ?? []) held[poolOf(one.address)].push(one);
const least: Record<PoolName, number> = { wide: hold, narrow: NARROW_HOLD };
let started = before?.started ?? 0, assigned = before?.assigned ?? 0, unsure = 0;

async function assign(pool: PoolName): Promise<void> {
  const handle = `${node}.${++started}`;
  say(`try ${handle}`);
  try {
    const address = await addresses.assign(handle, pool);
    say(`got ${now()} ${handle} ${address}`);
    addresses.wire(address, true);
    held[pool].push({ handle, address });
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

async function release(pool: PoolName): Promise<void> {
  const of = held[pool];
  const [{ handle, address }] = of.splice(Math.floor(Math.random() * of.length), 1);
  addresses.wire(address, false);
  say(`free ${now()} ${handle} ${address}`);
  await giveBack(handle);
}

for (const handle of before?.loose ?? []) await giveBack(handle);
await Promise.all(LANES.map(async (pool) => {
  while (assigned < count) {
    const { length } = held[pool];
    if (length >= least[pool] && Math.random() < 0.6) await release(pool);
    else if (length < 2 * least[pool]) await assign(pool);
    else await release(pool);
  }
}));
for (const { handle, address } of [...held.wide, ...held.narrow]) say(`held ${handle} ${address}`);
say(`done ${assigned} ${unsure}`);
await Deno.stdin.read(new Uint8Array(16));
for (const pool of LANES) while (held[pool].length > 0) await release(pool);
await store?.close();
