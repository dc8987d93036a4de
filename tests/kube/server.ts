/**
 * HTTP on one side, the cluster on the other: reads the request, lets a fault come first, asks who it is
 * and whether they may, and answers. Everything that goes wrong is a Status object; only what is a bug
 * here is a 500.
 */
import type { Authentication } from "./authentication.ts";
import { type Attributes, isAllowed, refusal } from "./access.ts";
import type { Cluster } from "./cluster.ts";
import { parseJson } from "./decode.ts";
import { apiGroup, apiGroups, apiResources, apiVersions, SERVER_VERSION } from "./discovery.ts";
import { type Call, type Fault, faultError, type Faults } from "./faults.ts";
import { listOptions, parseRevision } from "./list_options.ts";
import { openapiDocument, openapiRoot } from "./openapi.ts";
import { parsePath, type ResourcePath, verbOf } from "./request_info.ts";
import { answerResource } from "./resource_requests.ts";
import type { ResourceKind } from "./resource_kind.ts";
import { review, tokenRequest, VIRTUAL_KINDS } from "./reviews.ts";
import {
  ApiError,
  failure,
  futureRevision,
  internal,
  methodNotAllowed,
  noSuchResource,
  notAcceptable,
  tooLarge,
  unsupportedMediaType,
} from "./status.ts";
import type { User } from "./tokens.ts";
import { tooOld, Watch } from "./watch.ts";

export interface ServerOptions {
  /** Bytes of a body. */
  bodyLimit: number;
  /** Events that a watch may lag behind. */
  watchBuffer: number;
  /** Milliseconds that a read waits for a revision that is still to come. */
  patience: number;
  /** How a watch from a forgotten revision is refused: in the stream, or as the answer itself. */
  goneAs: "event" | "status";
}

/** One connection's facts. */
export interface Peer {
  /** Whom the client's certificate names. */
  user?: User | "unknown";
  drop(): void;
}

const HEADERS = {
  "content-type": "application/json",
  // No transformation: nothing compresses the answer.
  "cache-control": "no-cache, private, no-transform",
};

export class Server {
  readonly watches = new Set<Watch>();
  /** Requests since the start; for asserts. */
  readonly calls: Call[] = [];
  /** Ends of the pauses that requests make. */
  readonly #pauses = new Set<() => void>();
  #ended = false;

  constructor(
    readonly cluster: Cluster,
    readonly who: Authentication,
    readonly faults: Faults,
    readonly options: ServerOptions,
  ) {}

  /** Nobody waits for an answer any more. */
  end(): void {
    this.#ended = true;
    for (const end of this.#pauses) end();
  }

  #pause(milliseconds: number): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.#pauses.delete(end);
        resolve();
      };
      const timer = setTimeout(end, milliseconds);
      this.#pauses.add(end);
    });
  }

  async handle(request: Request, peer: Peer): Promise<Response> {
    try {
      return await this.#answer(request, peer);
    } catch (error) {
      return refuse(
        error instanceof ApiError ? error : internal(String((error as Error).stack ?? error)),
      );
    }
  }

  async #answer(request: Request, peer: Peer): Promise<Response> {
    const url = new URL(request.url);
    const target = parsePath(url.pathname);
    const call: Call = {
      method: request.method,
      path: url.pathname + url.search,
      verb: "",
      resource: "",
      namespace: "",
      name: "",
      user: "",
    };
    if (target.type === "resource") {
      const { plural, namespace, name } = target.path;
      const watch = /^(true|1)?$/.test(url.searchParams.get("watch") ?? "false");
      Object.assign(call, { resource: plural, namespace, name });
      call.verb = verbOf(request.method, name !== "", watch) ?? "";
    }
    this.calls.push(call);
    const body = await this.#body(request);
    const fault = this.faults.take(call);
    if (fault) await this.#suffer(fault, peer);
    if (fault?.text !== undefined) return new Response(fault.text, { status: fault.status });
    const user = this.who.identify(request.headers.get("authorization"), peer.user);
    call.user = user.name;
    const accept = request.headers.get("accept") ?? "*/*";
    if (!/(^|[\s,])(\*\/\*|application\/(\*|json))/.test(accept)) throw notAcceptable();
    const response = target.type === "resource"
      ? await this.#resource(request, url, target.path, call, user, body)
      : this.#other(target, user, url);
    if (fault?.drop === "answer") {
      peer.drop();
      await response.body?.cancel();
      return new Response(null, { status: 500 });
    }
    return response;
  }

  async #suffer(fault: Fault, peer: Peer): Promise<void> {
    if (fault.delay) await this.#pause(fault.delay);
    if (fault.drop === "request") {
      peer.drop();
      throw internal("the connection was dropped");
    }
    if (fault.status !== undefined && fault.text === undefined) throw faultError(fault);
  }

  async #body(request: Request): Promise<string> {
    if (request.body === null) return "";
    const { bodyLimit } = this.options;
    if (Number(request.headers.get("content-length") ?? 0) > bodyLimit) {
      await request.body.cancel();
      throw tooLarge(bodyLimit);
    }
    const bytes = new Uint8Array(await request.arrayBuffer());
    if (bytes.length > bodyLimit) throw tooLarge(bodyLimit);
    return new TextDecoder().decode(bytes);
  }

  #other(
    target: Exclude<ReturnType<typeof parsePath>, { type: "resource" }>,
    user: User,
    url: URL,
  ) {
    const open = ["/healthz", "/livez", "/readyz", "/version"];
    if (target.type === "other" && open.includes(target.path)) {
      return target.path === "/version" ? json(SERVER_VERSION) : new Response("ok");
    }
    if (!user.groups.includes("system:authenticated")) throw noPath(user, url.pathname);
    const kinds = this.cluster.kinds();
    switch (target.type) {
      case "versions":
        return json(apiVersions(url.host));
      case "groups":
        return json(apiGroups(kinds));
      case "group":
        return jsonOrMissing(apiGroup(target.group, kinds));
      case "resources":
        return jsonOrMissing(apiResources(target.group, target.version, kinds));
      case "other": {
        if (target.path === "/openapi/v3") return json(openapiRoot(kinds));
        const root = target.path.match(/^\/openapi\/v3\/(.+)$/)?.[1];
        return root === undefined ? missing() : jsonOrMissing(openapiDocument(root, kinds));
      }
    }
  }

  async #resource(
    request: Request,
    url: URL,
    path: ResourcePath,
    call: Call,
    user: User,
    body: string,
  ): Promise<Response> {
    const kind = this.cluster.kind(path.group, path.version, path.plural);
    const virtual = VIRTUAL_KINDS.find((v) =>
      v.group === path.group && v.version === path.version && v.plural === path.plural
    );
    const attributes: Attributes = {
      verb: call.verb,
      resource: kind ?? { group: path.group, plural: path.plural, kind: "" },
      subresource: path.subresource,
      // A namespace stands in itself.
      namespace: kind?.plural === "namespaces" && path.name ? path.name : path.namespace,
      name: path.name,
    };
    const self = virtual?.kind.startsWith("Self") && user.groups.includes("system:authenticated");
    if (!self && !isAllowed(user, attributes, this.who.grants)) throw refusal(user, attributes);
    if (virtual) {
      if (request.method !== "POST") throw methodNotAllowed();
      return json(review(virtual, mapOf(request, body), user, this.who), 201);
    }
    if (!kind) return this.#unserved(path);
    if (call.verb === "") throw methodNotAllowed();
    if (kind.plural === "serviceaccounts" && path.subresource === "token") {
      if (request.method !== "POST") throw methodNotAllowed();
      const answer = tokenRequest(this.who, path.namespace, path.name, mapOf(request, body));
      return json(answer, 201);
    }
    await this.#until(parseRevision(url.searchParams.get("resourceVersion")), call.verb);
    if (call.verb === "watch") return this.#watch(kind, path, url.searchParams);
    const answer = answerResource(this.cluster, {
      kind,
      path,
      method: request.method,
      query: url.searchParams,
      contentType: contentType(request),
      body,
      userAgent: request.headers.get("user-agent") ?? "",
    });
    const headers = new Headers(HEADERS);
    for (const w of answer.warnings) headers.append("warning", `299 - ${JSON.stringify(w)}`);
    return new Response(request.method === "HEAD" ? null : answer.text, {
      status: answer.code,
      headers,
    });
  }

  #unserved(path: ResourcePath): Response {
    const served = this.cluster.kinds().some((k) =>
      k.group === path.group && k.version === path.version
    );
    return served ? refuse(noSuchResource()) : missing();
  }

  /** A read "not older than" a revision that is not there yet waits a little for it. */
  async #until(revision: number | undefined, verb: string): Promise<void> {
    if (revision === undefined || !["get", "list"].includes(verb)) return;
    const end = performance.now() + this.options.patience;
    while (revision > this.cluster.revisions.revision) {
      if (performance.now() >= end || this.#ended) {
        throw futureRevision(revision, this.cluster.revisions.revision);
      }
      await this.#pause(10);
    }
  }

  #watch(kind: ResourceKind, path: ResourcePath, query: URLSearchParams): Response {
    const options = listOptions(query);
    const from = options.resourceVersion ?? 0;
    const { compacted } = this.cluster.revisions;
    if (this.options.goneAs === "status" && from > 0 && from < compacted) {
      throw tooOld(this.cluster, from);
    }
    const { namespace } = path;
    const watch = new Watch(this.cluster, {
      kind,
      namespace,
      options,
      buffer: this.options.watchBuffer,
    });
    this.watches.add(watch);
    watch.ended.then(() => this.watches.delete(watch));
    return new Response(watch.body, { headers: HEADERS });
  }
}

const contentType = (request: Request) =>
  (request.headers.get("content-type") ?? "").split(";")[0].trim().toLowerCase();

function mapOf(request: Request, body: string): unknown {
  if (!["", "application/json"].includes(contentType(request))) {
    throw unsupportedMediaType(["application/json"]);
  }
  return body === "" ? {} : parseJson(body);
}

const json = (value: unknown, status = 200) =>
  new Response(JSON.stringify(value), { status, headers: HEADERS });
const missing = () => new Response("404 page not found\n", { status: 404 });
const jsonOrMissing = (value: unknown) => value === undefined ? missing() : json(value);

const noPath = (user: User, path: string) =>
  failure(403, "Forbidden", `forbidden: User "${user.name}" cannot get path "${path}"`, {});

function refuse(error: ApiError): Response {
  const headers = new Headers(HEADERS);
  const after = error.status.details?.retryAfterSeconds;
  if (after !== undefined) headers.set("retry-after", String(after));
  return new Response(JSON.stringify(error.status), { status: error.code, headers });
}
