/**
 * What the policy engine reads: the objects of the store, as they stand there. Only the fields that
 * policy needs are described, all optional, because stored objects may come from other versions or
 * other hands: the engine checks what it reads and reports what it cannot understand.
 *
 * Kinds: WorkloadEndpoint, Profile, NetworkPolicy, GlobalNetworkPolicy, Tier, NetworkSet,
 * GlobalNetworkSet, IPPool, Node (projectcalico.org/v3); Namespace, Pod, ServiceAccount (v1),
 * NetworkPolicy (networking.k8s.io/v1), EndpointSlice (discovery.k8s.io/v1). Others are ignored, so
 * a follower may pass on whatever it sees. Staged policies are never enforced.
 */

export interface ObjectMeta {
  readonly name?: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>> | null;
  readonly annotations?: Readonly<Record<string, string>> | null;
}

/** Any object of the store. */
export interface PolicyObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: ObjectMeta;
}

/** Which object: what is needed to name one that is gone. */
export interface ObjectRef {
  readonly apiVersion?: string;
  readonly kind: string;
  readonly namespace?: string;
  readonly name: string;
}

/** One object is new or differs, or it is gone. */
export type Change = { readonly put: PolicyObject } | { readonly remove: ObjectRef };

/** The kinds, with Kubernetes' NetworkPolicy told from Calico's. */
export type InputKind =
  | "WorkloadEndpoint"
  | "Profile"
  | "NetworkPolicy"
  | "GlobalNetworkPolicy"
  | "KubernetesNetworkPolicy"
  | "Tier"
  | "NetworkSet"
  | "GlobalNetworkSet"
  | "IPPool"
  | "Node"
  | "Namespace"
  | "Pod"
  | "ServiceAccount"
  | "EndpointSlice";

const calicoKinds: ReadonlySet<string> = new Set<InputKind>([
  "WorkloadEndpoint",
  "Profile",
  "NetworkPolicy",
  "GlobalNetworkPolicy",
  "Tier",
  "NetworkSet",
  "GlobalNetworkSet",
  "IPPool",
  "Node",
]);
const coreKinds: ReadonlySet<string> = new Set<InputKind>(["Namespace", "Pod", "ServiceAccount"]);

/** The kind of an object for the engine; undefined for kinds that policy does not hang on. */
export function inputKind(apiVersion: string | undefined, kind: string): InputKind | undefined {
  const group = apiVersion?.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";
  switch (group) {
    case "projectcalico.org":
    case "crd.projectcalico.org":
      return calicoKinds.has(kind) ? kind as InputKind : undefined;
    case "networking.k8s.io":
      return kind === "NetworkPolicy" ? "KubernetesNetworkPolicy" : undefined;
    case "discovery.k8s.io":
      return kind === "EndpointSlice" ? kind : undefined;
    default:
      // Kubernetes' own Node says nothing that policy needs.
      return coreKinds.has(kind) ? kind as InputKind : undefined;
  }
}

export interface WorkloadEndpointObject extends PolicyObject {
  readonly spec?: {
    readonly orchestrator?: string;
    readonly node?: string;
    readonly pod?: string;
    readonly endpoint?: string;
    readonly serviceAccountName?: string;
    readonly ipNetworks?: readonly string[];
    readonly profiles?: readonly string[];
    readonly interfaceName?: string;
    readonly ports?: readonly EndpointPortObject[];
    readonly allowSpoofedSourcePrefixes?: readonly string[];
    readonly ipNATs?: readonly {
      readonly internalIP?: string;
      readonly externalIP?: string;
    }[];
    readonly qosControls?: QosObject;
  };
}

/** Numbers that no rule can be made of are passed over. */
export type QosObject = {
  readonly [D in `${"ingress" | "egress"}${QosLimit}`]?: number;
};
export type QosLimit =
  | "Bandwidth"
  | "Burst"
  | "PacketRate"
  | "PacketBurst"
  | "MaxConnections";

export interface EndpointPortObject {
  readonly name?: string;
  readonly protocol?: string | number;
  readonly port?: number;
}

export interface PodObject extends PolicyObject {
  readonly spec?: {
    readonly nodeName?: string;
    readonly hostNetwork?: boolean;
    readonly serviceAccountName?: string;
    readonly containers?: readonly ContainerObject[];
    readonly initContainers?: readonly ContainerObject[];
  };
  readonly status?: {
    readonly phase?: string;
    readonly hostIP?: string;
    readonly hostIPs?: readonly { readonly ip?: string }[];
    readonly podIP?: string;
    readonly podIPs?: readonly { readonly ip?: string }[];
  };
}

export interface ContainerObject {
  readonly ports?: readonly {
    readonly name?: string;
    readonly protocol?: string;
    readonly containerPort?: number;
  }[];
  readonly restartPolicy?: string;
}

export interface NetworkSetObject extends PolicyObject {
  readonly spec?: { readonly nets?: readonly string[] };
}

export interface TierObject extends PolicyObject {
  readonly spec?: { readonly order?: number; readonly defaultAction?: string };
}

export interface IPPoolObject extends PolicyObject {
  readonly spec?: {
    readonly cidr?: string;
    readonly natOutgoing?: boolean;
    readonly vxlanMode?: string;
    readonly ipipMode?: string;
    readonly allowedUses?: readonly string[];
  };
}

export interface NodeObject extends PolicyObject {
  readonly spec?: {
    readonly bgp?: {
      readonly ipv4Address?: string;
      readonly ipv6Address?: string;
      readonly ipv4IPIPTunnelAddr?: string;
    };
    readonly ipv4VXLANTunnelAddr?: string;
    readonly ipv6VXLANTunnelAddr?: string;
    readonly addresses?: readonly { readonly address?: string; readonly type?: string }[];
  };
}

/** Kubernetes' own: only for whoever wants to know whose an address is. */
export interface KubernetesNodeObject extends PolicyObject {
  readonly status?: {
    readonly addresses?: readonly { readonly address?: string; readonly type?: string }[];
  };
}

export interface EndpointSliceObject extends PolicyObject {
  readonly endpoints?: readonly {
    readonly addresses?: readonly string[];
    readonly conditions?: { readonly ready?: boolean };
  }[];
  readonly ports?: readonly { readonly port?: number; readonly protocol?: string }[];
}

/** A policy or profile: what its spec says, its reader judges (`calico.ts`, `kubernetes_reading.ts`). */
export interface PolicyInputObject extends PolicyObject {
  readonly spec?: unknown;
}

/** NetworkPolicy and GlobalNetworkPolicy of Calico. */
export type CalicoPolicyObject = PolicyInputObject;
export type ProfileObject = PolicyInputObject;
export type KubernetesPolicyObject = PolicyInputObject;

/** A list where one is expected; what is no list counts as empty. */
export function listOf<T>(value: readonly T[] | null | undefined): readonly T[] {
  return Array.isArray(value) ? value : [];
}

/** A text where one is expected; what is no text counts as empty. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The text members of an object of labels; what is no text is left out. */
export function labelsOf(
  labels: Readonly<Record<string, string>> | null | undefined,
): [string, string][] {
  if (labels === null || typeof labels !== "object" || Array.isArray(labels)) return [];
  return Object.entries(labels).filter(([, value]) => typeof value === "string");
}
