/**
 * A conversation with nf_tables: read what is there, commit transactions. It runs over a Connection
 * and so over the kernel or over a fake one.
 *
 * Reading: a table is several dumps, and others may commit between two of them. Who reads one asks for
 * the generation before and after; equal means that what was read is of one piece.
 *
 * Committing: the kernel works inside send(2), and its refusals wait when it comes back; no
 * acknowledgement is asked for, because it would prove nothing (see transaction.ts). A big batch is
 * sent on another thread, for the kernel takes milliseconds for it.
 */
import { isKernelError, KernelError } from "../errors.ts";
import { toKernelError } from "../netlink/acknowledgement.ts";
import type { BatchAnswer, Connection } from "../netlink/connection.ts";
import { AttributeCursor, type MessageCursor } from "../netlink/decoder.ts";
import type { Bytes, MessageEncoder } from "../netlink/encoder.ts";
import { getElements, type NftElement } from "./elements.ts";
import { explainRefusals, StaleGenerationError, TransactionError } from "./errors.ts";
import {
  getChain,
  getRule,
  getRuleHead,
  getTable,
  type NftChain,
  type NftRule,
  type NftRuleHead,
  type NftTable,
  putFamily,
  putRuleName,
  putTable,
} from "./objects.ts";
import { getSet, type NftSet, type NftSetRef, putSetName } from "./set.ts";
import { Transaction } from "./transaction.ts";
import {
  NFGENMSG,
  NFT_MSG_GETCHAIN,
  NFT_MSG_GETGEN,
  NFT_MSG_GETRULE,
  NFT_MSG_GETSET,
  NFT_MSG_GETSETELEM,
  NFT_MSG_GETTABLE,
  type NftFamily,
  nftFamilyNumber,
} from "./wire.ts";

export interface NftClientOptions {
  /** Makes room for a datagram of so many bytes in the socket's send buffer. */
  readonly reserveSend?: (bytes: number) => void;
  /** Batches from this size on are sent on another thread. Default 32 KiB. */
  readonly asyncFrom?: number;
}

/** A table's name and family. */
export interface TableName {
  readonly family: NftFamily;
  readonly name: string;
}

/** How a long reading goes about. */
export interface Reading {
  /** Called between datagrams. Default `inTurns()`. */
  readonly pause?: () => Promise<void> | void;
  /**
   * Takes what was read though somebody committed meanwhile: for callers who hear of commits and know
   * whether one was in this table. On a machine where others commit all the time no long reading comes
   * to its end otherwise.
   */
  readonly despiteCommits?: boolean;
}

/** Lets others have their turn once we have had `milliseconds` without a break. */
export function inTurns(milliseconds = 4): () => Promise<void> | void {
  let began = performance.now();
  return () => {
    if (performance.now() - began < milliseconds) return;
    return new Promise((resolve) =>
      setTimeout(() => {
        began = performance.now();
        resolve();
      }, 0)
    );
  };
}

function elementsDump(set: NftSetRef) {
  return [
    `list elements of set ${set.name} of table ${set.family} ${set.table}`,
    NFT_MSG_GETSETELEM,
    (e: MessageEncoder) => putSetName(e, { family: set.family, table: set.table, name: set.name }),
    (m: MessageCursor) => {
      const list: NftElement[] = [];
      getElements(m, (element) => list.push(element));
      return list;
    },
  ] as const;
}

export class NftClient {
  readonly #connection: Connection;
  readonly #reserveSend: (bytes: number) => void;
  readonly #asyncFrom: number;
  #port = 0;

  constructor(connection: Connection, options: NftClientOptions = {}) {
    this.#connection = connection;
    this.#reserveSend = options.reserveSend ?? (() => {});
    this.#asyncFrom = options.asyncFrom ?? 32 * 1024;
  }

  /** The present generation: it grows by one with every commit of anybody in this namespace. */
  generation(): number {
    let generation = 0;
    this.#connection.request(
      "get nf_tables generation",
      NFT_MSG_GETGEN,
      0,
      (e) => putFamily(e, 0),
      (m) => {
        this.#port = m.port;
        for (const a = m.attributes(NFGENMSG); a.next();) if (a.type === 1) generation = a.be32();
      },
    );
    return generation;
  }

  /** The port id of our socket, by which notifications tell who committed. */
  get port(): number {
    if (this.#port === 0) this.generation();
    return this.#port;
  }

  tables(): NftTable[] {
    return this.#connection.dump("list tables", NFT_MSG_GETTABLE, (e) => putFamily(e, 0), getTable);
  }

  /** Undefined: there is none of that name. */
  table(name: TableName): NftTable | undefined {
    let table: NftTable | undefined;
    try {
      this.#connection.request(
        `get table ${name.family} ${name.name}`,
        NFT_MSG_GETTABLE,
        0,
        (e) => putTable(e, { family: name.family, name: name.name }),
        (m) => table = getTable(m),
      );
    } catch (error) {
      if (!isKernelError(error, "ENOENT")) throw error;
    }
    return table;
  }

  chains(table: TableName): NftChain[] {
    return this.#connection.dump(
      `list chains of table ${table.family} ${table.name}`,
      NFT_MSG_GETCHAIN,
      (e) => putFamily(e, nftFamilyNumber(table.family)),
      // The kernel lists the chains of all tables of the family.
      (m) => {
        const chain = getChain(m);
        return chain?.table === table.name && chain.family === table.family ? chain : undefined;
      },
    );
  }

  /** The rules of a table, or of one chain, with all that they say. */
  rules(table: TableName, chain?: string): NftRule[] {
    return this.#rules(table, chain, getRule);
  }

  /** As rules, without their expressions: of thousands of rules that is what one wants to read. */
  ruleHeads(table: TableName, chain?: string): NftRuleHead[] {
    const cursor = new AttributeCursor();
    return this.#rules(table, chain, (m) => getRuleHead(m, cursor));
  }

  /** Anonymous sets among them. */
  sets(table: TableName): NftSet[] {
    return this.#connection.dump(
      `list sets of table ${table.family} ${table.name}`,
      NFT_MSG_GETSET,
      (e) => putSetName(e, { family: table.family, table: table.name }),
      getSet,
    );
  }

  elements(set: NftSetRef): NftElement[] {
    return this.#connection.dump(...elementsDump(set)).flat();
  }

  /** As elements, for sets that may be large: lets the event loop live while the kernel lists them. */
  async elementsInTurns(set: NftSetRef, reading: Reading = {}): Promise<NftElement[]> {
    const { pause = inTurns(), despiteCommits } = reading;
    return (await this.#connection.dumpInTurns(...elementsDump(set), pause, despiteCommits)).flat();
  }

  /**
   * Reads the rules of a table, chain by chain, in their order. `read` is given the head of each and a
   * cursor that stands on its expressions. Lets the event loop live meanwhile.
   */
  rulesInTurns<T>(
    table: TableName,
    read: (head: NftRuleHead, expressions: AttributeCursor) => T,
    reading: Reading = {},
  ): Promise<T[]> {
    const { pause = inTurns(), despiteCommits } = reading;
    const cursor = new AttributeCursor(), expressions = new AttributeCursor();
    return this.#connection.dumpInTurns(
      `list rules of table ${table.family} ${table.name}`,
      NFT_MSG_GETRULE,
      (e) => putRuleName(e, { family: table.family, table: table.name }),
      (m) => read(getRuleHead(m, cursor, expressions), expressions),
      pause,
      despiteCommits,
    );
  }

  /** A new transaction. With a generation it is refused if another has committed since. */
  begin(generation?: number): Transaction {
    return new Transaction({ generation, nextSequence: () => this.#connection.nextSequence() });
  }

  /**
   * Commits. Throws StaleGenerationError, or TransactionError with every message that was refused;
   * in both cases nothing was done. A KernelError with ENOBUFS: answers were lost, and it may be done
   * or not. `elsewhere`: on another thread, whatever its size, because the kernel will take long.
   * Between call and answer the client can do nothing else.
   */
  async commit(transaction: Transaction, elsewhere = false): Promise<void> {
    const datagram = transaction.finish();
    if (datagram.length < this.#asyncFrom && !elsewhere) return this.commitNow(transaction);
    this.#reserveSend(datagram.length);
    this.#judge(transaction, datagram, await this.#connection.exchangeAsync(datagram));
  }

  /** As commit, on this thread: for small batches, done when it returns. */
  commitNow(transaction: Transaction): void {
    const datagram = transaction.finish();
    this.#reserveSend(datagram.length);
    this.#judge(transaction, datagram, this.#connection.exchange(datagram));
  }

  close(): void {
    this.#connection.close();
  }

  #judge(transaction: Transaction, datagram: Bytes, answer: BatchAnswer): void {
    for (const refusal of answer.refused) {
      if (refusal.sequence !== transaction.first) continue;
      // Errors of the batch as a whole come with the number of BATCH_BEGIN.
      const error = toKernelError(refusal, "nf_tables transaction");
      if (error.code === "ERESTART") throw new StaleGenerationError(transaction.generation ?? 0);
      throw error;
    }
    if (answer.refused.length > 0) {
      throw new TransactionError(explainRefusals(datagram, answer.refused));
    }
    if (answer.lost) {
      throw new KernelError(105, "nf_tables transaction", {
        detail: "answers were lost; it may be done or not",
      });
    }
  }

  #rules<T>(
    table: TableName,
    chain: string | undefined,
    decode: (message: MessageCursor) => T | undefined,
  ): T[] {
    return this.#connection.dump(
      `list rules of table ${table.family} ${table.name}`,
      NFT_MSG_GETRULE,
      (e) => putRuleName(e, { family: table.family, table: table.name, chain }),
      decode,
    );
  }
}
