/** Metadata of every form that JSON can have: an object is read, or told as damaged under the same keys. */
import assert from "node:assert/strict";
import fc from "fast-check";
import type { KubeObject } from "./api.ts";
import { Projection } from "./projection.ts";
import { metadataFault } from "./sound_metadata.ts";
import type { Source } from "./source.ts";
import { makeSources } from "./sources.ts";

const { all } = makeSources();

/** Where the name follows from what the object is of. */
const NAMES: Readonly<Record<string, string>> = {
  IPAMBlock: "10-0-0-0-26",
  BlockAffinity: "n1-10-0-0-0-26",
  ConfigMap: "tortie-asked.n1",
};

/** As a server could give it. */
const objectOf = ({ resource }: Source): KubeObject => ({
  apiVersion: `${resource.group}/${resource.version}`,
  kind: resource.kind,
  metadata: {
    name: NAMES[resource.kind] ?? "default",
    ...(resource.namespaced && { namespace: "red" }),
    uid: "6f4f6a0e-3f0c-4c6b-9d55-0d9c4f1f0a11",
    resourceVersion: "7",
    generation: 1,
    creationTimestamp: "2026-01-02T03:04:05Z",
    labels: { "projectcalico.org/a": "b", "tortie.io/node-word": "asked" },
    annotations: { "projectcalico.org/metadata": "{}", "cni.projectcalico.org/podIPs": "10.0.0.1" },
    ownerReferences: [{ apiVersion: "v1", kind: "A", name: "b", uid: "c", controller: true }],
    finalizers: ["a/b"],
  },
  spec: { nodeName: "n1", cidr: "10.0.0.0/26", node: "n1" },
  data: { node: "n1", word: "{}" },
});

const MEMBERS = ["namespace", ...Object.keys(objectOf(all[0]).metadata)]
  .filter((member) => member !== "name");
const annotation = fc.constantFrom(
  ...["projectcalico.org/metadata", "projectcalico.org/labels", "projectcalico.org/IPv4Address"],
  ...["cni.projectcalico.org/podIP", "cni.projectcalico.org/podIPs", "cni.tortie.io/qosControls"],
);
const strange = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.dictionary(annotation, fc.jsonValue({ maxDepth: 2 }), { minKeys: 1, maxKeys: 3 }),
  fc.array(
    fc.oneof(
      fc.jsonValue({ maxDepth: 2 }),
      fc.dictionary(fc.constantFrom("uid", "name"), fc.jsonValue({ maxDepth: 2 })),
    ),
  ),
);

Deno.test("what every object has is in order, and null says nothing", () => {
  for (const source of all) {
    const object = objectOf(source);
    const { namespaced } = source.resource;
    assert.equal(metadataFault(object, namespaced), undefined);
    for (const member of MEMBERS) {
      if (member === "namespace") continue;
      const without = { ...object, metadata: { ...object.metadata, [member]: null } };
      assert.equal(metadataFault(without, namespaced), undefined, member);
    }
  }
});

Deno.test("whatever stands in an object's metadata: it is read, or it is damaged, and never a bug of ours", () => {
  const change = fc.dictionary(fc.constantFrom(...MEMBERS), strange, { minKeys: 1, maxKeys: 3 });
  for (const source of all) {
    const { namespaced, kind } = source.resource;
    const keys = source.read(objectOf(source)).map(({ key }) => key);
    assert(keys.length > 0, kind);
    fc.assert(
      fc.property(change, (changed) => {
        const object = objectOf(source);
        // JSON as it comes from a server has no -0 and no prototypes.
        Object.assign(object.metadata, JSON.parse(JSON.stringify(changed)));
        const readings = source.read(object);
        const events = new Projection(source, "/").events("ADDED", object);
        if (readings.length > 0) {
          if (!namespaced || object.metadata.namespace === "red") {
            assert.deepEqual(readings.map(({ key }) => key), keys);
          }
          return;
        }
        if (!source.strange) return;
        const told = source.strange(object);
        assert(told.length > 0, kind);
        assert.match(told[0].reason, new RegExp(`${kind} ${object.metadata.name}: its metadata`));
        // One that does not say in which namespace it is, is in none that anybody asks for.
        if (!namespaced || object.metadata.namespace === "red") {
          assert.deepEqual(told.map(({ key }) => key), keys);
        }
        assert.deepEqual(
          events.map(({ key, type }) => [key, type]),
          told.map(({ key }) => [
            key,
            "delete",
          ]),
        );
      }),
      { numRuns: 60 },
    );
  }
});
