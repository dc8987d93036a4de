/**
 * Whoever asks for help should not wait: the whole process of `tortie --help`, of a command's help, of
 * a mistyped command and of one TAB, beside an empty module that is compiled with the same runtime
 * and the same flags. The promise is on the least time of help: at most 120 ms, and as many times more as
 * the empty module takes longer than on a quiet machine.
 *
 *     deno task bench help
 */
import { compile, PERMISSIONS } from "../../installer/build/build.ts";
import { binary } from "../cluster/harness.ts";
import { MemoryFile, spawn, wait } from "../../ffi/process.ts";
import { interleave, ms, type Outcome, ratio, spread } from "./report.ts";

const ROUNDS = 25;
const LIMIT_MS = 120;
/** Of the empty module on a quiet machine. */
const QUIET_MS = 35;

/** One process; milliseconds from posix_spawn to its end. */
async function time(path: string, argv0: string, words: string[], exit: number): Promise<number> {
  const stdout = new MemoryFile(), stderr = new MemoryFile();
  try {
    const began = performance.now();
    const pid = spawn({
      path,
      argv: [argv0, ...words],
      env: { PATH: "/usr/bin:/bin", TORTIE_RUN_DIR: "/nowhere", TORTIE_STATE_DIR: "/nowhere" },
      stdout: stdout.fd,
      stderr: stderr.fd,
    });
    const ended = await wait(pid);
    const elapsed = performance.now() - began;
    if (ended.exit !== exit) {
      throw new Error(`${path} ${words.join(" ")}: exit ${ended.exit}: ${stderr.text()}`);
    }
    return elapsed;
  } finally {
    stdout.close();
    stderr.close();
  }
}

export async function run(): Promise<Outcome> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-help-" });
  try {
    await Deno.mkdir(`${folder}/src`);
    await Deno.writeTextFile(`${folder}/src/main.js`, "");
    await Deno.writeTextFile(`${folder}/src/deno.json`, "{}");
    await compile(`${folder}/src`, "main.js", `${folder}/empty`, PERMISSIONS);
    const tortie = (words: string[], exit = 0) => () => time(binary(), "tortie", words, exit);
    const times = await interleave(ROUNDS, {
      "empty module, compiled alike": () => time(`${folder}/empty`, "empty", [], 0),
      "tortie --help": tortie(["--help"]),
      "tortie get --help": tortie(["get", "--help"]),
      "tortie gett (did you mean)": tortie(["gett"], 2),
      "tortie get ippo, TAB": tortie(["__complete", "--", "get", "ippo"]),
      "calicoctl get --help": () => time(binary(), "calicoctl", ["get", "--help"], 0),
    });
    const empty = spread(times["empty module, compiled alike"]);
    const limit = LIMIT_MS * Math.max(1, empty.min / QUIET_MS);
    const failed: string[] = [];
    const rows = Object.entries(times).map(([name, list]) => {
      const { min, p50, p99 } = spread(list);
      if (name.endsWith("--help") && min > limit) {
        failed.push(`${name}: ${ms(min)} ms at the least; want at most ${ms(limit)}`);
      }
      return [name, ms(min), ratio(min, empty.min), ms(p50), ratio(p50, empty.p50), ms(p99)];
    });
    return {
      tables: [{
        title: `Help, the whole process, ${ROUNDS} interleaved starts, ms`,
        columns: ["", "min", "ratio", "p50", "ratio", "p99"],
        rows,
        notes: [`${failed.length === 0 ? "PASS" : "FAIL"}: help in at most ${ms(limit)} ms`],
      }],
      failed,
    };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
