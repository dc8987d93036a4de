/**
 * calico#2713, #8643: blocks of nodes that are gone were never freed, 32,671 of them, and nodes crashed over
 * them in a loop. The built executable's node service and controllers on an etcd that holds so many that
 * what is done for each of them shows: memory is bounded, and requests are counted at etcd itself, which the
 * load of the machine hardly changes.
 */
import assert from "node:assert/strict";
import { pause, tool, until } from "../cluster/harness.ts";
import { ControllersProcess, tortie } from "../store/controllers_process.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { NodeServices } from "../store/node_services.ts";
import { callService } from "../store/service_call.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const HOST = `b${Deno.pid}host`, POD = `b${Deno.pid}pod`;
/** Of so many nodes. */
const BLOCKS = 2000, GONE = 25;
/** MiB: the runtime itself has a third of it. */
const MOST = 400;

/** Requests that etcd has answered, of reads and of writes; a watch is one for its whole life. */
async function requests(cluster: EtcdCluster): Promise<number> {
  const url = `${cluster.endpoints[0]}/metrics`;
  const text = await tool(
    HOST,
    Deno.execPath(),
    "eval",
    `console.log(await (await fetch(${JSON.stringify(url)})).text())`,
  );
  const counts = text.matchAll(
    /^grpc_server_handled_total\{.*grpc_service="etcdserverpb\.KV".*\} (\S+)$/gm,
  );
  return [...counts].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** The most memory that a process has had, in MiB. */
function peak(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/VmHWM:\s+(\d+)/.exec(text)![1]) / 1024;
}

Deno.test({
  name:
    "7: a node service begins over thousands of blocks left behind, and the controllers free them",
  ignore: Deno.uid() !== 0,
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    for (const name of [HOST, POD]) await tool(undefined, "ip", "netns", "add", name);
    const cluster = await EtcdCluster.start({ netns: HOST, deferred: true });
    const services = new NodeServices([{ netns: HOST, ip: "10.20.0.1" }], {
      ...cluster.env,
      CALICO_IPV4POOL_CIDR: "10.0.0.0/13",
      CALICO_IPV4POOL_VXLAN: "Always",
    });
    const controllers = new ControllersProcess({ netns: HOST, env: cluster.env });
    const left = async () => {
      const get = ["get", "--prefix", "--keys-only", "/calico/ipam/v2/assignment/"];
      const keys = await tool(HOST, "etcdctl", "--endpoints", cluster.endpoints[0], ...get);
      return keys.split("\n").filter((line) => line !== "");
    };
    const status = async () => {
      const env = { ...cluster.env, TORTIE_RUN_DIR: services.socket(0).replace(/\/[^/]*$/, "") };
      return await tortie({ netns: HOST, env }, ["node", "status", "-o", "json"]);
    };
    try {
      await tool(HOST, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire");
      for (const end of ["lo", "eth0", "wire"]) await tool(HOST, "ip", "link", "set", end, "up");
      await tool(HOST, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
      cluster.members[0].start();
      await until("etcd serves", 60_000, async () => (await left()).length === 0);
      const variables = Object.entries(cluster.env).map(([name, value]) => `${name}=${value}`);
      const file = new URL("blocks_process.ts", import.meta.url).pathname;
      await tool(HOST, "env", ...variables, Deno.execPath(), ...[
        ...[...RUN_MODULE, file, `${BLOCKS}`, `${GONE}`],
      ]);
      assert.equal((await left()).length, BLOCKS);
      const before = await requests(cluster);
      assert(
        before >= 2 * BLOCKS,
        `${before} requests are counted, and so many blocks were written`,
      );
      await services.start();
      let given = "";
      await until("a pod gets its address", 120_000, async () => {
        const { ips } = await callService(services.socket(0), {
          ...{ plugin: "tortie", command: "ADD", container: "c1", netns: `/run/netns/${POD}` },
          conf: { name: "net", type: "tortie", ipam: { type: "tortie-ipam" } },
        });
        given = ips[0].address;
        return true;
      });
      assert.match(given, /^10\.[0-7]\./);
      // Lists of all in pages, and no request for each block.
      const toBegin = await requests(cluster) - before;
      assert(toBegin < BLOCKS / 10, `${toBegin} requests until the first pod`);
      await until("the node is ready", 60_000, async () => JSON.parse((await status()).said).ready);
      const ofNode = peak(services.pid(0));
      assert(ofNode > 20 && ofNode < MOST, `the node service has had ${ofNode} MiB`);
      await controllers.grace(2);
      const since = await requests(cluster);
      controllers.start();
      await until("all but the node's own blocks are freed", 240_000, async () => {
        await pause(1000);
        const blocks = await left();
        return blocks.length > 0 && blocks.length <= 2;
      });
      const perBlock = (await requests(cluster) - since) / BLOCKS;
      assert(perBlock < 8, `${perBlock} requests for each block that was freed`);
      const ofControllers = peak(controllers.pid);
      assert(ofControllers > 20 && ofControllers < MOST, `the controllers: ${ofControllers} MiB`);
      // It has lived through all of it, and the pod kept its address.
      await until("the node is ready", 60_000, async () => JSON.parse((await status()).said).ready);
      const whose = await tortie(controllers.where, [
        "ipam",
        "show",
        `--ip=${given.split("/")[0]}`,
      ]);
      assert.match(whose.said, /is in use/);
      await controllers.clean(60_000);
    } finally {
      try {
        await controllers.stop();
        await services.stop();
      } finally {
        await cluster.stop();
        for (const name of [HOST, POD]) await tool(undefined, "ip", "netns", "del", name);
      }
    }
  },
});
