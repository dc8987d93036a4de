/** Updating: concurrency control, what the server owns, status and generation. */
import assert from "node:assert/strict";
import { CONCEPTS, CONVENTIONS, CUSTOM, type Expectation, MERGE } from "./expectation.ts";

const CONTROL = `${CONVENTIONS}, Concurrency Control and Consistency`;

export const UPDATES: Expectation[] = [
  {
    name: "an update with the resourceVersion that was read succeeds and makes a new one",
    from: CONTROL,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      made.spec.size = 5;
      const next = await w.do(200, "PUT", w.widgets("a"), made);
      assert.equal(next.spec.size, 5);
      assert.ok(BigInt(next.metadata.resourceVersion) > BigInt(made.metadata.resourceVersion));
      assert.equal(next.metadata.uid, made.metadata.uid);
    },
  },
  {
    name: "an update with an older resourceVersion is 409 Conflict and changes nothing",
    from: CONTROL,
    async check(w) {
      for (
        const [path, body] of [
          [w.configMaps(), w.configMap("a", { k: "1" })],
          [w.widgets(), w.widget("a", { size: 1 })],
        ] as const
      ) {
        const first = await w.do(201, "POST", path, body);
        const second = await w.do(200, "PUT", `${path}/a`, {
          ...first,
          metadata: { ...first.metadata, labels: { round: "2" } },
        });
        const stale = { ...first, metadata: { ...first.metadata, labels: { round: "3" } } };
        const status = await w.refused(409, "Conflict", "PUT", `${path}/a`, stale);
        assert.equal(status.details.name, "a");
        assert.deepEqual(await w.do(200, "GET", `${path}/a`), second);
      }
    },
  },
  {
    name: "of many who update one object from one state exactly one succeeds",
    from: CONTROL,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const tries = await Promise.all(
        Array.from({ length: 10 }, (_, i) =>
          w.call("PUT", w.widgets("a"), {
            ...made,
            metadata: { ...made.metadata, labels: { winner: `w${i}` } },
          })),
      );
      const codes = tries.map((t) => t.status).sort();
      assert.deepEqual(codes, [200, ...Array(9).fill(409)]);
      const winner = tries.find((t) => t.status === 200)!.body;
      assert.deepEqual(await w.do(200, "GET", w.widgets("a")), winner);
    },
  },
  {
    name: "without a resourceVersion a config map is replaced, a custom resource is 422",
    from: CONTROL,
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a", { k: "1" }));
      const next = await w.do(200, "PUT", w.configMaps("a"), w.configMap("a", { k: "2" }));
      assert.deepEqual(next.data, { k: "2" });
      await w.do(201, "POST", w.widgets(), w.widget("a"));
      const bare = w.widget("a", { size: 2 });
      await w.invalid(["metadata.resourceVersion"], "PUT", w.widgets("a"), bare);
    },
  },
  {
    name: "an update that changes nothing makes no new resourceVersion",
    from: `${CONCEPTS}, Resource versions`,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const put = await w.do(200, "PUT", w.widgets("a"), made);
      assert.equal(put.metadata.resourceVersion, made.metadata.resourceVersion);
      const patched = await w.do(200, "PATCH", w.widgets("a"), { spec: { size: 3 } }, MERGE);
      assert.equal(patched.metadata.resourceVersion, made.metadata.resourceVersion);
    },
  },
  {
    name: "an update with the uid of another object is 409",
    from: `${CONVENTIONS}, Metadata`,
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a"));
      const uid = "00000000-0000-0000-0000-000000000001";
      const other = w.configMap("a", { k: "v" }, { uid });
      await w.refused(409, "Conflict", "PUT", w.configMaps("a"), other);
      // Where nothing is there too, of the kinds that PUT creates: the object with that uid is not.
      const gone = w.configMap("b", {}, { uid });
      await w.refused(404, "NotFound", "PUT", w.configMaps("b"), gone);
      const leases = `/apis/coordination.k8s.io/v1/namespaces/${w.namespace}/leases`;
      await w.refused(409, "Conflict", "PUT", `${leases}/b`, {
        apiVersion: "coordination.k8s.io/v1",
        kind: "Lease",
        metadata: { name: "b", uid },
        spec: {},
      });
    },
  },
  {
    name:
      "creationTimestamp and uid stay as the server has them, deletionTimestamp is not set (422)",
    from: `${CONVENTIONS}, Metadata`,
    async check(w) {
      const made = await w.do(201, "POST", w.configMaps(), w.configMap("a"));
      const next = await w.do(
        200,
        "PUT",
        w.configMaps("a"),
        w.configMap("a", { k: "v" }, {
          creationTimestamp: "2001-01-01T00:00:00Z",
        }),
      );
      assert.equal(next.metadata.creationTimestamp, made.metadata.creationTimestamp);
      const ending = w.configMap("a", {}, { deletionTimestamp: "2001-01-01T00:00:00Z" });
      await w.invalid(["metadata.deletionTimestamp"], "PUT", w.configMaps("a"), ending);
      assert.equal(next.metadata.uid, made.metadata.uid);
    },
  },
  {
    name: "generation counts changes of the spec alone",
    from: `${CUSTOM}, Status subresource`,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      assert.equal(made.metadata.generation, 1);
      const generation = async (path: string, patch: object) =>
        (await w.do(200, "PATCH", path, patch, MERGE)).metadata.generation;
      assert.equal(await generation(w.widgets("a"), { metadata: { labels: { a: "b" } } }), 1);
      assert.equal(await generation(w.widgets("a/status"), { status: { phase: "Up" } }), 1);
      assert.equal(await generation(w.widgets("a"), { spec: { size: 4 } }), 2);
      assert.equal(await generation(w.widgets("a"), { metadata: { generation: 9 } }), 2);
    },
  },
  {
    name: "the status of a custom resource is written under /status alone, and nothing else there",
    from: `${CUSTOM}, Status subresource`,
    async check(w) {
      const body = { ...w.widget("a"), status: { phase: "Mine" } };
      const made = await w.do(201, "POST", w.widgets(), body);
      assert.equal(made.status, undefined);
      const put = await w.do(200, "PUT", w.widgets("a"), { ...made, status: { phase: "Mine" } });
      assert.equal(put.status, undefined);
      const patch = {
        metadata: { labels: { a: "b" } },
        spec: { size: 9 },
        status: { phase: "Up" },
      };
      const next = await w.do(200, "PATCH", w.widgets("a/status"), patch, MERGE);
      assert.deepEqual(next.status, { phase: "Up" });
      assert.equal(next.spec.size, 3);
      assert.equal(next.metadata.labels, undefined);
      const put2 = await w.do(200, "PUT", w.widgets("a/status"), {
        ...next,
        spec: { colour: "green" },
        status: { phase: "Down" },
      });
      assert.deepEqual([put2.status.phase, put2.spec.colour], ["Down", "red"]);
      const stale = await w.call("PUT", w.widgets("a/status"), { ...next, status: {} });
      assert.equal(stale.status, 409);
      assert.deepEqual((await w.do(200, "GET", w.widgets("a/status"))).status, put2.status);
    },
  },
  {
    name: "a resource without the status subresource keeps status as any field, and has no /status",
    from: `${CUSTOM}, Status subresource`,
    async check(w) {
      const name = w.namespace;
      await w.do(201, "POST", w.gadgets(), w.gadget(name, { a: 1 }));
      try {
        assert.equal((await w.call("GET", w.gadgets(`${name}/status`))).status, 404);
        const next = await w.do(200, "PATCH", w.gadgets(name), { spec: { a: 2 } }, MERGE);
        assert.equal(next.metadata.generation, 2);
        assert.equal(next.metadata.namespace, undefined);
      } finally {
        await w.do(200, "DELETE", w.gadgets(name));
      }
    },
  },
  {
    name: "labels and annotations of a pod may be written under its /status, its spec may not",
    from: `${CONVENTIONS}, Spec and Status`,
    async check(w) {
      await w.do(201, "POST", w.pods(), w.pod("a"));
      const patch = {
        metadata: { annotations: { "cni.projectcalico.org/podIP": "192.0.2.1/32" } },
        spec: { nodeName: "elsewhere" },
        status: { phase: "Running" },
      };
      const next = await w.do(200, "PATCH", w.pods("a/status"), patch, MERGE);
      assert.equal(next.metadata.annotations["cni.projectcalico.org/podIP"], "192.0.2.1/32");
      assert.equal(next.status.phase, "Running");
      assert.notEqual(next.spec.nodeName, "elsewhere");
      const ignored = { status: { phase: "Failed" } };
      const same = await w.do(200, "PATCH", w.pods("a"), ignored, MERGE);
      assert.equal(same.status.phase, "Running");
    },
  },
  {
    name: "most of a pod's spec cannot be changed (422)",
    from: `Pods, Pod update and replacement`,
    async check(w) {
      await w.do(201, "POST", w.pods(), w.pod("a"));
      const status = await w.do(422, "PATCH", w.pods("a"), { spec: { hostNetwork: true } }, MERGE);
      assert.equal(status.details.causes[0].reason, "FieldValueForbidden");
    },
  },
];
