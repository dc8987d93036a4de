/**
 * Requests for resources: from verb, path, query and body to the change or the answer. Authorization is
 * done; what is asked of the store happens without waiting.
 */
import { parse as parseYaml } from "yaml";
import { copy, isMap, type KubeObject, timestamp } from "./object.ts";
import { applied } from "./apply.ts";
import type { Cluster } from "./cluster.ts";
import { decodeObject, parseJson } from "./decode.ts";
import { jsonPatch, mergePatch } from "./json_patches.ts";
import { list, select } from "./list.ts";
import { listOptions } from "./list_options.ts";
import { deleteOptions, removalAnswer, remove } from "./remove.ts";
import { render, renderItem } from "./render.ts";
import type { ResourcePath } from "./request_info.ts";
import { apiVersionOf, type ResourceKind } from "./resource_kind.ts";
import { strategicMerge } from "./strategic_merge.ts";
import { create, update, type WriteOptions, type Written, wrongUid } from "./write.ts";
import {
  badRequest,
  conflict,
  invalid,
  methodNotAllowed,
  noSuchResource,
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

export interface ResourceAnswer {
  code: number;
  text: string;
  warnings: string[];
}

const JSON_TYPE = "application/json";
const PATCHES = {
  json: "application/json-patch+json",
  merge: "application/merge-patch+json",
  strategic: "application/strategic-merge-patch+json",
  apply: "application/apply-patch+yaml",
};

function writeOptions(call: ResourceCall): WriteOptions {
  const { query } = call;
  const dryRun = query.getAll("dryRun");
  const validation = query.get("fieldValidation") ?? "Warn";
  const options = call.method === "POST" ? "CreateOptions" : "UpdateOptions";
  if (dryRun.some((x) => x !== "All")) {
    throw invalid("meta.k8s.io", options, "", [notSupported("dryRun", dryRun, ["All"])]);
  }
  if (!["Ignore", "Warn", "Strict"].includes(validation)) {
    throw invalid("meta.k8s.io", options, "", [
      notSupported("fieldValidation", validation, ["Ignore", "Strict", "Warn"]),
    ]);
  }
  return {
    dryRun: dryRun.length > 0,
    // "the field manager defaults to the first part of the user agent"
    manager: query.get("fieldManager") || call.userAgent.split("/")[0].slice(0, 128) || "unknown",
    fieldValidation: validation as WriteOptions["fieldValidation"],
    subresource: call.path.subresource === "status" ? "status" : undefined,
  };
}

function jsonBody(call: ResourceCall): unknown {
  if (call.contentType !== "" && call.contentType !== JSON_TYPE) {
    throw unsupportedMediaType([JSON_TYPE]);
  }
  if (call.body === "") throw badRequest("the body of the request is empty");
  return parseJson(call.body);
}

/** Throws ApiError. */
export function answerResource(cluster: Cluster, call: ResourceCall): ResourceAnswer {
  const { kind, path, method } = call;
  const named = path.name !== "";
  if (path.namespace !== "" && !kind.namespaced) throw noSuchResource();
  if (named && kind.namespaced && path.namespace === "") throw noSuchResource();
  if (path.subresource !== "") return answerSubresource(cluster, call);
  switch (method) {
    case "GET":
    case "HEAD":
      if (!named) return ok(list(cluster, kind, path.namespace, listOptions(call.query)));
      return ok(render(kind, mustGet(cluster, call)));
    case "POST":
      if (named || (kind.namespaced && path.namespace === "")) throw methodNotAllowed();
      return written(
        kind,
        create(
          cluster,
          kind,
          path.namespace,
          decodeObject(jsonBody(call), kind),
          writeOptions(call),
        ),
      );
    case "PUT":
      if (!named) throw methodNotAllowed();
      return written(kind, put(cluster, call));
    case "PATCH":
      if (!named) throw methodNotAllowed();
      return written(kind, patch(cluster, call));
    case "DELETE":
      return named ? removeOne(cluster, call) : removeMany(cluster, call);
    default:
      throw methodNotAllowed();
  }
}

const ok = (text: string): ResourceAnswer => ({ code: 200, text, warnings: [] });

const written = (kind: ResourceKind, { object, created, warnings }: Written): ResourceAnswer => ({
  code: created ? 201 : 200,
  text: render(kind, object),
  warnings,
});

function mustGet(cluster: Cluster, { kind, path }: ResourceCall): KubeObject {
  const object = cluster.get(kind, path.namespace, path.name);
  if (!object) throw notFound(kind, path.name);
  return object;
}

function answerSubresource(cluster: Cluster, call: ResourceCall): ResourceAnswer {
  const { kind, path, method } = call;
  if (path.subresource === "status" && kind.status) {
    if (method === "GET") return ok(render(kind, mustGet(cluster, call)));
    if (method === "PUT") return written(kind, put(cluster, call));
    if (method === "PATCH") return written(kind, patch(cluster, call));
    throw methodNotAllowed();
  }
  if (kind.group === "" && kind.plural === "pods" && path.subresource === "binding") {
    if (method !== "POST") throw methodNotAllowed();
    return bind(cluster, call);
  }
  if (kind.group === "" && kind.plural === "namespaces" && path.subresource === "finalize") {
    if (method !== "PUT") throw methodNotAllowed();
    return ok(render(kind, mustGet(cluster, call)));
  }
  throw noSuchResource();
}

function put(cluster: Cluster, call: ResourceCall): Written {
  const { kind, path } = call;
  const options = writeOptions(call);
  const object = decodeObject(jsonBody(call), kind);
  const there = cluster.get(kind, path.namespace, path.name);
  const { uid } = object.metadata;
  if (!there && uid !== undefined) throw wrongUid(kind, path.namespace, path.name, uid);
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

function patch(cluster: Cluster, call: ResourceCall): Written {
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

function bodyOfDelete(call: ResourceCall): unknown {
  return call.body === "" ? undefined : jsonBody(call);
}

function removeOne(cluster: Cluster, call: ResourceCall): ResourceAnswer {
  const { kind, path } = call;
  const options = deleteOptions(bodyOfDelete(call), call.query);
  const removed = remove(cluster, kind, path.namespace, path.name, options);
  const answer = removalAnswer(kind, removed);
  return ok(answer === removed.object ? render(kind, removed.object) : JSON.stringify(answer));
}

function removeMany(cluster: Cluster, call: ResourceCall): ResourceAnswer {
  const { kind, path, query } = call;
  const options = deleteOptions(bodyOfDelete(call), query);
  const all = select(cluster, kind, path.namespace, listOptions(query));
  const items: string[] = [];
  for (const { metadata } of all) {
    const { object } = remove(cluster, kind, metadata.namespace ?? "", metadata.name, options);
    items.push(renderItem(kind, object));
  }
  const metadata = JSON.stringify({ resourceVersion: String(cluster.revisions.revision) });
  return ok(
    `{"kind":"${kind.kind}List","apiVersion":"${apiVersionOf(kind)}","metadata":${metadata},` +
      `"items":[${items.join(",")}]}`,
  );
}

/** POST pods/<name>/binding: what a scheduler does. */
function bind(cluster: Cluster, call: ResourceCall): ResourceAnswer {
  const { kind, path } = call;
  const body = jsonBody(call);
  const node = isMap(body) && isMap(body.target) ? body.target.name : undefined;
  if (typeof node !== "string" || node === "") {
    throw invalid("", "Binding", path.name, [required("target.name")]);
  }
  const pod = mustGet(cluster, call);
  if (pod.spec.nodeName) {
    throw conflict(
      kind,
      path.name,
      `pod ${path.name} is already assigned to node "${pod.spec.nodeName}"`,
    );
  }
  cluster.store(kind, {
    ...pod,
    metadata: { ...pod.metadata },
    spec: { ...pod.spec, nodeName: node },
    status: {
      ...pod.status,
      conditions: [
        ...(pod.status?.conditions ?? []).filter((c: any) => c.type !== "PodScheduled"),
        {
          type: "PodScheduled",
          status: "True",
          lastProbeTime: null,
          lastTransitionTime: timestamp(cluster.now()),
        },
      ],
    },
  });
  return {
    code: 201,
    text: '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}',
    warnings: [],
  };
}
