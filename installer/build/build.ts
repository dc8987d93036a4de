/**
 * `deno task build`: makes `dist/tortie`, one executable.
 *
 *     main.ts --bundle, split at each lazy import--> staging/*.js
 *     libnl of this machine, its licence, build.json ----> staging/lib, staging/
 *     denort + cni/front --front.ts--> denort with the native front door
 *     that denort + staging --deno compile--> dist/tortie
 *
 * `--loaded` has the native front door started by ld.so, as every program, `--no-front` leaves it out
 * (cni/front/README.md), `--arch aarch64` builds for another machine.
 *
 * The staging folder lies outside any node_modules, since `deno compile` embeds whole trees that it
 * finds beside the entry, and each embedded megabyte is paid at every start. No code cache: it would
 * be a predictable file in /tmp that root reads without asking whose it is. Permissions are explicit
 * and without --allow-run: the product executes no other program.
 */
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { denort, DENORT_SOURCES } from "./denort.ts";
import { checkProduct, compileFront, type FrontVariant, placeFront, tryProduct } from "./front.ts";
import { libnlFiles } from "./libnl.ts";
import { npmLicences } from "./licences.ts";
import { crossNeeds, setup } from "./setup.ts";

const ROOT = decodeURIComponent(new URL("../../", import.meta.url).pathname);

/** Permissions of the product, as `deno compile` takes them. */
export const PERMISSIONS = [
  "--allow-ffi",
  "--allow-read",
  "--allow-write",
  "--allow-net",
  "--allow-env",
  "--allow-sys=hostname,uid",
  "--no-prompt",
];

/**
 * A node service lives for months beside the pods that the machine is for: by itself V8 lets its young
 * generation grow to 64 MB, twice what 250 pods need in all, and the old one with it. With the first flag
 * the old one is kept small. The second leaves 2 MB for the young one: less (`--optimize-for-size` leaves 1,
 * whatever else is asked for) is full several times in one ADD, and each time everything stands still.
 */
const V8_FLAGS = "--memory-saver-mode,--max-semi-space-size=2";

async function deno(args: string[], options: Deno.CommandOptions = {}): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args,
    ...options,
    env: { DENO_NO_UPDATE_CHECK: "1", DENO_TLS_CA_STORE: "system", ...options.env },
  }).spawn();
  const { success } = await child.status;
  if (!success) throw new Error(`deno ${args[0]} failed`);
}

/** CommonJS packages ask for a `require` that an ES module does not have. */
const REQUIRE_SHIM =
  `import { createRequire as $$cr } from "node:module"; const require = $$cr(import.meta.url);\n`;

async function addRequireShims(folder: string): Promise<void> {
  for await (const entry of Deno.readDir(folder)) {
    if (!entry.name.endsWith(".js")) continue;
    const path = `${folder}/${entry.name}`;
    const text = await Deno.readTextFile(path);
    if (text.includes("Dynamic require of")) await Deno.writeTextFile(path, REQUIRE_SHIM + text);
  }
}

async function gitRevision(): Promise<string> {
  try {
    const { success, stdout } = await new Deno.Command("git", {
      args: ["rev-parse", "--short=12", "HEAD"],
      cwd: ROOT,
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() : "unknown";
  } catch {
    return "unknown"; // a source tree without git builds too
  }
}

export interface CompileOptions {
  readonly include?: readonly string[];
  /** denort to be put in front; without it the checked one for this machine. */
  readonly runtime?: string;
  readonly arch?: string;
}

/** Compiles an entry of a prepared staging folder. Used for the product and for bench baselines. */
export async function compile(
  staging: string,
  entry: string,
  output: string,
  permissions: string[],
  { include = [], arch = Deno.build.arch, runtime }: CompileOptions = {},
): Promise<void> {
  await deno([
    "compile",
    "--quiet",
    `--target=${DENORT_SOURCES[arch].target}`,
    "--no-check",
    "--no-code-cache",
    "--unstable-kv",
    `--v8-flags=${V8_FLAGS}`,
    ...permissions,
    ...include.flatMap((path) => ["--include", path]),
    "--output",
    output,
    entry,
  ], { cwd: staging, env: { DENORT_BIN: runtime ?? await checkedDenort(arch) } });
}

/**
 * Bundles main.ts into `staging`: one chunk for each lazily imported role. Not minified: the minifier
 * writes `using x = open(); return x.read()` as `return open().read()`, and nothing is closed any more.
 */
export async function bundle(staging: string, entry = "main.ts"): Promise<void> {
  await deno([
    "bundle",
    "--lock=deno.lock",
    "--frozen",
    "--quiet",
    "--code-splitting",
    "--outdir",
    staging,
    entry,
  ], { cwd: ROOT });
  await addRequireShims(staging);
  await Deno.writeTextFile(`${staging}/deno.json`, "{}");
}

const checkedDenort = (arch: string) => denort(arch, `${ROOT}.cache/denort`);

export interface BuildOptions {
  readonly output?: string;
  readonly arch?: string;
  readonly front?: FrontVariant | "none";
}

export async function build(
  { output = `${ROOT}dist/tortie`, arch = Deno.build.arch, front = "direct" }: BuildOptions = {},
): Promise<void> {
  const staging = await Deno.makeTempDir({ prefix: "tortie-build-" });
  try {
    await bundle(staging);
    await Deno.mkdir(`${staging}/lib`);
    for (const [name, bytes] of await libnlFiles(arch)) {
      await Deno.writeFile(`${staging}/lib/${name}`, bytes);
    }
    await Deno.writeTextFile(
      `${staging}/lib/NPM-LICENSES.txt`,
      await npmLicences(ROOT, "main.ts"),
    );
    const { version } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
    await Deno.writeTextFile(
      `${staging}/build.json`,
      JSON.stringify({
        version,
        gitRevision: await gitRevision(),
        deno: Deno.version.deno,
        arch,
      }),
    );
    await Deno.mkdir(output.replace(/\/[^/]*$/, ""), { recursive: true });
    // Compiled beside the old one and renamed over it: a running tortie keeps its file.
    const part = `${output}.${Deno.pid}`;
    let runtime = await checkedDenort(arch), patched: Uint8Array<ArrayBuffer> | undefined;
    if (front !== "none") {
      const code = await compileFront(arch, front);
      patched = placeFront(await Deno.readFile(runtime), code, arch, front);
      runtime = `${staging}/denort`;
      await Deno.writeFile(runtime, patched, { mode: 0o755 });
    }
    try {
      const include = ["lib", "build.json"];
      await compile(staging, "main.js", part, PERMISSIONS, { include, runtime, arch });
      if (patched) {
        checkProduct(await Deno.readFile(part), patched);
        if (arch === Deno.build.arch) await tryProduct(part, version);
      }
      await Deno.rename(part, output);
    } catch (error) {
      await Deno.remove(part).catch(() => {});
      throw error;
    }
  } finally {
    await Deno.remove(staging, { recursive: true });
  }
}

async function main(): Promise<void> {
  const started = performance.now();
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      "no-front": { type: "boolean" },
      loaded: { type: "boolean" },
      arch: { type: "string", default: Deno.build.arch },
    },
  });
  const { arch, loaded, "no-front": without } = values;
  if (loaded && without) throw new Error("--loaded and --no-front: one of the two");
  if (!Object.hasOwn(DENORT_SOURCES, arch)) {
    throw new Error(`--arch ${arch}: known are ${Object.keys(DENORT_SOURCES).join(", ")}`);
  }
  const native = arch === Deno.build.arch;
  const suffix = native ? "" : `-${arch}`;
  const output = resolve(positionals[0] ?? `${ROOT}dist/tortie${suffix}`);
  const front = loaded ? "loaded" : without ? "none" : "direct";
  if (front === "none") await setup(["build"]);
  else await setup(native ? ["build", "front"] : ["build"], crossNeeds(arch));
  await build({ output, arch, front });
  const { size } = await Deno.stat(output);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${output.replace(ROOT, "")}: ${(size / 1e6).toFixed(1)} MB in ${seconds} s`);
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    Deno.exit(1);
  }
}
