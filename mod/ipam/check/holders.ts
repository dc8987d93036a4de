/**
 * Whose an address is by its record, in one form whatever it is, and whether that agrees with who uses it
 * by the objects (`users.ts`). Every disagreement is a fault of its own weight: what the record says decides
 * who frees the address, and when, so the one who uses it may lose it to a third. Pure.
 *
 *     record says              the objects may say
 *     pod, plain container     that pod, or container, on that node
 *     lease that is used       the ordinal's pod on that node, in that container
 *     lease that is kept       no endpoint; the ordinal's own Pod, whose sandbox ended a moment ago
 *     tunnel of a kind         that node's tunnel of that kind
 *     service                  that service
 *     gateway, Windows'        nobody
 *     nothing                  anybody: `noHandle` tells that
 */
import { LEASE_PREFIX } from "../lease_record.ts";
import { containerOf } from "../questions.ts";
import {
  type Allocation,
  GATEWAY_TYPE,
  TUNNEL_HANDLES,
  TUNNEL_TYPES,
  WINDOWS_RESERVED,
} from "./allocations.ts";
import { leaseOf } from "./evidence.ts";
import { type AddressUser, isPod } from "./users.ts";

/** `node` is empty where the record does not say it. */
export type Holder =
  | {
    readonly is: "pod";
    readonly namespace: string;
    readonly name: string;
    readonly node: string;
    readonly handle?: string;
    /** A machine of KubeVirt's keeps its address from pod to pod, under a handle of its own. */
    readonly machine: boolean;
  }
  | { readonly is: "container"; readonly node: string; readonly handle: string }
  | {
    readonly is: "lease";
    readonly name: string;
    readonly node: string;
    readonly pod?: { readonly namespace: string; readonly name: string };
    /** The handle of the container that uses it; undefined: none does. */
    readonly container?: string;
  }
  | { readonly is: "tunnel"; readonly node: string; readonly type: string }
  | { readonly is: "service"; readonly namespace?: string; readonly name?: string }
  | { readonly is: "gateway"; readonly node: string }
  | { readonly is: "windows" }
  /** A handle of no form that we know. */
  | { readonly is: "stranger"; readonly node: string; readonly handle: string }
  /** No handle, and no attributes that tell. */
  | { readonly is: "unsaid"; readonly node: string };

/** What handles of services' addresses begin with (kube-controllers). */
const SERVICE_HANDLE = "lb-";

type Record = Pick<Allocation, "handle" | "attributes">;

export function holderOf(record: Record): Holder {
  const { handle, attributes } = record;
  const { pod, namespace = "", node = "", type, service } = attributes;
  if (handle === WINDOWS_RESERVED) return { is: "windows" };
  const lease = leaseOf(record);
  if (lease) {
    const { name, container, namespace, pod } = lease;
    return {
      is: "lease",
      name,
      node,
      container,
      ...(namespace && pod && { pod: { namespace, name: pod } }),
    };
  }
  const tunnel = tunnelOf(record);
  if (tunnel) return tunnel;
  if (type === GATEWAY_TYPE) return { is: "gateway", node };
  if (service !== undefined) return { is: "service", namespace, name: service };
  if (pod) {
    const machine = attributes["vmi-name"] !== undefined;
    return { is: "pod", namespace, name: pod, node, handle, machine };
  }
  if (handle === undefined) return { is: "unsaid", node };
  if (handle.startsWith(SERVICE_HANDLE)) return { is: "service" };
  return handle.includes(".")
    ? { is: "container", node, handle }
    : { is: "stranger", node, handle };
}

/** What the handle says, else the attributes. */
function tunnelOf({ handle, attributes }: Record): Holder & { is: "tunnel" } | undefined {
  const named = tunnelHandle(handle);
  if (named) return { is: "tunnel", ...named };
  const { type, node = "" } = attributes;
  return type !== undefined && TUNNEL_TYPES.includes(type)
    ? { is: "tunnel", node, type }
    : undefined;
}

/** The tunnel that a handle is of; undefined for other handles. */
export function tunnelHandle(
  handle: string | undefined,
): { readonly type: string; readonly node: string } | undefined {
  for (const [type, prefix] of Object.entries(TUNNEL_HANDLES)) {
    if (handle?.startsWith(prefix)) return { type, node: handle.slice(prefix.length) };
  }
}

/** In the words of a finding: `pod blue/p of node n0`. */
export function describe(holder: Holder): string {
  const at = (what: string, node: string) => node ? `${what} of node ${node}` : what;
  switch (holder.is) {
    case "pod":
      return at(`pod ${holder.namespace}/${holder.name}`, holder.node);
    case "container":
    case "stranger":
      return at(`handle ${holder.handle}`, holder.node);
    case "lease":
      return holder.container === undefined
        ? `nobody, and kept for ${holder.name}`
        : at(`the lease of ${holder.name}`, holder.node);
    case "tunnel":
      return at(holder.type, holder.node);
    case "service":
      return holder.name === undefined ? "a service" : `service ${holder.namespace}/${holder.name}`;
    case "gateway":
      return at(GATEWAY_TYPE, holder.node);
    case "windows":
      return "Windows";
    case "unsaid":
      return at("nobody known", holder.node);
  }
}

/** Whether the record's holder may be the user. */
export function agrees(holder: Holder, user: AddressUser): boolean {
  if (holder.is === "unsaid") return sameNode(holder.node, user.node);
  if (user.is === "tunnel") {
    return holder.is === "tunnel" && holder.type === user.type && holder.node === user.node;
  }
  if (user.is === "service") {
    const { service } = user;
    return holder.is === "service" &&
      (holder.name === undefined ||
        (holder.name === service?.name && holder.namespace === service.namespace));
  }
  switch (holder.is) {
    case "pod":
      return isOwnPod(user, holder) && sameNode(holder.node, user.node) &&
        (holder.machine || holder.handle === undefined || isOwnContainer(holder.handle, user));
    case "lease":
      if (holder.container === undefined) {
        return user.is === "pod" && holder.pod !== undefined && isPod(user, holder.pod);
      }
      return holder.pod !== undefined && isOwnPod(user, holder.pod) &&
        sameNode(holder.node, user.node) && isOwnContainer(holder.container, user);
    case "container":
    case "stranger":
      if (!sameNode(holder.node, user.node)) return false;
      if (user.pod && holder.handle === `${user.pod.namespace}.${user.pod.name}`) return true;
      if (user.containerId === undefined) return user.pod === undefined;
      return containerOf(holder).includes(user.containerId);
    default:
      return false;
  }
}

/** An endpoint of Kubernetes that does not say of which pod it is may be any's. */
function isOwnPod(user: AddressUser, pod: { namespace: string; name: string }): boolean {
  return user.pod ? isPod(user, pod) : user.plain !== true;
}

/** A record or an object that does not say its node says nothing against the other's. */
function sameNode(one: string, other: string | undefined): boolean {
  return one === "" || other === undefined || other === "" || one === other;
}

/**
 * Whether the handle may be of the user's container. One of another form than `<network>.<container>…` says
 * nothing of it: that of very old plugins, and one that is named by an interface that Calico made.
 */
function isOwnContainer(handle: string, { containerId, pod }: AddressUser): boolean {
  if (containerId === undefined || handle.startsWith(LEASE_PREFIX)) return true;
  if (pod && handle === `${pod.namespace}.${pod.name}`) return true;
  const parts = containerOf({ handle });
  return parts.length === 0 || parts.includes(containerId) ||
    parts.some((part) => /^cali[0-9a-f]{11}$/.test(part)) ||
    `${handle}.`.includes(`.${containerId}.`);
}
