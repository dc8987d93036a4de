import assert from "node:assert/strict";
import { PolicyEngine } from "../../policy/engine.ts";
import { blockKey, handleKey, resourceKey } from "../model/keys.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../model/workload_endpoint.ts";
import { HALF_WRITTEN, halfWritable } from "../ipam/testing/half_written.ts";
import { mustPrefix } from "../net/mod.ts";
import { memoryStore } from "../store/memory.ts";
import { ManualClock } from "../store/testing.ts";
import { StoreError } from "../store/store.ts";
import { Agent, type AgentParts } from "./agent.ts";
import { type Failure, Reconciler } from "./reconciler.ts";
import { ClusterState } from "./state.ts";
import { block } from "./testing/world.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };

function endpoint(pod: string, container = "c1", node = "node1"): WorkloadEndpoint {
  return {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: `${node}-k8s-${pod}-eth0`, namespace: "default" },
    spec: {
      orchestrator: "k8s",
      node,
      pod,
      endpoint: "eth0",
      containerID: container,
      interfaceName: `cali${pod}`,
      ipNetworks: ["10.244.0.7/32"],
    },
  };
}

const keyOf = (e: WorkloadEndpoint) =>
  resourceKey(workloadEndpointKind, e.metadata.name, e.metadata.namespace);

/** An agent on a store in memory, with a dataplane that can be held up or made to fail. */
function world(parts: Partial<AgentParts> = {}) {
  const store = halfWritable(memoryStore());
  const calls: string[] = [];
  let gate: Promise<void> = Promise.resolve();
  let failing: string | undefined;
  let failures: Failure[] = [];
  const apply = async (what: string) => {
    calls.push(what);
    await gate;
    if (failing) throw new Error(failing);
  };
  const agent = new Agent({
    store,
    state: new ClusterState("node1"),
    engine: new PolicyEngine({ nodeName: "node1" }),
    dataplane: { apply: () => apply("apply"), resync: () => apply("resync") },
    kernel: { apply: () => Promise.resolve(failures), resync: () => calls.push("kernel resync") },
    log: silent,
    ...parts,
  });
  agent.start();
  return {
    store,
    agent,
    calls,
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      gate = promise;
      return resolve;
    },
    fail: (message?: string) => failing = message,
    kernelFails: (list: Failure[]) => failures = list,
    async end() {
      await agent.stop();
      await store.close();
    },
  };
}

const soon = async (isSo: () => boolean) => {
  for (let i = 0; i < 400 && !isSo(); i++) await new Promise((r) => setTimeout(r, 5));
  assert.ok(isSo());
};

Deno.test("the first turn reads the kernel, later ones apply what has changed", async () => {
  const w = world();
  await soon(() => w.agent.report().ready);
  assert.deepEqual(w.calls, ["resync", "kernel resync"]);
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  await soon(() => w.agent.programmedEndpoints.size === 1);
  assert.equal(w.calls.at(-1), "apply");
  await w.end();
});

Deno.test("before it is started, whoever waits hears what it waits for", async () => {
  const store = memoryStore();
  const agent = new Agent({
    store,
    state: new ClusterState("node1"),
    engine: new PolicyEngine({ nodeName: "node1" }),
    dataplane: { apply: () => Promise.resolve(), resync: () => Promise.resolve() },
    kernel: { apply: () => Promise.resolve([]), resync() {} },
    log: silent,
  });
  agent.waits("the Node cannot be written");
  assert.equal(agent.report().store.error, "the Node cannot be written");
  await assert.rejects(
    agent.programmed(endpoint("a"), AbortSignal.abort()),
    /Node cannot be written/,
  );
  await store.close();
});

Deno.test("what a pod of another node changes in IPAM makes no turn", async () => {
  let turns = 0;
  const state = new ClusterState("node1");
  const w = world({ state, onTurn: () => turns++ });
  const put = (cidr: string, node: string, given = {}) =>
    w.store.put(blockKey(mustPrefix(cidr)), block(cidr, { node, given }));
  await put("10.0.0.0/26", "node2");
  // It comes with the first list or a moment later.
  await soon(() => state.blocks.size === 1 && turns > 0 && !w.agent.report().busy);
  const before = turns;
  for (const n of [1, 2, 3]) {
    await w.store.put(handleKey(`net.c${n}`), { block: { "10.0.0.0/26": 1 } });
    await put("10.0.0.0/26", "node2", { [`10.0.0.${n}`]: "node2" });
  }
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  await soon(() => w.agent.programmedEndpoints.size === 1);
  assert.equal(turns, before + 1);
  // One that a node has borrowed has a route of its own.
  await put("10.0.0.0/26", "node2", { "10.0.0.9": "node3" });
  await soon(() => turns === before + 2);
  await w.end();
});

Deno.test("an endpoint is programmed only when a turn that knew it is over", async () => {
  const w = world();
  await soon(() => w.agent.report().ready);
  const open = w.hold();
  const waiting = w.agent.programmed(endpoint("a"), new AbortController().signal);
  let done = false;
  waiting.then(() => done = true);
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  await new Promise((r) => setTimeout(r, 50));
  assert.equal(done, false);
  open();
  await waiting;
  // The same pod in another container is another attachment.
  const abort = new AbortController();
  const other = w.agent.programmed(endpoint("a", "c2"), abort.signal);
  abort.abort();
  await assert.rejects(other, /policy of endpoint default\/node1-k8s-a-eth0 is not in place/);
  await w.end();
});

Deno.test("a turn that failed is told and tried again, and nobody is let through meanwhile", async () => {
  const w = world();
  await soon(() => w.agent.report().ready);
  w.fail("no room");
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  await soon(() => w.agent.report().errors.length > 0);
  assert.deepEqual(w.agent.report().errors, ["policy: no room"]);
  assert.equal(w.agent.programmedEndpoints.size, 0);
  w.fail(undefined);
  await w.agent.programmed(endpoint("a"), AbortSignal.timeout(5000));
  await soon(() => w.agent.report().errors.length === 0);
  await w.end();
});

Deno.test("what policy failed to take in is not lost", async () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const w = world({ engine });
  await soon(() => w.agent.report().ready);
  engine.update = () => {
    throw new Error("boom");
  };
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  await soon(() => w.agent.report().errors.includes("policy: boom"));
  await w.store.create(keyOf(endpoint("b")), endpoint("b"));
  await new Promise((r) => setTimeout(r, 20));
  assert.equal(w.agent.programmedEndpoints.size, 0);
  Reflect.deleteProperty(engine, "update");
  await w.agent.programmed(endpoint("a"), AbortSignal.timeout(20_000));
  assert.deepEqual([...engine.endpoints()].map(({ pod }) => pod).sort(), ["a", "b"]);
  await w.end();
});

Deno.test("what the kernel refuses keeps no endpoint from being programmed", async () => {
  const w = world();
  const due = performance.now() + 50;
  w.kernelFails([{ kind: "route", key: "10.0.0.0/26", error: new Error("refused"), due }]);
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  await w.agent.programmed(endpoint("a"), AbortSignal.timeout(5000));
  await soon(() => w.agent.report().errors.length > 0);
  assert.deepEqual(w.agent.report().errors, ["route 10.0.0.0/26: refused"]);
  w.kernelFails([]);
  await soon(() => w.agent.report().errors.length === 0);
  await w.end();
});

Deno.test("endpoints of other nodes are no business of this one", async () => {
  const w = world();
  await w.store.create(keyOf(endpoint("b", "c", "node2")), endpoint("b", "c", "node2"));
  await soon(() => w.agent.report().ready);
  assert.equal(w.agent.programmedEndpoints.size, 0);
  await w.end();
});

Deno.test("what is no object is as if it were not there, told, and in nobody's way", async () => {
  const state = new ClusterState("node1");
  const w = world({ state });
  const other = endpoint("b"), block = "/calico/ipam/v2/assignment/ipv4/block/10.244.0.0-26";
  await w.store.put(keyOf(endpoint("a")), endpoint("a"));
  await soon(() => state.endpoints.size === 1);
  for (const value of [null, 1, "x", true, []]) {
    await w.store.put(keyOf(endpoint("a")), value);
    await w.store.put(block, value);
    await w.store.put("/calico/resources/v3/projectcalico.org/globalnetworkpolicies/p", value);
  }
  await w.store.put(keyOf(other), other);
  await soon(() => state.endpoints.has(keyOf(other)));
  assert.deepEqual([...state.endpoints.keys()], [keyOf(other)]);
  assert.match(state.broken.get(block)!, /damaged: the value is no object; .*ipam check/);
  assert.ok(w.agent.report().store.ok);
  await w.end();
});

Deno.test("a damaged block of another node is told once, and mended when it is", async () => {
  const told: unknown[] = [];
  const warn = (_: string, data?: Record<string, unknown>) => told.push(data?.key);
  let turns = 0;
  const state = new ClusterState("node1");
  const w = world({ state, log: { ...silent, warn }, onTurn: () => turns++ });
  await soon(() => w.agent.report().ready);
  const key = blockKey(mustPrefix("10.0.0.0/26"));
  const sound = block("10.0.0.0/26", { node: "node2" });
  await w.store.put(key, { ...sound, affinity: 5 });
  await w.store.put(key, { ...sound, affinity: 5, unallocated: [1] });
  await soon(() => state.broken.has(key));
  await w.store.put(key, sound);
  await soon(() => !state.broken.has(key) && turns > 1);
  assert.deepEqual(told, [key]);
  assert.deepEqual(w.agent.report().errors, []);
  await w.end();
});

Deno.test("a change that makes us stumble is told, and the next one is taken", async () => {
  const state = new ClusterState("node1");
  const snapshot = {
    note(key: string) {
      if (key.endsWith("/poison")) throw new Error("stumbled");
    },
    complete() {},
  };
  const w = world({ state, snapshot });
  const poison = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/poison";
  await w.store.put(poison, {});
  await w.store.put(keyOf(endpoint("a")), endpoint("a"));
  await soon(() => state.endpoints.size === 1);
  assert.equal(state.broken.get(poison), "stumbled");
  assert.ok(w.agent.report().store.ok);
  await w.end();
});

Deno.test("a locked datastore freezes the kernel until it is unlocked", async () => {
  const w = world();
  await soon(() => w.agent.report().ready);
  const key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
  const info = (datastoreReady: boolean) => ({
    kind: "ClusterInformation",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "default" },
    spec: { datastoreReady },
  });
  await w.store.put(key, info(false));
  await soon(() => w.agent.report().locked !== undefined);
  const before = w.calls.length;
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  const abort = new AbortController();
  const waiting = w.agent.programmed(endpoint("a"), abort.signal);
  await new Promise((r) => setTimeout(r, 100));
  assert.equal(w.calls.length, before, "no turn while it is locked");
  abort.abort();
  await assert.rejects(
    waiting,
    /the datastore is locked \(ClusterInformation default has datastoreReady false\)/,
  );
  await w.store.put(key, info(true));
  await w.agent.programmed(endpoint("a"), AbortSignal.timeout(5000));
  assert.equal(w.agent.report().locked, undefined);
  await w.end();
});

Deno.test("a lock that was seen stays while ClusterInformation is gone, half-written or says nothing", async () => {
  const key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
  const says = (spec: unknown) => ({ metadata: { name: "default" }, spec });
  const w = world();
  await soon(() => w.agent.report().ready);
  await w.store.put(key, says({ datastoreReady: false }));
  const why = "ClusterInformation default has datastoreReady false";
  await soon(() => w.agent.report().locked === why);
  const before = w.calls.length;
  const since = async (change: () => Promise<unknown>) => {
    await change();
    // By the time that a later change is known, this one is.
    const { key, value } = { key: keyOf(endpoint("a")), value: endpoint("a", crypto.randomUUID()) };
    await w.store.put(key, value);
    const abort = new AbortController();
    const waiting = w.agent.programmed(value, abort.signal);
    await new Promise((r) => setTimeout(r, 60));
    assert.equal(w.calls.length, before, "no turn while it is locked");
    abort.abort();
    await assert.rejects(waiting, /the datastore is locked .* until .*migrate unlock/);
  };
  await since(() => w.store.put(key, HALF_WRITTEN));
  assert.match(w.agent.report().locked!, /cannot be read: it is not JSON/);
  await since(() => w.store.delete(key));
  for (const spec of [{}, { datastoreReady: "maybe" }, { datastoreReady: null }, null, "text"]) {
    await since(() => w.store.put(key, says(spec)));
  }
  await since(() => w.store.delete(key));
  await w.store.put(key, says({ datastoreReady: true }));
  await soon(() => w.calls.length > before);
  assert.equal(w.agent.report().locked, undefined);
  // Where it is ready and then gone, it is ready still.
  await w.store.delete(key);
  await w.store.put(keyOf(endpoint("b")), endpoint("b"));
  await w.agent.programmed(endpoint("b"), AbortSignal.timeout(5000));
  await w.end();
});

/** A clock that is moved by hand, and a log that is kept. */
function timed() {
  const clock = new ManualClock();
  const lines: string[] = [];
  const log = {
    ...silent,
    warn: (message: string, data?: Record<string, unknown>) =>
      void lines.push(`${message}: ${data?.error} (${data?.times})`),
  };
  /** Whatever runs by promises and the machine's own timers comes to rest. */
  const rest = async () => {
    for (let i = 0; i < 3; i++) await new Promise((r) => setTimeout(r, 1));
  };
  /** Moves on step by step, so that each turn has ended before the next moment. */
  const pass = async (milliseconds: number, step: number) => {
    for (let at = 0; at < milliseconds; at += step) {
      await clock.advance(step);
      await rest();
    }
  };
  return { clock, lines, log, pass, rest };
}

Deno.test("a repair that fails and is an event itself is tried after pauses, and told once", async () => {
  const { clock, lines, log, pass, rest } = timed();
  const tried: number[] = [];
  const beside: number[] = [];
  let turns = 0;
  const actual = new Map<string, string>([["mtu", "1450"]]);
  const reconciler = new Reconciler<string>({
    name: "tunnel device",
    read: () => new Map(actual),
    same: (a, b) => a === b,
    put(key) {
      if (key === "other") return void beside.push(clock.monotonicMs());
      tried.push(clock.monotonicMs());
      // The kernel tells of the attempt, and refuses it. (Not for ever, where we take the bait.)
      if (tried.length < 500) {
        queueMicrotask(() => {
          reconciler.observed(key, "1450");
          w.agent.touch();
        });
      }
      throw new Error("EINVAL");
    },
    remove() {},
  }, clock);
  reconciler.want("mtu", "1500");
  const kernel = {
    apply() {
      turns++;
      return reconciler.apply();
    },
    resync: () => reconciler.resync(),
  };
  const w = world({ clock, log, kernel, resyncSeconds: () => 0 });
  await soon(() => w.agent.report().ready);
  await rest();
  await pass(3000, 100);
  await pass(22_000, 1000);
  assert.deepEqual(tried, [0, 100, 600, 2600, 12_600, 22_600]);
  assert.ok(turns <= 2 * tried.length + 3, `${turns} turns`);
  assert.equal(
    lines.filter((line) => line.startsWith("not done yet")).length,
    2,
    `at once and after 10 s: ${lines.join("; ")}`,
  );
  assert.deepEqual(w.agent.report().errors, ["tunnel device mtu: EINVAL"]);
  // What comes meanwhile is done at once, and endpoints are programmed.
  reconciler.want("other", "1");
  w.agent.touch();
  await rest();
  assert.equal(beside.length, 1);
  await w.store.create(keyOf(endpoint("a")), endpoint("a"));
  await w.agent.programmed(endpoint("a"), AbortSignal.timeout(5000));
  assert.equal(tried.length, 6);
  await w.end();
});

Deno.test("a part of a turn that fails is left alone by events until it is due", async () => {
  const { clock, log, lines, pass, rest } = timed();
  let fails = false;
  const calls = { policy: 0, kernel: 0, bgp: 0 };
  const part = (name: keyof typeof calls) => () => {
    calls[name]++;
    if (!fails) return;
    // Each failure makes an event, as if something had changed.
    if (calls[name] < 500) queueMicrotask(() => w.agent.touch());
    throw new Error(`${name} stumbled`);
  };
  const policy = () => Promise.resolve().then(part("policy"));
  const w = world({
    ...{ clock, log },
    resyncSeconds: () => 0,
    dataplane: { apply: policy, resync: policy },
    kernel: {
      apply: () => Promise.resolve().then(part("kernel")).then(() => []),
      resync() {},
    },
    bgp: { update: part("bgp") },
  });
  await soon(() => w.agent.report().ready);
  await rest();
  fails = true;
  const before = { ...calls };
  w.agent.touch();
  await rest();
  await pass(3000, 100);
  await pass(27_000, 1000);
  for (const name of ["policy", "kernel", "bgp"] as const) {
    assert.equal(calls[name] - before[name], 6, `${name}: at 0, 0.1, 0.6, 2.6, 12.6 and 22.6 s`);
  }
  assert.ok(lines.length <= 6, lines.join("; "));
  fails = false;
  await pass(10_000, 1000);
  assert.deepEqual(w.agent.report().errors, []);
  await w.end();
});

Deno.test("whatever the store throws, the agent follows on, and says for how long it could not", async () => {
  const inner = memoryStore();
  let fault: unknown;
  const told: string[] = [];
  const store = new Proxy(inner, {
    get: (target, name) => {
      if (name === "list") {
        return (prefix: string) => fault ? Promise.reject(fault) : target.list(prefix);
      }
      if (name === "watch") {
        return async function* (prefix: string, options: { from: string; signal: AbortSignal }) {
          for await (const event of target.watch(prefix, options)) {
            yield event;
            if (fault) throw fault;
          }
        };
      }
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const warn = (_: string, data?: Record<string, unknown>) =>
    void told.push(String((data?.error as Error)?.message));
  const w = world({ store, log: { ...silent, warn } });
  const faults = [
    new SyntaxError("Unexpected token '<'"),
    new StoreError("invalid", "no such kind"),
    "no error at all",
  ];
  await soon(() => w.agent.report().ready);
  for (const [i, one] of faults.entries()) {
    fault = one;
    await inner.put(`/calico/x${i}`, {});
    await soon(() => !w.agent.report().store.ok && w.agent.report().lostMilliseconds > 0);
    fault = undefined;
    await soon(() => w.agent.report().store.ok);
    assert.equal(w.agent.report().lostMilliseconds, 0);
  }
  const texts = [/SyntaxError: Unexpected token/, /no such kind/, /no error at all/];
  for (const text of texts) assert(told.some((one) => text.test(one)), `${text} in ${told}`);
  await w.end();
  await inner.close();
});
