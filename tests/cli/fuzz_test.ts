/**
 * Objects and texts that nobody thought of. Objects are made from the kinds' own schemas, each leaf with
 * a sample that it allows: what is accepted comes back from the datastore without loss. Texts are
 * manifests with something broken in them, or no manifests at all: they are refused in words, never
 * with a stack trace.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import * as v from "valibot";
import { Cluster, command } from "./harness.ts";
import { formatYaml, parseYaml } from "../../mod/cli/yaml.ts";
import { type AnyKind, KINDS } from "../../mod/model/kinds.ts";
import { parseManifest } from "../../mod/model/manifest.ts";
import { encodeObject, ModelError } from "../../mod/model/validate.ts";
import { expectedEndpointName } from "../../mod/model/workload_endpoint.ts";

const TEXTS = [
  ...["10.0.0.0/16", "10.1.0.0/26", "10.0.0.1", "10.0.0.1/32", "192.0.2.1/24", "0.0.0.0/0"],
  ...["fd00::/64", "fd00::1", "fd00::1/128", "2001:db8::1/64", "192.0.2.1:179", "fe80::1"],
  ...["a", "web-1", "a.b", "eth0", "cali12345", "*", "eth*", "default", "kns.shop", "A", "x_y"],
  ...["all()", "has(a)", "a == 'b' && c in {'d'}", "global()", "!has(x)", "", " "],
  ...["30s", "1m30s", "0s", "500ms", "65000:1", "1:2:3", "1.10", "yes", "on", "017", "12:30", "~"],
  ...["ee:ee:ee:ee:ee:ee", "66:00:00:00:00:01", "TCP", "udp", "ICMPv6", "Info", "debug", "null"],
  ...["2026-11-22T13:44:27Z", "/a/b", "GET", "a=b", "a=true", "Enabled", "Auto", "é\u2028\n\t"],
];
const NUMBERS = [0, 1, 4, 6, 26, 32, 80, 100, 122, 179, 1024, 65535, 4294967295, -1, 1.5, 1e21];

/** A value that a schema allows on its face; undefined where no sample fits. */
function valueOf(schema: any): fc.Arbitrary<unknown> | undefined {
  if (schema.type === "optional") return valueOf(schema.wrapped);
  if (schema.entries) return objectOf(schema);
  if (schema.item) {
    const item = valueOf(schema.item);
    return item && fc.array(item, { maxLength: 3 })
      .filter((list) => v.safeParse(schema, list).success);
  }
  if (schema.type === "record") {
    const key = fc.constantFrom("a", "b.c/d", "__proto__", "constructor", "x-1");
    return fc.dictionary(key, fc.constantFrom("v", "", "1", "v-1.x"), { maxKeys: 2 })
      .filter((map) => v.safeParse(schema, map).success);
  }
  if (schema.type === "picklist") return fc.constantFrom(...schema.options);
  const fitting = [...TEXTS, ...NUMBERS, true, false]
    .filter((sample) => v.safeParse(schema, sample).success);
  return fitting.length === 0 ? undefined : fc.constantFrom(...fitting);
}

function objectOf(schema: any): fc.Arbitrary<Record<string, unknown>> {
  const model: Record<string, fc.Arbitrary<unknown>> = {};
  const required: string[] = [];
  for (const [key, entry] of Object.entries<any>(schema.entries)) {
    const value = valueOf(entry);
    if (!value) continue;
    model[key] = value;
    if (entry.type !== "optional") required.push(key);
  }
  const optional = Object.keys(model).filter((key) => !required.includes(key));
  // A few of the optional fields, or objects of 190 fields would never fit together.
  return fc.subarray(optional, { maxLength: Math.min(5, optional.length) }).chain((some) =>
    fc.record(Object.fromEntries([...required, ...some].map((key) => [key, model[key]])))
  );
}

const WRITTEN = KINDS.filter((kind) => kind.home === "calico" && !kind.readOnly);

function manifestOf(kind: AnyKind): fc.Arbitrary<any> {
  const { spec } = (kind.schema as any).entries;
  return fc.record({
    spec: valueOf(spec) ?? fc.constant({}),
    labels: fc.dictionary(fc.constantFrom("a", "b/c"), fc.constantFrom("x", "", "1.0")),
    annotations: fc.dictionary(fc.constantFrom("n", "o/p"), fc.string({ unit: "grapheme" })),
  }).map(({ spec, labels, annotations }: any) => {
    // Rules beside what is stored: the tier must be there, an endpoint's name follows from its spec.
    if (spec.tier !== undefined) spec.tier = "default";
    if (kind.kind === "BGPPeer") delete spec.filters;
    if (spec.maxBlocksPerHost > 0) spec.strictAffinity = true;
    if (kind.kind === "WorkloadEndpoint") {
      Object.assign(spec, { node: "n-1", orchestrator: "k8s", pod: "p", endpoint: "eth0" });
    }
    const name = kind.kind === "WorkloadEndpoint"
      ? expectedEndpointName(spec)!
      : ["IPAMConfiguration", "KubeControllersConfiguration"].includes(kind.kind)
      ? "default"
      : "fuzz";
    return {
      apiVersion: kind.apiVersion,
      kind: kind.kind,
      metadata: {
        name,
        ...kind.namespaced && { namespace: "ns" },
        ...kind.kind !== "IPAMConfiguration" && { labels, annotations },
      },
      spec,
    };
  });
}

function parsed(kind: AnyKind, value: unknown): any {
  const { object } = parseManifest(value);
  const encoded = structuredClone(encodeObject(kind, object)) as any;
  for (const field of ["uid", "creationTimestamp"]) delete encoded.metadata[field];
  // Calico's own labels, which the store puts there.
  for (const key of Object.keys(encoded.metadata.labels ?? {})) {
    if (key.startsWith("projectcalico.org/")) delete encoded.metadata.labels[key];
  }
  for (const field of ["labels", "annotations"]) {
    if (Object.keys(encoded.metadata[field] ?? {}).length === 0) delete encoded.metadata[field];
  }
  return encoded;
}

const accepted = (value: unknown): boolean => {
  try {
    parseManifest(value, { write: true });
    return true;
  } catch (error) {
    if (error instanceof ModelError) return false;
    throw error;
  }
};

Deno.test("what apply accepts comes back from get without loss, of every kind", async () => {
  const counted = new Map<string, number>();
  const all = fc.tuple(
    ...WRITTEN.map((kind) => fc.array(manifestOf(kind), { minLength: 5, maxLength: 9 })),
  );
  await fc.assert(
    fc.asyncProperty(all, async (lists) => {
      const objects = lists.flatMap((list) => list.filter(accepted).slice(0, 1));
      if (objects.length === 0) return;
      const cluster = await Cluster.start();
      try {
        const stdin = formatYaml(objects);
        const applied = await cluster.run("apply -f -", { stdin });
        assert.deepEqual([applied.exit, applied.err], [0, ""]);
        const printed = await cluster.run("get -o yaml -f -", { stdin });
        assert.deepEqual([printed.exit, printed.err], [0, ""]);
        const read = [parseYaml(printed.out, "get")[0].value].flat() as any[];
        assert.equal(read.length, objects.length);
        objects.forEach((object, i) => {
          const kind = WRITTEN.find((one) => one.kind === object.kind)!;
          const [have, want] = [parsed(kind, read[i]), parsed(kind, object)];
          // IPAM's settings are a record of their own that is always whole and has no metadata.
          if (kind.kind === "IPAMConfiguration") want.spec = { ...have.spec, ...want.spec };
          assert.deepEqual(have, want);
          counted.set(kind.kind, (counted.get(kind.kind) ?? 0) + 1);
        });
        // And what get printed is what apply takes.
        const again = await cluster.run("apply -f -", { stdin: printed.out });
        assert.deepEqual([again.exit, again.err], [0, ""]);
      } finally {
        await cluster.close();
      }
    }),
    { numRuns: 16 },
  );
  for (const { kind } of WRITTEN) assert.ok((counted.get(kind) ?? 0) > 0, `no ${kind} was tried`);
});

const GOOD = `apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: pool-a, labels: {a: b}}
spec: {cidr: 10.1.0.0/16, blockSize: 26, nodeSelector: "has(a)"}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: p}
spec:
  ingress:
  - action: Allow
    protocol: TCP
    source: {nets: [10.0.0.0/8], selector: "a == 'b'"}
    destination: {ports: [80, "1:2", http]}
`;

/** The good text with pieces cut out, doubled or replaced. */
const broken = fc.array(
  fc.tuple(
    fc.nat(GOOD.length),
    fc.nat(12),
    fc.oneof(
      fc.constantFrom("", "[", "{", "- ", ": ", "\n", "*x", "&x ", "!!binary ", "<<: ", "\0", "\t"),
      fc.constantFrom("null", "[]", "{}", "-1", "1e999", "'", '"', "|\n", "---\n", "...", "? "),
      fc.string({ unit: "binary", maxLength: 4 }),
    ),
  ),
  { minLength: 1, maxLength: 4 },
).map((edits) =>
  edits.reduce((text, [at, length, put]) => text.slice(0, at) + put + text.slice(at + length), GOOD)
);

/** A good object with anything at all in one place of it. */
const strange = fc.tuple(fc.constantFrom(...KINDS), fc.nat(), fc.jsonValue({ maxDepth: 3 }))
  .map(([kind, at, value]) => {
    const fields = Object.keys(
      (kind.schema as any).entries.spec?.wrapped?.entries ??
        (kind.schema as any).entries.spec?.entries ?? { x: 0 },
    );
    const object: any = {
      apiVersion: kind.apiVersion,
      kind: kind.kind,
      metadata: { name: "x" },
      spec: { [fields[at % fields.length]]: value },
    };
    if (at % 5 === 0) object.metadata = value;
    if (at % 5 === 1) object.spec = value;
    if (at % 5 === 2) object.metadata.labels = value;
    return JSON.stringify(object);
  });

const garbage = fc.oneof(
  { weight: 3, arbitrary: broken },
  { weight: 3, arbitrary: strange },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 60 }) },
  { weight: 1, arbitrary: fc.jsonValue().map((value) => JSON.stringify(value)) },
);

function calm({ exit, err }: { exit: number; err: string }, what: string): void {
  assert.ok([0, 1, 2].includes(exit), `${what}: exit ${exit}`);
  assert.ok(exit === 0 || err !== "", `${what}: nothing said`);
  assert.doesNotMatch(err, /this is a bug|\n {4}at |\.ts:\d+/, what);
}

Deno.test("no text makes validate, apply, get, delete or patch break down", async () => {
  const cluster = await Cluster.start();
  try {
    await cluster.run("apply -f -", { stdin: GOOD });
    const lines = ["validate -f -", "apply -f -", "get -f -", "delete -f -", "replace -f -"];
    await fc.assert(
      fc.asyncProperty(garbage, fc.nat(), fc.boolean(), async (text, at, calicoctl) => {
        const name = calicoctl ? "calicoctl" : "tortie";
        const line = lines[at % lines.length];
        calm(await cluster.run(line, { stdin: text, name }), `${name} ${line} < ${text}`);
        const type = ["strategic", "merge", "json"][at % 3];
        const patch = await cluster.run(["patch", "ippool", "pool-a", "-t", type, "-p", text], {
          name,
        });
        if (!text.startsWith("-")) calm(patch, `patch ${type} ${text}`);
      }),
      { numRuns: 400 },
    );
  } finally {
    await cluster.close();
  }
});

Deno.test("no words on the command line make it break down", async () => {
  const word = fc.oneof(
    fc.constantFrom("get", "apply", "label", "patch", "delete", "ipam", "show", "version", "help"),
    fc.constantFrom("-o", "--output=", "-A", "-n", "--", "-f", "/nowhere", "--help", "-ojson", "="),
    fc.constantFrom("ippool", "np", "pool/x", "a=b", "-", "", "-Aq", "--export", "completion"),
    fc.string({ unit: "grapheme", maxLength: 5 }),
  );
  const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
  await fc.assert(
    fc.asyncProperty(fc.array(word, { maxLength: 5 }), fc.boolean(), async (words, calicoctl) => {
      const name = calicoctl ? "calicoctl" : "tortie";
      const { exit, err } = await command(words, { name, env });
      assert.ok([0, 1, 2, 3].includes(exit));
      assert.doesNotMatch(err, /this is a bug|\n {4}at /, `${name} ${words.join(" ")}`);
    }),
    { numRuns: 400 },
  );
});
