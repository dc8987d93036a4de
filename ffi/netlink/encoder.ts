/**
 * Writes netlink messages into one growing buffer: `begin`, a fixed header by `putX`, attributes by
 * `attrX`, nests by `open` and `close`, `end`. Several messages may stand behind one another; the
 * whole buffer is one datagram. Nothing is allocated per attribute, and the buffer is used again
 * after `reset`, so that ten thousand routes cost ten thousand small writes and no garbage.
 *
 * The envelope is in host order; we run on x86-64 and arm64, both little endian. Plain integers are
 * written so; `Be` says big endian (all of nf_tables' attributes, ports elsewhere).
 */

import { NLA_F_NESTED, NLA_HEADER, NLMSG_HEADER } from "./constants.ts";

const text = new TextEncoder();

/** The bytes type that FFI calls take. */
export type Bytes = Uint8Array<ArrayBuffer>;

export class MessageEncoder {
  #bytes: Bytes;
  #view: DataView<ArrayBuffer>;
  #length = 0;
  #message = -1;
  readonly #nests: number[] = [];

  /** @param capacity bytes to begin with; the buffer doubles when they do not suffice */
  constructor(capacity = 4096) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  /** Bytes written so far: also the offset of what comes next. */
  get length(): number {
    return this.#length;
  }

  /** Forgets everything written, keeps the buffer. */
  reset(): this {
    this.#length = 0;
    this.#message = -1;
    this.#nests.length = 0;
    return this;
  }

  /** All messages so far: a view that the next write may overtake. */
  finish(): Bytes {
    if (this.#message >= 0) throw new TypeError("a netlink message is not ended");
    return this.#bytes.subarray(0, this.#length);
  }

  /** Opens a message: its 16-byte header. The port id stays 0, as the kernel wants it. */
  begin(type: number, flags: number, sequence: number): this {
    if (this.#message >= 0) throw new TypeError("a netlink message is not ended");
    this.#message = this.#reserve(NLMSG_HEADER);
    const at = this.#message;
    this.#view.setUint32(at, 0, true);
    this.#view.setUint16(at + 4, type, true);
    this.#view.setUint16(at + 6, flags, true);
    this.#view.setUint32(at + 8, sequence, true);
    this.#view.setUint32(at + 12, 0, true);
    return this;
  }

  /** Closes the message: fills in its length. */
  end(): this {
    if (this.#nests.length) throw new TypeError("a netlink attribute is not closed");
    if (this.#message < 0) throw new TypeError("no netlink message is open");
    this.#view.setUint32(this.#message, this.#length - this.#message, true);
    this.#message = -1;
    return this;
  }

  // Fixed headers: integers one after another, no padding of their own.

  putU8(value: number): this {
    const at = this.#reserve(1); // first: reserving may change the view
    this.#view.setUint8(at, value);
    return this;
  }
  putU16(value: number): this {
    const at = this.#reserve(2);
    this.#view.setUint16(at, value, true);
    return this;
  }
  putU32(value: number): this {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, true);
    return this;
  }
  putBe16(value: number): this {
    const at = this.#reserve(2);
    this.#view.setUint16(at, value, false);
    return this;
  }
  putBe32(value: number): this {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, false);
    return this;
  }
  /** Bytes as they are, padded to 4. */
  putBytes(value: ArrayLike<number>): this {
    const at = this.#reserve((value.length + 3) & ~3);
    this.#bytes.set(value, at);
    this.#bytes.fill(0, at + value.length, this.#length);
    return this;
  }
  /** That many zero bytes. */
  putZeros(count: number): this {
    const at = this.#reserve(count);
    this.#bytes.fill(0, at, at + count);
    return this;
  }

  /** Fills in a number whose place was left open before. */
  patchU16(offset: number, value: number): this {
    this.#view.setUint16(offset, value, true);
    return this;
  }

  // Attributes: length, type, payload, padding to 4.

  attrFlag(type: number): this {
    this.#header(type, 0);
    return this;
  }
  attrU8(type: number, value: number): this {
    const at = this.#header(type, 1);
    this.#view.setUint32(at, value & 0xff, true);
    return this;
  }
  attrU16(type: number, value: number): this {
    const at = this.#header(type, 2);
    this.#view.setUint32(at, value & 0xffff, true);
    return this;
  }
  attrU32(type: number, value: number): this {
    const at = this.#header(type, 4);
    this.#view.setUint32(at, value, true);
    return this;
  }
  attrU64(type: number, value: bigint): this {
    const at = this.#header(type, 8);
    this.#view.setBigUint64(at, value, true);
    return this;
  }
  attrBe16(type: number, value: number): this {
    const at = this.#header(type, 2);
    this.#view.setUint32(at, 0, true);
    this.#view.setUint16(at, value, false);
    return this;
  }
  /** Also for signed numbers: -100 is written as ffffff9c. */
  attrBe32(type: number, value: number): this {
    const at = this.#header(type, 4);
    this.#view.setUint32(at, value, false);
    return this;
  }
  attrBe64(type: number, value: bigint): this {
    const at = this.#header(type, 8);
    this.#view.setBigUint64(at, value, false);
    return this;
  }
  attrBytes(type: number, value: ArrayLike<number>): this {
    const at = this.#header(type, value.length);
    this.#bytes.set(value, at);
    this.#bytes.fill(0, at + value.length, this.#length);
    return this;
  }
  /** A string and its NUL. */
  attrString(type: number, value: string): this {
    return this.#string(type, value, 1);
  }
  /** A string without NUL, as iproute2 writes a link's kind. */
  attrText(type: number, value: string): this {
    return this.#string(type, value, 0);
  }

  /** Opens a nest with NLA_F_NESTED in its type, as nf_tables and ctnetlink want it. */
  openNested(type: number): this {
    return this.open(type | NLA_F_NESTED);
  }
  /** Opens a nest with exactly this type (rtnetlink: iproute2 sets no NLA_F_NESTED). */
  open(type: number): this {
    this.#nests.push(this.#length);
    this.#header(type, 0);
    return this;
  }
  /** Closes the innermost nest. A nest over 65,535 bytes cannot be said and is a bug of the caller. */
  close(): this {
    const start = this.#nests.pop();
    if (start === undefined) throw new TypeError("no netlink attribute is open");
    const length = this.#length - start;
    if (length > 0xffff) throw new RangeError(`netlink attribute of ${length} bytes is over 65535`);
    this.#view.setUint16(start, length, true);
    return this;
  }

  #string(type: number, value: string, nul: 0 | 1): this {
    // UTF-8 needs at most three bytes for each UTF-16 unit.
    const start = this.#reserve(NLA_HEADER + value.length * 3 + 4);
    const at = start + NLA_HEADER;
    const written = this.#writeText(value, at);
    const length = written + nul;
    this.#length = at + ((length + 3) & ~3);
    this.#bytes.fill(0, at + written, this.#length);
    this.#view.setUint16(start, NLA_HEADER + length, true);
    this.#view.setUint16(start + 2, type, true);
    return this;
  }

  /** Names are ASCII nearly always, and short: then a loop is faster than the encoder. */
  #writeText(value: string, at: number): number {
    for (let i = 0; i < value.length; i++) {
      const code = value.charCodeAt(i);
      if (code > 0x7f) return text.encodeInto(value, this.#bytes.subarray(at)).written;
      this.#bytes[at + i] = code;
    }
    return value.length;
  }

  /** Header and room of one attribute; the offset of its payload. */
  #header(type: number, length: number): number {
    if (length > 0xffff - NLA_HEADER) {
      throw new RangeError(`netlink attribute of ${length} bytes is over 65531`);
    }
    const at = this.#reserve(NLA_HEADER + ((length + 3) & ~3));
    this.#view.setUint16(at, NLA_HEADER + length, true);
    this.#view.setUint16(at + 2, type, true);
    return at + NLA_HEADER;
  }

  #reserve(count: number): number {
    const at = this.#length;
    const need = at + count;
    if (need > this.#bytes.length) {
      let capacity = this.#bytes.length * 2;
      while (capacity < need) capacity *= 2;
      const bytes = new Uint8Array(capacity);
      bytes.set(this.#bytes.subarray(0, at));
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer);
    }
    this.#length = need;
    return at;
  }
}
