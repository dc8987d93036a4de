import assert from "node:assert/strict";
import { Cluster, command, test } from "./harness.ts";
import { COMMANDS } from "../../mod/cli/commands.ts";

Deno.test("without words it tells what it can do", async () => {
  const { exit, out } = await command([]);
  assert.equal(exit, 0);
  for (const { name } of COMMANDS) assert.ok(out.includes(name.split(" ")[0]), name);
});

Deno.test("every command has help with its options, and examples that it understands", async () => {
  for (const spec of COMMANDS) {
    const words = spec.name.split(" ");
    const { exit, out, err } = await command([...words, "--help"]);
    assert.deepEqual([exit, err], [0, ""], spec.name);
    for (const option of spec.options ?? []) {
      assert.equal(
        out.includes(`  ${option.flags} `),
        !option.hidden,
        `${spec.name} ${option.flags}`,
      );
    }
    for (const [, line] of spec.examples ?? []) {
      assert.ok(out.includes(`tortie ${line}`), line);
      // It may take another command before, as a lock.
      const [whose] = COMMANDS.filter(({ name }) => `${line} `.startsWith(`${name} `))
        .toSorted((a, b) => b.name.length - a.name.length);
      assert.ok(whose, line);
      for (const flag of line.match(/(?<= )--[a-z-]+/g) ?? []) {
        const known = whose.options?.some((option) => option.flags.includes(flag));
        assert.ok(known, `${line}: ${flag}`);
      }
    }
    const examples = spec.examples ?? [];
    const own = examples.some(([, line]) => line.startsWith(spec.name));
    assert.ok(own || examples.length === 0, spec.name);
    assert.equal(typeof (await spec.load()).run, "function");
  }
});

Deno.test("slips are usage errors with the nearest word", async () => {
  const cases: [words: string[], message: RegExp][] = [
    [["gett", "ippool"], /unknown command 'gett' \(did you mean get\?\)/],
    [["get", "ippool", "--outptu", "json"], /unknown option '--outptu'[^]*Did you mean --output\?/],
    [["-m"], /unknown option '-m'/],
    [["datastore", "lock"], /'datastore lock' \(did you mean datastore migrate lock\?\)/],
    [["checksystem"], /unknown command 'checksystem' \(did you mean node checksystem\?\)/],
    [["ipam", "shwo"], /unknown command 'ipam shwo' \(did you mean ipam show\?\)/],
    [["label", "node"], /missing required argument 'name'/],
    [["version", "now"], /too many arguments|excess/],
  ];
  for (const [words, message] of cases) {
    const { exit, out, err } = await command(words);
    assert.deepEqual([exit, out], [2, ""], words.join(" "));
    assert.match(err, message);
  }
});

Deno.test("version says what it is, for people and programs, without a datastore", async () => {
  const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
  const json = JSON.parse((await command(["version", "-o", "json"], { env })).out);
  assert.match(json.version, /^\d+\.\d+\.\d+/);
  assert.match((await command(["version"], { env })).out, /^Client Version: +\d/);
  assert.match((await command(["--version"])).out, /^\d+\.\d+\.\d+/);
});

Deno.test("version tells of a named datastore that cannot be had, behind the executable's own", async () => {
  const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
  const places = [["--store", "etcd:http://127.0.0.1:1"], ["--store", "/nowhere/x.sock"]];
  for (const place of places) {
    for (const format of ["text", "json", "yaml"]) {
      const { exit, out, err } = await command(["version", "-o", format, ...place], { env });
      assert.equal(exit, 3, format);
      assert.match(out, /\d+\.\d+\.\d+/);
      assert.match(err, /^error: the datastore cannot be/);
    }
    assert.equal((await command(["version", "--client", ...place], { env })).exit, 0);
  }
});

Deno.test("help for what is no command is a usage error with the nearest word", async () => {
  const cases: [words: string, says: RegExp][] = [
    ["foo", /^error: unknown command 'foo'; `tortie --help` lists/],
    ["gte", /^error: unknown command 'gte' \(did you mean get\?\)/],
    [
      "ipam sho",
      /^error: unknown command 'ipam sho' \(did you mean ipam show\?\); `tortie ipam --help`/,
    ],
    ["datastore migrate exprt", /did you mean datastore migrate export\?/],
  ];
  for (const [words, says] of cases) {
    const { exit, out, err } = await command(["help", ...words.split(" ")]);
    assert.deepEqual([exit, out], [2, ""], words);
    assert.match(err, says);
  }
  for (const words of ["", "get", "ipam", "ipam show", "datastore migrate export", "help"]) {
    const { exit, err } = await command(["help", ...words.split(" ").filter(Boolean)]);
    assert.deepEqual([exit, err], [0, ""], words);
  }
  const [asked, flagged] = [["help", "ipam", "show"], ["ipam", "show", "--help"]];
  assert.equal((await command(asked)).out, (await command(flagged)).out);
});

Deno.test("a datastore out of reach is exit code 3 and says what was tried", async () => {
  const env = { TORTIE_RUN_DIR: "/nowhere/run", TORTIE_STATE_DIR: "/nowhere/lib" };
  const nothing = await command(["get", "ippool"], { env });
  assert.equal(nothing.exit, 3);
  assert.match(nothing.err, /\/nowhere\/run\/tortie\.sock \(the node's socket\): no such socket/);
  assert.match(nothing.err, /\/nowhere\/lib\/store\.kv \(the embedded store\): no such file/);
  assert.match(nothing.err, /Start `tortie node run`/);
  const named = await command(["get", "ippool", "--store", "/nowhere/x.sock"], { env });
  assert.equal(named.exit, 3);
  assert.match(named.err, /\/nowhere\/x\.sock \(--store\)/);
  for (const words of [["node", "status"], ["bgp", "peers"], ["bgp", "routes"]]) {
    const answer = await command(words, { env });
    assert.equal(answer.exit, 3, words.join(" "));
    assert.match(answer.err, /does not answer at \/nowhere\/run\/tortie\.sock/);
  }
});

Deno.test("a datastore that is named wrongly is told, and not passed over", async () => {
  const cases: [words: string[], env: Record<string, string>, message: RegExp][] = [
    [[], { DATASTORE_TYPE: "zookeeper" }, /"zookeeper" of DATASTORE_TYPE is not known; use etcdv3/],
    [[], { DATASTORE_TYPE: "etcdv3" }, /no endpoint is named; set ETCD_ENDPOINTS/],
    [[], { ETCD_ENDPOINTS: "https://a:1/x" }, /"https:\/\/a:1\/x" of ETCD_ENDPOINTS has a path/],
    [["--store", "ftp://x"], {}, /"ftp:\/\/x" of --store is not understood/],
  ];
  for (const [words, env, message] of cases) {
    const answer = await command(["get", "ippool", ...words], { env });
    assert.equal(answer.exit, 2);
    assert.match(answer.err, message);
  }
});

test("where the store is: flag over environment over configuration over the node's socket", async (cluster) => {
  const other = await Cluster.start();
  try {
    const set = (name: string) => ({
      stdin:
        `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: ${name}}}`,
    });
    await cluster.run("apply -f -", set("mine"));
    await other.run("apply -f -", set("others"));
    const socket = `${other.folder}/tortie.sock`;
    const config = await cluster.file("config.yaml", `store: ${socket}\n`);
    const names = async (words: string[], env = {}) =>
      (await cluster.run(["get", "gnetsets", "-o", "name", ...words], { env })).out;
    assert.equal(await names([]), "globalnetworkset/mine\n");
    assert.equal(await names(["--store", socket]), "globalnetworkset/others\n");
    assert.equal(await names(["--store", `unix:${socket}`]), "globalnetworkset/others\n");
    assert.equal(await names([], { TORTIE_STORE: socket }), "globalnetworkset/others\n");
    assert.equal(await names(["-c", config]), "globalnetworkset/others\n");
    const mine = `${cluster.folder}/tortie.sock`;
    assert.equal(await names(["--store", mine, "-c", config]), "globalnetworkset/mine\n");
    const calicoctl = await cluster.file("calicoctl.cfg", "spec: {datastoreType: etcdv3}\n");
    const refused = await cluster.run(["get", "node", "-c", calicoctl]);
    assert.match(refused.err, /calicoctl\.cfg says etcdv3, but no endpoint is named/);
    assert.equal((await cluster.run("get node -c /nowhere.yaml")).exit, 2);
    // What the command line says counts before any variable, and -c must name something.
    const own = await cluster.file("own.yaml", `store: ${mine}\n`);
    for (const name of ["tortie", "calicoctl"]) {
      const env = { TORTIE_STORE: socket, ETCD_ENDPOINTS: "http://127.0.0.1:1" };
      const get = async (...words: string[]) =>
        await cluster.run(["get", "gnetsets", "-o", "name", ...words], { env, name });
      assert.equal((await get("-c", own)).out, "globalnetworkset/mine\n");
      assert.equal((await get()).out, "globalnetworkset/others\n");
      const called = name === "tortie" ? 2 : 1;
      const unnamed = await get("-c", "");
      assert.deepEqual([unnamed.exit, unnamed.out], [called, ""]);
      const absent = await get("-c", "/nowhere.yaml");
      assert.deepEqual([absent.exit, absent.out], [called, ""]);
      assert.match(absent.err, /\/nowhere\.yaml cannot be read/);
      const empty = await get("-c", await cluster.file("empty.cfg", "# nothing\n"));
      assert.deepEqual([empty.exit, empty.out], [called, ""]);
      assert.match(empty.err, /empty\.cfg names no datastore; want store: WHERE/);
      const below = await cluster.file("below.cfg", `spec:\n  store: ${mine}\n`);
      assert.match(
        (await get("-c", below)).err,
        /below\.cfg has the unknown key spec\.store; tortie's own store stands beside spec/,
      );
      const write = await cluster.run(["apply", "-f", "-", "-c", own], {
        ...set("written"),
        env,
        name,
      });
      assert.equal(write.exit, 0);
      assert.match((await get("-c", own)).out, /written/);
      assert.doesNotMatch((await get()).out, /written/);
      assert.equal((await cluster.run("delete globalnetworkset written")).exit, 0);
    }
    for (const flag of ["-c", "--store", "--context"]) {
      const empty = await cluster.run(["apply", "-f", "-", flag, ""], set("lost"));
      assert.equal(empty.exit, 2, flag);
      assert.match(empty.err, /^error: --(config|store|context) is empty; say which datastore/);
    }
    assert.doesNotMatch((await cluster.run("get gnetsets -o name")).out, /lost/);
    const two = await cluster.run(["get", "node", "-c", own, "--context", "prod"]);
    assert.equal(two.exit, 2);
    assert.match(two.err, /--context prod is one of the Kubernetes API, and .* names/);
    assert.match(
      (await command(["get", "--help"])).out,
      /--context <name> +the Kubernetes datastore/,
    );
    assert.match(
      (await command(["--help"])).out,
      /--store WHERE, -c FILE, --context NAME,\nTORTIE_/,
    );
  } finally {
    await other.close();
  }
});

Deno.test("an option that is given twice is refused, unless it makes a list", async () => {
  const cases: [line: string, message: RegExp][] = [
    [
      "ipam release --ip 1.2.3.4 --ip 1.2.3.5",
      /--ip is given twice, "1.2.3.4" and "1.2.3.5"; give/,
    ],
    ["patch node a -p {} -p []", /--patch is given twice, "{}" and "\[\]"/],
    ["get nodes --store a --store=b", /--store is given twice, "a" and "b"/],
    ["get np -n a --namespace a", /--namespace is given twice/],
    ["get nodes -o yaml -ojson", /--output is given twice/],
    ["get nodes -c a --config b", /--config is given twice/],
  ];
  for (const [line, message] of cases) {
    const { exit, out, err } = await command(line.split(" "));
    assert.deepEqual([exit, out], [2, ""], line);
    assert.match(err, message);
  }
  const files = await command("validate -f /nowhere/a -f /nowhere/b".split(" "));
  assert.match(files.err, /\/nowhere\/a is not there/);
});

Deno.test("a store's file is made by what fills it, never by a slip in what reads", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  try {
    const env = { TORTIE_STORE: `kv:${folder}/typo.kv` };
    for (const words of [["get", "ippools"], ["delete", "ippool", "p"], ["ipam", "check"]]) {
      const { exit, err } = await command(words, { env });
      assert.equal(exit, 3);
      assert.match(err, /typo\.kv \(TORTIE_STORE\): no such file/);
    }
    assert.deepEqual([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

test("calicoctl names no command that it does not have", async (cluster) => {
  const env = { TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" };
  const { exit, err } = await cluster.run("get ippools", { env, name: "calicoctl" });
  assert.equal(exit, 1);
  assert.match(err, /Name a datastore with -c FILE or in the environment/);
  assert.doesNotMatch(err, /--store|datastore serve/);
});

Deno.test("an embedded store is opened where nobody serves it, and closed again", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  try {
    const env = { TORTIE_RUN_DIR: folder, TORTIE_STATE_DIR: folder };
    const stdin = "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: s}}";
    const store = ["--store", `kv:${folder}/store.kv`];
    assert.equal((await command(["apply", "-f", "-", ...store], { env, stdin })).exit, 0);
    assert.equal(
      (await command(["get", "gnetsets", "-o", "name"], { env })).out,
      "globalnetworkset/s\n",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
