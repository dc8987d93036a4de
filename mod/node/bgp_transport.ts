/**
 * BGP's TCP (RFC 4271 section 8, RFC 2385, RFC 5082) on raw sockets in the node's network namespace:
 * what `bgp/transport.ts` asks for, made of `ffi/tcp.ts`.
 *
 * What the speaker sends goes to the kernel at once if the kernel takes it, so that a NOTIFICATION is
 * out before the connection is closed; only the rest waits. A connection that we close is first half
 * closed and read to its end for a moment: a close with unread bytes would be a reset, and a
 * reset makes the peer's kernel forget what it has not handed over yet.
 *
 * The same the other way round: Linux keeps what came before a reset, and the first call after it gets
 * the error, be it a send. So a send that fails ends nothing. What has come is read to its end first:
 * it may be the NOTIFICATION that says why, and without it a graceful restart would keep the routes.
 */
import { clearImmediate, setImmediate } from "node:timers";
import type {
  BgpTransport,
  Clock,
  ConnectAttempt,
  ConnectHandlers,
  Connection,
  ConnectionHandlers,
  ConnectTarget,
  Endpoint,
  Guard,
  Listener,
  ListenOptions,
  TransportFailure,
  TransportFailureKind,
} from "../../bgp/transport.ts";
import { TransportError } from "../../bgp/transport.ts";
import { isKernelError, type KernelError } from "../../ffi/errors.ts";
import type { Netns } from "../../ffi/netns.ts";
import { connectTcp, listenTcp, type TcpListener, type TcpStream } from "../../ffi/tcp.ts";
import { formatIp, type Ip, mustIp } from "../net/mod.ts";

/** Milliseconds for which a closed connection waits for the peer's end. */
const FAREWELL = 1_000;

const MAX_TTL = 255;

const KINDS: Record<string, TransportFailureKind> = {
  ECONNREFUSED: "refused",
  ETIMEDOUT: "timeout",
  EHOSTUNREACH: "unreachable",
  ENETUNREACH: "unreachable",
  ENETDOWN: "unreachable",
  EHOSTDOWN: "unreachable",
  EADDRNOTAVAIL: "unreachable",
  ECONNRESET: "reset",
  EPIPE: "reset",
  EACCES: "denied",
  EPERM: "denied",
  EINVAL: "denied",
  EADDRINUSE: "denied",
};

function show({ address, port }: Endpoint): string {
  return address.family === 6 ? `[${formatIp(address)}]:${port}` : `${formatIp(address)}:${port}`;
}

/** What an attempt failed of, in words. */
function attemptFailure(error: KernelError, target: ConnectTarget): TransportFailure {
  const to = show(target.remote);
  const from = target.source ? ` from ${formatIp(target.source)}` : "";
  const kind = KINDS[error.code] ?? "failed";
  switch (error.code) {
    case "ECONNREFUSED":
      return { kind, message: `TCP refused: nothing at ${to} accepts BGP connections${from}` };
    case "ETIMEDOUT":
      return { kind, message: `TCP timeout: ${to} does not answer${from}` };
    case "EADDRNOTAVAIL":
      return {
        kind,
        message: `cannot call ${to}: the source address${from.slice(5)} is not on this node`,
      };
    default:
      return { kind, message: `cannot call ${to}${from}: ${error.message}` };
  }
}

/** What an open connection ended of, in words. */
function endOf(error: unknown, remote: Endpoint): TransportFailure {
  if (!isKernelError(error)) throw error;
  const kind = KINDS[error.code] ?? "failed";
  const who = show(remote);
  switch (kind) {
    case "reset":
      return { kind, message: `TCP reset: ${who} has aborted the connection` };
    case "timeout":
      return { kind, message: `TCP timeout: ${who} does not acknowledge what we send` };
    default:
      return { kind, message: `the connection with ${who} broke: ${error.message}` };
  }
}

class TcpConnection implements Connection {
  readonly local: Endpoint;
  readonly remote: Endpoint;
  queued = 0;
  #handlers: ConnectionHandlers | undefined;
  /** Why nothing can be sent any more; told when all that has come is read. */
  #broken: TransportFailure | undefined;
  /** Closed by us, or its end told. */
  #over = false;

  constructor(readonly stream: TcpStream) {
    this.local = { address: stream.local.ip, port: stream.local.port };
    this.remote = { address: stream.remote.ip, port: stream.remote.port };
  }

  start(handlers: ConnectionHandlers): void {
    this.#handlers = handlers;
    this.#read();
  }

  async #read(): Promise<void> {
    for (;;) {
      let bytes: Uint8Array | undefined;
      try {
        bytes = await this.stream.read();
      } catch (error) {
        if (!this.#over) this.#end(this.#broken ?? endOf(error, this.remote));
        return;
      }
      if (this.#over) return;
      if (bytes === undefined) {
        const message = `${show(this.remote)} closed the connection`;
        this.#end(this.#broken ?? { kind: "closed", message });
        return;
      }
      this.#handlers!.onData(bytes);
    }
  }

  send(bytes: Uint8Array): void {
    if (this.#over || this.#broken) return;
    let taken = 0;
    if (this.queued === 0) {
      try {
        taken = this.stream.tryWrite(bytes);
      } catch (error) {
        this.#break(error);
        return;
      }
    }
    if (taken === bytes.length) return;
    const rest = bytes.subarray(taken);
    this.queued += rest.length;
    this.stream.write(rest).then(
      () => {
        this.queued -= rest.length;
        if (this.queued === 0 && !this.#over) this.#handlers?.onDrain();
      },
      (error) => {
        if (!this.#over) this.#break(error);
      },
    );
  }

  /** `#read` comes to the end of what there is: the kernel gives no more, and says so. */
  #break(error: unknown): void {
    this.#broken ??= endOf(error, this.remote);
    this.stream.endRead();
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    if (this.queued > 0) this.stream.close();
    else farewell(this.stream);
  }

  #end(failure: TransportFailure): void {
    if (this.#over) return;
    this.#over = true;
    this.stream.close();
    this.#handlers?.onEnd(failure);
  }
}

/** Half closes, and reads until the peer has closed too, for a moment. */
async function farewell(stream: TcpStream): Promise<void> {
  const timer = setTimeout(() => stream.close(), FAREWELL);
  try {
    await stream.closeWrite();
    while (await stream.read() !== undefined) { /* nobody wants it any more */ }
  } catch (error) {
    if (!isKernelError(error)) throw error;
  } finally {
    clearTimeout(timer);
    stream.close();
  }
}

/** BGP over the TCP of a network namespace; absent: that of this process. */
export class NodeTransport implements BgpTransport {
  constructor(private readonly netns?: Netns) {}

  listen(options: ListenOptions, onConnection: (connection: Connection) => void): Listener {
    const local = {
      ip: options.address ?? mustIp(options.family === 4 ? "0.0.0.0" : "::"),
      port: options.port,
    };
    let guards = new Map<string, { address: Ip } & Guard>();
    /** Peers whose password the kernel would not take: nobody may call unsigned in their name. */
    const barred = new Set<string>();
    let listener: TcpListener;
    try {
      // Answers leave with the highest TTL, so that a peer with TTL security hears them.
      listener = listenTcp({ netns: this.netns, local, ttl: MAX_TTL }, (stream) => {
        const caller = formatIp(stream.remote.ip);
        const hops = guards.get(caller)?.ttlSecurity;
        if (barred.has(caller)) {
          stream.close();
          return;
        }
        try {
          if (hops !== undefined) stream.setMinTtl(MAX_TTL + 1 - hops);
        } catch (error) {
          if (!isKernelError(error)) throw error;
          stream.close(); // not to be had as it must be
          return;
        }
        onConnection(new TcpConnection(stream));
      });
    } catch (error) {
      if (!isKernelError(error)) throw error;
      const where = show({ address: local.ip, port: local.port });
      const hint = error.code === "EADDRINUSE"
        ? "another BGP speaker runs here; stop it, or set another listenPort"
        : error.message;
      throw new TransportError(
        KINDS[error.code] ?? "failed",
        `cannot listen for BGP peers on ${where}: ${hint}`,
      );
    }
    return {
      port: listener.port,
      guard: (peers) => {
        const next = new Map(peers.map((peer) => [formatIp(peer.address), peer]));
        const setKey = (text: string, address: Ip, password: string | undefined) => {
          try {
            listener.setMd5(address, password);
            barred.delete(text);
          } catch (error) {
            if (!isKernelError(error)) throw error;
            barred.add(text);
          }
        };
        for (const [text, { address, password }] of next) {
          if (guards.get(text)?.password !== password) setKey(text, address, password);
        }
        for (const [text, { address, password }] of guards) {
          if (!next.has(text) && password !== undefined) setKey(text, address, undefined);
        }
        guards = next;
      },
      close: () => listener.close(),
    };
  }

  connect(target: ConnectTarget, handlers: ConnectHandlers): ConnectAttempt {
    const abort = new AbortController();
    const { remote, source, password, ttlSecurity } = target;
    connectTcp({
      netns: this.netns,
      remote: { ip: remote.address, port: remote.port },
      local: source && { ip: source, port: 0 },
      md5: password,
      timeout: target.timeout,
      signal: abort.signal,
      ...(ttlSecurity === undefined ? {} : { ttl: MAX_TTL, minTtl: MAX_TTL + 1 - ttlSecurity }),
    }).then(
      (stream) => {
        if (abort.signal.aborted) stream.close();
        else handlers.onConnected(new TcpConnection(stream));
      },
      (error) => {
        if (abort.signal.aborted) return;
        if (!isKernelError(error)) throw error;
        handlers.onFailed(attemptFailure(error, target));
      },
    );
    return { cancel: () => abort.abort() };
  }
}

/** The process's own time and dice. */
export const systemClock: Clock = {
  now: () => performance.now(),
  wallTime: () => Date.now(),
  random: () => Math.random(),
  after(ms, call) {
    if (ms === 0) {
      // A timer of nothing takes a millisecond.
      const immediate = setImmediate(call);
      return { cancel: () => clearImmediate(immediate) };
    }
    const timer = setTimeout(call, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};
