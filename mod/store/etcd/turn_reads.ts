/**
 * What is asked of etcd in one turn of the event loop goes as one request: a transaction without a condition,
 * of nothing but ranges. Whatever a request asks, it costs an HTTP exchange, the gateway's own call to
 * its server and the question to the leader whether it still leads, which is more than the look itself; an ADD
 * asks a dozen things before it does anything, and a hundred ADDs at once ask much of it alike.
 *
 * Nothing is lost by it: such a transaction is as linearizable as a range, nothing in it begins before it was
 * asked for, and all see one revision. Where the whole is refused (a user who may not read one of them,
 * more than its etcd takes) each is asked alone, and hears its own.
 */
import { setImmediate } from "node:timers";
import type { CallOptions } from "./client.ts";
import { EtcdFailure } from "./failure.ts";
import type { RangeRequest, RangeResponse, TxnRequest, TxnResponse } from "./gateway.ts";

/** Ranges of one request; etcd takes 128 where nobody has told it otherwise. */
export const MOST_IN_TURN = 64;

/** One request, with all its tries; EtcdFailure. */
type Call = <T>(path: string, body: unknown, options: CallOptions) => Promise<T>;

interface Asked {
  readonly request: RangeRequest;
  readonly what: string;
  readonly resolve: (answer: RangeResponse) => void;
  readonly reject: (error: unknown) => void;
}

export class TurnReads {
  /** By what is asked: who asks the same shares its answer. */
  #asked = new Map<string, Asked[]>();

  constructor(readonly call: Call) {}

  /** The range as of now, its header that of the whole answer; EtcdFailure. */
  read(request: RangeRequest, what: string): Promise<RangeResponse> {
    return new Promise((resolve, reject) => {
      if (this.#asked.size === 0) setImmediate(() => this.#send());
      const text = JSON.stringify(request);
      const asked = { request, what, resolve, reject };
      const same = this.#asked.get(text);
      if (same) same.push(asked);
      else this.#asked.set(text, [asked]);
    });
  }

  #send(): void {
    const all = [...this.#asked.values()];
    this.#asked = new Map();
    for (let at = 0; at < all.length; at += MOST_IN_TURN) {
      this.#ask(all.slice(at, at + MOST_IN_TURN));
    }
  }

  async #ask(groups: readonly (readonly Asked[])[]): Promise<void> {
    const [first, ...others] = groups;
    if (others.length === 0) return this.#alone(first);
    const request: TxnRequest = {
      success: groups.map(([{ request }]) => ({ requestRange: request })),
    };
    const what = `${first[0].what}, with ${others.length} other reads`;
    try {
      const { header, responses } = await this.call<TxnResponse>("/v3/kv/txn", request, { what });
      const ranges = responses?.flatMap(({ response_range }) => response_range ?? []);
      if (ranges?.length !== groups.length) {
        throw new EtcdFailure("invalid", "it answers half of what it was asked");
      }
      for (const [i, asked] of groups.entries()) {
        const answer = { ...ranges[i], header };
        for (const { resolve } of asked) resolve(answer);
      }
    } catch (error) {
      const refused = error instanceof EtcdFailure && error.kind !== "member" &&
        error.kind !== "tls";
      if (refused) { for (const asked of groups) this.#alone(asked); }
      else for (const { reject } of groups.flat()) reject(error);
    }
  }

  #alone(asked: readonly Asked[]): void {
    const [{ request, what }] = asked;
    this.call<RangeResponse>("/v3/kv/range", request, { what }).then(
      (answer) => asked.forEach(({ resolve }) => resolve(answer)),
      (error) => asked.forEach(({ reject }) => reject(error)),
    );
  }
}
