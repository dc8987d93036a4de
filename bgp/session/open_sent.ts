/** OpenSent: our OPEN is out, the peer's has not come. */
import { CEASE, CEASE_COLLISION, protocolError } from "../message/error.ts";
import {
  faulty,
  holdExpired,
  OPEN_WAIT,
  received,
  retryTimer,
  stay,
  stop,
  unexpected,
  yieldToOther,
} from "./common.ts";
import { keepaliveTimer } from "./established.ts";
import { negotiate } from "./negotiate.ts";
import type { Effect, Session, SessionEvent, Step, StepContext } from "./session.ts";

/** As many attempts as make the pause the configured one. */
const UNWANTED = 16;

export function openSent(
  session: Session & { state: "OpenSent" },
  event: SessionEvent,
  context: StepContext,
): Step {
  switch (event.type) {
    case "open": {
      const result = negotiate(context.config, event.open);
      if (!result.ok) return faulty(session, context, result.error);
      const negotiated = result.value;
      const effects: Effect[] = [{ do: "send-keepalive" }];
      if (negotiated.holdTime > 0) {
        const { holdTime } = negotiated;
        effects.push(
          { do: "start-timer", timer: "hold", seconds: holdTime, jitter: false },
          keepaliveTimer(negotiated),
        );
      } else effects.push({ do: "stop-timer", timer: "hold" });
      return {
        next: { state: "OpenConfirm", negotiated, failures: session.failures },
        effects,
        reason: "the peer's OPEN is acceptable",
      };
    }
    case "disconnected": {
      const effects: Effect[] = [{ do: "close" }, { do: "stop-timer", timer: "hold" }];
      // Somebody is there and does not want us: no reason to hurry.
      if (!context.config.passive) effects.push(retryTimer(context, UNWANTED));
      return {
        next: { state: "Active", attempts: UNWANTED, failures: session.failures },
        effects,
        reason: `${event.failure.message} before its OPEN came`,
        failed: true,
      };
    }
    case "timer":
      return event.timer === "hold" ? holdExpired(session, context, OPEN_WAIT) : stay(session);
    case "error":
      return faulty(session, context, event.error);
    case "notification":
      return received(session, context, event.notification);
    case "keepalive":
      return unexpected(session, context, "KEEPALIVE", 1);
    case "update":
      return unexpected(session, context, "UPDATE", 1);
    case "route-refresh":
      return unexpected(session, context, "ROUTE-REFRESH", 1);
    case "stop":
      return stop(session, event);
    case "collision-lost":
      return yieldToOther(session, protocolError(CEASE, CEASE_COLLISION, "connection collision"));
    case "start":
    case "connected":
    case "connect-failed":
    case "configured":
      return stay(session);
  }
}
