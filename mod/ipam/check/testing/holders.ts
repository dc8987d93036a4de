/** For tests: whoever may have an address, each with the record and the objects that he has in a sound cluster. */
import { formatIp, type Ip, ipAt, parseIp, type Prefix, prefixContains } from "../../../net/mod.ts";
import type { AllocationAttribute, AllocationBlock } from "../../../model/ipam_block.ts";
import type { IpamHandle } from "../../../model/ipam_handle.ts";
import { blockPrefix, handleKey, parseBlockKey, resourceKey } from "../../../model/keys.ts";
import { TUNNEL_HANDLES } from "../allocations.ts";
import { goTimestamp, rfc3339 } from "../../time.ts";
import type { AutoAssignRequest } from "../../types.ts";
import { full, type SoundCluster } from "./clusters.ts";

const ENDPOINTS = { plural: "workloadendpoints", home: "calico", namespaced: true } as const;
const PODS = { plural: "pods", home: "kubernetes", namespaced: true } as const;
const NODES = { plural: "nodes", home: "calico", namespaced: false } as const;
const SERVICES = { plural: "services", home: "kubernetes", namespaced: true } as const;

export type HeldBy = "workload" | "tunnel" | "service" | "nobody";

export interface Held {
  readonly by: HeldBy;
  readonly node: string;
  readonly address: string;
  readonly handle: string;
}

type Attributes = Record<string, string>;

/** Gives an address, and says how it is used; undefined where the pools are full. */
type Maker = (cluster: SoundCluster, node: string, n: number) => Promise<Held | undefined>;

const containerId = (n: number) => `${n}`.padStart(64, "c0ffee");

async function give(
  cluster: SoundCluster,
  host: string,
  handle: string,
  attributes: Attributes,
  more: Partial<AutoAssignRequest> = {},
): Promise<string | undefined> {
  const num = more.num6 === undefined ? { num4: 1 } : {};
  const use = "Workload" as const;
  const given = await cluster.ipam.assign({ ...num, host, handle, attributes, use, ...more })
    .catch(full);
  return given && formatIp(given[0].ip);
}

/** A record, and the endpoint that has the address. */
function workload(
  record: (node: string, n: number, now: number) => { handle: string; attributes: Attributes },
  spec: (
    n: number,
  ) => { orchestrator?: string; pod?: string; endpoint?: string; container?: string },
): Maker {
  return async (cluster, node, n) => {
    const { handle, attributes } = record(node, n, cluster.now);
    const address = await give(cluster, node, handle, attributes);
    if (address === undefined) return undefined;
    const { orchestrator = "k8s", pod, endpoint = "eth0", container } = spec(n);
    const id = (pod ?? container!).replaceAll("-", "--");
    const name = `${node}-${orchestrator}-${id}-${endpoint}`;
    await cluster.store.put(resourceKey(ENDPOINTS, name, "blue"), {
      metadata: { name, namespace: "blue" },
      spec: {
        orchestrator,
        node,
        pod,
        endpoint,
        containerID: container,
        interfaceName: `calih${n}`,
        ipNetworks: [`${address}/32`],
      },
    });
    return { by: "workload", node, address, handle };
  };
}

export function leaseAttributes(node: string, n: number, now: number): Attributes {
  return {
    container: `net.${containerId(n)}`,
    keepSeconds: "60",
    node,
    ordinal: `${n}`,
    statefulset: "blue/web",
    timestamp: goTimestamp(now),
  };
}

function tunnel(type: keyof typeof TUNNEL_HANDLES, six: boolean, path: readonly string[]): Maker {
  return async (cluster, node) => {
    const key = resourceKey(NODES, node);
    const { value } = (await cluster.store.get<any>(key))!;
    const spec = structuredClone(value.spec ?? {});
    const at = path.slice(0, -1).reduce((o, name) => o[name] ??= {}, spec);
    const field = path.at(-1)!;
    const handle = TUNNEL_HANDLES[type] + node;
    if (at[field] !== undefined) return { by: "tunnel", node, address: at[field], handle };
    const use = "Tunnel" as const;
    const address = await give(
      cluster,
      node,
      handle,
      { node, type },
      six ? { num6: 1, use } : { use },
    );
    if (address === undefined) return undefined;
    at[field] = address;
    await cluster.store.put(key, { ...value, spec });
    return { by: "tunnel", node, address, handle };
  };
}

export const MAKERS: Readonly<Record<string, Maker>> = {
  pod: workload(
    (node, n, now) => ({
      handle: `net.${containerId(n)}`,
      attributes: { namespace: "blue", node, pod: `q${n}`, timestamp: goTimestamp(now) },
    }),
    (n) => ({ pod: `q${n}`, container: containerId(n) }),
  ),
  "pod's second interface": workload(
    (node, n, now) => ({
      handle: `net.${containerId(n)}.net1`,
      attributes: {
        interface: "net1",
        namespace: "blue",
        node,
        pod: `q${n}`,
        timestamp: goTimestamp(now),
      },
    }),
    (n) => ({ pod: `q${n}`, endpoint: "net1", container: containerId(n) }),
  ),
  "pod of old Calico's handle": workload(
    (node, n) => ({ handle: `blue.q${n}`, attributes: { node } }),
    (n) => ({ pod: `q${n}`, container: containerId(n) }),
  ),
  "pod without endpoint": async (cluster, node, n) => {
    const handle = `net.${containerId(n)}`;
    const address = await give(cluster, node, handle, { namespace: "blue", node, pod: `q${n}` });
    if (address === undefined) return undefined;
    const value = { spec: { nodeName: node }, status: { podIP: address } };
    await cluster.store.put(resourceKey(PODS, `q${n}`, "blue"), value);
    return { by: "workload", node, address, handle };
  },
  "KubeVirt's machine": workload(
    (node, n) => ({
      handle: `kubevirt-vm${n}`,
      attributes: { namespace: "blue", node, pod: `q${n}`, "vmi-name": `vm${n}`, "vmi-uid": "u" },
    }),
    (n) => ({ pod: `q${n}`, container: containerId(n) }),
  ),
  "plain container": workload(
    (node, n) => ({ handle: `my.net.${containerId(n)}`, attributes: { node } }),
    (n) => ({ orchestrator: "cni", container: containerId(n) }),
  ),
  "plain container of a short name": workload(
    (node, n) => ({ handle: `net.c${n}`, attributes: { node } }),
    (n) => ({ orchestrator: "cni", container: `c${n}` }),
  ),
  "ordinal's pod": workload(
    (node, n, now) => ({
      handle: `tortie-pin.blue.web.${n}`,
      attributes: leaseAttributes(node, n, now),
    }),
    (n) => ({ pod: `web-${n}`, container: containerId(n) }),
  ),
  "ordinal's pod at a second interface": workload(
    (node, n, now) => ({
      handle: `tortie-pin.blue.web.${n}.net1`,
      attributes: {
        ...leaseAttributes(node, n, now),
        container: `net.${containerId(n)}.net1`,
      },
    }),
    (n) => ({ pod: `web-${n}`, endpoint: "net1", container: containerId(n) }),
  ),
  /** Its sandbox ended a moment ago, and the kubelet has not told yet. */
  "ordinal's pod between two sandboxes": async (cluster, node, n) => {
    const held = await MAKERS["kept lease"](cluster, node, n);
    if (!held) return undefined;
    const value = { spec: { nodeName: node }, status: { podIP: held.address } };
    await cluster.store.put(resourceKey(PODS, `web-${n}`, "blue"), value);
    return held;
  },
  "kept lease": async (cluster, node, n) => {
    const handle = `tortie-pin.blue.web.${n}`;
    const { container: _, ...rest } = leaseAttributes(node, n, cluster.now);
    const keptUntil = rfc3339(cluster.now + 3_600_000);
    const address = await give(cluster, node, handle, { ...rest, keptUntil });
    return address === undefined ? undefined : { by: "nobody", node, address, handle };
  },
  "IPIP tunnel": tunnel("ipipTunnelAddress", false, ["bgp", "ipv4IPIPTunnelAddr"]),
  "VXLAN tunnel": tunnel("vxlanTunnelAddress", false, ["ipv4VXLANTunnelAddr"]),
  "VXLAN tunnel of IPv6": tunnel("vxlanV6TunnelAddress", true, ["ipv6VXLANTunnelAddr"]),
  "WireGuard tunnel": tunnel("wireguardTunnelAddress", false, [
    "wireguard",
    "interfaceIPv4Address",
  ]),
  "WireGuard tunnel of IPv6": tunnel("wireguardV6TunnelAddress", true, [
    "wireguard",
    "interfaceIPv6Address",
  ]),
  service: async (cluster, _node, n) => {
    const handle = `lb-h${n}`;
    const attributes = { namespace: "blue", service: `s${n}`, type: "LoadBalancer" };
    const address = await give(cluster, "", handle, attributes, { use: "LoadBalancer" });
    if (address === undefined) return undefined;
    await cluster.store.put(resourceKey(SERVICES, `s${n}`, "blue"), {
      spec: { type: "LoadBalancer" },
      status: { loadBalancer: { ingress: [{ ip: address }] } },
    });
    return { by: "service", node: "", address, handle };
  },
  "Windows' reserve": async (cluster, node) => {
    const handle = "windows-reserved-ipam-handle";
    const address = await give(cluster, node, handle, { note: "windows host rsvd" });
    return address === undefined ? undefined : { by: "nobody", node, address, handle };
  },
  /** In the block of a pod whose interface another plugin makes. */
  gateway: async (cluster, node, n) => {
    const pod = await MAKERS.pod(cluster, node, n);
    if (!pod) return undefined;
    const { prefix } = await recordOf(cluster, pod.address);
    const handle = `gateway.${node}.${n}`;
    for (let ordinal = 0; ordinal < 8; ordinal++) {
      const ip = ipAt(prefix, ordinal);
      if (await cluster.ipam.assignment(ip)) continue;
      const attributes = { node, type: "cniGateway", timestamp: goTimestamp(cluster.now) };
      const given = await cluster.ipam.assignIp({ address: ip, host: node, handle, attributes })
        .catch(full);
      // Some cool down.
      if (given) return { by: "nobody", node, address: formatIp(ip), handle };
    }
    return undefined;
  },
};

export const HELD: readonly string[] = Object.keys(MAKERS);

/** The block that has given an address, and the ordinal. */
export async function recordOf(
  { store }: SoundCluster,
  address: string,
): Promise<{ key: string; prefix: Prefix; value: AllocationBlock; ordinal: number }> {
  const ip: Ip = parseIp(address)!;
  for (
    const { key, value } of (await store.list<AllocationBlock>(blockPrefix(ip.family))).entries
  ) {
    const prefix = parseBlockKey(key)!;
    if (!prefixContains(prefix, ip)) continue;
    const ordinal = value.allocations.findIndex((_, i) => formatIp(ipAt(prefix, i)) === address);
    return { key, prefix, value: structuredClone(value), ordinal };
  }
  throw new Error(`nobody has given ${address}`);
}

/** Writes another holder into the record of an address, and counts him as IPAM would. */
export async function regive(
  cluster: SoundCluster,
  address: string,
  change: (attribute: AllocationAttribute) => AllocationAttribute,
): Promise<void> {
  const { store } = cluster;
  const { key, value, ordinal } = await recordOf(cluster, address);
  const old = value.attributes[value.allocations[ordinal]!];
  const next = change(structuredClone(old));
  const allocations = [...value.allocations], attributes = [...value.attributes, next];
  const left = allocations[ordinal]!;
  allocations[ordinal] = attributes.length - 1;
  if (!allocations.includes(left)) {
    attributes.splice(left, 1);
    allocations.forEach((index, i) => {
      if (index !== null && index > left) allocations[i] = index - 1;
    });
  }
  await store.put(key, { ...value, allocations, attributes });
  if (old.handle_id === next.handle_id) return;
  for (const [id, by] of [[old.handle_id, -1], [next.handle_id, 1]] as const) {
    if (typeof id !== "string") continue;
    const block = { ...(await store.get<IpamHandle>(handleKey(id)))?.value.block };
    block[value.cidr] = (block[value.cidr] ?? 0) + by;
    if (block[value.cidr] === 0) delete block[value.cidr];
    if (Object.keys(block).length === 0) await store.delete(handleKey(id));
    else await store.put(handleKey(id), { block, deleted: false });
  }
}
