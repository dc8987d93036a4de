/**
 * Names of Calico's objects in the Kubernetes datastore, from what they stand for. After Calico's
 * lib/names and backend/k8s/resources; the golden objects of the tests are Calico's own.
 */
import { createHash } from "node:crypto";
import { formatPrefix, parsePrefix, type Prefix } from "../../net/mod.ts";

/** `10.244.1.0/26` -> `10-244-1-0-26`, `fd00:0:1::/122` -> `fd00-0-1---122`. */
export function cidrName(cidr: Prefix): string {
  return formatPrefix(cidr).replace(/[.:/]/g, "-");
}

/** The block that an object of a name is of; undefined for other names. */
export function cidrOfName(name: string): Prefix | undefined {
  const parts = name.split("-");
  const length = parts.pop();
  const v4 = parts.length === 4 ? parsePrefix(`${parts.join(".")}/${length}`) : undefined;
  const cidr = v4 ?? parsePrefix(`${parts.join(":")}/${length}`);
  return cidr && cidrName(cidr) === name ? cidr : undefined;
}

/** The longest name of an object is 253 characters; Calico cuts at one less. */
const LONGEST = 252;
const HASH = 11;

/** `<host>-<cidr name>`; of a host whose name is too long, a part and a hash of the whole. */
export function affinityName(host: string, cidr: Prefix): string {
  const cidrPart = cidrName(cidr);
  const name = `${host}-${cidrPart}`;
  if (name.length <= LONGEST) return name;
  const hash = createHash("sha256").update(`${host}+${cidrPart}`).digest("hex").slice(0, HASH);
  return `${host.slice(0, LONGEST - cidrPart.length - HASH - 2)}-${cidrPart}-${hash}`;
}

/** The label by which a host's affinities are found: base32, without padding, of SHA3-256. */
export function hostnameHash(host: string): string {
  return base32(createHash("sha3-256").update(host).digest());
}

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

function base32(bytes: Uint8Array): string {
  let text = "", value = 0, bits = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += BASE32[(value >>> (bits - 5)) & 31];
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? text + BASE32[(value << (5 - bits)) & 31] : text;
}

/** The interface of a pod on its host. */
export function podInterface(prefix: string, namespace: string, pod: string): string {
  return prefix + hex11(`${namespace}.${pod}`);
}

/** The name where that one belonged to somebody else when the pod came. */
export function otherPodInterface(prefix: string, namespace: string, pod: string): string {
  return prefix + hex11(`${namespace}.${pod}.eth0`);
}

function hex11(text: string): string {
  return createHash("sha1").update(text).digest("hex").slice(0, 11);
}

/**
 * The UID of a v3 object from that of its CRD, and back: the bits of each byte reversed, so that the
 * two never meet, but for the bytes 6 and 8, which say version and variant. Not a UID: as it is.
 */
export function convertUid(uid: string): string {
  const hex = uid.replaceAll("-", "");
  if (!/^[0-9a-fA-F]{32}$/.test(hex)) return uid;
  let out = "";
  for (let i = 0; i < 16; i++) {
    const byte = parseInt(hex.slice(2 * i, 2 * i + 2), 16);
    const next = i === 6 || i === 8 ? byte : reverse(byte);
    out += next.toString(16).padStart(2, "0");
    if (i === 3 || i === 5 || i === 7 || i === 9) out += "-";
  }
  return out;
}

function reverse(byte: number): number {
  let out = 0;
  for (let i = 0; i < 8; i++) out = (out << 1) | ((byte >> i) & 1);
  return out;
}
