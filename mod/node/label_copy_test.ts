import assert from "node:assert/strict";
import { resourceKey } from "../model/keys.ts";
import { podKind } from "../model/pod.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../model/workload_endpoint.ts";
import { memoryStore } from "../store/memory.ts";
import { Resources } from "../store/resources.ts";
import { type Store, StoreError } from "../store/store.ts";
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

Deno.test("an endpoint that cannot be written keeps no other from its labels, and is named", async () => {
  const store = memoryStore();
  const resources = new Resources(store);
  const endpointKey = (pod: string) =>
    resourceKey(workloadEndpointKind, `node1-k8s-${pod}-eth0`, "default");
  const add = async (pod: string, version: string) => {
    await resources.create(podKind, {
      kind: "Pod",
      apiVersion: "v1",
      metadata: { name: pod, namespace: "default", labels: { app: pod } },
      spec: { nodeName: "node1", containers: [] },
    });
    await store.put(endpointKey(pod), {
      kind: "WorkloadEndpoint",
      apiVersion: `projectcalico.org/${version}`,
      metadata: { name: `node1-k8s-${pod}-eth0`, namespace: "default" },
      spec: {
        orchestrator: "k8s",
        node: "node1",
        pod,
        endpoint: "eth0",
        interfaceName: `cali${pod}`,
        ipNetworks: ["10.0.0.1/32"],
      },
    });
  };
  const copy = async (through: Resources = resources) => {
    const state = new ClusterState("node1");
    for (const { key, value, revision } of (await store.list("/")).entries) {
      state.apply(key, value, revision);
    }
    await copyLabels(state, through);
  };
  const labelOf = async (pod: string) =>
    (await store.get<any>(endpointKey(pod)))!.value.metadata.labels?.app;
  await add("a", "v4");
  await add("b", "v3");
  await assert.rejects(copy(), /"default\/node1-k8s-a-eth0" .*newer client.*; it can be deleted$/);
  assert.deepEqual([await labelOf("a"), await labelOf("b")], [undefined, "b"]);
  await add("c", "v4");
  await add("d", "v3");
  await assert.rejects(copy(), /-a-eth0" .*; so it is with 1 more$/);
  assert.equal(await labelOf("d"), "d");

  // What ends them all is asked for once.
  await add("e", "v3");
  await add("f", "v3");
  let asked = 0;
  const away = withMethods(store, {
    get: () => {
      asked++;
      return Promise.reject(new StoreError("unavailable", "the datastore is away"));
    },
  });
  await assert.rejects(copy(new Resources(away)), /the datastore is away/);
  assert.equal(asked, 1);
  await store.close();
});

/** The same store, some of whose operations are others. */
function withMethods(store: Store, methods: Partial<Store>): Store {
  return new Proxy(store, {
    get: (target, name) => {
      const own = methods[name as keyof Store] ?? target[name as keyof Store];
      return typeof own === "function" ? own.bind(target as never) : own;
    },
  });
}
