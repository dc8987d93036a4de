/**
 * The calls of the Kubernetes API that the driver needs, on one connection: read, list by pages, write,
 * watch. What is answered is looked at before it is believed (`answer.ts`); an answer that cannot be
 * the API's (a proxy's page, a 404 for a kind that the API says it serves) is none. Reads are tried again while the server is away or asks for patience. A write is tried again
 * only where it surely was not carried out (not connected, 429); else its caller hears "unavailable"
 * and must look. Numbers beyond 2^53 stay exact where a resource says that it has such.
 */

import type { Clock } from "../clock.ts";
import { plainWords } from "../http_client.ts";
import { printJson } from "../json.ts";
import { StoreError } from "../store.ts";
import {
  readEvent,
  readGroups,
  readList,
  readObject,
  readResources,
  readStatus,
} from "./answer.ts";
import type { Call, Connection } from "./connection.ts";
import { ApiError, objectOf, Unreachable } from "./failure.ts";
import { Backoff } from "./pace.ts";

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
  /** Asks for the next page; "" where this is the last. */
  readonly continue: string;
}

export type KubeEvent =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: KubeObject }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

const PAGE = 500;

/** Where tortie, and Calico mostly, keeps Calico's resources; and the other group. */
export const CRD_GROUP = "crd.projectcalico.org";
const NATIVE = "projectcalico.org/v3";

export class KubernetesApi {
  /** `beside`: the API is asked for Kubernetes' own objects; Calico's are in another datastore. */
  constructor(readonly connection: Connection, readonly clock: Clock, readonly beside = false) {}

  get server(): string {
    return this.connection.server;
  }

  /** undefined where there is no such object, and where the kind is not served. */
  async get(resource: KubeResource, name: string, namespace?: string) {
    const call = this.#call("GET", resource, "get", { name, namespace });
    try {
      return await this.#retry(resource, call, true, readObject);
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
      const page = await this.#retry(resource, call, true, readList);
      yield page;
      token = page.continue;
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
    return this.#retry(resource, { ...call, request, body: printJson(body) }, false, readObject);
  }

  /** Writes the whole object at the resourceVersion in it. */
  replace(resource: KubeResource, body: KubeObject, subresource?: string): Promise<KubeObject> {
    const { namespace, name } = body.metadata;
    const call = this.#call("PUT", resource, "update", { namespace, name, subresource });
    return this.#retry(resource, { ...call, body: printJson(body) }, false, readObject);
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
    const body = printJson(patch);
    return this.#retry(resource, { ...call, body, contentType }, false, readObject);
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
    return await this.#retry(resource, { ...call, body }, false, readStatus);
  }

  /**
   * Whether the server has the resource, by its discovery documents, which all who log in may read. A
   * 404 for that of the group counts only where the list of all groups does not name it: it is the same
   * 404 that a proxy gives for everything while what is behind it is away.
   *
   * Of Calico's kinds, StoreError "invalid" where the server has them in the other of Calico's two groups
   * alone, which is when Calico takes that one (v3.32): a cluster that is full is not taken for empty.
   */
  async isServed(resource: KubeResource): Promise<boolean> {
    const { group, version, plural } = resource;
    const request = { verb: "discover", group, resource: plural };
    const read = async (path: string, as: typeof readResources | typeof readGroups) => {
      try {
        return await this.#retry(resource, { method: "GET", path, request }, true, as);
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return undefined;
        throw error;
      }
    };
    const own = root(resource);
    const resources = await read(own, readResources);
    if (resources) return resources.includes(plural);
    const groups = group === "" ? undefined : await read("/apis", readGroups);
    if (groups && !groups.includes(`${group}/${version}`)) {
      if (group === CRD_GROUP && !this.beside && groups.includes(NATIVE)) {
        throw new StoreError(
          "invalid",
          `the Kubernetes API ${this.server} has Calico's resources as native ${NATIVE} CRDs and not ` +
            `as ${CRD_GROUP}/v1, and tortie reads these alone; install Calico's v1 CRDs and move the ` +
            "resources to them, or keep this cluster with Calico",
        );
      }
      return false;
    }
    const strange = groups ? `${own}, which it names itself` : group === "" ? own : "/apis";
    throw new Unreachable(
      `it answers 404 for ${strange}; is something between us that answers in its place?`,
      true,
    );
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
    const { reader, pulse, alone } = await this.connection.stream({ ...call, signal })
      .catch(async (error) => {
        throw await this.#meant(resource, call, error);
      });
    let silent = false, deaf: Unreachable | undefined;
    const end = () => void reader.cancel().catch(() => {});
    const beat = pulse.join((error) => {
      deaf = error;
      end();
    }, alone);
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
          if (signal.aborted || silent || deaf) break;
          const why = plainWords((error as Error).message);
          throw new Unreachable(`the watch broke off: ${why}`, true);
        } finally {
          hush();
        }
        if (chunk.done || signal.aborted) break;
        beat.heard();
        for (const line of lines.push(chunk.value)) {
          yield readEvent(line, resource, call.request);
          if (signal.aborted) return;
        }
      }
    } finally {
      signal.removeEventListener("abort", end);
      end();
      beat.leave();
    }
    if (signal.aborted) return;
    if (deaf) throw deaf;
    if (!silent) return;
    throw new Unreachable(`the watch was silent for ${timing.silenceMs / 1000} s`, true);
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

  async #retry<T>(
    resource: KubeResource,
    call: Call,
    read: boolean,
    take: (text: string, resource: KubeResource, request: Call["request"]) => T,
  ): Promise<T> {
    const { connection, clock } = this;
    const until = clock.monotonicMs() + connection.timing.patienceMs;
    const backoff = new Backoff(clock);
    for (;;) {
      try {
        return take(await connection.text(call), resource, call.request);
      } catch (thrown) {
        const error = await this.#meant(resource, call, thrown);
        if (!read && error instanceof Unreachable && error.sent) {
          error.doubt = `${call.request.verb} ${objectOf(call.request)}`;
        }
        if (connection.closed || !mayRepeat(error, read)) throw error;
        const asked = error instanceof ApiError ? error.retryAfterMs ?? 0 : 0;
        if (clock.monotonicMs() + asked >= until) throw error;
        await backoff.pause(asked, undefined, connection.failingMs / 2);
      }
    }
  }

  /**
   * A 404 for a whole kind is believed where discovery says the same: taken for "no objects", it would
   * take policies out of the kernel. Else it is as if nobody had answered.
   */
  async #meant(resource: KubeResource, call: Call, error: unknown): Promise<unknown> {
    const { verb } = call.request;
    if (!(error instanceof ApiError) || error.status !== 404 || verb === "discover") return error;
    if (!error.isUnserved && verb !== "list" && verb !== "watch") return error;
    try {
      if (!await this.isServed(resource)) return error;
    } catch (failure) {
      return failure;
    }
    return new Unreachable(
      `it answers 404 to ${verb} ${objectOf(call.request)}, a kind that it says it serves`,
      true,
    );
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
