import assert from "node:assert/strict";
import { felixStatusKey, resourceKey } from "../mod/model/keys.ts";
import { nodeKind } from "../mod/model/node.ts";
import { workloadEndpointKind } from "../mod/model/workload_endpoint.ts";
import { answerKey, questionKey } from "../mod/ipam/questions.ts";
import { memoryStore } from "../mod/store/memory.ts";
import { ReplicaCluster, type ReplicaOptions } from "./testing/replicas.ts";
import { World } from "./testing/world.ts";

const PINS = "tortie.io/ip-pins";
const FIVE = ["10.244.0.20", "10.244.0.21", "10.244.0.22", "10.244.0.40", "10.244.0.41"];
const ON_FIVE = {
  replicas: 5,
  nodes: 4,
  pins: "10.244.0.20-10.244.0.22, 10.244.0.40/31",
  allowed: FIVE,
  crashes: 15,
};

async function rollOuts(rounds: number, options: ReplicaOptions): Promise<ReplicaCluster> {
  const store = memoryStore();
  try {
    const cluster = await ReplicaCluster.make(store, options);
    let replicas = await cluster.start();
    for (let i = 0; i < rounds; i++) replicas = await cluster.rollOut(replicas);
    assert.equal((await cluster.allocations()).length, 5);
    await cluster.stop(replicas);
    const left = await cluster.allocations();
    if (options.kind === "Deployment") assert.deepEqual(left, []);
    else {
      // Kept, each for its ordinal, and used by nobody.
      assert.deepEqual(
        left.map(({ handle }) => handle).sort(),
        [0, 1, 2, 3, 4].map((i) => `tortie-pin.blue.web.${i}`),
      );
      assert.ok(left.every(({ attributes: a }) => a.keptUntil && !a.container && !a.pod));
    }
    return cluster;
  } finally {
    await store.close();
  }
}

Deno.test("pins: 40 rollouts of 5 replicas on 5 addresses, with crashes on 4 nodes", async () => {
  const cluster = await rollOuts(40, { ...ON_FIVE, kind: "Deployment", seed: 1 });
  assert.equal(cluster.adds, 205);
  assert.ok(cluster.waits > 0 && cluster.crashes > 20, `${cluster.waits} ${cluster.crashes}`);
});

Deno.test("pins: surge pods take the declared spare and none waits", async () => {
  const cluster = await rollOuts(20, {
    ...ON_FIVE,
    kind: "Deployment",
    seed: 2,
    spare: "10.244.0.60",
    allowed: [...FIVE, "10.244.0.60"],
  });
  assert.equal(cluster.waits, 0);
});

Deno.test("pins: an ordinal of a StatefulSet keeps its address through 20 rollouts", async () => {
  await rollOuts(20, { ...ON_FIVE, kind: "StatefulSet", seed: 3 });
});

const k8s = (pod: string, namespace = "blue") =>
  `K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${pod}`;
const owner = (kind: string, name: string) => [{
  apiVersion: "apps/v1",
  kind,
  name,
  uid: "u",
  controller: true,
}];

async function world(run: (w: World) => Promise<void>): Promise<void> {
  const w = await World.make();
  try {
    await run(w);
  } finally {
    await w.store.close();
  }
}

async function addPod(
  w: World,
  name: string,
  annotations: Record<string, string>,
  more: { namespace?: string; statefulSet?: string } = {},
): Promise<void> {
  const { namespace = "blue", statefulSet } = more;
  await w.addPod(name, { namespace, annotations });
  if (!statefulSet) return;
  const key = `/tortie/kubernetes/pods/${namespace}/${name}`;
  const entry = (await w.store.get<any>(key))!;
  entry.value.metadata.ownerReferences = owner("StatefulSet", statefulSet);
  await w.store.put(key, entry.value);
}

const address = (json: any) => json.ips[0].address.split("/")[0];

Deno.test("pins: a surge pod is told to try again, and who has the addresses", () =>
  world(async (w) => {
    const pins = { [PINS]: '["10.244.0.20"]' };
    for (const name of ["web-a", "web-b"]) await addPod(w, name, pins);
    assert.equal(
      address((await w.call({ args: k8s("web-a"), container: "a" })).json),
      "10.244.0.20",
    );
    const before = await w.traces();
    const { json } = await w.call({ args: k8s("web-b"), container: "b" });
    assert.equal(json.code, 11);
    assert.match(json.msg, /^Pod blue\/web-b: none of the 1 addresses of annotation tortie\.io/);
    assert.match(json.msg, /10\.244\.0\.20 by pod blue\/web-a on node n1/);
    assert.deepEqual(await w.traces(), before);
    await w.call({ command: "DEL", args: k8s("web-a"), container: "a" });
    assert.equal((await w.call({ args: k8s("web-b"), container: "b" })).exit, 0);
  }));

Deno.test("pins: a new sandbox of the same pod has the old one's address, though the list is full", () =>
  world(async (w) => {
    await addPod(w, "web-a", { [PINS]: "10.244.0.20" });
    await w.call({ args: k8s("web-a"), container: "old" });
    const { json, exit } = await w.call({ args: k8s("web-a"), container: "new" });
    assert.equal(exit, 0, json.msg);
    assert.equal(address(json), "10.244.0.20");
    await w.call({ command: "DEL", args: k8s("web-a"), container: "old" });
    assert.equal((await w.allocations()).length, 1);
  }));

Deno.test("pins: only pools that take the namespace and the node, and only what lies in one", () =>
  world(async (w) => {
    await w.addPool("red", { cidr: "10.50.0.0/24", namespaceSelector: "team == 'red'" });
    await w.addPool("far", { cidr: "10.60.0.0/24", nodeSelector: "zone == 'far'" });
    const call = async (pins: string) => {
      await addPod(w, "p", { [PINS]: pins });
      const { json } = await w.call({ args: k8s("p"), container: "p" });
      assert.deepEqual(await w.traces(), []);
      return json;
    };
    const red = await call("10.50.0.1");
    assert.equal(red.code, 101);
    assert.match(red.msg, /Pod blue\/p: annotation tortie\.io\/ip-pins.*namespaceSelector/);
    assert.match((await call("10.244.0.1, 192.0.2.1")).msg, /192\.0\.2\.1 lies in no enabled/);
    const far = await call("10.60.0.1");
    assert.equal(far.code, 11);
    assert.match(far.msg, /their pools are not for this node/);
    const off = await w.call({
      args: k8s("p"),
      container: "p",
      conf: World.conf({ feature_control: { ip_pins: false } }),
    });
    assert.match(off.json.msg, /switched off by feature_control\.ip_pins/);
  }));

Deno.test("pins: a kept address is nobody else's until its time is over; then whoever lists it", () =>
  world(async (w) => {
    const set = { statefulSet: "web" };
    await addPod(w, "web-0", { [PINS]: "10.244.0.20", "tortie.io/ip-pins-keep": "1h" }, set);
    await w.call({ args: k8s("web-0"), container: "a" });
    await w.call({ command: "DEL", args: k8s("web-0"), container: "a" });
    // By a pin, by ipAddrs, and from another namespace: all are refused.
    await addPod(w, "thief", { [PINS]: "10.244.0.20" }, { namespace: "red" });
    const thief = await w.call({ args: k8s("thief", "red"), container: "t" });
    assert.equal(thief.json.code, 11);
    assert.match(
      thief.json.msg,
      /ordinal 0 of StatefulSet blue\/web, for which it is kept until 20/,
    );
    await addPod(w, "thief", { "cni.projectcalico.org/ipAddrs": '["10.244.0.20"]' });
    assert.equal((await w.call({ args: k8s("thief"), container: "t" })).json.code, 11);
    // A pod that only calls itself like an ordinal is none.
    await addPod(w, "web-0", { [PINS]: "10.244.0.20" });
    assert.equal((await w.call({ args: k8s("web-0"), container: "b" })).json.code, 11);
    await addPod(w, "web-0", { [PINS]: "10.244.0.20", "tortie.io/ip-pins-keep": "0s" }, set);
    assert.equal(
      address((await w.call({ args: k8s("web-0"), container: "c" })).json),
      "10.244.0.20",
    );
    await w.call({ command: "DEL", args: k8s("web-0"), container: "c" });
    await addPod(w, "heir", { [PINS]: "10.244.0.20" }, { namespace: "red" });
    w.tick = 4 * 3_600_000;
    const heir = await w.call({ args: k8s("heir", "red"), container: "h" });
    assert.equal(heir.exit, 0, heir.json.msg);
    const [allocation] = await w.allocations();
    assert.equal(allocation.handle, "net.h");
  }));

Deno.test("pins: an ordinal whose list has changed gives the old address back", () =>
  world(async (w) => {
    const set = { statefulSet: "web" };
    await addPod(w, "web-1", { [PINS]: "10.244.0.20-10.244.0.21" }, set);
    assert.equal(
      address((await w.call({ args: k8s("web-1"), container: "a" })).json),
      "10.244.0.21",
    );
    await w.call({ command: "DEL", args: k8s("web-1"), container: "a" });
    await addPod(w, "web-1", { [PINS]: "10.244.0.30" }, set);
    assert.equal(
      address((await w.call({ args: k8s("web-1"), container: "b" })).json),
      "10.244.0.30",
    );
    assert.equal((await w.allocations()).length, 1);
  }));

Deno.test("pins: an ordinal waits while its former container is still on another node", () =>
  world(async (w) => {
    await addPod(w, "web-0", { [PINS]: "10.244.0.20" }, { statefulSet: "web" });
    assert.equal((await w.call({ args: k8s("web-0"), container: "a" })).exit, 0);
    const other = await w.otherNode("n2");
    const early = await other.call({ args: k8s("web-0"), container: "b" });
    assert.equal(early.json.code, 11);
    assert.match(early.json.msg, /may still be in use by its former container on node n1/);
    await w.call({ command: "DEL", args: k8s("web-0"), container: "a" });
    const late = await other.call({ args: k8s("web-0"), container: "c" });
    assert.equal(late.exit, 0, late.json.msg);
    assert.equal(address(late.json), "10.244.0.20");
  }));

Deno.test("pins: an ordinal does not wait for a container of a node that is gone", () =>
  world(async (w) => {
    await addPod(w, "web-0", { [PINS]: "10.244.0.20" }, { statefulSet: "web" });
    assert.equal((await w.call({ args: k8s("web-0"), container: "a" })).exit, 0);
    const other = await w.otherNode("n2");
    await w.store.put(felixStatusKey("n1"), {});
    await w.store.delete(resourceKey(nodeKind, "n1"));
    const early = await other.call({ args: k8s("web-0"), container: "b" });
    assert.equal(early.json.code, 11, "its Node was deleted, and the machine reports");
    assert.match(
      early.json.msg,
      /WorkloadEndpoint blue\/n1-k8s-web--0-eth0 has it\).*delete its Node: tortie delete node n1,/,
    );
    await w.store.delete(felixStatusKey("n1"));
    const late = await other.call({ args: k8s("web-0"), container: "c" });
    assert.equal(late.exit, 0, late.json.msg);
    assert.equal(address(late.json), "10.244.0.20");
  }));

Deno.test("pins: an ordinal waits for a container of a node that answers without a Node", () =>
  world(async (w) => {
    await addPod(w, "web-0", { [PINS]: "10.244.0.20" }, { statefulSet: "web" });
    assert.equal((await w.call({ args: k8s("web-0"), container: "a" })).exit, 0);
    const other = await w.otherNode("n2");
    other.tick = 200_000;
    await w.store.delete(resourceKey(workloadEndpointKind, "n1-k8s-web--0-eth0", "blue"));
    await w.store.delete(resourceKey(nodeKind, "n1"));
    await w.store.put(answerKey("n1"), { asked: "", held: [] });
    let held = ["10.244.0.20"];
    const stop = answering(w, () => ({ held }));
    try {
      const early = (await other.call({ args: k8s("web-0"), container: "b" })).json;
      assert.match(early.msg, /container on node n1 \(the node says so\); this pod waits/);
      held = [];
      const late = (await other.call({ args: k8s("web-0"), container: "c" })).json;
      assert.equal(address(late), "10.244.0.20");
    } finally {
      await stop();
    }
  }));

/** What n1 answers whenever it is asked, until it is stopped. */
function answering(
  w: World,
  answer: () => { held: string[]; unseen?: string },
): () => Promise<void> {
  let over = false;
  const work = (async () => {
    while (!over) {
      const asked = await w.store.get(questionKey("n1"));
      if (asked) await w.store.put(answerKey("n1"), { asked: asked.revision, ...answer() });
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  })();
  return () => (over = true, work);
}

Deno.test("pins: an ordinal whose former container has no record waits for that node's word", () =>
  world(async (w) => {
    await addPod(w, "web-0", { [PINS]: "10.244.0.20" }, { statefulSet: "web" });
    assert.equal((await w.call({ args: k8s("web-0"), container: "a" })).exit, 0);
    // As where endpoints are the Pods: it goes with the Pod, and the container is still there.
    await w.store.delete(resourceKey(workloadEndpointKind, "n1-k8s-web--0-eth0", "blue"));
    const other = await w.otherNode("n2");
    const call = async (container: string) =>
      (await other.call({ args: k8s("web-0"), container })).json;
    assert.match((await call("b")).msg, /its ADD may be under way/);
    // The clock of n1 was a day ahead: that says nothing, and n1 is asked.
    other.tick = -86_400_000;
    assert.match((await call("b")).msg, /node n1 cannot be asked/);
    other.tick = 200_000;
    assert.match((await call("c")).msg, /node n1 cannot be asked/);
    await w.store.put(answerKey("n1"), { asked: "", held: [] });
    let answer: { held: string[]; unseen?: string } = { held: ["10.244.0.20"] };
    const stop = answering(w, () => answer);
    try {
      const told = await call("d");
      assert.equal(told.code, 11);
      assert.match(told.msg, /container on node n1 \(the node says so\); this pod waits/);
      answer = { held: [], unseen: "no processes" };
      assert.match((await call("e")).msg, /node n1 cannot tell: no processes/);
      answer = { held: [] };
      assert.equal(address(await call("f")), "10.244.0.20");
    } finally {
      await stop();
    }
  }));
