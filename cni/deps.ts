/**
 * What the node service hands to the CNI server: the datastore, IPAM, the kernel, and the agent's two
 * promises about policy. Everything else that CNI needs it brings itself.
 */

import type { Store } from "../mod/store/store.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import type { Ip } from "../mod/net/mod.ts";
import type { CniKernel, HostLink } from "./kernel.ts";
import type { IpamClient, LeaseClient } from "../mod/ipam/types.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

/** What CNI asks of IPAM: Calico's blocks (`mod/ipam`) or host-local's files (`host_local/ipam.ts`). */
export type CniIpam =
  & Pick<
    IpamClient,
    | "assign"
    | "assignIp"
    | "releaseIps"
    | "releaseByHandle"
    | "handOver"
    | "ipsByHandle"
    | "assignment"
  >
  & Partial<Pick<IpamClient, "readAhead">>;

/** What FelixConfiguration says about endpoints that annotations may not go beyond. */
export interface EndpointFeatures {
  /** FloatingIPs is Enabled. */
  readonly floatingIps: boolean;
  /** WorkloadSourceSpoofing is Any. */
  readonly sourceSpoofing: boolean;
}

/** What is on record of an address. */
export interface Given {
  readonly handle: string;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface CniDeps {
  readonly store: Store;
  /** Where Pods and Namespaces are, if not in the store: the Kubernetes API beside an etcd. */
  readonly kubernetes?: Store;
  /** Every pod has its record in `kubernetes`, or in the store: it is the Kubernetes API. */
  readonly podsKnown?: boolean;
  readonly ipam: CniIpam;
  /** For addresses that are pinned to replicas; without it the annotation is refused. */
  readonly leases?: LeaseClient;
  readonly kernel: CniKernel;
  /** The name under which this node has its blocks and endpoints (the Node resource's). */
  readonly nodeName: string;
  /** Bytes, or 0 where the agent does not know: then the kernel's default of 1500 holds. */
  mtu(): number | Promise<number>;
  /**
   * Resolves when the rules for this endpoint are in the kernel; rejects, or is aborted by the
   * signal, where they are not. Until then the dataplane drops what the interface sends and gets.
   */
  endpointProgrammed(endpoint: WorkloadEndpoint, signal: AbortSignal): Promise<void>;
  /** Why the datastore is locked, as the agent has it: what keeps the kernel as it is keeps pods too. */
  locked?(): string | undefined;
  /** Told after an endpoint is gone from kernel and store; nothing waits for it. */
  endpointRemoved?(endpoint: WorkloadEndpoint): void;
  /** The host side of a container that has the address, though no route to just this address says so. */
  unroutedHolder?(ip: Ip): HostLink | undefined;
  /** Told of addresses that the IPAM plugin has given. */
  gave?(addresses: readonly Ip[], given: Given): void;
  /** Told of a handle that has been given back, or of which nobody speaks any more. */
  freed?(handle: string): void;
  /** How the IPAM plugin gave an address that a container under another interface plugin has. */
  given?(ip: Ip): Promise<Given | undefined>;
  /** How long ADD waits for `endpointProgrammed`, in milliseconds; 30,000 without it. */
  readonly programmedTimeout?: number;
  /** Both off without it. */
  features?(): EndpointFeatures;
  /** What GC finds on record for a network, where it is not Calico's IPAM that keeps it. */
  recordedHandles?(): Promise<Set<string>>;
  /** Prefix of host interface names; `cali` without it. */
  readonly interfacePrefix?: string;
  /** For creationTimestamp; the wall clock without it. */
  now?(): Date;
  log?(level: LogLevel, message: string, fields?: Record<string, unknown>): void;
}
