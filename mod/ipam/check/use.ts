/**
 * Whether an allocation's address is used: by who names it himself (`users.ts`), by the evidence that
 * the controllers go by (`evidence.ts`), and by the word of its node. One that is not known to be used
 * is "unused" only where that can be shown; else it is "unproven", and released by nobody unasked.
 *
 *     a user names it, or the evidence says so                              -> used
 *     no evidence, assigned a short while ago (an ADD may be under way)     -> used
 *     no evidence, its node is gone and does not answer, or says that no
 *     container has it                                                      -> unused
 *     no evidence, by the records of a cluster that knows every pod, or a
 *     lease that is over, and its node cannot be asked (Calico's) or does
 *     not see all of itself                                                 -> unused
 *     anything else                                                         -> unproven
 */
import type { NodeWords } from "../ask_nodes.ts";
import { type AskedAddress, askedId } from "../questions.ts";
import { isWithin, parseGoTimestamp } from "../time.ts";
import type { Allocation } from "./allocations.ts";
import { askedOf, evidenceFor, type Facts, isNodeGone, leaseOf } from "./evidence.ts";

export type Use =
  | { readonly is: "used"; readonly by: string; readonly idle?: Idle }
  | { readonly is: "unused"; readonly why: string }
  | { readonly is: "unproven"; readonly why: string };

/** What is known of the container of a lease that says that one uses it, where none is seen. */
export type Idle = Exclude<Use, { is: "used" }>;

export interface UseFacts {
  readonly facts: Facts;
  /** Every pod has its record here: the Kubernetes API. */
  readonly podsKnown: boolean;
  /** Of those nodes that were asked. */
  readonly words: NodeWords;
  /** Milliseconds since 1970. */
  readonly now: number;
}

/** Longer than any runtime waits for an ADD. */
export const FRESH_MS = 300_000;

/** Of an allocation that nobody names as his own. */
export function useOf(allocation: Allocation, how: UseFacts): Use {
  const lease = leaseOf(allocation);
  const use = recordedUse(allocation, how);
  if (lease?.container === undefined || use.is === "used") return use;
  // The controllers see to a lease whose container is gone; it is not to be lost for its ordinal.
  return { is: "used", by: `Lease(${lease.name})`, idle: use };
}

function recordedUse(allocation: Allocation, { facts, podsKnown, words, now }: UseFacts): Use {
  const { node, attributes, address } = allocation;
  const evidence = evidenceFor(facts, allocation, now);
  if (evidence.is === "alive") return { is: "used", by: evidence.who ?? evidence.why };
  if (evidence.is === "kept") return { is: "used", by: evidence.why };
  if (evidence.is === "unknown") return { is: "unproven", why: evidence.why };
  const word = words.get(node);
  // Its Node may have been deleted under it.
  if (isNodeGone(facts, node) && !(word && "held" in word)) {
    return { is: "unused", why: `node ${node} is gone` };
  }
  const over = evidence.is === "gone" && evidence.over === true;
  if (!over && isWithin(FRESH_MS, parseGoTimestamp(attributes.timestamp), now)) {
    return { is: "used", by: "an ADD that may be under way" };
  }
  if (node === "") {
    if (over) return { is: "unused", why: evidence.why };
    return { is: "unproven", why: "it is not known on which node it is" };
  }
  // By the records alone, where the node cannot say more.
  const recorded = over || (evidence.is === "gone" && evidence.pod && podsKnown);
  if (word && "held" in word) {
    // Of another allocation of the address, which has ended since, it says nothing.
    if (!word.asked.has(askedId(askedOf(allocation)))) {
      return { is: "unproven", why: `node ${node} was not asked` };
    }
    if (word.held.has(address)) return { is: "used", by: `Container(${node})` };
    if (word.unseen === undefined) {
      return { is: "unused", why: `node ${node} says that no container has it` };
    }
    if (!recorded) return { is: "unproven", why: `node ${node} cannot tell: ${word.unseen}` };
  }
  if (recorded && !(word && "never" in word && !word.never)) {
    return { is: "unused", why: evidence.why };
  }
  const silent = word && "silent" in word ? word.silent : `node ${node} was not asked`;
  return { is: "unproven", why: silent };
}

/** What nodes are to be asked about these: all of which the records alone do not tell. */
export function questionsAbout(
  allocations: readonly Allocation[],
  how: UseFacts,
): Map<string, AskedAddress[]> {
  const questions = new Map<string, AskedAddress[]>();
  for (const allocation of allocations) {
    const { node } = allocation;
    if (node === "") continue;
    const use = useOf(allocation, how);
    if (
      (use.is === "used" && !use.idle) ||
      evidenceFor(how.facts, allocation, how.now).is === "unknown"
    ) continue;
    const list = questions.get(node);
    if (list) list.push(askedOf(allocation));
    else questions.set(node, [askedOf(allocation)]);
  }
  return questions;
}
