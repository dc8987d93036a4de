/** What users complain about at BGP: 11, 12, 13, 19 of our list. */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import { Speaker } from "../../bgp/speaker.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { askNode, netnsPath, startNode, waitReady } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import { bgpPeerKind } from "../../mod/model/bgp_peer.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { NodeTransport, systemClock } from "../../mod/node/bgp_transport.ts";
import { HandMadePeer } from "../bgp/hand_made_peer.ts";
import { binary, httpGet, Netns, pod, podPings, tool, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

const peer = (name: string, spec: Record<string, unknown>) =>
  JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind: "BGPPeer",
    metadata: { name },
    spec: { asNumber: 64999, ...spec },
  });

const status = (lab: Lab, node = "node1") => askNode<NodeStatus>(lab.node(node), "node.status");

/** A speaker that is no node of the lab: it calls node1 from an address of the router's. */
class OtherSpeaker {
  private constructor(readonly speaker: Speaker, readonly netns: Netns) {}

  static async start(lab: Lab, address: string, as: number): Promise<OtherSpeaker> {
    const { routerNamespace } = lab.record.layout;
    await tool(routerNamespace, "ip", "address", "add", `${address}/24`, "dev", "br1");
    const netns = Netns.open(netnsPath(routerNamespace));
    const speaker = new Speaker(
      { as, routerId: mustIp(address) },
      { transport: new NodeTransport(netns), clock: systemClock },
    );
    speaker.announce([{ prefix: mustPrefix(`10.245.${address.split(".")[3]}.0/26`) }]);
    speaker.setPeers([{
      name: "node1",
      address: mustIp("10.10.1.11"),
      source: mustIp(address),
      remoteAs: 64512,
      connectRetryTime: 1,
      errorWait: [1, 2],
    }]);
    speaker.start();
    return new OtherSpeaker(speaker, netns);
  }

  stop(): void {
    this.speaker.stop({ graceful: false, reason: "the test is over" });
    this.netns.close();
  }
}

/** What is said of a peer that has node1's router ID. */
const TWIN = "the peer has our own router ID 10\\.10\\.1\\.11";

/** Answers calls of node1 with node1's own router ID and AS number. */
async function twinOfNode1(lab: Lab, source: string) {
  const { routerNamespace } = lab.record.layout;
  await tool(routerNamespace, "ip", "address", "add", `${source}/24`, "dev", "br1");
  const netns = Netns.open(netnsPath(routerNamespace));
  const who = { source, as: 64512, routerId: "10.10.1.11" };
  const peer = new HandMadePeer(new NodeTransport(netns), who, "10.10.1.11");
  const listener = peer.listen();
  const stop = () => {
    listener.close();
    peer.close();
    netns.close();
  };
  return { peer, stop };
}

/** The mesh's sessions: their peers, and since when each stands. */
async function mesh(lab: Lab): Promise<string> {
  const { peers } = await status(lab);
  return JSON.stringify(
    peers.filter((p) => p.name.startsWith("Mesh_")).map((p) => [p.address, p.state, p.since]),
  );
}

Deno.test(
  "11: no dead peer makes a node unready, and each says what became of it",
  options,
  async () => {
    // calico#2561 and its kin: "BIRD is not ready: BGP not established with ...", and no more.
    await withLab({ subnets: "2" }, async (lab) => {
      const before = await mesh(lab);
      const { namespace } = lab.node("node1");
      // The router listens on no port; nobody has the next address; one says nothing, for a firewall of
      // its own; one is there and is another AS than it is said to be.
      await tool(
        lab.record.layout.routerNamespace,
        "ip",
        "address",
        "add",
        "10.10.1.2/24",
        "dev",
        "br1",
      );
      const filter =
        "add table ip deaf; add chain ip deaf in { type filter hook input priority 0; }; " +
        "add rule ip deaf in ip daddr 10.10.1.2 tcp dport 179 drop";
      await tool(lab.record.layout.routerNamespace, "nft", filter);
      const unlike = await OtherSpeaker.start(lab, "10.10.1.60", 64901);
      const twin = await twinOfNode1(lab, "10.10.1.61");
      try {
        await lab.apply(peer("refuses", { peerIP: "10.10.1.1" }));
        await lab.apply(peer("nobody", { peerIP: "10.10.1.99" }));
        await lab.apply(peer("silent", { peerIP: "10.10.1.2" }));
        await lab.apply(peer("unlike", { peerIP: "10.10.1.60" }));
        await lab.apply(peer("twin", { peerIP: "10.10.1.61", asNumber: 64512 }));
        const way = "\\(from 10\\.10\\.1\\.11 by eth0\\) is \\w+: ";
        const reasons: [address: string, reason: string][] = [
          ["10.10.1.1", "TCP refused: nothing at 10\\.10\\.1\\.1:179 accepts BGP connections"],
          ["10.10.1.99", "(cannot call 10\\.10\\.1\\.99:179|TCP timeout: no answer)"],
          ["10.10.1.2", "TCP timeout: no answer in \\d+ s"],
          [
            "10.10.1.60",
            "OPEN mismatch: the peer says it is AS 64901, it is configured as AS 64999",
          ],
          ["10.10.1.61", `OPEN mismatch: ${TWIN}`],
        ];
        for (const [address, reason] of reasons) {
          const line = new RegExp(`BGP with ${address.replaceAll(".", "\\.")} ${way}${reason}`);
          await until(`readiness says ${line}`, 30_000, async () => {
            const began = performance.now();
            const { status: code, body } = await httpGet(namespace, 9099, "/readiness");
            assert.equal(code, 200, body);
            assert.ok(performance.now() - began < 2000, "no probe waits for a peer");
            return line.test(body);
          });
        }
        // The same for people, at the command line.
        const onNode1 = async (...args: string[]) => {
          const { stdout } = await new Deno.Command("ip", {
            args: ["netns", "exec", namespace, binary(), ...args],
            env: { TORTIE_RUN_DIR: `${lab.node("node1").directory}/run` },
          }).output();
          return new TextDecoder().decode(stdout);
        };
        const text = await onNode1("node", "status");
        assert.match(text, /peer 10\.10\.1\.60 \(from 10\.10\.1\.11 by eth0\): OPEN mismatch/);
        assert.match(text, /peer 10\.10\.1\.1 \(from 10\.10\.1\.11 by eth0\): TCP refused/);
        for (const all of [text, await onNode1("bgp", "peers")]) {
          assert.match(all, new RegExp(`10\\.10\\.1\\.61 .*${TWIN}`));
        }
        // And it has been told: Bad BGP Identifier.
        assert.deepEqual(twin.peer.notification, [2, 3]);
        assert.equal(await mesh(lab), before);
      } finally {
        unlike.stop();
        twin.stop();
      }
    });
  },
);

Deno.test("12: peers come and go in a running service", options, async () => {
  // calico#1420, #12938: BIRD had to be told by a new configuration, or by a restart.
  await withLab({ subnets: "2" }, async (lab) => {
    const before = await mesh(lab);
    const { pid } = await status(lab);
    const { namespace } = lab.node("node1");
    const peerAt = async (address: string) =>
      (await status(lab)).peers.find((p) => p.address === address);
    const calls = /calls from 10\.10\.1\.60, which is no peer of this node, are refused/;
    const warned = async () =>
      (await status(lab)).warnings.some((w) => calls.test(w)) &&
      calls.test((await httpGet(namespace, 9099, "/readiness")).body);
    const other = await OtherSpeaker.start(lab, "10.10.1.60", 64999);
    try {
      await until("the unknown caller is named", 15_000, warned);
      assert.equal(await peerAt("10.10.1.60"), undefined);
      // "Unexpected connect from unknown address" until the operator restarted something: not here.
      for (let i = 0; i < 3; i++) {
        await lab.apply(peer("more", { peerIP: "10.10.1.60" }));
        await until(
          "a session",
          20_000,
          async () => (await peerAt("10.10.1.60"))?.state === "Established",
        );
        await until("its route", 5000, async () =>
          /10\.245\.60\.0\/26 via 10\.10\.1\.60/.test(
            await tool(namespace, "ip", "route", "show", "proto", "81"),
          ));
        assert.equal(await warned(), false);
        const deleted = await lab.tortie(["delete", "bgppeer", "more"]);
        assert.equal(deleted.exit, 0, deleted.stderr);
        await until(
          "no peer, and no route",
          5000,
          async () =>
            await peerAt("10.10.1.60") === undefined &&
            !/10\.245\.60/.test(await tool(namespace, "ip", "route", "show", "proto", "81")),
        );
      }
    } finally {
      other.stop();
    }
    assert.equal((await status(lab)).pid, pid);
    assert.equal(await mesh(lab), before);
  });
});

Deno.test(
  "13: a peer that cannot be configured hurts no other, and is named",
  options,
  async () => {
    // bird#28, calico#3785: one line that BIRD does not understand, and the whole file is refused.
    await withLab({ subnets: "2" }, async (lab) => {
      const before = await mesh(lab);
      const other = await OtherSpeaker.start(lab, "10.10.1.60", 64999);
      try {
        // What somebody wrote past all checks.
        const wrong: Record<string, unknown> = {
          "five-octets": JSON.parse(peer("five-octets", { peerIP: "10.10.1.51.7" })),
          "as-of-letters": JSON.parse(
            peer("as-of-letters", { peerIP: "10.10.1.52", asNumber: "abc" }),
          ),
          "as-too-high": JSON.parse(
            peer("as-too-high", { peerIP: "10.10.1.52", asNumber: 4294967296 }),
          ),
          "half-a-selector": JSON.parse(peer("half-a-selector", { peerSelector: "rack ==" })),
          "no-duration": JSON.parse(
            peer("no-duration", { peerIP: "10.10.1.52", keepaliveTime: "often" }),
          ),
          "port-too-high": JSON.parse(peer("port-too-high", { peerIP: "10.10.1.52:99999" })),
          "no-time": JSON.parse(peer("no-time", { peerIP: "10.10.1.55", keepaliveTime: "-5s" })),
          "no-spec": { ...JSON.parse(peer("no-spec", {})), spec: null },
          "no-object": "peer 10.10.1.52",
          "no-filter": JSON.parse(
            peer("no-filter", { peerIP: "10.10.1.54", filters: ["nowhere"] }),
          ),
        };
        for (const [name, value] of Object.entries(wrong)) {
          await lab.store.put(resourceKey(bgpPeerKind, name), value);
        }
        await lab.store.put(resourceKey(nodeKind, "no-address"), {
          apiVersion: "projectcalico.org/v3",
          kind: "Node",
          metadata: { name: "no-address" },
          spec: { bgp: { ipv4Address: "10.10.1.999/24" } },
        });
        // What passes all checks and cannot be: one without its Secret, one at no host.
        await lab.apply(peer("no-secret", {
          peerIP: "10.10.1.53",
          password: { secretKeyRef: { name: "nowhere", key: "password" } },
        }));
        await lab.apply(peer("no-host", { peerIP: "0.0.0.0" }));
        await lab.apply(peer("sound", { peerIP: "10.10.1.60" }));
        const { namespace } = lab.node("node1");
        const names = [...Object.keys(wrong), "no-secret", "no-address"];
        await until("each is named, by readiness and by node status", 15_000, async () => {
          const { status: code, body } = await httpGet(namespace, 9099, "/readiness");
          assert.equal(code, 200, body);
          const { warnings } = await status(lab);
          const missing = names.filter((name) => !warnings.some((w) => w.includes(name)));
          if (missing.length > 0) throw new Error(`not named: ${missing}`);
          return ["no-secret", "no-filter", "0.0.0.0"].every((name) => body.includes(name));
        });
        await until(
          "the sound peer's session",
          20_000,
          async () =>
            (await status(lab)).peers.some((p) =>
              p.address === "10.10.1.60" && p.state === "Established"
            ),
        );
        const nobody = (await status(lab)).peers.find((p) => p.address === "0.0.0.0");
        assert.match(nobody?.configError ?? "", /0\.0\.0\.0 is not the address of a host/);
        assert.equal(await mesh(lab), before);
      } finally {
        other.stop();
      }
    });
  },
);

Deno.test(
  "19: after a start routes are announced at once, whoever is missing",
  options,
  async () => {
    // kube-router#1323: with graceful restart on, nothing was announced for the deferral's six minutes.
    await withLab({ subnets: "2" }, async (lab) => {
      const [b] = await lab.run(pod("b"), { node: "node2" });
      const [node1, node2] = lab.record.layout.nodes;
      // Of another AS: what it would have said would be passed on, and End-of-RIB would have to wait.
      await lab.apply(peer("never-there", { peerIP: "10.10.1.99" }));
      const routes = (node = node2) => tool(node.namespace, "ip", "route", "show", "proto", "81");
      const seen = async () =>
        (await status(lab, "node2")).peers.find((p) => p.address === "10.10.1.11")!;
      const startAnew = async () => {
        const before = (await seen()).established;
        startNode(lab.record, node1);
        await until("a new session", 15_000, async () => (await seen()).established > before);
        return await seen();
      };
      const saysRestart = /graceful restart \d+ s, restarting/;

      // A node without pods: all that it forwards by is what it has learned, and that is kept, too.
      await until("b's block", 10_000, async () => /via 10\.10\.1\.12/.test(await routes(node1)));
      const other = await OtherSpeaker.start(lab, "10.10.1.60", 64999);
      try {
        const [kept, withdrawn] = ["10.245.60.0/26", "10.245.60.64/26"];
        const announce = (...prefixes: string[]) =>
          other.speaker.announce(prefixes.map((text) => ({ prefix: mustPrefix(text) })));
        announce(kept, withdrawn);
        await lab.apply(peer("other", { peerIP: "10.10.1.60" }));
        await until("its routes", 20_000, async () => (await routes(node1)).includes(withdrawn));
        signal(lab.record.processes.node1, 9);
        announce(kept);
        assert.match((await startAnew()).capabilities.join(", "), saysRestart);
        // It has told its table: whoever is missing has nothing to say of a route that leads to it.
        await until("what it told no more", 20_000, async () => {
          const now = await routes(node1);
          assert.ok(now.includes(kept), now);
          return !now.includes(withdrawn);
        });
      } finally {
        other.stop();
      }
      await waitReady(lab.record);

      const [a] = await lab.run(pod("a"), { node: "node1" });
      await until("a's block", 10_000, async () => /via 10\.10\.1\.11/.test(await routes()));
      for (const cold of [false, true]) {
        signal(lab.record.processes.node1, 9);
        if (cold) {
          // As after a boot: nothing of ours is left in the kernel, and the peer's patience is over.
          for (const protocol of ["80", "81"]) {
            await tool(node1.namespace, "ip", "route", "flush", "proto", protocol);
          }
        }
        const { since, capabilities } = await startAnew();
        assert.equal(saysRestart.test(capabilities.join(", ")), !cold);
        await until(
          "the block at node2",
          5000,
          async () => /via 10\.10\.1\.11/.test(await routes()),
        );
        const took = Date.now() - since;
        assert.ok(took < 5_000, `announced ${took} ms after the session was up`);
        // A start from nothing soon says that it has told all; another one gives who is missing some
        // time to come, and not the two minutes for which it would wait for somebody that is there.
        await until("End-of-RIB", cold ? 10_000 : 25_000, async () => {
          const { prefixes, endOfRib } = await seen();
          return prefixes.stale === 0 && endOfRib.length === 1;
        });
        await waitReady(lab.record);
        await until("a pod is reached", 5000, () => podPings(b, a.addresses[0]));
      }
      // A block that is new after the start, too.
      const block = "10.244.250.0/26";
      await new Ipam(lab.store).claimAffinity(block, "node1");
      await until("the new block", 10_000, async () => (await routes()).includes(block));
    });
  },
);

Deno.test(
  "19: killed twice while a peer is missing: what was told anew has its whole restart time",
  options,
  async () => {
    const RESTART = 10_000;
    await withLab({ subnets: "2" }, async (lab) => {
      await lab.apply(JSON.stringify({
        apiVersion: "projectcalico.org/v3",
        kind: "BGPConfiguration",
        metadata: { name: "default" },
        spec: { nodeMeshMaxRestartTime: `${RESTART / 1000}s` },
      }));
      await lab.apply(peer("never-there", { peerIP: "10.10.1.99" }));
      const [a] = await lab.run(pod("a"), { node: "node1" });
      const [b] = await lab.run(pod("b"), { node: "node2" });
      const [node1, node2] = lab.record.layout.nodes;
      const held = async () =>
        /via 10\.10\.1\.11/.test(await tool(node2.namespace, "ip", "route", "show", "proto", "81"));
      const seen = async () =>
        (await status(lab, "node2")).peers.find((p) => p.address === "10.10.1.11")!;
      await until("a's block", 20_000, held);
      await until(
        "the restart time",
        20_000,
        async () =>
          (await seen()).state === "Established" && (await seen()).restartTime === RESTART / 1000,
      );
      const { established } = await seen();
      signal(lab.record.processes.node1, 9);
      const lost = performance.now();
      startNode(lab.record, node1);
      await until(
        "node1 again",
        15_000,
        async () => (await seen()).established > established && (await seen()).prefixes.stale === 0,
      );
      // The time of the first loss runs out while it is there and has not sent End-of-RIB.
      await until(
        "the first restart time to pass",
        RESTART + 2_000,
        () => Promise.resolve(performance.now() - lost > RESTART + 500),
      );
      signal(lab.record.processes.node1, 9);
      await until("the second loss", 5_000, async () => (await seen()).state !== "Established");
      const again = performance.now();
      while (performance.now() - again < RESTART / 3) {
        assert.ok(await held(), `gone ${performance.now() - again} ms after the second loss`);
        assert.ok(await podPings(b, a.addresses[0]));
      }
      await until("the second restart time to run out", RESTART + 5_000, async () => !await held());
    });
  },
);
