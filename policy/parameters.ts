/**
 * What an administrator may set about policy on a node (FelixConfiguration, environment), with
 * Calico's defaults as its Kubernetes manifests leave them.
 */
import type { Family, PortRange } from "./rules.ts";

export interface PolicyParameters {
  /** Endpoints of this node get chains. Absent: all endpoints do (for explain and matrix). */
  readonly nodeName?: string;
  /** Interfaces whose names begin so are pods'; traffic of an unknown one is dropped. */
  readonly interfacePrefixes: readonly string[];
  /** FilterDenyAction. */
  readonly denyAction: "drop" | "reject";
  /**
   * DefaultEndpointToHostAction: what becomes of a pod's traffic to its own host once egress policy
   * let it pass. Calico's manifests set ACCEPT; its bare default is DROP.
   */
  readonly endpointToHostAction: "accept" | "drop" | "return";
  /** Drop packets that connection tracking calls invalid. */
  readonly dropInvalid: boolean;
  /** Whether pods may send packets that are themselves tunnels; they could step around policy. */
  readonly allowVxlanFromWorkloads: boolean;
  readonly allowIpipFromWorkloads: boolean;
  readonly vxlanPort: number;
  /**
   * Tunnels that this node ends, by family; absent: those that a pool asks for. Decides whether
   * tunnel packets of strangers are dropped and which devices are masqueraded.
   */
  readonly vxlan?: Readonly<Partial<Record<Family, boolean>>>;
  readonly ipip?: boolean;
  /** ExternalNodesCIDRList: peers of tunnels beside the nodes. */
  readonly externalNodes: readonly string[];
  /** Masquerade traffic that leaves for the node addresses too? (NATOutgoingExclusions) */
  readonly natOutgoingExclusions: "IPPoolsOnly" | "IPPoolsAndHostIPs";
  /** NATPortRange. */
  readonly natPorts?: PortRange;
  /** IptablesNATOutgoingInterfaceFilter: masquerade only what leaves by this interface. */
  readonly natOutgoingInterface?: string;
  /** FloatingIPs is Enabled: what goes to an external address of an endpoint goes to the endpoint. */
  readonly floatingIps: boolean;
  /** WorkloadSourceSpoofing is Any: endpoints may send from the prefixes that they name. */
  readonly sourceSpoofing: boolean;
  /** Networks of services: packets to them that no proxy translated would loop. */
  readonly serviceCidrs: readonly string[];
  /** What stands before a packet in the kernel log (action Log). */
  readonly logPrefix: string;
}

/** How the rule is called that does `endpointToHostAction`. */
export const toHostComment = "Configured DefaultEndpointToHostAction";

export const defaultParameters: PolicyParameters = {
  interfacePrefixes: ["cali"],
  denyAction: "drop",
  endpointToHostAction: "accept",
  dropInvalid: true,
  allowVxlanFromWorkloads: false,
  allowIpipFromWorkloads: false,
  vxlanPort: 4789,
  externalNodes: [],
  natOutgoingExclusions: "IPPoolsOnly",
  floatingIps: false,
  sourceSpoofing: false,
  serviceCidrs: [],
  logPrefix: "calico-packet: ",
};

/**
 * The bit of a connection's own mark that says that policy no longer allows it: set and taken back by
 * the node (mod/node/flows.ts), read by the endpoints' chains. It lies in Calico's part of the word; a
 * packet that somebody gives its connection's mark is judged no differently.
 */
export const cutMark = 0x100000;

/** Calico's bits of a packet's mark (mask 0xffff0000; kube-proxy's 0x4000 and 0x8000 lie below). */
export const marks = {
  /** Policy accepted the packet. */
  accept: 0x10000,
  /** Policy passed it on to the next tier. */
  pass: 0x20000,
  /** All that we may set and clear. */
  all: 0x1b0000,
} as const;
