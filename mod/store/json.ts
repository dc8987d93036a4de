/**
 * JSON text as Calico's Go programs write and read it; what every driver stores and every socket
 * carries. Four things differ from JSON.parse and JSON.stringify:
 *
 * - Integers beyond 2^53 stay exact, as bigint. An IPAM block's sequence numbers are nanoseconds since
 *   1970 that grow by one: read as doubles, neighbours become equal and a write back destroys them.
 * - Members whose names look like array indices are written in the order of their text ("1", "10",
 *   "2"), as Go sorts the keys of a map. JavaScript itself always keeps them in the order of numbers.
 * - `<`, `>`, `&`, U+2028 and U+2029 are written as escapes, as encoding/json does.
 * - An exponent has two digits: `1e-07`. (That is how Calico writes to its datastore; encoding/json, of
 *   `calicoctl get -o json`, and `formatJson` have `1e-7`.)
 *
 * So a value that Calico wrote, read and written again, is the same bytes.
 */
import type { Json } from "./store.ts";

/**
 * Levels that a value may have. What is nested deeper was written to do harm, and overflows the stack of
 * whoever walks through it: no object of Calico's or Kubernetes' has fifty.
 */
export const MAX_DEPTH = 1000;
export const TOO_DEEP = `it is nested deeper than ${MAX_DEPTH} levels`;

/**
 * Reads JSON text; integers that a double cannot hold become bigint. SyntaxError as JSON.parse, and for
 * what is nested too deep.
 */
export function parseJson(text: string): Json {
  if (isTooDeep(text)) throw new SyntaxError(TOO_DEEP);
  // Sixteen digits in a row are needed before a number can be unsafe.
  if (!/[0-9]{16}/.test(text)) return JSON.parse(text);
  // A text that begins as our marks do could be taken for one.
  if (text.includes(MARK_ESCAPED)) return parseWithReviver(text);
  const marked = markUnsafe(text);
  if (marked === text) return JSON.parse(text);
  try {
    return unmark(JSON.parse(marked));
  } catch {
    return JSON.parse(text); // which says where the fault is, in the text as it is
  }
}

/** Begins a text that stands for the integer that follows. */
const MARK = "\0", MARK_ESCAPED = "\\u0000";

/**
 * The same with each integer that a double cannot hold as a text with a mark. JSON.parse with a reviver
 * calls it for each member of an IPAM block, which costs eight times as much as all of this.
 */
function markUnsafe(text: string): string {
  const digits = /-?[0-9]{16,}/g, nameEnd = /[ \t\n\r]*:/y;
  let marked = "", done = 0;
  /** Up to here it is known what is within a text. */
  let seen = 0;
  for (let found = digits.exec(text); found; found = digits.exec(text)) {
    const { 0: number, index } = found;
    let within = false;
    for (let quote = text.indexOf('"', seen); quote >= 0 && quote < index;) {
      seen = endOfText(text, quote) + 1;
      within = seen > index;
      if (within) break;
      quote = text.indexOf('"', seen);
    }
    if (within) {
      digits.lastIndex = seen;
      continue;
    }
    const end = index + number.length;
    // Part of a fraction or an exponent, or what is no JSON: the parser's to judge.
    if (/[0-9.eE+-]/.test(text[index - 1] ?? "") || /[.eE]/.test(text[end] ?? "")) continue;
    nameEnd.lastIndex = end;
    if (nameEnd.test(text)) continue;
    if (/^-?0/.test(number) || Number.isSafeInteger(Number(number))) continue;
    marked += `${text.slice(done, index)}"${MARK_ESCAPED}${number}"`;
    done = end;
  }
  return done === 0 ? text : marked + text.slice(done);
}

function unmark(value: Json): Json {
  if (typeof value === "string") return value.startsWith(MARK) ? BigInt(value.slice(1)) : value;
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      if (typeof value[i] !== "number") value[i] = unmark(value[i]);
    }
    return value;
  }
  for (const key of Object.keys(value)) {
    const before = value[key], after = unmark(before);
    if (after !== before) value[key] = after;
  }
  return value;
}

function parseWithReviver(text: string): Json {
  return (JSON.parse as ParseWithSource)(text, (_key, value, context) => {
    if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
    return /^-?[0-9]+$/.test(context.source ?? "") ? BigInt(context.source!) : value;
  });
}

/** Whether JSON text is nested deeper than a value may be. */
export function isTooDeep(text: string): boolean {
  if (text.length <= 2 * MAX_DEPTH) return false;
  if (!hasMoreThan(text, "[", MAX_DEPTH / 2) && !hasMoreThan(text, "{", MAX_DEPTH / 2)) {
    return false;
  }
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text[i]) {
      case '"':
        i = endOfText(text, i);
        break;
      case "[":
      case "{":
        if (++depth > MAX_DEPTH) return true;
        break;
      case "]":
      case "}":
        depth--;
    }
  }
  return false;
}

function hasMoreThan(text: string, letter: string, count: number): boolean {
  for (let at = -1, found = 0; (at = text.indexOf(letter, at + 1)) >= 0;) {
    if (++found > count) return true;
  }
  return false;
}

/** Where the quote stands that ends the text which begins here. */
function endOfText(text: string, begin: number): number {
  for (let end = begin;;) {
    end = text.indexOf('"', end + 1);
    if (end < 0) return text.length;
    let escapes = 0;
    while (text[end - 1 - escapes] === "\\") escapes++;
    if (escapes % 2 === 0) return end;
  }
}

/**
 * Writes JSON text as Go's encoding/json; members that are undefined are left out. TypeError for what
 * is not JSON at all (undefined, a function), RangeError for what holds itself.
 */
export function printJson(value: unknown): string {
  const text = print(value);
  if (text === undefined) throw new TypeError(`it is ${typeof value}`);
  return withEscapes(text);
}

/** JSON text with the characters as escapes that Go writes so. */
export function withEscapes(text: string): string {
  return /[<>&\u2028\u2029]/.test(text)
    ? text.replace(
      /[<>&\u2028\u2029]/g,
      (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
    )
    : text;
}

/** JSON for people, indented; integers beyond 2^53 are exact here too. */
export function formatJson(value: unknown): string {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return JSON.stringify(value, (_key, v) => typeof v === "bigint" ? rawJSON(`${v}`) : v, 2);
}

type ParseWithSource = (
  text: string,
  reviver: (key: string, value: Json, context: { source?: string }) => Json,
) => Json;

/** How deep an integer beyond 2^53 is looked for. */
const DEPTH = 4;

/** `depth`: from here on, JSON.stringify is tried first, which is ten times as fast. */
function print(value: unknown, depth = DEPTH): string | undefined {
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "number") return JSON.stringify(value).replace(/e([+-])(\d)$/, "e$10$2");
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const plain = depth > 0 ? printPlain(value) : undefined;
  if (plain !== undefined) return plain;
  const inner = (v: unknown) => print(v, depth - 1);
  if (Array.isArray(value)) return `[${value.map((v) => inner(v) ?? "null").join()}]`;
  if ("toJSON" in value && typeof value.toJSON === "function") return inner(value.toJSON());
  const keys = Object.keys(value);
  // Index-like keys come first in Object.keys, so the first tells.
  if (keys.length > 1 && /^(0|[1-9][0-9]*)$/.test(keys[0])) keys.sort();
  const members: string[] = [];
  for (const key of keys) {
    const text = inner((value as Record<string, unknown>)[key]);
    if (text !== undefined) members.push(`${JSON.stringify(key)}:${text}`);
  }
  return `{${members.join()}}`;
}

/** Perhaps within a text: then it is written the long way for nothing. */
const SHORT_EXPONENT = /[0-9]e-[0-9][,}\]]/;

/** By JSON.stringify; undefined where it would not write what Go does. */
function printPlain(value: object): string | undefined {
  for (const member of Object.values(value)) if (typeof member === "bigint") return undefined;
  try {
    const text = JSON.stringify(value);
    return /"(?:0|[1-9][0-9]*)":/.test(text) || SHORT_EXPONENT.test(text) ? undefined : text;
  } catch {
    return undefined; // it holds a bigint, or itself
  }
}

/** Whether a JSON value has members; whoever wrote it may have written anything. */
export function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
