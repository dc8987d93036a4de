/**
 * Two ends of a connection in memory, for tests and for a store that is served inside its own
 * process. Like a socket it holds a bounded number of bytes, hands chunks over as they were written,
 * and can break.
 */

import type { Connection } from "./connection.ts";

/** Bytes on their way before a writer waits. */
const CAPACITY = 64 * 1024;

/** One direction. */
class Channel {
  #chunks: Uint8Array[] = [];
  #size = 0;
  #ended = false;
  #broken: Error | undefined;
  #wake: (() => void)[] = [];

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#broken) throw this.#broken;
    if (this.#ended) throw new Error("the sending side is closed");
    if (bytes.length === 0) return;
    this.#chunks.push(bytes.slice());
    this.#size += bytes.length;
    this.#changed();
    while (this.#size > CAPACITY && !this.#broken) await this.#change();
    if (this.#broken) throw this.#broken;
  }

  async read(): Promise<Uint8Array | undefined> {
    for (;;) {
      if (this.#broken) throw this.#broken;
      const chunk = this.#chunks.shift();
      if (chunk) {
        this.#size -= chunk.length;
        this.#changed();
        return chunk;
      }
      if (this.#ended) return undefined;
      await this.#change();
    }
  }

  end(): void {
    this.#ended = true;
    this.#changed();
  }

  break(reason: Error): void {
    this.#broken ??= reason;
    this.#chunks = [];
    this.#changed();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }

  #changed(): void {
    for (const resolve of this.#wake.splice(0)) resolve();
  }
}

/** Two connected ends. Closing one breaks what the other still does, as a closed socket would. */
export function pipe(peerUid?: number): [Connection, Connection] {
  const there = new Channel(), back = new Channel();
  const end = (from: Channel, to: Channel): Connection => ({
    peerUid,
    read: () => from.read(),
    write: (bytes) => to.write(bytes),
    closeWrite: async () => to.end(),
    close: () => {
      // What was sent before may still be read; what comes towards us is lost.
      to.end();
      from.break(new Error("the connection was closed"));
    },
  });
  return [end(back, there), end(there, back)];
}
