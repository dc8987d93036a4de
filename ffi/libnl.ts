/**
 * libnl-3 as the carrier of netlink: it opens the sockets, chooses their port ids, joins groups and
 * sends. Messages are ours (`netlink/`), so of libnl's many calls only these few are used.
 *
 * Where it comes from: the host's libnl-3.so.200; else the copy that travels within the executable
 * (`lib/` beside the bundle), which is loaded through a memfd, because the dynamic linker wants a file
 * and the host may have no writable disk; else there is none, and `socket.ts` makes plain system
 * calls, which do the same. libnl is under the LGPL 2.1: it stays a library of its own, and the host's
 * copy is always preferred, so that it can be replaced.
 */

import { check, cString, libc, textAt } from "./libc.ts";
import type { Bytes } from "./netlink/encoder.ts";

const soname = "libnl-3.so.200";

const symbols = {
  nl_socket_alloc: { parameters: [], result: "pointer" },
  nl_socket_free: { parameters: ["pointer"], result: "void" },
  nl_connect: { parameters: ["pointer", "i32"], result: "i32" },
  nl_socket_get_fd: { parameters: ["pointer"], result: "i32" },
  nl_socket_add_membership: { parameters: ["pointer", "i32"], result: "i32" },
  nl_sendto: { parameters: ["pointer", "buffer", "usize"], result: "i32" },
  sendAsync: {
    name: "nl_sendto",
    parameters: ["pointer", "buffer", "usize"],
    result: "i32",
    nonblocking: true,
  },
  nl_geterror: { parameters: ["i32"], result: "pointer" },
} as const;

export interface Libnl {
  readonly calls: Deno.DynamicLibrary<typeof symbols>["symbols"];
  /** Which copy was loaded. */
  readonly origin: "host" | "embedded";
}

let directory = new URL("./lib/", import.meta.url);
let useHost = true;
let loaded: Libnl | null | undefined;

/** What to load instead of the default: for tests, and for who carries libnl elsewhere. */
export function configureLibnl(options: {
  /** Folder of the embedded copy. Default: `lib/` beside the bundle. */
  directory?: URL;
  /** Whether the host's own copy is tried first. Default true. */
  useHost?: boolean;
}): void {
  directory = options.directory ?? new URL("./lib/", import.meta.url);
  useHost = options.useHost ?? true;
  loaded = undefined;
}

/** libnl-3, loaded at first use; null where the host has none and none is carried. */
export function libnl(): Libnl | null {
  return loaded === undefined ? (loaded = load()) : loaded;
}

/** libnl's own words for one of its (negative) error codes. */
export function libnlText(library: Libnl, code: number): string {
  return textAt(library.calls.nl_geterror(code));
}

function load(): Libnl | null {
  if (useHost) {
    const host = tryOpen(soname);
    if (host) return { calls: host, origin: "host" };
  }
  const bytes = readEmbedded();
  if (!bytes) return null;
  const embedded = tryOpen(asMemoryFile(bytes));
  return embedded && { calls: embedded, origin: "embedded" };
}

function tryOpen(path: string): Libnl["calls"] | null {
  try {
    return Deno.dlopen(path, symbols).symbols;
  } catch {
    // Not there, or of another architecture or libc: the next way is tried, the last one always works.
    return null;
  }
}

function readEmbedded(): Bytes | null {
  try {
    return Deno.readFileSync(new URL(soname, directory));
  } catch {
    return null;
  }
}

/** The path of a file that is only in memory. It stays open: the linker maps it now and for ever. */
function asMemoryFile(bytes: Bytes): string {
  const fd = check(libc().memfd_create(cString(soname), 1), "make a memory file for libnl");
  for (let at = 0; at < bytes.length;) {
    const rest = bytes.subarray(at);
    at += check(libc().write(fd, rest, BigInt(rest.length)), "write libnl into memory");
  }
  return `/proc/self/fd/${fd}`;
}
