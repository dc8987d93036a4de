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
 */
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
