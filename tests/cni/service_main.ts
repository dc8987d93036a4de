/**
 * The node's CNI service for tests, without an agent: store, IPAM, kernel and the socket. Policy is
 * "in place" after a delay that the test chooses.
 */
import { CniServer } from "../../cni/server.ts";
import { netlinkKernel } from "../../cni/plumbing.ts";
import { listenUnix } from "../../ffi/unix.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { RpcServer } from "../../mod/rpc/server.ts";
import { openKv } from "../../mod/store/kv.ts";
import { serveStore } from "../../mod/store/serve.ts";

const options: {
  folder: string;
  node: string;
  pools?: { name: string; spec: Record<string, unknown> }[];
  policyDelay?: number;
} = JSON.parse(Deno.args[0]);

const RESOURCES = "/calico/resources/v3/projectcalico.org";
const store = await openKv(`${options.folder}/store.kv`, { waitMs: 5000 });
if (!await store.get(`${RESOURCES}/nodes/${options.node}`)) {
  await store.create(`${RESOURCES}/nodes/${options.node}`, {
    kind: "Node",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: options.node },
    spec: { bgp: { ipv4Address: "192.0.2.1/24" } },
  });
  const pools = options.pools ?? [{ name: "default", spec: { cidr: "10.244.0.0/16" } }];
  for (const { name, spec } of pools) {
    await store.create(`${RESOURCES}/ippools/${name}`, {
      kind: "IPPool",
      apiVersion: "projectcalico.org/v3",
      metadata: { name },
      spec,
    });
  }
}
Deno.writeTextFileSync(`${options.folder}/nodename`, `${options.node}\n`);

const ipam = new Ipam(store);
const server = new CniServer({
  store,
  ipam,
  leases: ipam,
  features: () => ({ floatingIps: true, sourceSpoofing: true }),
  kernel: netlinkKernel(),
  nodeName: options.node,
  mtu: () => 1450,
  endpointProgrammed: async () => {
    if (options.policyDelay) await new Promise((r) => setTimeout(r, options.policyDelay));
  },
  log: (level, message, fields) => console.error(level, message, JSON.stringify(fields)),
});
const rpc = new RpcServer({
  methods: serveStore(store),
  cni: (request, { deliver }) => server.handle(request, deliver),
});
listenUnix(`${options.folder}/tortie.sock`, (stream) => {
  if (stream.peerUid !== 0) stream.close();
  else rpc.accept(stream);
});
