/**
 * Rules as a dump of the kernel has them, each with the mark that it deserves: the one in its comment
 * if the rule still says what that mark stands for, else none, and then it is replaced like any rule of
 * others.
 *
 * To decode a rule and compute its mark takes some ten times as long as to find both in the dump, and
 * a node has tens of thousands of rules. So what was found right is remembered as a number that stands
 * for the kernel's own bytes (ffi/nft/fingerprint.ts): later readings compare numbers.
 */
import { AttributeCursor } from "../../../ffi/netlink/decoder.ts";
import type { NftClient, Reading } from "../../../ffi/nft/client.ts";
import { getExpressions } from "../../../ffi/nft/expr.ts";
import { isCatchAll } from "../../../ffi/nft/elements.ts";
import { fingerprint, fingerprintOf } from "../../../ffi/nft/fingerprint.ts";
import { NFT_SET_ANONYMOUS, NFT_SET_INTERVAL } from "../../../ffi/nft/wire.ts";
import type { NftSet } from "../../../ffi/nft/set.ts";
import type { NftRuleHead, NftTable } from "../../../ffi/nft/objects.ts";
import { readComment } from "../../../ffi/nft/userdata.ts";
import type { SetKind } from "../../../policy/rules.ts";
import { markOf, namedSet, readMark, readText } from "./rule_mark.ts";
import type { AnonymousSet } from "./statements.ts";

/** An anonymous set as it was read. It never changes; its rule can only be given another. */
interface ReadSet extends AnonymousSet {
  readonly number: number;
  /** It holds what no set of ours does: all that nothing else holds, times, statements. */
  readonly strange: boolean;
}

/** Marks of which the table has none any more are forgotten once they are more than these. */
const mostForgotten = 1000;

/** Reads the rules of one table, again and again. */
export class RuleReader {
  /** What the kernel's bytes of the rule of a mark amount to. */
  #right = new Map<string, number>();
  /** By the kernel's handles of table and set, which it gives to no other. */
  #sets = new Map<string, ReadSet>();
  #anonymous = new Map<string, ReadSet>();
  #kinds: (name: string) => SetKind | undefined = () => undefined;
  #seen = new Map<string, number>();

  /** Before the rules: the sets that they may look up. */
  async begin(
    client: NftClient,
    table: NftTable,
    sets: readonly NftSet[],
    kinds: (name: string) => SetKind | undefined,
    reading: Reading,
  ): Promise<void> {
    this.#kinds = kinds;
    this.#seen = new Map();
    const anonymous = new Map<string, ReadSet>(), known = new Map<string, ReadSet>();
    for (const set of sets) {
      if (!(set.flags & NFT_SET_ANONYMOUS)) continue;
      const key = table.handle && set.handle ? `${table.handle} ${set.handle}` : undefined;
      let read = key === undefined ? undefined : this.#sets.get(key);
      if (!read) {
        const elements = await client.elementsInTurns(set, reading);
        const hasIntervals = (set.flags & NFT_SET_INTERVAL) !== 0;
        const strange = set.hasStatements === true ||
          elements.some((e) =>
            e.strange || isCatchAll(e) || e.keyEnd !== undefined || e.data !== undefined
          );
        const text = elements.map((e) => `${e.key.join(".")}/${e.flags ?? 0}`).join(" ");
        const number = fingerprintOf(`${set.flags} ${strange} ${text}`);
        read = { hasIntervals, elements, number, strange };
      }
      if (key !== undefined) known.set(key, read);
      anonymous.set(set.name, read);
    }
    this.#sets = known;
    this.#anonymous = anonymous;
  }

  /** The mark that a rule deserves; "": none. The cursor stands on its expressions. */
  mark({ userdata }: NftRuleHead, expressions: AttributeCursor): string {
    const comment = readComment(userdata);
    const mark = readMark(comment);
    if (mark === "") return "";
    const text = readText(comment);
    const number = fingerprint(
      expressions.peek(),
      (set) => this.#anonymous.get(set)?.number,
      text,
    );
    if (this.#right.get(mark) !== number) {
      if (this.#compute(expressions, text) !== mark) return "";
      this.#right.set(mark, number);
    }
    this.#seen.set(mark, number);
    return mark;
  }

  /** After the rules. */
  end(): void {
    if (this.#right.size > 2 * this.#seen.size + mostForgotten) this.#right = this.#seen;
    this.#seen = new Map();
  }

  #compute(cursor: AttributeCursor, text: string): string {
    const expressions = getExpressions(cursor);
    const anonymous: AnonymousSet[] = [];
    const named: string[] = [];
    for (const expression of expressions) {
      if (expression.kind !== "lookup") continue;
      const { set } = expression;
      const own = this.#anonymous.get(set);
      if (own?.strange) return "";
      if (own) anonymous.push(own);
      else named.push(namedSet(set, this.#kinds(set)));
    }
    return markOf({ expressions, anonymous, named, text });
  }
}
