/**
 * Any history of a cluster: containers come, go and vanish, records are lost, machines die, the
 * collector works in between and may be cut off at any write. No container that runs loses an address;
 * in the end everything that is nobody's is free.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { checkRecords } from "../ipam/testing/checks.ts";
import { check } from "../ipam/check/check.ts";
import { readRecords } from "../ipam/check/records.ts";
import { Ipam } from "../ipam/ipam.ts";
import { questionKey } from "../ipam/questions.ts";
import { formatIp } from "../net/mod.ts";
import { collect } from "./collector.ts";
import { perform } from "./perform.ts";
import { type Container, GRACE, Simulation, viewOf } from "./testing/simulation.ts";

const NODES = ["n0", "n1", "n2"];

type Event =
  | { do: "run"; node: string }
  | { do: "delete" | "vanish" | "loseEndpoint" | "losePod" | "loseAll"; nth: number }
  | { do: "killMachine" | "deleteNode" | "startMachine"; node: string }
  | { do: "turn" | "answer" }
  | { do: "crash"; at: number; reached: boolean }
  | { do: "wait"; ms: number };

const node = fc.constantFrom(...NODES);
const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("run" as const), node }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constantFrom("delete", "vanish", "loseEndpoint", "losePod", "loseAll"),
      nth: fc.nat(20),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom("killMachine", "deleteNode", "startMachine"),
      node,
    }),
  },
  { weight: 6, arbitrary: fc.record({ do: fc.constantFrom("turn", "answer") }) },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("crash" as const),
      at: fc.nat(12),
      reached: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("wait" as const),
      ms: fc.constantFrom(1000, GRACE / 2, GRACE),
    }),
  },
);

async function happens(cluster: Simulation, event: Event, ended: Container[]): Promise<void> {
  const pick = (nth: number) => [...cluster.containers.values()][nth % cluster.containers.size];
  switch (event.do) {
    case "run":
      return void await cluster.run(event.node);
    case "killMachine":
      ended.push(...[...cluster.containers.values()].filter((c) => c.node === event.node));
      return await cluster.killMachine(event.node);
    case "deleteNode":
      // A machine that runs is deleted by mistake at most: its agent still reports.
      return await cluster.deleteNode(event.node);
    case "startMachine":
      return await cluster.startMachine(event.node);
    case "turn":
      return void await cluster.turn();
    case "answer":
      return await cluster.answer();
    case "wait":
      // Who runs answers within seconds.
      if (!cluster.statuses) await cluster.answer();
      return cluster.wait(event.ms);
    case "crash": {
      const { store } = cluster.process({ crash: event });
      // A controller that dies takes what it suspected along.
      await Promise.race([store.died, cluster.turn(store)]);
      if (store.dead) cluster.memory = new Map();
      return;
    }
  }
  if (cluster.containers.size === 0) return;
  const container = pick(event.nth);
  if (event.do === "loseEndpoint" || event.do === "loseAll" || event.do === "delete") {
    await cluster.remove(cluster.endpointKey(container));
  }
  if (event.do === "losePod" || event.do === "loseAll" || event.do === "delete") {
    await cluster.remove(cluster.podKey(container));
  }
  if (event.do === "vanish" || event.do === "loseAll" || event.do === "delete") {
    ended.push(container);
    cluster.vanish(container);
  }
  if (event.do === "delete") await cluster.ipam.releaseByHandle(container.handle);
}

/** Whatever a record still speaks for stays; the rest must be free. */
async function nothingLeft(cluster: Simulation): Promise<void> {
  const view = await viewOf(cluster.store);
  const { findings } = check(await readRecords(cluster.store), cluster.now);
  const leaks = findings.filter(({ kind }) => kind === "leak" || kind === "handleLeaked");
  const running = new Set([...cluster.containers.values()].flatMap((c) => c.addresses));
  // A node that cannot answer (it is dead, and its Node still there) keeps what is on record.
  const silent = NODES.filter((n) => !cluster.machines.has(n) && view.hasNode(n));
  for (const { subject, message } of leaks) {
    const excused = running.has(subject) || silent.some((n) => message.includes(`of node ${n},`));
    assert(excused, message);
  }
}

Deno.test("no history makes the collector take what a container has, or leave what nobody has", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.boolean(),
      fc.boolean(),
      fc.array(event, { maxLength: 40 }),
      async (podsKnown, statuses, events) => {
        const cluster = new Simulation(podsKnown, statuses);
        try {
          await cluster.begin();
          const ended: Container[] = [];
          for (const one of events) {
            await happens(cluster, one, ended);
            await cluster.safe();
            await checkRecords(cluster.store);
          }
          await cluster.settle();
          await cluster.safe();
          await checkRecords(cluster.store);
          await nothingLeft(cluster);
        } finally {
          await cluster.store.close();
        }
      },
    ),
    { numRuns: 100 },
  );
});

/** A cluster in which there is something of every kind to collect. */
async function littered(cluster: Simulation): Promise<void> {
  await cluster.begin();
  const leak = (await cluster.run("n0"))!;
  await cluster.run("n0");
  cluster.vanish(leak);
  await cluster.remove(cluster.endpointKey(leak));
  await cluster.run("n2");
  await cluster.tunnel("n2");
  await cluster.killMachine("n2");
  await cluster.deleteNode("n2");
  await cluster.store.put(questionKey("n2"), { addresses: [], at: cluster.now });
  await cluster.ipam.claimAffinity("10.0.0.0/27", "n1");
  await cluster.store.put("/calico/ipam/v2/handle/net.gone", { block: { "10.0.0.0/29": 1 } });
  for (let i = 0; i < 2; i++) {
    await cluster.look().then(({ memory }) => cluster.memory = memory);
    cluster.wait(GRACE);
  }
}

Deno.test("kill -9 at any write of a turn: nothing is wrong, and the next controller ends it", async () => {
  let writes = 0;
  for (let at = 0;; at++) {
    let died = false;
    for (const reached of [false, true]) {
      const cluster = new Simulation();
      try {
        await littered(cluster);
        const { store } = cluster.process({ crash: { at, reached } });
        const turns = (async () => {
          await cluster.turn(store);
          await cluster.answer();
          await cluster.turn(store);
        })();
        await Promise.race([store.died, turns]);
        died ||= store.dead;
        await checkRecords(cluster.store);
        await cluster.safe();
        cluster.memory = new Map();
        await cluster.settle();
        await cluster.safe();
        const { findings } = check(await readRecords(cluster.store), cluster.now);
        assert.deepEqual(findings, []);
      } finally {
        await cluster.store.close();
      }
    }
    if (!died) break;
    writes = at + 1;
  }
  assert(writes > 15, `only ${writes} writes`);
});

Deno.test("a release that was decided beside an ADD and a DEL of the same pod, in any order", async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), fc.boolean(), async (scheduler, again) => {
      const cluster = new Simulation();
      try {
        await cluster.begin();
        const container = (await cluster.run("n0"))!;
        await cluster.run("n1");
        cluster.vanish(container);
        const endpoint = cluster.endpointKey(container);
        const { value } = (await cluster.store.get<any>(endpoint))!;
        await cluster.store.delete(endpoint);
        await cluster.turn();
        cluster.wait(GRACE);
        await cluster.turn();
        await cluster.answer();
        // Decided; and only now the runtime begins the same sandbox anew, or ends it.
        const { actions } = await cluster.look();
        assert.deepEqual(actions.map((a) => a.do), ["release"]);
        const gate = (label: string) => scheduler.schedule(Promise.resolve(), label);
        const collector = cluster.process({ gate });
        const runtime = cluster.process({ gate });
        const collecting = perform(
          {
            store: collector.store,
            ipam: collector.ipam,
            pods: collector.store,
            now: () => cluster.now,
          },
          actions[0],
        );
        const attributes = { namespace: "blue", node: "n0", pod: container.pod };
        const adding = (async () => {
          await runtime.ipam.releaseByHandle(container.handle);
          if (!again) return [];
          const given = await runtime.ipam.assign({
            num4: 1,
            host: "n0",
            handle: container.handle,
            attributes,
            use: "Workload",
          });
          const nets = given.map(({ ip }) => `${formatIp(ip)}/32`);
          await runtime.store.put(endpoint, {
            ...value,
            spec: { ...value.spec, ipNetworks: nets },
          });
          return given.map(({ ip }) => formatIp(ip));
        })();
        const [addresses] = await scheduler.waitFor(Promise.all([adding, collecting]));
        if (again) cluster.containers.set(container.handle, { ...container, addresses });
        await cluster.safe();
        await checkRecords(cluster.store);
        if (!again) assert.equal((await cluster.given()).length >= 1, true);
      } finally {
        await cluster.store.close();
      }
    }),
    { numRuns: 50 },
  );
});

Deno.test("two controllers that lead at once, in any order: once is enough", async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const cluster = new Simulation();
      try {
        await littered(cluster);
        const view = await viewOf(cluster.store);
        const options = { grace: GRACE, podsKnown: false, now: cluster.time, wall: cluster.now };
        const { actions } = collect(view, cluster.memory, options);
        const gate = (label: string) => scheduler.schedule(Promise.resolve(), label);
        const both = [0, 1].map(async () => {
          const { store } = cluster.process({ gate });
          const ipam = new Ipam(store, { now: () => cluster.now });
          for (const action of actions) {
            await perform({
              store,
              ipam,
              pods: store,
              now: () => cluster.now,
            }, action);
          }
        });
        await scheduler.waitFor(Promise.all(both));
        await cluster.safe();
        await checkRecords(cluster.store);
        await cluster.settle();
        assert.deepEqual(check(await readRecords(cluster.store), cluster.now).findings, []);
      } finally {
        await cluster.store.close();
      }
    }),
    { numRuns: 25 },
  );
});
