/** Reading and writing what TLS messages are made of: numbers in network order, vectors with a length. */
import { Buffer } from "node:buffer";

export type Bytes = Uint8Array;

export const concat = (...parts: Bytes[]): Bytes => new Uint8Array(Buffer.concat(parts));
export const text = (s: string): Bytes => new TextEncoder().encode(s);
export const u8 = (n: number): Bytes => Uint8Array.of(n);
export const u16 = (n: number): Bytes => Uint8Array.of(n >> 8, n & 255);
export const u24 = (n: number): Bytes => Uint8Array.of(n >> 16, (n >> 8) & 255, n & 255);

/** A vector whose length stands before it in so many bytes. */
export function vector(size: 1 | 2 | 3, ...parts: Bytes[]): Bytes {
  const body = concat(...parts);
  const head = size === 1 ? u8(body.length) : size === 2 ? u16(body.length) : u24(body.length);
  return concat(head, body);
}

export class Reader {
  #at = 0;

  constructor(private readonly bytes: Bytes) {}

  get left(): number {
    return this.bytes.length - this.#at;
  }

  take(count: number): Bytes {
    if (count > this.left) throw new Error("the message is cut short");
    return this.bytes.subarray(this.#at, this.#at += count);
  }

  number(size: 1 | 2 | 3): number {
    return this.take(size).reduce((n, byte) => n * 256 + byte, 0);
  }

  vector(size: 1 | 2 | 3): Bytes {
    return this.take(this.number(size));
  }
}
