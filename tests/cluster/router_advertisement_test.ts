/**
 * A pod that plays the router (CVE-2020-10749): what it advertises becomes nobody's route. Two things
 * stand against it, a rule and a setting, and each is shown to hold alone; with both taken away by hand
 * the same packets take effect, so it is them that hold. In a cluster without IPv6 too, whose nodes and
 * pods have link-local addresses all the same.
 */
import assert from "node:assert/strict";
import { DatagramSocket, socketAddress } from "../../ffi/datagram.ts";
import { signal } from "../../ffi/process.ts";
import {
  AF_INET6,
  check,
  closeFd,
  libc,
  setOption,
  SOCK_CLOEXEC,
  SOCK_RAW,
} from "../../ffi/libc.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { netnsPath, startNode, waitReady } from "../../mod/lab/cluster.ts";
import { addressOf } from "../../mod/lab/matrix.ts";
import type { RunningPod } from "../../mod/lab/lab.ts";
import { type Ip, mustIp } from "../../mod/net/mod.ts";
import { inNetns, Netns, pause, pod, tool, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };
const ICMPV6 = 58, ADVERTISEMENT = 134, ALL_NODES = mustIp("ff02::1");
const IPPROTO_IPV6 = 41, UNICAST_HOPS = 16, MULTICAST_IF = 17, MULTICAST_HOPS = 18;
const RULE = "Drop router advertisements of workloads";

/** RFC 4861, 4.2: a router for half an hour, and with 4.6.2 a prefix to make addresses of. */
function advertisement(): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(16 + 32);
  const view = new DataView(bytes.buffer);
  bytes[0] = ADVERTISEMENT;
  bytes[4] = 64; // hop limit
  view.setUint16(6, 1800);
  bytes.set([3, 4, 64, 0xc0], 16);
  view.setUint32(20, 86400);
  view.setUint32(24, 86400);
  bytes.set(mustIp("fd00:bad::").bytes, 32);
  return bytes;
}

/** Sent as a router does, with hop limit 255; false where the pod has no usable address yet. */
function advertise(from: RunningPod, to: Ip): boolean {
  using netns = Netns.open(netnsPath(from.netns));
  using socket = RouteSocket.open(netns);
  const { index } = socket.link("eth0")!;
  const fd = inNetns(
    netns,
    () => check(libc().socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, ICMPV6), "make a raw socket"),
  );
  try {
    setOption(fd, IPPROTO_IPV6, UNICAST_HOPS, 255, "set the hop limit");
    setOption(fd, IPPROTO_IPV6, MULTICAST_HOPS, 255, "set the hop limit");
    setOption(fd, IPPROTO_IPV6, MULTICAST_IF, index, "choose the interface");
    const bytes = advertisement(), target = socketAddress(to, 0);
    return libc().sendto(fd, bytes, BigInt(bytes.length), 0, target, target.length) >= 0;
  } finally {
    closeFd(fd);
  }
}

/** The rule as the kernel has it: its place and how many packets it has dropped. */
async function theRule(netns: string) {
  const json = JSON.parse(await tool(netns, "nft", "-j", "list", "table", "ip6", "calico"));
  for (const { rule } of json.nftables) {
    if (!rule?.comment?.includes(RULE)) continue;
    const counter = rule.expr.find((e: any) => e.counter)!.counter;
    return { chain: rule.chain, handle: String(rule.handle), packets: counter.packets as number };
  }
}

/** Default routes and addresses that an advertisement has made. */
async function effects(netns: string): Promise<string[]> {
  const text = await tool(netns, "ip", "-6", "route") +
    await tool(netns, "ip", "-6", "-o", "addr");
  return text.split("\n").filter((line) => /proto ra|fd00:bad:/.test(line));
}

for (const families of ["IPv4", "IPv4,IPv6"]) {
  Deno.test(`router advertisements of a pod, families ${families}`, options, async (t) => {
    await withLab({ subnets: "1", families }, async (lab) => {
      const [node] = lab.record.layout.nodes;
      const [pod1] = await lab.run(pod("router"));
      const [victim] = await lab.run(pod("victim"));
      const host = node.namespace;
      const wep = JSON.parse((await lab.tortie(["get", "wep", "-o", "json"])).stdout)
        .items.find((w: any) => w.spec.pod === "router");
      const link: string = wep.spec.interfaceName;
      const acceptRa = `net.ipv6.conf.${link}.accept_ra`;
      using inVictim = Netns.open(netnsPath(victim.netns));
      const routes = () => tool(victim.netns, "ip", "-6", "route");
      const [hostRoutes, victimRoutes] = [await tool(host, "ip", "-6", "route"), await routes()];

      let heard = 0;
      const ears = new DatagramSocket({ family: 6, protocol: ICMPV6, netns: inVictim }, (d) => {
        if (d.bytes[0] === ADVERTISEMENT) heard++;
      });
      /** To everybody on the link, and where there is IPv6 to the other pod by its address. */
      const send = () => {
        const sent = advertise(pod1, ALL_NODES);
        return families === "IPv4" ? sent : advertise(pod1, addressOf(victim, 6)) && sent;
      };
      const each = families === "IPv4" ? 1 : 2;

      try {
        await t.step("nothing comes of them", async () => {
          await until("sent", 5000, send);
          await until(
            "dropped by the rule",
            5000,
            async () => (await theRule(host))!.packets >= each,
          );
          assert.deepEqual(await effects(host), []);
          assert.deepEqual(await effects(victim.netns), []);
          assert.equal((await tool(host, "sysctl", "-n", acceptRa)).trim(), "0");
        });

        signal(lab.record.processes[node.name], 9); // or it would mend what is broken now

        await t.step("the rule holds alone", async () => {
          await tool(host, "sysctl", "-qw", `${acceptRa}=2`);
          const before = (await theRule(host))!.packets;
          assert.ok(send());
          await until(
            "dropped by the rule",
            5000,
            async () => (await theRule(host))!.packets >= before + each,
          );
          assert.deepEqual(await effects(host), []);
          assert.equal(heard, 0);
        });

        await t.step("without rule and setting they take effect", async () => {
          const { chain, handle } = (await theRule(host))!;
          await tool(host, "nft", "delete", "rule", "ip6", "calico", chain, "handle", handle);
          assert.ok(send());
          await until(
            "the host has a default route by the pod",
            5000,
            async () => (await effects(host)).some((line) => line.includes(`dev ${link} proto ra`)),
          );
          if (families !== "IPv4") await until("the other pod hears it", 5000, () => heard > 0);
        });

        await t.step("the setting holds alone", async () => {
          await tool(host, "sysctl", "-qw", `${acceptRa}=0`);
          await tool(host, "ip", "-6", "route", "flush", "proto", "ra");
          await tool(host, "ip", "-6", "addr", "flush", "dev", link, "to", "fd00:bad::/64");
          await tool(host, "ip", "-6", "route", "flush", "fd00:bad::/64");
          const before = heard;
          assert.ok(send());
          if (families === "IPv4") await pause(300);
          else await until("it has passed", 5000, () => heard > before);
          assert.deepEqual(await effects(host), []);
        });

        await t.step("the service puts back what is missing", async () => {
          await tool(host, "sysctl", "-qw", `${acceptRa}=2`);
          startNode(lab.record, node);
          await waitReady(lab.record);
          assert.ok(await theRule(host));
          assert.equal((await tool(host, "sysctl", "-n", acceptRa)).trim(), "0");
          const before = heard;
          assert.ok(send());
          await until("dropped", 5000, async () => (await theRule(host))!.packets >= each);
          assert.equal(heard, before);
          assert.equal(await routes(), victimRoutes, "the other pod's routes are as before");
          assert.equal(await tool(host, "ip", "-6", "route"), hostRoutes, "and the host's");
        });
      } finally {
        ears.close();
      }
    });
  });
}
