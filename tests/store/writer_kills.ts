/**
 * Again and again kill -9 of the process that writes, at random moments: while it opens the file,
 * commits, writes large values, drops old changes. The next process reads the change log back, and
 * every acknowledged write must be in it, at its revision, with no gap and in order. The next process
 * waits for the file's lock already when its forerunner is killed, so most of the time something is
 * being written; several files are worked on side by side.
 */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { openKv } from "../../mod/store/kv.ts";
import { Child } from "./processes.ts";

const LANES = 4;

/** How many acknowledged writes a kill must stand for: kills that hit nothing prove nothing. */
const WRITES_PER_KILL = 10;

interface Change {
  revision: number;
  type: string;
  key: string;
  n: string;
}

/** One file, its writers one after the other, and what they said. */
class Lane {
  /** Changes that were acknowledged and not read back yet. */
  readonly #acknowledged = new Map<number, Change>();
  readonly #state = new Map<string, Change>();
  #read = 1;
  #started = 0;
  kills = 0;
  killedOpening = 0;
  acknowledged = 0;
  unacknowledged = 0;

  constructor(readonly folder: string) {}

  get file(): string {
    return `${this.folder}/store.kv`;
  }

  /**
   * Kills so many writers that had begun to write; more of them where the machine is so slow that
   * they wrote little before they were killed.
   */
  async run(kills: number): Promise<void> {
    let child = this.#start(), next: Child | undefined;
    try {
      while (this.kills < kills || this.acknowledged < WRITES_PER_KILL * kills) {
        const heard: string[] = [];
        const killOpening = Math.random() < 0.1;
        if (killOpening) {
          await pause(Math.random() * 60);
          this.killedOpening++;
        } else {
          await this.#until("open", child, heard);
          // It starts up and waits for the lock while its forerunner writes and is killed.
          next = this.#start();
          await child.say(`${this.#read}\n`);
          await this.#until("ready", child, heard);
          await pause(Math.random() * 25);
        }
        child.kill();
        heard.push(...await child.rest());
        await child.ended();
        if (this.#hear(heard) > 0 && !killOpening) this.kills++;
        child = next ?? this.#start();
        next = undefined;
      }
    } finally {
      for (const left of [child, next]) {
        left?.kill();
        await left?.rest();
        await left?.ended();
      }
    }
  }

  #start(): Child {
    return new Child("writer_process.ts", this.file, `w${++this.#started}`);
  }

  /** Hears what the writer says up to this word. */
  async #until(word: string, child: Child, heard: string[]): Promise<void> {
    while (heard.at(-1)?.split(" ")[0] !== word) {
      const line = await child.next();
      assert(line !== undefined, `a writer ended by itself: ${heard.slice(-3).join("; ")}`);
      heard.push(line);
    }
  }

  /** Takes in what a writer said; how many writes it had acknowledged. */
  #hear(lines: readonly string[]): number {
    let acknowledged = 0;
    const log: Change[] = [];
    for (const line of lines) {
      const [word, revision, type, key, n] = line.split(" ");
      const change = { revision: Number(revision), type, key, n };
      if (word === "log") log.push(change);
      if (word !== "ack") continue;
      assert(!this.#acknowledged.has(change.revision), `revision ${revision} was given twice`);
      this.#acknowledged.set(change.revision, change);
      acknowledged++;
    }
    // A writer that was killed while it told what it found has not told all: the next one will.
    if (lines.includes("ready")) this.#readBack(log, Number(lines[0].split(" ")[1]));
    this.acknowledged += acknowledged;
    return acknowledged;
  }

  /** Checks the change log from where it was last read up to the store's counter. */
  #readBack(log: readonly Change[], counter: number): void {
    // What the teller itself wrote comes after its counter, and is read back by its successor.
    const due = [...this.#acknowledged.values()].filter((change) => change.revision <= counter);
    const found = new Map(log.map((change) => [change.revision, change]));
    log.forEach((change, i) => assert.equal(change.revision, this.#read + 1 + i, "no gaps"));
    assert.equal(this.#read + log.length, counter, "the log ends where the counter stands");
    for (const change of due) {
      assert.deepEqual(found.get(change.revision), change, "an acknowledged write is lost");
      this.#acknowledged.delete(change.revision);
    }
    this.unacknowledged += log.length - due.length;
    for (const change of log) this.#state.set(change.key, change);
    this.#read = counter;
  }

  /** Reads all back in this process, objects too, and asks SQLite about the file. */
  async finish(): Promise<void> {
    const store = await openKv(this.file, { waitMs: 10_000, log: { entries: 1000 } });
    const log: Change[] = [];
    if (store.revision > this.#read) {
      for await (const event of store.watch<{ n: string }>("/", { from: String(this.#read) })) {
        const n = event.type === "put" ? event.value.n : "-";
        log.push({ revision: Number(event.revision), type: event.type, key: event.key, n });
        if (Number(event.revision) === store.revision) break;
      }
    }
    this.#readBack(log, store.revision);
    assert.equal(this.#acknowledged.size, 0);
    const { entries } = await store.list<{ n: string; pad: string }>("/");
    const expected = [...this.#state.values()].filter((change) => change.type === "put");
    assert.deepEqual(
      new Map(entries.map(({ key, value, revision }) => [key, `${revision} ${value.n}`])),
      new Map(expected.map(({ key, revision, n }) => [key, `${revision} ${n}`])),
    );
    for (const { value } of entries) assert(/^x*$/.test(value.pad));
    await store.close();
    const database = new DatabaseSync(this.file);
    assert.equal(database.prepare("PRAGMA integrity_check").get()?.integrity_check, "ok");
    database.close();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Kills so many writers, and throws where an acknowledged write is lost. */
export async function killWriters(kills: number): Promise<void> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-kill-" });
  try {
    const lanes = await Promise.all(Array.from({ length: LANES }, async (_, i) => {
      await Deno.mkdir(`${folder}/${i}`);
      return new Lane(`${folder}/${i}`);
    }));
    // All lanes end before the first failure is told, so that nothing runs on in a removed folder.
    const outcomes = await Promise.allSettled(lanes.map((lane) => lane.run(kills / LANES)));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    for (const lane of lanes) await lane.finish();
    const sum = (of: (lane: Lane) => number) => lanes.reduce((all, lane) => all + of(lane), 0);
    const acknowledged = sum((lane) => lane.acknowledged), killed = sum((lane) => lane.kills);
    assert(killed >= kills && acknowledged >= WRITES_PER_KILL * kills);
    console.log(
      `${killed} writers killed (and ${sum((lane) => lane.killedOpening)} while they opened the ` +
        `file); ${acknowledged} acknowledged writes read back, ` +
        `${sum((lane) => lane.unacknowledged)} found that nobody had heard of`,
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
