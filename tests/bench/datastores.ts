/**
 * The three datastores as servers of their own, for benchmarks: a process that serves a kv file, a real
 * etcd, the Kubernetes API of the tests as a process; and endpoints in them, as many as are wanted.
 */
import { resourceKey } from "../../mod/model/keys.ts";
import { podKind } from "../../mod/model/pod.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { locationFromEnvironment } from "../../mod/store/location.ts";
import { openDatastore } from "../../mod/store/open.ts";
import { KubernetesStore } from "../../mod/store/kubernetes/store.ts";
import type { Store } from "../../mod/store/store.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { Child } from "../store/processes.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

export const NAMES = ["kv", "etcd", "kubernetes"] as const;
export type DatastoreName = typeof NAMES[number];

export interface Datastore {
  readonly name: DatastoreName;
  /** What names it to a program of ours. */
  readonly env: Readonly<Record<string, string>>;
  /** Of an etcd. */
  readonly endpoint?: string;
  /** A client in this process. */
  open(): Promise<Store>;
  close(): Promise<void>;
}

export async function startDatastore(name: DatastoreName): Promise<Datastore> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-" });
  const started = await { kv: startKv, etcd: startEtcd, kubernetes: startKubernetes }[name](folder);
  return {
    name,
    ...started,
    open: () => openFrom(started.env),
    async close() {
      await started.close();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

export async function openFrom(env: Readonly<Record<string, string>>): Promise<Store> {
  if (env.TORTIE_STORE) return await openDatastore({ kind: "socket", path: env.TORTIE_STORE });
  return await openDatastore(locationFromEnvironment((name) => env[name])!);
}

async function startKv(folder: string) {
  const socket = `${folder}/store.sock`;
  const server = new Child("server_process.ts", `${folder}/store.kv`, socket);
  await server.next();
  return {
    env: { TORTIE_STORE: socket },
    async close() {
      await server.ended();
      await server.rest();
    },
  };
}

async function startEtcd() {
  const cluster = await EtcdCluster.start();
  return { env: cluster.env, endpoint: cluster.endpoints[0], close: () => cluster.stop() };
}

async function startKubernetes(folder: string) {
  const server = kubernetesProcess(folder);
  await untilFile(`${folder}/ca.crt`);
  return {
    env: { DATASTORE_TYPE: "kubernetes", KUBECONFIG: `${folder}/kubeconfig` },
    async close() {
      server.kill("SIGTERM");
      await server.status;
    },
  };
}

/** The API server of the tests with Calico's kinds; its kubeconfig comes into the folder. */
export function kubernetesProcess(folder: string, netns?: string): Deno.ChildProcess {
  const words = [
    ...(netns ? ["ip", "netns", "exec", netns] : []),
    ...[Deno.execPath(), ...RUN_MODULE],
    ...[new URL("../kube/serve.ts", import.meta.url).pathname, "--calico", "--folder", folder],
  ];
  return new Deno.Command(words[0], {
    args: words.slice(1),
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
}

/** The last file that a server writes when it serves. */
export async function untilFile(path: string): Promise<void> {
  for (let i = 0; i < 1200; i++) {
    if (await Deno.stat(path).then(() => true, () => false)) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`there is no ${path} after a minute`);
}

const NODES = 100, SIDE_BY_SIDE = 16;

/** A node of Kubernetes, where nodes are Kubernetes'. */
export async function makeNode(store: Store, name: string): Promise<void> {
  if (!(store instanceof KubernetesStore)) return;
  const nodes = { group: "", version: "v1", plural: "nodes", kind: "Node", namespaced: false };
  await store.api.create(nodes, { apiVersion: "v1", kind: "Node", metadata: { name } });
}

/** Endpoints number `from` to `to` on a hundred other nodes; `round` makes them differ from before. */
export async function putEndpoints(
  store: Store,
  from: number,
  to: number,
  round = 0,
): Promise<void> {
  let next = from;
  await Promise.all(Array.from({ length: SIDE_BY_SIDE }, async () => {
    for (let i; (i = next++) < to;) await putEndpoint(store, i, round);
  }));
}

async function putEndpoint(store: Store, i: number, round: number): Promise<void> {
  const name = `app-${i}`, node = `other-${i % NODES}`;
  const labels = { app: `app${i % 50}`, round: `${round}` };
  const address = `10.${96 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`;
  const id = `${i}`.padStart(64, "0");
  if (store instanceof KubernetesStore) {
    const key = resourceKey(podKind, name, "default");
    const pod = {
      kind: "Pod",
      apiVersion: "v1",
      metadata: {
        name,
        namespace: "default",
        labels,
        annotations: {
          "cni.projectcalico.org/containerID": id,
          "cni.projectcalico.org/podIP": `${address}/32`,
          "cni.projectcalico.org/podIPs": `${address}/32`,
        },
      },
      spec: {
        nodeName: node,
        serviceAccountName: "default",
        containers: [{ name: "c", image: "i" }],
      },
      status: { phase: "Running", podIP: address, podIPs: [{ ip: address }] },
    };
    await store.put(key, pod);
    // A status is not taken with a new Pod: the kubelet reports it.
    if (round === 0) await store.put(key, pod);
    return;
  }
  const endpoint = `${node}-k8s-app--${i}-eth0`;
  await store.put(resourceKey(workloadEndpointKind, endpoint, "default"), {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name: endpoint,
      namespace: "default",
      uid: `00000000-0000-4000-8000-${`${i}`.padStart(12, "0")}`,
      creationTimestamp: "2026-01-02T03:04:05Z",
      labels: {
        ...labels,
        "projectcalico.org/namespace": "default",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "default",
      },
    },
    spec: {
      orchestrator: "k8s",
      node,
      containerID: id,
      pod: name,
      endpoint: "eth0",
      serviceAccountName: "default",
      ipNetworks: [`${address}/32`],
      profiles: ["kns.default", "ksa.default.default"],
      interfaceName: `cali${`${i}`.padStart(11, "0")}`,
      mac: "ee:ee:ee:ee:ee:ee",
    },
  });
}
