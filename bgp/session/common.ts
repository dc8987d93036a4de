/** What several states do alike: dial, greet, give up. */
import {
  CEASE,
  CEASE_COLLISION,
  CEASE_CONFIG_CHANGE,
  CEASE_RESET,
  FSM_ERROR,
  HOLD_TIMER_EXPIRED,
  type ProtocolError,
  protocolError,
  SEND_HOLD_TIMER_EXPIRED,
} from "../message/error.ts";
import { describeNotification, type Notification } from "../message/frame.ts";
import type { Effect, Failures, Session, SessionEvent, Step, StepContext } from "./session.ts";

/** Seconds that OpenSent waits for the peer's OPEN: the large value of RFC 4271 section 8.2.2. */
export const OPEN_WAIT = 240;

/** Errors longer ago than this, in milliseconds, do not lengthen the pause any more. */
const AMNESIA = 300_000;

/**
 * Seconds in Idle after a connection was lost without a protocol error. Not none: a peer that has just
 * let go of one connection may refuse the next for a moment, and is then called after the long pause.
 */
const RECONNECT_PAUSE = 1;

/** Subcodes of Cease by which a peer says that it will be back (RFC 4486 section 4). */
const WILL_BE_BACK: ReadonlySet<number> = new Set([
  CEASE_RESET,
  CEASE_CONFIG_CHANGE,
  CEASE_COLLISION,
]);

/** Nothing happens. */
export function stay(session: Session, effects: readonly Effect[] = []): Step {
  return { next: session, effects };
}

/** Calls the peer, or waits for its call. */
export function begin(session: Session, context: StepContext): Step {
  const { failures } = session;
  if (context.config.passive) {
    return {
      next: { state: "Active", attempts: 0, failures },
      effects: [],
      reason: "waiting for the peer to call",
    };
  }
  return {
    next: { state: "Connect", attempts: 0, failures },
    effects: [{ do: "connect" }, retryTimer(context, 0)],
    reason: "calling the peer",
  };
}

/**
 * Seconds until the next call: 1, 2, 4 and so on up to the configured time. Nodes that start together
 * find each other soon, and a peer that stays away is not called each second for ever.
 */
export function retryTime(context: StepContext, attempts: number): number {
  return Math.min(context.config.connectRetryTime, 2 ** Math.min(attempts, 16));
}

export function retryTimer(context: StepContext, attempts: number): Effect {
  const seconds = retryTime(context, attempts);
  return { do: "start-timer", timer: "connect-retry", seconds, jitter: true };
}

/** A connection is there: OPEN goes out. */
export function greet(session: Session, direction: "out" | "in"): Step {
  const effects: Effect[] = [];
  if (session.state === "Connect" && direction === "in") effects.push({ do: "cancel-connect" });
  effects.push(
    { do: "stop-timer", timer: "connect-retry" },
    { do: "stop-timer", timer: "idle-hold" },
    { do: "send-open" },
    { do: "start-timer", timer: "hold", seconds: OPEN_WAIT, jitter: false },
  );
  return {
    next: { state: "OpenSent", failures: session.failures },
    effects,
    reason: direction === "out" ? "the peer took our call" : "the peer has called",
  };
}

function counted(failures: Failures, now: number): Failures {
  return { count: now - failures.last > AMNESIA ? 1 : failures.count + 1, last: now };
}

/** How a session comes back to Idle after something went wrong. */
interface Ending {
  readonly reason: string;
  /** Sent before the connection is closed. */
  readonly notify?: ProtocolError;
  /** Nobody sent a NOTIFICATION. */
  readonly silent?: boolean;
  /** The peer may call again at once. */
  readonly mayCall?: boolean;
  /** A short pause and no count: nobody did anything wrong. */
  readonly harmless?: boolean;
  /** A short pause the first time; who does it again and again is waited for as after errors. */
  readonly brief?: boolean;
}

export function giveUp(session: Session, context: StepContext, ending: Ending): Step {
  const effects: Effect[] = [];
  if (ending.notify) effects.push({ do: "send-notification", error: ending.notify });
  effects.push(
    { do: "cancel-connect" },
    { do: "close" },
    { do: "stop-timer", timer: "connect-retry" },
    { do: "stop-timer", timer: "hold" },
    { do: "stop-timer", timer: "keepalive" },
    { do: "stop-timer", timer: "send-hold" },
  );
  if (session.state === "Established") {
    effects.push({
      do: "down",
      keepRoutes: ending.silent === true,
      negotiated: session.negotiated,
    });
  }
  const failures = ending.harmless ? session.failures : counted(session.failures, context.now);
  const [wait, most] = context.config.errorWait;
  const first = ending.brief ? Math.min(wait, RECONNECT_PAUSE) : wait;
  const seconds = ending.harmless
    ? RECONNECT_PAUSE
    : Math.min(most, first * 2 ** Math.min(30, failures.count - 1));
  effects.push({ do: "start-timer", timer: "idle-hold", seconds, jitter: true });
  return {
    next: { state: "Idle", started: true, closed: !ending.mayCall, failures },
    effects,
    reason: ending.reason,
    failed: true,
  };
}

/** We were told to stop. */
export function stop(session: Session, event: SessionEvent & { type: "stop" }): Step {
  const effects: Effect[] = [];
  const connected = session.state === "OpenSent" || session.state === "OpenConfirm" ||
    session.state === "Established";
  if (connected && event.error) effects.push({ do: "send-notification", error: event.error });
  effects.push({ do: "cancel-connect" }, { do: "close" });
  for (const timer of ["connect-retry", "hold", "keepalive", "send-hold", "idle-hold"] as const) {
    effects.push({ do: "stop-timer", timer });
  }
  if (session.state === "Established") {
    effects.push({
      do: "down",
      keepRoutes: event.keepRoutes === true,
      negotiated: session.negotiated,
    });
  }
  return {
    next: { state: "Idle", started: false, closed: true, failures: session.failures },
    effects,
    reason: event.reason,
  };
}

/** The other connection of two stays. */
export function yieldToOther(session: Session, error: ProtocolError): Step {
  return {
    ...stop(session, { type: "stop", error, reason: "the other of two connections stays" }),
  };
}

export function received(
  session: Session,
  context: StepContext,
  notification: Notification,
): Step {
  // RFC 4271 6.7: Cease tells of a decision, not of a fault; the peer may be back at once.
  const harmless = notification.code === CEASE;
  return giveUp(session, context, {
    reason: `the peer ended the session: ${describeNotification(notification)}`,
    mayCall: harmless,
    brief: harmless && WILL_BE_BACK.has(notification.subcode),
  });
}

export function holdExpired(session: Session, context: StepContext, seconds: number): Step {
  const text = `hold timer expired: nothing heard from the peer for ${seconds} s`;
  return giveUp(session, context, {
    reason: text,
    notify: protocolError(HOLD_TIMER_EXPIRED, 0, text),
    mayCall: true,
  });
}

/** RFC 9687: a peer that lives but reads nothing holds our routes of an hour ago for true. */
export function sendHoldExpired(session: Session, context: StepContext): Step {
  const text =
    `send hold timer expired: the peer has read nothing for ${context.config.sendHoldTime} s`;
  return giveUp(session, context, {
    reason: text,
    notify: protocolError(SEND_HOLD_TIMER_EXPIRED, 0, text),
    mayCall: true,
  });
}

export function faulty(session: Session, context: StepContext, error: ProtocolError): Step {
  return giveUp(session, context, { reason: error.text, notify: error });
}

/** A message that has no place in this state (RFC 6608). */
export function unexpected(
  session: Session,
  context: StepContext,
  what: string,
  subcode: 0 | 1 | 2 | 3,
): Step {
  return faulty(
    session,
    context,
    protocolError(FSM_ERROR, subcode, `${what} in state ${session.state}`),
  );
}

export function lost(session: Session, context: StepContext, message: string): Step {
  return giveUp(session, context, {
    reason: message,
    silent: true,
    mayCall: true,
    harmless: true,
  });
}
