/**
 * The networks that Kubernetes gave to this node, for host-local's `usePodCidr`. With etcd they are in the
 * API beside it (Calico's plugin asks there too), under the name that Calico's Node has for Kubernetes'.
 */
import { resourceKey } from "../mod/model/keys.ts";
import { kubernetesName, type Node, nodeKind } from "../mod/model/node.ts";
import type { Store } from "../mod/store/store.ts";
import type { CniDeps } from "./deps.ts";

export async function podCidrs(
  { store, kubernetes, nodeName }: Pick<CniDeps, "store" | "kubernetes" | "nodeName">,
): Promise<readonly string[]> {
  const own = await nodeIn(store, nodeName);
  if (!kubernetes) return own?.status?.podCIDRs ?? [];
  const theirs = await nodeIn(kubernetes, kubernetesName(own) ?? nodeName);
  return theirs?.status?.podCIDRs ?? [];
}

async function nodeIn(store: Store, name: string): Promise<Node | undefined> {
  return (await store.get<Node>(resourceKey(nodeKind, name)))?.value;
}
