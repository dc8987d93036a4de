/**
 * A fake kernel is a function from a message to messages. `fakeKernel` wraps it as a Transport with
 * the manners of the real one: it takes datagrams of several messages, answers with the request's
 * sequence number, acknowledges what asked for it, ends dumps with DONE, and can cut a dump into
 * datagrams, interrupt it, or lose answers. Tests of encoders, dumps and transactions run on it.
 */

import { KernelError } from "../errors.ts";
import {
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from "./constants.ts";
import { MessageCursor } from "./decoder.ts";
import { type Bytes, MessageEncoder } from "./encoder.ts";
import type { Transport } from "./transport.ts";

/** A refusal, as NLMSG_ERROR; in a dump as the DONE. */
export interface FakeRefusal {
  readonly error: number;
  readonly text?: string;
  readonly offset?: number;
}

/** What a fake kernel says to one message. */
export type FakeReply =
  /** An object: `payload` is what stands behind the header. `sequence` only to answer out of turn. */
  | { type: number; flags?: number; payload: ArrayLike<number>; sequence?: number }
  | FakeRefusal
  /** Marks the dump as interrupted by a change. */
  | { interrupted: true }
  /** Ends the datagram here. */
  | { cut: true }
  /** The receiver's next call fails with ENOBUFS, and what follows up to the next cut is lost. */
  | { overflow: true };

/** One message as the fake kernel sees it: a copy. */
export interface FakeRequest {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly payload: Bytes;
}

export interface FakeKernel extends Transport {
  /** Every message that was sent, in order. */
  readonly requests: FakeRequest[];
  /** Every datagram that was sent, in order: copies. */
  readonly datagrams: Bytes[];
}

type Waiting = { datagram: Bytes } | { overflow: true };

/** A Transport that answers with `answer`. */
export function fakeKernel(answer: (request: FakeRequest) => Iterable<FakeReply>): FakeKernel {
  const requests: FakeRequest[] = [];
  const datagrams: Bytes[] = [];
  const waiting: Waiting[] = [];
  const encoder = new MessageEncoder();

  function flush() {
    if (encoder.length) waiting.push({ datagram: new Uint8Array(encoder.finish()) });
    encoder.reset();
  }

  function serve(request: FakeRequest) {
    const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP && isGet(request.type);
    let interrupted = 0, losing = false, refused: FakeRefusal | undefined;
    for (const reply of answer(request)) {
      if ("cut" in reply) {
        if (losing) encoder.reset();
        else flush();
        losing = false;
      } else if ("interrupted" in reply) {
        interrupted = NLM_F_DUMP_INTR;
      } else if ("overflow" in reply) {
        flush();
        waiting.push({ overflow: true });
        losing = true;
      } else if ("error" in reply) {
        refused = reply;
        break;
      } else {
        const flags = (reply.flags ?? 0) | (isDump ? NLM_F_MULTI | interrupted : 0);
        encoder.begin(reply.type, flags, reply.sequence ?? request.sequence)
          .putBytes(reply.payload).end();
      }
    }
    if (losing) return void encoder.reset();
    const words = refused && (refused.text !== undefined || refused.offset !== undefined);
    if (isDump) {
      encoder.begin(
        NLMSG_DONE,
        NLM_F_MULTI | interrupted | (words ? NLM_F_ACK_TLVS : 0),
        request.sequence,
      ).putU32(-(refused?.error ?? 0) >>> 0);
    } else if (refused || request.flags & NLM_F_ACK) {
      encoder.begin(
        NLMSG_ERROR,
        NLM_F_CAPPED | (words ? NLM_F_ACK_TLVS : 0),
        request.sequence,
      ).putU32(-(refused?.error ?? 0) >>> 0);
      encoder.putU32(16 + request.payload.length).putU16(request.type).putU16(request.flags);
      encoder.putU32(request.sequence).putU32(0);
    } else {
      return;
    }
    if (refused?.text !== undefined) encoder.attrString(NLMSGERR_ATTR_MSG, refused.text);
    if (refused?.offset !== undefined) encoder.attrU32(NLMSGERR_ATTR_OFFS, refused.offset);
    encoder.end();
  }

  return {
    requests,
    datagrams,
    send(datagram) {
      const copy = new Uint8Array(datagram);
      datagrams.push(copy);
      for (const message = new MessageCursor(copy); message.next();) {
        const { type, flags, sequence } = message;
        const request = { type, flags, sequence, payload: message.bytes() };
        requests.push(request);
        serve(request);
      }
      flush();
    },
    sendAsync(datagram) {
      this.send(datagram);
      return Promise.resolve();
    },
    receive(_wait) {
      const next = waiting.shift();
      if (!next) return undefined;
      if ("overflow" in next) throw new KernelError(105, "receive netlink answers");
      return next.datagram;
    },
    close() {
      waiting.length = 0;
    },
  };
}

/** GET requests stand third in each group of four (rtnetlink) or carry the DUMP flags in any case. */
function isGet(type: number): boolean {
  return type >= 0x100 || type % 4 === 2;
}
