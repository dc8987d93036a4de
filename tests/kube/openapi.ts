/**
 * As much of the OpenAPI v3 documents as clients ask before they write: that a PATCH of each resource
 * takes `fieldValidation`, so that they leave validation to the server ("Field validation"). Schemas of
 * the kinds are not described.
 */
import { apiVersionOf, type ResourceKind } from "./resource_kind.ts";

const rootOf = (kind: Pick<ResourceKind, "group" | "version">) =>
  `${kind.group === "" ? "api" : "apis"}/${apiVersionOf(kind)}`;

/** GET /openapi/v3 */
export function openapiRoot(kinds: ResourceKind[]) {
  const roots = [...new Set(kinds.map(rootOf))];
  return {
    paths: Object.fromEntries(
      roots.map((root) => [root, { serverRelativeURL: `/openapi/v3/${root}` }]),
    ),
  };
}

/** GET /openapi/v3/apis/<group>/<version>; undefined where it is not served. */
export function openapiDocument(root: string, kinds: ResourceKind[]) {
  const here = kinds.filter((kind) => rootOf(kind) === root);
  if (here.length === 0) return undefined;
  const parameters = ["dryRun", "fieldManager", "fieldValidation", "force"]
    .map((name) => ({ name, in: "query", schema: { type: "string" } }));
  const paths = here.map((kind) => {
    const { group, version } = kind;
    const place = kind.namespaced ? "/namespaces/{namespace}" : "";
    const operation = {
      operationId: `patch${kind.kind}`,
      parameters,
      responses: {},
      "x-kubernetes-action": "patch",
      "x-kubernetes-group-version-kind": { group, version, kind: kind.kind },
    };
    return [`/${root}${place}/${kind.plural}/{name}`, { patch: operation }];
  });
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: "v1.35.0" },
    paths: Object.fromEntries(paths),
  };
}
