/** The lab leaves nothing behind, however it ends; and starts no program but its own executable. */
import assert from "node:assert/strict";
import { listNetns } from "../../ffi/netns.ts";
import { findLab, listProcesses } from "../../mod/lab/record.ts";
import { layout } from "../../mod/lab/layout.ts";
import { mustIp, mustPrefix, prefixContains } from "../../mod/net/mod.ts";
import { identify } from "../../ffi/process.ts";
import { binary, labName, pause, until } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

function tortie(...args: string[]): Deno.ChildProcess {
  return new Deno.Command(binary(), { args, stdout: "piped", stderr: "piped" }).spawn();
}

async function run(...args: string[]) {
  const { code, stdout, stderr } = await tortie(...args).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

const traces = (lab: string) => listNetns().filter((name) => name.startsWith(`tortie-${lab}-`));

Deno.test("lab down cleans up after a lab up that was killed with -9", options, async () => {
  const name = labName();
  try {
    const up = tortie("lab", "up", "--lab", name, "--nodes", "2");
    await until("a node has begun", 10_000, () => traces(name).length >= 2);
    await pause(30);
    up.kill("SIGKILL");
    await up.output();
    const processes = Object.values(findLab(name)?.processes ?? {});
    const { code } = await run("lab", "down", "--lab", name);
    assert.equal(code, 0);
    assert.deepEqual(traces(name), []);
    assert.equal(findLab(name), undefined);
    for (const p of processes) assert.notEqual(identify(p.pid)?.startTime, p.startTime);
    assert.equal((await run("lab", "down", "--lab", name)).code, 0, "twice is no error");
  } finally {
    await run("lab", "down", "--lab", name);
  }
});

Deno.test(
  "a demo that is stopped while its lab comes up leaves nothing behind",
  options,
  async () => {
    const demo = tortie("lab", "demo");
    const name = `demo${demo.pid}`;
    await until("a node has begun", 10_000, () => traces(name).length >= 2);
    demo.kill("SIGINT");
    const { code, stderr } = await demo.output();
    assert.equal(code, 1);
    assert.match(new TextDecoder().decode(stderr), /stopped by a signal/);
    assert.deepEqual(traces(name), []);
    assert.deepEqual(listProcesses(layout(name, []).directory), []);
  },
);

Deno.test("a demo whose reader goes away leaves nothing behind", options, async () => {
  const demo = tortie("lab", "demo");
  const name = `demo${demo.pid}`;
  const reader = demo.stdout.getReader();
  await reader.read();
  await reader.cancel();
  // A pipe that nobody reads any more ends the demo with its next words.
  const { code } = await demo.status;
  assert.equal(code, 141);
  assert.match(await new Response(demo.stderr).text(), /nobody reads the output any more/);
  assert.deepEqual(traces(name), []);
  assert.deepEqual(listProcesses(layout(name, []).directory), []);
});

Deno.test(
  "a demo says at once where no BIRD can be, and in its help what it shows",
  options,
  async () => {
    for (
      const [path, words] of [
        ["/nonexistent", /there is no program at \/nonexistent; install BIRD 2/],
        ["bird", /"bird" is not the path of a program; give BIRD's, as \/usr\/sbin\/bird/],
      ] as const
    ) {
      const { code, stdout, stderr } = await run("lab", "demo", "--bird", path);
      assert.deepEqual([code, stdout], [1, ""]);
      assert.match(stderr, words);
    }
    const { stdout } = await run("lab", "demo", "--help");
    for (const word of ["BIRD", "VXLAN", "IPv6"]) assert.ok(stdout.includes(word), word);
  },
);

Deno.test("the lab's commands do what they say, and say what is wrong", options, async () => {
  const name = labName();
  const lab = (...args: string[]) => run("lab", args[0], "--lab", name, ...args.slice(1));
  const file = await Deno.makeTempFile({ suffix: ".yaml" });
  try {
    assert.match((await lab("pods")).stderr, /is not up; start it with: tortie lab up/);
    assert.equal((await lab("up", "--nodes", "x")).code, 2);
    assert.match((await lab("up", "--subnets", "2,zero")).stderr, /is not a number of nodes/);
    assert.equal((await lab("up", "--nodes", "1")).code, 0);
    assert.match((await lab("up", "--nodes", "1")).stderr, /is up already/);
    await Deno.writeTextFile(
      file,
      "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: db}\nspec:\n  replicas: 2\n" +
        "  template:\n    spec: {containers: [{name: c, ports: [{containerPort: 80}]}]}\n",
    );
    const ran = await lab("run", "-f", file);
    assert.match(ran.stdout, /default\/db-0 on node1: \d/);
    assert.match(ran.stdout, /default\/db-1 on node1: \d/);
    const exec = await lab("exec", "db-0", "--", "ip", "-br", "addr", "show", "eth0");
    assert.match(exec.stdout, /eth0.*UP.*\/32/);
    assert.equal((await lab("exec", "db-0", "--", "sh", "-c", "exit 7")).code, 7);
    assert.match((await lab("exec", "nobody", "--", "true")).stderr, /no pod "default\/nobody"/);
    assert.match((await lab("exec", "db-0", "--", "no-such")).stderr, /no program "no-such"/);
    const again = await lab("delete", "db-0");
    assert.match(again.stdout, /default\/db-0 deleted\ndefault\/db-0 on node1/);
    assert.match((await lab("run", "-f", file)).stderr, /"default\/db" runs already/);
    assert.match((await lab("pods")).stdout, /db-1\s+node1/);
  } finally {
    await Deno.remove(file);
    await run("lab", "down", "--lab", name);
  }
  assert.deepEqual(traces(name), []);
});

/** A pod's manifest; `node` is the one that it asks for. */
const podOn = (name: string, node?: string) =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name },
    spec: { nodeName: node, containers: [{ name: "c" }] },
  });

const space = (name: string) =>
  JSON.stringify({ apiVersion: "v1", kind: "Namespace", metadata: { name } });

Deno.test(
  "lab run reads files and directories, and checks all before it starts any",
  options,
  async () => {
    const name = labName();
    const lab = (...args: string[]) => run("lab", args[0], "--lab", name, ...args.slice(1));
    const folder = await Deno.makeTempDir();
    const write = async (file: string, ...documents: string[]) => {
      await Deno.writeTextFile(`${folder}/${file}`, documents.join("\n---\n"));
      return `${folder}/${file}`;
    };
    try {
      const up = await lab("up", "--nodes", "1", "--env", "CALICO_IPV4POOL_CIDR=10.50.0.0/16");
      assert.equal(up.code, 0, up.stderr);
      assert.match((await lab("up")).stderr, new RegExp(`tortie lab down --lab ${name}`));

      const missing = await lab("run", "-f", `${folder}/none.yaml`);
      assert.match(missing.stderr, /^error: .*none\.yaml is not there/);
      const nowhere = await lab(
        "run",
        "-f",
        await write("x.yaml", podOn("a"), podOn("b", "node9")),
      );
      assert.match(nowhere.stderr, /^error: the lab has no node "node9"/);
      const twice = await lab("run", "-f", await write("x.yaml", podOn("a"), podOn("a")));
      assert.match(twice.stderr, /^error: the pod "default\/a" is there twice/);
      const bad = `{"apiVersion":"projectcalico.org/v3","kind":"IPPool","metadata":{"name":"p"},` +
        `"spec":{"cidr":"nonsense"}}`;
      const refused = await lab("run", "-f", await write("x.yaml", bad, podOn("a")));
      assert.match(refused.stderr, /^error: (?!error)/);
      assert.equal((await lab("pods", "-o", "json")).stdout.trim(), "[]", "nothing was started");

      const others = await lab("run", "-f", await write("x.yaml", space("n1"), space("n2")));
      assert.match(others.stdout, /^applied 2 other objects\nno pod to run\n$/);
      await write("x.yaml", space("n3"));
      await write("y.yaml", podOn("a", "node1"));
      const ran = await lab("run", "-f", folder);
      assert.equal(ran.code, 0, ran.stderr);
      const [, address] = /default\/a on node1: (\S+)/.exec(ran.stdout) ?? [];
      assert.ok(address, ran.stdout);
      assert.ok(prefixContains(mustPrefix("10.50.0.0/16"), mustIp(address)), address);
      assert.match((await lab("run", "-f", folder)).stderr, /"default\/a" runs already/);
    } finally {
      await Deno.remove(folder, { recursive: true });
      await run("lab", "down", "--lab", name);
    }
    assert.deepEqual(traces(name), []);
  },
);

Deno.test("a lab whose record is damaged says so, and is taken down whole", options, async () => {
  const name = labName();
  const { directory } = layout(name, []);
  try {
    assert.equal((await run("lab", "up", "--lab", name, "--nodes", "1")).code, 0);
    const processes = listProcesses(directory);
    assert.equal(processes.length, 2, "the datastore and one node");
    for (const damage of ["", "{}", "null", '{"layout": {"na']) {
      await Deno.writeTextFile(`${directory}/lab.json`, damage);
      const { stderr } = await run("lab", "pods", "--lab", name);
      assert.match(stderr, /^error: \S+lab\.json is damaged; .*tortie lab down --lab/);
    }
    const down = await run("lab", "down", "--lab", name);
    assert.equal(down.code, 0, down.stderr);
    for (const p of processes) assert.notEqual(identify(p.pid)?.startTime, p.startTime);
    await assert.rejects(Deno.stat(directory), Deno.errors.NotFound);
  } finally {
    await run("lab", "down", "--lab", name);
  }
  assert.deepEqual(traces(name), []);
});
