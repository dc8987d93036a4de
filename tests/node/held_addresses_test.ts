/** What a machine's kernel tells of addresses that containers have. */
import assert from "node:assert/strict";
import { formatMark } from "../../cni/mark.ts";
import { createNetns, deleteNetns, Netns, netnsDirectory } from "../../ffi/netns.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { listAllNetns, type NetnsList, nsfsMounts } from "../../ffi/netns_list.ts";
import { heldAddresses, readMachine } from "../../mod/node/held_addresses.ts";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

Deno.test(
  "addresses are held by interfaces, routes, namespaces and the runtime's memory",
  options,
  async () => {
    const name = `held-${crypto.randomUUID().slice(0, 8)}`;
    const cache = await Deno.makeTempDir();
    using socket = RouteSocket.open();
    const host = `calit${name.slice(5)}`.slice(0, 15);
    createNetns(name);
    try {
      {
        using netns = Netns.open(`${netnsDirectory}/${name}`);
        using inside = RouteSocket.open(netns);
        socket.addLink({ kind: "veth", name: host, peer: { name: "eth0", netns } });
        socket.setLink(host, {
          up: true,
          alias: formatMark({ containerId: "c1", ifname: "eth0", state: "in use" }),
        });
        const { index } = inside.link("eth0")!;
        inside.setLink("eth0", { up: true });
        inside.addAddress({ index, ip: mustIp("10.77.0.3"), length: 24 });
      }
      socket.addRoute({
        destination: mustPrefix("10.77.0.2/32"),
        hops: [{ oif: socket.link(host)!.index }],
      });
      await Deno.writeTextFile(`${cache}/net-c4-eth0`, "{}");
      const asked = [
        { ip: "10.77.0.1", handle: "net.c1" },
        { ip: "10.77.0.2", handle: "net.c2" },
        { ip: "10.77.0.3", handle: "net.c3" },
        { ip: "10.77.0.4", handle: "net.c4" },
        { ip: "10.77.0.5", handle: "net.c5" },
      ];
      const held = heldAddresses(asked, await readMachine(["cali"], cache));
      assert.deepEqual(held, ["10.77.0.1", "10.77.0.2", "10.77.0.3", "10.77.0.4"]);
    } finally {
      deleteNetns(name);
      await socket.deleteLink(host).catch(() => {});
      await Deno.remove(cache, { recursive: true });
    }
    const gone = await readMachine(["cali"], cache);
    assert(!gone.containers.has("c1") && !gone.addresses.has("10.77.0.3"));
  },
);

/** A namespace with an address, which only a process or a mount keeps alive; how to end it. */
const HIDDEN: Record<string, (folder: string) => Promise<() => Promise<unknown>>> = {
  "a process": async () => {
    const process = new Deno.Command("unshare", {
      args: ["-n", "sh", "-c", "ip link set lo up; ip addr add 10.77.1.1/32 dev lo; read end"],
      stdin: "piped",
    }).spawn();
    await Promise.resolve();
    return async () => {
      await process.stdin.close();
      await process.status;
    };
  },
  "a mount": async (folder) => {
    const file = `${folder}/abc def`;
    await Deno.writeTextFile(file, "");
    const script = "ip link set lo up; ip addr add 10.77.1.1/32 dev lo";
    const run = async (command: string, ...args: string[]) =>
      assert((await new Deno.Command(command, { args }).output()).success, command);
    await run("unshare", `--net=${file}`, "sh", "-c", script);
    return () => run("umount", file);
  },
};

for (const [keeper, make] of Object.entries(HIDDEN)) {
  Deno.test(`an address in a namespace that only ${keeper} keeps is held`, options, async () => {
    const folder = await Deno.makeTempDir({ dir: "/run" });
    const asked = [{ ip: "10.77.1.1", handle: "net.hidden" }];
    const isHeld = async () => {
      const machine = await readMachine(["cali"], `${folder}/none`);
      assert.equal(machine.unseen, undefined);
      return heldAddresses(asked, machine).length > 0;
    };
    const become = async (wanted: boolean) => {
      for (const end = Date.now() + 30_000; await isHeld() !== wanted;) {
        assert(Date.now() < end, `held is not ${wanted}`);
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const end = await make(folder);
    try {
      await become(true);
    } finally {
      await end();
    }
    await become(false);
    await Deno.remove(folder, { recursive: true });
  });
}

Deno.test(
  "a namespace that cannot be opened is told, and all others are looked into",
  options,
  async () => {
    const name = `seen-${crypto.randomUUID().slice(0, 8)}`;
    const loop = `${netnsDirectory}/loop-${name}`;
    createNetns(name);
    // A name that leads nowhere for us: open(2) says ELOOP.
    Deno.symlinkSync(loop, loop);
    try {
      {
        using netns = Netns.open(name);
        using inside = RouteSocket.open(netns);
        inside.addAddress({ index: 1, ip: mustIp("10.77.2.1"), length: 32 });
      }
      const asked = [{ ip: "10.77.2.1", handle: "net.a" }, { ip: "10.77.2.2", handle: "net.b" }];
      const path = `${netnsDirectory}/${name}`;
      const ours = (await listAllNetns()).namespaces.find(({ paths }) => paths.includes(path))!;
      const look = async (list?: () => Promise<NetnsList>) => {
        const machine = await readMachine(["cali"], "/nowhere", list);
        return [heldAddresses(asked, machine), machine.unseen] as const;
      };
      const [held, unseen] = await look();
      assert.deepEqual(held, ["10.77.2.1"]);
      assert.match(
        unseen!,
        /the network namespace \/run\/netns\/loop-.* cannot be looked into: .*ELOOP/,
      );
      // So too where it could be listed.
      const [too, why] = await look(() =>
        Promise.resolve({
          namespaces: [{ inode: "net:[1]", paths: [loop] }, ours],
          unseen: undefined,
        })
      );
      assert.deepEqual(too, ["10.77.2.1"]);
      assert.match(why!, /loop-.*ELOOP/);
    } finally {
      Deno.removeSync(loop);
      deleteNetns(name);
    }
    const { unseen = "" } = await readMachine(["cali"], "/nowhere");
    assert.doesNotMatch(unseen, /loop-/);
  },
);

/** A process that stays in a namespace until it is told to end. */
function staying(command: string, ...args: string[]) {
  const process = new Deno.Command(command, { args, stdin: "piped" }).spawn();
  return {
    pid: process.pid,
    end: async () => {
      await process.stdin.close();
      await process.status;
    },
  };
}

Deno.test(
  "a namespace is looked into though the process by which it was found has ended since",
  options,
  async () => {
    const asked = [{ ip: "10.77.4.1", handle: "net.left" }];
    const address = "ip link set lo up; ip addr add 10.77.4.1/32 dev lo";
    const first = staying("unshare", "-n", "sh", "-c", `${address}; read end`);
    const path = `/proc/${first.pid}/ns/net`;
    const own = Deno.readLinkSync("/proc/self/ns/net");
    const listed = async () => {
      const { namespaces } = await listAllNetns();
      return namespaces.find(({ paths }) => paths.includes(path));
    };
    const held = async (list: () => Promise<NetnsList>) => {
      const machine = await readMachine(["cali"], "/nowhere", list);
      assert.equal(machine.unseen, undefined);
      return heldAddresses(asked, machine).length > 0;
    };
    const end = Date.now() + 30_000;
    while (!await listed() || !await held(listAllNetns)) {
      assert(Date.now() < end, "the namespace is there");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // Listed by the first process, which leaves it to one that has begun after that.
    let heir: ReturnType<typeof staying> | undefined;
    const left = await held(async () => {
      const list = await listAllNetns();
      if (heir) return list;
      heir = staying("nsenter", "-n", "-t", String(first.pid), "sh", "-c", "read end");
      while (Deno.readLinkSync(`/proc/${heir.pid}/ns/net`) === own) {
        assert(Date.now() < end, "the other process is in the namespace");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      await first.end();
      return list;
    });
    assert(left, "an heir keeps the namespace");
    await heir!.end();
    // A mounted one that has a process, too, which ends.
    const name = `left-${crypto.randomUUID().slice(0, 8)}`;
    createNetns(name);
    try {
      const mine = staying("ip", "netns", "exec", name, "sh", "-c", `${address}; read end`);
      const limit = Date.now() + 30_000;
      while (!await held(listAllNetns)) {
        assert(Date.now() < limit, "the process has given the address");
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      assert(
        await held(async () => {
          const list = await listAllNetns();
          await mine.end();
          return list;
        }),
        "the mount keeps the namespace",
      );
    } finally {
      deleteNetns(name);
    }
    assert(!await held(listAllNetns), "then it is gone");
  },
);

Deno.test("mounted namespaces are read from a mount table", () => {
  const table = "22 27 0:21 / /proc rw,relatime - proc proc rw\n" +
    "90 27 0:4 net:[4026532001] /run/docker/netns/a\\040b rw shared:3 - nsfs nsfs rw\n" +
    "91 27 0:4 mnt:[4026532002] /run/x rw - nsfs nsfs rw\n";
  assert.deepEqual(nsfsMounts(table), [["net:[4026532001]", "/run/docker/netns/a b"]]);
});
