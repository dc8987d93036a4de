/**
 * The members of one set in one family. Several endpoints may bring the same member (two selectors
 * of one set never, but a pod that takes over another's address, or a network set beside pods): each
 * is counted, and the kernel hears of the first and the last. What is added and taken back between
 * two deltas is no change.
 *
 * In a `net` set members may hold one another (10.0.0.0/8 of a network set, 10.1.2.3/32 of a pod);
 * the kernel gets only the widest, and gets the narrower ones when the wide one goes.
 */
import { addressBits, formatPrefix, mustPrefix, type Prefix } from "../mod/net/mod.ts";
import { PrefixTrie } from "./prefix_trie.ts";
import type { Family } from "./rules.ts";

export class Members {
  readonly #counts = new Map<string, number>();
  /** Only where a prefix is wider than an address: until then nothing can hold anything. */
  #trie: PrefixTrie | undefined;
  /** Since the last `takeChanges`: true added, false removed. */
  readonly #pending = new Map<string, boolean>();

  constructor(readonly family: Family, readonly kind: "addr" | "net" | "addr-port") {}

  /** Counts one more bringer of the member. */
  add(member: string): void {
    const count = this.#counts.get(member) ?? 0;
    this.#counts.set(member, count + 1);
    if (count > 0) return;
    if (this.kind !== "net") return this.#note(member, true);
    const wide = !this.#isHost(member);
    if (!this.#trie) {
      if (!wide) return this.#note(member, true);
      this.#trie = new PrefixTrie();
      for (const other of this.#counts.keys()) {
        if (other !== member) this.#trie.add(mustPrefix(other));
      }
    }
    const prefix = mustPrefix(member);
    this.#trie.add(prefix);
    if (this.#trie.covered(prefix)) return;
    this.#note(member, true);
    if (wide) this.#noteInside(this.#trie, prefix, false);
  }

  /** Counts one bringer less; a member that nobody brought is a bug. */
  remove(member: string): void {
    const count = this.#counts.get(member);
    if (count === undefined) throw new Error(`${member} is not a member`);
    if (count > 1) {
      this.#counts.set(member, count - 1);
      return;
    }
    this.#counts.delete(member);
    if (!this.#trie) return this.#note(member, false);
    const prefix = mustPrefix(member);
    this.#trie.delete(prefix);
    if (this.#trie.covered(prefix)) return;
    this.#note(member, false);
    if (!this.#isHost(member)) this.#noteInside(this.#trie, prefix, true);
  }

  /** What the kernel should hold: for `net`, members that do not overlap. A copy. */
  snapshot(): Set<string> {
    if (!this.#trie) return new Set(this.#counts.keys());
    const widest = new Set<string>();
    for (const prefix of this.#trie.widest()) widest.add(formatPrefix(prefix));
    return widest;
  }

  /** Members that came and went since the last call. */
  takeChanges(): { add: string[]; remove: string[] } {
    const add: string[] = [], remove: string[] = [];
    for (const [member, added] of this.#pending) (added ? add : remove).push(member);
    this.#pending.clear();
    return { add, remove };
  }

  #note(member: string, added: boolean): void {
    if (this.#pending.get(member) === !added) this.#pending.delete(member);
    else this.#pending.set(member, added);
  }

  #noteInside(trie: PrefixTrie, prefix: Prefix, added: boolean): void {
    for (const inside of trie.widestInside(prefix)) this.#note(formatPrefix(inside), added);
  }

  #isHost(member: string): boolean {
    return member.endsWith(`/${addressBits(this.family)}`);
  }
}
