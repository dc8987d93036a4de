/** What a machine's kernel tells of addresses that containers have. */
import assert from "node:assert/strict";
import { formatMark } from "../../cni/mark.ts";
import { createNetns, deleteNetns, Netns, netnsDirectory } from "../../ffi/netns.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
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
