/**
 * "Back in time": an etcd is put back from a snapshot, and all that it knew since is forgotten: addresses,
 * handles, endpoints. The containers that were made since run on, with their addresses.
 */
import assert from "node:assert/strict";
import { binary, tool, until } from "../cluster/harness.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { NodeServices } from "../store/node_services.ts";
import { callService } from "../store/service_call.ts";

const ID = `r${Deno.pid}`;
const HOST = `${ID}host`;
/** One IPv4 block, as small as can be, and one of IPv6: what was forgotten is the next to be given. */
const POOLS = {
  CALICO_IPV4POOL_CIDR: "10.60.0.0/27",
  CALICO_IPV4POOL_BLOCK_SIZE: "27",
  CALICO_IPV6POOL_CIDR: "fd00:60::/122",
};

class Node {
  readonly services: NodeServices;
  readonly #made: string[] = [HOST];

  constructor(readonly cluster: EtcdCluster) {
    this.services = new NodeServices([{ netns: HOST, ip: "10.20.0.1" }], {
      ...cluster.env,
      ...POOLS,
    });
  }

  /** Addresses of a new container: a pod of ours, or one whose interface another plugin makes. */
  async add(container: string, plugin: "tortie" | "tortie-ipam" = "tortie"): Promise<string[]> {
    if (!this.#made.includes(this.#pod(container))) {
      await tool(undefined, "ip", "netns", "add", this.#pod(container));
      this.#made.push(this.#pod(container));
    }
    let addresses: string[] = [];
    await until(`${container} is added`, 60_000, async () => {
      const { ips } = await callService(this.services.socket(0), {
        plugin,
        ...this.#of(container, plugin),
        command: "ADD",
      });
      addresses = ips.map(({ address }: { address: string }) => address.split("/")[0]);
      return true;
    });
    if (plugin === "tortie-ipam") await this.#wire(container, addresses);
    return addresses;
  }

  async remove(container: string): Promise<void> {
    const call = this.#of(container, "tortie");
    await callService(this.services.socket(0), { plugin: "tortie", ...call, command: "DEL" });
  }

  #pod = (container: string) => `${ID}${container}`;

  #of = (container: string, plugin: string) => ({
    container,
    netns: `/run/netns/${this.#pod(container)}`,
    conf: {
      name: "net",
      type: plugin === "tortie" ? "tortie" : "bridge",
      ipam: { type: "tortie-ipam", assign_ipv6: "true" },
    },
  });

  /** As the stock plugin does with the answer. */
  async #wire(container: string, addresses: readonly string[]): Promise<void> {
    const netns = this.#pod(container);
    await tool(HOST, "ip", "link", "add", `veth-${container}`, "up", "type", "veth", ...[
      ...["peer", "name", "eth0", "netns", netns],
    ]);
    await tool(netns, "ip", "link", "set", "eth0", "up");
    for (const ip of addresses) {
      const [length, more] = ip.includes(":") ? ["122", ["nodad"]] : ["27", []];
      await tool(netns, "ip", "address", "add", `${ip}/${length}`, "dev", "eth0", ...more);
    }
  }

  /** In the words of `ipam show`. */
  whose(ip: string): Promise<string> {
    const variables = Object.entries(this.cluster.env).map(([name, value]) => `${name}=${value}`);
    return tool(HOST, "env", ...variables, binary(), "ipam", "show", `--ip=${ip}`);
  }

  async routes(): Promise<string> {
    return await tool(HOST, "ip", "route") + await tool(HOST, "ip", "-6", "route");
  }

  async stop(): Promise<void> {
    await this.services.stop();
    for (const netns of this.#made) await tool(undefined, "ip", "netns", "del", netns);
  }
}

Deno.test({
  name: "5: after an etcd's restoration no container's address goes to another, whoever gave it",
  ignore: Deno.uid() !== 0,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    await tool(undefined, "ip", "netns", "add", HOST);
    await tool(HOST, "ip", "link", "set", "lo", "up");
    await tool(HOST, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire");
    for (const end of ["eth0", "wire"]) await tool(HOST, "ip", "link", "set", end, "up");
    await tool(HOST, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
    const cluster = await EtcdCluster.start({ netns: HOST });
    const node = new Node(cluster);
    const [member] = cluster.members;
    const all: string[] = [];
    const alone = (addresses: string[]) => {
      all.push(...addresses);
      assert.equal(new Set(all).size, all.length, `one is there twice: ${all}`);
      assert.equal(addresses.length, 2);
      return addresses;
    };
    try {
      await node.services.start();
      alone(await node.add("a"));
      await member.stop();
      await member.backUp();
      member.start();
      const lost = alone(await node.add("b"));
      alone(await node.add("c", "tortie-ipam"));
      await member.stop();
      await member.restore();
      member.start();
      // Nothing has been looked at yet; then the routes have gone; then another service knows nothing.
      alone(await node.add("d"));
      await until("the routes are gone with the endpoint", 60_000, async () => {
        const there = await node.routes();
        return lost.every((ip) => !there.includes(`${ip} `));
      });
      alone(await node.add("e"));
      alone(await node.add("f", "tortie-ipam"));
      const said = (await node.services.log(0)).split("\n")
        .filter((line) => line.includes("has no endpoint of it"));
      assert.equal(said.length, 1, said.join("\n"));
      assert.ok(lost.every((ip) => said[0].includes(ip)), said[0]);
      await member.stop();
      await member.restore();
      member.start();
      await node.services.kill(0);
      alone(await node.add("g"));
      alone(await node.add("h", "tortie-ipam"));
      for (const ip of lost) assert.match(await node.whose(ip), /is in use/);
      // What it leaves is everybody's.
      await node.remove("b");
      for (const ip of lost) assert.match(await node.whose(ip), /not .*assigned/);
    } finally {
      await node.stop();
      await cluster.stop();
    }
  },
});
