/**
 * The node's BGP speaker: made of the datastore's objects, told again at each turn, and asked for what
 * it has learned. The speaker itself finds what has changed.
 *
 * After a start the kernel still holds what the process before us had learned. Those routes stay until
 * the speaker has converged (every peer has told its table, or the deferral is over): a restart
 * withdraws nothing. What a peer has said to this process and takes back goes at once all the same, and
 * so does what leads to a peer that has told its table without it, whoever else is still missing.
 *
 * Where the kernel holds nothing of ours (a machine that has been booted), nothing is taken over: peers
 * are not told of a restart, and nobody waits for anybody.
 */
import { Speaker } from "../../bgp/speaker.ts";
import type {
  BestRouteChange,
  PeerStatus,
  RefreshAnswer,
  RouteStatus,
  SpeakerConfig,
} from "../../bgp/config.ts";
import {
  formatIp,
  formatPrefix,
  type Ip,
  isLinkLocal,
  mustIp,
  parseIp,
  type Prefix,
} from "../net/mod.ts";
import { resourceKey } from "../model/keys.ts";
import { nodeKind } from "../model/node.ts";
import { localRoutes } from "./announce.ts";
import { NodeTransport, systemClock } from "./bgp_transport.ts";
import type { BgpService } from "./agent.ts";
import type { NodeConfig } from "./config.ts";
import type { Log } from "./log.ts";
import { exportPolicy } from "./export_policy.ts";
import { advertisements, peerConfigs, type Peering, peering } from "./peering.ts";
import type { ClusterState, Topic } from "./state.ts";

/** Topics from which peers and policy follow; from endpoints, only what is announced. */
const CONCERNING: readonly Topic[] = ["nodes", "bgp", "blocks", "pools"];

/** Seconds after a cold start in which peers may still come before the table counts as whole. */
const COLD_DEFERRAL = 2;

/** What the speaker asks of the kernel's side. */
export interface NextHops {
  resolve(nextHop: Ip): { metric: number } | undefined;
  interfaceTo(address: Ip): string | undefined;
  hostAddresses(): readonly Ip[];
}

export class BgpPart implements BgpService {
  #speaker: Speaker | undefined;
  #config = "";
  #learned = new Map<string, BestRouteChange>();
  /** Keys that this process has learned before it had converged. */
  readonly #heard = new Set<string>();
  #started = false;
  /** The datastore's state has been taken in. */
  #told = false;
  #routerId = "";
  #warnings: string[] = [];
  /** All learned routes are others now: a turn is wanted. */
  onChange: () => void = () => {};
  /** Learned routes have changed under these keys: a turn is wanted. */
  onLearned: (keys: readonly string[]) => void = () => {};

  constructor(
    readonly config: NodeConfig,
    readonly log: Log,
    readonly nextHops: () => NextHops,
    /** The kernel has gone on forwarding what a process before us had written. */
    readonly takesOver: boolean,
  ) {}

  /** From now on `update` makes and feeds the speaker. */
  start(): void {
    this.#started = true;
    this.onChange();
  }

  /** From the last state on disk: peers that came just before the end of the process before may lack. */
  begin(last: ClusterState): void {
    if (this.#started) this.#take(last, true);
  }

  update(state: ClusterState, topics?: ReadonlySet<Topic>): void {
    if (!this.#started) return;
    // In a large cluster this takes milliseconds: not for a changed label, nor for one more pod.
    const concerned = !topics || !this.#told || CONCERNING.some((topic) => topics.has(topic));
    if (concerned) {
      this.#told = true;
      this.#take(state, false);
    } else if (topics.has("endpoints")) this.#speaker?.announce(localRoutes(state));
  }

  #take(state: ClusterState, provisional: boolean): void {
    const { config } = this;
    const wanted = peering({
      nodeName: config.nodeName,
      nodes: state.nodes,
      bgpConfigurations: state.bgpConfigurations,
      bgpPeers: state.bgpPeers,
      bgpFilters: state.bgpFilters,
      routerId: config.routerId || undefined,
      listenPort: config.bgpPort,
      holdTime: config.bgpHoldTime,
      exportPolicy: exportPolicy({
        pools: state.poolPrefixes().map(({ prefix, pool }) => ({
          prefix,
          disableBGPExport: pool.spec.disableBGPExport ?? false,
        })),
        blocks: state.ownBlocks(),
        advertisements: advertisements(config.nodeName, state.bgpConfigurations),
      }),
    });
    this.#warnings = wanted.problems.map((p) => `${p.object}: ${p.message}`);
    if (!wanted.routerId) {
      const broken = state.broken.get(resourceKey(nodeKind, config.nodeName));
      const why = state.nodes.has(config.nodeName)
        ? "this node has no BGP address"
        : broken
        ? `the Node "${config.nodeName}" cannot be read: ${broken}`
        : `the Node "${config.nodeName}" is not in the datastore; restart the service to register it`;
      this.#warnings.push(`BGP is not spoken: ${why}`);
      this.#end(why);
      return;
    }
    this.#routerId = formatIp(wanted.routerId);
    this.#configure(wanted, wanted.routerId);
    this.#speaker!.setPeers(peerConfigs(wanted), { nodes: state.nodes, provisional });
    this.#speaker!.announce(localRoutes(state));
  }

  #configure({ as, clusterId, listen }: Peering, routerId: Ip): void {
    const plain = { as, routerId, clusterId, listen };
    const config: SpeakerConfig = {
      ...plain,
      restarting: this.takesOver,
      deferralTime: this.takesOver ? undefined : COLD_DEFERRAL,
      resolveNextHop: (nextHop) => this.nextHops().resolve(nextHop),
    };
    const text = JSON.stringify(plain, (_k, v) => v instanceof Uint8Array ? [...v] : v);
    if (this.#speaker) {
      if (text !== this.#config) this.#speaker.configure(config);
      this.#config = text;
      return;
    }
    this.#config = text;
    const speaker = new Speaker(config, {
      transport: new NodeTransport(),
      clock: systemClock,
      log: (level, message) => level === "info" ? this.log.info(message) : this.log.warn(message),
    });
    this.#speaker = speaker;
    speaker.onRoutes((changes) => {
      const keys: string[] = [];
      for (const change of changes) {
        const key = formatPrefix(change.prefix);
        keys.push(key);
        if (!speaker.converged) this.#heard.add(key);
        if (change.paths.length === 0) this.#learned.delete(key);
        else this.#learned.set(key, change);
      }
      this.onLearned(keys);
    });
    speaker.onTold(() => this.onSettled());
    speaker.onConverged(() => {
      this.log.info("BGP has converged");
      this.#heard.clear();
      this.onSettled();
    });
    this.hostAddressesChanged();
    speaker.start();
  }

  /** Learned routes of the process before us may go now of which `mayForget` says so, in a turn. */
  onSettled: () => void = () => {};

  #end(why: string): void {
    if (!this.#speaker) return;
    this.log.warn("BGP ends", { why });
    this.#speaker.stop({ graceful: false, reason: why });
    this.#speaker = undefined;
    this.#learned = new Map();
    this.#config = "";
    this.onChange();
  }

  /** Without NOTIFICATION: peers with graceful restart keep forwarding to us meanwhile. */
  stop(): void {
    this.#speaker?.stop({ graceful: true });
    this.#speaker = undefined;
  }

  /** By canonical prefix, as it is from now on. */
  learned(): ReadonlyMap<string, BestRouteChange> {
    return this.#learned;
  }

  /** Whether a learned route by these gateways may leave the kernel when nobody announces it. */
  mayForget(key: string, gateways: readonly (Ip | undefined)[]): boolean {
    const speaker = this.#speaker;
    if (!speaker) return false;
    return speaker.converged || this.#heard.has(key) ||
      (gateways.length > 0 && gateways.every((ip) => ip !== undefined && speaker.hasTold(ip)));
  }

  nextHopsChanged(): void {
    this.#speaker?.nextHopsChanged();
  }

  hostAddressesChanged(): void {
    if (!this.#speaker) return;
    // One link's own may be another host's on another link.
    const addresses = this.nextHops().hostAddresses().filter((ip) => !isLinkLocal(ip));
    this.#speaker.setHostAddresses(addresses);
  }

  peers(): PeerStatus[] {
    return this.#speaker?.peers() ?? [];
  }

  routes(prefix?: Prefix): RouteStatus[] {
    return this.#speaker?.routes(prefix) ?? [];
  }

  /** Asks the peers with this name or address, or all, to tell their routes again. */
  refresh(peer?: string): RefreshAnswer[] {
    const ip = peer === undefined ? undefined : parseIp(peer);
    const address = ip ? formatIp(ip) : peer;
    return this.peers()
      .filter((p) => peer === undefined || p.name === peer || p.address === address)
      .map((p) => this.#speaker!.refresh(p.name));
  }

  routerId(): string {
    return this.#routerId;
  }

  /** What is wrong besides peers that are down: settings that cannot be, ports, strangers. */
  problems(): string[] {
    return [
      ...this.#warnings,
      ...this.#speaker?.listenErrors() ?? [],
      ...this.#speaker?.strangers().map(({ address, calls }) =>
        `BGP calls from ${address}, which is no peer of this node, are refused (${calls} so far); ` +
        "if it is to be one, give the BGPPeer or Node that address"
      ) ?? [],
    ];
  }

  /** All of that, and the peers that are down, in words. */
  warnings(): string[] {
    const down = this.peers().filter((p) => p.state !== "Established");
    return [...this.problems(), ...down.map((peer) => this.#downText(peer))];
  }

  /** `BGP with 10.0.0.2 (from 10.0.0.1 by eth0) is Active: TCP refused: …`. */
  #downText(peer: PeerStatus): string {
    const { address, state, configError, lastError, reason } = peer;
    const way = `${address} (${this.wayTo(peer)})`;
    return `BGP with ${way} is ${state}: ${configError ?? lastError?.text ?? reason}`;
  }

  /** The address and the interface that we call a peer with: `from 10.0.0.1 by eth0`. */
  wayTo({ address, localAddress }: PeerStatus): string {
    const link = this.nextHops().interfaceTo(mustIp(address));
    return [
      ...localAddress ? [`from ${localAddress}`] : [],
      link ? `by ${link}` : "no route leads there",
    ].join(" ");
  }
}
