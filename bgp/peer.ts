/**
 * One peer: its configuration, its session (one track, or two while two connections compete), its
 * routes (`peer_routes.ts`) and what there is to say about it. A peer knows nothing of the others.
 *
 * `main` is the track that people see. A connection that the peer opens while ours is under way or up
 * gets an `extra` track; when the peer's OPEN comes on either, `collide` says which one goes on, and
 * the other is let go of.
 */
import { formatIp } from "../mod/net/mod.ts";
import { changeOf, checkPeer, familiesOf } from "./check_peer.ts";
import type { PeerConfig } from "./config.ts";
import {
  CEASE,
  CEASE_CONFIG_CHANGE,
  CEASE_MAX_PREFIXES,
  OPEN_ERROR,
  OPEN_PARAMETER,
  type ProtocolError,
  protocolError,
} from "./message/error.ts";
import type { Notification } from "./message/frame.ts";
import type { Open } from "./message/open.ts";
import { type PeerHost, PeerRoutes } from "./peer_routes.ts";
import { collide } from "./session/collision.ts";
import { negotiate } from "./session/negotiate.ts";
import {
  type Effect,
  type Session,
  type SessionConfig,
  type Step,
  STOPPED,
} from "./session/session.ts";
import { Track, type TrackHost } from "./session/track.ts";
import type { Connection, ConnectTarget } from "./transport.ts";

const DEFAULTS = {
  port: 179,
  holdTime: 90,
  connectRetryTime: 5,
  errorWait: [5, 30] as const,
  /** RFC 9687 section 4.3: eight minutes, or twice the hold time if that is more. */
  sendHoldTime: 480,
  restartTime: 120,
};

/** Numbers for status. */
export interface PeerCounters {
  messages: { received: number; sent: number };
  established: number;
  malformed: { count: number; last?: string };
}

export class Peer implements TrackHost {
  readonly transport;
  readonly clock;
  readonly cache;
  readonly routes: PeerRoutes;
  readonly counters: PeerCounters = {
    messages: { received: 0, sent: 0 },
    established: 0,
    malformed: { count: 0 },
  };
  main: Track;
  extra: Track | undefined;
  started = false;
  configError: string | undefined;
  /** Wall time, milliseconds. */
  since: number;
  reason = "not started";
  lastError: { text: string; at: number } | undefined;
  #sessionConfig: SessionConfig | undefined;
  #logged: string | undefined;
  /** The peer has refused our OPEN for its capabilities: the next one has none (RFC 5492 section 3). */
  #plain = false;

  constructor(private readonly host: PeerHost, public config: PeerConfig) {
    this.transport = host.transport;
    this.clock = host.clock;
    this.cache = host.cache;
    this.routes = new PeerRoutes(host, config);
    this.main = new Track(this, STOPPED);
    this.since = host.clock.wallTime();
  }

  get session(): Session {
    return this.main.session;
  }

  /** Our AS towards this peer. */
  get localAs(): number {
    return this.config.localAs ?? this.host.as;
  }

  start(): void {
    this.started = true;
    this.configError = checkPeer(this.config, this.host.as);
    if (this.configError === undefined) this.main.feed({ type: "start" });
    else {
      this.reason = this.configError;
      this.lastError = { text: this.configError, at: this.clock.wallTime() };
      this.host.log("warning", `peer ${this.config.name}: ${this.configError}`);
    }
  }

  /** Ends the session; with no error, without a word to the peer. */
  stop(error: ProtocolError | undefined, reason: string, keepRoutes = false): void {
    this.started = false;
    this.#dropExtra(error);
    this.main.feed({ type: "stop", error, reason, keepRoutes });
  }

  /** The peer is taken out of the configuration. */
  forget(error: ProtocolError): void {
    this.stop(error, error.text);
    this.main.dispose();
    this.routes.forget();
  }

  /**
   * The session begins anew, for the peer must be told something in an OPEN. `keepRoutes`: where both
   * ends have graceful restart the connection is closed without a word, as it would be by a restart of
   * the process, and each end keeps the other's routes until they are told again. A NOTIFICATION would
   * have the peer drop ours (RFC 4724 section 4.2).
   */
  restart(reason: string, keepRoutes = false): void {
    const { started, session } = this;
    const error = protocolError(CEASE, CEASE_CONFIG_CHANGE, reason);
    if (keepRoutes && session.state === "Established" && session.negotiated.restart) {
      // A second connection is told; it has no routes.
      this.#dropExtra(error);
      this.routes.reopening();
      this.stop(undefined, reason, true);
    } else this.stop(error, reason);
    this.#sessionConfig = undefined;
    if (started) this.start();
  }

  configure(config: PeerConfig): void {
    const former = this.config;
    this.config = config;
    this.routes.config = config;
    this.routes.describeSource();
    this.#sessionConfig = undefined;
    const change = changeOf(former, config);
    const possible = this.configError === undefined &&
      checkPeer(config, this.host.as) === undefined;
    const { state } = this.session;
    if (!possible || change !== "nothing") {
      const keepRoutes = possible && change === "reopen";
      if (!keepRoutes && state !== "Established") this.routes.dropStale();
      this.restart("the configuration of the session has changed", keepRoutes);
    } else if (
      (config.passive !== former.passive || config.port !== former.port) &&
      (state === "Active" || state === "Connect")
    ) this.restart("the way of calling has changed");
    else if (config.keepaliveTime !== former.keepaliveTime) {
      this.main.feed({ type: "configured" });
      this.extra?.feed({ type: "configured" });
    }
    if (
      config.importFilter?.id !== former.importFilter?.id ||
      config.allowLocalAs !== former.allowLocalAs
    ) this.routes.rejudge();
    if (
      config.exportFilter?.id !== former.exportFilter?.id || config.nextHop !== former.nextHop ||
      JSON.stringify(hops(config)) !== JSON.stringify(hops(former))
    ) this.routes.reexport();
  }

  /** A connection that the peer has opened. */
  incoming(connection: Connection): void {
    if (!this.started || this.configError !== undefined) {
      connection.close();
      return;
    }
    const { state, failures } = this.session;
    if (state === "Idle" || state === "Active") {
      this.main.take(connection, "in");
      return;
    }
    // A second one replaces the first: the peer has given that up.
    this.extra?.dispose();
    this.extra = new Track(this, { state: "Active", attempts: 0, failures });
    this.extra.take(connection, "in");
  }

  sessionConfig(): SessionConfig {
    const { config, host } = this;
    const [restarting, forwarding] = [host.restarting(), host.forwarding()];
    const known = this.#sessionConfig;
    if (known?.restarting === restarting && known.forwarding === forwarding) return known;
    const holdTime = config.holdTime ?? DEFAULTS.holdTime;
    return this.#sessionConfig = {
      localAs: this.localAs,
      remoteAs: config.remoteAs,
      routerId: host.routerId,
      families: familiesOf(config),
      withoutCapabilities: this.#plain,
      passive: config.passive ?? false,
      holdTime,
      sendHoldTime: config.sendHoldTime ?? Math.max(DEFAULTS.sendHoldTime, 2 * holdTime),
      keepaliveTime: config.keepaliveTime,
      connectRetryTime: config.connectRetryTime ?? DEFAULTS.connectRetryTime,
      errorWait: config.errorWait ?? DEFAULTS.errorWait,
      restartTime: config.gracefulRestart ?? DEFAULTS.restartTime,
      restarting,
      forwarding,
    };
  }

  connectTarget(): ConnectTarget {
    const { address, port, source, password, ttlSecurity, connectRetryTime } = this.config;
    return {
      remote: { address, port: port ?? DEFAULTS.port },
      source,
      password,
      ttlSecurity,
      // Longer than the machine waits: its own timer gives the reason.
      timeout: 1500 * (connectRetryTime ?? DEFAULTS.connectRetryTime),
    };
  }

  mayProceed(track: Track, open: Open): boolean {
    const other = track === this.main ? this.extra : this.main;
    if (!other) return true;
    const config = this.sessionConfig();
    // An OPEN that cannot be accepted ends its own connection, not the other one.
    if (!negotiate(config, open).ok) return true;
    const winner = collide({ open, direction: track.direction }, other, config, this.clock.now());
    if (winner === "other") return false;
    if (other.session.state === "Established") {
      const message = "the peer has started anew while its old connection was open";
      other.feed({ type: "disconnected", failure: { kind: "closed", message } });
    } else other.feed({ type: "collision-lost" });
    other.dispose();
    this.main = track;
    this.extra = undefined;
    return true;
  }

  /**
   * Without capabilities there is IPv4 alone. It is tried in turn with the OPEN that has them, and that
   * is the first again when a session is over: the peer may be another one by then.
   */
  refused({ code, subcode }: Notification): void {
    if (code !== OPEN_ERROR) return;
    const plain = !this.#plain && subcode === OPEN_PARAMETER &&
      familiesOf(this.config).includes("ipv4");
    this.#setPlain(plain);
    if (!plain) return;
    this.host.log(
      "info",
      `peer ${this.config.name}: it refuses capabilities; the next OPEN has none`,
    );
  }

  #setPlain(plain: boolean): void {
    if (plain === this.#plain) return;
    this.#plain = plain;
    this.#sessionConfig = undefined;
  }

  stepped(track: Track, before: Session, step: Step): void {
    const { next } = step;
    const text = step.reason ?? "";
    const resting = next.state === "Idle" || next.state === "Active";
    if (track === this.main && resting && this.extra && before.state !== "Idle") {
      // The other connection goes on alone.
      track.dispose();
      this.main = this.extra;
      this.extra = undefined;
    } else if (track !== this.main) {
      if (track === this.extra && resting) {
        track.dispose();
        this.extra = undefined;
        // What is wrong with the peer's own call is worth knowing while there is no session.
        if (step.failed && this.session.state !== "Established") this.#failed(text);
      }
      return;
    }
    // A peer that is away is told of in its status; a line each few seconds would help nobody.
    if (step.failed) this.#failed(text, before.state === "Connect");
    else if (next.state === "Established") {
      this.#logged = undefined;
      this.host.log("info", `peer ${this.config.name}: ${text}`);
    }
    const state = this.session.state;
    if (before.state !== state) this.since = this.clock.wallTime();
    this.reason = text;
    this.host.peerChanged(this.config.name);
  }

  effect(track: Track, effect: Effect & { do: "up" | "down" | "update" | "refresh" }): void {
    switch (effect.do) {
      case "up":
        if (track === this.extra) {
          this.main.dispose();
          this.main = track;
          this.extra = undefined;
        }
        this.counters.established++;
        this.routes.up({
          negotiated: effect.negotiated,
          connection: track.connection!,
          send: (bytes, messages) => track.send(bytes, messages),
        });
        return;
      case "down":
        this.#setPlain(false);
        this.routes.down(effect.keepRoutes, effect.negotiated);
        return;
      case "refresh":
        this.routes.refresh(effect.refresh);
        return;
      case "update": {
        const { notes } = effect.update;
        if (notes.length > 0) {
          this.counters.malformed.count += notes.length;
          this.counters.malformed.last = notes.at(-1);
        }
        const tooMany = this.routes.update(effect.update);
        if (tooMany !== undefined) {
          const error = protocolError(CEASE, CEASE_MAX_PREFIXES, tooMany);
          track.feed({ type: "error", error });
        }
      }
    }
  }

  /** What goes wrong in the same way again is told once; status has the time of the last. */
  #failed(text: string, quietly = false): void {
    this.lastError = { text, at: this.clock.wallTime() };
    if (quietly || text === this.#logged) return;
    this.#logged = text;
    this.host.log("warning", `peer ${this.config.name}: ${text}`);
  }

  drained(track: Track): void {
    if (track === this.main) this.host.schedule();
  }

  counted(direction: "sent" | "received"): void {
    this.counters.messages[direction]++;
  }

  #dropExtra(error: ProtocolError | undefined): void {
    const { extra } = this;
    this.extra = undefined;
    if (!extra) return;
    extra.feed({ type: "stop", error, reason: "stopped" });
    extra.dispose();
  }
}

function hops(config: PeerConfig) {
  return Object.entries(config.nextHops ?? {}).map(([family, ip]) => [family, formatIp(ip)]);
}
