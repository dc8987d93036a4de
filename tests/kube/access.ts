/**
 * Who may do what: a table of grants in the manner of RBAC ("Using RBAC Authorization"), given by the
 * test rather than kept as Roles. Members of system:masters may do everything; whoever is authenticated
 * may ask for discovery and the version; nobody else may anything that no grant says.
 */
import type { User } from "./tokens.ts";
import type { ResourceKind } from "./resource_kind.ts";
import { type ApiError, failure, qualified } from "./status.ts";

/** `*` stands for all. */
export interface Rule {
  verbs: string[];
  groups?: string[];
  /** Plurals, with a subresource as `pods/status`. */
  resources: string[];
  /** Absent: all namespaces and cluster scope. */
  namespaces?: string[];
  names?: string[];
}

export interface Grant {
  /** A user's or a group's name. */
  to: string;
  rules: Rule[];
}

export interface Attributes {
  verb: string;
  resource: Pick<ResourceKind, "group" | "plural" | "kind">;
  subresource?: string;
  namespace: string;
  name: string;
}

const has = (list: string[] | undefined, value: string) =>
  list === undefined || list.includes("*") || list.includes(value);

function ruleAllows(rule: Rule, a: Attributes): boolean {
  const resource = a.resource.plural + (a.subresource ? `/${a.subresource}` : "");
  return has(rule.verbs, a.verb) && has(rule.groups ?? [""], a.resource.group) &&
    has(rule.resources, resource) &&
    (rule.namespaces === undefined || has(rule.namespaces, a.namespace)) &&
    (rule.names === undefined || rule.names.includes(a.name));
}

export function isAllowed(user: User, a: Attributes, grants: readonly Grant[]): boolean {
  if (user.groups.includes("system:masters")) return true;
  return grants.some((grant) =>
    (grant.to === user.name || user.groups.includes(grant.to)) &&
    grant.rules.some((rule) => ruleAllows(rule, a))
  );
}

/** 403 as the authorizer words it. */
export function refusal(user: User, a: Attributes): ApiError {
  const { resource, name, namespace } = a;
  const what = resource.plural + (a.subresource ? `/${a.subresource}` : "");
  const scope = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
  return failure(
    403,
    "Forbidden",
    `${qualified(resource)}${name && ` "${name}"`} is forbidden: User "${user.name}" cannot ` +
      `${a.verb} resource "${what}" in API group "${resource.group}" ${scope}`,
    {
      ...(name ? { name } : {}),
      ...(resource.group ? { group: resource.group } : {}),
      kind: resource.plural,
    },
  );
}
