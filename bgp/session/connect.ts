/**
 * Connect: we are calling. An attempt that has found no answer when the connect-retry timer runs out
 * is made anew; one that failed sooner waits in Active for the timer.
 */
import { greet, retryTime, retryTimer, stay, stop } from "./common.ts";
import type { Session, SessionEvent, Step, StepContext } from "./session.ts";

export function connect(
  session: Session & { state: "Connect" },
  event: SessionEvent,
  context: StepContext,
): Step {
  switch (event.type) {
    case "connected":
      return greet(session, event.direction);
    case "connect-failed":
      return {
        next: { state: "Active", attempts: session.attempts + 1, failures: session.failures },
        effects: [],
        reason: event.failure.message,
        failed: true,
      };
    case "timer":
      if (event.timer !== "connect-retry") return stay(session);
      return {
        next: { ...session, attempts: session.attempts + 1 },
        effects: [
          { do: "cancel-connect" },
          { do: "connect" },
          retryTimer(context, session.attempts + 1),
        ],
        reason: `TCP timeout: no answer in ${retryTime(context, session.attempts)} s`,
        failed: true,
      };
    case "stop":
      return stop(session, event);
    case "collision-lost":
      return stop(session, { type: "stop", reason: "the other of two connections stays" });
    case "start":
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
