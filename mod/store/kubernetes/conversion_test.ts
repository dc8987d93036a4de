/**
 * Objects as Calico writes them, read and written again: nothing is lost and nothing is added. Small
 * ones of our own always; all of the recorded dump where it is at hand.
 */
import assert from "node:assert/strict";
import { KINDS } from "../../model/kinds.ts";
import { mustPrefix } from "../../net/mod.ts";
import { parseJson } from "../json.ts";
import type { Json } from "../store.ts";
import type { KubeObject, KubernetesApi } from "./api.ts";
import { crdSource } from "./crd.ts";
import { ipamSources } from "./ipam.ts";
import { readMetadata, writeMetadata } from "./metadata.ts";
import { affinityName, cidrName, cidrOfName, convertUid } from "./names.ts";
import type { Source } from "./source.ts";
import { GOLDENS } from "./testing/goldens.ts";

const IPAM: Record<string, Source> = Object.fromEntries(
  ipamSources().map((source) => [source.resource.kind, source]),
);
const { IPAMBlock: blockSource, BlockAffinity: affinitySource, IPAMHandle: handleSource } = IPAM;

function sourceFor(kind: string): Source {
  return IPAM[kind] ?? crdSource(KINDS.find((one) => one.kind === kind && one.home === "calico")!);
}

/** An API that keeps what is written to it. */
function recorder(): { api: KubernetesApi; written: () => KubeObject } {
  let body: KubeObject | undefined;
  const keep = (_resource: unknown, object: KubeObject) => {
    body = object;
    return Promise.resolve({ ...object, metadata: { ...object.metadata, resourceVersion: "2" } });
  };
  const api = { create: keep, replace: keep } as unknown as KubernetesApi;
  return { api, written: () => body! };
}

/** Reads an object and writes its entry: it must be the same again. */
async function roundTrip(text: string): Promise<void> {
  const object = parseJson(text) as unknown as KubeObject;
  const source = sourceFor(object.kind!);
  const [reading] = source.read(object);
  assert(reading.value !== undefined, reading.key);
  assert(source.prefixes.some((prefix) => reading.key.startsWith(prefix)), reading.key);
  const at = source.locate(reading.key)!;
  assert.equal(at.name, object.metadata.name);
  const { api, written } = recorder();
  await source.write.create(api, reading.key, at, reading.value);
  const made = JSON.parse(JSON.stringify(written(), big));
  assert.deepEqual(made, JSON.parse(JSON.stringify(object, big)), reading.key);
}

const big = (_key: string, value: unknown) => typeof value === "bigint" ? `${value}n` : value;

for (const name of ["pool", "set", "policy", "block", "affinity", "handle", "config"] as const) {
  Deno.test(`a ${name} is read and written without a change`, () => roundTrip(GOLDENS[name]));
}

Deno.test("a newer version's IPAM settings go through a rewrite", () =>
  roundTrip(
    GOLDENS.config.replace('"strictAffinity"', '"futureSetting":{"x":1},"strictAffinity"'),
  ));

Deno.test("what is read is what etcd would hold", () => {
  const read = (name: keyof typeof GOLDENS) => {
    const object = parseJson(GOLDENS[name]) as unknown as KubeObject;
    return sourceFor(object.kind!).read(object)[0] as { key: string; value: Json };
  };
  assert.deepEqual(read("set"), {
    key: "/calico/resources/v3/projectcalico.org/globalnetworksets/strangers",
    value: {
      kind: "GlobalNetworkSet",
      apiVersion: "projectcalico.org/v3",
      metadata: {
        name: "strangers",
        creationTimestamp: "2026-01-02T03:04:05Z",
        labels: { zone: "bad" },
      },
      spec: { nets: ["198.51.100.0/24"] },
    },
  });
  assert.deepEqual((read("policy").value as any).metadata.annotations, {
    "projectcalico.org/metadata": '{"name":"secure.first"}',
  });
  assert.deepEqual(read("block"), {
    key: "/calico/ipam/v2/assignment/ipv4/block/192.0.2.4-30",
    value: {
      cidr: "192.0.2.4/30",
      affinity: "host:n1",
      affinity_claim_time: "2026-01-02T03:04:05Z",
      allocations: [null, 0, null, null],
      unallocated: [2, 3, 0],
      attributes: [{
        handle_id: "net.ctr",
        secondary: { namespace: "red", node: "n1", pod: "p" },
      }],
      sequenceNumber: 1767323045000000123n,
      sequenceNumberForAllocation: { "1": 1767323045000000001n },
      deleted: false,
    },
  });
  assert.deepEqual(read("affinity"), {
    key: "/calico/ipam/v2/host/cal1/ipv4/block/192.0.2.4-30",
    value: { state: "confirmed", deleted: false },
  });
  assert.deepEqual(read("handle"), {
    key: "/calico/ipam/v2/handle/net.Ctr",
    value: { block: { "192.0.2.4/30": 1 }, deleted: false },
  });
  assert.deepEqual(read("config"), {
    key: "/calico/ipam/v2/config",
    value: { auto_allocate_blocks: true, kubeVirtVMAddressPersistence: "Enabled" },
  });
});

Deno.test("records that are marked as deleted are not there", () => {
  for (const [name, mark] of [["block", true], ["affinity", "true"], ["handle", true]] as const) {
    const object = parseJson(GOLDENS[name]) as unknown as KubeObject;
    object.spec.deleted = mark;
    const source = sourceFor(object.kind!);
    assert.equal(source.read(object)[0].value, undefined);
    assert(source.isMarked!(object));
  }
});

Deno.test("records that are half written are passed over", () => {
  for (const spec of [undefined, {}, { cidr: 5 }, { cidr: "nonsense", node: "n1" }]) {
    const object = { metadata: { name: "x" }, spec } as KubeObject;
    assert.deepEqual(blockSource.read(object), []);
    assert.deepEqual(affinitySource.read(object), []);
  }
  // Its name says which handle it is, and nothing of what it counts.
  for (const spec of [undefined, {}, "text"]) {
    assert.deepEqual(handleSource.read({ metadata: { name: "h" }, spec }), [
      { key: "/calico/ipam/v2/handle/h", value: { deleted: false } },
    ]);
  }
});

Deno.test("an object of another name than its spec's is nothing, and said to be so", () => {
  for (const name of ["block", "affinity", "handle"] as const) {
    const object = parseJson(GOLDENS[name]) as unknown as KubeObject;
    const source = sourceFor(object.kind!);
    const [{ key }] = source.read(object);
    const twin = { ...object, metadata: { ...object.metadata, name: "zzz" } };
    assert.deepEqual(source.read(twin), []);
    assert.deepEqual(source.strange!(twin), [{
      key: `${source.prefixes[0]}zzz`,
      reason: `${object.kind} zzz says that it is what ${object.metadata.name} is the name of`,
      speaksOf: key,
    }]);
  }
});

Deno.test("an affinity of no type is a host's; the virtual owner has keys of its own", () => {
  const read = (spec: { node: string; [field: string]: string }) => {
    const metadata = { name: `${spec.node}-192-0-2-0-26` };
    return affinitySource.read({ metadata, spec })[0].key;
  };
  const spec = { cidr: "192.0.2.0/26", node: "n1", state: "confirmed", deleted: "false" };
  assert.equal(read(spec), "/calico/ipam/v2/host/n1/ipv4/block/192.0.2.0-26");
  assert.equal(
    read({ ...spec, node: "load-balancer", type: "virtual" }),
    "/calico/ipam/v2/virtual/load-balancer/ipv4/block/192.0.2.0-26",
  );
});

Deno.test("names of blocks and affinities", () => {
  for (
    const cidr of ["10.244.1.0/26", "0.0.0.0/32", "fd00::1:0/122", "::/120", "1:2:3:4:5:6:7:0/116"]
  ) {
    assert.deepEqual(cidrOfName(cidrName(mustPrefix(cidr))), mustPrefix(cidr));
  }
  for (const name of ["zzz", "10-244-1-0", "10-244-1-1-26", "1-2-3-4-5-6-26", "--", "a-b"]) {
    assert.equal(cidrOfName(name), undefined, name);
  }
  assert.equal(cidrName(mustPrefix("10.244.1.0/26")), "10-244-1-0-26");
  assert.equal(cidrName(mustPrefix("fd00::1:0/122")), "fd00--1-0-122");
  assert.equal(affinityName("n1", mustPrefix("10.244.1.0/26")), "n1-10-244-1-0-26");
  const long = affinityName("h".repeat(250), mustPrefix("10.244.1.0/26"));
  assert.equal(long.length, 252);
  assert.match(long, /^h+-10-244-1-0-26-[0-9a-f]{11}$/);
  assert.notEqual(long, affinityName("h".repeat(249), mustPrefix("10.244.1.0/26")));
});

Deno.test("UIDs are turned bit by bit, and back", () => {
  const uid = "01020304-0506-4708-8c0a-0b0c0d0e0f10";
  const turned = convertUid(uid);
  assert.equal(turned, "8040c020-a060-4710-8c50-d030b070f008");
  assert.equal(convertUid(turned), uid);
  assert.equal(convertUid("not-a-uid"), "not-a-uid");
});

Deno.test("an object of kubectl has its own metadata", () => {
  const metadata = readMetadata({
    metadata: {
      name: "a",
      uid: "01020304-0506-4708-8c0a-0b0c0d0e0f10",
      creationTimestamp: "2026-01-01T00:00:00Z",
      resourceVersion: "7",
      labels: { a: "b" },
      managedFields: [{}],
    },
  }, false);
  assert.deepEqual(metadata, {
    name: "a",
    uid: "8040c020-a060-4710-8c50-d030b070f008",
    creationTimestamp: "2026-01-01T00:00:00Z",
    labels: { a: "b" },
  });
});

Deno.test("labels, annotations, owners and finalizers survive", () => {
  const metadata = {
    name: "a",
    namespace: "ns",
    creationTimestamp: "2026-01-01T00:00:00Z",
    labels: { plain: "1", "projectcalico.org/tier": "t" },
    annotations: { note: "x", "operator.tigera.io/y": "z" },
    ownerReferences: [{
      apiVersion: "projectcalico.org/v3",
      kind: "Tier",
      name: "t",
      uid: "8040c020-a060-4710-8c50-d030b070f008",
    }],
    finalizers: ["projectcalico.org/tier-controller"],
  };
  const written = writeMetadata(metadata, false);
  assert.deepEqual(written.labels, { "projectcalico.org/tier": "t" });
  assert.deepEqual(Object.keys(written.annotations!), [
    "operator.tigera.io/y",
    "projectcalico.org/metadata",
  ]);
  assert.deepEqual(written.ownerReferences, [{
    apiVersion: "crd.projectcalico.org/v1",
    kind: "Tier",
    name: "t",
    uid: "01020304-0506-4708-8c0a-0b0c0d0e0f10",
  }]);
  assert.deepEqual(readMetadata({ metadata: written }, false), metadata);
});

Deno.test("an annotation that is no JSON hides nothing", () => {
  const metadata = readMetadata({
    metadata: { name: "a", annotations: { "projectcalico.org/metadata": "{", b: "c" } },
  }, true);
  assert.deepEqual(metadata.annotations, { b: "c" });
});

const DUMP = new URL("../../../../shared/reference/calico-kubernetes-dump.md", import.meta.url);
const dump = await Deno.readTextFile(DUMP).catch(() => undefined);

Deno.test({
  name: `all that a real Calico wrote is read and written without a change${
    dump === undefined ? " (skipped: shared/reference is not here)" : ""
  }`,
  ignore: dump === undefined,
  async fn() {
    const objects = [...dump!.matchAll(/```json\n(\{"apiVersion":"crd.*)\n```/g)].map((m) => m[1]);
    assert(objects.length >= 40, `${objects.length} objects`);
    for (const text of objects) await roundTrip(text);
  },
});

Deno.test("a tier that kubectl wrote has the order of the default tier, as Calico reads it here", () => {
  const read = (spec: unknown) => {
    const metadata = { name: "t" };
    const [{ value }] = sourceFor("Tier").read({ metadata, spec } as unknown as KubeObject);
    return (value as { spec: unknown }).spec;
  };
  assert.deepEqual(read({}), { order: 1_000_000, defaultAction: "Deny" });
  assert.deepEqual(read(undefined), { order: 1_000_000, defaultAction: "Deny" });
  assert.deepEqual(read({ order: 0, defaultAction: "Pass", x: 1 }), {
    order: 0,
    defaultAction: "Pass",
    x: 1,
  });
  assert.equal(read("none"), "none");
});
