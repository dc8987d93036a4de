/**
 * Byte for byte: what real Calico wrote into etcd is read by resources and IPAM as it stands and is the
 * same bytes when we write it back; what we write for the same manifests is what Calico wrote. And a
 * small picture of our own of the whole layout, which is here also where Calico's is not.
 */
import assert from "node:assert/strict";
import { parseYaml } from "../../mod/cli/yaml.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { blockKey, handleKey, parseHandleKey, parseResourceKey } from "../../mod/model/keys.ts";
import { kindByKey } from "../../mod/model/kinds.ts";
import { parseManifest } from "../../mod/model/manifest.ts";
import { mustPrefix } from "../../mod/net/mod.ts";
import { Resources } from "../../mod/store/resources.ts";
import { EtcdCluster } from "./etcd_server.ts";

const SHARED = new URL("../../../shared/", import.meta.url);
const GOLDEN = new URL("golden/etcd_layout.json", import.meta.url);

async function shared(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(new URL(path, SHARED));
  } catch {
    return undefined;
  }
}

const dump = await shared("reference/calico-etcd-dump.md");
const where = dump === undefined ? " (skipped: ../shared is not beside this checkout)" : "";
const ignore = dump === undefined;

/** Key and text of what the dump holds, the first of each key: a second store's follow at its end. */
function entriesOf(text: string): Map<string, string> {
  const found = [...text.matchAll(/^`(\/calico\/[^`]+)`[^\n]*\n```json\n([^\n]*)\n/gm)];
  return new Map(found.toReversed().map(([, key, value]) => [key, value]));
}

async function withEtcd(run: (cluster: EtcdCluster) => Promise<void>): Promise<void> {
  const cluster = await EtcdCluster.start();
  try {
    await run(cluster);
  } finally {
    await cluster.stop();
  }
}

Deno.test({
  name: `all that Calico wrote is read, and rewritten as the same bytes${where}`,
  ignore,
}, () =>
  withEtcd(async (cluster) => {
    const entries = entriesOf(dump!);
    assert(entries.size > 80, `${entries.size} entries`);
    for (const [key, text] of entries) await cluster.putText(key, text);
    const store = await cluster.open();
    const resources = new Resources(store);

    const listing = await store.list("/");
    assert.equal(listing.entries.length, entries.size);
    assert.equal(listing.broken, undefined);
    const kinds = new Set(
      [...entries.keys()].flatMap((key) => {
        const at = parseResourceKey(key);
        return at ? [kindByKey(at)!] : [];
      }),
    );
    assert(kinds.size >= 15 && !kinds.has(undefined!));
    let objects = 0;
    for (const kind of kinds) {
      const { items, broken } = await resources.list(kind);
      assert.deepEqual(broken, [], kind.kind);
      objects += items.length;
      for (const { metadata: { name, namespace } } of items) {
        assert(await resources.get(kind, name, namespace), `${kind.kind} ${name}`);
      }
    }
    assert(objects >= 50, `${objects} objects`);

    const ipam = new Ipam(store);
    for (const [key, text] of entries) {
      const handle = parseHandleKey(key);
      if (handle === undefined) continue;
      const counted = Object.values<number>(JSON.parse(text).block).reduce((a, b) => a + b, 0);
      assert.equal((await ipam.ipsByHandle(handle))?.length, counted, handle);
    }
    assert.equal((await ipam.blocksOf("cal1")).length, 6);
    assert.equal((await ipam.getIpamConfig()).autoAllocateBlocks, true);

    // Each written back as it was read.
    for (const { key, value, revision } of listing.entries) {
      await store.update(key, value, revision);
    }
    assert.deepEqual(await cluster.texts("/calico/"), new Map([...entries].sort(byKey)));
    await store.close();
  }));

Deno.test(
  { name: `a release changes what Calico's changed, byte for byte${where}`, ignore },
  () =>
    withEtcd(async (cluster) => {
      const section = dump!.split("\n## IPAM: what a release changes\n")[1].split("\n## ")[0];
      const values = (word: string) =>
        [...section.matchAll(
          new RegExp(`^${word}: \`([^\`]+)\`\n([^]*?)(?=\n(?:changed|deleted): |$(?![^]))`, "gm"),
        )]
          .map(([, key, body]) => ({
            key,
            texts: [...body.matchAll(/```json\n(.*)\n```/g)].map((match) => match[1]),
          }));
      const changed = values("changed"), deleted = values("deleted");
      assert.equal(changed.length, 2);
      assert.equal(deleted.length, 2);
      for (const { key, texts } of [...changed, ...deleted]) await cluster.putText(key, texts[0]);
      const store = await cluster.open();
      const ipam = new Ipam(store);
      for (const { key } of deleted) {
        assert.equal((await ipam.releaseByHandle(parseHandleKey(key)!))?.length, 1);
      }
      const held = await cluster.texts("/calico/");
      assert.deepEqual(
        held,
        new Map(changed.map(({ key, texts }) => [key, texts[1]] as const).sort(byKey)),
      );
      await store.close();
    }),
);

Deno.test(
  { name: `the sample manifests become what Calico made of them${where}`, ignore },
  () =>
    withEtcd(async (cluster) => {
      const entries = entriesOf(dump!);
      const store = await cluster.open();
      const resources = new Resources(store);
      const samples = new URL("data/calico-samples/", SHARED);
      const files = [...Deno.readDirSync(samples)].map(({ name }) => name).sort();
      assert(files.length >= 5);
      for (const file of files) {
        for (const { value } of parseYaml(await Deno.readTextFile(new URL(file, samples)), file)) {
          const { kind, object } = parseManifest(value);
          await resources.create(kind, object);
        }
      }
      let compared = 0;
      for (const [key, text] of await cluster.texts("/calico/")) {
        const theirs = entries.get(key);
        if (theirs === undefined) continue;
        assert.equal(masked(text), masked(theirs), key);
        compared++;
      }
      assert(compared >= 25, `${compared} objects are in both`);
      await store.close();
    }),
);

Deno.test("the layout is the one that was written down", () =>
  withEtcd(async (cluster) => {
    const store = await cluster.open();
    const uuid = () => "6b40744c-162f-4a8a-b505-d96f05bd6060";
    let now = Date.UTC(2026, 10, 22, 12);
    const resources = new Resources(store, { uuid, now: () => new Date(now) });
    const manifests = await Deno.readTextFile(new URL("golden/etcd_layout.yaml", import.meta.url));
    for (const { value } of parseYaml(manifests, "etcd_layout.yaml")) {
      const { kind, object } = parseManifest(value);
      await resources.create(kind, object);
    }
    const ipam = new Ipam(store, { now: () => now += 1, random: () => 0.5 });
    await ipam.setIpamConfig({ ...await ipam.getIpamConfig(), strictAffinity: true });
    const attributes = { node: "n1", timestamp: "2026-11-22 12:00:00 +0000 UTC" };
    const request = { host: "n1", attributes, use: "Workload" as const };
    await ipam.assign({ ...request, num4: 1, num6: 1, handle: "net.one" });
    await ipam.assign({ ...request, num4: 1, handle: "net.two" });
    await ipam.releaseByHandle("net.two");
    await ipam.assignIp({ ...request, address: "10.10.0.70", handle: "net.fixed" });
    await store.close();
    const held = Object.fromEntries(await cluster.texts("/"));
    if (Deno.env.get("WRITE_GOLDEN")) {
      await Deno.writeTextFile(GOLDEN, JSON.stringify(held, null, 2) + "\n");
    }
    assert.deepEqual(held, JSON.parse(await Deno.readTextFile(GOLDEN)));
    const prefix = mustPrefix("10.10.0.64/26");
    assert(blockKey(prefix) in held && handleKey("net.fixed") in held);
  }));

const byKey = ([a]: readonly [string, string], [b]: readonly [string, string]) => a < b ? -1 : 1;

/** Without what is new in each run. */
function masked(text: string): string {
  return text.replace(/"uid":"[^"]*"/, '"uid":"U"')
    .replace(/"creationTimestamp":"[^"]*"/, '"creationTimestamp":"T"')
    .replace(/"clusterGUID":"[0-9a-f]{32}"/, '"clusterGUID":"G"');
}
