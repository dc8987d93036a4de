/**
 * Who asks ("Authenticating"): the client certificate's subject, a bearer token that the test gave a
 * user, or a service account's token. A token that is nobody's is 401, even beside other credentials;
 * without credentials the user is system:anonymous.
 */
import type { Grant } from "./access.ts";
import type { Tokens, User } from "./tokens.ts";
import { unauthorized } from "./status.ts";

export const ANONYMOUS: User = { name: "system:anonymous", groups: ["system:unauthenticated"] };
export const ADMIN: User = {
  name: "kubernetes-admin",
  groups: ["system:masters", "system:authenticated"],
};

export class Authentication {
  /** Bearer tokens and their users; the test may add and take away. */
  readonly users = new Map<string, User>();
  readonly grants: Grant[];

  constructor(readonly tokens: Tokens, grants: Grant[]) {
    this.grants = grants;
  }

  ofToken(token: string, audiences?: string[]): User | undefined {
    return this.users.get(token) ?? this.tokens.user(token, audiences);
  }

  /** `peer` is whom the client certificate names; "unknown" where we do not trust it. Throws 401. */
  identify(authorization: string | null, peer: User | "unknown" | undefined): User {
    if (authorization === null) {
      if (peer === "unknown") throw unauthorized();
      return peer ?? ANONYMOUS;
    }
    const token = authorization.match(/^Bearer\s+(\S+)\s*$/i)?.[1];
    const user = token === undefined ? undefined : this.ofToken(token);
    if (!user) throw unauthorized();
    return user;
  }
}
