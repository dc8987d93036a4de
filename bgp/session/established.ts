/** Established: routes are exchanged. */
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
import type { Effect, Negotiated, Session, SessionEvent, Step, StepContext } from "./session.ts";

/** The peer lives: the hold timer begins anew. */
export function heard(negotiated: Negotiated): Effect[] {
  if (negotiated.holdTime === 0) return [];
  return [{ do: "start-timer", timer: "hold", seconds: negotiated.holdTime, jitter: false }];
}

export function keepaliveDue(negotiated: Negotiated): Effect[] {
  return [
    { do: "send-keepalive" },
    { do: "start-timer", timer: "keepalive", seconds: negotiated.keepaliveTime, jitter: true },
  ];
}

export function established(
  session: Session & { state: "Established" },
  event: SessionEvent,
  context: StepContext,
): Step {
  const { negotiated } = session;
  switch (event.type) {
    case "update":
      return stay(session, [...heard(negotiated), { do: "update", update: event.update }]);
    case "keepalive":
      return stay(session, heard(negotiated));
    case "route-refresh":
      return stay(session, [...heard(negotiated), { do: "refresh", refresh: event.refresh }]);
    case "timer":
      if (event.timer === "keepalive") return stay(session, keepaliveDue(negotiated));
      if (event.timer === "hold") return holdExpired(session, context, negotiated.holdTime);
      if (event.timer === "send-hold") return sendHoldExpired(session, context);
      return stay(session);
    case "disconnected":
      return lost(session, context, event.failure.message);
    case "error":
      return faulty(session, context, event.error);
    case "notification":
      return received(session, context, event.notification);
    case "open":
      return unexpected(session, context, "OPEN", 3);
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
