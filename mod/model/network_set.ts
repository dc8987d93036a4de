/** NetworkSet and GlobalNetworkSet: CIDRs under labels, for selectors to match. */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema, type Resource } from "./resource.ts";
import { cidrText } from "./fields.ts";
import { column, joinedShort, nameColumn } from "./columns.ts";

/** A label that Calico itself gives to the sets of a namespace. */
function setIssues(set: Resource): Issue[] {
  if (!Object.hasOwn(set.metadata.labels ?? {}, "projectcalico.org/namespace")) return [];
  return [{
    path: "metadata.labels",
    message:
      'key "projectcalico.org/namespace" is not allowed: it is set for every set of a namespace',
  }];
}

const spec = v.optional(v.object({ nets: v.optional(v.array(cidrText)) }), {});

const namespacedSchema = objectSchema("NetworkSet", "projectcalico.org/v3", { spec });
const globalSchema = objectSchema("GlobalNetworkSet", "projectcalico.org/v3", { spec });

export type NetworkSet = v.InferOutput<typeof namespacedSchema>;
export type NetworkSetInput = v.InferInput<typeof namespacedSchema>;
export type GlobalNetworkSet = v.InferOutput<typeof globalSchema>;
export type GlobalNetworkSetInput = v.InferInput<typeof globalSchema>;

export const networkSetKind: Kind<NetworkSet, NetworkSetInput> = {
  kind: "NetworkSet",
  apiVersion: "projectcalico.org/v3",
  plural: "networksets",
  home: "calico",
  namespaced: true,
  names: ["networkset", "networksets", "netsets"],
  schema: namespacedSchema,
  crd: true,
  columns: [nameColumn],
  wideColumns: [nameColumn, column("NETS", (set) => joinedShort(set.spec.nets))],
  check: setIssues,
};

export const globalNetworkSetKind: Kind<GlobalNetworkSet, GlobalNetworkSetInput> = {
  kind: "GlobalNetworkSet",
  apiVersion: "projectcalico.org/v3",
  plural: "globalnetworksets",
  home: "calico",
  namespaced: false,
  names: ["globalnetworkset", "globalnetworksets", "gnetsets"],
  schema: globalSchema,
  crd: true,
  columns: [nameColumn],
  wideColumns: [nameColumn, column("NETS", (set) => joinedShort(set.spec.nets))],
  check: setIssues,
};
