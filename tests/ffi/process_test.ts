/** Starting processes, waiting for them, and knowing them again. */
import assert from "node:assert/strict";
import { isKernelError } from "../../ffi/errors.ts";
import { readText } from "../../ffi/file.ts";
import { inNetns, Netns } from "../../ffi/netns.ts";
import { identify, isAlive, MemoryFile, signal, spawn, wait } from "../../ffi/process.ts";
import { Scratch, test, until } from "./scratch.ts";

const utf8 = new TextEncoder();

/** Runs a shell command to its end; how it ended and what it printed. */
async function sh(command: string, more: Partial<Parameters<typeof spawn>[0]> = {}) {
  const stdout = new MemoryFile();
  try {
    const pid = spawn({
      path: "/bin/sh",
      argv: ["sh", "-c", command],
      env: { PATH: "/usr/bin:/bin", WORD: "ünïcode" },
      stdout: stdout.fd,
      stderr: stdout.fd,
      ...more,
    });
    const ended = await wait(pid);
    return { ...ended, text: stdout.text() };
  } finally {
    stdout.close();
  }
}

test("a process gets its arguments, its environment and its input, and tells how it ended", async () => {
  const input = new MemoryFile(utf8.encode("from within\n"));
  try {
    const { exit, text } = await sh("cat; echo $WORD; exit 7", { stdin: input.fd });
    assert.deepEqual([exit, text], [7, "from within\nünïcode\n"]);
  } finally {
    input.close();
  }
  assert.deepEqual(await sh("kill -9 $$"), { signal: 9, text: "" });
  assert.equal((await sh("env | grep -c .")).text.trim(), "3"); // PATH, WORD and sh's own PWD
});

test("a process runs in the namespace that was named, and inherits nothing of ours", async () => {
  using a = new Scratch();
  const inside = inNetns(a.netns, () => Deno.readLinkSync("/proc/thread-self/ns/net"));
  assert.equal((await sh("readlink /proc/self/ns/net", { netns: a.netns })).text.trim(), inside);
  using here = Netns.current();
  void here;
  // Descriptors of ours stay ours: 0, 1, 2 and the one that ls reads with.
  assert.equal((await sh("ls /proc/self/fd | wc -l")).text.trim(), "4");
  // A pipe whose reader is gone ends a child, as a shell expects: the runtime ignores that signal.
  const status = readText("/proc/self/status");
  assert.match(status, /SigIgn:\s+[0-9a-f]*1[0-9a-f]{3}$/m, "the runtime ignores SIGPIPE");
  assert.match((await sh("grep SigIgn /proc/self/status")).text, /SigIgn:\s+[0-9a-f]*0{7}$/m);
  assert.match((await sh("grep SigBlk /proc/self/status")).text, /SigBlk:\s+0+$/m);
});

test("a detached process has a session of its own and is known again by pid and start time", async () => {
  const pid = spawn({ path: "/bin/sleep", argv: ["sleep", "60"], env: {}, detached: true });
  const ended = wait(pid);
  try {
    const known = identify(pid)!;
    assert.equal(known.pid, pid);
    assert.ok(isAlive(known));
    const session = readText(`/proc/${pid}/stat`).replace(/^.*\) /s, "").split(" ")[3];
    assert.equal(session, String(pid));
    // Another process that got this pid later would have another start time: it is let alone.
    const impostor = { pid, startTime: String(Number(known.startTime) - 1) };
    assert.equal(isAlive(impostor), false);
    assert.equal(signal(impostor, 9), false);
    assert.ok(isAlive(known));
    assert.equal(signal(known, 15), true);
    assert.deepEqual(await ended, { signal: 15 });
    assert.equal(signal(known, 15), false);
    assert.equal(identify(pid), undefined);
  } finally {
    if (identify(pid)) signal(identify(pid)!, 9);
  }
});

test("a process starts in the directory that was named", async () => {
  assert.equal((await sh("pwd", { cwd: "/usr/bin" })).text, "/usr/bin\n");
  assert.throws(
    () => spawn({ path: "/bin/true", argv: ["true"], env: {}, cwd: "/nosuch" }),
    (error) => isKernelError(error, "ENOENT"),
  );
});

test("what cannot be started is said at once", () => {
  assert.throws(
    () => spawn({ path: "/nosuch", argv: ["x"], env: {} }),
    (error) => isKernelError(error, "ENOENT") && /start \/nosuch/.test(error.message),
  );
  assert.throws(
    () => spawn({ path: "/etc/passwd", argv: ["x"], env: {} }),
    (error) => isKernelError(error, "EACCES"),
  );
  assert.throws(() => spawn({ path: "/bin/true", argv: ["a\0b"], env: {} }), TypeError);
});

test("fifty at once, each told apart", async () => {
  const ends = await Promise.all(
    Array.from({ length: 50 }, (_, n) => sh(`echo ${n}; exit ${n}`)),
  );
  assert.deepEqual(ends.map((e) => e.exit), Array.from({ length: 50 }, (_, n) => n));
  assert.deepEqual(ends.map((e) => e.text), Array.from({ length: 50 }, (_, n) => `${n}\n`));
  await until("no ashes are left", () => {
    const children = readText(`/proc/self/task/${Deno.pid}/children`);
    return children.trim() === "";
  });
});
