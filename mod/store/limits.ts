/**
 * What a key and a value may be, the same for every local driver, so that an object that one of them
 * takes is not refused by the next. A key is well-formed Unicode whose UTF-8 form fits the 2048
 * bytes of a Deno KV key beside the table's name; keys are ordered by those bytes, as etcd and Deno
 * KV order them. A value is JSON of at most 1.5 MiB in UTF-8, which is what etcd takes by default
 * (`--max-request-bytes`).
 */

import { isTooDeep, printJson, TOO_DEEP } from "./json.ts";
import { MOST_TOGETHER, StoreError } from "./store.ts";

/** Longest key, in bytes of UTF-8 (a NUL counts twice, as Deno KV escapes it). */
export const MAX_KEY_BYTES = 2000;

/** Largest value, in bytes of its JSON in UTF-8. */
export const MAX_VALUE_BYTES = 1536 * 1024;

/** Bytes of the text in UTF-8, without encoding it. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    // A surrogate pair is two units and four bytes: two for each half.
    bytes += unit < 0x800 || (unit >= 0xd800 && unit < 0xe000) ? 1 : 2;
  }
  return bytes;
}

/** Throws StoreError "invalid" for a key that no driver can hold. */
export function checkKey(key: string): void {
  if (typeof key !== "string" || key === "") {
    throw new StoreError("invalid", "a datastore key must be a text that is not empty", key);
  }
  if (!key.isWellFormed()) {
    throw new StoreError(
      "invalid",
      `the datastore key ${JSON.stringify(key)} is not well-formed Unicode`,
      key,
    );
  }
  if (key.length * 3 <= MAX_KEY_BYTES && !key.includes("\0")) return;
  const bytes = utf8Length(key) + (key.split("\0").length - 1);
  if (bytes > MAX_KEY_BYTES) {
    throw new StoreError(
      "invalid",
      `the datastore key "${key.slice(0, 80)}…" has ${bytes} bytes; ` +
        `at most ${MAX_KEY_BYTES} can be stored: give the object a shorter name`,
      key,
    );
  }
}

/** The value as JSON text; StoreError "invalid" for what is not JSON or too large. */
export function encodeValue(key: string, value: unknown): string {
  let text: string;
  try {
    text = printJson(value);
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    throw new StoreError(
      "invalid",
      `the value of ${key} cannot be written as JSON: ${reason}`,
      key,
    );
  }
  checkText(key, text);
  return text;
}

/** Throws StoreError "invalid" where the JSON text is larger, or deeper, than a value may be. */
export function checkText(key: string, text: string): void {
  if (isTooDeep(text)) {
    throw new StoreError("invalid", `the value of ${key} cannot be stored: ${TOO_DEEP}`, key);
  }
  if (text.length * 3 <= MAX_VALUE_BYTES) return;
  const bytes = utf8Length(text);
  if (bytes > MAX_VALUE_BYTES) {
    throw new StoreError(
      "invalid",
      `the value of ${key} has ${bytes} bytes of JSON; at most ${MAX_VALUE_BYTES} can be stored: ` +
        `split the object`,
      key,
    );
  }
}

/** Throws StoreError "invalid" for keys that cannot be written together. */
export function mustBeJoint(keys: readonly string[]): void {
  if (keys.length > MOST_TOGETHER) {
    throw new StoreError(
      "invalid",
      `${keys.length} objects are too many to be written together: at most ${MOST_TOGETHER}`,
    );
  }
  const twice = keys.find((key, i) => keys.indexOf(key) !== i);
  if (twice !== undefined) {
    throw new StoreError("invalid", `${twice} is to be written twice in one step`, twice);
  }
}

/** Milliseconds of an option `ttlSeconds`, 0 for none; StoreError "invalid" for what is no time. */
export function ttlMs(key: string, ttlSeconds: number | undefined): number {
  if (ttlSeconds === undefined) return 0;
  if (typeof ttlSeconds !== "number" || !(ttlSeconds > 0) || !Number.isFinite(ttlSeconds)) {
    throw new StoreError(
      "invalid",
      `the time to live of ${key} must be a positive number of seconds, not ${ttlSeconds}`,
      key,
    );
  }
  return Math.max(1, Math.ceil(ttlSeconds * 1000));
}

/** Orders keys by their UTF-8 bytes: negative, zero or positive. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  // UTF-16 units and UTF-8 bytes order alike but for surrogate pairs against U+E000 to U+FFFF.
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i), y = b.charCodeAt(i);
    if (x === y) continue;
    if (x < 0xd800 || y < 0xd800) return x - y;
    return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** A UTF-16 unit of 0xd800 and more, moved so that surrogates come last. */
function rank(unit: number): number {
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
