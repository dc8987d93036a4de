/**
 * Where peers may call: the listening sockets, wanted and had. A port that is taken is tried again, and
 * is a message meanwhile; each socket knows the passwords and hops of the peers of its family.
 */
import { type Ip, sameIp } from "../mod/net/mod.ts";
import type { ListenConfig } from "./config.ts";
import {
  type BgpTransport,
  type Connection,
  type Guard,
  type Listener,
  TransportError,
} from "./transport.ts";

/** Milliseconds between two attempts to listen. */
const RETRY = 5_000;

interface Listening {
  readonly config: ListenConfig;
  listener?: Listener;
  error?: string;
}

type Guarded = { readonly address: Ip } & Guard;

export class Listeners {
  #all: Listening[] = [];
  #guards: readonly Guarded[] = [];

  constructor(
    private readonly transport: BgpTransport,
    private readonly incoming: (connection: Connection) => void,
    private readonly after: (ms: number, call: () => void) => void,
    private readonly warn: (message: string) => void,
  ) {}

  /** These sockets and no others. */
  set(wanted: readonly ListenConfig[]): void {
    for (const { config, listener } of this.#all) {
      if (!wanted.some((w) => same(w, config))) listener?.close();
    }
    this.#all = wanted.map((config) => this.#all.find((l) => same(l.config, config)) ?? { config });
    for (const listening of this.#all) this.#try(listening);
  }

  guard(peers: readonly Guarded[]): void {
    this.#guards = peers.map(({ address, password, ttlSecurity }) => ({
      address,
      password,
      ttlSecurity,
    }));
    for (const listening of this.#all) this.#guardOne(listening);
  }

  /** Sockets that could not be had, in words. */
  errors(): string[] {
    return this.#all.flatMap(({ error }) => error === undefined ? [] : [error]);
  }

  #guardOne({ config, listener }: Listening): void {
    listener?.guard(this.#guards.filter((g) => g.address.family === config.family));
  }

  #try(listening: Listening): void {
    if (listening.listener || !this.#all.includes(listening)) return;
    try {
      listening.listener = this.transport.listen(listening.config, this.incoming);
      listening.error = undefined;
      this.#guardOne(listening);
    } catch (error) {
      if (!(error instanceof TransportError)) throw error;
      if (listening.error !== error.message) this.warn(error.message);
      listening.error = error.message;
      this.after(RETRY, () => this.#try(listening));
    }
  }
}

function same(a: ListenConfig, b: ListenConfig): boolean {
  return a.family === b.family && a.port === b.port &&
    (a.address === b.address ||
      (a.address !== undefined && b.address !== undefined && sameIp(a.address, b.address)));
}
