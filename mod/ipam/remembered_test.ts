import assert from "node:assert/strict";
import { mustIp } from "../net/mod.ts";
import { leaseHandle } from "./lease_record.ts";
import { Epoch, Remembered } from "./remembered.ts";
import { checkRecords } from "./testing/checks.ts";
import { texts, World } from "./testing/world.ts";
import type { AssignFirstRequest } from "./types.ts";

/** Two stores with the very same past, so that the one can be put back in the place of the other. */
async function restorable(
  test: (now: World, copy: World) => Promise<void>,
): Promise<void> {
  const worlds = [new World(), new World()];
  try {
    for (const world of worlds) {
      await world.pool("p", "10.0.0.0/28", { blockSize: 29 });
      for (const node of ["n1", "n2"]) await world.node(node);
      assert.deepEqual(await world.assign("n1", { handle: "net.first" }), ["10.0.0.0"]);
    }
    await test(worlds[0], worlds[1]);
    for (const world of worlds) await checkRecords(world.store);
  } finally {
    for (const { store } of worlds) await store.close();
  }
}

const BLOCK = "10.0.0.0/29";
const inBlock = async (world: World) =>
  (await world.block(BLOCK))!.attributes.map(({ handle_id }) => handle_id).sort();

/** On a store that writes one object at a time, and on one that writes several in one step. */
function everyWay(name: string, test: (jointly: boolean) => Promise<void>): void {
  for (const jointly of [false, true]) {
    Deno.test(`${name}${jointly ? ", in one step" : ""}`, () => test(jointly));
  }
}

everyWay(
  "after a restoration a block is not written over that has a remembered revision by chance",
  async (jointly) => {
    await restorable(async (now, copy) => {
      const { ipam, store } = now.process({ jointly });
      const give = (handle: string) =>
        ipam.assign({ num4: 1, host: "n1", handle, use: "Workload" });
      await give("net.c1");
      await give("net.c2");
      store.putBack(copy.store);
      // As many writes as ours were, by another node.
      for (const [i, handle] of ["net.w1", "net.w2"].entries()) {
        await copy.process({ jointly }).ipam.assignIp({
          address: `10.0.0.${5 + i}`,
          host: "n2",
          handle,
        });
      }
      const revision = async (world: World) =>
        (await world.store.list("/calico/ipam/v2/assignment/")).entries[0].revision;
      assert.equal(await revision(now), await revision(copy), "what this test is about");
      await give("net.c3");
      assert.deepEqual(await inBlock(copy), ["net.c3", "net.first", "net.w1", "net.w2"]);
    });
  },
);

everyWay(
  "a restoration in the midst of an assignment is seen before the block is written",
  async (jointly) => {
    await restorable(async (now, copy) => {
      let begin = () => {};
      const reached = new Promise<void>((resolve) => begin = resolve);
      let go = () => {};
      const goes = new Promise<void>((resolve) => go = resolve);
      let armed = false;
      const { ipam, store } = now.process({
        jointly,
        gate: async (label) => {
          const write = jointly ? "together" : "create";
          if (!armed || !label.startsWith(write) || !label.endsWith("handle/net.c2")) return;
          armed = false;
          begin();
          await goes;
        },
      });
      const give = (handle: string) =>
        ipam.assign({ num4: 1, host: "n1", handle, use: "Workload" });
      await give("net.c1");
      armed = true;
      // It knows the block, and counts up in the handle before it writes it.
      const given = give("net.c2");
      await reached;
      const other = copy.process({ jointly }).ipam;
      await other.assignIp({ address: "10.0.0.6", host: "n2", handle: "net.w1" });
      store.putBack(copy.store);
      go();
      const addresses = await given;
      assert((await inBlock(copy)).includes("net.w1"));
      assert.equal((await copy.ipam.assignment(texts(addresses)[0]))?.handle, "net.c2");
    });
  },
);

/** A store whose connection is lost, with nothing put back, just before this write. */
async function interrupted(
  write: string,
  test: (world: World, arm: () => void, ipam: World["ipam"]) => Promise<void>,
) {
  const world = new World();
  try {
    await world.pool("p", "10.0.0.0/24", { blockSize: 28 });
    await world.node("n1");
    let armed = false;
    const { ipam, store } = world.process({
      gate: (label) => {
        if (armed && label === write) {
          armed = false;
          store.putBack(world.store);
        }
        return Promise.resolve();
      },
    });
    await test(world, () => armed = true, ipam);
    assert(!armed, "the connection was lost");
    await checkRecords(world.store);
  } finally {
    await world.store.close();
  }
}

Deno.test("a connection lost in the midst of an assignment uses up no block", () =>
  interrupted("create /calico/ipam/v2/handle/net.c2", async (_, arm, ipam) => {
    const give = (handle: string) =>
      ipam.assign({ num4: 1, host: "n1", handle, use: "Workload", maxBlocksPerHost: 1 });
    const [first] = await give("net.c1");
    arm();
    const [second] = await give("net.c2");
    assert.deepEqual(second.block, first.block);
  }));

Deno.test("a connection lost while an address changes hands leaves it to nobody else", () =>
  interrupted("create /calico/ipam/v2/handle/net.new", async (world, arm, ipam) => {
    const [{ ip }] = await ipam.assign({ num4: 1, host: "n1", handle: "net.old", use: "Workload" });
    arm();
    assert(
      await ipam.handOver({
        address: ip,
        handle: "net.old",
        to: { handle: "net.new", attributes: {} },
      }),
    );
    assert.equal((await world.ipam.assignment(ip))?.handle, "net.new");
  }));

Deno.test("what is read is believed where it is older than what was known before it was asked for", async () => {
  await restorable(async (now, copy) => {
    const { ipam, store } = now.process();
    await ipam.assignIp({ address: "10.0.0.4", host: "n1", handle: "net.c1" });
    assert.equal((await ipam.assignment("10.0.0.4"))?.handle, "net.c1");
    // Nobody has noticed.
    store.putBack(copy.store, false);
    assert.equal(await ipam.assignment("10.0.0.4"), undefined);
    await ipam.assignIp({ address: "10.0.0.4", host: "n1", handle: "net.c1" });
    assert.deepEqual(await inBlock(copy), ["net.c1", "net.first"]);
    assert.deepEqual(Object.keys((await checkRecords(copy.store)).handles.get("net.c1")!), [BLOCK]);
  });
});

Deno.test("a lease that was given after the copy is free again, and no other's", async () => {
  await restorable(async (now, copy) => {
    const { ipam, store } = now.process();
    const handle = leaseHandle("blue", "db", "0", "eth0");
    const request: AssignFirstRequest = {
      candidates: [mustIp("10.0.0.4")],
      host: "n1",
      use: "Workload",
      handle,
      attributes: {},
    };
    assert("given" in await ipam.assignFirst(request));
    store.putBack(copy.store);
    assert("given" in await ipam.assignFirst(request));
    assert.deepEqual(await inBlock(copy), [handle, "net.first"].sort());
  });
});

Deno.test("copies are kept within their limit and their epoch", () => {
  const store = { epoch: 0 };
  const epoch = new Epoch(store);
  const copies = new Remembered<number>(epoch, 2);
  for (const n of [1, 2, 3]) copies.keep(`k${n}`, n, epoch.now);
  assert.deepEqual([...copies.values()], [2, 3]);
  const before = epoch.now;
  epoch.over();
  assert.equal(copies.get("k3"), undefined);
  copies.keep("k3", 3, before);
  assert.equal(copies.get("k3"), undefined, "it was asked for before");
  copies.keep("k3", 3, epoch.now);
  assert.equal(copies.get("k3"), 3);
  store.epoch++;
  assert.deepEqual([...copies.values()], []);
});
