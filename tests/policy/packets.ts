/**
 * Packets made by hand, so that nothing but the rules on the way decides what becomes of them: the
 * first packet of a connection over TCP, UDP and SCTP, and the answers to it. SCTP has no sockets
 * everywhere; INIT and INIT-ACK on raw sockets need none.
 */
import { type Ip, mustIp } from "../../mod/net/mod.ts";

export type Protocol = "TCP" | "UDP" | "SCTP";
export const protocolNumbers: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** Who sends what to whom. Addresses in canonical text. */
export interface Probe {
  readonly source: string;
  readonly destination: string;
  readonly protocol: Protocol;
  readonly sourcePort: number;
  readonly port: number;
  /** Which packet of a connection: the client's first (the default), the answer to it, a later one. */
  readonly part?: "open" | "answer" | "later";
  /** What of it the receiver sees otherwise, for it was translated on its way. */
  readonly seen?: Partial<Record<"source" | "destination", string>> & {
    readonly sourcePort?: number;
    readonly port?: number;
  };
}

/** As the receiver sees it. */
export function keyOf(p: Probe): string {
  const { source, destination, protocol, sourcePort, port } = { ...p, ...p.seen };
  return [source, destination, protocol, sourcePort, port].join(" ");
}

/** The tag that both sides of SCTP ask to be called by: so a client knows answers to its own INIT. */
const TAG = 0xcafe;
const SYN = 2, RST = 4, PSH = 8, ACK = 16;
const INIT = 1, INIT_ACK = 2, HEARTBEAT = 4;
const question = new TextEncoder().encode("ask?");
const answer = new TextEncoder().encode("yes!");

/** A packet of a connection, with the checksums and numbers that connection tracking asks for. */
export function packetOf(p: Probe): Uint8Array<ArrayBuffer> {
  const { part = "open" } = p;
  switch (p.protocol) {
    case "TCP": {
      const packet = new Uint8Array(part === "later" ? 24 : 20);
      const view = new DataView(packet.buffer);
      // Both sides count from the same number, so later packets are the same in both directions.
      view.setUint32(4, part === "later" ? 0x1001 : 0x1000);
      if (part !== "open") view.setUint32(8, 0x1001);
      view.setUint8(12, 5 << 4);
      view.setUint8(13, part === "open" ? SYN : part === "answer" ? SYN | ACK : PSH | ACK);
      view.setUint16(14, 65535);
      return sealed(p, packet, 16);
    }
    case "UDP":
      return udp(p, question);
    case "SCTP":
      if (part === "later") return heartbeat(p);
      return part === "open"
        ? sctp(p, INIT, 0, new Uint8Array())
        : sctp(p, INIT_ACK, TAG, new Uint8Array([0, 7, 0, 8, 1, 2, 3, 4]));
  }
}

/** What a server says to a first packet; undefined for TCP, where its kernel answers by itself. */
export function answerTo(p: Probe): Uint8Array<ArrayBuffer> | undefined {
  const back: Probe = {
    source: p.destination,
    destination: p.source,
    protocol: p.protocol,
    sourcePort: p.port,
    port: p.sourcePort,
  };
  switch (p.protocol) {
    case "TCP":
      return undefined;
    case "UDP":
      return udp(back, answer);
    // A state cookie (RFC 9260 section 3.3.3.1): type 7, here of four bytes.
    case "SCTP":
      return sctp(back, INIT_ACK, TAG, new Uint8Array([0, 7, 0, 8, 1, 2, 3, 4]));
  }
}

/** What came in: the ports, and whether it is a first packet or an answer to one. */
export function readPacket(
  protocol: Protocol,
  bytes: Uint8Array<ArrayBuffer>,
): { from: number; to: number; is: "question" | "answer" | "other" } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ports = { from: view.getUint16(0), to: view.getUint16(2) };
  switch (protocol) {
    case "TCP": {
      const flags = view.getUint8(13);
      const is = (flags & (SYN | RST | ACK)) === SYN
        ? "question"
        : (flags & ACK) !== 0 && (flags & (SYN | RST)) !== 0
        ? "answer"
        : "other";
      return { ...ports, is };
    }
    case "UDP": {
      const text = new TextDecoder().decode(bytes.subarray(8));
      // A pod's server puts its name in front of what it was sent.
      return { ...ports, is: text === "ask?" ? "question" : "answer" };
    }
    case "SCTP": {
      const chunk = view.getUint8(12);
      const is = chunk === INIT
        ? "question"
        : chunk === INIT_ACK && view.getUint32(4) === TAG
        ? "answer"
        : "other";
      return { ...ports, is };
    }
  }
}

function udp(p: Probe, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const packet = new Uint8Array(8 + payload.length);
  packet.set(payload, 8);
  new DataView(packet.buffer).setUint16(4, packet.length);
  return sealed(p, packet, 6);
}

/** INIT and INIT-ACK: RFC 9260 sections 3.3.2 and 3.3.3. */
function sctp(
  p: Probe,
  chunk: number,
  verificationTag: number,
  parameters: Uint8Array,
): Uint8Array<ArrayBuffer> {
  const packet = new Uint8Array(32 + parameters.length);
  const view = new DataView(packet.buffer);
  view.setUint16(0, p.sourcePort);
  view.setUint16(2, p.port);
  view.setUint32(4, verificationTag);
  view.setUint8(12, chunk);
  view.setUint16(14, 20 + parameters.length);
  view.setUint32(16, TAG);
  view.setUint32(20, 65535);
  view.setUint16(24, 1);
  view.setUint16(26, 1);
  view.setUint32(28, 1);
  packet.set(parameters, 32);
  view.setUint32(8, crc32c(packet), true);
  return packet;
}

/** HEARTBEAT: RFC 9260 section 3.3.5. */
function heartbeat(p: Probe): Uint8Array<ArrayBuffer> {
  const packet = new Uint8Array(24);
  const view = new DataView(packet.buffer);
  view.setUint16(0, p.sourcePort);
  view.setUint16(2, p.port);
  view.setUint32(4, TAG);
  view.setUint8(12, HEARTBEAT);
  view.setUint16(14, 12);
  view.setUint16(16, 1);
  view.setUint16(18, 8);
  view.setUint32(8, crc32c(packet), true);
  return packet;
}

/** Puts the ports and the Internet checksum in. */
function sealed(p: Probe, packet: Uint8Array<ArrayBuffer>, at: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(packet.buffer);
  view.setUint16(0, p.sourcePort);
  view.setUint16(2, p.port);
  const sum = checksum(
    mustIp(p.source),
    mustIp(p.destination),
    protocolNumbers[p.protocol],
    packet,
  );
  view.setUint16(at, sum || 0xffff);
  return packet;
}

/** The Internet checksum over pseudo header and packet (RFC 1071, RFC 8200 section 8.1). */
function checksum(source: Ip, destination: Ip, protocol: number, packet: Uint8Array): number {
  let sum = protocol + packet.length;
  for (const bytes of [source.bytes, destination.bytes, packet]) {
    for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] << 8 | (bytes[i + 1] ?? 0);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** CRC32c of a packet whose checksum field is zero (RFC 9260 appendix A). */
function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = crc & 1 ? crc >>> 1 ^ 0x82f63b78 : crc >>> 1;
  }
  return ~crc >>> 0;
}
