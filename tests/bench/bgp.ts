/**
 * BGP at ten thousand /26 routes: from a test injector over TCP into the speaker's table (seen by a
 * collector to which it passes them on) and into the kernel (seen by its notifications), for the node
 * service, BIRD 2, FRR and GoBGP with the same bytes, in the same run, taking turns (`bgp_wire.ts`,
 * `bgp_daemons.ts`). Each time is from the injector's first octet to the last prefix:
 *
 *   first      into a process that was just started
 *   withdrawn  all of it taken back by UPDATEs
 *   again      the same once more
 *   one        one prefix more, and taken back, in the full table: middle of all
 *   dropped    the injector's connection ends
 *
 *     deno task bench bgp
 */
import { BIRD, type Daemon, FRR, GOBGP, Running, TORTIE } from "./bgp_daemons.ts";
import {
  announcements,
  COLLECTOR,
  COLLECTOR_AS,
  endOfRib,
  INJECTOR,
  INJECTOR_AS,
  KernelWatch,
  pause,
  Wire,
  WirePeer,
  withdrawals,
} from "./bgp_wire.ts";
import { ms, type Outcome, ratio, spread, type Table } from "./report.ts";

/** Milliseconds; NaN for the kernel of a speaker that does not write into it. */
export interface Reached {
  readonly table: number;
  readonly kernel: number;
}

export interface Life {
  readonly first: Reached;
  readonly withdrawn: Reached;
  readonly again: Reached;
  readonly one: Reached;
  readonly dropped: Reached;
  /** Processor time of the first, milliseconds. */
  readonly busy: number;
  /** MB: resident with the full table, and how much of it is more than before. */
  readonly resident: number;
  readonly grown: number;
}

/** Prefixes beyond all others, for single changes. */
const EXTRA = 200_000;
const SINGLE_CHANGES = 40;

/** One process of a speaker from its start to the end of the injector's session. */
export async function life(
  daemon: Daemon,
  { count, packed }: { count: number; packed: boolean },
): Promise<Life> {
  const wire = await Wire.open(`bgp-bench-${Deno.pid}`);
  const ends: (() => unknown)[] = [() => wire.close()];
  try {
    const running = await Running.start(daemon, wire.speakerName);
    ends.push(async () => {
      const said = await running.stop();
      if (said && Deno.env.has("TORTIE_BENCH_VERBOSE")) console.error(said);
    });
    const kernel = new KernelWatch(wire.speaker);
    ends.push(() => kernel.close());
    const collector = await WirePeer.establish(wire.tester, COLLECTOR, COLLECTOR_AS);
    ends.push(() => collector.close());
    collector.send(endOfRib());
    const injector = await WirePeer.establish(wire.tester, INJECTOR, INJECTOR_AS);
    ends.push(() => injector.close());
    await pause(1500); // what a speaker does at first with an empty table is over

    const reached = async (act: () => void, target: number, extra?: number): Promise<Reached> => {
      const so = (seen: typeof collector.told) => () =>
        extra === undefined ? seen.count === target : seen.has(extra) === (target === 1);
      const what = `${daemon.name}: ${target} prefixes`;
      const table = collector.told.when(`${what} at the collector`, so(collector.told));
      const routes = daemon.kernel
        ? kernel.routes.when(`${what} in the kernel`, so(kernel.routes))
        : Promise.resolve(NaN);
      const began = performance.now();
      act();
      const [toldAt, routesAt] = await Promise.all([table, routes]);
      return { table: toldAt - began, kernel: routesAt - began };
    };

    const all = announcements(0, count, packed), none = withdrawals(0, count);
    const before = await running.resident();
    const idle = await running.busy();
    const first = await reached(() => injector.send(all), count);
    await pause(500);
    const busy = await running.busy() - idle;
    const resident = await running.resident();
    const withdrawn = await reached(() => injector.send(none), 0);
    await pause(500);
    const again = await reached(() => injector.send(all), count);
    await pause(500);
    const singles: Reached[] = [];
    const up = announcements(EXTRA, EXTRA + 1, packed), down = withdrawals(EXTRA, EXTRA + 1);
    for (let i = 0; i < SINGLE_CHANGES; i++) {
      const present = 1 - i % 2;
      singles.push(await reached(() => injector.send(present ? up : down), present, EXTRA));
      await pause(10);
    }
    const one = {
      table: spread(singles.map((s) => s.table)).p50,
      kernel: spread(singles.map((s) => s.kernel)).p50,
    };
    const dropped = await reached(() => injector.close(), 0);
    return { first, withdrawn, again, one, dropped, busy, resident, grown: resident - before };
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

const ROWS = ["first", "withdrawn", "again", "one", "dropped"] as const;

/** The lives of each, by its name. */
export async function measure(
  options: { count: number; packed: boolean },
  rounds = 5,
  daemons: readonly Daemon[] = [TORTIE, BIRD, FRR, GOBGP],
): Promise<Map<Daemon, Life[]>> {
  const lives = new Map<Daemon, Life[]>(daemons.map((daemon) => [daemon, []]));
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < daemons.length; i++) {
      const daemon = daemons[(round + i) % daemons.length];
      lives.get(daemon)!.push(await life(daemon, options));
    }
  }
  return lives;
}

function table(title: string, lives: ReadonlyMap<Daemon, readonly Life[]>): Table {
  const [ours] = lives.values();
  const rows = ROWS.flatMap((row) =>
    [...lives].flatMap(([{ name, kernel }, theirs]) => {
      const cell = (of: readonly Life[], where: keyof Reached) =>
        spread(of.map((one) => one[row][where]));
      const [t, k] = [cell(theirs, "table"), cell(theirs, "kernel")];
      const against = (where: keyof Reached, s: { p50: number }) =>
        theirs === ours ? "" : ratio(cell(ours, where).p50, s.p50);
      return [[
        `${row}, ${name}`,
        ...[ms(t.p50), ms(t.min), against("table", t)],
        ...(kernel ? [ms(k.p50), ms(k.min), against("kernel", k)] : ["-", "-", "-"]),
      ]];
    })
  );
  const memory = [...lives].map(([{ name }, all]) =>
    `${name} ${ms(spread(all.map((l) => l.resident)).p50)} (+${
      ms(spread(all.map((l) => l.grown)).p50)
    })`
  );
  const busy = [...lives].map(([{ name }, all]) =>
    `${name} ${ms(spread(all.map((l) => l.busy)).p50)}`
  );
  return {
    title,
    columns: ["ms; ratio: ours to theirs", "table", "min", "ratio", "kernel", "min", "ratio"],
    rows,
    notes: [
      `Processor time of the first, ms: ${busy.join(", ")}.`,
      `Resident with the full table, MB (more than before): ${memory.join(", ")}.`,
      "FRR's figures have the 50 ms in them for which its bgpd holds a change before it chooses; " +
      "nothing sets that. Its other pacing is off.",
    ],
  };
}

export async function run(count = 10_000, rounds = 5): Promise<Outcome> {
  const packed = await measure({ count, packed: true }, rounds);
  const single = await measure({ count, packed: false }, rounds);
  const title = `${count} /26 routes by BGP to the table and to the kernel, `;
  return {
    tables: [
      table(`${title}packed UPDATEs, ${rounds} lives each`, packed),
      table(`${title}one UPDATE a route, 250 sets of attributes`, single),
    ],
  };
}
