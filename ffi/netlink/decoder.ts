/**
 * Reads netlink messages and attributes in place. Two cursors walk one buffer: MessageCursor over the
 * messages of a datagram, AttributeCursor over the attributes of a message or of a nest. They hold
 * offsets, not copies; `bytes()` copies, because the buffer is used again for the next datagram.
 *
 * A kernel newer than we sends attributes that we do not know: a reader's switch skips them. What is
 * cut off or lies about its length ends the walk (`next()` answers false); a payload shorter than the
 * integer asked for reads as 0, so that no answer, however odd, makes the reader throw.
 */

import {
  NLA_F_NESTED,
  NLA_F_NET_BYTEORDER,
  NLA_HEADER,
  NLA_TYPE_MASK,
  NLMSG_HEADER,
} from "./constants.ts";

const utf8 = new TextDecoder();

/** Walks the messages of one datagram. Before the first `next()` it stands on nothing. */
export class MessageCursor {
  #bytes: Uint8Array;
  #view: DataView;
  #next = 0;
  type = 0;
  flags = 0;
  sequence = 0;
  port = 0;
  /** Offset of the payload (behind the 16-byte header) and of its end within `buffer`. */
  start = 0;
  end = 0;

  constructor(bytes: Uint8Array = new Uint8Array(0)) {
    this.#bytes = bytes;
    this.#view = viewOf(bytes);
  }

  /** Turns to another datagram. */
  aim(bytes: Uint8Array): this {
    if (bytes.buffer !== this.#bytes.buffer || bytes.byteOffset !== this.#bytes.byteOffset) {
      this.#view = viewOf(bytes);
    }
    this.#bytes = bytes;
    this.#next = 0;
    return this;
  }

  /** To the next message; false at the end of the datagram or where it is cut off. */
  next(): boolean {
    const at = this.#next;
    if (at + NLMSG_HEADER > this.#bytes.length) return false;
    const length = this.#view.getUint32(at, true);
    if (length < NLMSG_HEADER || at + length > this.#bytes.length) return false;
    this.type = this.#view.getUint16(at + 4, true);
    this.flags = this.#view.getUint16(at + 6, true);
    this.sequence = this.#view.getUint32(at + 8, true);
    this.port = this.#view.getUint32(at + 12, true);
    this.start = at + NLMSG_HEADER;
    this.end = at + length;
    this.#next = at + ((length + 3) & ~3);
    return true;
  }

  get buffer(): Uint8Array {
    return this.#bytes;
  }
  get payloadLength(): number {
    return this.end - this.start;
  }

  // Integers of the fixed header, by offset into the payload. Beyond its end they are 0.

  u8(offset: number): number {
    const at = this.start + offset;
    return at < this.end ? this.#bytes[at] : 0;
  }
  u16(offset: number): number {
    const at = this.start + offset;
    return at + 2 <= this.end ? this.#view.getUint16(at, true) : 0;
  }
  be16(offset: number): number {
    const at = this.start + offset;
    return at + 2 <= this.end ? this.#view.getUint16(at, false) : 0;
  }
  u32(offset: number): number {
    const at = this.start + offset;
    return at + 4 <= this.end ? this.#view.getUint32(at, true) : 0;
  }
  i32(offset: number): number {
    return this.u32(offset) | 0;
  }
  /** A copy of the payload from `offset` on. */
  bytes(offset = 0): Bytes {
    return copy(this.#bytes, this.start + offset, this.end);
  }

  /** A new cursor over the attributes behind a fixed header of that many bytes. */
  attributes(headerLength: number): AttributeCursor {
    return new AttributeCursor(this.#bytes, this.start + headerLength, this.end, this.#view);
  }
  /** The same, with a cursor that is there already: for dumps of many objects. */
  attributesInto(cursor: AttributeCursor, headerLength: number): AttributeCursor {
    return cursor.aim(this.#bytes, this.start + headerLength, this.end, this.#view);
  }
}

/** Walks attributes. Before the first `next()` it stands on nothing. */
export class AttributeCursor {
  #bytes: Uint8Array;
  #view: DataView;
  #next: number;
  #limit: number;
  /** Without the two flag bits. */
  type = 0;
  isNested = false;
  isNetByteOrder = false;
  /** Payload within the buffer. */
  start = 0;
  end = 0;

  constructor(
    bytes: Uint8Array = new Uint8Array(0),
    start = 0,
    end = bytes.length,
    view: DataView = viewOf(bytes),
  ) {
    this.#bytes = bytes;
    this.#view = view;
    this.#next = start;
    this.#limit = end;
  }

  aim(bytes: Uint8Array, start: number, end: number, view: DataView): this {
    this.#bytes = bytes;
    this.#view = view;
    this.#next = start;
    this.#limit = end;
    return this;
  }

  /** Stands on the same attribute as the other one does. */
  standWith(other: AttributeCursor): this {
    this.aim(other.#bytes, other.#next, other.#limit, other.#view);
    this.type = other.type;
    this.isNested = other.isNested;
    this.isNetByteOrder = other.isNetByteOrder;
    this.start = other.start;
    this.end = other.end;
    return this;
  }

  next(): boolean {
    const at = this.#next;
    if (at + NLA_HEADER > this.#limit) return false;
    const length = this.#view.getUint16(at, true);
    if (length < NLA_HEADER || at + length > this.#limit) return false;
    const type = this.#view.getUint16(at + 2, true);
    this.type = type & NLA_TYPE_MASK;
    this.isNested = (type & NLA_F_NESTED) !== 0;
    this.isNetByteOrder = (type & NLA_F_NET_BYTEORDER) !== 0;
    this.start = at + NLA_HEADER;
    this.end = at + length;
    this.#next = at + ((length + 3) & ~3);
    return true;
  }

  get length(): number {
    return this.end - this.start;
  }

  u8(): number {
    return this.length >= 1 ? this.#bytes[this.start] : 0;
  }
  u16(): number {
    return this.length >= 2 ? this.#view.getUint16(this.start, true) : 0;
  }
  u32(): number {
    return this.length >= 4 ? this.#view.getUint32(this.start, true) : 0;
  }
  i32(): number {
    return this.u32() | 0;
  }
  u64(): bigint {
    return this.length >= 8 ? this.#view.getBigUint64(this.start, true) : 0n;
  }
  be16(): number {
    return this.length >= 2 ? this.#view.getUint16(this.start, false) : 0;
  }
  be32(): number {
    return this.length >= 4 ? this.#view.getUint32(this.start, false) : 0;
  }
  beI32(): number {
    return this.be32() | 0;
  }
  be64(): bigint {
    return this.length >= 8 ? this.#view.getBigUint64(this.start, false) : 0n;
  }
  /** A copy of the payload. */
  bytes(): Bytes {
    return copy(this.#bytes, this.start, this.end);
  }
  /** Text up to the first NUL. */
  string(): string {
    // Names are ASCII nearly always, and short: then a loop is faster than the decoder.
    let value = "";
    for (let at = this.start; at < this.end && this.#bytes[at] !== 0; at++) {
      if (this.#bytes[at] > 0x7f) return this.#decode();
      value += String.fromCharCode(this.#bytes[at]);
    }
    return value;
  }
  #decode(): string {
    let end = this.start;
    while (end < this.end && this.#bytes[end] !== 0) end++;
    return utf8.decode(this.#bytes.subarray(this.start, end));
  }
  /**
   * A new cursor over the attributes within this one, behind `offset` bytes of fixed header and up to
   * byte `end` of the payload.
   */
  nested(offset = 0, end = this.length): AttributeCursor {
    return new AttributeCursor(this.#bytes, this.start + offset, this.start + end, this.#view);
  }
  /** The same, with a cursor that is there already: for dumps of many objects. */
  nestedInto(cursor: AttributeCursor): AttributeCursor {
    return cursor.aim(this.#bytes, this.start, this.end, this.#view);
  }
  /** A view (no copy) of the payload: valid until the buffer is used again. */
  peek(): DataView {
    return new DataView(this.#view.buffer, this.#view.byteOffset + this.start, this.length);
  }
}

type Bytes = Uint8Array<ArrayBuffer>;

/** To the end of the underlying buffer, so that it serves the next, longer datagram in it too. */
function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset);
}

function copy(bytes: Uint8Array, start: number, end: number): Bytes {
  return start < end ? new Uint8Array(bytes.subarray(start, end)) : new Uint8Array(0);
}
