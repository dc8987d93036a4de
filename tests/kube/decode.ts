/**
 * From a request's body to an object: JSON, of the kind that the path names, with metadata of the right
 * types. What is wrong here is a 400 (the body cannot be read), what is wrong in the meaning of a field
 * is a 422 of later steps. As a typed server does, nulls are dropped from kinds of our own; custom
 * resources keep theirs for their schema to judge.
 */
import { fromJson, isMap, type KubeObject, type Metadata } from "./object.ts";
import { apiVersionOf, type ResourceKind } from "./resource_kind.ts";
import { badRequest } from "./status.ts";

type Type = "string" | "number" | "strings" | "map" | "objects";

const METADATA: Record<keyof Metadata, Type> = {
  name: "string",
  generateName: "string",
  namespace: "string",
  uid: "string",
  resourceVersion: "string",
  generation: "number",
  creationTimestamp: "string",
  deletionTimestamp: "string",
  deletionGracePeriodSeconds: "number",
  labels: "map",
  annotations: "map",
  finalizers: "strings",
  ownerReferences: "objects",
  managedFields: "objects",
};

const isText = (x: unknown) => typeof x === "string";

function hasType(value: unknown, type: Type): boolean {
  switch (type) {
    case "string":
      return isText(value);
    case "number":
      return typeof value === "number";
    case "strings":
      return Array.isArray(value) && value.every(isText);
    case "objects":
      return Array.isArray(value) && value.every(isMap);
    case "map":
      return isMap(value) && Object.values(value).every(isText);
  }
}

/** Metadata of a body; fields that no object has are dropped. Throws 400. */
function decodeMetadata(value: unknown): Metadata {
  if (value === undefined || value === null) return { name: "" };
  if (!isMap(value)) throw badRequest("json: cannot unmarshal metadata of type ObjectMeta");
  const metadata: Record<string, unknown> = { name: "" };
  for (const [field, type] of Object.entries(METADATA)) {
    const found = value[field];
    if (found === undefined || found === null) continue;
    if (!hasType(found, type)) {
      throw badRequest(
        `json: cannot unmarshal ${typeof found} into Go struct field ObjectMeta.metadata.${field}`,
      );
    }
    if ((type === "map" && Object.keys(found as object).length === 0) || found === "") continue;
    if ((type === "strings" || type === "objects") && (found as unknown[]).length === 0) {
      // An empty list of managed fields is a wish: forget them.
      if (field !== "managedFields") continue;
    }
    metadata[field] = found;
  }
  return metadata as unknown as Metadata;
}

function dropNulls(value: any): void {
  if (Array.isArray(value)) {
    for (const inner of value) dropNulls(inner);
  } else if (isMap(value)) {
    for (const key of Object.keys(value)) {
      if (value[key] === null) delete value[key];
      else dropNulls(value[key]);
    }
  }
}

export function parseJson(text: string): unknown {
  try {
    return fromJson(text);
  } catch (error) {
    throw badRequest(`error decoding from json: ${(error as Error).message}`);
  }
}

/** Checks kind and apiVersion and reads metadata. Throws 400. The result is the caller's. */
export function decodeObject(value: unknown, kind: ResourceKind): KubeObject {
  if (!isMap(value)) {
    throw badRequest("the object provided is unrecognized (must be a JSON object)");
  }
  const wanted = apiVersionOf(kind);
  if (kind.custom && typeof value.kind !== "string") {
    throw badRequest(`Object 'Kind' is missing in '${JSON.stringify(value).slice(0, 200)}'`);
  }
  if ((value.kind ?? kind.kind) !== kind.kind) {
    throw badRequest(
      `${value.kind} in version "${value.apiVersion ?? ""}" cannot be handled as a ${kind.kind}`,
    );
  }
  if ((value.apiVersion ?? wanted) !== wanted) {
    throw badRequest(
      `the API version in the data (${value.apiVersion}) does not match the expected API version ` +
        `(${wanted})`,
    );
  }
  if (!kind.custom) dropNulls(value);
  const { apiVersion: _a, kind: _k, metadata, ...rest } = value;
  return { apiVersion: wanted, kind: kind.kind, metadata: decodeMetadata(metadata), ...rest };
}
