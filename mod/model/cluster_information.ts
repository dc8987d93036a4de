/** ClusterInformation `default`: the cluster's identity, and whether the datastore may be used. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { bool, text } from "./fields.ts";
import { show } from "./show.ts";
import { column, goPointer, nameColumn } from "./columns.ts";

const schema = objectSchema("ClusterInformation", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      /** 32 hex digits: a UUID without dashes. */
      clusterGUID: v.optional(text),
      /** Comma list: `k8s,bgp,kubeadm`. */
      clusterType: v.optional(text),
      calicoVersion: v.optional(text),
      /** While false, CNI refuses and agents wait. */
      datastoreReady: v.optional(bool),
      variant: v.optional(text),
    }),
    {},
  ),
});

export type ClusterInformation = v.InferOutput<typeof schema>;
export type ClusterInformationInput = v.InferInput<typeof schema>;

export const clusterInformationKind: Kind<ClusterInformation, ClusterInformationInput> = {
  kind: "ClusterInformation",
  apiVersion: "projectcalico.org/v3",
  plural: "clusterinformations",
  home: "calico",
  namespaced: false,
  names: ["clusterinformation", "clusterinformations", "clusterinfo", "clusterinfos"],
  schema,
  crd: true,
  columns: [
    nameColumn,
    column("CLUSTERGUID", (c) => c.spec.clusterGUID ?? ""),
    column("CLUSTERTYPE", (c) => c.spec.clusterType ?? ""),
    column("CALICOVERSION", (c) => c.spec.calicoVersion ?? ""),
    column("DATASTOREREADY", (c) => goPointer(c.spec.datastoreReady)),
  ],
  readOnly: "it is kept by the nodes and controllers themselves",
  mendedWith:
    "`datastore migrate unlock` writes it anew (`lock`, if the datastore is to stay locked)",
};

/**
 * Why a cluster's datastore is locked, as its ClusterInformation `default` stands in the store: nobody
 * gives addresses, writes or changes the kernel then. As in Calico, nothing but `true` is ready.
 */
export function lockReason(cluster: unknown): string | undefined {
  const ready = (cluster as { spec?: { datastoreReady?: unknown } | null } | null)?.spec
    ?.datastoreReady;
  if (ready === true) return undefined;
  if (ready === false) return "ClusterInformation default has datastoreReady false";
  return ready === undefined
    ? "ClusterInformation default says no datastoreReady"
    : `ClusterInformation default has datastoreReady ${show(ready)}, which is not true`;
}

/** The same of a ClusterInformation that cannot be read. */
export function unreadableCluster(why: string): string {
  return `ClusterInformation default cannot be read: ${why}`;
}
