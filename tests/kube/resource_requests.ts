/**
 * Requests for resources: from verb, path, query and body to the change or the answer. Authorization is
 * done; what is asked of the store happens without waiting.
 */
import { isMap, type KubeObject, timestamp } from "./object.ts";
import type { Cluster } from "./cluster.ts";
import { create } from "./create.ts";
import { decodeObject } from "./decode.ts";
import { list, select } from "./list.ts";
import { listOptions } from "./list_options.ts";
import { deleteOptions, removalAnswer, remove } from "./remove.ts";
import { render, renderItem } from "./render.ts";
import { apiVersionOf, type ResourceKind } from "./resource_kind.ts";
import type { Written } from "./settle.ts";
import { jsonBody, patch, put, type ResourceCall, writeOptions } from "./write_requests.ts";
import {
  conflict,
  invalid,
  methodNotAllowed,
  noSuchResource,
  notFound,
  required,
} from "./status.ts";

export interface ResourceAnswer {
  code: number;
  text: string;
  warnings: string[];
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

function mustGet(cluster: Cluster, { kind, path, query }: ResourceCall): KubeObject {
  const any = query.get("resourceVersion") === "0" ? cluster.anyRevision : undefined;
  const object = cluster.get(kind, path.namespace, path.name, any);
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
  const { dryRun } = writeOptions(call);
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
  const bound = {
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
  };
  if (!dryRun) cluster.store(kind, bound);
  return {
    code: 201,
    text: '{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}',
    warnings: [],
  };
}
