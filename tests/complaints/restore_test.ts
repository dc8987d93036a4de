/**
 * "Back in time": an etcd, or a served kv, is put back from a copy, and all that it knew since is forgotten:
 * addresses, handles, endpoints. The containers that were made since run on, with their addresses.
 */
import assert from "node:assert/strict";
import { binary, tool, until } from "../cluster/harness.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { NodeServices } from "../store/node_services.ts";
import { callService } from "../store/service_call.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const ID = `r${Deno.pid}`;
const HOST = `${ID}host`;
/** One IPv4 block, as small as can be, and one of IPv6: what was forgotten is the next to be given. */
const POOLS = {
  CALICO_IPV4POOL_CIDR: "10.60.0.0/27",
  CALICO_IPV4POOL_BLOCK_SIZE: "27",
  CALICO_IPV6POOL_CIDR: "fd00:60::/122",
};

interface Datastore {
  readonly env: Record<string, string>;
  start(): void;
  stop(): Promise<void>;
  /** These two while it does not run. */
  backUp(): Promise<void>;
  restore(): Promise<void>;
  /** For good. */
  remove(): Promise<void>;
}

async function etcd(): Promise<Datastore> {
  const cluster = await EtcdCluster.start({ netns: HOST });
  const [member] = cluster.members;
  return {
    env: cluster.env,
    start: () => member.start(),
    stop: () => member.stop(),
    backUp: () => member.backUp(),
    restore: () => member.restore(),
    remove: () => cluster.stop(),
  };
}

async function kv(): Promise<Datastore> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-kv-" });
  const [data, copy, socket] = ["data", "copy", "store.sock"].map((name) => `${folder}/${name}`);
  await Deno.mkdir(data);
  let child: Deno.ChildProcess | undefined;
  const datastore: Datastore = {
    env: { TORTIE_STORE: socket },
    start() {
      const args = ["datastore", "serve", "--path", `${data}/store.kv`, "--socket", socket];
      child = new Deno.Command(binary(), { args, stdin: "null", stdout: "null", stderr: "null" })
        .spawn();
    },
    async stop() {
      child?.kill("SIGTERM");
      await child?.status;
      child = undefined;
    },
    backUp: () => copyFiles(data, copy),
    restore: () => copyFiles(copy, data),
    async remove() {
      await this.stop();
      await Deno.remove(folder, { recursive: true });
    },
  };
  datastore.start();
  await until("the datastore is served", 60_000, async () => {
    return await Deno.lstat(socket).then(() => true, () => false);
  });
  return datastore;
}

/** What was in the second folder is gone. */
async function copyFiles(from: string, to: string): Promise<void> {
  await Deno.remove(to, { recursive: true }).catch(() => {}); // not there yet
  await Deno.mkdir(to);
  for await (const { name } of Deno.readDir(from)) {
    await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
  }
}

class Node {
  readonly services: NodeServices;
  readonly #made: string[] = [HOST];

  constructor(readonly datastore: Datastore) {
    this.services = new NodeServices([{ netns: HOST, ip: "10.20.0.1" }], {
      ...datastore.env,
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

  /** What another node gives: it knows what the datastore says, and nothing of this one's kernel. */
  async elsewhere(count: number): Promise<string[]> {
    const variables = Object.entries(this.datastore.env).map(([name, value]) => `${name}=${value}`);
    const file = new URL("another_node_process.ts", import.meta.url).pathname;
    const run = [...RUN_MODULE, file, "elsewhere"];
    const said = await tool(HOST, "env", ...variables, Deno.execPath(), ...run, `${count}`);
    return said.trim().split(/\s+/);
  }

  async remove(container: string): Promise<void> {
    const call = this.#of(container, "tortie");
    await callService(this.services.socket(0), { plugin: "tortie", ...call, command: "DEL" });
  }

  /** GC of a runtime that knows no others than these. */
  async collect(known: readonly string[]): Promise<void> {
    const { conf, ...call } = this.#of("nobody", "tortie");
    const valid = known.map((containerID) => ({ containerID, ifname: "eth0" }));
    await callService(this.services.socket(0), {
      ...{ plugin: "tortie", ...call, command: "GC" },
      conf: { ...conf, cniVersion: "1.1.0", "cni.dev/valid-attachments": valid },
    });
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
    const variables = Object.entries(this.datastore.env).map(([name, value]) => `${name}=${value}`);
    return tool(HOST, "env", ...variables, binary(), "ipam", "show", `--ip=${ip}`);
  }

  /** By this service, or the next. */
  async areOnRecord(addresses: readonly string[], handle: string): Promise<void> {
    for (const ip of addresses) {
      // The service looks again after a minute where it had no luck the first time.
      await until(`${ip} is on record again`, 150_000, async () => {
        return (await this.whose(ip)).includes(`Handle ID: ${handle}\n`);
      });
    }
  }

  async routes(): Promise<string> {
    return await tool(HOST, "ip", "route") + await tool(HOST, "ip", "-6", "route");
  }

  async stop(): Promise<void> {
    await this.services.stop();
    for (const netns of this.#made) await tool(undefined, "ip", "netns", "del", netns);
  }
}

for (const [name, open] of Object.entries({ etcd, kv })) {
  Deno.test({
    name:
      `5: after the restoration of ${name} no container's address goes to another, whoever gave it`,
    ignore: Deno.uid() !== 0,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      await tool(undefined, "ip", "netns", "add", HOST);
      await tool(HOST, "ip", "link", "set", "lo", "up");
      await tool(HOST, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire");
      for (const end of ["eth0", "wire"]) await tool(HOST, "ip", "link", "set", end, "up");
      await tool(HOST, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
      const datastore = await open();
      const node = new Node(datastore);
      const all: string[] = [];
      const alone = (addresses: string[]) => {
        all.push(...addresses);
        assert.equal(new Set(all).size, all.length, `one is there twice: ${all}`);
        assert.equal(addresses.length, 2);
        return addresses;
      };
      const putBack = async () => {
        await datastore.stop();
        await datastore.restore();
        datastore.start();
      };
      try {
        await node.services.start();
        alone(await node.add("a"));
        await datastore.stop();
        await datastore.backUp();
        datastore.start();
        const lost = alone(await node.add("b"));
        const bridged = alone(await node.add("c", "tortie-ipam"));
        await putBack();
        // Nothing has been looked at yet; then the routes have gone; then another service knows nothing.
        const fourth = alone(await node.add("d"));
        await until("the routes are gone with the endpoint", 60_000, async () => {
          const there = await node.routes();
          return lost.every((ip) => !there.includes(`${ip} `));
        });
        const fifth = alone(await node.add("e"));
        const sixth = alone(await node.add("f", "tortie-ipam"));
        const said = (await node.services.log(0)).split("\n")
          .filter((line) => line.includes("has no endpoint of it"));
        assert.equal(said.length, 1, said.join("\n"));
        assert.ok(lost.every((ip) => said[0].includes(ip)), said[0]);
        // The block is in the copy, and the service remembers it as it was.
        await node.areOnRecord(lost, "net.b");
        await node.collect(["a", "c", "d", "e", "f"]);
        await node.areOnRecord(lost, "net.b");
        await putBack();
        await node.areOnRecord(lost, "net.b");
        await node.areOnRecord(fourth, "net.d");
        await node.areOnRecord(fifth, "net.e");
        await node.areOnRecord(bridged, "net.c");
        await node.areOnRecord(sixth, "net.f");
        // They are the next to be given by whoever goes by the datastore alone.
        const given = await node.elsewhere(3);
        assert.equal(given.length, 6);
        assert(!given.some((ip) => all.includes(ip)), `${given}: some are another's: ${all}`);
        await putBack();
        await node.services.kill(0);
        alone(await node.add("g"));
        alone(await node.add("h", "tortie-ipam"));
        await node.areOnRecord(lost, "net.b");
        // What it leaves is everybody's.
        await node.remove("b");
        for (const ip of lost) assert.match(await node.whose(ip), /not .*assigned/);
      } finally {
        try {
          await node.stop();
        } finally {
          await datastore.remove();
        }
      }
    },
  });
}
