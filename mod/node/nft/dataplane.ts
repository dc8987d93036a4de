/**
 * The nf_tables dataplane: keeps the tables `calico` of the families ip and ip6 as policy wants them,
 * beside each a small one that keeps connections tracked (tracking.ts), and touches nothing else.
 *
 *     wanted   rulesets of policy (`apply`), changed by deltas (`update`)
 *     kernel   what the tables hold: read once, kept up by what we commit, read again when somebody
 *              else has touched them
 *     plan     the difference, committed in one transaction a family
 *
 * Fail static: at the start nothing is flushed; a fresh process reads what a former one left and
 * changes what differs, so that no packet falls into a gap.
 *
 * Others: every commit in the namespace is announced, with the socket that made it. One that did not
 * touch our tables only moves the generation on. One that did makes the table unknown; it is read and
 * mended at once. Each transaction names the generation that it was computed from, so a commit that
 * comes between is not overlooked: the kernel refuses ours, and we look again.
 *
 * A table that was there and is gone leaves the node open. Where the whole would take long, its closed
 * skeleton is committed first (skeleton.ts): within milliseconds, whatever the size of the rest. Who
 * takes the table away again and again is answered with the skeleton each time, which costs little;
 * the whole comes ever later. The skeleton does not wait for work under way: the pauses of planning and
 * writing look for it, commit it and abandon the plan, which the kernel would refuse anyway. Only what
 * cannot be interrupted is waited for: a dump, which ends at once if its own table goes, and a commit,
 * which keeps others out while it lasts. At the start nothing of this happens: what a former process
 * left, a skeleton too, is one more table to bring up to date.
 *
 * What of policy cannot be made (a chain that the kernel refuses, a member that is none) is put aside,
 * closed and told, and the rest goes in (quarantine.ts).
 *
 * Refusals: the table is read and the difference computed anew. What the kernel names then as well is put
 * aside. Where it names nothing that may be: after `replaceAfter` failures in a
 * row the whole table is deleted and made anew, in one transaction. After `giveUpAfter` the caller
 * gets the error, and where there is no table at all the closed skeleton is put there; the table stays marked, and is tried again with the next call or unasked, ever later.
 * The cause may end without a word: a table with the flag owner goes with its program, and of that the
 * kernel sends no notification.
 */
import { isKernelError } from "../../../ffi/errors.ts";
import { inTurns, type NftClient, type TableName } from "../../../ffi/nft/client.ts";
import { StaleGenerationError, TransactionError } from "../../../ffi/nft/errors.ts";
import type { NftEvents } from "../../../ffi/nft/events.ts";
import type { Transaction } from "../../../ffi/nft/transaction.ts";
import { NFT_MSG_NEWRULE, NFT_MSG_NEWSETELEM } from "../../../ffi/nft/wire.ts";
import { readComment } from "../../../ffi/nft/userdata.ts";
import type { Family, RulesetDelta } from "../../../policy/rules.ts";
import {
  DataplaneError,
  type DataplaneOptions,
  type Rulesets,
  TableOwnedError,
} from "./dataplane_types.ts";
import { applyPlan, isEmptyPlan, type Pause, Planner, type TablePlan } from "./plan.ts";
import { readMark } from "./rule_mark.ts";
import { RuleReader } from "./rule_reader.ts";
import { isHeavy, skeletonWanted } from "./skeleton.ts";
import { emptyTable, type KernelTable, readTable, type TableReading } from "./table.ts";
import { CompileError, kernelName, nftFamily } from "./terms.ts";
import { trackingRuleset, trackingTable } from "./tracking.ts";
import { Wanted } from "./wanted.ts";
import { type NoMember, writePlan } from "./write_plan.ts";

export * from "./dataplane_types.ts";

/** The kernel's table turned out to be other than we believe. */
class Changed extends Error {}

const families: readonly Family[] = [4, 6];
/** Somebody may commit faster than we can read. */
const mostUnsettled = 100;

/** Something has been put aside: the plan that it was part of is to be made anew. */
class PutAside extends Error {}

/** Refusals that say nothing of what was refused. */
const elsewhere: ReadonlySet<string> = new Set([
  ...["ENOMEM", "EPERM", "EACCES", "EBUSY", "EAGAIN", "EINTR", "ENOBUFS", "EMLINK", "EMSGSIZE"],
]);

/** Whether we only have to look again: nobody has refused anything. */
function isUnsettled(error: unknown): boolean {
  return error instanceof StaleGenerationError || error instanceof Changed ||
    isKernelError(error, "EINTR", "ENOBUFS", "EAGAIN");
}

/** Who undoes at once what we commit is met again later, and not in this call. */
const mostRounds = 5;
/** Transactions of so many bytes are committed without listening to their many notifications. */
const deafFrom = 256 << 10;
/** Tables of more chains than this are committed on another thread, for the event loop's sake. */
const manyChains = 300;
/**
 * Pause before an unasked repair. The first one is made at once, for while our table is away the node
 * is open; if that was the beginning of a burst, the next ones wait, twice as long each time, up to 1 s
 * or to what a repair takes: who fights us gets at most half of our time.
 */
const repairPause = 20;
const longestPause = 1000;
/** Between a failure and the next try, twice as long each time; or four times what the try took. */
const retryPause = 250;
const longestRetryPause = 2000;
/** Between two skeletons: one takes some milliseconds. */
const closingPause = 20;

interface Plane {
  readonly family: Family;
  readonly table: string;
  readonly wanted: Wanted;
  readonly planner: Planner;
  readonly reader: RuleReader;
  /** Undefined: unknown, must be read. */
  kernel: KernelTable | undefined;
  /** Why it is read or changed, for events. */
  reason: "change" | "start" | "repair";
  /** Transactions in a row that the kernel would not have. */
  refusals: number;
  /** Others have touched it, and nobody has looked yet whether it is gone. */
  touched: boolean;
  /** What was last told of what cannot be made. */
  told: string;
  /** How often it became unknown: what was read while this grew is not of one piece. */
  forgotten: number;
}

export class NftDataplane {
  readonly #client: NftClient;
  readonly #events: NftEvents | undefined;
  readonly #replaceAfter: number;
  readonly #giveUpAfter: number;
  readonly #later: (milliseconds: number, work: () => void) => () => void;
  readonly #now: () => number;
  readonly #options: DataplaneOptions;
  readonly #planes: Readonly<Record<Family, Plane>>;
  /** Those that keep connections tracked, if that is wanted. */
  readonly #tracking: readonly Plane[];
  #generation: number | undefined;
  /** The work under way, which new work waits for. */
  #queue: Promise<unknown> = Promise.resolve();
  /** How much of it is not done. */
  #underWay = 0;
  #cancelRepair: (() => void) | undefined;
  #lastRepair = -Infinity;
  #pause = 0;
  /** Milliseconds that the last unasked repair took. */
  #repairTook = 0;
  #cancelRetry: (() => void) | undefined;
  #retryPause = 0;
  /** Others have touched our tables, or we have failed, and they were not as wanted since. */
  #astray = false;
  #cancelClosing: (() => void) | undefined;
  #lastClosing = -Infinity;
  /** A skeleton is due, for the next pause or whatever comes next in the queue. */
  #mustClose = false;
  #hasWanted = false;
  #closed = false;
  /** What the commit touched whose end has not been heard yet. */
  readonly #touched = new Set<Plane>();

  /**
   * @param events without it, what others commit is seen by its generation alone: then every commit
   * of anybody makes us read our tables again.
   */
  constructor(client: NftClient, events?: NftEvents, options: DataplaneOptions = {}) {
    this.#client = client;
    this.#events = events;
    this.#options = options;
    const name = options.table ?? "calico";
    this.#replaceAfter = options.replaceAfter ?? 5;
    this.#giveUpAfter = options.giveUpAfter ?? 10;
    this.#now = options.now ?? (() => performance.now());
    this.#later = options.later ?? ((milliseconds, work) => {
      const timer = setTimeout(work, milliseconds);
      return () => clearTimeout(timer);
    });
    const plane = (family: Family, table: string): Plane => ({
      family,
      table,
      wanted: new Wanted(family),
      planner: new Planner(table, family),
      reader: new RuleReader(),
      kernel: undefined,
      reason: "start",
      refusals: 0,
      touched: false,
      told: "",
      forgotten: 0,
    });
    this.#planes = { 4: plane(4, name), 6: plane(6, name) };
    this.#tracking = !options.keepTracking ? [] : families.map((family) => {
      const keeper = plane(family, trackingTable(name));
      keeper.wanted.replace(trackingRuleset(family));
      return keeper;
    });
  }

  /** All, in the order in which they are brought up to date: policy counts on tracking. */
  get #all(): readonly Plane[] {
    return [...this.#tracking, this.#planes[4], this.#planes[6]];
  }

  /**
   * Makes these rulesets what is wanted; resolves when the kernel has them. Chains and sets that are
   * the same values as before cost nothing. Rejects with DataplaneError or CompileError.
   */
  apply(desired: Rulesets): Promise<void> {
    return this.#enqueue(() => {
      for (const family of families) this.#planes[family].wanted.replace(desired[family]);
      this.#hasWanted = true;
      return this.#bring();
    });
  }

  /**
   * Takes changes in, without a look at what did not change; resolves when the kernel has them.
   * Rejects with DeltaGapError where a delta does not fit: then `apply` is due.
   */
  update(deltas: readonly RulesetDelta[]): Promise<void> {
    return this.#enqueue(async () => {
      await this.#take(deltas);
      return this.#bring();
    });
  }

  /** Takes changes in, if there are any; then reads the tables and mends what differs. */
  resync(deltas: readonly RulesetDelta[] = []): Promise<void> {
    return this.#enqueue(async () => {
      if (deltas.length > 0) await this.#take(deltas);
      this.#forgetAll();
      for (const { planner } of this.#all) {
        if (planner.quarantine.releaseRefused()) planner.forgetMarks();
      }
      return this.#bring();
    });
  }

  async #take(deltas: readonly RulesetDelta[]): Promise<void> {
    const pause = inTurns();
    for (const delta of deltas) {
      this.#planes[delta.family].wanted.change(delta);
      await pause();
    }
    this.#hasWanted = true;
  }

  /** Deletes our tables, whole; afterwards nothing is wanted until the next `apply` or `update`. */
  remove(): Promise<void> {
    return this.#enqueue(async () => {
      this.#hasWanted = false;
      this.#settled();
      for (const plane of this.#all) {
        plane.kernel = undefined;
        plane.reason = "start";
        const table = tableOf(plane);
        if (!this.#client.table(table)) continue;
        try {
          await this.#client.commit(this.#client.begin().deleteTable(table));
        } catch (error) {
          // Gone between the two: as wanted.
          if (!(error instanceof TransactionError) || error.code !== "ENOENT") throw error;
        }
      }
    });
  }

  /**
   * To be called when the event socket is readable. Reads what waits; where somebody has touched our
   * tables, a repair begins after a moment.
   */
  heard(): void {
    if (this.#closed) return;
    this.#drain();
    if (!this.#hasWanted || this.#all.every(({ kernel }) => kernel)) return;
    this.#repairSoon();
    // That may be a while.
    const waits = this.#pause > 0 || this.#underWay > 0;
    if (waits && this.#all.some(({ touched }) => touched)) this.#closeSoon();
  }

  /** Ends when the work that was asked for is done; the tables stay as they are. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#cancelRepair?.();
    this.#cancelRetry?.();
    this.#cancelClosing?.();
    await this.#queue;
    this.#options.onClose?.();
    this.#events?.close();
    this.#client.close();
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    if (this.#closed) return Promise.reject(new Error("the nf_tables dataplane is closed"));
    this.#underWay++;
    const done = this.#queue.then(work).finally(() => this.#underWay--);
    this.#queue = done.catch(() => {});
    return done;
  }

  /** A program that fights us is met ever more slowly. */
  #repairSoon(): void {
    if (this.#cancelRepair) return;
    const now = this.#now();
    const longest = Math.max(longestPause, this.#repairTook);
    const quiet = now - this.#lastRepair > 2 * longest;
    this.#pause = quiet ? 0 : Math.max(repairPause, Math.min(this.#pause * 2, longest));
    this.#lastRepair = now;
    this.#cancelRepair = this.#later(this.#pause, () => {
      this.#cancelRepair = undefined;
      this.#unasked(async () => {
        const began = this.#now();
        await this.#bring();
        this.#repairTook = this.#now() - began;
      });
    });
  }

  /** A skeleton in the place of tables that are gone, at once but not too often. */
  #closeSoon(): void {
    if (this.#cancelClosing) return;
    const close = () => {
      this.#cancelClosing = undefined;
      this.#lastClosing = this.#now();
      for (const plane of this.#all) plane.touched = false;
      this.#mustClose = true;
      this.#unasked(async () => void await this.#closeIfDue());
    };
    const wait = this.#lastClosing + closingPause - this.#now();
    if (wait <= 0) return close();
    this.#cancelClosing = this.#later(wait, close);
  }

  /** Whether a skeleton was committed. */
  async #closeIfDue(): Promise<boolean> {
    if (!this.#mustClose) return false;
    this.#mustClose = false;
    return await this.#closeGone();
  }

  /** Before what may take long. */
  async #closeFirst(): Promise<void> {
    this.#drain();
    for (const plane of this.#all) plane.touched = false;
    if (this.#takesLong()) this.#mustClose = true;
    await this.#closeIfDue();
  }

  /**
   * The pauses of work on a table during which the client is free. If one was deleted meanwhile, the
   * node is closed at once, and the work, whose generation is of the past, begins anew.
   */
  #turns(plane: Plane): Pause {
    const pause = inTurns();
    const { forgotten } = plane;
    const look = async (turn: Promise<void>) => {
      await turn;
      this.#drain();
      if (this.#all.some(({ touched }) => touched)) this.heard();
      if (await this.#closeIfDue() || plane.forgotten !== forgotten) {
        throw new Changed("a table was touched while this was planned");
      }
    };
    return () => {
      const turn = pause();
      return turn && look(turn);
    };
  }

  #unasked(work: () => Promise<void>): void {
    // What fails was told of, and is tried again.
    this.#enqueue(work).catch(() => {});
  }

  #failed(error: Error, took: number): void {
    this.#astray = true;
    if (this.#closed) return;
    this.#options.onEvent?.({ event: "failed", error });
    this.#retryPause = Math.min(Math.max(2 * this.#retryPause, retryPause), longestRetryPause);
    this.#cancelRetry?.();
    this.#cancelRetry = this.#later(Math.max(this.#retryPause, 4 * took), () => {
      this.#cancelRetry = undefined;
      this.#unasked(() => this.#bring());
    });
  }

  #settled(): void {
    this.#cancelRetry?.();
    this.#cancelRetry = undefined;
    this.#retryPause = 0;
    if (!this.#astray) return;
    this.#astray = false;
    this.#options.onEvent?.({ event: "settled" });
  }

  /** Whether bringing our tables up to date does. A light one may have to wait for a heavy one. */
  #takesLong(): boolean {
    return families.some((family) => {
      const { kernel, wanted } = this.#planes[family];
      return !kernel && isHeavy(wanted);
    });
  }

  /** Closes the node where a table of policy that was there is gone. Whether there was one. */
  async #closeGone(): Promise<boolean> {
    let closed = false;
    if (!this.#hasWanted) return closed;
    for (const family of families) {
      const plane = this.#planes[family];
      if (plane.kernel || plane.reason !== "repair") continue;
      for (let tries = 1;; tries++) {
        try {
          if (await this.#commitSkeleton(plane)) closed = true;
          break;
        } catch (error) {
          // The repair that is to come meets the same trouble, and tells of it.
          if (tries === mostRounds) break;
          if (!isUnsettled(error)) break;
        }
      }
    }
    return closed;
  }

  /** If there is no table. It stays unknown to us: the next look finds the skeleton. */
  async #commitSkeleton(plane: Plane): Promise<boolean> {
    const { family, wanted, table } = plane;
    const generation = this.#client.generation();
    if (this.#client.table(tableOf(plane))) return false;
    const plan = await new Planner(table, family).planAll(
      emptyTable(),
      skeletonWanted(wanted),
      () => {},
    );
    const tx = this.#client.begin(generation);
    await writePlan(tx, plan, () => [], () => {});
    await this.#client.commit(tx);
    this.#options.onEvent?.({
      event: "committed",
      family,
      messages: tx.messages,
      bytes: tx.size,
      reason: "closed",
    });
    return true;
  }

  /** Brings both tables up to date. */
  async #bring(): Promise<void> {
    if (!this.#hasWanted) return;
    const began = this.#now();
    const errors: Error[] = [];
    for (const plane of this.#all) {
      try {
        await this.#bringPlane(plane);
      } catch (error) {
        // One table's trouble is no reason to leave the others behind.
        errors.push(error as Error);
        await this.#closeFailed(plane);
      }
      this.#tellQuarantine(plane);
    }
    if (errors.length > 0) {
      this.#failed(errors[0], this.#now() - began);
      throw errors[0];
    }
    if (this.#all.every(({ kernel }) => kernel)) this.#settled();
  }

  /** A node without a table is open: if the whole cannot be, at least the skeleton. */
  async #closeFailed(plane: Plane): Promise<void> {
    if (this.#tracking.includes(plane)) return;
    try {
      await this.#commitSkeleton(plane);
    } catch {
      // It meets the same trouble, of which the caller hears.
    }
  }

  #tellQuarantine(plane: Plane): void {
    const { family, planner } = plane;
    const words = planner.quarantine.words();
    const text = words.join("\n");
    if (text === plane.told) return;
    plane.told = text;
    this.#options.onEvent?.({ event: "quarantine", family, words });
  }

  /** Puts aside what the kernel has refused, as far as it may be. Whether there was any. */
  #putAside({ wanted, planner }: Plane, { refusals }: TransactionError): boolean {
    let any = false;
    const byName = <T extends { readonly name: string }>(all: Iterable<T>) =>
      new Map([...all].map((one) => [kernelName(one.name), one]));
    const chains = byName(wanted.chains.values()), sets = byName(wanted.sets.values());
    for (const { code, message, subject, hint, detail } of refusals) {
      if (!message || elsewhere.has(code)) continue;
      const says = hint ?? detail;
      const why = `${subject}: ${code}${says ? `, ${says}` : ""}`;
      if (message.type === NFT_MSG_NEWRULE) {
        const chain = chains.get(message.name);
        if (chain && planner.quarantine.putAside(chain, why, true)) any = true;
      } else if (message.type === NFT_MSG_NEWSETELEM) {
        const set = sets.get(message.name);
        if (!set || set.kind === "verdict-map") continue;
        if (planner.quarantine.leaveOut(set, why, undefined)) any = true;
      }
    }
    if (any) planner.forgetMarks();
    return any;
  }

  async #bringPlane(plane: Plane): Promise<void> {
    let failures = 0, unsettled = 0;
    plane.refusals = 0;
    for (let round = 1;; round++) {
      try {
        await this.#closeFirst();
        if (plane.refusals >= this.#replaceAfter) await this.#replace(plane);
        else await this.#commitDifference(plane);
        // What was heard meanwhile may already be of another's doing.
        this.#drain();
        if (plane.kernel) return;
        if (round >= mostRounds) return this.#repairSoon();
      } catch (error) {
        if (error instanceof StaleGenerationError) this.#afterStale(error);
        else this.#forget(plane);
        if (error instanceof PutAside) continue;
        if (isUnsettled(error)) {
          // No refusal: others were at work while we read or computed.
          if (++unsettled >= mostUnsettled) {
            throw new DataplaneError(plane.family, unsettled, error as Error);
          }
          if (unsettled > 3) await this.#wait(Math.min(unsettled, 50));
          continue;
        }
        if (!(error instanceof TransactionError) && !isKernelError(error)) throw error;
        failures++;
        this.#options.onEvent?.({ event: "refused", family: plane.family, error, failures });
        // The first time we may have had a wrong picture of the table.
        if (failures > 1 && error instanceof TransactionError && this.#putAside(plane, error)) {
          failures = plane.refusals = 0;
          continue;
        }
        if (failures >= this.#giveUpAfter) {
          throw new DataplaneError(plane.family, failures, error);
        }
        await this.#wait(Math.min(1 << failures, 100));
      }
    }
  }

  #wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => this.#later(milliseconds, resolve));
  }

  async #commitDifference(plane: Plane): Promise<void> {
    const { wanted, planner, family } = plane;
    const reason = plane.reason;
    // What is planned is for the table as it was at this generation, whatever is heard meanwhile.
    let plan: TablePlan | undefined;
    let kernel = plane.kernel && this.#isCurrent() ? plane.kernel : undefined;
    let generation = this.#generation;
    if (kernel) {
      plan = await planner.planChanges(kernel, wanted, wanted.changes, this.#turns(plane));
    }
    if (!kernel || !plan) {
      kernel = await this.#read(plane);
      generation = this.#generation;
      plan = await planner.planAll(kernel, wanted, this.#turns(plane));
    }
    if (!isEmptyPlan(plan)) {
      const tx = this.#client.begin(generation);
      const handles = (chain: string) => this.#handles(plane, chain);
      this.#leaveOut(plane, await writePlan(tx, plan, handles, this.#turns(plane)));
      const size = tx.finish().length;
      await this.#commit(plane, plan, tx);
      this.#options.onEvent?.({
        event: "committed",
        family,
        messages: tx.messages,
        bytes: size,
        reason,
      });
    }
    // The kernel has it now; that others may have changed it since is told by events to come.
    if (plane.kernel === kernel) plane.kernel = applyPlan(kernel, plan);
    wanted.told();
    // Who has touched it since may have deleted it: that is no start any more.
    plane.reason = plane.kernel ? "change" : "repair";
  }

  /** Members that are none: the plan is made anew without them. */
  #leaveOut({ wanted, planner, family }: Plane, wrong: readonly NoMember[]): void {
    if (wrong.length === 0) return;
    let any = false;
    for (const { set, member, why } of wrong) {
      if (planner.quarantine.isLeftOut(set, member)) continue;
      const known = wanted.sets.get(set);
      if (known && planner.quarantine.leaveOut(known, why, [member])) any = true;
    }
    if (!any) throw new CompileError(`table of IPv${family}`, wrong[0].why);
    planner.forgetMarks();
    throw new PutAside();
  }

  /** The last resort: everything anew, in one transaction. */
  async #replace(plane: Plane): Promise<void> {
    const { planner, wanted, family } = plane;
    const name = tableOf(plane);
    const generation = this.#client.generation();
    const exists = this.#client.table(name) !== undefined;
    const kernel: KernelTable = { exists, dormant: false, chains: new Map(), sets: new Map() };
    plane.kernel = kernel;
    this.#generation = generation;
    const plan = await planner.planReplacement(kernel, wanted, this.#turns(plane));
    const tx = this.#client.begin(generation);
    this.#leaveOut(plane, await writePlan(tx, plan, () => [], this.#turns(plane)));
    const size = tx.finish().length;
    await this.#commit(plane, plan, tx);
    this.#options.onEvent?.({
      event: "committed",
      family,
      messages: tx.messages,
      bytes: size,
      reason: "replace",
    });
    if (plane.kernel === kernel) plane.kernel = applyPlan(kernel, plan);
    wanted.told();
    // Who has touched it since may have deleted it: that is no start any more.
    plane.reason = plane.kernel ? "change" : "repair";
  }

  async #commit(plane: Plane, plan: TablePlan, tx: Transaction): Promise<void> {
    try {
      if (this.#events && tx.size >= deafFrom) return await this.#commitDeaf(this.#events, tx);
      // Where a rule came, the kernel follows all chains of the table from every hook.
      const heavy = plan.chains.length > 0 && (plane.kernel?.chains.size ?? 0) > manyChains;
      await this.#client.commit(tx, heavy);
    } catch (error) {
      if (!isUnsettled(error)) plane.refusals++;
      throw error;
    }
    if (this.#events) return this.#drain();
    // Nobody tells us: if ours was the only commit, the generation has moved by one; if it changed
    // nothing, by none.
    const now = this.#client.generation();
    const before = this.#generation;
    if (before !== undefined && (now === before || now === (before + 1) >>> 0)) {
      this.#generation = now;
    } else {
      this.#forgetAll();
    }
  }

  /** A big one, of which we do not want to hear. Ours is the only commit if there was just one. */
  async #commitDeaf(events: NftEvents, tx: Transaction): Promise<void> {
    const before = tx.generation!;
    try {
      await events.deaf(() => this.#client.commit(tx));
    } catch (error) {
      this.#forgetAll();
      throw error;
    }
    // Listening again: from here on everything is heard, and what was not is told by the number.
    const now = this.#client.generation();
    const known = now === before || now === (before + 1) >>> 0;
    if (!known) this.#forgetAll();
    this.#generation = now;
    this.#drain();
  }

  /**
   * The kernel has refused for a commit of another. What that was waits in the events: if it did not
   * touch our tables, what we know of them stands.
   */
  #afterStale({ generation }: StaleGenerationError): void {
    this.#drain();
    if (this.#generation === generation) this.#forgetAll();
  }

  #forgetAll(): void {
    for (const plane of this.#all) this.#forget(plane);
    this.#generation = undefined;
  }

  /** Whether we know the generation; without events, whether it is still the same. */
  #isCurrent(): boolean {
    if (this.#events) {
      this.#generation ??= this.#client.generation();
      return true;
    }
    const now = this.#client.generation();
    if (now === this.#generation) return true;
    this.#forgetAll();
    return false;
  }

  /** Reads the table; what commits meanwhile is told by the generation, or by events. */
  async #read(plane: Plane): Promise<KernelTable> {
    const { forgotten } = plane;
    // Somebody committed while we read. If not in our table, the reading stands.
    const isTorn = () => {
      this.#drain();
      return plane.forgotten !== forgotten;
    };
    let reading: TableReading;
    try {
      const despiteCommits = this.#events !== undefined;
      const { table, family, reader } = plane;
      reading = await readTable(this.#client, table, family, despiteCommits, reader);
    } catch (error) {
      // A set that is deleted while the kernel lists it ends the list with an error.
      if (isKernelError(error) && isTorn()) {
        throw new Changed(`table ${plane.table} was touched while it was read`);
      }
      throw error;
    }
    const { table, generation, whole } = reading;
    if (table.owner !== undefined) throw new TableOwnedError(tableOf(plane), table.owner);
    if (!whole && (!this.#events || isTorn())) {
      throw new Changed(`table ${plane.table} was touched while it was read`);
    }
    // Of commits that came meanwhile we have heard, and that they were of others' tables.
    const heard = this.#generation;
    if (whole || heard === undefined || (heard - generation | 0) < 0) this.#generation = generation;
    plane.kernel = table;
    return table;
  }

  /** The handles of a chain's rules, which must be those that we believe it to have. */
  #handles(plane: Plane, chain: string): number[] {
    const heads = this.#client.ruleHeads(tableOf(plane), chain);
    const known = plane.kernel?.chains.get(chain)?.rules ?? [];
    const same = heads.length === known.length &&
      heads.every(({ userdata }, i) => readMark(readComment(userdata)) === known[i].mark);
    if (!same) throw new Changed(`chain ${chain} is not as it was`);
    return heads.map(({ handle }) => handle);
  }

  #forget(plane: Plane): void {
    plane.kernel = undefined;
    plane.forgotten++;
    if (plane.reason === "change") plane.reason = "repair";
  }

  #drain(): void {
    const events = this.#events;
    if (!events) return;
    const touched = this.#touched;
    events.drain(this.#client.port, {
      changed: (family, table) => {
        for (const plane of this.#all) {
          if (table !== plane.table || family !== nftFamily(plane.family)) continue;
          touched.add(plane);
          plane.touched = true;
        }
      },
      committed: (generation, _port, program) => {
        this.#generation = generation;
        for (const plane of touched) {
          this.#forget(plane);
          const { family, table } = plane;
          if (this.#hasWanted) {
            this.#astray = true;
            this.#options.onEvent?.({ event: "foreign", family, table, program });
          }
        }
        touched.clear();
      },
      lost: () => {
        touched.clear();
        this.#forgetAll();
        this.#astray = true;
        this.#options.onEvent?.({ event: "lost" });
      },
    });
    // The end of a commit may not have come yet: better forget once too often.
    for (const plane of touched) this.#forget(plane);
  }
}

function tableOf({ family, table }: Plane): TableName {
  return { family: nftFamily(family), name: table };
}
