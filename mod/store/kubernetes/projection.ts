/**
 * From the events of objects to those of keys. An object that is changed where nobody reads it (a
 * Pod's conditions, a Node's heartbeat) is no event: of kinds that are read in part, the last value of
 * each key that was told is remembered as a number. A key that could be there and is not (the endpoint
 * of a pod that lost its network) is told as deleted once. A record that cannot be read is told as
 * deleted, with why (`Source.strange`).
 */
import { fingerprint } from "../fingerprint.ts";
import type { WatchEvent } from "../store.ts";
import type { KubeObject } from "./api.ts";
import { revisionOf, type Source } from "./source.ts";

/** Nothing is under the key, and that was told. */
const ABSENT = -1;

export class Projection {
  readonly #told = new Map<string, number>();

  constructor(readonly source: Source, readonly prefix: string) {}

  events(type: "ADDED" | "MODIFIED" | "DELETED", object: KubeObject): WatchEvent[] {
    const revision = revisionOf(object);
    const events: WatchEvent[] = [];
    const { partial } = this.source;
    const readings = this.source.read(object);
    if (readings.length === 0 && this.source.strange) {
      const told = this.source.strange(object).filter(({ key }) => key.startsWith(this.prefix));
      return told.map(({ key, reason }) => {
        // Whatever stands there when it can be read again is news.
        this.#told.delete(key);
        return { type: "delete", key, revision, ...(type !== "DELETED" && { broken: reason }) };
      });
    }
    for (const { key, value } of readings) {
      if (!key.startsWith(this.prefix)) continue;
      if (type === "DELETED") {
        // One that was marked, or had lost it before, was told then.
        const before = this.#told.get(key);
        this.#told.delete(key);
        if (value !== undefined && before !== ABSENT) {
          events.push({ type: "delete", key, revision });
        }
      } else if (value === undefined) {
        if (partial) {
          if (this.#told.get(key) === ABSENT) continue;
          this.#told.set(key, ABSENT);
        }
        events.push({ type: "delete", key, revision });
      } else {
        if (partial) {
          const print = fingerprint(value);
          if (this.#told.get(key) === print) continue;
          this.#told.set(key, print);
        }
        events.push({ type: "put", key, value, revision });
      }
    }
    return events;
  }
}
