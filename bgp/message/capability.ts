/**
 * Capabilities of an OPEN (RFC 5492): a code, a length and a value, described by one table. A
 * capability that we do not know, or one that we know in a length that it cannot have, is carried as
 * bytes and has no effect: only the four-octet AS number of a wrong length makes the OPEN unusable,
 * since the peer's AS would be a guess.
 */
import type { AddressFamily } from "../config.ts";
import { u16, u32, type Writer } from "./bytes.ts";
import { fail, OPEN_ERROR, type ProtocolError } from "./error.ts";

export const AFI_IPV4 = 1;
export const AFI_IPV6 = 2;
export const SAFI_UNICAST = 1;

export function familyOf(afi: number, safi: number): AddressFamily | undefined {
  if (safi !== SAFI_UNICAST) return undefined;
  return afi === AFI_IPV4 ? "ipv4" : afi === AFI_IPV6 ? "ipv6" : undefined;
}

export function afiOf(family: AddressFamily): number {
  return family === "ipv4" ? AFI_IPV4 : AFI_IPV6;
}

export type Capability =
  | { readonly kind: "multiprotocol"; readonly afi: number; readonly safi: number }
  | { readonly kind: "route-refresh" }
  | { readonly kind: "enhanced-route-refresh" }
  | { readonly kind: "four-octet-as"; readonly as: number }
  | {
    readonly kind: "graceful-restart";
    /** Restart State: the speaker has restarted. */
    readonly restarting: boolean;
    /** RFC 8538: graceful restart also after a NOTIFICATION. */
    readonly notification: boolean;
    /** Seconds, 0 to 4095. */
    readonly time: number;
    readonly families: readonly {
      readonly afi: number;
      readonly safi: number;
      readonly forwarding: boolean;
    }[];
  }
  | { readonly kind: "unknown"; readonly code: number; readonly value: Uint8Array };

interface CapabilitySpec<C extends Capability = Capability> {
  readonly code: number;
  readonly kind: C["kind"];
  readonly name: string;
  /** The value, or undefined where its length is impossible. */
  decode(value: Uint8Array): C | undefined;
  encode(capability: C, out: Writer): void;
}

function spec<K extends Capability["kind"]>(
  s: CapabilitySpec<Extract<Capability, { kind: K }>>,
): CapabilitySpec {
  return s as unknown as CapabilitySpec;
}

/** A capability that is there or not. */
function flag(
  code: number,
  kind: "route-refresh" | "enhanced-route-refresh",
  name: string,
): CapabilitySpec {
  const capability: Capability = { kind };
  return {
    code,
    kind,
    name,
    decode: (v) => v.length === 0 ? capability : undefined,
    encode: () => {},
  };
}

const TABLE: readonly CapabilitySpec[] = [
  spec<"multiprotocol">({
    code: 1,
    kind: "multiprotocol",
    name: "multiprotocol",
    decode: (v) =>
      v.length === 4 ? { kind: "multiprotocol", afi: u16(v, 0), safi: v[3] } : undefined,
    encode: (c, out) => void out.u16(c.afi).u8(0).u8(c.safi),
  }),
  flag(2, "route-refresh", "route refresh"),
  spec<"graceful-restart">({
    code: 64,
    kind: "graceful-restart",
    name: "graceful restart",
    decode: (v) => {
      if (v.length < 2 || (v.length - 2) % 4 !== 0) return undefined;
      const families = [];
      for (let at = 2; at < v.length; at += 4) {
        families.push({ afi: u16(v, at), safi: v[at + 2], forwarding: (v[at + 3] & 0x80) !== 0 });
      }
      return {
        kind: "graceful-restart",
        restarting: (v[0] & 0x80) !== 0,
        notification: (v[0] & 0x40) !== 0,
        time: u16(v, 0) & 0x0fff,
        families,
      };
    },
    encode: (c, out) => {
      out.u16((c.restarting ? 0x8000 : 0) | (c.notification ? 0x4000 : 0) | c.time & 0x0fff);
      for (const f of c.families) out.u16(f.afi).u8(f.safi).u8(f.forwarding ? 0x80 : 0);
    },
  }),
  spec<"four-octet-as">({
    code: 65,
    kind: "four-octet-as",
    name: "four-octet AS",
    decode: (v) => v.length === 4 ? { kind: "four-octet-as", as: u32(v, 0) } : undefined,
    encode: (c, out) => void out.u32(c.as),
  }),
  flag(70, "enhanced-route-refresh", "enhanced route refresh"),
];

const BY_CODE = new Map(TABLE.map((s) => [s.code, s]));
const BY_KIND = new Map(TABLE.map((s) => [s.kind, s]));

/** Names of capabilities that we do not use but may name. */
const OTHER_NAMES: Record<number, string> = {
  5: "extended next hop",
  6: "extended message",
  9: "role",
  67: "dynamic capability",
  69: "additional paths",
  71: "long-lived graceful restart",
  73: "FQDN",
  75: "software version",
  128: "route refresh (old code)",
};

/** In words, for people. */
export function describeCapability(capability: Capability): string {
  switch (capability.kind) {
    case "multiprotocol":
      return familyOf(capability.afi, capability.safi) ??
        `AFI ${capability.afi} SAFI ${capability.safi}`;
    case "four-octet-as":
      return "four-octet AS";
    case "graceful-restart":
      return `graceful restart ${capability.time} s${capability.restarting ? ", restarting" : ""}`;
    case "unknown":
      return OTHER_NAMES[capability.code] ?? `capability ${capability.code}`;
    default:
      return BY_KIND.get(capability.kind)!.name;
  }
}

/** Reads the capabilities of one optional parameter. */
export function decodeCapabilities(
  value: Uint8Array,
): { ok: true; value: Capability[] } | { ok: false; error: ProtocolError } {
  const capabilities: Capability[] = [];
  let at = 0;
  while (at < value.length) {
    if (at + 2 > value.length || at + 2 + value[at + 1] > value.length) {
      return fail(OPEN_ERROR, 0, "a capability is longer than the parameter that holds it");
    }
    const code = value[at];
    const bytes = value.subarray(at + 2, at + 2 + value[at + 1]);
    const known = BY_CODE.get(code)?.decode(bytes);
    if (!known && code === 65) {
      return fail(OPEN_ERROR, 0, `the four-octet AS capability has ${bytes.length} octets`);
    }
    capabilities.push(known ?? { kind: "unknown", code, value: bytes.slice() });
    at += 2 + bytes.length;
  }
  return { ok: true, value: capabilities };
}

export function encodeCapability(capability: Capability, out: Writer): void {
  if (capability.kind === "unknown") {
    out.u8(capability.code).u8(capability.value.length).bytes(capability.value);
    return;
  }
  const entry = BY_KIND.get(capability.kind)!;
  out.u8(entry.code).u8(0);
  const start = out.length;
  entry.encode(capability, out);
  out.patch8(start - 1, out.length - start);
}
