/**
 * A conversation with rtnetlink in one network namespace: read links, addresses, routes, rules and
 * neighbours, and change them by commands. All of it is synchronous and takes microseconds, but for
 * deleting links (`link_deletions.ts`), which runs on another thread, through a second socket.
 *
 * Many commands go in one datagram (`run`, `attempt`), routes by the thousand (`putRoutes`,
 * `deleteRoutes`). rtnetlink knows no transactions: each message stands for itself, what was refused
 * is told, the rest is done.
 */

import { type Family, formatIp, type Ip } from "../../mod/net/mod.ts";
import { isKernelError, KernelError } from "../errors.ts";
import { check, libc } from "../libc.ts";
import { isRefusal, toKernelError } from "../netlink/acknowledgement.ts";
import { NETLINK_ROUTE, NLM_F_ACK, NLM_F_REQUEST } from "../netlink/constants.ts";
import { Connection } from "../netlink/connection.ts";
import type { MessageCursor } from "../netlink/decoder.ts";
import { MessageEncoder } from "../netlink/encoder.ts";
import { NetlinkSocket } from "../netlink/socket.ts";
import { inNetns, Netns } from "../netns.ts";
import {
  addAddress,
  type Address,
  decodeAddress,
  deleteAddress,
  encodeDumpAddresses,
} from "./address.ts";
import {
  type Command,
  CREATE_NEW,
  CREATE_OR_REPLACE,
  RTM_DELROUTE,
  RTM_GETADDR,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_GETROUTE,
  RTM_GETRULE,
  RTM_NEWLINK,
  RTM_NEWROUTE,
} from "./command.ts";
import {
  addLink,
  decodeLink,
  encodeDumpLinks,
  encodeGetLink,
  type Link,
  type LinkChanges,
  type LinkRef,
  type LinkSpec,
  setLink,
} from "./link.ts";
import { LinkDeletions } from "./link_deletions.ts";
import {
  addNeighbour,
  decodeNeighbour,
  deleteNeighbour,
  encodeDumpNeighbours,
  type Neighbour,
  type NeighbourFilter,
  replaceNeighbour,
} from "./neighbour.ts";
import {
  addRoute,
  decodeRoute,
  deleteRoute,
  encodeDeletion,
  encodeDumpRoutes,
  encodeLookup,
  encodeRoute,
  passesFilter,
  replaceRoute,
  type Route,
  type RouteFilter,
  routeText,
} from "./route.ts";
import { addRule, decodeRule, deleteRule, encodeDumpRules, type RoutingRule } from "./rule.ts";
import { familyNumber } from "./values.ts";

const SIOCGSKNS = 0x894cn;
/** Routes in one datagram: some 60 KB, and a few milliseconds of the kernel's time. */
const routesPerDatagram = 1000;

/** What the kernel refused of many. */
export interface Refusal<T> {
  readonly item: T;
  readonly error: KernelError;
}

export class RouteSocket {
  readonly #connection: Connection;
  readonly #encoder = new MessageEncoder();
  readonly #deletions: LinkDeletions;

  /**
   * @param connection for everything but deleting links
   * @param openAnother opens a second one to the same namespace, when links are deleted
   */
  constructor(connection: Connection, openAnother: () => Connection) {
    this.#connection = connection;
    this.#deletions = new LinkDeletions(
      openAnother,
      (commands) => new Set(this.attempt(commands).map(({ item }) => item)),
    );
  }

  /** Opens one to the calling thread's namespace, or to the one named, which need not stay open. */
  static open(netns?: Netns): RouteSocket {
    const make = () => new NetlinkSocket(NETLINK_ROUTE);
    const socket = netns ? inNetns(netns, make) : make();
    return new RouteSocket(new Connection(socket), () => new Connection(openBeside(socket)));
  }

  /** Our port id: notifications of what this socket changed carry it. 0 with a fake kernel. */
  get port(): number {
    const { transport } = this.#connection;
    return transport instanceof NetlinkSocket ? transport.port : 0;
  }

  close(): void {
    this.#connection.close();
    this.#deletions.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  // Reading.

  links(): Link[] {
    return this.#dump("list links", RTM_GETLINK, (m) => encodeDumpLinks(m), decodeLink);
  }

  /** By index or name; undefined if there is none. */
  link(ref: LinkRef): Link | undefined {
    return this.#linkIn(undefined, ref);
  }

  /** The other side of a veth, also in another namespace; undefined if it is none, or out of sight. */
  otherSide(link: Link): Link | undefined {
    if (link.kind !== "veth" || link.linkIndex === undefined) return undefined;
    try {
      return this.#linkIn(link.linkNetnsId, link.linkIndex);
    } catch (error) {
      if (isOutOfSight(error)) return undefined;
      throw error;
    }
  }

  #linkIn(netnsId: number | undefined, ref: LinkRef): Link | undefined {
    let link: Link | undefined;
    const what = `look up link ${ref}`;
    const refusal = this.#connection.ask(
      what,
      RTM_GETLINK,
      0,
      (m) => encodeGetLink(m, ref, undefined, netnsId),
      (m) => {
        if (m.type === RTM_NEWLINK) link = decodeLink(m);
      },
    );
    if (!refusal) return link;
    // A name that no interface can have (ERANGE) is one that no interface has.
    if (isRefusal(refusal, "ENODEV", "ERANGE")) return undefined;
    throw toKernelError(refusal, what);
  }

  /** Those on the other side of a veth, also in another namespace; none where it is out of sight. */
  addressesBeyond(link: Link): Address[] {
    if (link.kind !== "veth" || link.linkIndex === undefined) return [];
    try {
      return this.addresses({ index: link.linkIndex, netnsId: link.linkNetnsId });
    } catch (error) {
      if (isOutOfSight(error)) return [];
      throw error;
    }
  }

  /** `netnsId`: in the namespace that has this number here. */
  addresses(filter: { family?: Family; index?: number; netnsId?: number } = {}): Address[] {
    const family = filter.family ? familyNumber(filter.family) : 0;
    return this.#dump(
      "list addresses",
      RTM_GETADDR,
      (m) => encodeDumpAddresses(m, family, filter.index, filter.netnsId),
      (m) => {
        const address = decodeAddress(m);
        return !address || (filter.index && address.index !== filter.index) ? undefined : address;
      },
    );
  }

  /** The kernel filters by family, table, protocol, type and output interface. */
  routes(filter: RouteFilter = {}): Route[] {
    const families: Family[] = filter.family ? [filter.family] : [4, 6];
    return families.flatMap((family) =>
      this.#dump(
        "list routes",
        RTM_GETROUTE,
        (m) => encodeDumpRoutes(m, { ...filter, family }),
        (m) => {
          const route = decodeRoute(m);
          return route && passesFilter(route, filter) ? route : undefined;
        },
      )
    );
  }

  /** The route that the kernel takes to an address; undefined where it has none, or refuses there. */
  routeTo(ip: Ip): Route | undefined {
    let route: Route | undefined;
    const what = `look up the route to ${formatIp(ip)}`;
    const refusal = this.#connection.ask(
      what,
      RTM_GETROUTE,
      0,
      (m) => encodeLookup(m, ip),
      (m) => {
        if (m.type === RTM_NEWROUTE) route = decodeRoute(m);
      },
    );
    if (!refusal) return route;
    // No route; a blackhole; unreachable; prohibited; throw: nothing goes there. A request that is
    // itself refused says what is wrong with it.
    const nowhere = ["ENETUNREACH", "EINVAL", "EHOSTUNREACH", "EACCES", "EAGAIN"] as const;
    if (isRefusal(refusal, ...nowhere) && !refusal.detail) return undefined;
    throw toKernelError(refusal, what);
  }

  rules(family: Family): RoutingRule[] {
    const number = familyNumber(family);
    return this.#dump(
      "list routing rules",
      RTM_GETRULE,
      (m) => encodeDumpRules(m, number),
      decodeRule,
    );
  }

  neighbours(filter: NeighbourFilter): Neighbour[] {
    return this.#dump(
      `list ${filter.kind} entries`,
      RTM_GETNEIGH,
      (m) => encodeDumpNeighbours(m, filter),
      (m) => {
        const entry = decodeNeighbour(m);
        if (!entry || entry.kind !== filter.kind) return undefined;
        return filter.index && entry.index !== filter.index ? undefined : entry;
      },
    );
  }

  // Changing. Each throws KernelError when it is refused.

  addLink(spec: LinkSpec): void {
    this.run(...addLink(spec));
  }
  setLink(link: LinkRef, changes: LinkChanges): void {
    this.run(setLink(link, changes));
  }
  addAddress(address: Address): void {
    this.run(addAddress(address));
  }
  deleteAddress(address: Address): void {
    this.run(deleteAddress(address));
  }
  addRoute(route: Route): void {
    this.run(addRoute(route));
  }
  replaceRoute(route: Route): void {
    this.run(replaceRoute(route));
  }
  deleteRoute(route: Route): void {
    this.run(deleteRoute(route));
  }
  addRule(rule: RoutingRule): void {
    this.run(addRule(rule));
  }
  deleteRule(rule: RoutingRule): void {
    this.run(deleteRule(rule));
  }
  addNeighbour(entry: Neighbour): void {
    this.run(addNeighbour(entry));
  }
  replaceNeighbour(entry: Neighbour): void {
    this.run(replaceNeighbour(entry));
  }
  deleteNeighbour(entry: Neighbour): void {
    this.run(deleteNeighbour(entry));
  }

  /** Deletes a link on another thread, after those whose deletion was asked for before. */
  deleteLink(link: LinkRef): Promise<void> {
    return this.#deletions.delete(link);
  }

  /** Sends commands in one datagram, served in their order; throws the first refusal. */
  run(...commands: Command[]): void {
    const [first] = this.attempt(commands);
    if (first) throw first.error;
  }

  /** Sends commands in one datagram; what was refused. A refused one does not stop those behind it. */
  attempt(commands: readonly Command[]): Refusal<Command>[] {
    if (commands.length === 0) return [];
    return this.#batch(
      commands,
      (m, command, sequence, flags) => {
        m.begin(command.type, command.flags | flags, sequence);
        command.encode(m);
      },
      (command) => command.operation(),
    );
  }

  /**
   * Adds or replaces routes by the thousand; what was refused. `replace` (the default) changes a route
   * that is there, `add` refuses it with EEXIST.
   */
  putRoutes(routes: readonly Route[], how: "replace" | "add" = "replace"): Refusal<Route>[] {
    const create = how === "replace" ? CREATE_OR_REPLACE : CREATE_NEW;
    return this.#routes(`${how} `, routes, (m, route, sequence, flags) => {
      m.begin(RTM_NEWROUTE, create | flags, sequence);
      encodeRoute(m, route);
    });
  }

  /** Deletes routes by the thousand; what was refused (ESRCH: it was not there). */
  deleteRoutes(routes: readonly Route[]): Refusal<Route>[] {
    return this.#routes("delete ", routes, (m, route, sequence, flags) => {
      m.begin(RTM_DELROUTE, flags, sequence);
      encodeDeletion(m, route);
    });
  }

  #routes(
    verb: string,
    routes: readonly Route[],
    write: WriteItem<Route>,
  ): Refusal<Route>[] {
    const refused: Refusal<Route>[] = [];
    for (let at = 0; at < routes.length; at += routesPerDatagram) {
      const chunk = routes.slice(at, at + routesPerDatagram);
      refused.push(...this.#batch(chunk, write, (route) => `${verb}${routeText(route)}`));
    }
    return refused;
  }

  /**
   * One datagram, acknowledged at its end: refusals come for each message that is refused, so silence
   * about the others means done. Should answers have been lost, the caller must read the state again.
   */
  #batch<T>(
    items: readonly T[],
    write: WriteItem<T>,
    operation: (item: T) => string,
  ): Refusal<T>[] {
    const encoder = this.#encoder.reset();
    const first = this.#connection.nextSequences(items.length);
    const last = first + items.length - 1;
    items.forEach((item, i) => {
      const flags = first + i === last ? NLM_F_REQUEST | NLM_F_ACK : NLM_F_REQUEST;
      write(encoder, item, first + i, flags);
      encoder.end();
    });
    const { refused, lost } = this.#connection.exchange(encoder.finish(), last);
    if (lost) {
      throw new KernelError(105, operation(items[0]), {
        detail: `answers to this and ${items.length - 1} further changes were lost`,
      });
    }
    return refused.flatMap((ack) => {
      const item = items[ack.sequence - first];
      return item === undefined ? [] : [{ item, error: toKernelError(ack, operation(item)) }];
    });
  }

  /** A table or an interface that is not there has nothing in it. */
  #dump<T>(
    operation: string,
    type: number,
    write: (message: MessageEncoder) => void,
    decode: (message: MessageCursor) => T | undefined,
  ): T[] {
    try {
      return this.#connection.dump(operation, type, write, decode);
    } catch (error) {
      if (isKernelError(error, "ENOENT", "ENODEV")) return [];
      throw error;
    }
  }
}

/** Another namespace has gone, or its number has. */
const isOutOfSight = (error: unknown) => isKernelError(error, "EINVAL", "EPERM", "ESRCH", "ENOENT");

type WriteItem<T> = (message: MessageEncoder, item: T, sequence: number, flags: number) => void;

/** A socket in the namespace of another, wherever this thread is. */
function openBeside(socket: NetlinkSocket): NetlinkSocket {
  const fd = check(libc().ioctl(socket.fd, SIOCGSKNS, null), "find a socket's network namespace");
  const netns = Netns.adopt(fd, "of a netlink socket");
  try {
    return inNetns(netns, () => new NetlinkSocket(NETLINK_ROUTE));
  } finally {
    netns.close();
  }
}
