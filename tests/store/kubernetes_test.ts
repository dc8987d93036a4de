/**
 * What the kubernetes driver makes of Calico's keys, on an API server: IPAM's records, Nodes, Pods,
 * profiles, Kubernetes' own objects; lists and watches over all of them. `kubernetes_faults_test.ts` has
 * what goes wrong.
 */
import assert from "node:assert/strict";
import { Collector, fold, pause, refusal } from "../../mod/store/conformance/case.ts";
import { type Store, StoreError } from "../../mod/store/store.ts";
import type { Kube } from "../kube/kube.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import type { StoredIpamConfig } from "../../mod/model/ipam_config.ts";
import { calicoDefinitions } from "../kube/calico_definitions.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";

async function on(run: (kube: Kube, store: Store) => Promise<void>): Promise<void> {
  const kube = await startCalico();
  const store = await openStore(kube);
  try {
    await run(kube, store);
  } finally {
    await store.close();
    await kube.close();
  }
}

const V3 = "/calico/resources/v3/projectcalico.org/";
const IPAM = "/calico/ipam/v2/";
const CRD = "crd.projectcalico.org";
const BLOCK = `${IPAM}assignment/ipv4/block/192.0.2.4-30`;
const block = (n: bigint) => ({
  cidr: "192.0.2.4/30",
  affinity: "host:n1",
  allocations: [null, null, null, null],
  unallocated: [0, 1, 2, 3],
  attributes: [],
  sequenceNumber: n,
  sequenceNumberForAllocation: {},
  deleted: false,
});
const N = 1767323045000000123n;

/** A watch in the background. */
function follow(store: Store, prefix: string, from: string): Collector {
  return new Collector(store, prefix, from);
}

async function must(kube: Kube, method: string, path: string, body?: unknown) {
  const { status, body: answer } = await kube.call(method, path, body);
  assert(status < 300, `${method} ${path}: ${status} ${JSON.stringify(answer)}`);
  return answer;
}

async function makePod(kube: Kube, name: string, spec: object = {}, metadata: object = {}) {
  return await must(kube, "POST", "/api/v1/namespaces/default/pods", {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, labels: { app: name }, ...metadata },
    spec: { nodeName: "node-1", containers: [{ name: "c", image: "i" }], ...spec },
  });
}

const patch = (kube: Kube, path: string, body: unknown) =>
  kube.call("PATCH", path, body, { "content-type": "application/merge-patch+json" });

const endpointKey = (pod: string) =>
  `${V3}workloadendpoints/default/node--1-k8s-${pod.replaceAll("-", "--")}-eth0`;
const endpoint = (pod: string, container: string, ...ips: string[]) => ({
  kind: "WorkloadEndpoint",
  apiVersion: "projectcalico.org/v3",
  metadata: { name: `node--1-k8s-${pod}-eth0`, namespace: "default" },
  spec: {
    orchestrator: "k8s",
    node: "node-1",
    pod,
    endpoint: "eth0",
    containerID: container,
    ipNetworks: ips,
  },
});

Deno.test("a block is a custom resource, written and deleted by compare-and-swap", () =>
  on(async (kube, store) => {
    const { revision: start } = await store.list("/");
    const first = await store.create(BLOCK, block(N));
    const stored = kube.get("crd.projectcalico.org", "ipamblocks", "", "192-0-2-4-30")!;
    assert.equal(BigInt(stored.spec.sequenceNumber), N);
    assert.equal(stored.spec.strictAffinity, false);
    assert.deepEqual(stored.metadata.annotations, {
      "projectcalico.org/metadata": '{"creationTimestamp":null}',
    });
    const second = await store.update(BLOCK, block(N + 1n), first);
    const error = await refusal("conflict", store.update(BLOCK, block(N + 2n), first));
    assert.deepEqual(error.current, { key: BLOCK, value: block(N + 1n), revision: second });
    await refusal("conflict", store.delete(BLOCK, first));
    assert.equal(
      (await refusal("exists", store.create(BLOCK, block(N)))).current?.revision,
      second,
    );
    const gone = await store.delete(BLOCK, second);
    await refusal("notFound", store.delete(BLOCK, second));
    await refusal("notFound", store.update(BLOCK, block(N), second));
    assert.equal(await store.get(BLOCK), undefined);
    assert.equal(kube.all("crd.projectcalico.org", "ipamblocks").length, 0);
    const again = await store.create(BLOCK, block(N + 9n));
    // The mark is the deletion; the object's end is no event.
    const watch = follow(store, "/", start);
    const events = await watch.first(4);
    await pause(30);
    await watch.end();
    assert.deepEqual(watch.events.map(({ type, key, revision }) => [type, key, revision]), [
      ["put", BLOCK, first],
      ["put", BLOCK, second],
      ["delete", BLOCK, gone],
      ["put", BLOCK, again],
    ]);
    assert.deepEqual(events[1].type === "put" && events[1].value, block(N + 1n));
  }));

Deno.test("a record that was marked and not deleted is gone, and cleared away by whoever meets it", () =>
  on(async (kube, store) => {
    const AFFINITY = `${IPAM}host/n1/ipv4/block/192.0.2.4-30`, HANDLE = `${IPAM}handle/Net.Ctr`;
    const crd = "/apis/crd.projectcalico.org/v1";
    await store.create(BLOCK, block(N));
    await store.create(AFFINITY, { state: "confirmed", deleted: false });
    await store.create(HANDLE, { block: { "192.0.2.4/30": 1 }, deleted: false });
    const { revision: start } = await store.list(IPAM);
    const marks: [string, string, unknown][] = [
      [BLOCK, `${crd}/ipamblocks/192-0-2-4-30`, true],
      [AFFINITY, `${crd}/blockaffinities/n1-192-0-2-4-30`, "true"],
      [HANDLE, `${crd}/ipamhandles/net.ctr`, true],
    ];
    for (const [, path, deleted] of marks) await patch(kube, path, { spec: { deleted } });
    assert.deepEqual((await store.list(IPAM)).entries, []);
    assert.deepEqual((await store.list(`${IPAM}host/n1/`)).entries, []);
    assert.equal(await store.get(BLOCK), undefined);
    assert.equal((await kube.call("GET", marks[0][1])).status, 404);
    await refusal("notFound", store.delete(AFFINITY));
    assert.equal((await kube.call("GET", marks[1][1])).status, 404);
    // Made anew over a marked one.
    await store.create(HANDLE, { block: { "192.0.2.4/30": 2 }, deleted: false });
    const watch = follow(store, IPAM, start);
    const events = await watch.first(4);
    await watch.end();
    // The three kinds are watched side by side: between them there is no order.
    const told = events.map(({ type, key }) => `${type} ${key}`).sort();
    assert.deepEqual(
      told,
      [BLOCK, AFFINITY, HANDLE].map((key) => `delete ${key}`).concat(
        `put ${HANDLE}`,
      ).sort(),
    );
  }));

Deno.test("an owner's affinities are found by label, and those of old versions without one", () =>
  on(async (kube, store) => {
    const value = { state: "confirmed", deleted: false };
    const keys = [
      `${IPAM}host/n1/ipv4/block/192.0.2.0-26`,
      `${IPAM}host/n1/ipv4/block/192.0.2.64-26`,
      `${IPAM}host/n1/ipv6/block/fd00::-122`,
      `${IPAM}host/n11/ipv4/block/192.0.2.128-26`,
      `${IPAM}virtual/load-balancer/ipv4/block/192.0.2.192-26`,
    ];
    for (const key of keys) await store.create(key, value);
    const old = `/apis/crd.projectcalico.org/v1/blockaffinities/n1-192-0-2-64-26`;
    await patch(kube, old, { metadata: { labels: null, annotations: null }, spec: { type: null } });
    const list = async (prefix: string) => (await store.list(prefix)).entries.map(({ key }) => key);
    assert.deepEqual(await list(`${IPAM}host/n1/`), keys.slice(0, 3));
    assert.deepEqual(await list(`${IPAM}host/n1/ipv4/block/`), keys.slice(0, 2));
    assert.deepEqual(await list(`${IPAM}host/`), keys.slice(0, 4).sort());
    assert.deepEqual(await list(`${IPAM}virtual/load-balancer/`), keys.slice(4));
    assert.deepEqual(await list(IPAM), [...keys].sort());
  }));

Deno.test("a half-written record is told, and in nobody's way", () =>
  on(async (kube, store) => {
    await store.create(BLOCK, block(N));
    const crd = "/apis/crd.projectcalico.org/v1/ipamblocks";
    const { status } = await kube.call("POST", crd, {
      apiVersion: "crd.projectcalico.org/v1",
      kind: "IPAMBlock",
      metadata: { name: "half" },
      spec: {
        cidr: "nonsense",
        allocations: [],
        attributes: [],
        unallocated: [],
        strictAffinity: false,
      },
    });
    assert.equal(status, 201);
    for (const prefix of ["/", IPAM]) {
      const { entries, broken } = await store.list(prefix);
      assert(entries.some(({ key }) => key === BLOCK));
      assert.deepEqual(broken?.map(({ reason }) => reason), [
        "IPAMBlock half is half-written: its spec does not say of what it is",
      ]);
    }
  }));

Deno.test("an object whose metadata is damaged is told under its keys, and all others are read", () =>
  on(async (kube, store) => {
    const pool = (name: string) => ({
      apiVersion: "crd.projectcalico.org/v1",
      kind: "IPPool",
      metadata: { name },
      spec: { cidr: "192.0.2.0/24" },
    });
    for (const name of ["a", "b"]) {
      await must(kube, "POST", "/apis/crd.projectcalico.org/v1/ippools", pool(name));
      await makePod(kube, name, {}, {
        annotations: { "cni.projectcalico.org/podIP": "192.0.2.1" },
      });
    }
    const damage = (group: string, plural: string, name: string, metadata: object) => {
      const object = structuredClone(
        kube.all(group, plural).find((o) => o.metadata.name === name)!,
      );
      Object.assign(object.metadata, metadata);
      kube.put(group, plural, object);
    };
    // Passed over: the pod goes on.
    damage("", "pods", "a", { annotations: { "cni.projectcalico.org/podIP": "192.0.2.1", x: 5 } });
    const { revision } = await store.list("/");
    const collector = follow(store, "/", revision);
    const group = "crd.projectcalico.org";
    damage(group, "ippools", "b", { ownerReferences: "x" });
    damage("", "pods", "b", { labels: ["x"] });
    const keys = [`${V3}ippools/b`, "/tortie/kubernetes/pods/default/b", endpointKey("b")];

    const { entries, broken } = await store.list("/");
    for (const key of [`${V3}ippools/a`, "/tortie/kubernetes/pods/default/a", endpointKey("a")]) {
      assert(entries.some((entry) => entry.key === key), key);
    }
    assert.deepEqual(broken!.map(({ key }) => key).sort(), keys.toSorted());
    assert.match(broken!.find(({ key }) => key === keys[0])!.reason, /IPPool b.*ownerReferences/);
    assert.match(broken!.find(({ key }) => key === keys[1])!.reason, /Pod b.*labels/);
    assert.deepEqual((await store.list(`${V3}workloadendpoints/`)).broken?.length, 1);
    const told = await collector.first(3);
    for (const key of keys) {
      const event = told.find((one) => one.key === key)!;
      assert(event.type === "delete" && event.broken !== undefined, key);
      const { message, damaged } = await refusal("invalid", store.get(key));
      assert.match(message, /its metadata is damaged/);
      assert(damaged);
    }

    // Written anew it is there again, as it was: that is news to who heard that it was gone.
    damage("", "pods", "b", { labels: { app: "b" } });
    const back = (await collector.first(5)).slice(3).map(({ type, key }) => `${type} ${key}`);
    assert.deepEqual(back.sort(), keys.slice(1).map((key) => `put ${key}`).sort());
    await store.delete(keys[0], (await refusal("invalid", store.get(keys[0]))).damaged);
    assert.equal((await store.list("/")).broken, undefined);
    await collector.end();
  }));

Deno.test("over an object whose metadata is damaged every write is still a compare-and-swap", () =>
  on(async (kube, store) => {
    const POOLS = `/apis/${CRD}/v1/ippools`, key = `${V3}ippools/b`;
    const value = {
      kind: "IPPool",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "b" },
      spec: { cidr: "192.0.2.0/24" },
    };
    const damage = (group: string, plural: string, metadata: object) => {
      const object = structuredClone(
        kube.all(group, plural).find((o) => o.metadata.name === "b")!,
      );
      Object.assign(object.metadata, metadata);
      kube.put(group, plural, object);
    };
    const before = await store.create(key, value);
    damage(CRD, "ippools", { ownerReferences: "x" });
    const damaged = (await refusal("invalid", store.get(key))).damaged!;
    await refusal("conflict", store.update(key, value, before));
    assert.match(
      (await refusal("exists", store.create(key, value))).message,
      /its metadata is damaged/,
    );
    const refused = await refusal("conflict", store.delete(key, before));
    assert.equal(refused.current, undefined);
    assert.equal((await kube.call("GET", `${POOLS}/b`)).status, 200);
    // At its own revision, or at any, it is written over and deleted as ever.
    const mended = await store.update(key, value, damaged);
    assert.equal((await store.get(key))?.revision, mended);
    damage(CRD, "ippools", { ownerReferences: "x" });
    await store.delete(key);
    await refusal("notFound", store.delete(key));

    const annotations = { "cni.projectcalico.org/podIP": "192.0.2.1" };
    await makePod(kube, "b", {}, { annotations });
    const { revision } = (await store.get(endpointKey("b")))!;
    damage("", "pods", { labels: ["x"] });
    await refusal("conflict", store.delete(endpointKey("b"), revision));
    const pod = kube.all("", "pods").find((o) => o.metadata.name === "b")!;
    assert.deepEqual(pod.metadata.annotations, annotations);
  }));

Deno.test("what others have put on a record of IPAM stays there, whoever writes it", () =>
  on(async (kube, store) => {
    const AFFINITY = `${IPAM}host/n1/ipv4/block/192.0.2.4-30`, HANDLE = `${IPAM}handle/net.ctr`;
    const crd = "/apis/crd.projectcalico.org/v1";
    const affinity = (state: string) => ({ state, deleted: false });
    const handle = (n: number) => ({ block: { "192.0.2.4/30": n }, deleted: false });
    const records: [string, string, unknown, unknown][] = [
      [BLOCK, "ipamblocks/192-0-2-4-30", block(N), block(N + 1n)],
      [AFFINITY, "blockaffinities/n1-192-0-2-4-30", affinity("pending"), affinity("confirmed")],
      [HANDLE, "ipamhandles/net.ctr", handle(1), handle(2)],
      [`${IPAM}config`, "ipamconfigs/default", { strict_affinity: false }, {
        strict_affinity: true,
      }],
    ];
    const owner = { apiVersion: "v1", kind: "ConfigMap", name: "owner", uid: "u-1" };
    const marks = {
      labels: { team: "net" },
      annotations: { "example.org/note": "mine" },
      finalizers: ["example.org/hold"],
      ownerReferences: [owner],
    };
    for (const [key, path, first, second] of records) {
      await store.create(key, first);
      const made = await must(kube, "GET", `${crd}/${path}`);
      await patch(kube, `${crd}/${path}`, { metadata: marks });
      const { revision } = (await store.get(key))!;
      const written = await store.update(key, second, revision);
      // Straight after a write of one's own, and by a process that has never read it.
      const other = await openStore(kube);
      try {
        await other.update(key, first, written);
        await store.put(key, second);
      } finally {
        await other.close();
      }
      const { metadata } = await must(kube, "GET", `${crd}/${path}`);
      assert.deepEqual(metadata.labels, { ...made.metadata.labels, ...marks.labels }, key);
      assert.deepEqual(metadata.annotations, {
        ...made.metadata.annotations,
        ...marks.annotations,
      });
      assert.deepEqual(metadata.finalizers, marks.finalizers);
      assert.deepEqual(metadata.ownerReferences, [owner]);
      // Deleted by hand it stays while it is held, and through the next write.
      await must(kube, "DELETE", `${crd}/${path}`);
      const held = (await store.get(key))!;
      await store.update(key, first, held.revision);
      assert((await store.get(key)) !== undefined, key);
      // A label that was taken away meanwhile does not come back.
      await patch(kube, `${crd}/${path}`, { metadata: { labels: { team: null } } });
      await store.put(key, second);
      const later = await must(kube, "GET", `${crd}/${path}`);
      assert.equal(later.metadata.labels?.team, undefined);
      assert.deepEqual(later.metadata.finalizers, marks.finalizers);
    }
  }));

Deno.test("a deleted record whose object is held cannot be made anew, and says by whom", () =>
  on(async (kube, store) => {
    const path = "/apis/crd.projectcalico.org/v1/ipamblocks/192-0-2-4-30";
    await store.create(BLOCK, block(N));
    await patch(kube, path, { metadata: { finalizers: ["example.org/hold"] } });
    await store.delete(BLOCK);
    assert.equal(await store.get(BLOCK), undefined);
    const { message } = await refusal("unavailable", store.create(BLOCK, block(N)));
    assert.match(message, /IPAMBlock 192-0-2-4-30 .* held by the finalizers example.org\/hold; /);
    await patch(kube, path, { metadata: { finalizers: null } });
    await store.create(BLOCK, block(N));
  }));

Deno.test("a second object of one record is told under its name, and is in nobody's way", () =>
  on(async (kube, store) => {
    const AFFINITY = `${IPAM}host/n1/ipv4/block/192.0.2.4-30`, HANDLE = `${IPAM}handle/net.ctr`;
    await store.create(BLOCK, block(N));
    await store.create(AFFINITY, { state: "confirmed", deleted: false });
    await store.create(HANDLE, { block: { "192.0.2.4/30": 1 }, deleted: false });
    const { revision } = await store.list(IPAM);
    const watch = follow(store, IPAM, revision);
    const crd = "/apis/crd.projectcalico.org/v1";
    for (
      const [plural, name] of [
        ["ipamblocks", "192-0-2-4-30"],
        ["blockaffinities", "n1-192-0-2-4-30"],
        ["ipamhandles", "net.ctr"],
      ]
    ) {
      const { apiVersion, kind, spec } = await must(kube, "GET", `${crd}/${plural}/${name}`);
      await must(kube, "POST", `${crd}/${plural}`, {
        apiVersion,
        kind,
        metadata: { name: "zzz" },
        spec,
      });
    }
    const { entries, broken = [] } = await store.list(IPAM);
    assert.deepEqual(entries.map(({ key }) => key), [BLOCK, HANDLE, AFFINITY].sort());
    assert.deepEqual(
      broken.map(({ speaksOf }) => speaksOf).sort(),
      [BLOCK, HANDLE, AFFINITY].sort(),
    );
    // One that bears a block's own name and says another is that block, damaged.
    await must(kube, "POST", `${crd}/ipamblocks`, {
      apiVersion: "crd.projectcalico.org/v1",
      kind: "IPAMBlock",
      metadata: { name: "192-0-2-8-30" },
      spec: (await must(kube, "GET", `${crd}/ipamblocks/192-0-2-4-30`)).spec,
    });
    const other = BLOCK.replace("192.0.2.4-30", "192.0.2.8-30");
    assert((await store.list(IPAM)).broken?.some(({ key }) => key === other));
    const told = /IPAMBlock 192-0-2-8-30 says .* 192-0-2-4-30 is the name of; delete it/;
    assert.match((await refusal("invalid", store.get(other))).message, told);
    assert.match((await refusal("exists", store.create(other, block(N)))).message, told);
    const next = await store.put(BLOCK, block(N + 1n));
    const events = await watch.first(5);
    await watch.end();
    // Of three resources, each with a stream of its own.
    const puts = events.filter(({ type }) => type === "put");
    assert.deepEqual(puts.map(({ key, revision }) => [key, revision]), [[BLOCK, next]]);
    const damaged = events.filter(({ type }) => type !== "put");
    assert(damaged.every((event) => event.type === "delete" && event.broken !== undefined));
    assert(damaged.every(({ key }) => ![BLOCK, HANDLE, AFFINITY].includes(key)));
  }));

Deno.test("IPAM's configuration is one resource", () =>
  on(async (kube, store) => {
    const key = `${IPAM}config`;
    assert.equal(await store.get(key), undefined);
    await store.put(key, {
      auto_allocate_blocks: true,
      maxBlocksPerHost: 5,
      strict_affinity: true,
    });
    const { spec } = kube.get("crd.projectcalico.org", "ipamconfigs", "", "default")!;
    assert.deepEqual(spec, {
      autoAllocateBlocks: true,
      kubeVirtVMAddressPersistence: "Enabled",
      maxBlocksPerHost: 5,
      strictAffinity: true,
    });
    await store.put(key, { kubeVirtVMAddressPersistence: "Disabled" });
    assert.deepEqual((await store.get(key))!.value, { kubeVirtVMAddressPersistence: "Disabled" });
    await store.delete(key);
    assert.equal(await store.get(key), undefined);
  }));

const SPARE = "tortie.projectcalico.org/ip-cooldown-seconds";
const CONFIG = `${IPAM}config`;
const config = (kube: Kube) => {
  const { spec, metadata } = kube.get(CRD, "ipamconfigs", "", "default")!;
  return { field: spec.ipCooldownSeconds, annotation: metadata.annotations?.[SPARE], metadata };
};

Deno.test("the cool-down holds where the definition drops it, in an annotation", () =>
  on(async (kube, store) => {
    const seconds = async (of = store) =>
      (await of.get<StoredIpamConfig>(CONFIG))?.value.ipCooldownSeconds;
    const watch = follow(store, CONFIG, (await store.list(IPAM)).revision);
    const settings = { auto_allocate_blocks: true, ipCooldownSeconds: 60 };
    const made = await store.create(CONFIG, settings);
    assert.deepEqual(config(kube), { ...config(kube), field: undefined, annotation: "60" });
    assert.deepEqual([await seconds(), (await store.get(CONFIG))!.revision], [60, made]);
    const path = "/apis/crd.projectcalico.org/v1/ipamconfigs/default";
    await patch(kube, path, { metadata: { annotations: { "example.org/note": "mine" } } });

    // Once it is known that it is dropped, one write does.
    const { revision } = (await store.get(CONFIG))!;
    const second = await store.update(CONFIG, { ...settings, ipCooldownSeconds: 30 }, revision);
    assert.equal(BigInt(second), BigInt(revision) + 1n);
    assert.equal(config(kube).annotation, "30");
    const other = await openStore(kube);
    try {
      assert.equal(await seconds(other), 30);
      const [{ entries }] = [await other.list<StoredIpamConfig>(IPAM)];
      assert.equal(entries[0].value.ipCooldownSeconds, 30);
      await other.put(CONFIG, { ...settings, strict_affinity: true });
      assert.equal(await seconds(), 60);
      await other.put(CONFIG, { strict_affinity: true });
    } finally {
      await other.close();
    }
    assert.equal(await seconds(), undefined);
    const { annotation, metadata } = config(kube);
    assert.deepEqual([annotation, metadata.annotations?.["example.org/note"]], [undefined, "mine"]);
    await store.put(CONFIG, settings);
    const events = await watch.first(8);
    const told = events.flatMap((e) =>
      e.type === "put" ? [(e.value as StoredIpamConfig).ipCooldownSeconds] : []
    );
    assert.deepEqual(told, [undefined, 60, 60, 30, 60, undefined, undefined, 60]);

    // What is no number of seconds counts for nothing.
    await patch(kube, path, { metadata: { annotations: { [SPARE]: "soon" } } });
    assert.equal(await seconds(), undefined);
    await store.put(CONFIG, settings);
    await patch(kube, path, { spec: { maxBlocksPerHost: 3 } });
    assert.equal(await seconds(), 60);
    // As Calico writes it: without anybody's annotations.
    await must(kube, "PUT", path, {
      apiVersion: "crd.projectcalico.org/v1",
      kind: "IPAMConfig",
      metadata: { name: "default", resourceVersion: (await store.get(CONFIG))!.revision },
      spec: { autoAllocateBlocks: true, strictAffinity: false },
    });
    assert.equal(await seconds(), undefined);
    await watch.end();
  }));

Deno.test("settings that two change at once both count, where the definition drops one", () =>
  on(async (kube, store) => {
    const other = await openStore(kube);
    try {
      for (let n = 1; n <= 8; n++) {
        await Promise.all([
          new Ipam(store).changeIpamConfig((c) => ({ ...c, ipCooldownSeconds: n })),
          new Ipam(other).changeIpamConfig((c) => ({ ...c, strictAffinity: n % 2 === 0 })),
        ]);
        const { strictAffinity, ipCooldownSeconds } = await new Ipam(store).getIpamConfig();
        assert.deepEqual([strictAffinity, ipCooldownSeconds], [n % 2 === 0, n]);
        if (n % 3 === 0) await store.delete(CONFIG);
      }
    } finally {
      await other.close();
    }
  }));

Deno.test("the cool-down's field wins where the definition has it, and leaves no annotation", async () => {
  const kube = await startCalico({}, calicoDefinitions("3.33"));
  const store = await openStore(kube);
  try {
    const seconds = async () =>
      (await store.get<StoredIpamConfig>(CONFIG))?.value.ipCooldownSeconds;
    const made = await store.create(CONFIG, { ipCooldownSeconds: 60 });
    assert.deepEqual(config(kube), { ...config(kube), field: 60, annotation: undefined });
    // From before the definition had it.
    const path = "/apis/crd.projectcalico.org/v1/ipamconfigs/default";
    await patch(kube, path, { metadata: { annotations: { [SPARE]: "30" } } });
    assert.equal(await seconds(), 60);
    await refusal("conflict", store.update(CONFIG, { ipCooldownSeconds: 90 }, made));
    await store.put(CONFIG, { ipCooldownSeconds: 90 });
    assert.deepEqual(config(kube), { ...config(kube), field: 90, annotation: undefined });
    await store.put(CONFIG, { strict_affinity: true });
    assert.deepEqual([await seconds(), config(kube).field], [undefined, undefined]);
  } finally {
    await store.close();
    await kube.close();
  }
});

Deno.test("v3 objects keep their metadata in the annotation, and kubectl's are read", () =>
  on(async (kube, store) => {
    const key = `${V3}networksets/default/a`;
    const value = {
      kind: "NetworkSet",
      apiVersion: "projectcalico.org/v3",
      metadata: {
        name: "a",
        namespace: "default",
        uid: crypto.randomUUID(),
        creationTimestamp: "2026-01-02T03:04:05Z",
        labels: { zone: "x" },
      },
      spec: { nets: ["192.0.2.0/24"] },
    };
    const revision = await store.create(key, value);
    const entry = (await store.get<typeof value>(key))!;
    const { uid, ...metadata } = entry.value.metadata;
    const { uid: _, ...expected } = value.metadata;
    assert.match(uid, /^[0-9a-f-]{36}$/);
    assert.deepEqual({ ...metadata, generation: undefined }, {
      ...expected,
      generation: undefined,
    });
    assert.deepEqual(entry.value.spec, value.spec);
    // Written back as it was read, it is no change.
    assert.equal(await store.update(key, entry.value, revision), revision);
    await must(kube, "POST", "/apis/crd.projectcalico.org/v1/ippools", {
      apiVersion: "crd.projectcalico.org/v1",
      kind: "IPPool",
      metadata: { name: "k", labels: { a: "b" } },
      spec: { cidr: "192.0.2.0/24" },
    });
    const pool = (await store.get<any>(`${V3}ippools/k`))!.value;
    assert.deepEqual([pool.apiVersion, pool.metadata.labels], ["projectcalico.org/v3", { a: "b" }]);
    assert.deepEqual((await store.list(`${V3}networksets/other/`)).entries, []);
    assert.equal((await store.list(`${V3}networksets/default/`)).entries.length, 1);
  }));

Deno.test("a Node's annotations are Calico's Node", () =>
  on(async (kube, store) => {
    const key = `${V3}nodes/n1`;
    await must(kube, "POST", "/api/v1/nodes", {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "n1", labels: { os: "linux" }, annotations: { other: "stays" } },
    });
    const { value, revision } = (await store.get<any>(key))!;
    assert.equal(value.spec.bgp, undefined);
    value.spec.bgp = { ipv4Address: "192.0.2.1/24", asNumber: 64600 };
    value.metadata.labels.rack = "r1";
    const next = await store.update(key, value, revision);
    const { metadata } = kube.get("", "nodes", "", "n1")!;
    assert.deepEqual(metadata.annotations, {
      other: "stays",
      "projectcalico.org/IPv4Address": "192.0.2.1/24",
      "projectcalico.org/ASNumber": "64600",
      "projectcalico.org/labels": '{"rack":"r1"}',
    });
    assert.deepEqual(metadata.labels, { os: "linux" });
    const error = await refusal("conflict", store.update(key, value, revision));
    assert.equal(error.current?.revision, next);
    const read = (await store.get<any>(key))!.value;
    assert.deepEqual(read.metadata.labels, { os: "linux", rack: "r1" });
    delete read.spec.bgp;
    await store.put(key, read);
    assert.equal(
      kube.get("", "nodes", "", "n1")!.metadata.annotations!["projectcalico.org/ASNumber"],
      undefined,
    );
    await refusal("notFound", store.update(`${V3}nodes/n2`, read, "5"));
    assert.match(
      (await refusal("invalid", store.create(`${V3}nodes/n2`, read))).message,
      /NODENAME/,
    );
    assert.match((await refusal("invalid", store.delete(key))).message, /kubectl/);
  }));

Deno.test("a heartbeat is no event, a change is one", () =>
  on(async (kube, store) => {
    const { revision: start } = await store.list("/");
    const watch = follow(store, `${V3}nodes/`, start);
    await must(kube, "POST", "/api/v1/nodes", {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "n1" },
    });
    await watch.first(1);
    for (let i = 0; i < 5; i++) {
      await patch(kube, "/api/v1/nodes/n1/status", {
        status: { conditions: [{ type: "Ready", status: "True", reason: `${i}` }] },
      });
    }
    await patch(kube, "/api/v1/nodes/n1", { metadata: { labels: { a: "b" } } });
    const events = await watch.first(2);
    await watch.end();
    assert.deepEqual(watch.events.length, 2);
    assert.deepEqual(
      events[1].type === "put" && (events[1].value as any).metadata.labels,
      { a: "b" },
    );
  }));

Deno.test("an endpoint is written on its pod, and goes with its network or its pod", () =>
  on(async (kube, store) => {
    const { revision: start } = await store.list("/");
    const watch = follow(store, `${V3}workloadendpoints/`, start);
    await makePod(kube, "web");
    const key = endpointKey("web");
    assert.equal(await store.get(key), undefined);
    const first = await store.create(key, endpoint("web", "c1", "192.0.2.5/32", "fd00::5/128"));
    const notes = () => kube.get("", "pods", "default", "web")!.metadata.annotations!;
    assert.deepEqual(notes(), {
      "cni.projectcalico.org/containerID": "c1",
      "cni.projectcalico.org/podIP": "192.0.2.5/32",
      "cni.projectcalico.org/podIPs": "192.0.2.5/32,fd00::5/128",
    });
    await refusal("exists", store.create(key, endpoint("web", "c2", "192.0.2.6/32")));
    const second = await store.update(key, endpoint("web", "c2", "192.0.2.6/32"), first);
    await refusal("conflict", store.update(key, endpoint("web", "c3", "192.0.2.7/32"), first));
    const { entries } = await store.list<any>(`${V3}workloadendpoints/default/node--1-k8s-web-`);
    assert.deepEqual(entries.map(({ value }) => value.spec.ipNetworks), [["192.0.2.6/32"]]);
    // The kubelet's report changes the pod, not the endpoint.
    await patch(kube, "/api/v1/namespaces/default/pods/web/status", {
      status: { phase: "Running", podIPs: [{ ip: "192.0.2.6" }] },
    });
    const { revision } = (await store.get(key))!;
    assert.notEqual(revision, second);
    const gone = await store.delete(key, revision);
    assert.deepEqual([
      notes()["cni.projectcalico.org/podIP"],
      notes()["cni.projectcalico.org/podIPs"],
    ], [
      "",
      "",
    ]);
    assert.equal(notes()["cni.projectcalico.org/containerID"], "c2");
    await refusal("notFound", store.delete(key));
    await refusal("notFound", store.update(key, endpoint("web", "c2", "192.0.2.6/32"), gone));
    await store.create(key, endpoint("web", "c4", "192.0.2.8/32"));
    await must(kube, "DELETE", "/api/v1/namespaces/default/pods/web?gracePeriodSeconds=0");
    const events = await watch.first(6);
    await pause(30);
    await watch.end();
    const told = watch.events.map((event) =>
      event.type === "put" ? (event.value as any).spec.containerID : "-"
    );
    // The first: the pod is there, and has no network.
    assert.deepEqual(told, ["-", "c1", "c2", "-", "c4", "-"]);
    assert.equal(events[3].revision, gone);
  }));

Deno.test("of a sandbox made anew, its maker knows the addresses, others hear them of the kubelet", () =>
  on(async (kube, store) => {
    const other = await openStore(kube);
    const watch = follow(store, `${V3}workloadendpoints/`, (await store.list("/")).revision);
    await makePod(kube, "web");
    const key = endpointKey("web");
    const report = (ip: string) =>
      patch(kube, "/api/v1/namespaces/default/pods/web/status", {
        status: { podIP: ip, podIPs: [{ ip }] },
      });
    const nets = async (from: Store) => (await from.get<any>(key))!.value.spec.ipNetworks;
    try {
      await store.create(key, endpoint("web", "c1", "192.0.2.5/32"));
      assert.deepEqual(await nets(other), ["192.0.2.5/32"], "as it was written: nothing else says");
      await report("192.0.2.5");
      await store.delete(key);
      await store.create(key, endpoint("web", "c2", "192.0.2.6/32"));
      assert.deepEqual(await nets(store), ["192.0.2.6/32"]);
      assert.deepEqual(await nets(other), ["192.0.2.5/32"]);
      await report("192.0.2.6");
      for (const from of [store, other]) assert.deepEqual(await nets(from), ["192.0.2.6/32"]);
      const events = await watch.first(4);
      assert.deepEqual(
        events.map((e) => e.type === "put" ? (e.value as any).spec.ipNetworks[0] : e.type),
        ["delete", "192.0.2.5/32", "delete", "192.0.2.6/32"],
      );
    } finally {
      await watch.end();
      await other.close();
    }
  }));

Deno.test("an endpoint that no pod can have is refused", () =>
  on(async (kube, store) => {
    const value = endpoint("web", "c1", "192.0.2.5/32");
    const message = async (key: string) =>
      (await refusal("invalid", store.create(key, value))).message;
    assert.match(await message(endpointKey("web")), /no Pod default\/web/);
    await makePod(kube, "web", { nodeName: "node-2" });
    assert.match(await message(endpointKey("web")), /is on node node-2/);
    await makePod(kube, "host", { hostNetwork: true });
    assert.match(await message(endpointKey("host")), /host's network/);
    const second = endpointKey("web").replace("eth0", "net1");
    assert.match(await message(second), /one for each pod/);
    assert.equal(await store.get(second), undefined);
    assert.match(await message(`${V3}workloadendpoints/default/node--1-cni-c0ffee-eth0`), /k8s/);
    const update = store.update(endpointKey("none"), value, "7");
    await refusal("notFound", update);
  }));

Deno.test("a kubelet that writes at the same time costs a repetition, not the endpoint", () =>
  on(async (kube, store) => {
    await makePod(kube, "web");
    const key = endpointKey("web");
    let writing = true;
    const kubelet = (async () => {
      for (let i = 0; writing; i++) {
        await pause(2);
        await patch(kube, "/api/v1/namespaces/default/pods/web/status", {
          status: { conditions: [{ type: "Ready", status: "False", reason: `${i}` }] },
        });
      }
    })();
    try {
      for (let i = 0; i < 6; i++) {
        await store.create(key, endpoint("web", `c${i}`, "192.0.2.5/32"));
        await store.delete(key);
      }
    } finally {
      writing = false;
      await kubelet;
    }
  }));

Deno.test("of many creators of one endpoint one wins", () =>
  on(async (kube, store) => {
    await makePod(kube, "web");
    const outcomes = await Promise.allSettled(
      Array.from({ length: 10 }, (_, i) =>
        store.create(endpointKey("web"), endpoint("web", `c${i}`, `192.0.2.${i + 1}/32`))),
    );
    const kinds = outcomes.map((outcome) =>
      outcome.status === "fulfilled" ? "done" : (outcome.reason as StoreError).kind
    );
    assert.equal(
      kinds.filter((kind) =>
        kind === "done"
      ).length,
      1,
      kinds.join(),
    );
    assert(kinds.every((kind) => kind === "done" || kind === "exists"), kinds.join());
  }));

Deno.test("namespaces and accounts are profiles, which cannot be written", () =>
  on(async (kube, store) => {
    const { revision: start } = await store.list("/");
    const watch = follow(store, `${V3}profiles/`, start);
    await must(kube, "POST", "/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "red", labels: { team: "a" } },
    });
    const { value } = (await store.get<any>(`${V3}profiles/kns.red`))!;
    assert.equal(value.spec.labelsToApply["pcns.team"], "a");
    assert.equal((await store.get<any>(`${V3}profiles/ksa.red.default`))?.value.kind, "Profile");
    assert.equal(await store.get(`${V3}profiles/other`), undefined);
    await watch.first(2);
    await watch.end();
    const { entries } = await store.list(`${V3}profiles/`);
    assert.equal(entries.length, 10); // five namespaces and their accounts
    for (const name of ["kns.red", "ksa.red.x", "other"]) {
      const error = await refusal("invalid", store.create(`${V3}profiles/${name}`, { spec: {} }));
      assert.match(error.message, /Namespace or ServiceAccount/);
    }
  }));

Deno.test("Kubernetes' own objects are written without losing what we do not read", () =>
  on(async (kube, store) => {
    const key = "/tortie/kubernetes/pods/default/web";
    await makePod(kube, "web", {
      containers: [{ name: "c", image: "i", env: [{ name: "A", value: "b" }] }],
    });
    const { value, revision } = (await store.get<any>(key))!;
    assert.equal(value.spec.containers[0].env, undefined);
    value.metadata.labels.more = "x";
    value.status = { phase: "Running", podIP: "192.0.2.9" };
    await store.update(key, value, revision);
    const stored = kube.get("", "pods", "default", "web")!;
    assert.deepEqual(stored.metadata.labels, { app: "web", more: "x" });
    assert.deepEqual(stored.spec.containers[0].env, [{ name: "A", value: "b" }]);
    assert.equal(stored.status.podIP, "192.0.2.9");
    await refusal("conflict", store.update(key, value, revision));

    const policy = "/tortie/kubernetes/networkpolicies/default/p";
    const spec = { podSelector: {}, policyTypes: ["Ingress"] };
    const first = await store.create(policy, { metadata: { name: "p" }, spec });
    const read = (await store.get<any>(policy))!;
    assert.equal(read.revision, first);
    assert.deepEqual([read.value.apiVersion, read.value.kind, read.value.spec], [
      "networking.k8s.io/v1",
      "NetworkPolicy",
      spec,
    ]);
    const { metadata } = read.value;
    const changed = { ...read.value, spec: { ...spec, podSelector: { matchLabels: { a: "b" } } } };
    await store.put(policy, changed);
    assert.equal((await store.get<any>(policy))!.value.metadata.uid, metadata.uid);
    await store.delete(policy);
    assert.equal(await store.get(policy), undefined);
    await store.delete(key);
  }));

Deno.test("what Calico does not keep in Kubernetes is forgotten", () =>
  on(async (_kube, store) => {
    const keys = ["/calico/felix/v2/no-region/host/n1/status", `${IPAM}host/n1`];
    for (const key of keys) {
      assert.equal(await store.put(key, { a: 1 }, { ttlSeconds: 9 }), "0");
      assert.equal(await store.get(key), undefined);
      await refusal("notFound", store.delete(key));
    }
    const { entries, revision } = await store.list("/calico/felix/");
    assert.deepEqual(entries, []);
    assert.match(revision, /^[1-9]/);
  }));

Deno.test("keys and values that have no place are refused, with the reason", () =>
  on(async (_kube, store) => {
    const said = async (promise: Promise<unknown>) => (await refusal("invalid", promise)).message;
    const key = `${V3}ippools/a`;
    assert.match(await said(store.put("/calico/elsewhere", {})), /no place for the key/);
    assert.match(await said(store.put(key, {}, { ttlSeconds: 3 })), /time to live/);
    assert.match(await said(store.put(key, {}, { ttlSeconds: -3 })), /positive/);
    assert.match(await said(store.create(`${V3}ippools/Upper_Case`, { spec: {} })), /Upper_Case/);
    assert.match(await said(store.create(`${V3}ippools/${"x".repeat(254)}`, { spec: {} })), /253/);
    assert.match(await said(store.create(key, "text")), /holds objects/);
    assert.match(
      await said(store.create(BLOCK, { ...block(1n), allocations: "no" })),
      /allocations/,
    );
    assert.match(await said(store.create(key, undefined)), /JSON/);
    assert.equal(await store.get(key), undefined);
  }));

Deno.test("a list of everything is of one moment, and a watch from there misses nothing", () =>
  on(async (kube, store) => {
    // One kind is written first, then the other: at any moment they are equal or the first is ahead.
    const left = `${V3}ippools/left`, right = `${V3}tiers/right`;
    const own = "/tortie/kubernetes/namespaces/ns-";
    let writing = true;
    const value = (n: number) => ({ spec: { cidr: "192.0.2.0/24", blockSize: n, order: n } });
    await store.put(left, value(0));
    await store.put(right, value(0));
    const writer = (async () => {
      for (let n = 1; n <= 40; n++) {
        await store.put(left, value(n));
        await store.put(right, value(n));
        if (n % 10 === 0) await store.create(`${own}${n}`, {});
        if (n % 20 === 0) await store.delete(`${own}${n - 10}`);
      }
      writing = false;
    })();
    const { entries: first, revision: start } = await store.list("/");
    const watch = follow(store, "/", start);
    const order = (entries: { key: string; value: any }[], key: string) => {
      const { blockSize, order } = entries.find((entry) => entry.key === key)!.value.spec;
      return blockSize ?? order;
    };
    let lists = 0;
    while (writing) {
      const { entries } = await store.list<any>("/");
      const [l, r] = [order(entries, left), order(entries, right)];
      assert(l === r || l === r + 1, `left ${l}, right ${r}`);
      lists++;
    }
    await writer;
    assert(lists > 2, `${lists} lists`);
    const { entries: last } = await store.list("/");
    const wanted = last.map(({ key, value, revision }) => [key, { value, revision }]);
    for (let i = 0; i < 1000; i++) {
      const made = fold(first, watch.events);
      if (made.size === last.length && order(entriesOf(made), right) === 40) break;
      await pause(10);
    }
    await watch.end();
    assert.equal(watch.error, undefined);
    const made = fold(first, watch.events);
    // A namespace on its way out changes where nobody reads it: then its revision is an older one.
    const strip = (value: unknown) => JSON.stringify(value);
    assert.deepEqual(
      [...made].map(([key, entry]) => [key, strip(entry.value)]).sort(),
      (wanted as [string, { value: unknown }][]).map(([key, e]) => [key, strip(e.value)]).sort(),
    );
    for (let i = 0; i < 200 && kube.watches.length > 0; i++) await pause(10);
    assert.equal(kube.watches.length, 0, "the watches have ended at the server too");
  }));

function entriesOf(made: Map<string, { value: unknown }>): { key: string; value: any }[] {
  return [...made].map(([key, { value }]) => ({ key, value }));
}

Deno.test("two clusters' counters in one are noticed", () =>
  on(async (kube, store) => {
    // As with --etcd-servers-overrides: one resource is counted apart.
    const server = kube.server as any;
    const handle = server.handle.bind(server);
    server.handle = async (request: Request, info: unknown) => {
      const response: Response = await handle(request, info);
      if (!/\/tiers\?/.test(request.url) || request.url.includes("watch")) return response;
      const text = (await response.text()).replace(
        /"resourceVersion":"\d+"/,
        '"resourceVersion":"3"',
      );
      return new Response(text, { status: response.status, headers: response.headers });
    };
    const error = await refusal("invalid", store.list("/"));
    assert.match(error.message, /counts \w+ apart.*another etcd/s);
    assert.equal((await store.list(`${V3}tiers/`)).entries.length, 0);
  }));
