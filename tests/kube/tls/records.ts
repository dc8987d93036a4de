/** Records of TLS 1.3 (RFC 8446, 5): framing, and protection with AES-128-GCM. */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { type Bytes, concat, u16, u8 } from "./bytes.ts";
import { expandLabel } from "./key_schedule.ts";

export const CHANGE_CIPHER_SPEC = 20;
export const ALERT = 21;
export const HANDSHAKE = 22;
export const APPLICATION_DATA = 23;

/** Bytes of a record's content. */
export const LARGEST = 16384;
const TAG = 16;

export interface RecordOf {
  type: number;
  content: Bytes;
}

const header = (type: number, length: number): Bytes => concat(u8(type), u16(0x0303), u16(length));

/** A record in the clear. */
export const plain = (type: number, content: Bytes): Bytes =>
  concat(header(type, content.length), content);

/** One direction's keys and the number of the next record. */
export class Protection {
  readonly #key: Bytes;
  readonly #iv: Bytes;
  #imported?: Promise<CryptoKey>;
  #sequence = 0;

  constructor(secret: Bytes) {
    this.#key = expandLabel(secret, "key", new Uint8Array(), 16);
    this.#iv = expandLabel(secret, "iv", new Uint8Array(), 12);
  }

  #nonce(): Bytes {
    const nonce = Uint8Array.from(this.#iv);
    let n = this.#sequence++;
    for (let i = 11; n > 0; i--, n = Math.floor(n / 256)) nonce[i] ^= n % 256;
    return nonce;
  }

  /** Several records of application data, sealed side by side: what one thread does is too slow. */
  async sealAll(contents: Bytes[]): Promise<Bytes[]> {
    const key = await (this.#imported ??= crypto.subtle.importKey(
      "raw",
      Uint8Array.from(this.#key),
      "AES-GCM",
      false,
      ["encrypt"],
    ));
    return await Promise.all(contents.map(async (content) => {
      const head = header(APPLICATION_DATA, content.length + 1 + TAG);
      const algorithm = {
        name: "AES-GCM",
        iv: this.#nonce() as Uint8Array<ArrayBuffer>,
        additionalData: head as Uint8Array<ArrayBuffer>,
      };
      const inner = concat(content, u8(APPLICATION_DATA)) as Uint8Array<ArrayBuffer>;
      return concat(head, new Uint8Array(await crypto.subtle.encrypt(algorithm, key, inner)));
    }));
  }

  seal(type: number, content: Bytes): Bytes {
    const head = header(APPLICATION_DATA, content.length + 1 + TAG);
    const cipher = createCipheriv("aes-128-gcm", this.#key, this.#nonce());
    cipher.setAAD(head);
    const body = cipher.update(concat(content, u8(type)));
    cipher.final();
    return concat(head, body, cipher.getAuthTag());
  }

  /** Throws where it was tampered with. */
  open(body: Bytes): RecordOf {
    const decipher = createDecipheriv("aes-128-gcm", this.#key, this.#nonce());
    decipher.setAAD(header(APPLICATION_DATA, body.length));
    decipher.setAuthTag(body.subarray(body.length - TAG));
    const inner = new Uint8Array(decipher.update(body.subarray(0, body.length - TAG)));
    decipher.final();
    let end = inner.length;
    while (end > 0 && inner[end - 1] === 0) end--;
    return { type: inner[end - 1], content: inner.subarray(0, end - 1) };
  }
}

/** Reads whole records from a connection. */
export class RecordReader {
  #buffer = new Uint8Array(LARGEST * 2 + 1024);
  #from = 0;
  #to = 0;

  constructor(private readonly conn: Deno.Conn) {}

  /** Undefined at the end of the connection. */
  async next(): Promise<RecordOf | undefined> {
    if (!await this.#fill(5)) return undefined;
    const at = this.#from;
    const length = this.#buffer[at + 3] * 256 + this.#buffer[at + 4];
    if (length > LARGEST + 256) throw new Error("the record is too long");
    if (!await this.#fill(5 + length)) return undefined;
    const start = this.#from;
    const record = this.#buffer.slice(start, start + 5 + length);
    this.#from += 5 + length;
    return { type: record[0], content: record.subarray(5) };
  }

  async #fill(count: number): Promise<boolean> {
    while (this.#to - this.#from < count) {
      if (this.#from > 0 && this.#from + count > this.#buffer.length) {
        this.#buffer.copyWithin(0, this.#from, this.#to);
        this.#to -= this.#from;
        this.#from = 0;
      }
      const n = await this.conn.read(this.#buffer.subarray(this.#to));
      if (n === null) return false;
      this.#to += n;
    }
    return true;
  }
}
