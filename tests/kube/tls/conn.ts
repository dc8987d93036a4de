/** A TLS connection whose handshake is done: plain bytes in and out. */
import {
  ALERT,
  APPLICATION_DATA,
  CHANGE_CIPHER_SPEC,
  LARGEST,
  Protection,
  RecordReader,
} from "./records.ts";
import { type Bytes, concat } from "./bytes.ts";
import type { Secrets } from "./key_schedule.ts";

/** What the client said of itself. */
export type PeerCertificate = { state: "none" } | { state: "known" | "unknown"; der: Bytes };

export class TlsConn {
  readonly #opening: Protection;
  readonly #sealing: Protection;
  #rest: Bytes = new Uint8Array();
  #ended = false;

  constructor(
    private readonly conn: Deno.Conn,
    private readonly records: RecordReader,
    secrets: Secrets,
    readonly peer: PeerCertificate,
  ) {
    this.#opening = new Protection(secrets.client);
    this.#sealing = new Protection(secrets.server);
  }

  async read(into: Bytes): Promise<number | null> {
    while (this.#rest.length === 0) {
      if (this.#ended) return null;
      const sealed = await this.records.next();
      if (!sealed) return null;
      if (sealed.type === CHANGE_CIPHER_SPEC) continue;
      const { type, content } = this.#opening.open(sealed.content);
      if (type === APPLICATION_DATA) this.#rest = content;
      // close_notify, or a fault that ends the connection as well
      else if (type === ALERT) this.#ended = true;
      else throw new Error("new keys in a connection are not supported");
    }
    const n = Math.min(into.length, this.#rest.length);
    into.set(this.#rest.subarray(0, n));
    this.#rest = this.#rest.subarray(n);
    return n;
  }

  /** Writes all of it. */
  async write(bytes: Bytes): Promise<number> {
    if (bytes.length <= LARGEST) {
      await writeAll(this.conn, this.#sealing.seal(APPLICATION_DATA, bytes));
      return bytes.length;
    }
    const parts: Bytes[] = [];
    for (let at = 0; at < bytes.length; at += LARGEST) parts.push(bytes.subarray(at, at + LARGEST));
    await writeAll(this.conn, concat(...await this.#sealing.sealAll(parts)));
    return bytes.length;
  }

  /** Says that nothing more comes. */
  async closeWrite(): Promise<void> {
    await writeAll(this.conn, this.#sealing.seal(ALERT, Uint8Array.of(1, 0)));
    await (this.conn as Deno.TcpConn).closeWrite();
  }

  close(): void {
    this.conn.close();
  }
}

export async function writeAll(conn: Deno.Conn, bytes: Bytes): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await conn.write(bytes.subarray(at));
}
