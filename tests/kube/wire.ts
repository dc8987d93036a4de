/**
 * The connections of the server, owned here so that a test can break them: clients connect to this
 * listener, which passes their bytes to the HTTP server behind it and back. A connection can be broken
 * at any moment, all of them with the listener gone (the server is away), and the same port be opened
 * again. The HTTP server tells the connections apart by the port that they have on the inner side.
 */
export class Wire {
  #listener?: Deno.TcpListener;
  #connections = new Map<number, [Deno.Conn, Deno.Conn]>();
  #work = new Set<Promise<void>>();
  #port: number;

  /** `inner` is the port of the server behind. */
  constructor(readonly host: string, port: number, private readonly inner: number) {
    this.#port = port;
  }

  get port(): number {
    return this.#port;
  }

  get isOpen(): boolean {
    return this.#listener !== undefined;
  }

  open(): void {
    if (this.#listener) return;
    this.#listener = Deno.listen({ hostname: this.host, port: this.#port });
    this.#port = (this.#listener.addr as Deno.NetAddr).port;
    this.#track(this.#accept(this.#listener));
  }

  /** Breaks the connection with this port on the inner side. */
  drop(innerPort: number): void {
    for (const conn of this.#connections.get(innerPort) ?? []) shut(conn);
    this.#connections.delete(innerPort);
  }

  dropAll(): void {
    for (const port of [...this.#connections.keys()]) this.drop(port);
  }

  /** Listens no more and breaks all connections. */
  async close(): Promise<void> {
    this.#listener?.close();
    this.#listener = undefined;
    this.dropAll();
    while (this.#work.size > 0) {
      await Promise.all(this.#work);
      this.dropAll();
    }
  }

  #track(work: Promise<void>): void {
    this.#work.add(work);
    work.finally(() => this.#work.delete(work));
  }

  async #accept(listener: Deno.TcpListener): Promise<void> {
    for (;;) {
      let outer: Deno.TcpConn;
      try {
        outer = await listener.accept();
      } catch {
        return; // closed
      }
      this.#track(this.#serve(outer, listener));
    }
  }

  async #serve(outer: Deno.TcpConn, listener: Deno.TcpListener): Promise<void> {
    outer.setNoDelay(true);
    let inner: Deno.TcpConn;
    try {
      inner = await Deno.connect({ hostname: "127.0.0.1", port: this.inner });
    } catch {
      shut(outer);
      return;
    }
    inner.setNoDelay(true);
    const port = (inner.localAddr as Deno.NetAddr).port;
    this.#connections.set(port, [outer, inner]);
    if (this.#listener !== listener) this.drop(port);
    await Promise.all([pass(outer, inner), pass(inner, outer)]);
    this.drop(port);
  }
}

async function pass(from: Deno.Conn, to: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (;;) {
      const n = await from.read(buffer);
      if (n === null) break;
      for (let at = 0; at < n;) at += await to.write(buffer.subarray(at, n));
    }
    await to.closeWrite();
  } catch {
    // One side is broken: so is the other.
    shut(from);
    shut(to);
  }
}

function shut(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It was closed before.
  }
}
