/**
 * The facts of `evidence.ts` from the store itself, for a few allocations: what is asked just before their
 * addresses go to another.
 */
import { felixStatusKey, resourceKey, resourcePrefix } from "../../model/keys.ts";
import { kubernetesName } from "../../model/node.ts";
import { type Store, StoreError } from "../../store/store.ts";
import { answerKey, isAnswered, questionKey, readAnswer } from "../questions.ts";
import type { Allocation } from "./allocations.ts";
import { addressesOf, type Facts, isReadable, leaseOf, type Loose } from "./evidence.ts";
import { ENDPOINT_KIND, NODE_KIND, POD_KIND } from "./records.ts";

/** What the store says now of everything that the evidence for these allocations hangs on. */
export async function freshFacts(
  { store, pods }: { readonly store: Store; readonly pods: Store },
  allocations: readonly Pick<Allocation, "address" | "node" | "handle" | "attributes">[],
): Promise<Facts> {
  const wanted = new Set(allocations.map(({ address }) => address));
  const { entries, broken = [] } = await store.list<Loose>(resourcePrefix(ENDPOINT_KIND));
  const unreadable = broken.map(({ key }) => key);
  const byAddress = new Map<string, Loose[]>();
  for (const { key, value } of entries) {
    if (!isReadable(value)) unreadable.push(key);
    for (const address of addressesOf(value)) {
      if (wanted.has(address)) byAddress.set(address, [...byAddress.get(address) ?? [], value]);
    }
  }
  const holders = [...byAddress.values()].flat();
  const podKeys = new Set([
    ...allocations.map((one) => {
      const { namespace, pod } = leaseOf(one) ?? one.attributes;
      return podKey(namespace, pod);
    }),
    ...holders.map(({ metadata, spec }) => podKey(metadata?.namespace, spec?.pod)),
  ]);
  const nodes = new Set([
    ...allocations.map(({ node }) => node),
    ...holders.map(({ spec }) => spec?.node ?? ""),
  ]);
  nodes.delete("");
  const get = async (from: Store, keys: Iterable<string>) => {
    const values = new Map<string, Loose>();
    for (const key of keys) if (key !== "") values.set(key, await valueOf(from, key));
    return values;
  };
  const found = await get(pods, podKeys);
  // A Pod may be on another of our nodes.
  const where = [...found.values()].map((pod) => pod?.spec?.nodeName ?? "");
  const named = new Set([...nodes, ...where.filter((name) => typeof name === "string")]);
  named.delete("");
  const objects = await get(store, [...named].map((node) => resourceKey(NODE_KIND, node)));
  const live = new Set<string>();
  for (const node of nodes) if (await isNodeLive(store, node)) live.add(node);
  return {
    endpointsOf: (address) => byAddress.get(address) ?? [],
    unreadable,
    pod: (namespace, name) => found.get(podKey(namespace, name)),
    hasNode: (name) => objects.get(resourceKey(NODE_KIND, name)) !== undefined,
    kubernetesNode: (name) => kubernetesName(objects.get(resourceKey(NODE_KIND, name))),
    isLive: (node) => live.has(node),
  };
}

/** Whether a node gives a sign of life: its agent's status, or its answer to the question that stands. */
export async function isNodeLive(store: Store, node: string): Promise<boolean> {
  if (await valueOf(store, felixStatusKey(node)) !== undefined) return true;
  try {
    const question = await store.get(questionKey(node));
    return question !== undefined &&
      isAnswered(question, readAnswer((await store.get(answerKey(node)))?.value));
  } catch (error) {
    // A datastore without a place for such words, or that does not let us read them.
    if (!(error instanceof StoreError) || error.kind === "unavailable") throw error;
    return false;
  }
}

/** null where there is something that is no JSON. */
async function valueOf(store: Store, key: string): Promise<Loose> {
  try {
    return (await store.get<Loose>(key))?.value;
  } catch (error) {
    if (error instanceof StoreError && error.kind === "invalid") return null;
    throw error;
  }
}

function podKey(namespace: string | undefined, name: string | undefined): string {
  return namespace && name ? resourceKey(POD_KIND, name, namespace) : "";
}
