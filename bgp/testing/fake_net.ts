/**
 * A network of speakers inside one process, with a clock that a test turns by hand: the transport
 * interface for real, with streams, refusals, silence and resets, but no socket and no waiting. Links can
 * be cut (bytes wait, as TCP would send them again), hosts can lose power (silence for ever) and
 * processes can be killed (the kernel closes their connections).
 */
import { formatIp, type Ip } from "../../mod/net/mod.ts";
import {
  type BgpTransport,
  type Clock,
  type ConnectAttempt,
  type ConnectHandlers,
  type Connection,
  type ConnectionHandlers,
  type ConnectTarget,
  type Endpoint,
  type Guard,
  type Listener,
  type ListenOptions,
  type Timer,
  TransportError,
} from "../transport.ts";

interface Due {
  at: number;
  order: number;
  call: () => void;
  cancelled: boolean;
}

/** Time stands still until `advance`. */
export class FakeClock implements Clock {
  #now = 0;
  #order = 0;
  #heap: Due[] = [];
  #seed: number;

  constructor(seed = 1) {
    this.#seed = seed;
  }

  now(): number {
    return this.#now;
  }

  wallTime(): number {
    return 1_700_000_000_000 + this.#now;
  }

  random(): number {
    // Numerical Recipes' linear congruential generator: repeatable dice.
    this.#seed = (Math.imul(this.#seed, 1664525) + 1013904223) >>> 0;
    return this.#seed / 2 ** 32;
  }

  after(ms: number, call: () => void): Timer {
    const due: Due = { at: this.#now + ms, order: this.#order++, call, cancelled: false };
    this.#push(due);
    return { cancel: () => void (due.cancelled = true) };
  }

  /** Lets this many milliseconds pass, and everything happen that falls into them. */
  advance(ms: number): void {
    const end = this.#now + ms;
    while (this.#heap.length > 0 && this.#heap[0].at <= end) {
      const due = this.#pop();
      if (due.cancelled) continue;
      this.#now = Math.max(this.#now, due.at);
      due.call();
    }
    this.#now = end;
  }

  /** Advances in steps until the condition holds; false after `most` milliseconds. */
  until(condition: () => boolean, most: number, step = 10): boolean {
    for (let passed = 0; passed <= most; passed += step) {
      if (condition()) return true;
      this.advance(step);
    }
    return condition();
  }

  /** The machine sleeps: time passes, nothing runs. */
  sleep(ms: number): void {
    this.#now += ms;
  }

  #before(a: Due, b: Due): boolean {
    return a.at < b.at || (a.at === b.at && a.order < b.order);
  }

  #push(due: Due): void {
    const heap = this.#heap;
    let i = heap.push(due) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (!this.#before(heap[i], heap[parent])) break;
      [heap[i], heap[parent]] = [heap[parent], heap[i]];
      i = parent;
    }
  }

  #pop(): Due {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop()!;
    if (heap.length > 0) {
      heap[0] = last;
      for (let i = 0;;) {
        const [left, right] = [2 * i + 1, 2 * i + 2];
        let least = i;
        if (left < heap.length && this.#before(heap[left], heap[least])) least = left;
        if (right < heap.length && this.#before(heap[right], heap[least])) least = right;
        if (least === i) break;
        [heap[i], heap[least]] = [heap[least], heap[i]];
        i = least;
      }
    }
    return top;
  }
}

class FakeConnection implements Connection {
  handlers: ConnectionHandlers | undefined;
  other!: FakeConnection;
  queued = 0;
  ended = false;
  /** Bytes and the end of the stream, waiting for a cut link or a late start. */
  #inbox: ({ bytes: Uint8Array } | { end: "closed" | "reset" })[] = [];

  constructor(
    readonly net: FakeNet,
    readonly local: Endpoint,
    readonly remote: Endpoint,
  ) {}

  start(handlers: ConnectionHandlers): void {
    this.handlers = handlers;
    this.deliver();
  }

  send(bytes: Uint8Array): void {
    if (this.ended) return;
    const { net, other } = this;
    net.bytesSent += bytes.length;
    const copy = bytes.slice();
    this.queued += copy.length;
    net.later(() => {
      other.#inbox.push({ bytes: copy });
      other.deliver();
    });
  }

  close(): void {
    if (this.ended) return;
    this.ended = true;
    this.net.open.delete(this);
    this.#end("closed");
  }

  /** The process died: its kernel says goodbye. */
  abort(how: "closed" | "reset"): void {
    this.ended = true;
    this.#end(how);
  }

  #end(end: "closed" | "reset"): void {
    const { other } = this;
    this.net.later(() => {
      other.#inbox.push({ end });
      other.deliver();
    });
  }

  deliver(): void {
    if (!this.handlers || !this.net.reachable(this.local.address, this.remote.address)) return;
    while (this.#inbox.length > 0 && !this.ended) {
      const next = this.#inbox.shift()!;
      if ("end" in next) {
        this.ended = true;
        this.net.open.delete(this);
        const text = next.end === "closed" ? "closed the connection" : "reset the connection";
        this.handlers.onEnd({
          kind: next.end,
          message: `${formatIp(this.remote.address)} ${text}`,
        });
        return;
      }
      const { other } = this;
      other.queued -= next.bytes.length;
      if (other.queued === 0 && !other.ended) other.handlers?.onDrain();
      this.handlers.onData(next.bytes);
    }
  }
}

interface Listening {
  owner: string;
  onConnection: (connection: Connection) => void;
  guards: Map<string, Guard>;
}

export class FakeNet {
  bytesSent = 0;
  readonly open = new Set<FakeConnection>();
  readonly #listeners = new Map<string, Listening>();
  readonly #cut = new Set<string>();
  readonly #dark = new Set<string>();
  #port = 40000;

  constructor(readonly clock: FakeClock, readonly latency = 1) {}

  later(call: () => void): void {
    this.clock.after(this.latency, call);
  }

  /** The transport of the host with this address. */
  transport(address: Ip): BgpTransport {
    const owner = formatIp(address);
    return {
      listen: (options, onConnection) => this.#listen(owner, address, options, onConnection),
      connect: (target, handlers) => this.#connect(target.source ?? address, target, handlers),
    };
  }

  /** Nothing passes between the two any more, or does again. */
  cut(a: Ip, b: Ip, cut = true): void {
    const pair = [formatIp(a), formatIp(b)].sort().join(" ");
    if (cut) this.#cut.add(pair);
    else {
      this.#cut.delete(pair);
      for (const connection of [...this.open]) connection.deliver();
    }
  }

  /** The host is without power: silence. */
  powerOff(address: Ip): void {
    const owner = formatIp(address);
    this.#dark.add(owner);
    this.#drop(owner, () => {});
  }

  powerOn(address: Ip): void {
    this.#dark.delete(formatIp(address));
  }

  /** The process was killed: its kernel closes what it had open. */
  kill(address: Ip, how: "closed" | "reset" = "closed"): void {
    this.#drop(formatIp(address), (connection) => connection.abort(how));
  }

  reachable(a: Ip, b: Ip): boolean {
    const [x, y] = [formatIp(a), formatIp(b)];
    return !this.#dark.has(x) && !this.#dark.has(y) && !this.#cut.has([x, y].sort().join(" "));
  }

  #drop(owner: string, each: (connection: FakeConnection) => void): void {
    for (const [key, listening] of this.#listeners) {
      if (listening.owner === owner) this.#listeners.delete(key);
    }
    for (const connection of [...this.open]) {
      if (formatIp(connection.local.address) !== owner) continue;
      connection.ended = true;
      this.open.delete(connection);
      each(connection);
    }
  }

  #listen(
    owner: string,
    address: Ip,
    options: ListenOptions,
    onConnection: (connection: Connection) => void,
  ): Listener {
    const key = `${formatIp(options.address ?? address)} ${options.port}`;
    if (this.#listeners.has(key)) {
      throw new TransportError("denied", `cannot listen on ${key}: address in use`);
    }
    const listening: Listening = { owner, onConnection, guards: new Map() };
    this.#listeners.set(key, listening);
    return {
      port: options.port,
      guard: (peers) => {
        listening.guards = new Map(peers.map((peer) => [formatIp(peer.address), peer]));
      },
      close: () => {
        if (this.#listeners.get(key) === listening) this.#listeners.delete(key);
      },
    };
  }

  #connect(source: Ip, target: ConnectTarget, handlers: ConnectHandlers): ConnectAttempt {
    let cancelled = false;
    const { remote } = target;
    const to = formatIp(remote.address);
    const timer = this.clock.after(target.timeout, () => {
      cancelled = true;
      handlers.onFailed({ kind: "timeout", message: `TCP timeout: ${to} does not answer` });
    });
    this.later(() => {
      if (cancelled || !this.reachable(source, remote.address)) return;
      const listening = this.#listeners.get(`${to} ${remote.port}`);
      if (!listening) {
        timer.cancel();
        this.later(() => {
          if (cancelled) return;
          const message = `TCP refused: nobody listens on ${to} port ${remote.port}`;
          handlers.onFailed({ kind: "refused", message });
        });
        return;
      }
      // A signature that is not the wanted one is dropped without an answer.
      if (listening.guards.get(formatIp(source))?.password !== target.password) return;
      const near = { address: source, port: this.#port++ };
      const ours = new FakeConnection(this, near, remote);
      const theirs = new FakeConnection(this, remote, near);
      ours.other = theirs;
      theirs.other = ours;
      this.open.add(ours).add(theirs);
      listening.onConnection(theirs);
      this.later(() => {
        if (cancelled) {
          ours.close();
          return;
        }
        timer.cancel();
        if (!ours.ended) handlers.onConnected(ours);
      });
    });
    return {
      cancel: () => {
        cancelled = true;
        timer.cancel();
      },
    };
  }
}
