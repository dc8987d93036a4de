/**
 * Path MTU to the other nodes, pure: which size to try next, what the answers mean, whose turn it is.
 *
 * A path narrower than what pods may send loses large packets without a word wherever the ICMP message
 * "fragmentation needed" does not come back: connections open and then hang. So each peer's address is
 * asked with packets that must not be fragmented, first of the size that this node's widest packets
 * have (a pod's, with its encapsulation), and only where that one is not answered of others, by
 * halving: the answer of the packet itself is believed, not what routers say (RFC 4821's idea).
 *
 *     wanted -> answered: ok
 *            -> not: floor -> not answered: nothing can be said (ICMP is filtered, or the node is away)
 *                          -> answered: halve until the widest that is answered is known
 */
import { formatIp, type Ip } from "../net/mod.ts";

/** Every IPv4 host takes 576 bytes (RFC 791), every IPv6 link 1,280 (RFC 8200). */
const FLOOR = { 4: 576, 6: 1280 } as const;

export interface Search {
  readonly wanted: number;
  readonly floor: number;
  /** The widest that was answered; 0: none yet. */
  readonly passed: number;
  /** The narrowest that was not; wanted + 1: none yet. */
  readonly failed: number;
}

export function beginSearch(wanted: number, family: 4 | 6): Search {
  return { wanted, floor: Math.min(FLOOR[family], wanted), passed: 0, failed: wanted + 1 };
}

/** Bytes of the next packet, IP header included; undefined: all is known. */
export function nextSize({ wanted, floor, passed, failed }: Search): number | undefined {
  if (failed > wanted) return passed >= wanted ? undefined : wanted;
  if (failed <= floor) return undefined;
  if (passed < floor) return floor;
  return failed - passed > 1 ? passed + ((failed - passed) >> 1) : undefined;
}

export function answered(search: Search, size: number, yes: boolean): Search {
  return yes
    ? { ...search, passed: Math.max(search.passed, size) }
    : { ...search, failed: Math.min(search.failed, size) };
}

export type PathVerdict = "ok" | "too narrow" | "no answer";

export interface PathResult {
  /** What this node may send there, in bytes. */
  readonly configured: number;
  /** The widest packet that passes, up to the configured; absent where none was answered. */
  readonly measured?: number;
  readonly verdict: PathVerdict;
}

export function resultOf({ wanted, passed }: Search): PathResult {
  if (passed === 0) return { configured: wanted, verdict: "no answer" };
  const verdict = passed >= wanted ? "ok" : "too narrow";
  return { configured: wanted, measured: passed, verdict };
}

export interface PathPeer {
  readonly node: string;
  readonly ip: Ip;
  /** Bytes that must pass. */
  readonly wanted: number;
}

interface Entry {
  readonly peer: PathPeer;
  result?: PathResult;
  /** Milliseconds of the clock; at or before now: its turn. */
  due: number;
}

/** Asks good paths again after `good` milliseconds, others after `other`. */
export interface Pace {
  readonly good: number;
  readonly other: number;
}

/** Whose turn it is, and what is known. One peer is asked at a time. */
export class PathSchedule {
  readonly #entries = new Map<string, Entry>();

  constructor(readonly pace: Pace) {}

  /** The peers as they are now. Who is new, or has other needs, is asked first. */
  setPeers(peers: readonly PathPeer[], now: number): void {
    const keys = new Set<string>();
    for (const peer of peers) {
      const key = keyOf(peer);
      keys.add(key);
      const known = this.#entries.get(key);
      if (known?.peer.wanted === peer.wanted) continue;
      this.#entries.set(key, { peer, due: now });
    }
    for (const key of this.#entries.keys()) if (!keys.has(key)) this.#entries.delete(key);
  }

  /** The peer that is due longest; else how many milliseconds until one is; undefined: no peers. */
  next(now: number): PathPeer | number | undefined {
    let first: Entry | undefined;
    for (const entry of this.#entries.values()) if (!first || entry.due < first.due) first = entry;
    if (!first) return undefined;
    return first.due <= now ? first.peer : first.due - now;
  }

  /** Takes a result in; what it was before, where the verdict or the size differs. */
  done(
    peer: PathPeer,
    result: PathResult,
    now: number,
  ): { readonly before?: PathResult } | undefined {
    const entry = this.#entries.get(keyOf(peer));
    // Gone, or with other needs meanwhile: then it is asked again anyway.
    if (entry?.peer.wanted !== peer.wanted) return undefined;
    const before = entry.result;
    entry.result = result;
    entry.due = now + (result.verdict === "ok" ? this.pace.good : this.pace.other);
    const same = before?.verdict === result.verdict && before?.measured === result.measured;
    return same ? undefined : { before };
  }

  /** All that have been asked, in the order of their names. */
  results(): { readonly peer: PathPeer; readonly result: PathResult }[] {
    return [...this.#entries.values()].flatMap(({ peer, result }) =>
      result ? [{ peer, result }] : []
    ).sort((a, b) => a.peer.node < b.peer.node ? -1 : a.peer.node > b.peer.node ? 1 : 0);
  }
}

function keyOf({ node, ip }: PathPeer): string {
  return `${node} ${formatIp(ip)}`;
}

/** A narrow path in words: what, where, and what to do. */
export function narrowPath({ node, ip }: PathPeer, { configured, measured }: PathResult): string {
  return `the path to ${node} (${formatIp(ip)}) passes packets of at most ${measured} bytes, but ` +
    `this node may send ${configured}: raise the MTU on the way, or lower that of the node's ` +
    "interface, from which the pods' follows";
}
