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

Deno.test("long work says how far it is at a terminal, and leaves nothing behind", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
  try {
    const sets = Array.from({ length: 2000 }, (_, i) => ({
      apiVersion: "projectcalico.org/v3",
      kind: "GlobalNetworkSet",
      metadata: { name: `set-${i}` },
      spec: { nets: ["10.0.0.0/8"] },
    }));
    await Deno.writeTextFile(`${folder}/sets.json`, JSON.stringify(sets));
    const apply = `${BINARY} apply --store kv:${folder}/s.kv -f ${folder}/sets.json`;
    const shown = await screen(["script", "-qec", `stty cols 200; ${apply}`, "/dev/null"]);
    assert.match(shown, /\rapplied \d+ of 2000 resources/);
    assert.match(shown, /\r +\rSuccessfully applied 2000 'GlobalNetworkSet' resource\(s\)\r\n$/);
    await Deno.writeTextFile(`${folder}/sets.json`, JSON.stringify(sets.slice(0, 600)));
    const piped = await screen(["sh", "-c", `${apply} 2>&1`]);
    assert.equal(piped, "Successfully applied 600 'GlobalNetworkSet' resource(s)\n");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
