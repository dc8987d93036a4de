import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import type { Endpoint } from "./endpoint.ts";
import type { PolicyObject } from "./inputs.ts";
import { account, calico, endpoint, namespace, pod } from "./testing.ts";

const puts = (...objects: PolicyObject[]) => objects.map((put) => ({ put }));
const gone = (o: PolicyObject) => ({
  remove: {
    apiVersion: o.apiVersion,
    kind: o.kind!,
    namespace: o.metadata!.namespace,
    name: o.metadata!.name!,
  },
});
const only = (engine: PolicyEngine): Endpoint => {
  const [first, ...more] = engine.endpoints();
  assert.equal(more.length, 0);
  return first;
};
const labelsOf = (engine: PolicyEngine) => Object.fromEntries(only(engine).labels);

Deno.test("labels, account and ports are the Pod's while there is one", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const wep = endpoint("x", "p", ["10.0.0.1", "fd00::1"], { labels: { app: "stale", own: "1" } });
  engine.update(puts(namespace("x", { team: "red" }), wep));
  assert.deepEqual(labelsOf(engine), {
    "pcns.kubernetes.io/metadata.name": "x",
    "pcns.team": "red",
    "pcns.projectcalico.org/name": "x",
    app: "stale",
    own: "1",
    "projectcalico.org/namespace": "x",
    "projectcalico.org/orchestrator": "k8s",
    "projectcalico.org/serviceaccount": "default",
  });
  const p = pod("x", "p", { app: "web", "projectcalico.org/namespace": "forged" }, {
    ports: { http: 80, dns: "53/UDP" },
    account: "robot",
  });
  engine.update(puts(p, account("x", "robot", { role: "r" })));
  const labels = labelsOf(engine);
  assert.equal(labels.app, "web");
  assert.equal(labels.own, undefined);
  assert.equal(labels["projectcalico.org/namespace"], "x");
  assert.equal(labels["projectcalico.org/serviceaccount"], "robot");
  assert.equal(labels["pcsa.role"], "r");
  assert.deepEqual(only(engine).profiles, ["kns.x", "ksa.x.robot"]);
  assert.deepEqual(only(engine).ports, [
    { name: "http", protocol: 6, port: 80 },
    { name: "dns", protocol: 17, port: 53 },
  ]);
  engine.update([gone(p)]);
  assert.equal(labelsOf(engine).app, "stale");
  engine.update([gone(wep)]);
  assert.deepEqual([...engine.endpoints()], []);
});

Deno.test("a changed label of pod, namespace or account reaches the endpoint", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(endpoint("x", "p", ["10.0.0.1"]), pod("x", "p", { app: "a" })));
  engine.update(puts(pod("x", "p", { app: "b" })));
  assert.equal(labelsOf(engine).app, "b");
  engine.update(puts(namespace("x", { team: "blue" })));
  assert.equal(labelsOf(engine)["pcns.team"], "blue");
  engine.update(puts(account("x", "default", { role: "r" })));
  assert.equal(labelsOf(engine)["pcsa.role"], "r");
  engine.update([gone(namespace("x")), gone(account("x", "default"))]);
  assert.equal(labelsOf(engine)["pcns.team"], undefined);
  assert.equal(labelsOf(engine)["pcns.kubernetes.io/metadata.name"], "x");
  assert.equal(labelsOf(engine)["pcsa.role"], undefined);
});

Deno.test("own labels win over profiles', earlier profiles' over later ones'", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(
    calico("Profile", "one", { labelsToApply: { a: "1", b: "1", c: "1" } }),
    calico("Profile", "two", { labelsToApply: { b: "2", d: "2" } }),
    endpoint("x", "p", ["10.0.0.1"], {
      orchestrator: "cni",
      profiles: ["one", "two"],
      labels: { a: "own" },
    }),
  ));
  assert.deepEqual(labelsOf(engine), {
    a: "own",
    b: "1",
    c: "1",
    d: "2",
    "projectcalico.org/namespace": "x",
    "projectcalico.org/orchestrator": "cni",
  });
});

Deno.test("a pod's own labels never stand in for its namespace's or its account's", () => {
  const forged = { "pcns.team": "admin", "pcsa.role": "admin", mine: "1" };
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(namespace("x", { team: "guest" }), pod("x", "p", forged)));
  engine.update(puts(endpoint("x", "p", ["10.0.0.1"])));
  const { mine, "pcns.team": team, "pcsa.role": role } = labelsOf(engine);
  assert.deepEqual([mine, team, role], ["1", "guest", undefined]);
  // Nor do they by way of the copy in the endpoint, when the Pod is gone.
  engine.update([{ remove: { apiVersion: "v1", kind: "Pod", namespace: "x", name: "p" } }]);
  engine.update(puts(endpoint("x", "p", ["10.0.0.1"], { labels: forged })));
  assert.equal(labelsOf(engine)["pcns.team"], "guest");
});

Deno.test("a Namespace's profile wins over a stored copy; the copy serves without it", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const copy = calico("Profile", "kns.x", { labelsToApply: { "pcns.team": "copy" } });
  engine.update(puts(endpoint("x", "p", ["10.0.0.1"]), copy));
  assert.equal(labelsOf(engine)["pcns.team"], "copy");
  // The copy allows nothing, so neither does the endpoint.
  assert(!engine.ruleset(4).chains.has("filter-cali-pri-kns.x"));
  const ns = namespace("x", { team: "object" });
  engine.update(puts(ns));
  assert.equal(labelsOf(engine)["pcns.team"], "object");
  assert(engine.ruleset(4).chains.has("filter-cali-pri-kns.x"));
  engine.update([gone(ns)]);
  assert.equal(labelsOf(engine)["pcns.team"], "copy");
});

Deno.test("ports of sidecars count, those of other init containers do not", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(
    endpoint("x", "p", ["10.0.0.1"]),
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { namespace: "x", name: "p" },
      spec: {
        containers: [{ ports: [{ containerPort: 80 }, { name: "a", containerPort: 81 }] }],
        initContainers: [
          { restartPolicy: "Always", ports: [{ name: "b", containerPort: 82, protocol: "SCTP" }] },
          { ports: [{ name: "c", containerPort: 83 }] },
        ],
      },
    } as PolicyObject,
  ));
  assert.deepEqual(only(engine).ports.map((p) => `${p.name} ${p.protocol} ${p.port}`), [
    "a 6 81",
    "b 132 82",
  ]);
});

Deno.test("addresses that are no single address, and names that are no interface, are left out", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(
    endpoint("x", "p", ["10.0.0.0/24", "10.0.0.9", "fd00::9", "nonsense"], {
      interfaceName: "cali/../etc",
    }),
  ));
  assert.deepEqual(only(engine).addresses, { 4: ["10.0.0.9"], 6: ["fd00::9"] });
  assert.equal(only(engine).interfaceName, "");
  assert.equal(engine.isLocal(only(engine)), false);
});

Deno.test("objects without shape do no harm", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const kinds: [string, string][] = [
    ["projectcalico.org/v3", "WorkloadEndpoint"],
    ["projectcalico.org/v3", "Profile"],
    ["projectcalico.org/v3", "NetworkPolicy"],
    ["projectcalico.org/v3", "GlobalNetworkPolicy"],
    ["projectcalico.org/v3", "Tier"],
    ["projectcalico.org/v3", "NetworkSet"],
    ["projectcalico.org/v3", "GlobalNetworkSet"],
    ["projectcalico.org/v3", "IPPool"],
    ["projectcalico.org/v3", "Node"],
    ["v1", "Namespace"],
    ["v1", "Pod"],
    ["v1", "ServiceAccount"],
    ["networking.k8s.io/v1", "NetworkPolicy"],
    ["discovery.k8s.io/v1", "EndpointSlice"],
    ["v1", "Secret"],
    ["example.org/v1", "NetworkPolicy"],
  ];
  for (const [apiVersion, kind] of kinds) {
    for (const spec of [undefined, {}, null]) {
      const object = { apiVersion, kind, metadata: { name: "o", namespace: "x" }, spec };
      engine.update(puts(object));
    }
    engine.update(puts({ apiVersion, kind }, { apiVersion, kind, metadata: {} }));
    engine.update([{ remove: { apiVersion, kind, namespace: "x", name: "o" } }]);
  }
  assert.deepEqual([...engine.endpoints()], []);
});
