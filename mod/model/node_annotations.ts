/**
 * Where Calico keeps a Node's fields on Kubernetes: in annotations of Kubernetes' own Node, named
 * `projectcalico.org/…`. After Calico's backend/k8s/resources/node.go.
 */

export const NODE_ANNOTATION_PREFIX = "projectcalico.org/";

/** Annotation, without its prefix -> where the value stands in the Node. */
export const NODE_ANNOTATIONS: readonly (readonly [string, readonly string[]])[] = [
  ["IPv4Address", ["spec", "bgp", "ipv4Address"]],
  ["IPv6Address", ["spec", "bgp", "ipv6Address"]],
  ["ASNumber", ["spec", "bgp", "asNumber"]],
  ["RouteReflectorClusterID", ["spec", "bgp", "routeReflectorClusterID"]],
  ["IPv4IPIPTunnelAddr", ["spec", "bgp", "ipv4IPIPTunnelAddr"]],
  ["IPv4VXLANTunnelAddr", ["spec", "ipv4VXLANTunnelAddr"]],
  ["VXLANTunnelMACAddr", ["spec", "vxlanTunnelMACAddr"]],
  ["IPv6VXLANTunnelAddr", ["spec", "ipv6VXLANTunnelAddr"]],
  ["VXLANTunnelMACAddrV6", ["spec", "vxlanTunnelMACAddrV6"]],
  ["IPv4WireguardInterfaceAddr", ["spec", "wireguard", "interfaceIPv4Address"]],
  ["IPv6WireguardInterfaceAddr", ["spec", "wireguard", "interfaceIPv6Address"]],
  ["WireguardPublicKey", ["status", "wireguardPublicKey"]],
  ["WireguardPublicKeyV6", ["status", "wireguardPublicKeyV6"]],
];

/** Kubernetes' labels, in the value alone: whether a Node was read from Kubernetes is seen by it. */
export const KUBE_LABELS = `${NODE_ANNOTATION_PREFIX}kube-labels`;

/** `annotation projectcalico.org/IPv4Address` of a field's path, where the Node is Kubernetes'. */
export function annotationOfField(node: unknown, path: string): string | undefined {
  const annotations = (node as { metadata?: { annotations?: unknown } } | null)?.metadata
    ?.annotations;
  if (typeof annotations !== "object" || annotations === null) return undefined;
  if (!Object.hasOwn(annotations, KUBE_LABELS)) return undefined;
  const found = NODE_ANNOTATIONS.find(([, field]) => field.join(".") === path);
  return found && `annotation ${NODE_ANNOTATION_PREFIX}${found[0]}`;
}
