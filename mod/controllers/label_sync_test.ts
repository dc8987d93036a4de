import assert from "node:assert/strict";
import type { Node } from "../model/node.ts";
import { nodeActions } from "./label_sync.ts";

const node = (name: string, orchRefs: unknown) =>
  ({ metadata: { name }, spec: { orchRefs } }) as Node;

Deno.test("only a Node that says which of Kubernetes' it is goes with that one", () => {
  const nodes = [
    node("there", [{ orchestrator: "k8s", nodeName: "machine-1" }]),
    node("gone", [{ orchestrator: "k8s", nodeName: "machine-2" }]),
    node("none", undefined),
    node("other", [{ orchestrator: "swarm", nodeName: "machine-2" }]),
    node("empty", [{ orchestrator: "k8s", nodeName: "" }]),
    node("number", [{ orchestrator: "k8s", nodeName: 5 }]),
    node("null", [null]),
    node("text", "k8s"),
  ];
  const actions = nodeActions(nodes, new Map([["machine-1", { zone: "a" }]]), true);
  assert.deepEqual(actions.map((action) => [action.do, action.name]), [
    ["label", "there"],
    ["delete", "gone"],
  ]);
});
