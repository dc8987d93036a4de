/** Rules of single kinds, Calico's definitions, and sizes. */
import assert from "node:assert/strict";
import { clusterNetworkPolicyDefinition } from "./calico_definitions.ts";
import { startKube } from "./kube.ts";

const DEFAULT = "/api/v1/namespaces/default";
const CALICO = "/apis/crd.projectcalico.org/v1";
const calico = (kind: string, name: string, spec: object) => ({
  apiVersion: "crd.projectcalico.org/v1",
  kind,
  metadata: { name },
  spec,
});

Deno.test("a service gets an address of its own, keeps it, and may not change it", async () => {
  await using kube = await startKube();
  const service = (name: string) => ({ metadata: { name }, spec: { ports: [{ port: 80 }] } });
  const a = (await kube.call("POST", `${DEFAULT}/services`, service("a"))).body;
  const b = (await kube.call("POST", `${DEFAULT}/services`, service("b"))).body;
  assert.match(a.spec.clusterIP, /^10\.96\./);
  assert.notEqual(a.spec.clusterIP, b.spec.clusterIP);
  assert.deepEqual(a.spec.ports, [{ port: 80, protocol: "TCP", targetPort: 80 }]);
  const again = (await kube.call("PUT", `${DEFAULT}/services/a`, service("a"))).body;
  assert.equal(again.spec.clusterIP, a.spec.clusterIP);
  a.spec.clusterIP = b.spec.clusterIP;
  a.spec.clusterIPs = [b.spec.clusterIP];
  delete a.metadata.resourceVersion;
  assert.equal((await kube.call("PUT", `${DEFAULT}/services/a`, a)).status, 422);
  const headless = { metadata: { name: "h" }, spec: { clusterIP: "None" } };
  assert.equal((await kube.call("POST", `${DEFAULT}/services`, headless)).status, 201);
});

Deno.test("a pod is bound once, and needs its service account", async () => {
  await using kube = await startKube();
  const pod = { metadata: { name: "a" }, spec: { containers: [{ name: "c", image: "i" }] } };
  assert.equal((await kube.call("POST", `${DEFAULT}/pods`, pod)).status, 201);
  const binding = { target: { kind: "Node", name: "n1" } };
  const bind = (query = "") => kube.call("POST", `${DEFAULT}/pods/a/binding${query}`, binding);
  assert.equal((await bind("?dryRun=All")).status, 201);
  assert.equal((await bind("?dryRun=x")).status, 422);
  assert.equal(kube.get("", "pods", "default", "a")!.spec.nodeName, undefined);
  assert.equal((await bind()).status, 201);
  assert.equal(kube.get("", "pods", "default", "a")!.spec.nodeName, "n1");
  assert.equal((await bind()).status, 409);
  const stranger = {
    ...pod,
    metadata: { name: "b" },
    spec: { ...pod.spec, serviceAccountName: "x" },
  };
  const refused = await kube.call("POST", `${DEFAULT}/pods`, stranger);
  assert.equal(refused.status, 403);
  assert.match(refused.body.message, /serviceaccount "x" not found/);
});

Deno.test("podIP and podIPs say the same, whichever is written", async () => {
  await using kube = await startKube();
  const pod = { metadata: { name: "a" }, spec: { containers: [{ name: "c", image: "i" }] } };
  await kube.call("POST", `${DEFAULT}/pods`, pod);
  const merge = { "content-type": "application/merge-patch+json" };
  const patch = async (status: object) =>
    (await kube.call("PATCH", `${DEFAULT}/pods/a/status`, { status }, merge)).body.status;
  const both = [{ ip: "10.0.0.1" }, { ip: "fd00::1" }];
  assert.equal((await patch({ podIPs: both })).podIP, "10.0.0.1");
  assert.deepEqual((await patch({ podIP: "10.0.0.2" })).podIPs, [{ ip: "10.0.0.2" }]);
});

Deno.test("items of a typed list say no kind, those of custom resources do", async () => {
  await using kube = await startKube();
  const list = (await kube.call("GET", "/api/v1/namespaces")).body;
  assert.equal(list.items[0].kind, undefined);
  assert.equal(list.items[0].metadata.name, "default");
  await kube.crds();
  await kube.call("POST", `${CALICO}/tiers`, calico("Tier", "a", { order: 1.5 }));
  const tiers = (await kube.call("GET", `${CALICO}/tiers`)).body;
  assert.deepEqual([tiers.kind, tiers.items[0].kind], ["TierList", "Tier"]);
});

Deno.test("the first namespaces cannot be deleted", async () => {
  await using kube = await startKube();
  for (const name of ["default", "kube-system"]) {
    assert.equal((await kube.call("DELETE", `/api/v1/namespaces/${name}`)).status, 403);
  }
});

Deno.test("all of Calico's kinds are served, in the scope that they have", async () => {
  await using kube = await startKube();
  await kube.crds();
  const { resources } = (await kube.call("GET", CALICO)).body;
  const inNamespaces = resources.filter((r: any) => r.namespaced).map((r: any) => r.name);
  assert.deepEqual(inNamespaces.sort(), [
    "networkpolicies",
    "networksets",
    "stagedkubernetesnetworkpolicies",
    "stagednetworkpolicies",
  ]);
  assert.deepEqual(resources.map((r: any) => r.name).sort(), [
    "bgpconfigurations",
    "bgpfilters",
    "bgppeers",
    "blockaffinities",
    "caliconodestatuses",
    "clusterinformations",
    "felixconfigurations",
    "globalnetworkpolicies",
    "globalnetworksets",
    "hostendpoints",
    "ipamblocks",
    "ipamconfigs",
    "ipamhandles",
    "ippools",
    "ipreservations",
    "kubecontrollersconfigurations",
    "kubecontrollersconfigurations/status",
    "networkpolicies",
    "networksets",
    "stagedglobalnetworkpolicies",
    "stagedkubernetesnetworkpolicies",
    "stagednetworkpolicies",
    "tiers",
  ]);
});

Deno.test("Calico's kinds have schemas: pruned, defaulted, refused", async () => {
  await using kube = await startKube();
  await kube.crds();
  const pool = calico("IPPool", "p", { cidr: "10.0.0.0/16", mystery: true });
  const { body } = await kube.call("POST", `${CALICO}/ippools`, pool);
  assert.deepEqual(body.spec, { cidr: "10.0.0.0/16", assignmentMode: "Automatic" });
  const wrong: [string, object, string][] = [
    ["ippools", calico("IPPool", "q", { cidr: "10.0.0.0/16", ipipMode: "Some" }), "spec.ipipMode"],
    ["ippools", calico("IPPool", "q", {}), "spec.cidr"],
    [
      "blockaffinities",
      calico("BlockAffinity", "q", { cidr: "a", node: "n", state: "confirmed", deleted: false }),
      "spec.deleted",
    ],
    [
      "ipamblocks",
      calico("IPAMBlock", "q", { cidr: "a", allocations: [null, "x"] }),
      "spec.allocations[1]",
    ],
    ["globalnetworkpolicies", calico("GlobalNetworkPolicy", "q", { order: "1" }), "spec.order"],
  ];
  for (const [plural, object, field] of wrong) {
    const { status, body } = await kube.call("POST", `${CALICO}/${plural}`, object);
    assert.equal(status, 422, field);
    assert.ok(body.details.causes.some((c: any) => c.field === field), JSON.stringify(body));
  }
});

Deno.test("a definition's new schema is how older objects are read", async () => {
  await using kube = await startKube();
  const place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
  await kube.crds([clusterNetworkPolicyDefinition()]);
  const path = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies";
  const policy = {
    apiVersion: "policy.networking.k8s.io/v1alpha2",
    kind: "ClusterNetworkPolicy",
    metadata: { name: "a" },
    spec: { tier: "Admin", priority: 1, subject: { namespaces: {} } },
  };
  assert.equal((await kube.call("POST", path, policy)).status, 201);
  const { body } = await kube.call(
    "GET",
    `${place}/clusternetworkpolicies.policy.networking.k8s.io`,
  );
  const { properties } = body.spec.versions[0].schema.openAPIV3Schema.properties.spec;
  delete properties.priority;
  properties.colour = { type: "string", default: "red" };
  body.spec.versions[0].schema.openAPIV3Schema.properties.spec.required = [];
  assert.equal((await kube.call("PUT", `${place}/${body.metadata.name}`, body)).status, 200);
  const { spec } = (await kube.call("GET", `${path}/a`)).body;
  assert.deepEqual(spec, { tier: "Admin", subject: { namespaces: {} }, colour: "red" });
});

Deno.test("10,000 pods are listed whole and in pages, and 20 watches all hear of 500 changes", async () => {
  await using kube = await startKube();
  for (let i = 0; i < 10_000; i++) {
    kube.cluster.revisions.put("/pods", `default/p${String(i).padStart(5, "0")}`, {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name: `p${String(i).padStart(5, "0")}`, namespace: "default" },
      spec: { nodeName: `n${i % 10}`, containers: [{ name: "c", image: "i" }] },
    });
  }
  assert.equal((await kube.call("GET", "/api/v1/pods")).body.items.length, 10_000);
  let found = 0;
  let next = "";
  do {
    const { body } = await kube.call("GET", `/api/v1/pods?limit=3000&continue=${next}`);
    found += body.items.length;
    next = encodeURIComponent(body.metadata.continue ?? "");
  } while (next !== "");
  assert.equal(found, 10_000);
  const from = kube.revision;
  const watches = await Promise.all(
    Array.from({ length: 20 }, () => kube.watch(`${DEFAULT}/configmaps?resourceVersion=${from}`)),
  );
  const heard = Promise.all(watches.map((watch) => watch.changes(500, 60_000)));
  for (let i = 0; i < 500; i++) {
    kube.cluster.revisions.put("/configmaps", `default/m${i}`, {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: `m${i}`, namespace: "default" },
    });
    if (i % 50 === 0) await new Promise((resolve) => setTimeout(resolve));
  }
  for (const events of await heard) {
    assert.deepEqual(
      events.map((e) => e.object.metadata.name),
      [...Array(500).keys()].map((i) => `m${i}`),
    );
  }
  for (const watch of watches) await watch.cancel();
});
