/**
 * Ends by kill -9, at any moment: the plugin's, the service's, and a node without a service. The next
 * ADD or DEL of the container succeeds, and nothing is left.
 */
import assert from "node:assert/strict";
import { CniHarness, missingForCni } from "./harness.ts";

const missing = missingForCni();

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({
    name: `${name}${missing ? ` (skipped: ${missing})` : ""}`,
    ignore: missing !== undefined,
    sanitizeOps: false,
    sanitizeResources: false,
    fn,
  });
}

const QUICK = Deno.env.get("TORTIE_CNI_WAY") === "front";

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Starts a plugin and kills it after so many milliseconds, unless it ended before. */
async function killedCall(
  h: CniHarness,
  call: { command: string; container: string; netns: string },
  after: number,
): Promise<boolean> {
  const child = new Deno.Command("nsenter", {
    args: [`--net=/run/netns/${h.host}`, `${h.plugins}/tortie`],
    env: h.environment(call),
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const timer = setTimeout(() => {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
  }, after);
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(h.conf())))
    .then(() => writer.close()).catch(() => {});
  const { signal, code } = await child.output();
  clearTimeout(timer);
  return signal === null && code === 0;
}

test("the plugin is killed at any moment: the next ADD succeeds, the next DEL leaves nothing", async () => {
  await using h = await CniHarness.start({ policyDelay: 5 });
  const netns = await h.addNamespace();
  // How long a call takes now: the machine is shared, so it is learned on the way.
  let usual = 400;
  let killed = 0;
  for (let i = 0; i < 60; i++) {
    const container = `k${i}`;
    // Most of the time is the start of the process; what matters is near the end.
    const after = usual * (0.5 + 0.5 * Math.random());
    const started = performance.now();
    const whole = await killedCall(h, { command: "ADD", container, netns }, after);
    if (whole) usual = (usual + performance.now() - started) / 2;
    else usual *= 1.02;
    if (!whole) killed++;
    if (!whole && i % 2) {
      const { code, stdout } = await h.call({ container, netns });
      assert.equal(code, 0, `ADD after a kill at ${after} ms: ${stdout}`);
      const traces = await h.traces();
      assert.equal(traces.length, 4, traces.join(", "));
    }
    const { code, stdout } = await h.call({ command: "DEL", container, netns });
    assert.equal(code, 0, stdout);
    assert.deepEqual(await h.traces(), []);
  }
  assert.ok(killed >= 10, `${killed} of 60 were killed in time`);
});

test("the plugin is killed in DEL: the next DEL leaves nothing", async () => {
  await using h = await CniHarness.start();
  const netns = await h.addNamespace();
  // As above; by the front door a call takes a tenth of what it takes by Deno.
  let usual = 200, killed = 0;
  for (let i = 0; i < 25; i++) {
    const container = `d${i}`;
    await h.add({ container, netns });
    const started = performance.now();
    const after = usual * Math.random();
    const whole = await killedCall(h, { command: "DEL", container, netns }, after);
    if (whole) usual = (usual + performance.now() - started) / 2;
    else killed++, usual *= 1.02;
    const { code, stdout } = await h.call({ command: "DEL", container, netns });
    assert.equal(code, 0, stdout);
    assert.deepEqual(await h.traces(), []);
  }
  assert.ok(killed >= 5, `${killed} of 25 were killed in time`);
});

test("the service is killed at any moment of ADDs and DELs: afterwards all is whole", async () => {
  await using h = await CniHarness.start({ policyDelay: 3 });
  const paths = await Promise.all(Array.from({ length: 4 }, () => h.addNamespace()));
  for (let round = 0; round < 10; round++) {
    const calls = paths.map(async (netns, i) => {
      const container = `r${round}c${i}`;
      const add = await h.call({ container, netns, once: true });
      if (i % 2) await h.call({ command: "DEL", container, netns, once: true });
      return { container, netns, added: add.code === 0 && i % 2 === 0, code: add.json?.code };
    });
    // By the front door four ADDs are over in a few tens of milliseconds.
    await sleep(QUICK ? Math.random() * 60 : 60 + Math.random() * 250);
    await h.killService();
    const outcomes = await Promise.all(calls);
    for (const { added, code } of outcomes) {
      if (!added && code !== undefined) {
        assert.equal(code, 11, "a call without service says: again");
      }
    }
    await h.startService();
    for (const [i, { container, netns, added }] of outcomes.entries()) {
      // Who has its answer has a pod that no second ADD may touch. Without an answer the attachment
      // is either marked, and stays until DEL, or it is a remainder and made anew.
      const links = await h.ip("", "link", "show");
      const alias = links.find((l) => l.ifname === `cali${container}`)?.ifalias ?? "";
      const again = await h.call({ container, netns });
      if (added) assert.match(alias, /^tortie pod /, container);
      const expected = alias.startsWith("tortie pod ") ? 100 : undefined;
      if (i % 2 === 0) assert.equal(again.json.code, expected, `${container}: ${again.stdout}`);
      const { code, stdout } = await h.call({ command: "DEL", container, netns });
      assert.equal(code, 0, `${container}: ${stdout}`);
    }
    assert.deepEqual(await h.traces(), [], `round ${round}`);
  }
});

test("the service is killed while a caller reads its answer: the pod is in use all the same", async () => {
  await using h = await CniHarness.start();
  for (let round = 0; round < 3; round++) {
    const container = `w${round}`;
    const netns = await h.addNamespace();
    const caller = await Deno.connect({ transport: "unix", path: h.socket });
    const words = ["TORTIE1", "cni", "tortie"];
    for (const [name, value] of Object.entries(h.environment({ container, netns }))) {
      if (name.startsWith("CNI_")) words.push(`${name}=${value}`);
    }
    const request = new TextEncoder().encode(words.join("\0") + "\0\0" + JSON.stringify(h.conf()));
    for (let at = 0; at < request.length;) at += await caller.write(request.subarray(at));
    await caller.closeWrite();
    // The caller has the first bytes of its answer and keeps the connection: the service still waits
    // for it to go away.
    const first = new Uint8Array(2);
    assert.equal(await caller.read(first), 2);
    assert.equal(new TextDecoder().decode(first), "0 ");
    await h.killService();
    caller.close();
    const [link] = await h.ip("", "link", "show", "dev", `cali${container}`);
    assert.equal(link.ifalias, `tortie pod ${container}/eth0`);
    await h.startService();
    const before = await h.traces();
    const again = await h.call({ container, netns });
    assert.equal(again.json.code, 100, again.stdout);
    assert.deepEqual(await h.traces(), before);
    const [still] = await h.ip("", "link", "show", "dev", `cali${container}`);
    assert.equal(still.ifindex, link.ifindex, "the live pod's interface is untouched");
    assert.equal((await h.call({ command: "DEL", container, netns })).code, 0);
    assert.deepEqual(await h.traces(), []);
  }
});

test("without a service: CHECK, DEL and GC do what kernel and store can tell, ADD is code 11", async () => {
  await using h = await CniHarness.start();
  const [one, two, three] = [
    await h.add({ container: "one" }),
    await h.add({ container: "two" }),
    await h.add({ container: "three" }),
  ];
  await h.killService();
  const status = await h.call({ command: "STATUS", conf: h.conf({ cniVersion: "1.1.0" }) });
  assert.equal(status.json.code, 50);
  assert.match(status.json.msg, /no node service answers/);
  const add = await h.call({ container: "four", netns: one.netns });
  assert.equal(add.json.code, 11);
  const conf = h.conf({ prevResult: one.json });
  const checked = await h.call({ command: "CHECK", container: "one", netns: one.netns, conf });
  assert.equal(checked.code, 0, checked.stdout);
  const deleted = await h.call({ command: "DEL", container: "one", netns: one.netns });
  assert.equal(deleted.code, 0, deleted.stdout);
  const wrong = await h.call({ command: "CHECK", container: "one", netns: one.netns, conf });
  assert.equal(wrong.json.code, 105);
  const gc = await h.call({
    command: "GC",
    conf: h.conf({
      cniVersion: "1.1.0",
      "cni.dev/valid-attachments": [{ containerID: "two", ifname: "eth0" }],
    }),
  });
  assert.equal(gc.code, 0, gc.stdout);
  await h.startService();
  const traces = await h.traces();
  assert.ok(traces.length === 4 && traces.every((t) => t.includes("two")), traces.join(", "));
  assert.deepEqual(await h.ip(three.netns, "link", "show", "type", "veth"), []);
  assert.equal((await h.call({ command: "DEL", container: "two", netns: two.netns })).code, 0);
});

test("without a service: DELs at once wait for each other's datastore", async () => {
  await using h = await CniHarness.start();
  const pods = [];
  for (let i = 0; i < 6; i++) {
    pods.push({ container: `at${i}`, ...await h.add({ container: `at${i}` }) });
  }
  await h.killService();
  const deleted = await Promise.all(
    pods.map(({ container, netns }) => h.call({ command: "DEL", container, netns })),
  );
  assert.deepEqual(deleted.map((d) => d.stdout), pods.map(() => ""));
  assert.deepEqual(deleted.map((d) => d.code), pods.map(() => 0));
  await h.startService();
  assert.deepEqual(await h.traces(), []);
});

test("without service and store: DEL and GC are code 11 and touch nothing, CHECK looks at the kernel", async () => {
  await using h = await CniHarness.start();
  const one = await h.add({ container: "one" });
  await h.killService();
  const tortie = { socket: h.socket, store: `${h.folder}/nobody.sock` };
  const conf = h.conf({ tortie });
  const deleted = await h.call({ command: "DEL", container: "one", netns: one.netns, conf });
  assert.equal(deleted.json?.code, 11, deleted.stdout);
  assert.match(deleted.json.msg, /no node service answers/);
  const gc = await h.call({
    command: "GC",
    conf: { ...conf, cniVersion: "1.1.0", "cni.dev/valid-attachments": [] },
  });
  assert.equal(gc.json?.code, 11, gc.stdout);
  const check = () =>
    h.call({
      command: "CHECK",
      container: "one",
      netns: one.netns,
      conf: { ...conf, prevResult: one.json },
    });
  assert.equal((await check()).code, 0);
  await h.inNamespace(one.netns, ["ip", "route", "del", "default"]);
  assert.equal((await check()).json.code, 105);
  await h.startService();
  assert.equal((await h.traces()).length, 4);
  assert.equal((await h.call({ command: "DEL", container: "one", netns: one.netns })).code, 0);
  assert.deepEqual(await h.traces(), []);
});
