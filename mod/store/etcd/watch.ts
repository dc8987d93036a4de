/**
 * A watch of one range: the events after a revision, in order, for as long as it is wanted, over
 * however many connections that takes. Each is one HTTP stream of one member.
 *
 *     open at position + 1 -> created -> events … -> broken, silent, cancelled -> open elsewhere
 *
 * A stream that says nothing may be idle or dead, and the gateway takes no question on it. So after a
 * while of silence the very same member is asked for its revision, which it can tell only with a
 * leader: a stopped, cut-off or leaderless member fails that, and the watch goes on at another one. If
 * the store has moved on and the stream still says nothing, it is opened anew now and then, which brings
 * whatever a dead connection has kept from us.
 *
 * That sign of life goes by the connections that new requests take. Where these are others than those
 * among which the stream was opened (`client.ts` makes new ones when an answer did not come in time, or
 * for other certificates), it says nothing of the stream: one that is silent is opened anew among them,
 * and counts as broken where it was its own member that did not answer. A stream also counts as broken that
 * is silent about what this process itself has written: that it must tell, and a caller may wait for it.
 *
 * The position moves with the events, and with each stream that was opened and proved alive: all that
 * was there at its opening has come by then. So a quiet watch in a busy store survives compactions.
 *
 * A store that went back in time and has not come by our revision again is noticed by its revision, or
 * by another cluster's name. One that has come by it is not: neither name nor term of a cluster tells,
 * both are the same again when copies of its files are put back, and its history is whole. So where a
 * stream broke, the watch ends like a compaction as soon as a member serves again, and all is listed
 * again: `follow.ts` compares what it told with that. Only a stream that nobody broke, because we
 * closed it ourselves, is gone on with.
 *
 * A process that did not run for a while (it was stopped, its machine had no time for it) may have missed
 * that the member was away: its timers run before it reads what has come, and the member is there again
 * when it is asked. So a silent stream is looked at once more before it is closed, and one that was
 * not looked at for too long counts as broken.
 */

import { sleep } from "../clock.ts";
import { StoreError, type WatchEvent } from "../store.ts";
import { watchStrangeness } from "./answer.ts";
import type { EtcdClient, Member, Opened } from "./client.ts";
import { EtcdFailure, failureOfAnswer, toStoreError } from "./failure.ts";
import {
  decodeKey,
  decodeValue,
  encodeText,
  type Event,
  rangeEnd,
  type WatchResponse,
} from "./gateway.ts";
import { LineStream } from "./lines.ts";

/** How long a stream may be silent before its member is asked for a sign of life. */
const SILENCE_MS = 3000;
const SIGN_MS = 2000;
/** How long a member may take to open a stream. */
const OPEN_MS = 3000;
/** A silent stream of a store that moves on is opened anew after so long. */
const REOPEN_MS = 30_000;
/** After the sign of life that says so, it has this time to bring what has come, or its end. */
const LAST_LOOK_MS = 100;
/** A wait that takes so much longer than it may: this process did not run. */
const HELD_UP_MS = 3000;
const FIRST_PAUSE_MS = 50, LONGEST_PAUSE_MS = 1000;
const UNANSWERED = "a request was not answered in time, and the watch beside it says nothing";

export interface RangeWatchOptions {
  readonly from: bigint;
  readonly signal: AbortSignal;
  /** How long no member may serve before the watch gives up with "unavailable". */
  readonly patienceMs: number;
}

/** Events of keys that begin with the prefix. StoreError "compacted", "unavailable" or "denied". */
export async function* watchRange<T>(
  client: EtcdClient,
  prefix: string,
  options: RangeWatchOptions,
): AsyncGenerator<WatchEvent<T>> {
  yield* new RangeWatch<T>(client, prefix, options).events();
}

class RangeWatch<T> {
  readonly #epoch: number;
  #position: bigint;
  /** Why a stream broke: the next one that opens says that it is time to list again. */
  #lost: EtcdFailure | undefined;
  /** What we have written first of all that was not told yet. */
  #written: { readonly revision: bigint; readonly ms: number } | undefined;
  /** When a stream first failed since one served, and what each member said. */
  #failingSince: number | undefined;
  readonly #tried = new Map<Member, EtcdFailure>();
  #pause = FIRST_PAUSE_MS;

  constructor(
    readonly client: EtcdClient,
    readonly prefix: string,
    readonly options: RangeWatchOptions,
  ) {
    this.#epoch = client.epoch;
    this.#position = options.from;
  }

  async *events(): AsyncGenerator<WatchEvent<T>> {
    const { witnesses } = this.client;
    witnesses.add(this.#wrote);
    try {
      yield* this.#events();
    } finally {
      witnesses.delete(this.#wrote);
    }
  }

  #wrote = (key: string, revision: bigint): void => {
    if (!key.startsWith(this.prefix) || revision <= this.#position) return;
    if (this.#written && this.#written.revision > this.#position) return;
    this.#written = { revision, ms: this.client.clock.monotonicMs() };
  };

  async *#events(): AsyncGenerator<WatchEvent<T>> {
    const { client, options: { signal } } = this;
    while (!signal.aborted) {
      const member = client.choose(this.#tried);
      let stream: WatchStream | undefined;
      try {
        if (client.epoch !== this.#epoch) throw this.#restored("is another than it was");
        await client.check(member, Infinity, client.patient(SIGN_MS));
        stream = await this.#open(member);
        yield* this.#read(stream, member);
      } catch (error) {
        if (signal.aborted) return;
        if (client.closed) throw client.closed;
        if (!(error instanceof EtcdFailure)) throw error;
        await this.#failed(member, error);
      } finally {
        await stream?.lines.cancel();
      }
    }
  }

  async #open(member: Member): Promise<WatchStream> {
    const { client, prefix } = this;
    const body = {
      create_request: {
        key: encodeText(prefix),
        range_end: rangeEnd(prefix),
        start_revision: String(this.#position + 1n),
        // Tells of the member's revision now and then, at no cost.
        progress_notify: true,
      },
    };
    const opened = await client.stream(member, "/v3/watch", body, client.patient(OPEN_MS));
    const { reader, standing } = opened;
    return { lines: new LineStream<WatchLine>(reader, client, this.options.signal), standing };
  }

  /** Tells the events of one stream; returns where it is to be opened anew. */
  async *#read({ lines, standing }: WatchStream, member: Member): AsyncGenerator<WatchEvent<T>> {
    const { client } = this;
    const { clock } = client;
    let heardMs = clock.monotonicMs();
    let opened: { revision: bigint; ms: number } | undefined;
    let isStale = false;
    for (;;) {
      const silence = isStale ? LAST_LOOK_MS : SILENCE_MS;
      const line = await this.#running(
        opened ? silence : client.patient(OPEN_MS),
        (limitMs) => lines.next(limitMs),
      );
      if (this.options.signal.aborted) return;
      if (line === undefined) throw new EtcdFailure("member", "it ended the watch");
      if (line === "silent") {
        if (!opened) throw new EtcdFailure("member", `no watch within ${OPEN_MS} ms`);
        const trust = standing(heardMs);
        if (trust === "doubtful") throw new EtcdFailure("member", UNANSWERED);
        if (trust === "apart" || isStale) return;
        this.#mustTellOurs();
        const revision = await this.#running(
          client.patient(SIGN_MS),
          (limitMs) => client.revisionOf(member, limitMs),
        );
        this.#mustBeTheSame(revision);
        const now = clock.monotonicMs();
        // Whatever it held when it was opened has come: it is alive, and time has passed.
        if (now - opened.ms >= SILENCE_MS && opened.revision > this.#position) {
          this.#position = opened.revision;
        }
        isStale = revision > this.#position && now - heardMs >= REOPEN_MS;
        continue;
      }
      isStale = false;
      const response = this.#responseOf(line);
      heardMs = clock.monotonicMs();
      if (response.created && response.header) {
        client.note(response.header, 0n);
        const revision = BigInt(response.header.revision ?? 0);
        // A member may lag behind; what it can say with a leader counts.
        if (revision < this.#position) {
          this.#mustBeTheSame(await client.revisionOf(member, client.patient(SIGN_MS)));
        } else this.#mustBeTheSame(revision);
        if (this.#lost) {
          client.interrupted();
          throw this.#interrupted(this.#lost);
        }
        opened = { revision, ms: heardMs };
        this.#serves();
      }
      if (response.canceled) throw this.#cancelled(response);
      for (const event of response.events ?? []) {
        yield this.#eventOf(event);
        if (this.options.signal.aborted) return;
      }
      const last = response.events?.at(-1)?.kv.mod_revision;
      if (last !== undefined && BigInt(last) > this.#position) this.#position = BigInt(last);
    }
  }

  /** Waits for what takes no longer than the limit, but where this process did not run. */
  async #running<R>(limitMs: number, work: (limitMs: number) => Promise<R>): Promise<R> {
    const { clock } = this.client;
    const began = clock.monotonicMs();
    const result = await work(limitMs);
    const tookMs = clock.monotonicMs() - began;
    if (tookMs < limitMs + HELD_UP_MS) return result;
    const what = `this process did not run for ${Math.round(tookMs - limitMs)} ms or more`;
    throw new EtcdFailure("member", `${what}, and the member may have been away meanwhile`);
  }

  #mustTellOurs(): void {
    const { revision, ms } = this.#written ?? { revision: 0n, ms: 0 };
    if (revision <= this.#position || this.client.clock.monotonicMs() - ms < SILENCE_MS) return;
    this.#written = undefined;
    throw new EtcdFailure("member", `it is silent about what we wrote at revision ${revision}`);
  }

  #responseOf(line: WatchLine): WatchResponse {
    if (line?.error === undefined) {
      const strange = watchStrangeness(line?.result);
      if (!strange) return line.result!;
      throw new EtcdFailure("member", `it sends a watch that is no etcd's: ${strange}`);
    }
    const error = line.error ?? {};
    const { http_code = 500, grpc_code = 0, message = "" } = error;
    throw failureOfAnswer(http_code, grpc_code, message);
  }

  #eventOf({ type, kv }: Event): WatchEvent<T> {
    const key = decodeKey(kv.key), revision = kv.mod_revision;
    if (type === "DELETE") return { type: "delete", key, revision };
    const decoded = decodeValue(key, kv.value);
    if ("broken" in decoded) return { type: "delete", key, revision, broken: decoded.broken };
    return { type: "put", key, value: decoded.value as T, revision };
  }

  #cancelled({ compact_revision, cancel_reason = "" }: WatchResponse): Error {
    if (compact_revision && compact_revision !== "0") {
      return new StoreError(
        "compacted",
        `etcd has forgotten all before revision ${compact_revision}; changes of ${this.prefix} ` +
          `since ${this.#position} are no longer there: list again`,
      );
    }
    return failureOfAnswer(500, 0, cancel_reason || "it cancelled the watch");
  }

  #mustBeTheSame(revision: bigint): void {
    if (revision < this.#position) {
      this.client.restored();
      throw this.#restored(`is at revision ${revision}, after it was at ${this.#position}`);
    }
    if (this.client.epoch !== this.#epoch) throw this.#restored("is another than it was");
  }

  #restored(how: string): StoreError {
    return new StoreError(
      "compacted",
      `the data of etcd at ${this.client.where} ${how}: it was restored or made anew; list again`,
    );
  }

  #interrupted({ message }: EtcdFailure): StoreError {
    return new StoreError(
      "compacted",
      `the connection to etcd at ${this.client.where} was lost (${message}) and is there again; ` +
        `whether its data is what it was cannot be told: list ${this.prefix} again`,
    );
  }

  #serves(): void {
    this.#failingSince = undefined;
    this.#tried.clear();
    this.#pause = FIRST_PAUSE_MS;
  }

  /** Gets ready for the next try; throws what the caller is told where there is none. */
  async #failed(member: Member, failure: EtcdFailure): Promise<void> {
    const { client, options: { patienceMs, signal } } = this;
    failure.where ??= member.url;
    // Whoever says that our token has run out is there.
    if (failure.kind !== "token") this.#lost = failure;
    const now = client.clock.monotonicMs();
    this.#failingSince ??= now;
    if (failure.kind === "token") client.forgetToken(member);
    else if (failure.kind === "member" || failure.kind === "tls") client.failed(member, failure);
    else throw toStoreError(failure, client.where, `watch of ${this.prefix}`);
    if (now - this.#failingSince >= patienceMs) {
      throw new StoreError(
        "unavailable",
        `etcd at ${failure.where}: the watch of ${this.prefix} is lost: ${failure.message}`,
      );
    }
    this.#tried.set(member, failure);
    if (this.#tried.size < client.members.length) return;
    this.#tried.clear();
    await sleep(client.clock, this.#pause, signal);
    this.#pause = Math.min(this.#pause * 2, LONGEST_PAUSE_MS);
  }
}

interface WatchStream extends Pick<Opened, "standing"> {
  readonly lines: LineStream<WatchLine>;
}

interface WatchLine {
  readonly result?: WatchResponse;
  readonly error?: { http_code?: number; grpc_code?: number; message?: string };
}

/** Events of several streams as they come; each keeps its own order. */
export async function* merged<T>(
  sources: readonly AsyncGenerator<T>[],
  end: () => void,
): AsyncGenerator<T> {
  const next = (source: AsyncGenerator<T>) => {
    const step = source.next().then((result) => ({ source, result }));
    step.catch(() => {}); // it is looked at when its turn comes
    return step;
  };
  const pending = new Map(sources.map((source) => [source, next(source)]));
  try {
    while (pending.size > 0) {
      const { source, result } = await Promise.race(pending.values());
      if (result.done) pending.delete(source);
      else {
        pending.set(source, next(source));
        yield result.value;
      }
    }
  } finally {
    end();
    await Promise.allSettled(sources.map((source) => source.return(undefined)));
  }
}
