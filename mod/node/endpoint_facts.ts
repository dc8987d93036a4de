/**
 * What routing needs of an endpoint, read from its texts once: an endpoint's object is replaced when it
 * changes and never changed itself, while every turn of the agent looks at all of them.
 */
import { type Family, parsePrefix, type Prefix } from "../net/mod.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import { hostInterfaceSysctls } from "./interface_settings.ts";

export interface EndpointFacts {
  readonly prefixes: readonly Prefix[];
  /** Path below /proc/sys, and value: of the host's side of the pair. */
  readonly sysctls: readonly (readonly [string, string])[];
}

const known = new WeakMap<WorkloadEndpoint, EndpointFacts>();

export function endpointFacts(endpoint: WorkloadEndpoint): EndpointFacts {
  let facts = known.get(endpoint);
  if (!facts) known.set(endpoint, facts = read(endpoint));
  return facts;
}

function read({ spec }: WorkloadEndpoint): EndpointFacts {
  const prefixes = (spec.ipNetworks ?? []).map(parsePrefix).filter((p) => p !== undefined);
  const families = new Set<Family>(prefixes.map((p) => p.ip.family));
  const spoofing = (spec.allowSpoofedSourcePrefixes ?? []).length > 0;
  return {
    prefixes,
    sysctls: Object.entries(hostInterfaceSysctls(spec.interfaceName ?? "", families, spoofing)),
  };
}
