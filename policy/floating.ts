/**
 * Floating addresses: what goes to an external address of a local endpoint goes to the endpoint, by
 * destination translation before routing (and for the host's own packets), and what an endpoint sends to
 * itself that way comes back to it from the external address (felix/dataplane/linux/floating_ip_mgr.go).
 * Nothing else is translated: what the pod sends first leaves with its own address.
 *
 * Where two claim one external address, the smaller internal one (as text) has it; where one internal
 * address has several, it sends to itself from the smallest. The external address must be routed to this
 * node by the network. Pure.
 */
import { compareCodePoints } from "../mod/selector/selector.ts";
import type { Rule } from "./rules.ts";

export interface FloatingAddress {
  readonly internal: string;
  readonly external: string;
}

/** The rules of both chains, in the order of addresses. */
export function floatingRules(
  addresses: readonly FloatingAddress[],
): { dnat: Rule[]; snat: Rule[] } {
  const inward = new Map<string, string>(), outward = new Map<string, string>();
  const smaller = (map: Map<string, string>, key: string, value: string) => {
    const before = map.get(key);
    if (before === undefined || compareCodePoints(value, before) < 0) map.set(key, value);
  };
  for (const { internal, external } of addresses) {
    smaller(inward, external, internal);
    smaller(outward, internal, external);
  }
  const sorted = (map: Map<string, string>) => [...map].sort(([a], [b]) => compareCodePoints(a, b));
  const origin = { is: "static" } as const;
  return {
    dnat: sorted(inward).map(([external, internal]) => ({
      statements: [
        { match: "daddr", prefix: external },
        { do: "counter" },
        { do: "dnat", address: internal },
      ],
      origin,
    })),
    snat: sorted(outward).map(([internal, external]) => ({
      statements: [
        { match: "saddr", prefix: internal },
        { match: "daddr", prefix: internal },
        { do: "counter" },
        { do: "snat", address: external },
      ],
      origin,
    })),
  };
}
