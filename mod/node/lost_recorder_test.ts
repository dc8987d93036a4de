import assert from "node:assert/strict";
import { IpamError } from "../ipam/errors.ts";
import { inWorld, type World } from "../ipam/testing/world.ts";
import { mustPrefix, prefixContains } from "../net/mod.ts";
import { ManualClock } from "../store/testing.ts";
import { remembered } from "./held_addresses.ts";
import { LostRecorder, type LostRecorderParts } from "./lost_recorder.ts";

const GIVEN = { handle: "net.c9", attributes: { node: "n1" } };

/** A machine with a pool: what its namespaces have, and its runtime remembers. */
async function machine(world: World, more: Partial<LostRecorderParts> = {}) {
  await world.pool("p", "10.0.0.0/28", { blockSize: 28 });
  await world.node("n1");
  const has = new Set<string>();
  const said: string[] = [];
  const clock = new ManualClock();
  const recorder = new LostRecorder({
    ipam: world.ipam,
    node: "n1",
    state: {
      usePodCidr: false,
      blocks: new Map(),
      isInPool: (ip) => prefixContains(mustPrefix("10.0.0.0/28"), ip),
      holderOf: () => undefined,
    },
    isHostLocals: (ip, container) => Promise.resolve(`${ip} ${container}` === "10.0.0.3 c1"),
    machine: () => Promise.resolve({ addresses: new Set(has), containers: new Set(["marked"]) }),
    remembered: () => Promise.resolve([]),
    epoch: () => 0,
    pause: () => Promise.resolve(),
    clock,
    log: { warn: (what: string) => said.push(what) } as unknown as LostRecorderParts["log"],
    ...more,
  });
  const handleOf = async (ip: string) => (await world.ipam.assignment(ip))?.handle;
  return { has, recorder, handleOf, said, clock };
}

inWorld(
  "host-local's addresses, and those that no IPAM of ours gave, are left alone",
  async (world) => {
    const { recorder, handleOf } = await machine(world);
    for (const ip of ["10.0.0.4", "172.17.0.4"]) recorder.gave(ip, GIVEN);
    const lost = (ip: string) => ({
      hostName: "cali1",
      mark: { containerId: "c1", ifname: "eth0" },
      addresses: [ip],
      isThere: () => true,
    });
    const foreign = (ip: string) => ({ ...lost(ip), mark: undefined, foreign: true });
    for (const one of [lost("10.0.0.3"), ...["10.0.0.5", "172.17.0.4"].map(foreign)]) {
      assert.deepEqual(await recorder.record(one), new Map());
    }
    assert.deepEqual(await world.owned("n1"), []);
    assert.deepEqual(await recorder.record(lost("10.0.0.6")), new Map());
    assert.equal(await handleOf("10.0.0.6"), "k8s-pod-network.c1");
    assert.deepEqual(await recorder.record(foreign("10.0.0.4")), new Map());
    assert.equal(await handleOf("10.0.0.4"), "net.c9");
  },
);

inWorld("what hangs on no pair is found by its address, twice in each epoch", async (world) => {
  let epoch = 0, sweeps = 0;
  const cached = (containerId: string, isOurs: boolean, ip: string) => ({
    ...{ network: "red", containerId, ifname: "eth0", isOurs, addresses: [ip] },
  });
  const { has, recorder, handleOf, clock } = await machine(world, {
    epoch: () => epoch,
    remembered: () =>
      Promise.resolve([
        cached("c2", true, "10.0.0.7"),
        cached("c3", false, "10.0.0.8"),
        cached("marked", true, "10.0.0.9"),
        cached("c5", true, "172.17.0.5"),
        // Which of the two has it nobody knows.
        ...["c6", "c7"].map((id) => cached(id, true, "10.0.0.10")),
      ]),
    pause: () => Promise.resolve(void sweeps++),
  });
  const turn = async (milliseconds = 0) => {
    await clock.advance(milliseconds);
    recorder.turn();
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setTimeout(resolve));
  };
  const all = ["10.0.0.4", "10.0.0.7", "10.0.0.8", "10.0.0.9", "10.0.0.10"];
  const handles = () => Promise.all(all.map(handleOf));
  const none = all.map(() => undefined);
  await turn();
  assert.deepEqual([await handles(), sweeps], [none, 0], "nobody has them");
  for (const ip of [...all, "172.17.0.5"]) has.add(ip);
  recorder.gave("10.0.0.4", GIVEN);
  await turn(59_000);
  assert.deepEqual(await handles(), none, "not yet");
  await turn(1000);
  const whole = ["net.c9", "red.c2", undefined, undefined, undefined];
  assert.deepEqual(await handles(), whole);
  for (const handle of ["net.c9", "red.c2"]) await world.ipam.releaseByHandle(handle);
  await turn(60_000);
  assert.deepEqual(await handles(), none, "it was looked for twice");
  // What was given back is nobody's.
  recorder.freed("net.c9");
  epoch++;
  await turn();
  assert.deepEqual(await handles(), [undefined, ...whole.slice(1)]);
});

inWorld(
  "a record that cannot be read is told of, and keeps no other from the record",
  async (world) => {
    const { has, recorder, handleOf, said } = await machine(world);
    const damage = new IpamError("badRecord", "half-written");
    const assignment = world.ipam.assignment.bind(world.ipam);
    world.ipam.assignment = (ip) => ip === "10.0.0.4" ? Promise.reject(damage) : assignment(ip);
    for (const [i, ip] of ["10.0.0.4", "10.0.0.5"].entries()) {
      has.add(ip);
      recorder.gave(ip, { ...GIVEN, handle: `net.c${i}` });
    }
    assert.equal(await recorder.recover(), true);
    assert.deepEqual([await handleOf("10.0.0.5"), said.length], ["net.c1", 1]);
  },
);

inWorld(
  "an address whose DEL is under way is not put on record, nor does one stay there",
  async (world) => {
    let looks = 0, last = 2, unseen: string | undefined;
    const { recorder, handleOf } = await machine(world, {
      machine: () =>
        Promise.resolve({
          addresses: new Set(++looks < last ? ["10.0.0.4"] : []),
          containers: new Set<string>(),
          unseen,
        }),
    });
    recorder.gave("10.0.0.4", GIVEN);
    const look = async (until: number) => {
      [last, looks] = [until, 0];
      const isWhole = await recorder.recover();
      return [await handleOf("10.0.0.4"), looks, isWhole];
    };
    assert.deepEqual(await look(2), [undefined, 2, true]);
    assert.deepEqual(await look(3), [undefined, 3, true]);
    // What cannot be seen is not taken for gone, and is looked for again.
    unseen = "a namespace";
    assert.deepEqual(await look(1), [undefined, 1, false]);
    assert.deepEqual(await look(3), ["net.c9", 3, false]);
    await world.ipam.releaseByHandle("net.c9");
    unseen = undefined;
    assert.deepEqual(await look(4), ["net.c9", 3, true]);
  },
);

Deno.test("the runtime's memory is read in every form of result, and what is none is passed over", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const write = (name: string, value: unknown) =>
      Deno.writeTextFile(
        `${folder}/${name}`,
        typeof value === "string" ? value : JSON.stringify(value),
      );
    const of = (containerId: string, result: unknown) => ({
      ...{ kind: "cniCacheV1", containerId, ifName: "eth0", networkName: "red", result },
    });
    await write("a", "{half");
    for (const [i, bad] of [null, 5, [], {}, of("x", null), of("x", { ips: 5 })].entries()) {
      await write(`b${i}`, bad);
    }
    await write("c", of("x", { ips: [null, { address: 5 }, { address: "text" }] }));
    await write(
      "red-c1-eth0",
      of("c1", { cniVersion: "1.0.0", ips: [{ address: "10.0.0.1/26" }] }),
    );
    await write("red-c2-eth0", of("c2", { ip4: { ip: "10.0.0.2/24" }, ip6: { ip: "fd00::2/64" } }));
    const config = {
      plugins: [null, { ipam: 5 }, { type: "bridge", ipam: { type: "tortie-ipam" } }],
    };
    for (
      const [i, one] of [config, config.plugins[2], { ipam: { type: "host-local" } }].entries()
    ) {
      const base64 = btoa(JSON.stringify(one));
      await write(`d${i}`, {
        ...of(`d${i}`, { ips: [{ address: `10.0.1.${i}/24` }] }),
        config: base64,
      });
    }
    await write("e", { ...of("e", { ips: [{ address: "10.0.1.3/24" }] }), config: "no base64" });
    const all = await remembered(folder);
    const isOurs = (i: number) =>
      all.find(({ addresses }) => addresses.includes(`10.0.1.${i}`))!.isOurs;
    assert.deepEqual([0, 1, 2, 3].map(isOurs), [true, true, false, false]);
    const who = (ip: string) => all.find((one) => one.addresses.includes(ip))?.containerId;
    assert.deepEqual(
      ["10.0.0.1", "10.0.0.2", "fd00::2", "10.0.0.3"].map(who),
      ["c1", "c2", "c2", undefined],
    );
    assert.deepEqual(await remembered(`${folder}/none`), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
