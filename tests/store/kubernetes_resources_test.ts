/** The typed client on the kubernetes driver: defaults, names of policies, conflicts, pools, nodes. */
import assert from "node:assert/strict";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { ipamConfigurationKind } from "../../mod/model/ipam_configuration.ts";
import { kubernetesNetworkPolicyKind } from "../../mod/model/kubernetes_network_policy.ts";
import { globalNetworkPolicyKind, networkPolicyKind } from "../../mod/model/network_policy.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { profileKind } from "../../mod/model/profile.ts";
import { calicoNodeStatusKind } from "../../mod/model/calico_node_status.ts";
import {
  stagedGlobalNetworkPolicyKind,
  stagedNetworkPolicyKind,
} from "../../mod/model/staged_policy.ts";
import { tierKind } from "../../mod/model/tier.ts";
import { ResourceError, Resources } from "../../mod/store/resources.ts";
import type { Kube } from "../kube/kube.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";

async function on(run: (kube: Kube, resources: Resources) => Promise<void>): Promise<void> {
  const kube = await startCalico();
  const store = await openStore(kube);
  try {
    await run(kube, new Resources(store));
  } finally {
    await store.close();
    await kube.close();
  }
}

const CRD = "/apis/crd.projectcalico.org/v1";

async function post(kube: Kube, plural: string, object: object) {
  const { status, body } = await kube.call("POST", `${CRD}/${plural}`, {
    apiVersion: "crd.projectcalico.org/v1",
    ...object,
  });
  assert.equal(status, 201, JSON.stringify(body));
}

Deno.test("what kubectl wrote has its defaults when it is read", () =>
  on(async (kube, resources) => {
    await post(kube, "ippools", {
      kind: "IPPool",
      metadata: { name: "p" },
      spec: { cidr: "10.244.0.0/16" },
    });
    const { spec, metadata } = await resources.mustGet(ippoolKind, "p");
    assert.deepEqual([spec.blockSize, spec.nodeSelector, spec.vxlanMode], [26, "all()", "Never"]);
    assert.deepEqual(spec.allowedUses, ["Workload", "Tunnel"]);
    assert.match(metadata.uid!, /^[0-9a-f-]{36}$/);
    // Changed through us, it keeps its identity.
    await resources.modify(ippoolKind, "p", undefined, (pool) => ({
      ...pool,
      spec: { ...pool.spec, natOutgoing: true },
    }));
    const changed = await resources.mustGet(ippoolKind, "p");
    assert.equal(changed.spec.natOutgoing, true);
    assert.equal(changed.metadata.uid, metadata.uid);
    assert.equal(kube.get("crd.projectcalico.org", "ippools", "", "p")!.spec.natOutgoing, true);
  }));

Deno.test("a rule's side that says nothing is not written, as Calico writes it", () =>
  on(async (kube, resources) => {
    const rules = [
      { action: "Allow", source: {}, destination: { ports: [53] }, protocol: "UDP" },
      { action: "Deny", source: {}, destination: {} },
    ];
    const written = [
      { action: "Allow", destination: { ports: [53] }, protocol: "UDP" },
      { action: "Deny" },
    ];
    const kinds = [
      [globalNetworkPolicyKind, undefined],
      [networkPolicyKind, "default"],
      [stagedGlobalNetworkPolicyKind, undefined],
      [stagedNetworkPolicyKind, "default"],
    ] as const;
    for (const [kind, namespace] of kinds) {
      await resources.create(kind as any, {
        metadata: { name: "p", namespace },
        spec: { selector: "all()", ingress: rules, egress: rules },
      } as any);
      const stored = () => kube.get("crd.projectcalico.org", kind.plural, namespace ?? "", "p")!;
      assert.deepEqual([stored().spec.ingress, stored().spec.egress], [written, written]);
      // What was read is written back as it stands there.
      const { resourceVersion } = stored().metadata;
      const policy = await resources.mustGet(kind as any, "p", namespace);
      await resources.update(kind as any, policy as any);
      assert.equal(stored().metadata.resourceVersion, resourceVersion, kind.plural);
    }
  }));

Deno.test("policies have their own names, whatever the resource is called", () =>
  on(async (kube, resources) => {
    await resources.create(networkPolicyKind, {
      metadata: { name: "web", namespace: "default", labels: { a: "b" } },
      spec: { selector: "all()", ingress: [{ action: "Allow" }] },
    } as any);
    const stored = kube.get("crd.projectcalico.org", "networkpolicies", "default", "web")!;
    const kept = JSON.parse(stored.metadata.annotations!["projectcalico.org/metadata"]);
    assert.equal(kept.name, "web");
    assert.deepEqual(kept.labels, { a: "b", "projectcalico.org/tier": "default" });
    assert.deepEqual(stored.metadata.labels, { "projectcalico.org/tier": "default" });
    // As Calico up to v3.31 stored it.
    await post(kube, "globalnetworkpolicies", {
      kind: "GlobalNetworkPolicy",
      metadata: {
        name: "default.old",
        annotations: {
          "projectcalico.org/metadata": '{"creationTimestamp":"2025-01-01T00:00:00Z"}',
        },
      },
      spec: { tier: "default", selector: "all()", types: ["Ingress"] },
    });
    const old = await resources.mustGet(globalNetworkPolicyKind, "old");
    assert.equal(old.metadata.creationTimestamp, "2025-01-01T00:00:00Z");
    await resources.modify(globalNetworkPolicyKind, "old", undefined, (policy) => ({
      ...policy,
      spec: { ...policy.spec, order: 7 },
    }));
    const { items } = await resources.list(globalNetworkPolicyKind);
    assert.deepEqual(items.map((p) => [p.metadata.name, p.spec.order]), [["old", 7]]);
    await resources.delete(globalNetworkPolicyKind, "old");
    assert.equal(kube.all("crd.projectcalico.org", "globalnetworkpolicies").length, 0);
    assert.equal((await resources.mustGet(tierKind, "kube-admin")).spec.order, 1000);
  }));

Deno.test("who wrote in between is noticed", () =>
  on(async (_kube, resources) => {
    const pool = await resources.create(ippoolKind, {
      metadata: { name: "p" },
      spec: { cidr: "10.244.0.0/16" },
    } as any);
    const again = resources.create(ippoolKind, pool as any);
    await assert.rejects(again, (e: ResourceError) => e.kind === "invalid" || e.kind === "exists");
    await Promise.all(
      Array.from({ length: 10 }, (_, i) =>
        resources.modify(ippoolKind, "p", undefined, (stored) => ({
          ...stored,
          metadata: { ...stored.metadata, labels: { ...stored.metadata.labels, [`l${i}`]: "x" } },
        }))),
    );
    const { metadata } = await resources.mustGet(ippoolKind, "p");
    assert.equal(Object.keys(metadata.labels!).length, 10);
    const stale = resources.update(ippoolKind, pool as any);
    await assert.rejects(stale, (e: ResourceError) => e.kind === "conflict");
    const overlapping = { metadata: { name: "q" }, spec: { cidr: "10.244.1.0/24" } };
    await assert.rejects(
      resources.create(ippoolKind, overlapping as any),
      (e: ResourceError) => e.kind === "invalid" && /overlap/.test(e.message),
    );
  }));

Deno.test("a status is written whether or not it is a resource of its own", () =>
  on(async (kube, resources) => {
    await resources.create(calicoNodeStatusKind, {
      metadata: { name: "n1" },
      spec: { node: "n1", classes: ["BGP"], updatePeriodSeconds: 10 },
    } as any);
    await resources.modify(calicoNodeStatusKind, "n1", undefined, (object) => ({
      ...object,
      status: { lastUpdated: "2026-01-02T03:04:05Z" },
    } as any));
    const { status } = kube.get("crd.projectcalico.org", "caliconodestatuses", "", "n1")!;
    assert.equal(status.lastUpdated, "2026-01-02T03:04:05Z");
  }));

Deno.test("nodes, profiles, the IPAM configuration and Kubernetes' policies are read as kinds", () =>
  on(async (kube, resources) => {
    await kube.call("POST", "/api/v1/nodes", {
      apiVersion: "v1",
      kind: "Node",
      metadata: { name: "n1", annotations: { "projectcalico.org/IPv4Address": "192.0.2.1/24" } },
    });
    await resources.modify(nodeKind, "n1", undefined, (node) => ({
      ...node,
      spec: { ...node.spec, bgp: { ...node.spec.bgp, routeReflectorClusterID: "1.0.0.1" } },
    }));
    const { spec } = await resources.mustGet(nodeKind, "n1");
    assert.deepEqual(spec.bgp, {
      ipv4Address: "192.0.2.1/24",
      routeReflectorClusterID: "1.0.0.1",
    });
    const { items, broken } = await resources.list(profileKind);
    assert.deepEqual(broken, []);
    assert(items.some((profile) => profile.metadata.name === "kns.kube-system"));
    await resources.apply(ipamConfigurationKind, {
      metadata: { name: "default" },
      spec: { strictAffinity: true, maxBlocksPerHost: 3, ipCooldownSeconds: 60 },
    } as any);
    const ipam = kube.get("crd.projectcalico.org", "ipamconfigs", "", "default")!;
    assert.equal(ipam.spec.maxBlocksPerHost, 3);
    const settings = await resources.mustGet(ipamConfigurationKind, "default");
    assert.equal(settings.spec.ipCooldownSeconds, 60);
    await resources.apply(kubernetesNetworkPolicyKind, {
      metadata: { name: "p", namespace: "default" },
      spec: { podSelector: {} },
    } as any);
    assert.equal(kube.all("networking.k8s.io", "networkpolicies").length, 1);
    assert.equal((await resources.list(kubernetesNetworkPolicyKind)).items.length, 1);
  }));
