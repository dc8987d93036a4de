/** NetworkSet and GlobalNetworkSet: CIDRs under labels, for selectors to match. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { netText } from "./fields.ts";

const spec = v.optional(v.object({ nets: v.optional(v.array(netText)) }), {});

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
  columns: [],
};

export const globalNetworkSetKind: Kind<GlobalNetworkSet, GlobalNetworkSetInput> = {
  kind: "GlobalNetworkSet",
  apiVersion: "projectcalico.org/v3",
  plural: "globalnetworksets",
  home: "calico",
  namespaced: false,
  names: ["globalnetworkset", "globalnetworksets", "gnetsets"],
  schema: globalSchema,
  columns: [],
};
