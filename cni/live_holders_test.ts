import assert from "node:assert/strict";
import { Ipam } from "../mod/ipam/ipam.ts";
import {
  blockPrefix,
  handlePrefix,
  IPAM_PREFIX,
  resourceKey,
  resourcePrefix,
} from "../mod/model/keys.ts";
import { podKind } from "../mod/model/pod.ts";
import { workloadEndpointKind } from "../mod/model/workload_endpoint.ts";
import { formatIp, mustIp } from "../mod/net/mod.ts";
import { HostLocalFiles } from "./host_local/files.ts";
import { World } from "./testing/world.ts";

const P = "cni.projectcalico.org/";

async function world(run: (w: World) => Promise<void>): Promise<void> {
  const w = await World.make();
  try {
    await run(w);
  } finally {
    await w.store.close();
  }
}

const k8s = (pod: string) => `IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${pod}`;

async function add(w: World, container: string, more: object = {}): Promise<string[]> {
  const { exit, json } = await w.call({ container, args: k8s(`pod-${container}`), ...more });
  assert.equal(exit, 0, JSON.stringify(json));
  return json.ips.map(({ address }: { address: string }) => address.split("/")[0]);
}

/** All that IPAM knows, as by a deletion by hand; the service has forgotten it too. */
async function loseRecords(w: World): Promise<void> {
  for (const { key } of (await w.store.list(IPAM_PREFIX)).entries) await w.store.delete(key);
  w.restart();
}

async function statefulSetPod(w: World, name: string, annotations: object): Promise<void> {
  const owner = {
    apiVersion: "apps/v1",
    kind: "StatefulSet",
    name: name.replace(/-\d+$/, ""),
    uid: "u",
    controller: true,
  };
  await w.store.put(resourceKey(podKind, name, "blue"), {
    kind: "Pod",
    apiVersion: "v1",
    metadata: { name, namespace: "blue", annotations, ownerReferences: [owner] },
    spec: {},
  });
}

async function holders(w: World): Promise<Record<string, any>> {
  const all = await w.allocations();
  return Object.fromEntries(all.map(({ handle, attributes }) => [handle, attributes]));
}

Deno.test("an address that a live pod has is passed over, and on record as that pod's", () =>
  world(async (w) => {
    const live = [...await add(w, "c1"), ...await add(w, "c2")];
    await loseRecords(w);
    const fresh = [...await add(w, "c3"), ...await add(w, "c4")];
    assert.equal(new Set([...live, ...fresh]).size, 4, `${live} ${fresh}`);
    const records = await holders(w);
    assert.deepEqual(Object.keys(records).sort(), ["net.c1", "net.c2", "net.c3", "net.c4"]);
    assert.equal(records["net.c1"].pod, "pod-c1");
    assert.equal(records["net.c1"].namespace, "blue");
    assert.equal(records["net.c1"].node, w.node);
    const told = w.log.filter((line) => line.startsWith("warn IPAM gave an address"));
    assert.equal(told.length, 2);
    assert.match(told[0], new RegExp(`"address":"${live[0]}".*pod blue/pod-c1`));
    // Counts are exact: who deletes handles by them leaves none.
    for (const container of ["c1", "c2", "c3", "c4"]) {
      const args = k8s(`pod-${container}`);
      assert.equal((await w.call({ command: "DEL", container, args })).exit, 0);
    }
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("handles that have outlived their block count what is there", () =>
  world(async (w) => {
    await add(w, "c1");
    await add(w, "c2");
    for (const { key } of (await w.store.list(blockPrefix(4))).entries) await w.store.delete(key);
    w.restart();
    await add(w, "c3");
    for (const { value } of (await w.store.list<any>(handlePrefix)).entries) {
      assert.deepEqual(Object.values(value.block), [1]);
    }
    assert.equal((await w.allocations()).length, 3);
  }));

Deno.test("one family's address is passed over, and the other's is kept", () =>
  world(async (w) => {
    await w.addPool("six", { cidr: "fd00:10:244::/48" });
    const conf = World.conf({ ipam: { type: "tortie-ipam", assign_ipv6: "true" } });
    const [v4] = await add(w, "c1");
    await loseRecords(w);
    const both = await add(w, "c2", { conf });
    assert.equal(both.length, 2);
    assert.ok(both[0] !== v4 && both[1].startsWith("fd00:"), String(both));
    const handles = (await w.allocations()).map(({ handle }) => handle).sort();
    assert.deepEqual(handles, ["net.c1", "net.c2", "net.c2"]);
  }));

Deno.test("an interface that nobody knows keeps its address too, and so does the machine", () =>
  world(async (w) => {
    const [first] = await add(w, "c1");
    await w.call({ command: "DEL", container: "c1", args: k8s("pod-c1") });
    await loseRecords(w);
    const second = first.replace(/\d+$/, (n) => String(Number(n) + 1));
    w.kernel.addLink("", "cali0123456789a", { hostRoutes: [mustIp(first)] });
    w.kernel.addresses.push(mustIp(second));
    const [given] = await add(w, "c2");
    assert.ok(given !== first && given !== second, given);
    const records = await holders(w);
    // Handles about which the controllers ask the node: of this node, with a part behind the network.
    assert.equal(records["net.cali0123456789a"].node, w.node);
    assert.equal(records[`net.${w.node}`].node, w.node);
  }));

Deno.test("who asks for the address by name waits until its holder is gone", () =>
  world(async (w) => {
    const [ip] = await add(w, "c1");
    for (const name of ["ipAddrs", "ipAddrsNoIpam"]) {
      await loseRecords(w);
      const annotations = { [`${P}${name}`]: `["${ip}"]` };
      await w.addPod("wisher", { annotations });
      const conf = World.conf({ feature_control: { ip_addrs_no_ipam: true } });
      const refused = await w.call({ container: "c2", args: k8s("wisher"), conf });
      assert.equal(refused.json.code, 11, JSON.stringify(refused.json));
      assert.match(refused.json.msg, new RegExp(`${ip}, which pod blue/pod-c1 .* has`));
      if (name === "ipAddrs") assert.deepEqual(Object.keys(await holders(w)), ["net.c1"]);
    }
    await w.call({ command: "DEL", container: "c1", args: k8s("pod-c1") });
    await w.addPod("wisher", { annotations: { [`${P}ipAddrs`]: `["${ip}"]` } });
    assert.deepEqual(await add(w, "c2", { args: k8s("wisher") }), [ip]);
  }));

Deno.test("pins: a replica takes the next address, and an ordinal leaves the one that it had", () =>
  world(async (w) => {
    const annotations = { "tortie.io/ip-pins": "10.244.0.20-10.244.0.22" };
    await w.addPod("pod-c1", { annotations });
    const [ip] = await add(w, "c1");
    await loseRecords(w);
    await w.addPod("pod-c2", { annotations });
    const [other] = await add(w, "c2");
    assert.deepEqual([ip, other], ["10.244.0.20", "10.244.0.21"]);
    await statefulSetPod(w, "web-2", annotations);
    const [third] = await add(w, "c3", { args: k8s("web-2") });
    assert.equal(third, "10.244.0.22");
    await loseRecords(w);
    await statefulSetPod(w, "db-0", annotations);
    const none = await w.call({ container: "c4", args: k8s("db-0") });
    assert.equal(none.json.code, 11, JSON.stringify(none.json));
    const handles = (await w.store.list(handlePrefix)).entries
      .map(({ key }) => key.slice(handlePrefix.length));
    assert.deepEqual(handles.sort(), ["net.c1", "net.c2", "net.c3"]);
  }));

Deno.test("the pod's own earlier sandbox is in nobody's way", () =>
  world(async (w) => {
    const [ip] = await add(w, "c1");
    await loseRecords(w);
    await w.addPod("pod-c1", { annotations: { [`${P}ipAddrs`]: `["${ip}"]` } });
    assert.deepEqual(await add(w, "c2", { args: k8s("pod-c1") }), [ip]);
    assert.equal(w.kernel.in("").length, 1);
  }));

Deno.test("a pod whose endpoint is lost is known by its interface's mark", () =>
  world(async (w) => {
    const [ip] = await add(w, "c1");
    await w.store.delete(resourceKey(workloadEndpointKind, "n1-k8s-pod--c1-eth0", "blue"));
    await loseRecords(w);
    const [other] = await add(w, "c2");
    assert.notEqual(other, ip);
    assert.deepEqual(Object.keys(await holders(w)).sort(), ["net.c1", "net.c2"]);
  }));

/** Its endpoint, with which the node takes its routes away; what its container has stays. */
async function loseEndpoint(w: World, container: string): Promise<void> {
  const endpoint = (await w.endpoints()).find(({ spec }) => spec.containerID === container)!;
  const { name, namespace } = endpoint.metadata;
  await w.store.delete(resourceKey(workloadEndpointKind, name, namespace));
  const link = w.kernel.in("").find(({ name }) => name === endpoint.spec.interfaceName)!;
  for (const ip of link.hostRoutes) w.unrouted.set(formatIp(ip), link);
  link.hostRoutes = [];
}

Deno.test("a pod without endpoint and route keeps its addresses, and its DEL gives them back", () =>
  world(async (w) => {
    await w.addPool("six", { cidr: "fd00:10:244::/48" });
    const conf = World.conf({ ipam: { type: "tortie-ipam", assign_ipv6: "true" } });
    const live = await add(w, "c1", { conf });
    await loseEndpoint(w, "c1");
    await loseRecords(w);
    const fresh = await add(w, "c2", { conf });
    assert.equal(new Set([...live, ...fresh]).size, 4, `${live} ${fresh}`);
    assert.deepEqual(Object.keys(await holders(w)).sort(), ["net.c1", "net.c2"]);
    await w.addPod("wisher", { annotations: { [`${P}ipAddrs`]: JSON.stringify(live) } });
    const refused = await w.call({ container: "c3", args: k8s("wisher"), conf });
    assert.equal(refused.json.code, 11, JSON.stringify(refused.json));
    await w.addPod("pinned", { annotations: { "tortie.io/ip-pins": live[0] } });
    await loseRecords(w);
    const pinned = await w.call({ container: "c4", args: k8s("pinned") });
    assert.equal(pinned.json.code, 11, JSON.stringify(pinned.json));
    for (const container of ["c1", "c2"]) {
      const args = k8s(`pod-${container}`);
      assert.equal((await w.call({ command: "DEL", container, args, conf })).exit, 0);
    }
    assert.deepEqual(await w.traces(), []);
    assert.deepEqual(await add(w, "c3", { args: k8s("wisher"), conf }), live);
  }));

Deno.test("host-local: an address of a pod without endpoint is not given either", () =>
  world(async (w) => {
    const dataDir = await Deno.makeTempDir();
    try {
      const conf = World.conf({ ipam: { type: "host-local", subnet: "10.9.0.0/29", dataDir } });
      const [ip] = await add(w, "c1", { conf });
      await loseEndpoint(w, "c1");
      await Deno.remove(`${dataDir}/net`, { recursive: true });
      const [other] = await add(w, "c2", { conf });
      assert.notEqual(other, ip);
    } finally {
      await Deno.remove(dataDir, { recursive: true });
    }
  }));

Deno.test("host-local: a file that was deleted comes back with its container", () =>
  world(async (w) => {
    const dataDir = await Deno.makeTempDir();
    try {
      const conf = World.conf({ ipam: { type: "host-local", subnet: "10.9.0.0/29", dataDir } });
      const [ip] = await add(w, "c1", { conf });
      await Deno.remove(`${dataDir}/net`, { recursive: true });
      const [other] = await add(w, "c2", { conf });
      assert.notEqual(other, ip);
      const files = new HostLocalFiles("net", dataDir);
      const found = await files.change((folder) => folder.reservations());
      assert.deepEqual(found.map(({ containerId }) => containerId).sort(), ["c1", "c2"]);
    } finally {
      await Deno.remove(dataDir, { recursive: true });
    }
  }));

const gc = (w: World, valid: string[], conf: object = {}, more: object = {}) =>
  w.call({
    command: "GC",
    conf: {
      ...World.conf({ cniVersion: "1.1.0" }),
      ...conf,
      "cni.dev/valid-attachments": valid.map((containerID) => ({ containerID, ifname: "eth0" })),
    },
    env: { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_NETNS: undefined },
    ...more,
  });

/** A container of another network whose endpoint is lost, on record under a network's name that is guessed. */
async function guessed(w: World, container: string): Promise<string> {
  const [ip] = await add(w, container, { conf: World.conf({ name: "other" }) });
  for (const { key } of (await w.store.list(resourcePrefix(workloadEndpointKind))).entries) {
    if (key.includes(`pod--${container}`)) await w.store.delete(key);
  }
  const link = w.kernel.in("").find(({ alias }) => alias?.includes(container))!;
  link.hostRoutes.length = 0;
  w.unrouted.set(ip, (await w.kernel.hostLink(link.name))!);
  const ipam = new Ipam(w.store);
  await ipam.releaseByHandle(`other.${container}`);
  await ipam.assignIp({
    ...{ address: ip, host: "n1", handle: `net.${container}`, attributes: { node: "n1" } },
  });
  return ip;
}

Deno.test("GC frees no address that a container still has, whatever its handle is called", () =>
  world(async (w) => {
    await add(w, "keep");
    const ip = await guessed(w, "lost");
    const handles = async () => Object.keys(await holders(w)).sort();
    for (let i = 0; i < 2; i++) {
      assert.equal((await gc(w, ["keep"])).exit, 0);
      assert.deepEqual(await handles(), ["net.keep", "net.lost"]);
      // The IPAM plugin's too.
      assert.equal((await gc(w, ["keep"], {}, { argv0: "tortie-ipam" })).exit, 0);
      assert.deepEqual(await handles(), ["net.keep", "net.lost"]);
    }
    assert(w.log.some((line) => line.includes("stay on record")), w.log.join("\n"));
    assert(!w.log.some((line) => line.includes("GC removed")), w.log.join("\n"));
    // Nor where the node remembers that it was given.
    w.given.set(ip, { handle: "net.lost", attributes: { node: "n1" } });
    assert.equal((await gc(w, ["keep"])).exit, 0);
    assert.deepEqual(await handles(), ["net.keep", "net.lost"]);
    // Nor a DEL of who has no endpoint here.
    assert.equal((await w.call({ command: "DEL", container: "lost", args: "" })).exit, 0);
    w.unrouted.delete(ip);
    assert.equal((await gc(w, ["keep"])).exit, 0);
    assert.deepEqual(await handles(), ["net.keep"], "it is gone");
  }));

Deno.test("GC takes a pinned ordinal, whose lease is kept, and a pod without IPAM once its interface is gone", () =>
  world(async (w) => {
    await statefulSetPod(w, "web-0", { "tortie.io/ip-pins": "10.244.0.20" });
    const conf = World.conf({ feature_control: { ip_addrs_no_ipam: true } });
    await w.addPod("bare", { annotations: { [`${P}ipAddrsNoIpam`]: '["192.0.2.9"]' } });
    const pods = { c1: "web-0", c2: "bare" };
    for (const [container, pod] of Object.entries(pods)) {
      await add(w, container, { args: k8s(pod), conf });
    }
    assert.equal((await gc(w, ["c1"])).exit, 0);
    assert.equal((await w.endpoints()).length, 2, "one is known, and the other has its interface");
    for (const container of Object.keys(pods)) w.kernel.deleteNamespace(`/run/netns/${container}`);
    assert.equal((await gc(w, [])).exit, 0);
    assert.deepEqual(await w.endpoints(), []);
    const [{ handle, attributes }, ...more] = await w.allocations();
    assert.deepEqual([handle, attributes.container, more], [
      "tortie-pin.blue.web.0",
      undefined,
      [],
    ]);
    assert(attributes.keptUntil);
  }));

Deno.test("GC of an old record's endpoint leaves its address to the container that has it now", () =>
  world(async (w) => {
    await add(w, "keep");
    const [ip] = await add(w, "old");
    const link = w.kernel.in("").find(({ alias }) => alias?.includes("keep"))!;
    w.kernel.in("/run/netns/keep")[0].addresses.push({ ip: mustIp(ip), length: 32 });
    w.unrouted.set(ip, (await w.kernel.hostLink(link.name))!);
    assert.equal((await gc(w, ["keep"])).exit, 0);
    assert.equal((await w.endpoints()).length, 1);
    assert.equal((await holders(w))["net.old"]?.node, "n1");
    w.unrouted.delete(ip);
    assert.equal((await gc(w, ["keep"])).exit, 0);
    assert.deepEqual(Object.keys(await holders(w)), ["net.keep"]);
  }));

Deno.test("DEL by an old record leaves its address to the container that has it now", () =>
  world(async (w) => {
    await add(w, "keep");
    const [ip] = await add(w, "old");
    const keep = w.kernel.in("").find(({ alias }) => alias?.includes("keep"))!;
    w.kernel.in("/run/netns/keep")[0].addresses.push({ ip: mustIp(ip), length: 32 });
    w.unrouted.set(ip, (await w.kernel.hostLink(keep.name))!);
    for (let i = 0; i < 2; i++) {
      const args = k8s("pod-old");
      assert.equal((await w.call({ command: "DEL", container: "old", args })).exit, 0);
      assert.equal((await w.endpoints()).length, 1);
      assert.equal((await holders(w))["net.old"]?.node, "n1");
    }
    // What is left is a route that the old record made, to a container that has another address.
    w.unrouted.delete(ip);
    keep.hostRoutes.push(mustIp(ip));
    w.kernel.in("/run/netns/keep")[0].addresses.pop();
    assert.equal((await gc(w, ["keep"])).exit, 0);
    assert.deepEqual(Object.keys(await holders(w)), ["net.keep"]);
  }));

Deno.test("DEL of a container that Calico wired gives back what is on record for its interface", () =>
  world(async (w) => {
    const [ip] = await add(w, "c1");
    const [{ metadata, spec }] = await w.endpoints();
    await w.store.delete(resourceKey(workloadEndpointKind, metadata.name, "blue"));
    const ipam = new Ipam(w.store);
    await ipam.releaseByHandle("net.c1");
    await ipam.assignIp({
      ...{
        address: ip,
        host: "n1",
        handle: `net.${spec.interfaceName}`,
        attributes: { node: "n1" },
      },
    });
    w.kernel.in("").find(({ name }) => name === spec.interfaceName)!.alias = undefined;
    const args = k8s("pod-c1");
    assert.equal((await w.call({ command: "DEL", container: "c1", args })).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

const MISFORTUNES = [undefined, "tortie", "bridge"].flatMap((plugin) =>
  [undefined, "net.thief"].map((thief) => ({ thief, plugin }))
);

Deno.test("an ADD whose address the datastore has forgotten, or given to another, fails and leaves nothing", () =>
  world(async (w) => {
    await add(w, "keep");
    for (const { thief, plugin } of MISFORTUNES) {
      // Just before the end an older copy is put back, and somebody else is quicker.
      const last = plugin ? "linkOf" : "wireHost";
      const more = plugin && { argv0: "tortie-ipam", conf: World.conf({ type: plugin }) };
      let epoch = 0, armed = true;
      Object.defineProperty(w.store, "epoch", { get: () => epoch, configurable: true });
      w.restart(undefined, async (what) => {
        if (!armed || !what.includes(last)) return;
        armed = false;
        epoch++;
        const ipam = new Ipam(w.store);
        const [ip] = await ipam.ipsByHandle("net.lost") ?? [];
        await ipam.releaseByHandle("net.lost");
        if (thief) await ipam.assignIp({ address: ip, host: "n2", handle: thief });
      });
      const args = k8s("pod-lost");
      const { exit, body } = await w.call({ container: "lost", args, ...more });
      assert(!armed);
      assert.equal(exit, 1);
      assert.match(body, thief ? /is on record for net\.thief/ : /is not on record/);
      assert.equal(JSON.parse(body).code, 11);
      assert.equal((await w.endpoints()).length, 1);
      if (thief) await new Ipam(w.store).releaseByHandle(thief);
      w.restart();
      // With nothing lost an epoch alone is no reason.
      w.restart(undefined, (what) => void (what.includes(last) && epoch++));
      assert.equal((await w.call({ container: "lost", args, ...more })).exit, 0);
      assert.equal((await w.call({ command: "DEL", container: "lost", args, ...more })).exit, 0);
    }
  }));
