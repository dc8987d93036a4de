/**
 * The controllers beside a cluster of pinned replicas (`cni/testing/replicas.ts`): turn after turn of the
 * collector, for which every turn is a grace period later, and the nodes' answers to what it asks, by what
 * is wired there. So whatever looks unused for two turns is taken as soon as its node says so.
 */
import type { ReplicaCluster } from "../../cni/testing/replicas.ts";
import { collect, type Memory } from "../../mod/controllers/collector.ts";
import { perform } from "../../mod/controllers/perform.ts";
import { viewOf } from "../../mod/controllers/testing/simulation.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { answerKey, questionKey, readQuestion } from "../../mod/ipam/questions.ts";
import type { Store } from "../../mod/store/store.ts";

const GRACE = 900_000;

export class PinControllers {
  #memory: Memory = new Map();
  #now = 0;
  /** What was done, by kind. */
  readonly done = new Map<string, number>();

  constructor(
    readonly cluster: ReplicaCluster,
    readonly options: { readonly podsKnown: boolean; readonly pauseMs: number },
  ) {}

  get turns(): number {
    return this.#now / GRACE;
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.turn();
      await new Promise((resolve) => setTimeout(resolve, this.options.pauseMs));
    }
  }

  async turn(): Promise<void> {
    const { cluster: { store }, options: { podsKnown } } = this;
    const ipam = new Ipam(store);
    await this.#answer(store);
    const wall = Date.now();
    const { actions, memory } = collect(await viewOf(store), this.#memory, {
      grace: GRACE,
      podsKnown,
      now: this.#now,
      wall,
    });
    this.#memory = memory;
    this.#now += GRACE;
    for (const action of actions) {
      const { done } = await perform({ store, ipam, pods: store, now: Date.now }, action);
      if (done) this.done.set(action.do, (this.done.get(action.do) ?? 0) + 1);
    }
  }

  async #answer(store: Store): Promise<void> {
    for (let i = 0; i < this.cluster.options.nodes; i++) {
      const node = `n${i}`, question = await store.get(questionKey(node));
      const asked = question ? readQuestion(question.value).addresses.map(({ ip }) => ip) : [];
      const held = this.cluster.nodesWord(node, asked);
      const answer = { asked: question?.revision ?? "", held };
      const before = await store.get(answerKey(node));
      if (JSON.stringify(before?.value) === JSON.stringify(answer)) continue;
      await store.put(answerKey(node), answer);
    }
  }
}
