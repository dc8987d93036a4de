/**
 * The executable with its native front door beside what looks at programs, and started in unusual ways: a
 * CNI call that the front door answers, and a command that it leaves to Deno, each must be as ever. Both
 * variants (cni/front/README.md), and the one without as the measure.
 */
import assert from "node:assert/strict";
import { VERSION_ANSWER } from "../../cni/versions.ts";
import { type Need, setup } from "../../installer/build/setup.ts";
import { run } from "../cni/harness.ts";
import { type Binaries, type Variant, withBinaries } from "../front/binaries.ts";

/** What looks at the executables, or builds what is put beside them. */
const NEEDS: readonly Need[] = [
  { package: "libc6-dev", files: ["/usr/include/stdio.h"], purpose: "test" },
  { package: "file", files: ["/usr/bin/file"], purpose: "test" },
  { package: "gdb", files: ["/usr/bin/gdb"], purpose: "test" },
];

/** The executables, once they are built. */
let BINARIES: Binaries;

type Start = (binary: string, args: string[], env: Record<string, string>) => string[];

const words = (env: Record<string, string>) => Object.entries(env).map(([n, v]) => `${n}=${v}`);
const plain: Start = (binary, args, env) => ["env", "-i", ...words(env), binary, ...args];
const under = (...before: string[]): Start => (...call) => [...before, ...plain(...call)];
const shell = (before: string): Start => (...call) => [
  "bash",
  "-c",
  `${before}; exec "$@"`,
  "-",
  ...plain(...call),
];

const ARCH = `${Deno.build.arch}-linux-gnu`;

/** A library that says that it was loaded, on standard error. */
async function library(folder: string): Promise<string> {
  const path = `${folder}/preloaded.so`;
  const source = `#include <unistd.h>
    __attribute__((constructor)) static void loaded(void) { write(2, "preloaded\\n", 10); }`;
  await Deno.writeTextFile(`${folder}/preloaded.c`, source);
  const { code, stderr } = await run([
    `${ARCH}-gcc`,
    "-shared",
    "-fPIC",
    "-o",
    path,
    `${folder}/preloaded.c`,
  ]);
  assert.equal(code, 0, stderr);
  return path;
}

/** A root folder in which there are the libraries that the program names, and nothing else. */
async function bareRoot(folder: string, binary: string): Promise<string> {
  const root = `${folder}/root-${crypto.randomUUID().slice(0, 8)}`;
  const { stdout } = await run(["ldd", binary]);
  const files = [...stdout.matchAll(/(\/\S+)/g)].map(([, path]) => path);
  assert(files.some((path) => path.endsWith("/libc.so.6")), stdout);
  for (const path of [...files, "/proc/x", "/dev/x", "/tmp/x"]) {
    const target = root + path;
    await Deno.mkdir(target.slice(0, target.lastIndexOf("/")), { recursive: true });
    if (!path.endsWith("/x")) await Deno.copyFile(path, target);
  }
  await Deno.copyFile(binary, `${root}/tortie`);
  return root;
}

/** Memory in which Deno cannot start, so that it is the front door that answers. */
const LITTLE = ["prlimit", "--as=300000000", "--"];

/** VERSION by the front door (unless it is to give way), and `version` by Deno. */
async function bothAnswer(
  variant: Variant,
  start: Start,
  what: string,
  givesWay = variant === "none",
): Promise<void> {
  const binary = BINARIES[variant];
  const base = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", HOME: "/tmp", DENO_NO_UPDATE_CHECK: "1" };
  const call = start(binary, [], { ...base, CNI_COMMAND: "VERSION" });
  const cni = await run(givesWay ? call : [...LITTLE, ...call]);
  assert.equal(cni.stdout, VERSION_ANSWER, `${variant}, ${what}: ${cni.stderr}`);
  assert.equal(cni.code, 0, what);
  const deno = await run(start(binary, ["version", "--client"], base));
  assert.match(deno.stdout, /^Client Version: +\d/, `${variant}, ${what}: ${deno.stderr}`);
  assert.equal(deno.code, 0, what);
}

const variants: readonly Variant[] = ["loaded", "direct", "none"];
const steps: [name: string, run: (folder: string) => Promise<void>][] = [];

function test(name: string, run: (folder: string) => Promise<void>): void {
  steps.push([name, run]);
}

test("started in unusual ways", async (folder) => {
  const preloaded = await library(folder);
  const starts: Record<string, Start> = {
    "as ever": plain,
    "no new privileges": under("setpriv", "--no-new-privs"),
    "PID 1": under("unshare", "-fp", "--mount-proc"),
    "a user namespace": under("unshare", "-Ur"),
    "without address randomisation": under("setarch", "-R"),
    "the legacy memory layout": under("setarch", "-R", "-L"),
    "a small stack": shell("ulimit -s 1024"),
    "a stack without limit": shell("ulimit -s unlimited"),
    "few descriptors": shell("ulimit -n 64"),
    "no locked memory": shell("ulimit -l 0"),
    "no standard input": shell("exec <&-"),
    "strace": under("strace", "-f", "-o", "/dev/null"),
    "by ld.so": (binary, args, env) => [
      "env",
      "-i",
      ...words(env),
      ...[`/lib64/ld-linux-x86-64.so.2`, "/lib/ld-linux-aarch64.so.1"]
        .filter((path) => path.includes(Deno.build.arch === "x86_64" ? "x86-64" : "aarch64")),
      binary,
      ...args,
    ],
    "LD_BIND_NOW": (binary, args, env) => plain(binary, args, { ...env, LD_BIND_NOW: "1" }),
    "LD_PRELOAD": (binary, args, env) => plain(binary, args, { ...env, LD_PRELOAD: preloaded }),
    "LD_LIBRARY_PATH": (binary, args, env) =>
      plain(binary, args, { ...env, LD_LIBRARY_PATH: folder }),
    "GLIBC_TUNABLES": (binary, args, env) =>
      plain(binary, args, { ...env, GLIBC_TUNABLES: "glibc.rtld.optional_static_tls=2048" }),
    "a large environment": (binary, args, env) =>
      plain(binary, args, { ...env, X: "x".repeat(100_000) }),
  };
  for (const [what, start] of Object.entries(starts)) {
    // What this machine lets nobody do says nothing about us.
    if ((await run(start("/bin/true", [], { PATH: "/bin" }))).code !== 0) {
      console.log(`not tried, since nothing starts so here: ${what}`);
      continue;
    }
    for (const variant of variants) {
      // By ld.so Deno looks for the program in ld.so's own file, with and without front door.
      if (what === "by ld.so") {
        const cni = await run(
          start(BINARIES[variant], [], { CNI_COMMAND: "VERSION", PATH: "/bin" }),
        );
        if (variant !== "none") {
          assert.equal(cni.stdout, VERSION_ANSWER, `${variant}: ${cni.stderr}`);
        }
        continue;
      }
      await bothAnswer(variant, start, what, variant === "none" || what === "no standard input");
    }
  }
});

test("a library that is to be loaded first is, wherever Deno is started", async (folder) => {
  const env = { LD_PRELOAD: await library(folder), PATH: "/bin", DENO_NO_UPDATE_CHECK: "1" };
  for (const variant of variants) {
    const { stderr } = await run(plain(BINARIES[variant], ["version", "--client"], env));
    assert.match(stderr, /^preloaded$/m, variant);
  }
});

test("a root folder with glibc and libgcc_s alone; by descriptor; as nobody", async (folder) => {
  for (const variant of variants) {
    const binary = BINARIES[variant];
    const root = await bareRoot(folder, binary);
    const script = `mount -t proc proc ${root}/proc && mount --bind /dev ${root}/dev && exec "$@"`;
    await bothAnswer(
      variant,
      (_, args, env) =>
        [
          "unshare",
          "-m",
          "sh",
          "-c",
          script,
          "-",
          "env",
          "-i",
          ...words(env),
          "chroot",
          root,
          "/tortie",
          ...args,
        ].map((word) => word === "chroot" ? "/usr/sbin/chroot" : word),
      "chroot",
    );
    const python =
      "import os,sys;os.execve(os.open(sys.argv[1],os.O_RDONLY),sys.argv[1:],os.environ)";
    await bothAnswer(
      variant,
      (
        _,
        args,
        env,
      ) => ["env", "-i", ...words(env), "python3", "-c", python, `${root}/tortie`, ...args],
      "fexecve",
    );
    await Deno.chmod(root, 0o755);
    await bothAnswer(
      variant,
      (_, args, env) => [
        "setpriv",
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        "--no-new-privs",
        "--bounding-set=-all",
        "--inh-caps=-all",
        "env",
        "-i",
        ...words(env),
        `${root}/tortie`,
        ...args,
      ],
      "nobody",
    );
    await Deno.remove(root, { recursive: true });
  }
});

test("file, ldd, gdb and core files know the program", async (folder) => {
  const version = ["version", "--client"];
  const gdb = (...args: string[]) => run(["gdb", "-q", "-nx", "-batch", ...args]);
  for (const variant of variants) {
    const binary = BINARIES[variant];
    const { stdout: kind } = await run(["file", "-b", binary]);
    assert.match(kind, /^ELF 64-bit LSB pie executable,.* dynamically linked,/, variant);
    // The direct one has given its interpreter up.
    assert.equal(/, interpreter \//.test(kind), variant !== "direct", kind);
    const { stdout: libraries } = await run(["ldd", binary]);
    assert.match(libraries, /libc\.so\.6 => \//, variant);
    assert.doesNotMatch(libraries, /not found/, variant);

    const ran = await gdb("-ex", "run", "--args", binary, ...version);
    assert.match(ran.stdout, /Client Version: +\d/, `${variant}: ${ran.stderr}`);
    assert.match(ran.stdout, /exited normally/, variant);
    const call = await gdb("-ex", "set env CNI_COMMAND VERSION", "-ex", "run", binary);
    assert(call.stdout.includes(VERSION_ANSWER), `${variant}: ${call.stdout}`);
    assert.match(call.stdout, /exited normally/, variant);

    // A breakpoint in a library, for a gdb that starts it: the direct one's limit (cni/front/README.md).
    const started = await gdb(
      ...["-ex", "set breakpoint pending on", "-ex", "break __libc_start_main", "-ex", "run"],
      ...["-ex", "continue", "--args", binary, ...version],
    );
    assert.match(started.stdout, /Client Version: +\d/, `${variant}: ${started.stderr}`);
    const stopped = /Breakpoint 1, .*__libc_start_main/.test(started.stdout);
    assert.equal(stopped, variant !== "direct", `${variant}: ${started.stdout}`);

    // A process that waits: its backtrace, alive and from the kernel's core file.
    const child = new Deno.Command("bash", {
      args: ["-c", 'ulimit -c unlimited; exec "$0" validate -f -', binary],
      env: { CNI_COMMAND: "" },
      cwd: folder,
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      // Deno is up when it has threads.
      while ([...Deno.readDirSync(`/proc/${child.pid}/task`)].length < 2) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      const alive = await gdb(
        ...["-p", String(child.pid), "-ex", "bt 3", "-ex", "info sharedlibrary", "-ex", "detach"],
      );
      assert.match(alive.stdout, /#0 .*\n#1 /, `${variant}: ${alive.stdout}${alive.stderr}`);
      assert.match(alive.stdout, /\/libc\.so\.6/, `${variant}: ${alive.stdout}`);
    } finally {
      child.kill("SIGABRT");
      await child.stdin.close().catch(() => {});
      await child.status;
    }
    const pattern = (await Deno.readTextFile("/proc/sys/kernel/core_pattern")).trim();
    const core = [...Deno.readDirSync(folder)].map(({ name }) => name)
      .find((name) => name.startsWith("core"));
    // Where the machine sends core files elsewhere there is nothing to see here.
    if (!core && pattern.startsWith("core")) throw new Error(`${variant}: no core file`);
    if (!core) continue;
    const dead = await gdb(binary, `${folder}/${core}`, "-ex", "bt 3", "-ex", "info sharedlibrary");
    assert.match(dead.stdout, /#0 .*\n#1 /, `${variant}: ${dead.stdout}${dead.stderr}`);
    assert.match(dead.stdout, /libc\.so\.6/, variant);
    await Deno.remove(`${folder}/${core}`);
  }
});

Deno.test("front door: tools of others, and unusual starts", (t) =>
  withBinaries(async (_, binaries) => {
    await setup(["test"], NEEDS);
    BINARIES = binaries;
    for (const [name, run] of steps) {
      await t.step(name, async () => {
        const folder = await Deno.makeTempDir({ prefix: "tortie-tools-" });
        await Deno.chmod(folder, 0o755);
        try {
          await run(folder);
        } finally {
          await Deno.remove(folder, { recursive: true });
        }
      });
    }
  }));
