/**
 * Whether an answer is an etcd's. A 200 is no proof of that: proxies and other servers have pages of
 * their own, and an answer may be cut short. Looked at is what we read, not what we do not.
 */
import { isJsonObject } from "../json.ts";

type Fields = Record<string, any>;

/** What is wrong with the answer of a path of the gateway; undefined: nothing. */
export function strangeness(path: string, answer: unknown): string | undefined {
  if (!isJsonObject(answer)) return "no JSON object";
  const { header } = answer;
  if (!isJsonObject(header)) return "without a header";
  // What is zero is left out, and only an answer about users has no revision.
  const named = path.startsWith("/v3/auth/") || path.startsWith("/v3/lease/");
  if (!(named && header.revision === undefined) && !isNumber(header.revision)) {
    return "without a revision in its header";
  }
  switch (path) {
    case "/v3/kv/range":
      return rangeFault(answer);
    case "/v3/kv/txn":
      return listOf(
        answer.responses,
        (one) => one.response_range === undefined ? undefined : rangeFault(one.response_range),
      );
    case "/v3/lease/grant":
      return typeof answer.ID === "string" ? undefined : "without a lease";
    default:
      return undefined;
  }
}

/** The same of what a line of a watch holds as its result. */
export function watchStrangeness(result: unknown): string | undefined {
  if (!isJsonObject(result)) return "no JSON object";
  const { header, events, compact_revision } = result;
  if (header !== undefined && (!isJsonObject(header) || !isNumber(header.revision ?? "0"))) {
    return "with a header that is none";
  }
  if (compact_revision !== undefined && !isNumber(compact_revision)) {
    return "compacted at what is no revision";
  }
  return listOf(events, (event) => keyValueFault(event.kv));
}

function rangeFault(range: unknown): string | undefined {
  return isJsonObject(range) ? listOf(range.kvs, keyValueFault) : "a range that is no object";
}

function keyValueFault(kv: unknown): string | undefined {
  if (!isJsonObject(kv)) return "a key that is no object";
  const { key, value = "", mod_revision } = kv;
  if (!isBase64(key) || typeof value !== "string") return "a key or value that is not base64";
  return isNumber(mod_revision) ? undefined : "a key without its revision";
}

function listOf(list: unknown, fault: (item: Fields) => string | undefined): string | undefined {
  if (list === undefined) return undefined;
  if (!Array.isArray(list)) return "a list that is none";
  for (const item of list) {
    const found = isJsonObject(item) ? fault(item) : "an item that is no object";
    if (found) return found;
  }
  return undefined;
}

function isNumber(value: unknown): boolean {
  return typeof value === "string" && /^[0-9]{1,19}$/.test(value);
}

function isBase64(value: unknown): boolean {
  return typeof value === "string" && value.length % 4 === 0 &&
    /^[A-Za-z0-9+/]+={0,2}$/.test(value);
}
