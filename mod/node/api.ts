/**
 * The local API of a node service, over its socket: what `tortie node status`, `bgp peers|routes|refresh` and
 * `policy explain` ask. Answers are plain values, made from memory.
 */
import { call, type Methods, RpcError } from "../rpc/method.ts";
import type { PolicyEngine } from "../../policy/engine.ts";
import { type Family, formatIp, formatPrefix, parsePrefix } from "../net/mod.ts";
import type { PeerStatus, RefreshAnswer, RouteStatus } from "../../bgp/config.ts";
import { damagedConfig } from "../ipam/damage.ts";
import { selectsNode, type UnreadPool, unreadWords } from "../ipam/pools.ts";
import { ippoolKind } from "../model/ippool.ts";
import { ipamConfigKey, parseResourceKey, resourceKey } from "../model/keys.ts";
import { nodeKind } from "../model/node.ts";
import type { Agent } from "./agent.ts";
import type { BgpPart } from "./bgp.ts";
import type { NodeConfig } from "./config.ts";
import type { FelixParameters } from "./felix.ts";
import type { Kernel } from "./kernel.ts";
import type { TableWatch } from "./nft/table_watch.ts";
import type { PathVerdict } from "./path_mtu.ts";
import type { PathProbe } from "./path_probe.ts";
import { type EndpointState, peerType } from "./reporter.ts";
import type { Registration } from "./startup.ts";
import type { ClusterState } from "./state.ts";
import type { UnroutedHolders } from "./unrouted_holders.ts";
import { tunnels } from "./vxlan.ts";
import { poolFinder } from "./vxlan_plan.ts";

export interface ApiParts {
  readonly config: NodeConfig;
  readonly info: { readonly version: string };
  readonly started: Date;
  readonly state: ClusterState;
  readonly agent: Agent;
  readonly kernel: Kernel;
  readonly bgp?: BgpPart;
  readonly engine: PolicyEngine;
  readonly paths: PathProbe;
  readonly tables: Pick<TableWatch, "fault" | "notes">;
  readonly unrouted: Pick<UnroutedHolders, "warnings">;
  readonly felix: () => FelixParameters;
  /** What has become of what others must know of this node. */
  readonly registration: () => Registration;
}

/** What `node.status` answers. */
export interface NodeStatus {
  readonly node: string;
  readonly version: string;
  readonly pid: number;
  readonly started: string;
  readonly ready: boolean;
  readonly datastore: { readonly ok: boolean; readonly error?: string };
  /** What could not be done yet, with the reason; empty where all is done. */
  readonly errors: readonly string[];
  /** Objects of the datastore that could not be understood. */
  readonly warnings: readonly string[];
  readonly peers: readonly (PeerStatus & {
    readonly type: string;
    /** `from 10.0.0.1 by eth0`: how we reach it. */
    readonly way?: string;
  })[];
  readonly endpoints: readonly {
    readonly namespace: string;
    readonly workload: string;
    readonly interface: string;
    readonly addresses: readonly string[];
    readonly state: EndpointState;
  }[];
  readonly blocks: readonly string[];
  /** The ways to the other nodes' addresses, as far as they have been measured; bytes. */
  readonly paths: readonly {
    readonly node: string;
    readonly address: string;
    readonly configuredMtu: number;
    readonly pathMtu?: number;
    readonly verdict: PathVerdict;
  }[];
  readonly memoryBytes: number;
}

/** Up: its policy is in the kernel, its interface is up, its routes are there. */
export function endpointState(
  { agent, kernel, state }: Pick<ApiParts, "agent" | "kernel" | "state">,
  key: string,
): EndpointState {
  const endpoint = state.endpoints.get(key);
  const up = endpoint && agent.programmedEndpoints.has(key) && !kernel.endpointFault(endpoint);
  return up ? "up" : "down";
}

/** Endpoints that cannot be reached, and why. */
export function endpointFaults({ kernel, state }: Pick<ApiParts, "kernel" | "state">): string[] {
  return [...state.endpoints.values()].flatMap((endpoint) => {
    const why = kernel.endpointFault(endpoint);
    const { metadata: { namespace }, spec: { pod, containerID } } = endpoint;
    return why ? [`endpoint ${namespace}/${pod ?? containerID}: ${why}`] : [];
  });
}

/** Why others do not find the way to us, and new pods are given no address: our own Node. */
export function ownNodeFaults({ nodes, broken, nodeName }: ClusterState): string[] {
  const key = resourceKey(nodeKind, nodeName);
  const why = broken.get(key);
  if (why !== undefined) {
    return [
      `Node ${nodeName} (${key}) cannot be read: ${why}; write it anew: others do not find the way to ` +
      "this node, and which pools are for it is not known",
    ];
  }
  return nodes.has(nodeName) ? [] : [
    `no new pod is given an address: Node ${nodeName} is not in the datastore (deleted, or of an older ` +
    "copy that was put back); restart the node service to register it, or stop it if this node is out " +
    "of the cluster",
  ];
}

/** Why new pods are not attached, whatever they ask for: records that every ADD reads. */
export function attachFaults(state: ClusterState): string[] {
  // Host-local's addresses come of none of them.
  if (state.usePodCidr) return [];
  const none = "no new pod is given an address";
  const damage = state.broken.get(ipamConfigKey);
  return [
    ...damage === undefined ? [] : [`${none}: ${damagedConfig(damage).message}`],
    ...poolFaults(state),
  ];
}

/**
 * Families of which no pool is left for this node, and which pools cannot be read. What families a cluster
 * has is known by its blocks, where the pools do not tell.
 */
function poolFaults({ broken, givingPools, nodes, nodeName, blocks }: ClusterState): string[] {
  const unread = new Map<string, UnreadPool>();
  const left = new Set<Family>();
  for (const [key, why] of broken) {
    const at = parseResourceKey(key);
    if (at?.home !== "calico" || at.plural !== ippoolKind.plural) continue;
    unread.set(at.name, { name: at.name, why });
  }
  const labels = nodes.get(nodeName)?.metadata.labels ?? {};
  for (const [name, pool] of givingPools) {
    if (typeof pool === "string") unread.set(name, { name, why: pool });
    else if (!pool.closed && pool.automatic && pool.uses.includes("Workload")) {
      if (selectsNode(pool, labels)) left.add(pool.prefix.ip.family);
    }
  }
  if (unread.size === 0) return [];
  const used = new Set<Family>();
  for (const cidr of blocks.keys()) used.add(cidr.includes(":") ? 6 : 4);
  if (used.size === 0 && left.size === 0) used.add(4);
  return [...used].filter((family) => !left.has(family)).sort().map((family) =>
    `no new pod is given an IPv${family} address: no other pool is for this node; ` +
    unreadWords([...unread.values()])
  );
}

export function nodeStatusOf(parts: ApiParts): NodeStatus {
  const { agent, state, engine, kernel, config, felix, paths, tables } = parts;
  const report = agent.report();
  const { unregistered, unwritten } = parts.registration();
  const faults = [
    ...[tables.fault(), unregistered].filter((fault) => fault !== undefined),
    ...report.synced ? ownNodeFaults(state) : [],
  ];
  const { problems, unfollowed } = felix();
  return {
    node: config.nodeName,
    version: parts.info.version,
    pid: Deno.pid,
    started: parts.started.toISOString(),
    ready: report.ready && faults.length === 0,
    datastore: report.store,
    errors: [
      ...faults,
      ...unwritten,
      ...report.errors,
      ...kernel.unresolved.map((p) =>
        `route ${p}: no route leads to its next hop but what BGP has learned`
      ),
      ...endpointFaults(parts),
      ...attachFaults(state),
    ],
    warnings: [
      ...(report.locked
        ? [
          `the datastore is locked (${report.locked}); nothing is changed until ` +
          "`tortie datastore migrate unlock`",
        ]
        : []),
      ...[...state.broken].map(([key, why]) => `${key}: ${why}`),
      ...state.doubts.values(),
      ...engine.problems().map((p) => `${p.object}: ${p.message}`),
      ...problems,
      ...unfollowed,
      ...kernel.warnings,
      ...paths.warnings(),
      ...tables.notes(),
      ...parts.unrouted.warnings(),
      ...parts.bgp?.problems() ?? [],
    ],
    peers: (parts.bgp?.peers() ?? []).map((p) => ({
      ...p,
      type: peerType(p.name),
      way: parts.bgp!.wayTo(p),
    })),
    endpoints: [...state.endpoints].map(([key, { metadata, spec }]) => ({
      namespace: metadata.namespace ?? "default",
      workload: spec.pod ?? spec.containerID ?? spec.workload ?? "",
      interface: spec.interfaceName ?? "",
      addresses: spec.ipNetworks ?? [],
      state: endpointState(parts, key),
    })),
    blocks: state.ownBlocks().map(formatPrefix),
    paths: paths.results().map(({ peer, result }) => ({
      node: peer.node,
      address: formatIp(peer.ip),
      configuredMtu: result.configured,
      pathMtu: result.measured,
      verdict: result.verdict,
    })),
    memoryBytes: Deno.memoryUsage().rss,
  };
}

function bgpOf(parts: ApiParts): BgpPart {
  if (parts.bgp) return parts.bgp;
  throw new RpcError("unavailable", "this node speaks no BGP (CALICO_NETWORKING_BACKEND)");
}

/** Says of routes that BGP has chosen and a VXLAN pool keeps from the kernel what becomes of them. */
function inTunnels(routes: readonly RouteStatus[], state: ClusterState): RouteStatus[] {
  const poolOf = poolFinder(state.poolPrefixes());
  return routes.map((route) => {
    const prefix = route.peer && (route.best || route.used) ? parsePrefix(route.prefix) : undefined;
    const pool = prefix && poolOf(prefix);
    if (!pool || !tunnels(pool)) return route;
    const why = `not put into the kernel: pool ${pool.metadata.name} goes by VXLAN`;
    return { ...route, reason: route.reason ? `${route.reason}; ${why}` : why };
  });
}

/** The methods, to be spread into the socket's table. */
export function localApi(parts: ApiParts): Methods {
  return {
    "node.status": call((): NodeStatus => nodeStatusOf(parts)),
    "bgp.peers": call((): PeerStatus[] => bgpOf(parts).peers()),
    "bgp.routes": call((params): RouteStatus[] => {
      const text = (params as { prefix?: unknown } | undefined)?.prefix;
      const prefix = typeof text === "string" ? parsePrefix(text) : undefined;
      if (text !== undefined && !prefix) throw new RpcError("invalid", `"${text}" is not a CIDR`);
      return inTunnels(bgpOf(parts).routes(prefix), parts.state);
    }),
    "bgp.refresh": call((params): RefreshAnswer[] => {
      const peer = (params as { peer?: unknown } | undefined)?.peer;
      if (peer !== undefined && typeof peer !== "string") {
        throw new RpcError("invalid", "peer is a peer's address or name");
      }
      const answers = bgpOf(parts).refresh(peer);
      if (peer === undefined || answers.length > 0) return answers;
      throw new RpcError(
        "not-found",
        `"${peer}" is neither address nor name of a peer of this node; see \`tortie bgp peers -o wide\``,
      );
    }),
  };
}
