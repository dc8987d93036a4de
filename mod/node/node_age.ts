/**
 * Whose something is that several Nodes claim: the eldest's, by the time that the datastore wrote when the
 * Node was made, so that all nodes see the same, and a Node that comes later takes nothing from anybody.
 * One without a time is the youngest; of one age the first by name counts. Times are whole seconds, as
 * Kubernetes and Calico write them: Nodes that were made within one are of one age.
 */
import type { Node } from "../model/node.ts";

/** The eldest first, each with the name that it has in the datastore. */
export function byAge(nodes: ReadonlyMap<string, Node>): [name: string, node: Node][] {
  const rank = ([name, { metadata }]: [string, Node]) =>
    `${metadata?.creationTimestamp ?? "later"} ${name}`;
  return [...nodes].sort((a, b) => rank(a) < rank(b) ? -1 : 1);
}
