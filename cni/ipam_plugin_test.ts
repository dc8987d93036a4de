import assert from "node:assert/strict";
import { Ipam } from "../mod/ipam/ipam.ts";
import { mustIp } from "../mod/net/mod.ts";
import { World } from "./testing/world.ts";

const argv0 = "/opt/cni/bin/tortie-ipam";
const conf = (more: Record<string, unknown> = {}) => World.conf({ type: "bridge", ...more });

async function world(
  pool: Record<string, unknown>,
  run: (w: World) => Promise<void>,
): Promise<void> {
  const w = await World.make(pool);
  try {
    await run(w);
  } finally {
    await w.store.close();
  }
}

Deno.test("IPAM plugin: the address with its block's length, its gateway, a default route; no endpoint", () =>
  world({}, async (w) => {
    const one = await w.call({ argv0, conf: conf() });
    assert.equal(one.exit, 0, one.body);
    assert.equal(one.json.interfaces, undefined);
    const { address, gateway } = one.json.ips[0];
    assert.match(address, /^10\.244\.\d+\.\d+\/26$/);
    assert.deepEqual(one.json.routes, [{ dst: "0.0.0.0/0", gw: gateway }]);
    const two = await w.call({ argv0, conf: conf(), container: "c2" });
    assert.equal(two.json.ips[0].gateway, gateway);
    assert.notEqual(two.json.ips[0].address, address);
    assert.deepEqual(await w.endpoints(), []);
    assert.deepEqual([...w.kernel.links], []);
  }));

Deno.test("IPAM plugin: first, last and gateway of a block are nobody's, and go with the last address", () =>
  world({ cidr: "10.9.0.0/28", blockSize: 28 }, async (w) => {
    const given = new Set<string>();
    for (let i = 0;; i++) {
      const { exit, json } = await w.call({ argv0, conf: conf(), container: `c${i}` });
      if (exit !== 0) {
        assert.equal(json.code, 11);
        break;
      }
      given.add(json.ips[0].address);
      assert.equal(json.ips[0].gateway, "10.9.0.1");
    }
    assert.equal(given.size, 13);
    for (const taken of ["10.9.0.0/28", "10.9.0.1/28", "10.9.0.15/28"]) {
      assert.ok(!given.has(taken), taken);
    }
    for (let i = 0; i < 13; i++) {
      assert.equal(
        (await w.call({ command: "DEL", argv0, conf: conf(), container: `c${i}` })).exit,
        0,
      );
      assert.equal((await w.traces()).length === 0, i === 12);
    }
  }));

Deno.test("IPAM plugin: a block that pods of ours share keeps their addresses; another is the gateway", () =>
  world({ cidr: "10.9.0.0/28", blockSize: 28 }, async (w) => {
    const ours = new Set<string>();
    for (const container of ["a", "b", "c"]) {
      ours.add((await w.call({ container })).json.ips[0].address.split("/")[0]);
    }
    assert.ok(ours.has("10.9.0.1"), "the usual gateway is a pod's");
    const { json } = await w.call({ argv0, conf: conf({ name: "other" }), container: "d" });
    assert.ok(!ours.has(json.ips[0].gateway));
    assert.ok(!ours.has(json.ips[0].address.split("/")[0]));
    await w.call({ command: "DEL", argv0, conf: conf({ name: "other" }), container: "d" });
    assert.deepEqual((await w.allocations()).map((a) => a.handle), ["net.a", "net.b", "net.c"]);
  }));

Deno.test("IPAM plugin: both families, or nothing", () =>
  world({}, async (w) => {
    const both = conf({ ipam: { type: "tortie-ipam", assign_ipv6: "true" } });
    assert.equal((await w.call({ argv0, conf: both })).exit, 1);
    assert.deepEqual(await w.traces(), []);
    await w.addPool("six", { cidr: "fd00:9::/64" });
    const { json } = await w.call({ argv0, conf: both });
    assert.match(json.ips[1].address, /^fd00:9:.*\/122$/);
    assert.equal(json.routes[1].gw, json.ips[1].gateway);
  }));

Deno.test("IPAM plugin: a second ADD is an error while the interface has the address, else a remainder", () =>
  world({}, async (w) => {
    const first = await w.call({ argv0, conf: conf() });
    const before = await w.traces();
    // Nobody put the address on: the first was cut off.
    assert.equal((await w.call({ argv0, conf: conf() })).exit, 0);
    assert.equal((await w.traces()).length, before.length);
    const held = await w.call({ argv0, conf: conf() });
    const [ip, length] = held.json.ips[0].address.split("/");
    w.kernel.addLink("/run/netns/c1", "eth0", {
      addresses: [{ ip: mustIp(ip), length: Number(length) }],
    });
    const traces = await w.traces();
    const again = await w.call({ argv0, conf: conf() });
    assert.equal(again.json.code, 100);
    assert.deepEqual(await w.traces(), traces);
    assert.equal(first.exit, 0);
  }));

Deno.test("IPAM plugin: CHECK, GC and an interface plugin that is tortie or calico", () =>
  world({}, async (w) => {
    const added = await w.call({ argv0, conf: conf({ cniVersion: "1.1.0" }) });
    const check = conf({ cniVersion: "1.1.0", prevResult: added.json });
    assert.equal((await w.call({ command: "CHECK", argv0, conf: check })).exit, 0);
    await w.call({ argv0, conf: conf(), container: "stale" });
    const gc = conf({
      cniVersion: "1.1.0",
      "cni.dev/valid-attachments": [{ containerID: "c1", ifname: "eth0" }],
    });
    assert.equal((await w.call({ command: "GC", argv0, conf: gc })).exit, 0);
    const handles = await w.handles();
    assert.ok(handles.includes("net.c1") && !handles.includes("net.stale"), handles.join(", "));
    assert.equal((await w.call({ command: "CHECK", argv0, conf: check })).exit, 0);
    await w.call({ command: "DEL", argv0, conf: conf() });
    assert.equal((await w.call({ command: "CHECK", argv0, conf: check })).json.code, 105);
    assert.deepEqual(await w.traces(), []);
    const bare = await w.call({ argv0: "calico-ipam", conf: conf({ type: "calico" }) });
    assert.match(bare.json.ips[0].address, /\/32$/);
    assert.equal(bare.json.ips[0].gateway, undefined);
  }));

Deno.test("IPAM plugin: a fixed address that no interface should have is refused", () =>
  world({ cidr: "10.9.0.0/28", blockSize: 28 }, async (w) => {
    for (const ip of ["10.9.0.0", "10.9.0.15"]) {
      const { exit, json } = await w.call({ argv0, conf: conf(), args: `IP=${ip}` });
      assert.equal(exit, 1, ip);
      assert.match(json.msg, new RegExp(ip.replaceAll(".", "\\.")));
      assert.deepEqual(await w.traces(), [], ip);
    }
    const { json } = await w.call({ argv0, conf: conf(), args: "IP=10.9.0.5" });
    assert.equal(json.ips[0].address, "10.9.0.5/28");
  }));

Deno.test("IPAM plugin: a gateway's handle bears a name that Kubernetes takes, whatever the network's", () =>
  world({ cidr: "10.9.0.0/24", blockSize: 28 }, async (w) => {
    await w.addPool("six", { cidr: "fd00:9::/64" });
    const ipam = { type: "tortie-ipam", assign_ipv6: "true" };
    for (const name of ["net", "a.b-c", "My_Net"]) {
      const added = await w.call({ argv0, conf: conf({ name, ipam }) });
      assert.equal(added.exit, 0, added.body);
      const gateways = (await w.handles()).filter((id) => id.startsWith("tortie-gateway-"));
      assert.equal(gateways.length, 2, gateways.join(" "));
      for (const id of gateways) {
        assert.match(id, /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/);
        assert.ok(id.length <= 253, id);
      }
      assert.equal((await w.call({ command: "DEL", argv0, conf: conf({ name, ipam }) })).exit, 0);
      assert.deepEqual(await w.traces(), [], name);
    }
  }));

Deno.test("IPAM plugin: gateways under their earlier names stay the blocks', and go with the last address", () =>
  world({ cidr: "10.9.0.0/28", blockSize: 28 }, async (w) => {
    await w.addPool("six", { cidr: "fd00:9::/124", blockSize: 124 });
    const ipam = { type: "tortie-ipam", assign_ipv6: "true" };
    const host = "n1", records = new Ipam(w.store);
    for (
      const [block, first, gateway] of [
        ["10.9.0.0_28", "10.9.0.0", "10.9.0.7"],
        ["fd00:9::_124", "fd00:9::", "fd00:9::7"],
      ]
    ) {
      for (const address of [first, gateway]) {
        const handle = `tortie-gateway-net-n1-${block}`;
        await records.assignIp({ address: mustIp(address), host, handle });
      }
    }
    const { json, exit } = await w.call({ argv0, conf: conf({ ipam }) });
    assert.equal(exit, 0);
    assert.deepEqual(json.ips.map((ip: any) => ip.gateway), ["10.9.0.7", "fd00:9::7"]);
    await w.call({ command: "DEL", argv0, conf: conf({ ipam }) });
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("IPAM plugin: annotations that are not followed are told to the log", () =>
  world({}, async (w) => {
    const P = "cni.projectcalico.org/";
    await w.addPod("p", {
      annotations: {
        [P + "hwAddr"]: "02:00:00:00:00:01",
        [P + "ipAddrs"]: '["10.244.0.9"]',
        [P + "ipv4pools"]: '["q"]',
        "qos.projectcalico.org/ingressBandwidth": "1M",
      },
    });
    const args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=p";
    const told = async (type: string, container: string) => {
      w.log.length = 0;
      const { exit, body } = await w.call({ argv0, conf: conf({ type }), args, container });
      assert.equal(exit, 0, body);
      await w.call({ command: "DEL", argv0, conf: conf({ type }), args, container });
      return w.log.flatMap((line) =>
        /^warn .*annotation (\S+) is not followed/.exec(line)?.[1] ?? []
      );
    };
    assert.deepEqual(await told("bridge", "c1"), [
      P + "ipv4pools",
      P + "hwAddr",
      "qos.projectcalico.org/ingressBandwidth",
    ]);
    // The interface plugin tells of the rest.
    assert.deepEqual(await told("tortie", "c2"), [P + "ipv4pools"]);
  }));

Deno.test("IPAM plugin: what a container on the node has is neither given nor made a gateway", () =>
  world({ cidr: "10.9.0.0/29", blockSize: 29 }, async (w) => {
    const link = w.kernel.addLink("", "veth1");
    for (const ip of ["10.9.0.1", "10.9.0.2"]) w.unrouted.set(ip, link);
    const { json } = await w.call({ argv0, conf: conf() });
    assert.deepEqual([json.ips[0].address, json.ips[0].gateway], ["10.9.0.4/29", "10.9.0.3"]);
    const calico = await w.call({ argv0, conf: World.conf({ type: "calico" }), container: "c2" });
    assert.equal(calico.json.ips[0].address, "10.9.0.5/32");
    const held = (await w.allocations()).filter(({ handle }) => handle === "net.veth1");
    assert.deepEqual(held.map(({ ip }) => ip), [1, 2]);
    await w.addPod("fixed", {
      annotations: { "cni.projectcalico.org/ipAddrs": '["10.9.0.6"]' },
    });
    w.unrouted.set("10.9.0.6", link);
    const args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=fixed";
    const refused = await w.call({ argv0, conf: conf(), container: "c3", args });
    assert.equal(refused.json.code, 11, refused.body);
    assert.deepEqual((await w.handles()).filter((handle) => handle.includes("c3")), []);
  }));

Deno.test("IPAM plugin: a gateway on record that a container has by now is that one's", () =>
  world({ cidr: "10.9.0.0/29", blockSize: 29 }, async (w) => {
    const { json: before } = await w.call({ argv0, conf: conf() });
    assert.equal(before.ips[0].gateway, "10.9.0.1");
    // As after an older copy of the datastore, from before it was given back and to a pod.
    w.unrouted.set("10.9.0.1", w.kernel.addLink("", "veth1"));
    const { json } = await w.call({ argv0, conf: conf(), container: "c2" });
    assert.deepEqual([json.ips[0].address, json.ips[0].gateway], ["10.9.0.3/29", "10.9.0.4"]);
    const [held] = (await w.allocations()).filter(({ ip }) => ip === 1);
    assert.equal(held.handle, "net.veth1");
  }));

Deno.test("IPAM plugin: no gateway is taken that a pod has by its route, and that is not on record", () =>
  world({ cidr: "10.9.0.0/28", blockSize: 28 }, async (w) => {
    const calls = { conf: World.conf({ type: "tortie" }) };
    for (const [container, address] of [["p", "10.9.0.0"], ["q", "10.9.0.1"], ["r", "10.9.0.2"]]) {
      assert.equal((await w.call({ ...calls, container })).json.ips[0].address, `${address}/32`);
    }
    assert.equal((await w.call({ ...calls, container: "q", command: "DEL" })).exit, 0);
    for (const { key } of (await w.store.list("/calico/ipam/v2/")).entries) {
      await w.store.delete(key);
    }
    const { json } = await w.call({ argv0, conf: conf() });
    assert.deepEqual([json.ips[0].address, json.ips[0].gateway], ["10.9.0.1/28", "10.9.0.3"]);
  }));

Deno.test("IPAM plugin: DEL frees what its own interface still has, and not what another's has by an old record", () =>
  world({}, async (w) => {
    const links = ["c1", "c2"].map((container) => {
      const netns = w.kernel.addNamespace(`/run/netns/${container}`);
      const [host, pod] = [
        w.kernel.addLink("", `veth-${container}`),
        w.kernel.addLink(netns, "eth0"),
      ];
      [host.peer, pod.peer] = [pod, host];
      return host;
    });
    const ips: string[] = [];
    for (const [i, container] of ["c1", "c2"].entries()) {
      const { json } = await w.call({ argv0, conf: conf(), container });
      ips.push(json.ips[0].address.split("/")[0]);
      w.unrouted.set(ips[i], (await w.kernel.hostLink(links[i].name))!);
    }
    const del = (container: string, netns?: string) =>
      w.call({ argv0, conf: conf(), command: "DEL", container, netns });
    // c1 has c2's address, on record for one that ended: an older copy of the datastore.
    w.unrouted.set(ips[1], (await w.kernel.hostLink(links[0].name))!);
    assert.equal((await del("c2")).exit, 0);
    const handles = async () =>
      (await w.allocations()).map(({ handle }) => handle).filter((handle) =>
        /^net\./.test(handle!)
      );
    assert.deepEqual((await handles()).sort(), ["net.c1", "net.c2"]);
    w.unrouted.delete(ips[1]);
    assert.equal((await del("c2")).exit, 0);
    // Without a namespace it is known by what was given.
    w.given.set(ips[0], { handle: "net.c1", attributes: { node: "n1" } });
    assert.equal((await del("c1", "")).exit, 0);
    assert.deepEqual([await w.allocations(), await w.handles()], [[], []]);
  }));

Deno.test("IPAM plugin: what the bridge has in a block is the block's gateway, and what the machine has no container's", () =>
  world({ cidr: "10.9.0.0/28", blockSize: 28 }, async (w) => {
    // The stock bridge keeps it; nothing is on record of it: its last container is gone, or an older copy of
    // the datastore was put back.
    for (const [name, ip] of [["br1", "10.9.0.2"], ["lan0", "10.9.0.3"]]) {
      w.kernel.addLink("", name, { addresses: [{ ip: mustIp(ip), length: 28 }] });
      w.kernel.addresses.push(mustIp(ip));
    }
    const more = { name: "brnet", bridge: "br1" };
    const one = await w.call({ argv0, conf: conf(more) });
    assert.deepEqual(
      [one.json.ips[0].address, one.json.ips[0].gateway],
      ["10.9.0.1/28", "10.9.0.2"],
    );
    assert.equal((await w.call({ argv0, conf: conf(more), command: "DEL" })).exit, 0);
    assert.deepEqual(await w.handles(), []);
    // A pod of ours draws it, and finds that the machine has it.
    const live = new Set<string>();
    for (const container of ["p1", "p2", "p3"]) {
      const { json } = await w.call({ conf: World.conf({ type: "tortie" }), container });
      live.add(json.ips[0].address);
    }
    assert(!live.has("10.9.0.2/32") && !live.has("10.9.0.3/32"), [...live].join());
    const two = await w.call({ argv0, conf: conf(more), container: "c2" });
    assert.equal(two.json.ips[0].gateway, "10.9.0.2", two.body);
    // The machine has it, and that is as it should be.
    const three = await w.call({ argv0, conf: conf(more), container: "c3" });
    assert.equal(three.json.ips[0].gateway, "10.9.0.2", three.body);
    assert.equal(
      (await w.call({ argv0, conf: conf(more), container: "c3", command: "DEL" })).exit,
      0,
    );
    const held = (await w.allocations()).filter(({ ip }) => ip === 2);
    assert.deepEqual(held.map(({ attributes }) => attributes.type), ["cniGateway"]);
    // Another bridge, and another plugin, have gateways of their own.
    for (const other of [{ name: "b2", bridge: "br2" }, { name: "m", type: "macvlan" }]) {
      const { json } = await w.call({ argv0, conf: conf(other), container: other.name });
      assert(!["10.9.0.2", "10.9.0.3"].includes(json.ips[0].gateway), JSON.stringify(json));
    }
    // The machine's own record keeps no gateway.
    for (const [container, net] of [["c2", more], ["b2", { name: "b2", bridge: "br2" }]] as const) {
      assert.equal((await w.call({ argv0, conf: conf(net), command: "DEL", container })).exit, 0);
    }
    const gateways = (await w.handles()).filter((handle) => handle.startsWith("tortie-gateway-"));
    assert.deepEqual(gateways.map((handle) => handle.split("-")[2]), ["m"]);
  }));

Deno.test("IPAM plugin: a bridge's gateway that is not on record becomes no other network's", () =>
  world({ cidr: "10.9.0.0/28", blockSize: 28 }, async (w) => {
    w.kernel.addLink("", "br1", { addresses: [{ ip: mustIp("10.9.0.1"), length: 28 }] });
    w.kernel.addresses.push(mustIp("10.9.0.1"));
    const { json } = await w.call({ argv0, conf: conf({ name: "ptpnet", type: "ptp" }) });
    assert.notEqual(json.ips[0].gateway, "10.9.0.1");
    const bridged = await w.call({
      argv0,
      conf: conf({ name: "brnet", bridge: "br1" }),
      container: "b",
    });
    assert.equal(bridged.json.ips[0].gateway, "10.9.0.1", bridged.body);
  }));
