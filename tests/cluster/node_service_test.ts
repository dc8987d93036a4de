/** The node service on the kernel: repair, restart, loss of the datastore, status, health. */
import assert from "node:assert/strict";
import { identify, signal } from "../../ffi/process.ts";
import { askNode, endProcess, startNode, startStore, waitReady } from "../../mod/lab/cluster.ts";
import { CniRefusal } from "../../mod/lab/pods.ts";
import { Pinger } from "../../mod/lab/probe.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import type { NodeStatus } from "../../mod/node/api.ts";
import { felixLastStatusKey, felixStatusKey } from "../../mod/model/keys.ts";
import { mustIp } from "../../mod/net/mod.ts";
import {
  binary,
  httpGet,
  Netns,
  pause,
  pod,
  podPings,
  tableParts,
  tool,
  until,
  withLab,
} from "./harness.ts";

// The C library stays open for the life of the process.
const options = { sanitizeResources: false, sanitizeOps: false };
// The periodic look at the kernel is 90 s, and 2 s in this lab.
const env = { TORTIE_BGP_HOLD_TIME: "6", FELIX_ROUTEREFRESHINTERVAL: "2" };
const name = "a node service repairs, restarts, reports, and outlives its datastore";

Deno.test(name, options, async (t) => {
  await withLab({ subnets: "2", env }, async (lab) => {
    const { record } = lab;
    const [node1, node2] = record.layout.nodes;
    const [a] = await lab.run(pod("a", { ports: [80] }), { node: "node1" });
    const [b] = await lab.run(pod("b", { ports: [80] }), { node: "node2" });
    const ns1 = node1.namespace;
    const linkOf = async (address: string) =>
      JSON.parse(await tool(ns1, "ip", "-j", "route", "show", address))[0].dev as string;
    const link = await linkOf(a.addresses[0]);
    const routes = async () => await tool(ns1, "ip", "route");
    const rules = async () =>
      tableParts(await tool(ns1, "nft", "-s", "list", "table", "ip", "calico"));
    await until("a pings b", 5000, () => podPings(a, b.addresses[0]));

    await t.step("routes of pods, blocks and peers carry their protocols", async () => {
      const text = await routes();
      assert.match(text, new RegExp(`${a.addresses[0]} dev ${link} proto 80 scope link`));
      assert.match(text, /blackhole 10\.244\.\d+\.\d+\/26 proto 80/);
      assert.match(text, /10\.244\.\d+\.\d+\/26 via 10\.10\.1\.12 dev eth0 proto 81/);
    });

    const block = /blackhole (\S+)/.exec(await routes())![1];
    const damage: [string, string[]][] = [
      ["a pod's route deleted", ["ip", "route", "del", a.addresses[0]]],
      ["a learned route deleted", ["ip", "route", "flush", "proto", "81"]],
      ["the host side set down", ["ip", "link", "set", link, "down"]],
      ["the host side's MAC changed", ["ip", "link", "set", link, "address", "02:00:00:00:00:01"]],
      ["a neighbour entry deleted", ["ip", "neigh", "del", a.addresses[0], "dev", link]],
      ["a pod's route led elsewhere", [
        ...["ip", "route", "replace", a.addresses[0], "via", "10.10.1.1", "proto", "static"],
      ]],
      ["a pod's address made unreachable", [
        ...["ip", "route", "replace", "unreachable", a.addresses[0], "proto", "static"],
      ]],
      ["the block's route led elsewhere", ["ip", "route", "replace", block, "via", "10.10.1.1"]],
      ["a chain flushed", ["nft", "flush", "chain", "ip", "calico", "filter-cali-FORWARD"]],
      ["the table deleted", ["nft", "delete", "table", "ip", "calico"]],
      ["a rule added", ["nft", "insert", "rule", "ip", "calico", "filter-FORWARD", "drop"]],
      ["a set emptied", ["nft", "flush", "set", "ip", "calico", "cali40masq-ipam-pools"]],
    ];
    const picture = async () =>
      [
        (await routes()).split("\n").sort().join("\n"),
        await rules(),
        JSON.stringify(
          JSON.parse(await tool(ns1, "ip", "-j", "link", "show", link))
            .map((l: { address: string; flags: string[] }) => [l.address, l.flags.includes("UP")]),
        ),
        JSON.stringify(
          JSON.parse(await tool(ns1, "ip", "-j", "neigh", "show", "dev", link))
            .filter((n: { state: string[] }) => n.state.includes("PERMANENT")),
        ),
      ].join("\n");
    const whole = await picture();
    for (const [what, [program, ...args]] of damage) {
      await t.step(`${what} by hand is repaired within 2 s`, async () => {
        await tool(ns1, program, ...args);
        await until(`${what}: as before`, 2000, async () => await picture() === whole);
        assert.ok(await podPings(a, b.addresses[0]));
      });
    }

    await t.step("sysctls are repaired by the resync", async () => {
      const name = `net.ipv4.conf.${link}.proxy_arp`;
      await tool(ns1, "sysctl", "-w", `${name}=0`);
      // No notification comes of it.
      await until(
        "proxy_arp is 1",
        6000,
        async () => (await tool(ns1, "sysctl", "-n", name)).trim() === "1",
      );
    });

    await t.step("stopping touches nothing, and damage done meanwhile is found", async () => {
      using netns = Netns.open(netnsPath(a.netns));
      const pinger = new Pinger(mustIp(b.addresses[0]), netns);
      pinger.start(10);
      await until("as before", 5000, async () => await picture() === whole);
      await endProcess(record.processes.node1);
      assert.equal(await picture(), whole);
      await pause(300);
      startNode(record, node1);
      await waitReady(record, { mesh: true });
      const { sent, lost } = await pinger.stop();
      assert.deepEqual(lost, [], `of ${sent}`);
      await endProcess(record.processes.node1);
      await tool(ns1, "ip", "route", "del", a.addresses[0]);
      await tool(ns1, "nft", "delete", "table", "ip", "calico");
      startNode(record, node1);
      await until("as before", 5000, async () => await picture() === whole);
      await waitReady(record, { mesh: true });
    });

    await t.step("liveness and readiness say why", async () => {
      assert.deepEqual(await httpGet(ns1, 9099, "/liveness"), { status: 200, body: "ok\n" });
      const ready = await httpGet(ns1, 9099, "/readiness");
      assert.equal(ready.status, 200);
      assert.match(ready.body, /^ready/);
    });

    await t.step("Felix's process status is under Calico's keys", async () => {
      const key = felixStatusKey("node1");
      await until("status", 5000, async () => await lab.store.get(key) !== undefined);
      const status = (await lab.store.get<Record<string, unknown>>(key))!.value;
      assert.match(String(status.time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
      assert.equal(typeof status.uptime, "number");
      assert.equal(typeof status.first_update, "boolean");
      assert.ok(await lab.store.get(felixLastStatusKey("node1")));
    });

    await t.step("endpoint status is reported while it is enabled", async () => {
      const felix = (enabled: boolean) =>
        JSON.stringify({
          apiVersion: "projectcalico.org/v3",
          kind: "FelixConfiguration",
          metadata: { name: "default" },
          spec: { endpointReportingEnabled: enabled },
        });
      await lab.apply(felix(true));
      const key = "/calico/felix/v2/no-region/host/node1/workload/k8s/default%2fa/endpoint/eth0";
      await until("told", 5000, async () => await lab.store.get(key) !== undefined);
      assert.deepEqual((await lab.store.get(key))!.value, { status: "up" });
      await lab.apply(felix(false));
      await until("taken back", 5000, async () => await lab.store.get(key) === undefined);
    });

    await t.step(
      "FelixConfiguration is followed live, by a new start where it must be",
      async () => {
        const felix = (action: string) =>
          lab.apply(JSON.stringify({
            apiVersion: "projectcalico.org/v3",
            kind: "FelixConfiguration",
            metadata: { name: "default" },
            spec: { defaultEndpointToHostAction: action },
          }));
        const host = "10.10.1.11";
        assert.ok(await podPings(a, host));
        using netns = Netns.open(netnsPath(a.netns));
        const pinger = new Pinger(mustIp(b.addresses[0]), netns);
        pinger.start(10);
        await felix("Drop");
        await until("a may not talk to its host", 5000, async () => !await podPings(a, host));
        await felix("Accept");
        await until("a may again", 5000, () => podPings(a, host));
        await waitReady(record, { mesh: true });
        const { sent, lost } = await pinger.stop();
        assert.deepEqual(lost, [], `of ${sent}`);
      },
    );

    await t.step("CalicoNodeStatus is filled", async () => {
      await lab.apply(JSON.stringify({
        apiVersion: "projectcalico.org/v3",
        kind: "CalicoNodeStatus",
        metadata: { name: "s" },
        spec: { node: "node1", classes: ["Agent", "BGP", "Routes"], updatePeriodSeconds: 1 },
      }));
      let status: any;
      await until("filled", 5000, async () => {
        const said = await lab.tortie(["get", "caliconodestatus", "s", "-o", "json"]);
        status = JSON.parse(said.stdout).status;
        return status?.bgp?.numberEstablishedV4 === 1;
      });
      assert.equal(status.bgp.peersV4[0].peerIP, "10.10.1.12");
      assert.equal(status.bgp.peersV4[0].type, "NodeMesh");
      assert.equal(status.agent.birdV4.state, "Ready");
      assert.ok(status.routes.routesV4.some((r: any) => r.learnedFrom.sourceType === "NodeMesh"));
    });

    await t.step("node status shows endpoints, peers and errors", async () => {
      const status = await askNode<NodeStatus>(node1, "node.status");
      assert.equal(status.node, "node1");
      assert.deepEqual(status.endpoints.map((e) => `${e.workload} ${e.state}`), ["a up"]);
      assert.deepEqual(status.peers.map((p) => p.state), ["Established"]);
      assert.deepEqual(status.errors, []);
    });

    await t.step("an interface that was renamed is told, as down", async () => {
      await tool(ns1, "ip", "link", "set", link, "down");
      await tool(ns1, "ip", "link", "set", link, "name", "calielsewhere");
      const status = () => askNode<NodeStatus>(node1, "node.status");
      await until("down", 3000, async () => (await status()).endpoints[0].state === "down");
      assert.match(
        (await status()).errors.join(),
        /default\/a: its interface cali\S+ is not there/,
      );
      assert.match((await httpGet(ns1, 9099, "/readiness")).body, /warning: endpoint default\/a/);
      await tool(ns1, "ip", "link", "set", "calielsewhere", "name", link);
      await until("up", 5000, async () => (await status()).endpoints[0].state === "up");
      await until("a pings b", 5000, () => podPings(a, b.addresses[0]));
    });

    await t.step("a second service of the node, and wrong settings, are refused", async () => {
      const run = async (more: Record<string, string>) => {
        const { code, stderr } = await new Deno.Command("ip", {
          args: ["netns", "exec", ns1, binary(), "node", "run"],
          env: {
            NODENAME: "node1",
            TORTIE_STORE: record.layout.storeSocket,
            TORTIE_RUN_DIR: `${node1.directory}/run2`,
            TORTIE_STATE_DIR: `${node1.directory}/state2`,
            TORTIE_CALICO_DIR: `${node1.directory}/calico2`,
            ...more,
          },
          stdout: "null",
          stderr: "piped",
        }).output();
        return { code, stderr: new TextDecoder().decode(stderr) };
      };
      const second = await run({});
      assert.equal(second.code, 1);
      assert.match(second.stderr, /another node service runs in this network namespace/);
      assert.ok(
        await Deno.stat(`${node1.directory}/run/node.pid`),
        "the first one's is still there",
      );
      const settings: Record<string, string>[] = [{ AS: "0" }, { IP: "foo" }, {
        TORTIE_LOG_LEVEL: "x",
      }];
      for (const wrong of settings) {
        const { code, stderr } = await run(wrong);
        assert.equal(code, 2);
        assert.match(stderr, /^error: [^\n]*\n$/);
      }
    });

    await t.step("the datastore's process is killed: pods go on, ADD says try again", async () => {
      using netns = Netns.open(netnsPath(a.netns));
      const pinger = new Pinger(mustIp(b.addresses[0]), netns);
      pinger.start(10);
      signal(record.processes.store, 9);
      await pause(500);
      // The node service too, while the datastore is away: peers must keep its routes.
      signal(record.processes.node1, 9);
      await pause(200);
      startNode(record, node1);
      await until("sessions are up from the last good state", 10_000, async () => {
        const { peers } = await askNode<NodeStatus>(node1, "node.status");
        return peers.length === 1 && peers[0].state === "Established";
      });
      const ready = await httpGet(ns1, 9099, "/readiness");
      assert.equal(ready.status, 503);
      assert.match(ready.body, /waiting for the datastore/);
      startStore(record);
      await waitReady(record, { mesh: true });
      const { sent, lost } = await pinger.stop();
      assert.deepEqual(lost, [], `of ${sent}`);
      const [c] = await lab.run(pod("c"), { node: "node1" });
      await until("a pings c", 5000, () => podPings(a, c.addresses[0]));
      await lab.remove(c);
    });

    await t.step("without a service ADD fails with code 11 and leaves nothing", async () => {
      const [e] = await lab.run(pod("e"), { node: "node2" });
      await endProcess(record.processes.node2);
      await assert.rejects(
        lab.start(JSON.parse(pod("d")), node2),
        (error) => error instanceof CniRefusal && error.code === 11,
      );
      // A pod goes all the same: what kernel and datastore alone can tell is done without a service.
      await lab.remove(e);
      const { stdout } = await lab.tortie(["ipam", "show", "--ip", e.addresses[0]]);
      assert.match(stdout, /not assigned/);
      const endpoints = await lab.tortie(["get", "wep", "-o", "json"]);
      assert.doesNotMatch(endpoints.stdout, /k8s-e-eth0/, "no endpoint outlives its address");
      const links = await tool(node2.namespace, "ip", "-o", "link");
      assert.equal(links.match(/cali/g)?.length, 1, "b's alone");
      startNode(record, node2);
      await waitReady(record, { mesh: true });
    });

    await t.step(
      "TCP 179 dropped: the routes vanish when the session is down for good",
      async () => {
        assert.match(await routes(), /proto 81/);
        await tool(ns1, "nft", "add", "table", "ip", "test");
        for (const [chain, port] of [["input", "dport"], ["input", "sport"]]) {
          await tool(
            ns1,
            "nft",
            `add chain ip test ${chain} { type filter hook ${chain} priority -5; }`,
          );
          await tool(ns1, "nft", `add rule ip test ${chain} tcp ${port} 179 drop`);
        }
        // Hold time 6 s.
        await until("no learned route", 15_000, async () => !/proto 81/.test(await routes()));
        const { peers } = await askNode<NodeStatus>(node1, "node.status");
        assert.notEqual(peers[0].state, "Established");
        assert.match(peers[0].lastError?.text ?? "", /hold/i);
        await tool(ns1, "nft", "delete", "table", "ip", "test");
        await until("learned again", 30_000, async () => /proto 81/.test(await routes()));
      },
    );

    await t.step("the service's log holds no bug", async () => {
      for (const node of [node1, node2]) {
        const text = await Deno.readTextFile(`${node.directory}/node.log`);
        assert.doesNotMatch(text, /TypeError|ReferenceError|Uncaught|NotCapable/);
      }
    });
    assert.ok(identify(record.processes.node1.pid));
  });
});
