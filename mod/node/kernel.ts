/**
 * The node's part of the kernel but for policy: one reconciler for each sort of object (`kernel/`),
 * fed by one netlink socket and one stream of notifications.
 *
 *   endpoint_links  host sides of pods' pairs: up, with Calico's MAC (CNI makes and removes them)
 *   sysctls         forwarding, proxy ARP … (no notifications: mended by the periodic resync)
 *   tunnel_links    the VXLAN devices, and addresses, forwarding on them
 *   neighbours      a permanent entry for each pod address (neither ARP nor neighbour discovery is
 *                   needed towards a pod, whatever becomes of the host side's own link-local address)
 *                   and each far tunnel address
 *   routes          `route_plan.ts`, with what `vxlan_plan.ts` adds
 *   plan            what all of these should hold
 *
 * A turn brings the devices up first, since all the rest names interfaces by index; then everything is
 * planned and mended. A notification only corrects the picture of what the kernel holds; the next turn
 * mends the difference. Routes and neighbours that our own socket caused are passed over: we know.
 */
import type { Address } from "../../ffi/route/address.ts";
import { type RouteEvent, watchRoutes } from "../../ffi/route/events.ts";
import type { Netns } from "../../ffi/netns.ts";
import type { Link } from "../../ffi/route/link.ts";
import { RT_TABLE_MAIN } from "../../ffi/route/route.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import type { BestRouteChange } from "../../bgp/config.ts";
import { formatPrefix, type Ip, isLinkLocal, sameIp } from "../net/mod.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import type { NodeKernel } from "./agent.ts";
import type { Host } from "./autodetect.ts";
import { endpointFacts } from "./endpoint_facts.ts";
import type { FelixParameters } from "./felix.ts";
import { addressKey, concernsAddresses, tunnelAddresses } from "./kernel/addresses.ts";
import { endpointLinks, linkState } from "./kernel/endpoint_links.ts";
import { EndpointParts } from "./kernel/endpoint_parts.ts";
import { forwarding, forwardingHost, forwardingKey } from "./kernel/forwarding.ts";
import { readHost } from "./kernel/host.ts";
import { LinkTable } from "./kernel/link_table.ts";
import { concernsNeighbours, neighbourKey, neighbours, permanentMac } from "./kernel/neighbours.ts";
import { type DevicesPlan, type KernelPlan, planDevices, planKernel } from "./kernel/plan.ts";
import { RoutePart } from "./kernel/routes.ts";
import {
  GLOBAL_SYSCTLS,
  IPV6_FORWARDING,
  sysctls,
  sysctlsOf,
  SysctlWatch,
} from "./kernel/sysctls.ts";
import { TunnelLinks } from "./kernel/tunnel_links.ts";
import type { Log } from "./log.ts";
import { hostMtu, podMtu } from "./mtu.ts";
import type { Failure, Reconciler } from "./reconciler.ts";
import { PROTOCOL_BGP, PROTOCOL_OWN, RoutePlan } from "./route_plan.ts";
import type { ClusterState, Topic } from "./state.ts";
import type { UnroutedHoldersParts } from "./unrouted_holders.ts";
import { FAMILIES, LEAST_MTU, VXLAN_DEVICES } from "./vxlan.ts";

export interface KernelOptions {
  /** Whose; absent: the calling thread's. */
  readonly netns?: Netns;
  /** Milliseconds that a VXLAN device stays when nobody wants it any more. */
  readonly linger?: number;
  /** Milliseconds that routes stay which may be of use still (`kernel/routes.ts`). */
  readonly grace?: number;
}

export class Kernel implements NodeKernel {
  readonly #socket: RouteSocket;
  readonly #port: number;
  readonly #events: { close(): void };
  readonly #links: LinkTable;
  readonly #endpointLinks;
  readonly #sysctls;
  readonly #sysctlWatch: SysctlWatch;
  readonly #tunnelLinks: TunnelLinks;
  readonly #addresses;
  readonly #neighbours;
  readonly #forwarding;
  readonly #routes: RoutePart;
  readonly #plan = new RoutePlan(() => this.#routes.paths());
  readonly #endpointParts: EndpointParts;
  /** What is wanted beside the endpoints' parts. */
  #common: Pick<KernelPlan, "sysctls" | "neighbours" | "problems"> = {
    problems: [],
    sysctls: new Map(),
    neighbours: new Map(),
  };
  /** Prefixes of which BGP has learned something new since the last turn. */
  #news = new Set<string>();
  /** Why a VXLAN device that is wanted cannot be. */
  #faults: Failure[] = [];
  /** Those that can be. */
  #devices: DevicesPlan = { devices: new Map(), faults: new Map(), warnings: [], linkMtus: {} };
  /** Endpoints whose interface is not a pod's, and why nothing is done for them. */
  #strangers: string[] = [];
  /** The plan no longer fits: links, addresses or paths have changed. */
  #stale = true;
  /** Only what this node itself has in the plan no longer fits: a tunnel. */
  #ownStale = false;
  /** Only what the endpoints have in it: their links. */
  #endpointsStale = false;
  /** Host sides of which there is news: looked at once a turn, since each look asks the kernel. */
  readonly #heardOf = new Set<string>();
  /** Of the widest packet to another node; undefined: links that have a say in it have changed. */
  #wireMtu: number | undefined;
  /** Something has changed that was not our doing: a turn is wanted. */
  onChange: () => void = () => {};
  /** Next hops may resolve otherwise now. */
  onPaths: () => void = () => {};
  /** The host may have other addresses now, links' own aside. */
  onAddresses: () => void = () => {};
  learned: () => ReadonlyMap<string, BestRouteChange> = () => new Map();
  /** Whether a learned route by these gateways that nobody announces any more may go. */
  mayForget: (key: string, gateways: readonly (Ip | undefined)[]) => boolean = () => true;

  constructor(readonly felix: FelixParameters, readonly log: Log, options: KernelOptions = {}) {
    const { netns } = options;
    this.#socket = RouteSocket.open(netns);
    const port = this.#port = this.#socket.port;
    this.#links = new LinkTable(this.#socket, felix.interfacePrefixes, felix.ipv6);
    this.#events = watchRoutes(
      {
        groups: ["link", "address", "route", "neighbour"],
        passOver: { port, protocols: [PROTOCOL_OWN, PROTOCOL_BGP] },
        netns,
      },
      (event) => this.#event(event),
    );
    this.#links.read();
    this.#endpointParts = new EndpointParts(felix.ipv6);
    this.#endpointLinks = endpointLinks(this.#links);
    this.#sysctls = sysctls(this.#links, netns);
    const disabled = `net/ipv6/conf/${VXLAN_DEVICES[6]}/disable_ipv6`;
    this.#sysctlWatch = new SysctlWatch(
      () => [
        ...Object.keys(GLOBAL_SYSCTLS),
        ...(felix.ipv6 ? [IPV6_FORWARDING] : []),
        ...(this.#devices.devices.has(VXLAN_DEVICES[6]) ? [disabled] : []),
      ],
      (name, value) => {
        // With IPv6 all that the device had of it is gone, and its coming back brings nothing.
        if (name === disabled) this.resync();
        this.#sysctls.observed(name, value);
        this.onChange();
      },
      netns,
    );
    this.#tunnelLinks = new TunnelLinks(this.#links, () => this.onChange(), options.linger);
    this.#addresses = tunnelAddresses(this.#links);
    this.#neighbours = neighbours(this.#links);
    this.#forwarding = forwarding(this.#links);
    this.#routes = new RoutePart(
      this.#links,
      // What was learned while this turn was under way is not in its plan: nothing goes for that.
      (key, gateways) => !this.#news.has(key) && this.mayForget(key, gateways),
      () => this.onChange(),
      options.grace,
    );
  }

  /** Whether the kernel forwards by routes of ours: of a process before us, if asked at the start. */
  forwards(): boolean {
    return this.#routes.holdsOurs();
  }

  close(): void {
    this.#sysctlWatch.close();
    this.#tunnelLinks.close();
    this.#routes.close();
    this.#events.close();
    this.#socket.close();
  }

  #hasten(): void {
    const parts = [
      ...[this.#tunnelLinks, this.#sysctls, this.#endpointLinks, this.#addresses],
      ...[this.#forwarding, this.#neighbours, this.#routes.reconciler],
    ];
    for (const part of parts) part.hasten();
  }

  // Events.

  #event(event: RouteEvent): void {
    const own = "port" in event && event.port === this.#port;
    switch (event.kind) {
      case "overflow":
        this.resync();
        this.#pathsChanged();
        return this.onChange();
      case "link":
        return this.#linkEvent(event.link, event.gone);
      case "address":
        return this.#addressEvent(event.address, event.gone);
      case "route":
        return this.#routeEvent(event, own);
      case "neighbour": {
        const { neighbour: entry, gone } = event;
        if (own) return;
        if (entry.kind === "fdb") {
          if (this.#links.tunnelFamily(entry.index) === undefined) return;
          const host = gone ? undefined : forwardingHost(entry);
          this.#forwarding.observed(forwardingKey(entry.index, entry.mac), host);
        } else if (entry.kind === "neighbour") {
          if (!concernsNeighbours(this.#links, entry)) return;
          const mac = gone ? undefined : permanentMac(entry);
          this.#neighbours.observed(neighbourKey(entry.index, entry.ip), mac);
        } else return;
        return this.onChange();
      }
      case "rule":
        return;
    }
  }

  #linkEvent(link: Link, gone: boolean): void {
    const before = this.#links.get(link.index);
    const endpoint = this.#links.isEndpointName(link.name);
    const tunnel = isTunnelName(link.name);
    if (gone) this.#links.forget(link.index);
    else this.#links.saw(link);
    if (endpoint && gone) this.#endpointLinks.observed(link.name, undefined);
    else if (endpoint) this.#heardOf.add(link.name);
    const { mtuInterfacePattern: uplinks } = this.felix;
    if (uplinks.test(link.name) || before && uplinks.test(before.name)) this.#wireMtu = undefined;
    if (tunnel) this.#tunnelLinks.observed(link, gone);
    // Somebody has given it another name: under its own there is nothing now.
    if (before && before.name !== link.name) this.#tunnelLinks.observed(before, true);
    // Below IPv6's least MTU all that an interface has of IPv6 goes, and the kernel does not say so.
    const narrow = ({ mtu }: Link) => mtu < LEAST_MTU[6];
    const ipv6Moved = !gone && before && narrow(before) !== narrow(link);
    if (endpoint && !gone && (!before || ipv6Moved)) {
      // New sysctls, none of which has been read.
      for (const name of sysctlsOf(link.name)) this.#sysctls.observed(name, undefined);
    }
    if (ipv6Moved && (endpoint || tunnel)) {
      this.#routes.forget(({ prefix, hops }) =>
        prefix.ip.family === 6 && hops.some((hop) => hop.oif === link.index)
      );
      this.#neighbours.forget((key) => key.startsWith(`${link.index} `) && key.includes(":"));
      this.#addresses.forget((key) => key.startsWith(`${link.index} `) && key.includes(":"));
    }
    // The kernel tells nobody of the IPv4 routes that go with a link, and of the IPv6 ones only where
    // skip_notify_on_dev_down is off.
    if (gone || (before?.up && !link.up)) {
      this.#routes.forget((route) => route.hops.some((hop) => hop.oif === link.index));
      const onLink = (key: string) => key.startsWith(`${link.index} `);
      this.#neighbours.forget(onLink);
      if (gone) {
        this.#addresses.forget(onLink);
        this.#forwarding.forget(onLink);
      }
    }
    if (endpoint) this.#endpointsStale = true;
    else if (tunnel) this.#ownStale = true;
    // One under a tunnel is told of when the tunnel comes or goes, though nothing of it changes.
    else if (before && !gone && sameLink(before, link)) return;
    else {
      this.#stale = true;
      this.#hasten();
      this.#pathsChanged();
    }
    this.onChange();
  }

  #addressEvent(address: Address, gone: boolean): void {
    if (concernsAddresses(this.#links, address)) {
      this.#addresses.observed(addressKey(address), gone ? undefined : true);
    }
    // The kernel gives one to every pod's interface, and nothing is reached by it.
    if (isLinkLocal6(address.ip) && this.#links.isEndpoint(address.index)) return;
    // With an interface's last IPv4 address go its IPv4 routes, and the kernel tells nobody.
    if (gone && address.ip.family === 4) {
      this.#routes.forget((route) =>
        route.prefix.ip.family === 4 && route.hops.some((hop) => hop.oif === address.index)
      );
    }
    this.#stale = true;
    this.#pathsChanged([address.index]);
    if (!isLinkLocal(address.ip)) this.onAddresses();
    this.onChange();
  }

  #routeEvent({ route, gone, place }: RouteEvent & { kind: "route" }, own: boolean): void {
    if ((route.table ?? RT_TABLE_MAIN) !== RT_TABLE_MAIN) return;
    if (this.#routes.isPodLinksOwn(route)) return;
    const ours = route.protocol === PROTOCOL_OWN || route.protocol === PROTOCOL_BGP;
    if (!ours) {
      // Also where it is nobody's rival, a next hop may be reached through it.
      this.#stale = true;
      const indexes = (route.hops ?? []).map(({ oif = 0 }) => oif);
      // One that leads nowhere (blackhole, unreachable) may have stood in the place of ours.
      if (indexes.length === 0) this.#hasten();
      this.#pathsChanged(indexes);
    }
    if (!own) this.#routes.observed(route, place, gone);
    if (!own || !ours) this.onChange();
  }

  /**
   * Links, addresses or routes have changed. Where they are others', what failed may have been for want
   * of them; those of our own interfaces change with each attempt.
   */
  #pathsChanged(indexes: readonly number[] = []): void {
    const theirs = (index: number) => {
      const name = this.#links.get(index)?.name;
      return name !== undefined && !this.#links.isEndpointName(name) && !isTunnelName(name);
    };
    if (indexes.some(theirs)) this.#hasten();
    this.#routes.pathsChanged();
    this.#plan.nextHops.forget();
    this.onPaths();
  }

  // The node's kernel, as the agent sees it.

  /** Learned routes are others altogether. */
  replan(): void {
    this.#stale = true;
  }

  /** Learned routes have changed under these keys. */
  learnedChanged(keys: Iterable<string>): void {
    for (const key of keys) this.#news.add(key);
  }

  resync(): void {
    this.#stale = true;
    this.#wireMtu = undefined;
    this.#links.read();
    this.#heardOf.clear();
    this.#endpointLinks.resync();
    this.#sysctls.resync();
    this.#tunnelLinks.resync();
    this.#addresses.resync();
    this.#neighbours.resync();
    this.#forwarding.resync();
    this.#routes.reconciler.resync();
    this.onAddresses();
  }

  async apply(state: ClusterState, topics: ReadonlySet<Topic>): Promise<Failure[]> {
    // With ten thousand routes a plan takes milliseconds: not for one of them, nor for a label.
    const planned = this.#stale || this.#ownStale ||
      PLANNED_FROM.some((topic) => topics.has(topic));
    const failures: Failure[] = [];
    try {
      if (planned) this.#planDevices(state);
      failures.push(...await this.#tunnelLinks.apply());
      const had6 = this.#endpointParts.hasIpv6;
      if (planned || this.#endpointsStale || topics.has("endpoints")) this.#planEndpoints(state);
      // A device that was made just now has its index only now.
      if (
        planned || this.#stale || this.#ownStale || this.#endpointParts.hasIpv6 !== had6
      ) {
        this.#planCommon(state, this.#stale || topics.has("pools"));
      }
      this.#stale = this.#ownStale = this.#endpointsStale = false;
    } catch (error) {
      // The topics will not come again.
      this.#stale = true;
      throw error;
    }
    this.#plan.changeLearned(this.#news);
    for (const key of this.#news) {
      this.#routes.reconciler.want(key, this.#plan.at(key));
      // What was passed over for the news may go now.
      this.#routes.reconciler.touch(key);
    }
    this.#news = new Set();
    const { nextHops } = this.#plan;
    if (nextHops.takeRoutesMoved()) this.#routes.reconciler.setDesired(this.#plan.again());
    if (nextHops.takeChoiceMoved()) this.onPaths();
    return [
      ...this.#faults,
      ...failures,
      ...await this.#sysctls.apply(),
      ...await this.#endpointLinks.apply(),
      ...await this.#addresses.apply(),
      // Where frames go to is known before a route leads there.
      ...await this.#forwarding.apply(),
      ...await this.#neighbours.apply(),
      ...await this.#routes.reconciler.apply(),
    ];
  }

  #planDevices(state: ClusterState): void {
    let addresses: readonly Address[] | undefined;
    const plan = this.#devices = planDevices({
      state,
      felix: this.felix,
      wireMtu: this.wireMtu(),
      interfaceOf: (ip) => {
        addresses ??= this.#socket.addresses();
        const index = addresses.find((a) => sameIp(a.ip, ip))?.index;
        return index === undefined ? undefined : this.#links.get(index);
      },
    });
    this.#faults = [...plan.faults].map(([key, why]) => {
      return { kind: "tunnel device", key, error: new Error(why) };
    });
    this.#tunnelLinks.setDesired(plan.devices);
  }

  /** What the endpoints want; nothing of the rest follows from it, but whether there is IPv6. */
  #planEndpoints(state: ClusterState): void {
    const { reconciler } = this.#routes;
    for (const name of this.#heardOf) {
      const link = this.#links.byName(name);
      this.#endpointLinks.observed(name, link && linkState(this.#links, link));
    }
    this.#heardOf.clear();
    this.#strangers = [];
    state.endpoints.forEach(({ spec: { interfaceName = "" } }, key) => {
      if (interfaceName === "" || this.#links.isEndpointName(interfaceName)) return;
      this.#strangers.push(`${key}: ${this.#notPods(interfaceName)}`);
    });
    const wishes = this.#endpointParts.update({
      endpoints: state.endpoints,
      linkOf: (name) => this.#links.isEndpointName(name) ? this.#links.byName(name) : undefined,
    });
    wishes.links.forEach((link, name) => this.#endpointLinks.want(name, link));
    wishes.sysctls.forEach((value, name) => this.#sysctls.want(name, value));
    wishes.neighbours.forEach((mac, key) => this.#neighbours.want(key, mac));
    wishes.routes.forEach((route, key) => {
      this.#plan.changeEndpoint(key, route);
      reconciler.want(key, this.#plan.at(key));
    });
  }

  /** `whole` false: what others and BGP have to do with the routes is as it was. */
  #planCommon(state: ClusterState, whole: boolean): void {
    const { reconciler } = this.#routes;
    const plan = planKernel({
      state,
      felix: this.felix,
      paths: this.#routes.paths(),
      devices: this.#devices.devices,
      ipv6Endpoints: this.#endpointParts.hasIpv6,
      linkOf: (name) => this.#links.byName(name),
    });
    replaceWishes(this.#sysctls, this.#common.sysctls, plan.sysctls);
    replaceWishes(this.#neighbours, this.#common.neighbours, plan.neighbours);
    this.#common = plan;
    this.#addresses.setDesired(plan.addresses);
    this.#forwarding.setDesired(plan.forwarding);
    this.#routes.setAwaited(plan.awaited);
    if (!whole) {
      for (const key of this.#plan.changeOwn(plan.own)) reconciler.want(key, this.#plan.at(key));
      return;
    }
    reconciler.setDesired(this.#plan.whole(plan.own, {
      learned: this.learned(),
      takesLearned: plan.takesLearned,
    }));
    for (const key of this.#news) reconciler.touch(key);
    this.#news.clear();
  }

  /** All others are the machine's, whatever an endpoint says. */
  #notPods(interfaceName: string): string {
    const prefixes = this.felix.interfacePrefixes.join(" or ");
    return `its interface "${interfaceName}" is left alone: those of pods begin with ${prefixes}`;
  }

  /** Why an endpoint's traffic cannot pass, though its policy is in place; undefined where it can. */
  endpointFault(endpoint: WorkloadEndpoint): string | undefined {
    const name = endpoint.spec.interfaceName ?? "";
    if (!this.#links.isEndpointName(name)) return this.#notPods(name);
    const link = this.#links.byName(name);
    if (!link) return `its interface ${name} is not there`;
    if (!link.up) return `its interface ${name} is down`;
    const missing = endpointFacts(endpoint).prefixes
      .filter(({ ip }) => this.felix.ipv6 || ip.family === 4).map(formatPrefix)
      .find((key) => !this.#routes.reconciler.holds(key));
    return missing && `the route to ${missing} is missing`;
  }

  /** Whether an interface is up; undefined: it is not there. */
  isUp(name: string): boolean | undefined {
    return this.#links.byName(name)?.up;
  }

  /** This host's interfaces, what is beyond their pairs, and an interface as it is now. */
  get pairs(): Pick<UnroutedHoldersParts, "links" | "now" | "beyond"> {
    return {
      links: () => this.#links.all(),
      now: (index) => this.#socket.link(index),
      beyond: (link) => this.#socket.addressesBeyond(link).map(({ ip }) => ip),
    };
  }

  /** This host's own addresses. */
  hostAddresses(): Ip[] {
    return this.#socket.addresses().map(({ ip }) => ip);
  }

  /** What is not as it is configured, and why. */
  get warnings(): readonly string[] {
    return [
      ...this.#devices.warnings,
      ...this.#common.problems,
      ...this.#strangers,
      ...this.#routes.overtaken(),
    ];
  }

  /** Learned prefixes whose next hop no route leads to. */
  get unresolved(): readonly string[] {
    return [...this.#plan.unresolved];
  }

  /** More learned routes may be removed now if nobody announces them: `mayForget` is asked again. */
  sweepLearned(): void {
    this.#routes.reconciler.touchAll();
  }

  resolve(nextHop: Ip): { metric: number } | undefined {
    return this.#plan.nextHops.reaches(nextHop) && { metric: 0 };
  }

  /** The interface by which an address is reached now. */
  interfaceTo(address: Ip): string | undefined {
    const hop = this.#plan.nextHops.reaches(address);
    return hop && this.#links.get(hop.oif)?.name;
  }

  /** Interfaces and addresses, for the choice of the node's own. */
  host(): Host {
    return readHost(this.#links, () => this.#routes.paths());
  }

  /** Bytes of the widest packet to another node: those of the narrowest interface that leads there. */
  wireMtu(): number {
    return this.#wireMtu ??= hostMtu(this.#links.all(), this.felix.mtuInterfacePattern);
  }

  /** Bytes of a pod's packets: what the wire takes, less tunnels. */
  podMtu(state: ClusterState): number {
    return podMtu(this.wireMtu(), state.poolPrefixes(), this.felix, this.#devices.linkMtus);
  }
}

/** As far as ways lead over it. */
const sameLink = (a: Link, b: Link): boolean =>
  a.name === b.name && a.flags === b.flags && a.operState === b.operState && a.mtu === b.mtu &&
  a.mac === b.mac && a.masterIndex === b.masterIndex && a.linkIndex === b.linkIndex;

const isLinkLocal6 = (ip: Ip) => ip.family === 6 && isLinkLocal(ip);

const isTunnelName = (name: string) => FAMILIES.some((family) => VXLAN_DEVICES[family] === name);

/** Topics from which devices, sysctls, neighbours and routes follow, endpoints' own aside. */
const PLANNED_FROM: readonly Topic[] = ["blocks", "pools", "nodes"];

/** Wishes in place of former ones, beside those of others in the same reconciler. */
function replaceWishes<V>(
  reconciler: Pick<Reconciler<V>, "want">,
  former: ReadonlyMap<string, V>,
  now: ReadonlyMap<string, V>,
): void {
  for (const key of former.keys()) if (!now.has(key)) reconciler.want(key, undefined);
  for (const [key, value] of now) if (former.get(key) !== value) reconciler.want(key, value);
}
