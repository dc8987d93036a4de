/**
 * Who uses addresses, whatever IPAM has on record: nodes their tunnels', endpoints and pods their own,
 * services those of their load balancer. The names are those that `calicoctl ipam check` prints.
 */
import { formatIp, parseCidr, parseIp } from "../../net/mod.ts";
import type { Entry } from "../../store/store.ts";
import { parseResourceKey } from "../../model/keys.ts";
import { kubernetesName, type Node, tunnelsOf, type TunnelType } from "../../model/node.ts";
import type { IpamRecords } from "./records.ts";

export interface AddressUser {
  /** `Node(n1)`, `Workload(ns/name)`, `Pod(ns/name)`, a service's name. */
  readonly name: string;
  /** By what object: a Node, a WorkloadEndpoint, a Pod of which no endpoint says it, a Service. */
  readonly is: "tunnel" | "endpoint" | "pod" | "service";
  readonly node?: string;
  readonly pod?: { readonly namespace: string; readonly name: string };
  readonly containerId?: string;
  /** An endpoint of another orchestrator than Kubernetes. */
  readonly plain?: boolean;
  /** Of a tunnel. */
  readonly type?: TunnelType;
  readonly service?: { readonly namespace: string; readonly name: string };
}

/** By address. */
export type Users = ReadonlyMap<string, readonly AddressUser[]>;

type Loose = any;

export function usersOf(
  records: Pick<IpamRecords, "nodes" | "endpoints" | "pods" | "services">,
): Users {
  const users = new Map<string, AddressUser[]>();
  const add = (address: unknown, user: AddressUser) => {
    const ip = typeof address === "string" ? parseCidr(address)?.ip ?? parseIp(address) : undefined;
    if (!ip) return;
    const text = formatIp(ip);
    const list = users.get(text);
    if (list) list.push(user);
    else users.set(text, [user]);
  };
  /** Names of our nodes by those that Pods have for them. */
  const ours = new Map<string, string>();
  for (const { key, value } of records.nodes) {
    const node = parseResourceKey(key)?.name ?? "";
    ours.set(kubernetesName(value as Node) ?? node, node);
    for (const { type, address } of tunnelsOf(value)) {
      add(address, { name: `Node(${node})`, is: "tunnel", node, type });
    }
  }
  for (const entry of records.endpoints) {
    const user = endpointUser(entry);
    for (const net of list((entry.value as Loose)?.spec?.ipNetworks)) add(net, user);
  }
  for (const { key, value } of records.pods) {
    const at = parseResourceKey(key);
    if (!at?.namespace) continue;
    const pod = { namespace: at.namespace, name: at.name };
    // A name that is none of ours may be that of a Node which does not say so.
    const node = ours.get((value as Loose)?.spec?.nodeName);
    for (const address of podAddresses(value)) {
      const ip = parseIp(address);
      const known = ip && users.get(formatIp(ip))?.some((user) => isPod(user, pod));
      if (!known) add(address, { name: `Pod(${pod.namespace}/${pod.name})`, is: "pod", node, pod });
    }
  }
  for (const { key, value } of records.services) {
    const service = value as Loose;
    if (service?.spec?.type !== "LoadBalancer") continue;
    for (const ingress of list(service?.status?.loadBalancer?.ingress)) {
      const { namespace = "", name = key } = parseResourceKey(key) ?? {};
      add((ingress as Loose)?.ip, { name, is: "service", service: { namespace, name } });
    }
  }
  return users;
}

/** Those that a pod has of the network: none in the host's, none when it is over. */
export function podAddresses(pod: Loose): string[] {
  // A half-written one may hold null.
  const spec = pod?.spec ?? {}, status = pod?.status ?? {};
  if (spec.hostNetwork || status.phase === "Failed" || status.phase === "Succeeded") return [];
  const isText = (ip: unknown) => typeof ip === "string" && ip !== "";
  const several = list(status.podIPs).map((p) => (p as Loose)?.ip).filter(isText);
  return several.length > 0 ? several : isText(status.podIP) ? [status.podIP] : [];
}

function endpointUser({ key, value }: Entry): AddressUser {
  const { namespace = "", name = "" } = parseResourceKey(key) ?? {};
  const { orchestrator, pod, node, containerID } = (value as Loose)?.spec ?? {};
  return {
    name: `Workload(${namespace}/${name})`,
    is: "endpoint",
    node,
    containerId: containerID || undefined,
    ...(orchestrator === "k8s" ? pod && { pod: { namespace, name: pod } } : { plain: true }),
  };
}

export function isPod(user: AddressUser, pod: { namespace: string; name: string }): boolean {
  return user.pod?.namespace === pod.namespace && user.pod.name === pod.name;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}
