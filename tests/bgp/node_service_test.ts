/**
 * The node service itself, as built, among peers that say wrong things all at once: each is answered,
 * the service lives, the mesh does not notice, and every one of them may come again. And a peer with our
 * own router ID, as `tortie bgp peers` tells of it.
 */
import assert from "node:assert/strict";
import { fromHex } from "../../bgp/message/bytes.ts";
import { askNode, netnsPath } from "../../mod/lab/cluster.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { NodeTransport } from "../../mod/node/bgp_transport.ts";
import { binary, Netns, tool, until, withLab } from "../cluster/harness.ts";
import { BAD_MESSAGES } from "./bad_messages.ts";
import { HandMadePeer } from "./hand_made_peer.ts";

const options = { sanitizeOps: false, sanitizeResources: false, ignore: Deno.uid() !== 0 };
const AS = 65002;
const NODE = "10.10.1.11";

Deno.test(
  "the node service among peers that say wrong things, all at once",
  options,
  () =>
    withLab({ subnets: "2" }, async (lab) => {
      const { nodes, routerNamespace } = lab.record.layout;
      const status = () => askNode<NodeStatus>(nodes[0], "node.status");
      const mesh = async () => {
        const { pid, peers } = await status();
        const { state, since, established } = peers.find((p) => p.address === "10.10.1.12")!;
        return JSON.stringify([pid, state, since, established]);
      };
      const before = await mesh();
      using router = Netns.open(netnsPath(routerNamespace));
      const address = (i: number) => `10.10.1.${100 + i}`;
      const objects = BAD_MESSAGES.map((_, i) => ({
        apiVersion: "projectcalico.org/v3",
        kind: "BGPPeer",
        metadata: { name: `wrong-${i}` },
        spec: { node: "node1", peerIP: address(i), asNumber: AS },
      }));
      for (const i of BAD_MESSAGES.keys()) {
        await tool(routerNamespace, "ip", "address", "add", `${address(i)}/24`, "dev", "br1");
      }
      await lab.apply(objects.map((object) => JSON.stringify(object)).join("\n---\n"));
      const state = async (i: number) =>
        (await status()).peers.find((p) => p.address === address(i))?.state;
      const peers = BAD_MESSAGES.map((_, i) =>
        new HandMadePeer(
          new NodeTransport(router),
          { source: address(i), as: AS, routerId: address(i) },
          NODE,
        )
      );
      const bring = async (i: number, to: string) => {
        await peers[i].call();
        if (to === "OpenSent") return;
        peers[i].open();
        await until(`${i} in OpenConfirm`, 30_000, async () => await state(i) === "OpenConfirm");
        if (to === "OpenConfirm") return;
        peers[i].keepalive();
        await until(`${i} in Established`, 30_000, async () => await state(i) === "Established");
      };
      await Promise.all(BAD_MESSAGES.map(async (bad, i) => {
        await bring(i, bad.state);
        // The messages speak of our address as it is in another test.
        peers[i].send(fromHex(bad.hex.replaceAll("0a090001", "0a0a010b")));
      }));
      const wrong: string[] = [];
      await until("every answer", 30_000, () => {
        wrong.length = 0;
        for (const [i, { what, then }] of BAD_MESSAGES.entries()) {
          const became = peers[i].notification?.join() ?? "stands";
          const must = typeof then === "string" ? "stands" : `${then}`;
          if (became !== must) wrong.push(`${what}: ${became}, not ${must}`);
        }
        return wrong.length === 0;
      }).catch((error) => {
        throw new Error(`${error.message}: ${wrong.join("; ")}`);
      });
      for (const [i, { what, then }] of BAD_MESSAGES.entries()) {
        const found = (await status()).peers.find((p) => p.address === address(i))!;
        if (typeof then === "string") {
          assert.equal(found.state, "Established", what);
          assert.equal(found.prefixes.accepted, then === "discarded" ? 1 : 0, what);
        } else assert.ok(found.lastError, `${what} is told of`);
      }
      // The one route that could be used without what was wrong with it, and nothing else.
      const learned = await tool(nodes[0].namespace, "ip", "route", "show", "proto", "81");
      const prefixes = learned.split("\n").filter((line) => /^\S/.test(line))
        .map((line) => line.split(" ")[0]);
      assert.deepEqual(prefixes, ["203.0.113.0/24"]);
      assert.equal(await mesh(), before);
      // All of them again, in good order.
      for (const peer of peers) peer.close();
      // A call that comes before the end of the former session is seen would lose against that.
      await until("the ends of all sessions", 30_000, async () => {
        const up = (await status()).peers.filter((p) => /^Open|^Established/.test(p.state));
        return up.length === 1;
      });
      await Promise.all(BAD_MESSAGES.map((_, i) => bring(i, "Established")));
      const { peers: all } = await status();
      assert.equal(all.filter((p) => p.state === "Established").length, BAD_MESSAGES.length + 1);

      // A next hop that the kernel refuses leaves no former way behind; and one that becomes an address
      // of the node is one no more, until it is another's again.
      const prefix = "172.31.8.0/24";
      const leads = (by: string | undefined) =>
        until(`${prefix} by ${by}`, 30_000, async () => {
          const shown = await tool(nodes[0].namespace, "ip", "route", "show", prefix);
          return by ? shown.includes(`via ${by} dev`) : shown.trim() === "";
        });
      const second = "10.10.1.77";
      for (const hop of [address(0), "10.10.1.255", second]) {
        peers[0].announce([prefix], { nextHop: mustIp(hop) });
        await leads(hop.endsWith(".255") ? undefined : hop);
      }
      for (const [verb, by] of [["add", undefined], ["del", second]] as const) {
        await tool(nodes[0].namespace, "ip", "address", verb, `${second}/24`, "dev", "eth0");
        await leads(by);
      }
      for (const peer of peers) peer.close();

      // A machine that was cloned with its router ID.
      await lab.apply(JSON.stringify({
        ...objects[0],
        spec: { ...objects[0].spec, asNumber: 64512 },
      }));
      await until("the change of its AS number", 10_000, async () => {
        const found = (await status()).peers.find((p) => p.address === address(0));
        return found?.remoteAs === 64512 && !/^Open|^Established/.test(found.state);
      });
      const twin = new HandMadePeer(
        new NodeTransport(router),
        { source: address(0), as: 64512, routerId: NODE },
        NODE,
      );
      await twin.call();
      twin.open();
      await until("a NOTIFICATION", 10_000, () => twin.notification !== undefined);
      assert.deepEqual(twin.notification, [2, 3]);
      for (const command of [["bgp", "peers"], ["node", "status"]]) {
        const { stdout } = await new Deno.Command("ip", {
          args: ["netns", "exec", nodes[0].namespace, binary(), ...command],
          env: { TORTIE_RUN_DIR: `${nodes[0].directory}/run` },
        }).output();
        const text = new TextDecoder().decode(stdout);
        assert.match(text, /10\.10\.1\.100\b.*the peer has our own router ID 10\.10\.1\.11/);
      }
      twin.close();
      assert.equal(await mesh(), before);
      const log = await Deno.readTextFile(`${nodes[0].directory}/node.log`);
      assert.doesNotMatch(log, /TypeError|RangeError|ReferenceError|Uncaught/);
    }),
);
