/**
 * Reading an UPDATE (RFC 4271 section 4.3) as RFC 7606 says. `splitUpdate` finds the three fields and
 * the attributes in them; `decodeUpdate` reads the attributes by `attribute_table.ts` and comes to one
 * of three answers, each with what the session has to do:
 *
 *   accept               prefixes withdrawn, then prefixes announced with their attributes
 *   treat-as-withdraw    the routes of the message are not to be used; all its prefixes are withdrawn
 *   session-reset        the NOTIFICATION to send
 *
 * Of several faults the severest answer counts. What was dropped without harm is told in `notes`.
 *
 * To treat routes as withdrawn one has to know them all. A message that says nothing reachable may have
 * lost just that (an attribute that overruns hides an MP_REACH_NLRI behind it): there, whatever would
 * have cost the routes costs the session (RFC 7606 sections 3 (j) and 5.2). This holds for withdrawals
 * with attributes, too, which no well-behaved peer sends.
 */
import type { AddressFamily } from "../config.ts";
import { type PrefixKey, readKeys } from "../prefix_key.ts";
import { mergeAs4Path } from "./as_path.ts";
import {
  ATTRIBUTE_BY_TYPE,
  attributeName,
  type AttributeSpec,
  type Draft,
  MP_REACH_NLRI,
  MP_UNREACH_NLRI,
  OPTIONAL,
  PARTIAL,
  semanticFault,
  TRANSITIVE,
} from "./attribute_table.ts";
import type { Attributes, UnknownAttribute } from "./attributes.ts";
import { latin1, u16 } from "./bytes.ts";
import { type Decoded, fail, type ProtocolError, protocolError, UPDATE_ERROR } from "./error.ts";
import { decodeMpReach, decodeMpUnreach, type MpReach, type MpUnreach } from "./mp_nlri.ts";
import { AS_TRANS } from "./open.ts";

/** One attribute as it stands in the message. */
export interface RawAttribute {
  readonly type: number;
  /** The whole flags octet. */
  readonly flags: number;
  /** A view of the message. */
  readonly value: Uint8Array;
}

export interface SplitUpdate {
  readonly withdrawn: PrefixKey[];
  readonly nlri: PrefixKey[];
  readonly attributes: RawAttribute[];
  /** The attributes could not be told apart to their end (RFC 7606 section 4). */
  readonly overrun?: string;
}

/** The fields of an UPDATE without its header; what is wrong here resets the session. */
export function splitUpdate(body: Uint8Array): Decoded<SplitUpdate> {
  const withdrawnLength = u16(body, 0);
  const attributesAt = 2 + withdrawnLength;
  if (attributesAt + 2 > body.length) {
    return fail(UPDATE_ERROR, 1, `${withdrawnLength} octets of withdrawn routes do not fit`);
  }
  const attributesLength = u16(body, attributesAt);
  const nlriAt = attributesAt + 2 + attributesLength;
  if (nlriAt > body.length) {
    return fail(UPDATE_ERROR, 1, `${attributesLength} octets of attributes do not fit`);
  }
  const withdrawn = readKeys(body, 2, attributesAt, "ipv4");
  if (typeof withdrawn === "string") {
    return fail(UPDATE_ERROR, 10, `withdrawn routes: ${withdrawn}`);
  }
  const nlri = readKeys(body, nlriAt, body.length, "ipv4");
  if (typeof nlri === "string") return fail(UPDATE_ERROR, 10, nlri);
  return {
    ok: true,
    value: { withdrawn, nlri, ...splitAttributes(body, attributesAt + 2, nlriAt) },
  };
}

function splitAttributes(
  body: Uint8Array,
  at: number,
  to: number,
): Pick<SplitUpdate, "attributes" | "overrun"> {
  const attributes: RawAttribute[] = [];
  while (at < to) {
    const flags = body[at];
    const head = flags & 0x10 ? 4 : 3;
    if (at + head > to) {
      return { attributes, overrun: `${to - at} octets left where an attribute should begin` };
    }
    const length = head === 4 ? u16(body, at + 2) : body[at + 2];
    if (at + head + length > to) {
      return {
        attributes,
        overrun: `${attributeName(body[at + 1])} of ${length} octets overruns the attributes`,
      };
    }
    attributes.push({
      type: body[at + 1],
      flags,
      value: body.subarray(at + head, at + head + length),
    });
    at += head + length;
  }
  return { attributes };
}

/** What the session has agreed on, as far as UPDATEs depend on it. */
export interface UpdateContext {
  readonly asSize: 2 | 4;
  readonly internal: boolean;
  readonly families: ReadonlySet<AddressFamily>;
  /** IPv4 prefixes may have IPv6 next hops (RFC 8950). */
  readonly extendedNextHop?: boolean;
  /** Attributes read before, so that equal ones are one object; may be shared by sessions alike. */
  readonly cache?: AttributeCache;
}

export interface Announcement {
  readonly attributes: Attributes;
  readonly keys: readonly PrefixKey[];
}

export type UpdateResult =
  | {
    readonly answer: "accept";
    readonly withdrawn: readonly PrefixKey[];
    readonly announced: readonly Announcement[];
    readonly endOfRib?: AddressFamily;
    readonly notes: readonly string[];
  }
  | {
    readonly answer: "treat-as-withdraw";
    readonly withdrawn: readonly PrefixKey[];
    readonly notes: readonly string[];
  }
  | { readonly answer: "session-reset"; readonly error: ProtocolError };

/** Reads an UPDATE without its header. */
export function decodeUpdate(body: Uint8Array, context: UpdateContext): UpdateResult {
  const known = decodeKnown(body, context);
  if (known) return known;
  const split = splitUpdate(body);
  if (!split.ok) return { answer: "session-reset", error: split.error };
  return new Reading(context, split.value, body).result();
}

const NOTHING: readonly never[] = [];

/** Where the attributes of an UPDATE are; undefined where the lengths do not fit. */
function attributesRange(body: Uint8Array): [from: number, to: number] | undefined {
  const from = 4 + u16(body, 0);
  if (from > body.length) return undefined;
  const to = from + u16(body, from - 2);
  return to <= body.length ? [from, to] : undefined;
}

/**
 * The short way: IPv4 routes whose attributes have come before, octet for octet. A table is mostly
 * read this way, and so it is worth a few lines of its own.
 */
function decodeKnown(body: Uint8Array, context: UpdateContext): UpdateResult | undefined {
  const range = context.cache && attributesRange(body);
  if (!range || range[1] === body.length || !context.families.has("ipv4")) return undefined;
  const attributes = context.cache!.get(wholeKey(body, range, context));
  if (!attributes) return undefined;
  const withdrawn = range[0] === 4 ? NOTHING : readKeys(body, 2, range[0] - 2, "ipv4");
  const keys = readKeys(body, range[1], body.length, "ipv4");
  if (typeof withdrawn === "string" || typeof keys === "string") return undefined;
  return { answer: "accept", withdrawn, announced: [{ attributes, keys }], notes: NOTHING };
}

/** The key under which attributes are known as a whole; it differs from every key in parts. */
function wholeKey(
  body: Uint8Array,
  [from, to]: readonly [number, number],
  context: UpdateContext,
): string {
  return `${context.asSize}${context.internal ? "I" : "E"}${latin1(body, from, to)}`;
}

/** Attribute bytes to the attributes that they were read as, faultless ones only. */
export class AttributeCache {
  #entries = new Map<string, Attributes>();

  constructor(private readonly limit = 4096) {}

  get(key: string): Attributes | undefined {
    return this.#entries.get(key);
  }

  set(key: string, attributes: Attributes): void {
    if (this.#entries.size >= this.limit) this.#entries.clear();
    this.#entries.set(key, attributes);
  }
}

/** The state of reading one UPDATE. */
class Reading {
  readonly #notes: string[] = [];
  #withdraw = false;
  /** The first that costs the routes. */
  #fault: string | undefined;
  #reset: ProtocolError | undefined;
  #reach: MpReach | undefined;
  #unreach: MpUnreach | undefined;
  readonly #attributes: RawAttribute[] = [];

  constructor(
    readonly context: UpdateContext,
    readonly split: SplitUpdate,
    readonly body: Uint8Array,
  ) {
    if (split.overrun) this.#treatAsWithdraw(split.overrun);
    const seen = new Set<number>();
    for (const raw of split.attributes) {
      const spec = ATTRIBUTE_BY_TYPE.get(raw.type);
      const mp = raw.type === MP_REACH_NLRI || raw.type === MP_UNREACH_NLRI;
      if (seen.has(raw.type)) {
        // RFC 7606 section 3 (g).
        if (mp) this.#fail(1, `${attributeName(raw.type)} twice in one UPDATE`);
        else this.#notes.push(`${attributeName(raw.type)} again: dropped`);
        continue;
      }
      seen.add(raw.type);
      if (!this.#belongs(spec)) {
        this.#notes.push(`${spec!.name} from a peer that should not send it: dropped`);
        continue;
      }
      if (spec && ((raw.flags ^ spec.flags) & (OPTIONAL | TRANSITIVE)) !== 0) {
        // RFC 7606 section 3 (c), and for the two that hold prefixes 5.3: those are not known then.
        const text = `${spec.name} with flags 0x${raw.flags.toString(16)}`;
        if (mp) this.#fail(4, text);
        else this.#treatAsWithdraw(text);
        continue;
      }
      if (!spec && (raw.flags & OPTIONAL) === 0) {
        this.#fail(2, `unknown well-known attribute ${raw.type}`);
        continue;
      }
      if (mp) this.#readMp(raw);
      else this.#attributes.push(raw);
    }
  }

  result(): UpdateResult {
    const { split, context } = this;
    const reach = this.#negotiated(this.#reach);
    const unreach = this.#negotiated(this.#unreach);
    const nlri = context.families.has("ipv4") ? split.nlri : this.#strange(split.nlri);
    const withdrawn = context.families.has("ipv4")
      ? split.withdrawn
      : this.#strange(split.withdrawn);
    const gone = unreach ? withdrawn.concat(unreach.keys) : withdrawn;

    let attributes: Attributes | undefined;
    const announces = nlri.length > 0 || (reach?.keys.length ?? 0) > 0;
    if (!this.#reset && !this.#withdraw) {
      if (announces) attributes = this.#readAttributes(nlri.length > 0, reach);
      else this.#checkAttributes();
    }
    if (this.#withdraw && !this.#reachesSomething()) {
      this.#fail(1, `${this.#fault}, in an UPDATE without reachable prefixes`);
    }
    if (this.#reset) return { answer: "session-reset", error: this.#reset };
    if (this.#withdraw) {
      return {
        answer: "treat-as-withdraw",
        withdrawn: gone.concat(nlri, reach?.keys ?? []),
        notes: this.#notes,
      };
    }
    if (attributes && this.#notes.length === 0 && !this.#reach && !this.#unreach) {
      context.cache?.set(wholeKey(this.body, attributesRange(this.body)!, context), attributes);
    }
    const announced: Announcement[] = [];
    if (attributes && nlri.length > 0) announced.push({ attributes, keys: nlri });
    if (attributes && reach && reach.keys.length > 0) {
      const { nextHop, linkLocal, keys } = reach;
      const mine = nlri.length > 0 ? { ...attributes, nextHop, linkLocal } : attributes;
      announced.push({ attributes: mine, keys });
    }
    return {
      answer: "accept",
      withdrawn: gone,
      announced,
      endOfRib: this.#endOfRib(),
      notes: this.#notes,
    };
  }

  /** Prefixes to be reached are in the message, of whatever family. */
  #reachesSomething(): boolean {
    const reach = this.#reach;
    if (this.split.nlri.length > 0) return true;
    return reach !== undefined && (reach.family ? reach.keys : reach.nlri).length > 0;
  }

  /** RFC 4724 section 2: an empty UPDATE, or an MP_UNREACH_NLRI of no prefixes alone. */
  #endOfRib(): AddressFamily | undefined {
    const { withdrawn, nlri, attributes } = this.split;
    if (withdrawn.length > 0 || nlri.length > 0) return undefined;
    if (attributes.length === 0) return "ipv4";
    const unreach = this.#unreach;
    if (attributes.length > 1 || !unreach?.family || unreach.keys.length > 0) return undefined;
    return unreach.family;
  }

  #belongs(spec: AttributeSpec | undefined): boolean {
    if (spec?.internalOnly && !this.context.internal) return false;
    return !(spec?.oldPeersOnly && this.context.asSize === 4);
  }

  #readMp(raw: RawAttribute): void {
    if (raw.type === MP_REACH_NLRI) {
      const reach = decodeMpReach(raw.value);
      if (typeof reach === "string") this.#fail(9, reach);
      else if (
        reach.family === "ipv4" && reach.nextHop.family === 6 && !this.context.extendedNextHop
      ) {
        this.#fail(9, "MP_REACH_NLRI for ipv4 with an IPv6 next hop that was not agreed on");
      } else this.#reach = reach;
    } else {
      const unreach = decodeMpUnreach(raw.value);
      if (typeof unreach === "string") this.#fail(9, unreach);
      else this.#unreach = unreach;
    }
  }

  /** The prefixes of an attribute, if their family was agreed on; others are let pass by. */
  #negotiated<T extends MpReach | MpUnreach>(
    mp: T | undefined,
  ): Extract<T, { family: AddressFamily }> | undefined {
    if (!mp) return undefined;
    if (mp.family && this.context.families.has(mp.family)) {
      return mp as Extract<T, { family: AddressFamily }>;
    }
    this.#notes.push(`AFI ${mp.afi} SAFI ${mp.safi} was not agreed on: ignored`);
    return undefined;
  }

  #strange(keys: PrefixKey[]): PrefixKey[] {
    if (keys.length > 0) this.#notes.push("ipv4 was not agreed on: ignored");
    return [];
  }

  #readAttributes(needsNextHop: boolean, reach: MpReach | undefined): Attributes | undefined {
    const { context } = this;
    let key = `${context.asSize}${context.internal ? "i" : "e"}${needsNextHop ? "n" : "m"}`;
    // Each part with its length, or octets of one could be taken for another's.
    if (reach && !needsNextHop) {
      key += String.fromCharCode(reach.nextHopBytes.length) + latin1(reach.nextHopBytes);
    }
    for (const raw of this.#attributes) {
      key += String.fromCharCode(raw.type, raw.flags, raw.value.length) + latin1(raw.value);
    }
    const known = context.cache?.get(key);
    if (known) return known;
    const notes = this.#notes.length;
    const attributes = this.#decodeAttributes(needsNextHop, reach);
    if (attributes && this.#notes.length === notes) context.cache?.set(key, attributes);
    return attributes;
  }

  /** Attributes that belong to no prefix: only what is wrong with them counts. */
  #checkAttributes(): void {
    const read = this.#decodeEach();
    const fault = read && semanticFault(read.draft);
    if (fault) this.#treatAsWithdraw(fault);
  }

  #decodeEach(): { draft: Draft; unknown: UnknownAttribute[]; partial: number[] } | undefined {
    const draft: Draft = {};
    const unknown: UnknownAttribute[] = [];
    const partial: number[] = [];
    for (const raw of this.#attributes) {
      const spec = ATTRIBUTE_BY_TYPE.get(raw.type);
      if (!spec) {
        // RFC 4271 section 5: transitive ones are passed on with the Partial bit, others are not.
        if (raw.flags & TRANSITIVE) {
          unknown.push({
            type: raw.type,
            flags: raw.flags & (OPTIONAL | TRANSITIVE) | PARTIAL,
            value: raw.value.slice(),
          });
        }
        continue;
      }
      const wrong = spec.decode!(raw.value, draft, this.context);
      if (wrong !== undefined) this.#answer(spec, wrong);
      else if (raw.flags & PARTIAL && spec.flags === (OPTIONAL | TRANSITIVE)) {
        partial.push(raw.type);
      }
    }
    return this.#withdraw || this.#reset ? undefined : { draft, unknown, partial };
  }

  #decodeAttributes(needsNextHop: boolean, reach: MpReach | undefined): Attributes | undefined {
    const read = this.#decodeEach();
    if (!read) return undefined;
    const { draft, unknown, partial } = read;
    const missing = [
      draft.origin === undefined && "ORIGIN",
      draft.asPath === undefined && "AS_PATH",
      needsNextHop && draft.nextHop === undefined && "NEXT_HOP",
    ].filter((name) => name !== false);
    if (missing.length > 0) {
      this.#treatAsWithdraw(`no ${missing.join(", no ")}`);
      return undefined;
    }
    if (!needsNextHop && reach?.family) {
      draft.nextHop = reach.nextHop;
      if (reach.linkLocal) draft.linkLocal = reach.linkLocal;
    }
    const fault = semanticFault(draft);
    if (fault) {
      this.#treatAsWithdraw(fault);
      return undefined;
    }
    if (partial.length > 0) draft.partial = partial;
    if (unknown.length > 0) draft.unknown = unknown.sort((a, b) => a.type - b.type);
    return finish(draft);
  }

  #answer(spec: AttributeSpec, text: string): void {
    switch (spec.malformed) {
      case "attribute-discard":
        this.#notes.push(`${text}: dropped`);
        return;
      case "treat-as-withdraw":
        this.#treatAsWithdraw(text);
        return;
      case "session-reset":
        this.#fail(9, text);
    }
  }

  #treatAsWithdraw(text: string): void {
    this.#withdraw = true;
    this.#fault ??= text;
    this.#notes.push(`${text}: routes taken as withdrawn`);
  }

  #fail(subcode: number, text: string): void {
    this.#reset ??= protocolError(UPDATE_ERROR, subcode, text);
  }
}

/** The draft without what only old peers send (RFC 6793 section 4.2.3). */
function finish(draft: Draft): Attributes {
  const { as4Path, as4Aggregator, ...attributes } = draft;
  if (as4Path || as4Aggregator) {
    if (!attributes.aggregator || attributes.aggregator.as === AS_TRANS) {
      if (attributes.aggregator && as4Aggregator) attributes.aggregator = as4Aggregator;
      if (as4Path) attributes.asPath = mergeAs4Path(attributes.asPath!, as4Path);
    }
  }
  return attributes as Attributes;
}
