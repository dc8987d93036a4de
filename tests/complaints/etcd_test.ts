/**
 * Complaints about the datastore and IPAM beside it, on a real etcd: what others do with a request for
 * each block, a refused version or a race for one block must not be needed here. Costs are counted in
 * requests, which no load of the machine changes.
 */
import assert from "node:assert/strict";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { checkRecords } from "../../mod/ipam/testing/checks.ts";
import { FaultyStore } from "../../mod/ipam/testing/faulty_store.ts";
import { NODES, POOLS, texts } from "../../mod/ipam/testing/world.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import type { Store } from "../../mod/store/store.ts";
import { command } from "../cli/harness.ts";
import { EtcdCluster } from "../store/etcd_server.ts";

const WORKLOAD = { num4: 1, use: "Workload" as const };

async function withEtcd(run: (cluster: EtcdCluster, store: Store) => Promise<void>) {
  const cluster = await EtcdCluster.start();
  try {
    const store = await cluster.open();
    await run(cluster, store);
    await store.close();
  } finally {
    await cluster.stop();
  }
}

async function pool(store: Store, name: string, cidr: string, spec: object = {}): Promise<void> {
  await store.put(resourceKey(POOLS, name), { metadata: { name }, spec: { cidr, ...spec } });
}

async function node(store: Store, name: string): Promise<void> {
  await store.put(resourceKey(NODES, name), { metadata: { name } });
}

Deno.test("7, 8: blocks by the hundred, taken or nobody's, cost a new one no request each", () =>
  // calico#2713, libcalico-go#1236: 32,671 orphaned blocks; 1,024 GETs to find a free one.
  withEtcd(async (_, store) => {
    await node(store, "n1");
    await node(store, "other");
    await pool(store, "p", "10.0.0.0/19", { blockSize: 26 });
    const setup = new Ipam(store);
    await setup.claimAffinity("10.0.0.0/19", "other");
    // Some of them are nobody's any more, with an address in each that was never released.
    for (let i = 0; i < 12; i++) {
      await setup.assignIp({ address: `10.0.${i}.3`, host: "other", handle: `lost${i}` });
    }
    await setup.releaseAffinity("10.0.0.0/20", "other");
    await setup.releaseAffinity("10.0.21.64/26", "other");
    const counted = new FaultyStore(store);
    const [address] = texts(
      await new Ipam(counted).assign({ ...WORKLOAD, host: "n1", handle: "h" }),
    );
    assert.match(address, /^10\.0\./);
    const { reads, writes } = counted;
    assert(reads <= 30 && writes <= 12, `${reads} reads, ${writes} writes`);
    await checkRecords(store);
  }));

Deno.test("9: a hundred pods of one node at once want few requests each", () =>
  // calico#5612, #5684: two to three minutes for a hundred addresses.
  withEtcd(async (_, store) => {
    await node(store, "n1");
    await pool(store, "p", "10.0.0.0/16", { blockSize: 24 });
    const counted = new FaultyStore(store);
    const ipam = new Ipam(counted);
    await ipam.assign({ ...WORKLOAD, host: "n1", handle: "warm" });
    counted.reads = counted.writes = 0;
    const got = await Promise.all(
      Array.from(
        { length: 100 },
        (_, i) => ipam.assign({ ...WORKLOAD, host: "n1", handle: `h${i}` }),
      ),
    );
    assert.equal(new Set(got.flatMap(texts)).size, 100);
    const { reads, writes } = counted;
    assert(reads <= 300 && writes <= 300, `${reads} reads, ${writes} writes`);
    assert.equal((await checkRecords(store)).allocated.size, 101);
  }));

Deno.test("10: the size of a pool costs nothing", () =>
  // spiderpool#3541: set differences over a /10.
  withEtcd(async (_, store) => {
    const costs: number[] = [];
    for (const [name, cidr] of [["small", "10.1.0.0/24"], ["huge", "20.0.0.0/8"]]) {
      await node(store, name);
      await pool(store, name, cidr, { assignmentMode: "Manual" });
      const counted = new FaultyStore(store);
      await new Ipam(counted).assign({ ...WORKLOAD, host: name, handle: name, pools4: [name] });
      costs.push(counted.reads + counted.writes);
    }
    assert(Math.abs(costs[0] - costs[1]) <= 2, costs.join());
  }));

Deno.test("37: whatever version the cluster says it has, commands work on it", () =>
  // calico#7673, #5764, #6027: refused for "v3.22.2" against "3.22.2".
  withEtcd(async (cluster) => {
    const { env } = cluster;
    const stdin = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: s}}";
    assert.equal((await command(["apply", "-f", "-"], { env, stdin })).exit, 0);
    const key = "/calico/resources/v3/projectcalico.org/clusterinformations/default";
    const [text] = (await cluster.texts(key)).values();
    for (const calicoVersion of ["v3.22.2", "3.22.2", "v3.32.1", "v99.0.0", "", undefined]) {
      const information = JSON.parse(text);
      information.spec.calicoVersion = calicoVersion;
      await cluster.putText(key, JSON.stringify(information));
      for (const words of [["get", "gnetsets"], ["apply", "-f", "-"], ["version"]]) {
        for (const name of ["tortie", "calicoctl"]) {
          const answer = await command(words, { env, stdin, name });
          assert.equal(answer.exit, 0, `${words.join(" ")} at ${calicoVersion}: ${answer.err}`);
        }
      }
    }
  }));
