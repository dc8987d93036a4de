/**
 * How tests start modules of this tree: by `tests/tools/run_module.ts`, which names the lock file. One
 * that asks the registry passes where somebody asked before, and fails on a new machine.
 */
import assert from "node:assert/strict";

const TESTS = new URL("../", import.meta.url);
const ALLOWED = ["tools/run_module.ts", "rules/processes_test.ts"];

/** Deno's flags after a literal `"run"`; those of the first list need no lock file, or have it. */
export function runsUnlocked(text: string): boolean {
  const words = /"run",((?:\s*(?:"-[^"]*"|`-[^`]*`|\.\.\.[\w[\]", -]+),)+)/g;
  return [...text.matchAll(words)].some(([, flags]) =>
    !/"--no-(lock|config)"|MODULE_FLAGS/.test(flags) && /"(-A|--allow-\S+|--no-check)"/.test(flags)
  );
}

Deno.test("tests start modules of this tree with the lock file", async () => {
  const wrong: string[] = [];
  const walk = async (folder: string) => {
    for await (const { name, isDirectory } of Deno.readDir(new URL(folder || ".", TESTS))) {
      const path = `${folder}${name}`;
      if (isDirectory) await walk(`${path}/`);
      else if (name.endsWith(".ts") && !ALLOWED.includes(path)) {
        if (runsUnlocked(await Deno.readTextFile(new URL(path, TESTS)))) wrong.push(path);
      }
    }
  };
  await walk("");
  assert.deepEqual(wrong, []);
});

Deno.test("a module started without the lock file is seen", () => {
  assert.ok(runsUnlocked(`args: ["run", "-A", "--no-check", file]`));
  assert.ok(runsUnlocked(`[\n  "run",\n  "-A",\n  file,\n]`));
  assert.ok(runsUnlocked('["run", "--no-check", `--config=${ROOT}deno.json`, ...MORE, file]'));
  assert.ok(!runsUnlocked(`args: ["run", "--no-lock", "-A", file]`));
  assert.ok(!runsUnlocked(`args: [...RUN_MODULE, file]`));
});
