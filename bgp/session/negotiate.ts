/**
 * What we say in our OPEN, and what it and the peer's come to (RFC 4271 6.2, 5492, 4760, 6793, 2918,
 * 7313, 4724, 6286).
 */
import type { AddressFamily } from "../config.ts";
import { formatId } from "../message/attributes.ts";
import { Writer } from "../message/bytes.ts";
import {
  afiOf,
  type Capability,
  encodeCapability,
  familyOf,
  SAFI_UNICAST,
} from "../message/capability.ts";
import { type Decoded, fail, OPEN_ERROR } from "../message/error.ts";
import type { Open } from "../message/open.ts";
import type { Negotiated, SessionConfig } from "./session.ts";

function multiprotocol(family: AddressFamily): Capability {
  return { kind: "multiprotocol", afi: afiOf(family), safi: SAFI_UNICAST };
}

/** Our OPEN. */
export function openOf(config: SessionConfig): Omit<Open, "version" | "headerAs"> {
  const { localAs: as, holdTime, routerId } = config;
  if (config.withoutCapabilities) return { as, holdTime, routerId, capabilities: [] };
  const capabilities: Capability[] = [
    ...config.families.map(multiprotocol),
    { kind: "route-refresh" },
    { kind: "four-octet-as", as },
    { kind: "enhanced-route-refresh" },
  ];
  if (config.restartTime !== false) {
    capabilities.push({
      kind: "graceful-restart",
      restarting: config.restarting,
      notification: false,
      time: Math.min(4095, Math.max(0, Math.round(config.restartTime))),
      // Routes are the kernel's business while we are away: it forwards without us.
      families: config.families.map((family) => ({
        afi: afiOf(family),
        safi: SAFI_UNICAST,
        forwarding: config.forwarding,
      })),
    });
  }
  return { as, holdTime, routerId, capabilities };
}

/** What both OPENs come to, or why the peer's cannot be accepted. */
export function negotiate(config: SessionConfig, open: Open): Decoded<Negotiated> {
  if (open.as !== config.remoteAs) {
    return fail(
      OPEN_ERROR,
      2,
      `OPEN mismatch: the peer says it is AS ${open.as}, it is configured as AS ${config.remoteAs}`,
    );
  }
  const internal = config.localAs === config.remoteAs;
  if (internal && open.routerId === config.routerId) {
    return fail(
      OPEN_ERROR,
      3,
      `OPEN mismatch: the peer has our own router ID ${formatId(open.routerId)}`,
    );
  }
  // What we have not offered ourselves is not agreed on, whatever the peer offers.
  const capabilities = config.withoutCapabilities ? [] : open.capabilities;
  const offered = new Set<AddressFamily>();
  let anyMultiprotocol = false;
  for (const capability of capabilities) {
    if (capability.kind !== "multiprotocol") continue;
    anyMultiprotocol = true;
    const family = familyOf(capability.afi, capability.safi);
    if (family) offered.add(family);
  }
  // A speaker that says nothing of families speaks IPv4 unicast (RFC 4760 section 8).
  if (!anyMultiprotocol) offered.add("ipv4");
  const families = new Set(config.families.filter((family) => offered.has(family)));
  if (families.size === 0) {
    const data = new Writer();
    for (const family of config.families) encodeCapability(multiprotocol(family), data);
    return fail(
      OPEN_ERROR,
      7,
      `OPEN mismatch: the peer does not carry ${config.families.join(" or ")}`,
      data.done(),
    );
  }
  const has = (kind: Capability["kind"]) => capabilities.some((c) => c.kind === kind);
  const holdTime = Math.min(config.holdTime, open.holdTime);
  const value: Negotiated = {
    open,
    internal,
    holdTime,
    keepaliveTime: keepaliveTimeOf(config, holdTime),
    families,
    asSize: has("four-octet-as") ? 4 : 2,
    routeRefresh: has("route-refresh"),
    enhancedRouteRefresh: has("enhanced-route-refresh"),
    restart: config.restartTime === false ? undefined : restartOf(capabilities, families),
  };
  return { ok: true, value };
}

/** Ours to choose: no OPEN tells it. Not above a third of the hold time (RFC 4271 section 10). */
export function keepaliveTimeOf(config: SessionConfig, holdTime: number): number {
  const third = Math.max(1, Math.floor(holdTime / 3));
  return Math.min(config.keepaliveTime ?? third, third);
}

function restartOf(
  capabilities: readonly Capability[],
  negotiated: ReadonlySet<AddressFamily>,
): Negotiated["restart"] | undefined {
  // RFC 4724 section 3: of several instances the last one counts.
  const capability = capabilities.findLast((c) => c.kind === "graceful-restart");
  if (!capability) return undefined;
  const families = new Map<AddressFamily, { forwarding: boolean }>();
  for (const { afi, safi, forwarding } of capability.families) {
    const family = familyOf(afi, safi);
    if (family && negotiated.has(family)) families.set(family, { forwarding });
  }
  return { time: capability.time, restarting: capability.restarting, families };
}
