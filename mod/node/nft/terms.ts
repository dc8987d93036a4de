/**
 * How policy's words are called in the kernel: families, names, interface names as bytes, and the error
 * for what cannot be said there.
 */
import type { NftFamily } from "../../../ffi/nft/wire.ts";
import type { Family } from "../../../policy/rules.ts";

/** A rule or set that cannot be said to the kernel. It is a fault of whoever rendered it. */
export class CompileError extends Error {
  override readonly name = "CompileError";
  constructor(readonly where: string, readonly reason: string) {
    super(`${where}: ${reason}`);
  }
}

/** nf_tables' name for the family of a table. */
export function nftFamily(family: Family): NftFamily {
  return family === 4 ? "ip" : "ip6";
}

/** Name of an anonymous set until the kernel gives it one. */
export const anonymousName = "__set%d";

/** How a set is called in the kernel: nft's names have no colon. */
export function kernelName(name: string): string {
  return name.replaceAll(":", "-");
}

const utf8 = new TextEncoder();

/** The longest beginning of a text that has at most so many bytes of UTF-8. */
export function cutBytes(text: string, most: number): string {
  if (text.length * 3 <= most) return text;
  const { read } = utf8.encodeInto(text, new Uint8Array(most));
  return text.slice(0, read);
}

/** An interface name as the kernel holds it: padded with zeros to 16 bytes. */
export function interfaceBytes(name: string): Uint8Array {
  const bytes = new Uint8Array(16);
  utf8.encodeInto(name, bytes.subarray(0, 15));
  return bytes;
}
