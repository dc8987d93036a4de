import assert from "node:assert/strict";
import fc from "fast-check";
import { ipFromBigInt, mustPrefix, prefixOf, samePrefix } from "../net/mod.ts";
import {
  affinityKey,
  affinityPrefix,
  blockKey,
  endpointStatusKey,
  felixStatusKey,
  handleKey,
  hostEndpointStatusKey,
  parseAffinityKey,
  parseBlockKey,
  parseEndpointStatusKey,
  parseHandleKey,
  parseResourceKey,
  resourceKey,
  resourcePrefix,
} from "./keys.ts";
import { ippoolKind } from "./ippool.ts";
import { kubernetesNetworkPolicyKind } from "./kubernetes_network_policy.ts";
import { networkPolicyKind } from "./network_policy.ts";
import { workloadEndpointKind } from "./workload_endpoint.ts";

// Keys of a real Calico's etcd.
Deno.test("keys are those that Calico writes", () => {
  assert.equal(
    resourceKey(ippoolKind, "default-ipv4-ippool"),
    "/calico/resources/v3/projectcalico.org/ippools/default-ipv4-ippool",
  );
  assert.equal(
    resourceKey(workloadEndpointKind, "cal1-k8s-p--a-eth0", "blue"),
    "/calico/resources/v3/projectcalico.org/workloadendpoints/blue/cal1-k8s-p--a-eth0",
  );
  assert.equal(
    blockKey(mustPrefix("10.244.160.0/26")),
    "/calico/ipam/v2/assignment/ipv4/block/10.244.160.0-26",
  );
  assert.equal(
    blockKey(mustPrefix("fd00:244:0:6c87:7a1b:d3fe:cc3c:a000/122")),
    "/calico/ipam/v2/assignment/ipv6/block/fd00:244:0:6c87:7a1b:d3fe:cc3c:a000-122",
  );
  assert.equal(
    affinityKey({ type: "host", name: "cal1" }, mustPrefix("10.246.0.54/31")),
    "/calico/ipam/v2/host/cal1/ipv4/block/10.246.0.54-31",
  );
  assert.equal(handleKey("calnet.ctr0"), "/calico/ipam/v2/handle/calnet.ctr0");
  assert.equal(felixStatusKey("cal1"), "/calico/felix/v2/no-region/host/cal1/status");
  assert.equal(
    endpointStatusKey("cal1", "k8s", "green/n1", "eth0"),
    "/calico/felix/v2/no-region/host/cal1/workload/k8s/green%2fn1/endpoint/eth0",
  );
  assert.equal(
    hostEndpointStatusKey("cal1", "cal1-eth0"),
    "/calico/felix/v1/host/cal1/endpoint/cal1-eth0",
  );
});

Deno.test("Kubernetes' own objects are kept apart from Calico's of the same kind", () => {
  const calico = resourceKey(networkPolicyKind, "web", "shop");
  const kubernetes = resourceKey(kubernetesNetworkPolicyKind, "web", "shop");
  assert.equal(kubernetes, "/tortie/kubernetes/networkpolicies/shop/web");
  assert.notEqual(calico, kubernetes);
  assert.deepEqual(parseResourceKey(kubernetes), {
    home: "kubernetes",
    plural: "networkpolicies",
    namespace: "shop",
    name: "web",
  });
});

Deno.test("a namespaced kind without namespace has no key", () => {
  assert.throws(() => resourceKey(networkPolicyKind, "web"), TypeError);
});

Deno.test("a prefix holds what it names and no neighbour", () => {
  const prefix = resourcePrefix(networkPolicyKind, "shop");
  assert.ok(resourceKey(networkPolicyKind, "web", "shop").startsWith(prefix));
  assert.ok(!resourceKey(networkPolicyKind, "web", "shop2").startsWith(prefix));
  const node = affinityPrefix({ type: "host", name: "node1" });
  const other = affinityKey({ type: "host", name: "node10" }, mustPrefix("10.0.0.0/26"));
  assert.ok(!other.startsWith(node));
});

const block = fc.oneof(
  fc.tuple(fc.bigInt({ min: 0n, max: 0xffff_ffffn }), fc.integer({ min: 0, max: 32 }))
    .map(([n, length]) => prefixOf(ipFromBigInt(4, n), length)),
  fc.tuple(fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }), fc.integer({ min: 0, max: 128 }))
    .map(([n, length]) => prefixOf(ipFromBigInt(6, n), length)),
);
const part = fc.string({ unit: fc.constantFrom(..."abc-.%/2f 0"), minLength: 1, maxLength: 12 });

Deno.test("keys are taken apart into what they were made of", () => {
  fc.assert(fc.property(block, (prefix) => {
    const found = parseBlockKey(blockKey(prefix));
    assert.ok(found && samePrefix(found, prefix));
    const owner = { type: "host", name: "n-1.example" } as const;
    const affinity = parseAffinityKey(affinityKey(owner, prefix));
    assert.deepEqual(affinity?.owner, owner);
    assert.ok(samePrefix(affinity!.block, prefix));
  }));
  fc.assert(fc.property(part, part, part, part, (node, orchestrator, workload, endpoint) => {
    assert.deepEqual(
      parseEndpointStatusKey(endpointStatusKey(node, orchestrator, workload, endpoint)),
      { node, orchestrator, workload, endpoint },
    );
  }));
});

Deno.test("other keys are not taken for ours", () => {
  for (
    const key of [
      "/calico/ipam/v2/assignment/ipv4/block/10.244.160.1-26", // host bits
      "/calico/ipam/v2/assignment/ipv6/block/10.244.160.0-26", // the other family
      "/calico/ipam/v2/assignment/ipv4/block/10.244.160.0",
      "/calico/ipam/v2/host/cal1",
      "/calico/ipam/v2/config",
    ]
  ) {
    assert.equal(parseBlockKey(key), undefined, key);
    assert.equal(parseAffinityKey(key), undefined, key);
    assert.equal(parseHandleKey(key), undefined, key);
    assert.equal(parseResourceKey(key), undefined, key);
  }
  assert.equal(parseResourceKey("/calico/resources/v3/projectcalico.org/ippools/"), undefined);
  assert.equal(parseResourceKey("/calico/resources/v3/projectcalico.org/a/b/c/d"), undefined);
});
