/**
 * What is asked of etcd in one turn of the event loop goes as one request: a transaction without a condition,
 * of nothing but ranges. Whatever a request asks, it costs an HTTP exchange, the gateway's own call to
 * its server and the question to the leader whether it still leads, which is more than the look itself; an ADD
 * asks a dozen things before it does anything, and a hundred ADDs at once ask much of it alike.
 *
 * Such a transaction is as linearizable as a range; nothing in it begins before it was asked for, and all
 * see one revision. Of a long list it brings no more than the beginning, so that nobody waits long for what
 * others ask. Where the whole is refused (a user who may not read one of them, more than this etcd
 * takes), each is asked alone, and hears its own.
 *
 * To older servers nothing is bundled: in etcd 3.5.0 to 3.5.6 a transaction of ranges that is broken off
 * at the wrong moment ends the member (etcd#14110, #14899), and they and 3.4 before 3.4.20 refuse it where their
 * database is full. What the server says of itself is believed: one address before several servers of which
 * some are so old is not seen.
 */
import { setImmediate } from "node:timers";
import type { Ask, EtcdClient, Member } from "./client.ts";
import { EtcdFailure } from "./failure.ts";
import type { RangeRequest, RangeResponse, TxnRequest, TxnResponse } from "./gateway.ts";

/** Ranges of one request; etcd takes 128 where nobody has told it otherwise. */
export const MOST_IN_TURN = 64;
/** Entries of each list in it: as many as a node has blocks, where nobody has given it more. */
export const FEW_ENTRIES = 20;

interface Asked {
  readonly request: RangeRequest;
  readonly resolve: (answer: RangeResponse) => void;
  readonly reject: (error: unknown) => void;
}

export class TurnReads {
  readonly #client: Pick<EtcdClient, "call" | "version" | "doubts">;
  /** By what is asked: who asks the same shares its answer. */
  #asked = new Map<string, Asked[]>();
  /** Whether a member takes bundles, as found where the client had so many doubts. */
  readonly #takes = new WeakMap<Member, { readonly at: number; readonly does: Promise<boolean> }>();

  constructor(client: Pick<EtcdClient, "call" | "version" | "doubts">) {
    this.#client = client;
  }

  /**
   * The range as of now, its header that of the whole answer; EtcdFailure. It may bring fewer entries than the
   * limit that was asked for, and then says that there are `more`.
   */
  read(request: RangeRequest): Promise<RangeResponse> {
    return new Promise((resolve, reject) => {
      if (this.#asked.size === 0) setImmediate(() => this.#send());
      const text = JSON.stringify(request);
      const asked = { request, resolve, reject };
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
    if (groups.length === 1) return this.#alone(groups[0]);
    const request: TxnRequest = {
      success: groups.map(([{ request }]) => ({ requestRange: shortened(request) })),
    };
    const before = async (_: Ask, member: Member) => {
      if (!await this.#takesBundles(member)) throw new EtcdFailure("invalid", "it is too old");
    };
    try {
      const { header, responses } = await this.#client.call<TxnResponse>(TXN, request, { before });
      const ranges = responses?.flatMap(({ response_range }) => response_range ?? []);
      if (ranges?.length !== groups.length) {
        throw new EtcdFailure("invalid", "it answers half of what it was asked");
      }
      for (const [i, asked] of groups.entries()) {
        for (const { resolve } of asked) resolve({ ...ranges[i], header });
      }
    } catch (error) {
      const isLost = !(error instanceof EtcdFailure) || error.kind === "member" ||
        error.kind === "tls";
      if (isLost) groups.flat().forEach(({ reject }) => reject(error));
      else groups.forEach((asked) => this.#alone(asked));
    }
  }

  #alone(asked: readonly Asked[]): void {
    const [{ request }] = asked;
    this.#client.call<RangeResponse>("/v3/kv/range", request).then(
      (answer) => asked.forEach(({ resolve }) => resolve(answer)),
      (error) => asked.forEach(({ reject }) => reject(error)),
    );
  }

  #takesBundles(member: Member): Promise<boolean> {
    const { doubts } = this.#client;
    let takes = this.#takes.get(member);
    // One that was away may be another version since.
    if (takes?.at !== doubts) {
      takes = { at: doubts, does: this.#client.version(member).then(isNewEnough) };
      this.#takes.set(member, takes);
      // Who did not answer is asked again.
      takes.does.catch(() => this.#takes.delete(member));
    }
    return takes.does;
  }
}

const TXN = "/v3/kv/txn";

function shortened(request: RangeRequest): RangeRequest {
  return request.limit === undefined || request.limit <= FEW_ENTRIES
    ? request
    : { ...request, limit: FEW_ENTRIES };
}

/** By what the server says of itself; undefined: nothing. */
export function isNewEnough(version: string | undefined): boolean {
  const [major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(version ?? "")?.slice(1).map(Number) ??
    [];
  if (major !== 3) return major > 3;
  if (minor === 4) return patch >= 20;
  if (minor === 5) return patch >= 7;
  return minor > 5;
}
