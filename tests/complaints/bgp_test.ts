/** What users complain about at BGP: 11, 12, 13, 19 of our list. */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import { askNode, startNode, waitReady } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import { bgpPeerKind } from "../../mod/model/bgp_peer.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { httpGet, pod, tool, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

const peer = (name: string, spec: Record<string, unknown>) =>
  JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind: "BGPPeer",
    metadata: { name },
    spec: { asNumber: 64999, ...spec },
  });

const status = (lab: Lab, node = "node1") => askNode<NodeStatus>(lab.node(node), "node.status");

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
      // The router listens on no port; nobody has the other address.
      await lab.apply(peer("refuses", { peerIP: "10.10.1.1" }));
      await lab.apply(peer("silent", { peerIP: "10.10.1.99" }));
      const { namespace } = lab.node("node1");
      await until("both are told of, with their reasons", 20_000, async () => {
        const { status: code, body } = await httpGet(namespace, 9099, "/readiness");
        assert.equal(code, 200, body);
        return /10\.10\.1\.1 .*refused/.test(body) &&
          /10\.10\.1\.99 .*(route|reach|answer)/.test(body);
      });
      assert.equal(await mesh(lab), before);
    });
  },
);

Deno.test("12: peers come and go in a running service", options, async () => {
  // calico#1420, #12938: BIRD had to be told by a new configuration, or by a restart.
  await withLab({ subnets: "2" }, async (lab) => {
    const before = await mesh(lab);
    const { pid } = await status(lab);
    const named = async () => (await status(lab)).peers.some((p) => p.address === "10.10.1.50");
    await lab.apply(peer("more", { peerIP: "10.10.1.50" }));
    await until("the peer is there", 5000, named);
    const deleted = await lab.tortie(["delete", "bgppeer", "more"]);
    assert.equal(deleted.exit, 0, deleted.stderr);
    await until("the peer is gone", 5000, async () => !await named());
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
      // One that somebody wrote past all checks, and one without its Secret.
      await lab.store.put(
        resourceKey(bgpPeerKind, "nonsense"),
        JSON.parse(peer("nonsense", { peerIP: "10.10.1.51.7" })),
      );
      await lab.apply(peer("no-secret", {
        peerIP: "10.10.1.52",
        password: { secretKeyRef: { name: "nowhere", key: "password" } },
      }));
      await lab.apply(peer("sound", { peerIP: "10.10.1.53" }));
      const { namespace } = lab.node("node1");
      await until("both are named", 10_000, async () => {
        const { status: code, body } = await httpGet(namespace, 9099, "/readiness");
        assert.equal(code, 200, body);
        return body.includes("nonsense") && body.includes("no-secret");
      });
      assert.ok((await status(lab)).peers.some((p) => p.address === "10.10.1.53"));
      assert.equal(await mesh(lab), before);
    });
  },
);

Deno.test(
  "19: after a start routes are announced at once, whoever is missing",
  options,
  async () => {
    // kube-router#1323: with graceful restart on, nothing was announced for the deferral's six minutes.
    await withLab({ subnets: "2" }, async (lab) => {
      await lab.apply(peer("never-there", { peerIP: "10.10.1.99" }));
      signal(lab.record.processes.node1, 9);
      startNode(lab.record, lab.node("node1"));
      await waitReady(lab.record);
      const [a] = await lab.run(pod("a"), { node: "node1" });
      const there = async () => {
        const text = await tool(lab.node("node2").namespace, "ip", "route", "get", a.addresses[0]);
        return text.includes("via 10.10.1.11");
      };
      await until("the session, and the new block's route at node2", 10_000, there);
    });
  },
);
