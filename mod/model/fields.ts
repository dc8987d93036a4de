/**
 * The leaves of the schemas: addresses, prefixes, ports, names, durations, selectors. The message of
 * each check says what is allowed; `validate.ts` puts path and value in front.
 *
 * A schema describes the object as Calico's Go types do: an optional field that is absent, null or
 * "" is the same thing (but for those marked `neverEmpty`). `zero…` fields are absent in storage while they
 * hold Go's zero value, but always there, with that value, in an object that was read. Some leaves read more
 * than one notation (`asNumber: "1.10"`, `protocol: tcp`, `ports: ["80"]`) and give the canonical one, as Calico does.
 */
import { goRegExp } from "./go_regexp.ts";
import * as v from "valibot";
import { formatIp, parseCidr, parseIp, parseStrictPrefix } from "../net/mod.ts";
import { parseSelector, SelectorError } from "../selector/selector.ts";
import { mapOf } from "./map_schema.ts";
import { nearest } from "./nearest.ts";
import { formatDuration, parseDuration } from "./duration.ts";
import { isTime } from "./time.ts";
import { type GoInteger, isGoInteger, rangeOf, type Reader } from "./typed.ts";

/** Marks a field that is left out of storage while it is false, 0 or "" (Go's omitempty). */
type OmitZero = { omitZero: true };

/** Marks a field of which "" is a value, and not the same as nothing (Go has a pointer there). */
export function pointer<const S extends v.GenericSchema>(schema: S) {
  return v.pipe(schema, v.metadata({ pointer: true }));
}

/** Marks a field that a text is read into by a reader of its own, which "" is nothing to: it may be absent, not "". */
export function neverEmpty<const S extends v.GenericSchema>(schema: S) {
  return v.pipe(schema, v.metadata({ neverEmpty: true }));
}

/**
 * Marks a leaf that Calico's reader of JSON takes less for, or more, than a value of the schema's own type
 * (`typed.ts`); `want` completes "want …".
 */
export function read<const S extends v.GenericSchema>(
  schema: S,
  takes: (value: unknown) => boolean,
  want: string,
) {
  return v.pipe(schema, v.metadata({ reader: { takes, want } satisfies Reader }));
}

/** Marks a number of which 0 is the same as nothing, and left out of storage (Go has no pointer there). */
export function zeroIsNothing<const S extends v.GenericSchema>(schema: S) {
  return v.pipe(schema, v.metadata({ omitZero: true }));
}

export const text = v.string();
export const bool = v.boolean();
export const stringMap = mapOf(v.string(), v.string());
export const zeroBool = v.optional(
  v.pipe(v.boolean(), v.metadata<boolean, OmitZero>({ omitZero: true })),
  false,
);
export const zeroText = v.optional(
  v.pipe(v.string(), v.metadata<string, OmitZero>({ omitZero: true })),
  "",
);

/** A list of at most so many items. */
export function atMost<S extends v.GenericSchema>(max: number, item: S) {
  return v.pipe(v.array(item), v.check((list) => list.length <= max, `at most ${max} items`));
}

const WANT_TIME = "a time such as 2026-11-22T13:44:27Z";
/** RFC 3339, as Kubernetes' metadata has times. */
export const timeText = read(
  checkedText(isTime, WANT_TIME),
  (value) => typeof value === "string" && isTime(value),
  WANT_TIME,
);

/** A text that passes the test; `want` completes "want …". */
export function checkedText(test: (text: string) => boolean, want: string) {
  return v.pipe(v.string(), v.check(test, want));
}

export function matching(pattern: RegExp, want: string) {
  return checkedText((s) => pattern.test(s), want);
}

/** `type`: Go's, of which its reader of JSON takes nothing else, whatever the rule is. */
export function integer(min: number, max: number, type: GoInteger = "int") {
  const want = max < Infinity
    ? `a whole number from ${min} to ${max}`
    : `a whole number of at least ${min}`;
  return read(
    v.pipe(v.number(), v.check((n) => Number.isInteger(n) && n >= min && n <= max, want)),
    (value) => isGoInteger(value, type),
    rangeOf(type),
  );
}

/** Any number, fractions too. */
export const float = read(
  v.number(),
  (value) => typeof value === "number" || typeof value === "bigint",
  "a number",
);

export const anyInteger = v.pipe(
  v.number(),
  v.check((n) => Number.isSafeInteger(n), "a whole number"),
);

export function oneOf<const T extends readonly string[]>(...values: T) {
  return v.picklist(values, ({ input }) => words(values) + hint(input, values));
}

/**
 * As oneOf, in any case; after reading in the case of the list. One that a newer version wrote and the
 * list has not is a text like the others: the rest of its object can be read.
 */
export function oneOfAnyCase<const T extends readonly string[]>(...values: T) {
  const known = (s: string): T[number] | undefined =>
    values.find((value) => value.toLowerCase() === s.toLowerCase());
  return v.pipe(
    v.string(),
    v.check(
      (s) => known(s) !== undefined,
      ({ input }) => words(values) + hint(input, values),
    ),
    v.transform((s): T[number] => known(s) ?? s),
  );
}

function hint(value: unknown, values: readonly string[]): string {
  const near = typeof value === "string" ? nearest(value, values) : undefined;
  return near ? ` (did you mean ${near}?)` : "";
}

function words(values: readonly string[]): string {
  return values.length === 1 ? values[0] : `one of ${values.join(", ")}`;
}

/** Reads a value into its canonical form; undefined where it is not allowed. */
export function canonical<In, Out>(
  schema: v.GenericSchema<In>,
  read: (value: In) => Out | undefined,
  want: string | ((value: In) => string),
) {
  return v.pipe(
    schema,
    v.rawTransform(({ dataset, addIssue, NEVER }): Out => {
      const value = read(dataset.value);
      if (value !== undefined) return value;
      addIssue({ message: typeof want === "string" ? want : want(dataset.value) });
      return NEVER;
    }),
  );
}

// Addresses

export const ipText = checkedText((s) => parseIp(s) !== undefined, "an IPv4 or IPv6 address");
/** As ipText, or "". */
export const ipOrEmpty = checkedText(
  (s) => s === "" || parseIp(s) !== undefined,
  "an IPv4 or IPv6 address",
);
export const ipv4Text = checkedText((s) => parseIp(s)?.family === 4, "an IPv4 address");
/** To Go, ::ffff:192.0.2.1 is 192.0.2.1. */
export const ipv6Text = checkedText(
  (s) => parseIp(s)?.family === 6 && !/^[0:]*:ffff:[0-9.]+$/i.test(formatIp(parseIp(s)!)),
  "an IPv6 address",
);

const cidrOrIp = (s: string) => s.includes("/") ? parseCidr(s)?.ip : parseIp(s);

/** A CIDR whose host bits may be set, or an address. */
export const cidrText = checkedText(
  (s) => cidrOrIp(s) !== undefined,
  "a CIDR or an address, such as 10.0.0.0/24, fd00::/64 or 10.0.0.1",
);
export const cidrv4Text = checkedText(
  (s) => cidrOrIp(s)?.family === 4,
  "an IPv4 address with prefix length, such as 192.0.2.1/24",
);
export const cidrv6Text = checkedText(
  (s) => cidrOrIp(s)?.family === 6,
  "an IPv6 address with prefix length, such as 2001:db8::1/64",
);
/** A CIDR whose host bits may be set; no bare address. */
export const slashText = checkedText(
  (s) => parseCidr(s) !== undefined,
  "a CIDR with its prefix length, such as 10.0.0.0/24 or 10.0.0.1/32",
);
/** A CIDR without host bits, or an address. */
export const netText = checkedText(
  (s) => s.includes("/") ? parseStrictPrefix(s) !== undefined : parseIp(s) !== undefined,
  "a CIDR without host bits or an address, such as 10.0.0.0/24 or 10.0.0.1",
);
/** As netText, or "". */
export const netOrEmpty = checkedText(
  (s) => s === "" || (s.includes("/") ? parseStrictPrefix(s) : parseIp(s)) !== undefined,
  "a CIDR without host bits or an address, such as 10.0.0.0/24 or 10.0.0.1",
);
/** A CIDR without host bits. */
export const strictCidrText = checkedText(
  (s) => parseStrictPrefix(s) !== undefined,
  "a CIDR without host bits, such as 10.0.0.0/24 or fd00::/64",
);
export const macText = matching(
  /^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$/,
  "a MAC address such as 66:1a:2b:3c:4d:5e",
);

// Names

/** A DNS-1123 subdomain: the name of most objects. */
export const NAME = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
export const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const isName = (s: string) => NAME.test(s) && s.length <= 253;
const WANT_NAME = "a name of at most 253 lower-case letters, digits, '-' and '.', beginning and " +
  "ending with a letter or digit";
export const nameText = checkedText(isName, WANT_NAME);
/** As nameText, or "". */
export const nameOrEmpty = checkedText((s) => s === "" || isName(s), WANT_NAME);
/** Whether a text is a port's name (Kubernetes' IANA_SVC_NAME). */
function isPortName(s: string): boolean {
  return LABEL.test(s) && s.length <= 15 && /[a-z]/.test(s) && !s.includes("--");
}
const WANT_PORT_NAME =
  "a port name: at most 15 lower-case letters, digits and '-', at least one letter";
export const portNameText = checkedText(isPortName, WANT_PORT_NAME);
/** As portNameText, or "". */
export const portNameOrEmpty = checkedText((s) => s === "" || isPortName(s), WANT_PORT_NAME);
export const interfaceNameText = matching(
  /^(\*|[a-zA-Z0-9_.-]{1,15})$/,
  "an interface name: 1 to 15 letters, digits, '_', '.' or '-'",
);

/** A regular expression as the agents read it. */
export const regexpText = checkedText(
  (s) => {
    try {
      goRegExp(s);
      return true;
    } catch {
      return false;
    }
  },
  "a regular expression",
);

// Labels

const LABEL_NAME = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
export const WANT_LABEL_KEY =
  "[domain/]name, the name of at most 63 letters, digits, '-', '_' and '.'";
export const WANT_LABEL_VALUE =
  "at most 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit";

/** Whether a text is a label's key: an optional DNS subdomain and `/`, then a name. */
export function isLabelKey(key: string): boolean {
  const slash = key.indexOf("/");
  if (slash < 0) return LABEL_NAME.test(key);
  const prefix = key.slice(0, slash);
  return prefix.length <= 253 && NAME.test(prefix) && LABEL_NAME.test(key.slice(slash + 1));
}

export function isLabelValue(value: string): boolean {
  return LABEL_VALUE.test(value);
}

export const labelMap = mapOf(
  checkedText(isLabelKey, `a key such as ${WANT_LABEL_KEY}`),
  checkedText(isLabelValue, WANT_LABEL_VALUE),
);

/** As Kubernetes, which compares an annotation's key in lower case. */
export const annotationMap = mapOf(
  checkedText((key) => isLabelKey(key.toLowerCase()), `a key such as ${WANT_LABEL_KEY}`),
  v.string(),
);

// Selectors

/** Why a selector cannot be read; undefined where it can. */
export function selectorFault(selector: string): string | undefined {
  try {
    parseSelector(selector);
    return undefined;
  } catch (error) {
    if (error instanceof SelectorError) return error.message;
    throw error;
  }
}

/**
 * A label selector such as `role == 'frontend' && has(team)`, of any length, as up to Calico 3.32. (3.33
 * has a limit of 1024 characters in the definitions of its custom resources: its API server says so.)
 */
export const selectorText = v.pipe(
  v.string(),
  v.check(
    (s) => selectorFault(s) === undefined,
    (issue) => `a selector (${selectorFault(issue.input)})`,
  ),
);

/** One of at most so many characters. */
export function selectorOfAtMost(max: number) {
  return v.pipe(
    selectorText,
    v.check((s) => s.length <= max, `a selector of at most ${max} characters`),
  );
}

/** A selector that is "" where it is not given, and then left out of storage. */
export const zeroSelector = v.optional(
  v.pipe(selectorText, v.metadata<string, OmitZero>({ omitZero: true })),
  "",
);

// Ports and protocols

const WANT_PORT = `a port from 1 to 65535, a range such as 8000:8080, or ${WANT_PORT_NAME}`;

/** As Calico's reader of JSON takes it, port 0 aside; its validator then wants a port's name as Kubernetes'. */
const readablePort = read(
  canonical<string | number, string | number>(
    v.union([v.number(), v.string()]),
    (port) => readPort(port, 1),
    WANT_PORT,
  ),
  (port) =>
    (typeof port === "number" || typeof port === "string") && readPort(port, 0) !== undefined,
  WANT_PORT,
);

function readPort(port: string | number, least: number): string | number | undefined {
  const isPort = (n: number) => Number.isInteger(n) && n >= least && n <= 65535;
  if (typeof port === "number") return isPort(port) ? port : undefined;
  if (/^[0-9]+$/.test(port)) return isPort(Number(port)) ? Number(port) : undefined;
  const range = /^([0-9]+):([0-9]+)$/.exec(port);
  if (range) {
    const [from, to] = [Number(range[1]), Number(range[2])];
    return !isPort(from) || !isPort(to) || from > to
      ? undefined
      : from === to
      ? from
      : `${from}:${to}`;
  }
  return /^[a-zA-Z0-9_.-]{1,128}$/.test(port) ? port : undefined;
}

/** A port number, a range `"a:b"` or the name of a port; `"80"` and `"80:80"` read as 80. */
export const portValue = v.pipe(
  readablePort,
  v.check((port) => !isNamedPort(port) || isPortName(String(port)), WANT_PORT),
);

/** Whether a canonical port is a name, not a number or range. */
export function isNamedPort(port: string | number): boolean {
  return typeof port === "string" && !/^[0-9]+(:[0-9]+)?$/.test(port);
}

const PROTOCOLS = ["TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "UDPLite"] as const;

/** A protocol by name (canonical case after reading) or number. */
export const protocolValue = byteOrText(canonical<string | number, string | number>(
  v.union([v.number(), v.string()]),
  (protocol) => {
    const number = typeof protocol === "number"
      ? protocol
      : /^[0-9]+$/.test(protocol)
      ? Number(protocol)
      : undefined;
    if (number !== undefined) {
      return Number.isInteger(number) && number >= 1 && number <= 255 ? number : undefined;
    }
    return PROTOCOLS.find((p) => p.toLowerCase() === String(protocol).toLowerCase());
  },
  `${PROTOCOLS.join(", ")} or a number from 1 to 255`,
));

/** Of Calico's type Uint8OrString, whose reader takes any text. */
export function byteOrText<const S extends v.GenericSchema>(schema: S) {
  return orText(schema, "uint8");
}

/** Of Kubernetes' type IntOrString. */
export function intOrText<const S extends v.GenericSchema>(schema: S) {
  return orText(schema, "int32");
}

function orText<const S extends v.GenericSchema>(schema: S, type: GoInteger) {
  const takes = (value: unknown) => typeof value === "string" || isGoInteger(value, type);
  return read(schema, takes, `${rangeOf(type)} or a text`);
}

/** IANA's number of a canonical protocol. */
export function protocolNumber(protocol: string | number): number {
  if (typeof protocol === "number") return protocol;
  return { TCP: 6, UDP: 17, ICMP: 1, ICMPv6: 58, SCTP: 132, UDPLite: 136 }[protocol] ?? 0;
}

/** TCP, UDP and SCTP, by name or number. */
export function hasPorts(protocol: string | number): boolean {
  return [6, 17, 132].includes(protocolNumber(protocol));
}

// Numbers and times

export const WANT_DSCP = "a number from 0 to 255, or the name of a class such as AF11";

/** A mark of differentiated services: eight bits to Calico's reader, or the name of a class. */
export function isDscp(mark: number | string): boolean {
  return typeof mark === "string" || Number.isInteger(mark) && mark >= 0 && mark <= 255;
}

const WANT_AS_NUMBER = "an AS number from 0 to 4294967295, or two halves such as 1.10";

/** AS number: 32 bits, as a number or `hi.lo`; a number after reading. */
export const asNumberValue = read(
  neverEmpty(canonical<string | number, number>(
    v.union([v.number(), v.string()]),
    readAsNumber,
    WANT_AS_NUMBER,
  )),
  (value) =>
    (typeof value === "number" || typeof value === "string") && readAsNumber(value) !== undefined,
  WANT_AS_NUMBER,
);

function readAsNumber(value: string | number): number | undefined {
  if (typeof value === "string") {
    const parts = /^([0-9]+)\.([0-9]+)$/.exec(value)?.slice(1).map(Number);
    if (parts) return parts.every((p) => p <= 65535) ? parts[0] * 65536 + parts[1] : undefined;
    if (!/^[0-9]+$/.test(value)) return undefined;
  }
  const number = Number(value);
  return Number.isInteger(number) && number >= 0 && number <= 0xffff_ffff ? number : undefined;
}

const WANT_DURATION = "a duration such as 30s, 1m30s or 500ms";

function readDuration<const S extends v.GenericSchema>(schema: S) {
  const takes = (value: unknown) => typeof value === "string" && parseDuration(value) !== undefined;
  return read(schema, takes, WANT_DURATION);
}

/** A duration in Go's notation, canonical after reading (`90s` is `1m30s`). */
export const durationText = readDuration(neverEmpty(canonical<string, string>(
  v.string(),
  (s) => {
    const nanoseconds = parseDuration(s);
    return nanoseconds === undefined ? undefined : formatDuration(nanoseconds);
  },
  WANT_DURATION,
)));
/**
 * As durationText, but not negative and no unit below ms (the pattern of FelixConfiguration, which what is
 * stored of it meets). One that
 * somebody stored otherwise is read as it stands there.
 */
export const plainDurationText = plainDuration(WANT_DURATION);
/**
 * As plainDurationText, and without a fraction as it is stored: most patterns of FelixConfiguration have
 * one backslash too many before the point, so that Calico refuses 1.5s (and 1500ms, which it writes so).
 */
export const wholeDurationText = plainDuration(
  `${WANT_DURATION}, without a fraction (1.5s, or 1500ms, which is stored so)`,
  /^([0-9]+(ms|s|m|h))+$/,
);

/** `stored`: the pattern of what is stored of it, which is canonical. */
function plainDuration(want: string, stored = /^([0-9]+(\.[0-9]+)?(ms|s|m|h))+$/) {
  const plain = /^\+?((([0-9]+\.?[0-9]*|\.[0-9]+)(ms|s|m|h))+|0)$/;
  return v.pipe(
    readDuration(neverEmpty(v.string())),
    v.check((s) => {
      const nanoseconds = parseDuration(s);
      return nanoseconds !== undefined && plain.test(s) && stored.test(formatDuration(nanoseconds));
    }, want),
    v.transform((s) => formatDuration(parseDuration(s)!)),
  );
}
