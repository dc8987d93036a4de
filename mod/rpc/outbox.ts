/**
 * What is to be sent over one connection. Messages that are pushed in the same turn of the event loop
 * leave in one write. Nothing is ever refused here; whoever produces much asks `drained()` first, and
 * a reader of requests does not read on while its answers pile up.
 */

/** Text that waits before producers are asked to hold on, in UTF-16 units. */
const HIGH_WATER = 1024 * 1024;
/** Text that goes into one write. */
const WRITE_SIZE = 256 * 1024;

interface Item {
  readonly text: string;
  /** Called when the item is handed to the transport: from then on it may have arrived. */
  readonly onSent?: () => void;
}

export class Outbox {
  #items: Item[] = [];
  #size = 0;
  #running = false;
  #closed = false;
  #waiting: (() => void)[] = [];
  readonly #encoder = new TextEncoder();

  constructor(
    readonly write: (bytes: Uint8Array) => Promise<void>,
    readonly onFailure: (error: Error) => void,
  ) {}

  /** Text that has not been sent yet, in UTF-16 units. */
  get size(): number {
    return this.#size;
  }

  push(text: string, onSent?: () => void): void {
    if (this.#closed) return;
    this.#items.push({ text, onSent });
    this.#size += text.length;
    if (!this.#running) {
      this.#running = true;
      queueMicrotask(() => this.#run());
    }
  }

  /** Resolves when there is room, or when nothing will be sent any more. */
  drained(): Promise<void> {
    return this.#until(() => this.#size < HIGH_WATER);
  }

  /** Resolves when all was sent, or when nothing will be sent any more. */
  async flushed(): Promise<void> {
    await this.#until(() => this.#size === 0 && !this.#running);
  }

  /** Drops what is left. */
  close(): void {
    this.#closed = true;
    this.#items = [];
    this.#size = 0;
    this.#wake();
  }

  async #until(done: () => boolean): Promise<void> {
    while (!this.#closed && !done()) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async #run(): Promise<void> {
    try {
      while (this.#items.length > 0) {
        let text = "", taken = 0;
        while (taken < this.#items.length && (taken === 0 || text.length < WRITE_SIZE)) {
          const item = this.#items[taken++];
          text += item.text;
          item.onSent?.();
        }
        this.#items.splice(0, taken);
        await this.write(this.#encoder.encode(text));
        this.#size = Math.max(0, this.#size - text.length);
        if (this.#size < HIGH_WATER) this.#wake();
      }
    } catch (error) {
      this.close();
      this.onFailure(error instanceof Error ? error : new Error(String(error)));
    }
    this.#running = false;
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
