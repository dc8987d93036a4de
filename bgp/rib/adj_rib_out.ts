/**
 * Adj-RIB-Out: what one peer has been told, and what it is still to be told. Prefixes whose best route
 * has changed are marked; a flush looks at each of them as it is then, compares with what the peer
 * knows, and writes only the difference, prefixes with equal attributes packed into common
 * UPDATEs. A slow peer therefore never has a queue of outdated changes, only a set of marked prefixes.
 */
import type { AddressFamily } from "../config.ts";
import type { Attributes } from "../message/attributes.ts";
import type { WireContext } from "../message/attribute_table.ts";
import { sameBytes, type Writer } from "../message/bytes.ts";
import {
  attributesFit,
  encodeAttributes,
  writeAnnouncements,
  writeWithdrawals,
} from "../message/update_encode.ts";
import { keyFamily, type PrefixKey } from "../prefix_key.ts";
import { compareIp, type Ip } from "../../mod/net/mod.ts";

/** The attributes that the peer is to be told for the prefix now; undefined: none. */
export type Present = (key: PrefixKey) => Attributes | undefined;

/** Prefixes looked at in one flush, so that a long table does not hold up everything else. */
const BATCH = 4096;

const ENCODED: Record<2 | 4, WeakMap<Attributes, Uint8Array>> = {
  2: new WeakMap(),
  4: new WeakMap(),
};

function encodedOf(attributes: Attributes, context: WireContext): Uint8Array {
  const cache = ENCODED[context.asSize];
  let encoded = cache.get(attributes);
  if (!encoded) cache.set(attributes, encoded = encodeAttributes(attributes, context));
  return encoded;
}

export class AdjRibOut {
  readonly #sent = new Map<PrefixKey, Attributes>();
  readonly #pending = new Set<PrefixKey>();
  /** Marked prefixes that are told again even if the peer knows them. */
  readonly #forced = new Set<PrefixKey>();
  /** Families forced since the last flush: to be asked again and again costs nothing. */
  readonly #wholly = new Set<AddressFamily>();

  constructor(
    readonly families: ReadonlySet<AddressFamily>,
    private readonly context: WireContext,
    private readonly present: Present,
  ) {}

  /** Prefixes that the peer has been told. */
  get size(): number {
    return this.#sent.size;
  }

  get pending(): boolean {
    return this.#pending.size > 0;
  }

  mark(key: PrefixKey): void {
    if (this.families.has(keyFamily(key))) this.#pending.add(key);
  }

  /** Everything of the family is told again (route refresh). */
  force(family: AddressFamily): void {
    if (this.#wholly.has(family)) return;
    this.#wholly.add(family);
    for (const key of this.#sent.keys()) {
      if (keyFamily(key) !== family) continue;
      this.#forced.add(key);
      this.#pending.add(key);
    }
  }

  /** Writes UPDATEs for marked prefixes, at most a batch of them; returns the number of messages. */
  flush(out: Writer): number {
    const gone: Record<AddressFamily, PrefixKey[]> = { ipv4: [], ipv6: [] };
    const groups = new Map<Attributes, Record<AddressFamily, PrefixKey[]>>();
    let looked = 0;
    this.#wholly.clear();
    for (const key of this.#pending) {
      if (looked++ >= BATCH) break;
      this.#pending.delete(key);
      const forced = this.#forced.delete(key);
      let now = this.present(key);
      if (now && !attributesFit(encodedOf(now, this.context))) now = undefined;
      const former = this.#sent.get(key);
      if (!now) {
        if (former) {
          this.#sent.delete(key);
          gone[keyFamily(key)].push(key);
        }
        continue;
      }
      if (former && !forced && this.#equal(now, former)) continue;
      this.#sent.set(key, now);
      let group = groups.get(now);
      if (!group) groups.set(now, group = { ipv4: [], ipv6: [] });
      group[keyFamily(key)].push(key);
    }
    let messages = 0;
    for (const family of ["ipv4", "ipv6"] as const) {
      messages += writeWithdrawals(out, family, gone[family]);
    }
    for (const [attributes, group] of groups) {
      const encoded = encodedOf(attributes, this.context);
      for (const family of ["ipv4", "ipv6"] as const) {
        messages += writeAnnouncements(out, family, attributes, encoded, group[family]);
      }
    }
    return messages;
  }

  /** Prefixes and attributes as told. */
  told(): Iterable<[PrefixKey, Attributes]> {
    return this.#sent;
  }

  #equal(a: Attributes, b: Attributes): boolean {
    if (a === b) return true;
    return sameHop(a.nextHop, b.nextHop) && sameHop(a.linkLocal, b.linkLocal) &&
      sameBytes(encodedOf(a, this.context), encodedOf(b, this.context));
  }
}

function sameHop(a: Ip | undefined, b: Ip | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && compareIp(a, b) === 0);
}
