/**
 * What the speaker asks of the world: TCP connections, the time, and dice. The speaker itself has no
 * socket and no timer; whoever makes it passes these in. `mod/node/bgp_transport.ts` is TCP in a
 * network namespace; `fake_transport.ts` is a net of speakers inside one process with a clock that a
 * test turns by hand.
 *
 * The transport knows nothing of messages. Bytes go in and come out in order, in pieces of any size;
 * the framing is `message/framer.ts`'s. Every callback comes from the transport's own turn, never
 * from inside the call that asked for it, so that the speaker need not be re-entrant.
 */
import type { Ip } from "../mod/net/mod.ts";

/** Where a TCP connection ends. */
export interface Endpoint {
  readonly address: Ip;
  readonly port: number;
}

/** How a connection to one peer is guarded; the same for those that we open and those we accept. */
export interface Guard {
  /** TCP-MD5 (RFC 2385) key, at most 80 bytes. */
  readonly password?: string;
  /**
   * Hops to the peer when TTL security (RFC 5082) is on: packets leave with TTL 255, and those that
   * arrive with less than 256 - hops are dropped by the kernel. Absent: no check (multihop).
   */
  readonly ttlSecurity?: number;
}

export interface ConnectTarget extends Guard {
  readonly remote: Endpoint;
  /** The address to connect from; absent: the kernel's choice. */
  readonly source?: Ip;
  /** Milliseconds after which the attempt fails with kind `timeout`. */
  readonly timeout: number;
}

/** What became of a connection, or kept it from coming up. The words are for people. */
export type TransportFailureKind =
  | "refused" // a reset answered the SYN: nobody listens, or the peer does not know us
  | "timeout" // nothing answered
  | "unreachable" // no route, host down, source address not ours
  | "reset" // the peer's kernel aborted an open connection
  | "closed" // the peer closed it in good order
  | "denied" // not permitted here (bad key, port in use, privilege)
  | "failed"; // anything else, see the message

export interface TransportFailure {
  readonly kind: TransportFailureKind;
  /** One sentence: what happened, to whom. */
  readonly message: string;
}

/** Thrown by `listen` where the socket cannot be had. */
export class TransportError extends Error implements TransportFailure {
  override readonly name = "TransportError";
  constructor(readonly kind: TransportFailureKind, message: string) {
    super(message);
  }
}

/** Called by a connection; `onEnd` is the last call and comes once, never after our own close. */
export interface ConnectionHandlers {
  /** The bytes may be reused by the transport after the call returns. */
  onData(bytes: Uint8Array): void;
  /** The send queue has become empty after `send` had left bytes in it. */
  onDrain(): void;
  onEnd(failure: TransportFailure): void;
}

/** One open TCP connection. */
export interface Connection {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  /** Bytes sent by us that the kernel has not taken yet. */
  readonly queued: number;
  /** Must be called once, before the turn that handed the connection over ends. */
  start(handlers: ConnectionHandlers): void;
  /** Queues a copy of the bytes or the bytes themselves: the caller does not change them any more. */
  send(bytes: Uint8Array): void;
  /** Sends what is queued as far as the kernel takes it at once, then closes. No handler is called. */
  close(): void;
}

export interface ConnectHandlers {
  onConnected(connection: Connection): void;
  onFailed(failure: TransportFailure): void;
}

/** An attempt under way. */
export interface ConnectAttempt {
  /** Gives up; no handler is called any more. */
  cancel(): void;
}

export interface ListenOptions {
  /** The address to listen on; absent: every address of the family. */
  readonly address?: Ip;
  readonly family: 4 | 6;
  readonly port: number;
}

export interface Listener {
  readonly port: number;
  /**
   * The guards of the peers that may call, replacing the former ones: a connection from an address
   * with a password that does not carry its signature never comes up.
   */
  guard(peers: readonly ({ readonly address: Ip } & Guard)[]): void;
  close(): void;
}

export interface BgpTransport {
  /** Throws TransportError where the address or port cannot be had. */
  listen(options: ListenOptions, onConnection: (connection: Connection) => void): Listener;
  connect(target: ConnectTarget, handlers: ConnectHandlers): ConnectAttempt;
}

/** A timer that runs once. */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds, never going back; the zero is arbitrary. */
  now(): number;
  /** Milliseconds since 1970, for what people read. */
  wallTime(): number;
  /** Calls once, not before `ms` milliseconds are over; 0 means at the end of this turn. */
  after(ms: number, call: () => void): Timer;
  /** Uniform in [0, 1): jitter (RFC 4271 section 10). */
  random(): number;
}
