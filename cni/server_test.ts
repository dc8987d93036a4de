import assert from "node:assert/strict";
import { memoryStore } from "../mod/store/memory.ts";
import { type Store, StoreError } from "../mod/store/store.ts";
import { parseMark } from "./mark.ts";
import { NODE, World } from "./testing/world.ts";

const P = "cni.projectcalico.org/";

async function world<T>(run: (w: World) => Promise<T>, pool?: Record<string, unknown>): Promise<T> {
  const w = await World.make(pool);
  try {
    return await run(w);
  } finally {
    await w.store.close();
  }
}

const k8s = (pod: string, namespace = "blue") =>
  `IgnoreUnknown=1;K8S_POD_NAMESPACE=${namespace};K8S_POD_NAME=${pod}`;

Deno.test("ADD: a plain container gets what Calico's plugin would give it", () =>
  world(async (w) => {
    const { exit, json } = await w.call();
    assert.equal(exit, 0, JSON.stringify(json));
    const pod = w.kernel.in("/run/netns/c1")[0];
    assert.deepEqual(json.interfaces, [
      { name: "calic1", mac: "ee:ee:ee:ee:ee:ee" },
      { name: "eth0", mac: pod.mac, sandbox: "/run/netns/c1" },
    ]);
    assert.deepEqual(json.routes, [{ dst: "0.0.0.0/0", gw: "169.254.1.1" }]);
    assert.match(json.ips[0].address, /^10\.244\.\d+\.\d+\/32$/);
    assert.equal(json.ips[0].interface, 1);
    assert.equal(pod.mtu, 1450);
    const [endpoint] = await w.endpoints();
    assert.deepEqual(endpoint.spec, {
      orchestrator: "cni",
      node: NODE,
      containerID: "c1",
      endpoint: "eth0",
      ipNetworks: [json.ips[0].address],
      profiles: ["net"],
      interfaceName: "calic1",
      mac: pod.mac,
    });
    assert.deepEqual(endpoint.metadata.labels, {
      "projectcalico.org/namespace": "default",
      "projectcalico.org/orchestrator": "cni",
    });
    assert.deepEqual(Object.keys(endpoint), ["kind", "apiVersion", "metadata", "spec"]);
    const [allocation] = await w.allocations();
    assert.equal(allocation.handle, "net.c1");
    assert.deepEqual(Object.keys(allocation.attributes), ["node", "timestamp"]);
    const profile = (await w.store.get<any>(
      "/calico/resources/v3/projectcalico.org/profiles/net",
    ))!.value;
    assert.deepEqual(profile.spec, {
      ingress: [{ action: "Allow", source: { selector: "has(net)" }, destination: {} }],
      egress: [{ action: "Allow", source: {}, destination: {} }],
      labelsToApply: { net: "" },
    });
    assert.equal(parseMark(w.kernel.in("")[0].alias)?.state, "in use");
  }));

Deno.test("ADD: a pod's endpoint has its labels, account, profiles and ports", () =>
  world(async (w) => {
    await w.addPod("p-a", {
      labels: { app: "web", role: "frontend", team: "x" },
      spec: {
        containers: [{
          name: "c",
          ports: [
            { name: "named-http", containerPort: 8081, protocol: "TCP" },
            { containerPort: 9000 },
            { containerPort: 53, hostPort: 5353, protocol: "UDP" },
          ],
        }],
      },
    });
    const { exit, json } = await w.call({ args: k8s("p-a"), container: "k8sctr-a" });
    assert.equal(exit, 0, JSON.stringify(json));
    const [endpoint] = await w.endpoints();
    assert.equal(endpoint.metadata.name, "n1-k8s-p--a-eth0");
    assert.equal(endpoint.metadata.namespace, "blue");
    assert.deepEqual(endpoint.metadata.labels, {
      app: "web",
      "projectcalico.org/namespace": "blue",
      "projectcalico.org/orchestrator": "k8s",
      "projectcalico.org/serviceaccount": "default",
      role: "frontend",
      team: "x",
    });
    assert.deepEqual(endpoint.spec.profiles, ["kns.blue", "ksa.blue.default"]);
    assert.equal(endpoint.spec.serviceAccountName, "default");
    assert.equal(endpoint.spec.interfaceName, "cali6e43fc92791");
    assert.deepEqual(endpoint.spec.ports, [
      { name: "named-http", protocol: "TCP", port: 8081, hostPort: 0, hostIP: "" },
      { name: "", protocol: "UDP", port: 53, hostPort: 5353, hostIP: "" },
    ]);
    const [allocation] = await w.allocations();
    assert.equal(allocation.handle, "net.k8sctr-a");
    assert.equal(allocation.attributes.pod, "p-a");
    assert.deepEqual(Object.keys(allocation.attributes), ["namespace", "node", "pod", "timestamp"]);
  }));

Deno.test("ADD: with policy.type k8s a pod that is not in the store yet is code 11", () =>
  world(async (w) => {
    const conf = World.conf({ policy: { type: "k8s" } });
    const { json } = await w.call({ args: k8s("p-a"), conf });
    assert.equal(json.code, 11);
    assert.match(json.msg, /blue\/p-a/);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("ADD: pods of a Kubernetes API beside the store have their labels and annotations from it", () =>
  world(async (w) => {
    const api = memoryStore();
    try {
      w.kubernetes = api;
      w.restart();
      const conf = World.conf({ policy: { type: "k8s" } });
      assert.equal((await w.call({ args: k8s("p-a"), conf })).json.code, 11, "not there yet");
      await w.addPod("p-a", {
        labels: { app: "web" },
        annotations: { "cni.projectcalico.org/ipAddrs": '["10.244.0.77"]' },
      });
      const { json, exit } = await w.call({ args: k8s("p-a"), conf });
      assert.equal(exit, 0, json.msg);
      assert.equal(json.ips[0].address, "10.244.0.77/32");
      const [endpoint] = await w.endpoints();
      assert.equal(endpoint.metadata.labels!.app, "web");
      assert.deepEqual(endpoint.spec.profiles, ["kns.blue", "ksa.blue.default"]);
    } finally {
      await api.close();
    }
  }));

Deno.test("ADD: a pool's namespaceSelector goes by the Kubernetes API beside the store", () =>
  world(async (w) => {
    const api = memoryStore();
    try {
      w.kubernetes = api;
      w.restart();
      await w.addPool("pool", { cidr: "10.244.0.0/16", namespaceSelector: "!has(team)" });
      await w.addPool("team", { cidr: "10.33.0.0/24", namespaceSelector: "team == 'a'" });
      await w.addNamespace("blue", {}, { team: "a" });
      // Who has written one into the store has none in Kubernetes.
      await w.store.put("/tortie/kubernetes/namespaces/blue", { metadata: { name: "blue" } });
      await w.addPod("p-a");
      const { json, exit } = await w.call({ args: k8s("p-a") });
      assert.equal(exit, 0, json.msg);
      assert.match(json.ips[0].address, /^10\.33\.0\./);
      const away = () => Promise.reject(new StoreError("unavailable", "away"));
      w.kubernetes = { get: away, list: away } as unknown as Store;
      w.restart();
      assert.equal((await w.call({ args: k8s("p-b"), container: "c2" })).json.code, 11);
    } finally {
      await api.close();
    }
  }));

Deno.test("ADD: the host's side comes up only after policy is in the kernel", () =>
  world(async (w) => {
    const seen: unknown[] = [];
    const go = Promise.withResolvers<void>();
    w.programmed = async (endpoint) => {
      seen.push(endpoint.spec.interfaceName);
      await go.promise;
      const [host] = w.kernel.in("");
      seen.push(host.up, host.hostRoutes.length);
      const [pod] = w.kernel.in("/run/netns/c1");
      seen.push(pod.up);
    };
    setTimeout(() => go.resolve(), 5);
    assert.equal((await w.call()).exit, 0);
    assert.deepEqual(seen, ["calic1", false, 0, false]);
  }));

Deno.test("ADD: where Pods are known one without its Pod is refused by name, and leaves nothing", () =>
  world(async (w) => {
    w.podsKnown = true;
    w.restart();
    const args = "IgnoreUnknown=1;K8S_POD_NAMESPACE=blue;K8S_POD_NAME=gone";
    const gone = await w.call({ args });
    assert.equal(gone.json.code, 11);
    assert.match(gone.json.msg, /no Pod blue\/gone in the Kubernetes API.*it was deleted, or/);
    const plain = await w.call();
    assert.equal(plain.json.code, 4);
    assert.match(plain.json.msg, /Container c1 is no pod .*K8S_POD_NAME/);
    assert.deepEqual(await w.traces(), []);
    await w.addPod("gone");
    assert.equal((await w.call({ args })).exit, 0);
  }));

Deno.test("ADD: policy that does not come is code 11 and leaves nothing", () =>
  world(async (w) => {
    w.programmed = () => new Promise(() => {});
    const late = await w.call();
    assert.equal(late.json.code, 11);
    assert.match(late.json.msg, /policy/);
    w.programmed = (_endpoint, signal) =>
      new Promise((_, reject) => {
        const why = "the policy of endpoint x is not in place: the datastore is away";
        signal.addEventListener("abort", () => reject(new Error(why)));
      });
    const told = await w.call();
    assert.equal(told.json.code, 11);
    assert.match(told.json.msg, /without network after 50 ms: .*: the datastore is away; see/);
    w.programmed = () => Promise.reject(new Error("the agent refused"));
    const refused = await w.call();
    assert.equal(refused.json.code, 199);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("ADD: a second one for the same attachment is an error and changes nothing", () =>
  world(async (w) => {
    const first = await w.call();
    const before = [await w.traces(), await w.endpoints(), structuredClone([...w.kernel.links])];
    const second = await w.call();
    assert.equal(second.exit, 1);
    assert.equal(second.json.code, 100);
    assert.match(second.json.msg, /already/);
    w.kernel.addNamespace("/run/netns/other");
    const elsewhere = await w.call({ netns: "/run/netns/other" });
    assert.equal(elsewhere.json.code, 100, "the same attachment in another namespace");
    const after = [await w.traces(), await w.endpoints(), structuredClone([...w.kernel.links])];
    assert.deepEqual(after, before);
    const check = { ...World.conf(), prevResult: first.json };
    assert.equal((await w.call({ command: "CHECK", conf: check })).exit, 0);
  }));

Deno.test("ADD: an interface of somebody else under that name is an error and stays", () =>
  world(async (w) => {
    w.kernel.addNamespace("/run/netns/c1");
    w.kernel.addLink("/run/netns/c1", "eth0");
    const { json } = await w.call();
    assert.equal(json.code, 100);
    assert.match(json.msg, /not ours/);
    assert.deepEqual(await w.traces(), ["link /run/netns/c1:eth0"]);
    assert.equal((await w.call({ command: "DEL" })).exit, 0);
    assert.deepEqual(await w.traces(), ["link /run/netns/c1:eth0"]);
  }));

Deno.test("ADD and DEL: a newer sandbox takes its pod's endpoint over", () =>
  world(async (w) => {
    await w.addPod("web-0");
    const old = await w.call({ args: k8s("web-0"), container: "old" });
    const [before] = await w.endpoints();
    const fresh = await w.call({ args: k8s("web-0"), container: "new" });
    assert.equal(fresh.exit, 0, JSON.stringify(fresh.json));
    const [after, ...none] = await w.endpoints();
    assert.equal(none.length, 0);
    assert.equal(after.metadata.uid, before.metadata.uid);
    assert.equal(after.spec.containerID, "new");
    assert.equal(after.spec.interfaceName, before.spec.interfaceName);
    assert.notEqual(fresh.json.ips[0].address, old.json.ips[0].address);
    assert.deepEqual(w.kernel.in("/run/netns/old"), []);
    // The late DEL of the old sandbox frees its address and nothing else.
    assert.equal((await w.call({ command: "DEL", args: k8s("web-0"), container: "old" })).exit, 0);
    assert.deepEqual((await w.endpoints()).map((e) => e.spec.containerID), ["new"]);
    assert.deepEqual((await w.allocations()).map((a) => a.handle), ["net.new"]);
    assert.equal(w.kernel.in("/run/netns/new").length, 1);
    // Also where both sandboxes had one namespace.
    assert.equal(
      (await w.call({
        command: "DEL",
        args: k8s("web-0"),
        container: "old",
        netns: "/run/netns/new",
      })).exit,
      0,
    );
    assert.equal(w.kernel.in("/run/netns/new").length, 1);
    assert.equal((await w.call({ command: "DEL", args: k8s("web-0"), container: "new" })).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("ADD: a newer sandbox that cannot have its addresses leaves the older one whole", () =>
  world(async (w) => {
    await w.addPod("web-0");
    const args = k8s("web-0");
    assert.equal((await w.call({ args, container: "old" })).exit, 0);
    const before = await w.traces();
    await w.addPod("other", { annotations: { [P + "ipAddrs"]: '["10.244.9.8"]' } });
    assert.equal((await w.call({ args: k8s("other"), container: "other" })).exit, 0);
    const both = await w.traces();
    // Of no pool, held by another pod, and a floating address of a family that the pod has not.
    for (
      const annotations of [
        { [P + "ipAddrs"]: '["192.0.2.1"]' },
        { [P + "ipAddrs"]: '["10.244.9.8"]' },
        { [P + "floatingIPs"]: '["2001:db8::1"]' },
      ]
    ) {
      await w.addPod("web-0", { annotations });
      const conf = World.conf({ feature_control: { floating_ips: true } });
      for (const netns of [undefined, "/run/netns/old"]) {
        const failed = await w.call({ args, container: "new", conf, ...(netns && { netns }) });
        assert.notEqual(failed.exit, 0);
        assert.deepEqual(await w.traces(), both, JSON.stringify(annotations));
        assert.equal(w.kernel.in("/run/netns/old").length, 1);
      }
    }
    assert.equal(
      (await w.call({ command: "DEL", args: k8s("other"), container: "other" })).exit,
      0,
    );
    assert.deepEqual(await w.traces(), before);
    assert.equal((await w.call({ command: "DEL", args, container: "old" })).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("ADD: a newer sandbox in the same namespace, with the pod's fixed address", () =>
  world(async (w) => {
    await w.addPod("db-0", { annotations: { [P + "ipAddrs"]: '["10.244.9.9"]' } });
    const args = k8s("db-0");
    w.kernel.addNamespace("/run/netns/shared");
    const first = await w.call({ args, container: "old", netns: "/run/netns/shared" });
    assert.equal(first.json.ips[0].address, "10.244.9.9/32");
    const second = await w.call({ args, container: "new", netns: "/run/netns/shared" });
    assert.equal(second.exit, 0, JSON.stringify(second.json));
    assert.equal(second.json.ips[0].address, "10.244.9.9/32");
    assert.deepEqual((await w.allocations()).map((a) => a.handle), ["net.new"]);
    assert.equal(
      (await w.call({ command: "DEL", args, container: "old", netns: "/run/netns/shared" })).exit,
      0,
    );
    assert.deepEqual((await w.allocations()).map((a) => a.handle), ["net.new"]);
    assert.equal(w.kernel.in("/run/netns/shared").length, 1);
  }));

Deno.test("ADD: a fixed address that another pod holds is code 11 and names the pod, until it is free", () =>
  world(async (w) => {
    const annotations = { [P + "ipAddrs"]: '["10.244.1.220"]' };
    await w.addPod("web-1", { annotations });
    await w.addPod("web-2", { annotations });
    assert.equal((await w.call({ args: k8s("web-1"), container: "c1" })).exit, 0);
    const before = await w.traces();
    const waiting = await w.call({ args: k8s("web-2"), container: "c2" });
    assert.equal(waiting.json.code, 11);
    assert.match(waiting.json.msg, /10\.244\.1\.220/);
    assert.match(waiting.json.msg, /blue\/web-1/);
    assert.deepEqual(await w.traces(), before);
    await w.call({ command: "DEL", args: k8s("web-1"), container: "c1" });
    const now = await w.call({ args: k8s("web-2"), container: "c2" });
    assert.equal(now.json.ips[0].address, "10.244.1.220/32");
  }));

Deno.test("ADD: an address of a machine is nobody's, by whatever way it is asked for", () =>
  world(async (w) => {
    await w.store.put("/calico/resources/v3/projectcalico.org/nodes/n2", {
      metadata: { name: "n2" },
      spec: {
        bgp: { ipv4Address: "192.0.2.12/24", ipv4IPIPTunnelAddr: "10.244.9.1" },
        ipv4VXLANTunnelAddr: "10.244.9.2",
        wireguard: { interfaceIPv4Address: "10.244.9.3" },
        addresses: [{ address: "198.51.100.12", type: "ExternalIP" }, null],
        interfaces: [{ name: "eth1", addresses: ["203.0.113.12"] }],
      },
    });
    await w.store.put("/calico/resources/v3/projectcalico.org/nodes/broken", null);
    w.kernel.addresses.push({ family: 4, bytes: new Uint8Array([10, 96, 0, 10]) });
    const conf = World.conf({ feature_control: { ip_addrs_no_ipam: true, floating_ips: true } });
    const theirs: [string, string][] = [
      ["192.0.2.12", "node n2"],
      ["10.244.9.1", "node n2"],
      ["10.244.9.2", "node n2"],
      ["10.244.9.3", "node n2"],
      ["198.51.100.12", "node n2"],
      ["203.0.113.12", "node n2"],
      ["192.0.2.11", `node ${NODE}`],
      ["10.96.0.10", "this node itself"],
    ];
    for (const [ip, owner] of theirs) {
      const sentence =
        `asks for ${ip}, which is an address of ${owner}: name one that no machine has.`;
      for (const name of ["ipAddrsNoIpam", "floatingIPs", "ipAddrs"]) {
        await w.addPod("thief", { annotations: { [P + name]: JSON.stringify([ip]) } });
        const { json } = await w.call({ args: k8s("thief"), conf });
        assert.equal(json.code, 102, `${name} ${ip}`);
        assert.equal(json.msg, `Pod blue/thief: annotation ${P}${name} ${sentence}`);
      }
      const { json } = await w.call({ args: `IP=${ip}`, conf });
      assert.deepEqual([json.code, json.msg], [102, `CNI_ARGS: IP= ${sentence}`]);
      const pins = "tortie.io/ip-pins", spare = "tortie.io/ip-pins-spare";
      for (
        const [name, annotations] of [
          [pins, { [pins]: `10.244.1.1, ${ip}` }],
          [spare, { [pins]: "10.244.1.1", [spare]: ip }],
        ] as const
      ) {
        await w.addPod("thief", { annotations });
        const { json } = await w.call({ args: k8s("thief"), conf });
        assert.deepEqual(
          [json.code, json.msg],
          [102, `Pod blue/thief: annotation ${name} ${sentence}`],
        );
      }
    }
    assert.deepEqual(await w.traces(), []);
    await w.addPod("fair", { annotations: { [P + "ipAddrsNoIpam"]: '["192.0.2.13"]' } });
    assert.equal((await w.call({ args: k8s("fair"), conf })).exit, 0);
  }));

Deno.test("ADD: pools named by pod, namespace and configuration; errors leave nothing", () =>
  world(async (w) => {
    await w.addPool("small", { cidr: "10.250.0.0/31", blockSize: 32 });
    await w.addPool("off", { cidr: "10.251.0.0/24", disabled: true });
    await w.addNamespace("blue", { [P + "ipv4pools"]: '["small"]' });
    await w.addPod("p1");
    await w.addPod("p2");
    await w.addPod("p3");
    await w.addPod("p4", { annotations: { [P + "ipv4pools"]: '["nosuch"]' } });
    await w.addPod("p5", { annotations: { [P + "ipv4pools"]: '["off"]' } });
    await w.addPod("p6", { annotations: { [P + "ipv4pools"]: '["pool"]' } });
    await w.addPod("p7", { annotations: { [P + "ipAddrs"]: '["192.0.2.1"]' } });
    await w.addPool("six", { cidr: "fd00::/64", disabled: true });
    await w.addPod("p9", { annotations: { [P + "ipv4pools"]: '["six"]' } });
    await w.addPod("pa", { annotations: { [P + "ipFamilies"]: '["IPv6"]' } });
    await w.addPod("pd", {
      annotations: { [P + "ipv4pools"]: '["pool"]', [P + "ipFamilies"]: '["IPv6"]' },
    });
    await w.addPod("pe", { annotations: { [P + "ipv6pools"]: '["six"]' } });
    await w.addPod("pf", { annotations: { "tortie.io/ip-pins": "" } });
    await w.addPod("pb", { annotations: { [P + "hwAddr"]: 5 as unknown as string } });
    await w.addPod("pc", { annotations: { [P + "ipAddrs"]: null as unknown as string } });
    const refused = (pod: string, name: string, why: string) =>
      new RegExp(`^Pod blue/${pod}: annotation ${P}${name}.* cannot be followed: ${why}`);
    await w.addPod("p8", { annotations: { [P + "ipAddrs"]: '["10.244.0.1","10.244.0.2"]' } });
    for (const pod of ["p1", "p2"]) {
      const { json } = await w.call({ args: k8s(pod), container: pod });
      assert.match(json.ips?.[0].address ?? JSON.stringify(json), /^10\.250\.0\.[01]\/32$/);
    }
    const before = await w.traces();
    for (
      const [pod, code, words] of [
        ["p3", 11, /No IPs available in pools: \[10\.250\.0\.0\/31\]/],
        [
          "p4",
          101,
          refused("p4", "ipv4pools", 'error parsing pool "nosuch".*IPPools that are there'),
        ],
        ["p5", 101, refused("p5", "ipv4pools", "the given pool \\(off\\) .*it is disabled")],
        ["p7", 101, refused("p7", "ipAddrs", ".*not in a configured pool.*192\\.0\\.2\\.1")],
        ["p9", 101, refused("p9", "ipv4pools", "provided IPv4 IPPools list .* IPv6 IPPools: six")],
        ["pa", 101, refused("pa", "ipFamilies", "cannot find a qualified ippool.*IPv6")],
        ["pb", 102, /^Pod blue\/pb: annotation .*hwAddr is "5", and has to be a text\.$/],
        ["pc", 102, /^Pod blue\/pc: annotation .*ipAddrs is "null", and has to be a text\.$/],
        ["p8", 102, /more than one IPv4/],
        ["pd", 102, /ipv4pools names IPv4 pools, and the pod gets no IPv4 address: remove it/],
        [
          "pe",
          102,
          /^Pod blue\/pe: annotation .*ipv6pools names IPv6 pools, and the pod gets no IPv6/,
        ],
        [
          "pf",
          102,
          /^Pod blue\/pf: annotation tortie.io\/ip-pins is an empty list: name an address/,
        ],
      ] as const
    ) {
      const { json } = await w.call({ args: k8s(pod), container: pod });
      assert.equal(json.code, code, `${pod}: ${JSON.stringify(json)}`);
      assert.match(json.msg, words);
      assert.deepEqual(await w.traces(), before, pod);
    }
    const { json } = await w.call({ args: k8s("p6"), container: "p6" });
    assert.match(json.ips[0].address, /^10\.244\./);
  }));

Deno.test("ADD: annotations that nobody knows are told to the log, by their names", () =>
  world(async (w) => {
    await w.addNamespace("blue", { [P + "ipv6pools"]: '["six"]', [P + "hwAddr"]: "x" });
    await w.addPod("p", {
      annotations: {
        [P + "ipAdrs"]: '["10.244.0.9"]',
        "qos.projectcalico.org/ingresBandwidth": "1M",
        "tortie.io/ip-pin": "10.244.0.9",
        [P + "podIP"]: "10.244.0.1/32",
        "example.org/other": "x",
      },
    });
    const { exit, json } = await w.call({ args: k8s("p") });
    assert.equal(exit, 0, JSON.stringify(json));
    const told = w.log.filter((line) => line.startsWith("warn an annotation is not followed"));
    const names = told.map((line) => /(Pod|Namespace) [^:]*: annotation (\S+)/.exec(line)?.[2]);
    assert.deepEqual(names.sort(), [
      P + "hwAddr",
      P + "ipAdrs",
      P + "ipv6pools",
      "qos.projectcalico.org/ingresBandwidth",
      "tortie.io/ip-pin",
    ]);
  }));

Deno.test("ADD: a floating address that IPAM has given to another is refused", () =>
  world(async (w) => {
    const { json } = await w.call({ args: k8s("a"), container: "a" });
    const [taken] = json.ips[0].address.split("/");
    const conf = World.conf({ feature_control: { floating_ips: true } });
    await w.addPod("b", { annotations: { [P + "floatingIPs"]: `["${taken}"]` } });
    const refused = await w.call({ args: k8s("b"), container: "b", conf });
    assert.equal(refused.json.code, 102, JSON.stringify(refused.json));
    assert.match(
      refused.json.msg,
      new RegExp(`floatingIPs asks for ${taken}, which is given to pod blue/a on node n1: name`),
    );
    await w.call({ command: "DEL", args: k8s("a"), container: "a" });
    assert.equal((await w.call({ args: k8s("b"), container: "b", conf })).exit, 0);
  }));

Deno.test("ADD: both families, or none where one is missing", () =>
  world(async (w) => {
    const conf = World.conf({ ipam: { type: "tortie-ipam", assign_ipv6: "true" } });
    const failed = await w.call({ conf });
    assert.equal(failed.exit, 1);
    assert.deepEqual(await w.traces(), []);
    await w.addPool("six", { cidr: "fd00:10::/64" });
    const { exit, json } = await w.call({ conf });
    assert.equal(exit, 0, JSON.stringify(json));
    assert.equal(json.ips.length, 2);
    assert.match(json.ips[1].address, /^fd00:10::.*\/128$/);
    assert.deepEqual(json.routes[1], { dst: "::/0", gw: "fe80::ecee:eeff:feee:eeee" });
    assert.equal((await w.call({ command: "DEL" })).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("ADD: an MTU below IPv6's least is refused where the pod would have an IPv6 address", () =>
  world(async (w) => {
    await w.addPool("six", { cidr: "fd00:10::/64" });
    const ipam = { type: "tortie-ipam", assign_ipv6: "true" };
    const { json } = await w.call({ conf: World.conf({ ipam, mtu: 1279 }) });
    assert.equal(json.code, 7);
    assert.match(json.msg, /MTU of at least 1280, and mtu of the network configuration is 1279/);
    assert.deepEqual(await w.traces(), []);
    assert.equal((await w.call({ conf: World.conf({ mtu: 1279 }) })).exit, 0, "IPv4 alone");
    assert.equal((await w.call({ command: "DEL" })).exit, 0);
    assert.equal((await w.call({ conf: World.conf({ ipam, mtu: 1280 }) })).exit, 0);
  }));

Deno.test("ADD: container IDs that begin alike, and two interfaces, get host names of their own", () =>
  world(async (w) => {
    const ids = ["cni-test-container-1", "cni-test-container-2", "cni-test-container-3"];
    const replies = await Promise.all(ids.map((container) => w.call({ container })));
    const more = await w.call({ container: ids[0], ifname: "net1" });
    const all = [...replies, more];
    for (const reply of all) assert.equal(reply.exit, 0, JSON.stringify(reply.json));
    const names = all.map((r) => r.json.interfaces[0].name);
    assert.equal(new Set(names).size, 4);
    assert.ok(names.includes("calicni-test-co"));
    assert.equal(new Set(all.map((r) => r.json.ips[0].address)).size, 4);
    // DEL of the second interface leaves the first.
    assert.equal((await w.call({ command: "DEL", container: ids[0], ifname: "net1" })).exit, 0);
    assert.equal(w.kernel.in(`/run/netns/${ids[0]}`).length, 1);
    assert.equal((await w.allocations()).length, 3);
    for (const container of ids) await w.call({ command: "DEL", container });
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("ADD: twelve at once get twelve addresses, DEL at once frees them", () =>
  world(async (w) => {
    const ids = Array.from({ length: 12 }, (_, i) => `par${i}`);
    const replies = await Promise.all(ids.map((container) => w.call({ container })));
    assert.deepEqual(replies.map((r) => r.exit), ids.map(() => 0));
    assert.equal(new Set(replies.map((r) => r.json.ips[0].address)).size, 12);
    await Promise.all(ids.map((container) => w.call({ command: "DEL", container })));
    assert.deepEqual(await w.traces(), []);
  }));

for (const jointly of [true, false]) {
  const how = jointly ? "one write, where the store can" : "each write waits for the one before";
  Deno.test(`ADD and DEL: all that is read is asked in one turn, and ${how}`, () =>
    world(async (w) => {
      w.jointly = jointly;
      w.restart();
      await w.addPod("web-0");
      const args = k8s("web-0");
      // The first of a node claims a block besides.
      await w.call({ container: "c0" });
      let turns: string[][] = [];
      const waiting: (() => void)[] = [];
      w.restart(undefined, (what) => {
        if (!what.startsWith("store ")) return;
        if (waiting.length === 0) {
          turns.push([]);
          setTimeout(() => {
            for (const go of waiting.splice(0)) go();
          }, 0);
        }
        turns.at(-1)!.push(what.split(" ")[1]);
        return new Promise((resolve) => waiting.push(resolve));
      });
      const kinds = () => turns.map((turn) => [...new Set(turn)].sort().join());
      // What the process does not remember yet is read once.
      assert.equal((await w.call({ container: "c1", args })).exit, 0);
      assert.equal((await w.call({ command: "DEL", container: "c1", args })).exit, 0);
      // Of a pod and of a plain container: handle, block, endpoint.
      const writes = jointly ? ["together"] : ["create", "update", "create"];
      for (const call of [{ container: "c1", args }, { container: "c2" }]) {
        turns = [];
        assert.equal((await w.call(call)).exit, 0);
        assert.deepEqual(kinds(), ["get,list", ...writes]);
        turns = [];
        assert.equal((await w.call({ command: "DEL", ...call })).exit, 0);
        // Endpoint; IPAM's settings; block, handle.
        assert.deepEqual(kinds(), ["get", "delete", "get", "update", "delete"]);
      }
    }));
}

Deno.test("DEL: unknown, twice, without namespace, with a namespace that is gone", () =>
  world(async (w) => {
    assert.equal((await w.call({ command: "DEL", container: "nobody" })).exit, 0);
    for (const netns of ["", "/run/netns/gone"]) {
      assert.equal((await w.call()).exit, 0);
      const reply = await w.call({ command: "DEL", netns });
      assert.deepEqual([reply.exit, reply.body], [0, ""]);
      assert.deepEqual(await w.traces(), []);
      assert.equal((await w.call({ command: "DEL", netns })).exit, 0);
    }
    await w.call();
    w.kernel.deleteNamespace("/run/netns/c1");
    assert.equal((await w.call({ command: "DEL", netns: "/run/netns/c1" })).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("DEL: an endpoint that somebody deleted by hand leaves no interface behind", () =>
  world(async (w) => {
    for (const netns of ["", "/run/netns/c1"]) {
      await w.call();
      await w.store.delete(
        "/calico/resources/v3/projectcalico.org/workloadendpoints/default/n1-cni-c1-eth0",
      );
      assert.equal((await w.call({ command: "DEL", netns })).exit, 0);
      assert.deepEqual(await w.traces(), []);
    }
  }));

Deno.test("DEL: the address is freed only after interface and endpoint are gone", () =>
  world(async (w) => {
    await w.call();
    const points = w.restart();
    await w.call({ command: "DEL" });
    const order = ["removeHostLink", "store delete /calico/resources", "store update /calico/ipam"]
      .map((what) => points.names.findIndex((name) => name.includes(what)));
    assert.deepEqual([...order].sort((a, b) => a - b), order, points.names.join("\n"));
    assert.ok(order[0] >= 0);
  }));

const lock = ({ store }: World, datastoreReady = false) =>
  store.put("/calico/resources/v3/projectcalico.org/clusterinformations/default", {
    kind: "ClusterInformation",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "default" },
    spec: { datastoreReady },
  });

Deno.test("GC changes nothing while the datastore is locked, nor goes on where it is locked meanwhile", () =>
  world(async (w) => {
    const conf = World.conf({ cniVersion: "1.1.0" });
    for (const container of ["a", "b"]) await w.call({ conf, container });
    const gc = (argv0: string, conf: object) =>
      w.call({
        ...{ command: "GC", argv0, conf: { ...World.conf({ cniVersion: "1.1.0" }), ...conf } },
        env: { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_NETNS: undefined },
      });
    const nothing = { "cni.dev/valid-attachments": [] };
    await lock(w);
    const before = await w.traces();
    for (const argv0 of ["tortie", "tortie-ipam"]) {
      const { json } = await gc(argv0, nothing);
      assert.equal(json.code, 11);
      assert.match(json.msg, /not ready to process requests/);
      assert.equal((await gc(argv0, {})).json.code, 7);
    }
    assert.deepEqual(await w.traces(), before);
    await lock(w, true);
    w.restart(undefined, async (what) => {
      if (what.includes("removeHostLink")) await lock(w);
    });
    assert.equal((await gc("tortie", nothing)).json.code, 11);
    assert.equal((await w.endpoints()).length, 1);
    w.restart();
    await lock(w, true);
    assert.equal((await gc("tortie", nothing)).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("ADD and DEL wait while the datastore is locked", () =>
  world(async (w) => {
    await lock(w);
    for (const command of ["ADD", "DEL"]) {
      const { json } = await w.call({ command });
      assert.equal(json.code, 11);
      assert.match(json.msg, /not ready to process requests/);
    }
    const status = World.conf({ cniVersion: "1.1.0" });
    assert.equal((await w.call({ command: "STATUS", conf: status })).json.code, 50);
  }));

Deno.test("CHECK: passes after ADD, and tells everything that is gone", () =>
  world(async (w) => {
    const added = await w.call();
    const conf = { ...World.conf(), prevResult: added.json };
    const check = () => w.call({ command: "CHECK", conf });
    assert.deepEqual([(await check()).exit, (await check()).body], [0, ""]);
    const [pod] = w.kernel.in("/run/netns/c1");
    const [host] = w.kernel.in("");
    const later: [string, RegExp, () => void, () => void][] = [
      ["address", /address 10\./, () => pod.addresses.pop(), () => {}],
      ["route", /route 0\.0\.0\.0\/0 via 169\.254\.1\.1/, () => pod.routes.pop(), () => {}],
      ["down", /is down/, () => pod.up = false, () => pod.up = true],
      ["mac", /MAC/, () => pod.mac = "02:ff:ff:ff:ff:ff", () => {}],
      ["host route", /no route to 10\./, () => host.hostRoutes = [], () => {}],
    ];
    for (const [what, words, spoil] of later) {
      spoil();
      const { json } = await check();
      assert.equal(json.code, 105, what);
      assert.match(json.msg, words);
    }
    const { json } = await w.call({ command: "CHECK" });
    assert.equal(json.code, 7);
    w.kernel.deleteNamespace("/run/netns/c1");
    w.kernel.addNamespace("/run/netns/c1");
    assert.match((await check()).json.msg, /no interface eth0/);
    const old = World.conf({ cniVersion: "0.3.1", prevResult: {} });
    assert.equal((await w.call({ command: "CHECK", conf: old })).json.code, 1);
  }));

Deno.test("GC: keeps what is listed by container and interface, frees the rest of this network", () =>
  world(async (w) => {
    const conf = World.conf({ cniVersion: "1.1.0" });
    await w.addPod("web-0");
    await w.call({ conf, container: "keep" });
    await w.call({ conf, container: "stale" });
    await w.call({ conf, container: "wrongif" });
    await w.call({ conf, container: "poddy", args: k8s("web-0") });
    await w.call({ conf: { ...conf, name: "other" }, container: "else" });
    // Another node's container in the same network, and an address that lost its endpoint.
    await w.store.put(
      "/calico/resources/v3/projectcalico.org/workloadendpoints/default/n2-cni-x-eth0",
      {
        kind: "WorkloadEndpoint",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: "n2-cni-x-eth0", namespace: "default" },
        spec: {
          orchestrator: "cni",
          node: "n2",
          containerID: "x",
          endpoint: "eth0",
          profiles: ["net"],
        },
      },
    );
    const missing = await w.call({ command: "GC", conf });
    assert.equal(missing.json.code, 7);
    const gc = {
      ...conf,
      "cni.dev/valid-attachments": [
        { containerID: "keep", ifname: "eth0" },
        { containerID: "wrongif", ifname: "net1" },
      ],
    };
    const reply = await w.call({
      command: "GC",
      conf: gc,
      env: { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_NETNS: undefined },
    });
    assert.deepEqual([reply.exit, reply.body], [0, ""]);
    assert.deepEqual((await w.allocations()).map((a) => a.handle).sort(), [
      "net.keep",
      "other.else",
    ]);
    assert.deepEqual((await w.endpoints()).map((e) => e.metadata.name).sort(), [
      "n1-cni-else-eth0",
      "n1-cni-keep-eth0",
      "n2-cni-x-eth0",
    ]);
    assert.deepEqual(w.kernel.in("").map((l) => l.name).sort(), ["calielse", "calikeep"]);
    assert.equal((await w.call({ command: "GC" })).json.code, 1, "GC before 1.1.0");
  }));

Deno.test("GC and a repeated DEL free the addresses of both families", () =>
  world(async (w) => {
    await w.addPool("six", { cidr: "fd00:10::/64" });
    const conf = World.conf({
      cniVersion: "1.1.0",
      ipam: { type: "tortie-ipam", assign_ipv6: "true" },
    });
    await w.call({ conf, container: "keep" });
    await w.call({ conf, container: "stale" });
    assert.equal((await w.allocations()).length, 4);
    const gc = { ...conf, "cni.dev/valid-attachments": [{ containerID: "keep", ifname: "eth0" }] };
    assert.equal((await w.call({ command: "GC", conf: gc })).exit, 0);
    assert.deepEqual(
      (await w.allocations()).map((a) => a.handle),
      ["net.keep", "net.keep"],
    );
    for (let i = 0; i < 2; i++) {
      assert.equal((await w.call({ command: "DEL", conf, container: "keep" })).exit, 0);
    }
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("GC: leaves an ADD alone that it could not know", () =>
  world(async (w) => {
    const conf = World.conf({ cniVersion: "1.1.0" });
    const go = Promise.withResolvers<void>();
    const asked = Promise.withResolvers<void>();
    w.programmed = () => {
      asked.resolve();
      return go.promise;
    };
    const adding = w.call({ conf });
    await asked.promise;
    const gc = await w.call({ command: "GC", conf: { ...conf, "cni.dev/valid-attachments": [] } });
    assert.equal(gc.exit, 0);
    go.resolve();
    assert.equal((await adding).exit, 0);
    assert.equal((await w.endpoints()).length, 1);
    assert.equal((await w.allocations()).length, 1);
  }));

Deno.test("GC: leaves an ADD alone that ends, or begins and ends, while it looks at the datastore", () =>
  world(async (w) => {
    const conf = World.conf({ cniVersion: "1.1.0" });
    const gcConf = { ...conf, "cni.dev/valid-attachments": [] };
    await w.call({ conf, container: "stale" });
    for (const plugin of [{}, { argv0: "tortie-ipam", conf: World.conf({ type: "ptp" }) }]) {
      // The GC's first look is held up, until both have their answers.
      let hold = false;
      const go = Promise.withResolvers<void>();
      const looked = Promise.withResolvers<void>();
      w.restart(undefined, (what) => {
        if (!hold || !what.includes("clusterinformations")) return;
        hold = false;
        looked.resolve();
        return go.promise;
      });
      const begun = Promise.withResolvers<void>();
      const end = Promise.withResolvers<void>();
      w.programmed = () => (begun.resolve(), end.promise);
      const before = w.call({ conf, container: "before" });
      await begun.promise;
      hold = true;
      const gc = w.call({ command: "GC", conf: gcConf });
      await looked.promise;
      w.programmed = () => Promise.resolve();
      end.resolve();
      assert.equal((await before).exit, 0);
      assert.equal((await w.call({ conf, container: "after", ...plugin })).exit, 0);
      go.resolve();
      assert.equal((await gc).exit, 0);
      const handles = (await w.handles()).filter((handle) => handle.startsWith("net."));
      assert.deepEqual(handles.sort(), ["net.after", "net.before"]);
      assert.equal((await w.call({ command: "GC", conf: gcConf })).exit, 0);
      assert.deepEqual((await w.handles()).filter((handle) => handle.startsWith("net.")), []);
    }
  }));

Deno.test("GC: waits for an ADD whose caller has its answer, and frees what it does not list", () =>
  world(async (w) => {
    const conf = World.conf({ cniVersion: "1.1.0" });
    const taken = Promise.withResolvers<boolean>();
    const answered = Promise.withResolvers<void>();
    const add = w.call({
      conf,
      deliver: () => (answered.resolve(), taken.promise),
    });
    await answered.promise;
    const gc = w.call({ command: "GC", conf: { ...conf, "cni.dev/valid-attachments": [] } });
    await new Promise((resolve) => setTimeout(resolve, 50));
    taken.resolve(true);
    assert.equal((await add).exit, 0);
    assert.equal((await gc).exit, 0);
    assert.deepEqual(await w.traces(), []);
  }));

Deno.test("GC: a network whose name begins alike keeps its own, DEL of a pod too", () =>
  world(async (w) => {
    const conf = World.conf({ cniVersion: "1.1.0" });
    const blue = { ...conf, name: "net.blue" };
    await w.call({ conf: blue, container: "c1" });
    await w.call({ conf, container: "c1", ifname: "net1", netns: "/run/netns/c1" });
    await w.call({ conf: { ...conf, name: "blue" }, container: "web-0" });
    await w.addPod("web-0");
    await w.call({ command: "DEL", args: k8s("web-0"), container: "other" });
    const gc = await w.call({ command: "GC", conf: { ...conf, "cni.dev/valid-attachments": [] } });
    assert.equal(gc.exit, 0);
    assert.deepEqual((await w.allocations()).map((a) => a.handle).sort(), [
      "blue.web-0",
      "net.blue.c1",
    ]);
    // A container whose ID has a dot is known by its endpoint.
    await w.call({ conf, container: "a.b" });
    await w.call({ command: "GC", conf: { ...conf, "cni.dev/valid-attachments": [] } });
    assert.equal((await w.allocations()).length, 2);
  }));

Deno.test("ADD: a pod that the store has under another uid is code 11, unless it is a mirror", () =>
  world(async (w) => {
    const uid = async (name: string, uid: string, annotations = {}) =>
      await w.store.put(`/tortie/kubernetes/pods/blue/${name}`, {
        kind: "Pod",
        apiVersion: "v1",
        metadata: { name, namespace: "blue", uid, annotations },
        spec: {},
      });
    const args = (name: string) => `${k8s(name)};K8S_POD_UID=new`;
    await uid("web-0", "old");
    assert.equal((await w.call({ args: args("web-0") })).json.code, 11);
    assert.deepEqual(await w.traces(), []);
    await uid("web-0", "new");
    assert.equal((await w.call({ args: args("web-0") })).exit, 0);
    await uid("static", "mirror", { "kubernetes.io/config.mirror": "new" });
    assert.equal((await w.call({ args: args("static"), container: "c2" })).exit, 0);
  }));

Deno.test("STATUS: ready, then without node, without pool, without store", () =>
  world(async (w) => {
    const conf = World.conf({ cniVersion: "1.1.0" });
    const env = { CNI_CONTAINERID: undefined, CNI_IFNAME: undefined, CNI_NETNS: undefined };
    const ask = () => w.call({ command: "STATUS", conf, env });
    assert.deepEqual([(await ask()).exit, (await ask()).body], [0, ""]);
    await w.addPool("pool", { cidr: "10.244.0.0/16", disabled: true });
    const pools = await ask();
    assert.equal(pools.json.code, 50);
    assert.match(pools.json.msg, /IPPool/);
    await w.store.delete(`/calico/resources/v3/projectcalico.org/nodes/${NODE}`);
    assert.match((await ask()).json.msg, /Node n1/);
    w.restart({ at: 0, mode: "before" });
    assert.equal((await ask()).json.code, 50);
    assert.equal((await w.call({ command: "STATUS" })).json.code, 1, "STATUS before 1.1.0");
  }));

Deno.test("answers: versions, codes and forms", () =>
  world(async (w) => {
    const version = await w.call({ command: "VERSION", conf: "" });
    assert.equal(version.exit, 0);
    assert.ok(version.json.supportedVersions.includes("1.1.0"));
    const expect = async (code: number, options: Parameters<World["call"]>[0]) => {
      const { exit, json } = await w.call(options);
      assert.equal(exit, 1);
      assert.equal(json.code, code, JSON.stringify(json));
      assert.equal(typeof json.msg, "string");
      assert.equal(typeof json.cniVersion, "string");
      assert.deepEqual(await w.traces(), []);
    };
    await expect(1, { conf: World.conf({ cniVersion: "99.0.0" }) });
    await expect(4, { command: "FROB" });
    await expect(4, { env: { CNI_CONTAINERID: "a/b" } });
    await expect(4, { ifname: "sixteencharacter" });
    await expect(4, { netns: "/run/netns/nosuch" });
    await expect(6, { conf: "{" });
    await expect(7, { conf: { cniVersion: "1.0.0" } });
    await expect(7, { conf: World.conf({ ipam: { type: "dhcp" } }) });
    await expect(102, {
      args: k8s("p"),
      env: {},
      conf: World.conf(),
      ...(await w.addPod("p", { annotations: { [P + "ipAddrs"]: "x" } }), {}),
    });
    const old = await w.call({ conf: { name: "net", type: "tortie" } });
    assert.equal(old.json.cniVersion, "0.1.0");
    assert.match(old.json.ip4.ip, /\/32$/);
  }));

Deno.test("ADD: a configuration that names another node is not believed", () =>
  world(async (w) => {
    const { exit } = await w.call({ conf: World.conf({ nodename: "old-image" }) });
    assert.equal(exit, 0);
    assert.equal((await w.endpoints())[0].spec.node, NODE);
    assert.ok(w.log.some((line) => line.includes("names another node")));
  }));

Deno.test("ADD: behind another plugin its prevResult is kept", () =>
  world(async (w) => {
    const prevResult = {
      cniVersion: "1.0.0",
      interfaces: [{ name: "dummy0", sandbox: "/run/netns/c1" }],
      ips: [{ address: "192.0.2.5/24", interface: 0 }],
    };
    const { json } = await w.call({ conf: World.conf({ prevResult }) });
    assert.equal(json.interfaces.length, 3);
    assert.deepEqual(json.ips.map((i: any) => i.interface), [0, 2]);
  }));

Deno.test("ADD: an answer that nobody takes undoes the ADD before anybody else may try", () =>
  world(async (w) => {
    const lost = await w.call({ deliver: () => Promise.resolve(false) });
    assert.equal(lost.exit, 0);
    assert.deepEqual(await w.traces(), []);
    const both = await Promise.all([
      w.call({ deliver: () => Promise.reject(new Error("broken pipe")) }),
      w.call(),
    ]);
    assert.deepEqual(both.map((r) => r.exit), [0, 0]);
    assert.equal((await w.endpoints()).length, 1);
    assert.equal((await w.allocations()).length, 1);
  }));
