/**
 * The start of Deno in our executable: the plugin's VERSION, with an argument, which the native front door
 * leaves to Deno, beside an empty module that is compiled with the same runtime and the same flags, 40
 * interleaved starts of each. The promises are on the least time: at most 1.15 times the empty module, and
 * not slower than the same without front door, which is asked of a whole command's help too.
 *
 * That what is not used costs nothing is shown by a third and a fourth executable: the entry of this
 * very bundle with everything behind its lazy imports that is not the plugin's taken out, and the
 * whole bundle with one megabyte more of code behind another lazy import.
 *
 *     deno task bench start
 */
import { build, bundle, compile, PERMISSIONS } from "../../installer/build/build.ts";
import { MemoryFile, spawn, wait } from "../../ffi/process.ts";
import { interleave, ms, type Outcome, ratio, type Spread, spread } from "./report.ts";

const ROUNDS = 40;
const LIMIT = 1.15;
/** Beside the executable without front door: the least of so few starts is never the same twice. */
const NOT_SLOWER = 1.05;

/** One start; milliseconds from posix_spawn to the end of the process. */
export async function start(
  path: string,
  output: string | undefined,
  words: readonly string[] = ["start"],
): Promise<number> {
  const stdout = new MemoryFile(), stderr = new MemoryFile();
  try {
    const began = performance.now();
    const pid = spawn({
      path,
      argv: [path, ...words],
      env: { PATH: "/usr/bin:/bin", ...(words.length === 1 && { CNI_COMMAND: "VERSION" }) },
      stdout: stdout.fd,
      stderr: stderr.fd,
    });
    const { exit } = await wait(pid);
    const time = performance.now() - began;
    if (exit !== 0 || (output !== undefined && !stdout.text().includes(output))) {
      throw new Error(`${path}: exit ${exit}: ${stdout.text()}${stderr.text()}`);
    }
    return time;
  } finally {
    stdout.close();
    stderr.close();
  }
}

/** The files of a bundle that its entry reaches by static imports, and by those of `lazy`. */
async function reached(folder: string, lazy: RegExp): Promise<Set<string>> {
  const found = new Set<string>(["main.js"]);
  for (const name of found) {
    const text = await Deno.readTextFile(`${folder}/${name}`);
    for (const [, file] of text.matchAll(/\b(?:from|import)\s*"\.\/([^"]+)"/g)) found.add(file);
    for (const [, file] of text.matchAll(/\bimport\("\.\/([^"]+)"\)/g)) {
      if (lazy.test(file)) found.add(file);
    }
  }
  return found;
}

/** A megabyte of functions, none of which is ever called. */
function heavy(): string {
  const one = (i: number) =>
    `export function f${i}(a, b) { let c = ${i}; for (const x of a) c += x * b; return [c, a, b, ` +
    `"${"tortoiseshell ".repeat(4)}${i}"]; }\n`;
  let text = "";
  for (let i = 0; text.length < 1_000_000; i++) text += one(i);
  return text;
}

async function copy(from: string, to: string, files: Iterable<string>): Promise<void> {
  await Deno.mkdir(to);
  for (const file of files) await Deno.copyFile(`${from}/${file}`, `${to}/${file}`);
  await Deno.writeTextFile(`${to}/deno.json`, "{}");
}

export interface StartFigures {
  readonly empty: Spread;
  readonly loaded: Spread;
  readonly plain: Spread;
  readonly tortie: Spread;
  readonly pluginOnly: Spread;
  readonly heavier: Spread;
  readonly help: Spread;
  readonly helpLoaded: Spread;
  readonly helpPlain: Spread;
}

export async function measure(rounds = ROUNDS): Promise<StartFigures> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-start-" });
  try {
    const at = (name: string) => `${folder}/${name}`;
    await Deno.mkdir(at("bundle"));
    await bundle(at("bundle"));
    const whole: string[] = [];
    for await (const { name } of Deno.readDir(at("bundle"))) whole.push(name);
    const plugin = await reached(at("bundle"), /^plugin-/);

    await Deno.mkdir(at("src-empty"));
    await Deno.writeTextFile(at("src-empty/main.js"), "");
    await Deno.writeTextFile(at("src-empty/deno.json"), "{}");
    await copy(at("bundle"), at("src-plugin"), plugin);
    await copy(at("bundle"), at("src-heavy"), whole.filter((name) => name.endsWith(".js")));
    await Deno.writeTextFile(at("src-heavy/heavy.js"), heavy());
    const entry = await Deno.readTextFile(at("src-heavy/main.js"));
    await Deno.writeTextFile(
      at("src-heavy/main.js"),
      `if (Deno.env.get("NEVER_SET")) await import("./heavy.js");\n${entry}`,
    );
    // Chunks that were taken out are looked for at the compilation otherwise.
    await stubMissing(at("src-plugin"), plugin);
    for (const name of ["empty", "plugin", "heavy"]) {
      await compile(at(`src-${name}`), "main.js", at(name), PERMISSIONS);
    }
    await build({ output: at("front") });
    await build({ output: at("loaded"), front: "loaded" });
    await build({ output: at("plain"), front: "none" });
    const help = (name: string) => () => start(at(name), "resources", ["get", "--help"]);
    const times = await interleave(rounds, {
      loaded: () => start(at("loaded"), '"supportedVersions"'),
      plain: () => start(at("plain"), '"supportedVersions"'),
      empty: () => start(at("empty"), undefined),
      tortie: () => start(at("front"), '"supportedVersions"'),
      pluginOnly: () => start(at("plugin"), '"supportedVersions"'),
      heavier: () => start(at("heavy"), '"supportedVersions"'),
      help: help("front"),
      helpLoaded: help("loaded"),
      helpPlain: help("plain"),
    });
    return {
      empty: spread(times.empty),
      loaded: spread(times.loaded),
      plain: spread(times.plain),
      tortie: spread(times.tortie),
      pluginOnly: spread(times.pluginOnly),
      heavier: spread(times.heavier),
      help: spread(times.help),
      helpLoaded: spread(times.helpLoaded),
      helpPlain: spread(times.helpPlain),
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** An empty file in place of every chunk that something still names. */
async function stubMissing(folder: string, files: Iterable<string>): Promise<void> {
  for (const file of files) {
    const text = await Deno.readTextFile(`${folder}/${file}`);
    for (const [, name] of text.matchAll(/\bimport\("\.\/([^"]+)"\)/g)) {
      const path = `${folder}/${name}`;
      if (!await Deno.stat(path).catch(() => undefined)) await Deno.writeTextFile(path, "");
    }
  }
}

/** Each promise with what was found: whether it is kept, and in words. */
function judge(f: StartFigures): { kept: boolean; text: string }[] {
  const beside = (what: string, found: number, whose: string, limit: number) => ({
    kept: found <= limit,
    text: `${found <= limit ? "PASS" : "FAIL"}: ${what}: the least is ${found.toFixed(3)} times ` +
      `${whose} (at most ${limit})`,
  });
  const whose = "that without front door";
  return [
    beside("VERSION", f.tortie.min / f.empty.min, "the empty module's", LIMIT),
    beside("VERSION", f.tortie.min / f.plain.min, whose, NOT_SLOWER),
    beside("VERSION, `--loaded`", f.loaded.min / f.plain.min, whose, NOT_SLOWER),
    beside("get --help", f.help.min / f.helpPlain.min, whose, NOT_SLOWER),
    beside("get --help, `--loaded`", f.helpLoaded.min / f.helpPlain.min, whose, NOT_SLOWER),
  ];
}

export async function run(): Promise<Outcome> {
  // The least of 40 is steady, but not where two cores have ten others to serve.
  let figures = await measure();
  let attempts = 1;
  for (; attempts < 3 && judge(figures).some(({ kept }) => !kept); attempts++) {
    figures = await measure();
  }
  const { empty } = figures;
  const row = (name: string, s: Spread) => [
    name,
    ms(s.min),
    ratio(s.min, empty.min),
    ms(s.p50),
    ratio(s.p50, empty.p50),
    ms(s.p99),
  ];
  const verdicts = judge(figures);
  return {
    tables: [{
      title: `Start of Deno: past the front door, ${ROUNDS} interleaved starts, ms`,
      columns: ["", "min", "ratio", "p50", "ratio", "p99"],
      rows: [
        row("empty module, compiled alike", empty),
        row("VERSION", figures.tortie),
        row("VERSION, `--loaded`", figures.loaded),
        row("VERSION, no front door", figures.plain),
        row("VERSION, only the plugin inside", figures.pluginOnly),
        row("VERSION, 1 MB more never imported", figures.heavier),
        row("get --help", figures.help),
        row("get --help, `--loaded`", figures.helpLoaded),
        row("get --help, no front door", figures.helpPlain),
      ],
      notes: [
        ...verdicts.map(({ text }) => text),
        ...(attempts > 1 ? [`Attempt ${attempts}.`] : []),
      ],
    }],
    failed: verdicts.filter(({ kept }) => !kept).map(({ text }) => text),
  };
}
