/**
 * A batch of the fake nf_tables kernel (fake.ts) at work: every message changes a copy of the tables or
 * is refused, as the kernel would; at the end the copy is checked as a whole.
 */
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from "../netlink/constants.ts";
import type { MessageCursor } from "../netlink/decoder.ts";
import { getElements, type NftElement } from "./elements.ts";
import type { Expression } from "./expr.ts";
import {
  addElement,
  areIntervals,
  chainTargets,
  type ChangingTable,
  dropUnusedAnonymous,
  EBUSY,
  EEXIST,
  EINVAL,
  elementKey,
  EMLINK,
  ENOENT,
  EOPNOTSUPP,
  type FakeRule,
  type FakeTable,
  isLookedUp,
  isTarget,
  Refusal,
  tableKey,
  type Tables,
} from "./fake_table.ts";
import { getChain, getRule, getSubject, getTable } from "./objects.ts";
import { getSet, type NftSet } from "./set.ts";
import {
  NFGENMSG,
  NFT_MSG_DELCHAIN,
  NFT_MSG_DELRULE,
  NFT_MSG_DELSET,
  NFT_MSG_DELSETELEM,
  NFT_MSG_DELTABLE,
  NFT_MSG_NEWCHAIN,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWSET,
  NFT_MSG_NEWSETELEM,
  NFT_MSG_NEWTABLE,
  NFT_SET_INTERVAL,
} from "./wire.ts";

/** Deepest chain of jumps that the kernel follows. */
const jumpStack = 16;

/** Offset of a message's attribute that names its chain or set: behind header, nfgenmsg and table. */
function nameOffset(message: MessageCursor, wanted: number): number {
  for (const a = message.attributes(NFGENMSG); a.next();) {
    if (a.type === wanted) return a.start - 4 - message.start + 16;
  }
  return 16 + NFGENMSG;
}

/** A batch at work on a copy of the tables. */
export class Work {
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
    readonly longestRule: number,
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
    if (asked.expressions.length > this.longestRule) return new Refusal(EINVAL);
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
