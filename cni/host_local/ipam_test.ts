import assert from "node:assert/strict";
import { resourceKey } from "../../mod/model/keys.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { memoryStore } from "../../mod/store/memory.ts";
import { parseMark } from "../mark.ts";
import { World } from "../testing/world.ts";
import { isHostLocals } from "./files.ts";
import { parseResolvConf } from "./ipam.ts";

async function world(run: (w: World, folder: string) => Promise<void>): Promise<void> {
  const w = await World.make();
  const folder = await Deno.makeTempDir({ prefix: "host-local-" });
  try {
    await run(w, folder);
  } finally {
    await w.store.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const conf = (dataDir: string, ipam: Record<string, unknown>, more = {}) =>
  World.conf({ type: "calico", ipam: { type: "host-local", dataDir, ...ipam }, ...more });
const SMALL = { subnet: "10.1.0.0/29" };

function files(folder: string): Record<string, string> {
  const found: Record<string, string> = {};
  try {
    for (const { name } of Deno.readDirSync(`${folder}/net`)) {
      found[name] = Deno.readTextFileSync(`${folder}/net/${name}`);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return found;
}

Deno.test("host-local: ADD records the address before the pod has it, DEL takes it back", () =>
  world(async (w, folder) => {
    w.programmed = () => {
      assert.equal(files(folder)["10.1.0.2"], "c1\r\neth0");
      return Promise.resolve();
    };
    const { exit, json } = await w.call({ conf: conf(folder, SMALL) });
    assert.equal(exit, 0, json.msg);
    assert.equal(json.ips[0].address, "10.1.0.2/32");
    assert.deepEqual(json.routes, [{ dst: "0.0.0.0/0", gw: "169.254.1.1" }]);
    assert.deepEqual(files(folder), {
      "10.1.0.2": "c1\r\neth0",
      "last_reserved_ip.0": "10.1.0.2",
      lock: "",
    });
    assert.deepEqual(await w.allocations(), [], "Calico's IPAM is not asked");
    assert.deepEqual((await w.endpoints())[0].spec.ipNetworks, ["10.1.0.2/32"]);
    const check = (prevResult: unknown) =>
      w.call({ command: "CHECK", conf: conf(folder, SMALL, { prevResult }) });
    assert.equal((await check(json)).exit, 0);
    await Deno.remove(`${folder}/net/10.1.0.2`);
    assert.match((await check(json)).json.msg, /no file of host-local says that it has an address/);
    await Deno.writeTextFile(`${folder}/net/10.1.0.2`, "c1\r\neth0");
    assert.equal((await w.call({ command: "DEL", conf: conf(folder, SMALL) })).exit, 0);
    assert.deepEqual(files(folder), { "last_reserved_ip.0": "10.1.0.2", lock: "" });
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("host-local: an exhausted range is code 11, and the other family is given back", () =>
  world(async (w, folder) => {
    const ranges = [[{ subnet: "10.1.0.0/29" }], [{ subnet: "fd00::/126" }]];
    for (const container of ["a", "b"]) {
      assert.equal((await w.call({ container, conf: conf(folder, { ranges }) })).exit, 0);
    }
    const before = Object.keys(files(folder)).sort();
    const { json } = await w.call({ container: "c", conf: conf(folder, { ranges }) });
    assert.equal(json.code, 11);
    assert.match(json.msg, /fd00::1-fd00::3/);
    assert.deepEqual(Object.keys(files(folder)).sort(), before);
  }));

Deno.test("host-local: the node's own address in a range is no pod's", () =>
  world(async (w, folder) => {
    w.kernel.addresses.push(mustIp("10.1.0.2"));
    const call = (args: string) => w.call({ args, conf: conf(folder, SMALL) });
    assert.match((await call("IP=10.1.0.2")).json.msg, /10\.1\.0\.2.*an address of this node/);
    assert.equal((await call("")).json.ips[0].address, "10.1.0.3/32");
  }));

Deno.test("host-local: IP= names no machine's address, of whichever node, and no special one", () =>
  world(async (w, folder) => {
    await w.store.create(resourceKey(nodeKind, "n2"), {
      apiVersion: "projectcalico.org/v3",
      kind: "Node",
      metadata: { name: "n2" },
      spec: { bgp: { ipv4Address: "10.1.0.4/24" } },
    });
    const ask = async (ip: string, subnet = "10.1.0.0/29") =>
      (await w.call({ args: `IP=${ip}`, conf: conf(folder, { subnet }) })).json.msg;
    assert.match(await ask("10.1.0.4"), /CNI_ARGS: IP= asks for 10\.1\.0\.4.* of node n2/);
    assert.match(await ask("169.254.1.5", "169.254.1.0/24"), /a link-local address/);
    assert.deepEqual(files(folder), {});
  }));

Deno.test("host-local: CNI_ARGS choose from the ranges", () =>
  world(async (w, folder) => {
    const add = (args: string, container: string) =>
      w.call({ args, container, conf: conf(folder, SMALL) });
    assert.equal((await add("IP=10.1.0.5", "a")).json.ips[0].address, "10.1.0.5/32");
    assert.equal((await add("IP=10.1.0.5", "b")).json.code, 11);
    assert.match((await add("IP=10.1.0.1", "b")).json.msg, /its subnet's gateway/);
    assert.match((await add("IP=10.2.0.5", "b")).json.msg, /in none of host-local's ranges/);
    assert.deepEqual(Object.keys(files(folder)).sort(), ["10.1.0.5", "last_reserved_ip.0", "lock"]);
  }));

Deno.test("host-local: usePodCidr is the node's own network; DEL needs none", () =>
  world(async (w, folder) => {
    const wanted = conf(folder, { subnet: "usePodCidr" });
    const none = await w.call({ conf: wanted });
    assert.equal(none.json.code, 7);
    assert.match(none.json.msg, /the Node has no IPv4 network among its podCIDRs/);
    const key = "/calico/resources/v3/projectcalico.org/nodes/n1";
    const node = (await w.store.get<any>(key))!.value;
    await w.store.put(key, { ...node, status: { podCIDRs: ["10.7.3.0/24"] } });
    const { json } = await w.call({ conf: wanted });
    assert.equal(json.ips[0].address, "10.7.3.2/32");
    await w.store.put(key, node);
    assert.equal((await w.call({ command: "DEL", conf: wanted })).exit, 0);
    assert.deepEqual(Object.keys(files(folder)).sort(), ["last_reserved_ip.0", "lock"]);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("host-local: usePodCidr is in the Kubernetes API beside the store, under the node's name there", () =>
  world(async (w, folder) => {
    const api = memoryStore();
    try {
      const node = (name: string) => `/calico/resources/v3/projectcalico.org/nodes/${name}`;
      const { value: own } = (await w.store.get<any>(node("n1")))!;
      const cidrs = (name: string, cidr: string) =>
        api.put(node(name), { ...own, metadata: { name }, status: { podCIDRs: [cidr] } });
      await cidrs("n1", "10.7.3.0/24");
      await cidrs("machine-1", "10.7.4.0/24");
      await w.store.put(node("n1"), { ...own, status: { podCIDRs: ["10.7.5.0/24"] } });
      w.kubernetes = api;
      w.restart();
      const wanted = conf(folder, { subnet: "usePodCidr" });
      assert.equal((await w.call({ conf: wanted })).json.ips[0].address, "10.7.3.2/32");
      assert.equal((await w.call({ command: "DEL", conf: wanted })).exit, 0);
      const orchRefs = [{ orchestrator: "k8s", nodeName: "machine-1" }];
      await w.store.put(node("n1"), { ...own, spec: { ...own.spec, orchRefs } });
      assert.equal((await w.call({ conf: wanted })).json.ips[0].address, "10.7.4.2/32");
    } finally {
      await api.close();
    }
  }));

Deno.test("host-local: the routes of the configuration stand in the place of the default ones", () =>
  world(async (w, folder) => {
    const routes = [{ dst: "10.0.0.0/8" }, { dst: "192.168.0.0/16" }];
    const { json } = await w.call({ conf: conf(folder, { ...SMALL, routes }) });
    assert.deepEqual(json.routes.map((r: any) => `${r.dst} ${r.gw}`), [
      "10.0.0.0/8 169.254.1.1",
      "192.168.0.0/16 169.254.1.1",
    ]);
    assert.equal(w.kernel.in("/run/netns/c1")[0].routes.length, 2);
    const both = await w.call({
      container: "c2",
      conf: conf(folder, { ...SMALL, routes, include_default_routes: true }),
    });
    assert.deepEqual(both.json.routes.map((r: any) => r.dst), [
      "10.0.0.0/8",
      "192.168.0.0/16",
      "0.0.0.0/0",
    ]);
  }));

Deno.test("host-local: annotations that speak of Calico's IPAM are refused, pod and namespace named", () =>
  world(async (w, folder) => {
    const args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=p";
    const call = () => w.call({ args, conf: conf(folder, SMALL) });
    for (
      const [name, value] of [
        ["cni.projectcalico.org/ipAddrs", '["10.1.0.3"]'],
        ["cni.projectcalico.org/ipv4pools", '["pool"]'],
        ["tortie.io/ip-pins", "10.1.0.3"],
      ]
    ) {
      await w.addPod("p", { annotations: { [name]: value } });
      const { json } = await call();
      assert.equal(json.code, 102);
      assert.ok(json.msg.startsWith(`Pod blue/p: annotation ${name} needs ipam.type`), json.msg);
    }
    await w.addPod("p");
    await w.addNamespace("blue", { "cni.projectcalico.org/ipv4pools": '["pool"]' });
    assert.match((await call()).json.msg, /^Namespace blue: annotation/);
    assert.deepEqual(files(folder), {});
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("host-local: GC frees what the runtime does not know, and nothing else", () =>
  world(async (w, folder) => {
    for (const container of ["a", "b"]) {
      await w.addPod(container);
      const args = `K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${container}`;
      assert.equal((await w.call({ container, args, conf: conf(folder, SMALL) })).exit, 0);
    }
    // An address of a container of which nothing else is left, and one that an old plugin wrote.
    await Deno.writeTextFile(`${folder}/net/10.1.0.5`, "lost\r\neth0");
    await Deno.writeTextFile(`${folder}/net/10.1.0.6`, "a");
    const gc = await w.call({
      command: "GC",
      conf: conf(folder, SMALL, {
        cniVersion: "1.1.0",
        "cni.dev/valid-attachments": [{ containerID: "a", ifname: "eth0" }],
      }),
    });
    assert.equal(gc.exit, 0, gc.json?.msg);
    assert.deepEqual(
      Object.keys(files(folder)).filter((name) => name.includes("10.1")).sort(),
      ["10.1.0.2", "10.1.0.6"],
    );
    assert.deepEqual((await w.endpoints()).map((e) => e.spec.pod), ["a"]);
  }));

Deno.test("host-local: an ADD cut off anywhere leaves nothing that the next ADD or DEL does not find", () =>
  world(async (w, folder) => {
    const count = w.restart();
    await w.call({ conf: conf(folder, SMALL) });
    const calls = count.calls;
    await w.call({ command: "DEL", conf: conf(folder, SMALL) });
    for (let at = 0; at < calls; at++) {
      for (const mode of ["before", "after", "cut", "cut after"] as const) {
        w.restart({ at, mode });
        await w.call({ conf: conf(folder, SMALL) });
        w.restart();
        if (at % 2 === 0) {
          const again = await w.call({ conf: conf(folder, SMALL) });
          // Only an attachment that is whole refuses a second ADD.
          const whole = parseMark(w.kernel.in("")[0]?.alias)?.state === "in use";
          assert.ok(again.exit === 0 || (whole && again.json.code === 100), `${at} ${mode}`);
        }
        assert.equal((await w.call({ command: "DEL", conf: conf(folder, SMALL) })).exit, 0);
        assert.deepEqual(await w.traces(), [], `${at} ${mode}`);
        assert.deepEqual(
          Object.keys(files(folder)).filter((n) => n.startsWith("10.")),
          [],
          `${at} ${mode}`,
        );
      }
    }
  }));

Deno.test("host-local: a file that a killed writer left empty is free", () =>
  world(async (w, folder) => {
    await Deno.mkdir(`${folder}/net`);
    await Deno.writeTextFile(`${folder}/net/10.1.0.2`, "");
    const { json } = await w.call({ conf: conf(folder, SMALL) });
    assert.equal(json.ips[0].address, "10.1.0.2/32");
  }));

Deno.test("host-local: a folder that cannot be written is told, and nothing is left", () =>
  world(async (w, folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    const { json } = await w.call({ conf: conf(`${folder}/file`, SMALL) });
    assert.equal(json.code, 5);
    assert.match(json.msg, /records of host-local in .*file\/net cannot be read or written/);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("host-local: STATUS needs no pool", () =>
  world(async (w, folder) => {
    await w.store.delete(
      "/calico/resources/v3/projectcalico.org/ippools/pool",
      (await w.store.get("/calico/resources/v3/projectcalico.org/ippools/pool"))!.revision,
    );
    const more = { cniVersion: "1.1.0" };
    const ours = await w.call({ command: "STATUS", conf: World.conf(more) });
    assert.equal(ours.json.code, 50);
    assert.equal((await w.call({ command: "STATUS", conf: conf(folder, SMALL, more) })).exit, 0);
  }));

Deno.test("host-local: resolv.conf becomes the result's dns", () => {
  assert.deepEqual(
    parseResolvConf(
      "# c\nnameserver 10.0.0.1\nnameserver fd00::1\nsearch a b\noptions ndots:2\ndomain d\nsortlist x\n",
    ),
    {
      nameservers: ["10.0.0.1", "fd00::1"],
      domain: "d",
      search: ["a", "b"],
      options: ["ndots:2"],
    },
  );
  assert.deepEqual(parseResolvConf(""), {});
});

Deno.test("host-local: whose an address is, whatever its network; another container's file says nothing", async () => {
  const folder = await Deno.makeTempDir({ prefix: "host-local-" });
  try {
    await Deno.mkdir(`${folder}/net`);
    await Deno.mkdir(`${folder}/cbr0`);
    await Deno.writeTextFile(`${folder}/net/10.1.0.2`, "c1\r\neth0");
    await Deno.writeTextFile(`${folder}/cbr0/fd00::2`, "c2");
    const is = (ip: string, id: string) => isHostLocals(ip, id, folder);
    assert.deepEqual(
      await Promise.all([
        is("10.1.0.2", "c1"),
        is("10.1.0.2", "c"),
        is("10.1.0.3", "c1"),
        is("fd00:0::2", "c2"),
        isHostLocals("10.1.0.2", "c1", `${folder}/none`),
      ]),
      [true, false, false, true, false],
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
