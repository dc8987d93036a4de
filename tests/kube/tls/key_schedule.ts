/** The key schedule of TLS 1.3 (RFC 8446, 7.1) with SHA-256. */
import { createHash, createHmac } from "node:crypto";
import { type Bytes, concat, text, u16, u8, vector } from "./bytes.ts";

export const HASH_LENGTH = 32;
const ZERO = new Uint8Array(HASH_LENGTH);

export const sha256 = (bytes: Bytes): Bytes =>
  new Uint8Array(createHash("sha256").update(bytes).digest());

export const hmac = (key: Bytes, bytes: Bytes): Bytes =>
  new Uint8Array(createHmac("sha256", key).update(bytes).digest());

/** HKDF-Expand-Label; no more than one hash's length is ever asked for. */
export function expandLabel(secret: Bytes, label: string, context: Bytes, length: number): Bytes {
  const info = concat(u16(length), vector(1, text(`tls13 ${label}`)), vector(1, context));
  return hmac(secret, concat(info, u8(1))).subarray(0, length);
}

const derive = (secret: Bytes, label: string, transcript: Bytes) =>
  expandLabel(secret, label, transcript, HASH_LENGTH);

const NOTHING = sha256(new Uint8Array());

/** Secrets of both sides at one stage. */
export interface Secrets {
  client: Bytes;
  server: Bytes;
}

export class KeySchedule {
  readonly #handshake: Bytes;

  /** `shared` is what the key exchange gave. */
  constructor(shared: Bytes) {
    const early = hmac(ZERO, ZERO);
    this.#handshake = hmac(derive(early, "derived", NOTHING), shared);
  }

  /** `transcript`: the hash of ClientHello and ServerHello. */
  handshake(transcript: Bytes): Secrets {
    return {
      client: derive(this.#handshake, "c hs traffic", transcript),
      server: derive(this.#handshake, "s hs traffic", transcript),
    };
  }

  /** `transcript`: the hash up to the server's Finished. */
  application(transcript: Bytes): Secrets {
    const master = hmac(derive(this.#handshake, "derived", NOTHING), ZERO);
    return {
      client: derive(master, "c ap traffic", transcript),
      server: derive(master, "s ap traffic", transcript),
    };
  }
}

/** verify_data of a Finished message (4.4.4). */
export const finished = (secret: Bytes, transcript: Bytes): Bytes =>
  hmac(expandLabel(secret, "finished", new Uint8Array(), HASH_LENGTH), transcript);
