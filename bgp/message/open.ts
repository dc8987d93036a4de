/**
 * OPEN (RFC 4271 section 4.2): who the peer is and what it can. The decoder judges what can be judged
 * by the bytes alone (version, hold time, identifier, the form of the parameters); whether the AS is
 * the one we expect is the session's affair (`session/negotiate.ts`).
 *
 * The AS number given here is the real one: of the four-octet capability where there is one, else
 * of the two octets of the header.
 */
import { u16, u32, Writer } from "./bytes.ts";
import { type Capability, decodeCapabilities, encodeCapability } from "./capability.ts";
import { type Decoded, fail, OPEN_ERROR } from "./error.ts";
import { frame } from "./frame.ts";
import { OPEN } from "./framer.ts";

/** What stands in two octets for an AS number that needs four (RFC 6793). */
export const AS_TRANS = 23456;

export interface Open {
  readonly version: number;
  /** The two octets of the header. */
  readonly headerAs: number;
  /** The four-octet capability's number, or the header's. */
  readonly as: number;
  /** Seconds. */
  readonly holdTime: number;
  readonly routerId: number;
  readonly capabilities: readonly Capability[];
}

/** Reads an OPEN without its header; the framer has seen that it has ten octets at least. */
export function decodeOpen(body: Uint8Array): Decoded<Open> {
  const version = body[0];
  if (version !== 4) {
    return fail(OPEN_ERROR, 1, `BGP version ${version}`, new Uint8Array([0, 4]));
  }
  const headerAs = u16(body, 1);
  const holdTime = u16(body, 3);
  const routerId = u32(body, 5);
  const parameters = readParameters(body);
  if (!parameters.ok) return parameters;
  const capabilities = parameters.value;
  let as = headerAs;
  for (const capability of capabilities) {
    if (capability.kind === "four-octet-as") as = capability.as;
  }
  if (as === 0 || headerAs === 0) return fail(OPEN_ERROR, 2, "the peer's AS is 0");
  if (routerId === 0) return fail(OPEN_ERROR, 3, "the peer's BGP identifier is 0.0.0.0");
  if (holdTime === 1 || holdTime === 2) {
    return fail(OPEN_ERROR, 6, `the peer wants a hold time of ${holdTime} s`);
  }
  return { ok: true, value: { version, headerAs, as, holdTime, routerId, capabilities } };
}

/** The optional parameters, with one or two octets of length each (RFC 9072). */
function readParameters(body: Uint8Array): Decoded<Capability[]> {
  let at = 10;
  let total = body[9];
  const extended = total === 255 && body.length >= 13 && body[10] === 255;
  if (extended) {
    total = u16(body, 11);
    at = 13;
  }
  if (at + total !== body.length) {
    return fail(
      OPEN_ERROR,
      0,
      `${total} octets of optional parameters announced, ${body.length - at} there`,
    );
  }
  const head = extended ? 3 : 2;
  const capabilities: Capability[] = [];
  while (at < body.length) {
    const length = at + head > body.length ? 0 : extended ? u16(body, at + 1) : body[at + 1];
    if (at + head + length > body.length) {
      return fail(OPEN_ERROR, 0, "an optional parameter is longer than the message");
    }
    if (body[at] !== 2) {
      return fail(OPEN_ERROR, 4, `optional parameter ${body[at]} is not known`);
    }
    const found = decodeCapabilities(body.subarray(at + head, at + head + length));
    if (!found.ok) return found;
    capabilities.push(...found.value);
    at += head + length;
  }
  return { ok: true, value: capabilities };
}

/** A whole OPEN message. The capabilities stand in one parameter; `headerAs` is derived. */
export function encodeOpen(open: Omit<Open, "version" | "headerAs">): Uint8Array {
  const capabilities = new Writer();
  for (const capability of open.capabilities) encodeCapability(capability, capabilities);
  const bytes = capabilities.done();
  const body = new Writer()
    .u8(4)
    .u16(open.as > 0xffff ? AS_TRANS : open.as)
    .u16(open.holdTime)
    .u32(open.routerId);
  if (bytes.length === 0) body.u8(0);
  else if (bytes.length <= 253) body.u8(bytes.length + 2).u8(2).u8(bytes.length).bytes(bytes);
  else body.u8(255).u8(255).u16(bytes.length + 3).u8(2).u16(bytes.length).bytes(bytes);
  return frame(OPEN, body.done());
}
