/**
 * The node's routes in a real kernel, without a speaker: what BGP learns while the table is being
 * written, what the process before us left, and what others do to the table meanwhile.
 */
import assert from "node:assert/strict";
import { type Route, RouteSocket, watchRoutes } from "../../ffi/route/mod.ts";
import type { BestRouteChange } from "../../bgp/config.ts";
import { ippoolKind } from "../../mod/model/ippool.ts";
import { resourceKey } from "../../mod/model/keys.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { formatIp, formatPrefix, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { felixParameters } from "../../mod/node/felix.ts";
import { Kernel } from "../../mod/node/kernel.ts";
import { ClusterState, type Topic } from "../../mod/node/state.ts";
import { Scratch, test, until } from "../ffi/scratch.ts";

const log = { debug() {}, info() {}, warn() {}, error() {} };

/** A kernel of one link, 192.0.2.2/24 and 2001:db8::2/64, and the node's hold on it. */
class World {
  readonly scratch = new Scratch();
  readonly other = RouteSocket.open(this.scratch.netns);
  readonly learned = new Map<string, BestRouteChange>();
  readonly state = new ClusterState("a");
  kernel!: Kernel;
  converged = true;
  /** Addresses of peers that have told their tables. */
  told: string[] = [];
  /** Turns that the kernel has asked for. */
  wanted = 0;

  async open(environment: Record<string, string> = {}): Promise<this> {
    const { scratch } = this;
    for (
      const line of [
        "link set lo up",
        "link add d0 type veth peer name d1",
        "link set d1 up",
        "link set d0 up",
        "address add 192.0.2.2/24 dev d0",
        "address add 2001:db8::2/64 dev d0 nodad",
      ]
    ) await scratch.run("ip", ...line.split(" "));
    const felix = felixParameters("a", new Map(Object.entries(environment)), new Map());
    this.kernel = new Kernel(felix, log, { netns: scratch.netns });
    this.kernel.learned = () => this.learned;
    this.kernel.mayForget = (_key, gateways) =>
      this.converged || gateways.every((ip) => this.told.includes(formatIp(ip!)));
    this.kernel.onChange = () => this.wanted++;
    return this;
  }

  learn(prefix: string, ...nextHops: string[]): void {
    const paths = nextHops.map((n) => ({ nextHop: mustIp(n), peer: n, attributes: {} as never }));
    if (paths.length === 0) this.learned.delete(prefix);
    else this.learned.set(prefix, { prefix: mustPrefix(prefix), paths });
    this.kernel.learnedChanged([prefix]);
  }

  turn = () => this.kernel.apply(this.state, new Set());

  /** `10.0.0.0/26 81 192.0.2.1` */
  routes(wanted: (route: Route) => boolean = ({ protocol }) => protocol === 81): string[] {
    return this.other.routes({ table: 254 }).filter(wanted).map(({ destination, protocol, hops }) =>
      `${formatPrefix(destination)} ${protocol} ${
        (hops ?? []).map(({ gateway }) => gateway ? formatIp(gateway) : "-").sort()
      }`
    ).sort();
  }

  [Symbol.dispose](): void {
    this.kernel?.close();
    this.other.close();
    this.scratch[Symbol.dispose]();
  }
}

const block = (n: number) => `10.${n >> 10}.${n >> 2 & 255}.${(n & 3) << 6}/26`;

/** For what is heard of the kernel, and for pauses between attempts. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 20));

test("what is learned while thousands of routes are written is in the table at the end", async () => {
  using world = await new World().open();
  const { kernel, learned } = world;
  let seed = 1;
  const random = (below: number) => (seed = (seed * 48271) % 0x7fffffff) % below;
  const change = () => {
    const hops = Array.from({ length: random(3) }, () => `192.0.2.${10 + random(4)}`);
    world.learn(block(random(4000)), ...new Set(hops));
  };
  for (let n = 0; n < 3500; n++) world.learn(block(n), "192.0.2.10");
  let meanwhile = 0;
  for (let round = 0; round < 6; round++) {
    let writing = true;
    const turn = world.turn().finally(() => writing = false);
    const timer = setInterval(() => {
      if (!writing) return;
      meanwhile++;
      for (let i = 0; i < 300; i++) change();
      if (round === 2) { for (let n = 0; n < 2500; n++) world.learn(block(n)); }
      if (round === 3) kernel.resync();
      if (round === 4) kernel.replan();
    }, 0);
    const failures = await turn;
    clearInterval(timer);
    assert.deepEqual(failures, []);
    for (let n = 0; n < 1500; n++) change();
  }
  assert.ok(meanwhile > 0, "nothing was learned while routes were written");
  assert.deepEqual(await world.turn(), []);
  const wanted = [...learned].map(([key, { paths }]) =>
    `${key} 81 ${paths.map(({ nextHop }) => formatIp(nextHop)).sort()}`
  ).sort();
  assert.ok(wanted.length > 500, `${wanted.length}`);
  assert.deepEqual(world.routes(), wanted);

  // A full look at the kernel finds nothing to do.
  let told = 0;
  const watch = watchRoutes({ groups: ["route"], netns: world.scratch.netns }, (event) => {
    // The kernel's own routes to its IPv6 addresses come when they are known to be nobody else's.
    if (event.kind !== "route" || event.route.destination.ip.family === 4) told++;
  });
  try {
    kernel.resync();
    assert.deepEqual(await world.turn(), []);
    await world.scratch.run("ip", "route", "add", "198.51.100.0/24", "via", "192.0.2.9");
    await until("the route that the watch ends with", () => told > 0);
    assert.equal(told, 1);
  } finally {
    watch.close();
  }
});

test("routes of the process before us stay until BGP has converged, whatever was said meanwhile", async () => {
  using world = await new World().open();
  const ip = (line: string) => world.scratch.run("ip", ...line.split(" "));
  await ip("route add 10.9.9.0/24 via 192.0.2.10 proto static");
  assert.equal(world.kernel.forwards(), false);
  for (const n of [1, 2, 3]) await ip(`route add 10.9.${n}.0/24 via 192.0.2.10 proto 81`);
  assert.equal(world.kernel.forwards(), true);
  world.converged = false;
  assert.deepEqual(await world.turn(), []);
  const all = [1, 2, 3].map((n) => `10.9.${n}.0/24 81 192.0.2.10`);
  assert.deepEqual(world.routes(), all);
  // The first is told again, the second told and withdrawn.
  world.learn("10.9.1.0/24", "192.0.2.10");
  world.learn("10.9.2.0/24", "192.0.2.10");
  assert.deepEqual(await world.turn(), []);
  world.learn("10.9.2.0/24");
  assert.deepEqual(await world.turn(), []);
  world.kernel.resync();
  assert.deepEqual(await world.turn(), []);
  assert.deepEqual(world.routes(), all);
  world.converged = true;
  world.kernel.sweepLearned();
  assert.deepEqual(await world.turn(), []);
  assert.deepEqual(world.routes(), [all[0]]);
  assert.deepEqual(world.routes(({ protocol }) => protocol === 4), ["10.9.9.0/24 4 192.0.2.10"]);
});

test("of the process before us goes what leads to peers that have all told, but for the news", async () => {
  using world = await new World().open();
  const ip = (line: string) => world.scratch.run("ip", ...line.split(" "));
  await ip("route add 10.9.1.0/24 via 192.0.2.11 proto 81");
  await ip("route add 10.9.2.0/24 via 192.0.2.12 proto 81");
  await ip("route add 10.9.3.0/24 proto 81 nexthop via 192.0.2.11 nexthop via 192.0.2.12");
  await ip("route add 10.9.4.0/24 via 192.0.2.11 proto 81");
  world.converged = false;
  await world.turn();
  assert.equal(world.routes().length, 4);
  // While a turn is under way a peer tells its table, and the route is in it.
  world.told = ["192.0.2.11"];
  world.kernel.sweepLearned();
  const turn = world.turn();
  const ask = world.kernel.mayForget;
  world.kernel.mayForget = (key, gateways) => {
    world.kernel.mayForget = ask;
    world.learn("10.9.1.0/24", "192.0.2.11");
    world.learn("10.9.4.0/24", "192.0.2.11");
    world.learn("10.9.4.0/24");
    return ask(key, gateways) && key !== "10.9.1.0/24" && key !== "10.9.4.0/24";
  };
  await turn;
  const [one, two, both, four] = [
    "10.9.1.0/24 81 192.0.2.11",
    "10.9.2.0/24 81 192.0.2.12",
    "10.9.3.0/24 81 192.0.2.11,192.0.2.12",
    "10.9.4.0/24 81 192.0.2.11",
  ];
  assert.deepEqual(world.routes(), [one, two, both, four], "what is news goes in no turn before");
  await world.turn();
  assert.deepEqual(world.routes(), [one, two, both]);
  world.told.push("192.0.2.12");
  world.kernel.sweepLearned();
  await world.turn();
  assert.deepEqual(world.routes(), [one]);
});

test("what others do to the table is seen, though our own routes are not told of", async () => {
  using world = await new World().open();
  const ip = (line: string) => world.scratch.run("ip", ...line.split(" "));
  world.learn("10.9.1.0/24", "192.0.2.10");
  world.learn("10.9.2.0/24", "203.0.113.1");
  assert.deepEqual(await world.turn(), []);
  assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.10"]);
  assert.deepEqual(world.kernel.unresolved, ["10.9.2.0/24"]);

  let seen = world.wanted;
  await ip("route del 10.9.1.0/24");
  await until("a turn is wanted", () => world.wanted > seen);
  assert.deepEqual(await world.turn(), []);
  assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.10"]);

  // A way to the next hop comes, changes and goes.
  for (const [line, via] of [["add", "192.0.2.7"], ["replace", "192.0.2.8"], ["del", undefined]]) {
    seen = world.wanted;
    await ip(`route ${line} 203.0.113.0/24${via ? ` via ${via}` : ""}`);
    await until("a turn is wanted", () => world.wanted > seen);
    assert.deepEqual(await world.turn(), []);
    const second = via ? [`10.9.2.0/24 81 ${via}`] : [];
    assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.10", ...second]);
    assert.deepEqual(world.kernel.unresolved, via ? [] : ["10.9.2.0/24"]);
  }
});

test("a next hop is reached as the kernel reaches it, or not at all", async () => {
  using world = await new World().open();
  const ip = (line: string) => world.scratch.run("ip", ...line.split(" "));
  /** Changes of others are events. */
  const after = async (line: string) => {
    const seen = world.wanted;
    await ip(line);
    await until("a turn is wanted", () => world.wanted > seen);
    assert.deepEqual(await world.turn(), []);
  };
  const reached = (n: string) => world.kernel.resolve(mustIp(n)) !== undefined;
  let asked = 0;
  world.kernel.onPaths = () => asked++;
  await after("route add default via 192.0.2.1");
  world.learn("10.9.1.0/24", "203.0.113.1");
  world.learn("10.9.2.0/24", "192.0.2.12");
  assert.deepEqual(await world.turn(), []);
  const second = "10.9.2.0/24 81 192.0.2.12";
  assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.1", second]);
  for (const type of ["unreachable", "blackhole", "prohibit", "throw"]) {
    await after(`route add ${type} 203.0.113.0/24`);
    assert.deepEqual(world.routes(), [second], type);
    assert.deepEqual(world.kernel.unresolved, ["10.9.1.0/24"], type);
    assert.equal(reached("203.0.113.1"), false, type);
    await after(`route del ${type} 203.0.113.0/24`);
    assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.1", second], type);
  }
  // A peer's own route to the next hop, and one to a neighbour on our link, whom it does not take away.
  const choice = asked;
  world.learn("203.0.113.0/24", "192.0.2.10");
  world.learn("192.0.2.12/32", "192.0.2.10");
  assert.deepEqual(await world.turn(), []);
  const two = ["192.0.2.12/32 81 192.0.2.10", "203.0.113.0/24 81 192.0.2.10"];
  assert.deepEqual(world.routes(), [second, ...two]);
  assert.deepEqual(world.kernel.unresolved, ["10.9.1.0/24"]);
  assert.equal(reached("203.0.113.1"), true, "BGP's choice does not hang on what BGP has learned");
  assert.equal(asked, choice);
  world.kernel.resync();
  assert.deepEqual(await world.turn(), []);
  assert.deepEqual(world.routes(), [second, ...two]);
  world.learn("203.0.113.0/24");
  assert.deepEqual(await world.turn(), []);
  assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.1", second, two[0]]);
  // A route that covers its own next hop does not come and go.
  world.learn("198.51.100.0/24", "198.51.100.1");
  for (let i = 0; i < 3; i++) {
    assert.deepEqual(await world.turn(), []);
    assert.deepEqual(world.kernel.unresolved, ["198.51.100.0/24"]);
  }
});

test("a block keeps its former way until its tunnel is there, while routes come and go", async () => {
  using world = await new World().open();
  const topics = new Set<Topic>();
  let revision = 0;
  const put = (key: string, value: unknown) => {
    for (const topic of world.state.apply(key, value, `${++revision}`)) topics.add(topic);
  };
  const node = (name: string, n: number, tunnel?: string) =>
    put(resourceKey(nodeKind, name), {
      apiVersion: "projectcalico.org/v3",
      kind: "Node",
      metadata: { name },
      spec: { bgp: { ipv4Address: `192.0.2.${n}/24` }, ipv4VXLANTunnelAddr: tunnel },
    });
  const pool = (vxlanMode: string) =>
    put(resourceKey(ippoolKind, "p"), {
      apiVersion: "projectcalico.org/v3",
      kind: "IPPool",
      metadata: { name: "p" },
      spec: { cidr: "10.244.0.0/16", blockSize: 26, vxlanMode },
    });
  const b = "10.244.2.0/26";
  const owned = (n: number, name: string) =>
    put(`/calico/ipam/v2/assignment/ipv4/block/10.244.${n}.0-26`, {
      cidr: `10.244.${n}.0/26`,
      affinity: `host:${name}`,
      allocations: [],
      unallocated: [],
      attributes: [],
    });
  const turn = async () => {
    const now = new Set(topics);
    topics.clear();
    assert.deepEqual(await world.kernel.apply(world.state, now), []);
  };
  const ours = () => world.routes(({ protocol }) => protocol === 80 || protocol === 81);

  node("a", 2, "10.244.1.0");
  node("b", 11);
  pool("Never");
  owned(2, "b");
  world.learn(b, "192.0.2.11");
  await turn();
  assert.deepEqual(ours(), [`${b} 81 192.0.2.11`]);
  pool("Always");
  await turn();
  await until("the device", () => world.routes(({ protocol }) => protocol === 2).length > 0);
  await turn();
  assert.deepEqual(ours(), [`${b} 81 192.0.2.11`], "kept while b has no tunnel address");
  // What BGP says meanwhile of the block is not for the kernel, of others it is.
  world.learn(b);
  world.learn("10.9.1.0/24", "192.0.2.10");
  owned(3, "b");
  await turn();
  world.kernel.resync();
  await turn();
  assert.deepEqual(ours(), ["10.244.2.0/26 81 192.0.2.11", "10.9.1.0/24 81 192.0.2.10"]);
  node("b", 11, "10.244.2.0");
  const tunnels = [`${b} 80 10.244.2.0`, "10.244.3.0/26 80 10.244.2.0"];
  const deadline = performance.now() + 10_000;
  do await turn(); while (ours().length < 3 && performance.now() < deadline);
  assert.deepEqual(ours(), [...tunnels, "10.9.1.0/24 81 192.0.2.10"]);
  // Next hops in a block behind the tunnel, and in one of ours where nobody is.
  const ourBlock = "/calico/ipam/v2/host/a/ipv4/block/10.244.1.0-26";
  owned(1, "a");
  put(ourBlock, { state: "confirmed" });
  await world.scratch.run("ip", ..."route add default via 192.0.2.1".split(" "));
  await until("the default route", () => world.kernel.resolve(mustIp("203.0.113.1")) !== undefined);
  world.kernel.resync();
  world.learn("10.9.5.0/24", "10.244.2.7");
  world.learn("10.9.6.0/24", "10.244.1.7");
  await turn();
  assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.10", "10.9.5.0/24 81 10.244.2.0"]);
  assert.match(
    await world.scratch.run("ip", "route", "show", "10.9.5.0/24"),
    /dev vxlan.calico proto 81 onlink/,
  );
  assert.deepEqual(ours().filter((r) => r.startsWith("10.244.1.")), ["10.244.1.0/26 80 "]);
  assert.deepEqual(world.kernel.unresolved, ["10.9.6.0/24"]);
  for (const n of [5, 6]) world.learn(`10.9.${n}.0/24`);
  put(ourBlock, undefined);
  await turn();
  // A block goes; back to BGP.
  put("/calico/ipam/v2/assignment/ipv4/block/10.244.3.0-26", undefined);
  await turn();
  assert.deepEqual(ours(), [tunnels[0], "10.9.1.0/24 81 192.0.2.10"]);
  world.learn(b, "192.0.2.11");
  await turn();
  assert.deepEqual(ours(), [tunnels[0], "10.9.1.0/24 81 192.0.2.10"]);
  pool("Never");
  await turn();
  assert.deepEqual(ours(), [`${b} 81 192.0.2.11`, "10.9.1.0/24 81 192.0.2.10"]);
});

test("without IPv6 support nobody's IPv6 routes are touched", async () => {
  for (const ipv6 of [true, false]) {
    using world = await new World().open({ ipv6support: `${ipv6}` });
    await world.scratch.run(
      "ip",
      ..."-6 route add fd00:9::/64 via 2001:db8::9 proto 80".split(" "),
    );
    await world.scratch.run("ip", ..."route add 10.9.1.0/24 via 192.0.2.10 proto 80".split(" "));
    world.kernel.resync();
    assert.deepEqual(await world.turn(), []);
    const left = world.routes(({ protocol }) => protocol === 80);
    assert.deepEqual(left, ipv6 ? [] : ["fd00:9::/64 80 2001:db8::9"]);
  }
});

test("a way for one TOS is none for a next hop, and a default route of any metric is followed", async () => {
  using world = await new World().open();
  const after = async (line: string) => {
    const seen = world.wanted;
    await world.scratch.run("ip", ...line.split(" "));
    await until(`a turn is wanted after ${line}`, () => world.wanted > seen);
    assert.deepEqual(await world.turn(), []);
  };
  world.learn("10.9.1.0/24", "203.0.113.1");
  assert.deepEqual(await world.turn(), []);
  const by = (gateway: string) =>
    assert.deepEqual(world.routes(), gateway ? [`10.9.1.0/24 81 ${gateway}`] : []);
  // As DHCP sets it.
  await after("route add default via 192.0.2.1 metric 100 proto dhcp");
  by("192.0.2.1");
  await after("route replace default via 192.0.2.3 metric 100 proto dhcp");
  by("192.0.2.3");
  await after("route add 203.0.113.0/24 tos 0x10 via 192.0.2.4");
  by("192.0.2.3");
  await after("route add 203.0.113.0/24 via 192.0.2.5 metric 7");
  by("192.0.2.5");
  await after("route del 203.0.113.0/24 via 192.0.2.5 metric 7");
  by("192.0.2.3");
  await after("route del default metric 100");
  by("");
});

test("where the kernel refuses another way, the former one goes, and it is told", async () => {
  using world = await new World().open();
  for (const more of ["10.9.2.0/24", "10.9.3.0/24"]) world.learn(more, "192.0.2.10");
  world.learn("10.9.1.0/24", "192.0.2.10");
  assert.deepEqual(await world.turn(), []);
  const others = ["10.9.2.0/24 81 192.0.2.10", "10.9.3.0/24 81 192.0.2.10"];
  assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.10", ...others]);
  // The broadcast address of the link.
  world.learn("10.9.1.0/24", "192.0.2.255");
  const [failure, ...more] = await world.turn();
  assert.deepEqual([failure.key, more], ["10.9.1.0/24", []]);
  assert.match(failure.error.message, /EINVAL.*; the way that it had is removed/);
  assert.deepEqual(world.routes(), others);
  // Still refused, with nothing to remove; and then it can be reached.
  // The words of the last attempt are told until there is another one.
  const end = performance.now() + 10_000;
  let [again] = await world.turn();
  while (/removed/.test(again.error.message) && performance.now() < end) {
    await pause();
    [again] = await world.turn();
  }
  assert.match(again.error.message, /EINVAL/);
  assert.doesNotMatch(again.error.message, /removed/);
  world.learn("10.9.1.0/24", "192.0.2.11");
  assert.deepEqual(await world.turn(), []);
  assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.11", ...others]);
});

test("somebody's route before a learned one is left and told; what has our protocol is removed", async () => {
  using world = await new World().open();
  const ip = (line: string) => world.scratch.run("ip", ...line.split(" "));
  world.learn("10.9.1.0/24", "192.0.2.10");
  assert.deepEqual(await world.turn(), []);
  const all = async () =>
    (await ip("route show 10.9.1.0/24")).split("\n").map((l) => l.trim()).filter(Boolean);
  const ours = "10.9.1.0/24 via 192.0.2.10 dev d0 proto bgp".replace("bgp", "81");
  assert.deepEqual(await all(), [ours]);
  await ip("route prepend 10.9.1.0/24 via 192.0.2.66 proto static");
  await ip("route append 10.9.1.0/24 via 192.0.2.67 proto 81");
  await ip("route add 10.9.1.0/24 via 192.0.2.68 proto 80 metric 9");
  const seen = world.wanted;
  await until("a turn is wanted", () => world.wanted > seen || world.wanted >= 3);
  const theirs = "10.9.1.0/24 via 192.0.2.66 dev d0 proto static";
  for (const how of ["as it came", "read anew"]) {
    let failures = await world.turn();
    const end = performance.now() + 10_000;
    while ((await all()).length !== 2 && performance.now() < end) {
      await pause();
      failures = await world.turn();
    }
    assert.deepEqual(failures.map(({ key }) => key), ["10.9.1.0/24"], how);
    assert.match(failures[0].error.message, /protocol 4 stands in its place/);
    assert.deepEqual(await all(), [theirs, ours], how);
    world.kernel.resync();
  }
  // Another way meanwhile: ours must not stay behind it as it was.
  world.learn("10.9.1.0/24", "192.0.2.11");
  assert.match((await world.turn())[0].error.message, /stands in its place.*had is removed/);
  assert.deepEqual(await all(), [theirs]);
  await ip("route del 10.9.1.0/24 proto static");
  const end = performance.now() + 10_000;
  while ((await world.turn()).length > 0 && performance.now() < end) await pause();
  assert.deepEqual(await all(), [ours.replace("2.10", "2.11")]);
});

test("what leads nowhere may stand in a learned route's place: it comes back when that goes", async () => {
  using world = await new World().open();
  const ip = (line: string) => world.scratch.run("ip", ...line.split(" "));
  world.learn("10.9.1.0/24", "192.0.2.10");
  assert.deepEqual(await world.turn(), []);
  for (const kind of ["blackhole", "unreachable"]) {
    await ip(`route replace ${kind} 10.9.1.0/24`);
    // Long enough for the pauses between attempts to have become long.
    const end = performance.now() + 3500;
    let failures: readonly unknown[] = [];
    while (performance.now() < end) {
      await pause();
      failures = await world.turn();
    }
    assert.equal(failures.length, 1);
    await ip("route del 10.9.1.0/24");
    const began = performance.now();
    while ((await world.turn()).length > 0 && performance.now() < began + 10_000) await pause();
    assert.deepEqual(world.routes(), ["10.9.1.0/24 81 192.0.2.10"]);
    assert.ok(performance.now() - began < 2000, `${performance.now() - began} ms`);
  }
});

test("an address that comes or goes is told of, for no next hop may be one of ours", async () => {
  using world = await new World().open();
  const own = () => world.kernel.hostAddresses().map(formatIp);
  for (const [address, version] of [["198.51.100.7/32", "-4"], ["2001:db8:7::7/128", "-6"]]) {
    for (const verb of ["add", "del"]) {
      let told: string[] | undefined;
      world.kernel.onAddresses = () => told = own();
      await world.scratch.run("ip", version, "address", verb, address, "dev", "d0");
      const has = verb === "add";
      await until(
        `${verb} ${address}`,
        () => told !== undefined && told.includes(address.split("/")[0]) === has,
      );
    }
  }
});
