/**
 * The pair of interfaces of a pod, in the real kernel, as Calico's plugin makes it:
 *
 *     pod                                        host
 *     eth0  <address>/32                         cali…  ee:ee:ee:ee:ee:ee, proxy ARP and NDP
 *       169.254.1.1 dev eth0 scope link            <address>/32 dev cali… scope link, protocol 80
 *       default via 169.254.1.1
 *       169.254.1.1 is ee:ee:ee:ee:ee:ee for ever
 *       default via fe80::ecee:eeff:feee:eeee    its link-local address, which follows from the MAC
 *
 * The permanent neighbour entries are ours: proxy ARP answers for 169.254.1.1 only on a node that has
 * a route to it by another interface, and a node without default route has none.
 *
 * The pair is made by one message from the host's side with the pod's side straight in its namespace,
 * so it is never seen elsewhere; the mark goes with the same datagram. Both sides stay down until
 * `wirePod` and `wireHost`. A socket is opened for each namespace and closed with it. Deleting a pair
 * waits for the kernel's readers and runs on another thread; everything else takes microseconds.
 */

import {
  hostPrefix,
  type Ip,
  mustIp,
  mustPrefix,
  type Prefix,
  prefixContains,
  sameIp,
} from "../mod/net/mod.ts";
import { isKernelError, KernelError } from "../ffi/errors.ts";
import { inNetns, Netns } from "../ffi/netns.ts";
import {
  addAddress,
  type Command,
  IFA_F_NODAD,
  type Link,
  replaceNeighbour,
  replaceRoute,
  type Route,
  RouteSocket,
  RT_TABLE_MAIN,
  setLink,
} from "../ffi/route/mod.ts";
import { readSysctl, writeSysctl } from "../ffi/sysctl.ts";
import { CniCode, CniError } from "./errors.ts";
import {
  type CniKernel,
  destinationsOf,
  GATEWAY4,
  GATEWAY6,
  HOST_MAC,
  type HostLink,
  type PairPlan,
  type PodLink,
  type PodNamespace,
  type WiringPlan,
} from "./kernel.ts";

/** Protocol number of routes that we compute. */
const PROTOCOL = 80;
/** IPv6 addresses that every interface has by itself. */
const LINK_LOCAL = mustPrefix("fe80::/10");

/** The kernel of this process's network namespace. */
export function netlinkKernel(): CniKernel {
  return new NetlinkKernel();
}

class NetlinkKernel implements CniKernel {
  #socket: RouteSocket | undefined;
  #own: string | undefined;

  /** Opened at the first use; a socket of rtnetlink is good for the life of the process. */
  get #host(): RouteSocket {
    return this.#socket ??= RouteSocket.open();
  }

  /** The host's namespace; for life too. */
  get #identity(): string {
    if (this.#own === undefined) {
      using own = Netns.current();
      this.#own = own.identity;
    }
    return this.#own;
  }

  openNamespace(path: string): Promise<PodNamespace>;
  openNamespace(path: string, missing: "undefined"): Promise<PodNamespace | undefined>;
  async openNamespace(path: string, missing?: "undefined"): Promise<PodNamespace | undefined> {
    let netns: Netns;
    try {
      netns = Netns.open(path);
    } catch (error) {
      if (missing && isKernelError(error, "ENOENT", "ENOTDIR")) return undefined;
      throw wrongNamespace(path, error);
    }
    try {
      if (netns.identity === this.#identity) {
        throw wrongNamespace(path, new Error("it is the host's own"));
      }
      return new OpenNamespace(path, netns, RouteSocket.open(netns), this.#host);
    } catch (error) {
      netns.close();
      throw error instanceof CniError ? error : wrongNamespace(path, error);
    }
  }

  async hostLink(name: string): Promise<HostLink | undefined> {
    const link = this.#host.link(name);
    return link && hostLink(link);
  }

  async linkOf(ip: Ip): Promise<HostLink | "host" | undefined> {
    const route = this.#host.routeTo(ip);
    if (!route || route.destination.length !== hostPrefix(ip).length) return undefined;
    if (route.type === "local") return "host";
    const { oif } = route.hops?.[0] ?? {};
    const link = oif === undefined ? undefined : this.#host.link(oif);
    return link && hostLink(link);
  }

  async addressesBeyond(hostName: string): Promise<Ip[]> {
    const link = this.#host.link(hostName);
    if (!link) return [];
    return this.#host.addressesBeyond(link).map(({ ip }) => ip).filter((ip) => !isLinkLocal(ip));
  }

  async addressesOf(hostName: string): Promise<Ip[]> {
    const link = this.#host.link(hostName);
    if (!link) return [];
    return this.#host.addresses({ index: link.index }).map(({ ip }) => ip)
      .filter((ip) => !isLinkLocal(ip));
  }

  async hostAddresses(): Promise<Ip[]> {
    return this.#host.addresses().map(({ ip }) => ip);
  }

  async wireHost(plan: WiringPlan): Promise<void> {
    const { hostName } = plan;
    const has4 = plan.addresses.some((ip) => ip.family === 4);
    const has6 = plan.addresses.some((ip) => ip.family === 6);
    if (has4) {
      // These differ from what a new interface has: there is no use in reading them first.
      writeSysctl(`net/ipv4/conf/${hostName}/route_localnet`, "1");
      writeSysctl(`net/ipv4/neigh/${hostName}/proxy_delay`, "0");
      writeSysctl(`net/ipv4/conf/${hostName}/proxy_arp`, "1");
      set(`net/ipv4/conf/${hostName}/forwarding`, "1");
    }
    if (has6) {
      set(`net/ipv6/conf/${hostName}/disable_ipv6`, "0");
      set(`net/ipv6/conf/${hostName}/accept_dad`, "0");
      set(`net/ipv6/conf/${hostName}/proxy_ndp`, "1");
      set(`net/ipv6/conf/${hostName}/forwarding`, "1");
    }
    // What a pod advertises must not become the host's route. Without IPv6 there is no such setting.
    try {
      writeSysctl(`net/ipv6/conf/${hostName}/accept_ra`, "0");
    } catch (error) {
      if (!isKernelError(error, "ENOENT")) throw error;
    }
    const { index } = this.#must(hostName);
    this.#host.run(
      ...(has6 ? [setLink(index, { addrGenMode: "eui64" })] : []),
      setLink(index, { up: true }),
      ...plan.addresses.map((ip) => replaceRoute(hostRoute(ip, index))),
    );
    if (!has6) return;
    // The kernel makes this address itself, but only when its link watch has seen the carrier.
    const gateway = { index, ip: mustIp(GATEWAY6), length: 64, scope: 253, flags: IFA_F_NODAD };
    const [refused] = this.#host.attempt([addAddress(gateway)]);
    if (refused && refused.error.code !== "EEXIST") throw refused.error;
  }

  async removeHostLink(name: string): Promise<void> {
    const link = this.#host.link(name);
    if (!link) return;
    await gone(this.#host.deleteLink(link.index));
  }

  async setAlias(hostName: string, alias: string): Promise<void> {
    this.#host.setLink(hostName, { alias });
  }

  async missingHostRoutes(hostName: string, addresses: Ip[]): Promise<Ip[]> {
    const link = this.#must(hostName);
    const routes = this.#host.routes({ oif: link.index, table: RT_TABLE_MAIN });
    return addresses.filter((ip) =>
      !routes.some((route) =>
        route.destination.length === hostPrefix(ip).length && sameIp(route.destination.ip, ip)
      )
    );
  }

  #must(name: string): Link {
    const link = this.#host.link(name);
    if (!link) throw new KernelError(19, `find interface ${name} on the host`);
    return link;
  }
}

class OpenNamespace implements PodNamespace {
  #open = true;

  constructor(
    readonly path: string,
    readonly netns: Netns,
    readonly socket: RouteSocket,
    readonly host: RouteSocket,
  ) {}

  async link(name: string): Promise<PodLink | undefined> {
    const link = this.socket.link(name);
    if (!link) return undefined;
    const { index, mac = "", mtu, up } = link;
    const routes = this.socket.routes({ oif: index, table: RT_TABLE_MAIN });
    return {
      name: link.name,
      index,
      mac,
      mtu,
      up,
      addresses: this.socket.addresses({ index })
        .filter((a) => !isLinkLocal(a.ip))
        .map(({ ip, length }) => ({ ip, length })),
      routes: routes.map(({ destination, hops }) => ({ destination, gateway: hops?.[0]?.gateway })),
      host: this.#peer(link),
    };
  }

  /** The other side, if it is in the host's namespace: each must say that it is the other's. */
  #peer(link: Link): HostLink | undefined {
    if (link.kind !== "veth" || link.linkIndex === undefined) return undefined;
    if (link.linkNetnsId === undefined) return undefined;
    const peer = this.host.link(link.linkIndex);
    if (peer?.kind !== "veth" || peer.linkIndex !== link.index) return undefined;
    return hostLink(peer);
  }

  async createPair(plan: PairPlan): Promise<void> {
    try {
      this.host.addLink({
        kind: "veth",
        name: plan.hostName,
        mac: plan.hostMac,
        mtu: plan.mtu,
        alias: plan.alias,
        peer: {
          name: plan.podName,
          netns: this.netns,
          mac: plan.podMac,
          mtu: plan.mtu,
        },
      });
    } catch (error) {
      if (isKernelError(error, "EEXIST") && this.socket.link(plan.podName)) {
        throw new CniError(
          CniCode.exists,
          `Interface ${plan.podName} exists already in ${this.path} and is not ours: remove it, or ` +
            "set CNI_IFNAME to another name.",
        );
      }
      throw error;
    }
  }

  async wirePod(plan: WiringPlan): Promise<void> {
    const link = this.socket.link(plan.podName);
    if (!link) throw new KernelError(19, `find interface ${plan.podName} in ${this.path}`);
    const has4 = plan.addresses.some((ip) => ip.family === 4);
    const has6 = plan.addresses.some((ip) => ip.family === 6);
    inNetns(this.netns, () => podSysctls(plan, has4, has6));
    this.socket.run(
      setLink(link.index, { up: true }),
      ...plan.addresses.flatMap((ip) =>
        podCommands(ip, link.index, destinationsOf(plan, ip.family))
      ),
    );
  }

  /**
   * A veth whose other side came up later gets its queue from the kernel's link watch: at once where
   * the two indexes differ, else up to a second later, and until then it drops what is sent. Newer
   * kernels bring that forward when they are asked for the link.
   */
  async settle(plan: PairPlan): Promise<void> {
    for (let waited = 0; waited < 1500; waited += 5) {
      if (this.socket.link(plan.podName)?.running && this.host.link(plan.hostName)?.running) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async removeLink(name: string): Promise<void> {
    const link = this.socket.link(name);
    if (link) await gone(this.socket.deleteLink(link.index));
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.socket.close();
    this.netns.close();
  }
}

/** Inside the pod's namespace: synchronous. */
function podSysctls(plan: WiringPlan, has4: boolean, has6: boolean): void {
  const forwarding = plan.allowIpForwarding ? "1" : "0";
  if (has4) set("net/ipv4/ip_forward", forwarding);
  if (!has6) return;
  for (const name of ["all", "default", "lo", plan.podName]) {
    set(`net/ipv6/conf/${name}/disable_ipv6`, "0");
    set(`net/ipv6/conf/${name}/accept_dad`, "0");
  }
  set("net/ipv6/conf/all/forwarding", forwarding);
}

/** Routes before the address, as in Calico: nothing leaves with an address before it has a way. */
function podCommands(ip: Ip, index: number, destinations: readonly Prefix[]): Command[] {
  const gateway = mustIp(ip.family === 4 ? GATEWAY4 : GATEWAY6);
  return [
    ...(ip.family === 4
      ? [replaceRoute({ destination: hostPrefix(gateway), scope: "link", hops: [{ oif: index }] })]
      : []),
    replaceNeighbour({ kind: "neighbour", index, ip: gateway, mac: HOST_MAC }),
    ...destinations.map((destination) =>
      replaceRoute({ destination, hops: [{ gateway, oif: index }] })
    ),
    addAddress({
      index,
      ip,
      length: hostPrefix(ip).length,
      ...(ip.family === 6 && { flags: IFA_F_NODAD }),
    }),
  ];
}

/** The agent computes the same route from the endpoint, and keeps it. */
export function hostRoute(ip: Ip, index: number): Route {
  return {
    destination: hostPrefix(ip),
    protocol: PROTOCOL,
    ...(ip.family === 4 && { scope: "link" as const }),
    hops: [{ oif: index }],
  };
}

/** Writes a setting, unless it has the value: a write that changes nothing costs a lock. */
function set(name: string, value: string): void {
  if (readSysctl(name) !== value) writeSysctl(name, value);
}

function isLinkLocal(ip: Ip): boolean {
  return ip.family === 6 && prefixContains(LINK_LOCAL, ip);
}

export function hostLink(link: Link): HostLink {
  const { name, index, mac = "", up, alias, linkIndex } = link;
  return { name, index, mac, up, alias, peerIndex: linkIndex };
}

/** A link that vanished by itself (its namespace went) is gone too. */
async function gone(deletion: Promise<void>): Promise<void> {
  try {
    await deletion;
  } catch (error) {
    if (!isKernelError(error, "ENODEV")) throw error;
  }
}

function wrongNamespace(path: string, cause: unknown): CniError {
  const why = isKernelError(cause, "ENOENT", "ENOTDIR")
    ? "nothing is there"
    : isKernelError(cause, "EINVAL")
    ? "it is not a network namespace"
    : (cause as Error).message;
  return new CniError(
    CniCode.environment,
    `CNI_NETNS ${JSON.stringify(path.slice(0, 200))} cannot be used: ${why}.`,
    undefined,
    { cause },
  );
}
