/**
 * Who this node's BGP peers are: Node, BGPConfiguration and BGPPeer resources to the speaker's
 * configuration, as Calico's confd makes BIRD's (section numbers are of Calico's data model):
 *
 *   mesh (8.2)        everyone with everyone, per family, while nodeToNodeMeshEnabled; a node with a
 *                     route reflector cluster ID is out of it
 *   explicit (8.3)    global BGPPeers first, then those of nodes; one session for each address and port,
 *                     the first one counts; a peerSelector gives sessions at both ends
 *
 * One session carries one family, over that family's addresses. Of two nodes the one whose address is
 * the smaller text waits: a comparison of numbers would meet real Calico's comparison of texts with
 * both ends waiting. An address that several Nodes claim is the eldest's, as every node sees it, and
 * this node's own is its own. What cannot be made a session becomes a problem that names its object,
 * and nothing else suffers from it; a port or a time that cannot be is passed over for the default. Pure.
 */
import { createHash } from "node:crypto";
import { checkPeer } from "../../bgp/check_peer.ts";
import type { AddressFamily, ListenConfig, PeerConfig, RouteFilter } from "../../bgp/config.ts";
import {
  type BGPConfiguration,
  DEFAULT_AS_NUMBER,
  DEFAULT_BGP_PORT,
} from "../model/bgp_configuration.ts";
import type { BGPFilter } from "../model/bgp_filter.ts";
import { type BGPPeer, parsePeerAddress } from "../model/bgp_peer.ts";
import { durationSeconds } from "../model/duration.ts";
import type { Node } from "../model/node.ts";
import { formatIp, hostPrefix, type Ip, parseCidr, parseIp, type Prefix } from "../net/mod.ts";
import { parseSelector, SelectorError } from "../selector/selector.ts";
import { filterProblems, routeFilter, rulesOf } from "./bgp_filter.ts";
import { byAge } from "./node_age.ts";

export interface PeeringInput {
  readonly nodeName: string;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly bgpConfigurations: ReadonlyMap<string, BGPConfiguration>;
  readonly bgpPeers: ReadonlyMap<string, BGPPeer>;
  readonly bgpFilters?: ReadonlyMap<string, BGPFilter>;
  /** CALICO_ROUTER_ID: `hash`, an IPv4 address, or nothing for the node's IPv4 address. */
  readonly routerId?: string;
  /** Listens here whatever the BGPConfiguration says (nodes that share a machine). */
  readonly listenPort?: number;
  /** Seconds; absent: the speaker's default. */
  readonly holdTime?: number;
  /** The value of a Secret's key in Calico's namespace; undefined where there is none. */
  readonly secret?: (name: string, key: string) => string | undefined;
  /** What stands behind the peers' own export filters (`export_policy.ts`). */
  readonly exportPolicy?: RouteFilter;
}

export interface NodePeer {
  readonly config: PeerConfig;
  /** Names of BGPFilters with rules for this session's family. */
  readonly filters: readonly string[];
}

export interface Problem {
  /** `BGPPeer rack-1`. */
  readonly object: string;
  readonly message: string;
}

export interface Peering {
  readonly as: number;
  /** Absent where the node has no address and no router ID is configured. */
  readonly routerId?: Ip;
  readonly clusterId?: Ip;
  readonly listen: readonly ListenConfig[];
  readonly peers: readonly NodePeer[];
  /** Peers that are reached by a router of their own (reachableBy). */
  readonly reachable: readonly { readonly prefix: Prefix; readonly via: Ip }[];
  readonly problems: readonly Problem[];
}

const FAMILIES = ["ipv4", "ipv6"] as const;

/** A node's address of a family, whatever prefix length it is written with. */
export function nodeAddressOf(node: Node | undefined, family: AddressFamily): Ip | undefined {
  const bgp = node?.spec.bgp;
  const text = family === "ipv4" ? bgp?.ipv4Address : bgp?.ipv6Address;
  if (!text) return undefined;
  const ip = text.includes("/") ? parseCidr(text)?.ip : parseIp(text);
  return ip?.family === (family === "ipv4" ? 4 : 6) ? ip : undefined;
}

/** Four bytes of the node name's SHA-256, outside of the multicast range, as Calico has it. */
export function hashedRouterId(nodeName: string): Ip {
  const bytes = new Uint8Array(createHash("sha256").update(nodeName).digest().subarray(0, 4));
  if (bytes[0] > 223) bytes[0] -= 32;
  return { family: 4, bytes };
}

export function peering(input: PeeringInput): Peering {
  return new PeeringMaker(input).make();
}

/** A session in the making: the remote end, and how it came to be. */
interface Session {
  readonly kind: "Mesh" | "Global" | "Node";
  readonly address: Ip;
  readonly port?: number;
  readonly as: number;
  /** The Calico node at the other end. */
  readonly node?: Node;
  /** Chosen by peerIP. */
  readonly byAddress?: boolean;
  readonly peer?: BGPPeer;
}

interface Named {
  readonly metadata: { readonly name: string };
}

/** The BGPConfiguration that holds for all nodes. */
const DEFAULT: Named = { metadata: { name: "default" } };

class PeeringMaker {
  readonly #problems: Problem[] = [];
  readonly #said = new Set<string>();
  readonly #global: BGPConfiguration["spec"];
  readonly #me: Node | undefined;
  /** Whose an address is: the name of a Node. */
  readonly #owners: ReadonlyMap<string, string>;
  /** What BGPPeers are called in the datastore. */
  readonly #peerNames: ReadonlyMap<BGPPeer, string>;

  constructor(readonly input: PeeringInput) {
    this.#global = input.bgpConfigurations.get("default")?.spec ?? ({} as BGPConfiguration["spec"]);
    this.#me = input.nodes.get(input.nodeName);
    this.#owners = this.#findOwners();
    this.#peerNames = new Map([...input.bgpPeers].map(([name, peer]) => [peer, name]));
  }

  #findOwners(): Map<string, string> {
    const { nodeName } = this.input;
    const all = byAge(this.input.nodes);
    const isMine = ([name]: [string, Node]) => name === nodeName;
    const owners = new Map<string, string>();
    for (const [name, node] of [...all.filter(isMine), ...all.filter((one) => !isMine(one))]) {
      for (const family of FAMILIES) {
        const address = nodeAddressOf(node, family);
        if (!address) continue;
        const owner = owners.get(formatIp(address));
        if (owner === undefined) owners.set(formatIp(address), name);
        else {
          const whose = owner === nodeName ? "this node's own" : `the Node ${owner}'s already`;
          this.#problems.push({
            object: `Node ${name}`,
            message: `its address ${formatIp(address)} is ${whose}, so it gets no BGP session; ` +
              "give it another address, or delete it if that machine is gone",
          });
        }
      }
    }
    return owners;
  }

  make(): Peering {
    const { input } = this;
    const explicit = this.#explicit();
    const taken = new Set(explicit.map(sessionKey));
    const sessions = [...this.#mesh().filter((s) => !taken.has(sessionKey(s))), ...explicit];
    const peers = sessions.map((session) => this.#peer(session))
      .filter((peer) => peer !== undefined);
    for (const filter of input.bgpFilters?.values() ?? []) {
      for (const message of filterProblems(filter)) this.#say("BGPFilter", filter, message);
    }
    const cluster = this.#clusterId(this.#me);
    return {
      as: this.#asOf(this.#me),
      routerId: this.#routerId(),
      clusterId: cluster === undefined ? undefined : parseIp(cluster),
      listen: this.#listen(),
      peers,
      reachable: this.#reachable(sessions),
      problems: this.#problems,
    };
  }

  /** Once, however many sessions it concerns. */
  #say(kind: string, { metadata: { name } }: Named, message: string): void {
    const text = `${kind} ${name}: ${message}`;
    if (this.#said.has(text)) return;
    this.#said.add(text);
    this.#problems.push({ object: `${kind} ${name}`, message });
  }

  #asOf(node: Node | undefined): number {
    return node?.spec.bgp?.asNumber ?? this.#global.asNumber ?? DEFAULT_AS_NUMBER;
  }

  #clusterId(node: Node | undefined): string | undefined {
    return node?.spec.bgp?.routeReflectorClusterID || undefined;
  }

  /** The port that a node listens on, where it is configured. */
  #portOf(nodeName: string): number | undefined {
    const own = this.input.bgpConfigurations.get(`node.${nodeName}`)?.spec.listenPort;
    return [own, this.#global.listenPort]
      .find((port) => Number.isInteger(port) && port! >= 1 && port! <= 65535);
  }

  #routerId(): Ip | undefined {
    const { routerId, nodeName } = this.input;
    if (routerId === "hash") return hashedRouterId(nodeName);
    if (routerId) {
      const ip = parseIp(routerId);
      if (ip?.family === 4) return ip;
      this.#problems.push({
        object: "CALICO_ROUTER_ID",
        message: `"${routerId}" is neither hash nor an IPv4 address; the node's own is taken`,
      });
    }
    const own = nodeAddressOf(this.#me, "ipv4");
    if (own) return own;
    return nodeAddressOf(this.#me, "ipv6") && hashedRouterId(nodeName);
  }

  #listen(): ListenConfig[] {
    const { nodeName, listenPort } = this.input;
    const port = listenPort ?? this.#portOf(nodeName) ?? DEFAULT_BGP_PORT;
    const own = this.input.bgpConfigurations.get(`node.${nodeName}`)?.spec.bindMode;
    const bound = (own ?? this.#global.bindMode) === "NodeIP";
    return FAMILIES.flatMap((family): ListenConfig[] => {
      const address = nodeAddressOf(this.#me, family);
      if (!address) return [];
      return [{ family: address.family, port, ...(bound ? { address } : {}) }];
    });
  }

  #mesh(): Session[] {
    if (this.#global.nodeToNodeMeshEnabled === false || this.#clusterId(this.#me)) return [];
    const sessions: Session[] = [];
    for (const [name, node] of sorted(this.input.nodes)) {
      if (name === this.input.nodeName || this.#clusterId(node)) continue;
      sessions.push(...this.#toNode("Mesh", name, node));
    }
    return sessions;
  }

  /** Sessions to another node: one for each family that both ends have. */
  #toNode(kind: Session["kind"], name: string, node: Node, peer?: BGPPeer): Session[] {
    return FAMILIES.flatMap((family): Session[] => {
      const address = nodeAddressOf(node, family), port = this.#portOf(name);
      if (!address || !nodeAddressOf(this.#me, family)) return [];
      if (this.#owners.get(formatIp(address)) !== name) return [];
      return [{ kind, address, port, as: this.#asOf(node), node, peer }];
    });
  }

  #explicit(): Session[] {
    const sessions = new Map<string, Session>();
    const add = (session: Session) => {
      const key = sessionKey(session);
      if (!sessions.has(key) && !this.#isMine(session.address)) sessions.set(key, session);
    };
    const peers = sorted(this.input.bgpPeers).map(([, peer]) => peer)
      .filter((peer) => this.#supported(peer));
    const isGlobal = ({ spec }: BGPPeer) => !spec.node && !spec.nodeSelector;
    for (const kind of ["Global", "Node"] as const) {
      for (const peer of peers.filter((p) => isGlobal(p) === (kind === "Global"))) {
        if (!this.#locals(peer).has(this.input.nodeName)) continue;
        for (const session of this.#remotes(peer, kind)) add(session);
      }
    }
    for (const peer of peers) {
      const { peerSelector, reversePeering } = peer.spec;
      if (!peerSelector || reversePeering === "Manual") continue;
      if (!this.#selected(peer, "peerSelector", peerSelector).has(this.input.nodeName)) continue;
      for (const [name, node] of this.#locals(peer)) {
        if (name === this.input.nodeName) continue;
        for (const session of this.#toNode("Node", name, node, peer)) add(session);
      }
    }
    return [...sessions.values()];
  }

  #supported(peer: BGPPeer): boolean {
    if (!peer.spec.localWorkloadSelector) return true;
    this.#say(
      "BGPPeer",
      peer,
      "sessions with local workloads (localWorkloadSelector) are not supported; it is ignored",
    );
    return false;
  }

  /** The nodes that a BGPPeer speaks of as its own end. */
  #locals(peer: BGPPeer): ReadonlyMap<string, Node> {
    const { node, nodeSelector } = peer.spec;
    if (node) {
      const found = this.input.nodes.get(node);
      return new Map(found ? [[node, found]] : []);
    }
    if (nodeSelector) return this.#selected(peer, "nodeSelector", nodeSelector);
    return this.input.nodes;
  }

  #selected(peer: BGPPeer, field: string, text: string): ReadonlyMap<string, Node> {
    try {
      const selector = parseSelector(text);
      return new Map(
        sorted(this.input.nodes).filter(([, n]) => selector.matches(n.metadata.labels ?? {})),
      );
    } catch (error) {
      if (!(error instanceof SelectorError)) throw error;
      this.#say("BGPPeer", peer, `spec.${field}: ${error.message}`);
      return new Map();
    }
  }

  #remotes(peer: BGPPeer, kind: "Global" | "Node"): Session[] {
    const { peerIP, peerSelector, asNumber } = peer.spec;
    if (peerSelector) {
      return [...this.#selected(peer, "peerSelector", peerSelector)]
        .flatMap(([name, node]) => this.#toNode(kind, name, node, peer));
    }
    if (!peerIP) {
      this.#say("BGPPeer", peer, "neither peerIP nor peerSelector says who the peer is");
      return [];
    }
    const at = parsePeerAddress(peerIP);
    if (!at) {
      this.#say(
        "BGPPeer",
        peer,
        `spec.peerIP: "${peerIP}" is no address with or without port (1 to 65535), so there is no session`,
      );
      return [];
    }
    const family = at.ip.family === 4 ? "ipv4" : "ipv6";
    if (!nodeAddressOf(this.#me, family)) return [];
    const found = this.#nodeAt(at.ip);
    const as = asNumber ?? this.#global.asNumber ?? DEFAULT_AS_NUMBER;
    const port = at.port ??
      (found && this.#asOf(found[1]) === as ? this.#portOf(found[0]) : undefined);
    return [{ kind, address: at.ip, port, as, node: found?.[1], byAddress: true, peer }];
  }

  #nodeAt(ip: Ip): [string, Node] | undefined {
    const name = this.#owners.get(formatIp(ip));
    return name === undefined ? undefined : [name, this.input.nodes.get(name)!];
  }

  #isMine(ip: Ip): boolean {
    const own = nodeAddressOf(this.#me, ip.family === 4 ? "ipv4" : "ipv6");
    return own !== undefined && formatIp(own) === formatIp(ip);
  }

  #peer(session: Session): NodePeer | undefined {
    const { kind, address, port, as, peer, node } = session;
    const spec = peer?.spec;
    const family = address.family === 4 ? "ipv4" : "ipv6";
    const own = nodeAddressOf(this.#me, family)!;
    const localAs = spec?.localASNumber || this.#asOf(this.#me);
    const internal = localAs === as;
    const cluster = this.#clusterId(this.#me);
    const password = this.#password(peer);
    if (password === "missing") return undefined;
    const filters = this.#filters(peer, family, internal);
    const keepalive = this.#keepaliveTime(peer);
    const restart = this.#restartTime(peer);
    const mode = spec?.nextHopMode ?? (spec?.keepOriginalNextHop && !internal ? "Keep" : "Auto");
    const waits = formatIp(own) < formatIp(address);
    const config: PeerConfig = {
      name: sessionName(session),
      address,
      origin: {
        ...(peer ? { object: `BGPPeer ${this.#peerNames.get(peer)}` } : {}),
        ...(node ? { node: this.#owners.get(formatIp(address)) } : {}),
      },
      port: port ?? DEFAULT_BGP_PORT,
      remoteAs: as,
      ...(spec?.localASNumber ? { localAs: spec.localASNumber } : {}),
      ...(spec?.sourceAddress === "None" ? {} : { source: own }),
      passive: waits &&
        (kind === "Mesh" || (kind === "Global" && !!session.byAddress && node !== undefined)),
      ...(password === undefined ? {} : { password }),
      ...(spec?.ttlSecurity ? { ttlSecurity: spec.ttlSecurity } : {}),
      families: [family],
      ...(this.input.holdTime === undefined ? {} : { holdTime: this.input.holdTime }),
      ...(keepalive === undefined ? {} : { keepaliveTime: keepalive }),
      ...(restart === undefined ? {} : { gracefulRestart: Math.min(4095, Math.round(restart)) }),
      routeReflectorClient: cluster !== undefined && internal && this.#clusterId(node) !== cluster,
      nextHop: ({ Auto: "auto", Self: "self", Keep: "keep" } as const)[mode],
      allowLocalAs: Math.max(0, spec?.numAllowedLocalASNumbers ?? 0),
      importFilter: filters.importFilter,
      exportFilter: filters.exportFilter,
    };
    const fault = checkPeer(config, this.#asOf(this.#me));
    if (fault !== undefined) {
      if (peer) this.#say("BGPPeer", peer, `there is no session: ${fault}`);
      else if (node) this.#say("Node", node, `there is no session: ${fault}`);
    }
    return { config, filters: filters.names };
  }

  #keepaliveTime(peer: BGPPeer | undefined): number | undefined {
    const text = peer?.spec.keepaliveTime;
    const time = seconds(text);
    if (time === undefined || time > 0) return time;
    this.#say("BGPPeer", peer!, `spec.keepaliveTime: ${text} is not above 0; the default holds`);
    return undefined;
  }

  #restartTime(peer: BGPPeer | undefined): number | undefined {
    const text = peer ? peer.spec.maxRestartTime : this.#global.nodeMeshMaxRestartTime;
    const time = seconds(text);
    if (time === undefined || time >= 0) return time;
    const message = `${text} is below 0; the default holds`;
    if (peer) this.#say("BGPPeer", peer, `spec.maxRestartTime: ${message}`);
    else this.#say("BGPConfiguration", DEFAULT, `spec.nodeMeshMaxRestartTime: ${message}`);
    return undefined;
  }

  /** The session's password; "missing" where one is asked for that cannot be had. */
  #password(peer: BGPPeer | undefined): string | undefined {
    const holder = peer ? peer.spec.password : this.#global.nodeMeshPassword;
    const reference = holder?.secretKeyRef;
    if (!reference) return undefined;
    const { name = "", key, optional } = reference;
    const value = this.input.secret?.(name, key);
    if (value !== undefined || optional) return value;
    this.#problems.push({
      object: peer ? `BGPPeer ${peer.metadata.name}` : "BGPConfiguration default",
      message: `the password is in key ${key} of the Secret ${name}, which cannot be read; ` +
        "without it there is no session",
    });
    return "missing";
  }

  #filters(peer: BGPPeer | undefined, family: AddressFamily, internal: boolean) {
    const { bgpFilters, exportPolicy } = this.input;
    const named = peer?.spec.filters ?? [];
    const found: BGPFilter[] = [];
    for (const name of named) {
      const filter = bgpFilters?.get(name);
      if (filter) found.push(filter);
      else {
        const message = `the BGPFilter ${name} does not exist; no route passes until it does`;
        this.#say("BGPPeer", peer!, message);
        const refuse: RouteFilter = {
          id: `missing ${name}`,
          judge: () => ({ accept: false, reason: `the BGPFilter ${name} does not exist` }),
        };
        return { names: named, importFilter: refuse, exportFilter: refuse };
      }
    }
    const rules = (direction: "import" | "export") =>
      found.flatMap((filter) => rulesOf(filter, direction, family));
    return {
      names: found.filter((filter) =>
        rulesOf(filter, "import", family).length + rulesOf(filter, "export", family).length > 0
      ).map((filter) => filter.metadata.name),
      importFilter: routeFilter(rules("import"), { internal }),
      exportFilter: routeFilter(rules("export"), { internal }, exportPolicy),
    };
  }

  #reachable(sessions: readonly Session[]): { prefix: Prefix; via: Ip }[] {
    return sessions.flatMap(({ address, peer }) => {
      const via = peer?.spec.reachableBy ? parseIp(peer.spec.reachableBy) : undefined;
      return via?.family === address.family ? [{ prefix: hostPrefix(address), via }] : [];
    });
  }
}

function sorted<T>(map: ReadonlyMap<string, T>): [string, T][] {
  return [...map].sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0);
}

function sessionKey({ address, port }: Session): string {
  return `${formatIp(address)} ${port ?? DEFAULT_BGP_PORT}`;
}

/** As confd names BIRD's protocols: `Mesh_10_0_0_2`, `Global_fd00__2_port_1179`. */
function sessionName({ kind, address, port }: Session): string {
  const text = formatIp(address).replace(/[.:]/g, "_");
  return `${kind}_${text}${kind !== "Mesh" && port !== undefined ? `_port_${port}` : ""}`;
}

/** A duration of a resource in seconds. */
function seconds(text: string | undefined): number | undefined {
  return text === undefined ? undefined : durationSeconds(text);
}

/** The communities of prefixAdvertisements, names resolved; a node's own list replaces the global. */
export function advertisements(
  nodeName: string,
  configurations: ReadonlyMap<string, BGPConfiguration>,
): { prefix: Prefix; communities: string[] }[] {
  const own = configurations.get(`node.${nodeName}`)?.spec;
  const global = configurations.get("default")?.spec;
  const from = own?.prefixAdvertisements?.length ? own : global;
  const values = new Map(
    [...(global?.communities ?? []), ...(own?.communities ?? [])].map((c) => [c.name, c.value]),
  );
  return (from?.prefixAdvertisements ?? []).flatMap(({ cidr, communities }) => {
    const prefix = parseCidr(cidr)?.prefix;
    const resolved = communities.map((c) => values.get(c) ?? c);
    return prefix ? [{ prefix, communities: resolved }] : [];
  });
}

/** What `Speaker.setPeers` takes. */
export function peerConfigs(peering: Peering): PeerConfig[] {
  return peering.peers.map((peer) => peer.config);
}
