/**
 * A small real kernel in memory, for the tests of the CNI path: links in namespaces, pairs whose ends
 * vanish together, addresses, routes. It keeps the rules that matter there (names are unique in a
 * namespace, a deleted namespace takes its pairs along) and nothing else.
 */

import { type Ip, mustIp, sameIp } from "../../mod/net/mod.ts";
import { KernelError } from "../../ffi/errors.ts";
import { CniCode, CniError } from "../errors.ts";
import {
  type CniKernel,
  destinationsOf,
  GATEWAY4,
  GATEWAY6,
  type HostLink,
  type InterfaceAddress,
  type PairPlan,
  type PodLink,
  type PodNamespace,
  type PodRoute,
  type WiringPlan,
} from "../kernel.ts";

export interface FakeLink {
  name: string;
  index: number;
  mac: string;
  mtu: number;
  up: boolean;
  alias?: string;
  addresses: InterfaceAddress[];
  routes: PodRoute[];
  /** Routes of link scope on the host. */
  hostRoutes: Ip[];
  peer?: FakeLink;
  /** Where the link is: "" is the host. */
  where: string;
}

export class FakeKernel implements CniKernel {
  readonly links = new Set<FakeLink>();
  readonly namespaces = new Set<string>();
  /** The host's own. */
  readonly addresses: Ip[] = [];
  /** Told when a namespace has been given addresses. */
  onWired: (path: string, addresses: readonly Ip[]) => void = () => {};
  #index = 1;

  /** Links of the host, or of a namespace. */
  in(where: string): FakeLink[] {
    return [...this.links].filter((link) => link.where === where);
  }

  addNamespace(path: string): string {
    this.namespaces.add(path);
    return path;
  }

  deleteNamespace(path: string): void {
    for (const link of this.in(path)) this.#remove(link);
    this.namespaces.delete(path);
  }

  /** An interface that somebody else made. */
  addLink(where: string, name: string, more: Partial<FakeLink> = {}): FakeLink {
    if (this.#find(where, name)) throw new KernelError(17, `make ${name}`);
    const link: FakeLink = {
      name,
      index: this.#index++,
      mac: "02:00:00:00:00:01",
      mtu: 1500,
      up: false,
      addresses: [],
      routes: [],
      hostRoutes: [],
      where,
      ...more,
    };
    this.links.add(link);
    return link;
  }

  async openNamespace(path: string): Promise<PodNamespace>;
  async openNamespace(path: string, missing: "undefined"): Promise<PodNamespace | undefined>;
  async openNamespace(path: string, missing?: "undefined"): Promise<PodNamespace | undefined> {
    if (!this.namespaces.has(path)) {
      if (missing) return undefined;
      throw new CniError(CniCode.environment, `CNI_NETNS ${path} is not a network namespace.`);
    }
    return {
      path,
      link: async (name) => {
        const link = this.#find(path, name);
        return link && podLink(link);
      },
      createPair: async (plan) => this.#createPair(path, plan),
      wirePod: async (plan) => this.#wirePod(path, plan),
      settle: async () => {},
      removeLink: async (name) => this.#remove(this.#find(path, name)),
      close: () => {},
    };
  }

  async hostLink(name: string): Promise<HostLink | undefined> {
    const link = this.#find("", name);
    return link && hostLink(link);
  }

  async wireHost(plan: WiringPlan): Promise<void> {
    const link = this.#must("", plan.hostName);
    link.up = true;
    link.hostRoutes = [...plan.addresses];
  }

  async removeHostLink(name: string): Promise<void> {
    this.#remove(this.#find("", name));
  }

  async setAlias(hostName: string, alias: string): Promise<void> {
    this.#must("", hostName).alias = alias;
  }

  async linkOf(ip: Ip): Promise<HostLink | "host" | undefined> {
    if (this.addresses.some((own) => sameIp(own, ip))) return "host";
    const link = this.in("").find(({ hostRoutes }) => hostRoutes.some((to) => sameIp(to, ip)));
    return link && hostLink(link);
  }

  async addressesBeyond(hostName: string): Promise<Ip[]> {
    return this.#find("", hostName)?.peer?.addresses.map(({ ip }) => ip) ?? [];
  }

  async addressesOf(hostName: string): Promise<Ip[]> {
    return this.#find("", hostName)?.addresses.map(({ ip }) => ip) ?? [];
  }

  hostAddresses(): Promise<Ip[]> {
    return Promise.resolve(this.addresses);
  }

  async missingHostRoutes(hostName: string, addresses: Ip[]): Promise<Ip[]> {
    const there = this.#must("", hostName).hostRoutes;
    return addresses.filter((ip) => !there.some((t) => sameIp(t, ip)));
  }

  #createPair(path: string, plan: PairPlan): void {
    if (this.#find(path, plan.podName)) {
      throw new CniError(CniCode.exists, `Interface ${plan.podName} exists already in ${path}.`);
    }
    const host = this.addLink("", plan.hostName, {
      mac: plan.hostMac,
      mtu: plan.mtu,
      alias: plan.alias,
    });
    const pod = this.addLink(path, plan.podName, { mac: plan.podMac, mtu: plan.mtu });
    host.peer = pod;
    pod.peer = host;
  }

  #wirePod(path: string, plan: WiringPlan): void {
    const link = this.#must(path, plan.podName);
    link.up = true;
    link.addresses = plan.addresses.map((ip) => ({ ip, length: ip.family === 4 ? 32 : 128 }));
    link.routes = plan.addresses.flatMap((ip) =>
      destinationsOf(plan, ip.family).map((destination): PodRoute => ({
        destination,
        gateway: mustIp(ip.family === 4 ? GATEWAY4 : GATEWAY6),
      }))
    );
    this.onWired(path, plan.addresses);
  }

  #find(where: string, name: string): FakeLink | undefined {
    return this.in(where).find((link) => link.name === name);
  }

  #must(where: string, name: string): FakeLink {
    const link = this.#find(where, name);
    if (!link) throw new KernelError(19, `change ${name}`);
    return link;
  }

  #remove(link: FakeLink | undefined): void {
    if (!link) return;
    this.links.delete(link);
    if (link.peer) this.links.delete(link.peer);
  }
}

function hostLink(link: FakeLink): HostLink {
  const { name, index, mac, up, alias, peer } = link;
  return { name, index, mac, up, alias, peerIndex: peer?.index };
}

function podLink(link: FakeLink): PodLink {
  const { name, index, mac, mtu, up, addresses, routes, peer } = link;
  const host = peer?.where === "" ? hostLink(peer) : undefined;
  return { name, index, mac, mtu, up, addresses: [...addresses], routes: [...routes], host };
}
