/**
 * A connected stream socket (Unix or TCP) in the reactor. Reading is asked for, never pushed, and a
 * write resolves when the kernel has taken the bytes, so backpressure goes all the way to the peer.
 * Its form is `mod/rpc`'s Connection.
 */
import { isKernelError, KernelError } from "./errors.ts";
import { closeFd, EAGAIN, EINTR, errno, libc, MSG_DONTWAIT, MSG_NOSIGNAL } from "./libc.ts";
import { type Reactor, reactor, type Ready, type Registration } from "./reactor.ts";

const ECANCELED = 125;
const SHUT_RD = 0, SHUT_WR = 1;

/** Of all streams: what a call has put there is copied before the next call. */
const received = new Uint8Array(65536);

export class Stream {
  readonly #registration: Registration;
  #reader?: () => void;
  #writer?: () => void;
  #writing: Promise<void> = Promise.resolve();
  #closed = false;
  #hungUp = false;
  #hangUpWaiter?: () => void;

  /** Takes over a connected, non-blocking socket. `name` is for errors: `the BGP peer 192.0.2.1`. */
  constructor(readonly fd: number, readonly name: string, within: Reactor = reactor()) {
    this.#registration = within.add(fd, {}, (ready) => this.#ready(ready));
  }

  get closed(): boolean {
    return this.#closed;
  }

  #ready(ready: Ready): void {
    const [reader, writer] = [this.#reader, this.#writer];
    if (ready.readable && reader) this.#reader = undefined;
    if (ready.writable && writer) this.#writer = undefined;
    this.#interest();
    if (ready.broken) {
      this.#hungUp = true;
      this.#hangUpWaiter?.();
    }
    // A hang-up that nobody waits for would be told again and again.
    if (ready.broken && !reader && !writer) this.#registration.close();
    if (ready.readable) reader?.();
    if (ready.writable) writer?.();
  }

  #interest(): void {
    if (this.#closed) return;
    this.#registration.set({ read: !!this.#reader, write: !!this.#writer });
  }

  #ended(): KernelError {
    return new KernelError(ECANCELED, `use ${this.name}`, { detail: "closed on this side" });
  }

  /** The next bytes, a copy; undefined at the peer's end. Rejects with KernelError when it broke. */
  async read(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    for (;;) {
      if (this.#closed) throw this.#ended();
      const n = libc().recv(this.fd, received, BigInt(received.length), MSG_DONTWAIT);
      if (n > 0) return received.slice(0, n);
      if (n === 0) return undefined;
      const reason = errno();
      if (reason === EINTR) continue;
      if (reason !== EAGAIN) throw new KernelError(reason, `read from ${this.name}`);
      await new Promise<void>((resolve) => {
        this.#reader = resolve;
        this.#interest();
      });
    }
  }

  /** Resolves when the kernel has taken all bytes. Writes are done in the order of the calls. */
  write(bytes: Uint8Array): Promise<void> {
    const after = this.#writing.then(() => this.#write(bytes));
    this.#writing = after.catch(() => {}); // told to its own caller
    return after;
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      const n = this.tryWrite(bytes.subarray(at));
      at += n;
      if (n > 0) continue;
      await new Promise<void>((resolve) => {
        this.#writer = resolve;
        this.#interest();
      });
    }
  }

  /** Gives the kernel what it takes at once; how many bytes that was. */
  tryWrite(bytes: Uint8Array): number {
    if (this.#closed) throw this.#ended();
    const data = bytes as Uint8Array<ArrayBuffer>;
    for (;;) {
      const n = libc().send(this.fd, data, BigInt(data.length), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n >= 0) return n;
      const reason = errno();
      if (reason === EAGAIN) return 0;
      if (reason !== EINTR) throw new KernelError(reason, `write to ${this.name}`);
    }
  }

  /** Tells the peer that no more comes; its answer can still be read. */
  async closeWrite(): Promise<void> {
    await this.#writing;
    if (!this.#closed) libc().shutdown(this.fd, SHUT_WR);
  }

  /** Reading comes to an end with what the kernel has already. */
  endRead(): void {
    if (!this.#closed) libc().shutdown(this.fd, SHUT_RD);
  }

  /**
   * Resolves when the peer has closed both directions, as a process that ends does: true where it had
   * read all that was written here, false where not. Before `closeWrite` only: our own end would look
   * the same. Rejects where we close first.
   */
  async peerClosed(): Promise<boolean> {
    if (!this.#hungUp && !this.#closed) {
      await new Promise<void>((resolve) => this.#hangUpWaiter = resolve);
    }
    for (;;) {
      if (this.#closed) throw this.#ended();
      const n = libc().recv(this.fd, received, BigInt(received.length), MSG_DONTWAIT);
      if (n === 0) return true;
      // Bytes that nobody asked for; an error says that what we wrote was thrown away unread.
      if (n < 0 && errno() !== EINTR) return false;
    }
  }

  /** Ends both directions at once; what waits is rejected. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#registration.close();
    closeFd(this.fd);
    const [reader, writer] = [this.#reader, this.#writer];
    this.#reader = this.#writer = undefined;
    reader?.();
    writer?.();
    this.#hangUpWaiter?.();
  }
}

/** Whether an error says only that we closed the stream ourselves. */
export function isClosedHere(error: unknown): boolean {
  return isKernelError(error) && error.errno === ECANCELED;
}
