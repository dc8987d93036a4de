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
import { keepaliveTimeOf } from "./negotiate.ts";
import type { Effect, Negotiated, Session, SessionEvent, Step, StepContext } from "./session.ts";

/** The peer lives: the hold timer begins anew. */
export function heard(negotiated: Negotiated): Effect[] {
  if (negotiated.holdTime === 0) return [];
  return [{ do: "start-timer", timer: "hold", seconds: negotiated.holdTime, jitter: false }];
}

export function keepaliveDue(negotiated: Negotiated): Effect[] {
  return [{ do: "send-keepalive" }, keepaliveTimer(negotiated)];
}

export function keepaliveTimer({ keepaliveTime }: Negotiated): Effect {
  return { do: "start-timer", timer: "keepalive", seconds: keepaliveTime, jitter: true };
}

/** Another keepalive time holds from now on. */
export function retime(
  session: Session & { state: "OpenConfirm" | "Established" },
  context: StepContext,
): Step {
  const keepaliveTime = keepaliveTimeOf(context.config, session.negotiated.holdTime);
  if (keepaliveTime === session.negotiated.keepaliveTime) return stay(session);
  const negotiated = { ...session.negotiated, keepaliveTime };
  return {
    next: { ...session, negotiated },
    effects: negotiated.holdTime > 0 ? [keepaliveTimer(negotiated)] : [],
  };
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
