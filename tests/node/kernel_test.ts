/**
 * The node's part of the kernel on a real one: a `Kernel` in a namespace of its own, fed with states of
 * a cluster, judged by what ip and bridge show. Whatever state came before and whatever somebody has
 * broken by hand, it ends where a clean start ends. Needs root, ip and bridge.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { readSysctl } from "../../ffi/sysctl.ts";
import { affinityKey, resourceKey } from "../../mod/model/keys.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { felixParameters } from "../../mod/node/felix.ts";
import { Kernel } from "../../mod/node/kernel.ts";
import { StateWorld } from "../../mod/node/testing/world.ts";
import { vtepMac } from "../../mod/node/vxlan.ts";
import { pause, Scratch } from "../ffi/scratch.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const options = { sanitizeResources: false, sanitizeOps: false };
const none: ReadonlySet<never> = new Set();

/** A node's namespace with an interface to the others, and a kernel that mends itself as a node's. */
class Bench {
  readonly scratch = new Scratch();
  kernel!: Kernel;
  errors: string[] = [];
  turns = 0;
  #state: StateWorld | undefined;
  #turn: Promise<void> = Promise.resolve();
  #closed = false;
  #retry: number | undefined;
  #held = false;

  static async open(): Promise<Bench> {
    const bench = new Bench();
    await bench.scratch.run(
      "sh",
      "-ec",
      "ip link add eth0 type veth peer name wire; ip link set wire up; ip link set eth0 up; ip link set lo up; " +
        "ip addr add 192.0.2.11/24 dev eth0; ip addr add 2001:db8::11/64 nodad dev eth0; " +
        "ip route add default via 192.0.2.1",
    );
    bench.start();
    return bench;
  }

  /** Whether settings under /proc/sys count as held. */
  settings = false;

  /** A fresh process takes over what the kernel holds. */
  start(environment: Record<string, string> = {}): void {
    this.kernel?.close();
    const felix = felixParameters("node1", new Map(Object.entries(environment)), new Map());
    const { netns } = this.scratch;
    this.kernel = new Kernel(felix, silent, { netns, linger: 0, grace: 0 });
    this.kernel.onChange = () => this.#run();
    this.kernel.resync();
  }

  /** The same between two turns. */
  async restart(): Promise<void> {
    await (this.#turn = this.#turn.then(() => this.start()));
  }

  #run(): Promise<void> {
    return this.#turn = this.#turn.then(async () => {
      if (this.#closed || this.#held || !this.#state) return;
      this.turns++;
      const failures = await this.kernel.apply(this.#state.state, none);
      clearTimeout(this.#retry);
      const due = Math.min(...failures.map(({ due = Infinity }) => due));
      if (due < Infinity) {
        this.#retry = setTimeout(() => this.#run(), Math.max(0, due - performance.now()));
      }
      this.errors = failures.map(({ kind, key, error }) => `${kind} ${key}: ${error.message}`);
    });
  }

  /** A state of the cluster, in place of the former one. */
  async become(world: StateWorld): Promise<void> {
    // Not while a turn runs that was given the former one.
    await (this.#turn = this.#turn.then(() => {
      this.#state = world;
      this.kernel.replan();
    }));
    await this.#run();
  }

  /** Does something while no turn runs, as if it had been done in one moment; what is held then. */
  async atOnce(script: string): Promise<string[]> {
    await this.#turn;
    this.#held = true;
    try {
      await this.scratch.run("sh", "-ec", script);
      return await this.holds();
    } finally {
      this.#held = false;
      this.#run();
    }
  }

  /** Everything that is ours, or stands where ours would, without indices. */
  async holds(): Promise<string[]> {
    const shown = await this.scratch.run(
      "sh",
      "-c",
      "for d in vxlan.calico vxlan-v6.calico; do ip -d -o link show $d; ip -o addr show $d scope global; " +
        "bridge fdb show dev $d; ip -4 neigh show dev $d nud permanent; " +
        "ip -6 neigh show dev $d nud permanent; done 2>/dev/null; ip route; " +
        (this.settings ? `sysctl ${SETTINGS} 2>/dev/null; ` : "") +
        "ip -6 route | grep -v 'fe80\\|ff00'; true",
    );
    return shown.split("\n").map((line) =>
      line.replace(/^\d+: /, "").replace(/ +promiscuity.*?(?= vxlan id|$)/, "")
        .replace(/ +(addrgenmode|numtxqueues).*$/, "").replace(/\\ +/g, " ")
        .replace(/ +(pref medium|qlen \d+|link-netnsid \d+)/g, "").trim()
    ).filter(Boolean).sort();
  }

  /** Waits until it holds that, and for long enough that nothing more happens. */
  async settles(want: readonly string[], what: string): Promise<void> {
    const end = performance.now() + 10_000;
    for (;;) {
      const held = await this.holds();
      if (held.join("\n") === want.join("\n")) return;
      if (performance.now() > end) assert.deepEqual(held, want, `${what}; ${this.errors.join()}`);
      await pause(10);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    await this.#turn;
    this.kernel.close();
    this.scratch[Symbol.dispose]();
  }
}

/** Once wanted, forwarding stays on: others may rely on it. */
const SETTINGS = "net.ipv4.ip_forward net.ipv6.conf.all.forwarding " +
  "net.ipv6.conf.vxlan-v6/calico.disable_ipv6";

async function onBench(test: (bench: Bench) => Promise<void>): Promise<void> {
  const bench = await Bench.open();
  try {
    await test(bench);
  } finally {
    await bench.close();
  }
}

interface Wishes {
  /** Of the IPv4 pool, and of the IPv6 one; absent: there is none. */
  four?: "Never" | "Always" | "CrossSubnet";
  six?: "Never" | "Always" | "CrossSubnet";
  /** Whether this node has its tunnel addresses. */
  own?: boolean;
  peers?: { n: number; far?: boolean; tunnel?: boolean; mac?: string; moved?: boolean }[];
}

function world({ four, six, own = true, peers = [] }: Wishes): StateWorld {
  const world = new StateWorld("node1");
  if (four) world.pool("four", { cidr: "10.244.0.0/16", vxlanMode: four });
  if (six) world.pool("six", { cidr: "fd00::/48", vxlanMode: six });
  const node = (n: number, last: number, far: boolean, tunnel: boolean, mac?: string) => {
    world.node(`node${n}`, {
      bgp: {
        ipv4Address: `${far ? "198.51.100" : "192.0.2"}.${last}/24`,
        ipv6Address: `2001:db8:${far ? "f::" : ":"}${last}/64`,
      },
      ...(tunnel && { ipv4VXLANTunnelAddr: `10.244.${n}.1`, ipv6VXLANTunnelAddr: `fd00::${n}:1` }),
      ...(mac && { vxlanTunnelMACAddr: mac }),
    });
    world.block(`10.244.${n}.0/26`, { node: `node${n}` });
    world.block(`fd00::${n}:0/122`, { node: `node${n}` });
    for (const block of [`10.244.${n}.0/26`, `fd00::${n}:0/122`]) {
      const owner = { type: "host", name: `node${n}` } as const;
      world.put(affinityKey(owner, mustPrefix(block)), { state: "confirmed" });
    }
  };
  node(1, 11, false, own);
  for (const { n, far = false, tunnel = true, mac, moved } of peers) {
    node(n, 10 + n + (moved ? 100 : 0), far, tunnel, mac);
  }
  return world;
}

const usual: Wishes = {
  four: "CrossSubnet",
  six: "Always",
  peers: [{ n: 2 }, { n: 3, far: true }],
};

const m = (n: number, family: 4 | 6) => vtepMac(`node${n}`, family);

Deno.test("the kernel holds what Felix would have put there", options, async () => {
  await onBench(async (bench) => {
    await bench.become(world(usual));
    assert.deepEqual(bench.errors, []);
    const held = await bench.holds();
    const has = (line: string) => assert.ok(held.includes(line), `${line} in\n${held.join("\n")}`);
    // As `ip -d` shows Felix's own device, but for the addresses.
    const device = (name: string, mac: string, mtu: number) => {
      const line = held.find((l) => l.startsWith(`${name}: <`))!;
      assert.match(line, new RegExp(`<BROADCAST,MULTICAST,UP,LOWER_UP> mtu ${mtu} `));
      assert.ok(line.includes(`link/ether ${mac} brd`), line);
    };
    device("vxlan.calico", m(1, 4), 1450);
    device("vxlan-v6.calico", m(1, 6), 1430);
    const details = await bench.scratch.run("ip", "-d", "link", "show", "vxlan.calico");
    assert.match(
      details,
      /vxlan id 4096 local 192\.0\.2\.11 dev eth0 srcport 0 0 dstport 4789 nolearning ttl auto ageing 300 udpcsum noudp6zerocsumtx noudp6zerocsumrx/,
    );
    has(`${m(3, 4)} dst 198.51.100.13 self permanent`);
    has(`10.244.3.1 lladdr ${m(3, 4)} PERMANENT`);
    has("10.244.3.0/26 via 10.244.3.1 dev vxlan.calico proto 80 onlink");
    has("10.244.2.0/26 via 192.0.2.12 dev eth0 proto 80");
    has("blackhole 10.244.1.0/26 proto 80");
    has(`${m(2, 6)} dst 2001:db8::12 self permanent`);
    has(`fd00::2:1 lladdr ${m(2, 6)} PERMANENT`);
    has("fd00::2:0/122 via fd00::2:1 dev vxlan-v6.calico proto 80 metric 1024 onlink");
    assert.equal(readSysctl("net/ipv4/ip_forward", bench.scratch.netns), "1");
    // Nothing but a direct way is `onlink` on the wire.
    assert.deepEqual(held.filter((l) => /eth0.*onlink/.test(l)), []);
    // A second process finds all as it should be, and keeps the device.
    const index = async () => (await bench.scratch.json("link", "show", "vxlan.calico"))[0].ifindex;
    const before = await index();
    bench.start();
    await bench.become(world(usual));
    await bench.settles(held, "the same after a restart");
    assert.equal(await index(), before);
    // Other settings are a new start.
    bench.start({ vxlanvni: "77", vxlanmtu: "1400" });
    await bench.become(world(usual));
    const link = (await bench.scratch.json("-d", "link", "show", "vxlan.calico"))[0];
    assert.deepEqual([link.linkinfo.info_data.id, link.mtu], [77, 1400]);
  });
});

/** A far block's way, as it is. */
const FOUR = ["10.244.3.0/26", "via 10.244.3.1 dev vxlan.calico onlink proto 80"];
const SIX = ["fd00::2:0/122", "via fd00::2:1 dev vxlan-v6.calico onlink proto 80"];

const ENCAPS: Record<string, string> = {
  "another's tunnel": "encap ip id 9 dst 192.0.2.99",
  "another's IPv6 tunnel": "encap ip6 id 9 dst 2001:db8::99",
};

/** By hand: what somebody, or something, does to what is ours. */
const DAMAGES: Record<string, string> = {
  "device deleted": "ip link del vxlan.calico",
  "device down": "ip link set vxlan.calico down",
  "device of another VNI":
    "ip link del vxlan.calico; ip link add vxlan.calico type vxlan id 9 dev " +
    "eth0 dstport 4789 local 192.0.2.11",
  "device of another port":
    "ip link del vxlan.calico; ip link add vxlan.calico type vxlan id 4096 " +
    "dev eth0 dstport 8472 local 192.0.2.11",
  "device without parent":
    "ip link del vxlan.calico; ip link add vxlan.calico type vxlan id 4096 " +
    "dstport 4789 local 192.0.2.11",
  "no tunnel at all in its place": "ip link del vxlan.calico; ip link add vxlan.calico type bridge",
  "MTU": "ip link set vxlan.calico mtu 1300",
  "MTU that IPv6 cannot live with": "ip link set vxlan-v6.calico mtu 1000",
  "MAC": "ip link set vxlan.calico address 66:00:00:00:00:01",
  "address deleted": "ip addr flush dev vxlan.calico scope global",
  "address added": "ip addr add 10.99.0.1/32 dev vxlan.calico",
  "IPv6 address deleted": "ip -6 addr flush dev vxlan-v6.calico scope global",
  "forwarding entries deleted":
    "bridge fdb show dev vxlan.calico | while read mac rest; do bridge " +
    "fdb del $mac dev vxlan.calico $rest || true; done",
  "forwarding entry to elsewhere": `bridge fdb replace ${m(3, 4)} dev vxlan.calico dst 203.0.113.9`,
  "stale forwarding entry": "bridge fdb add 66:00:00:00:00:02 dev vxlan.calico dst 203.0.113.9",
  "forwarding entry to another port": `bridge fdb replace ${
    m(3, 4)
  } dev vxlan.calico dst 198.51.100.13 port 9999`,
  "forwarding entry of another VNI": `bridge fdb replace ${
    m(3, 4)
  } dev vxlan.calico dst 198.51.100.13 vni 77`,
  "forwarding entry by another interface": `bridge fdb replace ${
    m(3, 4)
  } dev vxlan.calico dst 198.51.100.13 via lo`,
  "device with another TTL": "ip link set vxlan.calico type vxlan ttl 1",
  ...Object.fromEntries(
    ["gbp", "proxy", "remcsumtx", "df set", "ttl inherit", "maxaddress 1", "srcport 1 2"].map((
      word,
    ) => [
      `an equal device with ${word} in its place`,
      `ip link del vxlan.calico; ip link add vxlan.calico address ${m(1, 4)} mtu 1450 type vxlan ` +
      `id 4096 local 192.0.2.11 dev eth0 dstport 4789 nolearning ${word}; ` +
      "ip link set vxlan.calico up",
    ]),
  ),
  "device that takes its VNI from packets": "ip link del vxlan.calico; ip link add vxlan.calico " +
    `address ${m(1, 4)} type vxlan external dev eth0 dstport 4789 nolearning`,
  "device without ARP": "ip link set vxlan.calico arp off",
  "device in a bridge": "ip link add stray0 type bridge; ip link set vxlan.calico master stray0",
  "IPv4 forwarding off": "sysctl -qw net.ipv4.ip_forward=0",
  "IPv6 forwarding off": "sysctl -qw net.ipv6.conf.all.forwarding=0",
  "IPv6 off on the device": "sysctl -qw net.ipv6.conf.vxlan-v6/calico.disable_ipv6=1",
  "route with an MTU": "ip route replace 10.244.3.0/26 via 10.244.3.1 dev vxlan.calico onlink " +
    "proto 80 mtu lock 600",
  "route with a source": "ip route change 10.244.3.0/26 via 10.244.3.1 dev vxlan.calico onlink " +
    "proto 80 src 10.244.1.1",
  ...Object.fromEntries(
    Object.entries(ENCAPS).flatMap(([name, encap]) => [
      [`route into ${name}`, `ip route replace ${FOUR[0]} ${encap} ${FOUR[1]}`],
      [`IPv6 route into ${name}`, `ip -6 route replace ${SIX[0]} ${encap} ${SIX[1]}`],
    ]),
  ),
  "IPv6 route into segments": `ip -6 route replace ${SIX[0]} encap seg6 mode encap segs ` +
    `2001:db8::99 ${SIX[1]}`,
  "IPv6 route with a preference": `ip -6 route replace ${SIX[0]} ${SIX[1]} pref high`,
  "IPv6 route that ends": `ip -6 route replace ${SIX[0]} ${SIX[1]} expires 1000`,
  "route with a realm": `ip route replace ${FOUR[0]} ${FOUR[1]} realm 5`,
  "route by a next hop object": "ip nexthop add id 7 via 10.244.3.1 dev vxlan.calico onlink; " +
    `ip route replace ${FOUR[0]} nhid 7 proto 80`,
  "IPv6 route by a next hop object": "ip nexthop add id 8 via fd00::2:1 dev vxlan-v6.calico " +
    `onlink; ip -6 route replace ${SIX[0]} nhid 8 proto 80`,
  "unwanted route by a next hop object": "ip nexthop add id 9 via 192.0.2.9 dev eth0; " +
    "ip route add 10.244.8.0/26 nhid 9 proto 80",
  "IPv6 route of ours for some sources": `ip -6 route add ${SIX[0]} from fd00:7::/64 ${SIX[1]}`,
  "neighbours deleted": "ip neigh flush dev vxlan.calico nud permanent",
  "neighbour with another MAC": "ip neigh replace 10.244.3.1 lladdr 66:00:00:00:00:03 dev " +
    "vxlan.calico nud permanent",
  "stale neighbour":
    "ip neigh add 10.244.9.1 lladdr 66:00:00:00:00:04 dev vxlan.calico nud permanent",
  "IPv6 neighbour deleted": "ip -6 neigh flush dev vxlan-v6.calico nud permanent",
  "route deleted": "ip route del 10.244.3.0/26",
  "route to elsewhere": "ip route replace 10.244.3.0/26 via 192.0.2.77 dev eth0",
  "stray route on the device": "ip route add 10.244.8.0/26 dev vxlan.calico",
  "IPv6 route deleted": "ip -6 route del fd00::2:0/122",
  "IPv6 device deleted": "ip link del vxlan-v6.calico",
  "all at once":
    "ip link del vxlan-v6.calico; ip link del vxlan.calico; ip route flush proto 80; " +
    "ip -6 route flush proto 80",
};

/** Routes beside ours: in their place, or with our protocols. */
const BESIDE: Record<string, string> = {
  "another's route before a tunnel's": "ip route prepend 10.244.3.0/26 via 192.0.2.77 proto static",
  "another's route before a block's": "ip route prepend 10.244.1.0/26 via 192.0.2.77 proto static",
  ...Object.fromEntries([80, 81].flatMap((proto) => [
    [
      `a route of protocol ${proto} before ours`,
      `ip route prepend 10.244.3.0/26 via 192.0.2.77 proto ${proto}`,
    ],
    [
      `a route of protocol ${proto} behind ours`,
      `ip route append 10.244.3.0/26 via 192.0.2.77 proto ${proto}`,
    ],
    [
      `a route of protocol ${proto} with another metric`,
      `ip route add 10.244.3.0/26 via 192.0.2.77 metric 5 proto ${proto}`,
    ],
    [
      `a route of protocol ${proto} with a TOS`,
      `ip route add 10.244.3.0/26 tos 0x10 via 192.0.2.77 proto ${proto}`,
    ],
    [
      `an IPv6 route of protocol ${proto} with a better metric`,
      `ip -6 route add fd00::2:0/122 via 2001:db8::77 dev eth0 metric 100 proto ${proto}`,
    ],
    [
      `an IPv6 route of protocol ${proto} with a better metric, and ours deleted`,
      `ip -6 route add fd00::2:0/122 via 2001:db8::77 dev eth0 metric 100 proto ${proto}; ` +
      "ip -6 route del fd00::2:0/122 metric 1024",
    ],
    [
      `an IPv6 way of protocol ${proto} beside ours`,
      `ip -6 route append fd00::2:0/122 via 2001:db8::77 dev eth0 proto ${proto}`,
    ],
    [
      `an IPv6 blackhole of protocol ${proto} behind ours`,
      `ip -6 route append blackhole fd00::2:0/122 proto ${proto}`,
    ],
  ])),
  "the same way as ours with a source, behind it": "ip route append 10.244.3.0/26 via 10.244.3.1 " +
    "dev vxlan.calico onlink proto 80 src 10.244.1.1",
  "several ways of protocol 80 behind ours": "ip route append 10.244.3.0/26 proto 80 " +
    "nexthop via 192.0.2.77 nexthop via 192.0.2.78",
  "routes of our protocols where we want none":
    "ip route add 10.9.9.0/24 via 192.0.2.77 metric 7 proto 80; " +
    "ip route add 10.9.9.0/24 tos 8 via 192.0.2.77 proto 81; " +
    "ip route add 10.9.9.0/24 via 192.0.2.77 proto 80; " +
    "ip route prepend 10.9.9.0/24 via 192.0.2.78 proto 81",
  "the same way as ours into another tunnel, before it": `ip route prepend ${
    FOUR[0]
  } encap ip id 9 dst 192.0.2.99 ${FOUR[1]}`,
  "a route of protocol 80 by a next hop object behind ours":
    "ip nexthop replace id 9 via 192.0.2.9 dev eth0; ip route append 10.244.3.0/26 nhid 9 proto 80",
  "many at once": "ip route prepend 10.244.3.0/26 via 192.0.2.77 proto static; " +
    "ip route prepend 10.244.3.0/26 via 192.0.2.78 proto 80; " +
    "ip route append 10.244.3.0/26 via 192.0.2.79 proto 81; " +
    "ip route prepend 10.244.1.0/26 via 192.0.2.77; " +
    "ip -6 route add fd00::2:0/122 via 2001:db8::77 dev eth0 metric 100 proto 80; " +
    "ip -6 route append fd00::2:0/122 via 2001:db8::78 dev eth0 proto static; " +
    "ip -6 route append blackhole fd00::2:0/122 proto 81",
};

Deno.test("a fresh process finds what stands beside its routes", options, async () => {
  await onBench(async (bench) => {
    await bench.become(world(usual));
    const whole = await bench.holds();
    for (const [name, command] of Object.entries(BESIDE)) {
      await bench.become(world(usual));
      bench.kernel.close();
      await bench.scratch.run("sh", "-ec", command);
      assert.notDeepEqual(await bench.holds(), whole, name);
      bench.start();
      await bench.become(world(usual));
      assert.deepEqual(await bench.holds(), whole, `${name}; ${bench.errors}`);
      assert.deepEqual(bench.errors, [], name);
    }
  });
});

Deno.test(
  "others' routes behind ours stay, and take our place when we want none",
  options,
  async () => {
    await onBench(async (bench) => {
      await bench.become(world(usual));
      const stranger = "10.244.3.0/26 via 192.0.2.77 dev eth0 proto static";
      const theirs = async () => (await bench.holds()).filter((l) => l.startsWith("10.244.3.0/26"));
      await bench.scratch.run("ip", "route", "append", ...stranger.split(" "));
      const [ours] = (await theirs()).filter((l) => l !== stranger);
      await bench.atOnce("ip route add 203.0.113.0/24 via 192.0.2.77");
      await bench.become(world({ ...usual, peers: [{ n: 2 }] }));
      assert.deepEqual(await theirs(), [stranger], "ours is gone");
      await bench.become(world(usual));
      assert.deepEqual([await theirs(), bench.errors], [[ours], []], "it stood in our place");
    });
  },
);

Deno.test("damage done by hand is mended", options, async (t) => {
  await onBench(async (bench) => {
    bench.settings = true;
    await bench.become(world(usual));
    const whole = await bench.holds();
    for (const [name, command] of Object.entries({ ...DAMAGES, ...BESIDE })) {
      await t.step(name, async () => {
        assert.notDeepEqual(await bench.atOnce(command), whole, "there is damage");
        await bench.settles(whole, name);
        assert.deepEqual(bench.errors, []);
      });
    }
  });
});

Deno.test(
  "a node that came back with another MAC and address leaves no trace",
  options,
  async () => {
    await onBench(async (bench) => {
      const peers = (mac: string, moved: boolean) =>
        world({ four: "Always", peers: [{ n: 2, mac, moved }] });
      for (
        const [mac, moved, host] of [
          ["66:11:11:11:11:11", false, "192.0.2.12"],
          ["66:22:22:22:22:22", false, "192.0.2.12"],
          ["66:22:22:22:22:22", true, "192.0.2.112"],
          ["66:11:11:11:11:11", true, "192.0.2.112"],
        ] as const
      ) {
        await bench.become(peers(mac, moved));
        const fdb = (await bench.holds()).filter((l) => / self permanent$/.test(l));
        assert.deepEqual(fdb, [`${mac} dst ${host} self permanent`]);
        const neighbours = (await bench.holds()).filter((l) => /lladdr/.test(l));
        assert.deepEqual(neighbours, [`10.244.2.1 lladdr ${mac} PERMANENT`]);
      }
    });
  },
);

Deno.test("routes that others put before ours stay, and are told", options, async () => {
  await onBench(async (bench) => {
    const tells = async (want: RegExp | undefined, what: string) => {
      const end = performance.now() + 10_000;
      for (;;) {
        const told = bench.kernel.warnings;
        if (want ? told.length === 1 && want.test(told[0]) : told.length === 0) return;
        if (performance.now() > end) assert.fail(`${what}: ${told.join("; ")}`);
        await pause(10);
      }
    };
    await bench.become(world(usual));
    const whole = await bench.holds();
    for (
      const [what, why] of [
        [
          "-6 route add blackhole fd00::2:0/122 metric 5",
          /:0\/122: .* by its metric 5; remove it, or/,
        ],
        [
          "-6 route add fd00::2:0/122 from fd00:7::/64 dev eth0",
          / for packets from fd00:7::\/64; /,
        ],
        ["-4 route add 10.244.3.0/26 tos 0x10 via 192.0.2.77", / for packets of TOS 16; remove it/],
      ] as const
    ) {
      await bench.atOnce(`ip ${what}`);
      await tells(why, what);
      await bench.restart();
      await bench.become(world(usual));
      await tells(why, `a fresh process: ${what}`);
      assert.equal((await bench.holds()).length, whole.length + 1, what);
      await bench.atOnce(`ip ${what.replace("add", "del")}`);
      await tells(undefined, what);
    }
    // Behind ours, or where none of ours stands, they are nobody's business.
    await bench.atOnce("ip -6 route add blackhole fd00::2:0/122 metric 2000");
    await bench.atOnce("ip -6 route add blackhole fd00:9::/64 metric 5");
    await bench.restart();
    await bench.become(world(usual));
    await tells(undefined, "behind");
  });
});

const mode = fc.constantFrom("Never" as const, "Always" as const, "CrossSubnet" as const);
const anyWishes: fc.Arbitrary<Wishes> = fc.record({
  four: fc.option(mode, { nil: undefined }),
  six: fc.option(mode, { nil: undefined }),
  own: fc.boolean(),
  peers: fc.uniqueArray(
    fc.record({
      n: fc.integer({ min: 2, max: 5 }),
      far: fc.boolean(),
      tunnel: fc.boolean(),
      mac: fc.constantFrom(undefined, "66:aa:aa:aa:aa:aa", "66:bb:bb:bb:bb:bb"),
      moved: fc.boolean(),
    }),
    { selector: ({ n }) => n },
  ),
});

Deno.test("from any state to any other, it ends as if it had begun there", options, async () => {
  // Each state on a kernel that has been through the others, and on one that has seen nothing else.
  const states = fc.sample(anyWishes, { numRuns: 12, seed: 45 });
  await onBench(async (walked) => {
    for (const wishes of states) {
      await walked.become(world(wishes));
      await onBench(async (fresh) => {
        await fresh.become(world(wishes));
        await walked.settles(await fresh.holds(), JSON.stringify(wishes));
      });
    }
  });
});

Deno.test("what is not ours is left alone", options, async () => {
  await onBench(async (bench) => {
    const { scratch } = bench;
    await scratch.run(
      "sh",
      "-ec",
      "ip link add flannel.1 type vxlan id 1 dev eth0 dstport 8472 local 192.0.2.11; " +
        "ip link set flannel.1 up; ip addr add 10.42.0.0/32 dev flannel.1; " +
        "bridge fdb add 5a:00:00:00:00:01 dev flannel.1 dst 192.0.2.12; " +
        "ip neigh add 10.42.1.0 lladdr 5a:00:00:00:00:01 dev flannel.1 nud permanent; " +
        "ip route add 10.42.1.0/24 via 10.42.1.0 dev flannel.1 onlink; " +
        "ip route add 10.50.0.0/16 via 192.0.2.9",
    );
    const theirs = async () =>
      await scratch.run(
        "sh",
        "-c",
        "ip addr show flannel.1 scope global; bridge fdb show dev flannel.1; ip -4 neigh show dev " +
          "flannel.1; ip route show dev flannel.1; ip route show 10.50.0.0/16",
      );
    const before = await theirs();
    await bench.become(world(usual));
    await bench.become(world({}));
    bench.kernel.resync();
    await bench.become(world({ four: "Always", peers: [{ n: 2 }] }));
    assert.equal(await theirs(), before);
    assert.deepEqual(bench.errors, []);
  });
});

Deno.test("what stands in the way is named, and mended when it has gone", options, async () => {
  await onBench(async (bench) => {
    await bench.scratch.run(
      ...["ip", "link", "add", "other", "type", "vxlan", "id", "4096", "dev", "eth0"],
      ...["dstport", "4789", "local", "192.0.2.11"],
    );
    await bench.become(world({ four: "Always", peers: [{ n: 2 }] }));
    assert.match(bench.errors.join(), /other has the VNI 4096 on port 4789 already; remove it/);
    await bench.scratch.run("ip", "link", "del", "other");
    await bench.settles(
      await (async () => {
        const fresh = await Bench.open();
        await fresh.become(world({ four: "Always", peers: [{ n: 2 }] }));
        const held = await fresh.holds();
        await fresh.close();
        return held;
      })(),
      "the device can be made now",
    );
    const lost = world({ four: "Always" });
    lost.node("node1", { bgp: { ipv4Address: "192.0.2.200/24" } });
    await bench.become(lost);
    assert.match(bench.errors.join(), /no interface has 192\.0\.2\.200/);
  });
});

Deno.test("a port that a program has is named, and had when it is free", options, async () => {
  await onBench(async (bench) => {
    const { netns } = bench.scratch;
    const local = { ip: mustIp("0.0.0.0"), port: 4789 };
    const program = new DatagramSocket({ family: 4, netns, local }, () => {});
    await bench.become(world({ four: "Always", peers: [{ n: 2 }] }));
    const words =
      /UDP port 4789 is taken by another program's socket, so vxlan\.calico cannot be up; end/;
    assert.match(bench.errors.join(), words);
    const isUp = async () =>
      (await bench.scratch.json("link", "show", "vxlan.calico"))[0]?.flags
        ?.includes("UP");
    program.close();
    const end = performance.now() + 20_000;
    while (!await isUp()) {
      if (performance.now() > end) assert.fail(bench.errors.join());
      await pause(50);
    }
  });
});

Deno.test(
  "settings that the link cannot bear neither break a device nor set turns off",
  options,
  async () => {
    await onBench(async (bench) => {
      const shown = async () => {
        const [four] = await bench.scratch.json("-d", "link", "show", "vxlan.calico");
        const [six] = await bench.scratch.json("-d", "link", "show", "vxlan-v6.calico");
        return [four.ifindex, four.mtu, four.linkinfo.info_data.port, six.ifindex, six.mtu];
      };
      await bench.become(world(usual));
      const before = await shown();
      assert.deepEqual([before[1], before[2], before[4]], [1450, 4789, 1430]);
      const settings = ["mtu=1500", "mtu=1451", "mtu=8951", "mtu=60", "port=0"]
        .concat(["mtuv6=60", "mtuv6=1200", "mtuv6=9000"]);
      for (const what of settings) {
        const [name, value] = what.split("=");
        bench.start({ [`vxlan${name}`]: value });
        await bench.become(world(usual));
        const turns = bench.turns;
        await pause(300);
        assert.ok(bench.turns - turns < 10, `${bench.turns - turns} turns in 300 ms with ${what}`);
        assert.deepEqual([await shown(), bench.errors], [before, []], what);
      }
      bench.start({ vxlanmtu: "1500" });
      await bench.become(world(usual));
      assert.match(bench.kernel.warnings.join(), /vxlanMTU 1500 does not fit: eth0 has 1500 bytes/);
      // A link that becomes narrower takes IPv6's tunnels with it, and no other thing; then all is back.
      await bench.atOnce("ip link set eth0 mtu 1300");
      for (let tries = 0; bench.errors.length === 0 && tries < 500; tries++) await pause(10);
      assert.deepEqual(bench.errors.length, 1, bench.errors.join("; "));
      assert.match(
        bench.errors[0],
        /IPv6 needs 1280 bytes, and VXLAN 70 more .* has 1300; widen it/,
      );
      const [four] = await bench.scratch.json("link", "show", "vxlan.calico");
      assert.deepEqual([four.ifindex, four.mtu], [before[0], 1250]);
      await bench.atOnce("ip link set eth0 mtu 1500");
      const [six] = await (async () => {
        for (let tries = 0;; tries++) {
          const found = await bench.scratch.json("link", "show", "vxlan-v6.calico").catch(() => []);
          if (found.length > 0 || tries > 100) return found;
          await pause(20);
        }
      })();
      assert.equal(six.mtu, 1430);
      assert.deepEqual(bench.errors, []);
    });
  },
);

Deno.test("where another device cannot be made, the former one stays", options, async () => {
  await onBench(async (bench) => {
    using elsewhere = new Scratch();
    const wishes = { ...usual, six: undefined };
    const make = "ip link add other type vxlan id 77 dev eth0 dstport 4789 local 192.0.2.11";
    for (
      const [before, remove, said] of [
        [
          make,
          () => bench.atOnce("ip link del other"),
          /the interface other has the VNI 77 on port/,
        ],
        // Out of sight, so that only the kernel's refusal tells.
        [
          `${make}; ip link set other netns ${elsewhere.name}`,
          () => elsewhere.run("ip", "link", "del", "other"),
          /moved to another network namespace has the VNI 77 on port 4789 already; remove it there/,
        ],
      ] as const
    ) {
      bench.start();
      await bench.become(world(wishes));
      const held = await bench.holds();
      await bench.scratch.run("sh", "-ec", before);
      bench.start({ vxlanvni: "77" });
      await bench.become(world(wishes));
      assert.match(bench.errors.join(), said);
      await pause(1000);
      // The pauses are of seconds by now.
      const turns = bench.turns;
      await pause(1000);
      assert.ok(bench.turns - turns <= 5, `${bench.turns - turns} turns in the second second`);
      const four = (lines: string[]) => lines.filter((line) => /^vxlan.calico: /.test(line));
      assert.equal(four(held).length, 1);
      assert.deepEqual(four(await bench.holds()), four(held));
      await remove();
      const whole = held.map((line) => line.replace(/vxlan id 4096/, "vxlan id 77"));
      await bench.settles(whole, "the other one is made when it can be");
    }
  });
});

Deno.test(
  "a device that was taken to another namespace is named as what it is",
  options,
  async () => {
    await onBench(async (bench) => {
      using elsewhere = new Scratch();
      await bench.become(world(usual));
      const whole = await bench.holds();
      await bench.scratch.run("ip", "link", "set", "vxlan.calico", "netns", elsewhere.name);
      const end = performance.now() + 5000;
      while (!/moved to another network namespace/.test(bench.errors.join())) {
        assert.ok(performance.now() < end, bench.errors.join());
        await pause(10);
      }
      assert.doesNotMatch(bench.errors.join(), /vxlan-v6/);
      await elsewhere.run("ip", "link", "del", "vxlan.calico");
      await bench.settles(whole, "made again when it has gone there");
    });
  },
);

/** By hand, on the host's side of a pod's pair. */
const POD_DAMAGES: Record<string, string> = {
  "MTU below IPv6's least": "ip link set cali1 mtu 1000",
  "MTU": "ip link set cali1 mtu 1300",
  "larger MTU": "ip link set cali1 mtu 9000",
  "ARP off": "ip link set cali1 arp off",
  "in a bridge":
    "ip link add stray0 type bridge 2>/dev/null || true; ip link set cali1 master stray0",
  "MAC": "ip link set cali1 address 66:00:00:00:00:01",
  "down": "ip link set cali1 down",
  "several": "ip link set cali1 mtu 1000 arp off; ip link set cali1 master stray0",
};

Deno.test("the host's side of a pod's pair is kept as CNI made it", options, async (t) => {
  await onBench(async (bench) => {
    using pod = new Scratch();
    const { scratch } = bench;
    await scratch.run(
      "sh",
      "-ec",
      "ip link add cali1 mtu 1430 address ee:ee:ee:ee:ee:ee type veth peer name eth0 mtu 1430 netns " +
        `${pod.name}; ip link set cali1 up`,
    );
    const inside = "ip link set lo up; ip link set eth0 address 66:11:11:11:11:11 up; " +
      "ip addr add 10.244.1.5/32 dev eth0; ip addr add fd00::1:5/128 nodad dev eth0; " +
      "ip route add 169.254.1.1 dev eth0; ip route add default via 169.254.1.1; " +
      "ip -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0";
    await pod.run("sh", "-ec", inside);
    const state = world(usual);
    state.put(resourceKey(workloadEndpointKind, "node1-k8s-a-eth0", "default"), {
      kind: "WorkloadEndpoint",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "node1-k8s-a-eth0", namespace: "default" },
      spec: {
        ...{ orchestrator: "k8s", node: "node1", pod: "a", endpoint: "eth0", containerID: "c" },
        ...{ interfaceName: "cali1", mac: "66:11:11:11:11:11" },
        ipNetworks: ["10.244.1.5/32", "fd00::1:5/128"],
      },
    });
    await bench.become(state);
    const whole = async () => {
      const [link] = await scratch.json("-d", "link", "show", "cali1");
      const settings = ["ipv4/conf/cali1/proxy_arp", "ipv6/conf/cali1/proxy_ndp"]
        .concat(["ipv6/conf/cali1/forwarding", "ipv6/conf/cali1/accept_ra"]);
      const of = (text: string) => text.split("\n").map((l) => l.trim()).filter(Boolean).sort();
      return {
        link: [link.mtu, link.address, link.master, link.flags.includes("NOARP"), link.flags[2]],
        settings: settings.map((name) => readSysctl(`net/${name}`, scratch.netns)),
        routes: of(await scratch.run("sh", "-c", "ip route; ip -6 route | grep cali1.*proto.80")),
        neighbours: of(
          await scratch.run("ip", "neigh", "show", "dev", "cali1", "nud", "permanent"),
        ),
        // What pods send their IPv6 packets to.
        gateway: /fe80::ecee:eeff:feee:eeee/.test(await scratch.run("ip", "addr", "show", "cali1")),
      };
    };
    const want = await whole();
    assert.deepEqual(want.settings, ["1", "1", "1", "0"]);
    assert.equal(want.neighbours.length, 2);
    for (const [name, command] of Object.entries(POD_DAMAGES)) {
      await t.step(name, async () => {
        await bench.atOnce(command);
        const end = performance.now() + 10_000;
        for (let last = await whole();; last = await whole()) {
          if (JSON.stringify(last) === JSON.stringify(want) && bench.errors.length === 0) break;
          if (performance.now() > end) assert.deepEqual(last, want, bench.errors.join());
          await pause(20);
        }
        await pod.run("ping", "-c1", "-W5", "-s", "1400", "-M", "do", "192.0.2.11");
        await pod.run("ping", "-6", "-c1", "-W5", "-s", "1380", "2001:db8::11");
      });
    }
  });
});

Deno.test(
  "a pod's interface that comes and goes is no news of the ways to others",
  options,
  async () => {
    await onBench(async (bench) => {
      using pod = new Scratch();
      const { scratch } = bench;
      await bench.become(world(usual));
      const news = () => {
        let asked = 0;
        bench.kernel.onPaths = () => asked++;
        return async (command: string) => {
          // The kernel tells of everything in its order: what came before this has been heard with it.
          await scratch.run("sh", "-ec", command);
          for (const end = performance.now() + 10_000; asked === 0;) {
            assert(performance.now() < end, "nobody was told of a route of others");
            await pause(5);
          }
          return asked;
        };
      };
      const until = async (command: string, what: RegExp) => {
        for (const end = performance.now() + 10_000;;) {
          if (what.test(await scratch.run("sh", "-c", command))) return;
          assert(performance.now() < end, `${command} does not show ${what}`);
          await pause(20);
        }
      };
      // Other interfaces have got theirs by then.
      await until("ip -6 -o addr show tentative; echo end", /^end/);
      await news()("ip route add 203.0.113.0/24 dev eth0");
      let told = news();
      await scratch.run(
        "sh",
        "-ec",
        `ip link add cali1 type veth peer name eth0 netns ${pod.name}; ip link set cali1 up`,
      );
      await pod.run("ip", "link", "set", "eth0", "up");
      await until("ip -6 route show dev cali1", /fe80::\/64/);
      await until("ip -6 -o addr show dev cali1 -tentative", /fe80::/);
      assert.equal(await told("ip route add 198.51.100.0/24 dev eth0"), 1);
      told = news();
      await scratch.run("ip", "link", "del", "cali1");
      assert.equal(await told("ip route del 198.51.100.0/24 dev eth0"), 1);
    });
  },
);

Deno.test(
  "an endpoint that names an interface of the machine's changes nothing of it, and is named",
  options,
  async () => {
    await onBench(async (bench) => {
      const shown = async () => {
        const links = ["eth0", "lo"].map((name) =>
          bench.scratch.run("sh", "-c", `ip -o link show ${name}; ip addr show ${name}`)
        );
        const settings = ["eth0", "lo"].flatMap((name) =>
          ["ipv4", "ipv6"].map((family) =>
            readSysctl(
              `net/${family}/conf/${name}/proxy_${family === "ipv4" ? "arp" : "ndp"}`,
              bench.scratch.netns,
            )
          )
        );
        return [...await Promise.all(links), ...settings];
      };
      const state = world(usual);
      await bench.become(state);
      const before = await shown();
      for (const interfaceName of ["eth0", "lo"]) {
        state.put(resourceKey(workloadEndpointKind, `node1-cni-${interfaceName}`, "default"), {
          kind: "WorkloadEndpoint",
          apiVersion: "projectcalico.org/v3",
          metadata: { name: `node1-cni-${interfaceName}`, namespace: "default" },
          spec: {
            ...{ orchestrator: "cni", node: "node1", endpoint: "eth0", containerID: "c" },
            ...{ interfaceName, ipNetworks: ["10.244.1.9/32"] },
          },
        });
      }
      await bench.become(state);
      assert.deepEqual(await shown(), before);
      assert.doesNotMatch(await bench.scratch.run("ip", "route"), /10\.244\.1\.9/);
      const told = bench.kernel.warnings.join("; ");
      for (const name of ["eth0", "lo"]) {
        assert.match(told, new RegExp(`node1-cni-${name}: its interface "${name}" is left alone`));
      }
    });
  },
);
