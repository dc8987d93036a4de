/**
 * The routes of one peer in both directions, over the sessions that come and go (the session itself is
 * `peer.ts`'s).
 *
 * Graceful restart, receiving side (RFC 4724 section 4.2): when an established session ends without
 * a NOTIFICATION and the peer had the capability, its routes stay, marked stale, for the time that it
 * asked for. When it is back, those of a family that it has not kept forwarding go at once, the rest
 * at its End-of-RIB. Without the capability, or after a NOTIFICATION, all go at once.
 *
 * Where it was we who closed the session, to open it with another OPEN, the peer has not restarted, and
 * the Forwarding bit, which tells what it has kept over a restart, is not set by any (BIRD, FRR). Unless
 * its OPEN says that it has restarted after all, its routes of all families stay until End-of-RIB.
 *
 * Restarting side (section 4.1): our own routes are announced as soon as a session is up; only
 * End-of-RIB waits, and only for those whose routes we would pass on to the peer (`end_of_rib.ts`).
 */
import type { Ip } from "../mod/net/mod.ts";
import type { AddressFamily, PeerConfig } from "./config.ts";
import { Writer } from "./message/bytes.ts";
import { encodeRouteRefresh, type RouteRefresh } from "./message/frame.ts";
import type { AttributeCache, UpdateResult } from "./message/update.ts";
import { writeEndOfRib } from "./message/update_encode.ts";
import type { PrefixKey } from "./prefix_key.ts";
import { AdjRibIn, type ImportRules } from "./rib/adj_rib_in.ts";
import { AdjRibOut } from "./rib/adj_rib_out.ts";
import { type ExportClass, exportRoute, type ExportRules } from "./rib/export.ts";
import { judgeImport } from "./rib/import.ts";
import type { LocRib } from "./rib/loc_rib.ts";
import type { RouteSource } from "./rib/route.ts";
import type { Negotiated } from "./session/session.ts";
import { StaleRoutes } from "./stale_routes.ts";
import type { BgpTransport, Clock, Connection } from "./transport.ts";

/** What peers ask of their speaker. */
export interface PeerHost {
  readonly transport: BgpTransport;
  readonly clock: Clock;
  readonly cache: AttributeCache;
  readonly table: LocRib;
  readonly as: number;
  readonly routerId: number;
  readonly clusterId: number;
  /** The Restart State bit of OPENs that go out now. */
  restarting(): boolean;
  /** The Forwarding State bit of OPENs that go out now. */
  forwarding(): boolean;
  /** End-of-RIB to the peer is to wait. */
  holdsEndOfRib(name: string): boolean;
  /** Whether an address is one of this host. */
  isOwnAddress(ip: Ip): boolean;
  exportClass(rules: ExportRules): ExportClass;
  /** A tick is wanted: routes have changed or are to be sent. */
  schedule(): void;
  /** The peer's state has changed. */
  peerChanged(name: string): void;
  log(level: "info" | "warning", message: string): void;
}

const FAMILIES = ["ipv4", "ipv6"] as const;

/** Bytes in a connection's queue beyond which nothing more is made for it. */
const QUEUE_LIMIT = 256 * 1024;

/** The session that is up. */
export interface Link {
  readonly negotiated: Negotiated;
  readonly connection: Connection;
  send(bytes: Uint8Array, messages: number): void;
}

export class PeerRoutes {
  readonly received: AdjRibIn;
  out: AdjRibOut | undefined;
  /** Families whose End-of-RIB has come in this session. */
  readonly endOfRib = new Set<AddressFamily>();
  readonly #stale: StaleRoutes;
  #source: RouteSource | undefined;
  #self: Ip | undefined;
  #link: Link | undefined;
  /** It is we who closed the session, to open it anew. */
  #reopening = false;
  #class: ExportClass | undefined;
  #rules: ImportRules | undefined;
  /** Families whose End-of-RIB, or end of refresh, is to be sent when all is told. */
  readonly #owed = new Map<AddressFamily, "end-of-rib" | "end-of-refresh">();

  constructor(private readonly host: PeerHost, public config: PeerConfig) {
    this.received = new AdjRibIn(host.table);
    this.#stale = new StaleRoutes(this.received, host.clock, () => host.schedule());
  }

  /** Clock time until which routes of a session that is over are kept at most. */
  get staleUntil(): number | undefined {
    return this.#stale.until;
  }

  get #localAs(): number {
    return this.config.localAs ?? this.host.as;
  }

  up(link: Link): void {
    const { negotiated, connection } = link;
    this.#link = link;
    this.#self = connection.local.address;
    this.#class = undefined;
    this.#rules = undefined;
    this.#setSource(negotiated);
    this.endOfRib.clear();
    this.#owed.clear();
    const { restart } = negotiated;
    const closedByUs = this.#reopening && restart?.restarting === false;
    this.#reopening = false;
    for (const family of FAMILIES) {
      const kept = closedByUs || restart?.families.get(family)?.forwarding === true;
      if (!negotiated.families.has(family)) this.received.clear(family);
      else if (!kept) this.received.sweep(family);
    }
    this.#stale.back();
    this.out = new AdjRibOut(
      negotiated.families,
      { asSize: negotiated.asSize },
      (key) => this.#present(key),
    );
    for (const destination of this.host.table.all()) this.out.mark(destination.key);
    for (const family of negotiated.families) this.#owed.set(family, "end-of-rib");
    this.host.schedule();
  }

  down(keepRoutes: boolean, negotiated: Negotiated): void {
    this.#link = undefined;
    this.out = undefined;
    const { restart, families } = negotiated;
    const kept = restart && this.#reopening ? families : new Set(restart?.families.keys());
    this.#stale.lost(kept, keepRoutes ? restart?.time ?? 0 : 0);
    this.host.schedule();
  }

  /** We are going to close the session without a word, and to open it anew. */
  reopening(): void {
    this.#reopening = true;
  }

  /** What a session that is over has left is void: the peer is another one now. */
  dropStale(): void {
    this.#stale.lost(new Set(), 0);
    this.host.schedule();
  }

  /** The peer is no peer any more. */
  forget(): void {
    this.#stale.forget();
    this.received.clear();
    this.out = undefined;
    this.#link = undefined;
    this.host.schedule();
  }

  /** Takes an UPDATE in; returns what is wrong with the number of prefixes. */
  update(update: Exclude<UpdateResult, { answer: "session-reset" }>): string | undefined {
    for (const key of update.withdrawn) this.received.withdraw(key);
    this.host.schedule();
    if (update.answer === "treat-as-withdraw") return undefined;
    const now = this.host.clock.now();
    const rules = this.#importRules();
    for (const { attributes, keys } of update.announced) {
      for (const key of keys) this.received.announce(key, attributes, this.#source!, now, rules);
    }
    if (update.endOfRib) this.#endOfRib(update.endOfRib);
    const most = this.config.maxPrefixes;
    if (most !== undefined && this.received.size > most) {
      for (const family of FAMILIES) {
        const count = this.received.count(family);
        if (count > most) {
          return `the peer has sent ${count} ${family} prefixes, ${most} are allowed`;
        }
      }
    }
    return undefined;
  }

  /** The first one of a session counts; what is stale later is so by a refresh. */
  #endOfRib(family: AddressFamily): void {
    if (this.endOfRib.has(family)) return;
    this.endOfRib.add(family);
    this.#stale.told(family);
  }

  /** RFC 2918 and RFC 7313. */
  refresh(refresh: RouteRefresh): void {
    const { family, subtype } = refresh;
    const link = this.#link;
    if (!family || !link?.negotiated.families.has(family)) return;
    const enhanced = link.negotiated.enhancedRouteRefresh;
    if (subtype === 0) {
      // No begin before End-of-RIB, and one for all wishes that come before the end: a peer that asks and
      // asks without reading does not fill the queue.
      if (enhanced && !this.#owed.has(family)) {
        link.send(encodeRouteRefresh(family, 1), 1);
        this.#owed.set(family, "end-of-refresh");
      }
      this.out!.force(family);
    } else if (!enhanced) return;
    else if (subtype === 1) {
      // A table that is being told for the first time after a restart is not being refreshed.
      if (link.negotiated.restart && !this.endOfRib.has(family)) return;
      this.#stale.refreshBegins(family);
    } else if (subtype === 2) this.#stale.refreshEnds(family);
    this.host.schedule();
  }

  /** Asks the peer to tell everything again: for which families, or why it cannot be asked. */
  requestRefresh(): readonly AddressFamily[] | string {
    const link = this.#link;
    if (!link) return "there is no session with it";
    if (!link.negotiated.routeRefresh) return "it does not know route refresh (RFC 2918)";
    const families = [...link.negotiated.families];
    for (const family of families) link.send(encodeRouteRefresh(family, 0), 1);
    return families;
  }

  /** Writes what the peer is to be told now. */
  flush(): void {
    const { out } = this;
    const link = this.#link;
    if (!out || !link) return;
    if (out.pending) {
      if (link.connection.queued > QUEUE_LIMIT) return;
      const writer = new Writer(4096);
      const messages = out.flush(writer);
      if (messages > 0) link.send(writer.done(), messages);
      if (out.pending) {
        this.host.schedule();
        return;
      }
    }
    this.#payOwed(link);
  }

  #payOwed(link: Link): void {
    if (this.#owed.size === 0) return;
    for (const [family, kind] of this.#owed) {
      if (kind === "end-of-refresh") link.send(encodeRouteRefresh(family, 2), 1);
      else {
        if (this.host.holdsEndOfRib(this.config.name)) continue;
        const writer = new Writer(32);
        writeEndOfRib(writer, family);
        link.send(writer.done(), 1);
      }
      this.#owed.delete(family);
    }
  }

  /** Import rules have changed. */
  rejudge(): void {
    this.#rules = undefined;
    this.received.rejudge(this.#importRules());
    this.host.schedule();
  }

  /** Export rules have changed. */
  reexport(): void {
    this.#class = undefined;
    if (!this.out) return;
    for (const destination of this.host.table.all()) this.out.mark(destination.key);
    this.host.schedule();
  }

  /** What routes say of their source follows the configuration. */
  describeSource(): void {
    if (!this.#source) return;
    this.#source.name = this.config.name;
    this.#source.client = this.config.routeReflectorClient ?? false;
  }

  #setSource(negotiated: Negotiated): void {
    const fresh: RouteSource = {
      kind: "peer",
      name: this.config.name,
      internal: negotiated.internal,
      as: negotiated.open.as,
      routerId: negotiated.open.routerId,
      address: this.config.address,
      client: this.config.routeReflectorClient ?? false,
    };
    const old = this.#source;
    // The same peer again: routes that it repeats are the same routes.
    if (
      old && old.internal === fresh.internal && old.as === fresh.as &&
      old.routerId === fresh.routerId && old.name === fresh.name
    ) old.client = fresh.client;
    else this.#source = fresh;
  }

  #importRules(): ImportRules {
    if (this.#rules) return this.#rules;
    const { host, config } = this;
    const context = {
      source: this.#source!,
      localAs: this.#localAs,
      allowLocalAs: config.allowLocalAs ?? 0,
      routerId: host.routerId,
      clusterId: host.clusterId,
      self: config.source ?? this.#self,
      isOwn: (ip: Ip) => host.isOwnAddress(ip),
      filter: config.importFilter,
    };
    return this.#rules = (key, received) => judgeImport(context, key, received);
  }

  #present(key: PrefixKey) {
    const best = this.host.table.get(key)?.best;
    if (!best) return undefined;
    const { config } = this;
    return exportRoute(best, {
      name: config.name,
      client: config.routeReflectorClient ?? false,
      class: this.#exportClass(),
      filter: config.exportFilter,
    });
  }

  #exportClass(): ExportClass {
    if (this.#class) return this.#class;
    const { config, host } = this;
    const self = this.#self ?? config.source;
    const rules: ExportRules = {
      internal: this.#localAs === config.remoteAs,
      localAs: this.#localAs,
      nextHop: config.nextHop ?? "auto",
      self: {
        ...(self ? { [self.family === 4 ? "ipv4" : "ipv6"]: self } : {}),
        ...config.nextHops,
      },
      clusterId: host.clusterId,
    };
    return this.#class = host.exportClass(rules);
  }
}
