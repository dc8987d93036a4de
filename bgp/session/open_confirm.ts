/** OpenConfirm: both OPENs are there; the peer's KEEPALIVE says that it accepts ours. */
import { CEASE, CEASE_COLLISION, protocolError } from "../message/error.ts";
import {
  faulty,
  holdExpired,
  lost,
  received,
  sendHoldExpired,
  stay,
  stop,
  unexpected,
  yieldToOther,
} from "./common.ts";
import { heard, keepaliveDue, retime } from "./established.ts";
import type { Session, SessionEvent, Step, StepContext } from "./session.ts";

export function openConfirm(
  session: Session & { state: "OpenConfirm" },
  event: SessionEvent,
  context: StepContext,
): Step {
  const { negotiated } = session;
  switch (event.type) {
    case "keepalive":
      return {
        next: {
          state: "Established",
          negotiated,
          since: context.now,
          failures: session.failures,
        },
        effects: [...heard(negotiated), { do: "up", negotiated }],
        reason: "session established",
      };
    case "timer":
      if (event.timer === "keepalive") return stay(session, keepaliveDue(negotiated));
      if (event.timer === "hold") return holdExpired(session, context, negotiated.holdTime);
      if (event.timer === "send-hold") return sendHoldExpired(session, context);
      return stay(session);
    case "disconnected":
      return lost(session, context, `${event.failure.message} before it confirmed our OPEN`);
    case "error":
      return faulty(session, context, event.error);
    case "notification":
      return received(session, context, event.notification);
    case "open":
      return unexpected(session, context, "OPEN", 2);
    case "update":
      return unexpected(session, context, "UPDATE", 2);
    case "route-refresh":
      return unexpected(session, context, "ROUTE-REFRESH", 2);
    case "configured":
      return retime(session, context);
    case "stop":
      return stop(session, event);
    case "collision-lost":
      return yieldToOther(session, protocolError(CEASE, CEASE_COLLISION, "connection collision"));
    case "start":
    case "connected":
    case "connect-failed":
      return stay(session);
  }
}
