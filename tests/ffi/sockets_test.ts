/** The reactor and what stands on it: Unix and TCP streams, listeners, datagrams. */
import assert from "node:assert/strict";
import { formatIp, mustIp } from "../../mod/net/mod.ts";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { isKernelError } from "../../ffi/errors.ts";
import { check, closeFd, libc, O_CLOEXEC, O_NONBLOCK } from "../../ffi/libc.ts";
import { reactor } from "../../ffi/reactor.ts";
import { RouteSocket, setLink } from "../../ffi/route/mod.ts";
import type { Stream } from "../../ffi/stream.ts";
import { connectTcp, listenTcp, type TcpStream } from "../../ffi/tcp.ts";
import { listenUnix, sendDatagram, type UnixStream } from "../../ffi/unix.ts";
import { pause, Scratch, test, until } from "./scratch.ts";

const utf8 = new TextEncoder();
const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const refused = (...codes: string[]) => (error: unknown) => isKernelError(error, ...codes);

async function readAll(stream: Stream): Promise<string> {
  let all = "";
  for (let part; (part = await stream.read());) all += text(part);
  return all;
}

/** A namespace whose loopback is up. */
function scratch(): Scratch {
  const made = new Scratch();
  using socket = RouteSocket.open(made.netns);
  socket.run(setLink("lo", { up: true }));
  return made;
}

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

test("reactor: a socket that is always ready starves neither timers nor promises", async () => {
  const fd = check(libc().eventfd(1, O_CLOEXEC | O_NONBLOCK), "eventfd");
  let calls = 0;
  const registration = reactor().add(fd, { write: true }, () => void calls++);
  try {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const started = performance.now();
    await pause(300);
    clearInterval(timer);
    assert.ok(calls > 1000, `only ${calls} calls`);
    assert.ok(ticks >= 15, `only ${ticks} of some 60 ticks`);
    assert.ok(performance.now() - started < 2000);
    registration.set({});
    await pause(20);
    const before = calls;
    await pause(50);
    assert.equal(calls, before, "nobody is called for nothing");
    registration.set({ read: true });
    await until("it is read", () => calls > before);
  } finally {
    registration.close();
    registration.close();
    closeFd(fd);
  }
});

test("reactor: one that is closed by another's call is not called any more", async () => {
  const fds = [1, 2].map(() => check(libc().eventfd(0, O_CLOEXEC | O_NONBLOCK), "eventfd"));
  const called: number[] = [];
  const registrations = fds.map((fd, i) =>
    reactor().add(fd, { read: true }, () => {
      called.push(i);
      registrations.forEach((r) => r.close());
    })
  );
  for (const fd of fds) libc().write(fd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 8n);
  await until("one is called", () => called.length > 0);
  await pause(30);
  assert.equal(called.length, 1);
  fds.forEach(closeFd);
});

test("reactor: the process ends when nothing is watched any more, and waits while it is", async () => {
  const module = (name: string) => JSON.stringify(new URL(`../../ffi/${name}`, import.meta.url));
  const program = `
    import { reactor } from ${module("reactor.ts")};
    import { libc } from ${module("libc.ts")};
    const fd = libc().eventfd(0, 0o2004000);
    const registration = reactor().add(fd, { read: true }, () => {
      console.log("called");
      registration.close();
    });
    setTimeout(() => libc().write(fd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 8n), 100);`;
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, program);
    const child = new Deno.Command("timeout", {
      args: ["20", Deno.execPath(), "run", "-A", "--no-lock", "--no-check", file],
    });
    const { code, stdout, stderr } = await child.output();
    assert.deepEqual([code, text(stdout)], [0, "called\n"], text(stderr));
  } finally {
    await Deno.remove(file);
  }
});

test("unix: who calls is known, the socket is its owner's, half-close is understood", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/api.sock`;
    const seen: [number, number][] = [];
    const listener = listenUnix(path, async (stream) => {
      seen.push([stream.peerPid, stream.peerUid]);
      const request = await readAll(stream); // to the peer's half-close
      await stream.write(utf8.encode(`got ${request.length}: ${request.slice(0, 5)}`));
      stream.close();
    });
    try {
      assert.equal(Deno.statSync(path).mode! & 0o777, 0o600);
      const conn = await Deno.connect({ transport: "unix", path });
      const request = utf8.encode("hello" + "x".repeat(3_000_000));
      for (let at = 0; at < request.length;) at += await conn.write(request.subarray(at));
      await conn.closeWrite();
      const answer = await new Response(conn.readable).text();
      assert.equal(answer, "got 3000005: hello");
      assert.deepEqual(seen, [[Deno.pid, 0]]);
      assert.throws(() => listenUnix(path, () => {}), refused("EADDRINUSE"));
    } finally {
      listener.close();
    }
    assert.throws(() => Deno.statSync(path), Deno.errors.NotFound);
  });
});

test("unix: a socket that a dead process left is replaced, a successor's is left alone", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/api.sock`;
    // Bound and closed without unlinking, as a process that is killed leaves it.
    const dead = Deno.listen({ transport: "unix", path: `${folder}/dead` });
    await Deno.rename(`${folder}/dead`, path);
    dead.close();
    const first = listenUnix(path, (stream) => stream.close());
    await Deno.remove(path);
    const second = listenUnix(path, async (stream) => {
      await stream.write(utf8.encode("second"));
      stream.close();
    });
    first.close();
    const conn = await Deno.connect({ transport: "unix", path });
    assert.equal(await new Response(conn.readable).text(), "second");
    second.close();
    assert.throws(
      () => listenUnix(`${folder}/${"x".repeat(120)}`, () => {}),
      refused("ENAMETOOLONG"),
    );
    assert.throws(() => listenUnix(`${folder}/nosuch/api.sock`, () => {}), refused("ENOENT"));
  });
});

test("unix: an answer that the peer does not read waits, and a peer that goes is an error", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/api.sock`;
    let server: UnixStream | undefined;
    const listener = listenUnix(path, (stream) => void (server = stream));
    try {
      const conn = await Deno.connect({ transport: "unix", path });
      await until("the connection", () => server !== undefined);
      const big = new Uint8Array(4 << 20).fill(7);
      let written = false;
      const writing = server!.write(big).then(() => void (written = true));
      await pause(50);
      assert.equal(written, false, "the kernel cannot have taken four megabytes");
      let got = 0;
      const buffer = new Uint8Array(1 << 16);
      while (got < big.length) got += (await conn.read(buffer)) ?? assert.fail("cut off");
      await writing;
      assert.equal(got, big.length);

      const reading = server!.read();
      conn.close();
      assert.equal(await reading, undefined);
      await assert.rejects(server!.write(big), refused("EPIPE", "ECONNRESET"));
      server!.close();
      await assert.rejects(server!.read(), refused("ECANCELED"));
    } finally {
      listener.close();
    }
  });
});

test("unix: two hundred callers at once are all served", async () => {
  await inFolder(async (folder) => {
    const path = `${folder}/api.sock`;
    const listener = listenUnix(path, async (stream) => {
      const request = await readAll(stream);
      await stream.write(utf8.encode(request.toUpperCase()));
      stream.close();
    });
    try {
      const answers = await Promise.all(Array.from({ length: 200 }, async (_, n) => {
        const conn = await Deno.connect({ transport: "unix", path });
        await conn.write(utf8.encode(`n${n}`));
        await conn.closeWrite();
        return await new Response(conn.readable).text();
      }));
      assert.deepEqual(answers, Array.from({ length: 200 }, (_, n) => `N${n}`));
    } finally {
      listener.close();
    }
  });
});

test("unix: a datagram reaches systemd's kind of socket, by path and by abstract name", async () => {
  await inFolder(async (folder) => {
    for (const path of [`${folder}/notify`, `@tortie-test-${Deno.pid}`]) {
      const fd = check(libc().socket(1, 2 | O_CLOEXEC | O_NONBLOCK, 0), "socket");
      try {
        const name = utf8.encode(path.replace(/^@/, "\0"));
        const address = new Uint8Array(2 + name.length);
        address.set([1, 0]);
        address.set(name, 2);
        check(libc().bind(fd, address, address.length), "bind");
        sendDatagram(path, "READY=1\nSTATUS=fine");
        const buffer = new Uint8Array(100);
        const length = check(libc().recv(fd, buffer, 100n, 0), "recv");
        assert.equal(text(buffer.subarray(0, length)), "READY=1\nSTATUS=fine");
      } finally {
        closeFd(fd);
      }
    }
    assert.throws(() => sendDatagram(`${folder}/nobody`, "x"), refused("ENOENT"));
  });
});

/** Accepts one connection; both ends. */
async function connected(
  listen: Parameters<typeof listenTcp>[0],
  connect: (port: number) => Parameters<typeof connectTcp>[0],
  prepare: (listener: ReturnType<typeof listenTcp>) => void = () => {},
) {
  let resolve: (stream: TcpStream) => void;
  const accepted = new Promise<TcpStream>((r) => void (resolve = r));
  const listener = listenTcp(listen, (stream) => resolve(stream));
  try {
    prepare(listener);
    const client = await connectTcp(connect(listener.port));
    return { client, server: await accepted };
  } finally {
    listener.close();
  }
}

for (
  const [family, address, other] of [[4, "127.0.0.1", "127.0.0.9"], [6, "::1", "::1"]] as const
) {
  test(`tcp over IPv${family}: in another namespace, from the address that was asked for`, async () => {
    using a = scratch();
    const { netns } = a;
    const { client, server } = await connected(
      { netns, local: { ip: mustIp(address), port: 0 } },
      (port) => ({
        netns,
        remote: { ip: mustIp(address), port },
        local: { ip: mustIp(other), port: 0 },
        device: "lo",
        ttl: 255,
        timeout: 2000,
      }),
    );
    try {
      assert.equal(formatIp(server.remote.ip), other);
      assert.deepEqual(server.remote, client.local);
      assert.deepEqual(server.local, client.remote);
      await client.write(utf8.encode("ping"));
      assert.equal(text((await server.read())!), "ping");
      await server.write(utf8.encode("pong"));
      assert.equal(text((await client.read())!), "pong");
      await client.closeWrite();
      assert.equal(await server.read(), undefined);
      await server.write(utf8.encode("still here"));
      assert.equal(text((await client.read())!), "still here");
      // In the namespace, and not here.
      assert.match(await a.run("ss", "-Htn"), new RegExp(`:${server.local.port}\\b`));
    } finally {
      client.close();
      server.close();
    }
  });
}

test("tcp: a signature must be the peer's, else nothing is heard", async () => {
  using a = scratch();
  const { netns } = a;
  const ip = mustIp("127.0.0.2"), from = mustIp("127.0.0.3");
  const listen = { netns, local: { ip, port: 0 } };
  const call = (md5: string | undefined, timeout: number) => (port: number) => ({
    netns,
    remote: { ip, port },
    local: { ip: from, port: 0 },
    md5,
    timeout,
  });
  const { client, server } = await connected(
    listen,
    call("s3cret", 2000),
    (listener) => listener.setMd5(from, "s3cret"),
  );
  await client.write(utf8.encode("signed"));
  assert.equal(text((await server.read())!), "signed");
  client.close();
  server.close();
  for (const wrong of ["other", undefined]) {
    await assert.rejects(
      connected(listen, call(wrong, 300), (listener) => listener.setMd5(from, "s3cret")),
      refused("ETIMEDOUT"),
    );
  }
  await assert.rejects(
    connected(listen, call("x".repeat(81), 300)),
    refused("EINVAL"),
  );
  // A key that is taken away is not asked for any more.
  const plain = await connected(listen, call(undefined, 2000), (listener) => {
    listener.setMd5(from, "s3cret");
    listener.setMd5(from, undefined);
  });
  plain.client.close();
  plain.server.close();
});

test("tcp: with TTL security only neighbours are heard", async () => {
  using a = scratch();
  const { netns } = a;
  const ip = mustIp("127.0.0.1");
  const call = (ttl: number) => (port: number) => ({
    netns,
    remote: { ip, port },
    ttl,
    timeout: 300,
  });
  const listen = { netns, local: { ip, port: 0 }, ttl: 255, minTtl: 255 };
  const { client, server } = await connected(listen, call(255));
  client.close();
  server.close();
  await assert.rejects(connected(listen, call(64)), refused("ETIMEDOUT"));
});

test("tcp: why a connection cannot be made", async () => {
  using a = scratch();
  const { netns } = a;
  const to = (address: string, more: object = {}) =>
    connectTcp({ netns, remote: { ip: mustIp(address), port: 9 }, timeout: 300, ...more });
  await assert.rejects(to("127.0.0.1"), refused("ECONNREFUSED"));
  await assert.rejects(to("192.0.2.1"), refused("ENETUNREACH"));
  await assert.rejects(
    to("127.0.0.1", { local: { ip: mustIp("192.0.2.7"), port: 0 } }),
    (error) =>
      isKernelError(error, "EADDRNOTAVAIL") &&
      /connect to 127\.0\.0\.1:9 from 192\.0\.2\.7/.test(error.message),
  );
  await assert.rejects(to("127.0.0.1", { device: "nosuch" }), refused("ENODEV"));
  const abort = new AbortController();
  await a.run("ip", "link", "add", "x", "type", "veth", "peer", "name", "y");
  await a.run("ip", "addr", "add", "10.0.0.1/24", "dev", "x");
  await a.run("ip", "link", "set", "x", "up");
  await a.run("ip", "link", "set", "y", "up");
  const given = to("10.0.0.2", { signal: abort.signal, timeout: undefined });
  abort.abort();
  await assert.rejects(given, refused("ECANCELED"));
  await assert.rejects(to("10.0.0.2"), refused("ETIMEDOUT"));
  const taken = listenTcp({ netns, local: { ip: mustIp("127.0.0.1"), port: 0 } }, () => {});
  try {
    assert.throws(
      () => listenTcp({ netns, local: { ip: mustIp("127.0.0.1"), port: taken.port } }, () => {}),
      refused("EADDRINUSE"),
    );
  } finally {
    taken.close();
  }
});

test("tcp: eight megabytes go through whole, against a slow reader", async () => {
  using a = scratch();
  const { netns } = a;
  const ip = mustIp("127.0.0.1");
  const { client, server } = await connected(
    { netns, local: { ip, port: 0 } },
    (port) => ({ netns, remote: { ip, port } }),
  );
  const sent = new Uint8Array(8 << 20);
  for (let i = 0; i < sent.length; i += 4096) sent[i] = i >> 12;
  const half = sent.length / 2;
  const writing = Promise.all([
    client.write(sent.subarray(0, half)),
    client.write(sent.subarray(half)),
  ]).then(() => client.closeWrite());
  await pause(30);
  const got = new Uint8Array(sent.length);
  let at = 0;
  for (let part; (part = await server.read()); at += part.length) got.set(part, at);
  await writing;
  assert.equal(at, sent.length);
  assert.ok(got.every((byte, i) => byte === sent[i]));
  client.close();
  server.close();
});

test("descriptors that have run out do not make the listener spin, and it serves again", async () => {
  const program = `
    import { listenTcp, connectTcp } from ${
    JSON.stringify(new URL("../../ffi/tcp.ts", import.meta.url))
  };
    import { libc } from ${JSON.stringify(new URL("../../ffi/libc.ts", import.meta.url))};
    import { mustIp } from ${JSON.stringify(new URL("../../mod/net/mod.ts", import.meta.url))};
    const ip = mustIp("127.0.0.1");
    let accepted = 0;
    const held = [];
    const listener = listenTcp({ local: { ip, port: 0 } }, (s) => (accepted++, held.push(s)));
    const client = await connectTcp({ remote: { ip, port: listener.port } });
    while (accepted < 1) await new Promise((r) => setTimeout(r, 5));
    // A second caller whose connection is made by the kernel, when no descriptor is left for it.
    const make = () => libc().socket(2, 1 | 0o2000000, 0);
    const fds = [];
    const caller = make();
    for (let fd; (fd = make()) >= 0;) fds.push(fd);
    const to = new Uint8Array([2, 0, listener.port >> 8, listener.port & 255, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    libc().connect(caller, to, 16);
    const before = Deno.cpuUsage?.() ?? process.cpuUsage();
    await new Promise((r) => setTimeout(r, 500));
    const cpu = process.cpuUsage(before).user + process.cpuUsage(before).system;
    for (const fd of fds) libc().close(fd);
    while (accepted < 2) await new Promise((r) => setTimeout(r, 5));
    console.log(cpu < 250000 ? "calm" : "spun " + cpu);
    Deno.exit(0);`.replace("Deno.cpuUsage?.() ?? process.cpuUsage()", "process.cpuUsage()");
  const file = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(file, `import process from "node:process";\n${program}`);
    const command =
      `ulimit -n 200; exec timeout 20 ${Deno.execPath()} run -A --no-lock --no-check ${file}`;
    const { code, stdout, stderr } = await new Deno.Command("sh", { args: ["-c", command] })
      .output();
    assert.deepEqual([code, text(stdout)], [0, "calm\n"], text(stderr).slice(0, 2000));
  } finally {
    await Deno.remove(file);
  }
});

test("udp in another namespace, both families", async () => {
  using a = scratch();
  const { netns } = a;
  for (const [family, address] of [[4, "127.0.0.1"], [6, "::1"]] as const) {
    const got: string[] = [];
    const server = new DatagramSocket(
      { family, netns, local: { ip: mustIp(address), port: 5353 } },
      ({ ip, port, bytes }) => {
        got.push(text(bytes));
        server.send(ip, port, utf8.encode("pong"));
      },
    );
    const client = new DatagramSocket({ family, netns }, ({ bytes }) => got.push(text(bytes)));
    try {
      assert.ok(client.send(mustIp(address), 5353, utf8.encode("ping")));
      await until("both", () => got.length === 2);
      assert.deepEqual(got, ["ping", "pong"]);
    } finally {
      client.close();
      server.close();
    }
  }
});

test("a descriptor that is closed is given back, whoever closed first", async () => {
  using a = scratch();
  const { netns } = a;
  const count = () => [...Deno.readDirSync("/proc/self/fd")].length;
  const ip = mustIp("127.0.0.1");
  const before = count();
  for (let n = 0; n < 50; n++) {
    const { client, server } = await connected(
      { netns, local: { ip, port: 0 } },
      (port) => ({ netns, remote: { ip, port } }),
    );
    const [first, second] = n % 2 ? [client, server] : [server, client];
    first.close();
    assert.equal(await second.read(), undefined);
    second.close();
    second.close();
  }
  assert.equal(count(), before);
});
