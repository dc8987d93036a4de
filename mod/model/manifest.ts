/**
 * From what a manifest says (apiVersion and kind) to a checked object. Calico's kinds are known by
 * `projectcalico.org/v3`, and those that Kubernetes stores as CRDs by `crd.projectcalico.org/v1` too:
 * then what Kubernetes' own checks let pass is put right with a warning instead of being refused, and
 * the annotation in which Calico hides metadata from Kubernetes is unfolded.
 */
import { NAME } from "./fields.ts";
import { type AnyKind, KINDS } from "./kinds.ts";
import { nearest } from "./nearest.ts";
import type { Resource } from "./resource.ts";
import { show } from "./show.ts";
import {
  describe,
  formatIssues,
  ModelError,
  parseObject,
  standingIssues,
  unknownFields,
} from "./validate.ts";
import type { Issue } from "./kind.ts";

export const CALICO_API = "projectcalico.org/v3";
export const CRD_API = "crd.projectcalico.org/v1";

export interface ResolvedKind {
  readonly kind: AnyKind;
  /** Written as crd.projectcalico.org/v1. */
  readonly crd: boolean;
}

/** The kind that a manifest names; ModelError "unknownKind" that says what is known. */
export function resolveKind(value: unknown): ResolvedKind {
  const { apiVersion, kind } = (value ?? {}) as { apiVersion?: unknown; kind?: unknown };
  if (typeof kind !== "string" || kind === "") {
    throw new ModelError("unknownKind", "kind is missing: want the kind of an object, as IPPool");
  }
  if (typeof apiVersion !== "string" || apiVersion === "") {
    throw new ModelError(
      "unknownKind",
      `${kind}: apiVersion is missing: want ${versionsOf(kind) ?? CALICO_API}`,
    );
  }
  const found = KINDS.find((k) => k.kind === kind && k.apiVersion === apiVersion);
  if (found) return { kind: found, crd: false };
  if (apiVersion === CRD_API) {
    const asCrd = KINDS.find((k) => k.kind === kind && k.crd);
    if (asCrd) return { kind: asCrd, crd: true };
  }
  const versions = versionsOf(kind);
  if (versions) {
    throw new ModelError(
      "unknownKind",
      `${kind}: apiVersion ${show(apiVersion)} is not known: want ${versions}`,
    );
  }
  const near = nearest(kind, KINDS.map((k) => k.kind));
  throw new ModelError(
    "unknownKind",
    `kind ${show(kind)} of ${show(apiVersion)} is not known${
      near ? ` (did you mean ${near}?)` : ""
    }`,
  );
}

function versionsOf(kind: string): string | undefined {
  const versions = KINDS.filter((k) => k.kind === kind)
    .flatMap((k) => k.crd ? [k.apiVersion, CRD_API] : [k.apiVersion]);
  return versions.length === 0 ? undefined : versions.join(" or ");
}

export interface Manifest {
  readonly kind: AnyKind;
  readonly crd: boolean;
  readonly object: Resource;
  readonly warnings: readonly string[];
  /** Fields that the kind does not know, each as a fault (only with `keepUnknown`). */
  readonly unknown: readonly Issue[];
  /** Broken rules in spite of which the object can be read (only with `stored`). */
  readonly faults: readonly Issue[];
  /** What it is called in messages: `IPPool "p"`. */
  readonly subject: string;
}

export interface ManifestOptions {
  /** For namespaced objects that name none; "default" where this is not given. */
  readonly namespace?: string;
  /** Checked as for a write (`Kind.checkWrite`). */
  readonly write?: boolean;
  /**
   * Fields that the kind does not know are kept, and told in `unknown`; else they are refused. Refused are
   * in any case fields of Kubernetes' kinds that are known ones in another case.
   */
  readonly keepUnknown?: boolean;
  /**
   * It stands in a datastore, or did: rules that it breaks and can be read in spite of are told in `faults`;
   * else it is refused for them.
   */
  readonly stored?: boolean;
}

/** Checks one object of a manifest, wholly but for what is stored beside it. Throws ModelError. */
export function parseManifest(value: unknown, options: ManifestOptions = {}): Manifest {
  const { kind, crd } = resolveKind(value);
  const input = crd ? unfoldMetadata(value as Resource) : value as Resource;
  const warnings: string[] = [];
  const placed = withNamespace(input, kind, options);
  const parse = (standing?: ReadonlySet<string>) =>
    parseObject(kind, placed, {
      crd,
      write: options.write,
      unknownFields: options.keepUnknown ? "keep" : "refuse",
      exactCase: true,
      standing,
      warn: (warning) => warnings.push(`${warning} (read as such)`),
    });
  let object: Resource;
  let faults: readonly Issue[] = [];
  try {
    object = parse();
  } catch (error) {
    if (!options.stored || !(error instanceof ModelError)) throw error;
    const standing = standingIssues(kind, placed);
    object = parse(new Set(standing.keys()));
    faults = [...standing.values()];
  }
  const remarks = kind.remarks?.(object) ?? [];
  if (remarks.length > 0) {
    warnings.push(`${kind.kind} "${object.metadata.name}": ${formatIssues(remarks)}`);
  }
  const unknown = options.keepUnknown && !kind.open ? unknownFields(kind, input) : [];
  return { kind, crd, object, warnings, unknown, faults, subject: describe(kind, placed) };
}

function withNamespace(input: Resource, kind: AnyKind, options: ManifestOptions): unknown {
  const metadata = input.metadata;
  const isObject = typeof metadata === "object" && metadata !== null && !Array.isArray(metadata);
  if (!kind.namespaced || !isObject || metadata.namespace) return input;
  return { ...input, metadata: { ...metadata, namespace: options.namespace ?? "default" } };
}

const METADATA_ANNOTATION = "projectcalico.org/metadata";

/** Metadata that Calico's Kubernetes datastore keeps as JSON in an annotation, back in its place. */
function unfoldMetadata(value: Resource): Resource {
  const text = value.metadata?.annotations?.[METADATA_ANNOTATION];
  if (typeof text !== "string") return value;
  let hidden: Partial<Resource["metadata"]>;
  try {
    hidden = JSON.parse(text);
  } catch {
    return value;
  }
  if (typeof hidden !== "object" || hidden === null) return value;
  const { [METADATA_ANNOTATION]: _, ...annotations } = value.metadata.annotations ?? {};
  const name = typeof hidden.name === "string" && NAME.test(hidden.name)
    ? hidden.name
    : value.metadata.name;
  return {
    ...value,
    metadata: {
      ...value.metadata,
      name,
      labels: { ...value.metadata.labels, ...hidden.labels },
      annotations: { ...annotations, ...hidden.annotations },
      creationTimestamp: hidden.creationTimestamp ?? value.metadata.creationTimestamp,
    },
  };
}
