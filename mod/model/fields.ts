/**
 * The leaves of the schemas: addresses, prefixes, ports, names, durations, selectors. The message of
 * each check says what is allowed; `validate.ts` puts path and value in front.
 *
 * A schema describes the object as Calico's Go types do: an optional field that is absent, null or
 * "" is the same thing. `zero…` fields are absent in storage while they hold Go's zero value, but
 * always there, with that value, in an object that was read.
 */
import * as v from "valibot";
import { parseCidr, parseIp, parseStrictPrefix } from "../net/mod.ts";

/** Marks a field that is left out of storage while it is false, 0 or "" (Go's omitempty). */
type OmitZero = { omitZero: true };

export const text = v.string();
export const bool = v.boolean();
export const stringMap = v.record(v.string(), v.string());
export const zeroBool = v.optional(
  v.pipe(v.boolean(), v.metadata<boolean, OmitZero>({ omitZero: true })),
  false,
);
export const zeroText = v.optional(
  v.pipe(v.string(), v.metadata<string, OmitZero>({ omitZero: true })),
  "",
);
export const zeroNumber = v.optional(
  v.pipe(v.number(), v.metadata<number, OmitZero>({ omitZero: true })),
  0,
);

/** A text that passes the test; `want` completes "want …". */
export function checkedText(test: (text: string) => boolean, want: string) {
  return v.pipe(v.string(), v.check(test, want));
}

export function matching(pattern: RegExp, want: string) {
  return checkedText((s) => pattern.test(s), want);
}

export function integer(min: number, max: number) {
  const want = `a whole number from ${min} to ${max}`;
  return v.pipe(v.number(), v.check((n) => Number.isInteger(n) && n >= min && n <= max, want));
}

export function oneOf<const T extends readonly string[]>(...values: T) {
  return v.picklist(values, `one of ${values.join(", ")}`);
}

export const ipText = checkedText((s) => parseIp(s) !== undefined, "an IPv4 or IPv6 address");
export const ipv4Text = checkedText((s) => parseIp(s)?.family === 4, "an IPv4 address");
export const ipv6Text = checkedText((s) => parseIp(s)?.family === 6, "an IPv6 address");
/** Host bits are allowed. */
export const cidrText = checkedText(
  (s) => parseCidr(s) !== undefined,
  "a CIDR such as 10.0.0.0/24 or fd00::/64",
);
export const strictCidrText = checkedText(
  (s) => parseStrictPrefix(s) !== undefined,
  "a CIDR without host bits, such as 10.0.0.0/24 or fd00::/64",
);
/** A CIDR, or a bare address which stands for a /32 or /128. */
export const netText = checkedText(
  (s) => s.includes("/") ? parseCidr(s) !== undefined : parseIp(s) !== undefined,
  "a CIDR or an address, such as 10.0.0.0/24 or 10.0.0.1",
);

/** Calico's pattern of node names, resource references and the like: a DNS-1123 subdomain. */
export const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
export const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
export const nameText = matching(
  NAME,
  "a name of lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
);

export const selectorText = v.string();

/** A port number, a range `"a:b"` or the name of a port. */
export const portText = v.union([
  integer(1, 65535),
  v.string(),
]);

/** A protocol by name (canonical case after reading) or number. */
export const protocolValue = v.union([v.string(), integer(1, 255)]);

/** AS number: 32 bits, as a number or `hi.lo`; a number after reading. */
export const asNumberValue = v.pipe(
  v.union([v.number(), v.string()]),
  v.transform((n): number => typeof n === "number" ? n : Number(n)),
);

/** A duration in Go's notation, canonical after reading (`90s` is `1m30s`). */
export const durationText = v.string();

export const interfaceNameText = matching(
  /^[a-zA-Z0-9_.-]{1,15}$/,
  "an interface name: 1 to 15 letters, digits, '_', '.' or '-'",
);
