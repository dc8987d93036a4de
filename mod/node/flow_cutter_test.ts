import assert from "node:assert/strict";
import { type Flow, flowMatches, type FlowWish, IPS_EXPECTED } from "../../ffi/conntrack.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import type { ObjectRef, PolicyObject } from "../../policy/inputs.ts";
import { cutMark } from "../../policy/parameters.ts";
import { endpoint, kubernetesPolicy, namespace, pod } from "../../policy/testing.ts";
import { ipKey, mustIp } from "../net/mod.ts";
import { FlowCutter, type FlowTable, type Pass } from "./flow_cutter.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

/** A table in memory. */
class FakeTable implements FlowTable {
  flows: Flow[] = [];
  lists = 0;
  counts = 0;
  /** As if there were so many. */
  tracked: number | undefined;
  failures = 0;

  add(from: string, to: string, port: number, more: Partial<Flow> = {}): number {
    const [source, destination] = [mustIp(from), mustIp(to)];
    const id = this.flows.length;
    this.flows.push({
      original: { source, destination, protocol: 6, sourcePort: 1000 + id, destinationPort: port },
      reply: {
        source: destination,
        destination: source,
        protocol: 6,
        sourcePort: port,
        destinationPort: 1000 + id,
      },
      status: 0,
      timeout: 100,
      mark: 0x7,
      zone: 0,
      id,
      ...more,
    });
    return id;
  }

  count(): Promise<number> {
    this.counts++;
    return Promise.resolve(this.tracked ?? this.flows.length);
  }

  async visitFlows(
    { family, selection, among }: FlowWish,
    visit: (flows: Flow[]) => void,
    pause: () => Promise<void> | void,
  ): Promise<void> {
    this.lists++;
    if (this.failures-- > 0) throw new Error("no room");
    const mine = this.flows.filter((f) => {
      if (family && f.original.source.family !== family) return false;
      if (selection) return flowMatches(f, selection);
      return [f.original, f.reply].some(({ source }) => among!.has(ipKey(source)));
    });
    for (const flow of mine) {
      visit([flow]);
      await pause();
    }
  }

  setMarks(flows: readonly Flow[], value: number, mask: number): number {
    for (const { id, mark } of flows) {
      this.flows[id] = { ...this.flows[id], mark: (mark & ~mask) | (value & mask) };
    }
    return flows.length;
  }

  isCut(id: number): boolean {
    assert.equal(this.flows[id].mark & ~cutMark, 0x7, "others' bits stay");
    return (this.flows[id].mark & cutMark) !== 0;
  }
}

function world() {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const table = new FakeTable();
  const passes: Pass[] = [];
  const waiting: (() => void)[] = [];
  const down = new Set<string>();
  const cutter = new FlowCutter({
    engine,
    reading: table,
    writing: table,
    hostAddresses: () => [mustIp("192.0.2.1")],
    isUp: (name) => !down.has(name),
    log: silent,
    onPass: (pass) => {
      passes.push(pass);
      waiting.splice(0).forEach((go) => go());
    },
  });
  const put = (...objects: PolicyObject[]) => engine.update(objects.map((put) => ({ put })));
  const tell = () => {
    const deltas = [engine.changes(4), engine.changes(6)].filter((d) => d !== undefined);
    cutter.applied(deltas);
  };
  const passed = () => new Promise<void>((resolve) => waiting.push(resolve));
  return { engine, table, passes, down, cutter, put, tell, passed };
}

const only = (port: number) =>
  kubernetesPolicy("x", "only", {
    podSelector: { matchLabels: { app: "web" } },
    ingress: [{ ports: [{ port }] }],
  });

for (const tracked of [undefined, 100_000]) {
  const among = tracked ? "hundred thousand" : "few";
  Deno.test(`among ${among}, what is denied is cut, what is allowed again is let go, others are left alone`, async () => {
    const { table, passes, cutter, put, tell, passed } = world();
    table.tracked = tracked;
    put(
      namespace("x"),
      pod("x", "web", { app: "web" }),
      endpoint("x", "web", ["10.0.0.1", "fd00::1"]),
    );
    put(pod("x", "b", { app: "b" }), endpoint("x", "b", ["10.0.0.2"]), only(80));
    const open = table.add("10.9.9.9", "10.0.0.1", 80);
    const denied = table.add("10.9.9.9", "10.0.0.1", 22);
    const denied6 = table.add("fd09::9", "fd00::1", 22);
    const others = table.add("10.9.9.9", "10.0.0.2", 22);
    const host = table.add("192.0.2.1", "10.0.0.1", 22);
    const expected = table.add("10.9.9.9", "10.0.0.1", 22, { status: IPS_EXPECTED });
    tell();
    await passed();
    const cut = () => table.flows.map((_, id) => id).filter((id) => table.isCut(id));
    assert.deepEqual(cut(), [denied, denied6]);
    // One more look at the same, for what was under way; then nobody looks any more.
    const late = table.add("10.9.9.9", "10.0.0.1", 23);
    await passed();
    assert.deepEqual(cut(), [denied, denied6, late]);
    assert.equal(passes.length, 2);
    const { lists } = table;
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(table.lists, lists);
    put(only(22));
    tell();
    await passed();
    assert.deepEqual(cut(), [open, late]);
    assert.deepEqual([others, host, expected].filter((id) => table.isCut(id)), []);
    await cutter.close();
  });
}

Deno.test("a list is read once for both families; where nothing is tracked, none is", async () => {
  const { table, cutter, put, tell, passed } = world();
  put(
    namespace("x"),
    pod("x", "web", { app: "web" }),
    endpoint("x", "web", ["10.0.0.1", "fd00::1"]),
    only(80),
  );
  tell();
  await passed();
  assert.equal(table.lists, 0);
  table.add("10.9.9.9", "10.0.0.1", 80);
  await passed();
  assert.equal(table.lists, 1);
  await cutter.close();
});

Deno.test("an endpoint whose interface is not up is looked at the second time; one that is gone, never", async () => {
  const { engine, table, down, cutter, put, tell, passed } = world();
  const web = endpoint("x", "web", ["10.0.0.1"]);
  put(namespace("x"), pod("x", "web", { app: "web" }), web, only(80));
  down.add("calixweb");
  const denied = table.add("10.9.9.9", "10.0.0.1", 22);
  tell();
  await passed();
  assert.equal(table.lists, 0);
  await passed();
  assert.equal(table.lists, 1);
  assert(table.isCut(denied));
  const { counts } = table;
  const { apiVersion, kind, metadata } = web;
  engine.update([{ remove: { apiVersion, kind, ...metadata } as ObjectRef }]);
  tell();
  await passed();
  await passed();
  assert.deepEqual([table.lists, table.counts], [1, counts]);
  await cutter.close();
});

Deno.test("one whose second look falls together with another's first is looked at, up or not", async () => {
  const { table, down, cutter, put, tell, passed } = world();
  put(
    namespace("x"),
    pod("x", "web", { app: "web" }),
    endpoint("x", "web", ["10.0.0.1"]),
    only(80),
  );
  down.add("calixweb");
  const denied = table.add("10.9.9.9", "10.0.0.1", 22);
  tell();
  await passed();
  put(pod("x", "b", { app: "b" }), endpoint("x", "b", ["10.0.0.2"]));
  tell();
  await passed();
  assert(table.isCut(denied));
  await cutter.close();
});

Deno.test("a list that fails is read again, with all that came meanwhile", async () => {
  const { table, cutter, put, tell, passed } = world();
  put(
    namespace("x"),
    pod("x", "web", { app: "web" }),
    endpoint("x", "web", ["10.0.0.1"]),
    only(80),
  );
  const denied = table.add("10.9.9.9", "10.0.0.1", 22);
  table.failures = 1;
  tell();
  await passed();
  assert(table.isCut(denied));
  await cutter.close();
});

Deno.test("policy that moves on while a list is read is the one that counts", async () => {
  const { table, cutter, put, tell, passed } = world();
  put(
    namespace("x"),
    pod("x", "web", { app: "web" }),
    endpoint("x", "web", ["10.0.0.1"]),
    only(80),
  );
  const ids = Array.from({ length: 50 }, () => table.add("10.9.9.9", "10.0.0.1", 22));
  const setMarks = table.setMarks.bind(table);
  let marked = 0;
  table.setMarks = (flows, value, mask) => {
    if (value !== 0 && (marked += flows.length) === 1) put(only(22));
    return setMarks(flows, value, mask);
  };
  tell();
  await passed();
  assert.equal(marked, 1);
  tell();
  await passed();
  assert.deepEqual(ids.filter((id) => table.isCut(id)), []);
  await cutter.close();
});
