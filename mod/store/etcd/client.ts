/**
 * Requests to an etcd cluster through the JSON gateway of its members. One member serves us as long as
 * it can; when it does not answer in time, has no leader or breaks the connection, the next one is
 * taken. A read is repeated elsewhere. A write of which nobody knows whether it was carried out is
 * repeated only where it compares revisions: of its tries at most one can succeed, and once one was
 * answered none can come late. (But a create, which compares with nothing there: if what it made is
 * deleted while a paused member still has the other try, that member makes it again when it wakes.)
 * Any other write is told to the caller as of unknown outcome.
 *
 *     call -> slot -> member (checked) -> HTTP -> header noted -> answer
 *                        ^------ the next one, or log in again, or new certificates
 *
 * A connection may die without a word: a firewall that forgot it drops whatever comes. The runtime keeps
 * many and would try one dead one after the other, so an answer that did not come in time makes a new pool of
 * them; and the only member, of which nobody else can be asked, is asked for a sign of life before it is
 * given a request after a while of silence, so that what finds the dead connection is no write. What the
 * new pool hears says nothing of streams in the old one: `standing` tells how far they are to be trusted.
 *
 * Where users are asked for, each member is logged in to by itself, so that one that hangs keeps nobody
 * from the next. A token carries the place in the log at which it was made, and a member that has not come
 * to that place waits for it before it answers, for ever where it was put back from a backup: so a
 * member that failed is logged in to anew, whatever it failed at.
 *
 * How long a member may take follows from how long answers take: where all of them are slow, waiting
 * for one is better than asking the next.
 *
 * Every read is linearizable, so a revision below one that we were told before means that the data went
 * back in time: the cluster was restored from a backup, or made anew. `epoch` counts how often, and
 * watches end then. A member of another cluster than the one that this process has found is not used:
 * writes that went here and there would assign addresses twice. That is known from the first member that
 * serves, which `random` chooses: a process that asks one member alone, as a command does, compares
 * nothing, and where endpoints of two clusters are named, one command may see the one and the next the
 * other (as with etcd's own clients).
 */

import { type Clock, sleep, systemClock } from "../clock.ts";
import { proxyWords } from "../http_client.ts";
import type { EtcdLocation } from "../location.ts";
import { sentOnce } from "../once.ts";
import { StoreError } from "../store.ts";
import { strangeness } from "./answer.ts";
import { EtcdFailure, failureOfAnswer, failureOfFetch } from "./failure.ts";
import { encodeText, type Header } from "./gateway.ts";
import { httpClient, readTls, type TlsTexts } from "./tls.ts";

export interface ClientOptions {
  /** How long an operation may take, with all its tries. Default 10,000 ms, as Calico dials. */
  readonly patienceMs?: number;
  readonly clock?: Clock;
  /** 0 to 1, as Math.random: which member is the first. */
  readonly random?: () => number;
}

export interface CallOptions {
  /**
   * Not to be repeated where it may have been done, unless `onDoubt` is there: it compares revisions,
   * and wants to hear when it is repeated in spite of that.
   */
  readonly write?: boolean;
  readonly onDoubt?: () => void;
  /** Every member is asked once, and no more. */
  readonly once?: boolean;
  /** To be done each time before it is sent, repeated or not: `ask` asks the member that is to get it. */
  readonly before?: (ask: Ask, member: Member) => Promise<void>;
}

/** A request that is asked once, as part of another; EtcdFailure. */
export type Ask = <T>(path: string, body: unknown) => Promise<T>;

/** One endpoint, and what we know of it. */
export interface Member {
  readonly url: string;
  /** When it last failed and last answered, on the monotonic clock. */
  failedMs: number;
  heardMs: number;
  fault?: EtcdFailure;
  /** It was checked since it failed last. */
  checked: boolean;
  /** The cluster to which it belonged when it was checked last. */
  cluster?: string;
  /** A check that is under way, and since when; it goes on when nobody has the time to wait for it. */
  checking?: {
    /** It answers, with its cluster's name. */
    readonly heard: Promise<string>;
    readonly done: Promise<void>;
    readonly sinceMs: number;
  };
  /** What it gave us when we logged in; empty where it asks nobody who he is. */
  token?: string;
  /** A login that is under way, shared by all who need it. */
  login?: { readonly done: Promise<string>; readonly sinceMs: number };
}

/** Connections that were made together. */
interface Pool {
  readonly http: Deno.HttpClient;
  /** Members whose answers did not come by it in time, and when the last such was asked for. */
  readonly late: Map<Member, number>;
}

/**
 * How far a silent stream is to be trusted: "sound", what its member says elsewhere counts for it too;
 * "apart", new requests go by other connections than its own; "doubtful", and by its own the member did
 * not answer while it was silent.
 */
export type Standing = "sound" | "apart" | "doubtful";

/** A stream as it was opened. */
export interface Opened {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
  /** `heardMs`: when it has said something last, on the monotonic clock. */
  standing(heardMs: number): Standing;
}

/** JSON text; a stream is sent once. */
type Body = string | ReadableStream<Uint8Array>;

const PATIENCE_MS = 10_000;
/** With several members, how long one may take before another is asked. */
const TRY_MS = 3000;
/** A member that was not heard of for so long is checked before a write is given to it. */
const FRESH_MS = 2000;
const CHECK_MS = 1500;
/** Nobody is waited for because answers take longer than this. */
const SLOWEST_MS = 5000;
/** A member that failed is not taken again for so long while there are others. */
const SHUN_MS = 10_000;
/** Requests on their way at the same time; each has a connection. */
const SLOTS = 32;
const FIRST_PAUSE_MS = 50, LONGEST_PAUSE_MS = 1000;

/** A key that every user of ours may read: asked for to hear whether a member serves. */
const SIGN = { key: encodeText("/calico/"), count_only: true } as const;

export class EtcdClient {
  readonly clock: Clock;
  readonly members: readonly Member[];
  readonly #location: EtcdLocation;
  readonly #patienceMs: number;
  #at: number;
  #pool: Pool | undefined;
  #tls: TlsTexts = {};
  #seen = 0n;
  #cluster: string | undefined;
  #epoch = 0;
  #losses = 0;
  #interruptions = 0;
  #closed: StoreError | undefined;
  #waking: Promise<void> | undefined;
  readonly #requests = new Set<AbortController>();
  readonly #streams = new Set<() => void>();
  /** Hear of what this process has written. */
  readonly witnesses = new Set<(key: string, revision: bigint) => void>();
  /** How long answers took lately: the longest, halved with each that was quicker. */
  #slowMs = 0;
  #free = SLOTS;
  readonly #queue: (() => void)[] = [];

  constructor(location: EtcdLocation, options: ClientOptions = {}) {
    const { patienceMs = PATIENCE_MS, clock = systemClock, random = Math.random } = options;
    this.#location = location;
    this.#patienceMs = patienceMs;
    this.clock = clock;
    this.members = location.endpoints.map((url) => ({
      url,
      failedMs: -Infinity,
      heardMs: -Infinity,
      checked: false,
    }));
    this.#at = Math.floor(random() * this.members.length);
  }

  /** How often the data was found to be another than before. */
  get epoch(): number {
    return this.#epoch;
  }

  /** How often a member was lost, to whatever request. */
  get losses(): number {
    return this.#losses;
  }

  /** Another number wherever the data may be another than before (`Store.epoch`). */
  get doubts(): number {
    return this.#epoch + this.#losses + this.#interruptions;
  }

  /** The newest revision that we were told of. */
  get seen(): bigint {
    return this.#seen;
  }

  get closed(): StoreError | undefined {
    return this.#closed;
  }

  /** All endpoints, for messages. */
  get where(): string {
    return this.members.map((member) => member.url).join(", ");
  }

  /** One request; EtcdFailure that says which member(s) failed and how. */
  async call<T>(path: string, body: unknown, options: CallOptions = {}): Promise<T> {
    await this.#slot();
    try {
      return await this.#try<T>(path, body, options);
    } finally {
      this.#free++;
      this.#queue.shift()?.();
    }
  }

  async #try<T>(path: string, body: unknown, options: CallOptions): Promise<T> {
    const { write = false, once = false, onDoubt, before } = options;
    const deadline = this.clock.monotonicMs() + this.#patienceMs;
    const tried = new Map<Member, EtcdFailure>();
    let logins = 0, pause = FIRST_PAUSE_MS, doubt = false, rounds = 0;
    for (;;) {
      const member = this.choose(tried);
      const left = deadline - this.clock.monotonicMs();
      if (left <= 0 && tried.size > 0) throw joined(tried, doubt);
      // Others are to have their turn too.
      const share = Math.min(TRY_MS, this.#patienceMs / this.members.length);
      const several = this.members.length > 1;
      const limit = Math.max(1, several ? Math.min(left, this.patient(share)) : left);
      // With all that comes before it, a request does not outlast the patience by much.
      const bounded = () =>
        Math.min(limit, Math.max(CHECK_MS, deadline - this.clock.monotonicMs()));
      let sent = false;
      try {
        if (!several) await this.#awake(member, Math.min(limit, this.patient(CHECK_MS)));
        await this.check(
          member,
          write ? FRESH_MS : Infinity,
          Math.min(limit, this.patient(CHECK_MS)),
        );
        const headers = await this.#headers(member, bounded());
        const ask: Ask = (path, body) => this.#ask(member, path, body, bounded(), headers);
        await before?.(ask, member);
        sent = true;
        return await this.#ask<T>(member, path, body, bounded(), headers, write);
      } catch (thrown) {
        if (!(thrown instanceof EtcdFailure)) throw thrown;
        const error = new EtcdFailure(
          thrown.kind,
          thrown.message,
          write && sent && thrown.uncertain,
        );
        error.where = thrown.where ?? member.url;
        if (error.kind === "token" && logins++ < 2) {
          this.forgetToken(member);
          continue;
        }
        if (error.kind === "tls" && await this.#renewTls(error)) continue;
        if (error.kind !== "member" && error.kind !== "tls") throw error;
        this.failed(member, error);
        tried.set(member, error);
        if (error.uncertain && !onDoubt) throw error;
        doubt ||= error.uncertain;
        if (doubt) onDoubt?.();
        if (tried.size < this.members.length) continue;
        // Certificates do not mend while we wait.
        if ([...tried.values()].every((one) => one.kind === "tls")) throw joined(tried, doubt);
        const rest = deadline - this.clock.monotonicMs();
        if (rest <= 0) throw joined(tried, doubt);
        if (once) {
          // The one more time that a member has which is late.
          if (rounds++ > 0 || !await this.#someIsLate(rest)) throw joined(tried, doubt);
          tried.clear();
          continue;
        }
        await sleep(this.clock, Math.min(pause, rest));
        pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
        tried.clear();
        if (!member.checked) tried.set(member, error);
      }
    }
  }

  /** The member to ask: the present one while it serves, else the next that did not fail lately. */
  choose(tried?: ReadonlyMap<Member, unknown>): Member {
    const { members } = this;
    const now = this.clock.monotonicMs();
    const order = members.map((_, i) => members[(this.#at + i) % members.length])
      .filter((member) => !tried?.has(member));
    const member = order.find((one) => now - one.failedMs > SHUN_MS) ??
      order.toSorted((a, b) => a.failedMs - b.failedMs)[0] ?? members[this.#at];
    this.#at = members.indexOf(member);
    return member;
  }

  failed(member: Member, failure: EtcdFailure): void {
    this.#losses++;
    member.failedMs = this.clock.monotonicMs();
    member.fault = failure;
    member.checked = false;
    this.forgetToken(member);
  }

  /**
   * Asks the member for a sign of life where it was not heard of for so long, or never. Throws
   * EtcdFailure "member" where it gives none in time, or is of another cluster than the others.
   */
  async check(member: Member, freshMs: number, limitMs: number): Promise<void> {
    if (this.members.length === 1) return;
    const fresh = this.clock.monotonicMs() - member.heardMs <= freshMs;
    if (member.checked && fresh) return;
    const now = this.clock.monotonicMs();
    // A connection that is dead must not keep a member from us for ever.
    if (!member.checking || now - member.checking.sinceMs > 2 * this.patient(CHECK_MS)) {
      const heard = this.#clusterOf(member, this.#patienceMs);
      const done = heard.then((cluster) => this.#compare(member, cluster));
      const checking = { heard, done, sinceMs: now };
      member.checking = checking;
      const over = () => {
        if (member.checking === checking) member.checking = undefined;
      };
      checking.done.then(over, over);
    }
    const { heard, done } = member.checking;
    await this.#within(limitMs, heard);
    await done;
  }

  /** After a while of silence: notices that the connections to the only member are dead. */
  async #awake(member: Member, limitMs: number): Promise<void> {
    const silentMs = this.clock.monotonicMs() - member.heardMs;
    if (silentMs <= FRESH_MS || silentMs === Infinity) return;
    // What is wrong besides is told by the request that follows.
    await (this.#waking ??= this.#clusterOf(member, limitMs).then(() => {}, () => {})
      .finally(() => this.#waking = undefined));
  }

  async #compare(member: Member, cluster: string): Promise<void> {
    const known = this.#cluster;
    if (known !== undefined && cluster !== known && member.cluster !== known) {
      // It is made anew only where an endpoint that was of ours says so too.
      const other = this.members.find((one) => one !== member && one.cluster === known);
      const theirs = other && await this.#clusterOf(other, CHECK_MS).catch(() => known);
      if (theirs !== cluster) {
        const why = `it is of another cluster than ${other?.url ?? "we had before"}`;
        throw new EtcdFailure("member", `${why}; name endpoints of one cluster`);
      }
    }
    member.cluster = cluster;
    member.checked = true;
  }

  /** How long something may take that mostly takes less than this, by how slow answers are. */
  patient(ms: number): number {
    return Math.max(ms, 2 * this.#slowMs);
  }

  /** The outcome of what goes on all the same; EtcdFailure where it is not there in time. */
  async #within<T>(limitMs: number, work: Promise<T>): Promise<T> {
    const end = new AbortController();
    const late = sleep(this.clock, limitMs, end.signal).then(() => {
      if (this.#closed) throw this.#closed;
      throw new EtcdFailure("member", `no answer within ${Math.round(limitMs)} ms`, true);
    });
    late.catch(() => {}); // aborted, and of no interest then
    try {
      return await Promise.race([work, late]);
    } finally {
      end.abort();
    }
  }

  /** Waits for checks that are under way; whether one of them has come to a good end. */
  async #someIsLate(limitMs: number): Promise<boolean> {
    const isThere = () => this.members.some((member) => member.checked);
    const checks = this.members.flatMap(({ checking }) => checking ? [checking.done] : []);
    if (isThere() || checks.length === 0) return isThere();
    const end = new AbortController();
    const over = sleep(this.clock, limitMs, end.signal).catch(() => {});
    await Promise.race([Promise.any(checks).catch(() => {}), over]);
    end.abort();
    return isThere();
  }

  async #clusterOf(member: Member, limitMs: number): Promise<string> {
    const headers = await this.#headers(member, limitMs);
    const answer = await this.#post<{ header: Header }>(
      member,
      RANGE,
      JSON.stringify(SIGN),
      headers,
      limitMs,
    );
    return answer.header.cluster_id ?? "";
  }

  /** The newest revision as this very member knows it; it must have a leader for that. */
  async revisionOf(member: Member, limitMs: number): Promise<bigint> {
    const headers = await this.#headers(member, limitMs);
    const { header } = await this.#ask<{ header: Header }>(member, RANGE, SIGN, limitMs, headers);
    return BigInt(header.revision ?? 0);
  }

  /** A request whose answer's header is compared with what we were told before. */
  async #ask<T>(
    member: Member,
    path: string,
    body: unknown,
    limitMs: number,
    headers: Record<string, string>,
    once = false,
  ): Promise<T> {
    const seen = this.#seen;
    const sent = JSON.stringify(body);
    const answer = await this.#post<T & { header?: Header }>(
      member,
      path,
      once ? sentOnce(sent) : sent,
      headers,
      limitMs,
    );
    if (answer.header) this.note(answer.header, seen);
    return answer;
  }

  /** Learns from the header of an answer; `seen` is what was known when it was asked for. */
  note({ cluster_id, revision = "0" }: Header, seen: bigint): void {
    const now = BigInt(revision);
    const other = this.#cluster !== undefined && cluster_id !== this.#cluster;
    if (other || now < seen) {
      this.restored();
      this.#seen = now;
    }
    this.#cluster = cluster_id;
    if (now > this.#seen) this.#seen = now;
  }

  /** The data is not what it was: whoever watches must list again. */
  restored(): void {
    this.#epoch++;
  }

  /** A watch that broke is there again: what was read between may be of another past once more. */
  interrupted(): void {
    this.#interruptions++;
  }

  /** One HTTP request to one member; EtcdFailure of any kind. */
  async #post<T>(
    member: Member,
    path: string,
    body: Body,
    headers: Record<string, string>,
    limitMs: number,
  ): Promise<T> {
    const began = this.clock.monotonicMs();
    return await this.#exchange(member, path, body, headers, limitMs, async (response) => {
      const text = await response.text(), answer = parsed(text);
      if (!response.ok || answer?.error !== undefined) {
        throw await this.#refusal(member, response.status, answer, text);
      }
      const strange = strangeness(path, answer);
      if (strange) throw notEtcd(strange, text);
      member.heardMs = this.clock.monotonicMs();
      this.#slowMs = Math.min(SLOWEST_MS, Math.max(member.heardMs - began, this.#slowMs / 2));
      return answer as T;
    });
  }

  /** Sends a request and takes its answer, as far as that must have come within the limit. */
  async #exchange<T>(
    member: Member,
    path: string,
    body: Body | undefined,
    headers: Record<string, string>,
    limitMs: number,
    take: (response: Response, pool: Pool) => Promise<T>,
  ): Promise<T> {
    const began = this.clock.monotonicMs();
    const request = this.#begin(limitMs);
    let pool: Pool | undefined;
    try {
      pool = await this.#current();
      const response = await fetch(member.url + path, {
        method: body === undefined ? "GET" : "POST",
        headers,
        body,
        client: pool.http,
        // Another place that we were not given may be another cluster.
        redirect: "manual",
        signal: request.signal,
      });
      if (response.status >= 300 && response.status < 400) {
        await response.body?.cancel();
        const to = response.headers.get("location") ?? "nowhere";
        const told = `it points to ${to} (HTTP status ${response.status})`;
        throw new EtcdFailure("member", `${told}; name the endpoints of the etcd itself`);
      }
      return await take(response, pool);
    } catch (error) {
      if (request.late()) {
        if (pool) this.#wasLate(pool, member, began);
        if (member.token === headers.authorization) this.forgetToken(member);
      }
      const failure = this.#explained(error, request.late, limitMs);
      // What was answered was answered by an etcd.
      if (failure !== error && failure instanceof EtcdFailure) {
        failure.message += proxyWords(member.url);
        const broke = failure.uncertain && !request.late();
        if (broke && member.heardMs === -Infinity && member.url.startsWith("http:")) {
          failure.message += "; perhaps it speaks TLS at this port, then write https://";
        }
      }
      throw failure;
    } finally {
      request.end();
    }
  }

  /**
   * Opens a stream of JSON lines. The caller cancels the reader. The
   * signal given to fetch is of use only until the answer begins: aborting a long stream by it has no
   * effect in this runtime, `reader.cancel()` always has.
   */
  async stream(
    member: Member,
    path: string,
    body: unknown,
    limitMs: number,
  ): Promise<Opened> {
    const headers = await this.#headers(member, limitMs);
    const text = JSON.stringify(body);
    return await this.#exchange(member, path, text, headers, limitMs, async (response, pool) => {
      if (response.ok) {
        const standing = (heardMs: number) => this.#standing(pool, member, heardMs);
        return { reader: response.body!.getReader(), standing };
      }
      const text = await response.text();
      throw await this.#refusal(member, response.status, parsed(text), text);
    });
  }

  #begin(limitMs: number): { signal: AbortSignal; late: () => boolean; end: () => void } {
    if (this.#closed) throw this.#closed;
    const controller = new AbortController();
    let late = false;
    const cancel = this.clock.after(limitMs, () => {
      late = true;
      controller.abort();
    });
    this.#requests.add(controller);
    const end = () => {
      cancel();
      this.#requests.delete(controller);
    };
    return { signal: controller.signal, late: () => late, end };
  }

  #explained(error: unknown, late: () => boolean, limitMs: number): unknown {
    if (this.#closed) return this.#closed;
    if (error instanceof EtcdFailure || error instanceof StoreError) return error;
    if (late()) {
      return new EtcdFailure("member", `no answer within ${Math.round(limitMs)} ms`, true);
    }
    return failureOfFetch(error as Error, true, this.#tls.cert !== undefined);
  }

  async #refusal(
    member: Member,
    status: number,
    answer: { error?: unknown; code?: number; message?: string } | undefined,
    text: string,
  ): Promise<EtcdFailure> {
    const failure = failureOfAnswer(status, answer?.code ?? 0, messageOf(answer), text);
    if (failure.kind === "anonymous" && this.#location.username !== undefined) {
      // Users were not asked for when we came, and are now.
      return new EtcdFailure("token", failure.message);
    }
    if (failure.kind !== "denied" || status !== 404) return failure;
    const what = await this.version(member).then(
      (version) => version === undefined ? "it is no etcd, as it seems" : `it is etcd ${version}`,
      () => "its version is not known",
    );
    return new EtcdFailure(
      "denied",
      `it has no JSON gateway at /v3 (${what}); use etcd 3.4 or later, started with ` +
        "--enable-grpc-gateway",
    );
  }

  /** What a member says of itself, as `3.5.9`; undefined where it says nothing. EtcdFailure. */
  async version(member: Member): Promise<string | undefined> {
    const limit = this.patient(CHECK_MS);
    return await this.#exchange(member, "/version", undefined, {}, limit, async (response) => {
      const version = parsed(await response.text())?.etcdserver;
      return typeof version === "string" ? version : undefined;
    });
  }

  async #headers(member: Member, limitMs: number): Promise<Record<string, string>> {
    if (this.#location.username === undefined) return { ...COMMON };
    const token = member.token ?? await this.#within(limitMs, this.#login(member));
    return token ? { ...COMMON, authorization: token } : { ...COMMON };
  }

  /** Who needs the token waits with the patience that he has; the login goes on with its own. */
  #login(member: Member): Promise<string> {
    const now = this.clock.monotonicMs();
    const { login } = member;
    // As with checks: its connection may be dead.
    if (login && now - login.sinceMs <= 2 * this.patient(CHECK_MS)) return login.done;
    const begun = { done: this.#logIn(member), sinceMs: now };
    member.login = begun;
    const over = () => {
      if (member.login === begun) member.login = undefined;
    };
    begun.done.then(over, over);
    return begun.done;
  }

  async #logIn(member: Member): Promise<string> {
    const { username: name, password } = this.#location;
    let token = "";
    try {
      const answer = await this.#post<{ token?: string }>(
        member,
        "/v3/auth/authenticate",
        JSON.stringify({ name, password }),
        COMMON,
        this.#patienceMs,
      );
      token = answer.token ?? "";
    } catch (error) {
      // A cluster that asks nobody who he is takes no names either.
      const open = error instanceof EtcdFailure &&
        /authentication is not enabled/.test(error.message);
      if (!open) throw error;
    }
    return member.token = token;
  }

  get #isSecure(): boolean {
    return this.members.some(({ url }) => url.startsWith("https:"));
  }

  async #current(): Promise<Pool> {
    if (this.#pool) return this.#pool;
    const tls = await readTls(this.#location.tls);
    if (this.#closed) throw this.#closed;
    this.#tls = tls;
    return this.#pool ??= poolOf(httpClient(tls, this.#isSecure));
  }

  /** The next request makes a new pool; what is under way in this one goes on. */
  #wasLate(pool: Pool, member: Member, askedMs: number): void {
    pool.late.set(member, Math.max(askedMs, pool.late.get(member) ?? askedMs));
    if (pool !== this.#pool) return;
    pool.http.close();
    this.#pool = undefined;
  }

  #standing(pool: Pool, member: Member, heardMs: number): Standing {
    if (heardMs < (pool.late.get(member) ?? -Infinity)) return "doubtful";
    return pool === this.#pool ? "sound" : "apart";
  }

  /**
   * Whether certificates on disk are others than those that failed; they are used from now on. Where
   * they cannot be used (they are just being exchanged) we stay with those that we have, and say so.
   */
  async #renewTls(failure: EtcdFailure): Promise<boolean> {
    let tls: TlsTexts, http: Deno.HttpClient;
    try {
      tls = await readTls(this.#location.tls);
      const { ca, cert, key } = this.#tls;
      if (tls.ca === ca && tls.cert === cert && tls.key === key) return false;
      http = httpClient(tls, this.#isSecure);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      failure.message += `; and ${error.message}`;
      return false;
    }
    if (this.#closed) {
      http.close();
      throw this.#closed;
    }
    this.#pool?.http.close();
    this.#tls = tls;
    this.#pool = poolOf(http);
    return true;
  }

  async #slot(): Promise<void> {
    if (this.#closed) throw this.#closed;
    while (this.#free <= 0) {
      await new Promise<void>((resolve) => this.#queue.push(resolve));
      if (this.#closed) throw this.#closed;
    }
    this.#free--;
  }

  /** The token that we had from it is not valid any more, or it may not be. */
  forgetToken(member: Member): void {
    member.token = undefined;
  }

  /** Has the stream cancelled when the client is closed; the result takes that back. */
  track(cancel: () => void): () => void {
    if (this.#closed) cancel();
    this.#streams.add(cancel);
    return () => this.#streams.delete(cancel);
  }

  /** It was written, and is to be told by every watch of it. */
  wrote(key: string, revision: bigint): void {
    for (const hear of this.witnesses) hear(key, revision);
  }

  /** Breaks off what is under way. */
  close(): void {
    if (this.#closed) return;
    this.#closed = new StoreError("unavailable", "the datastore was closed by this process");
    for (const request of this.#requests) request.abort();
    for (const cancel of this.#streams) cancel();
    for (const wake of this.#queue.splice(0)) wake();
    this.#pool?.http.close();
    this.#pool = undefined;
  }
}

const RANGE = "/v3/kv/range";

const poolOf = (http: Deno.HttpClient): Pool => ({ http, late: new Map() });

/** A member that has lost its leader says so at once, instead of keeping us waiting. */
const COMMON = { "content-type": "application/json", "grpc-metadata-hasleader": "true" };

function parsed(text: string): Record<string, any> | undefined {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** What answers is no etcd, or its answer was cut off: as if it had not answered. */
function notEtcd(strange: string, text: string): EtcdFailure {
  const begin = text.slice(0, 40).replace(/\s+/g, " ").trim();
  const told = begin === "" ? "it is empty" : `it begins with ${JSON.stringify(begin)}`;
  return new EtcdFailure(
    "member",
    `its answer is no etcd's: ${strange} (${told}); is that an etcd, or a proxy before one?`,
    true,
  );
}

function messageOf(answer: Record<string, any> | undefined): string {
  const error = answer?.error;
  return String(answer?.message ?? error?.message ?? error ?? "");
}

/** What all members that were tried said, as one failure. */
function joined(tried: ReadonlyMap<Member, EtcdFailure>, doubt: boolean): EtcdFailure {
  const failures = [...tried];
  const [, first] = failures[0];
  const kind = failures.every(([, f]) => f.kind === "tls") ? "tls" : "member";
  const where = failures.map(([member]) => member.url).join(", ");
  const same = failures.every(([, f]) => f.message === first.message);
  const message = same
    ? `${failures.length > 1 ? "all of them: " : ""}${first.message}`
    : failures.map(([member, f]) => `${member.url}: ${f.message}`).join("; ");
  const failure = new EtcdFailure(kind, message, doubt);
  failure.where = where;
  return failure;
}
