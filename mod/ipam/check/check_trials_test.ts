/**
 * A sound cluster gives no finding, whatever has happened in it; a damaged one gives the finding of
 * every damage, by its kind and by what it is about.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { ippoolKind } from "../../model/ippool.ts";
import { IPAM_PREFIX, resourceKey } from "../../model/keys.ts";
import { check, checkStore } from "./check.ts";
import { explain, type FindingKind, FINDINGS } from "./finding.ts";
import { readRecords } from "./records.ts";
import { SoundCluster, step } from "./testing/clusters.ts";
import { FRESH_MS } from "./use.ts";
import type { AskNodes } from "../ask_nodes.ts";
import { askedId } from "../questions.ts";
import { type Damage, DAMAGES as RECORD_DAMAGES, furnish, sceneOf } from "./testing/damages.ts";
import { furnishAll, HOLDER_DAMAGES } from "./testing/holder_damages.ts";

const DAMAGES: readonly Damage[] = [...RECORD_DAMAGES, ...HOLDER_DAMAGES];

async function inCluster(run: (cluster: SoundCluster) => Promise<void>): Promise<void> {
  const cluster = new SoundCluster();
  try {
    await cluster.begin();
    await run(cluster);
  } finally {
    await cluster.store.close();
  }
}

Deno.test("whatever happens in a sound cluster: nothing is found", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 30 }),
      fc.constantFrom(0, 60),
      (steps, ipCooldownSeconds) =>
        inCluster(async (cluster) => {
          await cluster.configure({ ipCooldownSeconds });
          for (const one of steps) await cluster.take(one);
          const { findings, allocations } = check(await readRecords(cluster.store), cluster.now);
          assert.deepEqual(findings, []);
          assert(allocations.every(({ owners }) => owners.length > 0));
        }),
    ),
    { numRuns: 40 },
  );
});

Deno.test("one of everybody who may have an address, in a sound cluster: nothing is found", () =>
  inCluster(async (cluster) => {
    // The larger pools of a cluster that has so many.
    await cluster.pool("more", "10.1.0.0/24", { blockSize: 26 });
    const held = await furnishAll(cluster);
    const { findings, allocations } = await checkStore(cluster.store, { now: () => cluster.now });
    assert.deepEqual(findings, []);
    for (const { address } of held) {
      assert(allocations.some((one) => one.address === address && one.owners.length > 0), address);
    }
  }));

/** Nodes that answer: no container has any of it. */
const nobody: AskNodes = (questions) =>
  Promise.resolve(
    new Map(
      [...questions].map((
        [node, asked],
      ) => [node, { held: new Set<string>(), asked: new Set(asked.map(askedId)) }]),
    ),
  );

/** The damage is done, found under its name, and explained; false where it cannot be done there. */
async function mustFind(cluster: SoundCluster, damage: Damage, seed: number): Promise<boolean> {
  const sound = check(await readRecords(cluster.store), cluster.now).findings;
  assert.deepEqual(sound, []);
  const subject = await damage.do(sceneOf(cluster, seed));
  if (subject === undefined) return false;
  cluster.now += FRESH_MS;
  const { findings } = await checkStore(cluster.store, { now: () => cluster.now, ask: nobody });
  const found = findings.filter((f) => f.kind === damage.kind && f.subject === subject);
  assert.equal(found.length, 1, `${damage.kind} of ${subject} in ${JSON.stringify(findings)}`);
  assert.match(explain(found[0]), /: ./);
  return true;
}

for (const damage of DAMAGES) {
  Deno.test(`damage: ${damage.name}: ${damage.kind}`, async () => {
    let done = 0;
    for (let seed = 0; seed < 4; seed++) {
      await inCluster(async (cluster) => {
        await furnish(cluster);
        if (await mustFind(cluster, damage, seed)) done++;
      });
    }
    assert(done > 0, "it was never done");
  });
}

Deno.test("any damage in any cluster is found and named", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 12 }),
      fc.constantFrom(...DAMAGES),
      fc.nat(1000),
      (steps, damage, seed) =>
        inCluster(async (cluster) => {
          await furnish(cluster);
          for (const one of steps.filter((s) => s.do !== "release")) await cluster.take(one);
          await mustFind(cluster, damage, seed);
        }),
    ),
    { numRuns: 80 },
  );
});

Deno.test("a pool replaced by one of another block size is said to drain, and is no fault", async () => {
  await inCluster(async (cluster) => {
    await furnish(cluster);
    const used = (await cluster.blocks()).filter((cidr) => cidr.startsWith("10.0."));
    const key = resourceKey(ippoolKind, "four");
    const { value } = (await cluster.store.get<any>(key))!;
    const seen = async () => {
      const { findings, passing } = await checkStore(cluster.store, { now: () => cluster.now });
      assert.deepEqual(findings, []);
      return passing.map((one) => [one.kind, one.subject]);
    };
    assert.deepEqual(await seen(), []);
    await cluster.store.put(key, { ...value, spec: { ...value.spec, disabled: true } });
    assert.deepEqual(await seen(), []);
    await cluster.pool("new", value.spec.cidr, { blockSize: 30 });
    const drains = used.map((cidr) => ["blockSize", cidr]);
    assert.deepEqual(await seen(), [["poolReplaced", "four new"], ...drains]);
    await cluster.store.delete(key);
    assert.deepEqual(await seen(), drains);
  });
});

Deno.test("every kind of finding has its damage", () => {
  const done = new Set(DAMAGES.map(({ kind }) => kind));
  assert.deepEqual(Object.keys(FINDINGS).filter((kind) => !done.has(kind as FindingKind)), []);
});

Deno.test("a cluster may have more findings than a call has arguments", () => {
  const strange = Array.from({ length: 200_000 }, (_, i) => ({
    key: `${IPAM_PREFIX}x/${i}`,
    value: {},
    revision: "1",
  }));
  const none = { blocks: [], affinities: [], handles: [], pools: [], nodes: [], endpoints: [] };
  const { findings } = check({ ...none, pods: [], services: [], strange }, 0);
  assert.equal(findings.length, strange.length);
});

Deno.test("a fault that comes and goes is none", async () => {
  await inCluster(async (cluster) => {
    await furnish(cluster);
    // Between the two looks the ADD ends: its endpoint is there.
    const pod = cluster.pods[0];
    const { value } = (await cluster.store.get(pod.key))!;
    await cluster.store.delete(pod.key);
    cluster.now += FRESH_MS;
    let looks = 0;
    const { findings, leaked } = await checkStore(
      {
        get: (key: string) => cluster.store.get(key),
        list: async (prefix: string) => {
          if (prefix === IPAM_PREFIX && ++looks === 2) await cluster.store.put(pod.key, value);
          return await cluster.store.list(prefix);
        },
      } as typeof cluster.store,
      { now: () => cluster.now, ask: nobody },
    );
    assert.equal(looks, 2);
    assert.deepEqual(findings, []);
    assert.deepEqual(leaked, []);
  });
});

Deno.test("workloads with addresses of another IPAM are named, and are no fault", () =>
  inCluster(async (cluster) => {
    for (const name of ["a", "b"]) {
      const ipNetworks = [`172.31.9.${name === "a" ? 1 : 2}/32`];
      const spec = { orchestrator: "k8s", node: "n0", pod: name, endpoint: "eth0", ipNetworks };
      const key =
        `/calico/resources/v3/projectcalico.org/workloadendpoints/blue/n0-k8s-${name}-eth0`;
      await cluster.store.put(key, { metadata: { name, namespace: "blue" }, spec });
    }
    const { findings, passing, notInPool } = await checkStore(cluster.store, {
      now: () => cluster.now,
    });
    assert.deepEqual(findings, []);
    assert.deepEqual(notInPool, ["172.31.9.1", "172.31.9.2"]);
    assert.deepEqual(passing.map(({ kind, subject }) => `${kind} ${subject}`), [
      "outsidePools 172.31.9.1, 172.31.9.2",
    ]);
    assert.match(explain(passing[0]), /2 addresses of workloads are in no pool: .*: host-local/);
    // In a pool that gives nothing it is one: IPAM may give it again.
    await cluster.store.put(resourceKey(ippoolKind, "shut"), {
      metadata: { name: "shut" },
      spec: { cidr: "172.31.9.0/24", blockSize: 26, disabled: true },
    });
    const later = await checkStore(cluster.store, { now: () => cluster.now });
    assert.deepEqual(later.findings.map(({ kind }) => kind), ["notInPool", "notInPool"]);
  }));
