/** BGPPeer: a session beyond the mesh, for one node, for selected nodes or for all. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  asNumberValue,
  durationText,
  integer,
  oneOf,
  selectorText,
  text,
  zeroBool,
} from "./fields.ts";
import { secretKeyRef } from "./bgp_configuration.ts";

const schema = objectSchema("BGPPeer", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      node: v.optional(text),
      nodeSelector: v.optional(selectorText),
      /** `192.0.2.1`, `192.0.2.1:1179`, `2001:db8::1`, `[2001:db8::1]:1179`. */
      peerIP: v.optional(text),
      asNumber: v.optional(asNumberValue),
      peerSelector: v.optional(selectorText),
      keepOriginalNextHop: zeroBool,
      nextHopMode: v.optional(oneOf("Auto", "Self", "Keep")),
      password: v.optional(secretKeyRef),
      sourceAddress: v.optional(oneOf("UseNodeIP", "None")),
      maxRestartTime: v.optional(durationText),
      numAllowedLocalASNumbers: v.optional(integer(0, 2147483647)),
      ttlSecurity: v.optional(integer(0, 255)),
      reachableBy: v.optional(text),
      filters: v.optional(v.array(text)),
      localWorkloadSelector: v.optional(selectorText),
      reversePeering: v.optional(oneOf("Auto", "Manual")),
      localASNumber: v.optional(asNumberValue),
      keepaliveTime: v.optional(durationText),
    }),
    {},
  ),
});

export type BGPPeer = v.InferOutput<typeof schema>;
export type BGPPeerInput = v.InferInput<typeof schema>;

export const bgpPeerKind: Kind<BGPPeer, BGPPeerInput> = {
  kind: "BGPPeer",
  apiVersion: "projectcalico.org/v3",
  plural: "bgppeers",
  home: "calico",
  namespaced: false,
  names: ["bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"],
  schema,
  columns: [],
};
