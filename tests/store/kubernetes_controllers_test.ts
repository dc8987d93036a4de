/**
 * The controllers on Kubernetes' API: on it as their datastore (their Lease, what they ask nodes), and
 * on an etcd beside it, as they are where Calico's data is in an etcd of its own.
 */
import assert from "node:assert/strict";
import { Controllers } from "../../mod/controllers/controllers.ts";
import { Lease, LEASE_KEY } from "../../mod/controllers/lease.ts";
import { Ipam } from "../../mod/ipam/ipam.ts";
import { answerKey, questionKey, readQuestion } from "../../mod/ipam/questions.ts";
import { kubeControllersConfigurationKind } from "../../mod/model/kube_controllers_configuration.ts";
import { networkPolicyKind } from "../../mod/model/network_policy.ts";
import { nodeKind } from "../../mod/model/node.ts";
import { profileKind } from "../../mod/model/profile.ts";
import { workloadEndpointKind } from "../../mod/model/workload_endpoint.ts";
import { formatIp } from "../../mod/net/mod.ts";
import { AddressQuestions } from "../../mod/node/address_questions.ts";
import type { Log } from "../../mod/node/log.ts";
import { systemClock } from "../../mod/store/clock.ts";
import { Resources } from "../../mod/store/resources.ts";
import { type Store, StoreError } from "../../mod/store/store.ts";
import { command } from "../cli/harness.ts";
import type { Kube } from "../kube/kube.ts";
import { rightsOfReadme } from "../kube/readme_rights.ts";
import { EtcdCluster } from "./etcd_server.ts";
import { openStore, startCalico } from "./kubernetes_harness.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

async function until(what: string, is: () => Promise<boolean> | boolean): Promise<void> {
  const late = Date.now() + 60_000;
  for (let last: unknown; !await (async () => is())().catch((e) => (last = e, false));) {
    if (Date.now() > late) assert.fail(`${what}${last ? `: ${last}` : ""}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Controllers that run until `stop`. */
function start(
  store: Store,
  more: { api?: Store; podsKnown?: boolean; holder?: string; log?: Log } = {},
) {
  const controllers = new Controllers({
    podsKnown: false,
    holder: "a",
    log: silent,
    ...more,
    store,
    clock: systemClock,
    env: () => undefined,
  });
  const abort = new AbortController();
  const ended = controllers.run(abort.signal);
  return {
    controllers,
    async stop() {
      abort.abort();
      await ended;
    },
  };
}

async function make(kube: Kube, path: string, object: object): Promise<void> {
  const { status, body } = await kube.call("POST", path, object);
  assert.equal(status, 201, JSON.stringify(body));
}

const node = (name: string, labels = {}) => ({
  apiVersion: "v1",
  kind: "Node",
  metadata: { name, labels },
});
const pod = (name: string, labels = {}) => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name, namespace: "blue", labels },
  spec: { nodeName: "n1", serviceAccountName: "sa", containers: [{ name: "c", image: "i" }] },
});

Deno.test("the README's roles let the controllers make host endpoints and take them away", async () => {
  const kube = await startCalico();
  const token = kube.user("controllers");
  kube.grants.push({ to: "controllers", rules: await rightsOfReadme() });
  await make(kube, "/api/v1/nodes", node("n1"));
  const store = await openStore(kube, {}, { kubeconfigInline: kube.kubeconfig({ token }) });
  const admin = await openStore(kube);
  const complaints: unknown[] = [];
  const running = start(store, {
    podsKnown: true,
    log: { ...silent, warn: (text, fields) => void complaints.push(text, fields) },
  });
  const endpoint = () => kube.get("crd.projectcalico.org", "hostendpoints", "", "n1-auto-hep");
  const autoCreate = (autoCreate: string) =>
    new Resources(admin).modify(
      kubeControllersConfigurationKind,
      "default",
      undefined,
      (stored) => {
        const next = structuredClone(stored) as any;
        next.spec.controllers.node = {
          ...next.spec.controllers.node,
          hostEndpoint: { autoCreate },
        };
        return next;
      },
    );
  try {
    await until("the settings can be edited", async () => !!await autoCreate("Enabled"));
    await until("there is one", () => endpoint() !== undefined);
    await autoCreate("Disabled");
    await until("it is gone", () => endpoint() === undefined);
    assert.deepEqual(complaints, []);
  } finally {
    await running.stop();
    await store.close();
    await admin.close();
    await kube.close();
  }
});

Deno.test("one leads by the one Lease, and nobody needs to read another", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  // As its Role would be: the Lease by its name, and nothing of all leases.
  const token = kube.user("controllers");
  kube.grants.push({
    to: "controllers",
    rules: [
      {
        verbs: ["get", "list", "watch"],
        groups: ["*"],
        resources: ["namespaces", "clusterinformations"],
      },
      {
        verbs: ["get", "update", "delete", "watch", "list"],
        groups: ["coordination.k8s.io"],
        resources: ["leases"],
        namespaces: ["kube-system"],
        names: ["tortie-controllers"],
      },
      {
        verbs: ["create"],
        groups: ["coordination.k8s.io"],
        resources: ["leases"],
        namespaces: ["kube-system"],
      },
    ],
  });
  await make(kube, "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases", {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name: "kubelet", namespace: "kube-system" },
  });
  const store = await openStore(kube, {}, { kubeconfigInline: kube.kubeconfig({ token }) });
  try {
    let now = 0;
    const lease = (holder: string) =>
      new Lease(store, { holder, seconds: 15, now: () => now, wall: () => Date.UTC(2026, 0, 2) });
    const [a, b] = [lease("a"), lease("b")];
    assert.deepEqual(await a.turn(), { is: "leader" });
    const read = () =>
      kube.get("coordination.k8s.io", "leases", "kube-system", "tortie-controllers");
    assert.equal(read()!.spec.holderIdentity, "a");
    assert.equal(read()!.spec.renewTime, "2026-01-02T00:00:00.000000Z");
    assert.deepEqual(await b.turn(), { is: "standby", leader: "a" });
    // Renewed, it is still the same object; given up, it is gone, and the other leads.
    const { uid } = read()!.metadata;
    assert.deepEqual(await a.turn(), { is: "leader" });
    assert.equal(read()!.metadata.uid, uid);
    await a.resign();
    assert.equal(read(), undefined);
    assert.deepEqual(await b.turn(), { is: "leader" });
    // Killed, it is taken over after its time.
    assert.deepEqual(await a.turn(), { is: "standby", leader: "b" });
    now = 15_000;
    assert.deepEqual(await a.turn(), { is: "leader" });
    assert.equal(read()!.spec.leaseTransitions, 1);
    // No other is there, by any way.
    const leases = "/tortie/kubernetes/leases/";
    assert.equal(await store.get(`${leases}kube-system/kubelet`), undefined);
    await assert.rejects(
      store.put(`${leases}kube-system/other`, { spec: {} }),
      (error: StoreError) => error.kind === "invalid",
    );
  } finally {
    await store.close();
  }
  const admin = await openStore(kube);
  try {
    const keys = async (prefix: string) => (await admin.list(prefix)).entries.map(({ key }) => key);
    assert.deepEqual(await keys("/tortie/kubernetes/leases/"), [LEASE_KEY]);
    assert(!(await keys("/")).includes(LEASE_KEY), "nodes do not follow it");
  } finally {
    await admin.close();
    await kube.close();
  }
});

Deno.test("a node is asked by ConfigMaps before an address is taken, though its Pod is gone", async () => {
  const kube = await startCalico({ bookmarks: 0 });
  const [store, nodes] = [await openStore(kube), await openStore(kube)];
  await make(kube, "/api/v1/nodes", node("n1"));
  await make(kube, "/api/v1/namespaces", {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "blue" },
  });
  const resources = new Resources(store);
  await resources.create(kubeControllersConfigurationKind, {
    metadata: { name: "default" },
    spec: { controllers: { node: { leakGracePeriod: "1s" } } },
  } as any);
  await store.put("/calico/resources/v3/projectcalico.org/ippools/p", {
    metadata: { name: "p" },
    spec: { cidr: "10.244.0.0/24", blockSize: 26 },
  });
  const ipam = new Ipam(store);
  const attributes = { node: "n1", namespace: "blue", pod: "gone" };
  const request = { num4: 1, host: "n1", use: "Workload" as const, attributes };
  const [{ ip }] = await ipam.assign({ ...request, handle: "k8s-pod-network.container" });
  // What the node sees there: its network went on though the Pod was deleted by force.
  let held = [formatIp(ip)];
  let asked = 0;
  const questions = new AddressQuestions({
    store: nodes,
    nodeName: "n1",
    held: (addresses) => {
      asked++;
      return Promise.resolve({
        held: addresses.map((one) => one.ip).filter((one) => held.includes(one)),
      });
    },
    log: silent,
    again: 200,
  });
  questions.start();
  await until("the node can be asked", async () => await store.get(answerKey("n1")) !== undefined);
  const { stop } = start(store, { podsKnown: true });
  try {
    await until(
      "it is asked",
      async () => asked > 0 && await store.get(questionKey("n1")) !== undefined,
    );
    const map = kube.get("", "configmaps", "kube-system", "tortie-asked.n1")!;
    assert.equal(map.data.node, "n1");
    assert.equal(JSON.parse(map.data.word).addresses[0].ip, held[0]);
    const looks = asked;
    await until("it has looked again", () => asked >= looks + 5);
    assert.notEqual(await ipam.assignment(ip), undefined, "its container still has it");
    // Its Node is deleted under it: nothing but its answer says that it is there.
    assert.equal((await kube.call("DELETE", "/api/v1/nodes/n1")).status, 200);
    const called = async () => readQuestion((await store.get(questionKey("n1")))?.value).at;
    await until("it is asked whether it is there", async () => await called() !== undefined);
    const before = asked;
    await until("it has looked again", () => asked >= before + 15);
    assert.notEqual(
      await ipam.assignment(ip),
      undefined,
      "its container has it without a Node too",
    );
    await make(kube, "/api/v1/nodes", node("n1"));
    await until("its Node is its sign of life again", async () => await called() === undefined);
    held = [];
    await until("released", async () => await ipam.assignment(ip) === undefined);
    await until("nothing is asked any more", async () => !await store.get(questionKey("n1")));
    // Somebody else's ConfigMap of such a kind is no word.
    await make(kube, "/api/v1/namespaces/kube-system/configmaps", {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "foreign", labels: { "tortie.io/node-word": "held" } },
      data: { node: "n1", word: "{}" },
    });
    const { entries } = await store.list("/tortie/nodes/");
    assert.deepEqual(entries.map(({ key }) => key), [answerKey("n1")]);
  } finally {
    await stop();
    await questions.stop();
    await Promise.all([store.close(), nodes.close()]);
    await kube.close();
  }
});

/** A cluster with a namespace, a pod and a policy, and an etcd beside it that knows two nodes. */
async function beside(
  run: (
    world: { kube: Kube; api: Store; store: Store; resources: Resources; etcd: EtcdCluster },
  ) => Promise<
    void
  >,
): Promise<void> {
  const [kube, etcd] = [await startCalico({ bookmarks: 0 }), await EtcdCluster.start()];
  const [api, store] = [await openStore(kube), await etcd.open()];
  try {
    await make(kube, "/api/v1/namespaces", {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "blue", labels: { team: "x" } },
    });
    const account = { apiVersion: "v1", kind: "ServiceAccount", metadata: { name: "sa" } };
    await make(kube, "/api/v1/namespaces/blue/serviceaccounts", account);
    await make(kube, "/api/v1/nodes", node("n1", { rack: "r1" }));
    await make(kube, "/api/v1/namespaces/blue/pods", pod("web", { app: "web" }));
    await make(kube, "/apis/networking.k8s.io/v1/namespaces/blue/networkpolicies", {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "closed" },
      spec: { podSelector: { matchLabels: { app: "web" } }, ingress: [{ ports: [{ port: 80 }] }] },
    });
    const resources = new Resources(store);
    for (const name of ["n1", "n2"]) {
      await resources.create(nodeKind, {
        metadata: { name },
        spec: { orchRefs: [{ orchestrator: "k8s", nodeName: name }] },
      } as any);
    }
    await resources.create(workloadEndpointKind, {
      metadata: { name: "n1-k8s-web-eth0", namespace: "blue", labels: { app: "old" } },
      spec: {
        orchestrator: "k8s",
        node: "n1",
        pod: "web",
        endpoint: "eth0",
        interfaceName: "cali1",
        ipNetworks: ["10.244.0.1/32"],
        profiles: ["kns.blue", "ksa.blue.sa"],
      },
    } as any);
    await run({ kube, api, store, resources, etcd });
  } finally {
    await Promise.all([api.close(), store.close()]);
    await kube.close();
    await etcd.stop();
  }
}

Deno.test("on an etcd beside a cluster: nodes, profiles, policies and labels follow the API", () =>
  beside(async ({ kube, api, store, resources, etcd }) => {
    const { controllers, stop } = start(store, { api });
    try {
      await until("labels", async () => {
        const { metadata } = await resources.mustGet(
          workloadEndpointKind,
          "n1-k8s-web-eth0",
          "blue",
        );
        return metadata.labels?.app === "web" &&
          metadata.labels["projectcalico.org/serviceaccount"] === "sa";
      });
      const texts = await etcd.texts("/calico/resources/v3/projectcalico.org/profiles/kns.blue");
      const [profile] = [...texts.values()].map((text) => JSON.parse(text));
      assert.deepEqual(profile.spec.labelsToApply, {
        "pcns.kubernetes.io/metadata.name": "blue",
        "pcns.projectcalico.org/name": "blue",
        "pcns.team": "x",
      });
      assert.equal(profile.spec.ingress[0].action, "Allow");
      assert((await resources.get(profileKind, "ksa.blue.sa")) !== undefined);
      const policy = await resources.mustGet(networkPolicyKind, "knp.default.closed", "blue");
      assert.equal(policy.spec.selector, "projectcalico.org/orchestrator == 'k8s' && app == 'web'");
      assert.deepEqual(policy.spec.ingress![0].destination.ports, [80]);
      await until("the node that left", async () => !await resources.get(nodeKind, "n2"));
      await until("the node's labels", async () => {
        return (await resources.mustGet(nodeKind, "n1")).metadata.labels?.rack === "r1";
      });
      assert.deepEqual(controllers.readiness(), { ok: true, reasons: ["ready"] });
      await until("what runs is told", async () => {
        const { status } = await resources.mustGet(kubeControllersConfigurationKind, "default");
        const names = Object.keys(status?.runningConfig?.controllers ?? {}).sort();
        return names.join() === "namespace,node,policy,serviceAccount,workloadEndpoint";
      });

      // Changes there are changes here, and what is gone there is gone here.
      const path = "/apis/networking.k8s.io/v1/namespaces/blue/networkpolicies/closed";
      assert.equal((await kube.call("DELETE", path)).status, 200);
      await kube.call("PATCH", "/api/v1/namespaces/blue/pods/web", {
        metadata: { labels: { app: "db" } },
      }, {
        "content-type": "application/merge-patch+json",
      });
      await until(
        "the policy's end",
        async () => !await resources.get(networkPolicyKind, "knp.default.closed", "blue"),
      );
      await until("new labels", async () => {
        const { metadata } = await resources.mustGet(
          workloadEndpointKind,
          "n1-k8s-web-eth0",
          "blue",
        );
        return metadata.labels?.app === "db";
      });
      // What somebody spoils in the datastore is put right.
      await resources.delete(profileKind, "kns.blue");
      await until("the profile again", async () => !!await resources.get(profileKind, "kns.blue"));
    } finally {
      await stop();
    }
    // All is as it should be: a second time nothing is written but the lease.
    const revisions = async () =>
      (await store.list("/calico/")).entries.map(({ key, revision }) => `${key} ${revision}`);
    const before = await revisions();
    const again = start(store, { api, holder: "b" });
    await until("it leads", () => again.controllers.collection !== undefined);
    await again.stop();
    assert.deepEqual(await revisions(), before);
  }));

Deno.test("an API that is another cluster's changes nothing, and is named as such", () =>
  beside(async ({ kube, api, store, resources }) => {
    await kube.call("DELETE", "/api/v1/nodes/n1");
    await make(kube, "/api/v1/nodes", node("elsewhere"));
    const { controllers, stop } = start(store, { api });
    try {
      await until(
        "it is seen",
        () => /another cluster/.test(controllers.readiness().reasons.join()),
      );
      assert.equal(controllers.readiness().ok, false);
      await new Promise((resolve) => setTimeout(resolve, 1500));
      const { items } = await resources.list(nodeKind);
      assert.deepEqual(items.map(({ metadata }) => metadata.name), ["n1", "n2"]);
      assert.equal(await resources.get(profileKind, "kns.blue"), undefined);
    } finally {
      await stop();
    }
  }));

Deno.test("ipam check --kubeconfig sees the Pods of the API beside the etcd", () =>
  beside(async ({ kube, store, resources, etcd }) => {
    const folder = await Deno.makeTempDir({ prefix: "tortie-beside-" });
    try {
      const file = `${folder}/kubeconfig`;
      await Deno.writeTextFile(file, kube.kubeconfig());
      await store.put("/calico/resources/v3/projectcalico.org/ippools/p", {
        metadata: { name: "p" },
        spec: { cidr: "10.244.0.0/24", blockSize: 26 },
      });
      await resources.delete(workloadEndpointKind, "n1-k8s-web-eth0", "blue");
      const [{ ip }] = await new Ipam(store).assign({
        num4: 1,
        host: "n1",
        handle: "k8s-pod-network.web",
        attributes: { node: "n1", namespace: "blue", pod: "web" },
        use: "Workload",
      });
      await kube.call("PATCH", "/api/v1/namespaces/blue/pods/web/status", {
        status: { phase: "Running", podIP: formatIp(ip), podIPs: [{ ip: formatIp(ip) }] },
      }, { "content-type": "application/merge-patch+json" });
      const { env } = etcd;
      const blind = await command(["ipam", "check"], { env });
      assert.equal(blind.exit, 1, blind.out + blind.err);
      // Who sees no Pods calls nothing leaked on that account.
      assert.match(blind.out, /Found 0 IPs that are allocated in IPAM but not actually in use/);
      assert.match(blind.out, /it cannot be shown that nobody uses it \(node n1 cannot be asked\)/);
      const seeing = await command(["ipam", "check", "--show-all-ips", "--kubeconfig", file], {
        env,
      });
      assert.match(seeing.out, /belongs to Pod\(blue\/web\)/);
      assert.match(seeing.out, /Found 0 IPs that are allocated in IPAM but not actually in use/);
      const none = await command(["ipam", "check", "--kubeconfig", `${folder}/none`], { env });
      assert.match(none.err, /Kubernetes API beside the datastore/);
      assert.equal(none.exit, 3);
      const twice = await command(
        ["ipam", "check", "--store", `kubernetes:${file}`, "--kubeconfig", file],
        {},
      );
      assert.match(twice.err, /the datastore is one itself/);
      assert.equal(twice.exit, 2);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }));
