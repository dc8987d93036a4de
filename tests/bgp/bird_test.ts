/**
 * Our speaker against real BIRD 2 over a real wire, both directions: what is announced, withdrawn and
 * changed; each side killed with -9 and restarted (graceful restart, both roles); a clean stop; silence
 * on the wire; IPv6, external sessions, TCP-MD5 and TTL security.
 */
import assert from "node:assert/strict";
import type { PeerConfig } from "../../bgp/speaker.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { Bird, birdConfig, missing, Ours, run, sleep, until, Wire } from "./harness.ts";
import type { ProcessOptions } from "./speaker_process.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const reason = missing();
const BLOCKS = ["10.245.7.0/26", "10.245.8.0/26"];

function birdPeer(extra: Partial<PeerConfig> = {}): PeerConfig {
  return {
    name: "bird",
    address: mustIp("10.9.0.2"),
    source: mustIp("10.9.0.1"),
    remoteAs: 64512,
    holdTime: 6,
    connectRetryTime: 1,
    errorWait: [1, 2],
    ...extra,
  };
}

function test(name: string, body: (wire: Wire) => Promise<void>): void {
  Deno.test({
    name: reason === undefined ? `bird: ${name}` : `bird: ${name} (skipped: ${reason})`,
    ignore: reason !== undefined,
    // The reactor's wait outlives the sockets of one test.
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      const wire = await Wire.open();
      try {
        await body(wire);
      } finally {
        await wire.close();
      }
    },
  });
}

async function establish(ours: Ours, peers: PeerConfig[]): Promise<void> {
  ours.speaker.setPeers(peers);
  ours.speaker.start();
  try {
    await until("the session", () => ours.state === "Established");
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${ours.describe()}`);
  }
}

const announced = (...prefixes: string[]) => prefixes.map((text) => ({ prefix: mustPrefix(text) }));

test("routes come and go in both directions", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({ static4: BLOCKS }));
  const ours = new Ours(wire);
  ours.speaker.announce([
    {
      prefix: mustPrefix("10.244.1.0/26"),
      communities: [65000 * 65536 + 7],
      largeCommunities: [[64512, 1, 2]],
      med: 30,
    },
    { prefix: mustPrefix("10.244.9.9/32"), localPref: 200 },
  ]);
  await establish(ours, [birdPeer()]);
  await until("BIRD's blocks", () => ours.kernel.size === 2);
  assert.deepEqual([...ours.kernel].sort(), BLOCKS.map((b) => [b, ["10.9.0.2"]]));
  await until("our routes", async () => (await bird.routes()).has("10.244.9.9/32"));
  const routes = await bird.routes();
  const block = routes.get("10.244.1.0/26")!;
  assert.match(block, /BGP\.next_hop: 10\.9\.0\.1/);
  assert.match(block, /BGP\.local_pref: 100/);
  assert.match(block, /BGP\.med: 30/);
  assert.match(block, /BGP\.community: \(65000,7\)/);
  assert.match(block, /BGP\.large_community: \(64512, 1, 2\)/);
  assert.match(routes.get("10.244.9.9/32")!, /BGP\.local_pref: 200/);

  ours.speaker.announce(announced("10.244.2.0/26"));
  await until("our withdrawal", async () => {
    const now = await bird.routes();
    return !now.has("10.244.1.0/26") && !now.has("10.244.9.9/32") && now.has("10.244.2.0/26");
  });
  await bird.configure(birdConfig({ static4: [BLOCKS[1], "10.245.9.0/26"] }));
  await until(
    "BIRD's withdrawal",
    () => !ours.kernel.has(BLOCKS[0]) && ours.kernel.has("10.245.9.0/26"),
  );
  assert.equal(ours.speaker.peers()[0].established, 1, "the session stood all the time");
  assert.equal(ours.speaker.peers()[0].malformed.count, 0, ours.describe());
});

test("BIRD is killed with -9: its routes stay until it is back, then only what it announces", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({ static4: BLOCKS }));
  const ours = new Ours(wire);
  ours.speaker.announce(announced("10.244.1.0/26"));
  await establish(ours, [birdPeer()]);
  await until("BIRD's blocks", () => ours.kernel.size === 2);
  let least = 2;
  ours.speaker.onRoutes(() => least = Math.min(least, ours.kernel.size));
  await bird.kill();
  await until("the end of the session", () => ours.state !== "Established");
  const [status] = ours.speaker.peers();
  assert.equal(status.prefixes.stale, 2);
  assert.ok(status.staleUntil! > Date.now());
  assert.match(status.lastError!.text, /closed|reset/i);
  await sleep(500);
  assert.equal(ours.kernel.size, 2, "the routes stay");
  await bird.start(birdConfig({ static4: BLOCKS }), true);
  await until("the new session", () => ours.speaker.peers()[0].established === 2);
  await until("End-of-RIB", () => ours.speaker.peers()[0].prefixes.stale === 0);
  assert.equal(least, 2, "no route was missing at any moment");

  await bird.kill();
  await until("the end of the session", () => ours.state !== "Established");
  await bird.start(birdConfig({ static4: [BLOCKS[0]] }), true);
  await until("the sweep", () => ours.kernel.size === 1);
  assert.ok(ours.kernel.has(BLOCKS[0]));

  await bird.kill();
  await until("the end of the session", () => ours.state !== "Established");
  await until("the restart time to run out", () => ours.kernel.size === 0, { ms: 15_000 });
});

test("BIRD stops in good order: its routes go at once", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({ static4: BLOCKS }));
  const ours = new Ours(wire);
  await establish(ours, [birdPeer()]);
  await until("BIRD's blocks", () => ours.kernel.size === 2);
  const before = performance.now();
  await bird.ctl("disable", "tortie", '"maintenance at noon"');
  await until("the routes to go", () => ours.kernel.size === 0, { ms: 2000 });
  assert.ok(performance.now() - before < 2000);
  const [status] = ours.speaker.peers();
  assert.match(status.lastError!.text, /Cease: Administrative Shutdown.*maintenance at noon/);
  await bird.ctl("enable", "tortie");
  await until("the session again", () => ours.kernel.size === 2);
});

test("we are killed with -9: BIRD keeps our routes until we are back", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({}));
  const start = async (announce: string[], restarting: boolean) => {
    const options: ProcessOptions = { netns: wire.ourNamespace, announce, restarting };
    const script = new URL("speaker_process.ts", import.meta.url).pathname;
    const child = new Deno.Command(Deno.execPath(), {
      args: [...RUN_MODULE, script, JSON.stringify(options)],
      stdin: "null",
      stdout: "null",
    }).spawn();
    wire.atEnd(async () => {
      try {
        child.kill("SIGKILL");
      } catch { /* it is dead already */ }
      await child.status;
    });
    return child;
  };
  const first = await start(["10.244.1.0/26", "10.244.2.0/26"], false);
  await until("our routes", async () => {
    const routes = await bird.routes();
    return routes.has("10.244.1.0/26") && routes.has("10.244.2.0/26");
  });
  first.kill("SIGKILL");
  await first.status;
  await until(
    "BIRD to notice",
    async () => !(await bird.ctl("show", "protocols", "tortie")).includes("Established"),
  );
  let missed = 0;
  const watch = async () => {
    if (!(await bird.routes()).has("10.244.1.0/26")) missed++;
  };
  for (let i = 0; i < 10; i++, await sleep(100)) await watch();
  await start(["10.244.1.0/26", "10.244.3.0/26"], true);
  await until("the new session", async () => {
    await watch();
    return (await bird.routes()).has("10.244.3.0/26");
  });
  await until("the sweep of what we announce no longer", async () => {
    await watch();
    return !(await bird.routes()).has("10.244.2.0/26");
  });
  assert.equal(missed, 0, "BIRD had our route at all times");
  const capabilities = await bird.ctl("show", "protocols", "all", "tortie");
  assert.match(capabilities, /Neighbor capabilities[\s\S]*Restart recovery/);
});

test("we stop: gracefully BIRD keeps our routes, otherwise it drops them and says why", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({}));
  const ours = new Ours(wire);
  ours.speaker.announce(announced("10.244.1.0/26"));
  await establish(ours, [birdPeer()]);
  await until("our route", async () => (await bird.routes()).has("10.244.1.0/26"));
  ours.speaker.stop({ graceful: true });
  await until(
    "BIRD to notice",
    async () => !(await bird.ctl("show", "protocols", "tortie")).includes("Established"),
  );
  assert.ok((await bird.routes()).has("10.244.1.0/26"));

  const again = new Ours(wire);
  again.speaker.announce(announced("10.244.1.0/26"));
  await establish(again, [birdPeer()]);
  await until("End-of-RIB", () => again.speaker.peers()[0].endOfRib.length === 1);
  again.speaker.stop({ graceful: false, reason: "node is drained" });
  await until("BIRD to drop it", async () => !(await bird.routes()).has("10.244.1.0/26"));
  assert.match(
    await bird.ctl("show", "protocols", "all", "tortie"),
    /Administrative shutdown/,
  );
});

test("silence on the wire: both sides drop the routes when the hold time is over", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({ static4: BLOCKS }));
  const ours = new Ours(wire);
  ours.speaker.announce(announced("10.244.1.0/26"));
  await establish(ours, [birdPeer()]);
  await until("BIRD's blocks", () => ours.kernel.size === 2);
  await wire.cut(true);
  const before = performance.now();
  await until("our hold timer", () => ours.kernel.size === 0, { ms: 15_000 });
  const seconds = (performance.now() - before) / 1000;
  assert.ok(seconds > 3.5 && seconds < 9, `after ${seconds} s`);
  assert.match(ours.speaker.peers()[0].lastError!.text, /hold timer expired/i);
  await until(
    "TCP timeout in words",
    () => /TCP timeout/.test(ours.speaker.peers()[0].lastError!.text),
  );
  await wire.cut(false);
  await until("the session again", () => ours.kernel.size === 2);
});

test("IPv6 unicast over IPv6, and both families over one session", async (wire) => {
  const bird = new Bird(wire);
  const static6 = ["fd45:7::/122", "fd45:8::/122"];
  await bird.start(birdConfig({ family: 6, static6 }));
  const ours = new Ours(wire);
  ours.speaker.announce(announced("fd44:1::/122", "fd44:9::9/128"));
  await establish(ours, [birdPeer({ address: mustIp("fd09::2"), source: mustIp("fd09::1") })]);
  await until("BIRD's blocks", () => ours.kernel.size === 2);
  assert.deepEqual([...ours.kernel].sort(), static6.map((b) => [b, ["fd09::2"]]));
  await until("our routes", async () => (await bird.routes("master6")).has("fd44:9::9/128"));
  assert.match((await bird.routes("master6")).get("fd44:1::/122")!, /BGP\.next_hop: fd09::1/);
  ours.speaker.announce(announced("fd44:9::9/128"));
  await until("our withdrawal", async () => !(await bird.routes("master6")).has("fd44:1::/122"));
  await bird.configure(birdConfig({ family: 6, static6: [static6[1]] }));
  await until("BIRD's withdrawal", () => ours.kernel.size === 1);

  await bird.kill();
  await bird.start(birdConfig({
    static4: BLOCKS,
    static6,
    bgp: "ipv6 { import all; export where source = RTS_STATIC; next hop address fd09::2; };",
  }));
  ours.speaker.announce(announced("fd44:1::/122", "10.244.1.0/26"));
  ours.speaker.setPeers([
    birdPeer({ families: ["ipv4", "ipv6"], nextHops: { ipv6: mustIp("fd09::1") } }),
  ]);
  await until("both families", () => ours.kernel.size === 4);
  await until("ours there", async () =>
    (await bird.routes("master6")).has("fd44:1::/122") &&
    (await bird.routes()).has("10.244.1.0/26"));
});

test("an external session with four-octet AS numbers, communities and a loop", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({
    as: 4200000002,
    ourAs: 4200000001,
    static4: BLOCKS,
    channel: `export filter {
      if source != RTS_STATIC then reject;
      if net = 10.245.7.0/26 then {
        bgp_path.prepend(65010); bgp_path.prepend(65010);
        bgp_community.add((65010, 5)); bgp_large_community.add((4200000002, 1, 2));
        bgp_ext_community.add((rt, 64512, 9)); bgp_med = 77;
      }
      if net = 10.245.8.0/26 then bgp_path.prepend(4200000001);
      accept;
    };`,
  }));
  const ours = new Ours(wire, { as: 4200000001 });
  ours.speaker.announce([{ prefix: mustPrefix("10.244.1.0/26"), localPref: 300, med: 5 }]);
  await establish(ours, [birdPeer({ remoteAs: 4200000002 })]);
  await until("BIRD's blocks", () => ours.speaker.routes().length === 3);
  const [route] = ours.speaker.routes(mustPrefix(BLOCKS[0]));
  assert.equal(route.asPath, "4200000002 65010 65010");
  assert.deepEqual(route.communities, ["65010:5"]);
  assert.deepEqual(route.largeCommunities, ["4200000002:1:2"]);
  assert.equal(route.med, 77);
  assert.equal(route.localPref, undefined);
  const [loop] = ours.speaker.routes(mustPrefix(BLOCKS[1]));
  assert.equal(loop.best, false);
  assert.match(loop.reason, /our own AS 4200000001 is in the AS path/);
  assert.deepEqual([...ours.kernel.keys()], [BLOCKS[0]]);
  await until("our route", async () => (await bird.routes()).has("10.244.1.0/26"));
  const text = (await bird.routes()).get("10.244.1.0/26")!;
  assert.match(text, /BGP\.as_path: 4200000001/);
  assert.match(text, /BGP\.med: 5/);
});

test("TCP-MD5 and TTL security", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({ static4: BLOCKS, bgp: 'password "s3cret";' }));
  const ours = new Ours(wire);
  await establish(ours, [birdPeer({ password: "s3cret" })]);
  await until("BIRD's blocks", () => ours.kernel.size === 2);
  ours.speaker.setPeers([birdPeer({ password: "wrong" })]);
  await until("the session to end", () => ours.state !== "Established");
  await until(
    "TCP timeout in words",
    () => /TCP timeout/.test(ours.speaker.peers()[0].lastError?.text ?? ""),
  );
  await sleep(2000);
  assert.equal(ours.speaker.peers()[0].established, 1, "no session with the wrong key, either way");
  // BIRD calls us with the right key while we never call.
  ours.speaker.setPeers([birdPeer({ password: "s3cret", passive: true })]);
  await until("the session again", () => ours.kernel.size === 2);

  await bird.configure(
    birdConfig({ static4: BLOCKS, bgp: "ttl security on;" })
      .replace("multihop;", "direct;").replace("gateway recursive;", ""),
  );
  ours.speaker.setPeers([birdPeer({ ttlSecurity: 1 })]);
  await until(
    "the session with TTL security",
    () => ours.state === "Established" && ours.kernel.size === 2,
  );
  ours.speaker.setPeers([birdPeer({ ttlSecurity: 1, passive: true, holdTime: 7 })]);
  await until(
    "the same, called by BIRD",
    () => ours.state === "Established" && ours.speaker.peers()[0].passive && ours.kernel.size === 2,
  );
});

test("reasons in words: refused, unknown to the peer, AS mismatch", async (wire) => {
  const ours = new Ours(wire);
  ours.speaker.setPeers([birdPeer()]);
  ours.speaker.start();
  const error = () => ours.speaker.peers()[0].lastError?.text ?? "";
  await until("TCP refused", () => /TCP refused: nothing at 10\.9\.0\.2:179/.test(error()));
  const bird = new Bird(wire);
  await bird.start(birdConfig({ as: 64999 }).replace("connect delay time 1", "passive on"));
  await until("the mismatch", () => /OPEN mismatch.*64999.*64512|Bad Peer AS/.test(error()));
  await bird.configure(birdConfig({ static4: BLOCKS }));
  await until("the session", () => ours.kernel.size === 2);
});

test("both call at once, again and again: one session comes of it", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({ static4: BLOCKS }));
  const ours = new Ours(wire);
  await establish(ours, [birdPeer()]);
  for (let i = 0; i < 5; i++) {
    await bird.ctl("restart", "tortie");
    await until("the session to end", () => ours.kernel.size === 0, { ms: 5000 });
    await until("the session again", () => ours.kernel.size === 2, { ms: 15_000 });
  }
});

test("route refresh both ways", async (wire) => {
  const bird = new Bird(wire);
  await bird.start(birdConfig({ static4: BLOCKS }));
  const ours = new Ours(wire);
  ours.speaker.announce(announced("10.244.1.0/26"));
  await establish(ours, [birdPeer()]);
  await until("BIRD's blocks", () => ours.kernel.size === 2);
  const sent = ours.speaker.peers()[0].messages.sent;
  await bird.ctl("reload", "in", "tortie");
  await until("our answer", () => ours.speaker.peers()[0].messages.sent >= sent + 3);
  assert.ok((await bird.routes()).has("10.244.1.0/26"));
  const received = ours.speaker.peers()[0].messages.received;
  ours.speaker.refresh("bird");
  await until("BIRD's answer", () => ours.speaker.peers()[0].messages.received >= received + 3);
  await sleep(200);
  assert.equal(ours.kernel.size, 2);
  assert.equal(ours.speaker.peers()[0].prefixes.stale, 0);
  assert.equal(ours.speaker.peers()[0].established, 1);
});

Deno.test("bird: nothing of these tests is left behind", async () => {
  if (reason !== undefined) return;
  assert.ok(!(await run("ip", "netns")).includes(`bgp-${Deno.pid}`));
});
