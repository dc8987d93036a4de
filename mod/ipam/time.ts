/** Times as Calico writes them into IPAM's records. All take milliseconds since 1970, with fractions. */

/** Clocks of two machines may differ by so much without being wrong. */
const CLOCKS_DIFFER_MS = 300_000;

/**
 * Whether something that is said to have happened at `at` happened less than `ms` ago. A time that is
 * further ahead than clocks differ is of a clock that was wrong, and says nothing of how long ago it is;
 * nor does one that cannot be read (NaN).
 */
export function isWithin(ms: number, at: number, now: number): boolean {
  return now - at < ms && at - now <= CLOCKS_DIFFER_MS;
}

/** Milliseconds of a `timestamp` attribute (`goTimestamp`); NaN where it cannot be read. */
export function parseGoTimestamp(text: string | undefined): number {
  return Date.parse(`${text?.slice(0, 19).replace(" ", "T")}Z`);
}

/** Whole nanoseconds since 1970. A double holds them to about a quarter of a microsecond. */
export function nanoseconds(ms: number): bigint {
  const whole = Math.floor(ms);
  return BigInt(whole) * 1_000_000n + BigInt(Math.round((ms - whole) * 1_000_000));
}

/**
 * The `timestamp` attribute of an allocation: Go's `time.Time.String()` in UTC,
 * `2026-11-22 13:41:06.123456789 +0000 UTC`, zeros at the end of the fraction cut.
 */
export function goTimestamp(ms: number): string {
  const ns = nanoseconds(ms);
  const seconds = new Date(Number(ns / 1_000_000_000n) * 1000).toISOString().slice(0, 19);
  const fraction = (ns % 1_000_000_000n).toString().padStart(9, "0").replace(/0+$/, "");
  return `${seconds.replace("T", " ")}${fraction && `.${fraction}`} +0000 UTC`;
}

/** Kubernetes' metav1.Time: RFC 3339 in whole seconds, `2026-11-22T13:44:27Z`. */
export function rfc3339(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
