/** Times as Calico writes them into IPAM's records. All take milliseconds since 1970, with fractions. */

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
