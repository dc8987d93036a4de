import assert from "node:assert/strict";
import fc from "fast-check";
import { PolicyEngine } from "../../policy/engine.ts";
import type { Change } from "../../policy/inputs.ts";
import { comparable, endpoint, kubernetesPolicy, namespace, pod } from "../../policy/testing.ts";
import { feed, inOrder } from "./policy_feed.ts";

const put = (object: Change extends infer C ? C extends { put: infer O } ? O : never : never) => ({
  put: object,
});

/** A change of one of a few objects, so that the same one is changed several times. */
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ i: fc.nat(30), node: fc.constantFrom("node1", "node2"), app: fc.nat(3) }).map(
    ({ i, node, app }) =>
      put(endpoint("n", `p${i}`, [`10.0.0.${i + 1}`], {
        node,
        interfaceName: `cali${i}`,
        labels: { app: `${app}` },
      })),
  ),
  fc.record({ i: fc.nat(30), app: fc.nat(3) }).map(({ i, app }) =>
    put(pod("n", `p${i}`, { app: `${app}` }))
  ),
  fc.nat(30).map((i): Change => ({
    remove: {
      apiVersion: "projectcalico.org/v3",
      kind: "WorkloadEndpoint",
      namespace: "n",
      name: `n-k8s-p${i}-eth0`,
    },
  })),
  fc.record({ i: fc.nat(9), app: fc.nat(3), from: fc.nat(3) }).map(({ i, app, from }) =>
    put(kubernetesPolicy("n", `np${i}`, {
      podSelector: { matchLabels: { app: `${app}` } },
      ingress: [{ from: [{ podSelector: { matchLabels: { app: `${from}` } } }] }],
    }))
  ),
  fc.constant(put(namespace("n"))),
);

Deno.test("many changes by slices end where they end at once", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(change, { minLength: 65, maxLength: 300 }), async (changes) => {
      const atOnce = new PolicyEngine({ nodeName: "node1" });
      atOnce.update(changes);
      const sliced = new PolicyEngine({ nodeName: "node1" });
      let pauses = 0;
      await feed(sliced, changes, "node1", () => {
        pauses++;
        assert.ok(!sliced.isWhole, "others see that more is to come");
      });
      assert.ok(pauses >= Math.min(1, inOrder(changes, "node1").length - 64));
      assert.ok(sliced.isWhole);
      for (const family of [4, 6] as const) {
        assert.deepEqual(
          comparable(sliced.ruleset(family)),
          comparable(atOnce.ruleset(family)),
        );
      }
    }),
    { numRuns: 30 },
  );
});

Deno.test("a few go in at once, in their order", async () => {
  const seen: Change[][] = [];
  const engine = {
    isWhole: true,
    update: (changes: Iterable<Change>) => void seen.push([...changes]),
  };
  const changes = [put(pod("n", "a")), put(namespace("n"))];
  await feed(engine, changes, "node1", () => assert.fail("no pause"));
  assert.deepEqual(seen, [changes]);
});

Deno.test("policies come before this node's endpoints, and those before the others'", () => {
  const far = put(endpoint("n", "far", ["10.0.0.1"], { node: "node2" }));
  const near = put(endpoint("n", "near", ["10.0.0.2"]));
  const policy = put(kubernetesPolicy("n", "np", { podSelector: {} }));
  const old = put(kubernetesPolicy("n", "np", { podSelector: { matchLabels: { a: "b" } } }));
  assert.deepEqual(inOrder([far, old, near, policy], "node1"), [policy, near, far]);
});
