/** The endpoint is written with its address, or by itself where that cannot be. */
import assert from "node:assert/strict";
import { IPAM_PREFIX, resourcePrefix } from "../mod/model/keys.ts";
import { type WorkloadEndpoint, workloadEndpointKind } from "../mod/model/workload_endpoint.ts";
import type { FaultPoints } from "./testing/world.ts";
import { World } from "./testing/world.ts";

const P = "cni.projectcalico.org/";
const ENDPOINTS = resourcePrefix(workloadEndpointKind);
const args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web-0";

async function world(run: (w: World) => Promise<void>): Promise<void> {
  const w = await World.make();
  try {
    await run(w);
  } finally {
    await w.store.close();
  }
}

/** Writes of several objects, by what is in them. */
function joint({ names }: FaultPoints): string[] {
  return names.filter((name) => name.startsWith("store together ")).map((name) => {
    const [, , ...keys] = name.split(" ");
    const parts = { block: "/assignment/", handle: "/handle/", endpoint: ENDPOINTS };
    return Object.entries(parts).flatMap(([part, text]) =>
      keys.filter((key) => key.includes(text)).map(() => part)
    ).join(" ");
  });
}

const created = ({ names }: FaultPoints) =>
  names.filter((name) => name.startsWith(`store create ${ENDPOINTS}`)).length;

Deno.test("a fresh pod of one address: block, handle and endpoint in one step", () =>
  world(async (w) => {
    await w.addPod("web-0", { labels: { app: "web" } });
    await w.call({ container: "c0" });
    const points = w.restart();
    const { json } = await w.call({ args });
    assert.deepEqual(joint(points), ["block handle endpoint"]);
    assert.equal(created(points), 0);
    const [endpoint] = (await w.endpoints()).filter(({ spec }) => spec.pod === "web-0");
    assert.deepEqual(endpoint.spec.ipNetworks, [json.ips[0].address]);
    assert.equal(endpoint.spec.interfaceName, json.interfaces[0].name);
    assert.equal(endpoint.metadata.labels?.app, "web");
    assert.match(endpoint.metadata.uid!, /^[0-9a-f-]{36}$/);
    assert.match(endpoint.metadata.creationTimestamp!, /^\d{4}-.*Z$/);
  }));

Deno.test("many at once: as many as go in one step, the others by themselves", () =>
  world(async (w) => {
    await w.call({ container: "c0" });
    const points = w.restart();
    const ids = Array.from({ length: 60 }, (_, i) => `c${i + 1}`);
    const replies = await Promise.all(ids.map((container) => w.call({ container })));
    assert.deepEqual(replies.map(({ exit }) => exit), ids.map(() => 0));
    const endpoints = await w.endpoints();
    assert.equal(endpoints.length, 61);
    const addresses = endpoints.flatMap(({ spec }) => spec.ipNetworks ?? []);
    assert.equal(new Set(addresses).size, 61);
    for (const { json } of replies) assert.ok(addresses.includes(json.ips[0].address));
    const jointly = joint(points).flatMap((parts) => parts.match(/endpoint/g) ?? []).length;
    assert.ok(jointly > 0);
    assert.equal(jointly + created(points), 60);
  }));

Deno.test("an address that another has by the kernel is in no endpoint at any moment", () =>
  world(async (w) => {
    const first = (await w.call({ container: "c1" })).json.ips[0].address;
    // As by hand: IPAM has forgotten it, and its endpoint is there.
    for (const { key } of (await w.store.list(IPAM_PREFIX)).entries) await w.store.delete(key);
    const { revision } = await w.store.list(ENDPOINTS);
    const points = w.restart();
    const { exit, json } = await w.call({ container: "c2" });
    assert.equal(exit, 0);
    assert.notEqual(json.ips[0].address, first);
    // Given, put on record for who has it, and another given.
    assert.deepEqual(joint(points), ["block handle", "block handle", "block handle endpoint"]);
    await w.store.put(`${ENDPOINTS}the-last`, "");
    const told: unknown[] = [];
    const over = new AbortController();
    for await (const event of w.store.watch(ENDPOINTS, { from: revision, signal: over.signal })) {
      if (event.key.endsWith("the-last")) over.abort();
      else told.push(event.type, (event as { value: WorkloadEndpoint }).value.spec.ipNetworks);
    }
    assert.deepEqual(told, ["put", [json.ips[0].address]]);
  }));

Deno.test("what somebody puts in the endpoint's place meanwhile is written over, as ever", () =>
  world(async (w) => {
    await w.call({ container: "c0" });
    const key = `${ENDPOINTS}default/n1-cni-c1-eth0`;
    let put = false;
    const points = w.restart(undefined, async (what) => {
      if (put || !what.startsWith("store together")) return;
      put = true;
      await w.store.put(key, "nothing of an endpoint");
    });
    const { exit, json } = await w.call({ container: "c1" });
    assert.equal(exit, 0);
    assert.ok(put && created(points) === 1);
    const found = (await w.store.get<WorkloadEndpoint>(key))?.value;
    assert.deepEqual(found?.spec.ipNetworks, [json.ips[0].address]);
    assert.equal((await w.call({ command: "DEL", container: "c1" })).exit, 0);
    assert.equal((await w.call({ command: "DEL", container: "c0" })).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("an endpoint that cannot be made is refused in its own words, and nothing is left", () =>
  world(async (w) => {
    await w.addPod("web-0", { annotations: { [P + "floatingIPs"]: '["fd00::9"]' } });
    await w.call({ container: "c0" });
    assert.equal((await w.call({ command: "DEL", container: "c0" })).exit, 0);
    const points = w.restart();
    const conf = World.conf({ feature_control: { floating_ips: true } });
    const { exit, json } = await w.call({ args, conf });
    assert.notEqual(exit, 0);
    assert.match(json.msg, /floatingIPs names fd00::9, but the pod has no IPv6 address/);
    assert.deepEqual(joint(points), ["block handle"]);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("an address that was asked for, two of them, an earlier sandbox: written one after the other", () =>
  world(async (w) => {
    await w.addPool("six", { cidr: "fd00:10::/64" });
    await w.addPod("web-0", { annotations: { [P + "ipAddrs"]: '["10.244.7.7"]' } });
    await w.addPod("web-1");
    await w.addPod("web-2");
    const of = (name: string) => `K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${name}`;
    const dual = World.conf({
      ipam: { type: "tortie-ipam", assign_ipv4: "true", assign_ipv6: "true" },
    });
    assert.equal((await w.call({ container: "old", args: of("web-2") })).exit, 0);
    const calls = [
      { container: "c0", args: of("web-0") },
      { container: "c1", args: of("web-1"), conf: dual },
      { container: "new", args: of("web-2") },
    ];
    for (const call of calls) {
      const points = w.restart();
      const { exit, body } = await w.call(call);
      assert.equal(exit, 0, body);
      assert.deepEqual(joint(points).filter((parts) => parts.includes("endpoint")), []);
    }
    assert.equal((await w.endpoints()).length, 3);
  }));

Deno.test("what is in the way of its name goes when nothing more can be refused", () =>
  world(async (w) => {
    await w.addPod("web-0", { annotations: { [P + "ipAddrs"]: '["10.244.7.7"]' } });
    const first = await w.call({ container: "c1", args });
    assert.equal(first.exit, 0);
    // Its endpoint went with the Pod, and as one of Calico's its interface bears no mark.
    await w.store.delete(`${ENDPOINTS}blue/n1-k8s-web--0-eth0`);
    const [link] = w.kernel.in("");
    delete link.alias;
    w.restart();
    const refused = await w.call({ container: "c2", args });
    assert.notEqual(refused.exit, 0);
    assert.equal(w.kernel.in("")[0]?.name, link.name);
    // Nor for one that IPAM is to choose, and cannot.
    await w.addPod("web-0");
    await w.addPool("pool", { cidr: "10.244.0.0/16", disabled: true });
    assert.notEqual((await w.call({ container: "c3", args })).exit, 0);
    assert.equal(w.kernel.in("")[0]?.name, link.name);
    await w.addPool("pool", { cidr: "10.244.0.0/16" });
    const points = w.restart();
    const { exit, json } = await w.call({ container: "c4", args });
    assert.equal(exit, 0);
    assert.deepEqual(w.kernel.in("").map(({ name }) => name), [json.interfaces[0].name]);
    assert.deepEqual(joint(points).filter((parts) => parts.includes("endpoint")), []);
    assert.equal(created(points), 1);
  }));
