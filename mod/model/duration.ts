/**
 * Durations in Go's notation (time.ParseDuration and Duration.String): `1h2m3.5s`, `300ms`, `-1.5h`,
 * `0`. Calico keeps them in the canonical form that `formatDuration` writes.
 */

const NANOSECONDS: Record<string, bigint> = {
  ns: 1n,
  us: 1_000n,
  "µs": 1_000n,
  "μs": 1_000n,
  ms: 1_000_000n,
  s: 1_000_000_000n,
  m: 60_000_000_000n,
  h: 3_600_000_000_000n,
};
const MAX = (1n << 63n) - 1n;

/** Nanoseconds; undefined where it is no duration or more than 2^63-1. */
export function parseDuration(text: string): bigint | undefined {
  const sign = /^[-+]/.test(text) ? text[0] : "";
  let rest = text.slice(sign.length);
  if (rest === "0") return 0n;
  if (rest === "") return undefined;
  let total = 0n;
  while (rest !== "") {
    const part = /^([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)/.exec(rest);
    if (!part || (part[1] === "" && !part[2])) return undefined;
    const unit = NANOSECONDS[part[3]];
    total += BigInt(part[1] || "0") * unit;
    const fraction = (part[2] ?? "").slice(0, 18);
    if (fraction) total += BigInt(fraction) * unit / 10n ** BigInt(fraction.length);
    if (total > MAX) return undefined;
    rest = rest.slice(part[0].length);
  }
  return sign === "-" ? -total : total;
}

/** As parseDuration, in seconds; undefined where it is no duration. */
export function durationSeconds(text: string): number | undefined {
  const nanoseconds = parseDuration(text);
  return nanoseconds === undefined ? undefined : Number(nanoseconds) / 1e9;
}

/** `1h0m0s`, `1m30s`, `1.5s`, `300ms`, `0s`. */
export function formatDuration(nanoseconds: bigint): string {
  if (nanoseconds < 0n) return `-${formatDuration(-nanoseconds)}`;
  if (nanoseconds === 0n) return "0s";
  if (nanoseconds < NANOSECONDS.us) return `${nanoseconds}ns`;
  if (nanoseconds < NANOSECONDS.ms) return `${decimal(nanoseconds, NANOSECONDS.us)}µs`;
  if (nanoseconds < NANOSECONDS.s) return `${decimal(nanoseconds, NANOSECONDS.ms)}ms`;
  const hours = nanoseconds / NANOSECONDS.h;
  const minutes = nanoseconds % NANOSECONDS.h / NANOSECONDS.m;
  const seconds = `${decimal(nanoseconds % NANOSECONDS.m, NANOSECONDS.s)}s`;
  return hours > 0n
    ? `${hours}h${minutes}m${seconds}`
    : minutes > 0n
    ? `${minutes}m${seconds}`
    : seconds;
}

function decimal(value: bigint, unit: bigint): string {
  const digits = String(unit).length - 1;
  const fraction = String(value % unit).padStart(digits, "0").replace(/0+$/, "");
  return `${value / unit}${fraction && `.${fraction}`}`;
}
