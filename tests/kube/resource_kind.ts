/**
 * A resource as data: where it is served, how it is named, what may be done with it, and the rules that
 * its objects alone have. The API's common rules (conflicts, finalizers, watches …) stand elsewhere and
 * read this table; a CustomResourceDefinition adds a line to it.
 */
import type { KubeObject } from "./object.ts";
import type { NameRule } from "./names.ts";
import type { FieldError } from "./status.ts";
import type { StructuralSchema } from "./schema.ts";

/** What the rules of one kind may know of the rest of the cluster. */
export interface World {
  exists(group: string, plural: string, namespace: string, name: string): boolean;
  /** An address of the service range that nobody has. */
  freeClusterIp(): string;
  now(): number;
}

export interface ResourceKind {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames?: readonly string[];
  readonly categories?: readonly string[];
  readonly namespaced: boolean;
  readonly names: NameRule;
  /** Served under `/status`; an update of the object leaves its status alone. */
  readonly status: boolean;
  /** `metadata.generation` counts changes of what is desired. */
  readonly generation: boolean;
  /** An update without resourceVersion replaces what is there. */
  readonly unconditionalUpdate: boolean;
  /** PUT makes an object that is not there. */
  readonly createOnUpdate?: boolean;
  /** Fields beside metadata.name and metadata.namespace that a field selector may name. */
  readonly fields: readonly string[];
  /** Fields beside apiVersion, kind and metadata; unknown ones are dropped. Absent: any. */
  readonly top?: readonly string[];
  /** DELETE answers with the object rather than with a Status. */
  readonly deleteAnswersObject?: boolean;
  /** A resource of a CustomResourceDefinition. */
  readonly custom?: { readonly schema: StructuralSchema };
  /** Fills in what the server fills in. `old` is absent on creation. Changes `object`. */
  prepare?(object: KubeObject, old: KubeObject | undefined, world: World): void;
  /** The faults of the object. */
  check?(object: KubeObject, old: KubeObject | undefined, world: World): FieldError[];
}

export const bucketOf = (kind: Pick<ResourceKind, "group" | "plural">) =>
  `${kind.group}/${kind.plural}`;
export const keyOf = (namespace: string, name: string) =>
  namespace === "" ? name : `${namespace}/${name}`;
export const apiVersionOf = (kind: Pick<ResourceKind, "group" | "version">) =>
  kind.group === "" ? kind.version : `${kind.group}/${kind.version}`;
