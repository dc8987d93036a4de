/**
 * Idle: no connection, no resources. Either the session has not been started, or it waits out the
 * pause after an error. During a pause that a lost connection caused the peer may call; after an error
 * of the protocol it may not, or the two would quarrel without end.
 */
import { begin, greet, stay, stop } from "./common.ts";
import type { Session, SessionEvent, Step, StepContext } from "./session.ts";

export function idle(
  session: Session & { state: "Idle" },
  event: SessionEvent,
  context: StepContext,
): Step {
  switch (event.type) {
    case "start":
      return session.started ? stay(session) : begin(session, context);
    case "timer":
      return session.started && event.timer === "idle-hold"
        ? begin(session, context)
        : stay(session);
    case "stop":
      return stop(session, event);
    case "connected":
      return session.started && !session.closed
        ? greet(session, event.direction)
        : stay(session, [{ do: "refuse" }]);
    case "connect-failed":
    case "disconnected":
    case "error":
    case "open":
    case "keepalive":
    case "update":
    case "route-refresh":
    case "notification":
    case "configured":
    case "collision-lost":
      return stay(session);
  }
}
