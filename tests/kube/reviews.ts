/**
 * Virtual resources, which are asked and not stored: whose a token is (TokenReview), who I am
 * (SelfSubjectReview), what I or somebody else may do (SelfSubjectAccessReview, SubjectAccessReview).
 */
import { timestamp } from "./object.ts";
import { type Attributes, isAllowed } from "./access.ts";
import type { Authentication } from "./authentication.ts";
import type { User } from "./tokens.ts";
import { ISSUER } from "./tokens.ts";
import { invalid, invalidValue } from "./status.ts";

export interface VirtualKind {
  group: string;
  version: string;
  plural: string;
  kind: string;
}

export const VIRTUAL_KINDS: readonly VirtualKind[] = [
  {
    group: "authentication.k8s.io",
    version: "v1",
    plural: "tokenreviews",
    kind: "TokenReview",
  },
  {
    group: "authentication.k8s.io",
    version: "v1",
    plural: "selfsubjectreviews",
    kind: "SelfSubjectReview",
  },
  {
    group: "authorization.k8s.io",
    version: "v1",
    plural: "selfsubjectaccessreviews",
    kind: "SelfSubjectAccessReview",
  },
  {
    group: "authorization.k8s.io",
    version: "v1",
    plural: "subjectaccessreviews",
    kind: "SubjectAccessReview",
  },
];

const userInfo = (user: User) => ({
  username: user.name,
  ...(user.uid ? { uid: user.uid } : {}),
  groups: user.groups,
});

/** The review with its status. */
export function review(kind: VirtualKind, body: any, user: User, who: Authentication): unknown {
  const answer = (status: unknown) => ({
    kind: kind.kind,
    apiVersion: `${kind.group}/${kind.version}`,
    metadata: { creationTimestamp: null },
    ...(body.spec ? { spec: body.spec } : {}),
    status,
  });
  switch (kind.kind) {
    case "TokenReview": {
      const audiences: string[] = body.spec?.audiences ?? [ISSUER];
      const owner = who.ofToken(String(body.spec?.token ?? ""), audiences);
      return answer(
        owner
          ? { authenticated: true, user: userInfo(owner), audiences }
          : { user: {}, error: "[invalid bearer token]" },
      );
    }
    case "SelfSubjectReview":
      return answer({ userInfo: userInfo(user) });
    default: {
      const spec = body.spec ?? {};
      const subject = kind.kind === "SelfSubjectAccessReview"
        ? user
        : { name: spec.user ?? "", groups: spec.groups ?? [] };
      const allowed = isAllowed(subject, attributesOf(spec.resourceAttributes ?? {}), who.grants);
      return answer({ allowed, ...(allowed ? {} : { reason: "no grant says so" }) });
    }
  }
}

const attributesOf = (of: any): Attributes => ({
  verb: of.verb ?? "",
  resource: { group: of.group ?? "", plural: of.resource ?? "", kind: "" },
  subresource: of.subresource,
  namespace: of.namespace ?? "",
  name: of.name ?? "",
});

const SHORTEST = 600;

/** POST …/serviceaccounts/<name>/token. Throws 404 and 422. */
export function tokenRequest(
  who: Authentication,
  namespace: string,
  name: string,
  body: any,
): unknown {
  const spec = body.spec ?? {};
  const seconds = spec.expirationSeconds ?? 3600;
  if (!Number.isInteger(seconds) || seconds < SHORTEST || seconds > 2 ** 32) {
    throw invalid("authentication.k8s.io", "TokenRequest", "", [
      invalidValue(
        "spec.expirationSeconds",
        seconds,
        "may not specify a duration less than 10 minutes",
      ),
    ]);
  }
  const audiences: string[] = spec.audiences?.length > 0 ? spec.audiences : [ISSUER];
  const { token, expires } = who.tokens.issue(namespace, name, seconds, audiences);
  return {
    kind: "TokenRequest",
    apiVersion: "authentication.k8s.io/v1",
    metadata: { name, namespace, creationTimestamp: timestamp(expires - seconds * 1000) },
    spec: { ...spec, audiences, expirationSeconds: seconds },
    status: { token, expirationTimestamp: timestamp(expires) },
  };
}
