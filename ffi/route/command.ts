/**
 * One change to the kernel's tables, not yet sent: a netlink message as a value. The files beside
 * this one turn typed objects into commands; a RouteSocket sends one, or many in one datagram. A
 * command knows what it is called, so that a refusal can say what was refused.
 */

import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../netlink/constants.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";

export interface Command {
  /** RTM_… */
  readonly type: number;
  /** Besides NLM_F_REQUEST and NLM_F_ACK, which the socket adds. */
  readonly flags: number;
  /** What is done to what, for errors: `add link cali1234`. Called only when it is refused. */
  operation(): string;
  /** Writes the fixed header and the attributes. */
  encode(message: MessageEncoder): void;
}

/** Must not be there yet. */
export const CREATE_NEW = NLM_F_CREATE | NLM_F_EXCL;
/** May be there and is changed then. */
export const CREATE_OR_REPLACE = NLM_F_CREATE | NLM_F_REPLACE;

/** Message types: NEW; DEL is one, GET two more. */
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const RTM_NEWNEIGH = 28;
export const RTM_DELNEIGH = 29;
export const RTM_GETNEIGH = 30;
export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
export const RTM_GETRULE = 34;
