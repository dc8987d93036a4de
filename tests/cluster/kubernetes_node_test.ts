/**
 * The built executable on the Kubernetes datastore: commands, a node service that registers on its
 * Node, pods that are Pod objects, a NetworkPolicy of the API, the API's loss and return. The API is
 * the tests' own, over the wire that leads to the node.
 */
import assert from "node:assert/strict";
import { calicoDefinitions, clusterNetworkPolicyDefinition } from "../kube/calico_definitions.ts";
import { startKube } from "../kube/kube.ts";
import { rightsOfReadme } from "../kube/readme_rights.ts";
import { binary, httpGet, tool, until } from "./harness.ts";
import { conf, World } from "./world.ts";

const options = { sanitizeResources: false, sanitizeOps: false, ignore: Deno.uid() !== 0 };

const POOL = "{apiVersion: projectcalico.org/v3, kind: IPPool, metadata: {name: p}, " +
  "spec: {cidr: 10.244.0.0/24, natOutgoing: true}}";

Deno.test(
  "the built executable on Kubernetes: a node service, Pods, a NetworkPolicy",
  options,
  async (t) => {
    const env: Record<string, string> = { DATASTORE_TYPE: "kubernetes" };
    const world = new World(env);
    const wire = `w${Deno.pid}`;
    await world.namespace(world.node);
    await tool(world.node, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", wire);
    await tool(world.node, "ip", "link", "set", wire, "netns", `${Deno.pid}`);
    await tool(undefined, "ip", "address", "add", "10.20.0.254/24", "dev", wire);
    await tool(undefined, "ip", "link", "set", wire, "up");
    await tool(world.node, "ip", "address", "add", "10.20.0.1/24", "dev", "eth0");
    await tool(world.node, "ip", "link", "set", "eth0", "up");
    for (const pod of ["a", "b", "c"]) await world.namespace(`${world.id}${pod}`);
    const kube = await startKube({ host: "10.20.0.254", names: ["10.20.0.254"] });
    const definitions = [...calicoDefinitions(), clusterNetworkPolicyDefinition()];
    await Promise.all(definitions.map((definition) => kube.crds([definition])));
    env.KUBECONFIG = `${world.folder}/kubeconfig`;
    kube.grants.push({ to: "tortie", rules: await rightsOfReadme() });
    await Deno.writeTextFile(env.KUBECONFIG, kube.kubeconfig({ token: kube.user("tortie") }));
    const socket = `${world.folder}/run/tortie.sock`;

    const must = async (method: string, path: string, body?: unknown, headers?: HeadersInit) => {
      const { status, body: answer } = await kube.call(method, path, body, headers);
      assert(status < 300, `${method} ${path}: ${status} ${answer?.message}`);
      return answer;
    };
    const PODS = "/api/v1/namespaces/default/pods";
    const makePod = (name: string, annotations: Record<string, string> = {}) =>
      must("POST", PODS, {
        apiVersion: "v1",
        kind: "Pod",
        metadata: { name, labels: { app: name }, annotations },
        spec: { nodeName: "node1", containers: [{ name: "c", image: "i" }] },
      });
    const args = (pod: string) => ({
      env: { CNI_ARGS: `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod}` },
    });
    const kubernetes = { policy: { type: "k8s" } };
    const cni = (command: string, pod: string) =>
      world.cni(command, pod, conf(socket, kubernetes), args(pod));
    const notes = (pod: string) => kube.get("", "pods", "default", pod)!.metadata.annotations ?? {};
    const pings = async (from: string, to: string) => {
      const child = new Deno.Command("ip", {
        args: ["netns", "exec", from, "ping", "-c", "1", "-W", "1", to],
        stdout: "null",
        stderr: "null",
      });
      return (await child.output()).success;
    };
    const addresses: Record<string, string> = {};
    const step = async (name: string, run: () => Promise<void>) => {
      if (await t.step(name, run)) return;
      throw new Error(`${name} failed; the log:\n${world.log().slice(-6000)}`);
    };

    try {
      await step(
        "a node that Kubernetes does not know is told so; a known one registers",
        async () => {
          await world.start({ CALICO_IPV4POOL_CIDR: "none" });
          await until("it says so", 30_000, () => /does not exist in Kubernetes/.test(world.log()));
          await world.end();
          await must("POST", "/api/v1/nodes", {
            apiVersion: "v1",
            kind: "Node",
            metadata: { name: "node1", labels: { "kubernetes.io/hostname": "node1" } },
          });
          await world.start({ CALICO_IPV4POOL_CIDR: "none" });
          await until("it runs", 30_000, async () => (await world.status()).ready === true);
          const { annotations } = kube.get("", "nodes", "", "node1")!.metadata;
          assert.equal(annotations!["projectcalico.org/IPv4Address"], "10.20.0.1/24");
        },
      );

      await step("commands read and write Calico's custom resources", async () => {
        const applied = await world.tortie("apply -f -", POOL);
        assert.equal(applied.exit, 0, applied.err);
        const { spec } = kube.get("crd.projectcalico.org", "ippools", "", "p")!;
        assert.equal(spec.cidr, "10.244.0.0/24");
        assert.match((await world.tortie("get ippools")).out, /^p +10\.244\.0\.0\/24 +all\(\)/m);
        assert.equal((await world.tortie("get nodes -o name")).out, "node/node1\n");
        assert.match((await world.tortie("get profiles")).out, /^kns\.default/m);
      });

      await step("ADD of a pod that is a Pod records it there", async () => {
        const early = await cni("ADD", "a");
        assert.equal(JSON.parse(early.out).code, 11, early.out);
        // Nor where nobody asks for Kubernetes' policies.
        const plain = await world.cni("ADD", "a", conf(socket), args("a"));
        assert.match(JSON.parse(plain.out).msg, /no Pod default\/a in the Kubernetes API/);
        for (const pod of ["a", "b"]) {
          await makePod(pod);
          const added = await cni("ADD", pod);
          assert.equal(added.exit, 0, added.out + added.err + world.log().slice(-3000));
          addresses[pod] = JSON.parse(added.out).ips[0].address.split("/")[0];
          assert.deepEqual(notes(pod), {
            "cni.projectcalico.org/containerID": `container-${pod}`,
            "cni.projectcalico.org/podIP": `${addresses[pod]}/32`,
            "cni.projectcalico.org/podIPs": `${addresses[pod]}/32`,
          });
        }
        assert(await pings(world.node, addresses.a));
        assert(await pings(`${world.id}b`, addresses.a));
        const endpoints = await world.tortie("get wep -A -o wide");
        assert.match(endpoints.out, new RegExp(`node1 +${addresses.a.replaceAll(".", "\\.")}/32`));
        const again = await cni("ADD", "a");
        assert.notEqual(again.exit, 0, "a second ADD is an error");
        assert(await pings(`${world.id}b`, addresses.a));
      });

      await step("a NetworkPolicy of the API is enforced, as labels change", async () => {
        const policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
        await must("POST", policies, {
          apiVersion: "networking.k8s.io/v1",
          kind: "NetworkPolicy",
          metadata: { name: "only-friends" },
          spec: {
            podSelector: { matchLabels: { app: "a" } },
            policyTypes: ["Ingress"],
            ingress: [{ from: [{ podSelector: { matchLabels: { friend: "yes" } } }] }],
          },
        });
        const b = `${world.id}b`;
        await until("b is shut out", 10_000, async () => !await pings(b, addresses.a));
        assert(await pings(`${world.id}a`, addresses.b), "the other way is open");
        const merge = { "content-type": "application/merge-patch+json" };
        await must("PATCH", `${PODS}/b`, { metadata: { labels: { friend: "yes" } } }, merge);
        await until("b is let in", 10_000, () => pings(b, addresses.a));
        await must("PATCH", `${PODS}/b`, { metadata: { labels: { friend: null } } }, merge);
        await until("b is shut out again", 10_000, async () => !await pings(b, addresses.a));
        await must("DELETE", `${policies}/only-friends`);
        await until("b is let in again", 10_000, () => pings(b, addresses.a));
      });

      await step("a node that may not write its Node follows policy, and says so", async () => {
        const merge = { "content-type": "application/merge-patch+json" };
        const annotations = { "projectcalico.org/IPv4Address": "10.20.0.77/24" };
        await world.end();
        await must("PATCH", "/api/v1/nodes/node1", { metadata: { annotations } }, merge);
        const own = kube.grants.find(({ to }) => to === "tortie")!, { rules } = own;
        own.rules = rules.map((rule) => ({
          ...rule,
          resources: rule.resources.filter((resource) => resource !== "nodes/status"),
        }));
        await world.start({ CALICO_IPV4POOL_CIDR: "none" });
        const reason = /this node is not registered: .*forbids us to patch nodes.*"nodes\/status"/;
        const readiness = () => httpGet(world.node, 9099, "/readiness");
        await until("it follows", 30_000, async () => (await world.status()).datastore.ok === true);
        await until("it is not ready", 10_000, async () => {
          const { status, body } = await readiness();
          return status === 503 && reason.test(body);
        });
        const { ready, errors } = await world.status();
        assert.equal(ready, false);
        assert(errors.some((one: string) => reason.test(one)), errors.join("\n"));
        const b = `${world.id}b`;
        assert(await pings(b, addresses.a));
        const policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
        await must("POST", policies, {
          apiVersion: "networking.k8s.io/v1",
          kind: "NetworkPolicy",
          metadata: { name: "nobody" },
          spec: { podSelector: { matchLabels: { app: "a" } }, policyTypes: ["Ingress"] },
        });
        await until("b is shut out", 10_000, async () => !await pings(b, addresses.a));
        await must("DELETE", `${policies}/nobody`);
        // A pod comes and goes as ever, with its route.
        assert.equal((await cni("DEL", "a")).exit, 0);
        const added = await cni("ADD", "a");
        assert.equal(added.exit, 0, added.out);
        addresses.a = JSON.parse(added.out).ips[0].address.split("/")[0];
        assert(await pings(b, addresses.a));
        own.rules = rules;
        await until("it is registered", 30_000, async () => (await readiness()).status === 200);
        const node = kube.get("", "nodes", "", "node1")!;
        assert.equal(
          node.metadata.annotations!["projectcalico.org/IPv4Address"],
          "10.20.0.1/24",
        );
      });

      await step("whoever may change a Pod cannot give it another's address", async () => {
        const merge = { "content-type": "application/merge-patch+json" };
        const annotations = Object.fromEntries(
          ["podIP", "podIPs"].map((name) => [`cni.projectcalico.org/${name}`, "10.244.0.200/32"]),
        );
        const status = { phase: "Running", podIPs: [{ ip: addresses.b }] };
        await must("PATCH", `${PODS}/b/status`, { status }, merge);
        // The kubelet has reported of the one; the other the service has attached itself.
        for (const pod of ["a", "b"]) {
          await must("PATCH", `${PODS}/${pod}`, { metadata: { annotations } }, merge);
        }
        // Nothing has been attached: the address is in no block of this pod.
        await makePod("d", annotations);
        const endpoints = async () =>
          new Map<string, string[]>(
            (await world.status()).endpoints.map((e: any) => [e.workload, e.addresses]),
          );
        await until("the last is seen", 20_000, async () => {
          return (await endpoints()).has("d");
        });
        assert.deepEqual([...await endpoints()].sort(), [
          ["a", [`${addresses.a}/32`]],
          ["b", [`${addresses.b}/32`]],
          ["d", []],
        ]);
        const routes = await tool(world.node, "ip", "route");
        assert.doesNotMatch(routes, /10\.244\.0\.200/);
        assert(await pings(`${world.id}b`, addresses.a));
        assert(await pings(`${world.id}a`, addresses.b));
        await must("DELETE", `${PODS}/d?gracePeriodSeconds=0`);
      });

      await step(
        "an ordinal keeps what its running sandbox has, and waits for that one",
        async () => {
          const merge = { "content-type": "application/merge-patch+json" };
          const PINS = "tortie.io/ip-pins";
          const makeOrdinal = (list: string) =>
            must("POST", PODS, {
              apiVersion: "v1",
              kind: "Pod",
              metadata: {
                name: "web-0",
                annotations: { [PINS]: list },
                ownerReferences: [
                  {
                    apiVersion: "apps/v1",
                    kind: "StatefulSet",
                    name: "web",
                    uid: "u",
                    controller: true,
                  },
                ],
              },
              spec: { nodeName: "node1", containers: [{ name: "c", image: "i" }] },
            });
          const call = (command: string, sandbox: string) =>
            world.cni(command, sandbox, conf(socket, kubernetes), args("web-0"));
          const shown = async (ip: string) => (await world.tortie(`ipam show --ip ${ip}`)).out;
          for (const sandbox of ["w1", "w2"]) await world.namespace(`${world.id}${sandbox}`);
          await makeOrdinal("10.244.0.70");
          assert.equal((await call("ADD", "w1")).exit, 0);
          // Its new list is full: the ADD of the next sandbox takes nothing from the one that runs.
          await must("PATCH", `${PODS}/web-0`, {
            metadata: { annotations: { [PINS]: addresses.b } },
          }, merge);
          const full = await call("ADD", "w2");
          assert.match(JSON.parse(full.out).msg, /none of the 1 addresses/, full.out);
          assert.equal((await call("DEL", "w2")).exit, 0);
          assert.match(await shown("10.244.0.70"), /container: .*container-w1/);
          assert(await pings(`${world.id}b`, "10.244.0.70"));
          // Deleted by force, it comes back on its node before kubelet has removed the sandbox.
          await must("DELETE", `${PODS}/web-0?gracePeriodSeconds=0`);
          await makeOrdinal("10.244.0.70-10.244.0.71");
          const early = await call("ADD", "w2");
          assert.equal(JSON.parse(early.out).code, 11, early.out);
          assert.match(JSON.parse(early.out).msg, /by its former container on this node, node1/);
          assert.equal((await call("DEL", "w2")).exit, 0);
          assert.match(await shown("10.244.0.70"), /container: .*container-w1/);
          assert.equal((await call("DEL", "w1")).exit, 0);
          const late = await call("ADD", "w2");
          assert.equal(late.exit, 0, late.out);
          assert.equal(JSON.parse(late.out).ips[0].address, "10.244.0.70/32");
          assert(await pings(`${world.id}b`, "10.244.0.70"));
          assert.equal((await call("DEL", "w2")).exit, 0);
          await must("DELETE", `${PODS}/web-0?gracePeriodSeconds=0`);
          assert.equal((await world.tortie("ipam release --ip 10.244.0.70")).exit, 0);
        },
      );

      await step(
        "controllers lead and ask nodes, with the rights that the README lists",
        async () => {
          const child = new Deno.Command("ip", {
            args: ["netns", "exec", world.node, binary(), "controllers", "run"],
            env,
            stdout: "null",
            stderr: "piped",
          }).spawn();
          const told = new Response(child.stderr).text();
          try {
            await until("they lead", 30_000, () => {
              const lease = kube.get(
                "coordination.k8s.io",
                "leases",
                "kube-system",
                "tortie-controllers",
              );
              return lease !== undefined;
            });
            await until("the node has said that it can be asked", 20_000, () => {
              return kube.all("", "configmaps").some((map) =>
                map.metadata.name === "tortie-held.node1"
              );
            });
          } finally {
            child.kill("SIGTERM");
            await child.status;
          }
          assert.doesNotMatch(await told, /"warning"|"error"|denied|forbid/);
          // The one right was taken away above.
          const lines = world.log().split("\n").filter((line) => !/nodes\/status/.test(line));
          assert.doesNotMatch(lines.join("\n"), /forbid|denied|may not answer/);
        },
      );

      await step("the API's loss leaves the pods alone, and is over when it is back", async () => {
        await makePod("c");
        await kube.stop();
        assert(await pings(`${world.id}b`, addresses.a));
        const refused = await cni("ADD", "c");
        assert.equal(JSON.parse(refused.out).code, 11, refused.out);
        assert(await pings(`${world.id}b`, addresses.a));
        await kube.start();
        await until("a pod is attached", 60_000, async () => (await cni("ADD", "c")).exit === 0);
      });

      await step("DEL takes the network off the Pod, also without a service", async () => {
        const deleted = await cni("DEL", "a");
        assert.equal(deleted.exit, 0, deleted.out);
        assert.equal(notes("a")["cni.projectcalico.org/podIP"], "");
        await must("DELETE", `${PODS}/b?gracePeriodSeconds=0`);
        assert.equal((await cni("DEL", "b")).exit, 0, "its Pod is gone before it");
        await world.end();
        const offline = {
          ...kubernetes,
          kubernetes: { kubeconfig: env.KUBECONFIG },
          datastore_type: "kubernetes",
        };
        const last = await world.cni("DEL", "c", conf(socket, offline), args("c"));
        assert.equal(last.exit, 0, last.out);
        assert.equal(notes("c")["cni.projectcalico.org/podIP"], "");
        assert.equal((await world.tortie("get wep -A -o name")).out, "");
        assert.equal(kube.all("crd.projectcalico.org", "ipamhandles").length, 0);
      });
    } finally {
      await world.close();
      await kube.close();
      await tool(undefined, "ip", "link", "del", wire).catch(() => {});
    }
  },
);
