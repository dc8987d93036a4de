/**
 * The native front door on other C libraries and an older kernel, in a container, on arm64 under emulation,
 * under perf, and before a service that takes a call and never answers. C libraries come from Debian's
 * mirror, and are unpacked, not installed; where that cannot be reached the test fails and says so.
 */
import assert from "node:assert/strict";
import { VERSION_ANSWER } from "../../cni/versions.ts";
import { build } from "../../installer/build/build.ts";
import { unpackDebian } from "../../installer/build/debian.ts";
import { crossNeeds, setup } from "../../installer/build/setup.ts";
import { run } from "../cni/harness.ts";
import { withBinaries } from "../front/binaries.ts";

const VM_RUN = new URL("../tools/vm-run", import.meta.url).pathname;
const QEMU = "/usr/bin/qemu-aarch64-static";

/** A root folder with the C library and libgcc_s of a release. */
async function rootOf(release: string, root: string): Promise<void> {
  await unpackDebian(["libc6", "libgcc-s1"], { arch: Deno.build.arch, release }, root);
  for (const name of ["lib", "lib64"]) {
    const there = await Deno.lstat(`${root}/${name}`).catch(() => undefined);
    if (!there) await Deno.symlink(`usr/${name}`, `${root}/${name}`);
  }
  for (const name of ["proc", "dev", "tmp"]) await Deno.mkdir(`${root}/${name}`);
}

/** Bytes of memory in which Deno cannot start, so that it is the front door that answers. */
const LITTLE = 300_000_000;

/** `memory`: how much it may have, where that is bounded. */
type Start = (env: string[], args: string[], memory?: number) => string[];

async function bothAnswer(start: Start, what: string, hasFront = true) {
  const cni = await run(start(["CNI_COMMAND=VERSION"], [], hasFront ? LITTLE : undefined));
  assert.equal(cni.stdout, VERSION_ANSWER, `${what}: ${cni.stderr}`);
  const deno = await run(start(["DENO_NO_UPDATE_CHECK=1"], ["version", "--client"]));
  assert.match(deno.stdout, /^Client Version: +\d/, `${what}: ${deno.stderr}`);
}

Deno.test("front door: glibc 2.31 (bullseye), 2.41 (trixie) and the newest (sid)", () =>
  withBinaries(async (folder, binaries) => {
    for (const release of ["bullseye", "trixie", "sid"]) {
      const root = `${folder}/${release}`;
      await rootOf(release, root);
      const script = (memory?: number) =>
        [
          `mount -t proc proc ${root}/proc && mount --bind /dev ${root}/dev`,
          ...(memory ? [`ulimit -v ${memory / 1000}`] : []),
          'exec "$@"',
        ].join(" && ");
      for (const [variant, binary] of Object.entries(binaries)) {
        await Deno.copyFile(binary, `${root}/tortie`);
        await bothAnswer(
          (env, args, memory) => [
            ...["unshare", "-m", "sh", "-c", script(memory), "-", "env", "-i", ...env],
            ...["/usr/sbin/chroot", root, "/tortie", ...args],
          ],
          `${release}, ${variant}`,
          variant !== "none",
        );
        await Deno.remove(`${root}/tortie`);
      }
      await Deno.remove(root, { recursive: true });
    }
  }));

Deno.test("front door: in a container of runc's", async () => {
  await setup(["test"], [{ package: "runc", files: ["/usr/sbin/runc"], purpose: "test" }]);
  await withBinaries(async (folder, binaries) => {
    const root = `${folder}/rootfs`;
    await rootOf("bookworm", root);
    assert.equal((await run(["runc", "spec", "--bundle", folder])).code, 0);
    const spec = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
    for (const [variant, binary] of Object.entries(binaries)) {
      await Deno.copyFile(binary, `${root}/tortie`);
      await bothAnswer(
        (env, args, memory) => {
          const rlimits = memory && [{ type: "RLIMIT_AS", hard: memory, soft: memory }];
          const process = {
            ...{ ...spec.process, terminal: false, env, args: ["/tortie", ...args] },
            ...(rlimits && { rlimits }),
          };
          const config = { ...spec, process, root: { path: "rootfs", readonly: true } };
          Deno.writeTextFileSync(`${folder}/config.json`, JSON.stringify(config));
          const name = `tortie-front-${crypto.randomUUID().slice(0, 8)}`;
          return ["runc", "--root", `${folder}/state`, "run", "--bundle", folder, name];
        },
        variant,
        variant !== "none",
      );
      await Deno.remove(`${root}/tortie`);
    }
  });
});

Deno.test("front door: for arm64, under emulation", async () => {
  const arch = Deno.build.arch === "aarch64" ? "x86_64" : "aarch64";
  assert.equal(arch, "aarch64", "this test emulates arm64 on x86-64");
  await setup(["build"], [
    ...crossNeeds(arch),
    { package: "qemu-user-static", files: [QEMU], purpose: "build" },
  ]);
  const folder = await Deno.makeTempDir({ prefix: "tortie-front-" });
  try {
    const root = `${folder}/root`;
    await unpackDebian(["libc6", "libgcc-s1"], { arch, release: "bookworm" }, root);
    for (const front of ["loaded", "direct"] as const) {
      const output = `${folder}/${front}`;
      await build({ output, arch, front });
      await bothAnswer(
        (env, args) => ["env", "-i", ...env, QEMU, "-L", root, output, ...args],
        front,
      );
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("front door: a service that never answers is left after two minutes, with its name", () =>
  withBinaries(async (folder, binaries) => {
    const sockets: Deno.Conn[] = [];
    /** A service in a folder of its own, which sends so much at once and then nothing. */
    const hung = (name: string, sent: string) => {
      Deno.mkdirSync(`${folder}/${name}`);
      const listener = Deno.listen({ transport: "unix", path: `${folder}/${name}/tortie.sock` });
      const accepting = (async () => {
        for await (const socket of listener) {
          sockets.push(socket);
          await socket.write(new TextEncoder().encode(sent));
        }
      })().catch(() => {});
      return { folder: `${folder}/${name}`, close: () => (listener.close(), accepting) };
    };
    const silent = hung("silent", ""), cut = hung("cut", "0 3\n{}");
    const cases = [
      { service: silent, stdin: "{}" },
      // More than the socket takes, so that the request itself cannot be sent.
      { service: silent, stdin: "{}" + " ".repeat(1_000_000) },
      { service: cut, stdin: "{}" },
    ];
    try {
      await Promise.all(cases.map(async ({ service, stdin }) => {
        const call = (binary: string) =>
          run([binary], {
            stdin,
            env: { TORTIE_RUN_DIR: service.folder, CNI_COMMAND: "DEL", CNI_CONTAINERID: "c" },
            clearEnv: true,
          });
        const ends = await Promise.all(Object.values(binaries).map(call));
        for (const { code, stdout } of ends) {
          assert.equal(code, 1);
          assert.match(stdout, /"code":11,.*did not answer within 120 s; try again\."\}\n$/);
          assert.equal(stdout, ends.at(-1)!.stdout);
        }
      }));
    } finally {
      for (const socket of sockets) socket.close();
      await Promise.all([silent.close(), cut.close()]);
    }
  }));

Deno.test("front door: an older kernel (6.1, User Mode Linux)", () =>
  withBinaries(async (_, binaries) => {
    for (const [variant, binary] of Object.entries(binaries)) {
      await bothAnswer(
        (env, args) => [VM_RUN, "--", "env", "-i", ...env, binary, ...args],
        variant,
      );
    }
  }));

/** Without the overlay of vm-run, which this kernel has no use for: it runs on this machine's own files. */
Deno.test("front door: Linux 5.10 (User Mode Linux of bullseye)", () =>
  withBinaries(async (folder, binaries) => {
    const cache = `${folder}/vm`, uml = `${cache}/uml`;
    await Deno.mkdir(cache);
    await unpackDebian(["user-mode-linux"], { arch: Deno.build.arch, release: "bullseye" }, uml);
    await Deno.writeTextFile(`${uml}/ok`, ""); // what vm-run takes for its own, and prepares the rest of
    const prepared = await run([VM_RUN, "--prepare"], { env: { VM_RUN_CACHE: cache } });
    assert.equal(prepared.code, 0, prepared.stderr);
    for (const [variant, binary] of Object.entries(binaries)) {
      const init = `${folder}/init`, out = `${folder}/out`;
      const little = variant === "none" ? "" : "ulimit -v 300000; "; // too little for Deno
      await Deno.writeTextFile(
        init,
        `#!/bin/sh
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin
         mount -t proc proc /proc
         exec > ${out} 2> ${out}.err
         uname -r
         (${little}CNI_COMMAND=VERSION ${binary})
         ${binary} version --client
         echo code $?
         sync
         busybox poweroff -f`,
        { mode: 0o755 },
      );
      await run([
        `${uml}/usr/bin/linux.uml`,
        ...["rootfstype=hostfs", "root=/dev/root", "rootflags=/", "rw", "mem=1024M", "panic=-1"],
        ...["con=null", "con0=null,fd:2", "quiet", `init=${init}`, `uml_dir=${folder}/`],
      ], { env: { LD_PRELOAD: `${uml}/fp.so` } });
      const told = await Deno.readTextFile(out);
      assert(told.startsWith(`5.10.`), told);
      assert(told.includes(VERSION_ANSWER), `${variant}: ${told}`);
      assert.match(told, /Client Version: +\d[^]*code 0\n$/, variant);
      await Deno.remove(out);
    }
  }));

Deno.test("front door: perf finds the program and its code", async () => {
  await setup(["test"], [{ package: "linux-perf", files: ["/usr/bin/perf"], purpose: "test" }]);
  await withBinaries(async (folder, binaries) => {
    for (const [variant, binary] of Object.entries(binaries)) {
      const data = `${folder}/perf.data`;
      const recorded = await run(["perf", "record", "-o", data, binary, "version", "--client"]);
      assert.equal(recorded.code, 0, `${variant}: ${recorded.stderr}`);
      assert.match(recorded.stdout, /Client Version/);
      const report = await run(["perf", "report", "-i", data, "--stdio", "--sort", "dso"]);
      assert.match(report.stdout, new RegExp(`% +${variant} *$`, "m"), report.stderr);
    }
  });
});
