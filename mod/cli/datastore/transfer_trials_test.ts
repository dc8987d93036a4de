/**
 * Whole datastores through the file of an export: what comes out of a random cluster goes into an empty
 * store and is the same there; names of nodes; files that are not whole; imports that are cut off.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { checkStore } from "../../ipam/check/check.ts";
import { SoundCluster, step } from "../../ipam/check/testing/clusters.ts";
import { handlePrefix } from "../../model/keys.ts";
import { parseManifest } from "../../model/manifest.ts";
import { memoryStore } from "../../store/memory.ts";
import { Resources } from "../../store/resources.ts";
import { type Store, StoreError } from "../../store/store.ts";
import { CliError } from "../io.ts";
import { canonical, type Content, itemKey, itemText, PARTS, readContent } from "./content.ts";
import { CALICO_KINDS, parseArchive, printArchive } from "./file.ts";
import { ImportError, performImport } from "./perform.ts";
import { clusterOf, isLocked, setLock, unfinishedImport } from "./lock.ts";
import { nodeNames, rename } from "./node_names.ts";
import { planImport } from "./plan.ts";

const LABELS = fc.dictionary(
  fc.constantFrom("app", "tier", "a.b/c"),
  fc.constantFrom("", "x", "y-1"),
  { maxKeys: 2 },
);
const NAME = fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/);

/** More than Calico 3.33 allows, which 3.32 does not count. */
const PORTS = Array.from({ length: 60 }, (_, i) => i + 1);

/** Every kind of Calico's that users write, with something in it. */
const SPECS: Record<string, (n: number) => unknown> = {
  IPPool: (n) => ({ cidr: `172.${16 + n % 16}.0.0/16`, blockSize: 26, vxlanMode: "CrossSubnet" }),
  BGPFilter: () => ({ exportV4: [{ action: "Reject", matchOperator: "In", cidr: "10.0.0.0/8" }] }),
  BGPPeer: (n) => ({ peerIP: `192.0.2.${n % 250}`, asNumber: 64512 + n, nodeSelector: "all()" }),
  Tier: (n) => ({ order: n }),
  GlobalNetworkPolicy: (n) => ({
    order: n,
    selector: "app == 'x'",
    ingress: [{ action: "Allow" }],
  }),
  StagedGlobalNetworkPolicy: () => ({ stagedAction: "Set", types: ["Egress"] }),
  GlobalNetworkSet: (n) => ({ nets: [`198.51.100.${n % 250}/32`] }),
  HostEndpoint: (n) => ({ node: `n${n % 3}`, interfaceName: `eth${n}` }),
  NetworkPolicy: () => ({
    egress: [{ action: "Deny", protocol: "UDP", destination: { ports: PORTS } }],
  }),
  StagedNetworkPolicy: () => ({ stagedAction: "Delete" }),
  StagedKubernetesNetworkPolicy: () => ({ podSelector: {}, policyTypes: ["Ingress"] }),
  NetworkSet: () => ({ nets: ["fd00::/64"] }),
  IPReservation: (n) => ({ reservedCIDRs: [`10.0.0.${n % 250}/32`] }),
  Profile: () => ({ ingress: [{ action: "Allow" }], labelsToApply: { p: "q" } }),
  FelixConfiguration: (n) => ({ vxlanMTU: 1400 + n, logSeverityScreen: "Info" }),
  BGPConfiguration: (n) => ({ logSeverityScreen: n % 2 ? "Info" : "Debug" }),
};
const NAMESPACED = /^(Staged(Kubernetes)?)?Network(Policy|Set)$/;
/** Kinds whose names mean something. */
const NODE_KINDS = ["FelixConfiguration", "BGPConfiguration"];

const manifest = fc.record({
  kind: fc.constantFrom(...Object.keys(SPECS)),
  name: NAME,
  number: fc.nat(1000),
  labels: LABELS,
  namespace: fc.constantFrom("default", "shop"),
}).map(({ kind, name, number, labels, namespace }) => ({
  apiVersion: "projectcalico.org/v3",
  kind,
  metadata: {
    name: NODE_KINDS.includes(kind) ? `node.n${number % 3}` : name,
    ...NAMESPACED.test(kind) && { namespace },
    labels,
    annotations: { note: `<${number}> === "ä"\n===\n` },
  },
  spec: SPECS[kind](number),
}));

async function fill(store: Store, manifests: readonly unknown[]): Promise<void> {
  const resources = new Resources(store);
  await resources.ensureInitialized();
  for (const value of manifests) {
    const { kind, object } = parseManifest(value);
    await resources.create(kind, object, { unsafe: true }).catch((error) => {
      if (error.kind !== "exists") throw error;
    });
  }
}

async function exported(store: Store, whole = true): Promise<string> {
  return [...printArchive(await readContent(store), whole)].join("");
}

async function imported(store: Store, text: string, at: (done: number) => void = () => {}) {
  const wanted = parseArchive(text, "file");
  const resources = new Resources(store);
  await resources.ensureInitialized();
  const { entries, ...there } = await readContent(store);
  const plan = planImport(wanted, there, false);
  assert.deepEqual(plan.inTheWay, []);
  await performImport({ resources, plan, wanted, entries, digest: "digest", at });
  return plan;
}

/** All that is to be the same in two datastores. */
function picture(content: Content): Record<string, string> {
  return Object.fromEntries([
    ...content.items.map((item) => [itemKey(item), itemText(item)]),
    ...PARTS.flatMap((part) =>
      content.records[part].map(({ key, value }) => [key, canonical(value)])
    ),
  ].sort(([a], [b]) => a < b ? -1 : 1));
}

Deno.test("a random cluster is the same in the datastore that imports it", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 25 }),
      fc.array(manifest, { maxLength: 12 }),
      async (steps, manifests) => {
        const cluster = new SoundCluster();
        await cluster.begin();
        for (const each of steps) await cluster.take(each);
        await fill(cluster.store, manifests);
        const text = await exported(cluster.store);

        const other = memoryStore();
        await imported(other, text);
        const [before, after] = [await readContent(cluster.store), await readContent(other)];
        assert.deepEqual([before.leftOut, before.broken], [[], []]);
        assert.deepEqual([after.leftOut, after.broken], [[], []]);
        assert.deepEqual(picture(after), picture(before));
        assert.equal(after.cluster?.spec.clusterGUID, before.cluster?.spec.clusterGUID);
        assert(isLocked(after.cluster));
        // The records are sound, and the same addresses are held by the same.
        const held = async (store: Store) => {
          const { allocations, findings } = await checkStore(store, { now: () => cluster.now });
          const list = allocations.map(({ address, handle }) => `${address} ${handle}`);
          return { list: list.sort(), findings: findings.map(({ kind }) => kind).sort() };
        };
        assert.deepEqual(await held(other), await held(cluster.store));
        // Again: nothing is left to do, and the export of the copy is the same.
        const again = await imported(other, text);
        assert.deepEqual([again.create, again.replace, again.records], [[], [], []]);
        await setLock(new Resources(cluster.store), true);
        const parts = async (store: Store) => (await exported(store)).split("===\n");
        assert.deepEqual((await parts(other)).at(-1), (await parts(cluster.store)).at(-1));
        await Promise.all([cluster.store.close(), other.close()]);
      },
    ),
    { numRuns: 12 },
  );
});

/** A store that refuses, or is gone, from the nth write on. */
function failing(store: Store, after: number, kind: "unavailable" | "denied"): Store {
  let left = after;
  const refuse = () => {
    if (left-- <= 0) throw new StoreError(kind, `it is ${kind}`);
  };
  return new Proxy(store, {
    get(target, name) {
      if (name === "create" || name === "update") {
        return async (...args: [string, unknown, any]) => {
          refuse();
          return await target[name](...args);
        };
      }
      const value = target[name as keyof Store];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

async function sample(): Promise<{ text: string; count: number }> {
  const cluster = new SoundCluster();
  await cluster.begin();
  for (const node of [0, 1, 2]) {
    await cluster.take({ do: "pod", node, six: true, endpoint: true });
    await cluster.take({ do: "tunnel", node });
  }
  await fill(
    cluster.store,
    Object.entries(SPECS).map(([kind, spec], i) => ({
      apiVersion: "projectcalico.org/v3",
      kind,
      metadata: {
        name: NODE_KINDS.includes(kind) ? "default" : `x${i}`,
        ...NAMESPACED.test(kind) && { namespace: "shop" },
      },
      spec: spec(i),
    })),
  );
  const text = await exported(cluster.store);
  const count = Object.keys(picture(await readContent(cluster.store))).length;
  await cluster.store.close();
  return { text, count };
}

Deno.test("an import that is cut off at any write goes on when it is given again", async () => {
  const { text, count } = await sample();
  for (let after = 0; after < count + 6; after += 7) {
    const store = memoryStore();
    const cut = imported(failing(store, after, "unavailable"), text);
    const end = await cut.then(() => undefined, (error) => error);
    const cluster = await clusterOf(new Resources(store));
    if (end) {
      if (unfinishedImport(cluster) !== undefined) {
        assert.equal((end as ImportError).kind, "unfinished");
        assert(isLocked(cluster), "the half of a cluster is locked");
      }
      await imported(store, text);
    }
    const whole = await readContent(store);
    assert.equal(unfinishedImport(whole.cluster), undefined);
    const wanted = picture(parseArchive(text, "file"));
    for (const [key, value] of Object.entries(wanted)) assert.equal(picture(whole)[key], value);
    await store.close();
  }
});

Deno.test("an import that is refused at any write leaves nothing", async () => {
  const { text, count } = await sample();
  for (let after = 0; after < count - 4; after += 5) {
    const store = memoryStore();
    await new Resources(store).ensureInitialized();
    const before = picture(await readContent(store));
    await assert.rejects(
      // What takes back and unlocks again is let through: it deletes, and updates one object.
      imported(refusing(store, after), text),
      (error: ImportError) => error.kind === "undone",
    );
    const there = await readContent(store);
    assert.deepEqual(picture(there), before, `after ${after} writes`);
    assert(!isLocked(there.cluster));
    assert.equal(unfinishedImport(there.cluster), undefined);
    await store.close();
  }
});

/** Refuses every creation from the nth on. */
function refusing(store: Store, after: number): Store {
  let left = after;
  return new Proxy(store, {
    get(target, name) {
      if (name === "create") {
        return async (...args: [string, unknown, any]) => {
          if (left-- <= 0) throw new StoreError("denied", "it is forbidden");
          return await target.create(...args);
        };
      }
      const value = target[name as keyof Store];
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

Deno.test("objects of others are in the way, and named", async () => {
  const { text } = await sample();
  const store = memoryStore();
  await fill(store, [
    {
      apiVersion: "projectcalico.org/v3",
      kind: "IPPool",
      metadata: { name: "mine" },
      spec: { cidr: "10.99.0.0/16" },
    },
    {
      apiVersion: "projectcalico.org/v3",
      kind: "FelixConfiguration",
      metadata: { name: "default" },
      spec: { vxlanMTU: 9000 },
    },
  ]);
  const { entries: _, ...there } = await readContent(store);
  const wanted = parseArchive(text, "file");
  assert.deepEqual(
    [...planImport(wanted, there, false).inTheWay].sort(),
    ["FelixConfiguration default (it differs)", "IPPool mine"],
  );
  // On Kubernetes, Nodes are its own: those that are there are written, others passed over.
  const plan = planImport(wanted, there, true);
  assert.deepEqual(plan.unknownNodes, ["n0", "n1", "n2"]);
  assert(plan.skipped.some(({ kind }) => kind.kind === "WorkloadEndpoint"));
  assert(plan.skipped.every(({ kind }) => !CALICO_KINDS.includes(kind)));
});

Deno.test("a file that is cut off or changed is refused with the place", async () => {
  const { text } = await sample();
  const refused = (file: string, want: RegExp) =>
    assert.throws(() => parseArchive(file, "f.yaml"), (error: CliError) => {
      assert(error instanceof CliError);
      assert.match(error.message, want);
      return true;
    });
  refused("", /^f\.yaml is no export: want three parts/);
  refused(text.slice(0, text.length / 3), /is no export|is not JSON/);
  refused(text.slice(0, -40), /is not JSON.*export again/);
  refused(text.replace("kind: IPPool\n", "kind: IPPond\n"), /f\.yaml:\d+: document 1: .*IPPond/);
  refused(
    text.replace(/"Key": "\/calico\/ipam\/v2\/handle/, '"Key": "/calico/x'),
    /no such record/,
  );
  refused(text.replace("name: four", "name: six"), /there are two of .*ippools\/six/);
  refused(
    text.replace("name: four", "nam: four"),
    /f\.yaml:\d+: document 1: metadata\.name is .*want a name/,
  );
  refused(
    text.replace("name: four", "name: a\/b"),
    /metadata\.name is "a\/b": want a name without \//,
  );
  refused(text.replace("\n===\n", "\n===\nnull\n===\n"), /found 4/);
});

Deno.test("nodes get their Kubernetes names wherever they are mentioned", async () => {
  const cluster = new SoundCluster();
  await cluster.begin();
  await cluster.take({ do: "pod", node: 0, six: true, endpoint: true });
  await cluster.take({ do: "tunnel", node: 0 });
  const object = (kind: string, name: string, spec: unknown) => ({
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: { name },
    spec,
  });
  await fill(cluster.store, [
    object("FelixConfiguration", "node.n0", { vxlanMTU: 1400 }),
    object("BGPPeer", "p", { peerIP: "192.0.2.1", asNumber: 64512, node: "n0" }),
    object("HostEndpoint", "h", { node: "n0", interfaceName: "eth0" }),
  ]);
  const content = await readContent(cluster.store);
  assert.deepEqual(nodeNames(content.items).faults.length, 3, "no node has a reference");
  const items = content.items.map((item) =>
    item.kind.kind !== "Node" ? item : {
      ...item,
      object: {
        ...item.object,
        spec: {
          orchRefs: [{ orchestrator: "k8s", nodeName: `${item.object.metadata.name}.example` }],
        },
      },
    }
  );
  const { names, faults } = nodeNames(items);
  assert.deepEqual(faults, []);
  const { handles } = content.records;
  const named = handles.map(({ key, value }) => ({
    key,
    value: { ...value, HandleID: key.slice(handlePrefix.length) },
  }));
  const renamed = rename(
    { ...content, items, records: { ...content.records, handles: named } },
    names,
  );
  assert.ok(renamed.records.handles.some(({ key }) => key.endsWith("-n0.example")));
  for (const { key, value } of renamed.records.handles) {
    assert.equal(value.HandleID, key.slice(handlePrefix.length));
  }
  const text = [...printArchive(rename({ ...content, items }, names), false)].join("");
  // Names of endpoints hold the node's name, but they are not exported.
  assert.doesNotMatch(text.replaceAll(/n[012]\.example/g, ""), /\bn[012]\b(?!\.example)/);
  assert.match(text, /name: node\.n0\.example/);
  assert.match(text, /"affinity":"host:n0\.example"/);
  assert.match(text, /host\/n0\.example\/ipv4\/block/);
  const read = parseArchive(text, "file");
  assert.equal(read.records.blocks.length, content.records.blocks.length);
});
