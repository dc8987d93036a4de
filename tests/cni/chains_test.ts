/**
 * With the stock plugins: portmap, bandwidth and tuning behind ours, and ours as IPAM under ptp and
 * bridge. What they did is looked at with the real tools and with traffic.
 */
import assert from "node:assert/strict";
import { Chain } from "./chain.ts";
import { CniHarness, missingForCni, must, run, stockPlugin } from "./harness.ts";

const missing = missingForCni() ??
  ["portmap", "bandwidth", "tuning", "ptp", "bridge"].map((name) =>
    stockPlugin(name) ? undefined : `the stock plugin ${name} is not installed`
  ).find((m) => m);

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({
    name: `${name}${missing ? ` (skipped: ${missing})` : ""}`,
    ignore: missing !== undefined,
    sanitizeOps: false,
    sanitizeResources: false,
    fn,
  });
}

/** A program in a namespace, ended with the block. */
function spawnIn(netns: string, code: string): AsyncDisposable {
  const child = new Deno.Command("nsenter", {
    args: [`--net=${netns}`, Deno.execPath(), "eval", code],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
    },
  };
}

/** What a TCP server says to a client in a namespace; tried for five seconds. */
async function fetchIn(netns: string, address: string): Promise<string> {
  const [hostname, port] = address.split(":");
  const code = `
    for (let i = 0; i < 50; i++) {
      try {
        const c = await Deno.connect({ hostname: "${hostname}", port: ${port} });
        const b = new Uint8Array(100);
        console.log(new TextDecoder().decode(b.subarray(0, await c.read(b) ?? 0)));
        Deno.exit(0);
      } catch { await new Promise((r) => setTimeout(r, 100)); }
    }
    Deno.exit(1);`;
  return (await must(["nsenter", `--net=${netns}`, Deno.execPath(), "eval", code])).trim();
}

const SERVER = (port: number, word: string) => `
  const l = Deno.listen({ hostname: "0.0.0.0", port: ${port} });
  for await (const c of l) { await c.write(new TextEncoder().encode("${word}")); c.close(); }`;

async function ping(from: string, to: string): Promise<void> {
  const { code, stdout } = await run([
    "nsenter",
    `--net=${from}`,
    "ping",
    "-c",
    "2",
    "-W",
    "2",
    to,
  ]);
  assert.equal(code, 0, stdout);
}

test("behind ours: portmap, bandwidth and tuning do their work, CHECK and DEL pass", async () => {
  await using h = await CniHarness.start();
  await h.inHost(["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"]);
  const chain = new Chain(h, [
    { type: "tortie" },
    {
      type: "portmap",
      snat: true,
      capabilities: { portMappings: true },
      runtimeConfig: { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }] },
    },
    {
      type: "bandwidth",
      capabilities: { bandwidth: true },
      runtimeConfig: {
        bandwidth: {
          ingressRate: 1e7,
          ingressBurst: 1e6,
          egressRate: 1e7,
          egressBurst: 1e6,
        },
      },
    },
    { type: "tuning", sysctl: { "net.core.somaxconn": "567" } },
  ]);
  const server = { container: "server", netns: await h.addNamespace() };
  const result = await chain.add(server);
  assert.equal(result.interfaces[0].name, "caliserver");
  assert.ok(result.interfaces.some((i: any) => i.name.startsWith("bwp")), "bandwidth's own device");
  assert.match(
    await h.inHost(["tc", "qdisc", "show", "dev", "caliserver"]),
    /tbf .*rate 10Mbit/,
  );
  const somaxconn = await h.inNamespace(server.netns, ["sysctl", "-n", "net.core.somaxconn"]);
  assert.equal(somaxconn.trim(), "567");
  // The stock portmap 1.1.1 looks for its IPv6 rules in CHECK, also where there is no IPv6 address.
  await chain.check(server, ["portmap"]);

  const client = { container: "client", netns: await h.addNamespace() };
  const plain = new Chain(h, [{ type: "tortie" }]);
  await plain.add(client);
  {
    await using _listener = spawnIn(server.netns, SERVER(80, "hello"));
    assert.equal(await fetchIn(client.netns, "192.0.2.1:8080"), "hello");
  }
  await chain.del(server);
  await chain.del(server);
  await plain.del(client);
  assert.deepEqual(await h.traces(), []);
  const nat = await h.inHost(["iptables-save", "-t", "nat"]);
  assert.ok(!nat.includes("8080"), nat);
});

test("as tortie-ipam under ptp: two containers, CHECK, DEL, GC of what is forgotten", async () => {
  await using h = await CniHarness.start();
  const chain = new Chain(h, [{ type: "ptp", ipam: { type: "tortie-ipam" } }]);
  const one = { container: "one", netns: await h.addNamespace() };
  const two = { container: "two", netns: await h.addNamespace() };
  const [a, b] = [await chain.add(one), await chain.add(two)];
  assert.equal(a.ips[0].gateway, b.ips[0].gateway);
  assert.match(a.ips[0].address, /\/26$/);
  await ping(one.netns, b.ips[0].address.split("/")[0]);
  await chain.check(one);
  await chain.del(one);
  await chain.del(one);
  await chain.check(two);
  // A runtime that forgot the second: its namespace is gone, then GC.
  await h.deleteNamespace(two.netns);
  const gc = await h.call({
    command: "GC",
    plugin: "tortie-ipam",
    conf: h.conf({ cniVersion: "1.1.0", type: "ptp", "cni.dev/valid-attachments": [] }),
  });
  assert.equal(gc.code, 0, gc.stdout);
  await new Promise((r) => setTimeout(r, 300));
  assert.deepEqual((await h.traces()).filter((t) => !t.startsWith("link ")), []);
});

test("as tortie-ipam under ptp: a second ADD is an error and leaves the first with its address", async () => {
  await using h = await CniHarness.start();
  const chain = new Chain(h, [{ type: "ptp", ipam: { type: "tortie-ipam" } }]);
  const one = { container: "one", netns: await h.addNamespace() };
  const result = await chain.add(one);
  const before = await h.traces();
  await assert.rejects(chain.add(one), /already/);
  assert.deepEqual(await h.traces(), before);
  chain.results.set("one", result);
  await chain.check(one);
  await chain.del(one);
  assert.deepEqual(await h.traces(), []);
});

test("as tortie-ipam under bridge: both families, gateway of the bridge, out through the host", async () => {
  await using h = await CniHarness.start({
    pools: [
      { name: "default", spec: { cidr: "10.244.0.0/16" } },
      { name: "six", spec: { cidr: "fd00:244::/64" } },
    ],
  });
  await h.inHost(["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"]);
  const chain = new Chain(h, [{
    type: "bridge",
    bridge: "cnibr0",
    isGateway: true,
    isDefaultGateway: true,
    ipam: { type: "tortie-ipam", assign_ipv6: "true" },
  }]);
  const calls = await Promise.all(["one", "two", "three"].map(async (container) => ({
    container,
    netns: await h.addNamespace(),
  })));
  const results = [];
  for (const call of calls) results.push(await chain.add(call));
  const addresses = results.flatMap((r) => r.ips.map((ip: any) => ip.address));
  assert.equal(new Set(addresses).size, 6);
  for (const { address } of results[1].ips) await ping(calls[0].netns, address.split("/")[0]);
  await ping(calls[0].netns, "192.0.2.1");
  await chain.check(calls[0]);
  for (const call of calls) await chain.del(call);
  assert.deepEqual((await h.traces()).filter((t) => t !== "link cnibr0"), []);
});

test("as tortie-ipam under ptp and bridge: pools of /30 and /31 blocks give what they can", async () => {
  await using h = await CniHarness.start({
    pools: [
      { name: "thirty", spec: { cidr: "10.30.0.0/29", blockSize: 30 } },
      { name: "thirtyone", spec: { cidr: "10.31.0.0/30", blockSize: 31, nodeSelector: "!all()" } },
      { name: "single", spec: { cidr: "10.32.0.0/30", blockSize: 32, nodeSelector: "!all()" } },
    ],
  });
  // Of each /30 one address is left beside the special ones and the gateway; of each /31 one.
  for (const [pool, prefix] of [["thirty", "/30"], ["thirtyone", "/31"]]) {
    const chain = new Chain(h, [{
      type: "ptp",
      ipam: { type: "tortie-ipam", ipv4_pools: [pool] },
    }]);
    const calls = await Promise.all(["a", "b", "c"].map(async (container) => ({
      container: `${pool}-${container}`,
      netns: await h.addNamespace(),
    })));
    for (const call of calls.slice(0, 2)) {
      const result = await chain.add(call);
      assert.ok(result.ips[0].address.endsWith(prefix));
    }
    const before = await h.traces();
    await assert.rejects(chain.add(calls[2]), /ADD of ptp/);
    assert.deepEqual(await h.traces(), before);
    await chain.del(calls[0]);
    await chain.add(calls[2]);
    for (const call of calls) await chain.del(call);
    assert.deepEqual(await h.traces(), []);
  }
  const single = new Chain(h, [{
    type: "ptp",
    ipam: { type: "tortie-ipam", ipv4_pools: ["single"] },
  }]);
  const call = { container: "single", netns: await h.addNamespace() };
  await assert.rejects(single.add(call), /no room for the gateway/);
  assert.deepEqual(await h.traces(), []);
});
