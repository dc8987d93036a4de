/**
 * A transaction: messages between BATCH_BEGIN and BATCH_END in one datagram, which the kernel does as
 * a whole or not at all. Within it, later messages see what earlier ones made and no longer see what
 * they deleted; packets see the whole change at one instant.
 *
 * A transaction may name the generation of the ruleset that it was computed from. If another has
 * committed since, the kernel refuses it whole (StaleGenerationError) and the caller computes again.
 *
 * An acknowledgement of a message is no proof of anything: in a batch that fails elsewhere, the good
 * messages are acknowledged all the same. So none is asked for; there was a commit if no message was
 * refused.
 */
import { type Bytes, MessageEncoder } from "../netlink/encoder.ts";
import {
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  NLM_F_REQUEST,
} from "../netlink/constants.ts";
import { type NftElement, putElements, putElementsName } from "./elements.ts";
import {
  type NftChain,
  type NftCounter,
  type NftRule,
  type NftTable,
  putChain,
  putCounter,
  putFamily,
  putRule,
  putRuleName,
  putTable,
} from "./objects.ts";
import { type NftSet, type NftSetRef, putSet, putSetName } from "./set.ts";
import {
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWOBJ,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  type NftFamily,
} from "./wire.ts";

export interface TransactionOptions {
  /** Generation that the change was computed from; without it the kernel does not compare. */
  readonly generation?: number;
  /** A number for the next message; without it 0, 1, 2, …, as nft numbers them. */
  readonly nextSequence?: () => number;
}

interface ChainName {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
}

/** Where a new rule goes: at the end or the head of its chain, behind or before another rule. */
export type RulePlace = "append" | "prepend" | { readonly after: number } | {
  readonly before: number;
};

export class Transaction {
  readonly #encoder: MessageEncoder;
  readonly #nextSequence: () => number;
  /** Sequence number of BATCH_BEGIN, which carries the errors of the batch as a whole. */
  readonly first: number;
  /** Generation that the change was computed from. */
  readonly generation?: number;
  #messages = 0;
  #setIds = 0;
  #finished = false;

  constructor(options: TransactionOptions = {}) {
    let sequence = 0;
    this.#nextSequence = options.nextSequence ?? (() => sequence++);
    this.#encoder = new MessageEncoder(1 << 12);
    this.first = this.#nextSequence();
    this.generation = options.generation;
    this.#encoder.begin(NFNL_MSG_BATCH_BEGIN, NLM_F_REQUEST, this.first);
    putFamily(this.#encoder, 0, NFNL_SUBSYS_NFTABLES);
    if (options.generation !== undefined) {
      this.#encoder.attrBe32(NFNL_BATCH_GENID, options.generation);
    }
    this.#encoder.end();
  }

  /** Messages between begin and end. */
  get messages(): number {
    return this.#messages;
  }

  /** Bytes so far. */
  get size(): number {
    return this.#encoder.length;
  }

  /** A number for a set of this transaction, by which its elements and rules can name it. */
  nextSetId(): number {
    return ++this.#setIds;
  }

  /** A table that is there already stays as it is. */
  addTable(table: NftTable): this {
    // nft sends a table without CREATE; the kernel does not ask for it.
    return this.#put(NFT_MSG_NEWTABLE, 0, (e) => putTable(e, { flags: 0, ...table }));
  }

  /** With all that is in it. */
  deleteTable(table: { family: NftFamily; name: string }): this {
    return this.#put(
      NFT_MSG_DELTABLE,
      0,
      (e) => putTable(e, { family: table.family, name: table.name }),
    );
  }

  /** A chain that is there stays; of a base chain the policy is changed. */
  addChain(chain: NftChain): this {
    return this.#put(NFT_MSG_NEWCHAIN, NLM_F_CREATE, (e) => putChain(e, chain));
  }

  /** Refused (EBUSY) while a rule or an element leads to it. Rules in it go with it. */
  deleteChain(chain: ChainName): this {
    return this.#put(
      NFT_MSG_DELCHAIN,
      0,
      (e) => putChain(e, { family: chain.family, table: chain.table, name: chain.name }),
    );
  }

  /** Deletes the rules of a chain. */
  flushChain(chain: ChainName): this {
    return this.#put(
      NFT_MSG_DELRULE,
      0,
      (e) => putRuleName(e, { family: chain.family, table: chain.table, chain: chain.name }),
    );
  }

  addRule(rule: NftRule, place: RulePlace = "append"): this {
    if (place === "append") return this.#rule(rule, NLM_F_CREATE | NLM_F_APPEND);
    if (place === "prepend") return this.#rule(rule, NLM_F_CREATE);
    return "after" in place
      ? this.#rule({ ...rule, position: place.after }, NLM_F_CREATE | NLM_F_APPEND)
      : this.#rule({ ...rule, position: place.before }, NLM_F_CREATE);
  }

  /** Puts the rule in the place of the one with its handle. */
  replaceRule(rule: NftRule & { readonly handle: number }): this {
    return this.#rule(rule, NLM_F_REPLACE);
  }

  deleteRule(rule: { family: NftFamily; table: string; chain: string; handle: number }): this {
    return this.#put(NFT_MSG_DELRULE, 0, (e) => putRuleName(e, rule));
  }

  /** A set that is there already stays; EEXIST where it is another kind of set. */
  addSet(set: NftSet): this {
    return this.#put(NFT_MSG_NEWSET, NLM_F_CREATE, (e) => putSet(e, set));
  }

  /** Refused (EBUSY) while a rule looks things up in it. */
  deleteSet(set: NftSetRef): this {
    return this.#put(
      NFT_MSG_DELSET,
      0,
      (e) => putSetName(e, { family: set.family, table: set.table, name: set.name }),
    );
  }

  /**
   * As many messages as the list needs. Elements that are there already stay, unless `exclusive`:
   * then they are refused with EEXIST.
   */
  addElements(set: NftSetRef, elements: readonly NftElement[], exclusive = false): this {
    return this.#elements(
      NFT_MSG_NEWSETELEM,
      NLM_F_CREATE | (exclusive ? NLM_F_EXCL : 0),
      set,
      elements,
    );
  }

  /** An element that is not there is refused with ENOENT. */
  deleteElements(set: NftSetRef, elements: readonly NftElement[]): this {
    return this.#elements(NFT_MSG_DELSETELEM, 0, set, elements);
  }

  /** Deletes all elements of a set. */
  flushSet(set: NftSetRef): this {
    return this.#put(NFT_MSG_DELSETELEM, 0, (e) => putElementsName(e, set));
  }

  addCounter(counter: NftCounter): this {
    return this.#put(NFT_MSG_NEWOBJ, NLM_F_CREATE, (e) => putCounter(e, counter));
  }

  /** The datagram, BATCH_END included. Nothing can be added afterwards. */
  finish(): Bytes {
    if (!this.#finished) {
      this.#encoder.begin(NFNL_MSG_BATCH_END, NLM_F_REQUEST, this.#nextSequence());
      putFamily(this.#encoder, 0, NFNL_SUBSYS_NFTABLES);
      this.#encoder.end();
      this.#finished = true;
    }
    return this.#encoder.finish();
  }

  #rule(rule: NftRule, flags: number): this {
    return this.#put(NFT_MSG_NEWRULE, flags, (e) => putRule(e, rule));
  }

  #elements(
    type: number,
    flags: number,
    set: NftSetRef,
    elements: readonly NftElement[],
  ): this {
    for (let from = 0; from < elements.length;) {
      this.#put(type, flags, (e) => from = putElements(e, set, elements, from));
    }
    return this;
  }

  #put(type: number, flags: number, write: (encoder: MessageEncoder) => void): this {
    if (this.#finished) throw new TypeError("the transaction is finished");
    this.#encoder.begin(type, NLM_F_REQUEST | flags, this.#nextSequence());
    write(this.#encoder);
    this.#encoder.end();
    this.#messages++;
    return this;
  }
}
