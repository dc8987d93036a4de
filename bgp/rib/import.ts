/**
 * What may be used of a peer's routes: no path that has come through us already (RFC 4271 9.1.2, RFC
 * 4456 section 8), a destination that can be one, a next hop that is somebody else's address, and what
 * our filter lets pass. A
 * route that may not be used is kept with the reason.
 */
import { compareIp, formatIp, type Ip } from "../../mod/net/mod.ts";
import type { RouteFilter } from "../config.ts";
import { nextHopFault } from "../message/attribute_table.ts";
import { type Attributes, countAs, formatId } from "../message/attributes.ts";
import { type PrefixKey, prefixOfKey } from "../prefix_key.ts";
import type { Judgement } from "./adj_rib_in.ts";
import { martian } from "./martians.ts";
import type { RouteSource } from "./route.ts";

export interface ImportContext {
  readonly source: RouteSource;
  readonly localAs: number;
  /** How often our AS may stand in a path. */
  readonly allowLocalAs: number;
  readonly routerId: number;
  readonly clusterId: number;
  /** Our end of the session. */
  readonly self?: Ip;
  /** Whether an address is one of this host, on whatever interface. */
  readonly isOwn?: (ip: Ip) => boolean;
  readonly filter?: RouteFilter;
}

export function judgeImport(
  context: ImportContext,
  key: PrefixKey,
  received: Attributes,
): Judgement {
  const blocked = loop(context, received) ?? martian(key) ?? badNextHop(context, received);
  if (blocked !== undefined || !context.filter) return { attributes: received, blocked };
  const { source } = context;
  const verdict = context.filter.judge({
    prefix: prefixOfKey(key),
    attributes: received,
    from: { peer: source.name, as: source.as, internal: source.internal },
  });
  if (!verdict.accept) {
    return { attributes: received, blocked: `refused by filter: ${verdict.reason}` };
  }
  return { attributes: verdict.attributes ?? received };
}

function loop(context: ImportContext, attributes: Attributes): string | undefined {
  const times = countAs(attributes.asPath, context.localAs);
  if (times > context.allowLocalAs) {
    return `our own AS ${context.localAs} is in the AS path`;
  }
  if (!context.source.internal) return undefined;
  if (attributes.originatorId === context.routerId) {
    return "the route is our own, reflected (ORIGINATOR_ID)";
  }
  if (attributes.clusterList?.includes(context.clusterId)) {
    return `our cluster ${formatId(context.clusterId)} is in the cluster list`;
  }
  return undefined;
}

function badNextHop(context: ImportContext, attributes: Attributes): string | undefined {
  const hop = attributes.nextHop;
  if (!hop) return "the route has no next hop";
  // RFC 4271 6.3: not the receiver's, whichever of its addresses it is.
  if ((context.self && compareIp(hop, context.self) === 0) || context.isOwn?.(hop)) {
    return `the next hop ${formatIp(hop)} is our own address`;
  }
  return nextHopFault(hop);
}
