/**
 * How long routes are kept that their peer has not said again. There are two reasons for it, and they
 * must not be taken for each other:
 *
 *   a session that is over (RFC 4724 section 4.2)   until the peer is back and has sent End-of-RIB, or
 *                                                   the restart time, counted from the first loss, is over
 *   an enhanced refresh (RFC 7313 section 4)        from its begin to its end within one session
 *
 * A peer that is lost again before it has told its table (a restart loop, two quick kills) must not lose
 * what the first loss has left it. RFC 4724 4.2 has such routes deleted at once, lest they be renewed
 * for ever; here they keep their first deadline, which serves the same end and lets the traffic through
 * meanwhile. A peer that is lost in the middle of a refresh is lost for the first time: it has its whole
 * restart time.
 */
import type { AddressFamily } from "./config.ts";
import type { AdjRibIn } from "./rib/adj_rib_in.ts";
import type { Clock, Timer } from "./transport.ts";

const FAMILIES = ["ipv4", "ipv6"] as const;

/** Milliseconds after which stale routes go even if their end, of table or refresh, has not come. */
const LIMIT = 360_000;

export class StaleRoutes {
  /** Clock time until which routes of a session that is over are kept at most. */
  until: number | undefined;
  #timer: Timer | undefined;
  /** By when the peer must be back with its table, counted from the first loss. */
  #deadline = 0;
  readonly #refreshing = new Map<AddressFamily, Timer>();

  constructor(
    private readonly received: AdjRibIn,
    private readonly clock: Clock,
    private readonly changed: () => void,
  ) {}

  /** The session is over: routes of the `kept` families stay for so long, others go. */
  lost(kept: ReadonlySet<AddressFamily>, seconds: number): void {
    this.#endRefreshes();
    const now = this.clock.now();
    if (this.until === undefined) this.#deadline = now + 1000 * seconds;
    for (const family of FAMILIES) {
      if (seconds > 0 && kept.has(family)) this.received.markStale(family);
      else this.received.clear(family);
    }
    if (this.received.stale > 0) this.#keep(Math.max(0, this.#deadline - now));
    else this.#release();
  }

  /** The peer is back; what is still stale waits for its End-of-RIB. */
  back(): void {
    this.#endRefreshes();
    this.#release();
    if (this.received.stale > 0) this.#keep(LIMIT);
  }

  /** End-of-RIB. */
  told(family: AddressFamily): void {
    this.received.sweep(family);
    if (this.received.stale === 0) this.#release();
  }

  refreshBegins(family: AddressFamily): void {
    this.#refreshing.get(family)?.cancel();
    this.received.markStale(family);
    this.#refreshing.set(
      family,
      this.clock.after(LIMIT, () => {
        this.refreshEnds(family);
        this.changed();
      }),
    );
  }

  /** An end without a begin says nothing (RFC 7313 section 4). */
  refreshEnds(family: AddressFamily): void {
    const timer = this.#refreshing.get(family);
    if (!timer) return;
    timer.cancel();
    this.#refreshing.delete(family);
    this.received.sweep(family);
  }

  /** Nothing is waited for any more. */
  forget(): void {
    this.#endRefreshes();
    this.#release();
  }

  #keep(ms: number): void {
    this.#timer?.cancel();
    this.until = this.clock.now() + ms;
    this.#timer = this.clock.after(ms, () => {
      this.until = undefined;
      for (const family of FAMILIES) this.received.sweep(family);
      this.changed();
    });
  }

  #release(): void {
    this.#timer?.cancel();
    this.until = undefined;
  }

  #endRefreshes(): void {
    for (const timer of this.#refreshing.values()) timer.cancel();
    this.#refreshing.clear();
  }
}
