/**
 * The conversation of kind `rpc`: one JSON object a line.
 *
 *     client                                    server
 *     {id, method, params, window?}
 *                                               {id, result}            a call's answer
 *                                               {id, error}             or refusal
 *                                               {id, event} …           a stream's events, then
 *                                               {id, end: true}         or {id, error}
 *     {id, credit: n}                           n more events may be sent
 *     {id, cancel: true}                        no more is wanted; what is under way is given up
 *
 * `window` says how many events of this stream the client takes before it grants more by `credit`, so
 * that one slow reader neither fills memory nor holds up the other conversations of the connection.
 * Without it only the socket limits the server. An answer may come after a cancel: the client drops
 * what it does not wait for. Whoever sends anything else is told so in an error without id, and the
 * connection ends.
 */

import { FramingError } from "./framing.ts";

export interface ErrorBody {
  readonly kind: string;
  readonly message: string;
  /** What a program may want to know of it. */
  readonly detail?: unknown;
}

/** Asks a method to begin. */
export interface MethodRequest {
  readonly id: number;
  readonly method: string;
  readonly params: unknown;
  readonly window?: number;
}

export type Request =
  | MethodRequest
  | { readonly id: number; readonly credit: number }
  | { readonly id: number; readonly cancel: true };

export type Response =
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly event: unknown }
  | { readonly id: number; readonly end: true }
  | { readonly id: number | null; readonly error: ErrorBody };

/** JSON that is written already: it goes onto the wire as it is. */
export class JsonText {
  constructor(readonly text: string) {}
}

/** A request as a line with its newline. */
export function encodeRequest(request: Request): string {
  if ("method" in request && request.params instanceof JsonText) {
    const { params, ...rest } = request;
    return `${JSON.stringify(rest).slice(0, -1)},"params":${params.text}}\n`;
  }
  return JSON.stringify(request) + "\n";
}

/** A response as a line with its newline. A result or event that is `undefined` becomes null. */
export function encodeResponse(response: Response): string {
  if ("result" in response) return `{"id":${response.id},"result":${jsonOf(response.result)}}\n`;
  if ("event" in response) return `{"id":${response.id},"event":${jsonOf(response.event)}}\n`;
  return JSON.stringify(response) + "\n";
}

function jsonOf(value: unknown): string {
  return value instanceof JsonText ? value.text : JSON.stringify(value) ?? "null";
}

/** Reads a client's line; FramingError where it is no request. */
export function parseRequest(line: string): Request {
  const object = parseObject(line);
  const id = object.id;
  if (!isId(id)) throw new FramingError(`a request has no id: ${excerpt(line)}`);
  if (typeof object.method === "string") {
    const { method, params, window } = object;
    if (window !== undefined && !isCount(window)) {
      throw new FramingError(`the window of request ${id} is not a positive number`);
    }
    return { id, method, params: params ?? {}, window };
  }
  if (object.cancel === true) return { id, cancel: true };
  if (isCount(object.credit)) return { id, credit: object.credit };
  throw new FramingError(`request ${id} has neither method, credit nor cancel: ${excerpt(line)}`);
}

/** Reads a server's line; FramingError where it is no response. */
export function parseResponse(line: string): Response {
  const object = parseObject(line);
  const { id, error } = object;
  if (error !== undefined) {
    const body = error as Partial<ErrorBody> | null;
    if (
      (id !== null && !isId(id)) || typeof body?.kind !== "string" ||
      typeof body.message !== "string"
    ) {
      throw new FramingError(`an error without kind and message came: ${excerpt(line)}`);
    }
    return { id, error: { kind: body.kind, message: body.message, detail: body.detail } };
  }
  if (!isId(id)) throw new FramingError(`a response has no id: ${excerpt(line)}`);
  if ("result" in object) return { id, result: object.result };
  if ("event" in object) return { id, event: object.event };
  if (object.end === true) return { id, end: true };
  throw new FramingError(`response ${id} has neither result, event, end nor error`);
}

function parseObject(line: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new FramingError(`a line is not JSON: ${excerpt(line)}`);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new FramingError(`a line is not a JSON object: ${excerpt(line)}`);
  }
  return value as Record<string, unknown>;
}

function isId(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) > 0;
}

function excerpt(line: string): string {
  return JSON.stringify(line.length > 80 ? line.slice(0, 80) + "…" : line);
}
