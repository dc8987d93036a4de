/**
 * What every driver of the datastore must do, as one suite: kv, memory, remote, etcd and
 * kubernetes run it. Import it from a test file and say how to open the driver on data of its own.
 *
 * The cases lie in `conformance/`, by subject. A case uses the store through its interface alone;
 * what only some drivers have (a connection that breaks, a file that is opened again) is asked for,
 * and a driver without it does not get the case.
 */

import { basicCases } from "./conformance/basic.ts";
import { breakCases } from "./conformance/breaks.ts";
import { type Case, type Need, Room, type Subject } from "./conformance/case.ts";
import { concurrencyCases } from "./conformance/concurrency.ts";
import { listCases } from "./conformance/list.ts";
import { modelCases } from "./conformance/model.ts";
import { outageCases } from "./conformance/outages.ts";
import { ttlCases } from "./conformance/ttl.ts";
import { watchCases } from "./conformance/watch.ts";

export type { Need, Subject } from "./conformance/case.ts";

export interface ConformanceOptions {
  /** What the driver can do beyond the interface; cases that need more are not registered. */
  readonly has?: readonly Need[];
  /** Cases that need this, and no others. */
  readonly only?: Need;
  /** Names of cases that cannot hold for this driver, each with the reason. */
  readonly except?: Readonly<Record<string, string>>;
  /** Maps a short name of a case to a key of the driver; default: below `/calico/test/`. */
  readonly key?: (name: string) => string;
  /** Maps a number to a value that the driver takes; default: a small object. */
  readonly value?: (n: number) => unknown;
}

const CASES: readonly Case[] = [
  ...basicCases,
  ...listCases,
  ...watchCases,
  ...concurrencyCases,
  ...ttlCases,
  ...modelCases,
  ...breakCases,
  ...outageCases,
];

/**
 * Registers the suite as Deno tests named `<name>: <case>`. `open` is called for each case and gives
 * an empty store (or one whose other keys no case touches); `close` is called in any case.
 */
export function storeConformance(
  name: string,
  open: () => Promise<Subject>,
  options: ConformanceOptions = {},
): void {
  for (const unknown of Object.keys(options.except ?? {})) {
    if (!CASES.some((one) => one.name === unknown)) {
      throw new Error(`the conformance suite has no case "${unknown}"`);
    }
  }
  for (const one of CASES) {
    if (one.needs?.some((need) => !options.has?.includes(need))) continue;
    if (options.only && !one.needs?.includes(options.only)) continue;
    const reason = options.except?.[one.name];
    Deno.test({
      name: `${name}: ${one.name}${reason ? ` (not here: ${reason})` : ""}`,
      ignore: reason !== undefined,
      fn: async () => {
        const subject = await open();
        const room = new Room(subject, options);
        try {
          await one.run(room);
        } finally {
          await room.leave();
          await subject.close();
        }
      },
    });
  }
}
