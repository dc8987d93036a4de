/**
 * Whose something is that several Nodes claim: the eldest's, by the time that the datastore wrote when the
 * Node was made, so that all nodes see the same, and a Node that comes later takes nothing from anybody.
 * One without a time is the youngest; of one age the first by name counts.
 */
import type { Node } from "../model/node.ts";

/** The eldest first. */
export function byAge(nodes: Iterable<Node>): Node[] {
  const key = ({ metadata }: Node) => `${metadata.creationTimestamp ?? "later"} ${metadata.name}`;
  return [...nodes].sort((a, b) => key(a) < key(b) ? -1 : 1);
}
