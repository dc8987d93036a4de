/** The four types of patches. */
import assert from "node:assert/strict";
import {
  APPLY,
  APPLY_PATCH,
  CONCEPTS,
  type Expectation,
  JSON_PATCH,
  MERGE,
  STRATEGIC,
} from "./expectation.ts";

const PATCHES = `${CONCEPTS}, Updates to existing resources`;

export const PATCH_TYPES: Expectation[] = [
  {
    name: "a merge patch changes what it names, and null removes",
    from: `${PATCHES}; RFC 7386`,
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a", { x: "1", y: "2" }));
      const patch = { data: { x: null, z: "3" }, metadata: { labels: { l: "v" } } };
      const next = await w.do(200, "PATCH", w.configMaps("a"), patch, MERGE);
      assert.deepEqual(next.data, { y: "2", z: "3" });
      assert.deepEqual(next.metadata.labels, { l: "v" });
      await w.do(201, "POST", w.widgets(), w.widget("a", { tags: ["a", "b"] }));
      const tags = await w.do(200, "PATCH", w.widgets("a"), { spec: { tags: ["c"] } }, MERGE);
      assert.deepEqual(tags.spec.tags, ["c"]);
    },
  },
  {
    name: "a JSON patch is done whole or not at all; a test that fails is 422",
    from: `${PATCHES}; RFC 6902`,
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a", { x: "1" }));
      const path = w.configMaps("a");
      const next = await w.do(200, "PATCH", path, [
        { op: "test", path: "/data/x", value: "1" },
        { op: "replace", path: "/data/x", value: "2" },
        { op: "add", path: "/metadata/annotations", value: { "a/b": "slash" } },
        { op: "add", path: "/metadata/annotations/c~1d", value: "slash" },
        { op: "copy", from: "/data/x", path: "/data/y" },
      ], JSON_PATCH);
      assert.deepEqual(next.data, { x: "2", y: "2" });
      assert.deepEqual(next.metadata.annotations, { "a/b": "slash", "c/d": "slash" });
      await w.refused(422, "Invalid", "PATCH", path, [
        { op: "remove", path: "/data/y" },
        { op: "test", path: "/data/x", value: "1" },
      ], JSON_PATCH);
      await w.refused(422, "Invalid", "PATCH", path, [
        { op: "remove", path: "/data/none" },
      ], JSON_PATCH);
      assert.deepEqual(await w.do(200, "GET", path), next);
      const moved = await w.do(200, "PATCH", path, [
        { op: "move", from: "/data/y", path: "/data/z" },
        { op: "remove", path: "/metadata/annotations/a~1b" },
      ], JSON_PATCH);
      assert.deepEqual(moved.data, { x: "2", z: "2" });
      assert.deepEqual(moved.metadata.annotations, { "c/d": "slash" });
      await w.refused(400, "BadRequest", "PATCH", path, { op: "remove" }, JSON_PATCH);
    },
  },
  {
    name: "a strategic merge patch merges lists that have a key, and replaces the others",
    from: "Update API Objects in Place Using kubectl patch",
    async check(w) {
      const service = {
        apiVersion: "v1",
        kind: "Service",
        metadata: { name: "a" },
        spec: { ports: [{ name: "http", port: 80 }] },
      };
      await w.do(201, "POST", w.core("services"), service);
      const more = { spec: { ports: [{ name: "dns", port: 53 }] } };
      const next = await w.do(200, "PATCH", w.core("services", "a"), more, STRATEGIC);
      const ports = (o: any) => o.spec.ports.map((p: any) => p.port).sort();
      assert.deepEqual(ports(next), [53, 80]);
      const less = { spec: { ports: [{ port: 80, $patch: "delete" }] } };
      const rest = await w.do(200, "PATCH", w.core("services", "a"), less, STRATEGIC);
      assert.deepEqual(ports(rest), [53]);
      const whole = { spec: { ports: [{ name: "ssh", port: 22 }] } };
      const merged = await w.do(200, "PATCH", w.core("services", "a"), whole, MERGE);
      assert.deepEqual(ports(merged), [22]);
    },
  },
  {
    name: "conditions of a pod's status are merged by their type",
    from: `${CONCEPTS}, Updates to existing resources`,
    async check(w) {
      await w.do(201, "POST", w.pods(), w.pod("a"));
      const condition = (type: string, status: string) => ({
        status: { conditions: [{ type, status }] },
      });
      await w.do(200, "PATCH", w.pods("a/status"), condition("example.com/x", "True"), STRATEGIC);
      const next = await w.do(
        200,
        "PATCH",
        w.pods("a/status"),
        condition("example.com/y", "False"),
        STRATEGIC,
      );
      const types = next.status.conditions.map((c: any) => c.type);
      assert.ok(types.includes("example.com/x") && types.includes("example.com/y"), types);
    },
  },
  {
    name: "custom resources refuse strategic merge patches with 415, and so do all unknown types",
    from: `${CONCEPTS}, Updates to existing resources`,
    async check(w) {
      await w.do(201, "POST", w.widgets(), w.widget("a"));
      const patch = { spec: { size: 2 } };
      await w.refused(415, "UnsupportedMediaType", "PATCH", w.widgets("a"), patch, STRATEGIC);
      const plain = { "content-type": "application/json" };
      await w.refused(415, "UnsupportedMediaType", "PATCH", w.widgets("a"), patch, plain);
    },
  },
  {
    name: "a patch is no update from a state, unless it names a resourceVersion",
    from: `${CONCEPTS}, Updates to existing resources`,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a"));
      const { resourceVersion } = made.metadata;
      await w.do(200, "PATCH", w.widgets("a"), { spec: { size: 5 } }, MERGE);
      await w.do(200, "PATCH", w.widgets("a"), { spec: { code: "x" } }, MERGE);
      const stale = { metadata: { resourceVersion }, spec: { size: 6 } };
      await w.refused(409, "Conflict", "PATCH", w.widgets("a"), stale, MERGE);
      const uid = { metadata: { uid: "00000000-0000-0000-0000-000000000001" } };
      const other = await w.refused(422, "Invalid", "PATCH", w.widgets("a"), uid, MERGE);
      assert.equal(other.details.causes[0].field, "metadata.uid");
      const now = await w.do(200, "GET", w.widgets("a"));
      assert.deepEqual([now.spec.size, now.spec.code], [5, "x"]);
    },
  },
  {
    name: "a patched object must be valid (422)",
    from: PATCHES,
    async check(w) {
      await w.do(201, "POST", w.widgets(), w.widget("a"));
      const patch = { spec: { size: 99 } };
      const status = await w.refused(422, "Invalid", "PATCH", w.widgets("a"), patch, MERGE);
      assert.equal(status.details.causes[0].field, "spec.size");
    },
  },
  {
    name: "server-side apply creates, merges, and removes what its manager names no more",
    from: APPLY,
    async check(w) {
      const path = (manager: string, more = "") =>
        `${w.configMaps("a")}?fieldManager=${manager}${more}`;
      const apply = (code: number, manager: string, data: object, more = "") =>
        w.do(code, "PATCH", path(manager, more), w.configMap("a", data as any), APPLY_PATCH);
      const made = await apply(201, "one", { x: "1", y: "1" });
      assert.equal(made.metadata.managedFields[0].operation, "Apply");
      await apply(200, "two", { z: "1" });
      const less = await apply(200, "one", { x: "2" });
      assert.deepEqual(less.data, { x: "2", z: "1" });
    },
  },
  {
    name: "a field that another manager applied is a 409 conflict, unless forced",
    from: `${APPLY}, Conflicts`,
    async check(w) {
      const apply = (manager: string, data: Record<string, string>, more = "") =>
        w.call(
          "PATCH",
          `${w.configMaps("a")}?fieldManager=${manager}${more}`,
          w.configMap("a", data),
          APPLY_PATCH,
        );
      assert.equal((await apply("one", { x: "1" })).status, 201);
      const refused = await apply("two", { x: "2" });
      assert.equal(refused.status, 409);
      assert.equal(refused.body.reason, "Conflict");
      const [cause] = refused.body.details.causes;
      assert.deepEqual([cause.reason, cause.field], ["FieldManagerConflict", ".data.x"]);
      assert.match(cause.message, /"one"/);
      // The same value is no conflict: both own it.
      assert.equal((await apply("three", { x: "1" })).status, 200);
      const forced = await apply("two", { x: "2" }, "&force=true");
      assert.equal(forced.body.data.x, "2");
      const uid = { uid: "00000000-0000-0000-0000-000000000001" };
      const absent = await w.call(
        "PATCH",
        `${w.configMaps("none")}?fieldManager=one`,
        w.configMap("none", {}, uid),
        APPLY_PATCH,
      );
      assert.equal(absent.status, 409);
      const nameless = await w.call("PATCH", w.configMaps("a"), w.configMap("a"), APPLY_PATCH);
      assert.equal(nameless.status, 422);
    },
  },
  {
    name: "managedFields says which manager wrote which field",
    from: `${APPLY}, Field management`,
    async check(w) {
      const by = (manager: string) => `?fieldManager=${manager}`;
      await w.do(201, "POST", w.configMaps() + by("maker"), w.configMap("a", { x: "1" }));
      const path = w.configMaps("a") + by("changer");
      const next = await w.do(200, "PATCH", path, { data: { y: "1" } }, MERGE);
      const fields = Object.fromEntries(
        next.metadata.managedFields.map((e: any) => [e.manager, e.fieldsV1["f:data"]]),
      );
      assert.ok("f:x" in fields.maker && !("f:y" in fields.maker));
      assert.ok("f:y" in fields.changer && !("f:x" in fields.changer));
    },
  },
];
