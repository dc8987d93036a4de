/**
 * What a member of the mesh that is not ours (real BIRD 2) shows of our service's part in it: a caller
 * that no Node names, another AS number in a running service, and restarts of ours that some peer does
 * not live to see. The member's own coming, going and dying is in `bird_member_test.ts`.
 */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { addBirdMember } from "../../mod/lab/bird.ts";
import { askNode, startNode } from "../../mod/lab/cluster.ts";
import { nodeKind } from "../../mod/model/node.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { mustPrefix } from "../../mod/net/mod.ts";
import { pod, podPings, tool, until, withLab } from "../cluster/harness.ts";
import { missing } from "./harness.ts";

const reason = missing();
const options = { sanitizeResources: false, sanitizeOps: false, ignore: reason !== undefined };
const title = "a node service beside BIRD: strangers, AS numbers, restarts";

/** Seconds for which BIRD is to keep our routes. */
const RESTART = 8;
const [FIRST, SECOND] = ["10.244.200.0/26", "10.244.200.64/26"];
const BIRD = "10.10.1.40";

Deno.test(reason === undefined ? title : `${title} (skipped: ${reason})`, options, async (t) => {
  // Each step begins where the one before has ended.
  const step = async (what: string, body: () => Promise<void>) => {
    if (!await t.step(what, body)) {
      throw new Error(`the steps after this one are not tried: ${what}`);
    }
  };
  await withLab({ subnets: "2", env: { TORTIE_BGP_HOLD_TIME: "30" } }, async (lab) => {
    const { nodes } = lab.record.layout;
    const ipam = new Ipam(lab.store);
    const apply = (object: unknown) => lab.apply(JSON.stringify(object));
    const status = (node = nodes[0]) => askNode<NodeStatus>(node, "node.status");
    const peer = async (node = nodes[0]) =>
      (await status(node)).peers.find((p) => p.address === BIRD);
    await apply({
      apiVersion: "projectcalico.org/v3",
      kind: "BGPConfiguration",
      metadata: { name: "default" },
      spec: { nodeMeshMaxRestartTime: `${RESTART}s` },
    });
    const [a] = await lab.run(pod("a"), { node: "node1" });
    const [b] = await lab.run(pod("b"), { node: "node2" });
    await until("a pings b", 10_000, () => podPings(a, b.addresses[0]));
    /** Processes, and the session between our own nodes. */
    const others = async () => {
      const all = await Promise.all(nodes.map((node) => status(node)));
      return JSON.stringify(all.map(({ pid, peers }) => [
        pid,
        ...peers.filter((p) => /\.1[12]$/.test(p.address))
          .map((p) => [p.address, p.state, p.since, p.established]),
      ]));
    };
    const untouched = await others();

    const blocks = (...texts: string[]) => texts.map((text) => ({ block: mustPrefix(text) }));
    const bird = await addBirdMember(lab, {
      program: "/usr/sbin/bird",
      blocks: [FIRST, SECOND].map(mustPrefix),
      restartTime: 30,
    });
    const birdc = (...words: string[]) => tool(undefined, "birdc", "-s", bird.control, ...words);
    const up = async () => {
      const peers = await Promise.all(nodes.map((node) => peer(node)));
      return peers.every((p) => p?.state === "Established");
    };
    /** Whether each node's kernel leads there by BIRD. */
    const everywhere = (cidr: string) => async () => {
      const tables = await Promise.all(
        nodes.map((node) => tool(node.namespace, "ip", "route", "show", "proto", "81")),
      );
      return tables.every((table) => table.includes(`${cidr} via ${BIRD}`));
    };
    const nowhere = (what: string) => async () => {
      const tables = await Promise.all(
        nodes.map((node) => tool(node.namespace, "ip", "route", "show", "proto", "81")),
      );
      return tables.every((table) => !table.includes(what));
    };
    const inBird = () => tool(bird.place.namespace, "ip", "route", "show", "proto", "bird");

    await step(
      "who calls and is no Node is refused and named, and is let in as soon as it is one",
      async () => {
        await bird.deregister();
        await until("no peer any more", 5000, async () => await peer() === undefined);
        await bird.start();
        await until("its calls are told of", 15_000, async () => {
          const { warnings } = await status();
          return warnings.some((w) =>
            w.includes(`calls from ${BIRD}, which is no peer of this node`)
          );
        });
        assert.ok(await nowhere(BIRD)());
        await bird.register();
        await until("its sessions", 20_000, up);
        await until("its routes", 5000, everywhere(FIRST));
        const { warnings } = await status();
        assert.ok(!warnings.some((w) => w.includes(BIRD)), `${warnings}`);
      },
    );

    await step(
      "another AS number on both sides: the sessions follow, and nobody else notices",
      async () => {
        bird.configure({ as: 64999 });
        await until(
          "refused",
          20_000,
          async () =>
            /OPEN mismatch: .*AS 64999.*configured as AS 64512|Bad Peer AS/.test(
              (await peer())!.lastError?.text ?? "",
            ),
        );
        await bird.register();
        await until("external sessions", 40_000, up);
        const { remoteAs, internal } = (await peer(nodes[1]))!;
        assert.deepEqual([remoteAs, internal], [64999, false]);
        await until("the routes", 5000, everywhere(FIRST));
        bird.configure({ as: undefined });
        await bird.register();
        await until(
          "internal sessions",
          40_000,
          async () => await up() && (await peer())!.internal,
        );
        await until("the routes", 5000, everywhere(FIRST));
        assert.equal(await others(), untouched);
      },
    );

    await step(
      "its operator disables the sessions: the routes go at once, with his word for it",
      async () => {
        await birdc("disable", '"node*"', '"noon"');
        await until("gone", 3000, nowhere(BIRD));
        assert.match((await peer())!.lastError!.text, /Cease: Administrative Shutdown/);
        await birdc("enable", '"node*"');
        await until("the sessions again", 20_000, up);
        await until("the routes again", 5000, everywhere(FIRST));
        assert.equal(await others(), untouched);
      },
    );

    await step("a block of ours comes to its kernel, and goes when we give it back", async () => {
      const block = "10.244.210.0/26";
      await ipam.claimAffinity(block, "node2");
      await until("there", 5000, async () => (await inBird()).includes(`${block} via 10.10.1.12`));
      await ipam.releaseAffinity(block, "node2");
      await until("gone", 5000, async () => !(await inBird()).includes(block));
    });

    await step(
      "after a restart of ours a withdrawal counts, though another peer stays away",
      async () => {
        await apply({
          apiVersion: "projectcalico.org/v3",
          kind: "BGPPeer",
          metadata: { name: "away" },
          spec: { peerIP: "10.10.1.99", asNumber: 64998 },
        });
        signal(lab.record.processes.node1, 9);
        startNode(lab.record, nodes[0]);
        await until("the sessions again", 20_000, up);
        await until("its table", 10_000, async () => (await peer())!.endOfRib.length === 1);
        assert.ok(await everywhere(SECOND)());
        bird.configure({ announce: blocks(FIRST) });
        await until("it is gone", 5000, nowhere(SECOND));
        assert.ok(await everywhere(FIRST)());
        assert.notEqual(
          (await status()).peers.find((p) => p.remoteAs === 64998)!.state,
          "Established",
        );
        bird.configure({ announce: blocks(FIRST, SECOND) });
        await until("it is back", 5000, everywhere(SECOND));
      },
    );

    await step(
      "a service starts again beside a Node that claims its address, and tells of it",
      async () => {
        await apply({
          apiVersion: "projectcalico.org/v3",
          kind: "Node",
          metadata: { name: "stray" },
          spec: { bgp: { ipv4Address: "10.10.1.11/24" } },
        });
        const { pid: before } = await status();
        signal(lab.record.processes.node1, 9);
        startNode(lab.record, nodes[0]);
        await until("the sessions again", 20_000, up);
        await until("it has read of it", 10_000, async () => {
          const { pid, warnings, peers } = await status();
          assert.ok(peers.every((p) => p.address !== "10.10.1.11"));
          return pid !== before &&
            warnings.some((w) => /^Node stray: its address 10\.10\.1\.11 is this/.test(w));
        });
        assert.ok(await podPings(b, a.addresses[0]));
        await lab.resources.delete(nodeKind, "stray");
      },
    );

    await step(
      "a service of ours is killed for good: BIRD keeps its routes for our restart time",
      async () => {
        const ours = async () => (await inBird()).includes("via 10.10.1.11");
        assert.ok(await ours());
        const began = performance.now();
        signal(lab.record.processes.node1, 9);
        while (performance.now() - began < 1000 * (RESTART - 2)) {
          assert.ok(await ours(), "they stay");
          assert.ok(await podPings(a, b.addresses[0]), "packets pass");
        }
        await until("gone", 15_000, async () => !await ours());
        assert.ok(performance.now() - began > 1000 * (RESTART - 2));
        startNode(lab.record, nodes[0]);
        await until("back", 30_000, ours);
      },
    );
    await bird.remove();
  });
});
