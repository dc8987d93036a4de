/**
 * Many connections tried at once, out of many network namespaces, by this one process: raw sockets of
 * every address and protocol, which ask and answer alike. A try has got through when its answer is
 * back; that its first packet reached the other end is noted too, so that a packet that should never
 * have come out is seen even where its answer is lost. TCP is answered by the kernel of the other end
 * (SYN-ACK, or RST where nobody listens), UDP and SCTP here.
 */
import { DatagramSocket } from "../../ffi/datagram.ts";
import { libc } from "../../ffi/libc.ts";
import { libnl } from "../../ffi/libnl.ts";
import type { Netns } from "../../ffi/netns.ts";
import { formatIp, type Ip, mustIp } from "../../mod/net/mod.ts";
import {
  answerTo,
  keyOf,
  packetOf,
  type Probe,
  type Protocol,
  protocolNumbers,
  readPacket,
} from "./packets.ts";

// Opened here, so that no test is blamed for a library that stays.
libc();
libnl();

interface Fate {
  arrived: boolean;
  answered: boolean;
}

/** How it went: of each try whether its first packet arrived, and whether the answer came back. */
export type Fates = ReadonlyMap<Probe, Fate>;

/** Milliseconds for what should not come, after all that should has come. */
const GRACE = 40;

export class Prober {
  /** By address and protocol. */
  readonly #sockets = new Map<string, DatagramSocket>();
  readonly #fates = new Map<string, Fate>();
  #heard = () => {};

  /** Asks and answers at the addresses of a namespace from now on. */
  add(netns: Netns, addresses: readonly string[]): void {
    for (const address of addresses) {
      const ip = mustIp(address);
      for (const protocol of ["TCP", "UDP", "SCTP"] as const) {
        const socket: DatagramSocket = new DatagramSocket(
          {
            family: ip.family,
            protocol: protocolNumbers[protocol],
            netns,
            local: { ip, port: 0 },
            receiveBuffer: 1 << 22,
          },
          ({ ip: from, bytes }) => this.#receive(socket, protocol, from, address, bytes),
        );
        this.#sockets.set(`${address} ${protocol}`, socket);
      }
    }
  }

  remove(addresses: readonly string[]): void {
    for (const address of addresses) {
      for (const protocol of ["TCP", "UDP", "SCTP"] as const) {
        this.#sockets.get(`${address} ${protocol}`)?.close();
        this.#sockets.delete(`${address} ${protocol}`);
      }
    }
  }

  #receive(
    socket: DatagramSocket,
    protocol: Protocol,
    from: Ip,
    to: string,
    bytes: Uint8Array<ArrayBuffer>,
  ): void {
    const packet = bytes.subarray(from.family === 4 ? (bytes[0] & 15) * 4 : 0);
    const read = readPacket(protocol, packet);
    if (read.is === "other") return;
    const other = formatIp(from);
    const probe: Probe = read.is === "question"
      ? { source: other, destination: to, protocol, sourcePort: read.from, port: read.to }
      : { source: to, destination: other, protocol, sourcePort: read.to, port: read.from };
    const fate = this.#fates.get(keyOf(probe));
    if (!fate) return;
    if (read.is === "answer") fate.answered = true;
    else {
      fate.arrived = true;
      const answer = answerTo(probe);
      if (answer) socket.send(from, 0, answer);
    }
    this.#heard();
  }

  /**
   * Sends all first packets, and waits until those that are expected to be answered are, or `limit`
   * milliseconds are over; the others have had the same time and `grace` more.
   */
  async probe(
    probes: readonly Probe[],
    expected: (probe: Probe) => boolean,
    { limit = 2000, grace = GRACE }: { limit?: number; grace?: number } = {},
  ): Promise<Fates> {
    const fates = new Map(probes.map((p) => [p, { arrived: false, answered: false }]));
    this.#fates.clear();
    for (const [probe, fate] of fates) this.#fates.set(keyOf(probe), fate);
    const awaited = probes.filter(expected).map((p) => fates.get(p)!);
    let timer: number | undefined;
    const all = new Promise<void>((resolve) => {
      // Each is looked at until it is answered, not all of them at each packet.
      this.#heard = () => {
        while (awaited.length > 0 && awaited[awaited.length - 1].answered) awaited.pop();
        if (awaited.length === 0) resolve();
      };
      timer = setTimeout(resolve, limit);
    });
    for (const p of probes) {
      const socket = this.#sockets.get(`${p.source} ${p.protocol}`);
      if (!socket) throw new Error(`nobody asks from ${p.source}`);
      socket.send(mustIp(p.destination), 0, packetOf(p));
    }
    this.#heard();
    await all;
    clearTimeout(timer);
    await new Promise((resolve) => setTimeout(resolve, grace));
    this.#heard = () => {};
    return fates;
  }

  close(): void {
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
  }
}
