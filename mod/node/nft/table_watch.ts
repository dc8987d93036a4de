/**
 * What happens to our tables from outside, and what fails, for people: lines in the log, and sentences
 * for health and status. It knows the dataplane by its events alone.
 *
 * Who deletes a table in a loop makes thousands of events. The first touch is told after a moment (in
 * which a `flush ruleset` goes through all our tables), further ones at most each ten seconds, with
 * their number. A fault is told when it comes, when its reason changes and when it is over.
 */
import type { Log } from "../log.ts";
import type { DataplaneEvent } from "./dataplane_types.ts";
import { nftFamily } from "./terms.ts";

/** Milliseconds from a touch to its line, and between two lines. */
const GATHER = 200, BETWEEN_LINES = 10_000;
/** Milliseconds for which the tables may be other than wanted before that is a fault: a repair's time. */
const PATIENCE = 5000;
/** Milliseconds for which a touch is worth a word in the node's status. */
const WORTH_A_WORD = 600_000;

/** As many programs are told apart; a name is quickly changed. */
const MOST_PROGRAMS = 20;

/** What one program did. */
interface Touches {
  readonly tables: Set<string>;
  count: number;
}

export interface TableWatchOptions {
  /** Milliseconds of a clock that never goes back. Default performance.now. */
  readonly now?: () => number;
  /** Does work after so many milliseconds, unless it is cancelled. Default setTimeout. */
  readonly later?: (milliseconds: number, work: () => void) => () => void;
}

export class TableWatch {
  readonly #now: () => number;
  readonly #later: NonNullable<TableWatchOptions["later"]>;
  /** Not in the log yet, by program. */
  #untold = new Map<string, Touches>();
  #cancelLine: (() => void) | undefined;
  #lastLine = -Infinity;
  /** All that is worth a word, by program. */
  readonly #touches = new Map<string, Touches & { last: number; date: Date }>();
  /** Since when our tables are not as they should be, as far as is known. */
  #since: number | undefined;
  /** Who touched them last since then. */
  #by = "";
  #reason = "";
  /** What cannot be made, by family. */
  readonly #quarantine = new Map<string, readonly string[]>();

  constructor(readonly log: Log, options: TableWatchOptions = {}) {
    this.#now = options.now ?? (() => performance.now());
    this.#later = options.later ?? ((milliseconds, work) => {
      const timer = setTimeout(work, milliseconds);
      return () => clearTimeout(timer);
    });
  }

  heard(event: DataplaneEvent): void {
    switch (event.event) {
      case "foreign":
        this.#since ??= this.#now();
        this.#by = nameOf(event.program);
        return this.#touched(this.#by, `${nftFamily(event.family)} ${event.table}`);
      case "quarantine": {
        const family = nftFamily(event.family);
        const before = this.#quarantine.get(family) ?? [];
        this.#quarantine.set(family, event.words);
        for (const what of event.words) {
          if (!before.includes(what)) {
            this.log.warn("cannot be made, and is closed; all else is in force", { family, what });
          }
        }
        if (event.words.length === 0) this.log.info("all of policy is in force again", { family });
        return;
      }
      case "lost":
        this.#since ??= this.#now();
        return;
      case "failed": {
        this.#since ??= this.#now();
        const reason = event.error.message;
        if (reason === this.#reason) return;
        this.#reason = reason;
        const by = this.#by ? { program: this.#by } : {};
        return this.log.warn("our nf_tables cannot be brought up to date; tried again", {
          ...by,
          error: event.error,
        });
      }
      case "settled":
        if (this.#reason !== "") {
          const seconds = Math.round((this.#now() - (this.#since ?? this.#now())) / 1000);
          this.log.info("our nf_tables are as they should be again", { seconds });
        }
        this.#since = undefined;
        this.#by = this.#reason = "";
        return;
    }
  }

  /** Why this node's rules are not in force; undefined while they are, or are about to be. */
  fault(): string | undefined {
    if (this.#since === undefined) return undefined;
    const time = this.#now() - this.#since;
    if (time < PATIENCE) return undefined;
    const by = this.#by ? ` after ${this.#by} changed them` : "";
    const why = this.#reason || "they are being mended";
    return `nf_tables are not as policy wants them for ${Math.round(time / 1000)} s${by}: ${why}`;
  }

  /** What of policy cannot be made, and who has touched our tables of late. */
  notes(): string[] {
    const notes = [...this.#quarantine].flatMap(([family, words]) =>
      words.map((what) => `nf_tables (${family}): ${what}`)
    );
    for (const [program, { tables, count, last, date }] of this.#touches) {
      if (this.#now() - last > WORTH_A_WORD) {
        this.#touches.delete(program);
        continue;
      }
      notes.push(
        `${program} changed our nf_tables (${[...tables].join(", ")}) ${times(count)}, ` +
          `last at ${
            date.toISOString().slice(0, 19)
          }Z; what others change of chains, rules, sets and maps is undone`,
      );
    }
    return notes;
  }

  close(): void {
    this.#cancelLine?.();
    if (this.#untold.size > 0) this.#tell();
  }

  #touched(by: string, table: string): void {
    const isNew = !this.#touches.has(by) && this.#touches.size >= MOST_PROGRAMS;
    const program = isNew ? "further programs" : by;
    const date = new Date(), last = this.#now();
    const known = this.#touches.get(program) ?? { tables: new Set(), count: 0, last, date };
    this.#touches.set(program, { ...known, count: known.count + 1, last, date });
    const untold = this.#untold.get(program) ?? { tables: new Set<string>(), count: 0 };
    this.#untold.set(program, untold);
    for (const tables of [known.tables, untold.tables]) tables.add(table);
    untold.count++;
    if (this.#cancelLine) return;
    const wait = Math.max(GATHER, this.#lastLine + BETWEEN_LINES - last);
    this.#cancelLine = this.#later(wait, () => this.#tell());
  }

  #tell(): void {
    this.#cancelLine = undefined;
    this.#lastLine = this.#now();
    const untold = this.#untold;
    this.#untold = new Map();
    for (const [program, { tables, count }] of untold) {
      this.log.warn(
        "another program changed our nf_tables; its chains, rules, sets and maps are put right",
        {
          program,
          tables: [...tables].join(", "),
          times: count,
        },
      );
    }
  }
}

/** The kernel tells the first 15 bytes of a thread's name, which may be any; of some commits none. */
function nameOf(program: string): string {
  return program.replaceAll(/[^\x21-\x7e]/g, "?") || "an unknown program";
}

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}
