/**
 * Who may import whom. The rooms of the house and their doors are this table; the test reads every
 * import in the text of every source file and names each that goes through a wall.
 */
import assert from "node:assert/strict";

const ROOT = new URL("../../", import.meta.url);

interface Room {
  /** Rooms whose values it may import; a trailing "!" means lazily, by `import()`, alone. */
  imports: string[];
  /** Rooms of which it may know the types, never a value. */
  types?: string[];
  /** npm packages (and node: modules) that it may use. */
  packages?: string[];
}

const BELOW = ["mod/rpc", "mod/store", "mod/model", "mod/selector", "mod/net", "mod/ipam"];

const ROOMS: Record<string, Room> = {
  "main.ts": { imports: ["cni!", "mod/cli!", "mod/node!", "mod/controllers!", "installer!"] },
  "mod/net": { imports: [] },
  "mod/selector": { imports: [], packages: ["node:crypto"] },
  "mod/rpc": { imports: [] },
  "mod/model": { imports: ["mod/net", "mod/selector"], packages: ["valibot"] },
  "mod/store": {
    imports: ["mod/model", "mod/rpc", "mod/net"],
    packages: ["valibot", "yaml", "node:crypto", "node:timers"],
  },
  "mod/ipam": { imports: ["mod/store", "mod/model", "mod/net", "mod/selector"] },
  "ffi": { imports: ["mod/net"] },
  "cni": {
    imports: ["mod/ipam", "mod/store", "mod/model", "mod/net", "mod/rpc", "ffi"],
    packages: ["node:crypto"],
  },
  "policy": {
    imports: ["mod/model", "mod/selector", "mod/net"],
    types: ["ffi"],
    packages: ["node:crypto"],
  },
  "bgp": { imports: ["mod/net"], types: ["ffi"] },
  "mod/node": {
    imports: ["bgp", "policy", "cni", "ffi", ...BELOW],
    packages: ["@logtape/logtape", "node:crypto", "node:timers"],
  },
  "mod/controllers": { imports: ["bgp", "policy", "cni", "ffi", "mod/node", ...BELOW] },
  "mod/lab": {
    imports: ["bgp", "policy", "cni", "ffi", "mod/node", "mod/cli", ...BELOW],
    packages: ["yaml", "node:crypto", "picocolors"],
  },
  "mod/cli": {
    imports: ["bgp", "policy", "cni", "ffi", "mod/node", "mod/lab", "mod/controllers", "installer"]
      .concat(BELOW),
    packages: ["commander", "yaml", "picocolors", "string-width"],
  },
  "installer": {
    imports: ["bgp", "policy", "cni", "ffi", "mod/node", "mod/cli", "mod/lab", ...BELOW],
    packages: ["yaml"],
  },
};

/** Code that runs only where people build and test is free to use everything. */
const FREE = /(^|\/)tests\/|_test\.ts$|^installer\/build\/|\/(conformance|testing)(\.ts$|\/)/;

const isOurs = (path: string) => !FREE.test(path);

async function sources(isWanted = isOurs): Promise<string[]> {
  const found: string[] = [];
  const walk = async (folder: string) => {
    for await (const entry of Deno.readDir(new URL(folder || ".", ROOT))) {
      const path = `${folder}${entry.name}`;
      if (entry.isDirectory && !/^\.|^dist$|^node_modules$/.test(entry.name)) {
        await walk(`${path}/`);
      } else if (entry.name.endsWith(".ts")) found.push(path);
    }
  };
  await walk("");
  return found.filter(isWanted);
}

function roomOf(path: string): string | undefined {
  return Object.keys(ROOMS).find((room) => path === room || path.startsWith(`${room}/`));
}

interface Import {
  from: string;
  to: string;
  lazy: boolean;
  type: boolean;
}

/**
 * Imports and re-exports of one file. They are found in the text: the source is formatted by `deno
 * fmt`, so a statement begins at a line's start, and a lazy import names its module literally.
 */
export function importsOf(path: string, text: string): Import[] {
  const found: Import[] = [];
  const resolve = (specifier: string) =>
    specifier.startsWith(".")
      ? new URL(specifier, new URL(path, "file:///")).pathname.slice(1)
      : specifier;
  const code = text.replace(/^\s*\/\/.*$|\/\*[\s\S]*?\*\//gm, "");
  const statement = /^(import|export)\s+(type\s+)?([^;"']*?from\s+)?["']([^"']+)["']/gm;
  for (const [, , type, names, specifier] of code.matchAll(statement)) {
    const listed = names?.match(/\{([^}]*)\}/)?.[1].split(",").map((n) => n.trim()).filter(Boolean);
    const onlyTypes = type !== undefined ||
      (listed !== undefined && listed.length > 0 && listed.every((n) => n.startsWith("type ")));
    found.push({ from: path, to: resolve(specifier), lazy: false, type: onlyTypes });
  }
  const call =
    /(\btypeof\s+|[:<|]\s*)?\bimport\(\s*["']([^"']+)["']\s*,?\s*\)(\.[A-Z]\w*\b(?!\())?/g;
  for (const [, before, specifier, typeName] of code.matchAll(call)) {
    // `typeof import("x")` or, where a type stands, `import("x").Name`; everything else runs.
    const type = before !== undefined && (before.startsWith("typeof") || typeName !== undefined);
    found.push({ from: path, to: resolve(specifier), lazy: true, type });
  }
  return found;
}

/** Why the import is not allowed; undefined where it is. */
export function judge(i: Import): string | undefined {
  const room = roomOf(i.from);
  if (!room) return `${i.from} lies in no room of the house`;
  const rules = ROOMS[room];
  if (!i.to.endsWith(".ts") && !i.to.endsWith(".json")) {
    const known = rules.packages?.includes(i.to) || (i.type && i.to === "valibot");
    return known ? undefined : `${i.from} uses the package ${i.to}`;
  }
  const target = roomOf(i.to);
  if (target === room) return undefined;
  if (target && rules.imports.includes(target)) return undefined;
  if (target && i.lazy && rules.imports.includes(`${target}!`)) return undefined;
  if (target && i.type && rules.types?.includes(target)) return undefined;
  return `${i.from} imports ${i.to}`;
}

Deno.test("every import goes through a door of the house", async () => {
  const wrong: string[] = [];
  for (const path of await sources()) {
    for (const found of importsOf(path, await Deno.readTextFile(new URL(path, ROOT)))) {
      const why = judge(found);
      if (why) wrong.push(why);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("an import through a wall is seen", () => {
  const seen = (path: string, text: string) => importsOf(path, text).map(judge);
  assert.ok(seen("policy/a.ts", `import { open } from "../ffi/libc.ts";`)[0]);
  assert.ok(seen("policy/a.ts", `import {\n  type A,\n  open,\n} from "../ffi/libc.ts";`)[0]);
  assert.ok(seen("policy/a.ts", `export * from "../ffi/libc.ts";`)[0]);
  assert.ok(seen("policy/a.ts", `const x = await import("../mod/node/agent.ts");`)[0]);
  assert.ok(seen("policy/a.ts", `const x = import("../ffi/libc.ts").catch(() => {});`)[0]);
  assert.ok(seen("policy/a.ts", `const a = { load: import("../ffi/libc.ts").finally(f) };`)[0]);
  assert.ok(seen("policy/a.ts", `import("../ffi/libc.ts").then((m) => m.open());`)[0]);
  assert.equal(seen("policy/a.ts", `let x: import("../ffi/a.ts").Expr;`)[0], undefined);
  assert.equal(seen("policy/a.ts", `type M = typeof import("../ffi/a.ts");`)[0], undefined);
  assert.ok(seen("mod/net/a.ts", `import * as v from "valibot";`)[0]);
  assert.ok(seen("main.ts", `import { run } from "./cni/plugin.ts";`)[0]);
  assert.equal(seen("main.ts", `const x = await import("./cni/plugin.ts");`)[0], undefined);
  assert.equal(seen("policy/a.ts", `import type { Expr } from "../ffi/expr.ts";`)[0], undefined);
});

Deno.test("the pure rooms use no clock, timer, socket or Deno", async () => {
  const wrong: string[] = [];
  const impure = /\b(Deno\.|setTimeout|setInterval|fetch\(|Date\.now|Math\.random|performance\.)/;
  for (const path of await sources()) {
    if (!/^(policy|bgp|mod\/(selector|net|ipam|model))\//.test(path)) continue;
    const code = (await Deno.readTextFile(new URL(path, ROOT)))
      .replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
    const found = code.match(impure);
    if (found) wrong.push(`${path}: ${found[0]}`);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("the product starts no other program", async () => {
  const wrong: string[] = [];
  for (const path of await sources()) {
    const code = (await Deno.readTextFile(new URL(path, ROOT)))
      .replace(/\/\*[\s\S]*?\*\//g, "").replace(/\/\/.*$/gm, "");
    if (/\bDeno\.Command\b|child_process|\bDeno\.run\b/.test(code)) wrong.push(path);
    // The one spawn of the product is the lab's, of its own executable and what the user typed.
    if (/posix_spawn/.test(code) && !path.startsWith("ffi/")) wrong.push(path);
    if (/ffi\/process\.ts/.test(code) && !/^(mod\/lab|ffi)\//.test(path)) wrong.push(path);
  }
  assert.deepEqual(wrong, []);
});

Deno.test("HTTP is served by serveHttp alone, whose end comes", async () => {
  const wrong: string[] = [];
  for (const path of await sources(() => true)) {
    if (path === "mod/node/http_server.ts" || path.startsWith("tests/rules/")) continue;
    const code = await Deno.readTextFile(new URL(path, ROOT));
    if (/\bDeno\.serve\(/.test(code)) wrong.push(path);
  }
  assert.deepEqual(wrong, []);
});
