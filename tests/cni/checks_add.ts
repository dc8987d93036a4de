/** Checks of ADD: the interface, the result in each version, failure, many at once. */
import assert from "node:assert/strict";
import { type Case, type Check, FOREIGN } from "./case.ts";
import { run } from "./harness.ts";

const ipOf = (json: any): string => json.ips[0].address.split("/")[0];

async function checkForm(c: Case, cniVersion: string): Promise<void> {
  const { json, netns } = await c.add({ conf: c.conf({ cniVersion }) });
  assert.equal(json.cniVersion, cniVersion);
  const index = json.interfaces.findIndex((i: any) => i.sandbox !== undefined);
  assert.equal(json.interfaces[index].name, "eth0");
  assert.equal(json.interfaces[index].sandbox, netns);
  const [ip] = json.ips;
  const old = cniVersion.startsWith("0.");
  assert.equal(ip.version, old ? "4" : undefined);
  assert.equal(ip.interface, index);
  assert.match(ip.address, /^\d+\.\d+\.\d+\.\d+\/\d+$/);
  assert.equal(json.interfaces[index].mtu, cniVersion === "1.1.0" ? 1450 : undefined);
  assert.equal(typeof json.dns, "object");
}

export const ADD_CHECKS: Check[] = [
  {
    id: "cni-24",
    name: "ADD makes the interface, up",
    async run(c) {
      const { netns } = await c.add();
      const link = await c.interface(netns);
      assert.ok(link.flags.includes("UP"));
      assert.ok(link.flags.includes("LOWER_UP"));
      assert.equal(link.mtu, 1450);
    },
  },
  {
    id: "cni-25",
    name: "another interface name is honoured",
    async run(c) {
      const { netns, json } = await c.add({ ifname: "net7" });
      assert.ok(await c.interface(netns, "net7"));
      assert.equal(await c.interface(netns, "eth0"), undefined);
      assert.ok(json.interfaces.some((i: any) => i.name === "net7"));
    },
  },
  {
    id: "cni-26",
    name: "an interface name of 15 characters works",
    async run(c) {
      const ifname = "fifteencharacte";
      assert.equal(ifname.length, 15);
      const { netns } = await c.add({ ifname });
      assert.ok(await c.interface(netns, ifname));
    },
  },
  ...["0.3.1", "0.4.0", "1.0.0", "1.1.0"].map((version, i): Check => ({
    id: `cni-${27 + i}`,
    name: `the result of ADD in the form of ${version}`,
    run: (c) => checkForm(c, version),
  })),
  {
    id: "cni-31",
    name: "the sandbox is the path of the namespace",
    async run(c) {
      const { json, netns } = await c.add();
      assert.deepEqual(
        json.interfaces.filter((i: any) => i.sandbox).map((i: any) => i.sandbox),
        [netns],
      );
    },
  },
  {
    id: "cni-32",
    name: "the MAC of the result is the interface's, on both sides",
    async run(c) {
      const { json, netns } = await c.add();
      const [host, pod] = json.interfaces;
      assert.equal(pod.mac, (await c.interface(netns)).address);
      const [link] = await c.harness.ip("", "link", "show", "dev", host.name);
      assert.equal(host.mac, link.address);
      assert.equal(host.mac, "ee:ee:ee:ee:ee:ee");
    },
  },
  {
    id: "cni-33",
    name: "every address of the result is on the interface",
    async run(c) {
      const ipam = { type: "tortie-ipam", assign_ipv6: "true" };
      const { json, netns } = await c.add({ conf: c.conf({ ipam }) });
      assert.equal(json.ips.length, 2);
      const { addr_info } = await c.interface(netns);
      for (const { address } of json.ips) {
        assert.ok(
          addr_info.some((a: any) => `${a.local}/${a.prefixlen}` === address && !a.tentative),
          address,
        );
      }
    },
  },
  {
    id: "cni-34",
    name: "every route of the result is in the namespace",
    async run(c) {
      const ipam = { type: "tortie-ipam", assign_ipv6: "true" };
      const { json, netns } = await c.add({ conf: c.conf({ ipam }) });
      assert.equal(json.routes.length, 2);
      for (const { dst, gw } of json.routes) {
        const family = dst.includes(":") ? "-6" : "-4";
        const routes = await c.harness.ip(netns, family, "route", "show");
        const wanted = dst === "0.0.0.0/0" || dst === "::/0" ? "default" : dst;
        assert.ok(routes.some((r) => r.dst === wanted && r.gateway === gw), `${dst} via ${gw}`);
      }
      // A permanent neighbour entry, so that proxy ARP need not answer.
      const neighbours = await c.harness.ip(netns, "neigh", "show", "nud", "permanent");
      for (const gateway of ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"]) {
        const entry = neighbours.find((n) => n.dst === gateway);
        assert.equal(entry?.lladdr, "ee:ee:ee:ee:ee:ee", gateway);
      }
    },
  },
  {
    id: "cni-35",
    name: "addresses point at the interface in the sandbox",
    async run(c) {
      const { json } = await c.add();
      for (const ip of json.ips) assert.ok(json.interfaces[ip.interface].sandbox);
    },
  },
  {
    id: "cni-36",
    name: "ADD fails where the interface exists, and leaves it alone; a second ADD too",
    async run(c) {
      const netns = await c.namespace();
      await c.harness.inNamespace(netns, FOREIGN);
      const before = await c.interface(netns);
      await c.refused(100, { netns });
      assert.deepEqual(await c.interface(netns), before);
      assert.deepEqual(await c.harness.traces(), []);
      const added = await c.add();
      const [link, traces] = [await c.interface(added.netns), await c.harness.traces()];
      await c.refused(100, { container: added.container, netns: added.netns });
      assert.deepEqual(await c.interface(added.netns), link);
      assert.deepEqual(await c.harness.traces(), traces);
      await c.harness.inNamespace(netns, ["ip", "link", "del", "eth0"]);
    },
  },
  {
    id: "cni-37",
    name: "twenty failed ADDs keep no address",
    async run(c) {
      const netns = await c.namespace();
      await c.harness.inNamespace(netns, FOREIGN);
      const good = await c.add();
      const before = await c.harness.traces();
      await Promise.all(Array.from({ length: 20 }, async (_, i) => {
        // Some fail before an address is asked for, some after, with half of it in hand.
        const conf = i % 2
          ? c.conf()
          : c.conf({ ipam: { type: "tortie-ipam", assign_ipv6: "true", ipv6_pools: ["nosuch"] } });
        const path = i % 2 ? netns : await c.namespace();
        await c.refused([100, 101], { container: `failed${i}`, netns: path, conf });
      }));
      assert.deepEqual(await c.harness.traces(), before);
      const next = await c.add();
      assert.notEqual(ipOf(next.json), ipOf(good.json));
      await c.harness.inNamespace(netns, ["ip", "link", "del", "eth0"]);
    },
  },
  {
    id: "cni-38",
    name: "standard output is one JSON document and nothing else",
    async run(c) {
      const { stdout, stderr } = await c.add();
      assert.equal(stdout.trimEnd().split("\n").length, 1);
      assert.ok(stdout.startsWith("{") && stdout.endsWith("}\n"));
      assert.equal(stderr, "");
    },
  },
  {
    id: "cni-39",
    name: "one container, two interfaces, two addresses; DEL takes one",
    async run(c) {
      const first = await c.add();
      const second = await c.add({
        container: first.container,
        netns: first.netns,
        ifname: "net1",
        conf: c.conf({ name: "othernet" }),
      });
      const third = await c.add({
        container: first.container,
        netns: first.netns,
        ifname: "net2",
      }).catch((error) => error);
      // A second default route cannot be; what must hold is that nothing of the first is harmed.
      assert.ok(third instanceof Error || third.code === 0);
      assert.notEqual(ipOf(first.json), ipOf(second.json));
      assert.notEqual(first.json.interfaces[0].name, second.json.interfaces[0].name);
      await c.del(second, { conf: c.conf({ name: "othernet" }) });
      assert.ok(await c.interface(first.netns, "eth0"));
      assert.equal(await c.interface(first.netns, "net1"), undefined);
    },
  },
  {
    id: "cni-40",
    name: "thirty containers have thirty addresses",
    async run(c) {
      const addresses = new Set<string>();
      for (let round = 0; round < 5; round++) {
        const added = await Promise.all(Array.from({ length: 6 }, () => c.add()));
        for (const { json } of added) addresses.add(ipOf(json));
      }
      assert.equal(addresses.size, 30);
    },
  },
  {
    id: "cni-41",
    name: "twelve ADDs at once have twelve addresses",
    async run(c) {
      const paths = await Promise.all(Array.from({ length: 12 }, () => c.namespace()));
      const added = await Promise.all(paths.map((netns) => c.add({ netns })));
      assert.equal(new Set(added.map(({ json }) => ipOf(json))).size, 12);
    },
  },
  {
    id: "cni-42",
    name: "two containers ping each other, both families, and the node has no default route",
    async run(c) {
      assert.deepEqual(await c.harness.ip("", "route", "show", "default"), []);
      const conf = c.conf({ ipam: { type: "tortie-ipam", assign_ipv6: "true" } });
      const [a, b] = [await c.add({ conf }), await c.add({ conf })];
      for (const { address } of b.json.ips) {
        const ip = address.split("/")[0];
        const ping = await run(["nsenter", `--net=${a.netns}`, "ping", "-c", "2", "-W", "2", ip]);
        assert.equal(ping.code, 0, ping.stdout);
      }
    },
  },
  {
    id: "cni-43",
    name: "unknown keys of the configuration are ignored",
    async run(c) {
      await c.add({ conf: c.conf({ colour: "blue", nested: { a: [1, null] }, args: { x: 1 } }) });
    },
  },
  {
    id: "cni-44",
    name: "unknown runtimeConfig is ignored",
    async run(c) {
      await c.add({ conf: c.conf({ runtimeConfig: { teapot: true, portMappings: [] } }) });
    },
  },
  {
    id: "cni-45",
    name: "unknown CNI_ARGS are accepted",
    async run(c) {
      await c.add({ args: "IgnoreUnknown=1;FOO=bar;K8S_POD_INFRA_CONTAINER_ID=x" });
    },
  },
  {
    id: "cni-46",
    name: "CNI_ARGS that are not K=V are refused",
    async run(c) {
      for (const args of ["justtext", "=x", "A=1;nonsense"]) {
        const { json } = await c.refused(4, { args, netns: await c.namespace() });
        assert.match(json.msg, /CNI_ARGS/);
      }
    },
  },
];
