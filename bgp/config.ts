/**
 * What a speaker is told and what it tells: its configuration, its peers, its own routes, and the
 * status that people and the kernel's reconciler read. Values only. Everything here can be given
 * anew at any time (`Speaker.setPeers`, `Speaker.announce`): the speaker finds the difference
 * itself, and a session is reset only where the peer has to be told something that BGP can say in an
 * OPEN alone, or where the connection has to be another one. With graceful restart at both ends such a
 * reset drops no route (`changeOf` in check_peer.ts).
 *
 * Nothing here speaks of Kubernetes or Calico: `mod/node/peering.ts` makes these values of
 * Calico's resources.
 */
import type { Ip, Prefix } from "../mod/net/mod.ts";
import type { Attributes } from "./message/attributes.ts";
import type { SessionState } from "./session/session.ts";
import type { Stranger } from "./strangers.ts";

/** Address families that the speaker carries: AFI 1 and 2, SAFI 1 (unicast). */
export type AddressFamily = "ipv4" | "ipv6";

export interface SpeakerConfig {
  /** Autonomous system number, 1 to 4294967295. */
  readonly as: number;
  /** BGP identifier, written as an IPv4 address; not 0.0.0.0 (RFC 6286). */
  readonly routerId: Ip;
  /** Where peers may call. Empty or absent: nowhere. */
  readonly listen?: readonly ListenConfig[];
  /** Cluster ID of a route reflector (RFC 4456), as an IPv4 address; absent: the router ID. */
  readonly clusterId?: Ip;
  /**
   * This process takes over from one that died or was replaced, and the kernel has gone on
   * forwarding: the Restart State bit is set in the OPENs of the first `restartTime` seconds, and
   * `converged` waits for the peers' End-of-RIB (RFC 4724 section 4.1). false: a cold start, after
   * which nothing has gone on; absent: nothing is known.
   */
  readonly restarting?: boolean;
  /** Seconds after the start at which `converged` is reported whoever is missing. 120. */
  readonly deferralTime?: number;
  /** Whether several equally good next hops are reported for one prefix. true. */
  readonly multipath?: boolean;
  /**
   * Whether a next hop can be reached, and at what interior cost (RFC 4271 9.1.2.1). Absent: all can,
   * at cost 0. Call `Speaker.nextHopsChanged` when the answers have changed.
   */
  readonly resolveNextHop?: (nextHop: Ip) => { readonly metric: number } | undefined;
}

export interface ListenConfig {
  readonly family: 4 | 6;
  /** Absent: every address of the family. */
  readonly address?: Ip;
  readonly port: number;
}

export interface PeerConfig {
  /** Unique among the speaker's peers, e.g. `Mesh_10_0_0_2`: the key by which a peer stays itself. */
  readonly name: string;
  readonly address: Ip;
  /** Where the peer comes from; absent: nothing is known. */
  readonly origin?: PeerOrigin;
  /** TCP port to call. 179. */
  readonly port?: number;
  readonly remoteAs: number;
  /** Our AS towards this peer, where it is not the speaker's. */
  readonly localAs?: number;
  /** Our end's address; also what "next hop self" means. Absent: that of the TCP connection. */
  readonly source?: Ip;
  /** We wait for the peer to call and never call ourselves. false. */
  readonly passive?: boolean;
  /** TCP-MD5 key. */
  readonly password?: string;
  /** Hops allowed with TTL security (RFC 5082); absent: any number (multihop). */
  readonly ttlSecurity?: number;
  /** What is exchanged. The family of `address` alone. */
  readonly families?: readonly AddressFamily[];
  /** Seconds; 0 or 3 to 65535. 90 (RFC 4271 section 10). */
  readonly holdTime?: number;
  /** Seconds between KEEPALIVEs. A third of the negotiated hold time. */
  readonly keepaliveTime?: number;
  /** Seconds in which a peer must read something of what waits for it (RFC 9687). 480. */
  readonly sendHoldTime?: number;
  /** Seconds between two calls; the first calls are repeated after 1, 2 and 4. 5. */
  readonly connectRetryTime?: number;
  /** Seconds after an error before the session starts again: doubled from the first to the second. */
  readonly errorWait?: readonly [first: number, most: number];
  /** The peer is our route reflection client (RFC 4456). false. */
  readonly routeReflectorClient?: boolean;
  /**
   * The next hop of what we pass on: `self` always ours, `keep` as received, `auto` ours towards
   * external peers and for our own routes, as received between internal ones (RFC 4271 5.1.3). auto.
   */
  readonly nextHop?: "auto" | "self" | "keep";
  /** Our own next hop per family; absent: our end of the session, for its own family. */
  readonly nextHops?: Readonly<Partial<Record<AddressFamily, Ip>>>;
  /** Seconds for which the peer shall keep our routes when we restart (RFC 4724); false: none. 120. */
  readonly gracefulRestart?: number | false;
  /** How often our own AS may stand in an AS_PATH that we accept. 0. */
  readonly allowLocalAs?: number;
  /** Most prefixes accepted per family; more ends the session with Cease 1 (RFC 4486). Absent: any. */
  readonly maxPrefixes?: number;
  /** What we take from the peer, and send it. Absent: everything. */
  readonly importFilter?: RouteFilter;
  readonly exportFilter?: RouteFilter;
}

/** Where a peer comes from: what may take its place when it leaves (`departures.ts`). */
export interface PeerOrigin {
  /** What asks for the session, e.g. `BGPPeer rack-1`; absent: the full mesh of all nodes. */
  readonly object?: string;
  /** The node at the other end, where it is one of the cluster's. A member of the mesh has one. */
  readonly node?: string;
}

/** A route as filters see it. */
export interface FilteredRoute {
  readonly prefix: Prefix;
  readonly attributes: Attributes;
  /** The route is one of our own (`Speaker.announce`), with the tag that it was announced under. */
  readonly local?: { readonly tag?: string };
  /** The peer that it was learned from. */
  readonly from?: { readonly peer: string; readonly as: number; readonly internal: boolean };
}

export type FilterVerdict =
  | { readonly accept: true; readonly attributes?: Attributes }
  | { readonly accept: false; readonly reason: string };

/**
 * A filter: judges a route and may give it other attributes. It must depend on its argument alone;
 * to change the rules, give the peer a filter with another `id`, and every route is judged again.
 */
export interface RouteFilter {
  readonly id: string;
  judge(route: FilteredRoute): FilterVerdict;
}

/** A route of our own. The AS_PATH is empty, the next hop ours, unless it says otherwise. */
export interface LocalRoute {
  readonly prefix: Prefix;
  /** Absent: each peer is told our end of its own session. */
  readonly nextHop?: Ip;
  readonly med?: number;
  readonly localPref?: number;
  /** As `aa:nn` in one number: the left half times 65536 plus the right one. */
  readonly communities?: readonly number[];
  readonly largeCommunities?: readonly (readonly [number, number, number])[];
  /** For filters and for people, e.g. `block`, `endpoint`, `service`. */
  readonly tag?: string;
}

/** One session, as `bgp peers` and `node status` show it. */
export interface PeerStatus {
  readonly name: string;
  readonly address: string;
  readonly port: number;
  readonly remoteAs: number;
  readonly localAs: number;
  readonly internal: boolean;
  readonly passive: boolean;
  readonly state: SessionState;
  /** When the session came to this state; milliseconds since 1970. */
  readonly since: number;
  /** Why it is there, in words. */
  readonly reason: string;
  /** The last thing that went wrong, in words, and when; kept when the session is up again. */
  readonly lastError?: { readonly text: string; readonly at: number };
  /** Set where the configuration itself is impossible: no session is tried. */
  readonly configError?: string;
  readonly localAddress?: string;
  readonly routerId?: string;
  /** Negotiated, seconds. */
  readonly holdTime?: number;
  readonly families: readonly AddressFamily[];
  /** Capabilities of the peer's OPEN, in words. */
  readonly capabilities: readonly string[];
  /** Seconds for which we keep the peer's routes when it restarts; absent: not negotiated. */
  readonly restartTime?: number;
  /** The peer is away and its routes are kept until then; milliseconds since 1970. */
  readonly staleUntil?: number;
  readonly prefixes: {
    readonly received: number;
    readonly accepted: number;
    readonly stale: number;
    readonly sent: number;
  };
  readonly messages: { readonly received: number; readonly sent: number };
  /** Connections and times established since the peer was configured. */
  readonly established: number;
  /** Attributes and routes that RFC 7606 had us drop, and the last one in words. */
  readonly malformed: { readonly count: number; readonly last?: string };
  readonly endOfRib: readonly AddressFamily[];
}

/** One route of the table, as `bgp routes` shows it. */
export interface RouteStatus {
  readonly prefix: string;
  readonly nextHop: string;
  /** The peer's name, or absent for a route of our own. */
  readonly peer?: string;
  readonly tag?: string;
  readonly best: boolean;
  /** One of several equally good ones (`multipath`). */
  readonly used: boolean;
  readonly stale: boolean;
  /** Why it is the best, or why it is not. */
  readonly reason: string;
  readonly origin: "igp" | "egp" | "incomplete";
  readonly asPath: string;
  readonly localPref?: number;
  readonly med?: number;
  readonly communities: readonly string[];
  readonly largeCommunities: readonly string[];
  readonly originatorId?: string;
  readonly clusterList: readonly string[];
  /** When it was learned in this form; milliseconds since 1970. */
  readonly since: number;
}

/** What became of the wish that a peer tell its routes again (RFC 2918). */
export interface RefreshAnswer {
  readonly name: string;
  readonly address: string;
  /** Whose routes it was asked for. */
  readonly families: readonly AddressFamily[];
  /** Why it was not asked. */
  readonly fault?: string;
}

/** One way to a prefix. */
export interface BestPath {
  readonly nextHop: Ip;
  /** For an IPv6 next hop on the link (RFC 2545). */
  readonly linkLocal?: Ip;
  readonly peer: string;
  readonly attributes: Attributes;
}

/**
 * The best way to a prefix has changed. `paths` holds the learned ways, the best first; it is empty
 * where the prefix is to be reached by no peer any more (withdrawn, or one of our own routes now).
 */
export interface BestRouteChange {
  readonly prefix: Prefix;
  readonly paths: readonly BestPath[];
}

/** What is known of a list of peers beside the peers. */
export interface PeerList {
  /** The nodes that there are; with a member of the mesh that is none of them any more, its routes go. */
  readonly nodes?: { has(name: string): boolean };
  /** It may lack some: until it is given anew the table is whole by `deferralTime` alone. */
  readonly provisional?: boolean;
}

/** What `Speaker` (speaker.ts) offers to the node service. */
export interface BgpSpeaker {
  /** Begins to listen and to call. */
  start(): void;
  /**
   * Ends all sessions. With `graceful` the connections are closed without NOTIFICATION, so that peers
   * with graceful restart keep our routes for a while; otherwise they are told Cease, with the reason
   * in words (RFC 9003), and drop them at once.
   */
  stop(options: { readonly graceful: boolean; readonly reason?: string }): void;
  /** Other AS, router ID or listeners: sessions are reset where the peer must be told. */
  configure(config: SpeakerConfig): void;
  /** The whole list of peers, in place of the former one. A bad peer gets a `configError`. */
  setPeers(peers: readonly PeerConfig[], about?: PeerList): void;
  /** All routes of our own, in place of the former ones. */
  announce(routes: readonly LocalRoute[]): void;
  /** Called once a turn with what has changed since; the returned function ends it. */
  onRoutes(call: (changes: readonly BestRouteChange[]) => void): () => void;
  /** Called when a session changes its state. */
  onPeers(call: (name: string) => void): () => void;
  /** Called, until `converged`, when `hasTold` holds of one more address. */
  onTold(call: () => void): () => void;
  /**
   * Whether all peers that have this address, and one at least, have told their tables since the start.
   * A route of the former process that leads to it and that nobody has announced again may go then.
   */
  hasTold(address: Ip): boolean;
  /**
   * Called once, when the table is as whole as it gets after a start: every peer has sent its
   * End-of-RIB, or `deferralTime` is over. Until then routes of the former process that nobody has
   * announced again should stay in the kernel, but for those of `hasTold`.
   */
  onConverged(call: () => void): void;
  readonly converged: boolean;
  /** Next hops may resolve otherwise now. */
  nextHopsChanged(): void;
  /** All addresses of this host, in place of the former ones: none is a next hop (RFC 4271 6.3). */
  setHostAddresses(addresses: readonly Ip[]): void;
  peers(): PeerStatus[];
  /**
   * Asks a peer to tell its routes again, without a reset. Nothing here needs it, for what peers have
   * said is kept and judged again when filters change: it is for people who doubt what a peer has sent.
   */
  refresh(name: string): RefreshAnswer;
  /** The table; of one prefix, or all. */
  routes(prefix?: Prefix): RouteStatus[];
  /** The best learned ways of all prefixes, as `onRoutes` has told them. */
  best(): BestRouteChange[];
  /** Sockets that could not be had, in words. */
  listenErrors(): string[];
  /** Callers of the last minutes that were refused because no peer has their address. */
  strangers(): Stranger[];
}
