/** Node (Calico's): a machine with its BGP addresses, AS number and tunnel addresses. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { asNumberValue, cidrText, ipText, ipv4Text, ipv6Text, oneOf, text } from "./fields.ts";

const schema = objectSchema("Node", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      bgp: v.optional(v.object({
        asNumber: v.optional(asNumberValue),
        /** With prefix length: `192.0.2.11/24`. */
        ipv4Address: v.optional(text),
        ipv6Address: v.optional(text),
        ipv4IPIPTunnelAddr: v.optional(ipv4Text),
        /** Written as an IPv4 address; makes the node a route reflector. */
        routeReflectorClusterID: v.optional(ipv4Text),
      })),
      ipv4VXLANTunnelAddr: v.optional(ipv4Text),
      vxlanTunnelMACAddr: v.optional(text),
      ipv6VXLANTunnelAddr: v.optional(ipv6Text),
      vxlanTunnelMACAddrV6: v.optional(text),
      orchRefs: v.optional(v.array(v.object({
        nodeName: v.optional(text),
        orchestrator: text,
      }))),
      wireguard: v.optional(v.object({
        interfaceIPv4Address: v.optional(ipv4Text),
        interfaceIPv6Address: v.optional(ipv6Text),
      })),
      addresses: v.optional(v.array(v.object({
        address: text,
        type: v.optional(oneOf("CalicoNodeIP", "InternalIP", "ExternalIP")),
      }))),
      interfaces: v.optional(v.array(v.object({
        name: text,
        addresses: v.optional(v.array(ipText)),
      }))),
    }),
    {},
  ),
  status: v.optional(
    v.object({
      wireguardPublicKey: v.optional(text),
      wireguardPublicKeyV6: v.optional(text),
      podCIDRs: v.optional(v.array(cidrText)),
    }),
    {},
  ),
});

export type Node = v.InferOutput<typeof schema>;
export type NodeInput = v.InferInput<typeof schema>;

export const nodeKind: Kind<Node, NodeInput> = {
  kind: "Node",
  apiVersion: "projectcalico.org/v3",
  plural: "nodes",
  home: "calico",
  namespaced: false,
  names: ["node", "nodes", "no", "nos"],
  schema,
  columns: [],
};
