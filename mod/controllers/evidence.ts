/**
 * Whether somebody still has an address, by the datastore. After kube-controllers' rules for pods, and
 * stricter: a WorkloadEndpoint with the address is proof of life by itself, since on kv and etcd it is
 * the node that writes and removes it, and a Pod may not be known there at all.
 *
 * What cannot be told is taken for alive. "gone" is not yet a reason to release anything: see
 * `collector.ts` for what else must be true.
 */
import {
  type Allocation,
  GATEWAY_TYPE,
  TUNNEL_TYPES,
  WINDOWS_RESERVED,
} from "../ipam/check/allocations.ts";
import { keptFor } from "../ipam/check/kept.ts";
import { podAddresses } from "../ipam/check/users.ts";
import { formatIp, parseIp } from "../net/mod.ts";
import type { Facts, Loose } from "./view.ts";

export type Evidence =
  | { readonly is: "alive"; readonly why: string }
  /** No more than a node's own: gone when the node is. */
  | { readonly is: "nodes"; readonly why: string }
  | {
    readonly is: "gone";
    readonly why: string;
    /** By the word of a pod's record, where pods are known; a plain container has none. */
    readonly pod: boolean;
  };

/** `wall` in milliseconds since 1970. */
export function evidenceFor(facts: Facts, allocation: Allocation, wall: number): Evidence {
  const { handle, attributes, address, node } = allocation;
  const alive = (why: string): Evidence => ({ is: "alive", why });
  if (!handle) return alive("it has no handle");
  if (handle === WINDOWS_RESERVED) return alive("Windows keeps it");
  const kept = keptFor(allocation, wall);
  if (kept) return alive(kept);
  const { pod, namespace, type } = attributes;
  if (TUNNEL_TYPES.includes(type ?? "") || type === GATEWAY_TYPE) {
    return { is: "nodes", why: `the ${type} of node ${node}` };
  }
  const endpoint = facts.endpointsOf(address).find((one) => counts(facts, one));
  if (endpoint) return alive(`endpoint ${endpoint.metadata?.name ?? ""} has it`);
  if (pod && namespace) return podEvidence(facts, allocation, namespace, pod);
  // Without a pod: a plain container, by the form of its handle. Its node must say that it is gone.
  if (type || !attributes.node || !handle.includes(".")) {
    return alive("it is not known whose it is");
  }
  return { is: "gone", why: "no endpoint has it", pod: false };
}

/** An endpoint of a node that is gone speaks for nobody, unless its pod is still there. */
function counts(facts: Facts, { spec, metadata }: Loose): boolean {
  const node = spec?.node ?? "";
  if (node === "" || facts.hasNode(node) || facts.isLive(node)) return true;
  const pod = spec.pod && facts.pod(metadata?.namespace ?? "", spec.pod);
  return !!pod && !(pod.spec?.nodeName && pod.spec.nodeName !== node);
}

function podEvidence(
  facts: Facts,
  { address, attributes, node }: Allocation,
  namespace: string,
  name: string,
): Evidence {
  const alive = (why: string): Evidence => ({ is: "alive", why });
  const gone = (why: string): Evidence => ({ is: "gone", why, pod: true });
  const pod = facts.pod(namespace, name);
  const whom = `pod ${namespace}/${name}`;
  if (!pod) return gone(`${whom} does not exist, and no endpoint has it`);
  const where = pod.spec?.nodeName;
  if (where && node && where !== node) return gone(`${whom} is on node ${where} now`);
  const { phase, reason, podIP, podIPs } = pod.status ?? {};
  if (phase === "Failed" && reason === "Evicted") return gone(`${whom} was evicted`);
  if (!podIP && !podIPs?.length) return alive(`${whom} has no address on record yet`);
  // A finished pod has none for policy; its sandbox may still be there, and Calico waits for its end.
  const finished = phase === "Failed" || phase === "Succeeded";
  const has = (finished ? rawAddresses(pod) : podAddresses(pod)).map((text) => parseIp(text))
    .some((ip) => ip && formatIp(ip) === address);
  if (has) return alive(`${whom} has it`);
  if (attributes.interface) return alive(`${whom} has several interfaces`);
  return gone(`${whom} has another address`);
}

function rawAddresses({ status }: Loose): string[] {
  return [status?.podIP, ...(status?.podIPs ?? []).map((one: Loose) => one?.ip)]
    .filter((ip) => typeof ip === "string" && ip !== "");
}
