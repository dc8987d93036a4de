/**
 * Userdata: bytes that the kernel keeps for user space with a table, chain, rule, set or element. Those
 * of a rule are `u8 type, u8 length, bytes`; type 0 is the comment, NUL included, which nft shows and
 * where we keep our mark. Those of a set tell nft how to print it.
 */
const UDATA_RULE_COMMENT = 0;
const UDATA_SET_KEYBYTEORDER = 0;
const UDATA_SET_DATABYTEORDER = 1;
const UDATA_SET_DATA_INTERVAL = 6;

/** How nft shall print keys and values; concatenations and verdicts have none. */
export type ByteOrder = "none" | "host" | "network";
const byteOrders: Readonly<Record<ByteOrder, number>> = { none: 0, host: 1, network: 2 };

/** nft refuses a longer comment, and shows none of it. */
export const NFT_COMMENT_MAX = 128;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Userdata of a rule that hold a comment. Throws a RangeError where it is over 127 bytes. */
export function commentUserdata(comment: string): Uint8Array {
  const text = encoder.encode(comment);
  if (text.length >= NFT_COMMENT_MAX) {
    throw new RangeError(`rule comment "${comment}" is over ${NFT_COMMENT_MAX - 1} bytes`);
  }
  const bytes = new Uint8Array(2 + text.length + 1);
  bytes[0] = UDATA_RULE_COMMENT;
  bytes[1] = text.length + 1;
  bytes.set(text, 2);
  return bytes;
}

/** The comment in a rule's userdata; "" where there is none. */
export function readComment(userdata: Uint8Array | undefined): string {
  if (!userdata) return "";
  for (let at = 0; at + 2 <= userdata.length;) {
    const type = userdata[at], length = userdata[at + 1];
    const end = at + 2 + length;
    if (end > userdata.length) break;
    if (type === UDATA_RULE_COMMENT) {
      let stop = at + 2;
      while (stop < end && userdata[stop] !== 0) stop++;
      return decoder.decode(userdata.subarray(at + 2, stop));
    }
    at = end;
  }
  return "";
}

/** Userdata of a set or (with `data`) a map, so that nft prints its keys and values in their order. */
export function setUserdata(key: ByteOrder, data?: ByteOrder): Uint8Array {
  const bytes = [UDATA_SET_KEYBYTEORDER, 4, byteOrders[key], 0, 0, 0];
  if (data) {
    bytes.push(UDATA_SET_DATABYTEORDER, 4, byteOrders[data], 0, 0, 0);
    bytes.push(UDATA_SET_DATA_INTERVAL, 4, 0, 0, 0, 0);
  }
  return new Uint8Array(bytes);
}
