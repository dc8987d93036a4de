/**
 * The calls of the Kubernetes API that the driver needs, on one connection: read, list by pages, write,
 * watch. Reads are tried again while the server is away or asks for patience. A write is tried again
 * only where it surely was not carried out (not connected, 429); else its caller hears "unavailable"
 * and must look. Numbers beyond 2^53 stay exact where a resource says that it has such.
 */

import type { Clock } from "../clock.ts";
import { parseJson, printJson } from "../json.ts";
import type { Json } from "../store.ts";
import { type Call, type Connection, statusError } from "./connection.ts";
import { Backoff } from "./pace.ts";
import { ApiError, type Request, Unreachable } from "./failure.ts";

export type Fields = { [member: string]: any };

/** An object of the API; lists leave out apiVersion and kind of their items. */
export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: {
    name: string;
    namespace?: string;
    uid?: string;
    resourceVersion?: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    [member: string]: any;
  };
  [member: string]: any;
}

/** A kind of objects, as the API serves it. */
export interface KubeResource {
  /** "" for Kubernetes' core. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  /** Has integers beyond 2^53. */
  readonly exact?: boolean;
  /** Objects of a page; objects that are large need small pages. */
  readonly page?: number;
}

/** What to list or watch of a resource. */
export interface Narrowing {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
}

export interface Page {
  readonly items: KubeObject[];
  readonly resourceVersion: string;
}

export type KubeEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: KubeObject }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

const PAGE = 500;

export class KubernetesApi {
  constructor(readonly connection: Connection, readonly clock: Clock) {}

  get server(): string {
    return this.connection.server;
  }

  /** undefined where there is no such object, and where the kind is not served. */
  async get(resource: KubeResource, name: string, namespace?: string) {
    const call = this.#call("GET", resource, "get", { name, namespace });
    try {
      return await this.#object(resource, call, true);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  /**
   * All objects as of one moment: now, or the very one that is given (`resourceVersionMatch=Exact`).
   * Page by page, so that the event loop has its turn between. ApiError 410 where the moment has been
   * compacted away meanwhile: the caller begins anew.
   */
  async *pages(
    resource: KubeResource,
    narrowing: Narrowing = {},
    exactly?: string,
    limit = resource.page ?? PAGE,
  ): AsyncGenerator<Page> {
    let token = "";
    do {
      const query: Record<string, string | undefined> = {
        limit: String(limit),
        labelSelector: narrowing.labelSelector,
        fieldSelector: narrowing.fieldSelector,
        ...(token
          ? { continue: token }
          : exactly && { resourceVersion: exactly, resourceVersionMatch: "Exact" }),
      };
      const { namespace } = narrowing;
      const call = this.#call("GET", resource, "list", { namespace, query });
      const list = parse(resource, await this.#retry(call, true)) as Fields;
      const { metadata } = list;
      yield { items: list.items ?? [], resourceVersion: String(metadata?.resourceVersion ?? "") };
      token = metadata?.continue ?? "";
    } while (token !== "");
  }

  /** The counter of the store as of now, by the cheapest list that tells it. */
  async revision(resource: KubeResource, narrowing: Narrowing = {}): Promise<string> {
    for await (const page of this.pages(resource, narrowing, undefined, 1)) {
      return page.resourceVersion;
    }
    throw new TypeError("a list has at least one page");
  }

  create(resource: KubeResource, body: KubeObject): Promise<KubeObject> {
    const { namespace, name } = body.metadata;
    const call = this.#call("POST", resource, "create", { namespace });
    const request = { ...call.request, name };
    return this.#object(resource, { ...call, request, body: printJson(body) }, false);
  }

  /** Writes the whole object at the resourceVersion in it. */
  replace(resource: KubeResource, body: KubeObject, subresource?: string): Promise<KubeObject> {
    const { namespace, name } = body.metadata;
    const call = this.#call("PUT", resource, "update", { namespace, name, subresource });
    return this.#object(resource, { ...call, body: printJson(body) }, false);
  }

  /** RFC 7386; with metadata.resourceVersion in the patch it is a compare-and-swap. */
  patch(
    resource: KubeResource,
    name: string,
    namespace: string | undefined,
    patch: Fields,
    subresource?: string,
  ): Promise<KubeObject> {
    const call = this.#call("PATCH", resource, "patch", { namespace, name, subresource });
    const contentType = "application/merge-patch+json";
    return this.#object(resource, { ...call, body: printJson(patch), contentType }, false);
  }

  /** What the server says of the deletion: a Status, or the object. */
  async remove(
    resource: KubeResource,
    name: string,
    namespace: string | undefined,
    preconditions: { uid?: string; resourceVersion?: string },
  ): Promise<Fields> {
    const call = this.#call("DELETE", resource, "delete", { namespace, name });
    const body = printJson({ apiVersion: "v1", kind: "DeleteOptions", preconditions });
    return parse(resource, await this.#retry({ ...call, body }, false)) as Fields;
  }

  /** Whether the server has the resource: its discovery document, which all who log in may read. */
  async isServed(resource: KubeResource): Promise<boolean> {
    const call: Call = {
      method: "GET",
      path: root(resource),
      request: { verb: "discover", group: resource.group, resource: resource.plural },
    };
    try {
      const list = JSON.parse(await this.#retry(call, true));
      return (list.resources ?? []).some((one: Fields) => one.name === resource.plural);
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return false;
      throw error;
    }
  }

  /**
   * The events after a revision, until the server ends the stream. ApiError 410 where the history does
   * not reach back so far. Unreachable where the stream broke off, or was silent for too long.
   */
  async *watch(
    resource: KubeResource,
    narrowing: Narrowing,
    from: string,
    signal: AbortSignal,
  ): AsyncGenerator<KubeEvent> {
    const { timing } = this.connection;
    const { namespace, labelSelector, fieldSelector } = narrowing;
    const query = {
      watch: "1",
      allowWatchBookmarks: "true",
      resourceVersion: from,
      // Spread, so that the watches of a node do not all end at once.
      timeoutSeconds: String(Math.round(300 + Math.random() * 300)),
      labelSelector,
      fieldSelector,
    };
    const call = this.#call("GET", resource, "watch", { namespace, query });
    const reader = await this.connection.stream({ ...call, signal });
    let silent = false;
    const end = () => void reader.cancel().catch(() => {});
    signal.addEventListener("abort", end);
    const lines = new Lines();
    try {
      // It may have been called off in the very moment in which the stream began.
      if (signal.aborted) return;
      for (;;) {
        const hush = this.clock.after(timing.silenceMs, () => {
          silent = true;
          end();
        });
        let chunk;
        try {
          chunk = await reader.read();
        } catch (error) {
          if (signal.aborted || silent) break;
          throw new Unreachable(`the watch broke off: ${(error as Error).message}`, true);
        } finally {
          hush();
        }
        if (chunk.done || signal.aborted) break;
        for (const line of lines.push(chunk.value)) {
          yield readEvent(resource, line, call.request);
          if (signal.aborted) return;
        }
      }
    } finally {
      signal.removeEventListener("abort", end);
      end();
    }
  }

  #call(
    method: Call["method"],
    resource: KubeResource,
    verb: string,
    at: {
      namespace?: string;
      name?: string;
      subresource?: string;
      query?: Record<string, string | undefined>;
    },
  ): Call {
    const { namespace, name, subresource, query = {} } = at;
    const parts = [
      root(resource),
      ...(namespace ? ["namespaces", encodeURIComponent(namespace)] : []),
      resource.plural,
      ...(name !== undefined ? [encodeURIComponent(name)] : []),
      ...(subresource ? [subresource] : []),
    ];
    const search = new URLSearchParams();
    for (const [key, value] of Object.entries(query)) if (value) search.set(key, value);
    const request = {
      verb,
      group: resource.group,
      resource: subresource ? `${resource.plural}/${subresource}` : resource.plural,
      namespace,
      name,
    };
    return { method, path: parts.join("/") + (search.size > 0 ? `?${search}` : ""), request };
  }

  async #object(resource: KubeResource, call: Call, read: boolean): Promise<KubeObject> {
    return parse(resource, await this.#retry(call, read)) as unknown as KubeObject;
  }

  async #retry(call: Call, read: boolean): Promise<string> {
    const { connection, clock } = this;
    const until = clock.monotonicMs() + connection.timing.patienceMs;
    const backoff = new Backoff(clock);
    for (;;) {
      try {
        return await connection.text(call);
      } catch (error) {
        if (connection.closed || !mayRepeat(error, read)) throw error;
        const asked = error instanceof ApiError ? error.retryAfterMs ?? 0 : 0;
        if (clock.monotonicMs() + asked >= until) throw error;
        await backoff.pause(asked);
      }
    }
  }
}

function mayRepeat(error: unknown, read: boolean): boolean {
  if (error instanceof Unreachable) return read || !error.sent;
  if (!(error instanceof ApiError)) return false;
  if (error.status === 429) return true;
  return read && error.status >= 500 && !error.isFuture;
}

/** `/api/v1`, `/apis/crd.projectcalico.org/v1`. */
function root({ group, version }: KubeResource): string {
  return group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
}

function parse(resource: KubeResource, text: string): Json {
  return resource.exact ? parseJson(text) : JSON.parse(text);
}

function readEvent(resource: KubeResource, line: string, request: Request): KubeEvent {
  const { type, object } = parse(resource, line) as unknown as { type: string; object: Fields };
  switch (type) {
    case "ADDED":
    case "MODIFIED":
    case "DELETED":
      return { type, object: object as KubeObject };
    case "BOOKMARK":
      return { type, resourceVersion: String(object?.metadata?.resourceVersion ?? "") };
    default:
      throw statusError(Number(object?.code) || 500, JSON.stringify(object), request);
  }
}

/** Cuts a stream of bytes into lines; a line may be megabytes, in many pieces. */
export class Lines {
  readonly #decoder = new TextDecoder();
  #pieces: string[] = [];

  push(chunk: Uint8Array): string[] {
    const text = this.#decoder.decode(chunk, { stream: true });
    const lines: string[] = [];
    let start = 0;
    for (let at; (at = text.indexOf("\n", start)) >= 0; start = at + 1) {
      this.#pieces.push(text.slice(start, at));
      const line = this.#pieces.join("");
      this.#pieces = [];
      if (line.trim() !== "") lines.push(line);
    }
    if (start < text.length) this.#pieces.push(text.slice(start));
    return lines;
  }
}
