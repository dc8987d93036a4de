/**
 * A stream connection between two processes as this room sees it, whatever carries it: the reactor's
 * Unix socket on the server's side (it knows the peer's uid), Deno's on the client's, a pipe in
 * memory in tests. Reading is asked for, never pushed, and a write resolves when there is room for
 * more, so that backpressure goes all the way to the peer.
 */

export interface Connection {
  /** User id of the peer's process, where the transport knows it (SO_PEERCRED). */
  readonly peerUid?: number;
  /** The next bytes; undefined once the peer sends no more. Rejects when the connection broke. */
  read(): Promise<Uint8Array | undefined>;
  /** Resolves when the bytes were taken and there is room for more; rejects when it broke. */
  write(bytes: Uint8Array): Promise<void>;
  /** Tells the peer that we send no more; we still read. */
  closeWrite(): Promise<void>;
  /**
   * Where the transport can tell: resolves when the peer has closed its end; true if it had read all
   * that was written, false if it went away before. Only before closeWrite; rejects if we close first.
   */
  peerClosed?(): Promise<boolean>;
  /** Ends both directions; a pending read or write ends or rejects. May be called more than once. */
  close(): void;
}

/** Opens a connection, or rejects; the signal gives the attempt up. */
export type Connect = (signal?: AbortSignal) => Promise<Connection>;
