/**
 * Cuts live connections that policy no longer allows. Packets of an established connection pass the
 * chains of endpoints unseen; so when rules have changed, the tracked connections of the endpoints
 * that the change concerns are judged as if they began now (policy/flows.ts), and those that fail get
 * a mark that the endpoints' chains drop, before they look at the connection's state.
 *
 *     rules in the kernel -> whom do they concern? -> list -> judge -> mark, or take the mark back
 *
 * Why a mark, and not the end of the tracking: a connection whose tracking has ended is new again with
 * its next packet. If that is the server's (data under way, a keepalive, SCTP's heartbeat), it is
 * judged as a connection of the server's to the client, which policy often allows, and the client's
 * packets are then its answers: the connection lives on. The mark stops both directions at once,
 * whoever speaks next and however the packets were translated, on the forward hook as on the input and
 * output hooks of a pod's own node; nothing has to be known of protocols.
 * It is desired state like all else: a connection that is allowed again loses it. Both ends give up by
 * their own timers; the kernel forgets the connection as it would have anyway.
 *
 * The rules are there first, so no connection of the old kind can begin after the list is read, but a
 * packet that was under way in the moment of the change: hence each list is read once more after a
 * moment. At the start of the process every endpoint counts as changed, so what was denied while
 * nobody ran is cut then. Where no rule has changed nothing is read.
 *
 * A list costs the kernel 10 ms whatever it holds, since it goes through the whole of its table, and one of
 * a hundred thousand takes most of a second of work (tests/bench/flows.ts): it is done a datagram at a
 * time between other work, and where changes come one after the other, others have at least a third of
 * the time. Endpoints whose interface is not up have no connection that could go on, as each pod that
 * begins: they are looked at the second time alone, for what this process has not heard yet.
 */
import { type Flow, type FlowWish, IPS_EXPECTED } from "../../ffi/conntrack.ts";
import { inTurns } from "../../ffi/nft/client.ts";
import { FlowJudge } from "../../policy/flows.ts";
import { cutMark } from "../../policy/parameters.ts";
import { Touched } from "../../policy/reach.ts";
import type { PolicyEngine } from "../../policy/engine.ts";
import type { RulesetDelta } from "../../policy/rules.ts";
import { type Ip, ipKey } from "../net/mod.ts";
import type { Log } from "./log.ts";

/** The kernel's table of connections, as far as it is needed here (ffi's Conntrack). */
export interface FlowTable {
  /** How many are tracked. */
  count(): Promise<number>;
  visitFlows(
    wish: FlowWish,
    visit: (flows: Flow[]) => void,
    pause: () => Promise<void> | void,
  ): Promise<void>;
  setMarks(flows: readonly Flow[], value: number, mask: number): number;
}

export interface FlowCutterParts {
  readonly engine: PolicyEngine;
  /** Busy while a list is read. */
  readonly reading: FlowTable;
  readonly writing: FlowTable;
  /** This host's own. */
  readonly hostAddresses: () => Iterable<Ip>;
  /** Whether an interface is up, as far as is known. */
  readonly isUp: (interfaceName: string) => boolean;
  readonly log: Log;
  readonly onPass?: (pass: Pass) => void;
}

/** What one look at the connections came to. */
export interface Pass {
  readonly seen: number;
  readonly cut: number;
  readonly restored: number;
  /** Times that the kernel was asked for a list. */
  readonly lists: number;
  readonly milliseconds: number;
}

/** Milliseconds after which a list is read once more. */
const AGAIN = 200;
/** Between two passes that list: half as long as the last one took, within these milliseconds. */
const LEAST_REST = 100, LONGEST_REST = 250;
/** After a pass that failed. */
const RETRY = 1000;
/** Milliseconds of work between two turns of others. */
const SLICE = 10;
/**
 * The kernel finds the connections of so few addresses faster than we do in the whole list, if that is
 * long: it goes through its whole table for each question, which costs as much as to be told of about a
 * thousand connections.
 */
const FEW = 2, MANY = 4000;

export class FlowCutter {
  readonly #parts: FlowCutterParts;
  /** Changes that no pass has looked at yet, and those that one more has to. */
  #fresh = new Touched();
  #again = new Touched();
  #timer: number | undefined;
  #running: Promise<void> | undefined;
  #restUntil = 0;
  #closed = false;

  constructor(parts: FlowCutterParts) {
    this.#parts = parts;
  }

  /** The kernel has what the engine says, and this has changed since the last call. */
  applied(deltas: readonly RulesetDelta[]): void {
    for (const delta of deltas) this.#fresh.addDelta(delta);
    this.#soon();
  }

  /** The rules were not in the kernel for a while: who knows what has begun meanwhile. */
  everything(): void {
    this.#fresh.addEverything();
    this.#soon();
  }

  /** Ends; marks that are set stay. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #soon(): void {
    this.#schedule(Math.max(0, this.#restUntil - performance.now()));
  }

  #schedule(milliseconds: number): void {
    if (this.#closed || this.#running) return; // the end of a pass looks for what is left to do
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#running = this.#pass().finally(() => {
        this.#running = undefined;
        if (!this.#fresh.isEmpty) this.#soon();
        else if (!this.#again.isEmpty) this.#schedule(AGAIN);
      });
    }, milliseconds);
  }

  async #pass(): Promise<void> {
    const { log, onPass } = this.#parts;
    const fresh = this.#fresh, again = this.#again;
    this.#fresh = new Touched();
    this.#again = fresh;
    const began = performance.now();
    const pass = { seen: 0, cut: 0, restored: 0, lists: 0, milliseconds: 0 };
    const retry = () => {
      for (const touched of [again, fresh]) this.#fresh.add(touched);
    };
    try {
      if (!await this.#look(again, fresh, pass)) retry();
      pass.milliseconds = performance.now() - began;
      if (pass.lists > 0) {
        const rest = Math.max(LEAST_REST, Math.min(pass.milliseconds / 2, LONGEST_REST));
        this.#restUntil = performance.now() + rest;
      }
      if (pass.cut + pass.restored > 0) {
        const { cut, restored } = pass;
        log.info("connections cut that policy no longer allows", { cut, allowedAgain: restored });
      }
      onPass?.(pass);
    } catch (error) {
      if (this.#closed) return;
      log.warn("cannot cut connections that policy denies; will be tried again", { error });
      retry();
      this.#restUntil = performance.now() + RETRY;
    }
  }

  #judge: { readonly judge: FlowJudge; readonly host: string } | undefined;

  /** One for all passes, as long as neither policy nor the host's addresses change. */
  #judgeOf(hostAddresses: readonly Ip[]): FlowJudge {
    const { engine } = this.#parts;
    const host = hostAddresses.map(ipKey).sort().join();
    if (this.#judge?.judge.revision !== engine.revision || this.#judge.host !== host) {
      this.#judge = { judge: new FlowJudge(engine, hostAddresses), host };
    }
    return this.#judge.judge;
  }

  /** Whether all has been looked at. Who is among the fresh will be once more. */
  async #look(
    again: Touched,
    fresh: Touched,
    pass: { seen: number; cut: number; restored: number; lists: number },
  ): Promise<boolean> {
    const { engine, reading, writing, hostAddresses, isUp } = this.#parts;
    if (again.isEmpty && fresh.isEmpty) return true;
    if (!engine.isWhole) return false;
    const host = [...hostAddresses()];
    let judge = this.#judgeOf(host);
    const behind = ([4, 6] as const).flatMap((family) => [
      ...judge.addressesBehind(family, again.of(family)),
      ...judge.addressesBehind(family, fresh.of(family), isUp),
    ]);
    const addresses = [...new Map(behind.map((ip) => [ipKey(ip), ip])).values()];
    if (addresses.length === 0) return true;
    // Nothing is tracked, and what begins now meets the new rules.
    const tracked = await reading.count();
    if (tracked === 0) return true;
    let complete = true;
    const visit = (flows: Flow[]) => {
      if (this.#closed) throw new Error("closed");
      // Policy has moved on: what it says now counts. Who was judged before is judged again soon.
      // In the midst of many changes nothing can be said of these: they are looked at again.
      if (!engine.isWhole) return void (complete = false);
      judge = this.#judgeOf(host);
      const cut: Flow[] = [], restored: Flow[] = [];
      for (const flow of flows) {
        pass.seen++;
        // What another connection called for (FTP's data) is not policy's to judge by itself.
        if (flow.status & IPS_EXPECTED) continue;
        const isCut = (flow.mark & cutMark) !== 0;
        if (judge.isAllowed(flow) === !isCut) continue;
        (isCut ? restored : cut).push(flow);
      }
      pass.cut += writing.setMarks(cut, cutMark, cutMark);
      pass.restored += writing.setMarks(restored, 0, cutMark);
    };
    const pause = inTurns(SLICE);
    for (const wish of wishesOf(addresses, tracked)) {
      pass.lists++;
      await reading.visitFlows(wish, visit, pause);
    }
    return complete;
  }
}

/**
 * How to list the connections of these addresses. The kernel's own choice is of use in IPv4 alone, and
 * goes through the whole table each time.
 */
export function wishesOf(addresses: readonly Ip[], tracked: number): FlowWish[] {
  if (addresses.length === 0 || tracked === 0) return [];
  if (tracked <= MANY) return [{ among: new Set(addresses.map(ipKey)) }];
  return ([4, 6] as const).flatMap((family): FlowWish[] => {
    const mine = addresses.filter((ip) => ip.family === family);
    if (mine.length === 0) return [];
    if (family === 6 || mine.length > FEW) return [{ family, among: new Set(mine.map(ipKey)) }];
    return mine.flatMap((source) => [
      { family, selection: { original: { source } } },
      { family, selection: { reply: { source } } },
    ]);
  });
}
