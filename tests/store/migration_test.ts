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
import { type Kube, startKube } from "../kube/kube.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

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
  const { allocations } = await checkStore(store, { now: () => Date.now() });
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

Deno.test("an import that is killed goes on where it ended", async () => {
  const source = await Cluster.start();
  const target = await Cluster.start();
  try {
    const many = Array.from(
      { length: 600 },
      (_, i) =>
        `{apiVersion: projectcalico.org/v3, kind: GlobalNetworkSet, metadata: {name: s${i}}, ` +
        `spec: {nets: [198.51.100.${i % 250}/32]}}`,
    );
    await furnish(source);
    const applied = await source.run("apply -f -", { stdin: many.join("\n---\n") });
    assert.equal(applied.exit, 0, applied.err);
    const text = (await source.run("datastore export")).out;
    const file = await source.file("export.yaml", text);
    const wanted = await picture(source.store, []);
    const main = new URL("../../main.ts", import.meta.url).pathname;
    let killed = 0;
    for (let most = 60; killed < 4; most += 120) {
      const child = new Deno.Command(Deno.execPath(), {
        args: [...RUN_MODULE, main]
          .concat(["datastore", "import", "-f", file, "--store", `${target.folder}/tortie.sock`]),
        stdout: "null",
        stderr: "null",
      }).spawn();
      let ended = false;
      const status = child.status.finally(() => ended = true);
      while (!ended && (await target.store.list("/calico/")).entries.length < most) {
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
      if (!ended) child.kill("SIGKILL");
      const { success } = await status;
      if (success) break;
      killed++;
    }
    assert(killed > 0, "none was killed while it wrote");
    const there = new Set(await picture(target.store, []));
    const missing = wanted.filter((line) => !there.has(line)).length;
    if (missing > 0) {
      const unlock = await target.run("datastore migrate unlock");
      assert.match(unlock.err, /has begun and not ended/);
    }
    const last = await target.run(`datastore import -f ${file}`);
    assert.equal(last.exit, 0, last.err);
    assert.deepEqual(await picture(target.store, []), wanted);
    assert.equal((await target.run("datastore migrate unlock")).exit, 0);
  } finally {
    await source.close();
    await target.close();
  }
});

Deno.test("on Kubernetes: old names of policies, and an import without Calico's definitions", async () => {
  const kube = await startCalico();
  const bare = await startKube();
  const folder = await Deno.makeTempDir();
  const source = await Cluster.start();
  try {
    const on = async (name: string, server: Kube) => {
      await Deno.writeTextFile(`${folder}/${name}`, server.kubeconfig());
      return { env: { DATASTORE_TYPE: "kubernetes", KUBECONFIG: `${folder}/${name}` } };
    };
    // As kube-apiserver holds it that Calico 3.31 or kubectl wrote.
    const path = "/apis/crd.projectcalico.org/v1/globalnetworkpolicies";
    const { status } = await kube.call("POST", path, {
      apiVersion: "crd.projectcalico.org/v1",
      kind: "GlobalNetworkPolicy",
      metadata: { name: "default.old" },
      spec: { order: 7, types: ["Ingress"], selector: "all()" },
    });
    assert.equal(status, 201);
    const withCalico = await on("calico", kube);
    const before = await done("get gnp old -o yaml --export", withCalico);
    assert.match(await done("datastore migrate-policy-names", withCalico), /migrated 1 policies/);
    assert.equal((await kube.call("GET", `${path}/default.old`)).status, 404);
    assert.equal((await kube.call("GET", `${path}/old`)).status, 200);
    const text = (yaml: string) =>
      yaml.replace(/.*(resourceVersion|uid|creationTimestamp):.*\n/g, "");
    assert.equal(text(await done("get gnp old -o yaml --export", withCalico)), text(before));
    assert.match(await done("datastore migrate-policy-names", withCalico), /migrated 0 policies/);

    await furnish(source);
    const stdin = (await source.run("datastore export")).out;
    const none = await command("datastore import -f -".split(" "), {
      ...await on("bare", bare),
      stdin,
    });
    assert.notEqual(none.exit, 0);
    assert.match(none.err, /crd\.projectcalico\.org/);
  } finally {
    await source.close();
    await bare.close();
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
});
