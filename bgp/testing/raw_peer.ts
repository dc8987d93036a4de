/** A peer made by hand, for tests: says what the test tells it to, and keeps what it is told. */
import type { Ip } from "../../mod/net/mod.ts";
import type { Capability } from "../message/capability.ts";
import { encodeKeepalive } from "../message/frame.ts";
import { Framer, KEEPALIVE, NOTIFICATION, OPEN, UPDATE } from "../message/framer.ts";
import { decodeOpen, encodeOpen } from "../message/open.ts";
import { decodeUpdate, type UpdateResult } from "../message/update.ts";
import { Writer } from "../message/bytes.ts";
import { encodeAttributes, writeAnnouncements } from "../message/update_encode.ts";
import type { Attributes } from "../message/attributes.ts";
import { keyFamily, keyOf } from "../prefix_key.ts";
import { mustPrefix } from "../../mod/net/mod.ts";
import type { Connection } from "../transport.ts";
import type { FakeNet } from "./fake_net.ts";

export class RawPeer {
  connection: Connection | undefined;
  ended: string | undefined;
  readonly types: number[] = [];
  readonly updates: UpdateResult[] = [];
  notification: [number, number] | undefined;
  /** Kinds of the capabilities of the OPENs that have come. */
  readonly offers: string[][] = [];

  constructor(
    readonly net: FakeNet,
    readonly address: Ip,
    readonly as: number,
    readonly routerId: number,
    readonly capabilities: Capability[] = [
      { kind: "multiprotocol", afi: 1, safi: 1 },
      { kind: "multiprotocol", afi: 2, safi: 1 },
      { kind: "four-octet-as", as },
      { kind: "route-refresh" },
    ],
  ) {}

  call(to: Ip, password?: string): void {
    const target = { remote: { address: to, port: 179 }, timeout: 1000, password };
    this.net.transport(this.address).connect(target, {
      onConnected: (c) => this.take(c),
      onFailed: (failure) => this.ended = failure.message,
    });
  }

  take(connection: Connection): void {
    this.connection = connection;
    const framer = new Framer({
      onMessage: (type, body) => {
        this.types.push(type);
        if (type === OPEN) {
          const open = decodeOpen(body);
          if (open.ok) this.offers.push(open.value.capabilities.map(({ kind }) => kind));
        }
        if (type === NOTIFICATION) this.notification = [body[0], body[1]];
        if (type === UPDATE) {
          this.updates.push(decodeUpdate(body, {
            asSize: 4,
            internal: true,
            families: new Set(["ipv4", "ipv6"]),
          }));
        }
      },
      onError: (error) => {
        throw new Error(`the speaker sent garbage: ${error.text}`);
      },
    });
    connection.start({
      onData: (bytes) => framer.push(bytes),
      onDrain: () => {},
      onEnd: (failure) => this.ended = failure.message,
    });
  }

  /** Connects and goes through the OPENs. */
  establish(to: Ip): void {
    this.call(to);
    this.net.clock.advance(10);
    this.open();
    this.net.clock.advance(10);
    this.connection!.send(encodeKeepalive());
    this.net.clock.advance(10);
  }

  open(holdTime = 90): void {
    const { as, routerId, capabilities } = this;
    this.connection!.send(encodeOpen({ as, holdTime, routerId, capabilities }));
  }

  keepalive(): void {
    this.connection!.send(encodeKeepalive());
  }

  announce(attributes: Attributes, ...prefixes: string[]): void {
    const out = new Writer();
    const keys = prefixes.map((text) => keyOf(mustPrefix(text)));
    const encoded = encodeAttributes(attributes, { asSize: 4 });
    writeAnnouncements(out, keyFamily(keys[0]), attributes, encoded, keys);
    this.connection!.send(out.done());
  }

  /** Bytes as they are. */
  send(bytes: Uint8Array): void {
    this.connection!.send(bytes);
  }

  /** KEEPALIVEs that have come. */
  get keepalives(): number {
    return this.types.filter((type) => type === KEEPALIVE).length;
  }
}
