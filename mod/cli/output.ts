/**
 * How objects are shown: a table (`ps`, or `wide` with more columns), YAML, JSON, names, or columns of
 * the user's choice. One object is printed as itself, several as a list, all of a kind as the kind's
 * list (`IPPoolList`), as calicoctl does; all of it can be fed back to apply.
 */
import { DEFAULT_AS_NUMBER } from "../model/bgp_configuration.ts";
import type { Column, ColumnContext } from "../model/kind.ts";
import type { AnyKind } from "../model/kinds.ts";
import { nearest } from "../model/nearest.ts";
import type { Metadata, Resource } from "../model/resource.ts";
import { encodeObject } from "../model/validate.ts";
import { formatJson, withEscapes } from "../store/json.ts";
import { usageError } from "./io.ts";
import { tabbed } from "./tables.ts";
import { visible } from "./visible.ts";

export type Output =
  | { readonly format: "ps" | "wide" | "yaml" | "json" | "name" }
  | { readonly format: "custom-columns"; readonly headings: readonly string[] };

/** Templates in Go's language need its interpreter and the fields of Go's types, which are not here. */
const TEMPLATES = ["go-template", "go-template-file"];

export const FORMATS = ["ps", "wide", "yaml", "json", "name", "custom-columns=A,B"];

/** Reads `-o`. */
export function parseOutput(text: string | undefined): Output {
  if (text === undefined) return { format: "ps" };
  const [format, value] = text.split(/=(.*)/s);
  switch (format) {
    case "ps":
    case "wide":
    case "yaml":
    case "json":
    case "name":
      if (value === undefined) return { format };
      break;
    case "yml":
      if (value === undefined) return { format: "yaml" };
      break;
    case "custom-columns": {
      const headings = (value ?? "").split(",").filter((h) => h !== "");
      if (headings.length > 0) return { format, headings };
      throw usageError("-o custom-columns needs headings; want custom-columns=NAME,CIDR");
    }
  }
  if (TEMPLATES.includes(format)) {
    throw usageError(
      `-o ${format} is not supported: templates in Go's language need Go; want ` +
        "custom-columns=NAME,CIDR for columns of your choice, or json for jq and its like",
    );
  }
  const near = nearest(format, FORMATS);
  throw usageError(
    `unrecognized output format '${text}'${near ? ` (did you mean ${near}?)` : ""}; want ` +
      FORMATS.join(", "),
  );
}

/** Objects of one kind. `whole` where all of a kind were asked for, not objects by name. */
export interface Group {
  readonly kind: AnyKind;
  readonly objects: readonly Resource[];
  readonly whole: boolean;
  /** Of the store, for a whole list. */
  readonly revision?: string;
}

export interface PrintOptions {
  /** A NAMESPACE column in front. */
  readonly namespaces?: boolean;
  /** Without what belongs to this cluster alone; the namespace goes too, unless all were asked for. */
  readonly exported?: boolean;
  readonly keepNamespace?: boolean;
  readonly context?: ColumnContext;
  /** JSON as calicoctl's: without the line end behind it, with Go's escapes. */
  readonly bare?: boolean;
}

/** Whether the format needs the cluster's AS number (nodes without one of their own show it). */
export function needsContext(output: Output, groups: readonly Group[]): boolean {
  return (output.format === "wide" || output.format === "custom-columns") &&
    groups.some(({ kind }) => kind.kind === "Node" && kind.home === "calico");
}

/** The text for standard output. */
export async function print(
  output: Output,
  groups: readonly Group[],
  options: PrintOptions = {},
): Promise<string> {
  switch (output.format) {
    case "ps":
    case "wide":
    case "custom-columns":
      return groups.map((group) => table(output, group, options)).join("");
    case "name":
      return groups.flatMap(({ kind, objects }) =>
        objects.map((object) => `${kind.names[0]}/${visible(object.metadata.name)}\n`)
      ).join("");
    case "json": {
      const text = formatJson(document(groups, options));
      return options.bare ? withEscapes(text) : `${text}\n`;
    }
    case "yaml": {
      const { formatYaml } = await import("./yaml.ts");
      return formatYaml(document(groups, options));
    }
  }
}

function table(output: Output, group: Group, options: PrintOptions): string {
  const context = options.context ?? { asNumber: DEFAULT_AS_NUMBER };
  const { kind, objects } = group;
  const columns = [...columnsOf(output, kind)];
  // The user's choice of columns is theirs.
  const fixed = output.format !== "custom-columns";
  if (options.namespaces && kind.namespaced && fixed) columns.unshift(namespaceColumn);
  const rows = objects.map((object) => columns.map((column) => column.value(object, context)));
  return `${tabbed([columns.map((column) => column.heading), ...rows])}\n`;
}

const namespaceColumn: Column<Resource> = {
  heading: "NAMESPACE",
  value: (object) => object.metadata.namespace ?? "",
};

function columnsOf(output: Output, kind: AnyKind): readonly Column[] {
  if (output.format === "wide") return kind.wideColumns ?? kind.columns;
  if (output.format !== "custom-columns") return kind.columns;
  const known = new Map(
    [...(kind.namespaced ? [namespaceColumn] : []), ...(kind.wideColumns ?? []), ...kind.columns]
      .map((column) => [column.heading, column]),
  );
  return output.headings.map((heading) => {
    const column = known.get(heading.toUpperCase());
    if (column) return column;
    throw usageError(
      `${kind.kind} has no column ${heading}; want some of ${[...known.keys()].join(", ")}`,
    );
  });
}

function document(groups: readonly Group[], options: PrintOptions): unknown {
  const values = groups.map((group) =>
    group.objects.map((object) => printed(group.kind, object, options))
  );
  if (groups.length === 1 && groups[0].whole) {
    const { kind, revision } = groups[0];
    return {
      kind: `${kind.kind}List`,
      apiVersion: kind.apiVersion,
      metadata: revision === undefined ? {} : { resourceVersion: revision },
      items: values[0],
    };
  }
  const all = values.flat();
  return all.length === 1 ? all[0] : all;
}

/**
 * Of Calico's kinds calicoctl shows no side of a rule that says nothing, though it is stored, and nothing
 * of how often Kubernetes has counted a change.
 */
export function asCalicoShows(value: Resource): Resource {
  const { generation: _, ...metadata } = value.metadata;
  const spec = value.spec as Record<string, unknown> | undefined;
  const shown = { ...spec };
  for (const direction of ["ingress", "egress"]) {
    const rules = spec?.[direction];
    if (Array.isArray(rules)) shown[direction] = rules.map(withoutEmptySides);
  }
  return { ...value, metadata, ...spec && { spec: shown } };
}

function withoutEmptySides(rule: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(rule).filter(([key, side]) =>
      !(["source", "destination"].includes(key) && isEmpty(side))
    ),
  );
}

function isEmpty(value: unknown): boolean {
  return typeof value === "object" && value !== null && Object.keys(value).length === 0;
}

/** With the revision in its place among Kubernetes' members of metadata. */
function withRevision(metadata: Metadata, resourceVersion: string | undefined): Metadata {
  if (!resourceVersion) return metadata;
  const { name, generateName, namespace, uid, ...rest } = metadata as Metadata & {
    selfLink?: string;
  };
  return {
    name,
    ...generateName !== undefined && { generateName },
    ...namespace !== undefined && { namespace },
    ...uid !== undefined && { uid },
    resourceVersion,
    ...rest,
  };
}

function printed(kind: AnyKind, object: Resource, options: PrintOptions): unknown {
  const encoded = encodeObject(kind, object) as Resource;
  const value = kind.home === "calico" ? asCalicoShows(encoded) : encoded;
  const { resourceVersion } = object.metadata;
  if (!options.exported) {
    return { ...value, metadata: withRevision(value.metadata, resourceVersion) };
  }
  const {
    uid: _1,
    creationTimestamp: _2,
    namespace,
    deletionTimestamp: _4,
    deletionGracePeriodSeconds: _5,
    ...metadata
  } = value.metadata;
  const kept = options.keepNamespace && namespace !== undefined ? { namespace } : {};
  return { ...value, metadata: { ...metadata, ...kept } };
}
