/** For tests: clusters in which everything is as it should be, made by IPAM itself. */
import fc from "fast-check";
import { formatIp } from "../../../net/mod.ts";
import { resourceKey } from "../../../model/keys.ts";
import { goTimestamp, rfc3339 } from "../../time.ts";
import { World } from "../../testing/world.ts";
import { HELD, MAKERS } from "./holders.ts";

const ENDPOINTS = { plural: "workloadendpoints", home: "calico", namespaced: true } as const;
const PODS = { plural: "pods", home: "kubernetes", namespaced: true } as const;
const SERVICES = { plural: "services", home: "kubernetes", namespaced: true } as const;
const CLUSTER = { plural: "clusterinformations", home: "calico", namespaced: false } as const;
const NODES = { plural: "nodes", home: "calico", namespaced: false } as const;

export const GUID = "0123456789abcdef0123456789abcdef";

/** Steps that a cluster may take; each leaves it sound. */
export type Step =
  | { do: "pod"; node: number; six: boolean; endpoint: boolean }
  | { do: "release"; nth: number }
  | { do: "tunnel"; node: number }
  | { do: "fixed"; node: number; at: number }
  | { do: "keep"; node: number }
  | { do: "service" }
  | { do: "hold"; what: string; node: number }
  | { do: "disable" };

export const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("pod" as const),
      node: fc.nat(2),
      six: fc.boolean(),
      endpoint: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("release" as const), nth: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("tunnel" as const), node: fc.nat(2) }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("fixed" as const), node: fc.nat(2), at: fc.nat(63) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("keep" as const), node: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.constant({ do: "service" as const }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("hold" as const),
      what: fc.nat(HELD.length - 1).map((at) => HELD[at]),
      node: fc.nat(2),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "disable" as const }) },
);

/** A pod that is there, as tests need it. */
export interface TestPod {
  readonly name: string;
  readonly node: string;
  readonly handle: string;
  readonly addresses: readonly string[];
  /** Its WorkloadEndpoint's key, or its Pod's. */
  readonly key: string;
}

export class SoundCluster extends World {
  readonly pods: TestPod[] = [];
  #count = 0;

  async begin(): Promise<void> {
    await this.store.put(resourceKey(CLUSTER, "default"), {
      metadata: { name: "default" },
      spec: { clusterGUID: GUID, clusterType: "k8s,bgp", datastoreReady: true },
    });
    for (const node of ["n0", "n1", "n2"]) await this.node(node);
    await this.pool("four", "10.0.0.0/26", { blockSize: 29 });
    await this.pool("six", "fd00::/120", { blockSize: 124 });
    await this.pool("lb", "10.9.0.0/28", { blockSize: 30, allowedUses: ["LoadBalancer"] });
    await this.pool("old", "10.8.0.0/28", { blockSize: 30, assignmentMode: "Manual" });
  }

  /** Of whoever is new. */
  nextNumber(): number {
    return this.#count++;
  }

  async take(step: Step): Promise<void> {
    switch (step.do) {
      case "pod":
        await this.addPod(`n${step.node}`, step);
        break;
      case "fixed": {
        const address = `10.0.0.${step.at}`;
        if (!await this.ipam.assignment(address)) await this.addPod(`n${step.node}`, { address });
        break;
      }
      case "release": {
        const [pod] = this.pods.splice(step.nth % (this.pods.length || 1), 1);
        if (pod) await this.removePod(pod);
        break;
      }
      case "tunnel":
        await this.tunnel(`n${step.node}`);
        break;
      case "keep": {
        const ordinal = `${this.#count++}`;
        const handle = `tortie-pin.shop.db.${ordinal}`;
        const kept = rfc3339(this.now + 3_600_000);
        const attributes = {
          keptUntil: kept,
          node: `n${step.node}`,
          ordinal,
          statefulset: "shop/db",
        };
        await this.ipam.assign({
          num4: 1,
          host: `n${step.node}`,
          handle,
          attributes,
          use: "Workload",
        })
          .catch(full);
        break;
      }
      case "service":
        await this.service();
        break;
      case "hold":
        await MAKERS[step.what](this, `n${step.node}`, this.nextNumber());
        break;
      case "disable":
        await this.addPod("n0", { pools4: ["old"] }).catch(full);
        await this.pool("old", "10.8.0.0/28", { blockSize: 30, disabled: true });
        break;
    }
  }

  /** A pod with its addresses, or none where the pool is full. */
  async addPod(
    node: string,
    options: { six?: boolean; endpoint?: boolean; address?: string; pools4?: string[] } = {},
  ): Promise<TestPod | undefined> {
    const name = `p${this.#count++}`;
    const container = name.slice(1).padStart(64, "c0ffee");
    const handle = `net.${container}`;
    const attributes = { namespace: "blue", node, pod: name, timestamp: goTimestamp(this.now) };
    const { six, address, pools4, endpoint = true } = options;
    const common = { host: node, handle, attributes };
    let given;
    try {
      given = address
        ? [await this.ipam.assignIp({ ...common, address })]
        : await this.ipam.assign({
          ...common,
          num4: 1,
          num6: six ? 1 : 0,
          pools4,
          use: "Workload",
        });
    } catch (error) {
      full(error);
      return undefined;
    }
    const addresses = given.map(({ ip }) => formatIp(ip));
    const key = endpoint
      ? resourceKey(ENDPOINTS, `${node}-k8s-${name}-eth0`, "blue")
      : resourceKey(PODS, name, "blue");
    await this.store.put(
      key,
      endpoint
        ? {
          metadata: { name: `${node}-k8s-${name}-eth0`, namespace: "blue" },
          spec: {
            orchestrator: "k8s",
            node,
            pod: name,
            endpoint: "eth0",
            containerID: container,
            interfaceName: `cali${name}`,
            ipNetworks: addresses.map((a) => `${a}/${a.includes(":") ? 128 : 32}`),
          },
        }
        : { spec: { nodeName: node }, status: { podIPs: addresses.map((ip) => ({ ip })) } },
    );
    const pod = { name, node, handle, addresses, key };
    this.pods.push(pod);
    return pod;
  }

  async removePod(pod: TestPod): Promise<void> {
    await this.store.delete(pod.key);
    await this.ipam.releaseByHandle(pod.handle);
  }

  async tunnel(node: string): Promise<void> {
    const key = resourceKey(NODES, node);
    const value = (await this.store.get<any>(key))!.value;
    if (value.spec?.ipv4VXLANTunnelAddr) return;
    const handle = `vxlan-tunnel-addr-${node}`;
    const attributes = { node, type: "vxlanTunnelAddress" };
    const given = await this.ipam.assign({ num4: 1, host: node, handle, attributes, use: "Tunnel" })
      .catch(full);
    if (!given) return;
    const ipv4VXLANTunnelAddr = formatIp(given[0].ip);
    await this.store.put(key, { ...value, spec: { ...value.spec, ipv4VXLANTunnelAddr } });
  }

  async service(): Promise<void> {
    const name = `web${this.#count++}`;
    const given = await this.ipam.assign({
      num4: 1,
      host: "",
      handle: `lb-${name}`,
      attributes: { namespace: "blue", service: name },
      use: "LoadBalancer",
    }).catch(full);
    if (!given) return;
    await this.store.put(resourceKey(SERVICES, name, "blue"), {
      spec: { type: "LoadBalancer" },
      status: { loadBalancer: { ingress: [{ ip: formatIp(given[0].ip) }] } },
    });
  }
}

/** Pools that are full are no matter here. */
export function full(error: unknown): undefined {
  if ((error as { name?: string }).name !== "IpamError") throw error;
}
