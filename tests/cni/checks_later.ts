/** Checks of what comes after ADD: CHECK, DEL, STATUS, GC, and what the host sees of it all. */
import assert from "node:assert/strict";
import { type Added, type Case, type Check, FOREIGN } from "./case.ts";

const GC = (c: Case, valid: Added[], more: Record<string, unknown> = {}) =>
  c.conf({
    cniVersion: "1.1.0",
    "cni.dev/valid-attachments": valid.map(({ container, ifname }) => ({
      containerID: container,
      ifname,
    })),
    ...more,
  });
/** Variables that GC and STATUS do without. */
const NONE = { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_NETNS: undefined };

async function check(c: Case, added: Added, more: Record<string, unknown> = {}) {
  return await c.call({
    command: "CHECK",
    container: added.container,
    netns: added.netns,
    ifname: added.ifname,
    conf: c.conf({ prevResult: added.json, ...more }),
  });
}

export const LATER_CHECKS: Check[] = [
  {
    id: "cni-47",
    name: "CHECK after ADD succeeds and says nothing",
    async run(c) {
      for (const cniVersion of ["0.4.0", "1.0.0", "1.1.0"]) {
        const added = await c.add({ conf: c.conf({ cniVersion }) });
        const { code, stdout } = await check(c, added, { cniVersion });
        assert.equal(code, 0, stdout);
        assert.equal(stdout, "");
      }
    },
  },
  {
    id: "cni-48",
    name: "CHECK without prevResult fails",
    async run(c) {
      const { container, netns } = await c.add();
      await c.refused(7, { command: "CHECK", container, netns });
    },
  },
  {
    id: "cni-49",
    name: "CHECK fails when the interface is gone",
    async run(c) {
      const added = await c.add();
      await c.harness.inNamespace(added.netns, ["ip", "link", "del", "eth0"]);
      const { json } = await check(c, added);
      assert.equal(json.code, 105);
      assert.match(json.msg, /no interface eth0/);
    },
  },
  {
    id: "cni-50",
    name: "CHECK fails when the address is gone",
    async run(c) {
      const added = await c.add();
      const { address } = added.json.ips[0];
      await c.harness.inNamespace(added.netns, ["ip", "addr", "del", address, "dev", "eth0"]);
      const { json } = await check(c, added);
      assert.equal(json.code, 105);
      assert.ok(json.msg.includes(address));
    },
  },
  {
    id: "cni-51",
    name: "CHECK fails when a route of the result is gone",
    async run(c) {
      const added = await c.add();
      await c.harness.inNamespace(added.netns, ["ip", "route", "del", "default"]);
      const { json } = await check(c, added);
      assert.equal(json.code, 105);
      assert.match(json.msg, /0\.0\.0\.0\/0 via 169\.254\.1\.1/);
    },
  },
  {
    id: "cni-52",
    name: "CHECK passes when somebody added a route and an address",
    async run(c) {
      const added = await c.add();
      const route = ["ip", "route", "add", "198.51.100.0/24", "via", "169.254.1.1", "dev", "eth0"];
      await c.harness.inNamespace(added.netns, route);
      await c.harness.inNamespace(added.netns, [
        "ip",
        "addr",
        "add",
        "192.0.2.9/32",
        "dev",
        "eth0",
      ]);
      assert.equal((await check(c, added)).code, 0);
    },
  },
  {
    id: "cni-53",
    name: "CHECK before 0.4.0 is code 1",
    async run(c) {
      const added = await c.add({ conf: c.conf({ cniVersion: "0.3.1" }) });
      const { code, json } = await check(c, added, { cniVersion: "0.3.1" });
      assert.equal(code, 1);
      assert.equal(json.code, 1);
    },
  },
  {
    id: "cni-54",
    name: "DEL removes both sides and says nothing",
    async run(c) {
      const added = await c.add();
      const { code, stdout } = await c.del(added, { conf: c.conf({ prevResult: added.json }) });
      assert.equal(code, 0, stdout);
      assert.equal(stdout, "");
      assert.equal(await c.interface(added.netns), undefined);
      assert.deepEqual(await c.harness.traces(), []);
    },
  },
  {
    id: "cni-55",
    name: "DEL without prevResult succeeds",
    async run(c) {
      const added = await c.add();
      assert.equal((await c.del(added)).code, 0);
      assert.deepEqual(await c.harness.traces(), []);
    },
  },
  {
    id: "cni-56",
    name: "a second DEL succeeds",
    async run(c) {
      const added = await c.add();
      for (let i = 0; i < 3; i++) assert.equal((await c.del(added)).code, 0);
    },
  },
  {
    id: "cni-57",
    name: "DEL of a container that never was succeeds, and touches no other interface",
    async run(c) {
      const netns = await c.namespace();
      await c.harness.inNamespace(netns, FOREIGN);
      assert.equal((await c.call({ command: "DEL", container: "never", netns })).code, 0);
      assert.ok(await c.interface(netns));
      await c.harness.inNamespace(netns, ["ip", "link", "del", "eth0"]);
    },
  },
  {
    id: "cni-58",
    name: "DEL succeeds when the namespace is gone, and frees the address",
    async run(c) {
      const added = await c.add();
      await c.harness.deleteNamespace(added.netns);
      const { code, stdout } = await c.del(added);
      assert.equal(code, 0, stdout);
      assert.deepEqual(await c.harness.traces(), []);
    },
  },
  ...([undefined, ""] as const).map((value, i): Check => ({
    id: `cni-${59 + i}`,
    name: `DEL with CNI_NETNS ${value === "" ? "empty" : "unset"} succeeds`,
    async run(c) {
      const added = await c.add();
      const { code, stdout } = await c.del(added, { env: { CNI_NETNS: value } });
      assert.equal(code, 0, stdout);
      assert.deepEqual(await c.harness.traces(), []);
      assert.equal(await c.interface(added.netns), undefined);
    },
  })),
  {
    id: "cni-61",
    name: "DEL without CNI_CONTAINERID is code 4",
    async run(c) {
      await c.refused(4, { command: "DEL", env: { CNI_CONTAINERID: undefined } });
    },
  },
  {
    id: "cni-62",
    name: "a hundred rounds in a pool of sixteen addresses never run out",
    async run(c) {
      const conf = c.conf({ ipam: { type: "tortie-ipam", ipv4_pools: ["sixteen"] } });
      await Promise.all(Array.from({ length: 4 }, async (_, worker) => {
        const netns = await c.namespace();
        for (let round = 0; round < 25; round++) {
          const added = await c.add({ conf, netns, container: `w${worker}r${round}` });
          assert.match(added.json.ips[0].address, /^10\.99\.0\.\d+\/32$/);
          assert.equal((await c.del(added, { conf })).code, 0);
        }
      }));
      assert.equal(await c.harness.allocations(), 0);
    },
  },
  {
    id: "cni-63",
    name: "DEL of one container leaves the other",
    async run(c) {
      const [one, two] = [await c.add(), await c.add()];
      assert.equal((await c.del(one)).code, 0);
      assert.equal((await check(c, two)).code, 0);
      const traces = await c.harness.traces();
      assert.equal(traces.filter((t) => t.includes(two.container)).length, traces.length - 1);
    },
  },
  {
    id: "cni-64",
    name: "DEL at 0.4.0 of what was added at the latest version",
    async run(c) {
      const added = await c.add({ conf: c.conf({ cniVersion: "1.1.0" }) });
      const prevResult = {
        ...added.json,
        cniVersion: "0.4.0",
        ips: added.json.ips.map((ip: any) => ({ version: "4", ...ip })),
      };
      const { code, stdout } = await c.del(added, {
        conf: c.conf({ cniVersion: "0.4.0", prevResult }),
      });
      assert.equal(code, 0, stdout);
      assert.deepEqual(await c.harness.traces(), []);
    },
  },
  {
    id: "cni-65",
    name: "STATUS of a ready plugin succeeds and says nothing",
    async run(c) {
      const conf = c.conf({ cniVersion: "1.1.0" });
      const { code, stdout } = await c.call({ command: "STATUS", conf, env: NONE });
      assert.equal(code, 0, stdout);
      assert.equal(stdout, "");
    },
  },
  {
    id: "cni-66",
    name: "STATUS without a service is code 50; ADD is code 11",
    async run(c) {
      await c.harness.killService();
      const conf = c.conf({ cniVersion: "1.1.0" });
      await c.refused([50, 51], { command: "STATUS", conf, env: NONE });
      await c.refused(11, { conf, netns: await c.namespace() });
      await c.harness.startService();
      assert.equal((await c.call({ command: "STATUS", conf, env: NONE })).code, 0);
    },
  },
  {
    id: "cni-67",
    name: "STATUS before 1.1.0 is code 1",
    async run(c) {
      await c.refused(1, { command: "STATUS", conf: c.conf(), env: NONE });
    },
  },
  {
    id: "cni-68",
    name: "GC keeps what is listed",
    async run(c) {
      const [one, two] = [await c.add(), await c.add()];
      const before = await c.harness.traces();
      const { code, stdout } = await c.call({ command: "GC", conf: GC(c, [one, two]), env: NONE });
      assert.equal(code, 0, stdout);
      assert.deepEqual(await c.harness.traces(), before);
      assert.equal((await check(c, one)).code, 0);
    },
  },
  {
    id: "cni-69",
    name: "GC with an empty list frees addresses of containers whose namespace is gone",
    async run(c) {
      const added = [await c.add(), await c.add(), await c.add()];
      for (const { netns } of added) await c.harness.deleteNamespace(netns);
      assert.equal(await c.harness.allocations(), 3);
      assert.equal((await c.call({ command: "GC", conf: GC(c, []), env: NONE })).code, 0);
      assert.deepEqual(await c.harness.traces(), []);
    },
  },
  {
    id: "cni-70",
    name: "GC: container and interface must both match; another network is not touched",
    async run(c) {
      const stale = await c.add();
      const kept = await c.add();
      const other = await c.add({ conf: c.conf({ name: "othernet" }) });
      const conf = GC(c, [kept, { ...stale, ifname: "net1" }]);
      assert.equal((await c.call({ command: "GC", conf, env: NONE })).code, 0);
      assert.equal(await c.interface(stale.netns), undefined);
      assert.equal((await check(c, kept)).code, 0);
      assert.equal((await check(c, other, { name: "othernet" })).code, 0);
      assert.equal(await c.harness.allocations(), 2);
    },
  },
  {
    id: "cni-71",
    name: "GC says nothing and needs no container",
    async run(c) {
      const { code, stdout } = await c.call({ command: "GC", conf: GC(c, []), env: NONE });
      assert.deepEqual([code, stdout], [0, ""]);
    },
  },
  {
    id: "cni-72",
    name: "GC before 1.1.0 is code 1",
    async run(c) {
      const added = await c.add();
      await c.refused(1, { command: "GC", conf: GC(c, [], { cniVersion: "1.0.0" }), env: NONE });
      assert.equal((await check(c, added)).code, 0);
    },
  },
  {
    id: "cni-73",
    name: "ADD at every version on one network, addresses distinct",
    async run(c) {
      const versions = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
      const added = await Promise.all(
        versions.map((cniVersion) => c.add({ conf: c.conf({ cniVersion }) })),
      );
      const addresses = added.map(({ json }) => json.ips?.[0].address ?? json.ip4.ip);
      assert.equal(new Set(addresses).size, versions.length);
    },
  },
  {
    id: "cni-74",
    name: "ADD and DEL leave the host's routes, rules and links as they were",
    async run(c) {
      const look = async () => [
        await c.harness.inHost(["ip", "-4", "route", "show", "table", "all"]),
        await c.harness.inHost(["ip", "-6", "route", "show", "table", "all"]),
        await c.harness.inHost(["ip", "rule", "show"]),
        await c.harness.inHost(["ip", "-br", "link", "show"]),
        await c.harness.inHost(["ip", "neigh", "show"]),
      ];
      await c.del(await c.add());
      const before = await look();
      const conf = c.conf({ ipam: { type: "tortie-ipam", assign_ipv6: "true" } });
      await c.del(await c.add({ conf }), { conf });
      assert.deepEqual(await look(), before);
    },
  },
  {
    id: "cni-75",
    name: "one ADD takes less than five seconds",
    async run(c) {
      const netns = await c.namespace();
      const started = performance.now();
      await c.add({ netns });
      assert.ok(performance.now() - started < 5000);
    },
  },
];
