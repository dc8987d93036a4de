/**
 * AS_PATH on the wire (RFC 4271 section 4.3, RFC 6793): segments of a type, a count, and AS numbers
 * of two or four octets. Between a speaker with four-octet AS numbers and one without, the real path
 * travels in AS4_PATH beside a path in which AS_TRANS stands for what does not fit; `mergeAs4Path`
 * puts the two together again.
 */
import { u16, u32, type Writer } from "./bytes.ts";
import { asPathLength, type AsSegment, type SegmentType } from "./attributes.ts";
import { AS_TRANS } from "./open.ts";

const TYPES: Record<number, SegmentType> = {
  1: "set",
  2: "sequence",
  3: "confed-sequence",
  4: "confed-set",
};
const CODES: Record<SegmentType, number> = {
  "set": 1,
  "sequence": 2,
  "confed-sequence": 3,
  "confed-set": 4,
};

/** The segments, or what is wrong with them. */
export function decodeAsPath(bytes: Uint8Array, asSize: 2 | 4): AsSegment[] | string {
  const segments: AsSegment[] = [];
  let at = 0;
  while (at < bytes.length) {
    const type = TYPES[bytes[at]];
    if (!type) return `AS_PATH with a segment of type ${bytes[at]}`;
    if (at + 2 > bytes.length) return "AS_PATH ends inside of a segment";
    const count = bytes[at + 1];
    if (count === 0) return "AS_PATH with a segment of length zero";
    at += 2;
    if (at + count * asSize > bytes.length) return "AS_PATH ends inside of a segment";
    const asns: number[] = [];
    for (let i = 0; i < count; i++, at += asSize) {
      asns.push(asSize === 4 ? u32(bytes, at) : u16(bytes, at));
    }
    segments.push({ type, asns });
  }
  return segments;
}

/** Writes the path; with two octets, AS_TRANS stands for what does not fit. */
export function encodeAsPath(path: readonly AsSegment[], asSize: 2 | 4, out: Writer): void {
  for (const segment of path) {
    // A segment counts its members in one octet.
    for (let from = 0; from < segment.asns.length; from += 255) {
      const asns = segment.asns.slice(from, from + 255);
      out.u8(CODES[segment.type]).u8(asns.length);
      for (const as of asns) {
        if (asSize === 4) out.u32(as);
        else out.u16(as > 0xffff ? AS_TRANS : as);
      }
    }
  }
}

/** Whether the path has a number that two octets cannot hold. */
export function needsAs4(path: readonly AsSegment[]): boolean {
  return path.some((segment) => segment.asns.some((as) => as > 0xffff));
}

/** The path without confederation segments, which AS4_PATH must not carry (RFC 6793 section 3). */
export function withoutConfederation(path: readonly AsSegment[]): AsSegment[] {
  return path.filter((s) => s.type === "set" || s.type === "sequence");
}

/**
 * The real path of AS_PATH and AS4_PATH (RFC 6793 section 4.2.3): what AS_PATH has more, a speaker
 * without four-octet numbers has put before it. An AS4_PATH longer than AS_PATH is ignored.
 */
export function mergeAs4Path(
  path: readonly AsSegment[],
  as4Path: readonly AsSegment[],
): readonly AsSegment[] {
  const real = withoutConfederation(as4Path);
  let more = asPathLength(path) - asPathLength(real);
  if (more < 0) return path;
  const head: AsSegment[] = [];
  for (const segment of path) {
    const confederation = segment.type.startsWith("confed");
    if (more <= 0 && !confederation) break;
    if (confederation || segment.type === "set") {
      head.push(segment);
      if (!confederation) more -= 1;
    } else {
      const asns = segment.asns.slice(0, more);
      head.push({ type: "sequence", asns });
      more -= asns.length;
      if (asns.length < segment.asns.length) break;
    }
  }
  return [...head, ...real];
}
