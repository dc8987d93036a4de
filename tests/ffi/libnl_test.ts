/**
 * The three carriers of netlink do the same: the host's libnl, the copy that the executable carries
 * (loaded from memory), and plain system calls.
 */
import assert from "node:assert/strict";
import { isKernelError } from "../../ffi/errors.ts";
import { configureLibnl, libnl } from "../../ffi/libnl.ts";
import { NETLINK_ROUTE } from "../../ffi/netlink/constants.ts";
import { NetlinkSocket } from "../../ffi/netlink/socket.ts";
import { RouteSocket, watchRoutes } from "../../ffi/route/mod.ts";
import { Scratch, until } from "./scratch.ts";

const folders = ["/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];
const hostFolder = folders.find((folder) => {
  try {
    return Deno.statSync(`${folder}/libnl-3.so.200`).isFile;
  } catch {
    return false;
  }
});

const carriers = [
  { name: "host", options: {}, origin: "host", needsLibrary: true },
  {
    name: "embedded",
    options: { useHost: false, directory: new URL(`file://${hostFolder}/`) },
    origin: "embedded",
    needsLibrary: true,
  },
  {
    name: "none",
    options: { useHost: false, directory: new URL("file:///nonexistent/") },
    origin: undefined,
    needsLibrary: false,
  },
];

for (const { name, options, origin, needsLibrary } of carriers) {
  const skip = needsLibrary && !hostFolder;
  Deno.test({
    name: `netlink by libnl: ${name}` + (skip ? " (skipped: no libnl on this machine)" : ""),
    ignore: skip,
    // A library stays for the life of the process.
    sanitizeResources: false,
    async fn() {
      configureLibnl(options);
      try {
        assert.equal(libnl()?.origin, origin);
        using a = new Scratch();
        using socket = RouteSocket.open(a.netns);
        assert.ok(socket.port > 0);
        const heard: string[] = [];
        const watch = watchRoutes({ groups: ["link"], netns: a.netns }, (event) => {
          if (event.kind === "link") heard.push(`${event.gone ? "-" : "+"}${event.link.name}`);
        });
        try {
          socket.addLink({ kind: "veth", name: "x", peer: { name: "y" } });
          assert.throws(
            () => socket.addLink({ kind: "veth", name: "x", peer: { name: "z" } }),
            (error) => isKernelError(error, "EEXIST"),
          );
          const deletion = socket.deleteLink("x");
          assert.ok(socket.link("lo"));
          await deletion;
          await assert.rejects(socket.deleteLink("x"), (error) => isKernelError(error, "ENODEV"));
          await until("the links are heard", () => heard.includes("+x") && heard.includes("-y"));
        } finally {
          watch.close();
        }
        const narrow = new NetlinkSocket(NETLINK_ROUTE, { sendBuffer: 8192 });
        try {
          const tooLong = new Uint8Array(1 << 17);
          const refused = (error: unknown) => isKernelError(error, "EMSGSIZE");
          assert.throws(() => narrow.send(tooLong), refused);
          await assert.rejects(narrow.sendAsync(tooLong), refused);
          narrow.reserveSend(tooLong.length);
          await narrow.sendAsync(tooLong); // no messages, but a datagram
        } finally {
          narrow.close();
        }
        assert.throws(() => narrow.receive(false), (error) => isKernelError(error, "EBADF"));
        // Sockets are given back: many more than libnl can name at once.
        const before = [...Deno.readDirSync("/proc/self/fd")].length;
        for (let n = 0; n < 2000; n++) RouteSocket.open(a.netns).close();
        assert.equal([...Deno.readDirSync("/proc/self/fd")].length, before);
      } finally {
        configureLibnl({});
      }
    },
  });
}

Deno.test("a file that is no library is no reason to fail", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/libnl-3.so.200`, "not a library");
    configureLibnl({ useHost: false, directory: new URL(`file://${folder}/`) });
    assert.equal(libnl(), null);
    using a = new Scratch();
    using socket = RouteSocket.open(a.netns);
    assert.equal(socket.links().length, 1);
  } finally {
    configureLibnl({});
    await Deno.remove(folder, { recursive: true });
  }
});
