/**
 * Octets in network order: a writer that grows, and readings at an offset. Readers check lengths
 * before they read, so these do not check again.
 */

export function u16(bytes: Uint8Array, at: number): number {
  return bytes[at] << 8 | bytes[at + 1];
}

export function u32(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]) >>> 0;
}

/** The bytes as a string of code units 0 to 255: a key for maps that costs one byte a byte. */
export function latin1(bytes: Uint8Array, from = 0, to = bytes.length): string {
  let text = "";
  // In pieces, since an argument list is bounded.
  for (let at = from; at < to; at += 4096) {
    text += String.fromCharCode.apply(
      null,
      bytes.subarray(at, Math.min(to, at + 4096)) as unknown as number[],
    );
  }
  return text;
}

const DIGITS = "0123456789abcdef";

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const b of bytes) text += DIGITS[b >> 4] + DIGITS[b & 15];
  return text;
}

/** Reads what toHex wrote; throws a TypeError on anything else. */
export function fromHex(text: string): Uint8Array {
  if (text.length % 2 !== 0 || !/^[0-9a-fA-F]*$/.test(text)) {
    throw new TypeError("not an even number of hexadecimal digits");
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i++) bytes[i] = parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A growing buffer; the methods return it, so that writings can be chained. */
export class Writer {
  #bytes: Uint8Array<ArrayBuffer>;
  length = 0;

  constructor(size = 64) {
    this.#bytes = new Uint8Array(size);
  }

  #room(n: number): void {
    if (this.length + n <= this.#bytes.length) return;
    const bigger = new Uint8Array(Math.max(2 * this.#bytes.length, this.length + n));
    bigger.set(this.#bytes.subarray(0, this.length));
    this.#bytes = bigger;
  }

  u8(n: number): this {
    this.#room(1);
    this.#bytes[this.length++] = n;
    return this;
  }

  u16(n: number): this {
    this.#room(2);
    this.#bytes[this.length++] = n >>> 8;
    this.#bytes[this.length++] = n;
    return this;
  }

  u32(n: number): this {
    this.#room(4);
    this.#bytes[this.length++] = n >>> 24;
    this.#bytes[this.length++] = n >>> 16;
    this.#bytes[this.length++] = n >>> 8;
    this.#bytes[this.length++] = n;
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.#room(bytes.length);
    this.#bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  /** Overwrites one octet that was written before. */
  patch8(at: number, n: number): this {
    this.#bytes[at] = n;
    return this;
  }

  /** Overwrites two octets that were written before: a length known only afterwards. */
  patch16(at: number, n: number): this {
    this.#bytes[at] = n >>> 8;
    this.#bytes[at + 1] = n;
    return this;
  }

  /** What was written, as a copy. */
  done(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.length);
  }
}
