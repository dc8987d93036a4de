/** natOutgoing: what leaves the pools goes out with the node's address, what stays in them does not. */
import assert from "node:assert/strict";
import { connectTcp, listenTcp } from "../../ffi/tcp.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import { formatIp, mustIp } from "../../mod/net/mod.ts";
import { Netns, pod, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(
  "natOutgoing masquerades what leaves the pools, and follows the pool live",
  options,
  async () => {
    await withLab({ subnets: "2" }, async (lab) => {
      const [a] = await lab.run(pod("a"), { node: "node1" });
      const [b] = await lab.run(pod("b"), { node: "node2" });
      using router = Netns.open(netnsPath(lab.record.layout.routerNamespace));
      using inA = Netns.open(netnsPath(a.netns));
      using inB = Netns.open(netnsPath(b.netns));
      let caller = "";
      const listen = (netns: Netns) =>
        listenTcp({ local: { ip: mustIp("0.0.0.0"), port: 7000 }, netns }, (stream) => {
          caller = formatIp(stream.remote.ip);
          stream.close();
        });
      const listeners = [listen(router), listen(inB)];
      /** From whom a call of pod a seems to come; "" where it does not come through. */
      const seen = async (ip: string): Promise<string> => {
        caller = "";
        try {
          const remote = { ip: mustIp(ip), port: 7000 };
          (await connectTcp({ remote, netns: inA, timeout: 500 })).close();
        } catch {
          return "";
        }
        await until("the call was taken", 1000, () => caller !== "");
        return caller;
      };
      try {
        assert.equal(await seen("10.10.1.1"), "10.10.1.11");
        assert.equal(await seen(b.addresses[0]), a.addresses[0]);
        const pool = JSON.parse(
          (await lab.tortie(["get", "ippool", "default-ipv4-ippool", "-o", "json"])).stdout,
        );
        pool.spec.natOutgoing = false;
        await lab.apply(JSON.stringify(pool));
        // The router knows no way back to a pod.
        await until("no longer masqueraded", 5000, async () => await seen("10.10.1.1") === "");
      } finally {
        for (const listener of listeners) listener.close();
      }
    });
  },
);
