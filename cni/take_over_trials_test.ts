/**
 * What an ordinal's or a pod's new sandbox takes over from an earlier one, and when: nothing before the
 * new one has all that it needs and the earlier one has lost its interface, nothing of a container that
 * is only no longer on record, and nothing that a fresh pin would not be given.
 */
import assert from "node:assert/strict";
import { blockPrefix, ipamConfigKey, resourceKey } from "../mod/model/keys.ts";
import { ippoolKind } from "../mod/model/ippool.ts";
import { nodeKind } from "../mod/model/node.ts";
import { podKind } from "../mod/model/pod.ts";
import { workloadEndpointKind } from "../mod/model/workload_endpoint.ts";
import { mustIp } from "../mod/net/mod.ts";
import { type Fault, World } from "./testing/world.ts";

const PINS = "tortie.io/ip-pins";
const FIXED = "cni.projectcalico.org/ipAddrs";

function inWorld(name: string, run: (w: World) => Promise<void>): void {
  Deno.test(name, async () => {
    const w = await World.make();
    try {
      await run(w);
    } finally {
      await w.store.close();
    }
  });
}

const args = (pod: string) => `IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${pod}`;
const add = (w: World, pod: string, container: string) => w.call({ args: args(pod), container });
const del = (w: World, pod: string, container: string) =>
  w.call({ command: "DEL", args: args(pod), container });

/** Over the Pod that is there, as who edits its annotations or deletes it by force and makes it anew. */
async function putPod(
  w: World,
  name: string,
  annotations: Record<string, string>,
  statefulSet = name.replace(/-\d+$/, ""),
): Promise<void> {
  await w.store.put(resourceKey(podKind, name, "blue"), {
    kind: "Pod",
    apiVersion: "v1",
    metadata: {
      name,
      namespace: "blue",
      annotations,
      ownerReferences: [
        {
          apiVersion: "apps/v1",
          kind: "StatefulSet",
          name: statefulSet,
          uid: "u",
          controller: true,
        },
      ],
    },
    spec: {},
  });
}

async function must(reply: ReturnType<typeof add>): Promise<string[]> {
  const { exit, json } = await reply;
  assert.equal(exit, 0, JSON.stringify(json));
  return json.ips.map(({ address }: { address: string }) => address.split("/")[0]);
}

async function refused(reply: ReturnType<typeof add>, why: RegExp): Promise<void> {
  const { json } = await reply;
  assert.equal(json.code, 11, JSON.stringify(json));
  assert.match(json.msg, why);
}

/** Who has which address: the container that uses a lease, else the handle. */
async function record(w: World): Promise<Record<string, string>> {
  return Object.fromEntries(
    (await w.allocations()).map(({ ip, block, handle, attributes }) => {
      const [first] = block.split("/");
      const address = first.includes(":")
        ? `${first}${ip}`
        : first.replace(/\d+$/, (last) => String(Number(last) + ip));
      const whose = attributes.container ?? (attributes.keptUntil ? `kept ${handle}` : handle);
      return [address, whose];
    }),
  );
}

inWorld("a take-over that gets nothing leaves the lease with the sandbox that runs", async (w) => {
  await w.addPool("six", { cidr: "fd00:10::/64" });
  await w.addPod("other", { annotations: { [FIXED]: '["10.244.0.30"]' } });
  await w.addPod("other6", { annotations: { [FIXED]: '["fd00:10::3"]' } });
  const six = World.conf({
    ipam: { type: "tortie-ipam", assign_ipv4: "false", assign_ipv6: "true" },
  });
  await must(add(w, "other", "o"));
  await must(w.call({ args: args("other6"), container: "o6", conf: six }));
  await putPod(w, "web-0", { [PINS]: "10.244.0.20, fd00:10::2" });
  const before = { "10.244.0.20": "net.c1", "fd00:10::2": "net.c1" };
  assert.deepEqual((await must(add(w, "web-0", "c1"))).sort(), Object.keys(before));
  const all = await record(w);
  assert.deepEqual(all, { ...before, "10.244.0.30": "net.o", "fd00:10::3": "net.o6" });
  const traces = await w.traces();
  for (
    const list of [
      "10.244.0.30, fd00:10::2", // the first is taken
      "10.244.0.20, fd00:10::3", // the second is
      "10.244.0.31, fd00:10::3", // one could be had, and the other not
    ]
  ) {
    await putPod(w, "web-0", { [PINS]: list });
    await refused(add(w, "web-0", "c2"), /none of the 1 addresses .* is free/);
    assert.deepEqual(await record(w), all, list);
    assert.deepEqual(await w.traces(), traces, list);
    assert.equal((await del(w, "web-0", "c2")).exit, 0);
    assert.deepEqual(await record(w), all, list);
  }
  await w.addPod("thief", { annotations: { [FIXED]: '["10.244.0.20"]' } });
  await refused(add(w, "thief", "t"), /held by ordinal 0 of StatefulSet blue\/web on node n1/);
  // What is free is taken over, and what is no longer listed goes back.
  await putPod(w, "web-0", { [PINS]: "10.244.0.31, fd00:10::2" });
  await must(add(w, "web-0", "c3"));
  assert.deepEqual(await record(w), {
    "10.244.0.31": "net.c3",
    "fd00:10::2": "net.c3",
    "10.244.0.30": "net.o",
    "fd00:10::3": "net.o6",
  });
});

const BEFORE = "10.244.0.20";
const CASES: Record<string, (w: World, list: string) => Promise<void>> = {
  "an ordinal": (w, list) => putPod(w, "web-0", { [PINS]: list }),
  "a replica": (w, list) => w.addPod("web-0", { annotations: { [PINS]: list } }),
  "a pod of fixed addresses": (w, list) =>
    w.addPod("web-0", { annotations: { [FIXED]: JSON.stringify(list.split(", ")) } }),
};

for (const [name, put] of Object.entries(CASES)) {
  inWorld(
    `a take-over that is refused leaves the sandbox that runs as it was: ${name}`,
    async (w) => {
      await w.addPool("six", { cidr: "fd00:10::/64" });
      await w.addPod("other", { annotations: { [FIXED]: '["fd00:10::3"]' } });
      const six = { type: "tortie-ipam", assign_ipv4: "false", assign_ipv6: "true" };
      const conf = World.conf({ ipam: six });
      await must(w.call({ args: args("other"), container: "o", conf }));
      await put(w, `${BEFORE}, fd00:10::2`);
      await must(add(w, "web-0", "c1"));
      const before = [await record(w), await w.traces()];
      await put(w, `${BEFORE}, fd00:10::3`);
      await refused(add(w, "web-0", "c2"), /other on node n1/);
      assert.deepEqual([await record(w), await w.traces()], before);
    },
  );
}

for (const [name, put] of Object.entries(CASES)) {
  const lists = [`${BEFORE}, fd00:10::2`, "10.244.0.21, fd00:10::2"];
  for (const list of name === "an ordinal" ? lists : lists.slice(0, 1)) {
    Deno.test(`faults: a take-over fails or is cut off, ${name}, then of ${list}`, async () => {
      const begun = async () => {
        const w = await World.make();
        await w.addPool("six", { cidr: "fd00:10::/64" });
        await put(w, `${BEFORE}, fd00:10::2`);
        await must(add(w, "web-0", "c1"));
        await put(w, list);
        return w;
      };
      const clean = await begun();
      const counted = clean.restart();
      await must(add(clean, "web-0", "c2"));
      const { names } = counted;
      await clean.store.close();
      assert.ok(names.length > 15);
      for (const [at, call] of names.entries()) {
        // To be cut off behind a look is to be cut off behind the last effect before it.
        const isLook = /^(store (get|list)|kernel (link|hostLink|openNamespace))/.test(call);
        const modes: Fault["mode"][] = isLook ? ["before"] : ["before", "cut after"];
        for (const mode of modes) {
          const what = `${mode} call ${at}, ${call}`;
          const w = await begun();
          w.restart({ at, mode });
          const reply = await w.call({
            args: args("web-0"),
            container: "c2",
            deliver: () => Promise.resolve(!mode.startsWith("cut")),
          });
          w.restart();
          if (reply.exit !== 0 || mode.startsWith("cut")) {
            assert.equal((await del(w, "web-0", "c2")).exit, 0, what);
            const runs = w.kernel.in("/run/netns/c1").length > 0;
            const now = await record(w);
            if (runs) {
              assert.equal(now[BEFORE], "net.c1", what);
              assert.equal(now["fd00:10::2"], "net.c1", what);
              const [endpoint] = await w.endpoints();
              assert.equal(endpoint.spec.containerID, "c1", what);
            }
            assert.ok(!Object.values(now).includes("net.c2"), `${what}: ${JSON.stringify(now)}`);
            await must(add(w, "web-0", "c3"));
          }
          const last = reply.exit === 0 && !mode.startsWith("cut") ? "net.c2" : "net.c3";
          // What a sandbox keeps of addresses that are no longer wished for, its own DEL gives back.
          assert.equal((await del(w, "web-0", "c1")).exit, 0, what);
          assert.deepEqual(
            await record(w),
            Object.fromEntries(list.split(", ").map((ip) => [ip, last])),
            what,
          );
          await w.store.close();
        }
      }
    });
  }
}

inWorld("an ordinal waits for its container whose endpoint went with the Pod", async (w) => {
  const pins = { [PINS]: "10.244.0.20-10.244.0.21", "tortie.io/ip-pins-spare": "10.244.0.40" };
  await putPod(w, "web-0", pins);
  assert.deepEqual(await must(add(w, "web-0", "c1")), ["10.244.0.20"]);
  // As where endpoints are the Pods: `kubectl delete pod --force`, and the Pod comes back.
  const endpoint = resourceKey(workloadEndpointKind, "n1-k8s-web--0-eth0", "blue");
  await w.store.delete(endpoint);
  const before = await record(w);
  const former = /still in use by its former container on this node, n1 \(interface cali/;
  await refused(add(w, "web-0", "c2"), former);
  assert.deepEqual(await record(w), before);
  // Also where its route is lost, or its list names another.
  const [link] = w.kernel.in("");
  link.hostRoutes = [];
  await refused(add(w, "web-0", "c2"), former);
  link.hostRoutes = [mustIp("10.244.0.20")];
  await putPod(w, "web-0", { [PINS]: "10.244.0.21" });
  await refused(add(w, "web-0", "c2"), former);
  assert.deepEqual(await record(w), before);
  // Also where its interface bears no mark any more.
  const { alias } = link;
  delete link.alias;
  await refused(add(w, "web-0", "c2"), former);
  assert.deepEqual(await record(w), before);
  assert.equal(w.kernel.in("")[0]?.name, link.name);
  link.alias = alias;
  assert.equal((await del(w, "web-0", "c1")).exit, 0);
  await putPod(w, "web-0", pins);
  assert.deepEqual(await must(add(w, "web-0", "c2")), ["10.244.0.20"]);
  assert.deepEqual(await record(w), { "10.244.0.20": "net.c2" });
});

inWorld("an ordinal does not wait for a container of which nothing is left", async (w) => {
  await putPod(w, "web-0", { [PINS]: "10.244.0.20" });
  await must(add(w, "web-0", "c1"));
  await w.store.delete(resourceKey(workloadEndpointKind, "n1-k8s-web--0-eth0", "blue"));
  w.kernel.deleteNamespace("/run/netns/c1"); // The machine was reset.
  assert.deepEqual(await must(add(w, "web-0", "c2")), ["10.244.0.20"]);
});

inWorld("a kept lease under a container of the ordinal that runs is no stranger's", async (w) => {
  await putPod(w, "web-0", { [PINS]: "10.244.0.20-10.244.0.21" });
  await must(add(w, "web-0", "c1"));
  await w.store.delete(resourceKey(workloadEndpointKind, "n1-k8s-web--0-eth0", "blue"));
  const [entry] = (await w.store.list<any>(blockPrefix(4))).entries
    .filter(({ value }) => value.cidr === "10.244.0.0/26");
  const [attribute] = entry.value.attributes;
  delete attribute.secondary.container;
  attribute.secondary.keptUntil = "2126-01-01T00:00:00Z";
  await w.store.put(entry.key, entry.value);
  const before = await record(w);
  assert.deepEqual(before, { "10.244.0.20": "kept tortie-pin.blue.web.0" });
  await refused(add(w, "web-0", "c2"), /still in use by its former container on this node/);
  assert.deepEqual(await record(w), before);
});

const LIMITS: [
  name: string,
  pool: Record<string, unknown> | undefined,
  why: RegExp,
  otherwise?: (w: World) => Promise<void>,
][] = [
  ["the node is not selected", { nodeSelector: "zone == 'far'" }, /is not for this node \(nodeSel/],
  ["the namespace is not", { namespaceSelector: "team == 'red'" }, /namespaceSelector .* does not/],
  ["it is disabled", { disabled: true }, /lies in IPPool pins, and it is disabled/],
  ["it is for tunnels", { allowedUses: ["Tunnel"] }, /not allowed for use "Workload"/],
  ["it is deleted", undefined, /lies in no enabled IPPool/],
  [
    "its block is another node's",
    {},
    /strictAffinity keeps node n1 out of block .* of host:n2/,
    async (w) => {
      await w.store.put(ipamConfigKey, { strict_affinity: true, auto_allocate_blocks: true });
      for (const { key, value } of (await w.store.list<any>(blockPrefix(4))).entries) {
        if (value.cidr === "10.50.0.0/26") {
          await w.store.put(key, {
            ...value,
            affinity: "host:n2",
          });
        }
      }
    },
  ],
];

for (const [name, spec, why, otherwise] of LIMITS) {
  inWorld(`a kept lease is not taken up where no fresh pin would be: ${name}`, async (w) => {
    await w.addPool("pins", { cidr: "10.50.0.0/24" });
    await w.store.put(resourceKey(nodeKind, "n2"), {
      kind: "Node",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "n2" },
      spec: {},
    });
    await putPod(w, "web-0", { [PINS]: "10.50.0.9" });
    await must(add(w, "web-0", "c1"));
    await del(w, "web-0", "c1");
    const kept = { "10.50.0.9": "kept tortie-pin.blue.web.0" };
    assert.deepEqual(await record(w), kept);
    if (spec) await w.addPool("pins", { cidr: "10.50.0.0/24", ...spec });
    else await w.store.delete(resourceKey(ippoolKind, "pins"));
    await otherwise?.(w);
    await refused(add(w, "web-0", "c2"), why);
    await refused(add(w, "web-0", "c2"), /10\.50\.0\.9, which is kept for it, may not be used on/);
    assert.deepEqual(await record(w), kept);
    await w.addPool("pins", { cidr: "10.50.0.0/24" });
    await w.store.put(ipamConfigKey, { strict_affinity: false, auto_allocate_blocks: true });
    assert.deepEqual(await must(add(w, "web-0", "c3")), ["10.50.0.9"]);
  });
}

for (const [name, put] of Object.entries(CASES)) {
  inWorld(`an address that stays the pod's does not cool down: ${name}`, async (w) => {
    await w.store.put(ipamConfigKey, { auto_allocate_blocks: true, ipCooldownSeconds: 1200 });
    await put(w, BEFORE);
    await must(add(w, "web-0", "c1"));
    assert.deepEqual(await must(add(w, "web-0", "c2")), [BEFORE]);
    assert.equal(w.kernel.in("/run/netns/c1").length, 0);
    await del(w, "web-0", "c1");
    assert.deepEqual(await record(w), { [BEFORE]: "net.c2" });
    assert.deepEqual((await w.handles()).length, 1);
  });
}
