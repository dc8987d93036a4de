import assert from "node:assert/strict";
import { PolicyEngine } from "../../policy/engine.ts";
import { policyChange } from "./policy_change.ts";

const knp = "/tortie/kubernetes/networkpolicies/shop/web";
const gnp = "/calico/resources/v3/projectcalico.org/globalnetworkpolicies/web";
const identity = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace: "shop", name: "web" },
};

Deno.test("a stored object goes to the engine as it stands, under the name of its key", () => {
  const whole = { ...identity, spec: { podSelector: {} }, colour: "red" };
  assert.deepEqual(policyChange(knp, whole), { put: whole });
  const spec = { podSelector: {} };
  for (
    const lost of [
      { spec },
      { ...identity, metadata: null, spec },
      { ...identity, metadata: "web", spec },
      { ...identity, metadata: { name: "other", namespace: 5 }, spec },
      { ...identity, kind: "Secret", spec },
      { ...identity, apiVersion: 7, spec },
    ]
  ) {
    assert.deepEqual(policyChange(knp, lost), { put: { ...identity, spec } }, JSON.stringify(lost));
  }
  const kept = { ...identity, metadata: { labels: { a: "b" } } };
  assert.deepEqual(policyChange(knp, kept), {
    put: { ...identity, metadata: { labels: { a: "b" }, namespace: "shop", name: "web" } },
  });
  // A CRD is the object too.
  const crd = {
    apiVersion: "crd.projectcalico.org/v1",
    kind: "GlobalNetworkPolicy",
    metadata: { name: "web" },
  };
  assert.deepEqual(policyChange(gnp, crd), { put: crd });
});

Deno.test("what ends, and what is no object", () => {
  const remove = { apiVersion: identity.apiVersion, kind: identity.kind, ...identity.metadata };
  assert.deepEqual(policyChange(knp, undefined), { remove });
  // A policy that is no object is a policy of which nothing is understood: it closes.
  for (const value of [null, 5, "x", [], [identity]]) {
    const engine = new PolicyEngine();
    engine.update([policyChange(knp, value)!]);
    assert.match(JSON.stringify(engine.problems()), /shop\/web.*(every pod of its namespace|\[\])/);
  }
  const pod = "/tortie/kubernetes/pods/shop/web";
  assert.deepEqual(policyChange(pod, "x"), {
    remove: { apiVersion: "v1", kind: "Pod", ...identity.metadata },
  });
  for (const key of ["/calico/ipam/v2/config", "/tortie/kubernetes/leases/kube-system/x", "/x"]) {
    assert.equal(policyChange(key, {}), undefined);
  }
});

Deno.test("labels lost with their metadata close, and are named", () => {
  for (
    const value of [
      { Metadata: { name: "shop", labels: { team: "bad" } } },
      { metadata: null },
      {},
      { metadata: { name: "shop" }, METADATA: { labels: { team: "bad" } } },
      { metadata: { name: "shop", Labels: { team: "bad" } } },
    ]
  ) {
    for (const key of ["namespaces/shop", "pods/shop/web", "serviceaccounts/shop/web"]) {
      const engine = new PolicyEngine();
      engine.update([policyChange(`/tortie/kubernetes/${key}`, value)!]);
      const told = JSON.stringify(engine.problems());
      assert.match(told, /shop.*nothing is allowed/, `${key} ${JSON.stringify(value)}`);
      engine.update([policyChange(`/tortie/kubernetes/${key}`, undefined)!]);
      assert.deepEqual(engine.problems(), []);
    }
  }
});

Deno.test("a policy whose name is none counts all the same, and is named", () => {
  for (const name of ["a b", "it's", 'q"q', "tab\there", "line\nbreak", " ", "100%"]) {
    const engine = new PolicyEngine();
    const key = `/tortie/kubernetes/networkpolicies/shop/${name}`;
    engine.update([
      policyChange("/calico/resources/v3/projectcalico.org/workloadendpoints/shop/w", {
        metadata: {},
        spec: {
          orchestrator: "k8s",
          node: "n",
          pod: "w",
          endpoint: "eth0",
          interfaceName: "cali1",
          ipNetworks: ["10.0.0.1/32"],
          profiles: ["kns.shop"],
        },
      })!,
    ]);
    const chains = () => [...engine.ruleset(4).chains.keys()].sort().join(" ");
    const before = chains();
    engine.update([
      policyChange(key, { spec: { podSelector: {}, policyTypes: ["Ingress"] } })!,
    ]);
    assert.notEqual(chains(), before, name);
    assert.match(JSON.stringify(engine.problems()), /is no name for Kubernetes/);
    engine.update([policyChange(key, undefined)!]);
    assert.equal(chains(), before, name);
    assert.deepEqual(engine.problems(), []);
  }
});
