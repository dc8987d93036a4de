/** IPAM on the kubernetes driver: node services that assign and release side by side. */
import assert from "node:assert/strict";
import { dropIdleGateways, ensureGateway } from "../../cni/gateways.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { blockPrefix, handlePrefix } from "../../mod/model/keys.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";

Deno.test("services that assign and release side by side never share an address", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  const stores = await Promise.all(Array.from({ length: 4 }, () => openStore(kube)));
  const store = stores[0];
  try {
    await store.put("/calico/resources/v3/projectcalico.org/ippools/p", {
      metadata: { name: "p" },
      spec: { cidr: "10.244.0.0/22", blockSize: 28, vxlanMode: "Always" },
    });
    const held = new Map<string, string>();
    await Promise.all(stores.map(async (one, n) => {
      const host = `node-${n}`;
      await kube.call("POST", "/api/v1/nodes", {
        apiVersion: "v1",
        kind: "Node",
        metadata: { name: host },
      });
      const ipam = new Ipam(one);
      for (let i = 0; i < 25; i++) {
        const handle = `k8s-pod-network.${host}-${i}`;
        const [{ ip }] = await ipam.assign({ num4: 1, host, handle, use: "Workload" });
        const address = formatIp(ip);
        assert.equal(held.get(address), undefined, `${address} is ${held.get(address)}'s too`);
        held.set(address, handle);
        if (i % 3 === 0) continue;
        held.delete(address);
        assert.equal((await ipam.releaseByHandle(handle))?.map(formatIp).join(), address);
      }
    }));
    const given = (await store.list<any>(blockPrefix(4))).entries
      .flatMap(({ value }) => value.allocations.filter((a: unknown) => a !== null));
    assert.equal(given.length, held.size);
    assert.equal((await store.list(handlePrefix)).entries.length, held.size);
    // What was marked is gone from the API too.
    assert.equal(kube.all("crd.projectcalico.org", "ipamhandles").length, held.size);
  } finally {
    await Promise.all(stores.map((one) => one.close()));
    await kube.close();
  }
});

Deno.test("the gateway of a foreign interface plugin's network has its handle there, of both families", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  const store = await openStore(kube);
  try {
    for (const [name, cidr] of [["four", "10.0.0.0/20"], ["six", "fd00:9::/112"]]) {
      await store.put(`/calico/resources/v3/projectcalico.org/ippools/${name}`, {
        metadata: { name },
        spec: { cidr },
      });
    }
    await kube.call("POST", "/api/v1/nodes", { metadata: { name: "n0" } });
    const ipam = new Ipam(store);
    const deps = { store, ipam, nodeName: "n0" };
    const attributes = { node: "n0" };
    const request = { num4: 1, num6: 1, host: "n0", handle: "net.c1", attributes };
    const addresses = await ipam.assign({ ...request, use: "Workload" });
    for (const address of addresses) {
      const gateway = await ensureGateway(deps, "net", address);
      assert.ok(gateway, formatIp(address.ip));
      assert.deepEqual(await ensureGateway(deps, "net", address), gateway, "the same for the next");
    }
    await dropIdleGateways(deps, "net");
    assert.equal((await store.list(handlePrefix)).entries.length, 3, "the network is used still");
    await ipam.releaseByHandle("net.c1");
    await dropIdleGateways(deps, "net");
    assert.deepEqual((await store.list(handlePrefix)).entries, []);
  } finally {
    await store.close();
    await kube.close();
  }
});
