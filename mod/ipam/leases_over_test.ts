/** A lease that says it is over is the word of one record: the others are asked before it is believed. */
import assert from "node:assert/strict";
import { resourceKey } from "../model/keys.ts";
import { nodeKind } from "../model/node.ts";
import { mustIp } from "../net/mod.ts";
import type { AskNodes, NodeWord } from "./ask_nodes.ts";
import { type CheckOptions, checkStore } from "./check/check.ts";
import { SoundCluster } from "./check/testing/clusters.ts";
import { leaseHandle } from "./lease_record.ts";
import { answerKey, type AskedAddress, askedId, questionKey } from "./questions.ts";
import { inWorld } from "./testing/world.ts";

const word = (say: (asked: readonly AskedAddress[]) => NodeWord): AskNodes => (questions) =>
  Promise.resolve(new Map([...questions].map(([node, asked]) => [node, say(asked)])));
const none = new Set<string>();
const ids = (asked: readonly AskedAddress[]) => new Set(asked.map(askedId));

const OVER: readonly [says: string, ask: AskNodes, is: "leak" | "unproven" | "used"][] = [
  [
    "says that a container has the address",
    word((asked) => ({ held: new Set(asked.map(({ ip }) => ip)), asked: ids(asked) })),
    "used",
  ],
  ["says that none has it", word((asked) => ({ held: none, asked: ids(asked) })), "leak"],
  [
    "does not see all of itself",
    word((asked) => ({ held: none, asked: ids(asked), unseen: "no processes" })),
    "leak",
  ],
  ["cannot be asked", word(() => ({ silent: "no word", never: true })), "leak"],
  ["does not answer", word(() => ({ silent: "no word", never: false })), "unproven"],
];

for (const [says, ask, is] of OVER) {
  Deno.test(`a lease is over, its node ${says}: ${is}`, async () => {
    const cluster = new SoundCluster();
    try {
      await cluster.begin();
      await cluster.take({ do: "keep", node: 1 });
      cluster.now += 3_600_000;
      const asked: string[] = [];
      const options: CheckOptions = {
        now: () => cluster.now,
        ask: (questions) => {
          for (const one of [...questions.values()].flat()) asked.push(one.handle);
          return ask(questions);
        },
      };
      const { findings, allocations } = await checkStore(cluster.store, options);
      assert.deepEqual(findings.map(({ kind }) => kind), is === "used" ? [] : [is]);
      if (is === "used") assert.deepEqual(allocations[0].owners, ["Container(n1)"]);
      // By the address alone: "0", or the namespace's name, is no container.
      assert.deepEqual(asked, [""]);
    } finally {
      await cluster.store.close();
    }
  });
}

inWorld("a lease that says it is over is not taken from who has the address", async (world) => {
  await world.pool("p", "10.0.0.0/24");
  for (const node of ["n1", "n2"]) await world.node(node);
  const [address] = await world.assign("n1", {
    handle: leaseHandle("blue", "db", "0", "eth0"),
    attributes: {
      ordinal: "0",
      statefulset: "blue/db",
      node: "n1",
      keptUntil: "2026-11-22T11:00:00Z",
    },
  });
  const take = () =>
    world.ipam.assignFirst({
      candidates: [mustIp(address)],
      host: "n2",
      handle: "net.heir",
      attributes: { node: "n2" },
      use: "Workload",
    });
  const refused = async (why: RegExp) => {
    const done = await take();
    assert("refused" in done);
    assert.match(done.refused[0].message, why);
    assert.equal((await world.ipam.assignment(address))!.attributes.ordinal, "0");
  };
  const endpoint = resourceKey(
    { plural: "workloadendpoints", home: "calico", namespaced: true },
    "n1-k8s-db--0-eth0",
    "blue",
  );
  const spec = { node: "n1", pod: "db-0", ipNetworks: [`${address}/32`] };
  await world.store.put(endpoint, { metadata: { name: "e", namespace: "blue" }, spec });
  await refused(/its lease for ordinal 0 of StatefulSet blue\/db is over, but endpoint e has it/);
  await world.store.put(endpoint, { metadata: { name: "e" }, spec: { ...spec, ipNetworks: null } });
  await refused(/cannot be read, and may have it/);
  await world.store.delete(endpoint);
  // n1 is one that can be asked.
  let held: string[] = [address];
  await world.store.put(answerKey("n1"), { asked: "", held: [] });
  let over = false;
  const answering = (async () => {
    while (!over) {
      const asked = await world.store.get(questionKey("n1"));
      if (asked) await world.store.put(answerKey("n1"), { asked: asked.revision, held });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  try {
    await refused(/is over, but node n1 says that a container of it has the address/);
    // The Node is deleted under it, and it has no status: its word is heard all the same.
    await world.store.delete(resourceKey(nodeKind, "n1"));
    await refused(/is over, but node n1 says that a container of it has the address/);
    held = [];
    const done = await take();
    assert("given" in done);
    assert.equal((await world.ipam.assignment(address))!.handle, "net.heir");
  } finally {
    over = true;
    await answering;
  }
});
