/** `tortie-ipam` without a node service, on an etcd with the Kubernetes API of its configuration beside it. */
import assert from "node:assert/strict";
import { runOffline } from "../../cni/offline.ts";
import { startCalico } from "./kubernetes_harness.ts";
import { EtcdCluster } from "./etcd_server.ts";
import { tool } from "../cluster/harness.ts";

const name =
  "without the service, Namespaces are read in the API of the configuration's kubeconfig";
// The C library stays loaded.
Deno.test(name, { sanitizeResources: false }, async () => {
  const cluster = await EtcdCluster.start();
  const kube = await startCalico({ bookmarks: 0 });
  const folder = await Deno.makeTempDir({ prefix: "tortie-offline-" });
  const netns = `offline-${Deno.pid}`;
  try {
    await tool(undefined, "ip", "netns", "add", netns);
    const store = await cluster.open();
    const at = (kind: string, name: string) =>
      `/calico/resources/v3/projectcalico.org/${kind}/${name}`;
    await store.put(at("nodes", "n1"), { metadata: { name: "n1" }, spec: {} });
    for (
      const [name, cidr, namespaceSelector] of [
        ["all", "10.244.0.0/16", "!has(team)"],
        ["team", "10.33.0.0/24", "team == 'a'"],
      ]
    ) {
      const spec = { cidr, namespaceSelector, blockSize: 26 };
      await store.put(at("ippools", name), { metadata: { name }, spec });
    }
    await store.close();
    await kube.call("POST", "/api/v1/namespaces", {
      metadata: { name: "blue", labels: { team: "a" } },
    });
    const kubeconfig = `${folder}/kubeconfig`;
    await Deno.writeTextFile(kubeconfig, kube.kubeconfig());
    const add = async (path: string) => {
      const conf = {
        ...{ cniVersion: "1.0.0", name: "net", type: "ptp", ipam: { type: "tortie-ipam" } },
        etcd_endpoints: cluster.members[0].url,
        kubernetes: { kubeconfig: path },
      };
      const env = {
        ...{ CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_IFNAME: "eth0", CNI_PATH: "/nowhere" },
        ...{ CNI_NETNS: `/run/netns/${netns}`, CNI_ARGS: "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=p" },
      };
      const stdin = new TextEncoder().encode(JSON.stringify(conf));
      const request = { argv0: "/opt/cni/bin/tortie-ipam", env, stdin };
      const { body } = await runOffline(request, { NODENAME: "n1" }, "/nowhere.sock", "none");
      return JSON.parse(body);
    };
    const away = await add(`${folder}/none`);
    assert.equal(away.code, 11, away.msg);
    const { ips, msg } = await add(kubeconfig);
    assert.match(ips?.[0].address ?? msg, /^10\.33\.0\./);
  } finally {
    await tool(undefined, "ip", "netns", "delete", netns).catch(() => {});
    await kube.close();
    await cluster.stop();
    await Deno.remove(folder, { recursive: true });
  }
});
