/**
 * The native front door beside the plugin in TypeScript: the same calls, ordinary and not, to the
 * executables with and to the one without it, which must print the same bytes and end with the same code.
 * The node service is one of the test's own here, which answers as it is told, so that what goes over the
 * socket is compared too.
 */
import assert from "node:assert/strict";
import { VERSION_ANSWER } from "../../cni/versions.ts";
import { run } from "../cni/harness.ts";
import { memoryOf } from "./memory.ts";
import { withBinaries } from "./binaries.ts";

/** The executables with a front door, and the one without. */
let FRONTS: readonly string[] = [], PLAIN = "";

/** What the service does with a connection after it has read the request. */
type Answer = (socket: Deno.UnixConn) => Promise<void>;

const text = (...parts: string[]): Answer => async (socket) => {
  for (const part of parts) {
    await socket.write(new TextEncoder().encode(part));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
};
const RESULT = '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.1/32"}]}\n';
const sized = (exit: number, body: string) => `${exit} ${body.length}\n${body}`;

class World {
  readonly requests: string[] = [];
  readonly folder = Deno.makeTempDirSync({ prefix: "tortie-front-" });
  answer: Answer = text(sized(0, RESULT));
  #listener: Deno.UnixListener | undefined;
  #tasks = new Set<Promise<void>>();

  get socket(): string {
    return `${this.folder}/tortie.sock`;
  }

  listen(path = this.socket): void {
    const listener = this.#listener = Deno.listen({ transport: "unix", path });
    const accept = async () => {
      for await (const socket of listener) {
        const task = this.#serve(socket).catch(() => {}).finally(() => this.#tasks.delete(task));
        this.#tasks.add(task);
      }
    };
    this.#tasks.add(accept().catch(() => {}));
  }

  async #serve(socket: Deno.UnixConn): Promise<void> {
    try {
      const parts: Uint8Array[] = [];
      const buffer = new Uint8Array(65536);
      for (let n; (n = await socket.read(buffer)) !== null;) parts.push(buffer.slice(0, n));
      const request = parts.map((part) => new TextDecoder("latin1").decode(part)).join("");
      // A front door that leaves a call to Deno has connected before it knew.
      if (request === "") return;
      this.requests.push(request);
      await this.answer(socket);
    } finally {
      socket.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener?.close();
    await Promise.all(this.#tasks);
    await Deno.remove(this.folder, { recursive: true });
  }
}

interface Call {
  readonly env?: Record<string, string | undefined>;
  readonly stdin?: string | Uint8Array;
  readonly args?: readonly string[];
  readonly argv0?: string;
  /** Words of sh before the program: `exec <&-; `, `ulimit …; `. */
  readonly shell?: string;
  readonly after?: string;
}

const CONF = '{"cniVersion":"1.0.0","name":"net","type":"tortie"}';

async function call(binary: string, world: World, one: Call) {
  const env = {
    PATH: "/usr/bin:/bin",
    HOME: "/nonexistent",
    TORTIE_RUN_DIR: world.folder,
    TORTIE_STORE: `${world.folder}/none.kv`,
    TORTIE_CALICO_DIR: world.folder,
    CNI_COMMAND: "ADD",
    CNI_CONTAINERID: "c1",
    CNI_IFNAME: "eth0",
    CNI_NETNS: "/run/netns/none",
    CNI_PATH: "/opt/cni/bin",
    ...one.env,
  };
  const words = `${one.shell ?? ""}exec -a '${one.argv0 ?? "tortie"}' "$0" "$@" ${one.after ?? ""}`;
  return await run(["bash", "-c", words, binary, ...one.args ?? []], {
    stdin: one.stdin ?? CONF,
    env: Object.fromEntries(
      Object.entries(env).filter(([, value]) => value !== undefined),
    ) as Record<string, string>,
    clearEnv: true,
  });
}

/** The environment has no order, and this process gives it none. */
function sorted(request: string): string[] {
  const [head, ...stdin] = request.split("\0\0");
  return [...head.split("\0").sort(), ...stdin];
}

/** All executables, one after the other; what they print and what the service was sent is the same. */
async function same(world: World, one: Call) {
  const seen = [];
  for (const binary of [...FRONTS, PLAIN]) {
    const from = world.requests.length;
    const { code, signal, stdout } = await call(binary, world, one);
    seen.push({ code, signal, stdout, requests: world.requests.slice(from).map(sorted) });
  }
  for (const front of seen.slice(0, -1)) assert.deepEqual(front, seen.at(-1));
  return seen[0];
}

const LITTLE_MEMORY = "ulimit -v 300000; ";

const steps: [name: string, run: (world: World) => Promise<void>][] = [];

function test(name: string, run: (world: World) => Promise<void>): void {
  steps.push([name, run]);
}

test("an ordinary call needs no Deno, which could not even start", async (world) => {
  world.listen();
  for (const front of FRONTS) {
    const quick = await call(front, world, { shell: LITTLE_MEMORY });
    assert.deepEqual([quick.code, quick.stdout], [0, RESULT]);
    const env = { CNI_COMMAND: "VERSION" };
    const version = await call(front, world, { shell: LITTLE_MEMORY, env });
    assert.deepEqual([version.code, version.stdout], [0, VERSION_ANSWER]);
  }
  assert.notEqual((await call(PLAIN, world, { shell: LITTLE_MEMORY })).code, 0);
});

test("the same requests, answers and codes", async (world) => {
  world.listen();
  for (const command of ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "JUMP", "VERSION "]) {
    await same(world, { env: { CNI_COMMAND: command } });
  }
  for (
    const argv0 of ["tortie", "tortie-ipam", "/opt/cni/bin/calico", "calico-ipam", "./x/", "ü"]
  ) {
    const { requests } = await same(world, { argv0 });
    assert.equal(requests.length, 1, argv0);
  }
  for (
    const env of [
      { CNI_ARGS: "K8S_POD_NAME=a;K8S_POD_NAMESPACE=b;IgnoreUnknown=1" },
      { CNI_ARGS: "name=müller" },
      { CNI_ARGS: "" },
      { CNI_NETNS: undefined, CNI_X: 'a"b\\c\nd' },
      { CNI_ARGS: "x".repeat(7000) },
      { CNI_ARGS: "x".repeat(100_000) },
      { OTHER: "x".repeat(100_000) },
      Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`CNI_${i}`, String(i)])),
    ]
  ) {
    const { requests } = await same(world, { env });
    assert.equal(requests.length, 1, JSON.stringify(env).slice(0, 100));
  }
});

test("standard input of every size and kind", async (world) => {
  world.listen();
  const mega = 1 << 20;
  for (
    const [stdin, sent] of [
      ["", 1],
      ["\n", 1],
      ["no JSON", 1],
      [new Uint8Array([0, 255, 254, 0]), 1],
      [CONF + " ".repeat(70_000), 1],
      [CONF + " ".repeat(mega - CONF.length), 0],
      [CONF + " ".repeat(mega + 1 - CONF.length), 0],
      ["x".repeat(3 * mega), 0],
      ['{"a":"\\u0041"}', 1],
    ] as [string | Uint8Array, number][]
  ) {
    const { requests } = await same(world, { stdin });
    assert.equal(requests.length, sent, `${stdin.length}`);
  }
  await same(world, { shell: "exec <&-; " });
  await same(world, { shell: "exec </; " });
  await same(world, { shell: "exec </dev/null; " });
  // Byte by byte, and slowly.
  await same(world, { shell: `(echo -n '{"a'; sleep 0.2; echo '":1}') | `, stdin: "" });
});

test("a socket that the configuration names, while another service listens at the usual one", async (world) => {
  await using other = new World();
  other.listen();
  world.listen();
  world.answer = text(sized(1, "the wrong one\n"));
  const named = JSON.stringify({ type: "tortie", tortie: { socket: other.socket } });
  for (
    const stdin of [
      named,
      named.replace('"tortie":', '"tortie" \n\t:'),
      named.replace('"tortie":', '"t\\u006frtie":'),
      named.replace("{", '{"x":"\\"tortie\\"",'),
      named + " ".repeat(100_000),
    ]
  ) {
    const before = other.requests.length;
    const { stdout, requests } = await same(world, { stdin });
    assert.equal(stdout, RESULT, stdin);
    assert.deepEqual([requests.length, other.requests.length - before], [0, FRONTS.length + 1]);
  }
});

test("a variable that stands twice", async (world) => {
  world.listen();
  const python = `import os,sys
env=[b"PATH=/bin",b"CNI_CONTAINERID=c",b"CNI_IFNAME=e",b"TORTIE_CALICO_DIR=/nonexistent"]
env+=[word.encode() for word in sys.argv[3:]]
import ctypes
c=ctypes.CDLL(None)
argv=(ctypes.c_char_p*2)(b"tortie",None)
c.execve(sys.argv[1].encode(),argv,(ctypes.c_char_p*(len(env)+1))(*env,None))`;
  for (
    const words of [
      [`TORTIE_RUN_DIR=${world.folder}`, "CNI_COMMAND=VERSION", "CNI_COMMAND=DEL"],
      [`TORTIE_RUN_DIR=${world.folder}`, "CNI_COMMAND=DEL", "CNI_COMMAND=VERSION"],
      [`TORTIE_RUN_DIR=${world.folder}`, "TORTIE_RUN_DIR=/nonexistent", "CNI_COMMAND=STATUS"],
      ["TORTIE_RUN_DIR=/nonexistent", `TORTIE_RUN_DIR=${world.folder}`, "CNI_COMMAND=STATUS"],
      [`TORTIE_RUN_DIR=${world.folder}`, "CNI_COMMAND=DEL", "CNI_ARGS=a", "CNI_ARGS=b"],
    ]
  ) {
    const outcomes = [];
    for (const binary of [...FRONTS, PLAIN]) {
      const from = world.requests.length;
      const { code, stdout } = await run(["python3", "-c", python, binary, "", ...words], {
        stdin: CONF,
      });
      outcomes.push({ code, stdout, requests: world.requests.slice(from).map(sorted) });
    }
    for (const front of outcomes.slice(0, -1)) {
      assert.deepEqual(front, outcomes.at(-1), words.join(" "));
    }
  }
});

test("little room for files, and standard input that does not block or comes late", async (world) => {
  world.listen();
  await same(world, { shell: "ulimit -f 512; " });
  await same(world, { shell: "ulimit -f 1; ", stdin: CONF + " ".repeat(100_000) });
  const named = JSON.stringify({ tortie: { socket: world.socket } });
  for (const size of [5_000, 100_000, 1_000_000, 2_000_000]) {
    await same(world, { shell: "ulimit -f 4; ", stdin: named + " ".repeat(size) });
  }
  const unblocked = `import os,sys;os.set_blocking(0,False);os.execv(sys.argv[1],["tortie"])`;
  const slow =
    `(printf '{"na'; sleep 0.3; printf 'me":1}') | python3 -c '${unblocked}' "$0"; exit; `;
  const { requests } = await same(world, { shell: slow, stdin: "" });
  assert.match(requests[0].join(), /\{"name":1\}/);
});

test("arguments beside CNI_COMMAND, and an empty CNI_COMMAND", async (world) => {
  world.listen();
  await same(world, { args: ["get", "nodes"] });
  await same(world, { args: ["version", "--client"], env: { CNI_COMMAND: "" } });
  await same(world, { args: ["version", "--client"], env: { CNI_COMMAND: undefined } });
});

test("whatever the service answers", async (world) => {
  world.listen();
  const answers: Record<string, Answer> = {
    "nothing to print": text("0 0\n"),
    "an error": text(sized(1, '{"code":7}\n')),
    "other codes": text(sized(42, "x\n")),
    "codes beyond a byte": text("999 0\n"),
    "no newline at the end": text(sized(0, "abc")),
    "one byte": text(sized(0, "\n")),
    "one byte that is no newline": text(sized(0, "x")),
    "in pieces": text("0", " ", "5", "\n", "ab", "cd", "\n"),
    "more than it said": text("0 4\nabc\nmore"),
    "large": text(sized(0, "y".repeat((1 << 20) - 1) + "\n")),
    "too large": text("0 1048577\n"),
    "closed at once": text(),
    "closed in the head": text("0 1"),
    "closed in the body": text("0 10\nabc"),
    "closed before the last byte": text("0 4\nabc"),
    "garbage": text("hello\n"),
    "garbage without end": text("0 0000000000000000000000000\n"),
    "negative": text("-1 0\n"),
    "no number": text("0 \n"),
    "four digits": text("0000 0\n"),
    "two spaces": text("0  0\n"),
    "NUL": text("0\0 0\n"),
    "NUL behind the length": text("0 3\0x\nab\n"),
  };
  for (const [name, answer] of Object.entries(answers)) {
    world.answer = answer;
    const { requests } = await same(world, {});
    assert.equal(requests.length, 1, name);
  }
});

test("a caller who does not read", async (world) => {
  world.listen();
  world.answer = text(sized(0, "y".repeat(200_000) + "\n"));
  assert.equal((await same(world, { after: ">&-" })).code, 0);
  assert.equal((await same(world, { after: ">/dev/full" })).code, 1);
  assert.equal((await same(world, { after: "1</dev/null" })).code, 0);
  assert.equal(
    (await same(world, { env: { CNI_COMMAND: "VERSION" }, after: ">/dev/full" })).code,
    1,
  );
  assert.equal((await same(world, { env: { CNI_COMMAND: "VERSION" }, after: ">&-" })).code, 0);
  // Standard output is a pipe that nobody reads any more.
  const shell = "exec > >(exec true); sleep 0.2; ";
  assert.equal((await same(world, { shell })).code, 1);
});

test("nobody listens, no socket, another file in its place, a path too long", async (world) => {
  const { stdout } = await same(world, {});
  assert.match(stdout, /"code":11/);
  for (const command of ["DEL", "STATUS", "CHECK", "GC"]) {
    await same(world, { env: { CNI_COMMAND: command } });
  }
  Deno.writeTextFileSync(world.socket, "");
  await same(world, {});
  await same(world, { env: { TORTIE_RUN_DIR: "/" + "x".repeat(120) } });
  await same(world, { env: { TORTIE_RUN_DIR: "/" + "x".repeat(300) } });
  await same(world, { env: { TORTIE_RUN_DIR: `${world.folder}/"quoted"` } });
  // Where `..` leads depends on who resolves it: not beside the link, for Deno.
  await Deno.mkdir(`${world.folder}/far/below`, { recursive: true });
  await Deno.symlink(`${world.folder}/far/below`, `${world.folder}/link`);
  world.listen(`${world.folder}/far/tortie.sock`);
  await same(world, { env: { TORTIE_RUN_DIR: "run" } });
  for (const dots of ["link/..", "link/../far", "far/..", "./far", "far//below"]) {
    await same(world, { env: { TORTIE_RUN_DIR: `${world.folder}/${dots}` } });
  }
});

test("a full queue: the call waits for its turn", async (world) => {
  // A listener whose queue has one place and that accepts only later.
  const python = `import socket,sys,time
s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);s.listen(0)
w=socket.socket(socket.AF_UNIX);w.connect(sys.argv[1])
print("full",flush=True);time.sleep(1)
s.accept()
c,_=s.accept()
while c.recv(65536): pass
c.sendall(b"0 3\\nok\\n");c.recv(1)
time.sleep(0.2)`;
  for (const binary of [...FRONTS, PLAIN]) {
    const listener = new Deno.Command("python3", {
      args: ["-c", python, world.socket],
      stdout: "piped",
    }).spawn();
    const reader = listener.stdout.getReader();
    await reader.read();
    const { code, stdout } = await call(binary, world, {});
    assert.deepEqual([code, stdout], [0, "ok\n"]);
    await reader.cancel();
    await listener.status;
    await Deno.remove(world.socket);
  }
});

test("Deno finds the memory that it would have without: the same rights, every sealed word in place", async () => {
  const plain = await memoryOf(PLAIN, PLAIN);
  assert(plain.words > 10_000);
  assert.equal(plain.others.sealed, 0);
  for (const front of FRONTS) {
    const { pages, others } = await memoryOf(front, PLAIN);
    assert.deepEqual(others, plain.others);
    // Its own code lies behind all else.
    assert.deepEqual(pages.slice(0, plain.pages.length), plain.pages);
    const own = pages.slice(plain.pages.length);
    assert.deepEqual(new Set(own.filter((rights) => rights !== "")), new Set(["r-x"]));
  }
});

Deno.test("front door: the same answers as without", (t) =>
  withBinaries(async (_, { loaded, direct, none }) => {
    FRONTS = [loaded, direct];
    PLAIN = none;
    for (const [name, run] of steps) {
      await t.step(name, async () => {
        await using world = new World();
        await run(world);
      });
    }
  }));
