/**
 * The node's links, sysctls, neighbours and routes: one reconciler each, fed by one netlink socket and
 * one stream of notifications.
 *
 *   links       host sides of pods' pairs: up, with Calico's MAC (CNI makes and removes them)
 *   sysctls     forwarding, proxy ARP … (no notifications: mended by the periodic resync)
 *   neighbours  a permanent entry for each pod address: neither ARP nor neighbour discovery is needed
 *               towards a pod, whatever becomes of the host side's own link-local address
 *   routes      `route_plan.ts`
 *
 * A notification only corrects the picture of what the kernel holds; the next turn mends the
 * difference. Those that our own socket caused are passed over: we know.
 */
import { type RouteEvent, watchRoutes } from "../../ffi/route/events.ts";
import type { Link } from "../../ffi/route/link.ts";
import { NUD_PERMANENT } from "../../ffi/route/neighbour.ts";
import { type Route, RT_TABLE_MAIN, RTPROT_KERNEL } from "../../ffi/route/route.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { readSysctl, writeSysctl } from "../../ffi/sysctl.ts";
import { isKernelError } from "../../ffi/errors.ts";
import type { BestRouteChange } from "../../bgp/config.ts";
import {
  type Family,
  formatIp,
  formatPrefix,
  type Ip,
  parsePrefix,
  type Prefix,
  prefixContains,
  prefixOf,
} from "../net/mod.ts";
import type { Host, HostInterface } from "./autodetect.ts";
import type { NodeKernel } from "./agent.ts";
import type { FelixParameters } from "./felix.ts";
import { HOST_MAC } from "../../cni/kernel.ts";
import { endpointFacts } from "./endpoint_facts.ts";
import { hostInterfaceSysctls } from "./interface_settings.ts";
import type { WorkloadEndpoint } from "../model/workload_endpoint.ts";
import type { Log } from "./log.ts";
import { type Failure, Reconciler } from "./reconciler.ts";
import { fromRoute, toPath, toRoute } from "./route_forms.ts";
import {
  type KernelPath,
  type PlannedRoute,
  planRoutes,
  PROTOCOL_BGP,
  PROTOCOL_OWN,
  resolveNextHop,
  sameRoute,
} from "./route_plan.ts";
import type { ClusterState, Topic } from "./state.ts";

/** An interface so young may have routes of an endpoint that we have not heard of yet (Felix: 10 s). */
const GRACE = 10_000;
const IPIP_OVERHEAD = 20, VXLAN_OVERHEAD: Record<Family, number> = { 4: 50, 6: 70 };
/** Where no interface matches (Felix). */
const FALLBACK_MTU = 1460;

interface LinkState {
  readonly up: boolean;
  readonly mac: string;
}

export class Kernel implements NodeKernel {
  readonly #socket = RouteSocket.open();
  readonly #events: { close(): void };
  readonly #links = new Map<number, Link>();
  /** When an interface was first seen. */
  readonly #born = new Map<number, number>();
  #paths: KernelPath[] | undefined;
  readonly #linkStates: Reconciler<LinkState>;
  readonly #sysctls: Reconciler<string>;
  readonly #neighbours: Reconciler<string>;
  readonly #routes: Reconciler<PlannedRoute>;
  #unresolved: readonly string[] = [];
  #graceTimer: number | undefined;
  /** The plan no longer fits: links, paths or learned routes have changed. */
  #stale = true;
  /** Something has changed that was not our doing: a turn is wanted. */
  onChange: () => void = () => {};
  /** Next hops may resolve otherwise now. */
  onPaths: () => void = () => {};
  learned: () => readonly BestRouteChange[] = () => [];
  /** Whether learned routes that nobody announces any more may go. */
  converged: () => boolean = () => true;

  constructor(readonly felix: FelixParameters, readonly log: Log) {
    this.#events = watchRoutes(
      { groups: ["link", "address", "route", "neighbour"] },
      (event) => this.#event(event),
    );
    this.#readLinks();
    this.#linkStates = new Reconciler<LinkState>({
      name: "link",
      read: () => {
        this.#readLinks();
        return new Map(this.#endpointLinks().map((l) => [l.name, linkState(l)]));
      },
      same: (a, b) => a.up === b.up && a.mac === b.mac,
      put: (name, { up, mac }) => this.#socket.setLink(name, { up, mac }),
      remove: () => {},
      // Interfaces come and go with their pods: CNI's business.
      ours: () => false,
    });
    this.#sysctls = new Reconciler<string>({
      name: "sysctl",
      read: () => this.#readSysctls(),
      same: (a, b) => a === b,
      put: (name, value) => {
        try {
          writeSysctl(name, value);
        } catch (error) {
          // A kernel without IPv6, or an interface that has just gone.
          if (!isKernelError(error, "ENOENT")) throw error;
        }
      },
      remove: () => {},
      ours: () => false,
    });
    this.#neighbours = new Reconciler<string>({
      name: "neighbour",
      read: () => this.#readNeighbours(),
      same: (a, b) => a === b,
      put: (key, mac) => {
        const [index, ip] = key.split(" ");
        const entry = { kind: "neighbour" as const, index: Number(index), ip: ipOf(ip), mac };
        this.#socket.replaceNeighbour(entry);
      },
      remove: (key) => {
        const [index, ip] = key.split(" ");
        this.#gone(() =>
          this.#socket.deleteNeighbour({ kind: "neighbour", index: Number(index), ip: ipOf(ip) })
        );
      },
    });
    this.#routes = new Reconciler<PlannedRoute>({
      name: "route",
      read: () => this.#readRoutes(),
      same: sameRoute,
      put: (key, desired, actual) => {
        const failed = this.#putRoutes([[key, desired, actual]]);
        if (failed.length > 0) throw failed[0][1];
      },
      putMany: (items) => this.#putRoutes(items),
      remove: (_key, actual) => this.#gone(() => this.#socket.deleteRoute(toRoute(actual))),
      ours: (_key, actual) => this.#mayRemove(actual),
    });
  }

  close(): void {
    clearTimeout(this.#graceTimer);
    this.#events.close();
    this.#socket.close();
  }

  // Reading.

  #readLinks(): void {
    const seen = new Set<number>();
    for (const link of this.#socket.links()) {
      seen.add(link.index);
      this.#sawLink(link);
    }
    for (const index of this.#links.keys()) if (!seen.has(index)) this.#forgetLink(index);
  }

  #sawLink(link: Link): void {
    this.#links.set(link.index, link);
    if (!this.#born.has(link.index)) this.#born.set(link.index, performance.now());
  }

  #forgetLink(index: number): void {
    this.#links.delete(index);
    this.#born.delete(index);
  }

  #isEndpointName(name: string): boolean {
    return this.felix.interfacePrefixes.some((prefix) => name.startsWith(prefix));
  }

  #endpointLinks(): Link[] {
    return [...this.#links.values()].filter((l) => this.#isEndpointName(l.name));
  }

  #readSysctls(): Map<string, string> {
    const names = [
      ...Object.keys(GLOBAL_SYSCTLS),
      IPV6_FORWARDING,
      ...this.#endpointLinks().flatMap((l) => Object.keys(hostInterfaceSysctls(l.name, BOTH))),
    ];
    const values = new Map<string, string>();
    for (const name of names) {
      try {
        const value = readSysctl(name);
        if (value !== undefined) values.set(name, value);
      } catch (error) {
        if (!isKernelError(error, "ENOENT")) throw error;
      }
    }
    return values;
  }

  #readNeighbours(): Map<string, string> {
    const entries = this.#socket.neighbours({ kind: "neighbour" });
    const mine = new Map<string, string>();
    for (const entry of entries) {
      if (entry.kind !== "neighbour" || !entry.mac || !this.#ownsNeighbour(entry)) continue;
      mine.set(`${entry.index} ${formatIp(entry.ip)}`, entry.mac);
    }
    return mine;
  }

  #ownsNeighbour(entry: { index: number; ip: Ip; state?: number }): boolean {
    const link = this.#links.get(entry.index);
    return !!link && this.#isEndpointName(link.name) &&
      (this.felix.ipv6 || entry.ip.family === 4) &&
      ((entry.state ?? NUD_PERMANENT) & NUD_PERMANENT) !== 0;
  }

  #readRoutes(): Map<string, PlannedRoute> {
    const routes = new Map<string, PlannedRoute>();
    const paths: KernelPath[] = [];
    for (const route of this.#socket.routes({ table: RT_TABLE_MAIN })) {
      const planned = fromRoute(route);
      if (planned) routes.set(formatPrefix(route.destination), planned);
      const path = toPath(route);
      if (path) paths.push(path);
    }
    this.#paths = paths;
    return routes;
  }

  #kernelPaths(): KernelPath[] {
    return this.#paths ??= this.#socket.routes({ table: RT_TABLE_MAIN }).map(toPath)
      .filter((path) => path !== undefined);
  }

  // Writing.

  #gone(remove: () => void): void {
    try {
      remove();
    } catch (error) {
      if (!isKernelError(error, "ESRCH", "ENOENT", "ENODEV")) throw error;
    }
  }

  #putRoutes(
    items: [key: string, desired: PlannedRoute, actual: PlannedRoute | undefined][],
  ): [string, Error][] {
    const failed: [string, Error][] = [];
    const wanted = new Map<Route, string>();
    for (const [key, desired, actual] of items) {
      // What BGP has learned does not overwrite a route that somebody else set. The addresses of our
      // endpoints and our blocks are ours, whoever put a route to them.
      const contested = actual && !this.#isOurs(actual) && desired.protocol === PROTOCOL_BGP;
      if (contested) {
        failed.push([
          key,
          new Error(
            `a route of protocol ${actual.protocol} stands in its place; remove it, or give it ` +
              "another metric",
          ),
        ]);
      } else wanted.set(toRoute(desired), key);
    }
    for (const { item, error } of this.#socket.putRoutes([...wanted.keys()])) {
      failed.push([wanted.get(item)!, error]);
    }
    return failed;
  }

  #isOurs(route: PlannedRoute): boolean {
    return route.protocol === PROTOCOL_OWN || route.protocol === PROTOCOL_BGP ||
      this.#onEndpointLink(route);
  }

  #onEndpointLink(route: PlannedRoute): boolean {
    return route.hops.length > 0 && route.hops.every((hop) => {
      const link = this.#links.get(hop.oif);
      return link !== undefined && this.#isEndpointName(link.name);
    });
  }

  #mayRemove(route: PlannedRoute): boolean {
    if (route.protocol === PROTOCOL_BGP) return this.converged();
    if (route.protocol === RTPROT_KERNEL || !this.#isOurs(route)) return false;
    if (!this.felix.ipv6 && route.prefix.ip.family === 6) return false;
    const now = performance.now();
    for (const { oif } of route.hops) {
      const age = now - (this.#born.get(oif) ?? 0);
      if (this.#links.has(oif) && age < GRACE) {
        this.#lookAgain(GRACE - age);
        return false;
      }
    }
    return true;
  }

  #lookAgain(milliseconds: number): void {
    this.#graceTimer ??= setTimeout(() => {
      this.#graceTimer = undefined;
      this.#routes.touchAll();
      this.onChange();
    }, milliseconds + 50);
  }

  // Events.

  #event(event: RouteEvent): void {
    switch (event.kind) {
      case "overflow":
        this.resync();
        this.#readLinks();
        this.#paths = undefined;
        return this.onChange();
      case "link":
        return this.#linkEvent(event.link, event.gone);
      case "address":
        this.#stale = true;
        this.#paths = undefined;
        this.onPaths();
        return this.onChange();
      case "route":
        return this.#routeEvent(event.route, event.gone, event.port === this.#socket.port);
      case "neighbour": {
        const { neighbour } = event;
        if (neighbour.kind !== "neighbour" || event.port === this.#socket.port) return;
        const { index, ip, mac } = neighbour;
        const link = this.#links.get(index);
        if (!link || !this.#isEndpointName(link.name)) return;
        const kept = !event.gone && mac !== undefined && this.#ownsNeighbour(neighbour);
        this.#neighbours.observed(`${index} ${formatIp(ip)}`, kept ? mac : undefined);
        return this.onChange();
      }
      case "rule":
        return;
    }
  }

  #linkEvent(link: Link, gone: boolean): void {
    this.#stale = true;
    const before = this.#links.get(link.index);
    const endpoint = this.#isEndpointName(link.name);
    if (gone) this.#forgetLink(link.index);
    else this.#sawLink(link);
    if (endpoint) this.#linkStates.observed(link.name, gone ? undefined : linkState(link));
    if (endpoint && !before && !gone) {
      // New sysctls, none of which has been read.
      for (const name of Object.keys(hostInterfaceSysctls(link.name, BOTH))) {
        this.#sysctls.observed(name, undefined);
      }
    }
    // The kernel tells nobody of the IPv4 routes that go with a link, and of the IPv6 ones only where
    // skip_notify_on_dev_down is off.
    if (gone || (before?.up && !link.up)) {
      this.#routes.forget((_key, route) => route.hops.some((hop) => hop.oif === link.index));
      this.#neighbours.forget((key) => key.startsWith(`${link.index} `));
    }
    if (!endpoint) {
      this.#paths = undefined;
      this.onPaths();
    }
    this.onChange();
  }

  #routeEvent(route: Route, gone: boolean, own: boolean): void {
    if ((route.table ?? RT_TABLE_MAIN) !== RT_TABLE_MAIN) return;
    const ours = route.protocol === PROTOCOL_OWN || route.protocol === PROTOCOL_BGP;
    if (!ours) {
      this.#stale = true;
      this.#paths = undefined;
      this.onPaths();
    }
    if (own) return;
    const planned = fromRoute(route);
    if (!planned) return;
    this.#routes.observed(formatPrefix(route.destination), gone ? undefined : planned);
    this.onChange();
  }

  // The node's kernel, as the agent sees it.

  /** Learned routes have changed. */
  replan(): void {
    this.#stale = true;
  }

  resync(): void {
    this.#stale = true;
    this.#linkStates.resync();
    this.#sysctls.resync();
    this.#neighbours.resync();
    this.#routes.resync();
  }

  async apply(state: ClusterState, topics: ReadonlySet<Topic>): Promise<Failure[]> {
    // With ten thousand learned routes a plan takes milliseconds: not for a changed label.
    if (this.#stale || PLANNED_FROM.some((topic) => topics.has(topic))) {
      this.#stale = false;
      this.#plan(state);
    }
    return [
      ...await this.#sysctls.apply(),
      ...await this.#linkStates.apply(),
      ...await this.#neighbours.apply(),
      ...await this.#routes.apply(),
    ];
  }

  #plan(state: ClusterState): void {
    const byName = new Map([...this.#links.values()].map((l) => [l.name, l]));
    const links = new Map<string, LinkState>();
    const sysctls = new Map<string, string>(Object.entries(GLOBAL_SYSCTLS));
    const neighbours = new Map<string, string>();
    const endpoints: { prefix: Prefix; oif: number }[] = [];
    const handled = (prefix: Prefix) => this.felix.ipv6 || prefix.ip.family === 4;
    for (const endpoint of state.endpoints.values()) {
      const { spec } = endpoint;
      const link = byName.get(spec.interfaceName ?? "");
      if (!link) continue; // not made yet: its coming is an event
      links.set(link.name, { up: true, mac: HOST_MAC });
      const facts = endpointFacts(endpoint);
      for (const [name, value] of facts.sysctls) {
        if (this.felix.ipv6 || !name.startsWith("net/ipv6/") || name.endsWith("/accept_ra")) {
          sysctls.set(name, value);
        }
      }
      // A link that is down takes no route; its coming up is an event.
      if (!link.up) continue;
      const mac = spec.mac?.toLowerCase();
      for (const prefix of facts.prefixes.filter(handled)) {
        endpoints.push({ prefix, oif: link.index });
        if (mac) neighbours.set(`${link.index} ${formatIp(prefix.ip)}`, mac);
      }
    }
    if (endpoints.some(isIpv6) || (this.felix.ipv6 && state.poolPrefixes().some(isIpv6))) {
      sysctls.set(IPV6_FORWARDING, "1");
    }
    this.#linkStates.setDesired(links);
    this.#sysctls.setDesired(sysctls);
    this.#neighbours.setDesired(neighbours);
    const paths = this.#kernelPaths();
    const { routes, unresolved } = planRoutes({
      endpoints,
      ownBlocks: state.ownBlocks().filter(handled),
      learned: this.learned(),
      resolve: (nextHop) => resolveNextHop(paths, nextHop),
    });
    this.#unresolved = unresolved;
    this.#routes.setDesired(routes);
  }

  /** Why an endpoint's traffic cannot pass, though its policy is in place; undefined where it can. */
  endpointFault(endpoint: WorkloadEndpoint): string | undefined {
    const name = endpoint.spec.interfaceName ?? "";
    const link = [...this.#links.values()].find((l) => l.name === name);
    if (!link) return `its interface ${name} is not there`;
    if (!link.up) return `its interface ${name} is down`;
    const missing = endpointFacts(endpoint).prefixes
      .filter(({ ip }) => this.felix.ipv6 || ip.family === 4).map(formatPrefix)
      .find((key) => !this.#routes.holds(key));
    return missing && `the route to ${missing} is missing`;
  }

  /** Whether an interface is up; undefined: it is not there. */
  isUp(name: string): boolean | undefined {
    return [...this.#links.values()].find((l) => l.name === name)?.up;
  }

  /** This host's own addresses. */
  hostAddresses(): Ip[] {
    return this.#addresses().map(({ ip }) => ip);
  }

  /** Learned prefixes whose next hop no route leads to. */
  get unresolved(): readonly string[] {
    return this.#unresolved;
  }

  /** All learned routes may be removed now if nobody announces them. */
  sweepLearned(): void {
    this.#routes.touchAll();
  }

  resolve(nextHop: Ip): { metric: number } | undefined {
    return resolveNextHop(this.#kernelPaths(), nextHop) && { metric: 0 };
  }

  /** Interfaces and addresses, for the choice of the node's own. */
  host(): Host {
    this.#readLinks();
    const interfaces = new Map<number, HostInterface>();
    for (const link of [...this.#links.values()].sort((a, b) => a.index - b.index)) {
      const { name, up, mtu } = link;
      interfaces.set(link.index, { name, up, mtu, addresses: [] });
    }
    for (const { index, ip, length } of this.#addresses()) {
      interfaces.get(index)?.addresses.push({ ip, length });
    }
    return {
      interfaces: [...interfaces.values()],
      sourceTowards: (destination) => this.#sourceTowards(destination),
    };
  }

  #addresses(): { index: number; ip: Ip; length: number }[] {
    return this.#socket.addresses().map((a) => ({
      index: a.index,
      ip: a.ip,
      length: a.length,
    }));
  }

  #sourceTowards(destination: Ip): Ip | undefined {
    const hop = resolveNextHop(this.#kernelPaths(), destination);
    if (!hop?.gateway) return undefined;
    return this.#addresses().find((a) =>
      a.index === hop.oif && a.ip.family === destination.family &&
      prefixContains(prefixOf(a.ip, a.length), hop.gateway!)
    )?.ip;
  }

  /** Bytes of a pod's packets: the narrowest interface that others are reached by, less tunnels. */
  podMtu(state: ClusterState): number {
    const mtus = [...this.#links.values()]
      .filter((l) => l.up && this.felix.mtuInterfacePattern.test(l.name)).map((l) => l.mtu);
    const host = mtus.length > 0 ? Math.min(...mtus) : FALLBACK_MTU;
    let overhead = 0;
    for (const { prefix, pool } of state.poolPrefixes()) {
      const { ipipMode, vxlanMode } = pool.spec;
      if (ipipMode && ipipMode !== "Never") overhead = Math.max(overhead, IPIP_OVERHEAD);
      if (vxlanMode && vxlanMode !== "Never") {
        overhead = Math.max(overhead, VXLAN_OVERHEAD[prefix.ip.family]);
      }
    }
    return host - overhead;
  }
}

const BOTH: ReadonlySet<Family> = new Set([4, 6]);

/** Topics from which links, sysctls, neighbours and routes follow. */
const PLANNED_FROM: readonly Topic[] = ["endpoints", "blocks", "pools", "nodes"];

/** Of the whole node. */
const GLOBAL_SYSCTLS: Record<string, string> = { "net/ipv4/ip_forward": "1" };
/**
 * Only where there are IPv6 pods: a host that forwards takes no routes from router advertisements, and
 * one that has its own default route by them would lose it.
 */
const IPV6_FORWARDING = "net/ipv6/conf/all/forwarding";

const isIpv6 = ({ prefix }: { prefix: Prefix }) => prefix.ip.family === 6;

function linkState(link: Link): LinkState {
  return { up: link.up, mac: link.mac ?? "" };
}

function ipOf(text: string): Ip {
  return parsePrefix(text)!.ip;
}
