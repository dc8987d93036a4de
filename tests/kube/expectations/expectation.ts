/**
 * One expectation of a Kubernetes API: what the documentation says, and a check of it over the wire
 * alone, so that the server of the tests and a real kube-apiserver are held to the same. Each check has a
 * namespace of its own and two resources of custom definitions of its own: `widgets` (in a namespace,
 * with a schema and a status) and `gadgets` (of the cluster, with a free spec).
 */
import assert from "node:assert/strict";
import type { Client, Outcome, WatchStream } from "../client.ts";

export interface Expectation {
  /** A sentence. */
  name: string;
  /** The document and its section. */
  from: string;
  check(w: World): Promise<void>;
}

export const CONCEPTS = "Kubernetes API Concepts";
export const CONVENTIONS = "API Conventions";
export const CUSTOM = "Extend the Kubernetes API with CustomResourceDefinitions";
export const NAMES = "Object Names and IDs";
export const SELECTORS = "Labels and Selectors";
export const APPLY = "Server-Side Apply";

export const MERGE = { "content-type": "application/merge-patch+json" };
export const JSON_PATCH = { "content-type": "application/json-patch+json" };
export const STRATEGIC = { "content-type": "application/strategic-merge-patch+json" };
export const APPLY_PATCH = { "content-type": "application/apply-patch+yaml" };

export const WIDGET_SPEC = {
  type: "object",
  required: ["colour"],
  properties: {
    colour: { type: "string", enum: ["red", "green"] },
    size: { type: "integer", minimum: 1, maximum: 10, default: 3 },
    code: { type: "string", pattern: "^[a-z]+$", maxLength: 5 },
    port: { "x-kubernetes-int-or-string": true },
    open: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
    tags: { type: "array", maxItems: 3, items: { type: "string" } },
    nested: {
      type: "object",
      properties: { a: { type: "string" }, b: { type: "boolean", default: true } },
    },
    maybe: { type: "string", nullable: true },
    count: { type: "integer", format: "int64" },
    weights: { type: "object", additionalProperties: { type: "integer" } },
  },
};

/** A definition in the group of this run. */
export function definition(
  group: string,
  plural: string,
  kind: string,
  namespaced: boolean,
  schema: object,
  subresources?: object,
) {
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${group}` },
    spec: {
      group,
      scope: namespaced ? "Namespaced" : "Cluster",
      names: { plural, kind, singular: kind.toLowerCase() },
      versions: [{
        name: "v1",
        served: true,
        storage: true,
        schema: { openAPIV3Schema: schema },
        ...(subresources ? { subresources } : {}),
      }],
    },
  };
}

export const definitions = (group: string) => [
  definition(group, "widgets", "Widget", true, {
    type: "object",
    properties: {
      spec: WIDGET_SPEC,
      status: { type: "object", properties: { phase: { type: "string" } } },
    },
  }, { status: {} }),
  definition(group, "gadgets", "Gadget", false, {
    type: "object",
    properties: {
      spec: { type: "object", "x-kubernetes-preserve-unknown-fields": true },
    },
  }),
];

export class World {
  constructor(
    readonly api: Client,
    /** Of the custom definitions. */
    readonly group: string,
    readonly namespace: string,
  ) {}

  /** A path of a core resource in the namespace. */
  core(plural: string, name = ""): string {
    return `/api/v1/namespaces/${this.namespace}/${plural}${name && `/${name}`}`;
  }

  configMaps(name = ""): string {
    return this.core("configmaps", name);
  }

  pods(name = ""): string {
    return this.core("pods", name);
  }

  widgets(name = ""): string {
    return `/apis/${this.group}/v1/namespaces/${this.namespace}/widgets${name && `/${name}`}`;
  }

  gadgets(name = ""): string {
    return `/apis/${this.group}/v1/gadgets${name && `/${name}`}`;
  }

  configMap(name: string, data: Record<string, string> = {}, metadata: object = {}) {
    return { apiVersion: "v1", kind: "ConfigMap", metadata: { name, ...metadata }, data };
  }

  pod(name: string, spec: object = {}, metadata: object = {}) {
    return {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { name, ...metadata },
      // No scheduler of a real cluster takes it.
      spec: {
        schedulerName: "nobody",
        containers: [{ name: "c", image: "example.invalid/none" }],
        ...spec,
      },
    };
  }

  widget(name: string, spec: object = {}, metadata: object = {}) {
    return {
      apiVersion: `${this.group}/v1`,
      kind: "Widget",
      metadata: { name, ...metadata },
      spec: { colour: "red", ...spec },
    };
  }

  gadget(name: string, spec: object = {}) {
    return { apiVersion: `${this.group}/v1`, kind: "Gadget", metadata: { name }, spec };
  }

  /** The body of an answer with this status code. */
  async do(
    code: number,
    method: string,
    path: string,
    body?: unknown,
    headers?: HeadersInit,
  ): Promise<any> {
    const outcome = await this.api.call(method, path, body, headers);
    assert.equal(outcome.status, code, `${method} ${path}: ${JSON.stringify(outcome.body)}`);
    return outcome.body;
  }

  /** A Status of this code and reason. */
  async refused(
    code: number,
    reason: string,
    method: string,
    path: string,
    body?: unknown,
    headers?: HeadersInit,
  ): Promise<any> {
    const status = await this.do(code, method, path, body, headers);
    assert.equal(status.kind, "Status");
    assert.equal(status.status, "Failure");
    assert.equal(status.code, code);
    assert.equal(status.reason, reason, status.message);
    return status;
  }

  /** 422 whose causes name these fields. */
  async invalid(fields: string[], method: string, path: string, body?: unknown): Promise<any> {
    const status = await this.refused(422, "Invalid", method, path, body);
    const named = (status.details.causes ?? []).map((cause: any) => cause.field);
    for (const field of fields) assert.ok(named.includes(field), `${field} in ${named}`);
    return status;
  }

  call(method: string, path: string, body?: unknown, headers?: HeadersInit): Promise<Outcome> {
    return this.api.call(method, path, body, headers);
  }

  watch(path: string): Promise<WatchStream> {
    return this.api.watch(path);
  }
}

/** Waits until something is so. */
export async function eventually(
  what: string,
  test: () => Promise<boolean>,
  timeout = 60_000,
): Promise<void> {
  const end = performance.now() + timeout;
  while (!await test()) {
    if (performance.now() > end) assert.fail(`it never came to be that ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Names of the objects in a list. */
export const names = (list: any): string[] =>
  list.items.map((item: any) => item.metadata.name).sort();
