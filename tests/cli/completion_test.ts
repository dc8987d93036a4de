/**
 * Completion in the shells themselves, with the built executable and a store with names in it: bash's
 * function as readline calls it and in a terminal, zsh in a terminal, fish by its own `complete -C`.
 */
import assert from "node:assert/strict";
import { Cluster, command } from "./harness.ts";

const BINARY = Deno.env.get("TORTIE_BINARY") ??
  new URL("../../dist/tortie", import.meta.url).pathname;

async function installed(shell: string): Promise<boolean> {
  for (const path of [`/usr/bin/${shell}`, `/bin/${shell}`]) {
    if (await Deno.stat(path).then(() => true, () => false)) return true;
  }
  return false;
}

/** Pools `pool-a` and `pool-b`, a policy `web` in the namespace shop. */
async function filled(): Promise<Cluster> {
  const cluster = await Cluster.start();
  const stdin = `
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pool-a}, spec: {cidr: 10.1.0.0/16}}
- {apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: pool-b}, spec: {cidr: 10.2.0.0/16}}
- {apiVersion: v1, kind: Namespace, metadata: {name: shop}}
- {apiVersion: projectcalico.org/v3, kind: NetworkPolicy, metadata: {name: web, namespace: shop}}
`;
  assert.equal((await cluster.run("apply -f -", { stdin })).exit, 0);
  return cluster;
}

async function withShell(
  body: (cluster: Cluster, env: Record<string, string>) => Promise<void>,
): Promise<void> {
  const cluster = await filled();
  try {
    await Deno.mkdir(`${cluster.folder}/bin`);
    for (const name of ["tortie", "calicoctl"]) {
      await Deno.symlink(BINARY, `${cluster.folder}/bin/${name}`);
    }
    await body(cluster, {
      PATH: `${cluster.folder}/bin:/usr/bin:/bin`,
      HOME: cluster.folder,
      TERM: "dumb",
      LC_ALL: "C.UTF-8",
      TORTIE_RUN_DIR: cluster.folder,
      TORTIE_STATE_DIR: cluster.folder,
    });
  } finally {
    await cluster.close();
  }
}

async function output(words: string[], env: Record<string, string>, cwd?: string): Promise<string> {
  const { stdout, stderr, success } = await new Deno.Command(words[0], {
    args: words.slice(1),
    env,
    clearEnv: true,
    cwd,
    stdin: "null",
  }).output();
  const text = new TextDecoder().decode(stderr);
  assert.ok(success, `${words.join(" ")}: ${text}`);
  assert.equal(text, "", words.join(" "));
  return new TextDecoder().decode(stdout);
}

/** Types into a shell in a terminal (script(1) makes one) until the screen shows what is awaited. */
async function type(
  shell: string,
  env: Record<string, string>,
  keys: readonly (readonly [keys: string, awaited: RegExp])[],
): Promise<void> {
  const child = new Deno.Command("script", {
    args: ["-qfec", shell, "/dev/null"],
    env,
    clearEnv: true,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const late = setTimeout(() => child.kill("SIGKILL"), 60_000);
  try {
    for (const [text, awaited] of keys) {
      await writer.write(new TextEncoder().encode(text));
      let screen = "";
      while (!awaited.test(screen)) {
        const { value, done } = await reader.read();
        assert.ok(!done, `${shell}: after ${JSON.stringify(text)}: ${JSON.stringify(screen)}`);
        screen += value;
      }
    }
    await writer.write(new TextEncoder().encode("\x15exit\n"));
    while (!(await reader.read()).done);
  } finally {
    clearTimeout(late);
    await writer.close().catch(() => {});
    await child.status;
  }
}

function shellTest(shell: string, name: string, body: () => Promise<void>, there: boolean): void {
  const why = there ? "" : ` (skipped: ${shell} is not installed)`;
  Deno.test({ name: `${shell}: ${name}${why}`, ignore: !there, fn: body });
}

const [zsh, fish] = [await installed("zsh"), await installed("fish")];

Deno.test("names come out of the datastore, in the namespace that is meant", async () => {
  const cluster = await filled();
  try {
    const lines = async (...words: string[]) => {
      const { exit, out, err } = await cluster.run(["__complete", "--", ...words]);
      assert.deepEqual([exit, err], [0, ""]);
      return out.split("\n").filter((line) => line !== "").map((line) => line.split("\t")[0]);
    };
    assert.deepEqual(await lines("get", "pools", ""), ["pool-a", "pool-b"]);
    assert.deepEqual(await lines("delete", "ippool", "pool-a", "p"), ["pool-b"]);
    assert.deepEqual(await lines("get", "np", ""), []);
    assert.deepEqual(await lines("get", "np", "-n", "shop", ""), ["web"]);
    assert.deepEqual(await lines("get", "np", "-A", ""), ["web"]);
    assert.deepEqual(await lines("get", "np", "-n", ""), ["default", "shop"]);
    assert.deepEqual(await lines("get", "np", "--namespace=s"), ["--namespace=shop"]);
    // No Namespace object says it here, only the policy in it.
    await cluster.store.delete("/tortie/kubernetes/namespaces/shop");
    assert.deepEqual(await lines("get", "np", "-n", ""), ["default", "shop"]);
    const again = await cluster.run(["__complete", "--", "get", "ippool", "p"], {
      name: "calicoctl",
    });
    assert.match(again.out, /^pool-a\t\npool-b\t\n$/);
  } finally {
    await cluster.close();
  }
});

Deno.test("a datastore that is not there or does not answer gives no names, soon and silently", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  const path = `${folder}/tortie.sock`;
  const env = { TORTIE_RUN_DIR: folder, TORTIE_STATE_DIR: folder };
  const words = ["__complete", "--", "get", "ippool", ""];
  assert.deepEqual(await command(words, { env }), { exit: 0, out: "", err: "" });
  const made = await command([...words.slice(0, -1), "--store", `kv:${folder}/new.kv`, ""], {
    env,
  });
  assert.deepEqual(made, { exit: 0, out: "", err: "" });
  await assert.rejects(Deno.stat(`${folder}/new.kv`), "completion made a store");
  const mute = new Deno.Command(BINARY, { args: words, env: { ...env, PATH: "" }, clearEnv: true });
  // Accepts, and says nothing.
  const listener = Deno.listen({ transport: "unix", path });
  try {
    const { success, stdout, stderr } = await mute.output();
    assert.deepEqual([success, stdout.length, stderr.length], [true, 0, 0]);
  } finally {
    listener.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the scripts of all shells, and none of others", async () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    for (const name of ["tortie", "calicoctl"]) {
      const { exit, out, err } = await command(["completion", shell], { name });
      assert.deepEqual([exit, err], [0, ""]);
      assert.doesNotMatch(out, /\beval\b/);
      assert.ok(out.includes(name) && !out.includes("undefined"));
    }
  }
  const other = await command(["completion", "fsih"]);
  assert.equal(other.exit, 2);
  assert.match(other.err, /did you mean fish\?.*want bash, zsh, fish/);
});

shellTest("bash", "as readline calls its function", () =>
  withShell(async (cluster, env) => {
    const script = 'source <("$1" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); ' +
      '_$1; printf "%s\\n" "${COMPREPLY[@]}"';
    const words = async (...line: string[]) =>
      (await output(["bash", "--norc", "-c", script, "bash", ...line], env, cluster.folder))
        .trim().split("\n");
    assert.deepEqual(await words("tortie", "get", "ippo"), ["ippool"]);
    assert.deepEqual(await words("tortie", "get", "ippool", ""), ["pool-a", "pool-b"]);
    // Readline takes these apart, and replaces what is behind the = alone.
    assert.deepEqual(await words("tortie", "get", "np", "--output", "=", "js"), ["json"]);
    assert.deepEqual(await words("tortie", "get", "np", "--output", "="), [
      ...["ps", "wide", "yaml", "json", "name", "custom-columns="],
    ]);
    assert.deepEqual(await words("tortie", "get", "np", "--namespace", "=", "s"), ["shop"]);
    assert.deepEqual(await words("tortie", "get", "np", "-o", "ya"), ["yaml"]);
    assert.deepEqual(await words("calicoctl", "datastore", "migrate", "un"), ["unlock"]);
    await words("tortie", "get", `$(touch ${cluster.folder}/bad)`, "");
    await words("tortie", "get", "`touch bad`");
    await words("tortie", "get", "'; touch bad; '");
    await assert.rejects(Deno.stat(`${cluster.folder}/bad`));
  }), await installed("bash"));

shellTest("bash", "pressed through in a terminal", () =>
  withShell(async (cluster, env) => {
    await type("bash --norc --noprofile -i", env, [
      ["PS1=; source <(tortie completion bash); echo rea''dy\n", /ready/],
      ["tortie get ippo\t", /tortie get ippool /],
      ["pool-\t\t", /pool-a\s+pool-b/],
      [`\x15tortie get $(touch ${cluster.folder}/bad) \t-\x15echo do''ne\n`, /done/],
      ["tortie apply -f /etc/hostn\t", /\/etc\/hostname/],
      ["\x15tortie get np --output=wi\t", /--output=wide/],
    ]);
    await assert.rejects(Deno.stat(`${cluster.folder}/bad`));
  }), await installed("bash"));

shellTest("zsh", "pressed through in a terminal", () =>
  withShell(async (cluster, env) => {
    await type("zsh -f -i", env, [
      [
        "PS1=; autoload -U compinit; compinit -u -D; source <(tortie completion zsh); " +
        "setopt no_list_ambiguous; echo rea''dy\n",
        /ready/,
      ],
      ["tortie get ippo\t", /tortie get ippool/],
      ["pool-\t\t", /pool-a[^]*pool-b/],
      [`\x15tortie get $(touch ${cluster.folder}/bad) \t-\x15echo do''ne\n`, /done/],
      ["tortie apply -f /etc/hostn\t", /\/etc\/hostname/],
      ["\x15tortie get np --output=wi\t", /--output=wide/],
    ]);
    await assert.rejects(Deno.stat(`${cluster.folder}/bad`));
  }), zsh);

shellTest("fish", "by its own completion of a line", () =>
  withShell(async (cluster, env) => {
    const words = async (line: string) =>
      (await output(
        [
          "fish",
          "--no-config",
          "-c",
          'tortie completion fish | source; complete -C "$argv[1]"',
          line,
        ],
        env,
        cluster.folder,
      )).trim().split("\n").map((candidate) => candidate.split("\t")[0]).sort();
    assert.deepEqual(await words("tortie get ippo"), ["ippool"]);
    assert.deepEqual(await words("tortie get ippool "), ["pool-a", "pool-b"]);
    assert.deepEqual(await words("tortie get np -n shop "), ["web"]);
    assert.deepEqual(await words("tortie get np --output=js"), ["--output=json"]);
    assert.deepEqual(await words("tortie ipam sh"), ["show"]);
    assert.deepEqual(await words("tortie apply -f /etc/hostn"), ["/etc/hostname"]);
    await words(`tortie get (touch ${cluster.folder}/bad) `);
    await words(`tortie get $(touch ${cluster.folder}/bad) `);
    await assert.rejects(Deno.stat(`${cluster.folder}/bad`));
  }), fish);
