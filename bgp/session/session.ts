/**
 * The state machine of one BGP connection (RFC 4271 section 8) as values: the state with what belongs
 * to it, the events that move it, the effects that follow, and the reason in words. `step.ts` is the
 * machine; it has a file for every state. Nothing here waits, sends or opens anything: whoever runs
 * the machine (`peer.ts`) does what the effects say and feeds it with what then happens.
 *
 * One peer may have two of these machines for a while, when both ends call at the same time; which
 * connection stays is decided in `collision.ts`.
 *
 * Left out of the RFC's optional attributes: DelayOpen and the passive wait with a timer; there is
 * TCP establishment without waiting (PassiveTcpEstablishment per peer), automatic restart and
 * the damping of oscillations by a growing pause in Idle.
 */
import type { AddressFamily } from "../config.ts";
import type { Notification, RouteRefresh } from "../message/frame.ts";
import type { ProtocolError } from "../message/error.ts";
import type { Open } from "../message/open.ts";
import type { UpdateResult } from "../message/update.ts";
import type { TransportFailure } from "../transport.ts";

export type SessionState =
  | "Idle"
  | "Connect"
  | "Active"
  | "OpenSent"
  | "OpenConfirm"
  | "Established";

/** What both OPENs together mean. */
export interface Negotiated {
  /** The peer's OPEN. */
  readonly open: Open;
  readonly internal: boolean;
  /** Seconds; 0: neither hold nor keepalive timer. */
  readonly holdTime: number;
  readonly keepaliveTime: number;
  readonly families: ReadonlySet<AddressFamily>;
  readonly asSize: 2 | 4;
  readonly routeRefresh: boolean;
  readonly enhancedRouteRefresh: boolean;
  /** What the peer said of graceful restart, where both ends have it. */
  readonly restart?: {
    /** Seconds for which the peer asks us to keep its routes. */
    readonly time: number;
    /** It has just restarted. */
    readonly restarting: boolean;
    /** The families that it keeps, and whether it has gone on forwarding. */
    readonly families: ReadonlyMap<AddressFamily, { readonly forwarding: boolean }>;
  };
}

/** Errors in a row, for the pause before the next start. */
export interface Failures {
  readonly count: number;
  /** Clock time of the last, milliseconds. */
  readonly last: number;
}

export type Session =
  & { readonly failures: Failures }
  & (
    | {
      readonly state: "Idle";
      /** Started, and waiting out the pause after an error. */
      readonly started: boolean;
      /** Whether a call of the peer is refused while we wait. */
      readonly closed: boolean;
    }
    /** `attempts`: calls that have failed since the start; the first are repeated sooner. */
    | { readonly state: "Connect"; readonly attempts: number }
    | { readonly state: "Active"; readonly attempts: number }
    | { readonly state: "OpenSent" }
    | { readonly state: "OpenConfirm"; readonly negotiated: Negotiated }
    | {
      readonly state: "Established";
      readonly negotiated: Negotiated;
      /** Clock time, milliseconds. */
      readonly since: number;
    }
  );

/** What a session must know of its peer and of us. */
export interface SessionConfig {
  readonly localAs: number;
  readonly remoteAs: number;
  readonly routerId: number;
  readonly families: readonly AddressFamily[];
  /** Our OPEN is without capabilities, for a peer that has refused one with them. */
  readonly withoutCapabilities?: boolean;
  /** Never calls itself. */
  readonly passive: boolean;
  /** Seconds. */
  readonly holdTime: number;
  /** Seconds; absent: a third of the hold time. */
  readonly keepaliveTime?: number;
  /** Seconds between two calls, when the first few have failed. */
  readonly connectRetryTime: number;
  /** Seconds in Idle after an error, first and most. */
  readonly errorWait: readonly [first: number, most: number];
  /** Seconds for which a peer may take nothing of what we send. */
  readonly sendHoldTime: number;
  /** Seconds for which the peer shall keep our routes; false: no graceful restart. */
  readonly restartTime: number | false;
  /** The Restart State bit of our OPEN. */
  readonly restarting: boolean;
  /** The Forwarding State bit: routes that we have announced before still lead somewhere. */
  readonly forwarding: boolean;
}

export type TimerName = "connect-retry" | "hold" | "keepalive" | "idle-hold" | "send-hold";

export type SessionEvent =
  /** Begin (ManualStart, AutomaticStart). */
  | { readonly type: "start" }
  /**
   * End, telling the peer why, or without a word (`error` absent). `keepRoutes`: we are going to be
   * back, and the peer's routes stay as when it were the peer that restarts.
   */
  | {
    readonly type: "stop";
    readonly error?: ProtocolError;
    readonly reason: string;
    readonly keepRoutes?: boolean;
  }
  /** The configuration is another one in what the peer need not be told. */
  | { readonly type: "configured" }
  | { readonly type: "timer"; readonly timer: TimerName }
  /** A TCP connection is there: one that we opened, or one that we accepted. */
  | { readonly type: "connected"; readonly direction: "out" | "in" }
  | { readonly type: "connect-failed"; readonly failure: TransportFailure }
  | { readonly type: "disconnected"; readonly failure: TransportFailure }
  /** A message that cannot be read. */
  | { readonly type: "error"; readonly error: ProtocolError }
  | { readonly type: "open"; readonly open: Open }
  | { readonly type: "keepalive" }
  | {
    readonly type: "update";
    readonly update: Exclude<UpdateResult, { answer: "session-reset" }>;
  }
  | { readonly type: "route-refresh"; readonly refresh: RouteRefresh }
  | { readonly type: "notification"; readonly notification: Notification }
  /** The other of two connections stays (RFC 4271 section 6.8). */
  | { readonly type: "collision-lost" };

export type Effect =
  | { readonly do: "connect" }
  | { readonly do: "cancel-connect" }
  | { readonly do: "close" }
  /** Close the connection that was just offered by "connected". */
  | { readonly do: "refuse" }
  | { readonly do: "send-open" }
  | { readonly do: "send-keepalive" }
  | { readonly do: "send-notification"; readonly error: ProtocolError }
  /** Starts the timer anew. `jitter`: shortened by up to a quarter (RFC 4271 section 10). */
  | {
    readonly do: "start-timer";
    readonly timer: TimerName;
    readonly seconds: number;
    readonly jitter: boolean;
  }
  | { readonly do: "stop-timer"; readonly timer: TimerName }
  | { readonly do: "up"; readonly negotiated: Negotiated }
  /** Established is over. `keepRoutes`: no NOTIFICATION has passed (RFC 4724 section 4.2). */
  | { readonly do: "down"; readonly keepRoutes: boolean; readonly negotiated: Negotiated }
  | {
    readonly do: "update";
    readonly update: Exclude<UpdateResult, { answer: "session-reset" }>;
  }
  | { readonly do: "refresh"; readonly refresh: RouteRefresh };

export interface Step {
  readonly next: Session;
  readonly effects: readonly Effect[];
  /** Why the state changed; absent where it did not. */
  readonly reason?: string;
  /** The reason is something that went wrong. */
  readonly failed?: boolean;
}

/** What the machine needs to step, besides state and event. */
export interface StepContext {
  readonly config: SessionConfig;
  /** Clock time, milliseconds. */
  readonly now: number;
}

export const NO_FAILURES: Failures = { count: 0, last: -Infinity };

/** A session that has not been started. */
export const STOPPED: Session = {
  state: "Idle",
  started: false,
  closed: true,
  failures: NO_FAILURES,
};
