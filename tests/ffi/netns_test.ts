/** Namespaces, sysctls, files and locks on the real kernel. */
import assert from "node:assert/strict";
import { isKernelError } from "../../ffi/errors.ts";
import { appendText, FileLock, readText, writeText } from "../../ffi/file.ts";
import { createNetns, deleteNetns, inNetns, listNetns, Netns } from "../../ffi/netns.ts";
import { readSysctl, writeSysctl } from "../../ffi/sysctl.ts";
import { Scratch } from "./scratch.ts";

const refused = (...codes: string[]) => (error: unknown) => isKernelError(error, ...codes);
/** Where this thread is, by Netns's own word for it. */
function here(): string {
  using current = Netns.current();
  return current.identity;
}

Deno.test("namespaces are made, seen by ip, entered and left, and removed", async () => {
  const before = here();
  using a = new Scratch();
  using b = new Scratch();
  assert.equal(here(), before);
  const { stdout } = await new Deno.Command("ip", { args: ["netns", "list"] }).output();
  const names = new TextDecoder().decode(stdout);
  assert.match(names, new RegExp(`\\b${a.name}\\b`));
  assert.ok(listNetns().includes(b.name));

  const seen = inNetns(a.netns, () => [here(), inNetns(b.netns, here), here()]);
  assert.deepEqual(seen, [a.netns.identity, b.netns.identity, a.netns.identity]);
  assert.equal(here(), before);
  // As /proc has it.
  const number = inNetns(a.netns, () => Deno.readLinkSync("/proc/thread-self/ns/net"));
  assert.ok(number.includes(a.netns.identity.split(":")[1]), `${number} ${a.netns.identity}`);
  assert.notEqual(a.netns.identity, b.netns.identity);

  using again = Netns.open(`/var/run/netns/${a.name}`);
  assert.equal(again.identity, a.netns.identity);

  assert.throws(() => createNetns(a.name), refused("EEXIST"));
  deleteNetns(b.name);
  assert.throws(() => deleteNetns(b.name), refused("ENOENT"));
  assert.throws(() => Netns.open(b.name), refused("ENOENT"));
});

Deno.test("one that ip made is opened, and one of ours is deleted by ip", async () => {
  using ours = new Scratch();
  const theirs = `${ours.name}x`;
  const ip = (...args: string[]) => new Deno.Command("ip", { args }).output();
  assert.ok((await ip("netns", "add", theirs)).success);
  try {
    using opened = Netns.open(theirs);
    assert.notEqual(opened.identity, here());
  } finally {
    deleteNetns(theirs);
  }
  assert.ok((await ip("netns", "del", ours.name)).success);
  assert.ok(!listNetns().includes(ours.name));
  // Still open, so still alive.
  assert.equal(inNetns(ours.netns, here), ours.netns.identity);
});

Deno.test("we come back after an error, and from work that would go on without us", () => {
  const before = here();
  using a = new Scratch();
  assert.throws(() =>
    inNetns(a.netns, () => {
      throw new RangeError("within");
    }), RangeError);
  assert.equal(here(), before);
  assert.throws(() => inNetns(a.netns, () => Promise.resolve(1)), TypeError);
  assert.equal(here(), before);
});

Deno.test("what is no network namespace is said to be none", () => {
  const cases = [
    ["/etc/passwd", "EINVAL"],
    ["/", "EINVAL"],
    ["/proc/self/ns/mnt", "EINVAL"],
    ["/proc/1/ns/nosuch", "ENOENT"],
    ["nosuch-namespace", "ENOENT"],
    ["/etc/passwd/x", "ENOTDIR"],
  ];
  for (const [path, code] of cases) {
    assert.throws(() => Netns.open(path), refused(code), path);
  }
  assert.throws(() => Netns.open("/etc/pass\0wd"), TypeError);
  // A pipe without a writer: opening it must not wait for one.
  const folder = Deno.makeTempDirSync();
  try {
    const { success } = new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).outputSync();
    assert.ok(success);
    assert.throws(() => Netns.open(`${folder}/pipe`), refused("EINVAL"));
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
  for (const name of ["", ".", "..", "a/b"]) {
    assert.throws(() => createNetns(name), refused("EINVAL"), name);
  }
  const closed = Netns.current();
  closed.close();
  assert.throws(() => closed.fd, refused("EBADF"));
  assert.throws(() => inNetns(closed, here), refused("EBADF"));
});

Deno.test("sysctls are each namespace's own", async () => {
  using a = new Scratch();
  const outside = readSysctl("net/ipv4/ip_forward");
  writeSysctl("net/ipv4/ip_forward", 1, a.netns);
  assert.equal(readSysctl("net/ipv4/ip_forward", a.netns), "1");
  assert.equal(await a.run("cat", "/proc/sys/net/ipv4/ip_forward"), "1\n");
  writeSysctl("net/ipv4/ip_forward", "0", a.netns);
  assert.equal(await a.run("cat", "/proc/sys/net/ipv4/ip_forward"), "0\n");
  assert.equal(readSysctl("net/ipv4/ip_forward"), outside);

  await a.run("ip", "link", "add", "with.dot", "type", "veth", "peer", "name", "p");
  writeSysctl("net/ipv4/conf/with.dot/proxy_arp", 1, a.netns);
  assert.equal(await a.run("cat", "/proc/sys/net/ipv4/conf/with.dot/proxy_arp"), "1\n");

  assert.throws(() => readSysctl("net/ipv4/conf/nosuch/proxy_arp", a.netns), refused("ENOENT"));
  assert.throws(() => writeSysctl("net/ipv4/ip_forward", "words", a.netns), refused("EINVAL"));
  for (const path of ["net/../../etc/passwd", "/net/ipv4", "net//ipv4", ""]) {
    assert.throws(() => writeSysctl(path, 1), refused("ENOENT"), path);
  }
});

Deno.test("sysctls need no more than --allow-ffi", async () => {
  const code = `
    import { readSysctl } from ${JSON.stringify(new URL("../../ffi/sysctl.ts", import.meta.url))};
    console.log(readSysctl("kernel/ostype"));`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, code);
    const run = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--no-lock", "--no-prompt", "--allow-ffi", file],
    }).output();
    assert.equal(
      new TextDecoder().decode(run.stdout).trim(),
      "Linux",
      new TextDecoder().decode(run.stderr),
    );
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("files: text in, text out, umlauts across the buffer's edge", async () => {
  const file = await Deno.makeTempFile();
  try {
    const text = "x".repeat(4095) + "ü" + "y".repeat(5000);
    writeText(file, text);
    assert.equal(readText(file), text);
    writeText(file, "short");
    appendText(file, " and long");
    assert.equal(Deno.readTextFileSync(file), "short and long");
    assert.throws(() => readText(`${file}.nosuch`), refused("ENOENT"));
    assert.throws(() => writeText(`${file}.nosuch`, "x"), refused("ENOENT"));
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("a lock keeps other processes out until it is released", async () => {
  const file = await Deno.makeTempFile();
  try {
    const first = FileLock.tryAcquire(file);
    assert.ok(first);
    assert.equal(FileLock.tryAcquire(file), undefined);
    const flock = (...args: string[]) => new Deno.Command("flock", { args }).output();
    assert.equal((await flock("-n", file, "true")).code, 1);
    await assert.rejects(FileLock.acquire(file, 50), refused("ETIMEDOUT"));
    const waiting = FileLock.acquire(file, 5000);
    first.release();
    first.release();
    const second = await waiting;
    assert.equal((await flock("-n", file, "true")).code, 1);
    second.release();
    assert.equal((await flock("-n", file, "true")).code, 0);
  } finally {
    await Deno.remove(file);
  }
});
