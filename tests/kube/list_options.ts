/**
 * The query of a list or a watch, and which of its combinations are allowed ("The resourceVersion
 * parameter" and "Semantics for list/watch" of the API concepts). Meaning of a list's resourceVersion:
 *
 *     match           unset                      "0"      other
 *     unset           most recent                any      not older (with limit: exact)
 *     NotOlderThan    not allowed                any      not older
 *     Exact           not allowed                not allowed  exact
 */
import { badRequest, type FieldError, forbiddenField, invalid, notSupported } from "./status.ts";

export interface ListOptions {
  labelSelector: string | null;
  fieldSelector: string | null;
  /** 0: all. */
  limit: number;
  continue: string;
  /** Undefined: unset. */
  resourceVersion?: number;
  match: "" | "Exact" | "NotOlderThan";
  watch: boolean;
  allowWatchBookmarks: boolean;
  sendInitialEvents?: boolean;
  timeoutSeconds?: number;
}

const isTrue = (text: string | null) => text === "true" || text === "1" || text === "";

function number(query: URLSearchParams, field: string): number | undefined {
  const text = query.get(field);
  if (text === null || text === "") return undefined;
  if (!/^-?\d+$/.test(text)) {
    throw badRequest(
      `unable to parse ${field}: strconv.ParseInt: parsing "${text}": invalid syntax`,
    );
  }
  return Number(text);
}

export function parseRevision(text: string | null): number | undefined {
  if (text === null || text === "") return undefined;
  if (!/^\d+$/.test(text)) {
    throw badRequest(
      `Invalid value: "${text}": strconv.ParseUint: parsing "${text}": invalid syntax`,
    );
  }
  return Number(text);
}

/** Throws 400 and 422. */
export function listOptions(query: URLSearchParams): ListOptions {
  const initial = query.get("sendInitialEvents");
  const options: ListOptions = {
    labelSelector: query.get("labelSelector"),
    fieldSelector: query.get("fieldSelector"),
    limit: Math.max(0, number(query, "limit") ?? 0),
    continue: query.get("continue") ?? "",
    resourceVersion: parseRevision(query.get("resourceVersion")),
    match: (query.get("resourceVersionMatch") ?? "") as ListOptions["match"],
    watch: query.has("watch") && isTrue(query.get("watch")),
    allowWatchBookmarks: query.has("allowWatchBookmarks") &&
      isTrue(query.get("allowWatchBookmarks")),
    sendInitialEvents: initial === null ? undefined : isTrue(initial),
    timeoutSeconds: number(query, "timeoutSeconds"),
  };
  const faults = optionFaults(options);
  if (faults.length > 0) throw invalid("meta.k8s.io", "ListOptions", "", faults);
  return options;
}

function optionFaults(options: ListOptions): FieldError[] {
  const { match, resourceVersion, watch, sendInitialEvents } = options;
  const faults: FieldError[] = [];
  const say = (field: string, detail: string) => faults.push(forbiddenField(field, detail));
  const MATCH = "resourceVersionMatch";
  if (sendInitialEvents !== undefined) {
    if (!watch) say("sendInitialEvents", "sendInitialEvents is forbidden for list");
    else if (match !== "NotOlderThan") {
      say(MATCH, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    }
    return faults;
  }
  if (match === "") return faults;
  if (watch) {
    say(MATCH, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided");
  }
  if (resourceVersion === undefined) {
    say(MATCH, "resourceVersionMatch is forbidden unless resourceVersion is provided");
  }
  if (options.continue !== "") {
    say(MATCH, "resourceVersionMatch is forbidden when continue is provided");
  }
  if (match !== "Exact" && match !== "NotOlderThan") {
    faults.push(notSupported(MATCH, match, ["Exact", "NotOlderThan"]));
  }
  if (match === "Exact" && resourceVersion === 0) {
    say(MATCH, `resourceVersionMatch "Exact" is forbidden for resourceVersion "0"`);
  }
  return faults;
}

/** Where a list goes on: the state's revision (-1: the latest) and the first key. */
export interface ContinueToken {
  revision: number;
  start: string;
}

export function encodeContinue({ revision, start }: ContinueToken): string {
  const text = JSON.stringify({ v: "meta.k8s.io/v1", rv: revision, start });
  return btoa(String.fromCharCode(...new TextEncoder().encode(text))).replaceAll("=", "");
}

export function decodeContinue(text: string): ContinueToken {
  try {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const { v, rv, start } = JSON.parse(new TextDecoder().decode(bytes));
    if (v !== "meta.k8s.io/v1" || !Number.isInteger(rv) || typeof start !== "string") throw 0;
    return { revision: rv, start };
  } catch {
    throw badRequest("continue key is not valid: the token was not made by this server");
  }
}
