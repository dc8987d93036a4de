/**
 * Policies in the store that nobody could have applied: what other hands or other versions put there. On
 * the real kernel, in `policy explain`, in `policy matrix` and in the node's status they are one thing:
 * what cannot be understood lets nobody in, and its object and field are named.
 */
import assert from "node:assert/strict";
import { askNode } from "../../mod/lab/cluster.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { pod, podPings, until, withLab } from "../cluster/harness.ts";

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
    await t.step("sets, tiers and labels", async () => {
      const V3 = "/calico/resources/v3/projectcalico.org/";
      const v3 = (plural: string, kind: string, name: string, rest: object) =>
        lab.store.put(`${V3}${plural}/${name}`, {
          apiVersion: "projectcalico.org/v3",
          kind,
          metadata: { name, labels: { s: "1" } },
          ...rest,
        } as never);
      const warned = async (object: string, path: string) => {
        const named = (text: string) => text.startsWith(`${object}: ${path}: `);
        await until(
          `${object}: ${path} is named`,
          15_000,
          async () => (await warnings()).some(named),
        );
        assert.ok((await explain()).said.notes.some(named));
      };
      await lab.store.delete(KEY);
      await reaches(true);
      // A policy, its tier and its set, all of them with names in another case.
      const deny = [{ action: "Deny", source: { selector: "s == '1'" } }, { action: "Allow" }];
      await v3("globalnetworksets", "GlobalNetworkSet", "gs", {
        Spec: { Nets: [`${client.addresses[0]}/32`] },
      });
      await v3("tiers", "Tier", "t1", { spec: { Order: 1 } });
      await v3("tiers", "Tier", "t2", { spec: { order: 2 } });
      const rule = { selector: "app == 'b'", types: ["Ingress"] };
      await v3("globalnetworkpolicies", "GlobalNetworkPolicy", "t2.allow", {
        spec: { tier: "t2", ...rule, ingress: [{ action: "Allow" }] },
      });
      await v3("globalnetworkpolicies", "GlobalNetworkPolicy", "t1.deny", {
        Spec: { tier: "t1", ...rule, ingress: deny },
      });
      await reaches(false);
      assert.equal((await explain()).said.allowed, false);
      assert.deepEqual(await warnings(), []);
      await v3("tiers", "Tier", "t1", { spec: { order: "first" } });
      await reaches(true);
      assert.equal((await explain()).said.allowed, true);
      await warned("Tier t1", "spec.order");
      await v3("tiers", "Tier", "t1", { spec: { order: "1" } });
      await reaches(false);
      await v3("globalnetworksets", "GlobalNetworkSet", "gs", { spec: { nets: ["lost"] } });
      await reaches(true);
      await warned("GlobalNetworkSet gs", "spec.nets[0]");
      for (const at of ["globalnetworkpolicies/t1.deny", "globalnetworkpolicies/t2.allow"]) {
        await lab.store.delete(V3 + at);
      }
      for (const at of ["tiers/t1", "tiers/t2", "globalnetworksets/gs"]) {
        await lab.store.delete(V3 + at);
      }
      // A label that is no text is not absent.
      const NAMESPACE = "/tortie/kubernetes/namespaces/default";
      const before = await lab.store.get(NAMESPACE);
      const labelled = (labels: unknown) =>
        lab.store.put(NAMESPACE, {
          apiVersion: "v1",
          kind: "Namespace",
          metadata: { name: "default", labels },
        } as never);
      const without = { matchExpressions: [{ key: "env", operator: "DoesNotExist" }] };
      await put(from({ namespaceSelector: without }));
      await labelled({});
      await reaches(true);
      for (
        const [labels, path] of [
          [{ env: 5 }, "metadata.labels.env"],
          [{ env: ["prod"] }, "metadata.labels.env"],
          [["env"], "metadata.labels"],
        ] as const
      ) {
        await labelled(labels);
        await reaches(false);
        assert.equal((await explain()).said.allowed, false);
        await warned("Namespace default", path);
        await labelled({});
        await reaches(true);
      }
      if (before) await lab.store.put(NAMESPACE, before.value);
      else await lab.store.delete(NAMESPACE);
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
