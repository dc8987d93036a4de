/**
 * Values under an endpoint's key that are no endpoint, as they can stand in etcd: none of their words is
 * believed, and none of them is in anybody's way.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { HALF_WRITTEN, halfWritable } from "../mod/ipam/testing/half_written.ts";
import { resourceKey } from "../mod/model/keys.ts";
import { nodeKind } from "../mod/model/node.ts";
import { podKind } from "../mod/model/pod.ts";
import { workloadEndpointKind } from "../mod/model/workload_endpoint.ts";
import { memoryStore } from "../mod/store/memory.ts";
import { endpointFault } from "./endpoint_record.ts";
import { World } from "./testing/world.ts";

const args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web-0";
const keyOf = (ifname: string, pod = "web--0") =>
  resourceKey(workloadEndpointKind, `n1-k8s-${pod}-${ifname}`, "blue");
const KEY = keyOf("eth0");
const PLAIN = resourceKey(workloadEndpointKind, "n1-cni-c1-eth0", "default");

/** Of which none is an endpoint. */
const FORMS: readonly unknown[] = [
  HALF_WRITTEN,
  null,
  5,
  true,
  "",
  "x",
  [],
  {},
  { spec: null },
  { metadata: {} },
  { metadata: null, spec: {} },
  { metadata: [], spec: {} },
  { metadata: {}, spec: "x" },
  { metadata: {}, spec: { containerID: 5, ipNetworks: "x", interfaceName: 7 } },
  { metadata: { uid: 5 }, spec: { containerID: "c1" } },
  { spec: { containerID: "c1", node: "n1", pod: "web-0", ipNetworks: ["10.244.0.9/32"] } },
  { metadata: {}, spec: { node: "n1", pod: "web-0", ipNetworks: [7] } },
  { metadata: {}, spec: { node: "n1", pod: "web-0", ipNATs: [null] } },
  { metadata: {}, spec: { node: "n1", pod: "web-0", profiles: {} } },
];

async function eachForm(run: (w: World, form: unknown) => Promise<void>): Promise<void> {
  for (const form of FORMS) {
    const w = await World.make({}, halfWritable(memoryStore()));
    try {
      await w.addPod("web-0");
      await run(w, form);
    } catch (error) {
      throw new Error(`with ${JSON.stringify(form)}`, { cause: error });
    } finally {
      await w.store.close();
    }
  }
}

const conf = World.conf({ cniVersion: "1.1.0" });
const gc = (w: World, list: { containerID: string; ifname: string }[]) =>
  w.call({ command: "GC", conf: { ...conf, "cni.dev/valid-attachments": list } });

async function ok(reply: ReturnType<World["call"]>) {
  const { exit, json } = await reply;
  assert.equal(exit, 0, JSON.stringify(json));
  return json;
}

Deno.test("none of the forms is an endpoint, and what Calico leaves out is no fault", () => {
  for (const form of FORMS.filter((one) => one !== HALF_WRITTEN)) {
    assert.ok(endpointFault(form), JSON.stringify(form));
  }
  assert.equal(endpointFault({ metadata: {}, spec: {} }), undefined);
  const more = { metadata: { uid: null }, spec: { ipNetworks: null, containerID: null, new: 5 } };
  assert.equal(endpointFault(more), undefined);
});

Deno.test("DEL of a container whose endpoint is half-written leaves nothing, with its namespace and without", () =>
  eachForm(async (w, form) => {
    for (const netns of [undefined, ""]) {
      for (const [key, more] of [[KEY, { args }], [PLAIN, {}]] as const) {
        await ok(w.call({ ...more }));
        await w.store.put(key, form);
        await ok(w.call({ command: "DEL", ...more, ...netns !== undefined && { netns } }));
        assert.deepEqual(await w.traces(), []);
        await ok(w.call({ command: "DEL", ...more }));
      }
    }
  }));

Deno.test("ADD writes a half-written endpoint anew, and a second one changes nothing", () =>
  eachForm(async (w, form) => {
    await w.store.put(KEY, form);
    const result = await ok(w.call({ conf, args }));
    const [endpoint, ...more] = await w.endpoints();
    assert.equal(more.length, 0);
    assert.equal(endpoint.spec.containerID, "c1");
    assert.deepEqual(endpoint.spec.ipNetworks, [result.ips[0].address]);
    await ok(w.call({ command: "CHECK", conf: { ...conf, prevResult: result }, args }));
    await w.store.put(KEY, form);
    const before = await w.traces();
    const again = await w.call({ conf, args });
    assert.equal(again.json.code, 100);
    assert.match(again.json.msg, /has its interface eth0 already/);
    assert.deepEqual(await w.traces(), before);
    const check = await w.call({ command: "CHECK", conf: { ...conf, prevResult: result }, args });
    assert.equal(check.json.code, 105);
    assert.match(check.json.msg, /WorkloadEndpoint blue\/n1-k8s-web--0-eth0 cannot be read: it/);
    await ok(w.call({ command: "DEL", args }));
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("an endpoint that names no interface is a remainder, in ADD and in DEL, whoever's it is", async () => {
  const specs = [
    {},
    { node: "n1", containerID: "c1" },
    { containerID: "c1", interfaceName: null },
    { containerID: "c1", interfaceName: "" },
    { containerID: "old", ipNetworks: ["10.244.0.9/32"] },
  ];
  for (const spec of specs) {
    for (const [key, more] of [[KEY, { args }], [PLAIN, {}]] as const) {
      const w = await World.make();
      await w.addPod("web-0");
      await w.store.put(key, { metadata: {}, spec });
      await ok(w.call(more));
      const [endpoint] = await w.endpoints();
      assert.equal(endpoint.spec.containerID, "c1", JSON.stringify(spec));
      // And with the interface there.
      await w.store.put(key, { metadata: {}, spec: { ...spec, containerID: "c1" } });
      assert.equal((await w.call(more)).json.code, 100, JSON.stringify(spec));
      await ok(w.call({ command: "DEL", ...more }));
      assert.deepEqual(await w.traces(), []);
      await w.store.close();
    }
  }
});

Deno.test("ADD keeps identity and birth of a former endpoint only where Calico could read them", async () => {
  const good = { uid: "u", creationTimestamp: "2026-01-02T03:04:05Z" };
  const forms: [Record<string, unknown>, string?, string?][] = [
    [good, good.uid, good.creationTimestamp],
    [{ ...good, uid: "" }, undefined, good.creationTimestamp],
    [{ ...good, uid: null }, undefined, good.creationTimestamp],
    ...["", "garbage", "2026", "2026-02-30T00:00:00Z", null].map((creationTimestamp) =>
      [{ ...good, creationTimestamp }, good.uid] as [typeof good, string]
    ),
  ];
  for (const [metadata, uid, time] of forms) {
    const w = await World.make();
    await w.addPod("web-0");
    await w.store.put(KEY, { metadata, spec: { containerID: "old" } });
    await ok(w.call({ args }));
    const [{ metadata: written }] = await w.endpoints();
    const words = JSON.stringify(metadata);
    if (uid) assert.equal(written.uid, uid, words);
    else assert.match(written.uid!, /^[0-9a-f]{8}-/, words);
    if (time) assert.equal(written.creationTimestamp, time, words);
    else assert.match(written.creationTimestamp!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/, words);
    await w.store.close();
  }
});

Deno.test("a new sandbox of the pod comes up beside the one whose endpoint is half-written", () =>
  eachForm(async (w, form) => {
    await ok(w.call({ args }));
    await w.store.put(KEY, form);
    await ok(w.call({ args, container: "c2" }));
    const [endpoint] = await w.endpoints();
    assert.equal(endpoint.spec.containerID, "c2");
    // The late DEL of the first one leaves the second its record, be that half-written by now.
    await w.store.put(KEY, form);
    await ok(w.call({ command: "DEL", args }));
    assert.equal(w.kernel.in("/run/netns/c2").length, 1);
    assert.deepEqual((await w.allocations()).map(({ handle }) => handle), ["net.c2"]);
    assert.ok((await w.traces()).includes("endpoint n1-k8s-web--0-eth0"));
    await ok(w.call({ command: "DEL", args, container: "c2" }));
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("a half-written endpoint of another interface, or pod, is in nobody's way and stays", () =>
  eachForm(async (w, form) => {
    const others = [keyOf("net1"), keyOf("eth0", "web--0----1"), PLAIN.replace("c1", "c9")];
    for (const key of others) await w.store.put(key, form);
    const annotations = { "cni.projectcalico.org/floatingIPs": '["192.0.2.77"]' };
    await w.addPod("web-0", { annotations });
    const features = World.conf({ cniVersion: "1.1.0", feature_control: { floating_ips: true } });
    const result = await ok(w.call({ conf: features, args }));
    await ok(w.call({ command: "CHECK", conf: { ...conf, prevResult: result }, args }));
    await ok(w.call({ container: "plain" }));
    assert.equal((await w.allocations()).length, 2);
    await ok(gc(w, [{ containerID: "c1", ifname: "eth0" }]));
    assert.deepEqual((await w.allocations()).map(({ handle }) => handle), ["net.c1"]);
    await ok(w.call({ command: "DEL", args }));
    const left = await w.traces();
    assert.equal(left.length, 3, left.join());
    assert.ok(left.every((trace) => trace.startsWith("endpoint ")));
    // Its own DEL takes it away.
    await ok(w.call({ command: "DEL", args, ifname: "net1" }));
    assert.equal((await w.traces()).length, 2);
  }));

Deno.test("GC keeps what is listed, and removes the rest whole, half-written or not", () =>
  eachForm(async (w, form) => {
    const c1 = { containerID: "c1", ifname: "eth0" };
    await ok(w.call({ conf, args }));
    await ok(w.call({ conf, args, ifname: "net1" }));
    await w.addPod("db");
    await ok(w.call({ conf, args: args.replace("web-0", "db"), container: "plain" }));
    for (const key of [KEY, keyOf("net1"), keyOf("eth0", "db")]) await w.store.put(key, form);
    const before = await w.traces();
    const all = [c1, { ...c1, ifname: "net1" }, { ...c1, containerID: "plain" }];
    await ok(gc(w, all));
    assert.deepEqual(await w.traces(), before);
    await ok(gc(w, [c1]));
    assert.deepEqual((await w.allocations()).map(({ handle }) => handle), ["net.c1"]);
    assert.equal(w.kernel.in("").length, 1);
    assert.equal(w.kernel.in("/run/netns/c1").length, 1);
    await ok(gc(w, []));
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("an interface without a mark keeps its name while a record of its pod cannot be read", () =>
  eachForm(async (w, form) => {
    // As Calico's plugin made it.
    await ok(w.call({ args }));
    const [link] = w.kernel.in("");
    delete link.alias;
    await w.store.put(KEY, form);
    await ok(w.call({ args, ifname: "net1" }));
    assert.equal(w.kernel.in("/run/netns/c1").length, 2);
    await w.store.put(keyOf("net1"), form);
    await ok(w.call({ command: "DEL", args, ifname: "net1", netns: "" }));
    assert.deepEqual(w.kernel.in("").map(({ name }) => name), [link.name]);
    await ok(w.call({ command: "DEL", args }));
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("an ordinal asks its former node where the endpoint there cannot be read", () =>
  eachForm(async (w, form) => {
    const annotations = { "tortie.io/ip-pins": "10.244.0.20" };
    const ownerReferences = [
      { apiVersion: "apps/v1", kind: "StatefulSet", name: "web", uid: "u", controller: true },
    ];
    await w.store.put(resourceKey(podKind, "web-0", "blue"), {
      kind: "Pod",
      apiVersion: "v1",
      metadata: { name: "web-0", namespace: "blue", annotations, ownerReferences },
      spec: {},
    });
    const former = await w.otherNode("n2");
    await ok(former.call({ args }));
    await w.store.put(KEY.replace("n1-", "n2-"), form);
    const waits = await w.call({ args, container: "c2" });
    assert.equal(waits.json.code, 11, JSON.stringify(waits.json));
    assert.match(waits.json.msg, /may still be in use by its former container on node n2/);
    await w.store.delete(resourceKey(nodeKind, "n2"));
    assert.equal((await ok(w.call({ args, container: "c2" }))).ips[0].address, "10.244.0.20/32");
  }));

Deno.test("whatever JSON stands at its key, ADD and DEL of the pod succeed and leave nothing", async () => {
  const word = fc.oneof(
    fc.constantFrom("uplink", "c1", "web-0", "n1", "k8s", "eth0", "calic1", ""),
    fc.string(),
    fc.jsonValue({ maxDepth: 1 }),
  );
  const some = { requiredKeys: [] };
  const near = fc.record({
    metadata: fc.oneof(
      fc.record({ name: word, namespace: word, uid: word, creationTimestamp: word }, some),
      fc.jsonValue({ maxDepth: 1 }),
    ),
    spec: fc.record({
      ...{ node: word, pod: word, orchestrator: word, endpoint: word, interfaceName: word },
      // Another container's name makes it that one's.
      containerID: fc.constantFrom("", "c1", null, 5, []),
      ipNetworks: fc.oneof(word, fc.array(word)),
      ipNATs: fc.oneof(word, fc.array(fc.oneof(word, fc.record({ externalIP: word })))),
      profiles: fc.oneof(word, fc.array(word)),
    }, some),
  }, some);
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.jsonValue(), near), fc.boolean(), async (value, isPod) => {
      const w = await World.make();
      try {
        await w.addPod("web-0");
        w.kernel.addLink("", "uplink");
        const more = isPod ? { args } : {};
        const key = isPod ? KEY : PLAIN;
        await ok(w.call({ ...more }));
        await w.store.put(key, value);
        await ok(w.call({ command: "DEL", ...more }));
        assert.deepEqual(await w.traces(), ["link :uplink"]);
        await w.store.put(key, value);
        await ok(w.call({ ...more }));
        assert.equal((await w.endpoints())[0].spec.containerID, "c1");
        await ok(w.call({ command: "DEL", ...more }));
        assert.deepEqual(await w.traces(), ["link :uplink"]);
      } finally {
        await w.store.close();
      }
    }),
    { numRuns: 200 },
  );
});
