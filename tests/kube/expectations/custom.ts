/** Custom resources: definitions, pruning, defaults and validation. */
import assert from "node:assert/strict";
import { CUSTOM, definition, eventually, type Expectation, MERGE } from "./expectation.ts";

const DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

export const CUSTOM_RESOURCES: Expectation[] = [
  {
    name: "fields that the schema does not know are pruned",
    from: `${CUSTOM}, Field pruning`,
    async check(w) {
      const body = w.widget("a", {
        other: 1,
        nested: { a: "x", other: 1 },
        open: { any: { thing: [1] } },
      });
      const made = await w.do(201, "POST", w.widgets(), { ...body, extra: { a: 1 } });
      assert.equal(made.extra, undefined);
      assert.deepEqual(made.spec, {
        colour: "red",
        size: 3,
        nested: { a: "x", b: true },
        open: { any: { thing: [1] } },
      });
    },
  },
  {
    name: "unknown fields are a warning, or 400 where the client asks for strictness",
    from: `Kubernetes API Concepts, Field validation`,
    async check(w) {
      const body = w.widget("a", { other: 1 });
      const strict = `${w.widgets()}?fieldValidation=Strict`;
      const status = await w.refused(400, "BadRequest", "POST", strict, body);
      assert.match(status.message, /unknown field "spec\.other"/);
      const warned = await w.call("POST", w.widgets(), body);
      assert.match(warned.headers.get("warning") ?? "", /unknown field \\"spec\.other\\"/);
      const quiet = await w.call("PATCH", `${w.widgets("a")}?fieldValidation=Ignore`, {
        spec: { other: 2 },
      }, MERGE);
      assert.equal(quiet.headers.get("warning"), null);
    },
  },
  {
    name: "defaults stand for what is absent, and for null where null is not allowed",
    from: `${CUSTOM}, Defaulting; Defaulting and Nullable`,
    async check(w) {
      const made = await w.do(201, "POST", w.widgets(), w.widget("a", { size: null, nested: {} }));
      assert.equal(made.spec.size, 3);
      assert.deepEqual(made.spec.nested, { b: true });
      const nullable = await w.do(201, "POST", w.widgets(), w.widget("b", { maybe: null }));
      assert.equal(nullable.spec.maybe, null);
      const put = { ...made, spec: { colour: "green" } };
      assert.deepEqual((await w.do(200, "PUT", w.widgets("a"), put)).spec, {
        colour: "green",
        size: 3,
      });
    },
  },
  {
    name: "each constraint of the schema is a cause of 422 that names the field",
    from: `${CUSTOM}, Validation`,
    async check(w) {
      const wrong: [object, string, string][] = [
        [{ colour: "blue" }, "spec.colour", "FieldValueNotSupported"],
        [{ colour: null }, "spec.colour", ""],
        [{ size: 0 }, "spec.size", "FieldValueInvalid"],
        [{ size: 11 }, "spec.size", "FieldValueInvalid"],
        [{ size: "3" }, "spec.size", "FieldValueTypeInvalid"],
        [{ size: 1.5 }, "spec.size", "FieldValueTypeInvalid"],
        [{ code: "A" }, "spec.code", "FieldValueInvalid"],
        [{ code: "abcdef" }, "spec.code", "FieldValueTooLong"],
        [{ tags: ["a", "b", "c", "d"] }, "spec.tags", ""],
        [{ tags: [1] }, "spec.tags[0]", "FieldValueTypeInvalid"],
        [{ nested: { b: "yes" } }, "spec.nested.b", "FieldValueTypeInvalid"],
        [{ port: true }, "spec.port", "FieldValueTypeInvalid"],
        [{ weights: { a: "1" } }, "spec.weights.a", "FieldValueTypeInvalid"],
        [{ open: [] }, "spec.open", "FieldValueTypeInvalid"],
      ];
      for (const [spec, field, reason] of wrong) {
        const body = w.widget("a", spec);
        const status = await w.invalid([field], "POST", w.widgets(), body);
        const cause = status.details.causes.find((c: any) => c.field === field);
        if (reason) assert.equal(cause.reason, reason, JSON.stringify(spec));
        assert.equal(status.details.kind, "Widget");
      }
      const bare = { ...w.widget("a"), spec: {} };
      const status = await w.invalid(["spec.colour"], "POST", w.widgets(), bare);
      assert.equal(status.details.causes[0].reason, "FieldValueRequired");
      for (const port of [80, "http"]) {
        const body = w.widget(`p-${port}`, { port });
        assert.equal((await w.do(201, "POST", w.widgets(), body)).spec.port, port);
      }
    },
  },
  {
    name: "integers of 64 bits come back as they were written",
    from: `API Conventions, Primitive types`,
    async check(w) {
      const text = JSON.stringify(w.widget("a", { count: 0 }))
        .replace('"count":0', '"count":1795356317553267563');
      const json = { "content-type": "application/json" };
      await w.do(201, "POST", w.widgets(), text, json);
      const response = await w.api.fetch(w.widgets("a"));
      assert.match(await response.text(), /"count":1795356317553267563\b/);
    },
  },
  {
    name: "a custom resource needs kind and apiVersion in its body (400)",
    from: `${CUSTOM}, Create custom objects`,
    async check(w) {
      const { kind: _, ...body } = w.widget("a");
      await w.refused(400, "BadRequest", "POST", w.widgets(), body);
      await w.refused(400, "BadRequest", "POST", w.widgets(), {
        ...w.widget("a"),
        apiVersion: `${w.group}/v2`,
      });
    },
  },
  {
    name: "a definition that is not structural, or wrongly named, is 422",
    from: `${CUSTOM}, Specifying a structural schema`,
    async check(w) {
      const bad = (schema: object | undefined) => {
        const made: any = definition(w.group, "things", "Thing", true, schema ?? {});
        if (!schema) delete made.spec.versions[0].schema;
        return made;
      };
      const refused = (body: object) => w.refused(422, "Invalid", "POST", DEFINITIONS, body);
      await refused(bad(undefined));
      await refused(bad({ type: "object", properties: { spec: {} } }));
      await refused(
        bad({
          type: "object",
          properties: {
            spec: {
              type: "object",
              additionalProperties: false,
              properties: { size: { type: "integer" } },
            },
          },
        }),
      );
      const misnamed = bad({ type: "object" });
      misnamed.metadata.name = `other.${w.group}`;
      await refused(misnamed);
    },
  },
  {
    name: "a definition serves its resource until it is deleted, and takes its objects along",
    from: `${CUSTOM}, Create a CustomResourceDefinition; Delete a CustomResourceDefinition`,
    async check(w) {
      const plural = `things${w.namespace.replace(/[^a-z0-9]/g, "")}`;
      const made = definition(w.group, plural, plural, false, { type: "object" });
      const place = `${DEFINITIONS}/${plural}.${w.group}`;
      const things = `/apis/${w.group}/v1/${plural}`;
      await w.do(201, "POST", DEFINITIONS, made);
      await eventually("the definition is established", async () => {
        const { status } = await w.do(200, "GET", place);
        return status.conditions?.some((c: any) => c.type === "Established" && c.status === "True");
      });
      const thing = { apiVersion: `${w.group}/v1`, kind: plural, metadata: { name: "a" } };
      await eventually(
        "the resource is served",
        async () => [201, 409].includes((await w.call("POST", things, thing)).status),
      );
      await eventually("discovery lists it", async () => {
        const found = await w.do(200, "GET", `/apis/${w.group}/v1`);
        return found.resources.some((r: any) => r.name === plural && !r.namespaced);
      });
      await w.do(200, "DELETE", place);
      await eventually(
        "the resource is gone",
        async () => (await w.call("GET", things)).status === 404,
      );
    },
  },
];
