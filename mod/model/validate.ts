/**
 * Applies a kind's schema. Three ways through it:
 *
 *   parseObject   a user's file: every rule holds, unknown fields are refused, defaults are filled in
 *   readObject    from the store: only the shape must hold, since a newer version or kubectl may have
 *                 written it; rules that are broken are left to the reader, unknown fields are kept
 *   encodeObject  for the store: Calico's member order, zero values left out, unknown fields kept
 *
 * As in Go, a field that is null, or "" where it is an optional text, is absent (but for the few texts that
 * Calico reads further: AS numbers, durations). Names of fields of Calico's
 * kinds are read in any case, as Go's reader does; those of Kubernetes' own kinds with their case, as the
 * API server's does (sigs.k8s.io/json): in another case they are unknown. What we return is a copy in
 * the order of the schema, unknown fields behind the known ones, so that an object that was read,
 * changed and written again loses nothing.
 */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import {
  isLabelKey,
  isLabelValue,
  LABEL,
  NAME,
  WANT_LABEL_KEY,
  WANT_LABEL_VALUE,
} from "./fields.ts";
import { type Resource, resourceId } from "./resource.ts";
import {
  attachUnknown,
  dropZero,
  emptyIssues,
  endlessIssues,
  isInOtherCase,
  listIssues,
  prune,
  toUnknownIssue,
  type UnknownField,
} from "./shape.ts";
import { show } from "./show.ts";

/** Why an object was refused. */
export type ModelErrorKind =
  | "invalid" // a rule of the kind is broken; `issues` says which
  | "malformed" // a stored value does not have the kind's shape
  | "unknownKind"; // apiVersion and kind name nothing that we know

export class ModelError extends Error {
  override readonly name = "ModelError";
  constructor(
    readonly kind: ModelErrorKind,
    message: string,
    readonly issues: readonly Issue[] = [],
  ) {
    super(message);
  }
}

export interface ParseOptions {
  unknownFields?: "refuse" | "keep";
  /** It is to be written: `checkWrite` holds as well. */
  write?: boolean;
  /** Fields of Kubernetes' kinds that differ from a known one by case alone are refused also if kept. */
  exactCase?: boolean;
  /** As Kubernetes takes objects of crd.projectcalico.org/v1: host bits in a pool are masked. */
  crd?: boolean;
  /** Faults that are let pass: the stored object, of a newer version perhaps, has them already. */
  standing?: ReadonlySet<string>;
  /** Told of what was put right (crd). */
  warn?: (warning: string) => void;
}

/** Checks a user's object; throws ModelError "invalid" that names every fault. */
export function parseObject<T extends Resource>(
  kind: Kind<T, any>,
  input: unknown,
  options: ParseOptions = {},
): T {
  const { object, issues: shape, unknown } = apply(kind, input);
  const endless = endlessIssues(input);
  const isNew = (issue: Issue) => !options.standing?.has(formatIssues([issue]));
  const issues = [
    ...endless,
    ...shape.filter((i) => !endless.some(({ path }) => path === i.path))
      .filter((i) => !i.tolerable || isNew(i)),
  ];
  const refuse = options.unknownFields !== "keep" && !kind.open;
  const exact = options.exactCase && kind.home === "kubernetes";
  const refused = unknown.filter((field) => refuse || exact && isInOtherCase(field));
  const found = [...refused.map(toUnknownIssue), ...issues];
  if (object === undefined || found.length > 0) throw invalid(kind, input, found);
  const early = kind.hostBits?.(object) ?? [];
  if (early.length > 0 && !options.crd) throw invalid(kind, object, early);
  if (early.length > 0) options.warn?.(`${describe(kind, object)}: ${formatIssues(early)}`);
  kind.complete?.(object);
  kind.prepare?.(object);
  const broken = [
    ...nameIssues(kind, object),
    ...(kind.check?.(object) ?? []),
    ...(options.write && kind.checkWrite?.(object) || []),
  ].filter(isNew);
  if (broken.length > 0) throw invalid(kind, object, broken);
  return object;
}

/**
 * Reads a stored value; throws ModelError "malformed" where it has not the shape of the kind. `doubt` is
 * told of the rules that a value of the right shape breaks; `id` is what it is called where it does not say
 * so itself.
 */
export function readObject<T extends Resource>(
  kind: Kind<T, any>,
  stored: unknown,
  doubt?: (issues: readonly Issue[]) => void,
  id?: string,
): T {
  const { object, issues } = apply(kind, stored);
  const broken = issues.filter((i) => !i.tolerable);
  if (object === undefined || broken.length > 0) {
    throw new ModelError(
      "malformed",
      `the stored ${describe(kind, stored, id)} cannot be read: ${formatIssues(broken)}`,
      broken,
    );
  }
  if (issues.length > 0) doubt?.(issues);
  kind.complete?.(object);
  return object;
}

/** All faults of a stored object that can be read in spite of them, in words as parseObject's. */
export function standingFaults(kind: Kind<any, any>, stored: unknown): ReadonlySet<string> {
  return new Set(standingIssues(kind, stored).keys());
}

/** As standingFaults, each with where it is. */
export function standingIssues(
  kind: Kind<any, any>,
  stored: unknown,
): ReadonlyMap<string, Issue> {
  const found = new Map<string, Issue>();
  for (let more = true; more;) {
    more = false;
    try {
      const standing = new Set(found.keys());
      parseObject(kind, stored, { unknownFields: "keep", write: true, standing });
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      // The later checks are reached once the earlier ones let it pass.
      for (const issue of error.issues) {
        const text = formatIssues([issue]);
        more ||= !found.has(text);
        found.set(text, issue);
      }
    }
  }
  return found;
}

/** What is kept in the store for an object: no resourceVersion, zero values left out. */
export function encodeObject<T extends Resource>(kind: Kind<T, any>, object: T): unknown {
  const value = dropZero(kind.schema, object, kind.home === "calico") as Resource;
  const { resourceVersion: _, selfLink: __, ...metadata } = value.metadata;
  return { ...value, metadata };
}

/** The fields that the kind does not know, each as a fault. */
export function unknownFields(kind: Kind<any, any>, value: unknown): readonly Issue[] {
  return apply(kind, value).unknown.map(toUnknownIssue);
}

/** `spec.cidr: …; spec.blockSize: …` */
export function formatIssues(issues: readonly Issue[]): string {
  return issues.map((i) => i.path === "" ? i.message : `${i.path}: ${i.message}`).join("; ");
}

function invalid<T extends Resource>(kind: Kind<T, any>, input: unknown, issues: Issue[]) {
  return new ModelError("invalid", `${describe(kind, input)}: ${formatIssues(issues)}`, issues);
}

/** `IPPool "p"`; the kind alone where the value has no name. */
export function describe(kind: Kind<any, any>, value: unknown, otherwise = ""): string {
  const metadata = (value as Partial<Resource> | null | undefined)?.metadata;
  const id = typeof metadata?.name === "string" && metadata.name !== ""
    ? resourceId(value as Resource)
    : otherwise;
  return `${kind.kind}${id && ` "${id}"`}`;
}

function nameIssues(kind: Kind<any, any>, object: Resource): Issue[] {
  const { name, namespace, generateName } = object.metadata;
  const issues: Issue[] = [];
  if (name === "") {
    issues.push({
      path: "metadata.name",
      message: generateName ? "is missing (generateName is not supported)" : "is missing",
    });
  } else if (!kind.ownNameCheck && (!NAME.test(name) || name.length > 253)) {
    issues.push({
      path: "metadata.name",
      message: `${show(name)} is not allowed: want at most 253 lower-case letters, digits, ` +
        "'-' and '.', beginning and ending with a letter or digit",
    });
  }
  if (kind.namespaced && !namespace) {
    issues.push({ path: "metadata.namespace", message: `is missing: ${kind.plural} have one` });
  } else if (kind.namespaced && (!LABEL.test(namespace!) || namespace!.length > 63)) {
    issues.push({
      path: "metadata.namespace",
      message:
        `${show(namespace)} is not allowed: want at most 63 lower-case letters, digits and ` +
        "'-', beginning and ending with a letter or digit",
    });
  }
  if (!kind.namespaced && namespace) {
    issues.push({
      path: "metadata.namespace",
      message: `${show(namespace)} is not allowed: ${kind.plural} are not namespaced`,
    });
  }
  return [...issues, ...labelIssues(object)];
}

const MAX_ANNOTATIONS = 256 * 1024;

function labelIssues(object: Resource): Issue[] {
  const issues: Issue[] = [];
  const { labels = {}, annotations = {} } = object.metadata;
  for (const [key, value] of Object.entries(labels)) {
    if (!isLabelKey(key)) {
      issues.push({
        path: "metadata.labels",
        message: `key ${show(key)} is not allowed: want ${WANT_LABEL_KEY}`,
      });
    }
    if (!isLabelValue(value)) {
      issues.push({
        path: `metadata.labels.${key}`,
        message: `${show(value)} is not allowed: want ${WANT_LABEL_VALUE}`,
      });
    }
  }
  let size = 0;
  for (const [key, value] of Object.entries(annotations)) {
    size += utf8Length(key) + utf8Length(value);
    if (isLabelKey(key.toLowerCase())) continue;
    issues.push({
      path: "metadata.annotations",
      message: `key ${show(key)} is not allowed: want ${WANT_LABEL_KEY}`,
    });
  }
  if (size > MAX_ANNOTATIONS) {
    issues.push({
      path: "metadata.annotations",
      message: `are too large: ${size} bytes; want at most ${MAX_ANNOTATIONS}`,
    });
  }
  return issues;
}

function utf8Length(text: string): number {
  return new TextEncoder().encode(text).length;
}

// One pass of the schema

interface Applied<T> {
  /** undefined where the input is no object at all. */
  object?: T;
  issues: (Issue & { tolerable: boolean })[];
  unknown: UnknownField[];
}

function apply<T extends Resource>(kind: Kind<T, any>, input: unknown): Applied<T> {
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    return { issues: [{ path: "", message: "is not an object", tolerable: false }], unknown: [] };
  }
  const pruned = prune(kind.schema, input, kind.home === "calico") as Record<string, unknown>;
  // A stored object lies under its kind's key; a file was matched to the kind by these two.
  const result = v.safeParse(kind.schema, {
    ...pruned,
    kind: kind.kind,
    apiVersion: kind.apiVersion,
  });
  const unknown: UnknownField[] = [];
  attachUnknown(kind.schema, pruned, result.output, "", unknown);
  const issues = [
    ...listIssues(kind.schema, pruned, ""),
    ...emptyIssues(kind.schema, input, "", kind.home === "calico"),
    ...(result.issues ?? []).map(toIssue),
  ];
  return { object: result.output as T, issues, unknown };
}

function toIssue(issue: v.BaseIssue<unknown>): Issue & { tolerable: boolean } {
  const path = formatPath(issue.path ?? []);
  if (issue.kind !== "schema" || issue.type === "picklist") {
    return {
      path,
      message: issue.input === undefined
        ? `is missing: want ${issue.message}`
        : `${show(issue.input)} is not allowed: want ${issue.message}`,
      // A form that could not be read is not of the type that its readers rely on.
      tolerable: issue.kind !== "transformation" && issue.input !== undefined,
    };
  }
  const want = WANTED[issue.expected ?? ""] ?? issue.expected ?? "something else";
  return {
    path,
    message: issue.input === undefined ? "is missing" : `${show(issue.input)} is not ${want}`,
    tolerable: false,
  };
}

const WANTED: Record<string, string> = {
  string: "a text (quote it)",
  number: "a number",
  boolean: "true or false",
  Array: "a list",
  Object: "an object",
  "(number | string)": "a number or a text",
};

function formatPath(path: readonly { key?: unknown }[]): string {
  let text = "";
  for (const { key } of path) {
    text += typeof key === "number" ? `[${key}]` : `${text === "" ? "" : "."}${String(key)}`;
  }
  return text;
}
