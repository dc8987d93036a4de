/**
 * One cluster through all drivers, by whole command lines: from a served store into etcd, from there into
 * a Kubernetes cluster's own API, and back into an embedded store. IPAM is the same everywhere, record
 * by record; resources are the same but for what is Kubernetes' own there.
 */
import assert from "node:assert/strict";
import { canonical, itemText, readContent } from "../../mod/cli/datastore/content.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { checkStore } from "../../mod/ipam/check/check.ts";
import type { Store } from "../../mod/store/store.ts";
import { Cluster, command } from "../cli/harness.ts";
import { EtcdCluster } from "./etcd_server.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";

const OBJECTS = `
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: four, labels: {team: net}}
spec: {cidr: 10.0.0.0/24, blockSize: 28}
---
apiVersion: projectcalico.org/v3
kind: IPPool
metadata: {name: six}
spec: {cidr: 'fd00::/112', blockSize: 122}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n1}
spec: {orchRefs: [{nodeName: n1, orchestrator: k8s}], bgp: {ipv4Address: 192.0.2.1/24, asNumber: 64512}}
---
apiVersion: projectcalico.org/v3
kind: Node
metadata: {name: n2}
spec: {orchRefs: [{nodeName: k2, orchestrator: k8s}]}
---
apiVersion: projectcalico.org/v3
kind: Tier
metadata: {name: sec}
spec: {order: 10}
---
apiVersion: projectcalico.org/v3
kind: NetworkPolicy
metadata: {name: web, namespace: shop, labels: {a: b}, annotations: {note: "=== <&>"}}
spec: {selector: app == 'web', ingress: [{action: Allow, protocol: TCP, destination: {ports: [80, '8000:8100']}}]}
---
apiVersion: projectcalico.org/v3
kind: GlobalNetworkPolicy
metadata: {name: sec.all}
spec: {tier: sec, order: 1.5, egress: [{action: Pass}]}
---
apiVersion: projectcalico.org/v3
kind: NetworkSet
metadata: {name: set, namespace: shop}
spec: {nets: [198.51.100.0/24]}
---
apiVersion: projectcalico.org/v3
kind: BGPFilter
metadata: {name: filter}
spec: {exportV4: [{action: Reject, matchOperator: In, cidr: 10.9.0.0/16}]}
---
apiVersion: projectcalico.org/v3
kind: BGPPeer
metadata: {name: peer}
spec: {node: n2, peerIP: 192.0.2.9, asNumber: 64513, filters: [filter]}
---
apiVersion: projectcalico.org/v3
kind: FelixConfiguration
metadata: {name: node.n2}
spec: {vxlanMTU: 1400}
---
apiVersion: projectcalico.org/v3
kind: WorkloadEndpoint
metadata: {name: n1-k8s-a-eth0, namespace: shop}
spec: {orchestrator: k8s, node: n1, pod: a, endpoint: eth0, interfaceName: calia, ipNetworks: [10.0.0.1/32]}
---
{apiVersion: v1, kind: Namespace, metadata: {name: shop}}
`;

async function furnish(cluster: Cluster): Promise<void> {
  const { exit, err } = await cluster.run("apply -f -", { stdin: OBJECTS });
  assert.equal(exit, 0, err);
  const ipam = new Ipam(cluster.store);
  for (const [i, host] of ["n1", "n1", "n2", "n2"].entries()) {
    await ipam.assign({
      num4: 1,
      num6: 1,
      host,
      handle: `k8s-pod-network.Container${i}`,
      attributes: { node: host, pod: `p${i}`, namespace: "shop" },
      use: "Workload",
    });
  }
  await ipam.assign({
    num4: 1,
    host: "n2",
    handle: "vxlan-tunnel-addr-n2",
    attributes: { node: "n2", type: "vxlanTunnelAddress" },
    use: "Tunnel",
  });
}

/** IPAM's records, and all objects but those of these kinds. */
async function picture(store: Store, without: readonly string[]): Promise<string[]> {
  const { items, records } = await readContent(store);
  const { kubernetes, ...ipam } = records;
  return [
    ...items.filter(({ kind }) => !without.includes(kind.kind)).map(itemText),
    ...Object.values(ipam).flat().map((r) => `${r.key} ${canonical(r.value)}`),
    ...(without.length === 0 ? kubernetes.map((r) => `${r.key} ${canonical(r.value)}`) : []),
  ].sort();
}

async function held(store: Store): Promise<string[]> {
  const { allocations } = await checkStore(store, () => Date.now());
  return allocations.map(({ address, handle }) => `${address} ${handle}`).sort();
}

/** A command that must be done; its output. */
async function done(words: string, options: { stdin?: string; env?: Record<string, string> }) {
  const { exit, out, err } = await command(words.split(" "), options);
  assert.equal(exit, 0, `${words}: ${err}`);
  return out;
}

/** Of a Kubernetes cluster these are its own, or differ as its own do. */
const KUBERNETES = ["Node", "Profile", "WorkloadEndpoint"];

Deno.test("a cluster goes from a served store to etcd, to Kubernetes, to a file, and is the same", async () => {
  const source = await Cluster.start();
  const etcd = await EtcdCluster.start();
  const kube = await startCalico();
  const folder = await Deno.makeTempDir();
  const opened: Store[] = [];
  try {
    await furnish(source);
    const first = await source.run("datastore export");
    assert.deepEqual([first.exit, first.err], [0, ""]);

    const onEtcd = { env: etcd.env };
    await done("datastore import -f -", { ...onEtcd, stdin: first.out });
    const etcdStore = await etcd.open();
    opened.push(etcdStore);
    assert.deepEqual(await picture(etcdStore, []), await picture(source.store, []));
    assert.deepEqual(await held(etcdStore), await held(source.store));
    const parts = (text: string) => text.split("===\n");
    const second = await done("datastore export", onEtcd);
    assert.deepEqual(parts(second)[2], parts(first.out)[2], "records are the same bytes");
    assert.deepEqual(parts(second)[0], parts(first.out)[0]);

    // etcd to Kubernetes, as calicoctl does it: node n2 is k2 there.
    for (const name of ["n1", "k2"]) {
      const node = { apiVersion: "v1", kind: "Node", metadata: { name } };
      assert.equal((await kube.call("POST", "/api/v1/nodes", node)).status, 201);
    }
    await kube.call("POST", "/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "shop" },
    });
    const kubeconfig = `${folder}/kubeconfig`;
    await Deno.writeTextFile(kubeconfig, kube.kubeconfig());
    const onKubernetes = { env: { DATASTORE_TYPE: "kubernetes", KUBECONFIG: kubeconfig } };
    const exported = await done("datastore migrate export", onEtcd);
    const said = await done("datastore migrate import -f -", { ...onKubernetes, stdin: exported });
    assert.match(
      said,
      /Successfully applied 9 IPAM resource|Successfully applied \d+ IPAM resource/,
    );
    const kubeStore = await openStore(kube);
    opened.push(kubeStore);
    const renamed = (lines: string[]) =>
      lines.map((line) =>
        line.replaceAll(/\b(host[:/]|node\.|tunnel-addr-)n2\b/g, "$1k2").replaceAll(
          '"node":"n2"',
          '"node":"k2"',
        )
      ).sort();
    assert.deepEqual(
      await picture(kubeStore, KUBERNETES),
      renamed(await picture(etcdStore, KUBERNETES)),
    );
    assert.deepEqual(
      (await held(kubeStore)).length,
      (await held(etcdStore)).length,
    );
    const node = await done("get node n1 -o yaml", onKubernetes);
    assert.match(node, /ipv4Address: 192\.0\.2\.1\/24/);
    const again = await done("datastore migrate import -f -", { ...onKubernetes, stdin: exported });
    // Nodes are Kubernetes' own and hold more there: they alone are written again.
    assert.match(again, /^Successfully applied 2 resource.*\n.*\n.* applied 0 IPAM/);

    // And out of Kubernetes, whole, into a file.
    const third = await done("datastore export", onKubernetes);
    const file = { env: { TORTIE_STORE: `kv:${folder}/store.kv` } };
    await done("datastore import -f -", { ...file, stdin: third });
    await done("datastore migrate unlock", file);
    const { openKv } = await import("../../mod/store/kv.ts");
    const kv = await openKv(`${folder}/store.kv`);
    opened.push(kv);
    assert.deepEqual(await picture(kv, ["Profile"]), await picture(kubeStore, ["Profile"]));
    assert.deepEqual(await held(kv), await held(kubeStore));
  } finally {
    for (const store of opened) await store.close();
    await kube.close();
    await etcd.stop();
    await source.close();
    await Deno.remove(folder, { recursive: true });
  }
});
