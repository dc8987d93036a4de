/**
 * A client's certificate as a user: the name in CN, the groups in O ("Authenticating, X509 client
 * certificates"), if our authority signed it and its time is not over. Only as much of X.509 is read as
 * certificates.ts writes.
 */
import { createPublicKey, type KeyObject, verify, X509Certificate } from "node:crypto";
import type { Bytes } from "./tls/bytes.ts";

interface Element {
  tag: number;
  content: Bytes;
  /** With tag and length. */
  whole: Bytes;
}

function elements(bytes: Bytes): Element[] {
  const found: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at];
    let length = bytes[at + 1];
    let head = 2;
    if (length >= 128) {
      const size = length & 127;
      length = bytes.subarray(at + 2, at + 2 + size).reduce((n, byte) => n * 256 + byte, 0);
      head += size;
    }
    const end = at + head + length;
    found.push({ tag, content: bytes.subarray(at + head, end), whole: bytes.subarray(at, end) });
    at = end;
  }
  return found;
}

const string = (bytes: Bytes) => new TextDecoder().decode(bytes);

/** UTCTime, YYMMDDHHMMSSZ. */
function time(bytes: Bytes): number {
  const [, y, mo, d, h, mi, s] = string(bytes).match(/^(..)(..)(..)(..)(..)(..)Z$/)!;
  return Date.UTC(2000 + Number(y), Number(mo) - 1, Number(d), Number(h), Number(mi), Number(s));
}

const COMMON_NAME = "550403";
const ORGANIZATION = "55040a";
const hex = (bytes: Bytes) => [...bytes].map((b) => b.toString(16).padStart(2, "0")).join("");

export interface Subject {
  name: string;
  groups: string[];
  key: KeyObject;
}

const publicKey = (spki: Bytes) =>
  createPublicKey({ key: spki as any, format: "der", type: "spki" });

/** Undefined where it is not one of the authority's, or not valid at this time. */
export function subjectOf(der: Bytes, authority: string, now: number): Subject | undefined {
  const [body, , signature] = elements(elements(der)[0].content);
  const authorityKey = new X509Certificate(authority).publicKey;
  if (!verify("sha256", body.whole, authorityKey, signature.content.subarray(1))) return undefined;
  const fields = elements(body.content);
  // version, serial, algorithm, issuer, validity, subject, key
  const [from, to] = elements(fields[4].content).map((e) => time(e.content));
  if (now < from || now > to) return undefined;
  let name = "";
  const groups: string[] = [];
  for (const set of elements(fields[5].content)) {
    const [id, value] = elements(elements(set.content)[0].content);
    if (hex(id.content) === COMMON_NAME) name = string(value.content);
    if (hex(id.content) === ORGANIZATION) groups.push(string(value.content));
  }
  return { name, groups, key: publicKey(fields[6].whole) };
}
