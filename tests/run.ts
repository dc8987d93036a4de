/**
 * `deno task test`: all the set-up, then every check and test, then one closing line
 *
 *     N passed, N failed, N skipped
 *
 * and an exit code that is 0 only where nothing failed. The groups run one after the other (two cores,
 * real kernels); within the groups unit and trials the files run side by side. A skipped test is counted,
 * and its name says why. `--long` runs the long group instead and writes its result to tests/RESULTS.md.
 *
 *     deno task test            everything that a change must pass
 *     deno task test store cni  only the named groups
 *     deno task test --long     what takes longer than a run may
 */
import { build } from "../installer/build/build.ts";
import { setup } from "../installer/build/setup.ts";

const ROOT = new URL("../", import.meta.url).pathname;

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
  /** The failed ones, each with the beginning of its message. */
  failures: string[];
  /** Each test and how long it took, for a group whose tests are few and long. */
  tests: string[];
}

/** The product as `task build` makes it, and one that must answer alike. */
const EXECUTABLES = { "tortie": {}, "tortie-no-front": { front: "none" } } as const;
type Executable = keyof typeof EXECUTABLES;

interface Group {
  name: string;
  /** Paths given to `deno test`, or the sub-command and arguments of another deno tool. */
  run: { test: string[]; parallel?: boolean } | { deno: string[] };
  /** The executable that it needs: the product, or one without native front door. */
  binary?: Executable;
  /** Another one, whose answers must be the same. */
  beside?: Executable;
  env?: Record<string, string>;
}

/**
 * After so long a group is ended and counts as failed: one test that hangs costs neither what the other
 * groups say nor the hour and a half that a whole run may take.
 */
const LIMIT_S = 1500, LONG_LIMIT_S = 6 * 3600;
/** It says which tests are under way when it is interrupted, and ends. */
const GRACE_MS = 10_000;

const ROOMS = ["mod", "ffi", "cni", "bgp", "policy", "installer"];
/** Beside the code as unit tests are, and hundreds of cases each: they take their seconds apart. */
const TRIALS = "**/*_trials_test.ts";

const GROUPS: Group[] = [
  { name: "format", run: { deno: ["fmt", "--check", "--quiet"] } },
  { name: "lint", run: { deno: ["lint", "--quiet"] } },
  {
    name: "types",
    run: {
      deno: [
        "check",
        "--quiet",
        "main.ts",
        ...["mod", "ffi", "cni", "bgp", "policy", "installer", "tests"],
      ],
    },
  },
  { name: "rules", run: { test: ["tests/rules"] } },
  {
    name: "unit",
    run: { test: [...ROOMS, `--ignore=${TRIALS}`], parallel: true },
    // More than there are cores: many of them wait for timers.
    env: { DENO_JOBS: "4" },
  },
  { name: "trials", run: { test: [TRIALS], parallel: true } },
  { name: "ipam", run: { test: ["tests/ipam"] } },
  { name: "kernel", run: { test: ["tests/ffi", "tests/nft", "tests/node"] } },
  { name: "kube", run: { test: ["tests/kube"] } },
  { name: "store", run: { test: ["tests/store"] }, binary: "tortie" },
  { name: "commands", run: { test: ["tests/cli"] }, binary: "tortie" },
  // Every call to a plugin three ways: the front door gives way to Deno, as where the configuration
  // names a socket; the front door answers; there is none.
  { name: "cni", run: { test: ["tests/cni"] }, binary: "tortie" },
  {
    name: "cni-front",
    run: { test: ["tests/cni", "tests/complaints/cni_test.ts"] },
    binary: "tortie",
    beside: "tortie-no-front",
    env: { TORTIE_CNI_WAY: "front" },
  },
  {
    name: "cni-no-front",
    run: { test: ["tests/cni", "tests/complaints/cni_test.ts"] },
    binary: "tortie-no-front",
  },
  { name: "front", run: { test: ["tests/front"] } },
  { name: "data", run: { test: ["tests/data"] }, binary: "tortie" },
  { name: "bgp", run: { test: ["tests/bgp"] }, binary: "tortie" },
  { name: "policy", run: { test: ["tests/policy"] }, binary: "tortie" },
  { name: "cluster", run: { test: ["tests/cluster"] }, binary: "tortie" },
  { name: "complaints", run: { test: ["tests/complaints"] }, binary: "tortie" },
  { name: "demo", run: { test: ["tests/demo"] }, binary: "tortie" },
];

const LONG: Group[] = [
  { name: "long", run: { test: ["tests/long"] }, binary: "tortie" },
];

/** The exit code; undefined where it was ended because it took too long. */
async function deno(
  args: string[],
  limitS: number,
  more: Record<string, string> = {},
): Promise<number | undefined> {
  const env: Record<string, string> = {
    DENO_TLS_CA_STORE: "system",
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
    ...more,
  };
  // Formatting and linting load no package, and take no lock file.
  const lock = ["test", "check"].includes(args[0]) ? ["--lock=deno.lock", "--frozen"] : [];
  const child = new Deno.Command(Deno.execPath(), {
    args: [args[0], ...lock, ...args.slice(1)],
    cwd: ROOT,
    env,
    stdin: "null",
  }).spawn();
  let isLate = false, kill = 0;
  const interrupt = setTimeout(() => {
    isLate = true;
    child.kill("SIGINT");
    kill = setTimeout(() => child.kill("SIGKILL"), GRACE_MS);
  }, limitS * 1000);
  const { code } = await child.status;
  for (const timer of [interrupt, kill]) clearTimeout(timer);
  return isLate ? undefined : code;
}

/** Counts a JUnit file; the text is the test runner's own, where `<` in messages is escaped. */
export function countJunit(xml: string): Tally {
  const count = (pattern: RegExp) => (xml.match(pattern) ?? []).length;
  const failed = count(/<failure/g) + count(/<error[ >]/g);
  const skipped = count(/<skipped/g);
  const failures = [...xml.matchAll(FAILURE)].map(([, name, text]) =>
    [name, ...text.split("\n").slice(0, FAILURE_LINES)].map(unescapeXml).join("\n    ")
  );
  const whole = [...xml.matchAll(TESTCASE)].filter(([, name]) => !name.includes(" &gt; ")); // no steps
  const tests = whole.map(([, name, seconds, rest]) => {
    const outcome = /<(failure|error)/.test(rest)
      ? "FAILED"
      : /<skipped/.test(rest)
      ? "skipped"
      : "ok";
    return `${outcome.padEnd(8)}${Number(seconds).toFixed(0).padStart(5)} s  ${unescapeXml(name)}`;
  });
  return { passed: count(/<testcase /g) - failed - skipped, failed, skipped, failures, tests };
}

const TESTCASE = /<testcase name="([^"]*)"[^>]* time="([^"]*)"[^>]*>(.*?)<\/testcase>/gs;

const FAILURE =
  /<testcase name="([^"]*)"[^>]*>\s*<(?:failure|error)(?: message="[^"]*")?[^>]*>([^<]*)/g;
const FAILURE_LINES = 12;
const ENTITIES: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };

function unescapeXml(text: string): string {
  return text.replace(/&(lt|gt|quot|apos|amp);/g, (_, name) => ENTITIES[name]);
}

async function runGroup(group: Group, limitS: number): Promise<Tally> {
  const failures = [
    `it did not end within ${limitS} s, and was ended: see above what was under way`,
  ];
  const late: Tally = { passed: 0, failed: 1, skipped: 0, failures, tests: [] };
  if ("deno" in group.run) {
    const code = await deno(group.run.deno, limitS);
    if (code === undefined) return late;
    const ok = code === 0;
    return { passed: ok ? 1 : 0, failed: ok ? 0 : 1, skipped: 0, failures: [], tests: [] };
  }
  const junit = await Deno.makeTempFile({ suffix: ".xml" });
  try {
    const code = await deno(
      [
        "test",
        "--quiet",
        "--no-check", // the types group has checked everything
        "--allow-all",
        "--unstable-kv",
        ...(group.run.parallel ? ["--parallel"] : []),
        `--junit-path=${junit}`,
        ...group.run.test,
      ],
      limitS,
      {
        ...(group.binary && { TORTIE_BINARY: `${ROOT}dist/${group.binary}` }),
        ...(group.beside && { TORTIE_BESIDE: `${ROOT}dist/${group.beside}` }),
        ...group.env,
      },
    );
    if (code === undefined) return late;
    const tally = countJunit(await Deno.readTextFile(junit));
    // A module that does not load is in no report, yet it failed; so is a group without a test.
    if (tally.failed === 0 && (code !== 0 || tally.passed + tally.skipped === 0)) tally.failed = 1;
    return tally;
  } finally {
    await Deno.remove(junit);
  }
}

const line = (t: Omit<Tally, "failures" | "tests">) =>
  `${t.passed} passed, ${t.failed} failed, ${t.skipped} skipped`;

async function machine(): Promise<string> {
  const cpu = (await Deno.readTextFile("/proc/cpuinfo")).match(/model name\s*:\s*(.*)/)?.[1];
  const gib = Math.round(Deno.systemMemoryInfo().total / 2 ** 30);
  return `${navigator.hardwareConcurrency} x ${cpu}, ${gib} GiB, Linux ${Deno.osRelease()}`;
}

async function main(args: string[]): Promise<number> {
  const long = args.includes("--long");
  const names = args.filter((a) => !a.startsWith("-"));
  const all = long ? LONG : GROUPS;
  const unknown = names.filter((n) => !all.some((g) => g.name === n));
  if (unknown.length > 0) {
    console.error(`no group ${unknown.join(", ")}; groups: ${all.map((g) => g.name).join(", ")}`);
    return 2;
  }
  await setup(["build", "front", "demo", "test"]);
  const total: Tally = { passed: 0, failed: 0, skipped: 0, failures: [], tests: [] };
  const rows: string[] = [];
  const built = new Set<Executable>();
  for (const group of all.filter((g) => names.length === 0 || names.includes(g.name))) {
    const started = performance.now();
    for (const name of [group.binary, group.beside]) {
      if (!name || built.has(name)) continue;
      await build({ output: `${ROOT}dist/${name}`, ...EXECUTABLES[name] });
      built.add(name);
    }
    console.log(`\n== ${group.name}`);
    const tally = await runGroup(group, long ? LONG_LIMIT_S : LIMIT_S);
    total.passed += tally.passed;
    total.failed += tally.failed;
    total.skipped += tally.skipped;
    total.failures.push(...tally.failures.map((text) => `${group.name}: ${text}`));
    total.tests.push(...tally.tests);
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    rows.push(`${group.name.padEnd(12)} ${line(tally)} (${seconds} s)`);
    console.log(`== ${rows.at(-1)}`);
  }
  // What failed is told again where it is seen: a whole run prints thousands of lines.
  for (const text of total.failures) console.log(`\nFAILED ${text}`);
  console.log(`\n${rows.join("\n")}\n\n${line(total)}`);
  if (long) {
    await Deno.writeTextFile(
      `${ROOT}tests/RESULTS.md`,
      `# Results of the long tests\n\n${
        new Date().toISOString().slice(0, 10)
      }, ${await machine()}:` +
        `\n\n${[...rows, "", ...total.tests].map((r) => `    ${r}`.trimEnd()).join("\n")}\n`,
    );
  }
  return total.failed === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
