/**
 * What can go wrong between us and an etcd, and what each means: who is to blame (this member, this
 * request, our credentials), whether a write may have been done nevertheless, and the words for people.
 *
 * gRPC codes are those of etcd's api/v3/v3rpc/rpctypes/error.go.
 */

import { plainWords } from "../http_client.ts";
import { StoreError } from "../store.ts";

export type FailureKind =
  /** This member cannot serve us now; another one may. */
  | "member"
  /** The certificates do not fit, of the one side or the other. */
  | "tls"
  /** The token is not valid any more: log in again. */
  | "token"
  /** It wants a user's name, and we gave none. */
  | "anonymous"
  /** The revision asked for is compacted, or not there yet. */
  | "compacted"
  | "future"
  /** The lease is gone. */
  | "lease"
  /** The cluster refuses, whichever member is asked. */
  | "denied"
  | "invalid"
  /** The cluster cannot take writes now. */
  | "full";

/** One request that one member did not do as asked. */
export class EtcdFailure extends Error {
  override readonly name = "EtcdFailure";
  /** The endpoint(s) that failed. */
  where?: string;
  constructor(
    readonly kind: FailureKind,
    message: string,
    /** The request may have been carried out, although nobody told us. */
    readonly uncertain = false,
  ) {
    super(message);
  }
}

/**
 * What a gateway's error means. `status` is that of HTTP, `code` gRPC's, 0 where the body had none;
 * `body` is what it said otherwise.
 */
export function failureOfAnswer(
  status: number,
  code: number,
  message: string,
  body = "",
): EtcdFailure {
  // What etcd's own handler in front of the gateway says, which speaks no JSON.
  if (status === 400 && /CommonName of client/.test(body)) {
    return new EtcdFailure(
      "denied",
      "it has users, and then takes no client certificate with a CommonName through its JSON gateway; " +
        "name one without CN in ETCD_CERT_FILE and give ETCD_USERNAME and ETCD_PASSWORD, or disable " +
        "its users",
    );
  }
  if (status === 400 && /HTTP request to an HTTPS server/.test(body)) {
    return new EtcdFailure("member", "it speaks TLS at this port; write https://");
  }
  const text = message.replace(/^etcdserver: /, "").replace(/^rpc error: code = \w+ desc = /, "");
  if (/invalid auth token|revision of auth store is old/.test(text)) {
    return new EtcdFailure("token", text);
  }
  if (/has been compacted/.test(text)) return new EtcdFailure("compacted", text);
  if (/future revision/.test(text)) return new EtcdFailure("future", text);
  if (/requested lease not found/.test(text)) return new EtcdFailure("lease", text);
  if (/user name is empty/.test(text)) {
    return new EtcdFailure(
      "anonymous",
      "it asks who we are; set ETCD_USERNAME and ETCD_PASSWORD (the gateway takes no certificate " +
        "for a user's name)",
    );
  }
  if (/invalid user ID or password/.test(text)) {
    return new EtcdFailure(
      "denied",
      "it refuses the user or the password; check ETCD_USERNAME and ETCD_PASSWORD",
    );
  }
  if (code === 7 || /permission denied/.test(text)) {
    return new EtcdFailure(
      "denied",
      "the user has not the permission; grant its role readwrite on /calico/ and /tortie/",
    );
  }
  if (/database space exceeded/.test(text)) {
    return new EtcdFailure(
      "full",
      "its database is full, nothing can be written; compact and defragment it, then disarm its alarm",
    );
  }
  if (status === 404 && code === 0) {
    return new EtcdFailure("denied", "it has no JSON gateway at /v3");
  }
  if (code === 3 || code === 9 || code === 11) return new EtcdFailure("invalid", text);
  // Told before anything was proposed; all else may have been done.
  const certain = /no leader|too many requests|not capable|is not started/.test(text);
  return new EtcdFailure("member", text || `it answers with HTTP status ${status}`, !certain);
}

/** What fetch's own error means: no connection, or one that broke. */
export function failureOfFetch(
  error: Error,
  sentMaybe: boolean,
  withCertificate = true,
): EtcdFailure {
  const text = chain(error);
  const tls = tlsFault(text, withCertificate);
  if (tls) return new EtcdFailure("tls", tls);
  const known: [RegExp, string][] = [
    [/Connection refused/, "nobody listens there (connection refused)"],
    [
      /\(Connect\).*(reset by peer|unexpected end of file|tls handshake eof)/i,
      "it breaks the connection off; perhaps it speaks no TLS at this port, then write http://",
    ],
    [/No route to host/, "there is no route to it"],
    [/Network is unreachable/, "its network cannot be reached"],
    [
      /failed to lookup address|dns error|Name or service not known/i,
      "its name cannot be resolved",
    ],
    [/invalid HTTP version|InvalidVersion|HttpVersion/i, "it does not speak HTTP at this port"],
  ];
  for (const [pattern, words] of known) {
    if (pattern.test(text)) return new EtcdFailure("member", words);
  }
  const connecting = /\(Connect\)|tcp connect error|error trying to connect/.test(text);
  return new EtcdFailure(
    "member",
    connecting ? `no connection: ${last(text)}` : `the connection broke: ${last(text)}`,
    sentMaybe && !connecting,
  );
}

function tlsFault(text: string, withCertificate: boolean): string | undefined {
  const faults: [RegExp, string][] = [
    [
      /UnknownIssuer|unknown issuer/i,
      "its certificate is signed by an authority that we do not know; name it with ETCD_CA_CERT_FILE",
    ],
    [
      /NotValidForName|not valid for name/i,
      "its certificate is not made out to the host that the endpoint names; use a name or address " +
      "that is in the certificate",
    ],
    [
      /certificate expired|Certificate\(Expired|certificate: Expired/,
      "its certificate has expired; renew it, or check the clocks",
    ],
    [/NotValidYet|not valid yet/i, "its certificate is not valid yet; check the clocks"],
    [
      /CaUsedAsEndEntity/,
      "its certificate is that of an authority, not of a server (one that signs itself is both); give it " +
      "one with basicConstraints CA:FALSE, which an authority has signed",
    ],
    [
      /received fatal alert: (CertificateRequired|BadCertificate|UnknownCA|CertificateUnknown|DecryptError|AccessDenied|CertificateExpired|CertificateRevoked|UnsupportedCertificate)/,
      withCertificate
        ? "it does not accept our client certificate; check ETCD_CERT_FILE and who signed it"
        : "it wants a client certificate; set ETCD_CERT_FILE and ETCD_KEY_FILE",
    ],
    [
      /InvalidContentType|corrupt message|InvalidMessage|wrong version/i,
      "it does not speak TLS at this port; write http:// or use its TLS port",
    ],
    [/received fatal alert|invalid peer certificate|InvalidCertificate/i, ""],
  ];
  for (const [pattern, words] of faults) {
    if (pattern.test(text)) return words || `TLS fails: ${last(text)}`;
  }
  return undefined;
}

/** The messages of an error and of what caused it. */
function chain(error: unknown): string {
  const texts: string[] = [];
  for (let at = error; at instanceof Error; at = at.cause) texts.push(at.message);
  return plainWords(texts.join(": "));
}

function last(text: string): string {
  return text.split(": ").slice(-2).join(": ").slice(0, 200);
}

/** What the caller of the store is told. */
export function toStoreError(failure: EtcdFailure, where: string, what: string): StoreError {
  const sentence = `etcd at ${failure.where ?? where}: ${failure.message}`;
  switch (failure.kind) {
    case "denied":
    case "anonymous":
    case "tls":
    case "token":
      return new StoreError("denied", sentence);
    case "invalid":
      return new StoreError("invalid", `${sentence} (${what})`);
    case "compacted":
      return new StoreError("compacted", sentence);
    case "member":
    case "full":
    case "future":
    case "lease":
      return new StoreError(
        "unavailable",
        failure.uncertain
          ? `the outcome of ${what} is unknown, read the object again: ${sentence}`
          : sentence,
      );
  }
}
