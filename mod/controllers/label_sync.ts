/**
 * Where the datastore is not Kubernetes itself, its Nodes are told of by the API beside it: their labels
 * are copied to Calico's Nodes, and a Node whose machine has left the cluster goes. After
 * kube-controllers' node controller: which labels were copied stands in an annotation, so that a label
 * taken away there goes here, and one set here by hand stays. Pure.
 */
import { kubernetesName, type Node } from "../model/node.ts";
import { printJson } from "../store/json.ts";

export const COPIED_ANNOTATION = "projectcalico.org/kube-labels";

export type NodeAction =
  | { readonly do: "label"; readonly name: string; change(node: Node): Node }
  | { readonly do: "delete"; readonly name: string };

type Labels = Readonly<Record<string, string>>;

/** `kubernetes`: labels of the API's Nodes by name. */
export function nodeActions(
  nodes: Iterable<Node>,
  kubernetes: ReadonlyMap<string, Labels>,
  syncLabels: boolean,
): NodeAction[] {
  const actions: NodeAction[] = [];
  for (const node of nodes) {
    const { name } = node.metadata;
    const theirs = kubernetesName(node);
    // A machine that is no node of Kubernetes is none of our business.
    if (theirs === undefined) continue;
    const labels = kubernetes.get(theirs);
    if (!labels) actions.push({ do: "delete", name });
    else if (syncLabels && printJson(copied(node, labels)) !== printJson(node)) {
      actions.push({ do: "label", name, change: (stored) => copied(stored, labels) });
    }
  }
  return actions;
}

function copied(node: Node, theirs: Labels): Node {
  const { labels = {}, annotations = {} } = node.metadata;
  const before = copiedBefore(annotations[COPIED_ANNOTATION]);
  const next: Record<string, string> = {};
  for (const [name, value] of Object.entries(labels)) {
    // What was copied and is unchanged goes with its original.
    const isCopy = Object.hasOwn(before, name) && before[name] === value;
    if (!isCopy || Object.hasOwn(theirs, name)) next[name] = value;
  }
  Object.assign(next, theirs);
  const record = JSON.stringify(Object.fromEntries(Object.entries(theirs).sort()));
  return {
    ...node,
    metadata: {
      ...node.metadata,
      labels: next,
      annotations: { ...annotations, [COPIED_ANNOTATION]: record },
    },
  };
}

function copiedBefore(text: string | undefined): Labels {
  try {
    const value = JSON.parse(text ?? "{}");
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
