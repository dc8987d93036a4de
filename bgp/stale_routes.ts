/**
 * How long routes are kept that their peer has not said again. There are two reasons for it, and they
 * must not be taken for each other:
 *
 *   a session that is over (RFC 4724 section 4.2)   until the peer is back and has sent End-of-RIB, or
 *                                                   the route's deadline has passed while it is away
 *   an enhanced refresh (RFC 7313 section 4)        from its begin to its end within one session
 *
 * The deadline is each route's own, not the peer's: the restart time after the loss by which the route
 * became stale. So a peer that is lost again before its End-of-RIB (a restart loop, two quick kills)
 * is lost for the first time as far as the routes go that it has told anew: they have the whole restart
 * time. Those that were stale already keep what the former loss has left them. RFC 4724 4.2 has them
 * deleted at once, lest they be renewed for ever; their first deadline serves the same end and lets the
 * traffic through meanwhile. While the peer is there no deadline counts: it is telling its table.
 *
 * A peer that is lost in the middle of a refresh is lost for the first time, too.
 */
import type { AddressFamily } from "./config.ts";
import type { AdjRibIn } from "./rib/adj_rib_in.ts";
import type { StaleMark } from "./rib/route.ts";
import type { Clock, Timer } from "./transport.ts";

const FAMILIES = ["ipv4", "ipv6"] as const;

/** Milliseconds after which stale routes go even if their end, of table or refresh, has not come. */
const LIMIT = 360_000;

/** Later than any loss: a refresh is ended by its end, or by the loss of its session. */
const REFRESH: StaleMark = { deadline: Infinity };

const byLoss = (mark: StaleMark) => mark !== REFRESH;
const byRefresh = (mark: StaleMark) => mark === REFRESH;

export class StaleRoutes {
  #until: number | undefined;
  #timer: Timer | undefined;
  readonly #refreshing = new Map<AddressFamily, Timer>();

  constructor(
    private readonly received: AdjRibIn,
    private readonly clock: Clock,
    private readonly changed: () => void,
  ) {}

  /** Clock time until which routes of a session that is over are kept at most. */
  get until(): number | undefined {
    return this.#deadlines().length > 0 ? this.#until : undefined;
  }

  /** The session is over: routes of the `kept` families stay for so long, others go. */
  lost(kept: ReadonlySet<AddressFamily>, seconds: number): void {
    this.#endRefreshes();
    const mark: StaleMark = { deadline: this.clock.now() + 1000 * seconds };
    for (const family of FAMILIES) {
      if (seconds > 0 && kept.has(family)) this.received.markStale(family, mark);
      else this.received.clear(family);
    }
    this.#expire();
  }

  /** The peer is back; what is still stale waits for its End-of-RIB. */
  back(): void {
    this.#endRefreshes();
    this.#release();
    if (this.#deadlines().length === 0) return;
    this.#until = this.clock.now() + LIMIT;
    this.#timer = this.clock.after(LIMIT, () => {
      this.#until = undefined;
      for (const family of FAMILIES) this.received.sweep(family, byLoss);
      this.changed();
    });
  }

  /** End-of-RIB. */
  told(family: AddressFamily): void {
    this.received.sweep(family, byLoss);
    if (this.#deadlines().length === 0) this.#release();
  }

  refreshBegins(family: AddressFamily): void {
    this.#refreshing.get(family)?.cancel();
    this.received.markStale(family, REFRESH);
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
    this.received.sweep(family, byRefresh);
  }

  /** Nothing is waited for any more. */
  forget(): void {
    this.#endRefreshes();
    this.#release();
  }

  /** While the peer is away: what is due goes, and the next deadline is waited for. */
  #expire(): void {
    this.#release();
    const now = this.clock.now();
    for (const family of FAMILIES) this.received.sweep(family, (mark) => mark.deadline <= now);
    const deadlines = this.#deadlines();
    if (deadlines.length === 0) return;
    this.#until = Math.max(...deadlines);
    this.#timer = this.clock.after(Math.min(...deadlines) - now, () => {
      this.#expire();
      this.changed();
    });
  }

  /** Of the routes that a loss has made stale; one for each loss. */
  #deadlines(): number[] {
    return this.received.marks().filter(byLoss).map((mark) => mark.deadline);
  }

  #release(): void {
    this.#timer?.cancel();
    this.#until = undefined;
  }

  #endRefreshes(): void {
    for (const timer of this.#refreshing.values()) timer.cancel();
    this.#refreshing.clear();
  }
}
