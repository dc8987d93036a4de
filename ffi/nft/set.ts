/**
 * Sets and maps as records, and how each is written as a message's attributes and read back. A set says
 * how long its keys are and whether they stand for intervals; of what type they are only nft cares.
 */
import type { AttributeCursor, MessageCursor } from "../netlink/decoder.ts";
import type { MessageEncoder } from "../netlink/encoder.ts";
import { putFamily } from "./objects.ts";
import { NFGENMSG, type NftFamily, nftFamilyName, nftFamilyNumber } from "./wire.ts";

export interface NftSet {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
  /** NFT_SET_ANONYMOUS and its kin. */
  readonly flags: number;
  /** Of nftTypes; of a concatenation see `concatenatedType`. Only nft reads it. */
  readonly keyType: number;
  /** Bytes of a key; each field of a concatenation is padded to 4. */
  readonly keyLength: number;
  /** Of a map: NFT_DATA_VERDICT or a type. */
  readonly dataType?: number;
  readonly dataLength?: number;
  /** Expected number of elements. */
  readonly size?: number;
  /** Lengths of the fields of a concatenation with intervals. */
  readonly fields?: readonly number[];
  /** Names the set within its transaction; must differ from the others there. */
  readonly id?: number;
  readonly userdata?: Uint8Array;
  readonly handle?: number;
  /** In an answer: its elements carry statements (counters, limits), which a lookup runs. */
  readonly hasStatements?: boolean;
}

/** A set as messages about its elements and rules refer to it. */
export interface NftSetRef {
  readonly family: NftFamily;
  readonly table: string;
  readonly name: string;
  readonly id?: number;
}

/** The key type of a concatenation: six bits a field, the last one lowest. */
export function concatenatedType(types: readonly number[]): number {
  return types.reduce((all, type) => all << 6 | type, 0);
}

const NFTA_SET_TABLE = 1,
  NFTA_SET_NAME = 2,
  NFTA_SET_FLAGS = 3,
  NFTA_SET_KEY_TYPE = 4,
  NFTA_SET_KEY_LEN = 5,
  NFTA_SET_DATA_TYPE = 6,
  NFTA_SET_DATA_LEN = 7,
  NFTA_SET_DESC = 9,
  NFTA_SET_ID = 10,
  NFTA_SET_USERDATA = 13,
  NFTA_SET_HANDLE = 16,
  NFTA_SET_EXPR = 17,
  NFTA_SET_EXPRESSIONS = 18;
const NFTA_SET_DESC_SIZE = 1,
  NFTA_SET_DESC_CONCAT = 2,
  NFTA_SET_FIELD_LEN = 1,
  NFTA_LIST_ELEM = 1;

export function putSet(encoder: MessageEncoder, set: NftSet): void {
  putFamily(encoder, nftFamilyNumber(set.family));
  encoder.attrString(NFTA_SET_TABLE, set.table);
  encoder.attrString(NFTA_SET_NAME, set.name);
  encoder.attrBe32(NFTA_SET_FLAGS, set.flags);
  encoder.attrBe32(NFTA_SET_KEY_TYPE, set.keyType);
  encoder.attrBe32(NFTA_SET_KEY_LEN, set.keyLength);
  if (set.dataType !== undefined) {
    encoder.attrBe32(NFTA_SET_DATA_TYPE, set.dataType);
    encoder.attrBe32(NFTA_SET_DATA_LEN, set.dataLength ?? 0);
  }
  encoder.attrBe32(NFTA_SET_ID, set.id ?? 0);
  if (set.size !== undefined || set.fields) {
    encoder.openNested(NFTA_SET_DESC);
    if (set.size !== undefined) encoder.attrBe32(NFTA_SET_DESC_SIZE, set.size);
    if (set.fields) {
      encoder.openNested(NFTA_SET_DESC_CONCAT);
      for (const length of set.fields) {
        encoder.openNested(NFTA_LIST_ELEM).attrBe32(NFTA_SET_FIELD_LEN, length).close();
      }
      encoder.close();
    }
    encoder.close();
  }
  if (set.userdata) encoder.attrBytes(NFTA_SET_USERDATA, set.userdata);
}

/** Names a set, or with no name the sets of a table. */
export function putSetName(
  encoder: MessageEncoder,
  name: { family: NftFamily; table: string; name?: string },
): void {
  putFamily(encoder, nftFamilyNumber(name.family));
  encoder.attrString(NFTA_SET_TABLE, name.table);
  if (name.name !== undefined) encoder.attrString(NFTA_SET_NAME, name.name);
}

export function getSet(message: MessageCursor): NftSet | undefined {
  const family = nftFamilyName(message.u8(0));
  if (!family) return undefined;
  let table = "", name = "", flags = 0, keyType = 0, keyLength = 0, handle = 0;
  let dataType: number | undefined, dataLength: number | undefined;
  let size: number | undefined, fields: number[] | undefined;
  let id: number | undefined;
  let userdata: Uint8Array | undefined;
  let hasStatements: boolean | undefined;
  for (const a = message.attributes(NFGENMSG); a.next();) {
    switch (a.type) {
      case NFTA_SET_TABLE:
        table = a.string();
        break;
      case NFTA_SET_NAME:
        name = a.string();
        break;
      case NFTA_SET_FLAGS:
        flags = a.be32();
        break;
      case NFTA_SET_KEY_TYPE:
        keyType = a.be32();
        break;
      case NFTA_SET_KEY_LEN:
        keyLength = a.be32();
        break;
      case NFTA_SET_DATA_TYPE:
        dataType = a.be32();
        break;
      case NFTA_SET_DATA_LEN:
        dataLength = a.be32();
        break;
      case NFTA_SET_ID:
        id = a.be32();
        break;
      case NFTA_SET_HANDLE:
        handle = Number(a.be64());
        break;
      case NFTA_SET_USERDATA:
        userdata = a.bytes();
        break;
      case NFTA_SET_EXPR:
      case NFTA_SET_EXPRESSIONS:
        hasStatements = true;
        break;
      case NFTA_SET_DESC:
        for (const d = a.nested(); d.next();) {
          if (d.type === NFTA_SET_DESC_SIZE) size = d.be32();
          else if (d.type === NFTA_SET_DESC_CONCAT) fields = getFields(d);
        }
        break;
    }
  }
  return {
    family,
    table,
    name,
    flags,
    keyType,
    keyLength,
    dataType,
    dataLength,
    size,
    fields,
    id,
    userdata,
    handle,
    hasStatements,
  };
}

function getFields(concatenation: AttributeCursor): number[] {
  const fields: number[] = [];
  for (const list = concatenation.nested(); list.next();) {
    for (const f = list.nested(); f.next();) {
      if (f.type === NFTA_SET_FIELD_LEN) fields.push(f.be32());
    }
  }
  return fields;
}
