/** Creating, reading and updating one object. */
import assert from "node:assert/strict";
import { CONCEPTS, CONVENTIONS, type Expectation, MERGE, NAMES } from "./expectation.ts";

export const OBJECTS: Expectation[] = [
  {
    name: "a created object has uid, creationTimestamp and resourceVersion",
    from: `${CONVENTIONS}, Metadata`,
    async check(w) {
      for (
        const [path, body] of [
          [w.configMaps(), w.configMap("a", { k: "v" })],
          [w.widgets(), w.widget("a")],
        ] as const
      ) {
        const made = await w.do(201, "POST", path, body);
        assert.match(made.metadata.uid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
        assert.match(made.metadata.creationTimestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
        assert.match(made.metadata.resourceVersion, /^[1-9]\d*$/);
        assert.equal(made.metadata.namespace, w.namespace);
        assert.deepEqual(await w.do(200, "GET", `${path}/a`), made);
      }
    },
  },
  {
    name: "what the client says of uid and creationTimestamp does not count",
    from: `${CONVENTIONS}, Metadata`,
    async check(w) {
      const own = {
        uid: "00000000-0000-0000-0000-000000000001",
        creationTimestamp: "2001-01-01T00:00:00Z",
      };
      const made = await w.do(201, "POST", w.configMaps(), w.configMap("a", {}, own));
      assert.notEqual(made.metadata.uid, own.uid);
      assert.notEqual(made.metadata.creationTimestamp, own.creationTimestamp);
    },
  },
  {
    name: "creating what is there is 409 AlreadyExists, and changes nothing",
    from: `${CONVENTIONS}, Response Status Kind`,
    async check(w) {
      const made = await w.do(201, "POST", w.configMaps(), w.configMap("a", { k: "1" }));
      const status = await w.refused(
        409,
        "AlreadyExists",
        "POST",
        w.configMaps(),
        w.configMap("a", { k: "2" }),
      );
      assert.deepEqual(status.details, { name: "a", kind: "configmaps" });
      assert.deepEqual(await w.do(200, "GET", w.configMaps("a")), made);
      await w.do(201, "POST", w.widgets(), w.widget("a"));
      const custom = await w.refused(409, "AlreadyExists", "POST", w.widgets(), w.widget("a"));
      assert.deepEqual(custom.details, { name: "a", group: w.group, kind: "widgets" });
    },
  },
  {
    name: "generateName gives a unique name with that prefix",
    from: `${CONCEPTS}, Generated values`,
    async check(w) {
      const body = { ...w.configMap(""), metadata: { generateName: "job-" } };
      const first = await w.do(201, "POST", w.configMaps(), body);
      const second = await w.do(201, "POST", w.configMaps(), body);
      assert.match(first.metadata.name, /^job-[a-z0-9]{5}$/);
      assert.equal(first.metadata.generateName, "job-");
      assert.notEqual(first.metadata.name, second.metadata.name);
    },
  },
  {
    name: "an object without a name is 422 with the cause metadata.name",
    from: `${CONVENTIONS}, Metadata`,
    async check(w) {
      const nameless = { ...w.configMap(""), metadata: {} };
      const status = await w.invalid(["metadata.name"], "POST", w.configMaps(), nameless);
      assert.equal(status.details.causes[0].reason, "FieldValueRequired");
      assert.equal(status.details.kind, "ConfigMap");
    },
  },
  {
    name: "a name that is no DNS subdomain is 422, and so is a bad label",
    from: NAMES,
    async check(w) {
      for (const name of ["Upper", "a_b", "-a", "a-", "a..b", "x".repeat(254)]) {
        await w.invalid(["metadata.name"], "POST", w.configMaps(), w.configMap(name));
      }
      await w.do(201, "POST", w.configMaps(), w.configMap(`a.b-${"x".repeat(249)}`));
      const labels = { labels: { "bad key": "v" } };
      await w.invalid(["metadata.labels"], "POST", w.configMaps(), w.configMap("l", {}, labels));
      const value = { labels: { key: "a b" } };
      await w.invalid(["metadata.labels"], "POST", w.configMaps(), w.configMap("l", {}, value));
      const namespace = { apiVersion: "v1", kind: "Namespace", metadata: { name: "with.dot" } };
      await w.invalid(["metadata.name"], "POST", "/api/v1/namespaces", namespace);
    },
  },
  {
    name: "reading what is not there is 404 NotFound with name and resource",
    from: `${CONVENTIONS}, Response Status Kind`,
    async check(w) {
      const status = await w.refused(404, "NotFound", "GET", w.configMaps("none"));
      assert.deepEqual(status.details, { name: "none", kind: "configmaps" });
      assert.equal(status.message, 'configmaps "none" not found');
      const custom = await w.refused(404, "NotFound", "GET", w.widgets("none"));
      assert.equal(custom.message, `widgets.${w.group} "none" not found`);
      for (const method of ["PUT", "DELETE"]) {
        const body = method === "PUT" ? w.configMap("none") : undefined;
        await w.refused(404, "NotFound", method, w.configMaps("none"), body);
      }
      await w.refused(404, "NotFound", "PATCH", w.configMaps("none"), { data: { a: "b" } }, MERGE);
    },
  },
  {
    name: "an object in a namespace that is not there is 404 for the namespace",
    from: `${CONVENTIONS}, Resources`,
    async check(w) {
      const path = "/api/v1/namespaces/not-there-at-all/configmaps";
      const status = await w.refused(404, "NotFound", "POST", path, w.configMap("a"));
      assert.deepEqual(status.details, { name: "not-there-at-all", kind: "namespaces" });
    },
  },
  {
    name: "namespace and name in the body are those of the path, or 400",
    from: `${CONVENTIONS}, Verbs on Resources`,
    async check(w) {
      const elsewhere = w.configMap("a", {}, { namespace: "default" });
      await w.refused(400, "BadRequest", "POST", w.configMaps(), elsewhere);
      await w.do(201, "POST", w.configMaps(), w.configMap("a"));
      await w.refused(400, "BadRequest", "PUT", w.configMaps("a"), w.configMap("b"));
    },
  },
  {
    name: "a body that is no JSON, or of another kind, is 400",
    from: `${CONVENTIONS}, HTTP Status codes`,
    async check(w) {
      const asJson = { "content-type": "application/json" };
      await w.refused(400, "BadRequest", "POST", w.configMaps(), "{no json", asJson);
      const secret = { ...w.configMap("a"), kind: "Secret" };
      await w.refused(400, "BadRequest", "POST", w.configMaps(), secret);
      const version = { ...w.configMap("a"), apiVersion: "apps/v1" };
      await w.refused(400, "BadRequest", "POST", w.configMaps(), version);
      const labels = w.configMap("a", {}, { labels: { a: 1 } });
      await w.refused(400, "BadRequest", "POST", w.configMaps(), labels);
    },
  },
  {
    name: "an unknown media type is 415 as body and 406 as answer",
    from: `${CONCEPTS}, Alternate representations of resources`,
    async check(w) {
      const type = { "content-type": "text/csv" };
      await w.refused(415, "UnsupportedMediaType", "POST", w.configMaps(), "a,b", type);
      const accept = { accept: "text/csv" };
      await w.refused(406, "NotAcceptable", "GET", w.configMaps(), undefined, accept);
    },
  },
  {
    name: "a method that a resource does not have is 405",
    from: `${CONVENTIONS}, HTTP Status codes`,
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a"));
      await w.refused(405, "MethodNotAllowed", "POST", w.configMaps("a"), w.configMap("a"));
      await w.refused(405, "MethodNotAllowed", "PUT", w.configMaps(), w.configMap("a"));
    },
  },
  {
    name: "what is not served is 404",
    from: `${CONVENTIONS}, HTTP Status codes`,
    async check(w) {
      for (
        const path of [
          `/api/v1/namespaces/${w.namespace}/nonsenses`,
          "/apis/nonsense.example/v1/things",
          `/apis/${w.group}/v1/nonsenses`,
        ]
      ) {
        assert.equal((await w.call("GET", path)).status, 404, path);
      }
    },
  },
  {
    name: "a body that is too large is 413",
    from: `${CONVENTIONS}, HTTP Status codes`,
    async check(w) {
      const huge = w.configMap("a", { k: "x".repeat(4 * 1024 * 1024) });
      await w.refused(413, "RequestEntityTooLarge", "POST", w.configMaps(), huge);
    },
  },
  {
    name: "the keys of a ConfigMap are alphanumeric with -, _ and ., and no way up (422)",
    from: "ConfigMaps, ConfigMap object",
    async check(w) {
      await w.do(201, "POST", w.configMaps(), w.configMap("a", { "-a._B.9": "", ".a": "" }));
      for (const key of ["a/b", "a b", "é", "", "..", "..a", "x".repeat(254)]) {
        const { details } = await w.refused(
          422,
          "Invalid",
          "POST",
          w.configMaps(),
          w.configMap("b", { [key]: "v" }),
        );
        assert.equal(details.causes[0].field, `data[${key}]`);
      }
    },
  },
  {
    name: "a ConfigMap holds 1 MiB and no more",
    from: "ConfigMaps, Motivation",
    async check(w) {
      const size = 1024 * 1024;
      const full = w.configMap("a", { k: "x".repeat(size - 1), l: "y" });
      await w.do(201, "POST", w.configMaps(), full);
      const over = w.configMap("b", { k: "x".repeat(size - 1), l: "é" });
      const status = await w.refused(422, "Invalid", "POST", w.configMaps(), over);
      assert.match(status.message, /ConfigMap "b" is invalid: .*Too long: .* 1048576 bytes/);
      await w.refused(422, "Invalid", "PUT", w.configMaps("a"), {
        ...over,
        metadata: { name: "a" },
      });
    },
  },
  {
    name: "a kind of Kubernetes' own takes no fields that it does not have",
    from: `${CONCEPTS}, Field validation`,
    async check(w) {
      const body = { ...w.configMap("a", { k: "v" }), colour: "red" };
      const strict = `${w.configMaps()}?fieldValidation=Strict`;
      await w.refused(400, "BadRequest", "POST", strict, body);
      const made = await w.call("POST", w.configMaps(), body);
      assert.equal(made.status, 201);
      assert.match(made.headers.get("warning") ?? "", /unknown field \\"colour\\"/);
      assert.equal((await w.do(200, "GET", w.configMaps("a"))).colour, undefined);
    },
  },
  {
    name: "a dry run does everything but store",
    from: `${CONCEPTS}, Dry-run`,
    async check(w) {
      const dry = "?dryRun=All";
      const made = await w.do(201, "POST", w.configMaps() + dry, w.configMap("a"));
      assert.ok(made.metadata.uid);
      await w.refused(404, "NotFound", "GET", w.configMaps("a"));
      await w.refused(422, "Invalid", "POST", w.configMaps() + dry, w.configMap("A"));
      const kept = await w.do(201, "POST", w.configMaps(), w.configMap("a", { k: "1" }));
      const put = await w.do(200, "PUT", w.configMaps("a") + dry, w.configMap("a", { k: "2" }));
      assert.equal(put.data.k, "2");
      await w.do(200, "DELETE", w.configMaps("a") + dry);
      assert.deepEqual(await w.do(200, "GET", w.configMaps("a")), kept);
      const wrong = `${w.configMaps()}?dryRun=Some`;
      await w.refused(422, "Invalid", "POST", wrong, w.configMap("b"));
      const some = `${w.configMaps("a")}?dryRun=Some`;
      await w.refused(422, "Invalid", "PUT", some, w.configMap("a", { k: "2" }));
      await w.refused(422, "Invalid", "PATCH", some, { data: { k: "2" } }, MERGE);
      await w.refused(422, "Invalid", "DELETE", some);
      const options = { kind: "DeleteOptions", apiVersion: "v1" };
      await w.refused(422, "Invalid", "DELETE", w.configMaps("a"), {
        ...options,
        dryRun: ["Some"],
      });
      await w.refused(422, "Invalid", "DELETE", wrong);
      await w.do(200, "DELETE", w.configMaps("a"), { ...options, dryRun: ["All"] });
      await w.do(200, "DELETE", w.configMaps() + dry);
      await w.do(200, "PATCH", w.configMaps("a") + dry, { data: { k: "3" } }, MERGE);
      assert.deepEqual(await w.do(200, "GET", w.configMaps("a")), kept);
    },
  },
];
