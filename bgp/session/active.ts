/** Active: waiting for the peer's call, or for the time of our next one. */
import { greet, retryTimer, stay, stop } from "./common.ts";
import type { Session, SessionEvent, Step, StepContext } from "./session.ts";

export function active(
  session: Session & { state: "Active" },
  event: SessionEvent,
  context: StepContext,
): Step {
  switch (event.type) {
    case "connected":
      return greet(session, event.direction);
    case "timer":
      if (event.timer !== "connect-retry" || context.config.passive) return stay(session);
      return {
        next: { state: "Connect", attempts: session.attempts, failures: session.failures },
        effects: [{ do: "connect" }, retryTimer(context, session.attempts)],
        reason: "calling the peer again",
      };
    case "stop":
      return stop(session, event);
    case "collision-lost":
      return stop(session, { type: "stop", reason: "the other of two connections stays" });
    case "start":
    case "connect-failed":
    case "disconnected":
    case "error":
    case "open":
    case "keepalive":
    case "update":
    case "route-refresh":
    case "notification":
    case "configured":
      return stay(session);
  }
}
