/**
 * All raw sockets of the process behind one epoll: netlink events, BGP's TCP, the local socket. One
 * call waits on Deno's blocking pool; its threads are few, so no socket may wait there by itself. An
 * eventfd ends the wait when the set of descriptors changes to none.
 *
 * Level-triggered. A burst is served by polling without waiting, a bounded number of rounds, so that
 * timers and promises get their turn. The reactor keeps the process alive while it has descriptors.
 */
import { check, errno, intBytes, libc, O_CLOEXEC, O_NONBLOCK } from "./libc.ts";

const EPOLLIN = 1, EPOLLOUT = 4, EPOLLERR = 8, EPOLLHUP = 16, EPOLLRDHUP = 0x2000;
const CTL_ADD = 1, CTL_DEL = 2, CTL_MOD = 3;
/** struct epoll_event is packed on x86-64 alone. */
const EVENT_SIZE = Deno.build.arch === "x86_64" ? 12 : 16;
const DATA_AT = Deno.build.arch === "x86_64" ? 4 : 8;
const MOST_EVENTS = 64;
const MOST_ROUNDS = 16;

export interface Ready {
  readonly readable: boolean;
  readonly writable: boolean;
  /** Error or hang-up: read and write will say which. */
  readonly broken: boolean;
}

export interface Interest {
  readonly read?: boolean;
  readonly write?: boolean;
}

/** One descriptor in the reactor. */
export interface Registration {
  /** What to be called for; nothing for a while is fine. */
  set(interest: Interest): void;
  /** Must come before the descriptor is closed. */
  close(): void;
}

export class Reactor {
  #epoll = -1;
  #wake = -1;
  #next = 1;
  readonly #calls = new Map<number, (ready: Ready) => void>();
  #running = false;

  /** Calls `call` whenever the descriptor is ready; an exception in it is a bug and ends the process. */
  add(fd: number, interest: Interest, call: (ready: Ready) => void): Registration {
    if (this.#epoll < 0) {
      this.#epoll = check(libc().epoll_create1(O_CLOEXEC), "make an epoll");
      this.#wake = check(libc().eventfd(0, O_CLOEXEC | O_NONBLOCK), "make an eventfd");
      this.#control(CTL_ADD, this.#wake, EPOLLIN, 0);
    }
    // A number of our own, never used twice: an event of a closed descriptor reaches nobody else.
    const id = this.#next++;
    let now = mask(interest);
    this.#control(CTL_ADD, fd, now, id);
    this.#calls.set(id, call);
    if (!this.#running) this.#run();
    return {
      set: (interest) => {
        const wanted = mask(interest);
        if (wanted === now || !this.#calls.has(id)) return;
        now = wanted;
        this.#control(CTL_MOD, fd, now, id);
      },
      close: () => {
        if (!this.#calls.delete(id)) return;
        this.#control(CTL_DEL, fd, 0, id);
        if (this.#calls.size === 0) this.#ring();
      },
    };
  }

  #control(operation: number, fd: number, events: number, id: number): void {
    const event = new Uint8Array(EVENT_SIZE);
    const view = new DataView(event.buffer);
    view.setUint32(0, events >>> 0, true);
    view.setUint32(DATA_AT, id, true);
    check(libc().epoll_ctl(this.#epoll, operation, fd, event), `watch descriptor ${fd}`);
  }

  #ring(): void {
    libc().write(this.#wake, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 8n);
  }

  async #run(): Promise<void> {
    this.#running = true;
    await null; // `add` has not returned yet: its caller has no registration to close
    const events = new Uint8Array(EVENT_SIZE * MOST_EVENTS);
    const view = new DataView(events.buffer);
    for (let rounds = 0; this.#calls.size > 0;) {
      let n = ++rounds < MOST_ROUNDS ? libc().epoll_wait(this.#epoll, events, MOST_EVENTS, 0) : 0;
      if (n <= 0) {
        rounds = 0;
        // errno of the waiting thread is out of reach; the only failure that can be is EINTR.
        n = await libc().epollWaitAsync(this.#epoll, events, MOST_EVENTS, -1);
      }
      for (let i = 0; i < n; i++) {
        const flags = view.getUint32(i * EVENT_SIZE, true);
        const id = view.getUint32(i * EVENT_SIZE + DATA_AT, true);
        if (id === 0) libc().read(this.#wake, new Uint8Array(8), 8n);
        this.#calls.get(id)?.({
          readable: (flags & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) !== 0,
          writable: (flags & (EPOLLOUT | EPOLLHUP | EPOLLERR)) !== 0,
          broken: (flags & (EPOLLHUP | EPOLLERR)) !== 0,
        });
      }
      if (n > 0) await null; // promises that were resolved just now run before the next round
    }
    this.#running = false;
  }
}

function mask(interest: Interest): number {
  return (interest.read ? EPOLLIN : 0) | (interest.write ? EPOLLOUT : 0);
}

let shared: Reactor | undefined;

/** The process's reactor. */
export function reactor(): Reactor {
  return shared ??= new Reactor();
}

/** The error that waits at a socket (SO_ERROR), as errno; 0 for none. */
export function socketError(fd: number): number {
  const SOL_SOCKET = 1, SO_ERROR = 4;
  const value = intBytes(0);
  if (libc().getsockopt(fd, SOL_SOCKET, SO_ERROR, value, intBytes(4)) < 0) return errno();
  return new DataView(value.buffer).getInt32(0, true);
}
