/**
 * What the API server refuses, and how it is told to our callers: each cause once, with the object and
 * the remedy.
 *
 *     401  denied        the token or certificate is not accepted: expired, of another cluster
 *     403  denied        who may not do what: the Role that is missing
 *     404  notFound      (a read: undefined); a kind that is not served: its CRD is missing
 *     409  exists, conflict
 *     410  compacted     also a resourceVersion that lies in the future: the cluster was restored
 *     400, 405, 413, 415, 422  invalid: a write. We ask for nothing that could not be read: where a
 *                    read is answered so, something between us is not in order; unavailable
 *     429, 5xx       unavailable
 */

import { plainWords } from "../http_client.ts";
import { StoreError } from "../store.ts";

/** The Status object of an answer that is no success. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    /** Kubernetes' word: AlreadyExists, Conflict, Forbidden, Expired, …; "" where there is none. */
    readonly reason: string,
    message: string,
    /** What was asked, for messages: `get ippools "a"`. */
    readonly request: Request,
    readonly retryAfterMs?: number,
  ) {
    super(message);
  }

  /** The server does not know the path: the kind is not served. */
  get isUnserved(): boolean {
    return this.status === 404 && this.reason !== "NotFound" ||
      this.status === 404 && /could not find the requested resource/.test(this.message);
  }

  /** Asked again, a read may succeed. */
  get isPassing(): boolean {
    const { status } = this;
    return status !== 401 && status !== 403 && status !== 404 && status !== 410 && !this.isFuture;
  }

  get isFuture(): boolean {
    return this.status === 504 && /Too large resource version/i.test(this.message);
  }
}

/** A request, as people speak of it. */
export interface Request {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly namespace?: string;
  readonly name?: string;
}

/** The server was not reached, or did not answer in time. */
export class Unreachable extends Error {
  override readonly name = "Unreachable";
  constructor(
    message: string,
    /** False: surely nothing was carried out. */ readonly sent: boolean,
    /** For how long nothing had been heard of it by then. */
    readonly awayMs = 0,
  ) {
    super(message);
  }

  /** The write that may have been carried out, in words; undefined of a read, and of one that was not. */
  doubt?: string;
}

/**
 * The server was lost: not reached, or away behind what answers in its place, or its etcd was away
 * behind it. (One that asks us to come more slowly is there.)
 */
export function isLoss(error: unknown): error is Unreachable | ApiError {
  return error instanceof Unreachable ||
    (error instanceof ApiError && error.status >= 500 && !error.isFuture);
}

export function objectOf({ group, resource, namespace, name }: Request): string {
  const kind = group === "" ? resource : `${resource}.${group}`;
  return `${kind}${name ? ` "${name}"` : ""}${namespace ? ` in namespace "${namespace}"` : ""}`;
}

const READS: ReadonlySet<string> = new Set(["get", "list", "watch", "discover"]);

/** The StoreError for what an operation met; other errors (bugs) as they are. */
export function storeError(error: unknown, server: string, key?: string): unknown {
  if (error instanceof Unreachable) {
    return new StoreError(
      "unavailable",
      `${inDoubt(error.doubt)}the Kubernetes API ${server}: ${error.message}`,
      key,
    );
  }
  if (!(error instanceof ApiError)) return error;
  const { status, request, message } = error;
  const what = `${request.verb} ${objectOf(request)}`;
  if (status === 401) {
    return new StoreError(
      "denied",
      `the Kubernetes API ${server} does not accept our credentials (${what}): the token or ` +
        "certificate has expired or is another cluster's; get a new one",
      key,
    );
  }
  if (status === 403) {
    return new StoreError(
      "denied",
      `the Kubernetes API ${server} forbids us to ${what}: ${message}; give the account a ` +
        `ClusterRole with the verb "${request.verb}" on "${request.resource}"${
          request.group === "" ? "" : ` of "${request.group}"`
        }`,
      key,
    );
  }
  if (error.isUnserved) {
    const { resource, group } = request;
    return new StoreError(
      "invalid",
      `the Kubernetes API ${server} does not serve ${resource}${group && `.${group}`}: its ` +
        "CustomResourceDefinition is missing; install Calico's CRDs",
      key,
    );
  }
  if (status === 404) {
    // What is missing where something was to be made is not that, but its namespace: the server says so.
    const missing = request.verb === "create" ? message : `there is no ${objectOf(request)}`;
    return new StoreError("notFound", missing, key);
  }
  if (status === 409) {
    return error.reason === "AlreadyExists"
      ? new StoreError("exists", `${objectOf(request)} is there already`, key)
      : new StoreError("conflict", `${objectOf(request)} was changed by somebody else`, key);
  }
  if (status === 410 || error.isFuture) {
    return new StoreError(
      "compacted",
      `the Kubernetes API ${server} has no history of ${objectOf(request)} from there: ${message}`,
      key,
    );
  }
  if ([400, 405, 413, 415, 422].includes(status) && !READS.has(request.verb)) {
    return new StoreError(
      "invalid",
      `the Kubernetes API ${server} refuses to ${what}: ${message}`,
      key,
    );
  }
  // An etcd that did not answer in time behind it, a proxy before it: it may have been done.
  const doubt = status >= 500 && !READS.has(request.verb) ? what : undefined;
  return new StoreError(
    "unavailable",
    `${inDoubt(doubt)}the Kubernetes API ${server} failed to ${what}: ${status} ${message}`,
    key,
  );
}

/** As an etcd's failure says it. */
function inDoubt(what: string | undefined): string {
  return what === undefined ? "" : `the outcome of ${what} is unknown, read the object again: `;
}

/** What fetch says, in words with a remedy. `named`: somebody has named an authority. */
export function explainFetch(
  error: unknown,
  origin: string,
  named = true,
): Unreachable | StoreError {
  const text = error instanceof Error ? error.message : String(error);
  const certificate = /invalid peer certificate: ([^\n]*)/.exec(text)?.[1];
  if (certificate) {
    const why = /UnknownIssuer|BadSignature/.test(certificate)
      ? named
        ? "is not signed by the authority that we were given (certificate-authority)"
        : "is not signed by an authority of this machine's; name the cluster's own " +
          "(certificate-authority)"
      : /NotValidForName|not valid for name/i.test(certificate)
      ? "is for another name"
      : /expired/i.test(certificate)
      ? "has expired; renew it, or check the clocks"
      : /NotValidYet|not valid yet/i.test(certificate)
      ? "is not valid yet; check the clocks"
      : "is not accepted";
    return new StoreError(
      "denied",
      `the server's certificate ${why}, by ${origin}: ${certificate}`,
    );
  }
  if (/received fatal alert: (\w*Cert\w*|AccessDenied|UnknownCA|HandshakeFailure)/.test(text)) {
    return new StoreError(
      "denied",
      `the server refuses our client certificate, by ${origin}: ${text}`,
    );
  }
  const short = /client error \((\w+)\): (.*)$/s.exec(text);
  const reason = plainWords(short?.[2] ?? text).replace(/ \(os error \d+\)/, "").split("\n")[0];
  return new Unreachable(reason, short?.[1] !== "Connect");
}
