/**
 * Elements of sets and maps: a key, for a map the value, and for an interval either a second element
 * that ends it (sets of one field: the key behind the last, with NFT_SET_ELEM_INTERVAL_END) or the last
 * key in the same element (concatenations).
 *
 * An element list is one attribute and so under 64 KiB: long lists go out as several messages.
 */
import type { AttributeCursor, MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import { type Data, getData, putData } from "./data.ts";
import { putFamily } from "./objects.ts";
import type { NftSetRef } from "./set.ts";
import {
  NFGENMSG,
  NFT_SET_ELEM_CATCHALL,
  NFT_SET_ELEM_INTERVAL_END,
  nftFamilyNumber,
} from "./wire.ts";

export interface NftElement {
  /** Empty in the element that stands for all that no other holds (NFT_SET_ELEM_CATCHALL). */
  readonly key: Uint8Array;
  /** Last key of the interval, for concatenations. */
  readonly keyEnd?: Uint8Array;
  readonly flags?: number;
  /** What a map yields. */
  readonly data?: Data;
  readonly userdata?: Uint8Array;
  /** It has an end in time, statements or an object of its own, of which nothing is known here. */
  readonly strange?: boolean;
}

const NFTA_SET_ELEM_LIST_TABLE = 1,
  NFTA_SET_ELEM_LIST_SET = 2,
  NFTA_SET_ELEM_LIST_ELEMENTS = 3,
  NFTA_SET_ELEM_LIST_SET_ID = 4;
const NFTA_SET_ELEM_KEY = 1,
  NFTA_SET_ELEM_DATA = 2,
  NFTA_SET_ELEM_FLAGS = 3,
  NFTA_SET_ELEM_TIMEOUT = 4,
  NFTA_SET_ELEM_EXPIRATION = 5,
  NFTA_SET_ELEM_USERDATA = 6,
  NFTA_SET_ELEM_EXPR = 7,
  NFTA_SET_ELEM_OBJREF = 9,
  NFTA_SET_ELEM_KEY_END = 10,
  NFTA_SET_ELEM_EXPRESSIONS = 11;

/** Most bytes of elements in one list: well below 65,535, for the last one may be any. */
const listBytes = 60_000;

/**
 * Writes family, set and as many elements from `from` on as fit into one list; the index of the first
 * that did not. The elements' nests are numbered from 1, as nft does.
 */
export function putElements(
  encoder: MessageEncoder,
  set: NftSetRef,
  elements: readonly NftElement[],
  from: number,
): number {
  putFamily(encoder, nftFamilyNumber(set.family));
  encoder.attrString(NFTA_SET_ELEM_LIST_TABLE, set.table);
  encoder.attrString(NFTA_SET_ELEM_LIST_SET, set.name);
  if (set.id !== undefined) encoder.attrBe32(NFTA_SET_ELEM_LIST_SET_ID, set.id);
  encoder.openNested(NFTA_SET_ELEM_LIST_ELEMENTS);
  const start = encoder.length;
  let at = from;
  while (at < elements.length && encoder.length - start < listBytes) {
    putElement(encoder, at - from + 1, elements[at]);
    at++;
  }
  encoder.close();
  return at;
}

/** Names all elements of a set. nft puts the set before the table here, and only here. */
export function putElementsName(encoder: MessageEncoder, set: NftSetRef): void {
  putFamily(encoder, nftFamilyNumber(set.family));
  encoder.attrString(NFTA_SET_ELEM_LIST_SET, set.name);
  encoder.attrString(NFTA_SET_ELEM_LIST_TABLE, set.table);
}

function putElement(encoder: MessageEncoder, number: number, element: NftElement): void {
  encoder.openNested(number);
  if (element.flags) encoder.attrBe32(NFTA_SET_ELEM_FLAGS, element.flags);
  if (!isCatchAll(element)) putData(encoder, NFTA_SET_ELEM_KEY, { value: element.key });
  if (element.keyEnd) putData(encoder, NFTA_SET_ELEM_KEY_END, { value: element.keyEnd });
  if (element.data) putData(encoder, NFTA_SET_ELEM_DATA, element.data);
  if (element.userdata) encoder.attrBytes(NFTA_SET_ELEM_USERDATA, element.userdata);
  encoder.close();
}

/** Reads the elements of one message and hands them over one by one. */
export function getElements(message: MessageCursor, take: (element: NftElement) => void): void {
  const { buffer } = message;
  const view = new DataView(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  for (const a = message.attributes(NFGENMSG); a.next();) {
    if (a.type !== NFTA_SET_ELEM_LIST_ELEMENTS) continue;
    for (const list = a.nested(); list.next();) {
      take(getPlainElement(view, list.start, list.end) ?? getElement(list.nested()));
    }
  }
}

const NFTA_DATA_VALUE = 1;
const typeMask = 0x3fff;

/**
 * Reads an element that has nothing but a key and perhaps flags: of a hundred thousand in a dump nearly
 * all are such, and its key is all that this makes of each. Undefined for any other element.
 */
function getPlainElement(view: DataView, start: number, end: number): NftElement | undefined {
  let key: Uint8Array | undefined, flags: number | undefined;
  for (let at = start; at + 4 <= end;) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > end) return undefined;
    const type = view.getUint16(at + 2, true) & typeMask;
    if (type === NFTA_SET_ELEM_FLAGS && length === 8) flags = view.getUint32(at + 4);
    else if (type === NFTA_SET_ELEM_KEY && length > 8) {
      const inner = view.getUint16(at + 4, true) - 4;
      const isValue = (view.getUint16(at + 6, true) & typeMask) === NFTA_DATA_VALUE;
      if (!isValue || inner < 0 || inner + 8 > length) return undefined;
      key = new Uint8Array(inner);
      for (let i = 0; i < inner; i++) key[i] = view.getUint8(at + 8 + i);
    } else return undefined;
    at += (length + 3) & ~3;
  }
  return key && { key, keyEnd: undefined, flags, data: undefined, userdata: undefined };
}

function getElement(fields: AttributeCursor): NftElement {
  let key: Uint8Array = new Uint8Array(0);
  let keyEnd: Uint8Array | undefined, userdata: Uint8Array | undefined;
  let flags: number | undefined, strange: boolean | undefined;
  let data: Data | undefined;
  while (fields.next()) {
    switch (fields.type) {
      case NFTA_SET_ELEM_KEY:
        key = getData(fields).value ?? key;
        break;
      case NFTA_SET_ELEM_KEY_END:
        keyEnd = getData(fields).value;
        break;
      case NFTA_SET_ELEM_DATA:
        data = getData(fields);
        break;
      case NFTA_SET_ELEM_FLAGS:
        flags = fields.be32();
        break;
      case NFTA_SET_ELEM_USERDATA:
        userdata = fields.bytes();
        break;
      case NFTA_SET_ELEM_TIMEOUT:
      case NFTA_SET_ELEM_EXPIRATION:
      case NFTA_SET_ELEM_EXPR:
      case NFTA_SET_ELEM_OBJREF:
      case NFTA_SET_ELEM_EXPRESSIONS:
        strange = true;
        break;
    }
  }
  return { key, keyEnd, flags, data, userdata, ...(strange && { strange }) };
}

/**
 * The two elements of an interval in a set of one field: first key, and the key behind the last with
 * the end mark. An interval up to the last key there is has no end.
 */
export function intervalElements(first: Uint8Array, last: Uint8Array): NftElement[] {
  const behind = keyBehind(last);
  return behind
    ? [{ key: first }, { key: behind, flags: NFT_SET_ELEM_INTERVAL_END }]
    : [{ key: first }];
}

/** The next key; undefined behind the last. */
export function keyBehind(key: Uint8Array): Uint8Array | undefined {
  const next = key.slice();
  for (let i = next.length - 1; i >= 0; i--) {
    if (next[i] !== 0xff) {
      next[i]++;
      return next;
    }
    next[i] = 0;
  }
  return undefined;
}

/** The key before; undefined before the first. */
export function keyBefore(key: Uint8Array): Uint8Array | undefined {
  const before = key.slice();
  for (let i = before.length - 1; i >= 0; i--) {
    if (before[i] !== 0) {
      before[i]--;
      return before;
    }
    before[i] = 0xff;
  }
  return undefined;
}

export function compareKeys(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** An interval, both ends in. */
export interface KeyInterval {
  readonly first: Uint8Array;
  readonly last: Uint8Array;
}

/**
 * The intervals that a set's elements say, in order. Intervals may touch: then an end and a beginning
 * have one key, and the end comes first.
 */
export function readIntervals(elements: readonly NftElement[]): KeyInterval[] {
  const intervals: KeyInterval[] = [];
  let first: Uint8Array | undefined;
  for (const element of inOrder(elements)) {
    if (isCatchAll(element)) continue;
    if (isEnd(element)) {
      const last = keyBefore(element.key);
      if (first && last) intervals.push({ first, last });
      first = undefined;
    } else {
      first = element.key;
    }
  }
  if (first) intervals.push({ first, last: new Uint8Array(first.length).fill(0xff) });
  return intervals;
}

export function isCatchAll(element: NftElement): boolean {
  return ((element.flags ?? 0) & NFT_SET_ELEM_CATCHALL) !== 0;
}

export function isEnd(element: NftElement): boolean {
  return ((element.flags ?? 0) & NFT_SET_ELEM_INTERVAL_END) !== 0;
}

/** Order of interval elements: by key, of one key the end first. */
export function compareElements(a: NftElement, b: NftElement): number {
  return compareKeys(a.key, b.key) || Number(isEnd(b)) - Number(isEnd(a));
}

/** The kernel lists them downwards: sorting is seldom needed. */
function inOrder(elements: readonly NftElement[]): readonly NftElement[] {
  const rising = (list: readonly NftElement[]) =>
    list.every((element, i) => i === 0 || compareElements(list[i - 1], element) <= 0);
  if (rising(elements)) return elements;
  const reversed = [...elements].reverse();
  return rising(reversed) ? reversed : reversed.sort(compareElements);
}
