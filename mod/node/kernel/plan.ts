/**
 * Everything that the node's kernel should hold but for the VXLAN devices themselves and what single
 * endpoints want (`endpoint_parts.ts`), in the forms of the reconcilers beside this file; of routes what
 * this node has to say, to which `route_plan.ts` adds what BGP has learned. Pure: from the cluster's
 * state, the links that are there, and ways to next hops.
 */
import type { Link } from "../../../ffi/route/link.ts";
import { RTPROT_KERNEL } from "../../../ffi/route/route.ts";
import { addressBits, type Family, formatPrefix, type Ip, type Prefix } from "../../net/mod.ts";
import type { FelixParameters } from "../felix.ts";
import type { TunnelLinkMtus } from "../mtu.ts";
import { type KernelPath, resolveByOthers } from "../next_hops.ts";
import type { OwnInputs, PlannedRoute } from "../route_plan.ts";
import type { ClusterState } from "../state.ts";
import { FAMILIES, tunnels, VXLAN_DEVICES } from "../vxlan.ts";
import {
  type DeviceParent,
  planDevice,
  planTunnels,
  poolFinder,
  type VxlanDevice,
} from "../vxlan_plan.ts";
import { addressKey } from "./addresses.ts";
import { forwardingKey } from "./forwarding.ts";
import { neighbourKey } from "./neighbours.ts";
import { GLOBAL_SYSCTLS, IPV6_FORWARDING } from "./sysctls.ts";

export interface DevicesInputs {
  readonly state: ClusterState;
  readonly felix: FelixParameters;
  readonly wireMtu: number;
  /** The interface that has an address. */
  interfaceOf(ip: Ip): DeviceParent | undefined;
}

export interface DevicesPlan {
  /** By name. */
  readonly devices: Map<string, VxlanDevice>;
  /** By name: why one that is wanted cannot be. */
  readonly faults: ReadonlyMap<string, string>;
  /** What of them is not as it is configured, and why. */
  readonly warnings: readonly string[];
  /** Of the interfaces that they stand on. */
  readonly linkMtus: TunnelLinkMtus;
}

const families = (felix: FelixParameters) => FAMILIES.filter((f) => f === 4 || felix.ipv6);

export function planDevices(inputs: DevicesInputs): DevicesPlan {
  const { state, felix, wireMtu } = inputs;
  const devices = new Map<string, VxlanDevice>();
  const faults = new Map<string, string>();
  const warnings: string[] = [];
  const linkMtus: Partial<Record<Family, number>> = {};
  const pools = state.poolPrefixes();
  for (const family of families(felix)) {
    const wanted = planDevice(family, {
      nodeName: state.nodeName,
      node: state.nodes.get(state.nodeName),
      pools,
      parameters: felix,
      hostMtu: wireMtu,
      interfaceOf: (ip) => inputs.interfaceOf(ip),
    });
    const name = VXLAN_DEVICES[family];
    if (!wanted) continue;
    // Also of a link that has no room for one: pods' packets are to know.
    if (wanted.parent) linkMtus[family] = wanted.parent.mtu;
    if ("fault" in wanted) {
      faults.set(name, wanted.fault);
      continue;
    }
    devices.set(name, wanted.device);
    if (wanted.warning) warnings.push(wanted.warning);
  }
  return { devices, faults, warnings, linkMtus };
}

export interface KernelInputs {
  readonly state: ClusterState;
  readonly felix: FelixParameters;
  readonly paths: readonly KernelPath[];
  /** VXLAN devices that are wanted, by name. */
  readonly devices: ReadonlyMap<string, unknown>;
  /** Whether an endpoint has an address of IPv6. */
  readonly ipv6Endpoints: boolean;
  linkOf(name: string): Pick<Link, "index" | "name" | "up"> | undefined;
}

export interface KernelPlan {
  readonly sysctls: Map<string, string>;
  readonly neighbours: Map<string, string>;
  readonly addresses: Map<string, true>;
  readonly forwarding: Map<string, string>;
  /** What goes into the table whatever BGP says. */
  readonly own: OwnInputs;
  /** Prefixes that get a tunnel which is not ready. */
  readonly awaited: ReadonlySet<string>;
  /** Nodes to which no tunnel leads, and why. */
  readonly problems: readonly string[];
  /** Whether BGP has a say about a prefix; follows from the pools alone. */
  takesLearned(prefix: Prefix): boolean;
}

const isIpv6 = ({ prefix }: { prefix: Prefix }) => prefix.ip.family === 6;

export function planKernel(inputs: KernelInputs): KernelPlan {
  const { state, felix } = inputs;
  const pools = state.poolPrefixes();
  const handled = (prefix: Prefix) => felix.ipv6 || prefix.ip.family === 4;
  const sysctls = new Map<string, string>(Object.entries(GLOBAL_SYSCTLS));
  if (inputs.ipv6Endpoints || (felix.ipv6 && pools.some(isIpv6))) {
    sysctls.set(IPV6_FORWARDING, "1");
  }
  if (inputs.devices.has(VXLAN_DEVICES[6])) {
    sysctls.set(`net/ipv6/conf/${VXLAN_DEVICES[6]}/disable_ipv6`, "0");
  }
  const tunnelled = planVxlan(inputs, pools);
  const poolOf = poolFinder(pools);
  const { addresses, neighbours, forwarding, awaited, problems } = tunnelled;
  const connected = connectedNetworks(inputs.paths);
  const ownBlocks = state.ownBlocks()
    .filter((block) => handled(block) && !connected.has(formatPrefix(block)));
  return {
    ...{ sysctls, neighbours, addresses, forwarding, awaited, problems },
    own: { ownBlocks, tunnels: tunnelled.routes },
    takesLearned(prefix) {
      const pool = poolOf(prefix);
      return !pool || !tunnels(pool);
    },
  };
}

/**
 * Networks of interfaces with an address of that length: where a bridge of another plugin has a block of ours
 * as its own, packets to what nobody has end there, and a blackhole in front would take all its containers'.
 */
function connectedNetworks(paths: readonly KernelPath[]): Set<string> {
  return new Set(
    paths.filter(({ protocol, hop }) => protocol === RTPROT_KERNEL && hop && !hop.gateway)
      .map(({ prefix }) => formatPrefix(prefix)),
  );
}

function planVxlan(inputs: KernelInputs, pools: ReturnType<ClusterState["poolPrefixes"]>) {
  const { state, felix, paths, devices, linkOf } = inputs;
  const addresses = new Map<string, true>();
  const neighbours = new Map<string, string>();
  const forwarding = new Map<string, string>();
  const routes = new Map<string, PlannedRoute>();
  const awaited = new Set<string>();
  const problems: string[] = [];
  for (const family of families(felix)) {
    const name = VXLAN_DEVICES[family];
    const link = devices.has(name) ? linkOf(name) : undefined;
    const plan = planTunnels(family, {
      nodeName: state.nodeName,
      nodes: state.nodes,
      pools,
      blocks: state.locatedBlocks(),
      device: link,
      resolve: (nextHop) => resolveByOthers(paths, nextHop),
    });
    for (const [key, route] of plan.routes) routes.set(key, route);
    for (const key of plan.awaited) awaited.add(key);
    problems.push(...plan.problems);
    if (!link) continue;
    const { index } = link;
    if (plan.address) {
      addresses.set(addressKey({ index, ip: plan.address, length: addressBits(family) }), true);
    }
    for (const [ip, mac] of plan.neighbours) neighbours.set(neighbourKey(index, ip), mac);
    for (const [mac, host] of plan.forwarding) forwarding.set(forwardingKey(index, mac), host);
  }
  return { addresses, neighbours, forwarding, routes, awaited, problems };
}
