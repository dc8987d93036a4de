import assert from "node:assert/strict";
import { type Flow, flowMatches, type FlowWish } from "../../ffi/conntrack.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import { formatIp, ipKey, mustIp } from "../net/mod.ts";
import { ReleasedAddresses } from "./released_addresses.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

function endpoint(pod: string, container: string, ...ips: string[]): WorkloadEndpoint {
  return {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: `node1-k8s-${pod}-eth0`, namespace: "default" },
    spec: {
      orchestrator: "k8s",
      node: "node1",
      pod,
      endpoint: "eth0",
      containerID: container,
      interfaceName: `cali${pod}`,
      ipNetworks: ips.map((ip) => `${ip}/${ip.includes(":") ? 128 : 32}`),
    },
  };
}

const byKey = (endpoints: WorkloadEndpoint[]) =>
  new Map(endpoints.map((one) => [one.metadata.name, one]));

function world(seed: WorkloadEndpoint[] = []) {
  const flow = (from: string, to: string): Flow => {
    const [source, destination] = [mustIp(from), mustIp(to)];
    return {
      original: { source, destination, protocol: 17, sourcePort: 1, destinationPort: 2 },
      reply: {
        source: destination,
        destination: source,
        protocol: 17,
        sourcePort: 2,
        destinationPort: 1,
      },
      status: 0,
      timeout: 100,
      mark: 0,
      zone: 0,
      id: 0,
    };
  };
  const w = {
    flows: [] as Flow[],
    links: new Map<string, boolean>(),
    failing: false,
    failures: 0,
    /** Lists that fail before the next good one. */
    refusals: 0,
    /** Lists are answered when this is resolved. */
    held: undefined as Promise<void> | undefined,
    add: (from: string, to: string) => w.flows.push(flow(from, to)),
    names: () =>
      w.flows.map(({ original: o }) => `${formatIp(o.source)} ${formatIp(o.destination)}`),
  };
  const table = {
    count: () => Promise.resolve(w.flows.length),
    visitFlows: async (
      { family, selection, among }: FlowWish,
      visit: (flows: Flow[]) => void,
    ) => {
      if (w.failing || w.refusals-- > 0) throw new Error("no room");
      w.refusals = 0;
      await w.held;
      visit(w.flows.filter((f) => {
        if (family && f.original.source.family !== family) return false;
        if (selection) return flowMatches(f, selection);
        return [f.original, f.reply].some(({ source }) => among!.has(ipKey(source)));
      }));
    },
    forget: (gone: readonly Flow[]) => {
      w.flows = w.flows.filter((f) => !gone.includes(f));
      return gone.length;
    },
  };
  const released = new ReleasedAddresses({
    reading: table,
    writing: table,
    isUp: (name) => w.links.get(name),
    log: silent,
    onFailure: () => w.failures++,
  }, seed);
  /** With what nobody waits for. */
  const settle = async (endpoints: ReadonlyMap<string, WorkloadEndpoint>) => {
    await released.settle(endpoints);
    await released.idle();
  };
  return { w, released, settle };
}

Deno.test("connections go with the lease of their address, and no others", async () => {
  const { w, settle } = world();
  const [a, b] = [endpoint("a", "c1", "10.0.0.1", "fd00::1"), endpoint("b", "c2", "10.0.0.2")];
  w.links.set("calia", true).set("calib", true);
  await settle(byKey([a, b]));
  w.add("10.0.0.1", "10.9.9.9");
  w.add("10.9.9.9", "10.0.0.1");
  w.add("fd00::1", "fd09::9");
  w.add("10.0.0.2", "10.9.9.9");
  // Labels, ports, the object written anew: the same lease.
  await settle(byKey([{ ...a, metadata: { ...a.metadata, labels: { x: "y" } } }, b]));
  assert.equal(w.flows.length, 4);
  w.links.delete("calia");
  await settle(byKey([b]));
  assert.deepEqual(w.names(), ["10.0.0.2 10.9.9.9"]);
});

Deno.test("an object that is gone and comes back while the interface stands has lost nothing", async () => {
  const { w, settle } = world();
  const a = endpoint("a", "c1", "10.0.0.1");
  w.links.set("calia", true);
  await settle(byKey([a]));
  w.add("10.0.0.1", "10.9.9.9");
  await settle(byKey([]));
  assert.equal(w.flows.length, 1);
  await settle(byKey([a]));
  await settle(byKey([]));
  assert.equal(w.flows.length, 1);
  // Gone in earnest: told by the interface, in whatever turn that is seen.
  w.links.delete("calia");
  await settle(byKey([]));
  assert.equal(w.flows.length, 0);
});

Deno.test("the next holder of an address starts clean, and loses nothing once it runs", async () => {
  const { w, settle } = world();
  w.links.set("calia", true);
  await settle(byKey([endpoint("a", "c1", "10.0.0.1")]));
  w.add("10.0.0.1", "10.9.9.9");
  // One turn sees both: the old one gone, the new one not up yet.
  w.links.delete("calia");
  await settle(byKey([endpoint("b", "c2", "10.0.0.1")]));
  assert.equal(w.flows.length, 0);
  w.links.set("calib", true);
  w.add("10.0.0.1", "10.9.9.9");
  await settle(byKey([endpoint("b", "c2", "10.0.0.1")]));
  assert.equal(w.flows.length, 1);
  // The same pod's next sandbox, under the same interface's name.
  w.links.set("calib", false);
  await settle(byKey([endpoint("b", "c3", "10.0.0.1")]));
  assert.equal(w.flows.length, 0);
});

Deno.test("what went while nobody ran is cleared after; who is up already keeps what it has", async () => {
  const { w, settle } = world([
    endpoint("a", "c1", "10.0.0.1"),
    endpoint("b", "c2", "10.0.0.2"),
    endpoint("c", "c3", "10.0.0.3"),
  ]);
  w.links.set("calib", true).set("calid", true);
  for (const n of [1, 2, 3]) w.add(`10.0.0.${n}`, "10.9.9.9");
  await settle(byKey([endpoint("b", "c2", "10.0.0.2"), endpoint("d", "c4", "10.0.0.3")]));
  assert.deepEqual(w.names(), ["10.0.0.2 10.9.9.9", "10.0.0.3 10.9.9.9"]);
});

Deno.test("what could not be cleared is cleared at the next call", async () => {
  const { w, released, settle } = world();
  await settle(byKey([endpoint("a", "c1", "10.0.0.1")]));
  w.add("10.0.0.1", "10.9.9.9");
  w.failing = true;
  await settle(byKey([]));
  assert.equal(w.failures, 1, "it asks to be called");
  await assert.rejects(released.settle(byKey([])), /no room/);
  w.failing = false;
  await settle(byKey([]));
  assert.equal(w.flows.length, 0);
});

Deno.test("an address that two claimed is the other's when one goes, with its connections", async () => {
  const { w, settle } = world();
  const [a, b] = [endpoint("a", "c1", "10.0.0.1"), endpoint("b", "c2", "10.0.0.1", "10.0.0.2")];
  w.links.set("calia", true).set("calib", true);
  await settle(byKey([a, b]));
  w.add("10.0.0.1", "10.9.9.9");
  w.add("10.0.0.2", "10.9.9.9");
  w.links.delete("calib");
  await settle(byKey([a]));
  assert.deepEqual(w.names(), ["10.0.0.1 10.9.9.9"]);
  w.links.delete("calia");
  await settle(byKey([]));
  assert.deepEqual(w.names(), []);
});

Deno.test("one refusal of the kernel's leaves the next holder of an address nothing", async () => {
  const { w, settle } = world();
  w.links.set("calia", true);
  await settle(byKey([endpoint("a", "c1", "10.0.0.1")]));
  w.add("10.0.0.1", "10.9.9.9");
  w.refusals = 2;
  w.links.delete("calia");
  await settle(byKey([endpoint("b", "c2", "10.0.0.1")]));
  assert.deepEqual([w.refusals, w.flows.length], [0, 0]);
});

Deno.test("what becomes due while others are cleared is cleared after them", async () => {
  const { w, released, settle } = world();
  await settle(byKey([endpoint("a", "c1", "10.0.0.1"), endpoint("b", "c2", "10.0.0.2")]));
  w.add("10.0.0.1", "10.9.9.9");
  w.add("10.0.0.2", "10.9.9.9");
  const { promise, resolve } = Promise.withResolvers<void>();
  w.held = promise;
  await released.settle(byKey([endpoint("b", "c2", "10.0.0.2")]));
  await released.settle(byKey([]));
  const idle = released.idle();
  resolve();
  await idle;
  assert.deepEqual(w.names(), []);
});

Deno.test("what nobody has now is cleared beside all else, and before its next holder begins", async () => {
  const { w, released, settle } = world();
  w.links.set("calia", true);
  await settle(byKey([endpoint("a", "c1", "10.0.0.1")]));
  w.add("10.0.0.1", "10.9.9.9");
  const { promise, resolve } = Promise.withResolvers<void>();
  w.held = promise;
  w.links.delete("calia");
  await released.settle(byKey([]));
  assert.equal(w.flows.length, 1, "it is not waited for");
  let cleared = false;
  const next = released.settle(byKey([endpoint("b", "c2", "10.0.0.1")])).then(() => cleared = true);
  await new Promise((done) => setTimeout(done, 5));
  assert.equal(cleared, false);
  resolve();
  await next;
  assert.equal(w.flows.length, 0);
});
