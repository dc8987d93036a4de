/**
 * One machine with its connection: does what the effects say, and turns what the connection and the
 * timers report into events. A peer has one track, and a second one while two connections compete.
 */
import { decodeBody } from "../message/message.ts";
import { encodeKeepalive, encodeNotification, type Notification } from "../message/frame.ts";
import { Framer, UPDATE } from "../message/framer.ts";
import { encodeOpen, type Open } from "../message/open.ts";
import type { AttributeCache, UpdateContext } from "../message/update.ts";
import type {
  BgpTransport,
  Clock,
  ConnectAttempt,
  Connection,
  ConnectTarget,
} from "../transport.ts";
import { openOf } from "./negotiate.ts";
import type { Effect, Session, SessionConfig, SessionEvent, Step } from "./session.ts";
import { step } from "./step.ts";
import { Timers } from "./timers.ts";

/** What a track asks of its peer. */
export interface TrackHost {
  readonly transport: BgpTransport;
  readonly clock: Clock;
  readonly cache: AttributeCache;
  sessionConfig(): SessionConfig;
  connectTarget(): ConnectTarget;
  /** The peer's OPEN has come and can be read; false: this connection is not to go on. */
  mayProceed(track: Track, open: Open): boolean;
  /** The peer has refused the OPEN that it was sent, and why. */
  refused(notification: Notification): void;
  stepped(track: Track, before: Session, step: Step): void;
  /** Effects of an established session. */
  effect(
    track: Track,
    effect: Effect & { do: "up" | "down" | "update" | "refresh" },
  ): void;
  drained(track: Track): void;
  /** One message went or came. */
  counted(direction: "sent" | "received"): void;
}

export class Track {
  connection: Connection | undefined;
  direction: "out" | "in" = "out";
  /** Clock time at which the connection came up. */
  connectedAt = 0;
  #attempt: ConnectAttempt | undefined;
  #framer: Framer | undefined;
  readonly #timers: Timers;
  #context: UpdateContext | undefined;
  /** Bytes given to the connection, and how many of them the kernel had taken at the last look. */
  #given = 0;
  #taken = 0;

  constructor(private readonly host: TrackHost, public session: Session) {
    this.#timers = new Timers(host.clock, (timer) => {
      if (timer === "send-hold" && this.#moves()) return;
      this.feed({ type: "timer", timer });
    });
  }

  feed(event: SessionEvent): void {
    const before = this.session;
    const result = step(before, event, {
      config: this.host.sessionConfig(),
      now: this.host.clock.now(),
    });
    this.session = result.next;
    for (const effect of result.effects) this.#run(effect);
    if (result.reason !== undefined || before.state !== result.next.state) {
      this.host.stepped(this, before, result);
    }
  }

  /** A connection that the peer has opened, or that our attempt has become. */
  take(connection: Connection, direction: "out" | "in"): void {
    const before = this.connection;
    this.connection = connection;
    this.feed({ type: "connected", direction });
    if (this.connection !== connection) {
      this.connection = before;
      return;
    }
    this.direction = direction;
    this.connectedAt = this.host.clock.now();
    const framer = new Framer({
      onMessage: (type, body) => this.#message(type, body),
      onError: (error) => this.feed({ type: "error", error }),
    });
    this.#framer = framer;
    connection.start({
      onData: (bytes) => framer.push(bytes),
      onDrain: () => this.host.drained(this),
      onEnd: (failure) => {
        this.connection = undefined;
        this.#framer?.stop();
        this.feed({ type: "disconnected", failure });
      },
    });
  }

  /** Sends whole messages. */
  send(bytes: Uint8Array, messages: number): void {
    const { connection } = this;
    if (connection) {
      connection.send(bytes);
      this.#given += bytes.length;
      this.#watchQueue(connection.queued);
    }
    for (let i = 0; i < messages; i++) this.host.counted("sent");
  }

  /** Lets everything go without a word: the peer is through with this track. */
  dispose(): void {
    this.#timers.stopAll();
    this.#attempt?.cancel();
    this.#attempt = undefined;
    this.#close();
  }

  /** The peer has from now on to read something, if anything waits for it (RFC 9687). */
  #watchQueue(queued: number): void {
    const taken = this.#given - queued;
    if (queued === 0) this.#timers.stop("send-hold");
    else if (taken !== this.#taken || !this.#timers.running("send-hold")) {
      this.#timers.start("send-hold", this.host.sessionConfig().sendHoldTime, false);
    }
    this.#taken = taken;
  }

  /** Whether the peer has read something since the last look; the watch goes on then. */
  #moves(): boolean {
    const queued = this.connection?.queued ?? 0;
    if (queued > 0 && this.#given - queued === this.#taken) return false;
    this.#watchQueue(queued);
    return true;
  }

  #message(type: number, body: Uint8Array): void {
    const { host } = this;
    host.counted("received");
    const { state } = this.session;
    if (type === UPDATE && state !== "Established") {
      // Out of place, whatever it says.
      const update = { answer: "accept", withdrawn: [], announced: [], notes: [] } as const;
      this.feed({ type: "update", update });
      return;
    }
    const message = decodeBody(type, body, this.#updateContext());
    if (!message.ok) {
      this.feed({ type: "error", error: message.error });
      return;
    }
    const { value } = message;
    switch (value.type) {
      case "open":
        if (state === "OpenSent" && !this.host.mayProceed(this, value.open)) {
          this.feed({ type: "collision-lost" });
        } else this.feed({ type: "open", open: value.open });
        return;
      case "update":
        if (value.update.answer !== "session-reset") {
          this.feed({ type: "update", update: value.update });
        }
        return;
      case "notification":
        if (state === "OpenSent" || state === "OpenConfirm") host.refused(value.notification);
        this.feed({ type: "notification", notification: value.notification });
        return;
      case "keepalive":
        this.feed({ type: "keepalive" });
        return;
      case "route-refresh":
        this.feed({ type: "route-refresh", refresh: value.refresh });
    }
  }

  #updateContext(): UpdateContext {
    if (this.#context) return this.#context;
    const { session } = this;
    if (session.state !== "Established") return NO_CONTEXT;
    const { asSize, internal, families } = session.negotiated;
    return this.#context = { asSize, internal, families, cache: this.host.cache };
  }

  #run(effect: Effect): void {
    const { host } = this;
    switch (effect.do) {
      case "connect":
        this.#connect();
        return;
      case "cancel-connect":
        this.#attempt?.cancel();
        this.#attempt = undefined;
        return;
      case "refuse":
        this.connection?.close();
        this.connection = undefined;
        return;
      case "close":
        this.#close();
        return;
      case "send-open":
        this.send(encodeOpen(openOf(host.sessionConfig())), 1);
        return;
      case "send-keepalive":
        this.send(encodeKeepalive(), 1);
        return;
      case "send-notification":
        this.send(encodeNotification(effect.error), 1);
        return;
      case "start-timer":
        this.#timers.start(effect.timer, effect.seconds, effect.jitter);
        return;
      case "stop-timer":
        this.#timers.stop(effect.timer);
        return;
      case "up":
      case "down":
      case "update":
      case "refresh":
        host.effect(this, effect);
    }
  }

  #connect(): void {
    this.#attempt = this.host.transport.connect(this.host.connectTarget(), {
      onConnected: (connection) => {
        this.#attempt = undefined;
        this.take(connection, "out");
      },
      onFailed: (failure) => {
        this.#attempt = undefined;
        this.feed({ type: "connect-failed", failure });
      },
    });
  }

  #close(): void {
    this.#framer?.stop();
    this.#framer = undefined;
    this.#context = undefined;
    this.#given = 0;
    this.connection?.close();
    this.connection = undefined;
  }
}

const NO_CONTEXT: UpdateContext = { asSize: 4, internal: false, families: new Set() };
