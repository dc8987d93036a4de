/** What callers say to IPAM and what they hear: requests, results and the interface `Ipam` fulfils. */
import type { Family, Ip, Prefix } from "../net/mod.ts";
import type { IpamConfig } from "../model/ipam_config.ts";
import type { AffinityState } from "../model/block_affinity.ts";
import type { JointWrite, StoreError } from "../store/store.ts";
import type { Inputs } from "./auto_assign.ts";
import type { Holder, IpamError } from "./errors.ts";

/** What an address is for; a pool's `allowedUses` must name it. */
export type PoolUse = "Workload" | "Tunnel" | "LoadBalancer";

export interface AutoAssignRequest {
  /** Addresses wanted of each family; IPv4 is done first, and its failure ends the request. */
  readonly num4?: number;
  readonly num6?: number;
  /** Name of the Node that will use them. Ignored for the use LoadBalancer. */
  readonly host: string;
  /** `<network>.<container id>`, `vxlan-tunnel-addr-<node>`, …: releases all of it at once. */
  readonly handle?: string;
  /** Facts for people: pod, namespace, node, timestamp (`goTimestamp`), type. */
  readonly attributes?: Readonly<Record<string, string>>;
  /** Names or CIDRs of pools, in order of preference. Selectors and assignmentMode are then ignored. */
  readonly pools4?: readonly string[];
  readonly pools6?: readonly string[];
  readonly use: PoolUse;
  /** The pod's namespace, for namespaceSelectors: its labels are read from the store. */
  readonly namespace?: string;
  /** As IPAMConfiguration's; the smaller one that is set counts. */
  readonly maxBlocksPerHost?: number;
  /** What `readAhead` has begun to read for it. */
  readonly ahead?: ReadAhead;
  /** For a request of one address, and a handle. */
  readonly beside?: Beside;
}

/**
 * An object of the caller's that goes into the store in one step with the record of his address, where the
 * datastore has such a step and nothing is in the way: both, or neither. Who does not hear that it was
 * written writes it himself. Where the assignment fails it may stand all the same, if the store did not say
 * what became of the write: the caller takes it away, before the address.
 */
export interface Beside {
  /**
   * For the address that would be given; asked anew where another was first. undefined: not with this one.
   * The block's other changes wait for it; it must not throw.
   */
  plan(address: Ip): Promise<JointWrite | undefined>;
  written(write: JointWrite): void;
}

/** By family, what an assignment follows from. */
export type ReadAhead = ReadonlyMap<Family, Promise<Inputs>>;

export interface AssignedAddress {
  readonly ip: Ip;
  /** The block that it is from. */
  readonly block: Prefix;
  /** Name of the pool. */
  readonly pool: string;
}

/** What one family of a request came to. */
export interface FamilyResult {
  readonly requested: number;
  /** May be fewer than requested; `messages` then say why. */
  readonly addresses: readonly AssignedAddress[];
  readonly messages: readonly string[];
}

/**
 * Addresses listed here are on record and the caller's, also where there is an error: release them
 * (by handle, or one by one) when they are of no use without the rest. `Ipam.assign` does that.
 */
export interface AutoAssignResult {
  readonly v4: FamilyResult;
  readonly v6: FamilyResult;
  /** What ended the request early. Too few free addresses alone is not an error here. */
  readonly error?: IpamError | StoreError;
}

export interface AssignIpRequest {
  readonly address: Ip | string;
  readonly host: string;
  readonly handle?: string;
  readonly attributes?: Readonly<Record<string, string>>;
  /** Where given, the pool's allowedUses must name it. */
  readonly use?: PoolUse;
}

export interface ReleaseRequest {
  readonly address: Ip | string;
  /** Where given, the allocation must be this handle's. */
  readonly handle?: string;
  /** Where given, the allocation must be the very one that had this number. */
  readonly sequenceNumber?: bigint;
}

export interface ReleaseResult {
  readonly released: readonly Ip[];
  /** Asked for, and free already: not an error. */
  readonly unallocated: readonly Ip[];
}

export interface ClaimResult {
  readonly claimed: readonly Prefix[];
  /** Blocks that are another node's, or that overlap a block of another size. */
  readonly failed: readonly Prefix[];
}

export interface HostBlock {
  readonly block: Prefix;
  readonly state: AffinityState;
}

/** Of an address that is given. */
export interface Assignment extends Holder {
  readonly ip: Ip;
  readonly block: Prefix;
  readonly sequenceNumber: bigint;
  /** Who has it too, or had it, during a live migration. */
  readonly alternateAttributes?: Readonly<Record<string, string>>;
}

export interface AssignFirstRequest {
  /** All of one family; tried in this order. */
  readonly candidates: readonly Ip[];
  readonly host: string;
  readonly handle: string;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly use: PoolUse;
  /** Of the pod: the pools' namespaceSelectors must take it. */
  readonly namespace?: string;
}

export type AssignFirstResult =
  | { readonly given: AssignedAddress }
  | {
    /** Who has the candidates. */
    readonly taken: readonly { readonly ip: Ip; readonly holder: Holder }[];
    /** Why others could not be given now. */
    readonly refused: readonly IpamError[];
    /** Candidates of pools that are not for this node. */
    readonly elsewhere: readonly Ip[];
  };

/** Whether an address may be pinned, as `assignFirst` decides it. */
export interface PinQuestion extends Pick<AssignFirstRequest, "host" | "use" | "namespace"> {
  readonly address: Ip;
}

export interface RelabelRequest {
  readonly address: Ip | string;
  /** The allocation must be this handle's. */
  readonly handle: string;
  /** Pure; undefined: leave it as it is. */
  readonly change: (
    attributes: Readonly<Record<string, string>>,
  ) => Readonly<Record<string, string>> | undefined;
}

export interface HandOverRequest {
  readonly address: Ip | string;
  /** The allocation must be this handle's; undefined: that of none. */
  readonly handle: string | undefined;
  readonly to: {
    readonly handle: string;
    readonly attributes: Readonly<Record<string, string>>;
  };
}

/** Addresses that the replicas of a workload share (`leases.ts`). */
export interface LeaseClient {
  assignFirst(request: AssignFirstRequest): Promise<AssignFirstResult>;
  /** Why an address would not be given as a fresh pin, in words; undefined: it would. */
  whyNotPinned(question: PinQuestion): Promise<string | undefined>;
  relabel(request: RelabelRequest): Promise<boolean>;
}

/** IPAM as its callers see it; errors are IpamError, or StoreError where the store fails. */
export interface IpamClient {
  autoAssign(request: AutoAssignRequest): Promise<AutoAssignResult>;
  /**
   * Begins to read what an assignment follows from, for a caller who has other things to read before he
   * asks for it: it is good for the `ahead` of one request that comes at once.
   */
  readAhead(
    about: Pick<AutoAssignRequest, "host" | "namespace" | "use">,
    families: readonly Family[],
  ): ReadAhead;
  /** All that is asked for, or nothing: where something lacks, the rest is released and this throws. */
  assign(request: AutoAssignRequest): Promise<AssignedAddress[]>;
  /** A certain address. Reservations and selectors do not count. */
  assignIp(request: AssignIpRequest): Promise<AssignedAddress>;
  releaseIps(requests: readonly ReleaseRequest[]): Promise<ReleaseResult>;
  /** Everything that the handle holds. undefined: there is no such handle (which is fine for a DEL). */
  releaseByHandle(handle: string): Promise<Ip[] | undefined>;
  /** Gives an allocation to another handle; false where it is not the handle's that is named. */
  handOver(request: HandOverRequest): Promise<boolean>;
  /** undefined: there is no such handle. */
  ipsByHandle(handle: string): Promise<Ip[] | undefined>;
  /** undefined: nobody has the address. */
  assignment(address: Ip | string): Promise<Assignment | undefined>;
  /** Claims every block of the CIDR for the node. */
  claimAffinity(cidr: Prefix | string, host: string): Promise<ClaimResult>;
  releaseAffinity(
    cidr: Prefix | string,
    host: string,
    options?: { mustBeEmpty?: boolean },
  ): Promise<void>;
  releaseHostAffinities(host: string, options?: { mustBeEmpty?: boolean }): Promise<void>;
  /**
   * Before a pool is deleted: blocks with allocations stay, as nobody's. Those in the range of another
   * pool (`heirs`) are not touched.
   */
  releasePoolAffinities(cidr: Prefix | string, heirs?: readonly Prefix[]): Promise<void>;
  /** The node is gone for good. Its allocations stay until they are released. */
  removeHost(host: string): Promise<void>;
  /** Blocks for which the node has an affinity, in the order in which they are used. */
  blocksOf(host: string): Promise<HostBlock[]>;
  getIpamConfig(): Promise<IpamConfig>;
  setIpamConfig(config: IpamConfig): Promise<void>;
}
