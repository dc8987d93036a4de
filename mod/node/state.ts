/**
 * The cluster as this node sees it: the objects of the datastore that routing, BGP and status need,
 * kept by one watch over the whole store. Revisions of one store are ordered, so when an object of
 * revision n has been seen here, everything written before it has been seen too: that is what ADD
 * waits for before it says that a pod's policy is in the kernel.
 *
 * Objects are taken as they are; a malformed one (somebody wrote it past all checks) is passed over
 * and named in `broken`, never in the way of the others, and one of which a single value cannot be is
 * taken without it and named in `doubts`. Policy has its own engine and its own view;
 * this one hands every change on.
 */
import {
  ipamConfigKey,
  parseAffinityKey,
  parseBlockKey,
  parseResourceKey,
  type ResourceKey,
} from "../model/keys.ts";
import { holderOf, legibleBlock } from "../ipam/block.ts";
import { CHECK_HELPS } from "../ipam/damage.ts";
import type { Holder } from "../ipam/errors.ts";
import {
  addressBits,
  formatPrefix,
  type Ip,
  ordinalOf,
  parseCidr,
  type Prefix,
  prefixContains,
  prefixOf,
} from "../net/mod.ts";
import type { BGPConfiguration } from "../model/bgp_configuration.ts";
import type { BGPFilter } from "../model/bgp_filter.ts";
import type { BGPPeer } from "../model/bgp_peer.ts";
import type { CalicoNodeStatus } from "../model/calico_node_status.ts";
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { ipamConfigFault } from "../model/ipam_config.ts";
import type { IPPool } from "../model/ippool.ts";
import type { Node } from "../model/node.ts";
import type { Pod } from "../model/pod.ts";
import type { Resource } from "../model/resource.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import { formatIssues, readObject } from "../model/validate.ts";
import { KINDS } from "../model/kinds.ts";
import type { Issue } from "../model/kind.ts";
import { annotationOfField } from "../model/node_annotations.ts";
import type { Revision } from "../store/store.ts";
import { labelsOf } from "../../policy/inputs.ts";
import { withKnownNames } from "../../policy/stored_object.ts";
import { isJsonObject } from "../store/json.ts";
import { judgePool, type Pool } from "../ipam/pools.ts";
import { locatesAlike } from "./block_owners.ts";

/** What a change concerns. Everything of a topic is computed anew when one of its objects changes. */
export type Topic =
  | "endpoints" // workload endpoints of this node
  | "pods" // pods of this node
  | "blocks" // IPAM blocks, as far as they say where addresses are, and affinities
  | "pools"
  | "nodes"
  | "bgp" // BGPPeer, BGPConfiguration
  | "felix" // FelixConfiguration
  | "status" // CalicoNodeStatus
  | "policy";

export interface Affinity {
  readonly host: string;
  readonly block: Prefix;
  readonly confirmed: boolean;
}

const RESOURCE_TOPICS: Record<string, Topic[]> = {
  nodes: ["nodes", "policy"],
  ippools: ["pools", "policy"],
  bgppeers: ["bgp"],
  bgpconfigurations: ["bgp"],
  bgpfilters: ["bgp"],
  felixconfigurations: ["felix"],
  caliconodestatuses: ["status"],
};

export interface PodFacts {
  readonly labels: Readonly<Record<string, string>>;
  /** Service account. */
  readonly account: string;
}

interface PoolPrefix {
  readonly prefix: Prefix;
  readonly pool: IPPool;
}

/** A block has 4096 addresses at most. */
const MOST_BLOCK_BITS = 12;

export class ClusterState {
  readonly nodes = new Map<string, Node>();
  readonly pools = new Map<string, IPPool>();
  /** As IPAM reads them, or why it does not. */
  readonly givingPools = new Map<string, Pool | string>();
  /** By CIDR, read: of a damaged one what is legible. */
  readonly blocks = new Map<string, AllocationBlock>();
  /** By key. */
  readonly affinities = new Map<string, Affinity>();
  /** This node's, by key. */
  readonly endpoints = new Map<string, WorkloadEndpoint>();
  /** What endpoints copy of the pods of this node, by the pod's key. */
  readonly pods = new Map<string, PodFacts>();
  readonly bgpFilters = new Map<string, BGPFilter>();
  readonly bgpPeers = new Map<string, BGPPeer>();
  readonly bgpConfigurations = new Map<string, BGPConfiguration>();
  readonly felixConfigurations = new Map<string, FelixConfiguration>();
  readonly nodeStatuses = new Map<string, CalicoNodeStatus>();
  /** Keys whose value could not be understood, and why. */
  readonly broken = new Map<string, string>();
  /** By key: values that their readers will pass over, in words with the object's name. */
  readonly doubts = new Map<string, string>();
  /** Everything up to here has been seen. */
  revision: Revision = "0";

  #poolPrefixes: readonly PoolPrefix[] | undefined;
  /** With `usePodCidr`, networks of nodes in the form of blocks, by node. */
  readonly #podNetworks = new Map<string, readonly AllocationBlock[]>();

  /** `usePodCidr`: Node.status.podCIDRs are the nodes' own networks, as IPAM's blocks are. */
  constructor(readonly nodeName: string, readonly usePodCidr = false) {}

  /** Takes one change (undefined: the key is gone) and says what it concerns. */
  apply(key: string, value: unknown, revision: Revision): Topic[] {
    this.revision = revision;
    this.broken.delete(key);
    this.doubts.delete(key);
    if (value !== undefined && !isJsonObject(value)) {
      // As if it were not there, as Calico does: what holds must not depend on what stood there before.
      const topics = this.apply(key, undefined, revision);
      this.tellBroken(key, "the value is no object");
      return topics;
    }
    try {
      const resource = parseResourceKey(key);
      return resource ? this.#resource(key, resource, value) : this.#ipam(key, value);
    } catch (error) {
      this.broken.set(key, (error as Error).message);
      return [];
    }
  }

  /** What stands under the key cannot be read. */
  tellBroken(key: string, reason: string): void {
    const isBlock = parseBlockKey(key) !== undefined;
    const told = isBlock ? `this IPAM block is damaged: ${reason}; ${CHECK_HELPS}` : reason;
    this.broken.set(key, told);
  }

  #resource(key: string, at: ResourceKey, value: unknown): Topic[] {
    if (at.home === "kubernetes") return at.plural === "pods" ? this.#pod(key, value) : ["policy"];
    if (at.plural === "workloadendpoints") return this.#endpoint(key, value);
    const map = this.#mapOf(at.plural);
    if (at.plural === "ippools") this.#pool(at.name, value);
    if (map) {
      if (value === undefined) map.delete(at.name);
      else map.set(at.name, stored(at.plural, value, (text) => this.#doubt(key, at, text)));
    }
    if (at.plural === "nodes" && this.usePodCidr) {
      this.#podNetworks.set(at.name, podNetworks(this.nodes.get(at.name)));
      return [...RESOURCE_TOPICS.nodes, "blocks"];
    }
    return RESOURCE_TOPICS[at.plural] ?? ["policy"];
  }

  #pool(name: string, value: unknown): void {
    this.#poolPrefixes = undefined;
    const pool = value === undefined ? undefined : judgePool(value);
    if (pool === undefined) this.givingPools.delete(name);
    else this.givingPools.set(name, pool);
  }

  #doubt(key: string, { plural, name }: ResourceKey, text: string): void {
    if (SPEAK_FOR_THEMSELVES.has(plural)) return;
    this.doubts.set(key, `${kindByPlural.get(plural)!.kind} ${name}: ${text}`);
  }

  #mapOf(plural: string): Map<string, Resource> | undefined {
    const maps: Record<string, Map<string, any>> = {
      nodes: this.nodes,
      ippools: this.pools,
      bgpfilters: this.bgpFilters,
      bgppeers: this.bgpPeers,
      bgpconfigurations: this.bgpConfigurations,
      felixconfigurations: this.felixConfigurations,
      caliconodestatuses: this.nodeStatuses,
    };
    return Object.hasOwn(maps, plural) ? maps[plural] : undefined;
  }

  #pod(key: string, value: unknown): Topic[] {
    const pod = value as Partial<Pod> | undefined;
    // A Pod that names no node may be ours: the endpoint says where it is.
    if (!pod || (pod.spec?.nodeName || this.nodeName) !== this.nodeName) {
      return this.pods.delete(key) ? ["pods", "policy"] : ["policy"];
    }
    this.pods.set(key, {
      labels: Object.fromEntries(labelsOf(pod.metadata?.labels)),
      account: pod.spec?.serviceAccountName || "default",
    });
    return ["pods", "policy"];
  }

  #endpoint(key: string, value: unknown): Topic[] {
    // Those of other nodes, most of them, are policy's alone: reading them in full would be for nothing.
    const { spec } = withKnownNames("WorkloadEndpoint", value ?? {}) as {
      spec?: { node?: unknown } | null;
    };
    if (spec?.node === this.nodeName) {
      this.endpoints.set(key, stored("workloadendpoints", value) as WorkloadEndpoint);
    } else if (!this.endpoints.delete(key)) return ["policy"];
    return ["endpoints", "policy"];
  }

  #ipam(key: string, value: unknown): Topic[] {
    const block = parseBlockKey(key);
    if (block) {
      const cidr = formatPrefix(block), before = this.blocks.get(cidr);
      const { block: after, fault } = value === undefined
        ? { block: undefined, fault: undefined }
        : legibleBlock(value, block);
      if (after === undefined) this.blocks.delete(cidr);
      else this.blocks.set(cidr, after);
      if (fault) this.tellBroken(key, fault);
      // Which pod of its node has an address concerns no route.
      return before && after && locatesAlike(before, after) ? [] : ["blocks"];
    }
    const affinity = parseAffinityKey(key);
    if (affinity?.owner.type === "host") {
      if (value === undefined) this.affinities.delete(key);
      else {
        // An empty value is the oldest form, and means confirmed.
        const state = (value as { state?: string } | null)?.state ?? "confirmed";
        this.affinities.set(key, {
          host: affinity.owner.name,
          block: affinity.block,
          confirmed: state === "confirmed" || state === "",
        });
      }
      return ["blocks"];
    }
    const fault = key === ipamConfigKey && value !== undefined && ipamConfigFault(value);
    if (fault) this.broken.set(key, fault);
    return [];
  }

  /** Blocks that this node holds: its affinity is confirmed, and the block itself says so. */
  ownBlocks(): Prefix[] {
    const mine: Prefix[] = [];
    for (const { host, block, confirmed } of this.affinities.values()) {
      if (host !== this.nodeName || !confirmed) continue;
      const held = this.blocks.get(formatPrefix(block));
      if (held?.affinity === `host:${this.nodeName}`) mine.push(block);
    }
    for (const { cidr } of this.#podNetworks.get(this.nodeName) ?? []) {
      mine.push(parseCidr(cidr)!.prefix);
    }
    return mine;
  }

  /** Blocks of all nodes, and their networks where these count as such. */
  *locatedBlocks(): Generator<AllocationBlock> {
    yield* this.blocks.values();
    for (const networks of this.#podNetworks.values()) yield* networks;
  }

  /**
   * Pools as prefixes, whatever host bits a stored one carries; without those that have none. The
   * first that holds an address decides about it, on every node alike: the narrowest; of those with the
   * same range the one that is enabled, then the older one.
   */
  poolPrefixes(): readonly PoolPrefix[] {
    return this.#poolPrefixes ??= [...this.pools.values()].flatMap((pool) => {
      const { cidr } = pool.spec ?? {};
      const prefix = typeof cidr === "string" ? parseCidr(cidr)?.prefix : undefined;
      return prefix ? [{ prefix, pool }] : [];
    }).sort((a, b) => b.prefix.length - a.prefix.length || compareText(rank(a.pool), rank(b.pool)));
  }

  /** Who has an address on record, as far as the datastore's changes have told. */
  holderOf(ip: Ip): Holder | undefined {
    const bits = addressBits(ip.family);
    for (let length = bits; length >= bits - MOST_BLOCK_BITS; length--) {
      const prefix = prefixOf(ip, length);
      const block = this.blocks.get(formatPrefix(prefix));
      const holder = block && holderOf(block, Number(ordinalOf(prefix, ip)));
      if (holder) return holder;
    }
  }

  isInPool(ip: Ip): boolean {
    return this.poolPrefixes().some(({ prefix }) => prefixContains(prefix, ip));
  }
}

function rank({ metadata, spec }: IPPool): string {
  const closed = spec.disabled || metadata.deletionTimestamp ? 1 : 0;
  return `${closed} ${metadata.creationTimestamp ?? ""} ${metadata.name}`;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * The networks that Kubernetes gave to a node, as blocks of which IPAM knows nothing: host-local gives
 * their addresses (Calico's datastore client makes the same of them).
 */
function podNetworks(node: Node | undefined): AllocationBlock[] {
  return (node?.status.podCIDRs ?? []).flatMap((text): AllocationBlock[] => {
    const network = text.includes("/") ? parseCidr(text)?.prefix : undefined;
    if (!network) return [];
    return [{
      cidr: formatPrefix(network),
      affinity: `host:${node!.metadata.name}`,
      allocations: [],
      unallocated: [],
      attributes: [],
      sequenceNumber: 0,
      sequenceNumberForAllocation: {},
      deleted: false,
    }];
  });
}

const kindByPlural = new Map(KINDS.filter((k) => k.home === "calico").map((k) => [k.plural, k]));

/** Kinds of which each wrong value is named where it is used (`felix.ts`, `bgp_filter.ts`). */
const SPEAK_FOR_THEMSELVES: ReadonlySet<string> = new Set(["felixconfigurations", "bgpfilters"]);

/** The stored object with the defaults that reading gives it; `doubt` is told of its wrong values. */
function stored(plural: string, value: unknown, doubt?: (text: string) => void): Resource {
  const kind = kindByPlural.get(plural);
  if (!kind) throw new TypeError(`no kind has the plural ${plural}`);
  const named = (issue: Issue): Issue => {
    const annotation = plural === "nodes" && annotationOfField(value, issue.path);
    return annotation ? { ...issue, path: `${issue.path} (${annotation})` } : issue;
  };
  return readObject(kind, value, (issues) => doubt?.(formatIssues(issues.map(named)))) as Resource;
}
