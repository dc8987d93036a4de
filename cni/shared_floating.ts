/**
 * Floating addresses that other endpoints have too. As in Calico that is allowed: while a Deployment replaces
 * a pod, the old one and the new one have the same. Which of them gets the traffic is for the network to say,
 * and on one node for the smallest of their addresses (`policy/floating.ts`); where that is not meant, somebody
 * has to hear of it.
 */
import { formatIp, parseIp } from "../mod/net/mod.ts";
import { resourcePrefix } from "../mod/model/keys.ts";
import { workloadEndpointKind } from "../mod/model/workload_endpoint.ts";
import type { Store } from "../mod/store/store.ts";
import { isSound, listEndpoints } from "./endpoint_record.ts";
import type { Named } from "./forbidden_addresses.ts";
import type { EndpointIdentity } from "./identity.ts";

/** A sentence for each; nothing is read where there is no floating address. */
export async function sharedFloating(
  store: Pick<Store, "list">,
  { by, addresses }: Named,
  { namespace, pod }: Pick<EndpointIdentity, "namespace" | "pod">,
): Promise<string[]> {
  if (addresses.length === 0) return [];
  const wanted = new Set(addresses.map(formatIp));
  const others = new Map<string, string[]>();
  const entries = await listEndpoints(store, resourcePrefix(workloadEndpointKind));
  for (const { value: { metadata, spec } } of entries.filter(isSound)) {
    // Its own, of an earlier sandbox.
    if (spec.pod === pod && metadata.namespace === namespace) continue;
    for (const { externalIP } of spec.ipNATs ?? []) {
      const ip = typeof externalIP === "string" ? parseIp(externalIP) : undefined;
      if (!ip || !wanted.has(formatIp(ip))) continue;
      const list = others.get(formatIp(ip)) ?? [];
      others.set(formatIp(ip), [...list, `${metadata.namespace}/${metadata.name}`]);
    }
  }
  return [...others].map(([address, list]) => {
    const who = list.length > 3 ? `${list.length} other endpoints` : list.join(" and ");
    return `${by} names ${address}, as ${who} already: one of them gets what goes there`;
  });
}
