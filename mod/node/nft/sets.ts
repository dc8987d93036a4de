/**
 * Policy's sets in nf_tables: what kind of set each is, and its members (text, policy/rules.ts) as
 * elements and back.
 *
 * addr       one address                           hash
 * net        networks that do not overlap          intervals: first key, and the key behind the last
 * addr-port  address . protocol . port             hash over the three, each padded to four bytes
 * verdict-map  interface name -> verdict           hash
 */
import { type Data, formatVerdict, type Verdict } from "../../../ffi/nft/data.ts";
import {
  compareKeys,
  intervalElements,
  isCatchAll,
  type NftElement,
  readIntervals,
} from "../../../ffi/nft/elements.ts";
import { portBytes } from "../../../ffi/nft/expr.ts";
import { concatenatedType, type NftSet } from "../../../ffi/nft/set.ts";
import { setUserdata } from "../../../ffi/nft/userdata.ts";
import {
  NFT_DATA_VERDICT,
  NFT_SET_ELEM_CATCHALL,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  nftTypes,
} from "../../../ffi/nft/wire.ts";
import type { Family, MapVerdict, SetKind } from "../../../policy/rules.ts";
import { addressBits, formatIp, parseIp } from "../../net/mod.ts";
import { CompileError, interfaceBytes, kernelName, nftFamily } from "./terms.ts";

/** A set as the kernel is to make it; `id` names it within its transaction. */
export function setDefinition(
  table: string,
  family: Family,
  name: string,
  kind: SetKind,
  id?: number,
): NftSet {
  const address = family === 4 ? nftTypes.ipv4_addr : nftTypes.ipv6_addr;
  const addressBytes = family === 4 ? 4 : 16;
  const named = { family: nftFamily(family), table, name: kernelName(name), id };
  switch (kind) {
    case "addr":
    case "net":
      return {
        ...named,
        flags: kind === "net" ? NFT_SET_INTERVAL : 0,
        keyType: address,
        keyLength: addressBytes,
        userdata: setUserdata("network"),
      };
    case "addr-port":
      return {
        ...named,
        flags: 0,
        keyType: concatenatedType([address, nftTypes.inet_proto, nftTypes.inet_service]),
        keyLength: addressBytes + 8,
        userdata: setUserdata("none"),
      };
    case "verdict-map":
      return {
        ...named,
        flags: NFT_SET_MAP,
        keyType: nftTypes.ifname,
        keyLength: 16,
        dataType: NFT_DATA_VERDICT,
        dataLength: 0,
        userdata: setUserdata("host", "none"),
      };
  }
}

/** Whether a set of the kernel is of the kind that is wanted. */
export function isSameSet(found: NftSet, wanted: NftSet): boolean {
  return found.flags === wanted.flags && found.keyType === wanted.keyType &&
    (found.size ?? 0) === (wanted.size ?? 0) && !found.hasStatements &&
    found.keyLength === wanted.keyLength && found.dataType === wanted.dataType;
}

/** A verdict of a map as text, with the kernel's names: the form in which maps are compared. */
export function verdictText(verdict: MapVerdict): string {
  return formatVerdict(toVerdict(verdict));
}

function toVerdict(verdict: MapVerdict): Verdict {
  return "chain" in verdict
    ? { code: verdict.do, chain: kernelName(verdict.chain) }
    : { code: verdict.do };
}

/** A verdict back from `verdictText`. */
function parseVerdict(text: string): Data {
  const [code, chain] = text.split(" ");
  return { verdict: (chain === undefined ? { code } : { code, chain }) as Verdict };
}

/**
 * The member that stands for all that are none, for sets of any kind. We write none such: others may,
 * and then it is to be deleted. No interface has a space in its name.
 */
const catchAll = "all others";

/**
 * The elements of a member: one, or for a network the two ends. `verdict` is the value of a map's
 * member (`verdictText`). Throws CompileError for what is no member of such a set.
 */
export function memberElements(
  set: string,
  kind: SetKind,
  family: Family,
  member: string,
  verdict?: string,
): NftElement[] {
  const fail = (): never => {
    throw new CompileError(
      `set ${set} of IPv${family}`,
      `"${member}" is not a member of kind ${kind}`,
    );
  };
  const address = (text: string): Uint8Array =>
    (family === 4 ? parseV4(text) : parseV6(text)) ?? fail();
  if (member === catchAll) return [{ key: new Uint8Array(0), flags: NFT_SET_ELEM_CATCHALL }];
  switch (kind) {
    case "addr":
      return [{ key: address(member) }];
    case "net": {
      const dash = member.indexOf("-");
      if (dash > 0) {
        // Not written by us: an interval that is no network, to be deleted.
        return intervalElements(
          address(member.slice(0, dash)),
          address(member.slice(dash + 1)),
        );
      }
      const slash = member.indexOf("/");
      const first = address(member.slice(0, slash));
      const length = Number(member.slice(slash + 1));
      if (slash < 0 || !(length >= 0 && length <= addressBits(family))) return fail();
      const last = lastOf(first, length);
      return last ? intervalElements(first, last) : fail();
    }
    case "addr-port": {
      const [ip, protocol, port, ...more] = member.split(",");
      const numbers = [Number(protocol), Number(port)];
      if (more.length || !(numbers[0] >= 0 && numbers[0] <= 255)) return fail();
      if (!(numbers[1] >= 0 && numbers[1] <= 0xffff)) return fail();
      const bytes = address(ip);
      const key = new Uint8Array(bytes.length + 8);
      key.set(bytes);
      key[bytes.length] = numbers[0];
      key.set(portBytes(numbers[1]), bytes.length + 4);
      return [{ key }];
    }
    case "verdict-map":
      if (member.length === 0 || member.length > 15) return fail();
      return [{
        key: interfaceBytes(member),
        data: verdict === undefined ? undefined : parseVerdict(verdict),
      }];
  }
}

/** Dotted decimal, digit by digit: sets hold a hundred thousand of them. */
function parseV4(text: string): Uint8Array | undefined {
  const bytes = new Uint8Array(4);
  let field = 0, value = 0, digits = 0;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code === 46 && digits > 0 && field < 3) {
      bytes[field++] = value;
      value = digits = 0;
    } else {
      const digit = code - 48;
      if (digit < 0 || digit > 9 || (digits > 0 && value === 0)) return undefined;
      value = value * 10 + digit;
      digits++;
      if (value > 255) return undefined;
    }
  }
  if (field !== 3 || digits === 0) return undefined;
  bytes[3] = value;
  return bytes;
}

function parseV6(text: string): Uint8Array | undefined {
  const ip = parseIp(text);
  return ip?.family === 6 ? ip.bytes : undefined;
}

/** The last address of a network; undefined where `first` has host bits. */
function lastOf(first: Uint8Array, length: number): Uint8Array | undefined {
  const last = first.slice();
  for (let i = 0; i < last.length; i++) {
    const host = 0xff >> Math.min(8, Math.max(0, length - 8 * i));
    if (first[i] & host) return undefined;
    last[i] |= host;
  }
  return last;
}

const utf8 = new TextDecoder();

/** Members of a set as the kernel listed its elements; the value is a map's verdict, else "". */
export function readMembers(
  kind: SetKind,
  family: Family,
  elements: readonly NftElement[],
): Map<string, string> {
  const members = new Map<string, string>();
  const other = elements.find(isCatchAll);
  if (other) {
    const verdict = other.data?.verdict;
    members.set(catchAll, verdict ? formatVerdict(verdict) : "");
    elements = elements.filter((element) => element !== other);
  }
  switch (kind) {
    case "addr":
      for (const { key } of elements) members.set(formatIp({ family, bytes: key }), "");
      break;
    case "net":
      for (const { first, last } of readIntervals(elements)) {
        members.set(intervalText(family, first, last), "");
      }
      break;
    case "addr-port": {
      const at = family === 4 ? 4 : 16;
      for (const { key } of elements) {
        const ip = formatIp({ family, bytes: key.subarray(0, at) });
        members.set(`${ip},${key[at]},${key[at + 4] << 8 | key[at + 5]}`, "");
      }
      break;
    }
    case "verdict-map":
      for (const { key, data } of elements) {
        const end = key.indexOf(0);
        const name = utf8.decode(end < 0 ? key : key.subarray(0, end));
        members.set(name, data?.verdict ? formatVerdict(data.verdict) : "");
      }
      break;
  }
  return members;
}

/** `10.0.0.0/24` where the interval is a network, else `10.0.0.1-10.0.0.5`. */
function intervalText(family: Family, first: Uint8Array, last: Uint8Array): string {
  let length: number = addressBits(family);
  for (let i = 0; i < first.length; i++) {
    const differ = first[i] ^ last[i];
    if (differ === 0) continue;
    length = 8 * i + Math.clz32(differ) - 24;
    break;
  }
  const end = lastOf(first, length);
  const text = formatIp({ family, bytes: first });
  return end && compareKeys(end, last) === 0
    ? `${text}/${length}`
    : `${text}-${formatIp({ family, bytes: last })}`;
}
