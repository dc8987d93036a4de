/** Notifications of the real kernel through the reactor. */
import assert from "node:assert/strict";
import { formatIp, formatPrefix, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import * as route from "../../ffi/route/mod.ts";
import { RouteSocket, watchRoutes } from "../../ffi/route/mod.ts";
import { Scratch, test, until } from "./scratch.ts";

const all = ["link", "address", "route", "neighbour", "rule"] as const;

/** One word for each event: `+link cali1 running`. */
function word(event: route.RouteEvent): string {
  if (event.kind === "overflow") return "overflow";
  const sign = event.gone ? "-" : "+";
  switch (event.kind) {
    case "link":
      return `${sign}link ${event.link.name} ${event.link.running ? "running" : "not running"}`;
    case "address":
      return `${sign}address ${formatIp(event.address.ip)}`;
    case "route":
      return `${sign}route ${formatPrefix(event.route.destination)} table ${event.route.table}`;
    case "neighbour":
      return `${sign}neighbour ${
        event.neighbour.kind === "fdb" ? event.neighbour.mac : formatIp(event.neighbour.ip)
      }`;
    case "rule":
      return `${sign}rule ${event.rule.priority}`;
  }
}

test("what ip does is heard, of each kind, and whose doing it was", async () => {
  using a = new Scratch();
  using socket = RouteSocket.open(a.netns);
  const words: string[] = [];
  const events: route.RouteEvent[] = [];
  const watch = watchRoutes({ groups: all, netns: a.netns }, (event) => {
    events.push(event);
    words.push(word(event));
  });
  const heard = (...wanted: string[]) =>
    until(`${wanted} among ${words}`, () => wanted.every((one) => words.includes(one)));
  try {
    await a.run("ip", "link", "add", "x", "type", "veth", "peer", "name", "y");
    await heard("+link x not running", "+link y not running");
    await a.run("ip", "link", "set", "x", "up");
    await a.run("ip", "link", "set", "y", "up");
    await heard("+link x running", "+link y running");
    await a.run("ip", "addr", "add", "10.9.0.1/24", "dev", "x");
    await heard("+address 10.9.0.1", "+route 10.9.0.0/24 table 254");
    await a.run("ip", "rule", "add", "lookup", "77", "pref", "55");
    await heard("+rule 55");
    await a.run(
      ...["ip", "neigh", "add", "10.9.0.9", "lladdr", "0a:58:0a:41:00:02"],
      ...["dev", "x", "nud", "permanent"],
    );
    await heard("+neighbour 10.9.0.9");
    await a.run("ip", "rule", "del", "pref", "55");
    await a.run("ip", "addr", "del", "10.9.0.1/24", "dev", "x");
    await heard("-rule 55", "-address 10.9.0.1");

    const { index } = socket.link("x")!;
    socket.addRoute({
      destination: mustPrefix("10.7.0.0/24"),
      protocol: 80,
      hops: [{ oif: index }],
    });
    await heard("+route 10.7.0.0/24 table 254");
    const ours = events.find((e) => e.kind === "route" && e.route.protocol === 80);
    assert.ok(ours?.kind === "route");
    assert.equal(ours.port, socket.port);
    assert.deepEqual(ours.route.hops, [{ oif: index }]);

    await a.run("ip", "link", "del", "x");
    await heard("-link x not running", "-link y not running");
    // As netlink has it: the IPv4 route went with its link, and nobody said so.
    assert.ok(!words.includes("-route 10.7.0.0/24 table 254"));
    assert.deepEqual(socket.routes({ protocol: 80 }), []);
  } finally {
    watch.close();
  }
  const before = words.length;
  await a.run("ip", "link", "set", "lo", "mtu", "60000");
  assert.equal(words.length, before, "nothing is heard after close");
});

test("a flood that the buffer cannot hold ends in an overflow, and later events are heard", async () => {
  using a = new Scratch();
  using socket = RouteSocket.open(a.netns);
  socket.setLink("lo", { up: true });
  const events: route.RouteEvent[] = [];
  const watch = watchRoutes(
    { groups: ["route"], netns: a.netns, receiveBuffer: 8192 },
    (event) => events.push(event),
  );
  try {
    const routes = Array.from({ length: 3000 }, (_, n): route.Route => ({
      destination: { ip: { family: 4, bytes: Uint8Array.of(10, 5, n >> 8, n & 255) }, length: 32 },
      protocol: 80,
      hops: [{ oif: 1 }],
    }));
    assert.deepEqual(socket.putRoutes(routes), []);
    await until("an overflow", () => events.some((event) => event.kind === "overflow"));
    assert.ok(events.length < 3000);
    socket.addRoute({ destination: mustPrefix("10.6.0.0/24"), hops: [{ oif: 1 }] });
    await until(
      "the route after the flood",
      () =>
        events.some((e) =>
          e.kind === "route" && formatPrefix(e.route.destination) === "10.6.0.0/24"
        ),
    );
  } finally {
    watch.close();
  }
});

test("three thousand events come through the default buffer, in order", async () => {
  using a = new Scratch();
  using socket = RouteSocket.open(a.netns);
  socket.setLink("lo", { up: true });
  const seen: number[] = [];
  let overflows = 0;
  const watch = watchRoutes({ groups: ["route"], netns: a.netns }, (event) => {
    if (event.kind === "overflow") overflows++;
    if (event.kind !== "route" || event.route.protocol !== 80) return;
    const { bytes } = event.route.destination.ip;
    seen.push(bytes[2] * 256 + bytes[3]);
  });
  try {
    socket.putRoutes(Array.from({ length: 3000 }, (_, n): route.Route => ({
      destination: { ip: { family: 4, bytes: Uint8Array.of(10, 5, n >> 8, n & 255) }, length: 32 },
      protocol: 80,
      hops: [{ oif: 1 }],
    })));
    await until("all events", () => seen.length === 3000);
    assert.deepEqual(seen, Array.from({ length: 3000 }, (_, n) => n));
    assert.equal(overflows, 0);
  } finally {
    watch.close();
  }
});

test("dumps under constant change are whole: no link twice, none that stood all the time missing", async () => {
  using a = new Scratch();
  using reader = RouteSocket.open(a.netns);
  // Enough links for several datagrams, so that a change can fall between two of them.
  for (let n = 0; n < 60; n++) {
    reader.addLink({ kind: "veth", name: `s${n}`, peer: { name: `t${n}` } });
  }
  const stable = new Set(reader.links().map((link) => link.name));
  const churn = new Deno.Command("ip", {
    args: [
      ...["netns", "exec", a.name, "sh", "-c"],
      "for i in $(seq 200); do ip link add c$i type veth peer name d$i; ip link del c$i; done",
    ],
  }).spawn();
  let ended = false;
  const status = churn.status.then((s) => {
    ended = true;
    return s;
  });
  let dumps = 0;
  try {
    while (!ended) {
      const names = reader.links().map((link) => link.name);
      assert.equal(new Set(names).size, names.length, "a link was there twice");
      for (const name of stable) assert.ok(names.includes(name), `${name} is missing`);
      dumps++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  } finally {
    if (!ended) churn.kill("SIGKILL");
    await status;
  }
  assert.ok(dumps > 20, `only ${dumps} dumps`);
});

test("an address of its own is heard by the socket of its namespace alone", async () => {
  using a = new Scratch();
  using b = new Scratch();
  using first = RouteSocket.open(a.netns);
  using second = RouteSocket.open(b.netns);
  const heard: string[] = [];
  const watches = [a, b].map((scratch, i) =>
    watchRoutes({ groups: ["address"], netns: scratch.netns }, (e) => heard.push(`${i} ${word(e)}`))
  );
  try {
    second.addAddress({ index: 1, ip: mustIp("10.1.1.1"), length: 32 });
    await until("the second hears", () => heard.includes("1 +address 10.1.1.1"));
    first.addAddress({ index: 1, ip: mustIp("10.1.1.2"), length: 32 });
    await until("the first hears", () => heard.includes("0 +address 10.1.1.2"));
    assert.deepEqual(heard, ["1 +address 10.1.1.1", "0 +address 10.1.1.2"]);
  } finally {
    watches.forEach((watch) => watch.close());
  }
});

test("routes that one's own socket has written are not told of, all others are", async () => {
  using a = new Scratch();
  using ours = RouteSocket.open(a.netns);
  using other = RouteSocket.open(a.netns);
  ours.setLink("lo", { up: true });
  const told: string[] = [];
  const passOver = { port: ours.port, protocols: [80, 81] };
  const watch = watchRoutes({ groups: ["route", "link"], netns: a.netns, passOver }, (event) => {
    if (event.kind === "route") {
      told.push(`${event.gone ? "-" : "+"}${formatPrefix(event.route.destination)}`);
    } else told.push(event.kind);
  });
  try {
    const put = (socket: RouteSocket, n: number, protocol: number, family: 4 | 6 = 4) => {
      const destination = mustPrefix(family === 4 ? `10.0.${n}.0/24` : `fd00:${n}::/32`);
      socket.putRoutes([{ destination, protocol, hops: [{ oif: 1 }] }]);
      socket.deleteRoutes([{ destination, protocol, hops: [{ oif: 1 }] }]);
    };
    put(ours, 1, 80);
    put(ours, 2, 81);
    put(ours, 3, 82);
    put(ours, 4, 80, 6);
    put(other, 5, 80);
    put(other, 6, 81);
    ours.setLink("lo", { mtu: 1400 });
    const all = ["+10.0.3.0/24", "-10.0.3.0/24", "+10.0.5.0/24", "-10.0.5.0/24"];
    all.push("+10.0.6.0/24", "-10.0.6.0/24", "link");
    await until("the link", () => told.includes("link"));
    assert.deepEqual(told.filter((one) => !one.includes(":")), all);
    assert.ok(!told.some((one) => one.includes("fd00:4:")), told.join());
  } finally {
    watch.close();
  }
});
