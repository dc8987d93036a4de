/**
 * The speaker: peers, the table that they share, our own routes, and the listeners. It is the only
 * part of this room that others make an object of.
 *
 *   transport --connection--> Peer --messages--> Adj-RIB-In --routes--> LocRib <-- our own routes
 *   transport <--UPDATEs-- Adj-RIB-Out <--changes of the best-- tick --changes--> onRoutes
 *
 * Whatever comes in only marks prefixes. One tick at the end of the turn decides them, tells the
 * peers and whoever listens: so ten thousand routes that come at once are one list of changes.
 *
 * The configuration is level, not edge: peers and routes are given as whole lists, and the speaker
 * finds the difference. Nothing here throws because of one peer: what is wrong with it is its status.
 */
import { formatIp, type Ip, ipKey, type Prefix, sameIp } from "../mod/net/mod.ts";
import type {
  BestRouteChange,
  BgpSpeaker,
  LocalRoute,
  PeerConfig,
  PeerList,
  PeerStatus,
  RefreshAnswer,
  RouteStatus,
  SpeakerConfig,
} from "./config.ts";
import { idOf } from "./message/attributes.ts";
import { CEASE, CEASE_DECONFIGURED, CEASE_SHUTDOWN, protocolError } from "./message/error.ts";
import { shutdownData } from "./message/frame.ts";
import { AttributeCache } from "./message/update.ts";
import { Departures } from "./departures.ts";
import { ARRIVAL, done, isAwaited, Told } from "./end_of_rib.ts";
import { Listeners } from "./listeners.ts";
import { OwnRoutes } from "./own_routes.ts";
import { Peer } from "./peer.ts";
import type { PeerHost } from "./peer_routes.ts";
import { compareKeys, keyOf } from "./prefix_key.ts";
import { ExportClass, type ExportRules } from "./rib/export.ts";
import { type Change, LocRib } from "./rib/loc_rib.ts";
import type { Route } from "./rib/route.ts";
import { bestRoute, peerStatus, routeStatus } from "./status.ts";
import { type Stranger, Strangers } from "./strangers.ts";
import { type BgpTransport, type Clock, type Connection, type Timer } from "./transport.ts";

export * from "./config.ts";

export interface SpeakerDeps {
  readonly transport: BgpTransport;
  readonly clock: Clock;
  readonly log?: (level: "info" | "warning", message: string) => void;
}

const DEFERRAL = 120;

export class Speaker implements BgpSpeaker, PeerHost {
  readonly transport: BgpTransport;
  readonly clock: Clock;
  readonly cache = new AttributeCache();
  readonly table: LocRib;
  #config: SpeakerConfig;
  readonly #own: OwnRoutes;
  readonly #peers = new Map<string, Peer>();
  /** Out of the configuration, up until the peers that came with the change are. */
  readonly #leaving: Departures;
  readonly #listeners: Listeners;
  readonly #strangers: Strangers;
  #metrics = new Map<string, { metric: number } | undefined>();
  /** By key. */
  #hostAddresses: ReadonlySet<string> = new Set();
  readonly #classes = new Map<string, ExportClass>();
  readonly #routeCalls = new Set<(changes: readonly BestRouteChange[]) => void>();
  readonly #peerCalls = new Set<(name: string) => void>();
  readonly #toldCalls = new Set<() => void>();
  readonly #told = new Told();
  #convergedCalls: (() => void)[] = [];
  #state: "new" | "running" | "stopped" = "new";
  #peersGiven = false;
  #provisional = false;
  /** Peers without a session may still come up (`end_of_rib.ts`). */
  #arriving = true;
  #converged = false;
  #scheduled = false;
  readonly #timers = new Set<Timer>();

  constructor(config: SpeakerConfig, private readonly deps: SpeakerDeps) {
    this.transport = deps.transport;
    this.clock = deps.clock;
    this.#config = config;
    this.table = new LocRib({
      metric: (route) => this.#metric(route),
      multipath: config.multipath ?? true,
    });
    this.#own = new OwnRoutes(this.table);
    this.#strangers = new Strangers(deps.clock);
    this.#leaving = new Departures(deps.clock);
    this.#listeners = new Listeners(
      deps.transport,
      (connection) => this.#incoming(connection),
      (ms, call) => this.#after(ms, call),
      (message) => this.log("warning", message),
    );
  }

  start(): void {
    if (this.#state !== "new") return;
    this.#state = "running";
    this.#listeners.set(this.#config.listen ?? []);
    for (const peer of this.#peers.values()) peer.start();
    this.#guard();
    this.#after(1000 * (this.#config.deferralTime ?? DEFERRAL), () => this.#converge());
    this.#watch();
    if (this.#peersGiven) this.#awaitArrival();
    this.schedule();
  }

  stop(options: { readonly graceful: boolean; readonly reason?: string }): void {
    if (this.#state === "stopped") return;
    const running = this.#state === "running";
    this.#state = "stopped";
    this.#listeners.set([]);
    if (!running) return;
    const reason = options.reason ?? "the speaker stops";
    const error = options.graceful
      ? undefined
      : protocolError(CEASE, CEASE_SHUTDOWN, reason, shutdownData(reason));
    for (const peer of this.#all()) {
      peer.stop(error, reason);
      peer.main.dispose();
      peer.routes.forget();
    }
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
  }

  configure(config: SpeakerConfig): void {
    const former = this.#config;
    this.#config = config;
    if (former.as !== config.as || !sameIp(former.routerId, config.routerId)) {
      for (const peer of this.#all()) peer.restart("our AS number or router ID has changed");
    } else if (idOf(former.clusterId ?? former.routerId) !== this.clusterId) {
      for (const peer of this.#all()) {
        peer.routes.rejudge();
        peer.routes.reexport();
      }
    }
    if (this.#state === "running") this.#listeners.set(config.listen ?? []);
    this.nextHopsChanged();
  }

  setPeers(peers: readonly PeerConfig[], { nodes, provisional = false }: PeerList = {}): void {
    const first = !this.#peersGiven;
    this.#peersGiven = true;
    this.#provisional = provisional;
    if (first && this.#state === "running") this.#awaitArrival();
    const wanted = new Map<string, PeerConfig>();
    for (const config of peers) {
      let { name } = config;
      if (wanted.has(name)) {
        this.log("warning", `two peers are named ${name}: the second is shown with a number`);
        for (let n = 2; wanted.has(name); n++) name = `${config.name} (${n})`;
      }
      wanted.set(name, { ...config, name });
    }
    const departing = new Map([...this.#peers].filter(([name]) => !wanted.has(name)));
    const added: Peer[] = [];
    const meshBefore = [...this.#peers.values()].some(({ config }) => isMember(config));
    const reflectionBefore = this.#clients();
    for (const [name, config] of wanted) {
      const known = this.#peers.get(name) ?? this.#leaving.get(name) ?? adopt(departing, config);
      if (known) {
        departing.delete(known.config.name);
        this.#leaving.delete(known.config.name);
        this.#peers.delete(known.config.name);
        this.#peers.set(name, known);
        known.configure(config);
      } else {
        const peer = new Peer(this, config);
        this.#peers.set(name, peer);
        added.push(peer);
      }
    }
    for (const peer of departing.values()) this.#peers.delete(peer.config.name);
    if (this.#state === "running") { for (const peer of added) peer.start(); }
    for (const peer of departing.values()) {
      const stays = this.#state === "running" &&
        this.#leaving.hold(peer, added, { nodes, meshBefore });
      if (!stays) this.#forget(peer);
    }
    if (reflectionBefore !== this.#clients()) {
      for (const peer of this.#all()) peer.routes.reexport();
    }
    this.#strangers.welcome(peers.map((peer) => peer.address));
    this.#guard();
    this.schedule();
  }

  announce(routes: readonly LocalRoute[]): void {
    this.#own.replace(routes, this.clock.now());
    this.schedule();
  }

  onRoutes(call: (changes: readonly BestRouteChange[]) => void): () => void {
    this.#routeCalls.add(call);
    return () => void this.#routeCalls.delete(call);
  }

  onPeers(call: (name: string) => void): () => void {
    this.#peerCalls.add(call);
    return () => void this.#peerCalls.delete(call);
  }

  onTold(call: () => void): () => void {
    this.#toldCalls.add(call);
    return () => void this.#toldCalls.delete(call);
  }

  hasTold(address: Ip): boolean {
    return this.#told.has(address);
  }

  onConverged(call: () => void): void {
    if (this.#converged) this.#after(0, call);
    else this.#convergedCalls.push(call);
  }

  get converged(): boolean {
    return this.#converged;
  }

  nextHopsChanged(): void {
    this.#metrics.clear();
    this.table.touchAll();
    this.schedule();
  }

  setHostAddresses(addresses: readonly Ip[]): void {
    const keys = new Set(addresses.map(ipKey));
    const same = keys.size === this.#hostAddresses.size &&
      keys.isSubsetOf(this.#hostAddresses);
    if (same) return;
    this.#hostAddresses = keys;
    for (const peer of this.#all()) peer.routes.rejudge();
  }

  refresh(name: string): RefreshAnswer {
    const peer = this.#peers.get(name) ?? this.#leaving.get(name);
    if (!peer) return { name, address: "", families: [], fault: "there is no such peer" };
    const asked = peer.routes.requestRefresh();
    const answer = { name, address: formatIp(peer.config.address) };
    return typeof asked === "string"
      ? { ...answer, families: [], fault: asked }
      : { ...answer, families: asked };
  }

  peers(): PeerStatus[] {
    return this.#all().map(peerStatus);
  }

  routes(prefix?: Prefix): RouteStatus[] {
    const one = prefix && this.table.get(keyOf(prefix));
    const all = prefix ? one ? [one] : [] : [...this.table.all()];
    return all.sort((a, b) => compareKeys(a.key, b.key))
      .flatMap((destination) => routeStatus(destination, this.table, this.clock));
  }

  best(): BestRouteChange[] {
    return [...this.table.all()].filter((d) => d.used.length > 0).map(bestRoute);
  }

  listenErrors(): string[] {
    return this.#listeners.errors();
  }

  /** Callers of the last minutes that were refused because no peer has their address. */
  strangers(): Stranger[] {
    return this.#strangers.list();
  }

  // What peers ask (PeerHost).

  get as(): number {
    return this.#config.as;
  }

  get routerId(): number {
    return idOf(this.#config.routerId);
  }

  get clusterId(): number {
    return idOf(this.#config.clusterId ?? this.#config.routerId);
  }

  restarting(): boolean {
    // The bit tells of a restart, and is to be gone when that is past (RFC 4724 section 4.1).
    return this.#config.restarting === true && !this.#converged;
  }

  forwarding(): boolean {
    // After a cold start the bit would be a lie; in later sessions of the same process it is none.
    return this.#config.restarting !== false || this.#converged;
  }

  holdsEndOfRib(name: string): boolean {
    const to = this.#peers.get(name);
    if (!to || !this.restarting()) return false;
    // Who is not known yet may come, as who is known and has no session.
    if (this.#provisional && this.#arriving) return true;
    return [...this.#peers.values()].some((from) => isAwaited(from, to, this.#arriving));
  }

  isOwnAddress(ip: Ip): boolean {
    return this.#hostAddresses.has(ipKey(ip));
  }

  exportClass(rules: ExportRules): ExportClass {
    const { internal, localAs, nextHop, self, clusterId } = rules;
    const hops = Object.entries(self).map(([family, ip]) => `${family} ${formatIp(ip)}`).sort();
    const text = JSON.stringify([internal, localAs, nextHop, hops, clusterId]);
    let made = this.#classes.get(text);
    if (!made) {
      // Old classes go with old addresses; what is in use stays with its peers.
      if (this.#classes.size > 1000) this.#classes.clear();
      this.#classes.set(text, made = new ExportClass(rules));
    }
    return made;
  }

  schedule(): void {
    if (this.#scheduled || this.#state !== "running") return;
    this.#scheduled = true;
    this.#after(0, () => {
      this.#scheduled = false;
      if (this.#state === "running") this.#tick();
    });
  }

  peerChanged(name: string): void {
    for (const call of this.#peerCalls) call(name);
    this.schedule();
  }

  log(level: "info" | "warning", message: string): void {
    this.deps.log?.(level, message);
  }

  /** A timer that ends with the speaker. */
  #after(ms: number, call: () => void): void {
    const timer = this.clock.after(ms, () => {
      this.#timers.delete(timer);
      call();
    });
    this.#timers.add(timer);
  }

  #tick(): void {
    const changes = this.table.settle();
    const peers = this.#all();
    for (const { bestChanged, destination } of changes) {
      if (bestChanged) { for (const peer of peers) peer.routes.out?.mark(destination.key); }
    }
    this.#checkConverged();
    for (const peer of peers) peer.routes.flush();
    this.#tell(changes);
    this.#checkTold();
    this.#checkLeaving();
  }

  /** After its routes have been told here, a peer counts as having told them. */
  #checkTold(): void {
    if (this.#converged || !this.#told.update(this.#peers.values())) return;
    for (const call of this.#toldCalls) call();
  }

  #tell(changes: readonly Change[]): void {
    if (this.#routeCalls.size === 0) return;
    const told = changes.filter((change) => change.usedChanged)
      .map(({ destination }) => bestRoute(destination));
    if (told.length > 0) { for (const call of this.#routeCalls) call(told); }
  }

  #awaitArrival(): void {
    this.#after(ARRIVAL, () => {
      this.#arriving = false;
      this.schedule();
    });
  }

  /** What time alone completes: peers that send no End-of-RIB. */
  #watch(): void {
    this.#after(1000, () => {
      if (this.#state !== "running") return;
      if (!this.#converged || this.#leaving.size > 0) {
        this.#checkConverged();
        this.#checkTold();
        this.#checkLeaving();
      }
      this.#watch();
    });
  }

  #checkConverged(): void {
    if (this.#converged || !this.#peersGiven || this.#provisional) return;
    for (const peer of this.#peers.values()) {
      if (peer.configError === undefined && !done(peer)) return;
    }
    this.#converge();
  }

  #converge(): void {
    if (this.#converged || this.#state !== "running") return;
    this.#converged = true;
    const calls = this.#convergedCalls;
    this.#convergedCalls = [];
    // After the changes of this turn have been told.
    this.#after(0, () => {
      for (const call of calls) call();
    });
    this.schedule();
  }

  #checkLeaving(): void {
    if (this.#leaving.size === 0) return;
    const due = this.#leaving.due((peer) => this.#peers.get(peer.config.name) === peer);
    if (due.length === 0) return;
    for (const peer of due) this.#forget(peer);
    this.#guard();
  }

  #forget(peer: Peer): void {
    peer.forget(protocolError(CEASE, CEASE_DECONFIGURED, "the peer is no longer configured"));
    this.schedule();
  }

  #all(): Peer[] {
    return [...this.#peers.values(), ...this.#leaving.peers()];
  }

  #clients(): string {
    return JSON.stringify(
      [...this.#peers.values()].filter((p) => p.config.routeReflectorClient)
        .map((p) => p.config.name).sort(),
    );
  }

  #metric(route: Route): number | undefined {
    const { resolveNextHop } = this.#config;
    const hop = route.attributes.nextHop;
    if (!resolveNextHop || !hop) return 0;
    const text = hop.bytes.join(".");
    if (!this.#metrics.has(text)) this.#metrics.set(text, resolveNextHop(hop));
    return this.#metrics.get(text)?.metric;
  }

  #guard(): void {
    this.#listeners.guard(
      this.#all().filter((peer) => peer.configError === undefined).map((peer) => peer.config),
    );
  }

  #incoming(connection: Connection): void {
    const { address } = connection.remote;
    const candidates = this.#all().filter((peer) => sameIp(peer.config.address, address));
    // Peers behind one address: the one whose session is down is being called.
    const peer = candidates.find((p) => p.session.state !== "Established") ?? candidates[0];
    if (peer && this.#state === "running") {
      peer.incoming(connection);
      return;
    }
    connection.close();
    if (!this.#strangers.refused(address)) return;
    this.log("warning", `a connection from ${formatIp(address)}, which is no peer, is refused`);
  }
}

function isMember({ origin }: PeerConfig): boolean {
  return origin !== undefined && origin.object === undefined;
}

/** A departing peer that is the same one under another name. */
function adopt(departing: Map<string, Peer>, config: PeerConfig): Peer | undefined {
  for (const peer of departing.values()) {
    const { address, port = 179, remoteAs } = peer.config;
    if (
      sameIp(address, config.address) && port === (config.port ?? 179) &&
      remoteAs === config.remoteAs
    ) return peer;
  }
  return undefined;
}
