/**
 * Two connections with one peer (RFC 4271 section 6.8, RFC 6286 section 2.3, RFC 4724 section 5).
 *
 * When both ends call at the same time, the connection stays that was opened by the end with the
 * higher BGP identifier; with equal identifiers, by the end with the higher AS number. This is decided
 * as soon as the peer's OPEN has come on one of them and before it is answered: the identifier is
 * known then, and an end that waited for the second OPEN could confirm the connection that the other
 * end is about to close. Only a connection on which no OPEN comes for long does not count.
 *
 * A new connection beside an established one is refused, except where it shows that the peer has
 * started anew: with graceful restart the old connection is then taken as lost. Both ends
 * calling at the same time can look like that too, when one connection is established before the other
 * has its OPEN; so for a moment after the session came up only a peer counts that says it has restarted
 * and did not say so when the session came up.
 */
import type { Open } from "../message/open.ts";
import type { Session, SessionConfig } from "./session.ts";

/** Milliseconds after which a second connection is no leftover of both ends' calling at once. */
export const SETTLED = 5_000;

/** Milliseconds that a connection may wait for the peer's OPEN before another one may replace it. */
export const PATIENCE = 10_000;

/** Which of two connections stays, now that the peer's OPEN has come on the `fresh` one. */
export function collide(
  fresh: { readonly open: Open; readonly direction: "out" | "in" },
  other: { readonly session: Session; readonly connectedAt: number },
  config: Pick<SessionConfig, "localAs" | "remoteAs" | "routerId">,
  now: number,
): "fresh" | "other" {
  const { open } = fresh;
  const { session } = other;
  switch (session.state) {
    case "Idle":
    case "Connect":
    case "Active":
      return "fresh";
    case "OpenSent":
      if (now - other.connectedAt >= PATIENCE) return "fresh";
      return dominant(config, open) === (fresh.direction === "out") ? "fresh" : "other";
    case "OpenConfirm":
      return dominant(config, open) === (fresh.direction === "out") ? "fresh" : "other";
    case "Established": {
      const known = session.negotiated.restart;
      if (!known) return "other";
      const restarted = !known.restarting &&
        open.capabilities.some((c) => c.kind === "graceful-restart" && c.restarting);
      return restarted || now - session.since >= SETTLED ? "fresh" : "other";
    }
  }
}

/** Whether the connection that we opened is the one to stay. */
function dominant(
  config: Pick<SessionConfig, "localAs" | "remoteAs" | "routerId">,
  open: Open,
): boolean {
  return config.routerId !== open.routerId
    ? config.routerId > open.routerId
    : config.localAs > config.remoteAs;
}
