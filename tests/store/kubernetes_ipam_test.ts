/** IPAM on the kubernetes driver: node services that assign and release side by side. */
import assert from "node:assert/strict";
import { dropIdleGateways, ensureGateway } from "../../cni/gateways.ts";
import { FakeKernel } from "../../cni/testing/fake_kernel.ts";
import { checkStore } from "../../mod/ipam/check/check.ts";
import { mendDamaged } from "../../mod/ipam/check/mend.ts";
import { IpamError } from "../../mod/ipam/errors.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { coolDown, writtenByCalico332 } from "../../mod/ipam/testing/cool_down.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { blockPrefix, handlePrefix } from "../../mod/model/keys.ts";
import { Collector } from "../../mod/store/conformance/case.ts";
import { calicoDefinitions } from "../kube/calico_definitions.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";

for (const version of ["3.32", "3.33"] as const) {
  Deno.test(`an address cools down by the definitions of Calico ${version}`, async () => {
    for (const rewritten of [undefined, writtenByCalico332]) {
      const kube = await startCalico({ bookmarks: 0 }, calicoDefinitions(version));
      const store = await openStore(kube);
      try {
        await store.put("/calico/resources/v3/projectcalico.org/ippools/p", {
          metadata: { name: "p" },
          spec: { cidr: "10.9.0.0/29", blockSize: 30 },
        });
        await kube.call("POST", "/api/v1/nodes", { metadata: { name: "n1" } });
        await coolDown(store, rewritten);
      } finally {
        await store.close();
        await kube.close();
      }
    }
  });
}

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
    const deps = { kernel: new FakeKernel(), store, ipam, nodeName: "n0" };
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

Deno.test("half-written records stop no ADD while addresses are free elsewhere, and a release mends them", async () => {
  const GROUP = "crd.projectcalico.org";
  for (const bad of [{}, 5, { cidr: "10.9.9.0/29" }]) {
    for (const plural of bad === 5 ? ["ipamblocks", "blockaffinities"] : ["ipamblocks"]) {
      const kube = await startCalico({ bookmarks: 0 });
      const store = await openStore(kube);
      const ipams = [new Ipam(store)];
      // One that knows the node's blocks, and one that knows nothing yet, as a plugin without a service.
      const add = async (handle: string, ipam = new Ipam(store), host = "n1") => {
        const request = { num4: 1, host, handle: `net.${handle}`, attributes: { node: host } };
        const [{ ip }] = await ipam.assign({ ...request, use: "Workload" });
        return formatIp(ip);
      };
      const what = `${plural} ${JSON.stringify(bad)}`;
      try {
        await store.put("/calico/resources/v3/projectcalico.org/ippools/p", {
          metadata: { name: "p" },
          spec: { cidr: "10.244.0.0/28", blockSize: 29 },
        });
        for (const name of ["n1", "n2"]) {
          await kube.call("POST", "/api/v1/nodes", { metadata: { name } });
        }
        const first = await add("first", ipams[0]);
        const [{ key, value }] = (await store.list<any>(blockPrefix(4))).entries;
        const watch = new Collector(store, "/", (await store.list("/")).revision);
        const [object] = kube.all(GROUP, plural);
        kube.put(GROUP, plural, { ...structuredClone(object), spec: bad } as any);
        const [event] = await watch.first(1);
        await watch.end();
        assert.equal(event.type, "delete", what);
        assert.match(event.type === "delete" && event.broken || "", /half-written|says that it is/);
        if (plural === "ipamblocks") assert.equal(event.key, key);
        const given = [
          await add("known", ipams[0]),
          await add("unknown"),
          await add("n2", undefined, "n2"),
        ];
        assert(!given.includes(first), what);
        const findings = (await checkStore(store, { now: Date.now })).damaged;
        // An affinity has been made anew by then.
        if (plural === "ipamblocks") assert.equal(findings.length, 1, what);
        // All that is left of the pool, and then not one more: whoever asks hears why, and what helps.
        if (plural === "ipamblocks") {
          for (let n = 0; n < 5; n++) await add(`filler${n}`);
          const error = await add("late").then(() => undefined, (error) => error);
          assert(error instanceof IpamError, `${what}: ${error}`);
          const cidr = value.cidr.replaceAll(".", "\\.");
          assert.match(error.message, new RegExp(`${cidr} .* damaged: IPAMBlock .*ipam check`));
        }
        for (const id of ["first", "known", "unknown"]) {
          await new Ipam(store).releaseByHandle(`net.${id}`);
        }
        await mendDamaged(store, new Ipam(store), findings, { now: Date.now, force: true });
        assert.deepEqual((await checkStore(store, { now: Date.now })).damaged, [], what);
      } finally {
        await store.close();
        await kube.close();
      }
    }
  }
});
