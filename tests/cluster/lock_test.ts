/** `datastore migrate lock` and `unlock` beside a running node: pods wait, the kernel stays, all goes on. */
import assert from "node:assert/strict";
import { askNode } from "../../mod/lab/cluster.ts";
import { CniRefusal } from "../../mod/lab/pods.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { pod, podPings, tool, until, withLab } from "./harness.ts";

// The C library stays open for the life of the process.
const options = { sanitizeResources: false, sanitizeOps: false };

const CLOSED = `{apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: closed},
  spec: {selector: app == 'b', types: [Ingress], ingress: []}}`;

Deno.test(
  "a lock holds pods and kernel still; an unlock lets all go on without a restart",
  options,
  async () => {
    await withLab({ subnets: "1" }, async (lab) => {
      const [node] = lab.record.layout.nodes;
      const status = () => askNode<NodeStatus>(node, "node.status");
      const said = async (line: string) => {
        const { exit, stdout, stderr } = await lab.tortie(line.split(" "));
        assert.equal(exit, 0, stderr);
        return stdout;
      };
      const rules = async () =>
        (await tool(node.namespace, "nft", "-s", "list", "table", "ip", "calico")).replace(
          /\s+/g,
          " ",
        );
      const [a] = await lab.run(pod("a"));
      const [b] = await lab.run(pod("b"));
      await until("a pings b", 10_000, () => podPings(a, b.addresses[0]));
      const { pid } = await status();
      const before = await rules();

      assert.equal(await said("datastore migrate lock"), "Datastore locked.\n");
      await until(
        "the node knows it",
        10_000,
        async () => (await status()).warnings.some((warning) => /is locked/.test(warning)),
      );
      // A pod is refused so that the runtime tries again, and told what to do; nothing is left of it.
      await assert.rejects(lab.run(pod("c")), (error: CniRefusal) => {
        assert(error instanceof CniRefusal);
        assert.equal(error.code, 11);
        assert.match(error.message, /not ready.*datastoreReady false.*datastore migrate unlock/s);
        return true;
      });
      assert.equal((await said("get wep -o name")).trim().split("\n").length, 2);
      // Writes are let through, as with calicoctl, but change nothing in the kernel.
      await lab.apply(CLOSED);
      await said("datastore export");
      assert.equal(await rules(), before);
      assert(await podPings(a, b.addresses[0]), "what was open stays open");

      assert.equal(await said("datastore migrate unlock"), "Datastore unlocked.\n");
      await until("the policy is in force", 10_000, async () => !await podPings(a, b.addresses[0]));
      const [d] = await lab.run(pod("d"));
      await until("d pings a", 10_000, () => podPings(d, a.addresses[0]));
      const after = await status();
      assert.equal(after.pid, pid, "nothing was started anew");
      assert.deepEqual(after.warnings.filter((warning) => /lock/.test(warning)), []);
    });
  },
);
