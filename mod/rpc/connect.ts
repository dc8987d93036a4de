/**
 * The client's end of the local Unix socket, by Deno's own sockets. A file of its own, so that who
 * only serves or tests does not load it.
 */

import type { Connection } from "./connection.ts";

/** Connects to the socket at this path; rejects with Deno's error where nobody listens. */
export async function connectUnix(path: string, signal?: AbortSignal): Promise<Connection> {
  signal?.throwIfAborted();
  const socket = await Deno.connect({ transport: "unix", path });
  if (signal?.aborted) {
    socket.close();
    signal.throwIfAborted();
  }
  return denoConnection(socket);
}

/** A Deno socket as this room's connection. */
export function denoConnection(socket: Deno.Conn): Connection {
  // One buffer, handed out as copies: a chunk must stay as it is when the next one is read.
  const buffer = new Uint8Array(64 * 1024);
  let closed = false;
  return {
    async read() {
      const n = await socket.read(buffer);
      return n === null ? undefined : buffer.slice(0, n);
    },
    async write(bytes) {
      for (let at = 0; at < bytes.length;) at += await socket.write(bytes.subarray(at));
    },
    closeWrite: () => socket.closeWrite(),
    close() {
      if (closed) return;
      closed = true;
      socket.close();
    },
  };
}
