/** A node service in a restart loop: killed at any moment after its start, again and again. */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import { netnsPath, startNode, waitReady } from "../../mod/lab/cluster.ts";
import { Pinger } from "../../mod/lab/probe.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { Netns, pause, pod, podPings, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const KILLS = 60;

Deno.test(`${KILLS} kills at random moments after the start lose no packet`, options, async () => {
  await withLab({ subnets: "2" }, async (lab) => {
    const { record } = lab;
    const [node1] = record.layout.nodes;
    const [a] = await lab.run(pod("a"), { node: "node1" });
    const [b] = await lab.run(pod("b"), { node: "node2" });
    await until("a pings b", 5000, () => podPings(a, b.addresses[0]));
    await pause(1500); // the last good state is written a second after a change
    using netns = Netns.open(netnsPath(a.netns));
    const pinger = new Pinger(mustIp(b.addresses[0]), netns);
    pinger.start(10);
    for (let i = 0; i < KILLS; i++) {
      signal(record.processes.node1, 9);
      startNode(record, node1);
      await pause(Math.random() * 1200);
    }
    await waitReady(record, { mesh: true });
    const { sent, lost } = await pinger.stop();
    assert.deepEqual(lost, [], `of ${sent}`);
  });
});
