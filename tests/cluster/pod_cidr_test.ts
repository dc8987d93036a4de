/**
 * Nodes whose networks Kubernetes plans: `ipam.type: host-local` with `usePodCidr`, and USE_POD_CIDR, so
 * that a node announces and tunnels its whole network, as Calico's does there.
 */
import assert from "node:assert/strict";
import { conflist, netnsPath } from "../../mod/lab/cluster.ts";
import type { LabNode } from "../../mod/lab/layout.ts";
import { binary, tool, until, withLab } from "./harness.ts";

const options = { sanitizeResources: false, sanitizeOps: false };

async function plugin(node: LabNode, command: string, container: string): Promise<any> {
  const { plugins: [ours], ...list } = conflist(node);
  const conf = {
    ...list,
    ...ours,
    ipam: { type: "host-local", subnet: "usePodCidr", dataDir: `${node.directory}/networks` },
  };
  const child = new Deno.Command("ip", {
    args: ["netns", "exec", node.namespace, binary()],
    env: {
      TORTIE_CALICO_DIR: `${node.directory}/calico`,
      CNI_COMMAND: command,
      CNI_CONTAINERID: container,
      CNI_NETNS: netnsPath(container),
      CNI_IFNAME: "eth0",
      CNI_PATH: "/opt/cni/bin",
    },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(conf)));
  await writer.close();
  const { code, stdout } = await child.output();
  const text = new TextDecoder().decode(stdout);
  assert.equal(code, 0, text);
  return text === "" ? undefined : JSON.parse(text);
}

Deno.test(
  "with USE_POD_CIDR nodes' networks are announced, and tunnelled by VXLAN",
  options,
  async () => {
    await withLab({ subnets: "2", env: { USE_POD_CIDR: "true" } }, async (lab) => {
      const { name, nodes } = lab.record.layout;
      const containers = nodes.map((_, i) => `tortie-${name}-hl${i}`);
      try {
        for (const [i, node] of nodes.entries()) {
          const said = await lab.tortie(["get", "node", node.name, "-o", "json"]);
          const object = JSON.parse(said.stdout);
          object.status = { podCIDRs: [`10.244.${i + 1}.0/24`] };
          await lab.apply(JSON.stringify(object));
        }
        const addresses: string[] = [];
        for (const [i, node] of nodes.entries()) {
          await tool(undefined, "ip", "netns", "add", containers[i]);
          const answer = await plugin(node, "ADD", containers[i]);
          addresses.push(answer.ips[0].address.replace(/\/.*/, ""));
        }
        assert.deepEqual(addresses, ["10.244.1.2", "10.244.2.2"]);
        const pings = async () =>
          await tool(containers[0], "ping", "-c", "1", "-W", "1", addresses[1]).then(() => true);
        const routes = () => tool(nodes[0].namespace, "ip", "route", "show");
        await until("the pods talk by BGP's routes", 20_000, pings);
        assert.match(await routes(), /^10\.244\.2\.0\/24 via 10\.10\.\d+\.\d+ dev eth0 proto 81/m);
        assert.match(await routes(), /^blackhole 10\.244\.1\.0\/24 proto 80/m);
        assert.doesNotMatch(await routes(), /10\.244\.2\.2/);

        await lab.tortie([
          "patch",
          "ippool",
          "default-ipv4-ippool",
          "-p",
          '{"spec":{"vxlanMode":"Always"}}',
        ]);
        await until(
          "the network is behind the tunnel",
          20_000,
          async () =>
            /^10\.244\.2\.0\/24 via 10\.244\.2\.1 dev vxlan\.calico proto 80 onlink/m.test(
              await routes(),
            ),
        );
        await until("the pods talk through the tunnel", 20_000, pings);
        const ipam = await lab.store.list("/calico/ipam/v2/");
        assert.deepEqual(
          ipam.entries.map((e) => e.key),
          [],
          "Calico's IPAM was asked",
        );
        for (const [i, node] of nodes.entries()) await plugin(node, "DEL", containers[i]);
      } finally {
        for (const container of containers) {
          await tool(undefined, "ip", "netns", "del", container).catch(() => {});
        }
      }
    });
  },
);
