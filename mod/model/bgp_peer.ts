/** BGPPeer: a session beyond the mesh, for one node, for selected nodes or for all. */
import * as v from "valibot";
import { type Ip, parseIp } from "../net/mod.ts";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  asNumberValue,
  checkedText,
  durationText,
  integer,
  ipText,
  nameText,
  oneOf,
  selectorOfAtMost,
  zeroBool,
  zeroIsNothing,
} from "./fields.ts";
import { column, nameColumn } from "./columns.ts";
import { secretKeyRef } from "./bgp_configuration.ts";

const schema = objectSchema("BGPPeer", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      node: v.optional(nameText),
      nodeSelector: v.optional(selectorOfAtMost(4096)),
      /** `192.0.2.1`, `192.0.2.1:1179`, `2001:db8::1`, `[2001:db8::1]:1179`. */
      peerIP: v.optional(checkedText(
        (s) => parsePeerAddress(s) !== undefined,
        "an address, with or without port, such as 192.0.2.1, 192.0.2.1:1179 or [2001:db8::1]:1179",
      )),
      asNumber: v.optional(zeroIsNothing(asNumberValue)),
      localASNumber: v.optional(asNumberValue),
      peerSelector: v.optional(selectorOfAtMost(4096)),
      keepOriginalNextHop: zeroBool,
      nextHopMode: v.optional(oneOf("Auto", "Self", "Keep")),
      password: v.optional(secretKeyRef),
      sourceAddress: v.optional(oneOf("UseNodeIP", "None")),
      maxRestartTime: v.optional(durationText),
      keepaliveTime: v.optional(durationText),
      /** Calico has no limit here; what is below 0 is read as 0. */
      numAllowedLocalASNumbers: v.optional(integer(-2147483648, 2147483647, "int32")),
      ttlSecurity: v.optional(integer(0, 255, "uint8")),
      reachableBy: v.optional(ipText),
      filters: v.optional(v.array(nameText)),
      localWorkloadSelector: v.optional(selectorOfAtMost(4096)),
      reversePeering: v.optional(oneOf("Auto", "Manual")),
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
  crd: true,
  names: ["bgppeer", "bgppeers", "bgpp", "bgpps", "bp", "bps"],
  schema,
  columns: [
    nameColumn,
    column("PEERIP", (p) => p.spec.peerIP ?? ""),
    column("NODE", (p) => p.spec.node || p.spec.nodeSelector || "(global)"),
    column("ASN", (p) => String(p.spec.asNumber ?? 0)),
  ],
  check,
};

/** Reads `peerIP`; the port is undefined where none is given. */
export function parsePeerAddress(text: string): { ip: Ip; port?: number } | undefined {
  const withPort = /^(?:([0-9.]+)|\[([0-9a-fA-F:.]+)\]):([0-9]+)$/.exec(text);
  if (!withPort) {
    const ip = parseIp(text);
    return ip && { ip };
  }
  const ip = parseIp(withPort[1] ?? withPort[2]);
  const port = Number(withPort[3]);
  const familyFits = ip?.family === (withPort[1] === undefined ? 6 : 4);
  return ip && familyFits && port >= 1 && port <= 65535 ? { ip, port } : undefined;
}

function check({ spec }: BGPPeer): Issue[] {
  const issues: Issue[] = [];
  const say = (field: string, message: string) => issues.push({ path: `spec.${field}`, message });
  if (spec.node && spec.nodeSelector) say("nodeSelector", "cannot stand beside node; want one");
  if (spec.peerIP && spec.peerSelector) say("peerSelector", "cannot stand beside peerIP; want one");
  if (spec.peerSelector && spec.asNumber) {
    say(
      "asNumber",
      `${spec.asNumber} cannot stand beside peerSelector: the selected nodes have theirs`,
    );
  }
  if (spec.localWorkloadSelector) {
    for (const field of ["peerIP", "peerSelector"] as const) {
      if (spec[field]) say(field, "cannot stand beside localWorkloadSelector");
    }
    if (!spec.asNumber) say("asNumber", "is missing: localWorkloadSelector needs it");
  }
  if (spec.keepOriginalNextHop && spec.nextHopMode) {
    say("keepOriginalNextHop", "cannot stand beside nextHopMode, which replaces it");
  }
  if (spec.reachableBy) {
    const peer = spec.peerIP ? parsePeerAddress(spec.peerIP)?.ip : undefined;
    if (!spec.peerIP) say("reachableBy", "needs peerIP beside it");
    else if (peer && peer.family !== parseIp(spec.reachableBy)?.family) {
      say("reachableBy", `${spec.reachableBy} is not of the family of peerIP ${spec.peerIP}`);
    }
  }
  return issues;
}
