/**
 * An interface is closed until its policy is in place, and ADD returns only then: a sender that floods
 * before ADD begins gets nothing through that the final policy denies. At the end the same ear hears
 * the same flood as soon as the policy admits its sender: the silence before was the policy's.
 */
import assert from "node:assert/strict";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { callPlugin } from "../../mod/lab/pods.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { Netns, pause, pod, podPings, until, withLab } from "../cluster/harness.ts";
import { createNetns, deleteNetns } from "../../ffi/netns.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { type PodInput, podKind } from "../../mod/model/pod.ts";

const ROUNDS = 200;
const VICTIM = "10.244.1.200";
const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(`${ROUNDS} ADDs under a flood: nothing passes that policy denies`, options, async () => {
  await withLab({ subnets: "2" }, async (lab) => {
    const [sender] = await lab.run(pod("sender", { labels: { role: "stranger" } }), {
      node: "node1",
    });
    const [friend] = await lab.run(pod("friend", { labels: { role: "friend" } }), {
      node: "node1",
    });
    const admit = (...roles: string[]) =>
      lab.apply(JSON.stringify({
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "victim", namespace: "default" },
        spec: {
          podSelector: { matchLabels: { role: "victim" } },
          policyTypes: ["Ingress"],
          ingress: [{ from: roles.map((role) => ({ podSelector: { matchLabels: { role } } })) }],
        },
      }));
    await admit("friend");
    const manifest = {
      ...JSON.parse(pod("victim", {
        labels: { role: "victim" },
        annotations: { "cni.projectcalico.org/ipAddrs": `["${VICTIM}"]` },
      })),
    };
    await lab.resources.apply(podKind, {
      ...manifest,
      spec: { ...manifest.spec, nodeName: "node1" },
    } as PodInput);
    const node = lab.node("node1");
    const payload = new Uint8Array(64);
    using from = Netns.open(netnsPath(sender.netns));
    const flood = new DatagramSocket({ family: 4, netns: from }, () => {});
    let sent = 0, received = 0, friendly = 0, admitted = 0;
    const flooding = setInterval(() => {
      for (let i = 0; i < 20; i++) if (flood.send(mustIp(VICTIM), 7777, payload)) sent++;
    }, 1);
    try {
      for (let round = 0; round < ROUNDS; round++) {
        const netns = `tortie-${lab.record.layout.name}-victim${round}`;
        createNetns(netns);
        const inside = Netns.open(netnsPath(netns));
        // Listens on every address before the interface is there, so that the first packet counts.
        const ear = new DatagramSocket({
          family: 4,
          netns: inside,
          local: { ip: mustIp("0.0.0.0"), port: 7777 },
        }, ({ ip }) => ip && received++);
        const attachment = {
          namespace: "default",
          name: "victim",
          netns,
          containerId: `victim${round}`.padEnd(32, "0"),
          result: undefined as unknown,
        };
        attachment.result = await callPlugin({ command: "ADD", node, pod: attachment });
        await pause(10);
        if (round === 0) {
          assert.ok(await podPings(friend, VICTIM), "whom the policy admits gets through");
          friendly++;
          using socket = RouteSocket.open(inside);
          assert.ok(socket.link("eth0")?.running);
        }
        if (round === ROUNDS - 1) {
          assert.equal(received, 0, `of ${sent}`);
          await admit("friend", "stranger");
          await until("the ear hears the flood", 1000, () => received > 0);
          admitted = received;
        }
        await callPlugin({ command: "DEL", node, pod: attachment });
        ear.close();
        inside.close();
        deleteNetns(netns);
      }
    } finally {
      clearInterval(flooding);
      flood.close();
    }
    assert.equal(friendly, 1);
    assert.ok(sent > 10_000, `the flood sent only ${sent}`);
    assert.ok(admitted > 0);
  });
});
