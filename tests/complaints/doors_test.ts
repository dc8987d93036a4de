/**
 * What users of such networks have complained about for years, doors that should be shut: each
 * reproduced, with a control that shows that the same packets pass where nobody shuts them. The
 * numbers are rows of our list of complaints; the threads are the users' own.
 */
import assert from "node:assert/strict";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { signal } from "../../ffi/process.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { Netns, pod, podPings, tool, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(
  "28: an interface that has no policy yet is closed in both directions",
  options,
  async () => {
    // kube-router#873, #1652, #2059: policy came late, and traffic leaked before it.
    await withLab({ subnets: "1", mesh: false }, async (lab) => {
      const { record } = lab;
      const [node] = record.layout.nodes;
      const [a] = await lab.run(pod("a"));
      // The rules are the kernel's: nobody needs to run for this.
      signal(record.processes.node1, 9);
      const ns = node.namespace, inside = `tortie-${record.layout.name}-rogue`;
      const address = "10.244.200.7";
      await tool(undefined, "ip", "netns", "add", inside);
      try {
        const wire = async (host: string) => {
          await tool(
            ns,
            "ip",
            "link",
            "add",
            host,
            "type",
            "veth",
            "peer",
            "eth0",
            "netns",
            inside,
          );
          await tool(ns, "ip", "link", "set", host, "up", "address", "ee:ee:ee:ee:ee:ee");
          await tool(ns, "ip", "route", "add", address, "dev", host);
          await tool(ns, "sysctl", "-qw", `net.ipv4.conf.${host}.proxy_arp=1`);
          await tool(inside, "ip", "link", "set", "eth0", "up");
          await tool(inside, "ip", "address", "add", `${address}/32`, "dev", "eth0");
          await tool(inside, "ip", "route", "add", "169.254.1.1", "dev", "eth0");
          await tool(inside, "ip", "route", "add", "default", "via", "169.254.1.1");
          const gateway = ["169.254.1.1", "lladdr", "ee:ee:ee:ee:ee:ee", "dev", "eth0"];
          await tool(inside, "ip", "neigh", "replace", ...gateway);
        };
        const rogue = { netns: inside } as PodRecord;
        const [host] = JSON.parse(await tool(ns, "ip", "-j", "-4", "addr", "show", "dev", "eth0"));
        const hostAddress = host.addr_info[0].local;
        const reached = async () => [
          await podPings(rogue, a.addresses[0]),
          await podPings(a, address),
          await podPings(rogue, hostAddress),
        ];
        await wire("calirogue");
        assert.deepEqual(await reached(), [false, false, false]);
        await tool(ns, "ip", "link", "del", "calirogue");
        // A control: under a name that is no pod's, the very same wiring carries packets.
        await wire("rogue");
        assert.deepEqual(await reached(), [true, true, true]);
      } finally {
        await tool(undefined, "ip", "netns", "del", inside);
      }
    });
  },
);

Deno.test("50: no pod is taken for a router, by the host nor by other pods", options, async () => {
  // CVE-2020-10749, kubernetes#91507: with IPv6 not in use, a pod's advertisements made it the gateway.
  await withLab({ subnets: "1", mesh: false }, async (lab) => {
    const ns = lab.node("node1").namespace;
    const [a] = await lab.run(pod("a"));
    const [b] = await lab.run(pod("b"));
    const [{ dev }] = JSON.parse(await tool(ns, "ip", "-j", "route", "show", a.addresses[0]));
    const setting = `net.ipv6.conf.${dev}.accept_ra`;
    assert.equal((await tool(ns, "sysctl", "-n", setting)).trim(), "0");
    // Even where somebody turns it on: the packets themselves do not come through.
    await tool(ns, "sysctl", "-qw", `${setting}=2`);
    const routers = () => tool(ns, "ip", "-6", "route", "show", "default", "proto", "ra");

    const hostLink = async (name: string) => {
      const [{ addr_info }] = JSON.parse(await tool(ns, "ip", "-j", "-6", "addr", "show", name));
      return addr_info[0].local as string;
    };
    using inA = Netns.open(netnsPath(a.netns));
    using onHost = Netns.open(netnsPath(ns));
    using inB = Netns.open(netnsPath(b.netns));
    const heard = new Map<string, number[]>([["host", []], ["b", []]]);
    const ear = (where: string, netns: Netns) =>
      new DatagramSocket(
        { family: 6, protocol: 58, netns },
        ({ bytes }) => heard.get(where)!.push(bytes[0]),
      );
    const ears = [ear("host", onHost), ear("b", inB)];
    // Type 134, a router for half an hour; 137, a redirect; 128, an echo that all may send.
    const packet = (type: number) => {
      const bytes = new Uint8Array(16);
      bytes[0] = type;
      if (type === 134) new DataView(bytes.buffer).setUint16(6, 1800);
      return bytes;
    };
    const send = async (device: string, netns: Netns, to: string, types: number[]) => {
      const mouth = new DatagramSocket(
        { family: 6, protocol: 58, netns, device, hopLimit: 255 },
        () => {},
      );
      await until("it can be sent", 3000, () => mouth.send(mustIp(to), 0, packet(types[0])));
      for (const type of types.slice(1)) mouth.send(mustIp(to), 0, packet(type));
      mouth.close();
    };
    try {
      await until("links have addresses", 5000, async () => !!await hostLink(dev));
      await send("eth0", inA, await hostLink(dev), [134, 137, 128]);
      await until("the echo is heard", 3000, () => heard.get("host")!.includes(128));
      assert.deepEqual(heard.get("host")!.filter((type) => type === 134 || type === 137), []);
      assert.equal(await routers(), "");
      // On to another pod: as forwarded by a host that knows the way, and forwards IPv6 for others.
      await tool(ns, "sysctl", "-qw", "net.ipv6.conf.all.forwarding=1");
      await tool(a.netns, "ip", "-6", "addr", "add", "fd00:a::1/128", "dev", "eth0", "nodad");
      await tool(b.netns, "ip", "-6", "addr", "add", "fd00:a::2/128", "dev", "eth0", "nodad");
      const [{ dev: devB }] = JSON.parse(
        await tool(ns, "ip", "-j", "route", "show", b.addresses[0]),
      );
      await tool(ns, "ip", "-6", "route", "add", "fd00:a::1", "dev", dev);
      await tool(ns, "ip", "-6", "route", "add", "fd00:a::2", "dev", devB);
      const gateway = ["via", await hostLink(dev), "dev", "eth0"];
      await tool(a.netns, "ip", "-6", "route", "add", "default", ...gateway);
      await send("eth0", inA, "fd00:a::2", [134, 128]);
      await until("b hears the echo", 5000, async () => {
        if (heard.get("b")!.includes(128)) return true;
        await send("eth0", inA, "fd00:a::2", [128]);
        return false;
      });
      assert.deepEqual(heard.get("b")!.filter((type) => type === 134), []);
      // A control: from an interface that is no pod's the same packet makes a router.
      await tool(
        ns,
        "ip",
        "link",
        "add",
        "rogue",
        "type",
        "veth",
        "peer",
        "rogue",
        "netns",
        b.netns,
      );
      await tool(ns, "sysctl", "-qw", "net.ipv6.conf.rogue.accept_ra=2");
      await tool(ns, "ip", "link", "set", "rogue", "up");
      await tool(b.netns, "ip", "link", "set", "rogue", "up");
      await until("the control is believed", 10_000, async () => {
        await send("rogue", inB, await hostLink("rogue"), [134]);
        return (await routers()).includes("dev rogue");
      });
      assert.ok(heard.get("host")!.includes(134));
      assert.doesNotMatch(await routers(), new RegExp(dev));
    } finally {
      for (const e of ears) e.close();
    }
  });
});
