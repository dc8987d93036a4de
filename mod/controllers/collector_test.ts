/** What the collector takes, when, and on whose word. */
import assert from "node:assert/strict";
import { check } from "../ipam/check/check.ts";
import { readRecords } from "../ipam/check/records.ts";
import { writtenByCalico332 } from "../ipam/testing/cool_down.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { answerKey, questionKey } from "../ipam/questions.ts";
import { felixVariablesKey, tellFelixVariables } from "../node/felix_variables.ts";
import {
  blockKey,
  blockPrefix,
  endpointStatusKey,
  felixLastStatusKey,
  felixStatusKey,
  hostMarkerKey,
} from "../model/keys.ts";
import { mustPrefix } from "../net/mod.ts";
import { type Container, GRACE, Simulation } from "./testing/simulation.ts";

function simulated(
  name: string,
  test: (cluster: Simulation) => Promise<void>,
  podsKnown = false,
  statuses = true,
): void {
  Deno.test(name, async () => {
    const cluster = new Simulation(podsKnown, statuses);
    try {
      await cluster.begin();
      await test(cluster);
      await cluster.safe();
    } finally {
      await cluster.store.close();
    }
  });
}

async function lose(cluster: Simulation, container: Container): Promise<void> {
  cluster.vanish(container);
  await cluster.remove(cluster.endpointKey(container));
  await cluster.remove(cluster.podKey(container));
}

simulated(
  "a leak: suspected, asked after the grace period, released on the node's word",
  async (cluster) => {
    const container = (await cluster.run("n0"))!;
    await cluster.run("n0");
    await lose(cluster, container);
    assert.deepEqual(await cluster.turn(), []);
    cluster.wait(GRACE - 1);
    const { suspects, actions, next } = await cluster.look();
    assert.deepEqual(suspects.map(({ address }) => address), [...container.addresses]);
    assert.deepEqual(actions, []);
    assert.equal(next, GRACE);
    cluster.wait(1);
    const [ask] = await cluster.turn();
    assert.equal(ask.do, "ask");
    // Nobody has answered: nothing is done, however long it takes.
    cluster.wait(10 * GRACE);
    assert.deepEqual(await cluster.turn(), []);
    assert.match((await cluster.look()).held[0].why, /node n0 has not answered yet/);
    await cluster.answer();
    const actionsThen = await cluster.turn();
    assert.deepEqual(actionsThen.map((a) => a.do), ["release"]);
    assert.deepEqual((await cluster.given()).length, 1);
    // The question is taken back.
    await cluster.turn();
    assert.equal(await cluster.store.get(questionKey("n0")), undefined);
  },
);

simulated(
  "a container that runs keeps its address, though all its records are lost",
  async (cluster) => {
    const container = (await cluster.run("n0"))!;
    await cluster.remove(cluster.endpointKey(container));
    for (let i = 0; i < 5; i++) {
      await cluster.turn();
      await cluster.answer();
      cluster.wait(GRACE);
    }
    assert.match((await cluster.look()).held[0].why, /a container on node n0 has it/);
    await cluster.safe();
    // It ends; the node is asked again when it looks again.
    cluster.vanish(container);
    await cluster.answer();
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["release"]);
  },
);

simulated(
  "a node that does not see all of itself has nothing taken on its word",
  async (cluster) => {
    const container = (await cluster.run("n0"))!;
    await lose(cluster, container);
    for (let i = 0; i < 5; i++) {
      await cluster.turn();
      await cluster.answer("no processes");
      cluster.wait(GRACE);
    }
    assert.match((await cluster.look()).held[0].why, /node n0 cannot tell: no processes/);
    assert.deepEqual(await cluster.given(), [...container.addresses].sort());
    await cluster.answer();
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["release"]);
  },
);

simulated("an endpoint's record alone keeps an address", async (cluster) => {
  const container = (await cluster.run("n1"))!;
  cluster.vanish(container);
  await cluster.settle();
  assert.deepEqual(await cluster.given(), [...container.addresses].sort());
});

simulated("a node that cannot be asked: nothing goes where pods are not known", async (cluster) => {
  const container = (await cluster.run("n1"))!;
  await cluster.remove(answerKey("n1"));
  await lose(cluster, container);
  await cluster.settle();
  assert.deepEqual(await cluster.given(), [...container.addresses].sort());
  assert.match((await cluster.look()).held[0].why, /node n1 cannot be asked/);
});

simulated(
  "a node that cannot be asked: as Calico, by its pods, where all are known",
  async (cluster) => {
    const container = (await cluster.run("n1"))!;
    await cluster.remove(answerKey("n1"));
    await lose(cluster, container);
    await cluster.turn();
    cluster.wait(GRACE);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["release"]);
    assert.deepEqual(await cluster.given(), []);
  },
  true,
);

for (
  const [where, goes] of [["n1", true], ["machine-0", false]] as const
) {
  simulated(
    `an address whose pod is on ${where} ${goes ? "goes" : "stays: it may be the very node"}`,
    async (cluster) => {
      const container = (await cluster.run("n0"))!;
      await cluster.remove(answerKey("n0"));
      await cluster.remove(cluster.endpointKey(container));
      cluster.vanish(container);
      const key = cluster.podKey(container);
      const { value } = (await cluster.store.get<any>(key))!;
      await cluster.store.put(key, { ...value, spec: { nodeName: where } });
      await cluster.turn();
      cluster.wait(GRACE);
      assert.deepEqual((await cluster.turn()).map((a) => a.do), goes ? ["release"] : []);
      assert.deepEqual(await cluster.given(), goes ? [] : [...container.addresses].sort());
    },
    true,
  );
}

simulated("one address of a handle that lives keeps the others", async (cluster) => {
  let container = await cluster.run("n0");
  while (container!.addresses.length < 2) container = await cluster.run("n0");
  const key = cluster.endpointKey(container!);
  const { value } = (await cluster.store.get<any>(key))!;
  const [first] = value.spec.ipNetworks;
  await cluster.store.put(key, { ...value, spec: { ...value.spec, ipNetworks: [first] } });
  await cluster.settle();
  await cluster.safe();
});

simulated("what is taken up again is no leak any more", async (cluster) => {
  const container = (await cluster.run("n0"))!;
  const key = cluster.endpointKey(container);
  const { value } = (await cluster.store.get(key))!;
  await cluster.store.delete(key);
  await cluster.turn();
  cluster.wait(GRACE / 2);
  await cluster.store.put(key, value);
  await cluster.turn();
  await cluster.store.delete(key);
  await cluster.turn();
  cluster.wait(GRACE - 1);
  assert.deepEqual(await cluster.turn(), [], "the time begins anew");
});

simulated("a node without object and life: addresses, tunnel, blocks, records", async (cluster) => {
  await cluster.run("n0");
  await cluster.run("n2");
  await cluster.tunnel("n2");
  await tellFelixVariables(cluster.store, "n2", new Map());
  await cluster.killMachine("n2");
  await cluster.settle();
  assert.equal((await cluster.owned("n2")).length > 0, true, "its Node is there still");
  await cluster.deleteNode("n2");
  await cluster.turn();
  cluster.wait(GRACE);
  const actions = (await cluster.turn()).map((a) => a.do);
  assert.deepEqual([...new Set(actions)], ["release", "removeNode"]);
  assert.deepEqual(await cluster.owned("n2"), []);
  assert.equal(await cluster.store.get(answerKey("n2")), undefined);
  assert.equal(await cluster.store.get(felixVariablesKey("n2")), undefined);
  await cluster.settle();
});

simulated(
  "a Node deleted by mistake: its agent reports, and keeps what it has",
  async (cluster) => {
    await cluster.run("n2");
    await cluster.deleteNode("n2");
    await cluster.settle();
    await cluster.safe();
    assert((await cluster.owned("n2")).length > 0);
  },
);

simulated(
  "a Node deleted under a node that runs and has no status: it is asked, and keeps what it has",
  async (cluster) => {
    const [forced, stays] = [(await cluster.run("n2"))!, (await cluster.run("n2"))!];
    await cluster.tunnel("n2");
    const before = await cluster.given();
    // By force: the API has forgotten it, and its container runs.
    await cluster.remove(cluster.podKey(forced));
    await cluster.remove(cluster.endpointKey(forced));
    await cluster.deleteNode("n2");
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["ask"]);
    for (let i = 0; i < 6; i++) {
      await cluster.answer();
      await cluster.turn();
      cluster.wait(GRACE);
      await cluster.turn();
      await cluster.safe();
    }
    await cluster.answer();
    assert.deepEqual(await cluster.given(), before);
    assert.match((await cluster.look()).held[0].why, /a container on node n2 has it/);
    assert.notEqual(await cluster.store.get(answerKey("n2")), undefined);
    // It ends there, and the node says so: this one goes and no other.
    cluster.vanish(forced);
    await cluster.answer();
    await cluster.turn();
    assert.deepEqual(await cluster.given(), before.filter((ip) => !forced.addresses.includes(ip)));
    // The machine goes too, without having said anything.
    await cluster.killMachine("n2");
    await cluster.remove(cluster.podKey(stays));
    await cluster.remove(cluster.endpointKey(stays));
    for (let i = 0; i < 3; i++) {
      await cluster.turn();
      cluster.wait(GRACE);
    }
    await cluster.turn();
    assert.deepEqual(await cluster.given(), []);
    assert.deepEqual(await cluster.owned("n2"), []);
    assert.equal(await cluster.store.get(answerKey("n2")), undefined);
  },
  true,
  false,
);

simulated(
  "a node that does not answer and has no Node is gone after the grace period, one that cannot be asked at once",
  async (cluster) => {
    for (const node of ["n1", "n2"]) {
      const container = (await cluster.run(node))!;
      await cluster.killMachine(node);
      await cluster.remove(cluster.podKey(container));
      await cluster.remove(cluster.endpointKey(container));
      await cluster.deleteNode(node);
    }
    await cluster.remove(answerKey("n1"));
    const done = async () =>
      (await cluster.turn()).map((a) => [a.do, "node" in a ? a.node : undefined].join(" "));
    assert.deepEqual(await done(), ["release ", "removeNode n1", "ask n2"]);
    cluster.wait(GRACE - 1);
    assert.deepEqual(await done(), []);
    cluster.wait(1);
    assert.deepEqual(await done(), ["release ", "removeNode n2"]);
    assert.deepEqual(await cluster.given(), []);
    for (const word of [answerKey, questionKey]) {
      assert.equal(await cluster.store.get(word("n2")), undefined);
    }
    assert.deepEqual((await cluster.look()).actions.filter((a) => a.do !== "ask"), []);
  },
  true,
  false,
);

simulated(
  "a node whose question could not be written is not gone for its silence",
  async (cluster) => {
    const container = (await cluster.run("n2"))!;
    await cluster.remove(cluster.podKey(container));
    await cluster.remove(cluster.endpointKey(container));
    await cluster.deleteNode("n2");
    for (let i = 0; i < 3; i++) {
      const { actions, memory } = await cluster.look();
      assert.deepEqual(actions.map((a) => a.do), ["ask"]);
      cluster.memory = memory;
      cluster.wait(GRACE);
    }
    await cluster.turn();
    cluster.wait(GRACE - 1);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), []);
    await cluster.answer();
    await cluster.turn();
    cluster.wait(1);
    await cluster.turn();
    await cluster.safe();
  },
  true,
  false,
);

simulated(
  "a node is gone, and a pod of it is not: nothing of the node's own goes",
  async (cluster) => {
    const container = (await cluster.run("n2"))!;
    await cluster.tunnel("n2");
    await cluster.remove(cluster.endpointKey(container));
    await cluster.remove(felixStatusKey("n2"));
    await cluster.deleteNode("n2");
    await cluster.settle();
    await cluster.safe();
    assert((await cluster.owned("n2")).length > 0);
  },
  true,
);

simulated(
  "blocks in which others have borrowed become nobody's when their node goes",
  async (cluster) => {
    await cluster.ipam.claimAffinity("10.0.0.0/26", "n2");
    const container = (await cluster.run("n0"))!;
    await cluster.killMachine("n2");
    await cluster.deleteNode("n2");
    await cluster.settle();
    assert.deepEqual((await cluster.owned("n2")).filter((b) => b.startsWith("10.")), []);
    await cluster.safe();
    assert(container);
  },
);

simulated(
  "an empty block of nobody goes, once nothing has changed it for a while",
  async (cluster) => {
    await cluster.ipam.claimAffinity("10.0.0.56/29", "n2");
    const key = blockKey(mustPrefix("10.0.0.56/29"));
    const write = async (change: Record<string, unknown>) => {
      const { value } = (await cluster.store.get<any>(key))!;
      await cluster.store.put(key, { ...value, ...change });
    };
    const { value } = (await cluster.store.get<any>(key))!;
    await cluster.ipam.releaseAffinity("10.0.0.56/29", "n2");
    await cluster.store.put(key, { ...value, affinity: null });
    assert.deepEqual(await cluster.turn(), []);
    cluster.wait(GRACE - 1);
    await write({ sequenceNumber: 7 });
    await cluster.turn();
    cluster.wait(GRACE - 1);
    assert.deepEqual(await cluster.turn(), []);
    cluster.wait(1);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["releaseBlock"]);
    assert.equal(await cluster.store.get(key), undefined);
    // An owner that we do not know is no nobody.
    await cluster.store.put(key, { ...value, affinity: "robot:r2" });
    await cluster.settle();
    assert(await cluster.store.get(key));
    await cluster.store.delete(key);
  },
);

simulated(
  "a lease does not keep the node that its container has gone with, and is kept for its ordinal",
  async (cluster) => {
    const { addresses: [address], handle } = await cluster.runOrdinal("n2", "0");
    const other = (await cluster.run("n2"))!;
    await cluster.killMachine("n2");
    await cluster.deleteNode("n2");
    await cluster.turn();
    cluster.wait(GRACE);
    const actions = await cluster.turn();
    assert.deepEqual([...new Set(actions.map((a) => a.do))], ["release", "removeNode"]);
    const held = (await cluster.ipam.assignment(address))!;
    assert.equal(held.handle, handle);
    const { container, node, keptUntil } = held.attributes;
    assert.deepEqual([container, node], [undefined, undefined]);
    assert.equal(Date.parse(keptUntil), Math.floor(cluster.now / 1000) * 1000 + 3_600_000);
    assert.equal(await cluster.ipam.assignment(other.addresses[0]), undefined);
    assert.deepEqual(await cluster.owned("n2"), []);
    const { entries } = await cluster.store.list("/calico/resources/v3/projectcalico.org/work");
    assert.deepEqual(entries, [], "the node's endpoints are gone too");
    // Nothing is left to be done or found while it is kept; then the address is free again.
    cluster.time += 1000;
    assert.deepEqual((await cluster.turn()).filter((a) => a.do !== "releaseBlock"), []);
    assert.deepEqual(check(await readRecords(cluster.store), cluster.now).findings, []);
    cluster.wait(3_600_000);
    await cluster.settle();
    assert.deepEqual(await cluster.given(), []);
  },
);

simulated(
  "a lease that is kept does not keep the node that had it last",
  async (cluster) => {
    await cluster.take({ do: "keep", node: 2 });
    await cluster.killMachine("n2");
    await cluster.deleteNode("n2");
    await cluster.turn();
    cluster.wait(GRACE);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["removeNode"]);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), [], "and not again and again");
    assert.equal((await cluster.given()).length, 1);
    assert.deepEqual(check(await readRecords(cluster.store), cluster.now).findings, []);
  },
);

/** The record of an ordinal that runs, as it looks when its lease is over. */
async function spoil(cluster: Simulation, { handle, addresses: [address] }: Container) {
  const done = await cluster.ipam.relabel({
    address,
    handle,
    change: ({ container: _, ...rest }) => ({ ...rest, keptUntil: "2020-01-01T00:00:00Z" }),
  });
  assert(done);
}

simulated(
  "a lease that says it is over is not believed while an endpoint has the address, or the node says so",
  async (cluster) => {
    const container = await cluster.runOrdinal("n1", "0");
    await spoil(cluster, container);
    await cluster.settle();
    assert.deepEqual(await cluster.given(), [...container.addresses]);
    await cluster.remove(cluster.endpointKey(container));
    await cluster.settle();
    assert.match((await cluster.look()).held[0].why, /a container on node n1 has it/);
    assert.deepEqual(await cluster.given(), [...container.addresses]);
    await cluster.safe();
    cluster.vanish(container);
    await cluster.settle();
    assert.deepEqual(await cluster.given(), []);
  },
);

simulated(
  "a lease that is over, whose node has not answered yet, is not released",
  async (cluster) => {
    const container = await cluster.runOrdinal("n1", "0");
    await spoil(cluster, container);
    await lose(cluster, container);
    for (let i = 0; i < 3; i++) {
      await cluster.turn();
      cluster.wait(GRACE);
    }
    assert.match((await cluster.look()).held[0].why, /node n1 has not answered yet/);
    // One that cannot be asked, as Calico's, leaves it to the lease.
    await cluster.remove(answerKey("n1"));
    await cluster.settle();
    assert.deepEqual(await cluster.given(), []);
  },
);

simulated(
  "a lease that says it is over is not believed while the ordinal's Pod has the address",
  async (cluster) => {
    const container = await cluster.runOrdinal("n1", "0");
    await spoil(cluster, container);
    await cluster.remove(cluster.endpointKey(container));
    await cluster.remove(answerKey("n1"));
    await cluster.store.put(cluster.podKey(container), {
      metadata: { name: container.pod, namespace: "blue" },
      spec: { nodeName: "n1" },
      status: { podIPs: container.addresses.map((ip) => ({ ip })) },
    });
    await cluster.settle();
    assert.deepEqual(await cluster.given(), [...container.addresses]);
  },
  true,
);

simulated(
  "an address that has lost its handle is released when its pod is gone, and not before",
  async (cluster) => {
    const [gone, stays] = [(await cluster.run("n0"))!, (await cluster.run("n0"))!];
    const handles = new Map([gone, stays].map((one) => [one.handle, one]));
    for (const { key, value } of (await cluster.store.list<any>(blockPrefix(4))).entries) {
      const attributes = value.attributes.map((one: any) =>
        handles.has(one.handle_id) ? { ...one, handle_id: null } : one
      );
      await cluster.store.put(key, { ...value, attributes });
    }
    await lose(cluster, gone);
    const given = async ({ addresses: [ip] }: Container) =>
      (await cluster.ipam.assignment(ip)) !== undefined;
    await cluster.turn();
    cluster.wait(GRACE);
    await cluster.turn();
    await cluster.answer();
    assert.equal(await given(gone), true);
    await cluster.turn();
    assert.deepEqual([await given(gone), await given(stays)], [false, true]);
    // What the simulation holds against it in the end is that a container runs under another handle.
    cluster.vanish(stays);
  },
);

simulated(
  "what a deleted node has said and reported goes too, where IPAM has nothing of it",
  async (cluster) => {
    const records = (node: string) => [
      answerKey(node),
      `/tortie/nodes/${node}/felix`,
      felixLastStatusKey(node),
      endpointStatusKey(node, "k8s", "blue/p", "eth0"),
      hostMarkerKey(node),
    ];
    for (const node of ["n1", "n2"]) {
      for (const key of records(node)) await cluster.store.put(key, {});
    }
    assert.deepEqual(await cluster.owned("n2"), []);
    await cluster.killMachine("n2");
    await cluster.turn();
    cluster.wait(GRACE);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), [], "its Node is there");
    await cluster.deleteNode("n2");
    await cluster.turn();
    cluster.wait(GRACE);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["removeNode"]);
    for (const key of records("n2")) assert.equal(await cluster.store.get(key), undefined, key);
    for (const key of records("n1")) assert.notEqual(await cluster.store.get(key), undefined, key);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), [], "and not again and again");
  },
);

simulated(
  "a lease whose container runs stays in use, though its records are lost",
  async (cluster) => {
    const container = await cluster.runOrdinal("n1", "0");
    const [address] = container.addresses;
    await cluster.remove(cluster.endpointKey(container));
    for (let i = 0; i < 4; i++) {
      await cluster.turn();
      await cluster.answer();
      cluster.wait(GRACE);
    }
    const uses = async () => (await cluster.ipam.assignment(address))?.attributes.container;
    assert.notEqual(await uses(), undefined);
    // The container is gone without a DEL: its node says so, and the lease waits for its ordinal.
    cluster.vanish(container);
    await cluster.answer();
    await cluster.turn();
    assert.equal(await uses(), undefined);
    assert.equal((await cluster.given()).length, 1);
  },
);

simulated(
  "what one pod keeps of a node that is gone does not keep the endpoints of others",
  async (cluster) => {
    const stays = (await cluster.run("n2"))!, goes = (await cluster.run("n2"))!;
    await cluster.killMachine("n2");
    await cluster.deleteNode("n2");
    await cluster.remove(cluster.podKey(goes));
    await cluster.settle();
    assert.equal(await cluster.store.get(cluster.endpointKey(goes)), undefined);
    assert.notEqual(await cluster.store.get(cluster.endpointKey(stays)), undefined);
    assert.deepEqual(await cluster.given(), [...stays.addresses].sort());
  },
  true,
);

simulated(
  "what others ask a node stands for its time, beside what the collector asks",
  async (cluster) => {
    const container = (await cluster.run("n0"))!;
    await lose(cluster, container);
    const theirs = { ip: "10.0.0.99", handle: "net.other", until: cluster.now + GRACE + 60_000 };
    await cluster.store.create(questionKey("n0"), { addresses: [theirs] });
    assert.deepEqual(await cluster.turn(), []);
    cluster.wait(GRACE);
    await cluster.turn();
    const asked = async () => {
      const entry = await cluster.store.get<any>(questionKey("n0"));
      return entry?.value.addresses.map((one: { ip: string }) => one.ip);
    };
    assert.deepEqual(await asked(), [...container.addresses, theirs.ip].sort());
    await cluster.answer();
    await cluster.turn();
    await cluster.turn();
    assert.deepEqual(await asked(), [theirs.ip]);
    assert((await cluster.look()).next! <= cluster.time + 60_000);
    cluster.wait(60_000);
    await cluster.turn();
    assert.equal(await asked(), undefined);
  },
);

simulated("empty blocks go after the grace period, but a node's last", async (cluster) => {
  await cluster.ipam.claimAffinity("10.0.0.0/27", "n0");
  await cluster.ipam.claimAffinity("10.0.0.32/29", "n1");
  await cluster.turn();
  cluster.wait(GRACE - 1);
  assert.deepEqual(await cluster.turn(), []);
  cluster.wait(1);
  assert.deepEqual((await cluster.turn()).map((a) => a.do), [
    "releaseBlock",
    "releaseBlock",
    "releaseBlock",
  ]);
  assert.equal((await cluster.owned("n0")).length, 1);
  assert.equal((await cluster.owned("n1")).length, 1);
});

simulated("a node that moves from flannel keeps its empty blocks", async (cluster) => {
  await cluster.node("n0", { "projectcalico.org/node-network-during-migration": "flannel" });
  await cluster.ipam.claimAffinity("10.0.0.0/27", "n0");
  await cluster.settle();
  assert.equal((await cluster.owned("n0")).length, 4);
});

simulated(
  "handles without addresses are mended, those of an ADD under way are not lost",
  async (cluster) => {
    await cluster.store.put("/calico/ipam/v2/handle/net.gone", { block: { "10.0.0.0/29": 1 } });
    await cluster.settle();
    assert.equal(await cluster.store.get("/calico/ipam/v2/handle/net.gone"), undefined);
  },
);

simulated("addresses that have cooled down are swept", async (cluster) => {
  await cluster.configure({ ipCooldownSeconds: 60 });
  const container = (await cluster.run("n0"))!;
  await cluster.remove(cluster.endpointKey(container));
  cluster.vanish(container);
  await cluster.ipam.releaseByHandle(container.handle);
  const { actions, next } = await cluster.look();
  assert.deepEqual(actions, []);
  assert(next! >= 59_000 && next! <= 61_000);
  cluster.wait(61_000);
  assert.deepEqual((await cluster.turn()).map((a) => a.do), ["sweepCooled"]);
});

simulated(
  "addresses that have cooled down are swept, if Calico v3.32 wrote to their block",
  async (cluster) => {
    await cluster.configure({ ipCooldownSeconds: 60 });
    const container = (await cluster.run("n0"))!;
    await cluster.remove(cluster.endpointKey(container));
    cluster.vanish(container);
    await cluster.ipam.releaseByHandle(container.handle);
    for (
      const { key, value } of (await cluster.store.list<AllocationBlock>(blockPrefix(4))).entries
    ) {
      await cluster.store.put(key, writtenByCalico332(value));
    }
    const { actions, suspects, next } = await cluster.look();
    assert.deepEqual([actions, suspects], [[], []]);
    assert(next! >= 59_000 && next! <= 61_000);
    cluster.wait(61_000);
    assert.deepEqual((await cluster.turn()).map((a) => a.do), ["sweepCooled"]);
    assert.deepEqual((await cluster.look()).actions, []);
  },
);

simulated("what is kept, reserved or unknown is never suspected", async (cluster) => {
  await cluster.take({ do: "keep", node: 0 });
  await cluster.service();
  await cluster.ipam.assignIp({ address: "10.0.0.9", host: "n0", handle: "by-hand" });
  await cluster.ipam.assignIp({ address: "10.0.0.10", host: "n0" });
  const before = await cluster.given();
  for (let i = 0; i < 3; i++) {
    await cluster.turn();
    await cluster.answer();
    cluster.wait(GRACE);
  }
  assert.deepEqual((await cluster.look()).suspects, []);
  assert.deepEqual(await cluster.given(), before);
});

simulated("a lease whose time is over goes, on its node's word", async (cluster) => {
  await cluster.take({ do: "keep", node: 0 });
  await cluster.settle();
  assert.deepEqual(await cluster.given(), []);
});
