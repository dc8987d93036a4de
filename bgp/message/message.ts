/** Any message by its type: what the framer cut out, read as far as the bytes alone allow. */
import { fail, HEADER_ERROR, type ProtocolError } from "./error.ts";
import {
  decodeNotification,
  decodeRouteRefresh,
  type Notification,
  type RouteRefresh,
} from "./frame.ts";
import {
  HEADER_LENGTH,
  KEEPALIVE,
  NOTIFICATION,
  OPEN,
  readHeader,
  ROUTE_REFRESH,
  UPDATE,
} from "./framer.ts";
import { decodeOpen, type Open } from "./open.ts";
import { decodeUpdate, type UpdateContext, type UpdateResult } from "./update.ts";

export type Message =
  | { readonly type: "open"; readonly open: Open }
  | { readonly type: "update"; readonly update: UpdateResult }
  | { readonly type: "notification"; readonly notification: Notification }
  | { readonly type: "keepalive" }
  | { readonly type: "route-refresh"; readonly refresh: RouteRefresh };

export type MessageResult =
  | { readonly ok: true; readonly value: Message }
  | { readonly ok: false; readonly error: ProtocolError };

/** Reads the body of a message whose header the framer has checked. */
export function decodeBody(type: number, body: Uint8Array, context: UpdateContext): MessageResult {
  switch (type) {
    case OPEN: {
      const open = decodeOpen(body);
      return open.ok ? { ok: true, value: { type: "open", open: open.value } } : open;
    }
    case UPDATE: {
      const update = decodeUpdate(body, context);
      return update.answer === "session-reset"
        ? { ok: false, error: update.error }
        : { ok: true, value: { type: "update", update } };
    }
    case NOTIFICATION:
      return {
        ok: true,
        value: { type: "notification", notification: decodeNotification(body) },
      };
    case KEEPALIVE:
      return { ok: true, value: { type: "keepalive" } };
    case ROUTE_REFRESH: {
      const refresh = decodeRouteRefresh(body);
      return refresh.ok
        ? { ok: true, value: { type: "route-refresh", refresh: refresh.value } }
        : refresh;
    }
    default:
      return fail(HEADER_ERROR, 3, `unknown message type ${type}`, new Uint8Array([type]));
  }
}

/** Reads bytes that hold one whole message and nothing else. */
export function decodeMessage(bytes: Uint8Array, context: UpdateContext): MessageResult {
  if (bytes.length < HEADER_LENGTH) {
    return fail(HEADER_ERROR, 2, `${bytes.length} octets are no message`);
  }
  const header = readHeader(bytes, 0);
  if ("code" in header) return { ok: false, error: header };
  if (header.length !== bytes.length) {
    const text = `a message of ${header.length} octets in ${bytes.length}`;
    return fail(HEADER_ERROR, 2, text, bytes.slice(16, 18));
  }
  return decodeBody(header.type, bytes.subarray(HEADER_LENGTH), context);
}
