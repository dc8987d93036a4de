/** What today's limits would not give is told, and is no fault. */
import assert from "node:assert/strict";
import { ipamConfigKey } from "../../model/keys.ts";
import { checkStore } from "./check.ts";
import { explain } from "./finding.ts";
import { SoundCluster } from "./testing/clusters.ts";

Deno.test("addresses and blocks from before strict affinity and its limit are told, and are no fault", async () => {
  const cluster = new SoundCluster();
  try {
    await cluster.begin();
    const seen = async () => {
      const { findings, passing } = await checkStore(cluster.store, { now: () => cluster.now });
      assert.deepEqual(findings, []);
      return passing;
    };
    const [address] = (await cluster.addPod("n0"))!.addresses;
    const next = address.replace(/\d+$/, (ordinal) => String(Number(ordinal) + 1));
    await cluster.addPod("n1", { address: next });
    // One block of each family is within the limit.
    await cluster.addPod("n0", { six: true });
    assert.deepEqual(await seen(), []);
    await cluster.store.put(ipamConfigKey, { strict_affinity: true, maxBlocksPerHost: 1 });
    assert.deepEqual((await seen()).map(({ kind }) => kind), ["borrowed"]);
    await cluster.store.delete(ipamConfigKey);
    while ((await cluster.owned("n0")).filter((block) => block.includes(".")).length < 2) {
      await cluster.addPod("n0");
    }
    await cluster.store.put(ipamConfigKey, { strict_affinity: true, maxBlocksPerHost: 1 });
    const notes = await seen();
    assert.deepEqual(notes.map(({ kind, subject }) => [kind, subject]), [
      ["borrowed", "n1"],
      ["blocksOverLimit", "IPv4 blocks of node n0"],
    ]);
    assert(
      explain(notes[0]).startsWith(
        `node n1 has 1 addresses of blocks that are not its own, such as ${next}: `,
      ),
    );
    assert.match(
      explain(notes[1]),
      /^there are 2 IPv4 blocks of node n0, and maxBlocksPerHost is 1: /,
    );
  } finally {
    await cluster.store.close();
  }
});
