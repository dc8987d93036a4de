/**
 * What is wrong with a message, and what follows from it. RFC 7606 replaced most session resets of
 * RFC 4271 by milder answers; an answer is a type here, so that no decoder can forget to give one.
 *
 * From mild to severe: an attribute is dropped and the route stands (`attribute-discard`), the routes
 * of the message are taken as withdrawn (`treat-as-withdraw`), the session ends with a NOTIFICATION
 * (`session-reset`). RFC 7606's fourth answer, to disable one address family, is not used: where it
 * would be allowed the RFC allows a reset too.
 */

/** The content of a NOTIFICATION that we would send. */
export interface ProtocolError {
  readonly code: number;
  readonly subcode: number;
  readonly data: Uint8Array;
  /** What was wrong, for people. */
  readonly text: string;
}

export type Answer = "attribute-discard" | "treat-as-withdraw" | "session-reset";

/** A malformed attribute: what to do about it, and why. */
export interface Fault {
  readonly answer: Answer;
  readonly text: string;
  /** Subcode of code 3, UPDATE Message Error, for a reset. */
  readonly subcode: number;
}

export type Decoded<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: ProtocolError };

/** NOTIFICATION codes. */
export const HEADER_ERROR = 1;
export const OPEN_ERROR = 2;
export const UPDATE_ERROR = 3;
export const HOLD_TIMER_EXPIRED = 4;
export const FSM_ERROR = 5;
export const CEASE = 6;
export const REFRESH_ERROR = 7;
/** RFC 9687. */
export const SEND_HOLD_TIMER_EXPIRED = 8;

/** Subcode of an OPEN error: Unsupported Optional Parameter. */
export const OPEN_PARAMETER = 4;

/** Subcodes of Cease (RFC 4486, RFC 8538). */
export const CEASE_MAX_PREFIXES = 1;
export const CEASE_SHUTDOWN = 2;
export const CEASE_DECONFIGURED = 3;
export const CEASE_RESET = 4;
export const CEASE_REJECTED = 5;
export const CEASE_CONFIG_CHANGE = 6;
export const CEASE_COLLISION = 7;
export const CEASE_OUT_OF_RESOURCES = 8;
export const CEASE_HARD_RESET = 9;

const NO_DATA = new Uint8Array(0);

export function protocolError(
  code: number,
  subcode: number,
  text: string,
  data: Uint8Array = NO_DATA,
): ProtocolError {
  return { code, subcode, data, text };
}

export function fail(
  code: number,
  subcode: number,
  text: string,
  data: Uint8Array = NO_DATA,
): { ok: false; error: ProtocolError } {
  return { ok: false, error: protocolError(code, subcode, text, data) };
}

/** Names of codes and subcodes, RFC 4271 section 4.5 and the RFCs that added to it. */
const NAMES: Record<number, { name: string; subcodes: Record<number, string> }> = {
  [HEADER_ERROR]: {
    name: "Message Header Error",
    subcodes: {
      1: "Connection Not Synchronized",
      2: "Bad Message Length",
      3: "Bad Message Type",
    },
  },
  [OPEN_ERROR]: {
    name: "OPEN Message Error",
    subcodes: {
      1: "Unsupported Version Number",
      2: "Bad Peer AS",
      3: "Bad BGP Identifier",
      4: "Unsupported Optional Parameter",
      5: "Authentication Failure",
      6: "Unacceptable Hold Time",
      7: "Unsupported Capability",
      11: "Role Mismatch",
    },
  },
  [UPDATE_ERROR]: {
    name: "UPDATE Message Error",
    subcodes: {
      1: "Malformed Attribute List",
      2: "Unrecognized Well-known Attribute",
      3: "Missing Well-known Attribute",
      4: "Attribute Flags Error",
      5: "Attribute Length Error",
      6: "Invalid ORIGIN Attribute",
      7: "AS Routing Loop",
      8: "Invalid NEXT_HOP Attribute",
      9: "Optional Attribute Error",
      10: "Invalid Network Field",
      11: "Malformed AS_PATH",
    },
  },
  [HOLD_TIMER_EXPIRED]: { name: "Hold Timer Expired", subcodes: {} },
  [FSM_ERROR]: {
    name: "Finite State Machine Error",
    subcodes: {
      1: "Unexpected Message in OpenSent",
      2: "Unexpected Message in OpenConfirm",
      3: "Unexpected Message in Established",
    },
  },
  [CEASE]: {
    name: "Cease",
    subcodes: {
      1: "Maximum Number of Prefixes Reached",
      2: "Administrative Shutdown",
      3: "Peer De-configured",
      4: "Administrative Reset",
      5: "Connection Rejected",
      6: "Other Configuration Change",
      7: "Connection Collision Resolution",
      8: "Out of Resources",
      9: "Hard Reset",
      10: "BFD Down",
    },
  },
  [REFRESH_ERROR]: {
    name: "ROUTE-REFRESH Message Error",
    subcodes: { 1: "Invalid Message Length" },
  },
  [SEND_HOLD_TIMER_EXPIRED]: { name: "Send Hold Timer Expired", subcodes: {} },
};

/** `Cease: Administrative Shutdown`. */
export function errorName(code: number, subcode: number): string {
  const entry = NAMES[code];
  if (!entry) return `error ${code}/${subcode}`;
  if (subcode === 0) return entry.name;
  return `${entry.name}: ${entry.subcodes[subcode] ?? `subcode ${subcode}`}`;
}
