/**
 * Lines on their way into an answer's body. Those that come in one turn of the event loop go as one
 * chunk, since each chunk costs a record of TLS and a write, for each watch that hears of a change. One
 * timer serves all queues. `backlog` counts lines that the connection has not taken.
 */
const waiting = new Set<EventQueue>();
let timer: ReturnType<typeof setTimeout> | undefined;

function flushSoon(queue: EventQueue): void {
  waiting.add(queue);
  timer ??= setTimeout(() => {
    timer = undefined;
    const now = [...waiting];
    waiting.clear();
    for (const each of now) each.flush();
  }, 0);
}

function forget(queue: EventQueue): void {
  if (!waiting.delete(queue) || waiting.size > 0) return;
  clearTimeout(timer);
  timer = undefined;
}

export class EventQueue {
  readonly body: ReadableStream<Uint8Array>;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  #lines: Uint8Array[] = [];
  #sizes = new WeakMap<Uint8Array, number>();

  /** `cancelled` is called when the client goes away. */
  constructor(cancelled: () => void) {
    this.body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller;
      },
      cancel: () => {
        forget(this);
        cancelled();
      },
    }, { highWaterMark: 0, size: (chunk) => this.#sizes.get(chunk) ?? 1 });
  }

  get backlog(): number {
    return this.#lines.length - (this.#controller.desiredSize ?? 0);
  }

  push(line: Uint8Array): void {
    this.#lines.push(line);
    flushSoon(this);
  }

  flush(): void {
    if (this.#lines.length === 0) return;
    const chunk = joined(this.#lines);
    this.#sizes.set(chunk, this.#lines.length);
    this.#lines = [];
    this.#controller.enqueue(chunk);
  }

  /** The end, after what was pushed. */
  close(): void {
    forget(this);
    this.flush();
    this.#controller.close();
  }

  /** The end in the middle: the client sees a broken body. */
  break(): void {
    forget(this);
    this.#controller.error(new Error("the answer was cut"));
  }
}

export function joined(parts: Uint8Array[]): Uint8Array {
  // A part is shared by many queues; a chunk has to be this queue's own.
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
