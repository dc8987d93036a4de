/**
 * Records that are not as they should be, in every way that a single value can be wrong: none ends the
 * controllers, none keeps them from others' garbage, and nothing is taken on its word that was not
 * taken before.
 */
import assert from "node:assert/strict";
import { legibleBlock } from "../ipam/block.ts";
import { mutations } from "../ipam/testing/mutations.ts";
import { answerKey, questionKey } from "../ipam/questions.ts";
import { affinityKey, blockKey, handleKey, ipamConfigKey, resourceKey } from "../model/keys.ts";
import { hostEndpointKind } from "../model/host_endpoint.ts";
import { ippoolKind } from "../model/ippool.ts";
import { kubeControllersConfigurationKind } from "../model/kube_controllers_configuration.ts";
import { nodeKind } from "../model/node.ts";
import { podKind } from "../model/pod.ts";
import { workloadEndpointKind } from "../model/workload_endpoint.ts";
import { mustPrefix } from "../net/mod.ts";
import { Metrics } from "../node/health.ts";
import { collect } from "./collector.ts";
import { derivedActions } from "./derive.ts";
import {
  CONTROLLER,
  CREATED_BY,
  hostEndpointActions,
  hostEndpointFacts,
} from "./host_endpoints.ts";
import { nodeActions } from "./label_sync.ts";
import { declareMetrics } from "./metrics.ts";
import { settingsOf, specOf } from "./settings.ts";
import { ClusterView } from "./view.ts";

const BLOCK = mustPrefix("10.1.0.0/29"), OTHER = mustPrefix("10.1.0.8/29");
const host = (name: string) => ({ type: "host", name } as const);
const v3 = { apiVersion: "projectcalico.org/v3" };

const block = (cidr: string, node: string, pod: string) => ({
  ...{ cidr, affinity: `host:${node}`, hostAffinity: null },
  allocations: [0, 1, null, null, null, null, null, null],
  unallocated: [2, 3, 4, 5, 6, 7],
  attributes: [
    { handle_id: `net.${pod}`, secondary: { pod, namespace: "default", node } },
    { releasedAt: "2026-11-26T00:00:00Z" },
  ],
  ...{ sequenceNumber: 7, sequenceNumberForAllocation: { 0: 5 }, deleted: false },
});

const RECORDS: Record<string, unknown> = {
  [blockKey(BLOCK)]: block("10.1.0.0/29", "n1", "p"),
  [affinityKey(host("n1"), BLOCK)]: { state: "confirmed", deleted: false },
  [handleKey("net.p")]: { block: { "10.1.0.0/29": 1 }, deleted: false },
  [ipamConfigKey]: { strict_affinity: true, auto_allocate_blocks: true, ipCooldownSeconds: 60 },
  [questionKey("n1")]: { addresses: [{ ip: "10.1.0.0", handle: "net.p", until: 5 }], at: 5 },
  [answerKey("n1")]: { asked: "1", held: ["10.1.0.0"], unseen: "everything" },
  [resourceKey(nodeKind, "n1")]: {
    ...{ ...v3, kind: "Node", metadata: { name: "n1", labels: { a: "b" } } },
    spec: {
      bgp: { ipv4Address: "192.0.2.1/24" },
      addresses: [{ address: "192.0.2.1", type: "InternalIP" }],
      orchRefs: [{ orchestrator: "k8s", nodeName: "n1" }],
      interfaces: [{ name: "eth0", addresses: ["192.0.2.1"] }],
      ipv4VXLANTunnelAddr: "10.1.0.2",
    },
  },
  [resourceKey(hostEndpointKind, "n1-auto-hep")]: {
    ...{ ...v3, kind: "HostEndpoint" },
    metadata: {
      name: "n1-auto-hep",
      labels: { a: "b", [CREATED_BY]: CONTROLLER },
      annotations: { c: "d" },
    },
    spec: {
      ...{ node: "n1", interfaceName: "*", expectedIPs: ["192.0.2.1", "10.1.0.2"] },
      profiles: ["projectcalico-default-allow"],
    },
  },
  [resourceKey(ippoolKind, "p")]: {
    ...{ ...v3, kind: "IPPool", metadata: { name: "p" } },
    spec: { cidr: "10.1.0.0/24", blockSize: 29, nodeSelector: "all()", allowedUses: ["Workload"] },
  },
  [resourceKey(podKind, "p", "default")]: {
    ...{ apiVersion: "v1", kind: "Pod" },
    metadata: { name: "p", namespace: "default", labels: { a: "b" } },
    spec: { nodeName: "n1", serviceAccountName: "s" },
    status: { phase: "Running", podIP: "10.1.0.0", podIPs: [{ ip: "10.1.0.0" }] },
  },
  [resourceKey(workloadEndpointKind, "n1-k8s-p-eth0", "default")]: {
    ...{ ...v3, kind: "WorkloadEndpoint" },
    metadata: { name: "n1-k8s-p-eth0", namespace: "default", labels: { a: "b" } },
    spec: { node: "n1", pod: "p", orchestrator: "k8s", ipNetworks: ["10.1.0.0/32"] },
  },
  [resourceKey(kubeControllersConfigurationKind, "default")]: {
    ...{ ...v3, kind: "KubeControllersConfiguration", metadata: { name: "default" } },
    spec: {
      controllers: {
        node: {
          ...{ leakGracePeriod: "15m0s", syncLabels: "Enabled", reconcilerPeriod: "5m0s" },
          hostEndpoint: {
            autoCreate: "Enabled",
            createDefaultHostEndpoint: "Enabled",
            templates: [{
              ...{ generateName: "t", interfaceCIDRs: ["192.0.2.0/24"], labels: { e: "f" } },
              ...{ nodeSelector: "has(a)", interfacePattern: "eth.*", annotations: { c: "d" } },
            }],
          },
        },
        policy: { reconcilerPeriod: "5m0s" },
      },
      ...{ prometheusMetricsPort: 9094, healthChecks: "Enabled", logSeverityScreen: "Info" },
    },
  },
};

/** All that the controllers work out of their view in one turn; an hour on, so that all is due. */
function turn(view: ClusterView) {
  const options = { grace: 1000, podsKnown: true, now: 0, wall: Date.UTC(2026, 10, 26) };
  const { memory } = collect(view, new Map(), options);
  const late = { ...options, now: 3_600_000, wall: options.wall + 3_600_000 };
  const collection = collect(view, memory, late);
  const settings = settingsOf(specOf(view.configuration), () => undefined, true);
  const hosts = hostEndpointActions(hostEndpointFacts(view), {
    ...settings.hostEndpoints,
    autoCreate: true,
  });
  const nodes = [...view.nodes.values()].flatMap(({ object }) => object ?? []);
  nodeActions(nodes, new Map([["n1", { g: "h" }]]), true);
  const pod = (namespace: string, name: string) => view.pod(namespace, name);
  const originals = { profiles: new Map(), policies: new Map(), pod };
  const derives = { policy: true, namespace: true, serviceAccount: true, workloadEndpoint: true };
  derivedActions(originals, view, derives);
  const metrics = new Metrics();
  const { suspects } = collection;
  declareMetrics(metrics, () => ({ view, suspects, reclaimed: new Map(), leads: true }));
  metrics.text();
  assert(!Number.isNaN(collection.next), "when there is more to do");
  return { collection, hosts };
}

function worldOf(records: Record<string, unknown>): ClusterView {
  const view = new ClusterView();
  for (const [key, value] of Object.entries(records)) view.apply(key, value, "1");
  // The garbage of another node, which is there.
  view.apply(resourceKey(nodeKind, "n2"), { ...v3, kind: "Node", metadata: { name: "n2" } }, "1");
  view.apply(blockKey(OTHER), block("10.1.0.8/29", "n2", "gone"), "1");
  view.apply(affinityKey(host("n2"), OTHER), { state: "confirmed" }, "1");
  return view;
}

for (const [key, sound] of Object.entries(RECORDS)) {
  Deno.test(`whatever is wrong with ${key}, the controllers go on`, () => {
    for (const { what, value } of [{ what: "sound", value: sound }, ...mutations(sound)]) {
      try {
        const view = worldOf({ ...RECORDS, [key]: value });
        const { collection, hosts } = turn(view);
        const released = collection.actions.filter((action) => action.do === "release");
        assert.deepEqual(released.map((a) => a.allocations.map((one) => one.address)), [[
          "10.1.0.8",
        ]]);
        assert(collection.actions.every((action) => action.do !== "removeNode"));
        if (key === resourceKey(nodeKind, "n1")) {
          assert(hosts.every((action) => action.do !== "delete"), "a node's host endpoint stays");
        }
        if (key === blockKey(BLOCK)) {
          const { fault } = legibleBlock(value, BLOCK);
          assert.equal(view.broken.has(key), fault !== undefined);
        }
      } catch (error) {
        throw new Error(`${what}: ${(error as Error).stack}`);
      }
    }
  });
}
