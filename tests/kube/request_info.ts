/**
 * What a request is about, from its method and path alone ("API terminology" and "Resource URIs"):
 *
 *     /api/v1/[namespaces/<ns>/]<plural>[/<name>[/<subresource>]]
 *     /apis/<group>/<version>/[namespaces/<ns>/]<plural>[/<name>[/<subresource>]]
 *
 * `/api/v1/namespaces/<name>` itself is a resource of the cluster, with status and finalize below it.
 */
export interface ResourcePath {
  group: string;
  version: string;
  plural: string;
  /** "" at cluster scope, and for a list over all namespaces. */
  namespace: string;
  /** "" for the collection. */
  name: string;
  subresource: string;
}

export type Path =
  | { type: "resource"; path: ResourcePath }
  | { type: "versions" }
  | { type: "groups" }
  | { type: "group"; group: string }
  | { type: "resources"; group: string; version: string }
  | { type: "other"; path: string };

export function parsePath(pathname: string): Path {
  const parts: string[] = pathname.split("/").filter((part) => part !== "").map(decodeURIComponent);
  const other: Path = { type: "other", path: pathname };
  let group = "";
  const root = parts.shift();
  if (root === "api") {
    if (parts.length === 0) return { type: "versions" };
  } else if (root === "apis") {
    if (parts.length === 0) return { type: "groups" };
    group = parts.shift()!;
    if (parts.length === 0) return { type: "group", group };
  } else return other;
  const version = parts.shift()!;
  if (parts.length === 0) return { type: "resources", group, version };
  let namespace = "";
  const ofNamespace = ["status", "finalize"].includes(parts[2]) && parts.length === 3;
  if (parts[0] === "namespaces" && parts.length > 2 && !ofNamespace) {
    namespace = parts[1];
    parts.splice(0, 2);
  }
  if (parts.length > 3) return other;
  const [plural, name = "", subresource = ""] = parts;
  return { type: "resource", path: { group, version, plural, namespace, name, subresource } };
}

/** The verb that the authorizer knows. */
export function verbOf(method: string, named: boolean, watch: boolean): string | undefined {
  switch (method) {
    case "GET":
    case "HEAD":
      return named ? "get" : watch ? "watch" : "list";
    case "POST":
      return "create";
    case "PUT":
      return "update";
    case "PATCH":
      return "patch";
    case "DELETE":
      return named ? "delete" : "deletecollection";
  }
}
