/**
 * What changes in the kernel, as it happens: notifications of links, addresses, routes, rules and
 * neighbours as typed events, through the reactor.
 *
 * They are hints, not the truth. When the kernel had to drop some (ENOBUFS) an `overflow` event says
 * so, and everything must be read anew. IPv4 routes that vanish with their link are not announced at
 * all: who sees a link go down or away must drop its IPv4 routes from any picture of its own.
 */

import { isKernelError } from "../errors.ts";
import { NETLINK_ROUTE, NLM_F_APPEND, NLM_F_EXCL, NLM_F_REPLACE } from "../netlink/constants.ts";
import { MessageCursor } from "../netlink/decoder.ts";
import { attachFilter, passOverProgram } from "../netlink/filter.ts";
import { NetlinkSocket } from "../netlink/socket.ts";
import type { Transport } from "../netlink/transport.ts";
import { inNetns, type Netns } from "../netns.ts";
import { type Reactor, reactor } from "../reactor.ts";
import { type Address, decodeAddress } from "./address.ts";
import {
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_DELRULE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
  RTM_NEWRULE,
} from "./command.ts";
import { decodeLink, type Link } from "./link.ts";
import { decodeNeighbour, type Neighbour } from "./neighbour.ts";
import { decodeRoute, type Route } from "./route.ts";
import { decodeRule, type RoutingRule } from "./rule.ts";

/** RTNLGRP_… */
const groupNumbers = {
  link: [1],
  neighbour: [3],
  address: [5, 9],
  route: [7, 11],
  rule: [8, 19],
} as const;

export type EventGroup = keyof typeof groupNumbers;

/**
 * Where a new route stands among those of its destination, metric and TOS: it is the only one, has come
 * in the place of one, stands before all (IPv6: among them), or behind them.
 */
export type RoutePlace = "only" | "replaces" | "first" | "last";

/** `gone` false: it is new or has changed. `port`: of the netlink socket that caused it; 0 the kernel. */
export type RouteEvent =
  | { readonly kind: "link"; readonly gone: boolean; readonly port: number; readonly link: Link }
  | {
    readonly kind: "address";
    readonly gone: boolean;
    readonly port: number;
    readonly address: Address;
  }
  | {
    readonly kind: "route";
    readonly gone: boolean;
    readonly port: number;
    readonly route: Route;
    readonly place: RoutePlace;
  }
  | {
    readonly kind: "neighbour";
    readonly gone: boolean;
    readonly port: number;
    readonly neighbour: Neighbour;
  }
  | {
    readonly kind: "rule";
    readonly gone: boolean;
    readonly port: number;
    readonly rule: RoutingRule;
  }
  /** Events were lost: read everything anew. */
  | { readonly kind: "overflow" };

/** Datagrams handled before others get their turn. */
const burst = 256;

const cursor = new MessageCursor();

/** Takes what has arrived, up to a burst, and hands out the events. The pure half of `watchRoutes`. */
export function drainEvents(transport: Transport, onEvent: (event: RouteEvent) => void): void {
  for (let i = 0; i < burst; i++) {
    let datagram: Uint8Array | undefined;
    try {
      datagram = transport.receive(false);
    } catch (error) {
      if (!isKernelError(error, "ENOBUFS")) throw error;
      onEvent({ kind: "overflow" });
      continue;
    }
    if (!datagram) return;
    // All events first: a handler may make requests, and so use buffers again.
    const events: RouteEvent[] = [];
    for (cursor.aim(datagram); cursor.next();) {
      const event = decodeEvent(cursor);
      if (event) events.push(event);
    }
    for (const event of events) onEvent(event);
  }
}

/** One notification; undefined for what we have no word for. */
export function decodeEvent(message: MessageCursor): RouteEvent | undefined {
  const { port } = message;
  switch (message.type) {
    case RTM_NEWLINK:
    case RTM_DELLINK: {
      // Bridges announce their ports under their own family, as a half-filled link.
      if (message.u8(0) !== 0) return undefined;
      const gone = message.type === RTM_DELLINK;
      return { kind: "link", gone, port, link: decodeLink(message) };
    }
    case RTM_NEWADDR:
    case RTM_DELADDR: {
      const address = decodeAddress(message);
      return address && { kind: "address", gone: message.type === RTM_DELADDR, port, address };
    }
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = decodeRoute(message);
      const gone = message.type === RTM_DELROUTE;
      return route && { kind: "route", gone, port, route, place: placeOf(message.flags) };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const neighbour = decodeNeighbour(message);
      return neighbour &&
        { kind: "neighbour", gone: message.type === RTM_DELNEIGH, port, neighbour };
    }
    case RTM_NEWRULE:
    case RTM_DELRULE: {
      const rule = decodeRule(message);
      return rule && { kind: "rule", gone: message.type === RTM_DELRULE, port, rule };
    }
    default:
      return undefined;
  }
}

function placeOf(flags: number): RoutePlace {
  if (flags & NLM_F_REPLACE) return "replaces";
  if (flags & NLM_F_EXCL) return "only";
  return flags & NLM_F_APPEND ? "last" : "first";
}

export interface WatchOptions {
  readonly groups: readonly EventGroup[];
  /** Whose; absent: the calling thread's. It need not stay open. */
  readonly netns?: Netns;
  /** Bytes of the receive buffer. Default 16 MiB: some ten thousand events at once. */
  readonly receiveBuffer?: number;
  /** Routes of these protocols that this port's socket has written: the kernel does not tell of them. */
  readonly passOver?: { readonly port: number; readonly protocols: readonly number[] };
  readonly reactor?: Reactor;
}

/** Watches from now on, until `close`. What was before must be read after this returned. */
export function watchRoutes(
  options: WatchOptions,
  onEvent: (event: RouteEvent) => void,
): { close(): void } {
  const groups = options.groups.flatMap((group) => [...groupNumbers[group]]);
  const receiveBuffer = options.receiveBuffer ?? 16 << 20;
  const make = () => new NetlinkSocket(NETLINK_ROUTE, { groups, receiveBuffer });
  const socket = options.netns ? inNetns(options.netns, make) : make();
  if (options.passOver) {
    const types = [RTM_NEWROUTE, RTM_DELROUTE];
    attachFilter(socket.fd, passOverProgram({ ...options.passOver, types }));
  }
  let closed = false;
  const registration = (options.reactor ?? reactor()).add(socket.fd, { read: true }, () => {
    if (closed) return;
    drainEvents(socket, (event) => {
      if (!closed) onEvent(event);
    });
  });
  return {
    close() {
      if (closed) return;
      closed = true;
      registration.close();
      socket.close();
    },
  };
}
