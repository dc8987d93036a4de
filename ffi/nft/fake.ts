/**
 * A small nf_tables kernel in this process, as a Transport: tables, chains, rules, sets and elements
 * with the kernel's rules about them (what must exist, what may not be deleted while in use, intervals
 * that may not overlap, chains that may not run in a circle), batches that are done whole or not at
 * all, the generation and its check, and the notifications that a commit sends. Tests of whatever
 * talks to nf_tables run on it without root, and the same tests run on the real kernel to keep it
 * honest.
 *
 * What it does not have: packets. Expressions are kept as they came; only the chains and sets that
 * they name count.
 */
import {
  NLM_F_ACK,
  NLM_F_ACK_TLVS,
  NLM_F_APPEND,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSGERR_ATTR_OFFS,
} from "../netlink/constants.ts";
import { KernelError } from "../errors.ts";
import { MessageCursor } from "../netlink/decoder.ts";
import { type Bytes, MessageEncoder } from "../netlink/encoder.ts";
import type { Transport } from "../netlink/transport.ts";
import { putElements } from "./elements.ts";
import { Work } from "./fake_batch.ts";
import {
  EINVAL,
  ENOENT,
  ERESTART,
  type FakeTable,
  Refusal,
  tableKey,
  type Tables,
} from "./fake_table.ts";
import { getSubject, putChain, putFamily, putRule, putTable } from "./objects.ts";
import { putSet } from "./set.ts";
import {
  NFGENMSG,
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWGEN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NFT_RULE_MAXEXPRS,
  type NftFamily,
  nftFamilyName,
} from "./wire.ts";

/** A commit, as listeners hear of it. */
interface Heard {
  readonly port: number;
  readonly datagrams: Bytes[];
}

/** The ruleset of one fake namespace. Sockets are opened on it by `connect` and `listen`. */
export class FakeNft {
  tables: Tables = new Map();
  generation = 1;
  #handles = 0;
  #ports = 1000;
  #anonymous = 0;
  readonly #listeners = new Set<(heard: Heard) => void>();
  /** Batches that were committed, for tests that count. */
  commits = 0;

  /** Expressions in a rule: another kernel may take more. */
  longestRule = NFT_RULE_MAXEXPRS;

  /** Called before each batch is looked at: tests let others commit here, or refuse it (errno). */
  onBatch: ((port: number) => number | void) | undefined;

  /** A socket that asks and commits. */
  connect(): Transport & { readonly port: number } {
    const port = ++this.#ports;
    const waiting: Bytes[] = [];
    return {
      port,
      send: (datagram) => void waiting.push(...this.#serve(datagram, port)),
      sendAsync: (datagram) => {
        // As in the kernel: the datagram is read now, the caller hears of it later.
        waiting.push(...this.#serve(datagram, port));
        return Promise.resolve();
      },
      receive: () => waiting.shift(),
      close: () => void (waiting.length = 0),
    };
  }

  /** A socket that hears of every commit. `overflow` loses what waits, as a full buffer does. */
  listen(): Transport & { overflow(): void; leave(): void; join(): void } {
    const waiting: Bytes[] = [];
    let lost = false;
    const hear = (heard: Heard) => void waiting.push(...heard.datagrams);
    this.#listeners.add(hear);
    return {
      send: () => {
        throw new TypeError("a listening socket sends nothing");
      },
      sendAsync: () => Promise.reject(new TypeError("a listening socket sends nothing")),
      receive: () => {
        if (lost) {
          lost = false;
          throw new KernelError(105, "receive notifications");
        }
        return waiting.shift();
      },
      overflow: () => {
        waiting.length = 0;
        lost = true;
      },
      leave: () => void this.#listeners.delete(hear),
      join: () => void this.#listeners.add(hear),
      close: () => void this.#listeners.delete(hear),
    };
  }

  /** A table of a family; undefined if there is none. */
  table(family: NftFamily, name: string): FakeTable | undefined {
    return this.tables.get(tableKey(family, name));
  }

  #serve(datagram: Bytes, port: number): Bytes[] {
    const answers = new Answers(port);
    const message = new MessageCursor(datagram);
    while (message.next()) {
      if (message.type === NFNL_MSG_BATCH_BEGIN) this.#batch(message, answers, port);
      else this.#single(message, answers);
    }
    return answers.finish();
  }

  /** From BATCH_BEGIN, on which the cursor stands, to BATCH_END. */
  #batch(message: MessageCursor, answers: Answers, port: number): void {
    const begin = { type: message.type, flags: message.flags, sequence: message.sequence };
    let generation: number | undefined;
    for (const a = message.attributes(NFGENMSG); a.next();) {
      if (a.type === NFNL_BATCH_GENID) generation = a.be32();
    }
    const refusal = this.onBatch?.(port);
    const stale = generation !== undefined && generation !== this.generation;
    if (stale || refusal) {
      // The whole batch is passed over, and one answer carries the number of its beginning.
      while (message.next() && message.type !== NFNL_MSG_BATCH_END);
      answers.acknowledge(begin, new Refusal(stale ? ERESTART : refusal as number));
      return;
    }
    const work = new Work(
      this.tables,
      () => ++this.#handles,
      () => this.#anonymous++,
      this.longestRule,
    );
    const events: Bytes[] = [];
    let failed = false, ended = false;
    while (message.next()) {
      if (message.type === NFNL_MSG_BATCH_END) {
        ended = true;
        break;
      }
      const refused = work.change(message);
      if (refused) failed = true;
      if (refused || message.flags & NLM_F_ACK) answers.acknowledge(message, refused);
      else events.push(copyOf(message, port));
    }
    // Without its end a batch is discarded, though its messages were acknowledged.
    if (!ended || failed) return;
    const loop = work.validate();
    if (loop) return void answers.acknowledge(loop.message, new Refusal(loop.errno));
    if (!work.changed) return;
    this.tables = work.tables;
    this.generation++;
    this.commits++;
    events.push(this.#newGeneration(0, port));
    for (const hear of this.#listeners) hear({ port, datagrams: events });
  }

  #single(message: MessageCursor, answers: Answers): void {
    const isDump = (message.flags & NLM_F_DUMP) === NLM_F_DUMP;
    const { family, table, name } = getSubject(message);
    const number = message.u8(0);
    switch (message.type) {
      case NFT_MSG_GETGEN:
        answers.put(this.#newGeneration(message.sequence, answers.port));
        break;
      case NFT_MSG_GETTABLE:
        for (const found of this.tables.values()) {
          if (!isDump && (found.family !== family || found.name !== table)) continue;
          answers.object(message, NFT_MSG_NEWTABLE, (e) => putTable(e, found));
          if (!isDump) return answers.end(message);
        }
        if (!isDump) return answers.acknowledge(message, new Refusal(ENOENT));
        break;
      case NFT_MSG_GETCHAIN:
        for (const found of this.tables.values()) {
          if (number !== 0 && found.family !== nftFamilyName(number)) continue;
          for (const chain of found.chains.values()) {
            answers.object(
              message,
              NFT_MSG_NEWCHAIN,
              (e) => putChain(e, { ...chain, family: found.family, table: found.name }),
            );
          }
        }
        break;
      case NFT_MSG_GETRULE: {
        const found = family && this.table(family, table);
        for (const chain of found?.chains.values() ?? []) {
          if (name && chain.name !== name) continue;
          for (const rule of chain.rules) {
            answers.object(message, NFT_MSG_NEWRULE, (e) => putRule(e, rule), NLM_F_APPEND);
          }
        }
        break;
      }
      case NFT_MSG_GETSET: {
        const found = family && this.table(family, table);
        if (!found) return answers.acknowledge(message, new Refusal(ENOENT));
        for (const { set } of found.sets.values()) {
          answers.object(message, NFT_MSG_NEWSET, (e) => putSet(e, { ...set, id: undefined }));
        }
        break;
      }
      case NFT_MSG_GETSETELEM: {
        const set = family && this.table(family, table)?.sets.get(name);
        if (!set) return answers.acknowledge(message, new Refusal(ENOENT));
        const elements = [...set.elements.values()];
        for (let from = 0; from < elements.length;) {
          answers.object(
            message,
            NFT_MSG_NEWSETELEM,
            (e) => from = putElements(e, { ...set.set, id: undefined }, elements, from),
          );
        }
        break;
      }
      default:
        // A change outside a batch.
        return answers.acknowledge(message, new Refusal(EINVAL));
    }
    answers.end(message);
  }

  #newGeneration(sequence: number, port: number): Bytes {
    const encoder = new MessageEncoder().begin(NFT_MSG_NEWGEN, 0, sequence);
    putFamily(encoder, 0, this.generation & 0xffff);
    encoder.attrBe32(1, this.generation).attrBe32(2, port).attrString(3, "fake").end();
    return stamp(encoder.finish().slice(), port);
  }
}

/** The message under the cursor, as the kernel sends it to listeners. */
function copyOf(message: MessageCursor, port: number): Bytes {
  const encoder = new MessageEncoder(message.end - message.start + 32);
  encoder.begin(message.type, message.flags & ~1, message.sequence).putBytes(message.bytes()).end();
  return stamp(encoder.finish().slice(), port);
}

function stamp(datagram: Bytes, port: number): Bytes {
  new DataView(datagram.buffer, datagram.byteOffset).setUint32(12, port, true);
  return datagram;
}

/** Collects answers into datagrams. */
class Answers {
  readonly #datagrams: Bytes[] = [];
  readonly #encoder = new MessageEncoder();
  constructor(readonly port: number) {}

  put(datagram: Bytes): void {
    this.#flush();
    this.#datagrams.push(datagram);
  }

  object(
    request: MessageCursor,
    type: number,
    write: (encoder: MessageEncoder) => void,
    flags = 0,
  ): void {
    if (this.#encoder.length > 30_000) this.#flush();
    const isDump = (request.flags & NLM_F_DUMP) === NLM_F_DUMP;
    this.#encoder.begin(type, flags | (isDump ? NLM_F_MULTI : 0), request.sequence);
    write(this.#encoder);
    this.#encoder.end();
  }

  /** DONE of a dump, or the acknowledgement that was asked for. */
  end(request: MessageCursor): void {
    if ((request.flags & NLM_F_DUMP) === NLM_F_DUMP) {
      this.#encoder.begin(NLMSG_DONE, NLM_F_MULTI, request.sequence).putU32(0).end();
    } else if (request.flags & NLM_F_ACK) {
      this.acknowledge(request);
    }
  }

  acknowledge(
    request: { readonly type: number; readonly flags: number; readonly sequence: number },
    refusal?: Refusal,
  ): void {
    const words = refusal?.offset !== undefined;
    this.#encoder.begin(
      NLMSG_ERROR,
      NLM_F_CAPPED | (words ? NLM_F_ACK_TLVS : 0),
      request.sequence,
    );
    this.#encoder.putU32(-(refusal?.errno ?? 0) >>> 0);
    this.#encoder.putU32(16).putU16(request.type).putU16(request.flags);
    this.#encoder.putU32(request.sequence).putU32(0);
    if (refusal?.offset !== undefined) {
      this.#encoder.attrU32(NLMSGERR_ATTR_OFFS, refusal.offset);
    }
    this.#encoder.end();
  }

  finish(): Bytes[] {
    this.#flush();
    return this.#datagrams;
  }

  #flush(): void {
    if (this.#encoder.length) this.#datagrams.push(new Uint8Array(this.#encoder.finish()));
    this.#encoder.reset();
  }
}
