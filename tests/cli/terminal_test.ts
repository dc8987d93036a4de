/** The built executable at a terminal (script(1) makes one), and not at one. */
import assert from "node:assert/strict";

const BINARY = Deno.env.get("TORTIE_BINARY") ??
  new URL("../../dist/tortie", import.meta.url).pathname;

async function screen(words: string[], env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await new Deno.Command(words[0], {
    args: words.slice(1),
    env: { PATH: "/usr/bin:/bin", TERM: "xterm", TORTIE_RUN_DIR: "/nowhere", ...env },
    clearEnv: true,
    stdin: "null",
  }).output();
  return new TextDecoder().decode(stdout);
}

Deno.test("errors are red at a terminal, but not with NO_COLOR, and not in a pipe", async () => {
  const terminal = ["script", "-qec", `${BINARY} apply`, "/dev/null"];
  const red = (await screen(terminal)).startsWith("\x1b[31merror:\x1b[39m apply needs -f");
  assert.ok(red);
  assert.match(await screen(terminal, { NO_COLOR: "1" }), /^error: apply needs -f/);
  assert.match(await screen(["sh", "-c", `${BINARY} apply 2>&1`]), /^error: apply needs -f/);
});

/** So many sets, applied to a new store at a terminal and in a pipe. */
async function applied(count: number): Promise<{ shown: string; piped: string }> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  try {
    const sets = Array.from({ length: count }, (_, i) => ({
      apiVersion: "projectcalico.org/v3",
      kind: "GlobalNetworkSet",
      metadata: { name: `set-${i}` },
    }));
    await Deno.writeTextFile(`${folder}/sets.json`, JSON.stringify(sets));
    const apply = (store: string) =>
      `${BINARY} apply --store kv:${folder}/${store}.kv -f ${folder}/sets.json`;
    const shown = await screen(["script", "-qec", `stty cols 200; ${apply("a")}`, "/dev/null"]);
    return { shown, piped: await screen(["sh", "-c", `${apply("b")} 2>&1`]) };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("long work says how far it is at a terminal, and leaves nothing behind", async () => {
  // As many as take this machine half a second and more.
  for (let count = 150;; count *= 2) {
    const { shown, piped } = await applied(count);
    const done = `Successfully applied ${count} 'GlobalNetworkSet' resource(s)`;
    assert.equal(piped, `${done}\n`);
    assert.ok(shown.endsWith(`${done}\r\n`), shown);
    if (!shown.includes("\r")) continue;
    if (new RegExp(`\\rapplied \\d+ of ${count} resources\\b[^]*\\r +\\rSucc`).test(shown)) break;
    assert.ok(count < 10_000, shown);
  }
});

Deno.test("a full disk is told in one sentence, wherever the output goes", async () => {
  for (const words of ["--help", "version", "node checksystem"]) {
    const text = await screen(["sh", "-c", `${BINARY} ${words} 2>&1 >/dev/full; echo "rc $?"`]);
    assert.match(text, /^error: standard output cannot be written: No space left .*\nrc 1\n$/);
  }
  // Nobody can be told, but the exit code.
  assert.equal(await screen(["sh", "-c", `${BINARY} apply 2>/dev/full; echo $?`]), "2\n");
});

Deno.test("who is not read to the end has not succeeded", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  // The reader is gone before the first word.
  const ended = async (words: string) => {
    await screen(["bash", "-c", `{ sleep 0.2; ${words}; echo $? >${folder}/rc; } | true`]);
    return await Deno.readTextFile(`${folder}/rc`);
  };
  try {
    const store = `--store kv:${folder}/a.kv`;
    await Deno.writeTextFile(
      `${folder}/set.yaml`,
      "{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: s}}",
    );
    assert.match(
      await screen([BINARY, "apply", "-f", `${folder}/set.yaml`, ...store.split(" ")]),
      /1/,
    );
    for (
      const words of [
        "--help",
        "version --client",
        `get tiers ${store}`,
        `ipam check ${store} -o ${folder}/r.json`,
        "-v",
      ]
    ) assert.equal(await ended(`${BINARY} ${words}`), "141\n", words);
    // One that hears of it, and ends by itself.
    await Deno.symlink(BINARY, `${folder}/calicoctl`);
    const etcd = "DATASTORE_TYPE=etcdv3 ETCD_ENDPOINTS=http://127.0.0.1:1";
    assert.equal(await ended(`${etcd} ${folder}/calicoctl version --poll 1s`), "141\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("standard streams are files of every name that they have", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  const sh = (line: string) => screen(["bash", "-c", `cd ${folder}; ${line}`]);
  try {
    const pool = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, " +
      "spec: {cidr: 10.0.0.0/16}}";
    await Deno.writeTextFile(`${folder}/pool.yaml`, pool);
    const store = `--store kv:${folder}/a.kv`;
    const done = "Successfully applied 1 'IPPool' resource(s)\n";
    for (const name of ["/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"]) {
      const apply = `${BINARY} apply ${store} -f ${name}`;
      assert.equal(await sh(`${apply} <pool.yaml 2>&1`), done, name);
      assert.equal(await sh(`cat pool.yaml | ${apply} 2>&1`), done, name);
    }
    assert.equal(await sh(`${BINARY} apply ${store} -f <(cat pool.yaml) 2>&1`), done);
    const report = await sh(`${BINARY} ipam check ${store} -o /dev/stderr 2>&1 >/dev/null`);
    assert.equal(typeof JSON.parse(report).clusterGUID, "string");
    const again = `${BINARY} ipam release ${store} --force --from-report`;
    await sh(`${BINARY} ipam check ${store} -o r.json`);
    assert.match(await sh(`${again} /dev/stdin <r.json 2>&1`), /didn't contain any leaked IPs/);
    // What is no standard stream and no file is told of in words that are the user's.
    for (
      const [line, message] of [
        [`apply ${store} -f /proc/self/environ`, /^error: \/proc\/self\/environ cannot be read: /],
        [`ipam check ${store} -o /dev/full`, /^error: the report cannot be written to \/dev\/full/],
        [`ipam check ${store} -o /nope/x`, /\/nope\/x: No such file or directory\n/],
        [`apply ${store} -f - </`, /^error: standard input cannot be read: Is a directory\n/],
      ] as const
    ) {
      const text = await sh(`${BINARY} ${line} 2>&1 >/dev/null; echo "rc $?"`);
      assert.match(text, message);
      assert.match(text, /\nrc 1\n$/);
      assert.doesNotMatch(text, /bug|deno|permission|os error/);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
