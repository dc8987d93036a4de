/**
 * Addresses for replicas: a list of them on the pod template, which Calico's `ipAddrs` has never been
 * able to be (calico#1352, open since 2017), and an address for each ordinal of a StatefulSet.
 */
import assert from "node:assert/strict";
import type { Lab, RunningPod } from "../../mod/lab/lab.ts";
import { pod, podPings, until, withLab } from "../cluster/harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

function workload(
  kind: "Deployment" | "StatefulSet",
  replicas: number,
  annotations: Record<string, string>,
): string {
  return JSON.stringify({
    apiVersion: "apps/v1",
    kind,
    metadata: { name: "web" },
    spec: {
      replicas,
      template: {
        metadata: { labels: { app: "web" }, annotations },
        spec: { containers: [{ name: "c" }] },
      },
    },
  });
}

/** The pod that takes another one's place, on a node. */
function replace(lab: Lab, old: RunningPod, node: string, more = {}): Promise<RunningPod> {
  return lab.start(lab.replacementOf(old)!, lab.node(node), { workload: old.workload, ...more });
}

Deno.test(
  "1: replicas share a list of addresses, through rollouts, and none collide",
  options,
  async () => {
    // calico#1352, #5197, #4219, cni-plugin#771: ipAddrs on a Deployment is one address for all.
    await withLab({ subnets: "2" }, async (lab) => {
      const list = ["10.244.200.10", "10.244.200.11"];
      const spare = "10.244.201.1";
      const annotations = { "tortie.io/ip-pins": list.join(","), "tortie.io/ip-pins-spare": spare };
      const [client] = await lab.run(pod("client"), { node: "node1" });
      let replicas = await lab.run(workload("Deployment", 2, annotations));
      assert.deepEqual(replicas.map((r) => r.addresses[0]).sort(), list);
      for (let round = 0; round < 3; round++) {
        const next: RunningPod[] = [];
        for (const old of replicas) {
          // The replacement is there before the old one goes, on whatever node: it takes the spare.
          const fresh = await replace(lab, old, next.length % 2 ? "node1" : "node2");
          assert.ok([...list, spare].includes(fresh.addresses[0]), fresh.addresses[0]);
          const all = [...lab.pods()].filter((p) => p.workload).map((p) =>
            JSON.stringify(p.result)
          );
          assert.equal(new Set(all.map((r) => /10\.244\.20\d\.\d+/.exec(r)![0])).size, all.length);
          await lab.remove(old);
          next.push(fresh);
        }
        replicas = next;
        for (const { addresses, name } of replicas) {
          await until(`the client reaches ${name}`, 15_000, () => podPings(client, addresses[0]));
        }
      }
    });
  },
);

Deno.test(
  "1: a surge pod waits, says why, and comes up when an address is free",
  options,
  async () => {
    await withLab({ subnets: "2" }, async (lab) => {
      const pins = { "tortie.io/ip-pins": "10.244.200.10" };
      const [old] = await lab.run(workload("Deployment", 1, pins));
      const told = Promise.withResolvers<string>();
      const surge = replace(lab, old, "node2", { patience: 60_000, onWaiting: told.resolve });
      surge.then(
        ({ addresses }) => told.reject(new Error(`it came up at once, with ${addresses.join()}`)),
        told.reject,
      );
      const late = setTimeout(() => told.reject(new Error("it says nothing")), 30_000);
      const why = await told.promise.finally(() => clearTimeout(late));
      assert.match(why, /none of the 1 addresses of annotation tortie\.io\/ip-pins is free/);
      assert.match(why, new RegExp(`10\\.244\\.200\\.10 by pod default/${old.name} on node`));
      await lab.remove(old);
      const fresh = await surge;
      assert.deepEqual(fresh.addresses, old.addresses);
      // Somebody else's namespace cannot have it meanwhile, whatever it asks for.
      await lab.apply(
        JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name: "red" } }),
      );
      const thief = pod("thief", { namespace: "red", annotations: pins });
      await assert.rejects(
        lab.run(thief, { node: "node1" }),
        /is free \(10\.244\.200\.10 by pod default/,
      );
    });
  },
);

Deno.test(
  "2: an ordinal keeps its address when its pod is deleted, on any node",
  options,
  async () => {
    // kubernetes#28969, #95170, calico#6148, multus#589, #845.
    await withLab({ subnets: "2" }, async (lab) => {
      const annotations = { "tortie.io/ip-pins": '["10.244.200.10-10.244.200.12"]' };
      const [client] = await lab.run(pod("client"), { node: "node1" });
      const before = await lab.run(workload("StatefulSet", 3, annotations));
      assert.deepEqual(
        before.map((p) => `${p.name} ${p.addresses[0]}`),
        [0, 1, 2].map((i) => `web-${i} 10.244.200.1${i}`),
      );
      // All go at once and come back in another order, each on another node than before.
      for (const old of before) await lab.remove(old);
      const shown = await lab.tortie(["ipam", "show", "--ip", "10.244.200.11"]);
      assert.match(shown.stdout, /tortie-pin\.default\.web\.1/);
      const other = pod("other", {
        annotations: { "cni.projectcalico.org/ipAddrs": '["10.244.200.11"]' },
      });
      await assert.rejects(
        lab.run(other, { node: "node1" }),
        /held by ordinal 1 of StatefulSet default\/web, for which it is kept until/,
      );
      for (const old of before.toReversed()) {
        const fresh = await replace(lab, old, old.node === "node1" ? "node2" : "node1");
        assert.deepEqual(fresh.addresses, old.addresses, old.name);
        await until(
          `the client reaches ${old.name}`,
          15_000,
          () => podPings(client, old.addresses[0]),
        );
      }
    });
  },
);
