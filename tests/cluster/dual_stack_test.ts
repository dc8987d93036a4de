/**
 * Pods with an address of each family, and pods with an IPv6 address alone, in clusters of three nodes
 * of which one is behind a router: addresses, gateway, routes, BGP, policy, repair and restarts.
 */
import assert from "node:assert/strict";
import { signal } from "../../ffi/process.ts";
import { askNode, netnsPath, startNode, waitReady } from "../../mod/lab/cluster.ts";
import type { Lab, RunningPod } from "../../mod/lab/lab.ts";
import { addressOf, matrix, pingMatrix } from "../../mod/lab/matrix.ts";
import { callPlugin, CniRefusal } from "../../mod/lab/pods.ts";
import { ping, Pinger, probeTcp } from "../../mod/lab/probe.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { formatIp, mustIp } from "../../mod/net/mod.ts";
import { Netns, pause, pod, podPings, tool, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const everybody = (n: number) => Array.from({ length: n }, () => Array(n).fill(true));
const six = (p: RunningPod) => formatIp(addressOf(p, 6));

/** The router learns the nodes' IPv6 blocks, as a user's router would: by a route to each. */
async function tellRouter(lab: Lab, ...pods: RunningPod[]): Promise<void> {
  for (const p of pods) {
    const node = lab.node(p.node).addresses.find((a) => a.includes(":"))!.replace(/\/.*/, "");
    const text = await tool(lab.node(p.node).namespace, "ip", "-6", "route", "show", "proto", "80");
    const block = /blackhole (\S+)/.exec(text)![1];
    const router = lab.record.layout.routerNamespace;
    await tool(router, "ip", "-6", "route", "replace", block, "via", node);
  }
}

/** A pod's status as Kubernetes shows it. */
async function podStatus(lab: Lab, name: string) {
  return JSON.parse((await lab.tortie(["get", "pod", name, "-o", "json"])).stdout).status;
}

async function sysctl(netns: string, name: string): Promise<string> {
  return (await tool(netns, "sysctl", "-n", name)).trim();
}

const env = { TORTIE_BGP_HOLD_TIME: "6", FELIX_ROUTEREFRESHINTERVAL: "2" };

Deno.test("dual stack", options, async (t) => {
  await withLab({ subnets: "2,1", families: "IPv4,IPv6", env }, async (lab) => {
    const { record } = lab;
    const [node1] = record.layout.nodes;
    const ns1 = node1.namespace;
    const pods: RunningPod[] = [];
    for (const n of [1, 2, 3]) {
      const [made] = await lab.run(pod(`p${n}`, { ports: [80] }), { node: `node${n}` });
      pods.push(made);
    }
    const [p1, p2, p3] = pods;
    const wep = JSON.parse((await lab.tortie(["get", "wep", "-o", "json"])).stdout)
      .items.find((w: any) => w.spec.pod === "p1");
    const link: string = wep.spec.interfaceName;

    await t.step("a pod has an address of each pool, and all records show both", async () => {
      for (const p of pods) {
        assert.equal(p.addresses.length, 2);
        assert.match(p.addresses[0], /^10\.244\./);
        assert.match(p.addresses[1], /^fd00:10:244:/);
        const { podIP, podIPs } = await podStatus(lab, p.name);
        assert.equal(podIP, p.addresses[0]);
        assert.deepEqual(podIPs, p.addresses.map((ip) => ({ ip })));
      }
      assert.deepEqual(wep.spec.ipNetworks, [`${p1.addresses[0]}/32`, `${p1.addresses[1]}/128`]);
      const wide = (await lab.tortie(["get", "workloadendpoints", "-o", "wide"])).stdout;
      assert.ok(wide.includes(`${p1.addresses[0]}/32,${p1.addresses[1]}/128`), wide);
      const one = await lab.tortie(["ipam", "show", "--ip", p1.addresses[1]]);
      assert.match(one.stdout, /in use/);
      const blocks = (await lab.tortie(["ipam", "show", "--show-blocks"])).stdout;
      assert.match(blocks, /Block .*fd00:10:244:\S*\/122/);
      const nodes = (await lab.tortie(["get", "nodes", "-o", "wide"])).stdout;
      assert.match(nodes, /node3 .*10\.10\.2\.11\/24 +fd00:10:10:2::11\/64/);
    });

    await t.step("in the pod: usable at once, by the host side's link-local gateway", async () => {
      const [late] = await lab.run(pod("late"), { node: "node1" });
      using netns = Netns.open(netnsPath(late.netns));
      // The first packet, right behind ADD: a tentative address could not have sent it.
      assert.ok(await ping(netns, addressOf(p1, 6), 2000) !== undefined);
      const said = await tool(late.netns, "ip", "-6", "-o", "addr", "show", "dev", "eth0");
      assert.match(said, new RegExp(`inet6 ${six(late)}/128 scope global nodad`));
      assert.doesNotMatch(said, /scope global.*tentative/);
      const route = await tool(late.netns, "ip", "-6", "route", "show", "default");
      assert.match(route, /^default via fe80::ecee:eeff:feee:eeee dev eth0 /);
      assert.ok(await podPingsLinkLocal(late.netns), "the gateway itself answers");
      assert.equal(await sysctl(late.netns, "net.ipv6.conf.eth0.accept_dad"), "0");
      await lab.remove(late);
      const { stdout } = await lab.tortie(["ipam", "show", "--ip", six(late)]);
      assert.match(stdout, /not assigned/);
      assert.doesNotMatch(await tool(ns1, "ip", "-6", "route"), new RegExp(six(late) + " "));
    });

    await t.step("on the host: routes, neighbours and settings of both families", async () => {
      const expected: [string, string][] = [
        ["net.ipv6.conf.all.forwarding", "1"],
        [`net.ipv6.conf.${link}.forwarding`, "1"],
        [`net.ipv6.conf.${link}.proxy_ndp`, "1"],
        [`net.ipv6.conf.${link}.accept_ra`, "0"],
        [`net.ipv4.conf.${link}.proxy_arp`, "1"],
      ];
      for (const [name, value] of expected) assert.equal(await sysctl(ns1, name), value, name);
      const addresses = await tool(ns1, "ip", "-6", "-o", "addr", "show", "dev", link);
      assert.match(addresses, /fe80::ecee:eeff:feee:eeee\/64 scope link/);
      assert.doesNotMatch(addresses, /tentative/);
      const routes = await tool(ns1, "ip", "-6", "route");
      assert.match(routes, new RegExp(`^${six(p1)} dev ${link} proto 80`, "m"));
      assert.match(routes, /^blackhole fd00:10:244:\S+\/122 dev lo proto 80/m);
      const neighbours = await tool(ns1, "ip", "-6", "neigh", "show", "dev", link);
      assert.match(neighbours, new RegExp(`^${six(p1)} lladdr \\S+ .*PERMANENT`, "m"));
    });

    await t.step("BGP has a session for each family, and each carries its own", async () => {
      const learned = async () =>
        (await tool(ns1, "ip", "-6", "route")).split("\n")
          .filter((r) => r.includes("proto 81")).sort();
      await until(
        "both other blocks are learned",
        10_000,
        async () => (await learned()).length === 2,
      );
      const via = (await learned()).map((r) => r.replace(/^\S+\/122 /, "").replace(/ proto.*/, ""));
      assert.deepEqual(via.sort(), [
        "via fd00:10:10:1::1 dev eth0",
        "via fd00:10:10:1::12 dev eth0",
      ]);
      const { peers } = await askNode<NodeStatus>(node1, "node.status");
      assert.deepEqual(
        peers.map((p) => [p.address, p.state]).sort(),
        ["10.10.1.12", "10.10.2.11", "fd00:10:10:1::12", "fd00:10:10:2::11"]
          .map((address) => [address, "Established"]),
      );
    });

    await t.step("all pairs ping and connect by IPv6, the third node's too", async () => {
      assert.deepEqual(await pingMatrix(pods.slice(0, 2), 4), everybody(2));
      await tellRouter(lab, ...pods);
      await until(
        "all pairs",
        5000,
        async () => (await pingMatrix(pods, 6)).flat().every((reached) => reached),
      );
      await until(
        "all connect",
        5000,
        async () => (await matrix(pods, 80, 6)).flat().every((reached) => reached),
      );
      // The node itself, as kubelet's probes do.
      using netns = Netns.open(netnsPath(ns1));
      assert.equal(await probeTcp(netns, addressOf(p1, 6), 80), "open");
    });

    await t.step("an address of the block that nobody has is refused by its own node", async () => {
      const block = /blackhole (\S+)/.exec(await tool(ns1, "ip", "-6", "route"))![1];
      const nobody = block.replace(/\/122$/, "").replace(
        /:([0-9a-f]*)$/,
        (_, last) => `:${(parseInt(last || "0", 16) + 0x3e).toString(16)}`,
      );
      assert.equal(await podPings(p2, nobody), false);
      // It ends there instead of going back and forth between node and router.
      await assert.rejects(tool(ns1, "ip", "-6", "route", "get", nobody), /Invalid|blackhole/i);
    });

    await t.step("CHECK finds a missing IPv6 address and route", async () => {
      await callPlugin({ command: "CHECK", node: node1, pod: p1 });
      await tool(p1.netns, "ip", "-6", "route", "del", "default");
      await assert.rejects(
        callPlugin({ command: "CHECK", node: node1, pod: p1 }),
        (e) =>
          e instanceof CniRefusal && /the route ::\/0 via fe80::ecee\S+ is missing/.test(e.message),
      );
      const back = ["via", "fe80::ecee:eeff:feee:eeee", "dev", "eth0"];
      await tool(p1.netns, "ip", "-6", "route", "add", "default", ...back);
      await callPlugin({ command: "CHECK", node: node1, pod: p1 });
    });

    await t.step("explicit addresses of both families, and pools by name", async () => {
      const pool = (name: string, cidr: string) =>
        JSON.stringify({
          apiVersion: "projectcalico.org/v3",
          kind: "IPPool",
          metadata: { name },
          spec: { cidr, natOutgoing: false, nodeSelector: "!all()" },
        });
      await lab.apply(pool("six", "fd00:10:99::/112"));
      const annotated = (name: string, annotations: Record<string, string>) => {
        const named = Object.entries(annotations)
          .map(([key, value]) => [`cni.projectcalico.org/${key}`, value]);
        return lab.run(pod(name, { annotations: Object.fromEntries(named) }), { node: "node1" });
      };
      const [fixed] = await annotated("fixed", { ipAddrs: '["fd00:10:244::77","10.244.3.7"]' });
      assert.deepEqual(fixed.addresses, ["10.244.3.7", "fd00:10:244::77"]);
      await until("p2 pings it", 5000, () => podPings(p2, "fd00:10:244::77"));
      await assert.rejects(
        annotated("rival", { ipAddrs: '["10.244.3.8","fd00:10:244::77"]' }),
        (e) => e instanceof CniRefusal && e.code === 11 && e.message.includes("fd00:10:244::77"),
      );
      const { stdout } = await lab.tortie(["ipam", "show", "--ip", "10.244.3.8"]);
      assert.match(stdout, /not assigned/, "the other address is given back");
      await lab.remove(fixed);
      const [named] = await annotated("named", { ipv6pools: '["six"]' });
      assert.match(named.addresses[1], /^fd00:10:99:/);
      await until("p2 pings it", 5000, () => podPings(p2, named.addresses[1]));
      const [alone] = await annotated("alone", { ipFamilies: '["IPv6"]' });
      assert.deepEqual(alone.addresses.length, 1);
      assert.match(alone.addresses[0], /^fd00:10:244:/);
      assert.ok(await podPings(alone, six(p1)));
      for (const p of [named, alone]) await lab.remove(p);
    });

    await t.step(
      "policy: ipBlock with except of both families; neighbour discovery stays",
      async () => {
        const policy = (spec: Record<string, unknown>) =>
          lab.apply(JSON.stringify({
            apiVersion: "networking.k8s.io/v1",
            kind: "NetworkPolicy",
            metadata: { name: "p2", namespace: "default" },
            spec: { podSelector: { matchLabels: { app: "p2" } }, ...spec },
          }));
        const reaches = async () => [
          await podPings(p1, p2.addresses[0]),
          await podPings(p1, six(p2)),
          await podPings(p3, six(p2)),
        ];
        await policy({ policyTypes: ["Ingress", "Egress"] });
        await until(
          "closed in both families",
          5000,
          async () => (await reaches()).every((reached) => !reached),
        );
        await policy({
          policyTypes: ["Ingress", "Egress"],
          ingress: [{
            from: [{ ipBlock: { cidr: "fd00:10:244::/64", except: [`${six(p3)}/128`] } }],
          }],
        });
        await until("IPv6 open", 5000, () => podPings(p1, six(p2)));
        assert.deepEqual(await reaches(), [false, true, false]);
        // The pod forgets its gateway's MAC and has to ask for it, past a policy that denies all egress.
        await tool(p2.netns, "ip", "-6", "neigh", "flush", "dev", "eth0", "nud", "permanent");
        assert.ok(await podPings(p1, six(p2)), "the gateway is found anew");
        await policy({
          policyTypes: ["Ingress"],
          ingress: [{
            from: [{ ipBlock: { cidr: "10.244.0.0/16", except: ["10.244.255.0/24"] } }],
          }],
        });
        await until("IPv4 open", 5000, () => podPings(p1, p2.addresses[0]));
        await until("IPv6 closed", 5000, async () => !await podPings(p1, six(p2)));
        await lab.tortie(["delete", "knp", "p2", "-n", "default"]);
        await until("open again", 5000, async () => (await reaches()).slice(0, 2).every((r) => r));
      },
    );

    await t.step("natOutgoing is off for IPv6, as in Calico, and can be turned on", async () => {
      assert.equal(await podPings(p1, "fd00:10:10:1::1"), true, "the router knows the way back");
      const router = record.layout.routerNamespace;
      await tool(router, "ip", "-6", "route", "flush", "root", "fd00:10:244::/64");
      assert.equal(await podPings(p1, "fd00:10:10:1::1"), false, "the router knows no pods");
      const name = "default-ipv6-ippool";
      const found = JSON.parse((await lab.tortie(["get", "ippool", name, "-o", "json"])).stdout);
      assert.equal(found.spec.natOutgoing ?? false, false);
      found.spec.natOutgoing = true;
      await lab.apply(JSON.stringify(found));
      await until("masqueraded", 5000, () => podPings(p1, "fd00:10:10:1::1"));
      assert.ok(await podPings(p1, six(p2)));
    });

    await t.step("damage by hand is repaired", async () => {
      const picture = async () =>
        [
          (await tool(ns1, "ip", "-6", "route")).split("\n")
            .filter((r) => /proto 8[01]/.test(r)).sort().join("\n"),
          (await tool(ns1, "nft", "-s", "list", "table", "ip6", "calico")).replace(/\s+/g, " "),
          await tool(ns1, "ip", "-6", "neigh", "show", "dev", link, "nud", "permanent"),
        ].join("\n");
      const whole = await picture();
      const block = /blackhole (\S+)/.exec(whole)![1];
      const damage: [string, string[]][] = [
        ["a pod's route deleted", ["ip", "-6", "route", "del", six(p1)]],
        ["the learned routes deleted", ["ip", "-6", "route", "flush", "proto", "81"]],
        ["the block's route deleted", ["ip", "-6", "route", "del", "blackhole", block]],
        ["the block's route led elsewhere", [
          ...["ip", "-6", "route", "replace", block, "via", "fd00:10:10:1::1"],
        ]],
        // Not flushed: ip flushes until nothing is left, and we may be quicker than it.
        ["a neighbour entry deleted", ["ip", "-6", "neigh", "del", six(p1), "dev", link]],
        ["the host side set down", ["ip", "link", "set", link, "down"]],
        ["the table deleted", ["nft", "delete", "table", "ip6", "calico"]],
      ];
      for (const [what, [program, ...args]] of damage) {
        await tool(ns1, program, ...args);
        await until(`${what}: as before`, 5000, async () => await picture() === whole);
        assert.ok(await podPings(p1, six(p2)), what);
      }
      await tool(ns1, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=0");
      await until(
        "forwarding again",
        6000,
        async () => await sysctl(ns1, "net.ipv6.conf.all.forwarding") === "1",
      );
      // Nothing is found by neighbour discovery towards a pod, so nothing hangs on this address.
      await tool(ns1, "ip", "-6", "addr", "flush", "dev", link, "scope", "link");
      await tool(ns1, "ip", "-6", "neigh", "flush", "dev", link);
      assert.ok(await podPings(p2, six(p1)));
    });

    await t.step("kill -9 of the service loses no packet of either family", async () => {
      using netns = Netns.open(netnsPath(p1.netns));
      const pingers = p2.addresses.map((ip) => new Pinger(mustIp(ip), netns));
      for (const pinger of pingers) pinger.start(10);
      signal(record.processes.node1, 9);
      await pause(500);
      startNode(record, node1);
      await waitReady(record, { mesh: true });
      for (const pinger of pingers) {
        const { sent, lost } = await pinger.stop();
        assert.deepEqual(lost, [], `${formatIp(pinger.target)}, of ${sent}`);
      }
    });
  });
});

async function podPingsLinkLocal(netns: string): Promise<boolean> {
  try {
    await tool(
      netns,
      "ping",
      "-6",
      "-c",
      "3",
      "-i",
      "0.2",
      "-W",
      "2",
      "fe80::ecee:eeff:feee:eeee%eth0",
    );
    return true;
  } catch {
    return false;
  }
}

Deno.test("an IPv6-only cluster", options, async (t) => {
  await withLab({ subnets: "2", families: "IPv6", env }, async (lab) => {
    const [node1] = lab.record.layout.nodes;
    const [a] = await lab.run(pod("a", { ports: [80] }), { node: "node1" });
    const [b] = await lab.run(pod("b", { ports: [80] }), { node: "node2" });

    await t.step("the pods ping and connect", async () => {
      assert.equal(a.addresses.length, 1);
      assert.equal((await podStatus(lab, "a")).podIP, a.addresses[0]);
      await until(
        "all pairs",
        5000,
        async () => (await pingMatrix([a, b])).flat().every((reached) => reached),
      );
      await until(
        "all connect",
        5000,
        async () => (await matrix([a, b], 80)).flat().every((reached) => reached),
      );
      assert.doesNotMatch(await tool(a.netns, "ip", "-4", "route"), /./, "no IPv4 in the pod");
    });

    await t.step("BGP has IPv6 sessions alone, with router ids made of the names", async () => {
      const status = await askNode<NodeStatus>(node1, "node.status");
      assert.deepEqual(status.peers.map((p) => p.address), ["fd00:10:10:1::12"]);
      const [peer] = status.peers;
      assert.equal(peer.state, "Established");
      const pools = (await lab.tortie(["get", "ippools"])).stdout;
      assert.match(pools, /default-ipv6-ippool/);
      assert.doesNotMatch(pools, /ipv4/);
    });

    await t.step("a pod that asks for IPv4 is told that there is no pool", async () => {
      const annotations = { "cni.projectcalico.org/ipFamilies": '["IPv4"]' };
      await assert.rejects(
        lab.run(pod("four", { annotations }), { node: "node1" }),
        (e) => e instanceof CniRefusal && /no enabled IPv4 pool/.test(e.message),
      );
    });
  });
});

Deno.test(
  "IPv6 is left alone where there is none, and where it is turned off",
  options,
  async (t) => {
    await withLab({ subnets: "1", env }, async (lab) => {
      const host = lab.record.layout.nodes[0].namespace;
      const forwarding = "net.ipv6.conf.all.forwarding";
      const [four] = await lab.run(pod("four"));
      const linkOf = async (name: string): Promise<string> =>
        JSON.parse((await lab.tortie(["get", "wep", "-o", "json"])).stdout)
          .items.find((w: any) => w.spec.pod === name).spec.interfaceName;
      const link = await linkOf("four");
      /** A look at the kernel is over when it has mended a setting that nobody tells of. */
      const aLookIsOver = async () => {
        const name = `net.ipv4.conf.${link}.proxy_arp`;
        await tool(host, "sysctl", "-qw", `${name}=0`);
        await until("proxy_arp is 1", 10_000, async () => await sysctl(host, name) === "1");
      };

      await t.step("a node of an IPv4 cluster does not become an IPv6 router", async () => {
        // It would lose a default route that it has by a real router's advertisements.
        await aLookIsOver();
        assert.equal(await sysctl(host, forwarding), "0");
        assert.equal(await sysctl(host, `net.ipv6.conf.${link}.accept_ra`), "0");
      });

      await t.step("with an IPv6 pool it does, and pods can have both families", async () => {
        await lab.apply(JSON.stringify({
          apiVersion: "projectcalico.org/v3",
          kind: "IPPool",
          metadata: { name: "six" },
          spec: { cidr: "fd00:10:244::/64" },
        }));
        await until("forwarding", 5000, async () => await sysctl(host, forwarding) === "1");
        const annotations = { "cni.projectcalico.org/ipFamilies": '["IPv4","IPv6"]' };
        const [both] = await lab.run(pod("both", { annotations }));
        assert.equal(both.addresses.length, 2);
        assert.ok(await podPings(both, four.addresses[0]));
      });

      await t.step(
        "ipv6Support: false leaves routes and settings alone, and the rules",
        async () => {
          await lab.apply(JSON.stringify({
            apiVersion: "projectcalico.org/v3",
            kind: "FelixConfiguration",
            metadata: { name: "default" },
            spec: { ipv6Support: false },
          }));
          const both = await linkOf("both");
          const route = async () =>
            (await tool(host, "ip", "-6", "route", "show", "dev", both)).trim();
          const before = await route();
          await until("forwarding is no longer mended", 30_000, async () => {
            await tool(host, "sysctl", "-qw", `${forwarding}=0`);
            await aLookIsOver();
            return await sysctl(host, forwarding) === "0";
          });
          assert.equal(await route(), before);
          assert.match(
            await tool(host, "nft", "list", "table", "ip6", "calico"),
            /Drop router advertisements of workloads/,
          );
          const annotations = { "cni.projectcalico.org/ipFamilies": '["IPv4","IPv6"]' };
          const [more] = await lab.run(pod("more", { annotations }));
          assert.equal(more.addresses.length, 2, "CNI gives what it is asked for");
          assert.ok(await podPings(more, four.addresses[0]));
        },
      );
    });
  },
);
