/** CalicoNodeStatus: a request that a node report about itself, and its last report. */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { integer, ipText, nameText, oneOf, text } from "./fields.ts";
import { column, joined, nameColumn } from "./columns.ts";
import { show } from "./show.ts";

const bird = v.object({
  state: v.optional(oneOf("Ready", "NotReady")),
  version: v.optional(text),
  routerID: v.optional(text),
  lastBootTime: v.optional(text),
  lastReconfigurationTime: v.optional(text),
});
const peer = v.object({
  peerIP: v.optional(ipText),
  type: v.optional(oneOf("NodeMesh", "NodePeer", "GlobalPeer")),
  state: v.optional(
    oneOf("Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established", "Close"),
  ),
  since: v.optional(text),
});
const route = v.object({
  type: v.optional(oneOf("FIB", "RIB")),
  destination: v.optional(text),
  gateway: v.optional(text),
  interface: v.optional(text),
  learnedFrom: v.optional(v.object({
    sourceType: v.optional(oneOf("Kernel", "Static", "Direct", "NodeMesh", "BGPPeer")),
    peerIP: v.optional(text),
  })),
});

const schema = objectSchema("CalicoNodeStatus", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      node: v.optional(nameText),
      classes: v.optional(v.array(oneOf("Agent", "BGP", "Routes"))),
      updatePeriodSeconds: v.optional(integer(0, 86400, "uint32")),
    }),
    {},
  ),
  status: v.optional(
    v.object({
      lastUpdated: v.optional(text),
      agent: v.optional(v.object({ birdV4: v.optional(bird), birdV6: v.optional(bird) })),
      bgp: v.optional(v.object({
        numberEstablishedV4: v.optional(v.number(), 0),
        numberNotEstablishedV4: v.optional(v.number(), 0),
        numberEstablishedV6: v.optional(v.number(), 0),
        numberNotEstablishedV6: v.optional(v.number(), 0),
        peersV4: v.optional(v.array(peer)),
        peersV6: v.optional(v.array(peer)),
      })),
      routes: v.optional(v.object({
        routesV4: v.optional(v.array(route)),
        routesV6: v.optional(v.array(route)),
      })),
    }),
    {},
  ),
});

export type CalicoNodeStatus = v.InferOutput<typeof schema>;
export type CalicoNodeStatusInput = v.InferInput<typeof schema>;

export const calicoNodeStatusKind: Kind<CalicoNodeStatus, CalicoNodeStatusInput> = {
  kind: "CalicoNodeStatus",
  apiVersion: "projectcalico.org/v3",
  plural: "caliconodestatuses",
  home: "calico",
  namespaced: false,
  names: ["caliconodestatus", "caliconodestatuses", "nodestatus", "nodestatuses"],
  schema,
  crd: true,
  columns: [nameColumn, column("NODE", (s) => s.spec.node ?? "")],
  wideColumns: [
    nameColumn,
    column("NODE", (s) => s.spec.node ?? ""),
    column("CLASSES", (s) => joined(s.spec.classes)),
  ],
  check({ spec }) {
    const issues: Issue[] = [];
    for (const field of ["node", "updatePeriodSeconds"] as const) {
      if (spec[field] === undefined) issues.push({ path: `spec.${field}`, message: "is missing" });
    }
    if (new Set(spec.classes).size !== (spec.classes ?? []).length) {
      issues.push({ path: "spec.classes", message: `${show(spec.classes)} repeats one` });
    }
    return issues;
  },
  // One without is read, since an empty list is stored as none.
  checkWrite: ({ spec }) =>
    (spec.classes ?? []).length > 0
      ? []
      : [{ path: "spec.classes", message: "is missing: want some of Agent, BGP, Routes" }],
};
