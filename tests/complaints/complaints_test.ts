/**
 * What users of such networks have complained about for years, each reproduced: a naive design fails
 * here. The numbers are rows of our list of complaints; the threads are the users' own.
 */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import {
  askNode,
  conflist,
  endProcess,
  netnsPath,
  startNode,
  startStore,
  waitReady,
} from "../../mod/lab/cluster.ts";
import { callPlugin } from "../../mod/lab/pods.ts";
import { Pinger } from "../../mod/lab/probe.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { mustIp } from "../../mod/net/mod.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { binary, Netns, pause, pod, podPings, tool, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

/** Pings a hundred times a second while something happens; the sequence numbers that were lost. */
async function lostDuring(from: PodRecord, to: string, happens: () => Promise<void>) {
  const netns = Netns.open(netnsPath(from.netns));
  try {
    const pinger = new Pinger(mustIp(to), netns);
    pinger.start(10);
    await happens();
    const { sent, lost } = await pinger.stop();
    assert.ok(sent > 50, `only ${sent} pings`);
    return lost;
  } finally {
    netns.close();
  }
}

async function twoPods(lab: Lab) {
  const [a] = await lab.run(pod("a"), { node: "node1" });
  const [b] = await lab.run(pod("b"), { node: "node2" });
  await until("a pings b", 5000, () => podPings(a, b.addresses[0]));
  return { a, b };
}

Deno.test(
  "4: a configuration of another machine's image leads to no address twice",
  options,
  async () => {
    // calico#12257: an old conflist with its node's name survived a re-image, and two nodes gave out the
    // same addresses.
    await withLab({ subnets: "2" }, async (lab) => {
      const [node1, node2] = lab.record.layout.nodes;
      assert.doesNotMatch(JSON.stringify(conflist(node1)), /"nodename"/);
      const { a } = await twoPods(lab);
      const stale = {
        cniVersion: "1.0.0",
        name: "k8s-pod-network",
        ...conflist(node2).plugins[0],
        nodename: "node1",
      };
      const netns = `tortie-${lab.record.layout.name}-stale`;
      await tool(undefined, "ip", "netns", "add", netns);
      const child = new Deno.Command(binary(), {
        env: {
          CNI_COMMAND: "ADD",
          CNI_CONTAINERID: "stale",
          CNI_NETNS: netnsPath(netns),
          CNI_IFNAME: "eth0",
          CNI_PATH: "/opt/cni/bin",
        },
        stdin: "piped",
        stdout: "piped",
      }).spawn();
      const writer = child.stdin.getWriter();
      await writer.write(new TextEncoder().encode(JSON.stringify(stale)));
      await writer.close();
      const { code, stdout } = await child.output();
      const answer = JSON.parse(new TextDecoder().decode(stdout));
      assert.equal(code, 0, JSON.stringify(answer));
      const address = answer.ips[0].address.replace(/\/.*/, "");
      assert.notEqual(address, a.addresses[0]);
      // Whose it is, the service says, which is node2's.
      const shown = await lab.tortie(["ipam", "show", "--ip", address]);
      assert.match(shown.stdout, /node2/);
      assert.doesNotMatch(shown.stdout, /node1/);
      await tool(undefined, "ip", "netns", "del", netns);
    });
  },
);

Deno.test(
  "17: a node restarted while the datastore is away keeps its routes",
  options,
  async () => {
    // calico#925: BGP was down as long as the datastore was.
    await withLab({ subnets: "2", env: { TORTIE_BGP_HOLD_TIME: "6" } }, async (lab) => {
      const { record } = lab;
      const [node1, node2] = record.layout.nodes;
      const { a, b } = await twoPods(lab);
      await pause(1500); // the last good state is written a second after a change
      const lost = await lostDuring(a, b.addresses[0], async () => {
        signal(record.processes.store, 9);
        signal(record.processes.node1, 9);
        await pause(300);
        startNode(record, node1);
        for (const node of [node1, node2]) {
          await until(`${node.name} has its session`, 10_000, async () => {
            const { peers } = await askNode<NodeStatus>(node, "node.status");
            return peers.length === 1 && peers[0].state === "Established";
          });
        }
        // Longer than the hold time: nothing is living on old leases.
        await pause(7000);
      });
      assert.deepEqual(lost, []);
      const routes = await tool(node2.namespace, "ip", "route", "show", "proto", "81");
      assert.match(routes, /via 10\.10\.1\.11/);
      startStore(record);
      await waitReady(record, { mesh: true });
    });
  },
);

Deno.test("18, 20: killing and updating every node service loses no packet", options, async () => {
  // calico#6625, #2211, felix#1592, kube-router#792: a restart of the agent breaks traffic.
  await withLab({ subnets: "3" }, async (lab) => {
    const { record } = lab;
    const { a, b } = await twoPods(lab);
    const lost = await lostDuring(a, b.addresses[0], async () => {
      for (const node of record.layout.nodes) {
        await endProcess(record.processes[node.name]); // a rolling update: SIGTERM, then a new one
        startNode(record, node);
        await waitReady(record);
      }
      for (const node of record.layout.nodes) {
        signal(record.processes[node.name], 9);
        startNode(record, node);
        await waitReady(record);
      }
      // All at once.
      for (const { name } of record.layout.nodes) signal(record.processes[name], 9);
      for (const node of record.layout.nodes) startNode(record, node);
      await waitReady(record, { mesh: true });
    });
    assert.deepEqual(lost, []);
  });
});

Deno.test(
  "27: a pod can talk as soon as ADD has returned, and only as policy allows",
  options,
  async () => {
    // calico#9706, #8048, felix#2008: the first packets of a pod were lost, for up to two minutes.
    await withLab({ subnets: "2" }, async (lab) => {
      const { b } = await twoPods(lab);
      await lab.apply(JSON.stringify({
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "b-from-new", namespace: "default" },
        spec: {
          podSelector: { matchLabels: { app: "b" } },
          ingress: [{ from: [{ podSelector: { matchLabels: { app: "a" } } }] }],
        },
      }));
      const [c] = await lab.run(pod("c"), { node: "node2" });
      for (let i = 0; i < 20; i++) {
        const name = `new-${i}`;
        const [fresh] = await lab.run(pod(name), { node: "node2" });
        const netns = Netns.open(netnsPath(fresh.netns));
        // One packet, no second try: it must get through, and to b it must not.
        const heard = await new Pinger(mustIp(c.addresses[0]), netns).once(500);
        assert.ok(heard !== undefined, `${name}: the first packet was lost`);
        assert.equal(await new Pinger(mustIp(b.addresses[0]), netns).once(100), undefined);
        netns.close();
        await lab.remove(fresh);
      }
    });
  },
);

Deno.test(
  "40: what others take away from links and routes is put back at once",
  options,
  async () => {
    // calico#4817, kubekey#3193: NetworkManager and systemd-networkd eat routes and veths.
    await withLab({ subnets: "2" }, async (lab) => {
      const { a, b } = await twoPods(lab);
      const ns = lab.node("node1").namespace;
      const [{ dev }] = JSON.parse(await tool(ns, "ip", "-j", "route", "show", a.addresses[0]));
      const attacks = [
        ["route", "flush", "proto", "80"],
        ["route", "flush", "proto", "81"],
        ["route", "flush", "dev", dev],
        ["link", "set", dev, "down"],
        ["neigh", "flush", "dev", dev],
      ];
      for (const attack of attacks) {
        await tool(ns, "ip", ...attack);
        const took = await until(
          `repaired: ip ${attack.join(" ")}`,
          2000,
          () => podPings(a, b.addresses[0]),
        );
        assert.ok(took < 2000);
      }
      const lost = await lostDuring(a, b.addresses[0], async () => {
        for (let i = 0; i < 10; i++) {
          // Where it is not back yet there is none to take away, and the pings tell.
          await tool(ns, "ip", "route", "del", a.addresses[0]).catch((error) =>
            assert.match(error.message, /No such process/)
          );
          await pause(100);
        }
      });
      assert.ok(
        lost.length <= 20,
        `ten times a route was gone, and ${lost.length} pings of 10 ms with it`,
      );
    });
  },
);

Deno.test("47: an update leaves no rule twice, and none of the old ones", options, async () => {
  // kube-router#1676, #896: rules duplicated after an upgrade.
  await withLab({ subnets: "1", mesh: false }, async (lab) => {
    const { record } = lab;
    const [node] = record.layout.nodes;
    const [a] = await lab.run(pod("a"));
    const rules = async () =>
      (await tool(node.namespace, "nft", "-s", "list", "ruleset")).replace(/\s+/g, " ");
    const routes = () => tool(node.namespace, "ip", "route");
    const before = [await rules(), await routes()];
    await endProcess(record.processes.node1);
    // What another version might have left: chains, rules, a set and a route under our own marks.
    const nft = (...words: string[]) => tool(node.namespace, "nft", ...words);
    await nft("add chain ip calico filter-cali-old-version");
    await nft("add rule ip calico filter-cali-old-version counter drop");
    await nft("insert rule ip calico filter-FORWARD jump filter-cali-old-version");
    await nft("add rule ip calico filter-FORWARD counter jump filter-cali-FORWARD");
    await nft("add set ip calico cali40old { type ipv4_addr; }");
    await tool(node.namespace, "ip", "route", "add", "blackhole", "10.250.0.0/26", "proto", "80");
    for (let i = 0; i < 3; i++) {
      startNode(record, node);
      await waitReady(record);
      await until(
        "exactly as before",
        15_000,
        async () => JSON.stringify([await rules(), await routes()]) === JSON.stringify(before),
      );
      await endProcess(record.processes.node1);
    }
    startNode(record, node);
    await waitReady(record);
    await callPlugin({ command: "CHECK", node, pod: a });
  });
});
