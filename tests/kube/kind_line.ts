/** A line of the table of resources, with what most of them have in common. */
import type { ResourceKind } from "./resource_kind.ts";

export type Line = Pick<ResourceKind, "plural" | "singular" | "kind"> & Partial<ResourceKind>;

export function resource(line: Line): ResourceKind {
  return {
    group: "",
    version: "v1",
    namespaced: true,
    names: "subdomain",
    status: false,
    generation: false,
    unconditionalUpdate: true,
    fields: [],
    top: ["spec", "status"],
    ...line,
  };
}

export const fill = (object: any, defaults: Record<string, unknown>) => {
  for (const [field, value] of Object.entries(defaults)) object[field] ??= value;
};
