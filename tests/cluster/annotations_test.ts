/**
 * What pods ask for by annotation, with packets: floating addresses, sources that are not the pod's own,
 * limits of bandwidth, packets and connections, addresses without IPAM, and a namespace that is tied to
 * a pool and kept apart by one policy on the pool's network.
 */
import assert from "node:assert/strict";
import { connectTcp, listenTcp } from "../../ffi/tcp.ts";
import type { Stream } from "../../ffi/stream.ts";
import { netnsPath, waitReady } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import { transfer } from "../../mod/lab/transfer.ts";
import { formatIp, mustIp } from "../../mod/net/mod.ts";
import { Netns, pod, podPings, tool, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const P = "cni.projectcalico.org/";
const Q = "qos.projectcalico.org/";

async function felix(lab: Lab, spec: Record<string, unknown>): Promise<void> {
  await lab.apply(JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind: "FelixConfiguration",
    metadata: { name: "default" },
    spec,
  }));
}

Deno.test("floating addresses lead to the pod, from pods, hosts and itself", options, async () => {
  await withLab({ subnets: "2" }, async (lab) => {
    const external = "203.0.113.7";
    const annotations = { [P + "floatingIPs"]: `["${external}"]` };
    // Off in FelixConfiguration: refused, with what is to do, and nothing stays.
    await assert.rejects(
      lab.run(pod("server", { annotations }), { node: "node2" }),
      /Pod default\/server: annotation .*floatingIPs needs floatingIPs: Enabled in FelixConf/,
    );
    await felix(lab, { floatingIPs: "Enabled" });
    let refused = 0;
    const [server] = await (async () => {
      for (;;) {
        try {
          return await lab.run(pod("server", { annotations }), { node: "node2" });
        } catch (error) {
          // The service takes the new setting in a moment.
          if (++refused > 200) throw error;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
      }
    })();
    await waitReady(lab.record, { mesh: true });
    const [client] = await lab.run(pod("client"), { node: "node1" });
    const [node1, node2] = lab.record.layout.nodes;
    // The network's part: it routes the address to the node.
    const toNode2 = ["via", node2.addresses[0].replace(/\/.*/, "")];
    await tool(node1.namespace, "ip", "route", "add", external, ...toNode2);
    using inServer = Netns.open(netnsPath(server.netns));
    const callers: string[] = [];
    const listener = listenTcp(
      { local: { ip: mustIp("0.0.0.0"), port: 7000 }, netns: inServer },
      (stream) => {
        callers.push(formatIp(stream.remote.ip));
        stream.close();
      },
    );
    /** From whom a call seems to come; "" where it does not come through. */
    const call = async (namespace: string): Promise<string> => {
      using netns = Netns.open(netnsPath(namespace));
      const before = callers.length;
      try {
        const remote = { ip: mustIp(external), port: 7000 };
        (await connectTcp({ remote, netns, timeout: 1000 })).close();
      } catch {
        return "";
      }
      await until("the call was taken", 5000, () => callers.length > before);
      return callers[before];
    };
    try {
      await until(
        "the client reaches it",
        10_000,
        // Out of the pools, so with its node's address.
        async () => await call(client.netns) === node1.addresses[0].replace(/\/.*/, ""),
      );
      assert.notEqual(await call(node1.namespace), "", "from another host");
      assert.notEqual(await call(node2.namespace), "", "from its own host");
      assert.equal(await call(server.netns), external, "from itself, as from outside");
      // Without the pod nobody answers there.
      const listing = await tool(
        node2.namespace,
        "nft",
        "list",
        "chain",
        "ip",
        "calico",
        "nat-cali-fip-dnat",
      );
      assert.match(listing, /ip daddr 203\.0\.113\.7 counter .* dnat to 10\.244\./);
    } finally {
      listener.close();
    }
    await lab.remove(server);
    await until(
      "its rule is gone",
      5000,
      async () =>
        !/203\.0\.113\.7/.test(await tool(node2.namespace, "nft", "list", "table", "ip", "calico")),
    );
    await felix(lab, {});
  });
});

Deno.test("a pod sends from other sources only where it may", options, async () => {
  await withLab({ subnets: "1", mesh: false }, async (lab) => {
    const annotations = { [P + "allowedSourcePrefixes"]: '["192.0.2.0/24"]' };
    await assert.rejects(
      lab.run(pod("router", { annotations }), { node: "node1" }),
      /needs workloadSourceSpoofing: Any in FelixConfiguration default/,
    );
    await felix(lab, { workloadSourceSpoofing: "Any" });
    let router: { netns: string; addresses: string[] } | undefined;
    await until("the setting is taken", 15_000, async () => {
      [router] = await lab.run(pod("router", { annotations }), { node: "node1" });
      return true;
    });
    await waitReady(lab.record);
    const [liar] = await lab.run(pod("liar"), { node: "node1" });
    const [target] = await lab.run(pod("target"), { node: "node1" });
    const ns = lab.node("node1").namespace;
    // As strict as a host can be: the kernel's own check must not stand in the way.
    await tool(ns, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=0");
    const pings = async (from: { netns: string; addresses: string[] }, source: string) => {
      await tool(from.netns, "ip", "addr", "replace", `${source}/32`, "dev", "lo");
      const before = await seen(source);
      await tool(
        from.netns,
        "ping",
        "-c",
        "3",
        "-i",
        "0.1",
        "-W",
        "1",
        "-I",
        source,
        target.addresses[0],
      )
        .catch(() => {});
      return await seen(source) - before;
    };
    /** Echo requests from this source that have reached the target. */
    const seen = async (source: string): Promise<number> => {
      const list = await tool(target.netns, "nft", "list", "chain", "ip", "seen", "in");
      if (!list.includes(`saddr ${source} `)) {
        await tool(
          target.netns,
          "nft",
          "add",
          "rule",
          "ip",
          "seen",
          "in",
          "ip",
          "saddr",
          source,
          "counter",
        );
        return 0;
      }
      return Number(new RegExp(`saddr ${source} counter packets (\\d+)`).exec(list)![1]);
    };
    await tool(target.netns, "nft", "add table ip seen");
    await tool(
      target.netns,
      "nft",
      "add chain ip seen in { type filter hook input priority 0; }",
    );
    assert.equal(await pings(router!, "192.0.2.7"), 3, "what the annotation allows passes");
    assert.equal(await pings(router!, "198.51.100.7"), 0, "and nothing beside it");
    assert.equal(await pings(liar, "192.0.2.8"), 0, "nor from a pod without it");
    // Switched off again, what an endpoint says no longer counts.
    await felix(lab, {});
    await until(
      "its source is no longer let through",
      15_000,
      async () => await pings(router!, "192.0.2.7") === 0,
    );
  });
});

Deno.test(
  "a MAC, an address without IPAM, limits of bandwidth, packets and connections",
  options,
  async () => {
    await withLab({ subnets: "1", mesh: false }, async (lab) => {
      await assert.rejects(
        lab.run(pod("marked", { annotations: { [Q + "dscp"]: "AF11" } }), { node: "node1" }),
        /Pod default\/marked: annotation qos\.projectcalico\.org\/dscp is not supported/,
      );
      const [machine] = lab.record.layout.nodes[0].addresses;
      await assert.rejects(
        lab.run(
          pod("thief", {
            annotations: { [P + "ipAddrsNoIpam"]: `["${machine.replace(/\/.*/, "")}"]` },
          }),
          { node: "node1" },
        ),
        /ipAddrsNoIpam asks for [\d.]+, which is an address of node node1: name one that no machine/,
      );
      const [odd] = await lab.run(
        pod("odd", {
          annotations: {
            [P + "ipAddrsNoIpam"]: '["10.244.210.9"]',
            [P + "hwAddr"]: "02:00:5e:10:00:01",
          },
        }),
        { node: "node1" },
      );
      assert.deepEqual(odd.addresses, ["10.244.210.9"]);
      assert.match(
        await tool(odd.netns, "ip", "link", "show", "eth0"),
        /link\/ether 02:00:5e:10:00:01/,
      );
      const record = await lab.store.list<any>("/calico/ipam/v2/assignment/");
      const given = record.entries.flatMap((e) => e.value.allocations).filter((a) => a !== null);
      assert.deepEqual(given, [], "an address without IPAM is on record");

      const limited = {
        "kubernetes.io/ingress-bandwidth": "8M",
        [Q + "ingressBurst"]: "800k",
        [Q + "egressPacketRate"]: "20",
        [Q + "ingressMaxConnections"]: "3",
      };
      const annotate = async (name: string, ...of: string[]) => {
        const annotations = Object.fromEntries(
          Object.entries(limited).filter(([key]) => of.some((word) => key.includes(word))),
        );
        const [made] = await lab.run(pod(name, { annotations }), { node: "node1" });
        return made;
      };
      const client = await annotate("client");
      const plain = await annotate("plain");
      const slow = await annotate("slow", "bandwidth", "Burst");
      await until(
        "the address without IPAM is reached",
        10_000,
        () => podPings(client, odd.addresses[0]),
      );

      /** Seconds for four million bytes. */
      using inClient = Netns.open(netnsPath(client.netns));
      const seconds = async (to: { netns: string; addresses: string[] }) => {
        using netns = Netns.open(netnsPath(to.netns));
        const done = await transfer(inClient, netns, mustIp(to.addresses[0]), 4_000_000, 1e12);
        assert.equal(done.received, done.sent);
        return done.seconds;
      };
      // A million bytes a second; what the bucket holds (a second's worth and the burst) comes at once.
      const least = (4e6 - 1e6 - 1e5) / 1e6;
      const slowly = await seconds(slow);
      assert.ok(slowly >= least, `4 MB in ${slowly} s`);
      await until(
        "without a limit it takes less",
        60_000,
        async () => await seconds(plain) < least,
      );

      const chatty = await annotate("chatty", "PacketRate");
      const answers = async (from: { netns: string }) => {
        const text = await tool(
          from.netns,
          "ping",
          "-c",
          "200",
          "-i",
          "0.002",
          "-q",
          "-W",
          "1",
          plain.addresses[0],
        )
          .catch((error: Error) => error.message);
        const counts = /(\d+) received.* time (\d+)ms/.exec(text)!;
        return { received: Number(counts[1]), seconds: Number(counts[2]) / 1000 };
      };
      const few = await answers(chatty);
      assert.ok(few.received <= 5 + 20 * (few.seconds + 1), JSON.stringify(few));
      assert.ok(few.received >= 5, JSON.stringify(few));
      assert.equal((await answers(client)).received, 200);

      const shy = await annotate("shy", "MaxConnections");
      using inShy = Netns.open(netnsPath(shy.netns));
      const accepted: Stream[] = [];
      const listener = listenTcp(
        { local: { ip: mustIp("0.0.0.0"), port: 7000 }, netns: inShy },
        (stream) => accepted.push(stream),
      );
      const remote = { ip: mustIp(shy.addresses[0]), port: 7000 };
      const connect = () => connectTcp({ remote, netns: inClient, timeout: 2000 });
      try {
        const open = [await connect(), await connect(), await connect()];
        await assert.rejects(connect());
        await until("they were taken", 5000, () => accepted.length === 3);
        // A change of policy leaves the count where it is.
        await lab.apply(JSON.stringify({
          apiVersion: "projectcalico.org/v3",
          kind: "GlobalNetworkPolicy",
          metadata: { name: "shy" },
          spec: {
            selector: "app == 'shy'",
            ingress: [{ action: "Allow" }],
            egress: [{ action: "Allow" }],
          },
        }));
        const ns = lab.node("node1").namespace;
        await until(
          "the policy is there",
          10_000,
          async () => /gnp.*shy/.test(await tool(ns, "nft", "list", "table", "ip", "calico")),
        );
        await assert.rejects(connect());
        for (const stream of open) stream.close();
        for (const stream of accepted) stream.close();
      } finally {
        listener.close();
      }
    });
  },
);

Deno.test(
  "a namespace tied to a pool is kept apart by one policy on the pool's network",
  options,
  async () => {
    await withLab({ subnets: "2" }, async (lab) => {
      const cidr = "10.99.0.0/24";
      await lab.apply(
        [
          {
            apiVersion: "projectcalico.org/v3",
            kind: "IPPool",
            metadata: { name: "red" },
            // Nobody gets it but who names it.
            spec: { cidr, assignmentMode: "Manual", natOutgoing: false },
          },
          {
            apiVersion: "v1",
            kind: "Namespace",
            metadata: { name: "red", annotations: { [P + "ipv4pools"]: '["red"]' } },
          },
          { apiVersion: "v1", kind: "Namespace", metadata: { name: "blue" } },
        ].map((o) => JSON.stringify(o)).join("\n---\n"),
      );
      const run = async (name: string, namespace: string, node: string) =>
        (await lab.run(pod(name, { namespace }), { node }))[0];
      const red1 = await run("red1", "red", "node1"), red2 = await run("red2", "red", "node2");
      const blue1 = await run("blue1", "blue", "node1"),
        blue2 = await run("blue2", "blue", "node2");
      for (const { addresses } of [red1, red2]) assert.match(addresses[0], /^10\.99\.0\./);
      for (const { addresses } of [blue1, blue2]) assert.match(addresses[0], /^10\.244\./);
      const pairs = [[red1, red2], [red2, red1], [blue1, blue2], [red1, blue2], [blue1, red2], [
        red1,
        blue1,
      ], [blue2, red2]] as const;
      for (const [from, to] of pairs) {
        await until(
          `${from.name} reaches ${to.name}`,
          15_000,
          () => podPings(from, to.addresses[0]),
        );
      }
      await lab.apply(JSON.stringify({
        apiVersion: "projectcalico.org/v3",
        kind: "GlobalNetworkPolicy",
        metadata: { name: "red-apart" },
        spec: {
          selector: "all()",
          types: ["Ingress"],
          ingress: [
            { action: "Allow", source: { nets: [cidr] }, destination: { nets: [cidr] } },
            { action: "Deny", source: { nets: [cidr] } },
            { action: "Deny", destination: { nets: [cidr] } },
            { action: "Allow" },
          ],
        },
      }));
      for (const [from, to] of pairs) {
        const within = from.namespace === to.namespace;
        await until(
          `${from.name} ${within ? "still reaches" : "is kept from"} ${to.name}`,
          15_000,
          async () => await podPings(from, to.addresses[0]) === within,
        );
      }
      // A pod that comes later is as the others, and one that asks for another pool is none of the pool's.
      const red3 = await run("red3", "red", "node2");
      assert.equal(await podPings(red3, red1.addresses[0]), true);
      assert.equal(await podPings(red3, blue2.addresses[0]), false);
    });
  },
);
