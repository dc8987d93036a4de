/**
 * What a server offers: a table of methods. A call has one answer; a stream has events until it ends
 * or the client has had enough. Methods are ordinary async functions and generators; what they throw
 * reaches the client as an error with a kind.
 */

import type { ErrorBody } from "./message.ts";

/** A refusal that has a kind, for programs, and a message, for people. */
export class RpcError extends Error {
  override readonly name: string = "RpcError";
  constructor(
    readonly kind: string,
    message: string,
    readonly detail?: unknown,
  ) {
    super(message);
  }
}

/** The connection ended before the answer came. */
export class RpcDisconnected extends RpcError {
  override readonly name = "RpcDisconnected";
  /** `sent`: the request may have reached the server, so it may have been carried out. */
  constructor(message: string, readonly sent: boolean) {
    super("disconnected", message);
  }
}

export interface CallContext {
  /** Aborted when the client cancels or goes, and when the server closes. */
  readonly signal: AbortSignal;
  /** User id of the client's process, where the transport knows it. */
  readonly peerUid: number | undefined;
  /** Closes the connection over which the request came; what it still had to say is not heard. */
  disconnect(): void;
  /** Calls `run` once when the connection has ended, for whatever reason. */
  onDisconnect(run: () => void): void;
}

export type Method =
  | { readonly kind: "call"; run(params: unknown, context: CallContext): unknown }
  | { readonly kind: "stream"; run(params: unknown, context: CallContext): AsyncIterable<unknown> };

export type Methods = Readonly<Record<string, Method>>;

/** A method with one answer. */
export function call(run: (params: unknown, context: CallContext) => unknown): Method {
  return { kind: "call", run };
}

/** A method with events. */
export function stream(
  run: (params: unknown, context: CallContext) => AsyncIterable<unknown>,
): Method {
  return { kind: "stream", run };
}

/** What a client is told of an error; of a bug only its message. */
export function errorBody(error: unknown): ErrorBody {
  if (error instanceof RpcError) {
    return { kind: error.kind, message: error.message, detail: error.detail };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { kind: "internal", message };
}
