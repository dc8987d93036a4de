/**
 * Policies in the store that nobody could have applied: what other hands or other versions put there. On
 * the real kernel, in `policy explain`, in `policy matrix` and in the node's status they are one thing:
 * what cannot be understood lets nobody in, and its object and field are named.
 */
import assert from "node:assert/strict";
import { askNode } from "../../mod/lab/cluster.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { pod, podPings, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const KEY = "/tortie/kubernetes/networkpolicies/default/odd";
const a = { matchLabels: { app: "a" } };
const from = (...peers: unknown[]) => ({ podSelector: {}, ingress: [{ from: peers }] });

/** The spec, and the field that is named. */
const misread: [spec: unknown, path: string][] = [
  [{ podSelector: [], ingress: [{}] }, "spec.podSelector"],
  [{ podSelector: { matchLabels: { app: 5 } }, ingress: [{}] }, "spec.podSelector.matchLabels.app"],
  [{ podselector: {}, ingress: [{}] }, "spec.podselector"],
  [{ podSelector: {}, ingress: {} }, "spec.ingress"],
  [{ podSelector: {}, ingress: [null] }, "spec.ingress[0]"],
  [{ podSelector: {}, policyTypes: ["ingress"], ingress: [{}] }, "spec.policyTypes[0]"],
  [from({}), "spec.ingress[0].from[0]"],
  [from({ podselector: a }), "spec.ingress[0].from[0].podselector"],
  [from({ podSelector: ["app"] }), "spec.ingress[0].from[0].podSelector"],
  [
    from({ podSelector: { matchLabels: { role: 5 } } }),
    "spec.ingress[0].from[0].podSelector.matchLabels.role",
  ],
  [{ podSelector: {}, ingress: [{ from: { podSelector: a } }] }, "spec.ingress[0].from"],
  [{ podSelector: {}, ingress: [{ From: [] }] }, "spec.ingress[0].From"],
  [{ podSelector: {}, ingress: [{ ports: { port: 80 } }] }, "spec.ingress[0].ports"],
  ["nothing", "spec"],
];

Deno.test("a stored policy that cannot be understood", options, async (t) => {
  await withLab({ subnets: "1", mesh: false }, async (lab) => {
    const [client] = await lab.run(pod("a"));
    const [server] = await lab.run(pod("b"));
    const reaches = (yes: boolean) =>
      until(
        `a ${yes ? "reaches" : "does not reach"} b`,
        15_000,
        async () => await podPings(client, server.addresses[0]) === yes,
      );
    const put = (spec: unknown, more = {}) =>
      lab.store.put(KEY, {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { namespace: "default", name: "odd" },
        spec,
        ...more,
      } as never);
    const asked = async (...line: string[]) => {
      const { exit, stdout, stderr } = await lab.tortie(["policy", ...line, "-o", "json"]);
      assert.equal(exit, 0, stderr);
      return { said: JSON.parse(stdout), stderr };
    };
    const explain = () =>
      asked("explain", "--from", "default/a", "--to", "default/b", "--port", "icmp");
    const warnings = async () =>
      (await askNode<NodeStatus>(lab.node("node1"), "node.status")).warnings;
    const denied = async (path: string) => {
      await reaches(false);
      const { said } = await explain();
      assert.equal(said.allowed, false);
      const named = (text: string) =>
        text.includes("KubernetesNetworkPolicy default/odd: ") && text.includes(` ${path}: `);
      assert.ok(said.notes.some(named), `${said.notes}`);
      const matrix = await asked("matrix", "--port", "80");
      assert.deepEqual(matrix.said.ports["TCP/80"].combined, ["XX", "XX"]);
      assert.ok(named(matrix.stderr), matrix.stderr);
      assert.ok((await warnings()).some(named), `${await warnings()}`);
    };
    for (const [spec, path] of misread) {
      await t.step(`${path} of ${JSON.stringify(spec)}`, async () => {
        await put(from({ podSelector: a }));
        await reaches(true);
        assert.equal((await explain()).said.allowed, true);
        await put(spec);
        await denied(path);
      });
    }
    await t.step("no object at all", async () => {
      await put(from({ podSelector: a }));
      await reaches(true);
      await lab.store.put(KEY, "lost" as never);
      await denied("spec");
    });
    await t.step("an object without its name is the one of its key", async () => {
      await put(from({ podSelector: a }), { metadata: null });
      await reaches(true);
      await lab.store.put(KEY, { spec: { podSelector: {} } } as never);
      await reaches(false);
      assert.equal((await explain()).said.allowed, false);
      assert.deepEqual(await warnings(), []);
      await lab.store.delete(KEY);
      await reaches(true);
      assert.equal((await explain()).said.allowed, true);
    });
  });
});
