/**
 * IPAM's garbage, after kube-controllers: what is to be released, asked and tidied now, as a function
 * of what the cluster looks like, what was suspected before, and the time.
 *
 *     address   nobody has it, for the grace period, and all others of its handle are so too
 *               -> its node is asked (`ipam/questions.ts`) -> it says that no container has it -> released
 *     node      no Node object, no agent that reports or answers, and nobody alive on it
 *               -> its addresses, tunnels' too, then its blocks, then what was said to and by it
 *     block     empty for the grace period, and not its node's last or nobody's -> released
 *     handle    without an address for the grace period -> mended
 *     affinity  pending, of no block or of another's, for the grace period -> confirmed or deleted
 *
 * A node that cannot be asked (one of Calico's, or where the datastore cannot hold the question), or that
 * does not see all of itself (a service in a container without the machine's PID namespace), is judged by
 * its pods alone, as in Calico, and only where the datastore knows every pod (`podsKnown`: the Kubernetes
 * API), or by its lease, which is over. Everywhere else an address whose node does not answer, or cannot
 * tell, is left alone.
 *
 * Every action says what it has seen (handle, number, revision), so that doing it late, twice, or beside
 * another controller takes nothing from anybody.
 */
import { formatPrefix } from "../net/mod.ts";
import { isEmpty, ownerOf } from "../ipam/block.ts";
import { collectCooled } from "../ipam/block_changes.ts";
import type { StoredBlock } from "../ipam/block_table.ts";
import { coolingSince } from "../ipam/cooling.ts";
import { type Allocation, allocationsOf } from "../ipam/check/allocations.ts";
import {
  askedOf,
  type Evidence,
  evidenceFor,
  isNodeGone,
  type Loose,
} from "../ipam/check/evidence.ts";
import { type AffinityOwner, formatAffinity } from "../model/keys.ts";
import { type AskedAddress, askedId, isAnswered, type Question } from "../ipam/questions.ts";
import type { Revision } from "../store/store.ts";
import type { ClusterView } from "./view.ts";

export type CollectorAction =
  /**
   * All of one handle's that are listed, or none. `nodeGone`: its node is, so pods' records suffice.
   * A lease that a container has used is kept for its ordinal instead (`ipam/lease_record.ts`).
   */
  | {
    readonly do: "release";
    readonly allocations: readonly Allocation[];
    readonly nodeGone: boolean;
    readonly why: string;
  }
  /** Its blocks and everything else that the datastore holds for it. */
  | {
    readonly do: "removeNode";
    readonly node: string;
    readonly endpoints: readonly string[];
    /** Keys of what stands under its own name (`remains.ts`). */
    readonly records: readonly string[];
  }
  /** What is left of pods of a node that others still keep. */
  | { readonly do: "removeEndpoints"; readonly node: string; readonly endpoints: readonly string[] }
  | { readonly do: "releaseBlock"; readonly cidr: string; readonly sequenceNumber: number | bigint }
  | { readonly do: "mendHandle"; readonly handle: string; readonly revision: Revision }
  | { readonly do: "settleAffinity"; readonly owner: AffinityOwner; readonly cidr: string }
  | { readonly do: "sweepCooled" }
  /** undefined: nothing more to ask. `revision`: of the question that stands. */
  | {
    readonly do: "ask";
    readonly node: string;
    readonly question: Question | undefined;
    readonly revision?: Revision;
  };

/** Since when something has been as it should not be, by what it is; milliseconds of the clock. */
export type Memory = ReadonlyMap<string, number>;

export interface CollectorOptions {
  /** Milliseconds; 0: leaks, empty blocks and handles are left alone. */
  readonly grace: number;
  readonly podsKnown: boolean;
  /** Monotonic. */
  readonly now: number;
  /** Since 1970. */
  readonly wall: number;
}

export interface Collection {
  readonly actions: readonly CollectorAction[];
  readonly memory: Memory;
  /** When something more may be due; undefined: when something changes. */
  readonly next?: number;
  /** Addresses that nobody seems to have. */
  readonly suspects: readonly Allocation[];
  /** Of these, those whose node still says that a container has them, or does not answer. */
  readonly held: readonly { readonly allocation: Allocation; readonly why: string }[];
}

export function collect(view: ClusterView, before: Memory, options: CollectorOptions): Collection {
  return new Collector(view, before, options).run();
}

interface Judged {
  readonly allocation: Allocation;
  readonly evidence: Evidence;
}

/** Labels under which a node is moved from flannel; its empty blocks are needed in a moment. */
const MIGRATION_LABEL = "projectcalico.org/node-network-during-migration";

/** Milliseconds that a node has at least for its answer before it is taken for gone. */
const SILENCE = 30_000;

class Collector {
  readonly #actions: CollectorAction[] = [];
  readonly #memory = new Map<string, number>();
  readonly #suspects: Allocation[] = [];
  readonly #held: { allocation: Allocation; why: string }[] = [];
  readonly #questions = new Map<string, AskedAddress[]>();
  readonly #asked = new Map<string, ReadonlySet<string>>();
  /** When nodes without a Node were asked whether they are there. */
  readonly #calls = new Map<string, number>();
  #next = Infinity;

  constructor(
    readonly view: ClusterView,
    readonly before: Memory,
    readonly options: CollectorOptions,
  ) {}

  run(): Collection {
    const records = [...this.view.blocks.values()];
    const judged = records.flatMap(allocationsOf).map((allocation): Judged => ({
      allocation,
      evidence: evidenceFor(this.view, allocation, this.options.wall),
    }));
    const gone = this.#goneNodes(records, judged);
    this.#leaks(judged.filter(({ allocation }) => !gone.has(allocation.node)));
    if (gone.size > 0) {
      const byNode = Map.groupBy(judged, ({ allocation }) => allocation.node);
      const endpoints = Map.groupBy(this.view.endpoints, ([, one]) => one?.spec?.node);
      for (const node of gone) {
        this.#node(node, byNode.get(node) ?? [], endpoints.get(node) ?? []);
      }
    }
    this.#emptyBlocks(records, gone);
    this.#handles(judged);
    this.#affinities(gone);
    this.#cooled(records);
    this.#ask();
    return {
      actions: this.#actions,
      memory: this.#memory,
      suspects: this.#suspects,
      held: this.#held,
      ...(this.#next < Infinity && { next: this.#next }),
    };
  }

  /** Whether it has been so for long enough; it is remembered either way. */
  #lasts(what: string, grace = this.options.grace): boolean {
    const since = this.before.get(what) ?? this.options.now;
    this.#memory.set(what, since);
    const due = since + grace;
    if (this.options.now >= due) return true;
    this.#next = Math.min(this.#next, due);
    return false;
  }

  #goneNodes(records: readonly StoredBlock[], judged: readonly Judged[]): Set<string> {
    const named = new Set<string>();
    for (const { block } of records) {
      const owner = ownerOf(block);
      if (owner?.type === "host") named.add(owner.name);
    }
    for (const { owner } of this.view.affinities.values()) {
      if (owner.type === "host") named.add(owner.name);
    }
    for (const { allocation, evidence } of judged) {
      // A lease between two pods is no node's: the one that it names only had it last.
      if (allocation.node !== "" && evidence.is !== "kept") named.add(allocation.node);
    }
    for (const node of this.view.remains.nodes()) named.add(node);
    for (const node of named) this.#call(node);
    return new Set(
      [...named].filter((node) =>
        isNodeGone(this.view, node) && !(this.view.answers.has(node) && !this.#isSilent(node))
      ),
    );
  }

  /**
   * A node whose Node is gone may run still, with containers, as after a deletion by mistake. Where it
   * has no status, as on the Kubernetes API, its answer is its sign of life, for a grace period.
   */
  #call(node: string): void {
    const { view } = this;
    if (node === "" || view.hasNode(node) || view.hasStatus(node)) return;
    const answer = view.answers.get(node);
    if (!answer) return;
    const question = view.questions.get(node);
    const at = question?.value.at;
    const isOld = question !== undefined && isAnswered(question, answer) &&
      this.#lasts(`answer of ${node} to ${question.revision}`, this.#patience);
    this.#calls.set(node, at === undefined || isOld ? Math.floor(this.options.wall) : at);
  }

  /** Milliseconds after which a node that can be asked, and does not answer, is gone. */
  get #patience(): number {
    return Math.max(this.options.grace, SILENCE);
  }

  /** Whether a node that can be asked has not answered for so long that it is gone. */
  #isSilent(node: string): boolean {
    const what = `silence of ${node}`;
    if (this.view.questions.get(node)?.value.at !== undefined) {
      return this.#lasts(what, this.#patience);
    }
    // Before the question stands, that there is no answer says nothing.
    this.#memory.set(what, this.options.now);
    this.#next = Math.min(this.#next, this.options.now + this.#patience);
    return false;
  }

  /** Addresses of nodes that are there. */
  #leaks(judged: readonly Judged[]): void {
    if (this.options.grace <= 0) return;
    for (const [, group] of byHandle(judged)) {
      const suspects = group.filter(({ evidence }) => evidence.is === "gone");
      const due = suspects.filter(({ allocation }) => {
        this.#suspects.push(allocation);
        return this.#lasts(`address ${idOf(allocation)}`);
      });
      // A handle's addresses are one container's: while one of them is alive, so is it.
      if (due.length === 0 || due.length < group.length) continue;
      const why = due[0].evidence.why;
      const { unreadableUser } = this.view;
      if (unreadableUser !== undefined) {
        const unknown = `${unreadableUser} cannot be read, and may be whose it is`;
        this.#held.push({ allocation: due[0].allocation, why: unknown });
        continue;
      }
      const kept = due.map((one) => this.#nodesWord(one)).filter((word) => word !== undefined);
      if (kept.length > 0) this.#held.push({ allocation: due[0].allocation, why: kept[0] });
      else {
        const allocations = due.map(({ allocation }) => allocation);
        this.#actions.push({ do: "release", allocations, nodeGone: false, why });
      }
    }
  }

  /** Why the address is not released by what its node says; undefined: it may be. */
  #nodesWord({ allocation, evidence }: Judged): string | undefined {
    const { node, address } = allocation;
    const asked = askedOf(allocation);
    const answer = this.view.answers.get(node);
    const recorded = evidence.is === "gone" &&
      (evidence.over || (evidence.pod && this.options.podsKnown));
    if (!answer) return recorded ? undefined : `node ${node} cannot be asked`;
    const list = this.#questions.get(node);
    if (list) list.push(asked);
    else this.#questions.set(node, [asked]);
    const question = this.view.questions.get(node);
    if (!question || !this.#standing(node).has(askedId(asked))) {
      return `node ${node} has to be asked`;
    }
    if (answer.asked !== question.revision) return `node ${node} has not answered yet`;
    if (answer.held.includes(address)) return `a container on node ${node} has it`;
    if (answer.unseen === undefined || recorded) return undefined;
    return `node ${node} cannot tell: ${answer.unseen}`;
  }

  /** What a node is asked now, by `askedId`. */
  #standing(node: string): ReadonlySet<string> {
    let ids = this.#asked.get(node);
    if (!ids) {
      ids = new Set(this.view.questions.get(node)?.value.addresses.map(askedId));
      this.#asked.set(node, ids);
    }
    return ids;
  }

  /** A node without object and life: all that is its, where nobody on it is alive. */
  #node(
    node: string,
    judged: readonly Judged[],
    its: readonly (readonly [key: string, endpoint: Loose])[],
  ): void {
    // Who waits for a Node to come back after a mistake has the grace period, but where the API has
    // the last word on nodes. One that can be asked has had it.
    const grace = this.options.podsKnown || this.view.answers.has(node) ? 0 : this.options.grace;
    if (!this.#lasts(`node ${node}`, grace)) return;
    const { unreadableUser } = this.view;
    if (unreadableUser !== undefined) {
      if (judged.length > 0) {
        const why = `${unreadableUser} cannot be read, and may be on node ${node}`;
        this.#held.push({ allocation: judged[0].allocation, why });
      }
      return;
    }
    const alive = judged.filter(({ evidence }) =>
      evidence.is === "alive" || evidence.is === "unknown"
    );
    for (const [, group] of byHandle(judged)) {
      // As in Calico, what is left of pods goes also where others keep the node; its tunnels do not.
      const goes = group.every(({ evidence }) =>
        evidence.is === "gone" || (evidence.is === "nodes" && alive.length === 0)
      );
      if (!goes) continue;
      const allocations = group.map(({ allocation }) => allocation);
      this.#actions.push({
        do: "release",
        allocations,
        nodeGone: true,
        why: `node ${node} is gone; ${group[0].evidence.why}`,
      });
    }
    const endpoints = its.filter(([, { spec, metadata }]) =>
      !(spec.pod && this.view.pod(metadata?.namespace ?? "", spec.pod))
    ).map(([key]) => key);
    if (alive.length > 0) {
      if (endpoints.length > 0) this.#actions.push({ do: "removeEndpoints", node, endpoints });
      this.#held.push({
        allocation: alive[0].allocation,
        why: `node ${node} is gone, and ${alive[0].evidence.why}`,
      });
      return;
    }
    const records = this.view.remains.of(node);
    this.#actions.push({ do: "removeNode", node, endpoints, records });
  }

  /** A node keeps one block of each family, however empty; nobody keeps none. */
  #emptyBlocks(records: readonly StoredBlock[], gone: ReadonlySet<string>): void {
    if (this.options.grace <= 0) return;
    const owned = new Map<string, number>();
    const groupOf = ({ prefix, block }: StoredBlock) => `${block.affinity} ${prefix.ip.family}`;
    for (const record of records) owned.set(groupOf(record), (owned.get(groupOf(record)) ?? 0) + 1);
    for (const record of records) {
      const owner = ownerOf(record.block);
      // Nobody's: what others had borrowed in it is given back, and nobody is left to do this.
      const isOrphan = !record.block.affinity;
      if (!isOrphan && (owner?.type !== "host" || gone.has(owner.name))) continue;
      if (!isEmpty(this.#withoutCooled(record))) continue;
      if (owner && this.#isMigrating(owner.name)) continue;
      const cidr = formatPrefix(record.prefix);
      // Any write begins the time anew: an address was given and taken back meanwhile.
      if (!this.#lasts(`block ${cidr} ${record.block.sequenceNumber}`)) continue;
      if (isOrphan) {
        const { sequenceNumber } = record.block;
        this.#actions.push({ do: "releaseBlock", cidr, sequenceNumber });
        continue;
      }
      const left = owned.get(groupOf(record))!;
      if (left <= 1) continue;
      owned.set(groupOf(record), left - 1);
      this.#actions.push({ do: "releaseBlock", cidr, sequenceNumber: record.block.sequenceNumber });
    }
  }

  #withoutCooled({ block }: StoredBlock) {
    const { ipCooldownSeconds: seconds } = this.view.ipamConfig;
    return collectCooled(block, { seconds, now: this.options.wall });
  }

  #isMigrating(node: string): boolean {
    const label = this.view.nodes.get(node)?.value?.metadata?.labels?.[MIGRATION_LABEL];
    return label !== undefined && label !== "calico";
  }

  #handles(judged: readonly Judged[]): void {
    if (this.options.grace <= 0) return;
    const used = new Set(judged.map(({ allocation }) => allocation.handle));
    for (const [id, { revision }] of this.view.handles) {
      if (used.has(id.split("\r")[0]) || !this.#lasts(`handle ${id} ${revision}`)) continue;
      this.#actions.push({ do: "mendHandle", handle: id, revision });
    }
  }

  /** What a claim or release left that was cut off, and whose node has not been back since. */
  #affinities(gone: ReadonlySet<string>): void {
    if (this.options.grace <= 0) return;
    for (const [key, { owner, cidr, state, revision }] of this.view.affinities) {
      if (owner.type === "host" && gone.has(owner.name)) continue;
      const held = this.view.blocks.get(cidr)?.block.affinity;
      if (state === "confirmed" && held === formatAffinity(owner)) continue;
      if (!this.#lasts(`affinity ${key} ${revision}`)) continue;
      this.#actions.push({ do: "settleAffinity", owner, cidr });
    }
  }

  #cooled(records: readonly StoredBlock[]): void {
    if (records.some((record) => this.#withoutCooled(record) !== record.block)) {
      this.#actions.push({ do: "sweepCooled" });
      return;
    }
    const cooling = records.flatMap(({ block }) => block.attributes)
      .flatMap((attribute) => coolingSince(attribute) ?? []).map((since) => Date.parse(since));
    if (cooling.length === 0) return;
    const first = cooling.reduce((a, b) => Math.min(a, b));
    const due = first + this.view.ipamConfig.ipCooldownSeconds * 1000;
    this.#next = Math.min(this.#next, this.options.now + Math.max(1000, due - this.options.wall));
  }

  /** The questions that should stand, beside those that do. What others ask stays for its time. */
  #ask(): void {
    const nodes = [this.#questions, this.view.questions, this.#calls].flatMap((m) => [...m.keys()]);
    for (const node of new Set(nodes)) {
      const stands = this.view.questions.get(node);
      const standing = stands?.value.addresses ?? [];
      const theirs = standing.filter(({ until }) => until !== undefined && this.#isAsked(until));
      const addresses = [...this.#questions.get(node) ?? [], ...theirs]
        .sort((a, b) => a.ip < b.ip ? -1 : a.ip > b.ip ? 1 : 0);
      const at = this.#calls.get(node);
      const same = stands?.value.at === at &&
        JSON.stringify(standing) === JSON.stringify(addresses);
      if (stands && same) continue;
      const question = addresses.length > 0 || at !== undefined
        ? { addresses, ...(at !== undefined && { at }) }
        : undefined;
      this.#actions.push({ do: "ask", node, question, revision: stands?.revision });
    }
  }

  /** Whether a question of somebody else's is still his; looked at again when it is not. */
  #isAsked(until: number): boolean {
    const left = until - this.options.wall;
    if (left <= 0) return false;
    this.#next = Math.min(this.#next, this.options.now + left);
    return true;
  }
}

/** One allocation and no other: the address may be another's later. */
export function idOf({ address, handle, sequenceNumber }: Allocation): string {
  return `${address} ${handle ?? ""} ${sequenceNumber}`;
}

function byHandle(judged: readonly Judged[]): Map<string, Judged[]> {
  const groups = new Map<string, Judged[]>();
  for (const one of judged) {
    // One that has lost its handle is by itself whoever's it is.
    const handle = one.allocation.handle ?? `of ${one.allocation.address} alone`;
    const group = groups.get(handle);
    if (group) group.push(one);
    else groups.set(handle, [one]);
  }
  return groups;
}
