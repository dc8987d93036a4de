/**
 * PUT and PATCH: from the request's body, by its media type, to the change of an object. Server-side
 * apply makes the object where there is none.
 */
import { parse as parseYaml } from "yaml";
import { copy, isMap, type KubeObject, timestamp } from "./object.ts";
import { applied } from "./apply.ts";
import type { Cluster } from "./cluster.ts";
import { create } from "./create.ts";
import { isDryRun } from "./dry_run.ts";
import { decodeObject, parseJson } from "./decode.ts";
import { jsonPatch, mergePatch } from "./json_patches.ts";
import type { ResourcePath } from "./request_info.ts";
import type { ResourceKind } from "./resource_kind.ts";
import type { WriteOptions, Written } from "./settle.ts";
import { strategicMerge } from "./strategic_merge.ts";
import { update, wrongUid } from "./update.ts";
import {
  badRequest,
  conflict,
  invalid,
  notFound,
  notSupported,
  required,
  unsupportedMediaType,
} from "./status.ts";

export interface ResourceCall {
  kind: ResourceKind;
  path: ResourcePath;
  method: string;
  query: URLSearchParams;
  /** Without parameters; "" where there is none. */
  contentType: string;
  body: string;
  userAgent: string;
}

const JSON_TYPE = "application/json";
const PATCHES = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
};

export function writeOptions(call: ResourceCall): WriteOptions {
  const { query } = call;
  const validation = query.get("fieldValidation") ?? "Warn";
  const options = call.method === "POST" ? "CreateOptions" : "UpdateOptions";
  const dryRun = isDryRun(query.getAll("dryRun"), options);
  if (!["Ignore", "Warn", "Strict"].includes(validation)) {
    throw invalid("meta.k8s.io", options, "", [
      notSupported("fieldValidation", validation, ["Ignore", "Strict", "Warn"]),
    ]);
  }
  return {
    dryRun,
    // "the field manager defaults to the first part of the user agent"
    manager: query.get("fieldManager") || call.userAgent.split("/")[0].slice(0, 128) || "unknown",
    fieldValidation: validation as WriteOptions["fieldValidation"],
    subresource: call.path.subresource === "status" ? "status" : undefined,
  };
}

export function jsonBody(call: ResourceCall): unknown {
  if (call.contentType !== "" && call.contentType !== JSON_TYPE) {
    throw unsupportedMediaType([JSON_TYPE]);
  }
  if (call.body === "") throw badRequest("the body of the request is empty");
  return parseJson(call.body);
}

export function put(cluster: Cluster, call: ResourceCall): Written {
  const { kind, path } = call;
  const options = writeOptions(call);
  const object = decodeObject(jsonBody(call), kind);
  const there = cluster.get(kind, path.namespace, path.name);
  const { uid } = object.metadata;
  if (!there && uid !== undefined && kind.createOnUpdate) {
    throw wrongUid(kind, path.namespace, path.name, uid);
  }
  if (!there && kind.createOnUpdate && path.subresource === "") {
    if (object.metadata.name === "") object.metadata.name = path.name;
    delete object.metadata.resourceVersion;
    return create(cluster, kind, path.namespace, object, options);
  }
  return update(
    cluster,
    kind,
    path.namespace,
    path.name,
    { change: () => object, replaces: true },
    options,
  );
}

export function patch(cluster: Cluster, call: ResourceCall): Written {
  const { kind, path, contentType, query } = call;
  const accepted = kind.custom
    ? [PATCHES.json, PATCHES.merge, PATCHES.apply]
    : Object.values(PATCHES);
  if (!accepted.includes(contentType)) throw unsupportedMediaType(accepted);
  if (contentType === PATCHES.apply) return apply(cluster, call);
  if (query.has("force")) {
    throw invalid("meta.k8s.io", "PatchOptions", "", [{
      reason: "FieldValueForbidden",
      field: "force",
      message: "Forbidden: may not be specified for non-apply patch",
    }]);
  }
  const body = parseJson(call.body);
  const change = (current: KubeObject): KubeObject => {
    const changed = contentType === PATCHES.json
      ? jsonPatch(current, body)
      : contentType === PATCHES.merge
      ? mergePatch(current, mapBody(body))
      : strategicMerge(current, body, kind.kind);
    return decodeObject(changed, kind);
  };
  return update(
    cluster,
    kind,
    path.namespace,
    path.name,
    { change, replaces: false },
    writeOptions(call),
  );
}

function mapBody(body: unknown): unknown {
  if (!isMap(body)) throw badRequest("a merge patch of an object is an object");
  return body;
}

function apply(cluster: Cluster, call: ResourceCall): Written {
  const { kind, path, query } = call;
  const options = writeOptions(call);
  if (!query.get("fieldManager")) {
    throw invalid("meta.k8s.io", "PatchOptions", "", [
      required("fieldManager", "is required for apply patch"),
    ]);
  }
  let body: unknown;
  try {
    body = parseYaml(call.body);
  } catch (error) {
    throw badRequest(`error decoding YAML: ${(error as Error).message}`);
  }
  if (isMap(body) && (body.apiVersion === undefined || body.kind === undefined)) {
    throw badRequest("apiVersion and kind are required in an apply configuration");
  }
  const wanted = decodeObject(body, kind);
  if (wanted.metadata.managedFields?.length) {
    throw badRequest("metadata.managedFields must be nil");
  }
  if (wanted.metadata.name === "") wanted.metadata.name = path.name;
  const writer = {
    manager: options.manager,
    operation: "Apply" as const,
    subresource: options.subresource,
    time: timestamp(cluster.now()),
  };
  const force = query.get("force") === "true";
  const make = (live?: KubeObject) => applied(kind, copy(wanted), live, writer, force);
  if (!cluster.get(kind, path.namespace, path.name)) {
    if (path.subresource !== "") throw notFound(kind, path.name);
    const { uid } = wanted.metadata;
    if (uid !== undefined) {
      throw conflict(
        kind,
        path.name,
        `uid mismatch: the provided object specified uid ${uid}, and no existing object was found`,
      );
    }
    if (wanted.metadata.name !== path.name) {
      throw badRequest(
        `the name of the object (${wanted.metadata.name}) does not match the name on the URL ` +
          `(${path.name})`,
      );
    }
    return create(cluster, kind, path.namespace, make(), options);
  }
  return update(
    cluster,
    kind,
    path.namespace,
    path.name,
    { change: make, replaces: false },
    { ...options, applies: true },
  );
}
