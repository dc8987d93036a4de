/**
 * The connections of the server, owned here so that a test can break them: clients connect to this
 * listener, which does TLS and passes their bytes to the HTTP server behind it and back. A connection can be broken
 * at any moment, all of them with the listener gone (the server is away), and the same port be opened
 * again. The HTTP server tells the connections apart by the port that they have on the inner side.
 */
import { accept, type TlsOptions } from "./tls/accept.ts";
import type { PeerCertificate, TlsConn } from "./tls/conn.ts";

interface Connection {
  outer: Deno.Conn;
  inner: Deno.Conn;
  peer: PeerCertificate;
}

export class Wire {
  #listener?: Deno.TcpListener;
  #connections = new Map<number, Connection>();
  /** Connections whose handshake is not done. */
  #greeting = new Set<Deno.Conn>();
  #work = new Set<Promise<void>>();
  #port: number;

  /** `inner` is the port of the server behind. */
  constructor(
    readonly host: string,
    port: number,
    private readonly inner: number,
    private readonly tls: TlsOptions,
  ) {
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
    const connection = this.#connections.get(innerPort);
    if (!connection) return;
    shut(connection.outer);
    shut(connection.inner);
    this.#connections.delete(innerPort);
  }

  /** Whose connection it is. */
  peer(innerPort: number): PeerCertificate {
    return this.#connections.get(innerPort)?.peer ?? { state: "none" };
  }

  dropAll(): void {
    for (const conn of this.#greeting) shut(conn);
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
    this.#greeting.add(outer);
    let secure: TlsConn;
    let inner: Deno.TcpConn;
    try {
      secure = await accept(outer, this.tls);
      inner = await Deno.connect({ hostname: "127.0.0.1", port: this.inner });
    } catch {
      // It speaks no TLS, or does not trust us: such a client knows more of it than we do.
      shut(outer);
      return;
    } finally {
      this.#greeting.delete(outer);
    }
    inner.setNoDelay(true);
    const port = (inner.localAddr as Deno.NetAddr).port;
    this.#connections.set(port, { outer, inner, peer: secure.peer });
    if (this.#listener !== listener) this.drop(port);
    await Promise.all([pass(secure, inner), pass(inner, secure)]);
    this.drop(port);
  }
}

interface End {
  read(into: Uint8Array): Promise<number | null>;
  write(bytes: Uint8Array): Promise<number>;
  closeWrite(): Promise<void>;
  close(): void;
}

async function pass(from: End, to: End): Promise<void> {
  const buffer = new Uint8Array(256 * 1024);
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

function shut(conn: { close(): void }): void {
  try {
    conn.close();
  } catch {
    // It was closed before.
  }
}
