/**
 * What a node's kernel holds of ours, and when it last came to be so: the tables, the routes of protocol
 * 80 and the permanent neighbours of both families. Times are those of the kernel's notifications; what is
 * held is asked of the kernel itself, at once and in this thread.
 */
import { NftEvents } from "../../ffi/nft/events.ts";
import { openNftListener } from "../../ffi/nft/socket.ts";
import type { Netns } from "../../ffi/netns.ts";
import { reactor } from "../../ffi/reactor.ts";
import { watchRoutes } from "../../ffi/route/events.ts";
import { type Neighbour, NUD_PERMANENT } from "../../ffi/route/neighbour.ts";
import { type Route, routeKey, RT_TABLE_MAIN } from "../../ffi/route/route.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { formatIp } from "../../mod/net/mod.ts";

const PROTOCOL_OWN = 80;

/** Milliseconds of performance.now(); 0: nothing since `begin`. */
export interface Lasts {
  commit: number;
  route: number;
  neighbour: number;
}

export interface Held {
  readonly routes: readonly string[];
  readonly neighbours: readonly string[];
}

const isOurs = (route: Route) =>
  route.protocol === PROTOCOL_OWN && (route.table ?? RT_TABLE_MAIN) === RT_TABLE_MAIN;

function routeText(route: Route): string {
  const hops = (route.hops ?? []).map(({ gateway, oif }) =>
    `${gateway ? formatIp(gateway) : ""} ${oif}`
  );
  return `${route.type} ${routeKey(route)} ${hops.join()}`;
}

const isPermanent = (entry: Neighbour): entry is Neighbour & { kind: "neighbour" } =>
  entry.kind === "neighbour" && entry.state === NUD_PERMANENT;

export class KernelWatch {
  readonly #socket: RouteSocket;
  readonly #nft: NftEvents;
  readonly #endings: (() => void)[];
  #lasts: Lasts = { commit: 0, route: 0, neighbour: 0 };

  constructor(netns: Netns) {
    this.#socket = RouteSocket.open(netns);
    const listener = openNftListener(netns);
    this.#nft = new NftEvents(listener);
    const registration = reactor().add(listener.fd, { read: true }, () => this.#drain());
    const routes = watchRoutes({ groups: ["route", "neighbour"], netns }, (event) => {
      const now = performance.now();
      if (event.kind === "overflow") this.#lasts.route = this.#lasts.neighbour = now;
      else if (event.kind === "route" && isOurs(event.route)) this.#lasts.route = now;
      else if (event.kind === "neighbour" && isPermanent(event.neighbour)) {
        this.#lasts.neighbour = now;
      }
    });
    this.#endings = [
      () => registration.close(),
      () => this.#nft.close(),
      () => routes.close(),
      () => this.#socket.close(),
    ];
  }

  close(): void {
    for (const end of this.#endings) end();
  }

  /** What was before is of no more interest. */
  begin(): void {
    this.#lasts = { commit: 0, route: 0, neighbour: 0 };
  }

  /** Until now. */
  lasts(): Lasts {
    this.#drain();
    return { ...this.#lasts };
  }

  held(): Held {
    return {
      routes: this.#socket.routes({ table: RT_TABLE_MAIN, protocol: PROTOCOL_OWN })
        .map(routeText).sort(),
      neighbours: this.#socket.neighbours({ kind: "neighbour" }).filter(isPermanent)
        .map(({ index, ip, mac }) => `${index} ${formatIp(ip)} ${mac}`).sort(),
    };
  }

  /** Takes all permanent neighbours away; ip(8) flushes routes alone. */
  forgetNeighbours(): void {
    for (const entry of this.#socket.neighbours({ kind: "neighbour" })) {
      if (isPermanent(entry)) this.#socket.deleteNeighbour(entry);
    }
  }

  /** How many of our routes are of IPv6. */
  ipv6Routes(): number {
    return this.#socket.routes({ table: RT_TABLE_MAIN, protocol: PROTOCOL_OWN, family: 6 }).length;
  }

  #drain(): void {
    const changed = () => this.#lasts.commit = performance.now();
    this.#nft.drain(-1, { changed: () => {}, committed: changed, lost: changed });
  }
}
