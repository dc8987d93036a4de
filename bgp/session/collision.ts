/**
 * Two connections with one peer (RFC 4271 section 6.8, RFC 6286 section 2.3, RFC 4724 section 5).
 *
 * When both ends call at the same time, both OPENs arrive on both connections. The connection stays
 * that was opened by the end with the higher BGP identifier; with equal identifiers, by the end with
 * the higher AS number. Both ends come to the same answer.
 *
 * A new connection beside an established one is refused, except where it shows that the peer has
 * started anew: with graceful restart the old connection is then taken as lost. Both ends
 * calling at the same time can look like that too, when one connection is established before the other
 * has its OPEN; so for a moment after the session came up only a peer that says it has restarted counts.
 */
import type { SessionConfig } from "./session.ts";
import type { Session } from "./session.ts";

/** Milliseconds after which a second connection is no leftover of both ends' calling at once. */
export const SETTLED = 5_000;

/**
 * Which of two connections stays, now that the peer's OPEN has come on `fresh`: "both" while that
 * cannot be told, because `other` has had no OPEN yet.
 */
export function collide(
  fresh: { readonly session: Session; readonly direction: "out" | "in" },
  other: Session,
  config: Pick<SessionConfig, "localAs" | "remoteAs" | "routerId">,
  now: number,
): "fresh" | "other" | "both" {
  if (fresh.session.state !== "OpenConfirm") return "both";
  const { open, restart } = fresh.session.negotiated;
  switch (other.state) {
    case "Idle":
    case "Connect":
    case "Active":
      return "fresh";
    case "OpenSent":
      return "both";
    case "OpenConfirm": {
      const oursWins = config.routerId !== open.routerId
        ? config.routerId > open.routerId
        : config.localAs > config.remoteAs;
      return oursWins === (fresh.direction === "out") ? "fresh" : "other";
    }
    case "Established": {
      const graceful = other.negotiated.restart !== undefined;
      const restarted = restart?.restarting === true || now - other.since >= SETTLED;
      return graceful && restarted ? "fresh" : "other";
    }
  }
}
