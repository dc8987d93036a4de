import assert from "node:assert/strict";
import { networkPolicyKind } from "./network_policy.ts";
import { kubernetesNetworkPolicyKind } from "./kubernetes_network_policy.ts";
import { parseManifest, resolveKind } from "./manifest.ts";
import { ModelError } from "./validate.ts";

Deno.test("apiVersion decides between kinds of one name", () => {
  const kindOf = (apiVersion: string) => resolveKind({ apiVersion, kind: "NetworkPolicy" }).kind;
  assert.equal(kindOf("projectcalico.org/v3"), networkPolicyKind);
  assert.equal(kindOf("networking.k8s.io/v1"), kubernetesNetworkPolicyKind);
});

const unknown: [value: unknown, message: RegExp][] = [
  [undefined, /kind is missing/],
  [{}, /kind is missing/],
  [{ kind: "IPPool" }, /IPPool: apiVersion is missing: want projectcalico\.org\/v3 or crd/],
  [{ kind: "IPPool", apiVersion: "v1" }, /"v1" is not known: want projectcalico\.org\/v3 or crd/],
  [{ kind: "NetworkPolicy", apiVersion: "v1" }, /projectcalico\.org\/v3.*networking\.k8s\.io\/v1/],
  [{ kind: "IPPol", apiVersion: "projectcalico.org/v3" }, /did you mean IPPool\?/],
  [{ kind: "Node", apiVersion: "crd.projectcalico.org/v1" }, /is not known/],
];

Deno.test("what is not known is said with what is", () => {
  for (const [value, message] of unknown) {
    assert.throws(
      () => resolveKind(value),
      (error: unknown) =>
        error instanceof ModelError && error.kind === "unknownKind" && message.test(error.message),
    );
  }
});

Deno.test("an object without namespace gets the one that is asked for, else default", () => {
  const policy = {
    apiVersion: "projectcalico.org/v3",
    kind: "NetworkPolicy",
    metadata: { name: "p" },
  };
  assert.equal(parseManifest(policy).object.metadata.namespace, "default");
  assert.equal(parseManifest(policy, { namespace: "shop" }).object.metadata.namespace, "shop");
  const own = { ...policy, metadata: { name: "p", namespace: "own" } };
  assert.equal(parseManifest(own, { namespace: "shop" }).object.metadata.namespace, "own");
});

Deno.test("an object of crd.projectcalico.org/v1 is Calico's, with a warning for what was put right", () => {
  const { object, crd, warnings } = parseManifest({
    apiVersion: "crd.projectcalico.org/v1",
    kind: "IPPool",
    metadata: { name: "new-pool1" },
    spec: { cidr: "10.244.3.220/24", blockSize: 31, ipipMode: "Never", natOutgoing: true },
  });
  assert.ok(crd);
  assert.equal(object.apiVersion, "projectcalico.org/v3");
  assert.equal((object.spec as { cidr: string }).cidr, "10.244.3.0/24");
  assert.equal(warnings.length, 1);
});

Deno.test("metadata that Calico hides from Kubernetes comes back to its place", () => {
  const { object } = parseManifest({
    apiVersion: "crd.projectcalico.org/v1",
    kind: "GlobalNetworkPolicy",
    metadata: {
      name: "default.web",
      annotations: {
        "projectcalico.org/metadata":
          '{"name":"web","labels":{"a":"b"},"creationTimestamp":"2026-11-22T13:00:00Z"}',
      },
    },
  });
  assert.equal(object.metadata.name, "web");
  assert.deepEqual(object.metadata.labels, { a: "b" });
  assert.equal(object.metadata.creationTimestamp, "2026-11-22T13:00:00Z");
});

Deno.test("what an IPAMConfiguration cannot keep is told", () => {
  const value = (metadata: object) => ({
    apiVersion: "projectcalico.org/v3",
    kind: "IPAMConfiguration",
    metadata: { name: "default", ...metadata },
    spec: { strictAffinity: true },
  });
  assert.deepEqual(parseManifest(value({})).warnings, []);
  const [warning] = parseManifest(value({ labels: { a: "b" } })).warnings;
  assert.match(warning, /^IPAMConfiguration "default": metadata\.labels: are not kept/);
});
