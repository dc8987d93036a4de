/**
 * Records that cannot be read: others are not kept from anything, who has to do with them hears what is
 * wrong, and a release from a check's report mends them.
 */
import assert from "node:assert/strict";
import { askedId } from "./questions.ts";
import fc from "fast-check";
import { formatIp, formatPrefix, mustPrefix } from "../net/mod.ts";
import { ippoolKind } from "../model/ippool.ts";
import { memoryStore } from "../store/memory.ts";
import { affinityKey, blockKey, handleKey, ipamConfigKey, resourceKey } from "../model/keys.ts";
import { allocationsOf } from "./check/allocations.ts";
import type { AskNodes } from "./ask_nodes.ts";
import { check, checkStore } from "./check/check.ts";
import { mendDamaged } from "./check/mend.ts";
import { explain } from "./check/finding.ts";
import { readRecords } from "./check/records.ts";
import { reportOf } from "./check/report.ts";
import { SoundCluster } from "./check/testing/clusters.ts";
import { furnish } from "./check/testing/damages.ts";
import { readBlock } from "./block.ts";
import { isDamage } from "./damage.ts";
import { Ipam } from "./ipam.ts";
import { mutations } from "./testing/mutations.ts";
import { HALF_WRITTEN } from "./testing/half_written.ts";
import { fails, World } from "./testing/world.ts";

const BAD = [HALF_WRITTEN, [], 5, {}, null, "text"];

async function inWorld(run: (w: World) => Promise<void>): Promise<void> {
  const w = new World();
  try {
    await w.node("n1");
    await w.node("n2");
    await w.pool("p", "10.1.0.0/28", { blockSize: 30 });
    await run(w);
  } finally {
    await w.store.close();
  }
}

const findingsOf = async (w: World, kind: string) =>
  check(await readRecords(w.store), w.now).findings.filter((f) => f.kind === kind);

/** A process that knows nothing yet, as each call of a plugin without a service is. */
const fresh = (w: World) => w.process().ipam;

Deno.test("a damaged block: addresses come from others, and others' are released", async () => {
  for (const bad of BAD) {
    await inWorld(async (w) => {
      const block = "10.1.0.0/30";
      const all: string[][] = [];
      for (let i = 0; i < 6; i++) all.push(await w.assign("n1", { handle: `net.c${i}` }));
      const first = formatPrefix(mustPrefix(`${all[0][0]}/30`));
      const mine = all.flatMap(([ip], i) => mustPrefixOf(ip) === first ? [`net.c${i}`] : []);
      const others = all.flatMap(([ip], i) => mustPrefixOf(ip) !== first ? [`net.c${i}`] : []);
      assert.equal(mine.length, 4, block);
      await w.store.put(blockKey(mustPrefix(first)), bad);
      for (const ipam of [w.ipam, fresh(w)]) {
        const [{ block: given }] = await ipam.assign({
          num4: 1,
          host: "n1",
          handle: "net.more",
          use: "Workload",
        });
        assert.notEqual(formatPrefix(given), first);
        assert.equal((await ipam.releaseByHandle("net.more"))?.length, 1);
      }
      assert.equal((await fresh(w).releaseByHandle(others[0]))?.length, 1);
      // Another node is not kept from the rest either, and nobody makes the block anew.
      await fresh(w).assign({ num4: 4, host: "n2", handle: "net.n2", use: "Workload" });
      // Whose address was in it is let go, and says nothing of an address.
      assert.deepEqual(await fresh(w).releaseByHandle(mine[0]), []);
      assert.equal(await w.store.get(handleKey(mine[0])), undefined);
      const ofIt = all.find(([ip]) => mustPrefixOf(ip) === first)![0];
      await fails(fresh(w).assignment(ofIt), "badRecord", /damaged.*ipam check/);
      await fails(
        fresh(w).assignIp({ address: ofIt, host: "n1", handle: "net.x" }),
        "badRecord",
        /damaged/,
      );
      const [found, ...more] = await findingsOf(w, "blockBroken");
      assert.equal(found.subject, first);
      assert.deepEqual(more, []);
      const untrue = ["handleLeaked", "handleOvercount", "affinityWithoutBlock"];
      for (const kind of untrue) assert.deepEqual(await findingsOf(w, kind), [], kind);
    });
  }
});

const mustPrefixOf = (ip: string) => formatPrefix(mustPrefix(`${ip}/30`));

Deno.test("a damaged Node: nothing is given to it, and it gives back what it has", async () => {
  await inWorld(async (w) => {
    await w.pool("p", "10.1.0.0/29", { blockSize: 30 });
    await w.assign("n1", { handle: "net.c" });
    await w.store.put("/calico/resources/v3/projectcalico.org/nodes/n1", HALF_WRITTEN);
    await assert.rejects(w.assign("n1", { handle: "net.d" }), /nodes\/n1 cannot be read/);
    assert.equal((await fresh(w).releaseByHandle("net.c"))?.length, 1);
  });
});

Deno.test("a damaged block: where nothing else is free, the error names it", async () => {
  await inWorld(async (w) => {
    await w.pool("p", "10.1.0.0/30", { blockSize: 30 });
    await w.assign("n1", { handle: "net.c" });
    await w.store.put(blockKey(mustPrefix("10.1.0.0/30")), HALF_WRITTEN);
    await fails(
      fresh(w).assign({ num4: 1, host: "n1", handle: "net.d", use: "Workload" }),
      "noFreeAddresses",
      /10\.1\.0\.0\/30 .*is damaged: it is not JSON/,
    );
  });
});

Deno.test("a damaged block of another size: nothing that overlaps it is given", async () => {
  await inWorld(async (w) => {
    await w.store.put(blockKey(mustPrefix("10.1.0.0/29")), HALF_WRITTEN);
    const given = await fresh(w).autoAssign({ num4: 16, host: "n1", handle: "h", use: "Workload" });
    const blocks = new Set(given.v4.addresses.map(({ block }) => formatPrefix(block)));
    assert.deepEqual([...blocks].sort(), ["10.1.0.12/30", "10.1.0.8/30"]);
    await fails(
      fresh(w).assignIp({ address: "10.1.0.2", host: "n1", handle: "x" }),
      "badRecord",
      /10\.1\.0\.0\/29/,
    );
  });
});

Deno.test("a damaged handle: its owner's addresses are found in the blocks and released", async () => {
  for (const bad of [HALF_WRITTEN, [], 5, {}, null, { block: "x" }, { block: { a: "b" } }]) {
    await inWorld(async (w) => {
      const [ip] = await w.assign("n1", { handle: "net.c" });
      await w.assign("n1", { handle: "net.d" });
      await w.store.put(handleKey("net.c"), bad);
      assert.equal((await findingsOf(w, "handleBroken"))[0].subject, "net.c");
      assert.deepEqual(await findingsOf(w, "handleMissing"), []);
      assert.equal((await fresh(w).ipsByHandle("net.c"))?.length, 1);
      assert.equal((await fresh(w).releaseByHandle("net.c"))?.length, 1);
      assert.equal(await fresh(w).assignment(ip), undefined);
      assert.equal(await w.store.get(handleKey("net.c")), undefined);
      assert.deepEqual((await checkStore(w.store, { now: () => w.now })).handles.leaked, []);
    });
  }
});

Deno.test("a damaged handle beside a damaged block stays until all blocks can be read", async () => {
  for (const bad of [HALF_WRITTEN, [], 5, {}, null, { deleted: false }]) {
    await inWorld(async (w) => {
      const [ip] = await w.assign("n1", { handle: "net.c" });
      const block = blockKey(mustPrefix(`${ip}/30`)), handle = handleKey("net.c");
      const { value: whole } = (await w.store.get(block))!;
      await w.store.put(block, bad);
      const revision = await w.store.put(handle, bad);
      for (const at of [revision, undefined]) {
        assert.equal(await fresh(w).mendHandle("net.c", at), "changed");
      }
      const look = { now: () => w.now };
      const { damagedRecords = [] } = reportOf(await checkStore(w.store, look), "v");
      const ofHandle = damagedRecords.filter(({ key }) => key === handle);
      const tried = await mendDamaged(w.store, fresh(w), ofHandle, look);
      assert.match(tried.kept[0].why, /cannot be told.*mend that first/);
      // Who counts up in it does not forget what the block may hold, either.
      const [more] = await fresh(w).assign({
        ...{ num4: 1, host: "n1", handle: "net.c", use: "Workload" as const },
      });
      await w.store.put(block, whole);
      const all = [ip, formatIp(more.ip)].sort();
      assert.deepEqual((await fresh(w).ipsByHandle("net.c"))!.map(formatIp).sort(), all);
      await w.store.put(handle, bad);
      assert.equal(await fresh(w).mendHandle("net.c"), "mended");
      assert.deepEqual(await findingsOf(w, "handleUndercount"), []);
      assert.deepEqual((await fresh(w).releaseByHandle("net.c"))!.map(formatIp).sort(), all);
    });
  }
});

Deno.test("a damaged block stays while a handle is damaged that may have addresses of it", async () => {
  for (const bad of [HALF_WRITTEN, [], {}, { deleted: false }]) {
    for (const force of [false, true]) {
      await inWorld(async (w) => {
        const [ip] = await w.assign("n1", { handle: "net.c" });
        const block = mustPrefix(mustPrefixOf(ip));
        await w.store.put(blockKey(block), bad);
        await w.store.put(handleKey("net.c"), bad);
        const mend = async (force = false) => {
          const { damaged } = await checkStore(w.store, { now: () => w.now });
          return await mendDamaged(w.store, fresh(w), damaged, { now: () => w.now, force });
        };
        const { mended, kept } = await mend();
        assert.deepEqual(mended, []);
        const why = kept.find(({ key }) => key === blockKey(block))?.why ?? "";
        assert.match(why, /^whether handle net\.c has addresses of it cannot be told/);
        const others = [];
        for (let i = 0; i < 12; i++) others.push(...await w.assign("n2", { handle: `net.o${i}` }));
        assert(!others.includes(ip), "nobody is given what its container has");
        for (let i = 0; i < 12; i++) await fresh(w).releaseByHandle(`net.o${i}`);
        // Both ways out that it names.
        if (!force) await fresh(w).releaseByHandle("net.c");
        assert((await mend(force)).mended.includes(blockKey(block)));
        await mend();
        assert.deepEqual((await checkStore(w.store, { now: () => w.now })).damaged, []);
      });
    }
  }
});

Deno.test("a damaged affinity: the node makes it anew and goes on with its block", async () => {
  for (const bad of [HALF_WRITTEN, [], 5, "confir", { state: 7 }]) {
    await inWorld(async (w) => {
      const [ip] = await w.assign("n1", { handle: "net.c" });
      const block = mustPrefix(mustPrefixOf(ip));
      await w.store.put(affinityKey({ type: "host", name: "n1" }, block), bad);
      assert.equal((await findingsOf(w, "affinityBroken")).length, 1);
      assert.deepEqual(await findingsOf(w, "blockWithoutAffinity"), []);
      const [next] = await fresh(w).assign({ num4: 1, host: "n1", handle: "e", use: "Workload" });
      assert.equal(formatPrefix(next.block), formatPrefix(block));
      assert.deepEqual(await w.owned("n1"), [`${formatPrefix(block)} confirmed`]);
    });
  }
});

Deno.test("a mark of deletion on what is in use: nobody is told to delete it, and IPAM takes it off", async () => {
  for (const deleted of [true, "true"]) {
    await inWorld(async (w) => {
      const [ip] = await w.assign("n1", { handle: "net.c" });
      const block = mustPrefix(mustPrefixOf(ip));
      const keys = [blockKey(block), affinityKey({ type: "host", name: "n1" }, block)];
      for (const key of keys) {
        await w.store.put(key, { ...(await w.store.get<any>(key))!.value, deleted });
      }
      const found = await findingsOf(w, "halfDeleted");
      assert.equal(found.length, 2);
      for (const one of found) assert.match(explain(one), /delete nothing: IPAM/);
      assert.notEqual(await fresh(w).assignment(ip), undefined);
      const [next] = await fresh(w).assign({ num4: 1, host: "n1", handle: "e", use: "Workload" });
      assert.equal(formatPrefix(next.block), formatPrefix(block));
      assert.deepEqual(await findingsOf(w, "halfDeleted"), []);
      assert.deepEqual(await w.owned("n1"), [`${formatPrefix(block)} confirmed`]);
    });
  }
});

Deno.test("a damaged pool: ADD names it where no other gives, and blocks that it gave are released", async () => {
  const bad = [HALF_WRITTEN, null, 5, {}, { metadata: { name: "p" }, spec: { cidr: 5 } }];
  for (const form of bad) {
    await inWorld(async (w) => {
      await w.assign("n1", { handle: "net.c" });
      await w.store.put(resourceKey(ippoolKind, "p"), form);
      const add = { num4: 1, host: "n1", handle: "net.d", use: "Workload" } as const;
      const wrong = /IPPool p cannot be read: it.*; write it anew, or delete it/;
      for (const ipam of [w.ipam, fresh(w)]) {
        await fails(ipam.assign(add), "badRecord", wrong);
        await fails(ipam.assign({ ...add, pools4: ["p"] }), "badRecord", wrong);
        await fails(ipam.assignIp({ address: "10.1.0.9", ...add }), "badRecord", wrong);
      }
      assert.equal((await fresh(w).releaseByHandle("net.c"))?.length, 1);
      await w.pool("q", "10.2.0.0/28", { blockSize: 30 });
      const [{ ip }] = await fresh(w).assign(add);
      assert.match(formatIp(ip), /^10\.2\.0\./);
    });
  }
});

Deno.test("a damaged configuration: ADD says so, DEL works, configure writes it anew", async () => {
  const huge = { maxBlocksPerHost: 10n ** 20n };
  for (const bad of [HALF_WRITTEN, [], 5, "x", { strict_affinity: "yes" }, huge]) {
    await inWorld(async (w) => {
      await w.assign("n1", { handle: "net.c" });
      await w.store.put(ipamConfigKey, bad);
      const warnings: string[] = [];
      const ipam = new Ipam(w.store, { warn: (message) => warnings.push(message) });
      const add = { num4: 1, host: "n1", handle: "net.d", use: "Workload" } as const;
      const wrong = /IPAM configuration .* is damaged: .*ipam configure/;
      await fails(ipam.assign(add), "badRecord", wrong);
      await fails(ipam.assignIp({ address: "10.1.0.9", ...add }), "badRecord", wrong);
      await fails(ipam.getIpamConfig(), "badRecord", wrong);
      assert.equal((await ipam.releaseByHandle("net.c"))?.length, 1);
      assert.match(warnings[0], wrong);
      assert.equal((await findingsOf(w, "configBroken"))[0].subject, ipamConfigKey);
      const config = await ipam.changeIpamConfig((c) => ({ ...c, strictAffinity: true }));
      assert.equal(config.strictAffinity, true);
      assert.deepEqual(await findingsOf(w, "configBroken"), []);
      await ipam.assign(add);
      // The defaults are written too, where they are asked for.
      await w.store.put(ipamConfigKey, bad);
      await ipam.changeIpamConfig((c) => c);
      assert.equal((await ipam.getIpamConfig()).autoAllocateBlocks, true);
    });
  }
});

Deno.test("a release from the report mends handles and affinities, and a block when nobody uses it", async () => {
  await inWorld(async (w) => {
    await w.assign("n1", { handle: "net.a" });
    const [ip] = await w.assign("n1", { handle: "net.b" });
    const block = mustPrefix(mustPrefixOf(ip));
    const affinity = affinityKey({ type: "host", name: "n1" }, block);
    await w.store.put(handleKey("net.a"), HALF_WRITTEN);
    await w.store.put(handleKey("net.nobody"), HALF_WRITTEN);
    await w.store.put(affinity, []);
    const mend = async (force = false) => {
      const report = reportOf(await checkStore(w.store, { now: () => w.now }), "v");
      return await mendDamaged(w.store, fresh(w), report.damagedRecords ?? [], {
        now: () => w.now,
        force,
      });
    };
    const first = await mend();
    assert.deepEqual(first.mended.length, 3, JSON.stringify(first));
    assert.deepEqual((await mend()).mended, []);
    assert.equal((await fresh(w).releaseByHandle("net.a"))?.length, 1);
    assert.equal(await w.store.get(handleKey("net.nobody")), undefined);

    await w.store.put(blockKey(block), HALF_WRITTEN);
    assert.match((await mend()).kept[0].why, /net\.b has addresses of it/);
    const key = resourceKey(
      { plural: "workloadendpoints", home: "calico", namespaced: true },
      "e",
      "x",
    );
    await w.store.put(key, { spec: { ipNetworks: [`${ip}/32`], node: "n1" } });
    assert.match((await mend(true)).kept[0].why, /in use by Workload\(x\/e\)/);
    await w.store.put(key, HALF_WRITTEN);
    assert.match((await mend(true)).kept[0].why, /cannot be read/);
    await w.store.delete(key);
    // Pods that another datastore has count as well.
    const kubernetes = memoryStore();
    await kubernetes.put(
      resourceKey({ plural: "pods", home: "kubernetes", namespaced: true }, "p", "x"),
      { metadata: { name: "p" }, spec: { nodeName: "n1" }, status: { podIP: ip } },
    );
    const look = { now: () => w.now, kubernetes };
    const { damaged } = await checkStore(w.store, look);
    const beside = await mendDamaged(w.store, fresh(w), damaged, { ...look, force: true });
    assert.match(beside.kept[0].why, /in use by Pod\(x\/p\)/);
    await kubernetes.close();
    await fresh(w).releaseByHandle("net.b");
    assert.deepEqual((await mend()).mended, [blockKey(block)]);
    await fresh(w).assign({ num4: 1, host: "n1", handle: "again", use: "Workload" });
    assert.deepEqual((await checkStore(w.store, { now: () => w.now })).damaged, []);
  });
});

Deno.test("who has an address elsewhere, and is counted in a damaged block, is not to be ended for it", async () => {
  await inWorld(async (w) => {
    const [ip] = await w.assign("n1", { handle: "net.gone" });
    const block = mustPrefixOf(ip);
    await w.store.put(blockKey(mustPrefix(block)), HALF_WRITTEN);
    const [live] = await w.assign("n1", { handle: "net.live" });
    assert.notEqual(mustPrefixOf(live), block);
    const counted = { block: { [block]: 1, [mustPrefixOf(live)]: 1 }, deleted: false };
    await w.store.put(handleKey("net.live"), counted);
    const kept = async () => {
      const { damaged } = await checkStore(w.store, { now: () => w.now });
      return (await mendDamaged(w.store, fresh(w), damaged, { now: () => w.now })).kept[0].why;
    };
    assert.match(await kept(), /^handle net\.gone has addresses of it; end its container first/);
    await fresh(w).releaseByHandle("net.gone");
    assert.match(
      await kept(),
      /^handle net\.live counts addresses of it, and has \S+ of another block: .* end no container for it/,
    );
    assert((await kept()).includes(`has ${live} of another block`));
  });
});

Deno.test("nothing is released from a report while it is not known who uses addresses", async () => {
  await inWorld(async (w) => {
    const { releaseLeaks } = await import("./check/report.ts");
    const [ip] = await w.assign("n1", { handle: "net.c", attributes: { node: "n1" } });
    // The node answers that no container has it.
    const ask: AskNodes = (questions) =>
      Promise.resolve(
        new Map(
          [...questions].map((
            [node, asked],
          ) => [node, { held: new Set(), asked: new Set(asked.map(askedId)) }]),
        ),
      );
    const look = { now: () => w.now, ask };
    const report = reportOf(await checkStore(w.store, look), "v");
    const leaks = report.allocations[ip].filter((a) => !a.inUse);
    assert.equal(leaks.length, 1);
    const key = resourceKey(
      { plural: "workloadendpoints", home: "calico", namespaced: true },
      "e",
      "x",
    );
    await w.store.put(key, HALF_WRITTEN);
    await fails(
      releaseLeaks(w.store, w.ipam, leaks, look),
      "badRecord",
      /cannot be read/,
    );
    await w.store.delete(key);
    assert.deepEqual((await releaseLeaks(w.store, w.ipam, leaks, look)).released, [
      ip,
    ]);
  });
});

Deno.test("whatever a block's members are: it is read, or it is damaged, never a bug of ours", async () => {
  const prefix = mustPrefix("10.1.0.0/30");
  const w = new World();
  await w.node("n1");
  await w.pool("p", "10.1.0.0/30", { blockSize: 30 });
  await w.assign("n1", { handle: "net.c", attributes: { node: "n1" } });
  const sound = (await w.block("10.1.0.0/30"))!;
  await w.store.close();
  const strange = fc.oneof(fc.jsonValue(), fc.array(fc.jsonValue()), fc.object());
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(sound)), strange, (member, value) => {
      const raw = { ...sound, [member]: value };
      try {
        allocationsOf({ prefix, block: readBlock(raw, prefix) });
      } catch (error) {
        assert(isDamage(error), `${error}`);
      }
      const blocks = [{ key: blockKey(prefix), value: raw, revision: "1" }];
      check({ ...NOTHING, blocks }, 0);
    }),
    {
      numRuns: 400,
      // No number, and nothing that could be asked for as a member either.
      examples: [["unallocated", [[{ toString: null }], "1", 7, -1, 0.5]]],
    },
  );
});

const NOTHING = {
  blocks: [],
  affinities: [],
  handles: [],
  strange: [],
  pools: [],
  nodes: [],
  endpoints: [],
  pods: [],
  services: [],
};

Deno.test("whatever stands in any record: the check ends with findings", async () => {
  const cluster = new SoundCluster();
  await cluster.begin();
  await furnish(cluster);
  const sound = await readRecords(cluster.store);
  await cluster.store.close();
  const parts = Object.keys(NOTHING) as (keyof typeof NOTHING)[];
  const paths = fc.array(fc.constantFrom("spec", "status", "metadata", "block", "bgp"), {
    maxLength: 2,
  });
  fc.assert(
    fc.property(fc.constantFrom(...parts), paths, fc.jsonValue(), (part, path, value) => {
      const put = (at: any, [name, ...rest]: string[]): unknown =>
        name === undefined ? value : { ...at, [name]: put(at?.[name], rest) };
      const [first, ...others] = sound[part];
      if (!first) return;
      const changed = [{ ...first, value: put(first.value, path) }, ...others];
      check({ ...sound, [part]: changed }, cluster.now);
    }),
    {
      numRuns: 600,
      examples: [["pods", ["spec"], null], ["pods", ["status"], { podIP: 7, podIPs: [{ ip: 7 }] }]],
    },
  );
});

Deno.test("whatever a single value of a record is: others' calls go on, and the node's own", async () => {
  const sound: Record<string, unknown> = {};
  await inWorld(async (w) => {
    for (let i = 0; i < 5; i++) {
      await w.assign("n1", { handle: `net.c${i}`, attributes: { node: "n1" } });
    }
    for (const { key, value } of (await w.store.list("/calico/ipam/v2/")).entries) {
      sound[key] = value;
    }
  });
  for (const key of Object.keys(sound)) {
    for (const { what, value } of mutations(sound[key])) {
      await inWorld(async (w) => {
        for (const [other, stored] of Object.entries(sound)) {
          await w.store.put(other, other === key ? value : stored);
        }
        try {
          for (const host of ["n1", "n2"]) {
            assert.equal((await w.assign(host, { handle: `net.${host}` })).length, 1);
            await fresh(w).releaseByHandle(`net.${host}`);
          }
          await fresh(w).releaseByHandle("net.c0");
          await fresh(w).utilization();
          await fresh(w).blocksOf("n1");
          check(await readRecords(w.store), w.now);
        } catch (error) {
          throw new Error(`${key}: ${what}: ${(error as Error).stack}`);
        }
      });
    }
  }
});
