/**
 * The sets that do not come from selectors: pools that are masqueraded, all pools, the addresses of
 * all nodes, the other ends of VXLAN tunnels; and what the static chains must know of pools.
 */
import {
  formatIp,
  formatPrefix,
  hostPrefix,
  parseCidr,
  parseIp,
  parsePrefix,
} from "../mod/net/mod.ts";
import { type IPPoolObject, listOf, type NodeObject, textOf } from "./inputs.ts";
import { setIds } from "./names.ts";
import type { PolicyParameters } from "./parameters.ts";
import type { Family } from "./rules.ts";
import type { SetRegistry } from "./set_registry.ts";

interface PoolFacts {
  readonly family: Family;
  readonly cidr: string;
  readonly masquerade: boolean;
  /** A pool of LoadBalancer addresses alone holds no pods. */
  readonly holdsPods: boolean;
  readonly vxlan: boolean;
  readonly ipip: boolean;
}

/** Networks with length, by family. */
type Nets = Readonly<Record<Family, readonly string[]>>;

interface NodeFacts {
  readonly hosts: Nets;
  readonly tunnels: Nets;
  /** All that is known to be its own, of its links and of its ends of tunnels; canonical. */
  readonly own: readonly string[];
}

const families: readonly Family[] = [4, 6];

export class FixedSets {
  readonly #pools = new Map<string, PoolFacts>();
  readonly #nodes = new Map<string, NodeFacts>();
  /** Address -> node; made when it is asked for. */
  #owners: Map<string, string> | undefined;

  constructor(readonly sets: SetRegistry, readonly parameters: PolicyParameters) {
    for (const id of Object.values(setIds)) for (const family of families) sets.fixed(family, id);
    for (const text of parameters.externalNodes) {
      const prefix = parsePrefix(text);
      if (!prefix) continue;
      for (const id of [setIds.allHosts, setIds.allVxlan]) {
        sets.fixed(prefix.ip.family, id).add(formatPrefix(prefix));
      }
    }
  }

  /** Undefined: the pool is gone. */
  setPool(name: string, object: IPPoolObject | undefined): void {
    const before = this.#pools.get(name);
    const after = object && poolFacts(object);
    if (after) this.#pools.set(name, after);
    else this.#pools.delete(name);
    if (after) this.#contributePool(after, true);
    if (before) this.#contributePool(before, false);
  }

  setNode(name: string, object: NodeObject | undefined): void {
    const before = this.#nodes.get(name);
    const after = object && nodeFacts(object);
    if (after) this.#nodes.set(name, after);
    else this.#nodes.delete(name);
    if (after) this.#contributeNode(name, after, true);
    if (before) this.#contributeNode(name, before, false);
    this.#owners = undefined;
  }

  /** The node that has this address; of several that say so the first by name. */
  nodeOf(address: string): string | undefined {
    if (!this.#owners) {
      this.#owners = new Map();
      for (const name of [...this.#nodes.keys()].sort().reverse()) {
        for (const own of this.#nodes.get(name)!.own) this.#owners.set(own, name);
      }
    }
    return this.#owners.get(address);
  }

  masquerades(family: Family): boolean {
    return this.#any((p) => p.family === family && p.masquerade);
  }

  vxlan(family: Family): boolean {
    return this.parameters.vxlan?.[family] ?? this.#any((p) => p.family === family && p.vxlan);
  }

  ipip(): boolean {
    return this.parameters.ipip ?? this.#any((p) => p.ipip);
  }

  #any(test: (pool: PoolFacts) => boolean): boolean {
    for (const pool of this.#pools.values()) if (test(pool)) return true;
    return false;
  }

  #contributePool(pool: PoolFacts, add: boolean): void {
    const apply = (id: string) => {
      const members = this.sets.fixed(pool.family, id);
      if (add) members.add(pool.cidr);
      else members.remove(pool.cidr);
    };
    if (pool.masquerade) apply(setIds.masqueradePools);
    if (pool.holdsPods) apply(setIds.allPools);
  }

  #contributeNode(name: string, node: NodeFacts, add: boolean): void {
    for (const family of families) {
      const apply = (id: string, nets: readonly string[]) => {
        const members = this.sets.fixed(family, id);
        for (const net of nets) {
          if (add) members.add(net);
          else members.remove(net);
        }
      };
      apply(setIds.allHosts, node.hosts[family]);
      // A tunnel has its other end elsewhere.
      if (name !== this.parameters.nodeName) apply(setIds.allVxlan, node.tunnels[family]);
    }
  }
}

function poolFacts(object: IPPoolObject): PoolFacts | undefined {
  const spec = object.spec ?? {};
  const prefix = typeof spec.cidr === "string" ? parsePrefix(spec.cidr) : undefined;
  if (!prefix) return undefined;
  const uses = listOf(spec.allowedUses);
  const tunnelled = (mode: string | undefined) => mode === "Always" || mode === "CrossSubnet";
  return {
    family: prefix.ip.family,
    cidr: formatPrefix(prefix),
    masquerade: spec.natOutgoing === true,
    holdsPods: uses.length === 0 || uses.some((use) => use !== "LoadBalancer"),
    vxlan: tunnelled(spec.vxlanMode),
    ipip: tunnelled(spec.ipipMode),
  };
}

function nodeFacts(object: NodeObject): NodeFacts {
  const spec = object.spec ?? {};
  const hosts: Record<Family, Set<string>> = { 4: new Set(), 6: new Set() };
  const add = (value: unknown): string | undefined => {
    const text = textOf(value);
    const ip = parseCidr(text)?.ip ?? parseIp(text);
    if (!ip) return undefined;
    const net = formatPrefix(hostPrefix(ip));
    hosts[ip.family].add(net);
    return net;
  };
  const own: Record<Family, string | undefined> = {
    4: add(spec.bgp?.ipv4Address),
    6: add(spec.bgp?.ipv6Address),
  };
  for (const entry of listOf(spec.addresses)) {
    if (entry?.type === "CalicoNodeIP" || entry?.type === "InternalIP") add(entry.address);
  }
  const ends = [
    ...[spec.ipv4VXLANTunnelAddr, spec.ipv6VXLANTunnelAddr, spec.bgp?.ipv4IPIPTunnelAddr],
    ...listOf(spec.addresses).map((entry) => entry?.address),
  ];
  const others = ends.map((text) => parseCidr(textOf(text))?.ip ?? parseIp(textOf(text)))
    .filter((ip) => ip !== undefined).map(formatIp);
  const tunnel = (family: Family, address: string | undefined): string[] => {
    if (!address) return [];
    const net = own[family] ?? [...hosts[family]][0];
    return net === undefined ? [] : [net];
  };
  return {
    hosts: { 4: [...hosts[4]], 6: [...hosts[6]] },
    own: [
      ...[...hosts[4], ...hosts[6]].map((net) => net.slice(0, net.indexOf("/"))),
      ...others,
    ],
    tunnels: {
      4: tunnel(4, spec.ipv4VXLANTunnelAddr),
      6: tunnel(6, spec.ipv6VXLANTunnelAddr),
    },
  };
}
