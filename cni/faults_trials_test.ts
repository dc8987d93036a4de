/**
 * Every point at which an ADD can fail or be cut off: each call that it makes to store and kernel,
 * IPAM's calls among them. Afterwards a DEL leaves nothing, and an ADD gives exactly one attachment.
 */
import assert from "node:assert/strict";
import { type CallOptions, type Fault, World } from "./testing/world.ts";

const P = "cni.projectcalico.org/";
const args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web-0";

interface Scenario {
  readonly name: string;
  readonly call: CallOptions;
  readonly del: CallOptions;
  prepare(w: World): Promise<void>;
}

const scenarios: Scenario[] = [
  {
    name: "a plain container",
    call: {},
    del: { command: "DEL" },
    prepare: async () => {},
  },
  {
    name: "a pod",
    call: { args },
    del: { command: "DEL", args },
    prepare: (w) => w.addPod("web-0"),
  },
  {
    name: "a pod, its records written one by one",
    call: { args },
    del: { command: "DEL", args },
    prepare: async (w) => {
      w.jointly = false;
      await w.addPod("web-0");
      w.restart();
    },
  },
  {
    name: "a pod of two families with a fixed address",
    call: { args },
    del: { command: "DEL", args },
    prepare: async (w) => {
      await w.addPool("six", { cidr: "fd00:10::/64" });
      await w.addPod("web-0", {
        annotations: { [P + "ipAddrs"]: '["10.244.7.7","fd00:10::7"]' },
      });
    },
  },
  {
    name: "the IPAM plugin",
    call: { argv0: "tortie-ipam", conf: World.conf({ type: "ptp" }) },
    del: { command: "DEL", argv0: "tortie-ipam", conf: World.conf({ type: "ptp" }) },
    prepare: async () => {},
  },
];

async function fresh(scenario: Scenario): Promise<World> {
  const w = await World.make();
  await scenario.prepare(w);
  return w;
}

async function points(scenario: Scenario, call: CallOptions, before?: CallOptions) {
  const w = await fresh(scenario);
  if (before) assert.equal((await w.call(before)).exit, 0);
  const counted = w.restart();
  const { exit, body } = await w.call(call);
  assert.equal(exit, 0, body);
  await w.store.close();
  return counted.names;
}

async function eachFault(
  scenario: Scenario,
  names: string[],
  modes: Fault["mode"][],
  run: (w: World, fault: Fault, what: string) => Promise<void>,
): Promise<void> {
  for (const [at, name] of names.entries()) {
    for (const mode of modes) {
      const w = await fresh(scenario);
      try {
        await run(w, { at, mode }, `${scenario.name}: ${mode} call ${at}, ${name}`);
      } finally {
        await w.store.close();
      }
    }
  }
}

for (const scenario of scenarios) {
  Deno.test(`faults: one call of ADD fails, ${scenario.name}: nothing is left, or it succeeded`, async () => {
    const names = await points(scenario, scenario.call);
    assert.ok(names.length > 10);
    await eachFault(scenario, names, ["before", "after"], async (w, fault, what) => {
      w.restart(fault);
      const { exit } = await w.call(scenario.call);
      if (exit !== 0) {
        const left = await w.traces();
        assert.deepEqual(left, [], what);
      }
      w.restart();
      if (exit === 0) assert.equal((await w.call(scenario.del)).exit, 0, what);
      assert.deepEqual(await w.traces(), [], what);
    });
  });

  Deno.test(`faults: ADD is cut off anywhere, ${scenario.name}: the next DEL leaves nothing`, async () => {
    const names = await points(scenario, scenario.call);
    await eachFault(scenario, names, ["cut", "cut after"], async (w, fault, what) => {
      w.restart(fault);
      await w.call(scenario.call);
      w.restart();
      const { exit, body } = await w.call(scenario.del);
      assert.equal(exit, 0, `${what}: ${body}`);
      assert.deepEqual(await w.traces(), [], what);
    });
  });

  Deno.test(`faults: ADD is cut off anywhere, ${scenario.name}: the next ADD leaks nothing`, async () => {
    const names = await points(scenario, scenario.call);
    const clean = await fresh(scenario);
    await clean.call(scenario.call);
    const expected = (await clean.traces()).length;
    await clean.store.close();
    await eachFault(scenario, names, ["cut", "cut after"], async (w, fault, what) => {
      w.restart(fault);
      // The answer of a process that died never comes, also where its last call was the last of all.
      await w.call({ ...scenario.call, deliver: () => Promise.resolve(false) });
      w.restart();
      const { exit, body, json } = await w.call(scenario.call);
      // Once the attachment is marked it could be live, and a second ADD is an error.
      const marked = fault.mode === "cut after" && names[fault.at].includes("setAlias");
      if (marked) assert.equal(json.code, 100, `${what}: ${body}`);
      else assert.equal(exit, 0, `${what}: ${body}`);
      const traces = await w.traces();
      assert.equal(traces.length, expected, `${what}: ${traces.join(", ")}`);
      assert.equal((await w.call(scenario.del)).exit, 0, what);
      assert.deepEqual(await w.traces(), [], what);
    });
  });

  Deno.test(`faults: DEL fails or is cut off anywhere, ${scenario.name}: the next DEL leaves nothing`, async () => {
    const names = await points(scenario, scenario.del, scenario.call);
    await eachFault(scenario, names, ["before", "after", "cut"], async (w, fault, what) => {
      assert.equal((await w.call(scenario.call)).exit, 0);
      w.restart(fault);
      await w.call(scenario.del);
      w.restart();
      const { exit, body } = await w.call(scenario.del);
      assert.equal(exit, 0, `${what}: ${body}`);
      assert.deepEqual(await w.traces(), [], what);
    });
  });

  Deno.test(`faults: DEL is cut off anywhere, ${scenario.name}: the next ADD succeeds`, async () => {
    const names = await points(scenario, scenario.del, scenario.call);
    await eachFault(scenario, names, ["cut", "cut after"], async (w, fault, what) => {
      assert.equal((await w.call(scenario.call)).exit, 0);
      w.restart(fault);
      await w.call(scenario.del);
      w.restart();
      const again = await w.call(scenario.call);
      // Cut off before anything was taken away, the attachment is whole and a second ADD an error.
      if (again.exit !== 0) assert.equal(again.json.code, 100, `${what}: ${again.body}`);
      assert.equal((await w.call(scenario.del)).exit, 0, what);
      assert.deepEqual(await w.traces(), [], what);
    });
  });
}
