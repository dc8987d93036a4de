/** Which interfaces of the host ADD and DEL may remove, whatever a record names. */
import assert from "node:assert/strict";
import { Ipam } from "../mod/ipam/ipam.ts";
import { blockPrefix, handlePrefix, resourceKey } from "../mod/model/keys.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../mod/model/workload_endpoint.ts";
import { formatIp } from "../mod/net/mod.ts";
import { hostInterfaceName } from "./identity.ts";
import { hostNames, isLinkOf } from "./own_links.ts";
import { World } from "./testing/world.ts";

const argsOf = (pod: string) => `K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${pod}`;
const args = argsOf("w");
const KEY = resourceKey(workloadEndpointKind, "n1-k8s-w-eth0", "blue");
const nameOf = (pod: string) =>
  hostInterfaceName({ namespace: "blue", pod, containerId: "" }, "cali");

function inWorld(name: string, run: (w: World) => Promise<void>): void {
  Deno.test(name, async () => {
    const w = await World.make();
    try {
      for (const pod of ["w", "victim"]) await w.addPod(pod);
      await run(w);
    } finally {
      await w.store.close();
    }
  });
}

/** A record of the pod that names an interface. */
async function say(w: World, containerID: string, interfaceName: string): Promise<void> {
  await w.store.put(KEY, {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "n1-k8s-w-eth0", namespace: "blue", uid: "u" },
    spec: {
      ...{ orchestrator: "k8s", node: "n1", containerID, pod: "w", endpoint: "eth0" },
      ipNetworks: ["10.244.0.30/32"],
      interfaceName,
    },
  });
}

async function ok(reply: ReturnType<World["call"]>) {
  const { exit, json } = await reply;
  assert.equal(exit, 0, JSON.stringify(json));
  return json;
}

const hostSides = (w: World) => w.kernel.in("").map(({ name }) => name).sort();

for (const container of ["old", "c1"]) {
  inWorld(
    `an interface of the machine stays whichever record names it: ${container}'s`,
    async (w) => {
      w.kernel.addLink("", "uplink");
      w.kernel.addLink("", "cali-lan");
      for (const name of ["uplink", "cali-lan"]) {
        await say(w, container, name);
        await ok(w.call({ args }));
        assert.deepEqual(hostSides(w), ["cali-lan", nameOf("w"), "uplink"].sort());
        await say(w, "c1", name);
        await ok(w.call({ command: "DEL", args }));
        assert.deepEqual(await w.traces(), ["link :uplink", "link :cali-lan"]);
      }
    },
  );

  inWorld(`another pod's interface stays whichever record names it: ${container}'s`, async (w) => {
    const { ips } = await ok(w.call({ args: argsOf("victim"), container: "v" }));
    for (const calicos of [false, true]) {
      if (calicos) delete w.kernel.in("")[0].alias;
      await say(w, container, nameOf("victim"));
      await ok(w.call({ args }));
      assert.equal(w.kernel.in("/run/netns/v").length, 1);
      await say(w, "c1", nameOf("victim"));
      await ok(w.call({ command: "DEL", args }));
      assert.deepEqual(hostSides(w), [nameOf("victim")]);
    }
    // Nor does its address go to the pod whose record names it, when IPAM has forgotten it.
    for (const prefix of [blockPrefix(4), handlePrefix]) {
      for (const { key } of (await w.store.list(prefix)).entries) await w.store.delete(key);
    }
    w.restart();
    await say(w, container, nameOf("victim"));
    assert.notEqual((await ok(w.call({ args }))).ips[0].address, ips[0].address);
    assert.equal(w.kernel.in("/run/netns/v").length, 1);
  });
}

inWorld(
  "a pair that Calico made goes by its name, for a newer sandbox and with its own DEL",
  async (w) => {
    await ok(w.call({ args, container: "old" }));
    delete w.kernel.in("")[0].alias;
    const again = await w.call({ args, container: "old" });
    assert.equal(again.json.code, 100);
    await ok(w.call({ args, container: "new" }));
    assert.deepEqual(w.kernel.in("/run/netns/old"), []);
    assert.equal(w.kernel.in("/run/netns/new").length, 1);
    delete w.kernel.in("")[0].alias;
    await ok(w.call({ command: "DEL", args, container: "old" }));
    assert.equal(w.kernel.in("/run/netns/new").length, 1);
    await ok(w.call({ command: "DEL", args, container: "new", netns: "" }));
    assert.deepEqual(await w.traces(), []);
  },
);

for (
  const [command, netns, where] of [
    ["DEL", "", ""],
    ["DEL", "/run/netns/new", ", whose namespace has the path now,"],
    ["GC", undefined, ""],
  ] as const
) {
  inWorld(`${command} by an older record${where} leaves what Calico made since`, async (w) => {
    await ok(w.call({ args, container: "old" }));
    const copy = (await w.store.list("/calico/")).entries;
    await ok(w.call({ command: "DEL", args, container: "old" }));
    await ok(w.call({ args, container: "new" }));
    delete w.kernel.in("")[0].alias;
    const [{ addresses }] = w.kernel.in("/run/netns/new");
    // An older copy of the datastore is put back.
    for (const { key } of (await w.store.list("/calico/")).entries) await w.store.delete(key);
    for (const { key, value } of copy) await w.store.put(key, value);
    w.restart();
    const valid = { "cni.dev/valid-attachments": [{ containerID: "new", ifname: "eth0" }] };
    const call = command === "DEL" ? { args, container: "old", netns } : {
      conf: { ...World.conf({ cniVersion: "1.1.0" }), ...valid },
      env: { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_NETNS: undefined },
    };
    await ok(w.call({ command, ...call }));
    assert.equal(w.kernel.in("/run/netns/new").length, 1);
    assert.deepEqual(await w.endpoints(), []);
    // With its own record it goes.
    const { value } = copy.find(({ key }) => key === KEY)! as { value: WorkloadEndpoint };
    const ipNetworks = addresses.map(({ ip }) => `${formatIp(ip)}/32`);
    await w.store.put(KEY, { ...value, spec: { ...value.spec, containerID: "new", ipNetworks } });
    await ok(w.call({ command: "DEL", args, container: "new", netns: "" }));
    assert.deepEqual(hostSides(w), []);
  });
}

inWorld("DEL of what Calico made since goes by an older record too, with all it has", async (w) => {
  await ok(w.call({ args, container: "old" }));
  const { value } = (await w.store.get(KEY))!;
  await ok(w.call({ command: "DEL", args, container: "old" }));
  const { ips: [{ address }] } = await ok(w.call({ args, container: "new" }));
  delete w.kernel.in("")[0].alias;
  await w.store.put(KEY, value);
  // As the node has put it on record.
  const ipam = new Ipam(w.store);
  await ipam.releaseByHandle("net.new");
  const handle = `net.${nameOf("w")}`;
  await ipam.assignIp({ address: address.split("/")[0], host: "n1", handle });
  await ok(w.call({ command: "DEL", args, container: "new" }));
  assert.deepEqual([hostSides(w), await w.allocations()], [[], []]);
  // The record is of one of which the runtime says nothing: GC takes it.
  assert.equal((await w.endpoints()).length, 1);
});

inWorld(
  "an earlier sandbox gives way by its mark where its record names no interface of its own",
  async (w) => {
    await ok(w.call({ args, container: "old" }));
    await say(w, "old", "nothing");
    await ok(w.call({ args, container: "new" }));
    assert.deepEqual(w.kernel.in("/run/netns/old"), []);
    assert.deepEqual(hostSides(w), [nameOf("w")]);
  },
);

inWorld(
  "a pair that somebody renamed goes with its namespace's interface; another container's does not",
  async (w) => {
    await ok(w.call({ args }));
    w.kernel.in("")[0].name = "renamed0";
    await ok(w.call({ args: argsOf("victim"), container: "v" }));
    // The number of a process that is gone is another's by now.
    await ok(w.call({ command: "DEL", args, container: "gone", netns: "/run/netns/v" }));
    assert.equal(w.kernel.in("/run/netns/v").length, 1);
    await ok(w.call({ command: "DEL", args }));
    assert.deepEqual(hostSides(w), [nameOf("victim")]);
  },
);

Deno.test("a name is enough without a mark only where a record or the namespace speaks for it", () => {
  const attachment = { namespace: "blue", pod: "w", containerId: "c1", ifname: "eth0" };
  const names = hostNames(attachment, "tor");
  assert.equal(new Set(names).size, 4);
  assert.ok(names.includes(nameOf("w")), "Calico's own, whatever prefix is configured now");
  assert.equal(hostNames(attachment, "cali").length, 2);
  const link = { name: nameOf("w") };
  assert.equal(isLinkOf(link, attachment, names, true), true);
  assert.equal(isLinkOf(link, attachment, names, false), false);
  assert.equal(isLinkOf({ name: "uplink" }, attachment, names, true), false);
  const mine = { name: "uplink", alias: "tortie pod c1/eth0" };
  assert.equal(isLinkOf(mine, attachment, names, false), true);
  const others = { ...link, alias: "tortie pod c2/eth0" };
  assert.equal(isLinkOf(others, attachment, names, true), false);
});
