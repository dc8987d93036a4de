/**
 * Answers of the API as values. A 200 is no proof that the API has answered: load balancers and proxies
 * give pages of their own, and an answer may be cut short. What is no JSON, or not of the shape that was
 * asked for, is `Unreachable`: a read is tried again, of a write nobody knows whether it was done.
 */
import { isJsonObject, parseJson } from "../json.ts";
import type { Fields, KubeEvent, KubeObject, KubeResource, Page } from "./api.ts";
import { statusError } from "./connection.ts";
import { objectOf, type Request, Unreachable } from "./failure.ts";

type As = Pick<KubeResource, "exact">;

export function readObject(text: string, as: As, request: Request): KubeObject {
  const value = parse(text, as, request);
  if (!isObject(value)) throw strange(request, text, "no object with a name");
  return value;
}

export function readList(text: string, as: As, request: Request): Page {
  const { items, metadata } = parse(text, as, request);
  // Go writes a list of nothing as null now and then.
  const list = items ?? [];
  if (!Array.isArray(list) || !list.every(isObject) || !isJsonObject(metadata)) {
    throw strange(request, text, "no list of objects");
  }
  const { resourceVersion, continue: more } = metadata as Fields;
  if (typeof resourceVersion !== "string" || resourceVersion === "") {
    throw strange(request, text, "a list that does not say of which revision it is");
  }
  return { items: list, resourceVersion, continue: typeof more === "string" ? more : "" };
}

/** What a deletion answers: a Status, or the object. */
export function readStatus(text: string, as: As, request: Request): Fields {
  return parse(text, as, request);
}

/** The names of an APIResourceList. */
export function readResources(text: string, as: As, request: Request): string[] {
  const { resources } = parse(text, as, request);
  if (!Array.isArray(resources)) throw strange(request, text, "no list of resources");
  return resources.map((one: Fields) => String(one?.name));
}

/** `group/version` of an APIGroupList. */
export function readGroups(text: string, as: As, request: Request): string[] {
  const { groups } = parse(text, as, request);
  if (!Array.isArray(groups)) throw strange(request, text, "no list of groups");
  return groups.flatMap((group: Fields) =>
    (Array.isArray(group?.versions) ? group.versions : [])
      .map((version: Fields) => String(version?.groupVersion))
  );
}

/** One line of a watch; an ERROR event is thrown. */
export function readEvent(line: string, as: As, request: Request): KubeEvent {
  const { type, object } = parse(line, as, request);
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      if (!isObject(object)) throw strange(request, line, "an event without an object");
      return { type, object };
    case "BOOKMARK":
      return { type, resourceVersion: String(object?.metadata?.resourceVersion ?? "") };
    case "ERROR":
      throw statusError(Number(object?.code) || 500, JSON.stringify(object), request);
    default:
      throw strange(request, line, "no event");
  }
}

function parse(text: string, { exact }: As, request: Request): Fields {
  let value: unknown;
  try {
    value = exact ? parseJson(text) : JSON.parse(text);
  } catch {
    throw strange(request, text, "no JSON");
  }
  if (!isJsonObject(value)) throw strange(request, text, "no object");
  return value as Fields;
}

function isObject(value: unknown): value is KubeObject {
  if (!isJsonObject(value)) return false;
  const { metadata } = value as Fields;
  return isJsonObject(metadata) && typeof (metadata as Fields).name === "string" &&
    ["string", "undefined"].includes(typeof (metadata as Fields).resourceVersion);
}

function strange({ verb, ...rest }: Request, text: string, what: string): Unreachable {
  const begin = text.slice(0, 40).replace(/\s+/g, " ").trim();
  const told = begin === "" ? "it is empty" : `it begins with ${JSON.stringify(begin)}`;
  return new Unreachable(
    `the answer to ${verb} ${objectOf({ verb, ...rest })} is ${what} (${told}); ` +
      "is something between us that answers in its place?",
    true,
  );
}
