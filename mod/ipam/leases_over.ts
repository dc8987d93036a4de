/**
 * The last look before an address whose lease is over goes to another. That nobody has it is the word of
 * one record; it is believed only where no endpoint has the address, nor the ordinal's pod, and the node
 * that had it last, where it can be asked, does not say that a container has it: the evidence by which
 * the controllers free an address (`check/evidence.ts`).
 */
import { nodesOf } from "./ask_nodes.ts";
import type { Allocation } from "./check/allocations.ts";
import { askedOf, evidenceFor, isNodeGone } from "./check/evidence.ts";
import { freshFacts } from "./check/fresh_facts.ts";
import type { AskedAddress } from "./questions.ts";
import type { Room } from "./room.ts";

/** Milliseconds that a node has for its word, while a pod waits for its address. */
const WORD_MS = 5000;

/** Why they are not to be taken, in words, by address; nothing of those that nobody is seen to use. */
export async function usersOfOver(
  room: Room,
  leases: readonly Allocation[],
): Promise<ReadonlyMap<string, string>> {
  const users = new Map<string, string>();
  const facts = await freshFacts({ store: room.store, pods: room.store }, leases);
  const questions = new Map<string, AskedAddress[]>();
  for (const lease of leases) {
    const { address, node } = lease;
    const evidence = evidenceFor(facts, lease, room.now());
    if (evidence.is !== "gone") users.set(address, evidence.why);
    else if (node !== "") {
      questions.set(node, [...questions.get(node) ?? [], askedOf(lease)]);
    }
  }
  const words = await nodesOf(room.store, { limit: WORD_MS })(questions);
  for (const [node, asked] of questions) {
    const word = words.get(node)!;
    for (const { ip } of asked) {
      if ("held" in word && word.held.has(ip)) {
        users.set(ip, `node ${node} says that a container of it has the address`);
      } else if ("silent" in word && !word.never && !isNodeGone(facts, node)) {
        users.set(ip, word.silent);
      }
    }
  }
  return users;
}
