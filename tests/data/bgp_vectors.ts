/**
 * Single BGP messages of other people's test data against our decoders: a valid one decodes to the
 * same fields, encodes again to a message that says the same, and is accepted by a session of ours; an
 * invalid one is answered by a NOTIFICATION or by taking its routes as withdrawn.
 */
import { formatIp, formatPrefix } from "../../mod/net/mod.ts";
import {
  AGGREGATOR,
  AS4_PATH,
  AS_PATH,
  ATTRIBUTE_BY_TYPE,
  CLUSTER_LIST,
  COMMUNITIES,
  type Draft,
  EXTENDED_COMMUNITIES,
  LARGE_COMMUNITIES,
  LOCAL_PREF,
  MP_REACH_NLRI,
  MP_UNREACH_NLRI,
  MULTI_EXIT_DISC,
  NEXT_HOP,
  ORIGIN,
  ORIGINATOR_ID,
} from "../../bgp/message/attribute_table.ts";
import { formatCommunity, formatId } from "../../bgp/message/attributes.ts";
import { fromHex, toHex, Writer } from "../../bgp/message/bytes.ts";
import { type Capability, encodeCapability } from "../../bgp/message/capability.ts";
import { HEADER_LENGTH } from "../../bgp/message/framer.ts";
import { decodeMessage, type Message } from "../../bgp/message/message.ts";
import { decodeMpReach, decodeMpUnreach } from "../../bgp/message/mp_nlri.ts";
import { encodeOpen } from "../../bgp/message/open.ts";
import {
  decodeUpdate,
  type RawAttribute,
  splitUpdate,
  type UpdateContext,
} from "../../bgp/message/update.ts";
import {
  encodeAttributes,
  writeAnnouncements,
  writeWithdrawals,
} from "../../bgp/message/update_encode.ts";
import { keyFamily, prefixOfKey, readKeys } from "../../bgp/prefix_key.ts";

import { survives } from "./bgp_errors.ts";

type Json = Record<string, unknown>;

export interface Vector {
  id: string;
  hex: string;
  type: string;
  as_size: 2 | 4;
  valid: boolean | null;
  decoded?: Json | null;
}

/** What differs, in words; undefined where all is as it should be. */
export function judgeVector(vector: Vector): string | undefined {
  const bytes = fromHex(vector.hex);
  const context: UpdateContext = {
    asSize: vector.as_size,
    internal: true,
    families: new Set(["ipv4", "ipv6"]),
    extendedNextHop: true,
  };
  const before = performance.now();
  const result = decodeMessage(bytes, context);
  if (performance.now() - before > 1000) return "took more than a second";
  const live = survives(vector.id, vector.hex);
  if (live) return `from a live peer: ${live}`;
  if (vector.valid === null) return undefined; // opinions differ: not to crash is all
  if (vector.valid === false) {
    if (!result.ok) return undefined;
    const { value } = result;
    if (value.type === "update" && value.update.answer === "treat-as-withdraw") return undefined;
    return "accepted, should be refused";
  }
  if (!result.ok) return `refused: ${result.error.text}`;
  if (result.value.type === "update" && result.value.update.answer !== "accept") {
    return `not accepted: ${stable(result.value.update)}`;
  }
  if (!vector.decoded) return undefined;
  const ours = fields(result.value, bytes, context);
  const [have, want] = [stable(ours), stable(vector.decoded)];
  if (have !== want) return `decoded as ${have}, want ${want}`;
  return encodesBack(result.value, bytes, context);
}

/** JSON with sorted members, so that two texts are equal where the values are. */
function stable(value: unknown): string {
  return JSON.stringify(
    value,
    (_, v) =>
      v && typeof v === "object" && !Array.isArray(v)
        ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => a < b ? -1 : 1))
        : v,
  );
}

function fields(message: Message, bytes: Uint8Array, context: UpdateContext): Json {
  switch (message.type) {
    case "open":
      return {
        type: "OPEN",
        version: message.open.version,
        my_as: message.open.headerAs,
        hold_time: message.open.holdTime,
        bgp_id: formatId(message.open.routerId),
        capabilities: message.open.capabilities.map(capabilityFields),
      };
    case "update":
      return updateFields(bytes, context);
    case "notification":
      return {
        type: "NOTIFICATION",
        code: message.notification.code,
        subcode: message.notification.subcode,
        data: toHex(message.notification.data),
      };
    case "keepalive":
      return { type: "KEEPALIVE" };
    case "route-refresh": {
      const { afi, safi, subtype, data } = message.refresh;
      return { type: "ROUTE-REFRESH", afi, subtype, safi, data: toHex(data) };
    }
  }
}

function capabilityFields(capability: Capability): Json {
  const out = new Writer();
  encodeCapability(capability, out);
  const bytes = out.done();
  const common = { code: bytes[0], value: toHex(bytes.subarray(2)) };
  switch (capability.kind) {
    case "multiprotocol":
      return { ...common, afi_safi: [capability.afi, capability.safi] };
    case "four-octet-as":
      return { ...common, as4: capability.as };
    case "graceful-restart":
      return { ...common, restart_time: capability.time };
    default:
      return common;
  }
}

function updateFields(bytes: Uint8Array, context: UpdateContext): Json {
  const split = splitUpdate(bytes.subarray(HEADER_LENGTH));
  if (!split.ok) throw new Error(split.error.text);
  const prefixes = (keys: readonly (string | number)[]) =>
    keys.map((key) => formatPrefix(prefixOfKey(key)));
  const result = decodeUpdate(bytes.subarray(HEADER_LENGTH), context);
  const { withdrawn, nlri, attributes } = split.value;
  return {
    type: "UPDATE",
    withdrawn: prefixes(withdrawn),
    attributes: attributes.map((raw) => attributeFields(raw, context)),
    nlri: prefixes(nlri),
    eor: result.answer === "accept" && result.endOfRib === "ipv4",
  };
}

function attributeFields(raw: RawAttribute, context: UpdateContext): Json {
  const common = { type: raw.type, flags: raw.flags, len: raw.value.length };
  const draft: Draft = {};
  const wrong = ATTRIBUTE_BY_TYPE.get(raw.type)?.decode?.(raw.value, draft, context);
  if (wrong) return { ...common, wrong };
  const path = (segments: Draft["asPath"]) => segments!.map((s) => ({ ...s }));
  switch (raw.type) {
    case ORIGIN:
      return { ...common, origin: draft.origin };
    case AS_PATH:
      return { ...common, as_path: path(draft.asPath) };
    case AS4_PATH:
      return { ...common, as4_path: path(draft.as4Path) };
    case NEXT_HOP:
      return { ...common, addr: formatIp(draft.nextHop!) };
    case MULTI_EXIT_DISC:
      return { ...common, value: draft.med };
    case LOCAL_PREF:
      return { ...common, value: draft.localPref };
    case AGGREGATOR: {
      const { as, address } = draft.aggregator!;
      return { ...common, asn: as, addr: formatId(address) };
    }
    case COMMUNITIES:
      return { ...common, communities: draft.communities!.map(formatCommunity) };
    case ORIGINATOR_ID:
      return { ...common, addr: formatId(draft.originatorId!) };
    case CLUSTER_LIST:
      return { ...common, clusters: draft.clusterList!.map(formatId) };
    case EXTENDED_COMMUNITIES:
      return { ...common, ext_communities: draft.extendedCommunities };
    case LARGE_COMMUNITIES:
      return { ...common, large_communities: draft.largeCommunities!.map((c) => c.join(":")) };
    case MP_REACH_NLRI:
      return { ...common, ...reachFields(raw.value) };
    case MP_UNREACH_NLRI: {
      const unreach = decodeMpUnreach(raw.value);
      if (typeof unreach === "string") return { ...common, wrong: unreach };
      const afi_safi = [unreach.afi, unreach.safi];
      if (!unreach.family) return { ...common, afi_safi, withdrawn_hex: toHex(unreach.nlri) };
      const withdrawn = unreach.keys.map((key) => formatPrefix(prefixOfKey(key)));
      return { ...common, afi_safi, withdrawn };
    }
    default:
      return { ...common, value_hex: toHex(raw.value) };
  }
}

function reachFields(value: Uint8Array): Json {
  const reach = decodeMpReach(value);
  if (typeof reach === "string") return { wrong: reach };
  const afi_safi = [reach.afi, reach.safi];
  const hop = reach.nextHopBytes;
  if (!reach.family) {
    // The data shows the next hop of a family that we do not carry as an address where it is one.
    const next_hop = hop.length === 4
      ? formatIp({ family: 4, bytes: hop })
      : hop.length === 16 || hop.length === 32
      ? sixes(hop)
      : toHex(hop);
    if (reach.safi === 2) {
      const keys = readKeys(reach.nlri, 0, reach.nlri.length, reach.afi === 1 ? "ipv4" : "ipv6");
      if (typeof keys === "string") return { wrong: keys };
      return { afi_safi, next_hop, nlri: keys.map((key) => formatPrefix(prefixOfKey(key))) };
    }
    return { afi_safi, next_hop, nlri_hex: toHex(reach.nlri) };
  }
  const next_hop = hop.length === 4 ? formatIp({ family: 4, bytes: hop }) : sixes(hop);
  return { afi_safi, next_hop, nlri: reach.keys.map((key) => formatPrefix(prefixOfKey(key))) };
}

function sixes(hop: Uint8Array): string[] {
  const all: string[] = [];
  for (let at = 0; at < hop.length; at += 16) {
    all.push(formatIp({ family: 6, bytes: hop.slice(at, at + 16) }));
  }
  return all;
}

/** What we would write ourselves for the same content must be read as the same content. */
function encodesBack(message: Message, bytes: Uint8Array, context: UpdateContext) {
  if (message.type === "open") {
    const again = decodeMessage(encodeOpen(message.open), context);
    if (!again.ok) return `our own OPEN is refused: ${again.error.text}`;
    if (stable(fields(again.value, bytes, context)) !== stable(fields(message, bytes, context))) {
      return "our own OPEN says something else";
    }
  }
  if (message.type !== "update" || message.update.answer !== "accept") return undefined;
  const { withdrawn, announced } = message.update;
  for (const { attributes, keys } of announced) {
    const family = keyFamily(keys[0]);
    const out = new Writer();
    const encoded = encodeAttributes(attributes, context);
    writeAnnouncements(out, family, attributes, encoded, keys);
    const again = decodeMessage(out.done(), context);
    if (!again.ok) return `our own UPDATE is refused: ${again.error.text}`;
    if (again.value.type !== "update" || again.value.update.answer !== "accept") {
      return "our own UPDATE is not accepted";
    }
    const want = stable([{ attributes: printable(attributes), keys }]);
    const have = stable(
      again.value.update.announced.map((a) => ({
        attributes: printable(a.attributes),
        keys: a.keys,
      })),
    );
    if (have !== want) return `written and read again: ${have}, want ${want}`;
  }
  for (const family of ["ipv4", "ipv6"] as const) {
    const keys = withdrawn.filter((key) => keyFamily(key) === family);
    if (keys.length === 0) continue;
    const out = new Writer();
    writeWithdrawals(out, family, keys);
    const again = decodeMessage(out.done(), context);
    if (
      !again.ok || again.value.type !== "update" || again.value.update.answer !== "accept" ||
      stable(again.value.update.withdrawn) !== stable(keys)
    ) return "our own withdrawal says something else";
  }
}

function printable(attributes: object): unknown {
  return Object.fromEntries(
    Object.entries(attributes).map(([k, v]) => [
      k,
      k === "nextHop" || k === "linkLocal" ? v && formatIp(v) : v,
    ]),
  );
}
