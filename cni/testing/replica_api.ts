/** Where the replicas' cluster makes its Nodes and Pods: in the store itself, or in an API that has them. */
import { resourceKey } from "../../mod/model/keys.ts";
import { type Node, nodeKind } from "../../mod/model/node.ts";
import { type Pod, podKind } from "../../mod/model/pod.ts";
import type { Store } from "../../mod/store/store.ts";

export interface ReplicaApi {
  putNode(node: Node): Promise<void>;
  putPod(pod: Pod): Promise<void>;
  deletePod(name: string, namespace: string): Promise<void>;
}

/** On kv and etcd the store takes all. */
export class ApiInStore implements ReplicaApi {
  constructor(readonly store: Store) {}

  async putNode(node: Node): Promise<void> {
    await this.store.create(resourceKey(nodeKind, node.metadata.name), node);
  }

  async putPod(pod: Pod): Promise<void> {
    await this.store.put(resourceKey(podKind, pod.metadata.name, pod.metadata.namespace), pod);
  }

  async deletePod(name: string, namespace: string): Promise<void> {
    const key = resourceKey(podKind, name, namespace);
    const entry = await this.store.get(key);
    if (entry) await this.store.delete(key, entry.revision);
  }
}
