/**
 * What the benchmarks share: rounds in which the candidates take turns (so that whatever else this
 * machine does falls on all of them alike), the least, the middle and the 99th of the times, and
 * plain tables that have the ratio to the named peer of the same run beside every figure.
 */

/** Of one candidate, milliseconds unless its table says otherwise. */
export interface Spread {
  readonly n: number;
  readonly min: number;
  readonly p50: number;
  readonly p99: number;
}

export interface Table {
  readonly title: string;
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** What must be known beside the figures. */
  readonly notes?: readonly string[];
}

/** One benchmark's answer; `failed` where a figure that is a promise was missed. */
export interface Outcome {
  readonly tables: readonly Table[];
  readonly failed?: readonly string[];
}

export function spread(times: readonly number[]): Spread {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return { n: sorted.length, min: sorted[0], p50: at(0.5), p99: at(0.99) };
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** `rounds` rounds; in each every candidate once, each time another one first. */
export async function interleave<Name extends string>(
  rounds: number,
  candidates: Record<Name, (round: number) => Promise<number>>,
): Promise<Record<Name, number[]>> {
  const names = Object.keys(candidates) as Name[];
  const times = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<
    Name,
    number[]
  >;
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < names.length; i++) {
      const name = names[(round + i) % names.length];
      times[name].push(await candidates[name](round));
    }
  }
  return times;
}

export const ms = (n: number) => n.toFixed(n < 10 ? 2 : n < 100 ? 1 : 0);
export const ratio = (ours: number, peer: number) => (ours / peer).toFixed(2);

export function render(table: Table): string {
  const all = [table.columns, ...table.rows];
  const widths = table.columns.map((_, i) => Math.max(...all.map((row) => row[i].length)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])).join("  ")
      .trimEnd();
  return [
    table.title,
    line(table.columns),
    widths.map((w) => "-".repeat(w)).join("  "),
    ...table.rows.map(line),
    ...(table.notes ?? []),
  ].join("\n");
}

/** Cores, memory, kernel, runtime; and what else runs here at the moment. */
export function machine(): string {
  const { total } = Deno.systemMemoryInfo();
  const [one, five] = Deno.loadavg();
  return `${navigator.hardwareConcurrency} cores, ${Math.round(total / 2 ** 30)} GiB, ` +
    `Linux ${Deno.osRelease()}, Deno ${Deno.version.deno}; ` +
    `load average before the run ${one.toFixed(1)} (5 minutes: ${five.toFixed(1)})`;
}
