/**
 * The datastore is lost in the midst of many objects: one error, that says how many are done, after the
 * time that one operation waits; and what a deletion of several steps has left.
 */
import assert from "node:assert/strict";
import { globalNetworkSetKind } from "../../mod/model/network_set.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { Resources } from "../../mod/store/resources.ts";
import type { EtcdStore } from "../../mod/store/etcd/mod.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { binary, until } from "../cluster/harness.ts";
import { command } from "./harness.ts";

const COUNT = 400;
const set = (name: string) => ({
  apiVersion: "projectcalico.org/v3",
  kind: "GlobalNetworkSet",
  metadata: { name },
});
const pool = (i: number) => ({
  apiVersion: "projectcalico.org/v3",
  kind: "IPPool",
  metadata: { name: `p${i}` },
  spec: { cidr: `10.${i}.0.0/16` },
});
const SETS = JSON.stringify(Array.from({ length: COUNT }, (_, i) => set(`s${i}`)));

/** Ends the etcd as soon as somebody has written a key. */
async function killAt(etcd: EtcdCluster, key: RegExp): Promise<void> {
  const store: EtcdStore = await etcd.open();
  try {
    const { revision } = await store.list("/calico/");
    for await (const change of store.watch("/calico/", { from: revision })) {
      if ("key" in change && key.test(change.key)) break;
    }
    etcd.members[0].kill("SIGKILL");
  } finally {
    await store.close();
  }
}

async function withEtcd(run: (etcd: EtcdCluster, env: Record<string, string>) => Promise<void>) {
  const etcd = await EtcdCluster.start();
  try {
    await run(etcd, { ...etcd.env });
  } finally {
    await etcd.stop();
  }
}

/** Milliseconds; one operation waits ten seconds, and the rest is the machine's. */
const MOST_MS = 18_000;

async function applyIsLost(name: string): Promise<void> {
  await withEtcd(async (etcd, env) => {
    const killed = killAt(etcd, /globalnetworksets\/s20$/);
    const began = performance.now();
    const { exit, err } = await command(["apply", "-f", "-"], { stdin: SETS, env, name });
    const took = performance.now() - began;
    await killed;
    assert.equal(exit, name === "tortie" ? 3 : 1);
    const [, done, left] = /; (\d+) of 400 resources were applied, (\d+) not, beginning with/
      .exec(err) ?? assert.fail(err);
    assert(Number(done) >= 20 && Number(done) + Number(left) === COUNT, err);
    assert.match(err, new RegExp(`GlobalNetworkSet "s${done}"`));
    assert.equal(err.trim().split("\n").length, 1);
    assert(took < MOST_MS, `${took} ms`);
  });
}

async function deleteIsLost(name: string): Promise<void> {
  await withEtcd(async (etcd, env) => {
    const stdin = JSON.stringify([1, 2, 3].map(pool));
    assert.equal((await command(["apply", "-f", "-"], { stdin, env, name })).exit, 0);
    // It is disabled, half a second before it goes.
    const killed = killAt(etcd, /ippools\/p2$/);
    const began = performance.now();
    const { exit, err, out } = await command(["delete", "-f", "-"], { stdin, env, name });
    const took = performance.now() - began;
    await killed;
    assert.equal(exit, name === "tortie" ? 3 : 1);
    assert.match(out, /Successfully deleted 1 'IPPool'/);
    assert.match(err, /pool p2 is not deleted, and (is|may be) disabled by now: delete it again/);
    assert.match(err, /1 of 3 resources was deleted, 2 not, beginning with IPPool "p2"/);
    assert.equal(err.trim().split("\n").length, 1);
    assert(took < MOST_MS, `${took} ms`);
  });
}

Deno.test("the datastore is lost in the midst: one error, which counts, and nothing more is tried", async () => {
  // All wait at the same time.
  const names = ["tortie", "calicoctl"];
  await Promise.all([...names.map(applyIsLost), ...names.map(deleteIsLost)]);
});

Deno.test("delete: SIGINT in the midst of a pool says what is left", async () => {
  await withEtcd(async (etcd, env) => {
    const stdin = JSON.stringify([1, 2].map(pool));
    assert.equal((await command(["apply", "-f", "-"], { stdin, env })).exit, 0);
    const process = new Deno.Command(binary(), {
      args: ["delete", "ippool", "p1", "p2"],
      env,
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const store = await etcd.open();
    try {
      const resources = new Resources(store);
      await until("the pool is disabled", 20_000, async () => {
        return (await resources.get(ippoolKind, "p1"))?.spec.disabled === true;
      });
      process.kill("SIGINT");
      const { code, stderr } = await process.output();
      const err = new TextDecoder().decode(stderr);
      assert.equal(code, 1);
      assert.match(err, /interrupted; pool p1 is not deleted, and may be disabled by now/);
      assert.match(err, /0 of 2 resources were deleted, 2 not, beginning with IPPool "p1"/);
      assert((await resources.get(ippoolKind, "p2"))?.spec.disabled === false);
    } finally {
      await store.close();
    }
  });
});

Deno.test("delete: SIGINT after a pool ends it too", async () => {
  await withEtcd(async (etcd, env) => {
    const sets = Array.from({ length: 4000 }, (_, i) => set(`s${i}`));
    const stdin = JSON.stringify([pool(1), ...sets]);
    assert.equal((await command(["apply", "-f", "-"], { stdin, env })).exit, 0);
    const file = await Deno.makeTempFile({ suffix: ".json" });
    await Deno.writeTextFile(file, stdin);
    const process = new Deno.Command(binary(), {
      args: ["delete", "-f", file],
      env,
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const store = await etcd.open();
    try {
      const resources = new Resources(store);
      await until("a set is gone", 30_000, async () => {
        return await resources.get(globalNetworkSetKind, "s0") === undefined;
      });
      process.kill("SIGINT");
      const { code, stderr } = await process.output();
      assert.equal(code, 1);
      assert.match(new TextDecoder().decode(stderr), /interrupted/);
      assert(await resources.get(globalNetworkSetKind, "s3999"));
    } finally {
      await store.close();
      await Deno.remove(file);
    }
  });
});
