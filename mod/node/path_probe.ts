/**
 * The clock and the sockets around `path_mtu.ts`: ICMP echo that must not be fragmented, to the address
 * of every other node. One packet is under way at a time, so a thousand nodes are a few packets a second
 * at the start and one every third of a second from then on.
 */
import { DatagramSocket } from "../../ffi/datagram.ts";
import { type Family, parseCidr, sameIp } from "../net/mod.ts";
import { echoRequest, ICMP, ICMPV6, readEchoReply } from "../net/icmp.ts";
import type { Log } from "./log.ts";
import {
  answered,
  beginSearch,
  narrowPath,
  nextSize,
  type PathPeer,
  type PathResult,
  PathSchedule,
  resultOf,
} from "./path_mtu.ts";
import type { ClusterState } from "./state.ts";

const IP_HEADER = { 4: 20, 6: 40 } as const;
/** A size is given up after so many packets, each waited for so long. */
const TRIES = 3, WAIT = 300;
/** Milliseconds until a path that is not good is looked at again, at most. */
const SOON = 15_000;
/** When nobody is there to be asked. */
const IDLE = 1000;

export interface PathProbeParts {
  readonly state: ClusterState;
  /** Bytes of the widest packet that this node sends to another. */
  readonly wireMtu: () => number;
  /** Milliseconds between two looks at a good path; 0: none is looked at. */
  readonly interval: number;
  readonly log: Log;
}

/** The other nodes' addresses. */
export function pathPeers(state: ClusterState, wanted: number): PathPeer[] {
  const peers: PathPeer[] = [];
  for (const [node, { spec }] of state.nodes) {
    if (node === state.nodeName) continue;
    for (const text of [spec.bgp?.ipv4Address, spec.bgp?.ipv6Address]) {
      const ip = text ? parseCidr(text)?.ip : undefined;
      if (ip) peers.push({ node, ip, wanted });
    }
  }
  return peers;
}

export class PathProbe {
  readonly #parts: PathProbeParts;
  readonly #schedule: PathSchedule;
  readonly #id = Math.floor(Math.random() * 0x10000);
  readonly #sockets = new Map<Family, DatagramSocket>();
  #sequence = 0;
  #waiting: { peer: PathPeer; sequence: number; heard: () => void } | undefined;
  #stopped = false;
  #wake: () => void = () => {};

  constructor(parts: PathProbeParts) {
    this.#parts = parts;
    const { interval } = parts;
    this.#schedule = new PathSchedule({ good: interval, other: Math.min(interval, SOON) });
  }

  start(): void {
    if (this.#parts.interval === 0) return;
    this.#run().catch((error) => this.#parts.log.error("path MTU probes ended", { error }));
  }

  stop(): void {
    this.#stopped = true;
    this.#wake();
    for (const socket of this.#sockets.values()) socket.close();
  }

  results(): { readonly peer: PathPeer; readonly result: PathResult }[] {
    return this.#schedule.results();
  }

  /** Paths that lose what this node may send, in words. */
  warnings(): string[] {
    return this.results().filter(({ result }) => result.verdict === "too narrow")
      .map(({ peer, result }) => narrowPath(peer, result));
  }

  async #run(): Promise<void> {
    const { state, wireMtu } = this.#parts;
    while (!this.#stopped) {
      this.#schedule.setPeers(pathPeers(state, wireMtu()), performance.now());
      const next = this.#schedule.next(performance.now());
      // Peers come and go, and the node's MTU may change: a look each second costs nothing.
      if (next === undefined || typeof next === "number") {
        await this.#sleep(Math.min(next ?? IDLE, IDLE));
        continue;
      }
      const result = await this.#measure(next);
      if (this.#stopped) return;
      const change = this.#schedule.done(next, result, performance.now());
      if (change) this.#tell(next, result, change.before);
    }
  }

  #tell(peer: PathPeer, result: PathResult, before: PathResult | undefined): void {
    const { log } = this.#parts;
    if (result.verdict === "too narrow") log.warn(narrowPath(peer, result));
    else if (result.verdict === "ok" && before?.verdict === "too narrow") {
      const { node, ip } = peer;
      log.info("the path passes all that this node sends again", { node, ip, ...result });
    }
  }

  async #measure(peer: PathPeer): Promise<PathResult> {
    let search = beginSearch(peer.wanted, peer.ip.family);
    for (let size; !this.#stopped && (size = nextSize(search)) !== undefined;) {
      search = answered(search, size, await this.#passes(peer, size));
    }
    return resultOf(search);
  }

  async #passes(peer: PathPeer, size: number): Promise<boolean> {
    for (let attempt = 0; attempt < TRIES && !this.#stopped; attempt++) {
      if (await this.#ask(peer, size)) return true;
    }
    return false;
  }

  async #ask(peer: PathPeer, size: number): Promise<boolean> {
    const { family } = peer.ip;
    const sequence = this.#sequence = this.#sequence + 1 & 0xffff;
    const request = echoRequest(family, this.#id, sequence, size - IP_HEADER[family]);
    let yes = false;
    const told = this.#sleep(WAIT);
    this.#waiting = {
      peer,
      sequence,
      heard: () => {
        yes = true;
        this.#wake();
      },
    };
    // What the node's own interface does not take is refused here at once.
    if (!this.#socket(family).send(peer.ip, 0, request)) this.#wake();
    await told;
    this.#waiting = undefined;
    return yes;
  }

  #socket(family: Family): DatagramSocket {
    let socket = this.#sockets.get(family);
    if (!socket) {
      const protocol = family === 4 ? ICMP : ICMPV6;
      socket = new DatagramSocket({ family, protocol, dontFragment: true }, ({ ip, bytes }) => {
        const waiting = this.#waiting;
        if (!waiting || !sameIp(ip, waiting.peer.ip)) return;
        const reply = readEchoReply(family, bytes);
        if (reply?.id === this.#id && reply.sequence === waiting.sequence) waiting.heard();
      });
      this.#sockets.set(family, socket);
    }
    return socket;
  }

  #sleep(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
