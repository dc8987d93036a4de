/**
 * Labels, annotations and ports may have the names that every JavaScript object has. From the file to
 * the verdict: applied, read back, selected by, through the datastore and the rendered rules.
 */
import assert from "node:assert/strict";
import { PolicyEngine } from "../../policy/engine.ts";
import { PolicyView } from "../../policy/explain.ts";
import type { PolicyObject } from "../../policy/inputs.ts";
import { KINDS } from "../model/kinds.ts";
import { resolveKind } from "../model/manifest.ts";
import type { Resource } from "../model/resource.ts";
import { memoryStore } from "../store/memory.ts";
import { Resources } from "../store/resources.ts";

const NAMES = ["constructor", "prototype", "toString", "hasOwnProperty"];
const CALICO = "projectcalico.org/v3";

async function withResources(run: (resources: Resources) => Promise<void>): Promise<void> {
  const store = memoryStore();
  try {
    await run(new Resources(store));
  } finally {
    await store.close();
  }
}

async function apply(resources: Resources, objects: readonly unknown[]): Promise<void> {
  for (const object of objects) await resources.apply(resolveKind(object).kind, object as Resource);
}

/** A verdict from all that is stored, read as the node service reads it. */
async function allows(resources: Resources, from: string, port: number): Promise<boolean> {
  const engine = new PolicyEngine();
  for (const kind of KINDS) {
    const { items, broken } = await resources.list(kind);
    assert.deepEqual(broken, []);
    engine.update((items as PolicyObject[]).map((put) => ({ put })));
  }
  assert.deepEqual(engine.problems(), []);
  return new PolicyView(engine).allows({
    from: { endpoint: from },
    to: { endpoint: "shop/db" },
    protocol: "TCP",
    port,
  });
}

interface Pod {
  namespace: string;
  name: string;
  ip: string;
  labels?: Record<string, string>;
  account?: string;
  ports?: unknown[];
}

function pod({ namespace, name, ip, labels = {}, account = "default", ports = [] }: Pod) {
  return [{
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name, labels },
    spec: { nodeName: "n", serviceAccountName: account, containers: [{ name: "c", ports }] },
    status: { podIPs: [{ ip }] },
  }, {
    apiVersion: CALICO,
    kind: "WorkloadEndpoint",
    metadata: { namespace, name: `n-k8s-${name}-eth0` },
    spec: {
      orchestrator: "k8s",
      node: "n",
      pod: name,
      endpoint: "eth0",
      interfaceName: `cali${name}`,
      ipNetworks: [`${ip}/32`],
      profiles: [`kns.${namespace}`, `ksa.${namespace}.${account}`],
    },
  }];
}

const named = (kind: string, name: string, labels: Record<string, string>, namespace?: string) => ({
  apiVersion: "v1",
  kind,
  metadata: { name, labels, ...namespace && { namespace } },
});

/** Four pods: the friend has the label itself, of its namespace or of its account; others do not. */
function world(name: string, where: "pod" | "namespace" | "account"): unknown[] {
  const label = { [name]: "true" };
  return [
    named("Namespace", "shop", {}),
    named("Namespace", "good", where === "namespace" ? label : {}),
    named("Namespace", "bad", {}),
    named("ServiceAccount", "own", where === "account" ? label : {}, "good"),
    named("ServiceAccount", "own", {}, "bad"),
    ...pod({
      namespace: "good",
      name: "friend",
      ip: "10.0.0.2",
      labels: where === "pod" ? label : {},
      account: "own",
    }),
    ...pod({ namespace: "bad", name: "evil", ip: "10.0.0.3", account: "own" }),
    ...pod({
      namespace: "shop",
      name: "db",
      ip: "10.0.0.1",
      labels: { app: "db" },
      ports: [{ name: name.toLowerCase(), containerPort: 5432 }],
    }),
  ];
}

const kubernetesPolicy = (ingress: unknown) => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace: "shop", name: "db" },
  spec: { podSelector: { matchLabels: { app: "db" } }, ingress: [ingress] },
});
const calicoPolicy = (source: unknown, destination = {}) => ({
  apiVersion: CALICO,
  kind: "NetworkPolicy",
  metadata: { namespace: "shop", name: "db" },
  spec: {
    selector: "app == 'db'",
    ingress: [{ action: "Allow", protocol: "TCP", source, destination }],
  },
});

for (const name of NAMES) {
  const matchLabels = { [name]: "true" };
  const selector = `${name} == 'true'`;
  const cases: [string, "pod" | "namespace" | "account", unknown][] = [
    [
      "Kubernetes' podSelector",
      "pod",
      kubernetesPolicy({
        from: [{ namespaceSelector: {}, podSelector: { matchLabels } }],
      }),
    ],
    [
      "Kubernetes' matchExpressions",
      "pod",
      kubernetesPolicy({
        from: [{
          namespaceSelector: {},
          podSelector: { matchExpressions: [{ key: name, operator: "Exists" }] },
        }],
      }),
    ],
    [
      "Kubernetes' namespaceSelector",
      "namespace",
      kubernetesPolicy({ from: [{ namespaceSelector: { matchLabels } }] }),
    ],
    ["Calico's selector", "pod", calicoPolicy({ selector, namespaceSelector: "all()" })],
    ["Calico's namespaceSelector", "namespace", calicoPolicy({ namespaceSelector: selector })],
    [
      "Calico's serviceAccounts",
      "account",
      calicoPolicy({ serviceAccounts: { selector }, namespaceSelector: "all()" }),
    ],
  ];
  for (const [what, where, policy] of cases) {
    Deno.test(`${what} by a label ${name} lets those in that have it, nobody else`, () =>
      withResources(async (resources) => {
        await apply(resources, [...world(name, where), policy]);
        assert.equal(await allows(resources, "good/friend", 80), true, "the friend");
        assert.equal(await allows(resources, "bad/evil", 80), false, "another pod");
      }));
  }

  Deno.test(`a port named ${name.toLowerCase()} is that port alone`, () =>
    withResources(async (resources) => {
      const ports = [name.toLowerCase()];
      await apply(resources, [...world(name, "pod"), calicoPolicy({}, { ports })]);
      assert.equal(await allows(resources, "bad/evil", 5432), true);
      assert.equal(await allows(resources, "bad/evil", 80), false);
    }));
}

Deno.test("every map of a file is there again when it is read", () =>
  withResources(async (resources) => {
    const map = Object.fromEntries(NAMES.map((name) => [name, "x"]));
    const metadata = { name: "default", labels: map, annotations: map };
    const objects = [
      { apiVersion: CALICO, kind: "GlobalNetworkSet", metadata, spec: { nets: ["10.0.0.0/8"] } },
      { apiVersion: CALICO, kind: "Profile", metadata, spec: { labelsToApply: map } },
      {
        apiVersion: CALICO,
        kind: "FelixConfiguration",
        metadata,
        spec: { bpfLogFilters: map },
      },
      {
        apiVersion: CALICO,
        kind: "KubeControllersConfiguration",
        metadata,
        spec: {
          controllers: {
            node: {
              hostEndpoint: {
                autoCreate: "Enabled",
                templates: [{
                  generateName: "t",
                  interfacePattern: "e",
                  labels: map,
                  annotations: map,
                }],
              },
            },
          },
        },
      },
      {
        apiVersion: CALICO,
        kind: "GlobalNetworkPolicy",
        metadata,
        spec: { ingress: [{ action: "Allow", metadata: { annotations: map } }] },
      },
      { apiVersion: "v1", kind: "Namespace", metadata },
      { apiVersion: "v1", kind: "Pod", metadata: { ...metadata, namespace: "default" }, spec: {} },
    ];
    for (const object of objects) {
      const { kind } = resolveKind(object);
      await resources.apply(kind, structuredClone(object) as Resource);
      const { name, namespace } = object.metadata as { name: string; namespace?: string };
      await resources.modify(kind, name, namespace, (stored) => ({ ...stored }));
      const stored = await resources.mustGet(kind, name, namespace);
      const lost = missing(object, stored, object.kind);
      assert.deepEqual(lost, [], JSON.stringify(stored));
    }
  }));

/** Paths of what one value says and the other does not. */
function missing(want: unknown, have: unknown, path: string): string[] {
  if (typeof want !== "object" || want === null) return want === have ? [] : [path];
  if (typeof have !== "object" || have === null) return [path];
  return Object.entries(want).flatMap(([key, value]) => {
    const found = Object.hasOwn(have, key) ? (have as Record<string, unknown>)[key] : undefined;
    return missing(value, found, `${path}.${key}`);
  });
}
