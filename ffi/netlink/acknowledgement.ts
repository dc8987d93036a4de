/**
 * The kernel's answer to one request: NLMSG_ERROR with error 0 (done) or -errno, the request's header,
 * and, where the socket asked for it (NETLINK_EXT_ACK), the kernel's own words and the offset of the
 * attribute that it did not like. A DONE that ends a dump carries an error in the same way.
 */

import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_DONE,
  NLMSG_HEADER,
  NLMSGERR_ATTR_MISS_NEST,
  NLMSGERR_ATTR_MISS_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
  NLMSGERR_ATTR_POLICY,
} from "./constants.ts";
import type { AttributeCursor, MessageCursor } from "./decoder.ts";
import { errnoCode, KernelError } from "../errors.ts";

export interface Acknowledgement {
  readonly sequence: number;
  /** 0 = done. Positive. */
  readonly errno: number;
  readonly detail?: string;
  readonly attributeOffset?: number;
}

/** Reads an NLMSG_ERROR or NLMSG_DONE message on which the cursor stands. */
export function readAcknowledgement(message: MessageCursor): Acknowledgement {
  const error = message.i32(0);
  const errno = error < 0 ? -error : 0;
  if (!(message.flags & NLM_F_ACK_TLVS)) return { sequence: message.sequence, errno };
  // DONE: the attributes follow the error. ERROR: they follow the request's header, or, where it was
  // not cut (CAPPED), the whole request.
  let header = 4;
  if (message.type !== NLMSG_DONE) {
    header += message.flags & NLM_F_CAPPED ? NLMSG_HEADER : (message.u32(4) + 3) & ~3;
  }
  const { detail, attributeOffset } = readWords(message.attributes(header));
  return { sequence: message.sequence, errno, detail, attributeOffset };
}

/** Is it one of these refusals? */
export function isRefusal({ errno }: Acknowledgement, ...codes: string[]): boolean {
  return codes.includes(errnoCode(errno));
}

/** The refusal as an error. */
export function toKernelError(ack: Acknowledgement, operation: string): KernelError {
  return new KernelError(ack.errno, operation, ack);
}

function readWords(attributes: AttributeCursor): { detail?: string; attributeOffset?: number } {
  const words: string[] = [];
  let attributeOffset: number | undefined;
  while (attributes.next()) {
    switch (attributes.type) {
      case NLMSGERR_ATTR_MSG:
        words.unshift(attributes.string().replace(/\.$/, ""));
        break;
      case NLMSGERR_ATTR_OFFS:
        attributeOffset = attributes.u32();
        break;
      case NLMSGERR_ATTR_POLICY: {
        const policy = readPolicy(attributes.nested());
        if (policy) words.push(`(${policy})`);
        break;
      }
      case NLMSGERR_ATTR_MISS_TYPE:
        words.push(`(attribute ${attributes.u32()} is missing)`);
        break;
      case NLMSGERR_ATTR_MISS_NEST:
        words.push(`(in the nest at offset ${attributes.u32()})`);
        break;
    }
  }
  return { detail: words.length ? words.join(" ") : undefined, attributeOffset };
}

/** What the kernel would have taken: `length at most 15`, `68 to 65535`. */
function readPolicy(attributes: AttributeCursor): string {
  let min: bigint | undefined, max: bigint | undefined;
  const limits: string[] = [];
  while (attributes.next()) {
    switch (attributes.type) {
      case 2: // MIN_VALUE_S
        min = BigInt.asIntN(64, attributes.u64());
        break;
      case 3: // MAX_VALUE_S
        max = BigInt.asIntN(64, attributes.u64());
        break;
      case 4: // MIN_VALUE_U
        min = attributes.u64();
        break;
      case 5: // MAX_VALUE_U
        max = attributes.u64();
        break;
      case 6:
        limits.push(`length at least ${attributes.u32()}`);
        break;
      case 7:
        limits.push(`length at most ${attributes.u32()}`);
        break;
    }
  }
  if (min !== undefined && max !== undefined) limits.push(`${min} to ${max}`);
  return limits.join(", ");
}
