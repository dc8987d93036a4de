/**
 * Puts the given number of blocks, of nodes that are gone, into the datastore of the environment: records
 * as a claim leaves them. A process of its own, in the network namespace of the datastore.
 */
import { newBlock } from "../../mod/ipam/block.ts";
import { affinityKey, blockKey } from "../../mod/model/keys.ts";
import { mustPrefix } from "../../mod/net/mod.ts";
import { openEtcd } from "../../mod/store/etcd/mod.ts";

const [count, nodes] = Deno.args.map(Number);
const endpoints = Deno.env.get("ETCD_ENDPOINTS")!.split(",");
const store = await openEtcd({ kind: "etcd", endpoints, tls: {} });
const left = Array.from({ length: count }, (_, i) => i).values();
await Promise.all(Array.from({ length: 32 }, async () => {
  for (const i of left) {
    const block = mustPrefix(`10.${i >> 10}.${(i >> 2) & 255}.${(i & 3) * 64}/26`);
    const owner = { type: "host", name: `gone-${i % nodes}` } as const;
    await store.create(affinityKey(owner, block), { state: "confirmed", deleted: false });
    await store.create(blockKey(block), newBlock(block, owner, Date.UTC(2026, 10, 22)));
  }
}));
await store.close();
