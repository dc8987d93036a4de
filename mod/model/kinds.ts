/** All kinds, and the ways to find one: by what a file says, by what a user types, by its key. */
import type { ResourceKey } from "./keys.ts";
import type { Kind } from "./kind.ts";
import { bgpConfigurationKind } from "./bgp_configuration.ts";
import { bgpFilterKind } from "./bgp_filter.ts";
import { bgpPeerKind } from "./bgp_peer.ts";
import { calicoNodeStatusKind } from "./calico_node_status.ts";
import { clusterInformationKind } from "./cluster_information.ts";
import { felixConfigurationKind } from "./felix_configuration.ts";
import { hostEndpointKind } from "./host_endpoint.ts";
import { ipamConfigurationKind } from "./ipam_configuration.ts";
import { ipReservationKind } from "./ip_reservation.ts";
import { ippoolKind } from "./ippool.ts";
import { kubeControllersConfigurationKind } from "./kube_controllers_configuration.ts";
import { kubernetesNetworkPolicyKind } from "./kubernetes_network_policy.ts";
import { namespaceKind } from "./namespace.ts";
import { globalNetworkPolicyKind, networkPolicyKind } from "./network_policy.ts";
import { globalNetworkSetKind, networkSetKind } from "./network_set.ts";
import { nodeKind } from "./node.ts";
import { podKind } from "./pod.ts";
import { profileKind } from "./profile.ts";
import { serviceAccountKind } from "./service_account.ts";
import {
  stagedGlobalNetworkPolicyKind,
  stagedKubernetesNetworkPolicyKind,
  stagedNetworkPolicyKind,
} from "./staged_policy.ts";
import { tierKind } from "./tier.ts";
import { workloadEndpointKind } from "./workload_endpoint.ts";

/** A kind whose object type is not known here. */
export type AnyKind = Kind<any, any>;

export const KINDS: readonly AnyKind[] = [
  bgpConfigurationKind,
  bgpFilterKind,
  bgpPeerKind,
  calicoNodeStatusKind,
  clusterInformationKind,
  felixConfigurationKind,
  globalNetworkPolicyKind,
  globalNetworkSetKind,
  hostEndpointKind,
  ipamConfigurationKind,
  ippoolKind,
  ipReservationKind,
  kubeControllersConfigurationKind,
  networkPolicyKind,
  networkSetKind,
  nodeKind,
  profileKind,
  stagedGlobalNetworkPolicyKind,
  stagedKubernetesNetworkPolicyKind,
  stagedNetworkPolicyKind,
  tierKind,
  workloadEndpointKind,
  namespaceKind,
  podKind,
  serviceAccountKind,
  kubernetesNetworkPolicyKind,
];

/** The kind that `tortie get <name>` means; case does not matter. */
export function kindByName(name: string): AnyKind | undefined {
  const lower = name.toLowerCase();
  return KINDS.find((kind) => kind.names.includes(lower));
}

/** The kind whose objects have this key. */
export function kindByKey(key: Pick<ResourceKey, "home" | "plural">): AnyKind | undefined {
  return KINDS.find((kind) => kind.home === key.home && kind.plural === key.plural);
}
