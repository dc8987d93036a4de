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
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_MULTI,
  NLM_F_REPLACE,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSGERR_ATTR_OFFS,
} from "../netlink/constants.ts";
import { KernelError } from "../errors.ts";
import { MessageCursor } from "../netlink/decoder.ts";
import { type Bytes, MessageEncoder } from "../netlink/encoder.ts";
import type { Transport } from "../netlink/transport.ts";
import { compareElements, getElements, isEnd, type NftElement, putElements } from "./elements.ts";
import type { Expression } from "./expr.ts";
import {
  getChain,
  getRule,
  getSubject,
  getTable,
  type NftBase,
  type NftRule,
  putChain,
  putFamily,
  putRule,
  putTable,
} from "./objects.ts";
import { getSet, type NftSet, putSet } from "./set.ts";
import {
  NFGENMSG,
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
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
  NFT_SET_ANONYMOUS,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  type NftFamily,
  nftFamilyName,
} from "./wire.ts";

const ENOENT = 2, EBUSY = 16, EEXIST = 17, EINVAL = 22, EMLINK = 31, ERESTART = 85, EOPNOTSUPP = 95;
/** Deepest chain of jumps that the kernel follows. */
const jumpStack = 16;

export interface FakeRule extends NftRule {
  readonly handle: number;
}

export interface FakeChain {
  readonly name: string;
  readonly base?: NftBase;
  readonly rules: readonly FakeRule[];
}

export interface FakeSet {
  readonly set: NftSet;
  readonly elements: ReadonlyMap<string, NftElement>;
}

export interface FakeTable {
  readonly family: NftFamily;
  readonly name: string;
  /** 1 dormant. */
  readonly flags: number;
  readonly chains: ReadonlyMap<string, FakeChain>;
  readonly sets: ReadonlyMap<string, FakeSet>;
}

/** What a message is refused with. */
class Refusal {
  constructor(readonly errno: number, readonly offset?: number) {}
}

type Tables = ReadonlyMap<string, FakeTable>;

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
    const work = new Work(this.tables, () => ++this.#handles, () => this.#anonymous++);
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

function tableKey(family: NftFamily, name: string): string {
  return `${family} ${name}`;
}

/** A map key for an element: its bytes, and whether it ends an interval. */
function elementKey(element: NftElement): string {
  const end = isEnd(element) ? "e" : "";
  return element.key.join() + end + (element.keyEnd ? `-${element.keyEnd.join()}` : "");
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

/** Offset of a message's attribute that names its chain or set: behind header, nfgenmsg and table. */
function nameOffset(message: MessageCursor, wanted: number): number {
  for (const a = message.attributes(NFGENMSG); a.next();) {
    if (a.type === wanted) return a.start - 4 - message.start + 16;
  }
  return 16 + NFGENMSG;
}

interface ChangingTable {
  family: NftFamily;
  name: string;
  flags: number;
  chains: Map<string, FakeChain>;
  sets: Map<string, FakeSet>;
}

/** A batch at work on a copy of the tables. */
class Work {
  readonly #tables: Map<string, FakeTable>;
  /** Tables of which this batch has a copy of its own. */
  readonly #own = new Map<string, ChangingTable>();
  /** Sets made in this batch, by their id. */
  readonly #byId = new Map<number, string>();
  /** The rule or element that was last added to lead to a chain: it is blamed for a circle. */
  readonly #leads: { type: number; flags: number; sequence: number }[] = [];
  /** The message that last added to an interval set: it is blamed for an overlap. */
  readonly #intervals = new Map<NftSet, { type: number; flags: number; sequence: number }>();
  changed = false;

  constructor(
    tables: Tables,
    readonly nextHandle: () => number,
    readonly nextAnonymous: () => number,
  ) {
    this.#tables = new Map(tables);
  }

  get tables(): Tables {
    return this.#tables;
  }

  change(message: MessageCursor): Refusal | undefined {
    switch (message.type) {
      case NFT_MSG_NEWTABLE:
        return this.#newTable(message);
      case NFT_MSG_DELTABLE:
        return this.#deleteTable(message);
      case NFT_MSG_NEWCHAIN:
        return this.#newChain(message);
      case NFT_MSG_DELCHAIN:
        return this.#deleteChain(message);
      case NFT_MSG_NEWRULE:
        return this.#newRule(message);
      case NFT_MSG_DELRULE:
        return this.#deleteRules(message);
      case NFT_MSG_NEWSET:
        return this.#newSet(message);
      case NFT_MSG_DELSET:
        return this.#deleteSet(message);
      case NFT_MSG_NEWSETELEM:
      case NFT_MSG_DELSETELEM:
        return this.#elements(message);
      default:
        return new Refusal(EOPNOTSUPP);
    }
  }

  /** At commit: circles and depth of what base chains lead to, and intervals that overlap. */
  validate(): { message: { type: number; flags: number; sequence: number }; errno: number } | void {
    for (const table of this.#own.values()) {
      for (const set of table.sets.values()) {
        const message = this.#intervals.get(set.set);
        if (message && !areIntervals(set)) return { message, errno: EEXIST };
      }
      const depths = new Map<string, number>();
      const depth = (name: string, above: readonly string[]): number => {
        if (above.includes(name) || above.length > jumpStack) return Infinity;
        const known = depths.get(name);
        if (known !== undefined) return known;
        const chain = table.chains.get(name);
        let deepest = 0;
        for (const to of chain ? chainTargets(chain, table) : []) {
          deepest = Math.max(deepest, 1 + depth(to, [...above, name]));
        }
        depths.set(name, deepest);
        return deepest;
      };
      for (const chain of table.chains.values()) {
        if (!chain.base || depth(chain.name, []) <= jumpStack) continue;
        const message = this.#leads.at(-1);
        if (message) return { message, errno: EMLINK };
      }
    }
  }

  #newTable(message: MessageCursor): Refusal | undefined {
    const table = getTable(message);
    if (!table) return new Refusal(EOPNOTSUPP);
    const key = tableKey(table.family, table.name);
    const flags = table.flags ?? 0;
    if (this.#tables.has(key)) {
      if (message.flags & NLM_F_EXCL) return new Refusal(EEXIST);
      const found = this.#table(message) as ChangingTable;
      if (found.flags !== flags) this.changed = true;
      found.flags = flags;
      return;
    }
    const { family, name } = table;
    const own = { family, name, flags, chains: new Map(), sets: new Map() };
    this.#tables.set(key, own);
    this.#own.set(key, own);
    this.changed = true;
  }

  #deleteTable(message: MessageCursor): Refusal | undefined {
    const { family, table } = getSubject(message);
    const key = family ? tableKey(family, table) : "";
    if (!this.#tables.delete(key)) return new Refusal(ENOENT, nameOffset(message, 1));
    this.#own.delete(key);
    this.changed = true;
  }

  /** The table that a message is about, as this batch's own copy. */
  #table(message: MessageCursor): ChangingTable | Refusal {
    const { family, table } = getSubject(message);
    const key = family ? tableKey(family, table) : "";
    const own = this.#own.get(key);
    if (own) return own;
    const found = this.#tables.get(key);
    if (!found) return new Refusal(ENOENT, nameOffset(message, 1));
    const copy: ChangingTable = {
      family: found.family,
      name: found.name,
      flags: found.flags,
      chains: new Map(found.chains),
      sets: new Map(found.sets),
    };
    this.#own.set(key, copy);
    this.#tables.set(key, copy);
    return copy;
  }

  #newChain(message: MessageCursor): Refusal | undefined {
    const table = this.#table(message);
    if (table instanceof Refusal) return table;
    const chain = getChain(message)!;
    const found = table.chains.get(chain.name);
    if (!found) {
      const base = chain.base && { ...chain.base, policy: chain.base.policy ?? "accept" };
      table.chains.set(chain.name, { name: chain.name, base, rules: [] });
      this.changed = true;
      return;
    }
    if (message.flags & NLM_F_EXCL) return new Refusal(EEXIST, nameOffset(message, 3));
    if (!chain.base) return;
    const { type, hook, priority, policy } = chain.base;
    const old = found.base;
    if (!old || old.type !== type || old.hook !== hook || old.priority !== priority) {
      return new Refusal(EOPNOTSUPP, nameOffset(message, 3));
    }
    if (policy && policy !== old.policy) {
      table.chains.set(chain.name, { ...found, base: { ...old, policy } });
    }
    // The kernel counts an update as a change, whether it changes anything or not.
    this.changed = true;
  }

  #deleteChain(message: MessageCursor): Refusal | undefined {
    const table = this.#table(message);
    if (table instanceof Refusal) return table;
    const name = getChain(message)!.name;
    if (!table.chains.has(name)) return new Refusal(ENOENT, nameOffset(message, 3));
    if (isTarget(table, name)) return new Refusal(EBUSY, nameOffset(message, 3));
    table.chains.delete(name);
    dropUnusedAnonymous(table);
    this.changed = true;
  }

  #newRule(message: MessageCursor): Refusal | undefined {
    const table = this.#table(message);
    if (table instanceof Refusal) return table;
    const asked = getRule(message)!;
    const chain = table.chains.get(asked.chain);
    if (!chain) return new Refusal(ENOENT, nameOffset(message, 2));
    const expressions: Expression[] = [];
    for (const expression of asked.expressions) {
      const bound = this.#bind(table, expression);
      if (bound instanceof Refusal) return bound;
      expressions.push(bound);
    }
    const rules = [...chain.rules];
    const named = asked.handle ?? asked.position;
    const at = named === undefined ? -1 : rules.findIndex((rule) => rule.handle === named);
    if (named !== undefined && at < 0) return new Refusal(ENOENT, nameOffset(message, 3));
    const rule: FakeRule = {
      ...asked,
      position: undefined,
      expressions,
      handle: message.flags & NLM_F_REPLACE ? named! : this.nextHandle(),
    };
    if (message.flags & NLM_F_REPLACE) rules.splice(at, 1, rule);
    else if (!(message.flags & NLM_F_CREATE)) return new Refusal(ENOENT);
    else if (message.flags & NLM_F_APPEND) rules.splice(at < 0 ? rules.length : at + 1, 0, rule);
    else rules.splice(at < 0 ? 0 : at, 0, rule);
    table.chains.set(chain.name, { ...chain, rules });
    dropUnusedAnonymous(table, this.#byId);
    this.#leads.push(pick(message));
    this.changed = true;
  }

  /** Looks up what an expression names; a set made in this batch is named by its id. */
  #bind(table: ChangingTable, expression: Expression): Expression | Refusal {
    if (expression.kind === "lookup") {
      const byId = expression.setId === undefined ? undefined : this.#byId.get(expression.setId);
      const name = table.sets.has(expression.set) ? expression.set : byId;
      if (name === undefined || !table.sets.has(name)) return new Refusal(ENOENT);
      return { ...expression, set: name, setId: undefined };
    }
    const verdict = expression.kind === "immediate" ? expression.data.verdict : undefined;
    if (verdict && "chain" in verdict) {
      const to = table.chains.get(verdict.chain);
      if (!to) return new Refusal(ENOENT);
      if (to.base) return new Refusal(EOPNOTSUPP);
    }
    return expression;
  }

  #deleteRules(message: MessageCursor): Refusal | undefined {
    const table = this.#table(message);
    if (table instanceof Refusal) return table;
    const { chain: name, handle } = getRule(message)!;
    if (name && !table.chains.has(name)) return new Refusal(ENOENT, nameOffset(message, 2));
    for (const chain of [...table.chains.values()]) {
      if (name && chain.name !== name) continue;
      const rules = handle === undefined ? [] : chain.rules.filter((r) => r.handle !== handle);
      if (handle !== undefined && rules.length === chain.rules.length) {
        return new Refusal(ENOENT, nameOffset(message, 3));
      }
      if (rules.length !== chain.rules.length) this.changed = true;
      table.chains.set(chain.name, { ...chain, rules });
    }
    dropUnusedAnonymous(table);
  }

  #newSet(message: MessageCursor): Refusal | undefined {
    const table = this.#table(message);
    if (table instanceof Refusal) return table;
    const set = getSet(message)!;
    let name = set.name;
    if (name.includes("%d")) name = name.replace("%d", String(this.nextAnonymous()));
    if (set.id !== undefined) this.#byId.set(set.id, name);
    const found = table.sets.get(name)?.set;
    if (found) {
      const isSame = found.flags === set.flags && found.keyLength === set.keyLength &&
        found.keyType === set.keyType && found.dataType === set.dataType;
      return isSame && !(message.flags & NLM_F_EXCL) ? undefined : new Refusal(EEXIST);
    }
    table.sets.set(name, { set: { ...set, name }, elements: new Map() });
    this.changed = true;
  }

  #deleteSet(message: MessageCursor): Refusal | undefined {
    const table = this.#table(message);
    if (table instanceof Refusal) return table;
    const { name } = getSet(message)!;
    if (!table.sets.has(name)) return new Refusal(ENOENT, nameOffset(message, 2));
    if (isLookedUp(table, name)) return new Refusal(EBUSY, nameOffset(message, 2));
    table.sets.delete(name);
    this.changed = true;
  }

  #elements(message: MessageCursor): Refusal | undefined {
    const table = this.#table(message);
    if (table instanceof Refusal) return table;
    const { name: asked } = getSubject(message);
    let id: number | undefined;
    for (const a = message.attributes(NFGENMSG); a.next();) if (a.type === 4) id = a.be32();
    const byId = id === undefined ? undefined : this.#byId.get(id);
    const name = table.sets.has(asked) ? asked : byId;
    const found = name === undefined ? undefined : table.sets.get(name);
    if (!found) return new Refusal(ENOENT, nameOffset(message, 2));
    const elements = new Map(found.elements);
    const wanted: NftElement[] = [];
    let listed = false;
    for (const a = message.attributes(NFGENMSG); a.next();) if (a.type === 3) listed = true;
    getElements(message, (element) => wanted.push(element));
    if (message.type === NFT_MSG_DELSETELEM) {
      if (!listed) elements.clear();
      for (const element of wanted) {
        if (!elements.delete(elementKey(element))) return new Refusal(ENOENT);
      }
    } else {
      for (const element of wanted) {
        const refused = addElement(table, found.set, elements, element, message.flags);
        if (refused) return refused;
      }
    }
    if (elements.size !== found.elements.size || wanted.length) this.changed = true;
    table.sets.set(found.set.name, { set: found.set, elements });
    this.#leads.push(pick(message));
    if (found.set.flags & NFT_SET_INTERVAL && !found.set.fields) {
      this.#intervals.set(found.set, pick(message));
    }
  }
}

function pick(message: MessageCursor): { type: number; flags: number; sequence: number } {
  return { type: message.type, flags: message.flags, sequence: message.sequence };
}

function addElement(
  table: ChangingTable,
  set: NftSet,
  elements: Map<string, NftElement>,
  element: NftElement,
  flags: number,
): Refusal | undefined {
  if (element.key.length !== set.keyLength) return new Refusal(EINVAL);
  if (set.flags & NFT_SET_MAP && !element.data && !isEnd(element)) return new Refusal(EINVAL);
  const verdict = element.data?.verdict;
  if (verdict && "chain" in verdict && !table.chains.has(verdict.chain)) {
    return new Refusal(ENOENT);
  }
  const key = elementKey(element);
  const old = elements.get(key);
  if (old) {
    if (flags & NLM_F_EXCL) return new Refusal(EEXIST);
    const sameData = JSON.stringify(old.data?.verdict) === JSON.stringify(verdict);
    return sameData ? undefined : new Refusal(EEXIST);
  }
  elements.set(key, element);
}

/** Whether the elements of a set of one field are beginnings and ends by turns. */
function areIntervals(set: FakeSet): boolean {
  const sorted = [...set.elements.values()].sort(compareElements);
  let open = false;
  for (const [i, element] of sorted.entries()) {
    // nft puts an end before the first beginning.
    if (isEnd(element) ? !open && i > 0 : open) return false;
    open = !isEnd(element);
  }
  return true;
}

/** Chains to which the rules of a chain lead, by jump, goto or map. */
function chainTargets(chain: FakeChain, table: FakeTable): string[] {
  const targets: string[] = [];
  for (const rule of chain.rules) {
    for (const expression of rule.expressions) {
      if (expression.kind === "immediate") {
        const { verdict } = expression.data;
        if (verdict && "chain" in verdict) targets.push(verdict.chain);
      } else if (expression.kind === "lookup" && expression.dreg === 0) {
        for (const { data } of table.sets.get(expression.set)?.elements.values() ?? []) {
          if (data?.verdict && "chain" in data.verdict) targets.push(data.verdict.chain);
        }
      }
    }
  }
  return targets;
}

function isTarget(table: ChangingTable, name: string): boolean {
  for (const chain of table.chains.values()) {
    // Rules of the chain itself go with it.
    if (chain.name === name) continue;
    for (const rule of chain.rules) {
      for (const expression of rule.expressions) {
        const verdict = expression.kind === "immediate" ? expression.data.verdict : undefined;
        if (verdict && "chain" in verdict && verdict.chain === name) return true;
      }
    }
  }
  for (const { elements } of table.sets.values()) {
    for (const { data } of elements.values()) {
      if (data?.verdict && "chain" in data.verdict && data.verdict.chain === name) return true;
    }
  }
  return false;
}

function isLookedUp(table: ChangingTable, name: string): boolean {
  for (const chain of table.chains.values()) {
    for (const rule of chain.rules) {
      if (rule.expressions.some((e) => e.kind === "lookup" && e.set === name)) return true;
    }
  }
  return false;
}

/** An anonymous set goes with the rule that was made with it. */
function dropUnusedAnonymous(table: ChangingTable, made = new Map<number, string>()): void {
  const pending = new Set(made.values());
  for (const { set } of [...table.sets.values()]) {
    if (!(set.flags & NFT_SET_ANONYMOUS) || pending.has(set.name)) continue;
    if (!isLookedUp(table, set.name)) table.sets.delete(set.name);
  }
}
