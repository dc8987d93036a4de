/**
 * A set of prefixes of one family that answers what covers what: a binary trie with paths pressed
 * together. Sets of addresses need it, because an interval set of nf_tables takes no two elements of
 * which one holds the other.
 */
import { addressBits, type Prefix, prefixCovers, prefixOf } from "../mod/net/mod.ts";

interface Node {
  readonly prefix: Prefix;
  /** Whether the prefix itself is a member, or only a fork of the tree. */
  member: boolean;
  readonly children: [Node | undefined, Node | undefined];
}

export class PrefixTrie {
  #root: Node | undefined;

  /** Adds a prefix; nothing happens where it is a member already. */
  add(prefix: Prefix): void {
    this.#root = insert(this.#root, prefix);
  }

  delete(prefix: Prefix): void {
    this.#root = remove(this.#root, prefix);
  }

  /** Whether a shorter member holds the prefix. */
  covered(prefix: Prefix): boolean {
    let node = this.#root;
    while (node && node.prefix.length < prefix.length && prefixCovers(node.prefix, prefix)) {
      if (node.member) return true;
      node = node.children[bitAt(prefix, node.prefix.length)];
    }
    return false;
  }

  /** The widest members that lie inside the prefix and are not the prefix itself. */
  *widestInside(prefix: Prefix): Generator<Prefix> {
    let node = this.#root;
    while (node && node.prefix.length < prefix.length) {
      if (!prefixCovers(node.prefix, prefix)) return;
      node = node.children[bitAt(prefix, node.prefix.length)];
    }
    if (!node || !prefixCovers(prefix, node.prefix)) return;
    if (node.prefix.length === prefix.length) {
      yield* widest(node.children[0]);
      yield* widest(node.children[1]);
    } else yield* widest(node);
  }

  /** Members that no other member holds. */
  widest(): Generator<Prefix> {
    return widest(this.#root);
  }
}

function* widest(node: Node | undefined): Generator<Prefix> {
  if (!node) return;
  if (node.member) yield node.prefix;
  else {
    yield* widest(node.children[0]);
    yield* widest(node.children[1]);
  }
}

function insert(node: Node | undefined, prefix: Prefix): Node {
  if (!node) return leaf(prefix);
  const common = commonLength(node.prefix, prefix);
  if (common === node.prefix.length) {
    if (common === prefix.length) node.member = true;
    else {
      const side = bitAt(prefix, common);
      node.children[side] = insert(node.children[side], prefix);
    }
    return node;
  }
  if (common === prefix.length) {
    const above = leaf(prefix);
    above.children[bitAt(node.prefix, common)] = node;
    return above;
  }
  const fork: Node = {
    prefix: prefixOf(prefix.ip, common),
    member: false,
    children: [undefined, undefined],
  };
  fork.children[bitAt(node.prefix, common)] = node;
  fork.children[bitAt(prefix, common)] = leaf(prefix);
  return fork;
}

function remove(node: Node | undefined, prefix: Prefix): Node | undefined {
  if (!node || !prefixCovers(node.prefix, prefix)) return node;
  if (node.prefix.length === prefix.length) node.member = false;
  else {
    const side = bitAt(prefix, node.prefix.length);
    node.children[side] = remove(node.children[side], prefix);
  }
  // A fork that no longer forks goes.
  const [zero, one] = node.children;
  return node.member || (zero && one) ? node : zero ?? one;
}

function leaf(prefix: Prefix): Node {
  return { prefix, member: true, children: [undefined, undefined] };
}

function bitAt(prefix: Prefix, index: number): 0 | 1 {
  return (prefix.ip.bytes[index >> 3] >> (7 - (index & 7)) & 1) as 0 | 1;
}

/** Bits that both have in common, at most the shorter one's length. */
function commonLength(a: Prefix, b: Prefix): number {
  const limit = Math.min(a.length, b.length, addressBits(a.ip.family));
  let length = 0;
  for (let i = 0; length < limit; i++) {
    const differ = a.ip.bytes[i] ^ b.ip.bytes[i];
    if (differ !== 0) return Math.min(limit, length + Math.clz32(differ) - 24);
    length += 8;
  }
  return limit;
}
