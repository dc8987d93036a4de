/**
 * Service account tokens: signed JWTs with audience, expiry and the account's name and uid, which the
 * TokenRequest API makes and which end with their time or with their account ("Managing Service
 * Accounts"). They are signed with a key of this cluster alone (HS256; a real server takes RS256 or
 * ES256, which no client looks at).
 */
import { Buffer } from "node:buffer";
import { createHmac, randomBytes } from "node:crypto";
import { type Cluster, SERVICE_ACCOUNTS } from "./cluster.ts";
import { notFound } from "./status.ts";

export interface User {
  name: string;
  groups: string[];
  uid?: string;
}

export const ISSUER = "https://kubernetes.default.svc.cluster.local";

interface Claims {
  iss: string;
  sub: string;
  aud: string[];
  /** Seconds. */
  exp: number;
  iat: number;
  nbf: number;
  jti: string;
  "kubernetes.io": { namespace: string; serviceaccount: { name: string; uid: string } };
}

const base64url = (text: string | Uint8Array) => Buffer.from(text).toString("base64url");

export const accountUser = (namespace: string, name: string, uid?: string): User => ({
  name: `system:serviceaccount:${namespace}:${name}`,
  groups: [
    "system:serviceaccounts",
    `system:serviceaccounts:${namespace}`,
    "system:authenticated",
  ],
  uid,
});

export class Tokens {
  #key = randomBytes(32);

  constructor(private readonly cluster: Cluster) {}

  /** A token for an account that is there. `seconds` may be negative. Throws 404. */
  issue(namespace: string, name: string, seconds: number, audiences = [ISSUER]): {
    token: string;
    expires: number;
  } {
    const account = this.cluster.get(SERVICE_ACCOUNTS, namespace, name);
    if (!account) throw notFound(SERVICE_ACCOUNTS, name);
    const now = Math.floor(this.cluster.now() / 1000);
    const claims: Claims = {
      iss: ISSUER,
      sub: `system:serviceaccount:${namespace}:${name}`,
      aud: audiences,
      exp: now + seconds,
      iat: now,
      nbf: now,
      jti: crypto.randomUUID(),
      "kubernetes.io": { namespace, serviceaccount: { name, uid: account.metadata.uid! } },
    };
    const head = base64url(JSON.stringify({ alg: "HS256", typ: "JWT" }));
    const body = base64url(JSON.stringify(claims));
    return {
      token: `${head}.${body}.${this.#sign(`${head}.${body}`)}`,
      expires: (now + seconds) * 1000,
    };
  }

  /** Whose token it is; undefined where it is none of ours, has expired or lost its account. */
  user(token: string, audiences = [ISSUER]): User | undefined {
    const [head, body, signature, ...more] = token.split(".");
    if (!signature || more.length > 0 || this.#sign(`${head}.${body}`) !== signature) {
      return undefined;
    }
    const claims = JSON.parse(Buffer.from(body, "base64url").toString()) as Claims;
    if (claims.exp * 1000 <= this.cluster.now()) return undefined;
    if (!claims.aud.some((a) => audiences.includes(a))) return undefined;
    const { namespace, serviceaccount: { name, uid } } = claims["kubernetes.io"];
    const account = this.cluster.get(SERVICE_ACCOUNTS, namespace, name);
    return account?.metadata.uid === uid ? accountUser(namespace, name, uid) : undefined;
  }

  #sign(text: string): string {
    return createHmac("sha256", this.#key).update(text).digest("base64url");
  }
}
