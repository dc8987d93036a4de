/**
 * The stream of a TCP connection cut into messages (RFC 4271 section 4.1): a marker of sixteen 0xff,
 * two octets of length, one of type. What is wrong in a header is a Message Header Error, after which
 * the stream means nothing more.
 *
 * A message is handed over as a view of the bytes that came; whoever keeps a part of it copies it.
 */
import { u16 } from "./bytes.ts";
import { HEADER_ERROR, type ProtocolError, protocolError, REFRESH_ERROR } from "./error.ts";

export const HEADER_LENGTH = 19;
/** RFC 4271; extended messages (RFC 8654) are not offered. */
export const MAX_LENGTH = 4096;

export const OPEN = 1;
export const UPDATE = 2;
export const NOTIFICATION = 3;
export const KEEPALIVE = 4;
export const ROUTE_REFRESH = 5;

/** Least and most octets of a whole message, by type. */
const LENGTHS: Record<number, readonly [least: number, most: number]> = {
  [OPEN]: [29, MAX_LENGTH],
  [UPDATE]: [23, MAX_LENGTH],
  [NOTIFICATION]: [21, MAX_LENGTH],
  [KEEPALIVE]: [19, 19],
  // RFC 5291 lets it be longer (outbound route filters); what is beyond 23 is ignored.
  [ROUTE_REFRESH]: [23, MAX_LENGTH],
};

const TYPE_NAMES: Record<number, string> = {
  [OPEN]: "OPEN",
  [UPDATE]: "UPDATE",
  [NOTIFICATION]: "NOTIFICATION",
  [KEEPALIVE]: "KEEPALIVE",
  [ROUTE_REFRESH]: "ROUTE-REFRESH",
};

export function typeName(type: number): string {
  return TYPE_NAMES[type] ?? `message of type ${type}`;
}

/** The header at the offset: the message's length and type, or what is wrong with it. */
export function readHeader(
  bytes: Uint8Array,
  at: number,
): { length: number; type: number } | ProtocolError {
  for (let i = 0; i < 16; i++) {
    if (bytes[at + i] !== 0xff) {
      return protocolError(HEADER_ERROR, 1, "the message marker is not all ones");
    }
  }
  const length = u16(bytes, at + 16);
  const type = bytes[at + 18];
  const lengthField = () => bytes.slice(at + 16, at + 18);
  if (length < HEADER_LENGTH || length > MAX_LENGTH) {
    return protocolError(HEADER_ERROR, 2, `a message of ${length} octets`, lengthField());
  }
  const limits = LENGTHS[type];
  if (!limits) {
    return protocolError(HEADER_ERROR, 3, `unknown message type ${type}`, new Uint8Array([type]));
  }
  if (length < limits[0] || length > limits[1]) {
    const text = `${typeName(type)} of ${length} octets`;
    if (type === ROUTE_REFRESH) {
      // RFC 7313 section 5; the data is the message as received, as far as there is one.
      return protocolError(REFRESH_ERROR, 1, text, bytes.slice(at, at + HEADER_LENGTH));
    }
    return protocolError(HEADER_ERROR, 2, text, lengthField());
  }
  return { length, type };
}

export interface FramerHandlers {
  /** One message without its header. */
  onMessage(type: number, body: Uint8Array): void;
  /** The stream cannot be read on. */
  onError(error: ProtocolError): void;
}

/** Puts the pieces of one connection together. */
export class Framer {
  #rest: Uint8Array = new Uint8Array(0);
  #stopped = false;

  constructor(private readonly handlers: FramerHandlers) {}

  /** Nothing is handed over any more, even of bytes that have come already. */
  stop(): void {
    this.#stopped = true;
    this.#rest = new Uint8Array(0);
  }

  push(piece: Uint8Array): void {
    if (this.#stopped) return;
    let bytes = piece;
    if (this.#rest.length > 0) {
      bytes = new Uint8Array(this.#rest.length + piece.length);
      bytes.set(this.#rest);
      bytes.set(piece, this.#rest.length);
    }
    let at = 0;
    while (bytes.length - at >= HEADER_LENGTH) {
      const header = readHeader(bytes, at);
      if ("code" in header) {
        this.stop();
        this.handlers.onError(header);
        return;
      }
      if (bytes.length - at < header.length) break;
      this.handlers.onMessage(
        header.type,
        bytes.subarray(at + HEADER_LENGTH, at + header.length),
      );
      if (this.#stopped) return;
      at += header.length;
    }
    this.#rest = bytes.slice(at);
  }
}
