/**
 * VXLAN between real nodes: two on one subnet, the third behind a plain router, which knows no pods and
 * in whose namespace every packet between nodes is counted, in a tunnel or bare.
 */
import assert from "node:assert/strict";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { signal } from "../../ffi/process.ts";
import { askNode, netnsPath, startNode, waitReady } from "../../mod/lab/cluster.ts";
import type { RunningPod } from "../../mod/lab/lab.ts";
import { ping, Pinger } from "../../mod/lab/probe.ts";
import { mustIp } from "../../mod/net/mod.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { vtepMac } from "../../mod/node/vxlan.ts";
import { Netns, pause, pod, podPings, tool, until, withLab } from "./harness.ts";
import {
  allReach,
  blockOf,
  encapsulated,
  heldBy,
  lines,
  type Mode,
  nodeObject,
  pool,
  routeTo,
  Wire,
} from "./vxlan_tools.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

const SIGCONT = 18, SIGSTOP = 19;

/** Milliseconds from damage to mended. */
const MENDED = 2000;

const inPool = (name: string) => ({
  annotations: { "cni.projectcalico.org/ipv4pools": `["${name}"]` },
});

Deno.test("VXLAN", options, async (t) => {
  const env = { CALICO_IPV4POOL_VXLAN: "Always" };
  await withLab({ subnets: "2,1", env }, async (lab) => {
    const { record } = lab;
    const [node1, , node3] = record.layout.nodes;
    const [ns1, ns2, ns3] = record.layout.nodes.map((n) => n.namespace);
    const router = record.layout.routerNamespace;
    await lab.apply(pool("Never", "plain", "10.50.0.0/24"));
    const pods: RunningPod[] = [];
    const plain: RunningPod[] = [];
    for (const n of [1, 2, 3]) {
      const on = { node: `node${n}` };
      pods.push((await lab.run(pod(`p${n}`, inPool("default-ipv4-ippool")), on))[0]);
      if (n < 3) plain.push((await lab.run(pod(`plain${n}`, inPool("plain")), on))[0]);
    }
    const [p1, p2, p3] = pods;
    const wire = await Wire.tap(lab);
    const tunnels = new Map<string, string>();
    const blocks = new Map<string, string>();
    for (const { name } of record.layout.nodes) {
      tunnels.set(name, (await nodeObject(lab, name)).spec.ipv4VXLANTunnelAddr);
      blocks.set(name, await blockOf(lab, name));
    }
    const block2 = blocks.get("node2")!, block3 = blocks.get("node3")!;
    const tunnelled = (node: string) =>
      `${blocks.get(node)} via ${tunnels.get(node)} dev vxlan.calico proto 80 onlink`;
    const mac2 = vtepMac("node2", 4);
    const device = async (namespace = ns1) =>
      JSON.parse(await tool(namespace, "ip", "-j", "-d", "addr", "show", "vxlan.calico"))[0];
    /** Ten pings over the same and over another subnet, and what was on the wire meanwhile. */
    const tenPings = async () => {
      await wire.look();
      using inP1 = Netns.open(netnsPath(p1.netns));
      for (let i = 0; i < 10; i++) {
        for (const to of [p2, p3]) {
          assert.notEqual(await ping(inP1, mustIp(to.addresses[0])), undefined, `to ${to.name}`);
        }
      }
      return await wire.look();
    };

    await t.step("Always: all pairs ping, every packet of theirs in a tunnel", async () => {
      await until("all pairs", 10_000, allReach(pods));
      const seen = await tenPings();
      for (const way of ["node1 node2", "node2 node1", "node1 node3", "node3 node1"]) {
        assert.ok(seen[way] >= 10, `${way}: ${seen[way]}`);
      }
      assert.equal(seen.bare, 0);
    });

    await t.step("device, address, neighbours, forwarding and routes as Calico's", async () => {
      const { mtu, address, linkinfo, addr_info } = await device();
      const { link, id, port, local, learning } = linkinfo.info_data;
      assert.deepEqual(
        { mtu, address, link, id, port, local, learning },
        {
          mtu: 1450,
          address: vtepMac("node1", 4),
          link: "eth0",
          id: 4096,
          port: 4789,
          local: "10.10.1.11",
          learning: false,
        },
      );
      const own = addr_info.filter((a: any) => a.family === "inet")
        .map((a: any) => `${a.local}/${a.prefixlen}`);
      assert.deepEqual(own, [`${tunnels.get("node1")}/32`]);
      for (const other of ["node2", "node3"]) {
        assert.equal(await routeTo(ns1, blocks.get(other)!), tunnelled(other));
      }
      assert.deepEqual(
        (await lines(ns1, "bridge", "fdb", "show", "dev", "vxlan.calico")).sort(),
        [
          `${mac2} dst 10.10.1.12 self permanent`,
          `${vtepMac("node3", 4)} dst 10.10.2.11 self permanent`,
        ].sort(),
      );
      assert.deepEqual(
        (await lines(ns1, "ip", "-4", "neigh", "show", "dev", "vxlan.calico")).sort(),
        [
          `${tunnels.get("node2")} lladdr ${mac2} PERMANENT`,
          `${tunnels.get("node3")} lladdr ${vtepMac("node3", 4)} PERMANENT`,
        ].sort(),
      );
    });

    await t.step("BGP carries both pools, and the kernel takes only the plain one's", async () => {
      const plainBlock = await blockOf(lab, "node2", "10.50.");
      await until("learned", 10_000, async () => (await routeTo(ns1, plainBlock)) !== "");
      assert.equal(
        await routeTo(ns1, plainBlock),
        `${plainBlock} via 10.10.1.12 dev eth0 proto 81`,
      );
      const fromBgp = await lines(ns1, "ip", "route", "show", "proto", "81");
      assert.ok(fromBgp.every((route) => route.startsWith("10.50.")), fromBgp.join("; "));
      const table = JSON.stringify(await askNode(node1, "bgp.routes", {}));
      assert.ok(table.includes(block2) && table.includes(plainBlock), table);
      assert.ok(await podPings(plain[0], plain[1].addresses[0]));
    });

    await t.step(
      "MTU: 1450 bytes pass between all pairs without fragments, no more do",
      async () => {
        await Promise.all(pods.map(async (p) => {
          assert.match(await tool(p.netns, "ip", "link", "show", "eth0"), / mtu 1450 /);
          await Promise.all(
            pods.filter((other) => other !== p).map(async ({ addresses: [to] }) => {
              const sized = (size: number) =>
                tool(p.netns, "ping", "-M", "do", "-c1", "-W2", "-s", `${size - 28}`, to);
              await sized(1450);
              await assert.rejects(sized(1451), /message too long/i);
            }),
          );
        }));
        assert.equal((await Deno.readTextFile(`${node1.directory}/calico/mtu`)).trim(), "1450");
      },
    );

    await t.step(
      "the host reaches other nodes' pods from its tunnel address; NAT goes on",
      async () => {
        using host = Netns.open(netnsPath(ns1));
        using inP3 = Netns.open(netnsPath(p3.netns));
        using inRouter = Netns.open(netnsPath(router));
        const froms = new Set<string>();
        const listen = (netns: Netns) =>
          new DatagramSocket(
            { family: 4, netns, protocol: 1 },
            ({ bytes }) => bytes[20] === 8 && froms.add(bytes.slice(12, 16).join(".")),
          );
        const inPod = listen(inP3);
        assert.notEqual(await ping(host, mustIp(p3.addresses[0])), undefined);
        inPod.close();
        assert.deepEqual([...froms], [tunnels.get("node1")]);
        froms.clear();
        const outside = listen(inRouter);
        assert.ok(await podPings(p1, "10.10.1.1"));
        outside.close();
        assert.deepEqual([...froms], ["10.10.1.11"]);
      },
    );

    await t.step("a tunnel packet from a stranger is dropped, and counted", async () => {
      const id = 0x7e57;
      let reached = 0;
      using inP1 = Netns.open(netnsPath(p1.netns));
      const ear = new DatagramSocket({ family: 4, netns: inP1, protocol: 1 }, ({ bytes }) => {
        if (bytes[20] === 8 && (bytes[24] << 8 | bytes[25]) === id) reached++;
      });
      const packet = encapsulated({
        vni: 4096,
        destinationMac: vtepMac("node1", 4),
        source: mustIp(p2.addresses[0]),
        destination: mustIp(p1.addresses[0]),
        id,
      });
      const send = (from: string, to = "10.10.1.11", device?: string) => {
        using netns = Netns.open(netnsPath(from));
        const socket = new DatagramSocket({ family: 4, netns, device }, () => {});
        for (let i = 0; i < 5; i++) socket.send(mustIp(to), 4789, packet);
        socket.close();
      };
      const dropped = async () => {
        const rules = await tool(ns1, "nft", "list", "table", "ip", "calico");
        return Number(/packets (\d+) .*drop comment ".*Drop other VXLAN packets/.exec(rules)![1]);
      };
      const before = await dropped();
      send(router);
      await until("five dropped", 5000, async () => await dropped() === before + 5);
      // To all hosts of the link: the device hears these too.
      const way = await tool(router, "ip", "route", "get", "10.10.1.11");
      send(router, "224.0.0.1", / dev (\S+)/.exec(way)![1]);
      await until("ten dropped", 5000, async () => await dropped() === before + 10);
      assert.equal(reached, 0);
      send(ns2);
      await until("those of a node get in", 5000, () => reached === 5);
      const set = async (spec: object) => {
        const patch = ["-p", JSON.stringify({ spec })];
        const said = await lab.tortie(["patch", "felixconfiguration", "default", ...patch]);
        assert.equal(said.exit, 0, said.stderr);
      };
      const warnings = async () => (await askNode<NodeStatus>(node1, "node.status")).warnings;
      const words = /^FelixConfiguration default: natOutgoingAddress is set and not followed/;
      // By its own say, a stranger is none; and what has no effect is told.
      await set({ externalNodesList: ["10.10.1.1/32"], natOutgoingAddress: "192.0.2.1" });
      await until("those of an external node get in", 10_000, () => {
        send(router);
        return reached > 5;
      });
      await waitReady(record, { mesh: true });
      assert.equal((await warnings()).filter((w) => words.test(w)).length, 1);
      const log = await Deno.readTextFile(`${node1.directory}/node.log`);
      assert.match(log, /natOutgoingAddress is set and not followed: it has no effect here/);
      await set({ externalNodesList: null, natOutgoingAddress: null });
      await until("those of a stranger do not", 10_000, async () => {
        const before = reached;
        const already = await dropped().catch(() => Infinity);
        send(router);
        return await dropped().catch(() => -1) >= already + 5 && reached === before;
      });
      await waitReady(record, { mesh: true });
      assert.ok(!(await warnings()).some((w) => words.test(w)));
      ear.close();
    });

    await t.step("damage by hand is mended", async (t) => {
      const fdb = () => lines(ns1, "bridge", "fdb", "show", "dev", "vxlan.calico");
      const neighbours = () => lines(ns1, "ip", "-4", "neigh", "show", "dev", "vxlan.calico");
      const addresses = async () =>
        (await device()).addr_info.filter((a: any) => a.family === "inet").map((a: any) => a.local);
      const whole = async () => ({
        fdb: (await fdb()).sort(),
        neighbours: (await neighbours()).sort(),
        addresses: await addresses(),
        routes: (await lines(ns1, "ip", "route")).sort(),
        up: (await device()).flags.includes("UP"),
        vni: (await device()).linkinfo?.info_data?.id,
        mac: (await device()).address,
        mtu: (await device()).mtu,
        master: (await device()).linkinfo?.info_kind,
      });
      const healthy = JSON.stringify(await whole());
      const far = tunnels.get("node2")!, own = tunnels.get("node1")!;
      const dev = "dev vxlan.calico", other = "66:01:02:03:04:05", zero = "00:00:00:00:00:00";
      const replacedBy = (type: string) =>
        `ip link del vxlan.calico; ip link add vxlan.calico type ${type}`;
      const damages: Record<string, string> = {
        "fdb entry deleted": `bridge fdb del ${mac2} dst 10.10.1.12 ${dev}`,
        "fdb entry led astray": `bridge fdb replace ${mac2} dst 10.10.1.99 ${dev}`,
        "foreign fdb entry": `bridge fdb add ${other} dst 10.10.1.99 ${dev}`,
        "flood entries": `bridge fdb append ${zero} dst 10.10.1.98 ${dev}; ` +
          `bridge fdb append ${zero} dst 10.10.1.99 ${dev}`,
        "neighbour deleted": `ip neigh del ${far} ${dev}`,
        "neighbour falsified": `ip neigh replace ${far} lladdr ${other} nud permanent ${dev}`,
        "route deleted": `ip route del ${block2}`,
        "route led astray": `ip route replace ${block2} via 10.10.1.1`,
        "foreign route on the device": `ip route add 10.99.0.0/24 ${dev}`,
        "address deleted": `ip addr del ${own}/32 ${dev}`,
        "foreign address": `ip addr add 10.99.0.1/24 ${dev}`,
        "MTU changed": "ip link set vxlan.calico mtu 1400",
        "MAC changed": `ip link set vxlan.calico address ${other}`,
        "device set down": "ip link set vxlan.calico down",
        "device deleted": "ip link del vxlan.calico",
        "wrong VNI in its place": replacedBy("vxlan id 77 dstport 4789"),
        "bridge in its place": replacedBy("bridge"),
      };
      for (const [name, command] of Object.entries(damages)) {
        await t.step(name, async () => {
          // Stopped, so that the whole damage is there before the first of it is mended.
          signal(record.processes.node1, SIGSTOP);
          try {
            await tool(ns1, "sh", "-c", command);
            const damaged = await whole().then(JSON.stringify, () => "no device");
            assert.notEqual(damaged, healthy);
          } finally {
            signal(record.processes.node1, SIGCONT);
          }
          let last = "";
          await until(name, MENDED, async () => (last = JSON.stringify(await whole())) === healthy)
            .catch((error) => assert.equal(last, healthy, error.message));
        });
      }
      await t.step(
        "device renamed: what has our VNI is named, and in our way until it goes",
        async () => {
          await tool(ns1, "sh", "-c", "ip link set vxlan.calico down name stolen");
          await until("said", 5000, async () => {
            const log = await Deno.readTextFile(`${node1.directory}/node.log`);
            return log.includes("the interface stolen has the VNI 4096 on port 4789 already");
          });
          await tool(ns1, "ip", "link", "del", "stolen");
          await until("mended", MENDED, async () => JSON.stringify(await whole()) === healthy);
        },
      );
      await until("all pairs", 5000, allReach(pods));
    });

    await t.step(
      "kill -9 of the service: its tunnels go on, its address is its own again",
      async () => {
        using inP1 = Netns.open(netnsPath(p1.netns));
        using inP3 = Netns.open(netnsPath(p3.netns));
        const pingers = [
          new Pinger(mustIp(p3.addresses[0]), inP1),
          new Pinger(mustIp(p2.addresses[0]), inP3),
        ];
        for (const pinger of pingers) pinger.start(10);
        await pause(200);
        for (const n of [node1, node3]) signal(record.processes[n.name], 9);
        await pause(500);
        for (const n of [node1, node3]) startNode(record, n);
        await waitReady(record, { mesh: true });
        await pause(1000);
        for (const pinger of pingers) {
          const { sent, lost } = await pinger.stop();
          assert.ok(sent > 100);
          assert.deepEqual(lost, []);
        }
        for (const n of ["node1", "node3"]) {
          assert.equal((await nodeObject(lab, n)).spec.ipv4VXLANTunnelAddr, tunnels.get(n));
          assert.deepEqual(await heldBy(lab, `vxlan-tunnel-addr-${n}`), [tunnels.get(n)]);
        }
      },
    );

    await t.step(
      "settings that the link cannot bear are held, said, and cost nothing",
      async () => {
        using inP1 = Netns.open(netnsPath(p1.netns));
        const warnings = async () => (await askNode<NodeStatus>(node1, "node.status")).warnings;
        const set = async (spec: object) => {
          const patch = ["-p", JSON.stringify({ spec })];
          const said = await lab.tortie(["patch", "felixconfiguration", "default", ...patch]);
          assert.equal(said.exit, 0, said.stderr);
        };
        const saysSoon = (what: string, words: RegExp) =>
          until(
            what,
            10_000,
            async () => (await warnings().catch(() => [])).some((w) => words.test(w)),
          );
        const logged = async () =>
          (await Deno.readTextFile(`${node1.directory}/node.log`)).split("\n").length;
        const { ifindex } = await device();
        const cases: [spec: object, words: RegExp][] = [
          [{ vxlanMTU: 1500 }, /vxlanMTU 1500 does not fit: eth0 has 1500 bytes/],
          [{ vxlanMTU: 60 }, /vxlanMTU="60" is not an MTU from 68 to 65535/],
          [{ vxlanPort: 0 }, /vxlanPort="0" is not a number from 1 to 65535/],
        ];
        const pinger = new Pinger(mustIp(p2.addresses[0]), inP1);
        pinger.start(10);
        for (const [spec, words] of cases) {
          await set(spec);
          await saysSoon(JSON.stringify(spec), words);
          await waitReady(record, { mesh: true });
          const before = await logged();
          await pause(1000);
          assert.ok(await logged() - before < 30, `${await logged() - before} lines in a second`);
          const now = await device();
          assert.deepEqual(
            [now.ifindex, now.mtu, now.linkinfo.info_data.port],
            [ifindex, 1450, 4789],
          );
          assert.deepEqual((await askNode<NodeStatus>(node1, "node.status")).errors, []);
          assert.equal((await Deno.readTextFile(`${node1.directory}/calico/mtu`)).trim(), "1450");
        }
        await set({ vxlanMTU: 0, vxlanPort: 4789 });
        await until(
          "nothing is said any more",
          10_000,
          async () => (await warnings()).length === 0,
        );
        await waitReady(record, { mesh: true });
        const { sent, lost } = await pinger.stop();
        assert.ok(sent > 100);
        assert.deepEqual(lost, []);
      },
    );

    await t.step("a pool that turns to pods alone keeps the tunnel addresses it gave", async () => {
      const alone = JSON.parse(pool("Always"));
      alone.spec.allowedUses = ["Workload"];
      await lab.apply(JSON.stringify(alone));
      await pause(1500);
      for (const n of ["node1", "node2", "node3"]) {
        assert.equal((await nodeObject(lab, n)).spec.ipv4VXLANTunnelAddr, tunnels.get(n));
      }
      assert.ok(await allReach(pods)());
      alone.spec.allowedUses = ["Workload", "Tunnel"];
      await lab.apply(JSON.stringify(alone));
    });

    await t.step("the mode changes live, with pods pinging", async () => {
      using inP1 = Netns.open(netnsPath(p1.netns));
      for (const mode of ["CrossSubnet", "Never", "Always", "CrossSubnet", "Never"] as Mode[]) {
        const pinger = new Pinger(mustIp(p2.addresses[0]), inP1);
        pinger.start(5);
        await pause(200);
        await lab.apply(pool(mode));
        const expected = mode === "Always"
          ? / dev vxlan.calico proto 80 onlink$/
          : mode === "Never"
          ? /^\S+ via 10\.10\.1\.12 dev eth0 proto 81$/
          : /^\S+ via 10\.10\.1\.12 dev eth0 proto 80$/;
        await until(
          `${mode}: ${expected}`,
          10_000,
          async () => expected.test(await routeTo(ns1, block2)),
        );
        await pause(500);
        const { sent, lost } = await pinger.stop();
        console.log(`to ${mode}: ${lost.length} of ${sent} pings, 5 ms apart, lost`);
        assert.ok(lost.length < 60, `${lost.length} lost while changing to ${mode}`);
        if (mode === "Never") {
          assert.ok(await podPings(p1, p2.addresses[0]));
          // The router knows no pods, so BGP's way ends there.
          assert.match(await routeTo(ns1, block3), /^\S+ via 10\.10\.1\.1 dev eth0 proto 81$/);
          for (const { name, namespace } of record.layout.nodes) {
            await until("device and address are gone", 15_000, async () => {
              const gone = !(await tool(namespace, "ip", "link")).includes("vxlan.calico");
              return gone && (await heldBy(lab, `vxlan-tunnel-addr-${name}`)).length === 0 &&
                (await nodeObject(lab, name)).spec.ipv4VXLANTunnelAddr === undefined;
            });
          }
        } else {
          await until(`${mode}: all pairs`, 5000, allReach(pods));
          const seen = await tenPings();
          assert.ok(seen["node1 node3"] >= 10 && seen["node3 node1"] >= 10);
          if (mode === "Always") assert.ok(seen["node1 node2"] >= 10 && seen.bare === 0);
          else assert.ok(seen["node1 node2"] === 0 && seen["node2 node1"] === 0 && seen.bare >= 20);
          assert.match(await routeTo(ns1, block3), / dev vxlan.calico proto 80 onlink$/);
        }
      }
    });

    await t.step("a node goes, and comes back with another MAC and tunnel address", async () => {
      await lab.apply(pool("Always"));
      await until("all pairs", 10_000, allReach(pods));
      const old = (await nodeObject(lab, "node3")).spec.ipv4VXLANTunnelAddr;
      signal(record.processes.node3, 9);
      await lab.remove(p3).catch(() => {});
      assert.equal((await lab.tortie(["delete", "node", "node3", "--force"])).exit, 0);
      await until("nothing of it is left", 5000, async () => {
        const text = await tool(
          ns1,
          "sh",
          "-c",
          "ip route; ip neigh; bridge fdb show dev vxlan.calico",
        );
        return !text.includes(vtepMac("node3", 4)) && !text.includes("10.10.2.11") &&
          !text.includes(old);
      });
      assert.deepEqual(await heldBy(lab, "vxlan-tunnel-addr-node3"), []);
      // Somebody else has its address now.
      const fixed = { annotations: { "cni.projectcalico.org/ipAddrs": `["${old}"]` } };
      const [heir] = await lab.run(pod("heir", fixed), { node: "node2" });
      const mac = "66:11:22:33:44:55";
      await lab.apply(JSON.stringify({
        apiVersion: "projectcalico.org/v3",
        kind: "Node",
        metadata: { name: "node3" },
        spec: { vxlanTunnelMACAddr: mac },
      }));
      startNode(record, node3);
      await waitReady(record, { mesh: true });
      const [again] = await lab.run(pod("p3b", inPool("default-ipv4-ippool")), { node: "node3" });
      await until("all pairs", 10_000, allReach([p1, p2, again, heir]));
      const now = (await nodeObject(lab, "node3")).spec.ipv4VXLANTunnelAddr;
      assert.notEqual(now, old);
      assert.equal((await device(ns3)).address, mac);
      const fdb = await lines(ns1, "bridge", "fdb", "show", "dev", "vxlan.calico");
      assert.ok(fdb.includes(`${mac} dst 10.10.2.11 self permanent`), fdb.join("; "));
      const neighbours = await lines(ns1, "ip", "-4", "neigh", "show", "dev", "vxlan.calico");
      assert.ok(neighbours.includes(`${now} lladdr ${mac} PERMANENT`), neighbours.join("; "));
    });
  });
});

Deno.test("VXLAN for IPv6", options, async () => {
  const env = { CALICO_IPV6POOL_VXLAN: "Always", CALICO_IPV4POOL_VXLAN: "CrossSubnet" };
  await withLab({ subnets: "2,1", families: "IPv4,IPv6", env }, async (lab) => {
    const pods: RunningPod[] = [];
    for (const n of [1, 2, 3]) pods.push((await lab.run(pod(`p${n}`), { node: `node${n}` }))[0]);
    await until("all pairs by IPv6", 10_000, allReach(pods, 6));
    await until("all pairs by IPv4", 10_000, allReach(pods, 4));
    const [node1] = lab.record.layout.nodes;
    const ns1 = node1.namespace;
    for (const [name, host] of [["node2", "fd00:10:10:1::12"], ["node3", "fd00:10:10:2::11"]]) {
      const block = await blockOf(lab, name, "fd00:", "-6");
      const tunnel = (await nodeObject(lab, name)).spec.ipv6VXLANTunnelAddr;
      const mac = vtepMac(name, 6);
      assert.match(
        await routeTo(ns1, block, "-6"),
        new RegExp(`^${block} via ${tunnel} dev vxlan-v6.calico proto 80 .*onlink`),
      );
      const fdb = await lines(ns1, "bridge", "fdb", "show", "dev", "vxlan-v6.calico");
      assert.ok(fdb.includes(`${mac} dst ${host} self permanent`), fdb.join("; "));
      const neighbours = await lines(ns1, "ip", "-6", "neigh", "show", "dev", "vxlan-v6.calico");
      assert.ok(neighbours.includes(`${tunnel} lladdr ${mac} PERMANENT`), neighbours.join("; "));
      assert.deepEqual(await heldBy(lab, `vxlan-v6-tunnel-addr-${name}`), [tunnel]);
    }
    const mtus = await tool(ns1, "ip", "-o", "link");
    assert.match(mtus, /vxlan-v6\.calico: .* mtu 1430 /);
    assert.match(mtus, /vxlan\.calico: .* mtu 1450 /);
    for (const p of pods) assert.match(await tool(p.netns, "ip", "link"), /eth0@.* mtu 1430 /);
    const [p1, , p3] = pods;
    await tool(p1.netns, "ping", "-6", "-M", "do", "-c1", "-W2", "-s", "1382", p3.addresses[1]);

    // A pod's host side, made narrower than IPv6 can live with, is soon as wide as the pod's own.
    const host = (await tool(ns1, "ip", "-br", "link")).match(/^cali\w+/m)![0];
    using inP3 = Netns.open(netnsPath(p3.netns));
    await tool(ns1, "ip", "link", "set", host, "mtu", "1000");
    await until("as wide again, and reached", MENDED, async () => {
      const link = await tool(ns1, "ip", "link", "show", host);
      return / mtu 1430 /.test(link) &&
        await ping(inP3, mustIp(p1.addresses[1])) !== undefined;
    });
    await tool(p3.netns, "ping", "-c1", "-W2", "-M", "do", "-s", "1400", p1.addresses[0]);

    // Links too narrow for IPv6 in a tunnel: one sentence, and IPv4 goes on.
    const status = () => askNode<NodeStatus>(node1, "node.status");
    await tool(ns1, "ip", "link", "set", "eth0", "mtu", "1300");
    await until("said", 10_000, async () => {
      const { errors } = await status();
      return errors.length === 1 && /IPv6 needs 1280 bytes.* has 1300; widen it/.test(errors[0]);
    });
    assert.ok(await podPings(p1, p3.addresses[0]));
    await tool(ns1, "ip", "link", "set", "eth0", "mtu", "1500");
    await until("all pairs by IPv6 again", 10_000, allReach(pods, 6));
    assert.deepEqual((await status()).errors, []);
  });
});
