/**
 * The built executable where Calico's data is in an etcd and the pods are a Kubernetes cluster's: a pod
 * is attached with what its Pod says, and its labels, its namespace's profile and the NetworkPolicies
 * come from there by `tortie controllers run`.
 */
import assert from "node:assert/strict";
import { startCalico } from "../store/kubernetes_harness.ts";
import { EtcdCluster } from "../store/etcd_server.ts";
import { binary, tool, until } from "./harness.ts";
import { conf, World } from "./world.ts";

const options = { sanitizeResources: false, sanitizeOps: false, ignore: Deno.uid() !== 0 };

Deno.test(
  "an etcd beside a Kubernetes cluster: a pod, and a policy that closes it",
  options,
  async () => {
    const env: Record<string, string> = {};
    const world = new World(env);
    const wire = `w${Deno.pid}`;
    let controllers: Deno.ChildProcess | undefined;
    await world.namespace(world.node);
    await tool(world.node, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", wire);
    await tool(world.node, "ip", "link", "set", wire, "netns", `${Deno.pid}`);
    await tool(undefined, "ip", "address", "add", "10.20.0.254/24", "dev", wire);
    await tool(undefined, "ip", "link", "set", wire, "up");
    await tool(world.node, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
    await tool(world.node, "ip", "link", "set", "eth0", "up");
    await world.namespace(`${world.id}a`);
    const kube = await startCalico({ host: "10.20.0.254", names: ["10.20.0.254"] });
    const etcd = await EtcdCluster.start({ netns: world.node });
    try {
      Object.assign(env, etcd.env, { KUBECONFIG: `${world.folder}/kubeconfig` });
      await Deno.writeTextFile(env.KUBECONFIG, kube.kubeconfig());
      const make = async (path: string, object: object) => {
        const { status, body } = await kube.call("POST", path, object);
        assert.equal(status, 201, JSON.stringify(body));
      };
      await make("/api/v1/nodes", { apiVersion: "v1", kind: "Node", metadata: { name: "node1" } });
      await make("/api/v1/namespaces/default/pods", {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name: "a", labels: { app: "web" } },
        spec: { nodeName: "node1", containers: [{ name: "c", image: "i" }] },
      });
      await world.start({ CALICO_IPV4POOL_CIDR: "10.244.0.0/24", WAIT_FOR_DATASTORE: "true" });
      await until("it runs", 30_000, async () => (await world.status()).ready === true);
      controllers = new Deno.Command("ip", {
        args: ["netns", "exec", world.node, binary(), "controllers", "run"],
        env: { ...world.own, ...env },
        clearEnv: true,
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      const added = await world.cni(
        "ADD",
        "a",
        conf(`${world.folder}/run/tortie.sock`, { policy: { type: "k8s" } }),
        { env: { CNI_ARGS: "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=a" } },
      );
      assert.equal(added.exit, 0, added.out + added.err + world.log().slice(-3000));
      const address = JSON.parse(added.out).ips[0].address.split("/")[0];
      const endpoint = async () =>
        JSON.parse((await world.tortie("get wep -o json")).out).items[0].metadata.labels;
      assert.equal((await endpoint()).app, "web");
      // The host is let in by nothing but the profile of the namespace: what of its policies says.
      const reaches = async () => {
        const child = new Deno.Command("ip", {
          args: ["netns", "exec", `${world.id}a`, "ping", "-c", "1", "-W", "1", "10.20.0.254"],
          stdout: "null",
          stderr: "null",
        });
        return (await child.output()).success;
      };
      await tool(undefined, "ip", "route", "add", `${address}/32`, "via", "10.20.0.1");
      await until("the profile lets it out", 30_000, reaches);
      const policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
      await make(policies, {
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "closed" },
        spec: { podSelector: { matchLabels: { app: "web" } }, policyTypes: ["Egress"] },
      });
      await until("the policy is copied, and closes it", 30_000, async () => !await reaches());
      assert.match((await world.tortie("get np -o name")).out, /knp\.default\.closed/);
      // Another label, and it is no longer the policy's.
      await kube.call("PATCH", "/api/v1/namespaces/default/pods/a", {
        metadata: { labels: { app: "db" } },
      }, {
        "content-type": "application/merge-patch+json",
      });
      await until("it is open again", 30_000, reaches);
      assert.equal((await endpoint()).app, "db");
    } finally {
      controllers?.kill("SIGKILL");
      await controllers?.status;
      await world.close();
      await etcd.stop();
      await kube.close();
    }
  },
);
