/**
 * A route: a prefix, where it comes from, and its attributes as received and as our import rules left
 * them. Routes that may not be used (a loop, a next hop that cannot be one, refused by a filter) are
 * kept with the reason, so that `bgp routes` can tell it and so that a change of the rules needs no
 * new word from the peer.
 */
import type { Ip } from "../../mod/net/mod.ts";
import type { Attributes } from "../message/attributes.ts";
import type { PrefixKey } from "../prefix_key.ts";

/** Where routes come from. One object for each session; the routes of one source share it. */
export interface RouteSource {
  readonly kind: "local" | "peer";
  /** The peer's name; empty for our own routes. It changes when the peer is given another one. */
  name: string;
  readonly internal: boolean;
  readonly as: number;
  readonly routerId: number;
  readonly address?: Ip;
  /** A route reflection client of ours (RFC 4456); may change while the session lives. */
  client: boolean;
}

export const LOCAL: RouteSource = {
  kind: "local",
  name: "",
  internal: true,
  as: 0,
  routerId: 0,
  client: false,
};

/** Why routes are stale: one object for all that one loss of the peer, or a refresh, has made so. */
export interface StaleMark {
  /** Clock time from which a route is not kept any more if the peer is away then. */
  readonly deadline: number;
}

export class Route {
  /** The peer is away or has begun a refresh, and has not announced the route again. */
  mark: StaleMark | undefined = undefined;

  constructor(
    readonly key: PrefixKey,
    readonly source: RouteSource,
    readonly received: Attributes,
    readonly attributes: Attributes,
    /** Clock time, milliseconds. */
    readonly since: number,
    /** Why the route is not to be used. */
    readonly blocked?: string,
    readonly tag?: string,
  ) {}

  get stale(): boolean {
    return this.mark !== undefined;
  }
}
