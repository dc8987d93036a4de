/**
 * What measures a BGP speaker from outside, the same for every speaker: two namespaces with a wire
 * between them, the speaker in one, and in the other two external peers of it that this file plays.
 *
 *     injector 172.31.0.1 --UPDATEs--> speaker 172.31.0.2 --UPDATEs--> collector 172.31.0.3
 *                                         '--netlink--> the kernel of its namespace
 *
 * The speaker's table is full when the collector has been told of every prefix: what is passed on has
 * been received, decided and kept. The kernel's is full when its own notifications have named every
 * prefix. Nobody is asked anything meanwhile; both ends only keep a bit for each prefix.
 */
import { NETLINK_ROUTE } from "../../ffi/netlink/constants.ts";
import { AttributeCursor, MessageCursor } from "../../ffi/netlink/decoder.ts";
import { NetlinkSocket } from "../../ffi/netlink/socket.ts";
import { createNetns, deleteNetns, inNetns, Netns } from "../../ffi/netns.ts";
import { reactor } from "../../ffi/reactor.ts";
import { connectTcp, type TcpStream } from "../../ffi/tcp.ts";
import { isKernelError } from "../../ffi/errors.ts";
import { Writer } from "../../bgp/message/bytes.ts";
import { encodeKeepalive } from "../../bgp/message/frame.ts";
import { Framer, KEEPALIVE, NOTIFICATION, OPEN, UPDATE } from "../../bgp/message/framer.ts";
import { encodeOpen } from "../../bgp/message/open.ts";
import {
  encodeAttributes,
  writeAnnouncements,
  writeEndOfRib,
  writeWithdrawals,
} from "../../bgp/message/update_encode.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { tool } from "../cluster/harness.ts";

export const SPEAKER = "172.31.0.2", INJECTOR = "172.31.0.1", COLLECTOR = "172.31.0.3";
export const SPEAKER_AS = 65000, INJECTOR_AS = 65001, COLLECTOR_AS = 65003;
/** All prefixes are of it. */
export const RANGE = "10.0.0.0/8";

const BASE = 10 * 2 ** 24, LENGTH = 26, STEP = 64;
const RTMGRP_IPV4_ROUTE = 7, RTM_NEWROUTE = 24, RTM_DELROUTE = 25, RTA_DST = 1, RTMSG = 12;

/** The n-th /26 of the range, as the speaker's own key. */
const key = (n: number) => (BASE + n * STEP) * 64 + LENGTH;

/** Which prefixes one observer sees, and the moment at which it sees what somebody waits for. */
export class Sightings {
  readonly #seen = new Uint8Array(2 ** 18);
  #count = 0;
  #waiter: { isSo: () => boolean; resolve: (at: number) => void } | undefined;

  /** An address, as a number, of the range. */
  mark(address: number, present: boolean): void {
    const n = (address - BASE) / STEP;
    if (n < 0 || n >= this.#seen.length || this.#seen[n] === Number(present)) return;
    this.#seen[n] = Number(present);
    this.#count += present ? 1 : -1;
  }

  has(n: number): boolean {
    return this.#seen[n] === 1;
  }

  get count(): number {
    return this.#count;
  }

  /** Called when a burst has been marked. */
  look(): void {
    if (!this.#waiter?.isSo()) return;
    const { resolve } = this.#waiter;
    this.#waiter = undefined;
    resolve(performance.now());
  }

  /** The time at which it is so; rejects after a minute. */
  when(what: string, isSo: () => boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiter = undefined;
        reject(new Error(`waited a minute for ${what}; ${this.#count} prefixes are there`));
      }, 60_000);
      this.#waiter = {
        isSo,
        resolve: (at) => {
          clearTimeout(timer);
          resolve(at);
        },
      };
      this.look();
    });
  }
}

/** One of the two peers. */
export class WirePeer {
  readonly told = new Sightings();
  established = false;
  ended: string | undefined;
  #closing = false;

  private constructor(readonly stream: TcpStream, readonly as: number) {
    const framer = new Framer({
      onMessage: (type, body) => this.#message(type, body),
      onError: (error) => this.ended = error.text,
    });
    this.#read(framer);
  }

  /** Calls the speaker until it answers, and goes through the OPENs. */
  static async establish(netns: Netns, address: string, as: number): Promise<WirePeer> {
    const until = performance.now() + 30_000;
    let last = "nobody answers";
    while (performance.now() < until) {
      const peer = await WirePeer.#call(netns, address, as);
      for (let i = 0; peer && i < 300 && peer.ended === undefined; i++) {
        if (peer.established) return peer;
        await pause(10);
      }
      last = peer?.ended ?? last;
      peer?.close();
      await pause(100);
    }
    throw new Error(`no session from ${address} in 30 s: ${last}`);
  }

  static async #call(netns: Netns, address: string, as: number): Promise<WirePeer | undefined> {
    const local = { ip: mustIp(address), port: 0 }, remote = { ip: mustIp(SPEAKER), port: 179 };
    let stream: TcpStream;
    try {
      stream = await connectTcp({ netns, local, remote, timeout: 2000 });
    } catch (error) {
      if (isKernelError(error)) return undefined; // does not listen yet
      throw error;
    }
    const peer = new WirePeer(stream, as);
    peer.send(encodeOpen({
      as,
      holdTime: 240,
      routerId: local.ip.bytes.reduce((id, byte) => id * 256 + byte, 0),
      capabilities: [
        { kind: "multiprotocol", afi: 1, safi: 1 },
        { kind: "four-octet-as", as },
      ],
    }));
    return peer;
  }

  async #read(framer: Framer): Promise<void> {
    try {
      for (let bytes; (bytes = await this.stream.read()) !== undefined;) {
        framer.push(bytes);
        this.told.look();
      }
      this.ended ??= "the speaker has closed the connection";
    } catch (error) {
      if (!isKernelError(error)) throw error;
      this.ended ??= error.message;
    }
  }

  #message(type: number, body: Uint8Array): void {
    if (type === OPEN) this.send(encodeKeepalive());
    else if (type === KEEPALIVE) this.established = true;
    else if (type === NOTIFICATION) this.ended = `NOTIFICATION ${body[0]}/${body[1]}`;
    else if (type === UPDATE) {
      const withdrawn = body[0] << 8 | body[1];
      this.#mark(body, 2, 2 + withdrawn, false);
      const attributes = body[2 + withdrawn] << 8 | body[3 + withdrawn];
      this.#mark(body, 4 + withdrawn + attributes, body.length, true);
    }
  }

  #mark(body: Uint8Array, from: number, to: number, present: boolean): void {
    for (let at = from; at < to; at += 1 + (body[at] + 7 >> 3)) {
      if (body[at] !== LENGTH) continue;
      this.told.mark(
        (body[at + 1] << 24 | body[at + 2] << 16 | body[at + 3] << 8 | body[at + 4]) >>> 0,
        present,
      );
    }
  }

  send(bytes: Uint8Array): void {
    this.stream.write(bytes).catch((error) => {
      if (!isKernelError(error)) throw error;
      if (!this.#closing) this.ended ??= error.message;
    });
  }

  close(): void {
    this.#closing = true;
    this.stream.close();
  }
}

/** The kernel's table of a namespace, by its notifications. */
export class KernelWatch {
  readonly routes = new Sightings();
  readonly #close: () => void;
  #lost = false;

  constructor(netns: Netns) {
    const socket = inNetns(
      netns,
      () =>
        new NetlinkSocket(NETLINK_ROUTE, { groups: [RTMGRP_IPV4_ROUTE], receiveBuffer: 64 << 20 }),
    );
    const message = new MessageCursor(), attribute = new AttributeCursor();
    const registration = reactor().add(socket.fd, { read: true }, () => {
      try {
        for (let datagram; (datagram = socket.receive(false)) !== undefined;) {
          for (message.aim(datagram); message.next();) this.#one(message, attribute);
        }
      } catch (error) {
        if (!isKernelError(error, "ENOBUFS")) throw error;
        this.#lost = true;
      }
      this.routes.look();
    });
    this.#close = () => {
      registration.close();
      socket.close();
    };
  }

  #one(message: MessageCursor, attribute: AttributeCursor): void {
    const { type } = message;
    if ((type !== RTM_NEWROUTE && type !== RTM_DELROUTE) || message.u8(1) !== LENGTH) return;
    const attributes = message.attributesInto(attribute, RTMSG);
    while (attributes.next()) {
      if (attributes.type !== RTA_DST) continue;
      this.routes.mark(attributes.be32(), type === RTM_NEWROUTE);
      return;
    }
  }

  close(): void {
    this.#close();
    if (this.#lost) throw new Error("the kernel's notifications came too fast: no figures");
  }
}

/** The two namespaces; `close` removes them. */
export class Wire {
  readonly tester: Netns;
  readonly speaker: Netns;

  private constructor(readonly testerName: string, readonly speakerName: string) {
    this.tester = Netns.open(testerName);
    this.speaker = Netns.open(speakerName);
  }

  static async open(name: string): Promise<Wire> {
    const [a, b] = [`${name}-t`, `${name}-s`];
    createNetns(a);
    createNetns(b);
    const wire = new Wire(a, b);
    try {
      await tool(a, "ip", "link", "add", "w0", "type", "veth", "peer", "w0", "netns", b);
      for (const [netns, ...addresses] of [[a, INJECTOR, COLLECTOR], [b, SPEAKER]]) {
        for (const one of addresses) {
          await tool(netns, "ip", "address", "add", `${one}/24`, "dev", "w0");
        }
        for (const link of ["lo", "w0"]) await tool(netns, "ip", "link", "set", link, "up");
      }
    } catch (error) {
      wire.close();
      throw error;
    }
    return wire;
  }

  close(): void {
    this.tester.close();
    this.speaker.close();
    deleteNetns(this.testerName);
    deleteNetns(this.speakerName);
  }
}

/** UPDATEs for the n-th prefixes, packed, or one for each with attributes of its own; and their end. */
export function announcements(from: number, to: number, packed: boolean): Uint8Array {
  const out = new Writer(1 << 20);
  const keys = Array.from({ length: to - from }, (_, i) => key(from + i));
  const groups = packed ? [keys] : keys.map((one) => [one]);
  groups.forEach((group, i) => {
    const attributes = {
      origin: 0 as const,
      asPath: [{ type: "sequence" as const, asns: [INJECTOR_AS] }],
      nextHop: mustIp(INJECTOR),
      // As routes of 250 nodes that a reflector passes on differ.
      ...(packed ? {} : { communities: [INJECTOR_AS * 65536 + i % 250] }),
    };
    const encoded = encodeAttributes(attributes, { asSize: 4 });
    writeAnnouncements(out, "ipv4", attributes, encoded, group);
  });
  writeEndOfRib(out, "ipv4");
  return out.done();
}

export function withdrawals(from: number, to: number): Uint8Array {
  const out = new Writer(1 << 16);
  writeWithdrawals(out, "ipv4", Array.from({ length: to - from }, (_, i) => key(from + i)));
  return out.done();
}

export function endOfRib(): Uint8Array {
  const out = new Writer(32);
  writeEndOfRib(out, "ipv4");
  return out.done();
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
