/**
 * Which entries are to go away, and when. Deadlines are monotonic in this process; a record carries
 * its wall-clock end for the next one, which never gives an entry more than the time that was asked
 * for, however the wall clock was set meanwhile.
 *
 * One timer runs, to the earliest deadline that was ever asked for; when it fires, the entries that
 * are due are reported and the next one is looked for. Renewals therefore cost nothing.
 */

import type { ChangeRecord, PutRecord } from "./change_log.ts";
import type { Clock } from "./clock.ts";

export class Expiry {
  readonly #deadlines = new Map<string, { revision: number; at: number }>();
  #timer: { at: number; cancel: () => void } | undefined;

  /** `onDue` is called with the key and revision of what has outlived its time. */
  constructor(
    readonly clock: Clock,
    readonly onDue: (key: string, revision: number) => void,
  ) {}

  /** Takes over a record that was written before this process began. */
  load(record: PutRecord): void {
    if (record.ttlMs === 0) return;
    const left = Math.min(Math.max(0, record.expires - this.clock.wallMs()), record.ttlMs);
    this.#set(record, left);
  }

  /** Learns of a write. */
  apply(record: ChangeRecord): void {
    if (record.type === "put" && record.ttlMs > 0) this.#set(record, record.ttlMs);
    else this.#deadlines.delete(record.key);
  }

  /** Reports what is due now, and sets the timer to what comes next. */
  check(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const now = this.clock.monotonicMs();
    let earliest = Infinity;
    for (const [key, deadline] of this.#deadlines) {
      if (deadline.at <= now) {
        this.#deadlines.delete(key);
        this.onDue(key, deadline.revision);
      } else {
        earliest = Math.min(earliest, deadline.at);
      }
    }
    if (earliest < Infinity) this.#arm(earliest);
  }

  /** Reports this record again after a while: it could not be deleted just now. */
  retry(key: string, revision: number, ms: number): void {
    if (this.#stopped || this.#deadlines.has(key)) return;
    const at = this.clock.monotonicMs() + ms;
    this.#deadlines.set(key, { revision, at });
    this.#arm(at);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#deadlines.clear();
  }

  #stopped = false;

  #set(record: PutRecord, left: number): void {
    const at = this.clock.monotonicMs() + left;
    this.#deadlines.set(record.key, { revision: record.revision, at });
    this.#arm(at);
  }

  #arm(at: number): void {
    if (this.#stopped || (this.#timer && this.#timer.at <= at)) return;
    this.#timer?.cancel();
    const cancel = this.clock.after(at - this.clock.monotonicMs(), () => this.check());
    this.#timer = { at, cancel };
  }
}
