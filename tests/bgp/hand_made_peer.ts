/** A peer made by hand over real TCP: it says what the test tells it to, and keeps what it is told. */
import { encodeKeepalive } from "../../bgp/message/frame.ts";
import { Framer, NOTIFICATION, UPDATE } from "../../bgp/message/framer.ts";
import type { Attributes } from "../../bgp/message/attributes.ts";
import { Writer } from "../../bgp/message/bytes.ts";
import { encodeOpen } from "../../bgp/message/open.ts";
import { encodeAttributes, writeAnnouncements } from "../../bgp/message/update_encode.ts";
import { keyFamily, keyOf } from "../../bgp/prefix_key.ts";
import type { BgpTransport, Connection, Listener } from "../../bgp/transport.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { sleep, until } from "./harness.ts";

export interface Identity {
  readonly source: string;
  readonly as: number;
  /** As an IPv4 address. */
  readonly routerId: string;
}

export class HandMadePeer {
  #connection: Connection | undefined;
  /** The call that has had no answer yet; it has none any more when this is called. */
  #giveUp: (() => void) | undefined;
  notification: readonly [code: number, subcode: number] | undefined;
  /** Why the connection ended. */
  ended: string | undefined;
  readonly types: number[] = [];

  constructor(readonly transport: BgpTransport, readonly who: Identity, readonly to: string) {}

  /**
   * Calls until the speaker takes the call and has said its OPEN: after an error it waits a while. A
   * peer that is not taken by then calls no more.
   */
  async call(ms = 20_000): Promise<void> {
    try {
      await until(`${this.to} to take a call from ${this.who.source}`, () => this.#try(), { ms });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #try(): Promise<boolean> {
    this.close();
    this.notification = this.ended = undefined;
    this.types.length = 0;
    return new Promise((resolve) => {
      const attempt = this.transport.connect({
        remote: { address: mustIp(this.to), port: 179 },
        source: mustIp(this.who.source),
        timeout: 2000,
      }, {
        onFailed: () => resolve(false),
        onConnected: (connection) => this.#take(connection, resolve),
      });
      this.#giveUp = () => {
        attempt.cancel();
        resolve(false);
      };
    });
  }

  /** Answers every call with an OPEN, and keeps what is said to it. */
  listen(): Listener {
    const address = mustIp(this.who.source);
    return this.transport.listen({ address, family: address.family, port: 179 }, (connection) => {
      this.#take(connection, () => {});
      this.open();
    });
  }

  /** `spoken` is told of the first message, or of an end without one: whether it was an OPEN. */
  #take(connection: Connection, spoken: (open: boolean) => void): void {
    this.#connection = connection;
    const framer = new Framer({
      onMessage: (type, body) => {
        this.types.push(type);
        if (type === NOTIFICATION) this.notification = [body[0], body[1]];
        // Its OPEN; a NOTIFICATION instead says that it wants no call yet.
        if (this.types.length === 1) spoken(type === 1);
      },
      onError: (error) => this.ended = `the speaker sent garbage: ${error.text}`,
    });
    connection.start({
      onData: (bytes) => framer.push(bytes),
      onDrain: () => {},
      onEnd: (failure) => {
        this.ended ??= failure.message;
        spoken(false);
      },
    });
  }

  open(holdTime = 90): void {
    const { as } = this.who;
    const id = mustIp(this.who.routerId).bytes;
    this.send(encodeOpen({
      as,
      holdTime,
      routerId: new DataView(id.buffer, id.byteOffset).getUint32(0),
      capabilities: [
        { kind: "multiprotocol", afi: 1, safi: 1 },
        { kind: "multiprotocol", afi: 2, safi: 1 },
        { kind: "route-refresh" },
        { kind: "four-octet-as", as },
      ],
    }));
  }

  keepalive(): void {
    this.send(encodeKeepalive());
  }

  send(bytes: Uint8Array): void {
    this.#connection!.send(bytes);
  }

  /** Routes of its own, by itself. */
  announce(prefixes: readonly string[], more: Partial<Attributes> = {}): void {
    this.send(this.announcement(prefixes, more));
  }

  announcement(prefixes: readonly string[], more: Partial<Attributes> = {}): Uint8Array {
    const { as, source } = this.who;
    const out = new Writer();
    const attributes: Attributes = {
      origin: 0,
      asPath: [{ type: "sequence", asns: [as] }],
      nextHop: mustIp(source),
      ...more,
    };
    const keys = prefixes.map((text) => keyOf(mustPrefix(text)));
    const encoded = encodeAttributes(attributes, { asSize: 4 });
    writeAnnouncements(out, keyFamily(keys[0]), attributes, encoded, keys);
    return out.done();
  }

  /** Says it a byte in a packet. */
  async trickle(bytes: Uint8Array): Promise<void> {
    for (const byte of bytes) {
      this.send(new Uint8Array([byte]));
      await sleep(1);
    }
  }

  /** UPDATEs that have come. */
  get updates(): number {
    return this.types.filter((type) => type === UPDATE).length;
  }

  close(): void {
    this.#giveUp?.();
    this.#giveUp = undefined;
    this.#connection?.close();
    this.#connection = undefined;
  }
}
