/**
 * CustomResourceDefinitions: what a valid one looks like, what the server adds to it (accepted names,
 * the conditions NamesAccepted and Established, stored versions), and the resource that it makes. All
 * versions of a definition are stored in one form (conversion strategy None): reading under another
 * version changes apiVersion alone.
 */
import type { KubeObject } from "./object.ts";
import { timestamp } from "./object.ts";
import type { ResourceKind } from "./resource_kind.ts";
import type { StructuralSchema } from "./schema.ts";
import { structureFaults } from "./schema.ts";
import { nameFault } from "./names.ts";
import { type FieldError, forbiddenField, invalidValue, notSupported, required } from "./status.ts";

interface Version {
  name: string;
  served: boolean;
  storage: boolean;
  schema?: { openAPIV3Schema?: StructuralSchema };
  subresources?: { status?: unknown };
  selectableFields?: { jsonPath: string }[];
}

export const definitionKind: ResourceKind = {
  group: "apiextensions.k8s.io",
  version: "v1",
  plural: "customresourcedefinitions",
  singular: "customresourcedefinition",
  kind: "CustomResourceDefinition",
  shortNames: ["crd", "crds"],
  namespaced: false,
  names: "subdomain",
  status: true,
  generation: true,
  unconditionalUpdate: false,
  deleteAnswersObject: true,
  fields: [],
  prepare(object, old, world) {
    const spec = object.spec ??= {};
    const names = spec.names ??= {};
    if (typeof names.kind === "string") {
      names.singular ??= names.kind.toLowerCase();
      names.listKind ??= `${names.kind}List`;
    }
    spec.conversion ??= { strategy: "None" };
    if (old) return;
    const since = timestamp(world.now());
    object.status = {
      acceptedNames: names,
      storedVersions: ((spec.versions ?? []) as Version[]).filter((v) => v.storage).map((v) =>
        v.name
      ),
      conditions: [
        {
          lastTransitionTime: since,
          message: "no conflicts found",
          reason: "NoConflicts",
          status: "True",
          type: "NamesAccepted",
        },
        {
          lastTransitionTime: since,
          message: "the initial names have been accepted",
          reason: "InitialNamesAccepted",
          status: "True",
          type: "Established",
        },
      ],
    };
  },
  check: definitionFaults,
};

function definitionFaults(object: KubeObject, old: KubeObject | undefined): FieldError[] {
  const { spec } = object;
  const faults: FieldError[] = [];
  for (const field of ["group", "scope"]) {
    if (!spec[field]) faults.push(required(`spec.${field}`));
  }
  for (const field of ["plural", "kind"]) {
    const value = spec.names[field];
    if (!value) faults.push(required(`spec.names.${field}`));
    else {
      const why = nameFault(String(value).toLowerCase(), "service");
      if (why) faults.push(invalidValue(`spec.names.${field}`, value, why));
    }
  }
  if (spec.scope && spec.scope !== "Cluster" && spec.scope !== "Namespaced") {
    faults.push(notSupported("spec.scope", spec.scope, ["Cluster", "Namespaced"]));
  }
  const wanted = `${spec.names.plural}.${spec.group}`;
  if (object.metadata.name !== wanted) {
    faults.push(
      invalidValue(
        "metadata.name",
        object.metadata.name,
        `must be spec.names.plural+"."+spec.group`,
      ),
    );
  }
  const versions = (spec.versions ?? []) as Version[];
  if (versions.filter((v) => v.storage).length !== 1) {
    faults.push(
      invalidValue(
        "spec.versions",
        versions.map((v) => v.name),
        "must have exactly one version marked as storage version",
      ),
    );
  }
  versions.forEach((version, i) => {
    const path = `spec.versions[${i}].schema.openAPIV3Schema`;
    const schema = version.schema?.openAPIV3Schema;
    if (!schema) faults.push(required(path, "schemas are required"));
    else if (schema.type !== "object") {
      faults.push(invalidValue(`${path}.type`, schema.type ?? "", "must be object at the root"));
    } else faults.push(...structureFaults(schema, path));
  });
  if (old) {
    for (const field of ["group", "scope"]) {
      if (old.spec[field] !== spec[field]) {
        faults.push(invalidValue(`spec.${field}`, spec[field], "field is immutable"));
      }
    }
    if (old.spec.names.kind !== spec.names.kind) {
      faults.push(forbiddenField("spec.names.kind", "field is immutable"));
    }
  }
  return faults;
}

/** The resources that a definition serves, one for each version; the stored form's first. */
export function resourcesOf(definition: KubeObject): ResourceKind[] {
  const { group, names, scope } = definition.spec;
  const versions = (definition.spec.versions as Version[]).filter((v) => v.served);
  versions.sort((a, b) => Number(b.storage) - Number(a.storage));
  return versions.map((version) => ({
    group,
    version: version.name,
    plural: names.plural,
    singular: names.singular,
    kind: names.kind,
    shortNames: names.shortNames,
    categories: names.categories,
    namespaced: scope === "Namespaced",
    names: "subdomain",
    status: version.subresources?.status !== undefined,
    generation: true,
    unconditionalUpdate: false,
    fields: (version.selectableFields ?? []).map((f) => f.jsonPath.replace(/^\./, "")),
    custom: { schema: version.schema!.openAPIV3Schema! },
  }));
}
