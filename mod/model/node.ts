/** Node (Calico's): a machine with its BGP addresses, AS number and tunnel addresses. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  asNumberValue,
  checkedText,
  cidrv4Text,
  cidrv6Text,
  ipv4Text,
  ipv6Text,
  macText,
  oneOf,
  text,
} from "./fields.ts";
import { parseCidr, parseIp } from "../net/mod.ts";
import { column, nameColumn } from "./columns.ts";

/** An address as a node has it: with or without prefix length, host bits and all. */
const nodeAddress = checkedText(
  (s) => (s.includes("/") ? parseCidr(s) : parseIp(s)) !== undefined,
  "an address, with or without its prefix length, such as 192.0.2.1 or 192.0.2.1/24",
);
const wireguardKey = checkedText(
  (s) => /^[A-Za-z0-9+/]{43}=$/.test(s),
  "a WireGuard public key: 32 bytes in base64",
);

const schema = objectSchema("Node", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      bgp: v.optional(v.object({
        asNumber: v.optional(asNumberValue),
        /** With prefix length: `192.0.2.11/24`. */
        ipv4Address: v.optional(cidrv4Text),
        ipv6Address: v.optional(cidrv6Text),
        ipv4IPIPTunnelAddr: v.optional(ipv4Text),
        /** Written as an IPv4 address; makes the node a route reflector. */
        routeReflectorClusterID: v.optional(ipv4Text),
      })),
      ipv4VXLANTunnelAddr: v.optional(ipv4Text),
      vxlanTunnelMACAddr: v.optional(macText),
      ipv6VXLANTunnelAddr: v.optional(ipv6Text),
      vxlanTunnelMACAddrV6: v.optional(macText),
      orchRefs: v.optional(v.array(v.object({
        nodeName: v.optional(text),
        orchestrator: v.optional(text, ""),
      }))),
      wireguard: v.optional(v.object({
        interfaceIPv4Address: v.optional(ipv4Text),
        interfaceIPv6Address: v.optional(ipv6Text),
      })),
      addresses: v.optional(v.array(v.object({
        address: v.optional(nodeAddress, ""),
        type: v.optional(oneOf("CalicoNodeIP", "InternalIP", "ExternalIP")),
      }))),
      interfaces: v.optional(v.array(v.object({
        name: v.optional(text),
        addresses: v.optional(v.array(text)),
      }))),
    }),
    {},
  ),
  status: v.optional(
    v.object({
      wireguardPublicKey: v.optional(wireguardKey),
      wireguardPublicKeyV6: v.optional(wireguardKey),
      podCIDRs: v.optional(v.array(text)),
    }),
    {},
  ),
});

export type Node = v.InferOutput<typeof schema>;
export type NodeInput = v.InferInput<typeof schema>;

/** The name that Kubernetes knows it by; of a Node that nobody has checked too. */
export function kubernetesName(node: Node | null | undefined): string | undefined {
  const refs: unknown = node?.spec?.orchRefs;
  if (!Array.isArray(refs)) return undefined;
  const name = refs.find((ref) => ref?.orchestrator === KUBERNETES)?.nodeName;
  return typeof name === "string" && name !== "" ? name : undefined;
}

/** What Kubernetes is called in `orchRefs`. */
export const KUBERNETES = "k8s";

/** As Calico names them in IPAM's records. */
export type TunnelType =
  | "ipipTunnelAddress"
  | "vxlanTunnelAddress"
  | "vxlanV6TunnelAddress"
  | "wireguardTunnelAddress"
  | "wireguardV6TunnelAddress";

export interface TunnelEnd {
  readonly type: TunnelType;
  readonly address: string;
}

/** The ends of its tunnels; also of a stored Node that nobody has checked. */
export function tunnelsOf(node: unknown): TunnelEnd[] {
  const spec = (node as Node | null)?.spec;
  const ends: [TunnelType, unknown][] = [
    ["ipipTunnelAddress", spec?.bgp?.ipv4IPIPTunnelAddr],
    ["vxlanTunnelAddress", spec?.ipv4VXLANTunnelAddr],
    ["vxlanV6TunnelAddress", spec?.ipv6VXLANTunnelAddr],
    ["wireguardTunnelAddress", spec?.wireguard?.interfaceIPv4Address],
    ["wireguardV6TunnelAddress", spec?.wireguard?.interfaceIPv6Address],
  ];
  return ends.flatMap(([type, address]) =>
    typeof address === "string" && address !== "" ? [{ type, address }] : []
  );
}

export function tunnelAddressesOf(node: unknown): string[] {
  return tunnelsOf(node).map(({ address }) => address);
}

/**
 * What a Node says that its interfaces have, tunnels aside, as texts with or without a length. Of one that
 * somebody wrote wrongly, whatever can be read.
 */
export function machineAddressesOf(node: unknown): string[] {
  const spec: any = (node as Node | null)?.spec ?? {};
  const list = (value: unknown): any[] => Array.isArray(value) ? value : [];
  return [
    spec.bgp?.ipv4Address,
    spec.bgp?.ipv6Address,
    ...list(spec.addresses).map((one) => one?.address),
    ...list(spec.interfaces).flatMap((one) => list(one?.addresses)),
  ].filter((text) => typeof text === "string");
}

export const nodeKind: Kind<Node, NodeInput> = {
  kind: "Node",
  apiVersion: "projectcalico.org/v3",
  plural: "nodes",
  home: "calico",
  namespaced: false,
  names: ["node", "nodes", "no", "nos"],
  schema,
  columns: [nameColumn],
  wideColumns: [
    nameColumn,
    // A node without a number of its own takes part with the cluster's, in parentheses.
    column(
      "ASN",
      (n, context) => !n.spec.bgp ? "" : String(n.spec.bgp.asNumber ?? `(${context.asNumber})`),
    ),
    column("IPV4", (n) => n.spec.bgp?.ipv4Address ?? ""),
    column("IPV6", (n) => n.spec.bgp?.ipv6Address ?? ""),
  ],
  check: ({ spec }) =>
    spec.bgp && Object.keys(spec.bgp).length === 0
      ? [{ path: "spec.bgp", message: "is empty; leave it out or give an address" }]
      : [],
};
