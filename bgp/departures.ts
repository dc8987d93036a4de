/**
 * Make before break: peers that are out of the configuration while others come in their place. An
 * established one stays until those that may replace it have told their table, or for half a minute, so
 * that a change from the mesh to reflectors loses no route. It is alive all the while: what it withdraws
 * goes at once.
 *
 * Who comes in whose place follows from where peers come from (`PeerOrigin`). A peer that left the
 * configuration for good, as a deleted node does, waits for nobody that happens to come in the same turn:
 *
 *   leaves                      waits for
 *   member of the mesh          the same node otherwise (another address); peers of other objects, if the
 *                               node is still there: then others have to tell its routes
 *   peer of an object           the same node otherwise; if its node is still there, or it was none, other
 *                               peers of the object (another selector), and the mesh, if it was not there
 *                               before
 *
 * and all that only where both carry an address family in common.
 */
import { familiesOf } from "./check_peer.ts";
import type { PeerConfig } from "./config.ts";
import { done } from "./end_of_rib.ts";
import type { Peer } from "./peer.ts";
import type { Clock } from "./transport.ts";

/** Milliseconds for which departing peers wait for new ones at most. */
const LINGER = 30_000;

/** What else must be known of a change of peers. */
export interface Surroundings {
  /** Nodes that there are; absent: nothing is known. */
  readonly nodes?: { has(name: string): boolean };
  /** Some peer was a member of the mesh before. */
  readonly meshBefore: boolean;
}

interface Departure {
  readonly peer: Peer;
  readonly awaited: readonly Peer[];
  readonly until: number;
}

export class Departures {
  readonly #departures = new Map<string, Departure>();

  constructor(private readonly clock: Clock) {}

  get size(): number {
    return this.#departures.size;
  }

  peers(): Peer[] {
    return [...this.#departures.values()].map(({ peer }) => peer);
  }

  get(name: string): Peer | undefined {
    return this.#departures.get(name)?.peer;
  }

  delete(name: string): void {
    this.#departures.delete(name);
  }

  /** Whether the peer stays for one of those that were added. */
  hold(peer: Peer, added: readonly Peer[], around: Surroundings): boolean {
    if (peer.session.state !== "Established" || peer.routes.received.accepted === 0) return false;
    const awaited = added.filter((other) => mayReplace(other.config, peer.config, around));
    if (awaited.length === 0) return false;
    const until = this.clock.now() + LINGER;
    this.#departures.set(peer.config.name, { peer, awaited, until });
    return true;
  }

  /** Lets go of those that need not wait any more; `stays`: a peer is still configured. */
  due(stays: (peer: Peer) => boolean): Peer[] {
    const now = this.clock.now();
    const arrived = (peer: Peer) => !stays(peer) || peer.configError !== undefined || done(peer);
    const due = [...this.#departures.values()]
      .filter(({ awaited, until }) => now >= until || awaited.every(arrived))
      .map(({ peer }) => peer);
    for (const peer of due) this.#departures.delete(peer.config.name);
    return due;
  }
}

function mayReplace(other: PeerConfig, peer: PeerConfig, around: Surroundings): boolean {
  const [to, from] = [other.origin, peer.origin];
  const carried = familiesOf(peer);
  if (!familiesOf(other).some((family) => carried.includes(family))) return false;
  if (!to || !from) return true; // nothing is known of them
  if (from.node !== undefined && to.node === from.node) return true;
  const isThere = from.node === undefined || (around.nodes?.has(from.node) ?? true);
  if (!isThere) return false;
  if (from.object === undefined) return to.object !== undefined;
  return to.object === undefined ? !around.meshBefore : to.object === from.object;
}
