/**
 * 22 of our list of complaints. calico#1709, #8674, #8953, calicoctl#415, #1425: a link on the way takes
 * less than the pods send, large packets are lost without a word, and people look for days.
 */
import assert from "node:assert/strict";
import { askNode } from "../../mod/lab/cluster.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { statusText } from "../../mod/cli/node_status.ts";
import { httpGet, tool, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(
  "22: a link that is too narrow is measured, named, and told of until it is mended",
  options,
  async () => {
    const env = { TORTIE_PATH_MTU_INTERVAL: "1", FELIX_PROMETHEUSMETRICSENABLED: "true" };
    await withLab({ subnets: "2,1", env }, async (lab) => {
      const { layout } = lab.record;
      const [node1, , node3] = layout.nodes;
      const status = () => askNode<NodeStatus>(node1, "node.status");
      const pathTo = async (name: string) => (await status()).paths.find((p) => p.node === name);
      const ready = async () => (await httpGet(node1.namespace, 9099, "/readiness")).body;
      const is = (name: string, verdict: string, pathMtu?: number) =>
        until(`the path to ${name} is ${verdict} (${pathMtu})`, 30_000, async () => {
          const path = await pathTo(name);
          return path?.verdict === verdict && path.pathMtu === pathMtu;
        });
      for (const name of ["node2", "node3"]) await is(name, "ok", 1500);
      assert.doesNotMatch(await ready(), /the path to/);

      // The router's leg to the second subnet.
      const { bridge } = layout.subnets[1];
      const setMtu = (mtu: number) =>
        tool(layout.routerNamespace, "ip", "link", "set", bridge, "mtu", `${mtu}`);
      await setMtu(1300);
      await is("node3", "too narrow", 1300);
      await is("node2", "ok", 1500);
      const said =
        "the path to node3 \\(10\\.10\\.2\\.11\\) passes packets of at most 1300 bytes, " +
        "but this node may send 1500";
      assert.match(await ready(), new RegExp(`^ready\\n(.*\\n)*warning: ${said}`));
      const text = statusText(await status(), Date.now());
      assert.match(text, /node3 +\| 10\.10\.2\.11 +\| +1500 \| +1300 \| too narrow/);
      assert.match(text, new RegExp(`Warnings:\n(.*\n)*  ${said}`));
      const metrics = (await httpGet(node1.namespace, 9091, "/metrics")).body;
      assert.match(metrics, /tortie_path_mtu_bytes\{address="10\.10\.2\.11",node="node3"\} 1300/);
      assert.match(metrics, /^tortie_path_mtu_mismatches 1$/m);

      // The routers' word is not needed: it is dropped, as firewalls do.
      await tool(
        layout.routerNamespace,
        "nft",
        "add table ip deaf; add chain ip deaf out { type filter hook output priority 0; }; add rule ip deaf out icmp type destination-unreachable drop",
      );
      await setMtu(1200);
      await is("node3", "too narrow", 1200);

      await setMtu(1500);
      await is("node3", "ok", 1500);
      assert.doesNotMatch(await ready(), /the path to/);
      assert.deepEqual((await status()).warnings, []);
      const log = await Deno.readTextFile(`${node1.directory}/node.log`);
      assert.match(log, new RegExp(`"level":"warning".*${said}`));
      assert.match(log, /passes all that this node sends again/);

      // Who does not answer is not accused of anything.
      await tool(
        node3.namespace,
        "nft",
        "add table ip deaf; add chain ip deaf in { type filter hook input priority 0; }; add rule ip deaf in icmp type echo-request drop",
      );
      await is("node3", "no answer");
      assert.doesNotMatch(await ready(), /the path to/);
    });
  },
);
