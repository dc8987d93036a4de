import assert from "node:assert/strict";
import { podKind } from "../model/pod.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../model/workload_endpoint.ts";
import { memoryStore } from "../store/memory.ts";
import { Resources } from "../store/resources.ts";
import { copyLabels } from "./label_copy.ts";
import { ClusterState } from "./state.ts";

Deno.test("the endpoint's labels follow its pod's, and only on its own node", async () => {
  const store = memoryStore();
  const resources = new Resources(store);
  const pod = (labels: Record<string, string>, nodeName = "node1") =>
    resources.apply(podKind, {
      kind: "Pod",
      apiVersion: "v1",
      metadata: { name: "a", namespace: "default", labels },
      spec: { nodeName, containers: [] },
    });
  await pod({ app: "a", tier: "web" });
  await resources.create(workloadEndpointKind, {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "node1-k8s-a-eth0", namespace: "default", labels: { app: "a" } },
    spec: {
      orchestrator: "k8s",
      node: "node1",
      pod: "a",
      endpoint: "eth0",
      interfaceName: "cali1",
      ipNetworks: ["10.0.0.1/32"],
    },
  } as WorkloadEndpoint);
  const copyAs = async (node: string) => {
    const state = new ClusterState(node);
    for (const { key, value, revision } of (await store.list("/")).entries) {
      state.apply(key, value, revision);
    }
    await copyLabels(state, resources);
    const stored = await resources.get(workloadEndpointKind, "node1-k8s-a-eth0", "default");
    return stored!.metadata.labels;
  };
  const fixed = {
    "projectcalico.org/namespace": "default",
    "projectcalico.org/orchestrator": "k8s",
    "projectcalico.org/serviceaccount": "default",
  };
  assert.deepEqual(await copyAs("node1"), { app: "a", tier: "web", ...fixed });
  await pod({ app: "z" });
  assert.deepEqual(await copyAs("node2"), { app: "a", tier: "web", ...fixed });
  assert.deepEqual(await copyAs("node1"), { app: "z", ...fixed });
  await resources.delete(podKind, "a", "default");
  await resources.create(podKind, {
    kind: "Pod",
    apiVersion: "v1",
    metadata: { name: "a", namespace: "default", labels: { app: "y" } },
    spec: { containers: [] },
  });
  assert.deepEqual(await copyAs("node1"), { app: "y", ...fixed }, "a Pod that names no node");
  const { revision } = await store.list("/");
  await copyAs("node1");
  assert.equal((await store.list("/")).revision, revision, "nothing to write");
  await store.close();
});
