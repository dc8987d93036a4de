/**
 * When a table is told: a peer's to us, and ours to a peer after a restart (RFC 4724 section 4.1).
 *
 * Our own routes and whatever peers have said so far are announced at once. Only End-of-RIB waits: with
 * it the peer drops what it keeps of us and has not heard again, among it what others told us before
 * and may be about to tell us once more. So End-of-RIB to a peer waits for those alone whose routes we
 * would pass on to it: in a mesh of internal peers for nobody.
 *
 * The RFC waits for "all its peers" and knows no peer that is absent. One that has no session when the
 * others have had the time for theirs is none of them: the neighbour that is configured and switched off
 * shall not have all others keep, for two minutes at each start, what is no more.
 *
 * What the process before us has learned stays in the kernel meanwhile. Of a route that leads to a peer
 * itself that peer is the one to ask: when it has told its table without the route, nobody else is waited
 * for (`Told`).
 */
import { type Ip, ipKey } from "../mod/net/mod.ts";
import type { Peer } from "./peer.ts";

/** Milliseconds after which a peer without End-of-RIB is taken to have told everything. */
const TOLD = 2_000;

/**
 * Milliseconds after the start in which a peer must have come up to be waited for: three calls of ours at
 * the usual five seconds, or one of a peer that calls again after ten.
 */
export const ARRIVAL = 15_000;

/** Whether the peer has told all that it has. */
export function done(peer: Peer): boolean {
  const { session } = peer;
  if (session.state !== "Established") return false;
  const { restart, families } = session.negotiated;
  return [...families].every((family) => peer.routes.endOfRib.has(family)) ||
    (!restart && peer.clock.now() - session.since >= TOLD);
}

/** The peers that have told their tables since the start, by their addresses. */
export class Told {
  readonly #peers = new Set<Peer>();
  #addresses = new Set<string>();

  /** Whether an address has come: that of peers that have all told, and may since be away again. */
  update(peers: Iterable<Peer>): boolean {
    const addresses = new Set<string>();
    const waiting = new Set<string>();
    for (const peer of peers) {
      if (done(peer)) this.#peers.add(peer);
      (this.#peers.has(peer) ? addresses : waiting).add(ipKey(peer.config.address));
    }
    const former = this.#addresses;
    this.#addresses = addresses.difference(waiting);
    return !this.#addresses.isSubsetOf(former);
  }

  has(address: Ip): boolean {
    return this.#addresses.has(ipKey(address));
  }
}

/** Whether `to` has to wait for what `from` has to say; `arriving`: those without a session may come. */
export function isAwaited(from: Peer, to: Peer, arriving: boolean): boolean {
  if (from === to || from.configError !== undefined || !passesOn(from, to)) return false;
  if (from.session.state !== "Established") return arriving;
  // Two that restart together do not wait for each other.
  return !done(from) && from.session.negotiated.restart?.restarting !== true;
}

/** Routes of internal peers go to internal ones by reflection alone (RFC 4456). */
function passesOn(from: Peer, to: Peer): boolean {
  return !isInternal(from) || !isInternal(to) || isClient(from) || isClient(to);
}

function isInternal(peer: Peer): boolean {
  return peer.localAs === peer.config.remoteAs;
}

function isClient(peer: Peer): boolean {
  return peer.config.routeReflectorClient === true;
}
