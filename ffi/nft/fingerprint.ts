/**
 * A number that stands for a rule's expressions as the kernel lists them, for telling whether they are
 * still those that were once looked at closely. The kernel lists the same rule with the same bytes,
 * but for what its counters count and for the names of its anonymous sets.
 *
 * The hash is quick and of 53 bits: it guards against what happens, not against who seeks two rules of
 * one number, for he may as well rewrite the rule together with its comment.
 */

const LIST_ELEM = 1, EXPR_NAME = 1, EXPR_DATA = 2, LOOKUP_SET = 1;
const typeMask = 0x3fff;
const header = 4;

/** The first eight bytes of names, as two words. */
const counter = [0x636f756e, 0x74657200] as const;
const lookup = [0x6c6f6f6b, 0x75700000] as const;
/** `__`, with which the kernel begins the names of anonymous sets. */
const anonymous = 0x5f5f;

class Hash {
  #a = 0x2f0b4c47;
  #b = 0x811c9dc5;

  word(word: number): void {
    const k = Math.imul(word, 0xcc9e2d51);
    const a = this.#a ^ Math.imul(k << 15 | k >>> 17, 0x1b873593);
    this.#a = Math.imul(a << 13 | a >>> 19, 5) + 0xe6546b64 | 0;
    const b = Math.imul(this.#b ^ word, 0x01000193);
    this.#b = b << 5 | b >>> 27;
  }

  text(text: string): void {
    for (let i = 0; i < text.length; i++) this.word(text.charCodeAt(i));
  }

  /** What lies between, in words; the last one may be short. */
  range(view: DataView, start: number, end: number): void {
    let at = start;
    for (; at + 4 <= end; at += 4) this.word(view.getUint32(at, true));
    for (; at < end; at++) this.word(view.getUint8(at));
  }

  number(): number {
    // The last words have been stirred little.
    for (let i = 0; i < 4; i++) this.word(i);
    return (this.#a >>> 0) * 0x200000 + (this.#b >>> 11);
  }
}

/**
 * @param list the payload of the attribute that holds the expressions
 * @param contentOf a number that stands for the elements of an anonymous set; undefined: not known
 * @param text what belongs to the rule beside them
 */
export function fingerprint(
  list: DataView,
  contentOf: (set: string) => number | undefined,
  text = "",
): number {
  const hash = new Hash();
  hash.text(text);
  for (let at = 0; at + header <= list.byteLength;) {
    const end = at + list.getUint16(at, true);
    if (end < at + header || end > list.byteLength) break;
    element(hash, list, at, end, contentOf);
    at = end + 3 & ~3;
  }
  return hash.number();
}

/** One attribute of the list, with its header. */
function element(
  hash: Hash,
  list: DataView,
  at: number,
  end: number,
  contentOf: (set: string) => number | undefined,
): void {
  const start = at + header, name = start + header;
  const isNamed = name + 8 <= end && (list.getUint16(at + 2, true) & typeMask) === LIST_ELEM &&
    (list.getUint16(start + 2, true) & typeMask) === EXPR_NAME;
  const first = isNamed ? list.getUint32(name) : 0;
  if (first === counter[0] && list.getUint32(name + 4) === counter[1]) return hash.word(first);
  const isLookup = first === lookup[0] && (list.getUint32(name + 4) & 0xffffff00) === lookup[1];
  const set = isLookup ? setName(list, start, end) : undefined;
  const content = set === undefined ? undefined : contentOf(set);
  if (content === undefined) return hash.range(list, at, end);
  hash.word(first);
  hash.word(content % 0x100000000);
  hash.word(content / 0x100000000);
  for (const [from, to, type] of fieldsOf(list, start, end)) {
    if (type !== LOOKUP_SET) hash.range(list, from - header, to);
  }
}

/** The same for a text. */
export function fingerprintOf(text: string): number {
  const hash = new Hash();
  hash.text(text);
  return hash.number();
}

/** The set that a lookup names, if that may be an anonymous one. */
function setName(view: DataView, start: number, end: number): string | undefined {
  for (const [from, to, type] of fieldsOf(view, start, end)) {
    if (type !== LOOKUP_SET || from + 2 > to || view.getUint16(from) !== anonymous) continue;
    let name = "";
    for (let at = from; at < to; at++) {
      const byte = view.getUint8(at);
      if (byte === 0) break;
      name += String.fromCharCode(byte);
    }
    return name;
  }
}

/** The fields of an expression, which lies between two offsets. */
function* fieldsOf(view: DataView, start: number, end: number): ReturnType<typeof attributes> {
  for (const [from, to, type] of attributes(view, start, end)) {
    if (type === EXPR_DATA) yield* attributes(view, from, to);
  }
}

/** Payloads of the attributes between two offsets, each with its type. */
function* attributes(
  view: DataView,
  start: number,
  end: number,
): Generator<readonly [start: number, end: number, type: number]> {
  for (let at = start; at + header <= end;) {
    const length = view.getUint16(at, true);
    if (length < header || at + length > end) return;
    yield [at + header, at + length, view.getUint16(at + 2, true) & typeMask];
    at += length + 3 & ~3;
  }
}
