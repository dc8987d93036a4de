/**
 * Pods: what their annotations ask for, what ADD sets in the kernel besides the interface, sandboxes
 * that follow each other, and that no packet passes before policy is in place.
 */
import assert from "node:assert/strict";
import { CniHarness, missingForCni, NODE, run } from "./harness.ts";

const missing = missingForCni();
const P = "cni.projectcalico.org/";
const KUBERNETES = "/tortie/kubernetes";

function test(name: string, fn: () => Promise<void>): void {
  Deno.test({
    name: `${name}${missing ? ` (skipped: ${missing})` : ""}`,
    ignore: missing !== undefined,
    sanitizeOps: false,
    sanitizeResources: false,
    fn,
  });
}

async function addPod(
  h: CniHarness,
  name: string,
  annotations: Record<string, string> = {},
  labels: Record<string, string> = {},
): Promise<string> {
  await h.store.put(`${KUBERNETES}/pods/blue/${name}`, {
    kind: "Pod",
    apiVersion: "v1",
    metadata: { name, namespace: "blue", annotations, labels },
    spec: { nodeName: NODE, serviceAccountName: "runner", containers: [{ name: "c" }] },
  });
  return `K8S_POD_NAMESPACE=blue;K8S_POD_NAME=${name}`;
}

const ipOf = (json: any): string => json.ips[0].address.split("/")[0];

test("a pod's fixed address, a second pod that asks for it, and the first one gone", async () => {
  await using h = await CniHarness.start();
  const wanted = { [P + "ipAddrs"]: '["10.244.1.220"]' };
  const one = await addPod(h, "web-1", wanted);
  const two = await addPod(h, "web-2", wanted);
  const first = await h.add({ args: one, container: "w1" });
  assert.equal(ipOf(first.json), "10.244.1.220");
  const netns = await h.addNamespace();
  const before = await h.traces();
  const waiting = await h.call({ args: two, container: "w2", netns });
  assert.equal(waiting.json.code, 11);
  assert.match(waiting.json.msg, /10\.244\.1\.220.*pod blue\/web-1/);
  assert.deepEqual(await h.traces(), before);
  await h.call({ command: "DEL", args: one, container: "w1", netns: first.netns });
  const now = await h.add({ args: two, container: "w2", netns });
  assert.equal(ipOf(now.json), "10.244.1.220");
  const routes = await h.ip("", "route", "show", "10.244.1.220");
  assert.equal(routes[0].dev, now.json.interfaces[0].name);
  assert.equal(routes[0].protocol, "80");
  assert.equal(routes[0].scope, "link");
});

test("pools by pod, namespace and configuration; what cannot be had is refused", async () => {
  await using h = await CniHarness.start({
    pools: [
      { name: "default", spec: { cidr: "10.244.0.0/16" } },
      { name: "new-pool1", spec: { cidr: "10.98.3.0/31", blockSize: 31, nodeSelector: "!all()" } },
      { name: "off", spec: { cidr: "10.99.0.0/24", disabled: true } },
    ],
  });
  await h.store.put(`${KUBERNETES}/namespaces/blue`, {
    kind: "Namespace",
    apiVersion: "v1",
    metadata: { name: "blue", annotations: { [P + "ipv4pools"]: '["new-pool1"]' } },
  });
  const addresses: string[] = [];
  for (const name of ["a", "b"]) {
    addresses.push(ipOf((await h.add({ args: await addPod(h, name), container: name })).json));
  }
  assert.deepEqual(addresses.sort(), ["10.98.3.0", "10.98.3.1"]);
  const before = await h.traces();
  const refused: [string, number, Record<string, string>][] = [
    ["full", 11, {}],
    ["unknown", 101, { [P + "ipv4pools"]: '["nosuch"]' }],
    ["disabled", 101, { [P + "ipv4pools"]: '["off"]' }],
    ["outside", 101, { [P + "ipAddrs"]: '["192.0.2.7"]' }],
    ["two", 102, { [P + "ipAddrs"]: '["10.244.0.7","10.244.0.8"]' }],
    ["garbage", 102, { [P + "ipAddrs"]: "10.244.0.7" }],
    ["mac", 102, { [P + "hwAddr"]: "02:00" }],
    ["floating", 102, { [P + "floatingIPs"]: '["192.0.2.7"]' }],
    ["unmanaged", 102, { [P + "ipAddrsNoIpam"]: '["192.0.2.7"]' }],
    ["sources", 102, { [P + "allowedSourcePrefixes"]: '["192.0.2.7"]' }],
    ["fast", 102, { "qos.projectcalico.org/ingressBandwidth": "fast" }],
    ["dscp", 102, { "qos.projectcalico.org/dscp": "20" }],
    ["pins", 102, { "tortie.io/ip-pins": "10.244.0.7-" }],
    ["foreign", 101, { "tortie.io/ip-pins": "192.0.2.7" }],
    ["both", 102, { "tortie.io/ip-pins": "10.244.0.7", [P + "ipAddrs"]: '["10.244.0.7"]' }],
  ];
  for (const [name, code, annotations] of refused) {
    const args = await addPod(h, name, annotations);
    const reply = await h.call({ args, container: name, netns: await h.addNamespace() });
    assert.equal(reply.json.code, code, `${name}: ${reply.stdout}`);
    assert.deepEqual(await h.traces(), before, name);
    const [annotation] = Object.keys(annotations);
    if (code !== 102) continue;
    assert.ok(reply.json.msg.startsWith(`Pod blue/${name}: annotation `), reply.json.msg);
    assert.ok(reply.json.msg.includes(annotation), reply.json.msg);
  }
  const own = await addPod(h, "own", { [P + "ipv4pools"]: '["default"]' });
  assert.match(ipOf((await h.add({ args: own, container: "own" })).json), /^10\.244\./);
});

test("the host's side and the pod's settings are Calico's", async () => {
  await using h = await CniHarness.start({
    pools: [
      { name: "default", spec: { cidr: "10.244.0.0/16" } },
      { name: "six", spec: { cidr: "fd00:244::/64" } },
    ],
  });
  const args = await addPod(h, "web-0", { [P + "hwAddr"]: "02:ab:cd:00:00:01" }, { app: "web" });
  const conf = h.conf({
    mtu: 1380,
    ipam: { type: "calico-ipam", assign_ipv6: "true" },
    type: "calico",
    policy: { type: "k8s" },
    container_settings: { allow_ip_forwarding: true },
    nodename: "an-older-image",
  });
  const added = await h.add({ plugin: "calico", args, conf });
  const host = added.json.interfaces[0].name;
  const sysctls = (path: string, names: string[]) =>
    h.inNamespace(path, ["sysctl", "-n", ...names]).then((text) => text.trim().split("\n"));
  assert.deepEqual(
    await sysctls(`/run/netns/${h.host}`, [
      `net.ipv4.conf.${host}.proxy_arp`,
      `net.ipv4.conf.${host}.forwarding`,
      `net.ipv4.conf.${host}.route_localnet`,
      `net.ipv4.neigh.${host}.proxy_delay`,
      `net.ipv6.conf.${host}.proxy_ndp`,
      `net.ipv6.conf.${host}.forwarding`,
      `net.ipv6.conf.${host}.accept_dad`,
      `net.ipv6.conf.${host}.accept_ra`,
    ]),
    ["1", "1", "1", "0", "1", "1", "0", "0"],
  );
  assert.deepEqual(
    await sysctls(added.netns, ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]),
    ["1", "1"],
  );
  const [link] = await h.ip("", "addr", "show", "dev", host);
  assert.equal(link.address, "ee:ee:ee:ee:ee:ee");
  assert.equal(link.mtu, 1380);
  assert.deepEqual(
    link.addr_info.map((a: any) => `${a.local}/${a.prefixlen}`),
    ["fe80::ecee:eeff:feee:eeee/64"],
  );
  const [pod] = await h.ip(added.netns, "addr", "show", "dev", "eth0");
  assert.equal(pod.address, "02:ab:cd:00:00:01");
  assert.equal(pod.mtu, 1380);
  const endpoint = await h.store.get<any>(
    `/calico/resources/v3/projectcalico.org/workloadendpoints/blue/harness--1-k8s-web--0-eth0`,
  );
  assert.equal(endpoint?.value.spec.node, NODE, "a name from another image is not believed");
  assert.deepEqual(endpoint?.value.spec.profiles, ["kns.blue", "ksa.blue.runner"]);
  assert.equal(endpoint?.value.spec.mac, "02:ab:cd:00:00:01");
  assert.equal(endpoint?.value.metadata.labels.app, "web");
  // Without the setting the pod does not forward.
  const plain = await h.add({ container: "plain" });
  assert.deepEqual(await sysctls(plain.netns, ["net.ipv4.ip_forward"]), ["0"]);
});

test("a newer sandbox takes the pod's endpoint over; the old one's DEL leaves it alone", async () => {
  await using h = await CniHarness.start();
  const args = await addPod(h, "db-0", { [P + "ipAddrs"]: '["10.244.7.7"]' });
  const old = await h.add({ args, container: "old" });
  const fresh = await h.add({ args, container: "new" });
  assert.equal(ipOf(fresh.json), "10.244.7.7");
  assert.equal(fresh.json.interfaces[0].name, old.json.interfaces[0].name);
  assert.deepEqual(await h.ip(old.netns, "link", "show", "type", "veth"), []);
  const gone = await h.call({ command: "DEL", args, container: "old", netns: old.netns });
  assert.equal(gone.code, 0, gone.stdout);
  const conf = h.conf({ prevResult: fresh.json });
  const check = await h.call({
    command: "CHECK",
    args,
    container: "new",
    netns: fresh.netns,
    conf,
  });
  assert.equal(check.code, 0, check.stdout);
  // And both at once: the newer one's ADD beside the older one's DEL.
  const netns = await h.addNamespace();
  const [third, deleted] = await Promise.all([
    h.call({ args, container: "third", netns }),
    h.call({ command: "DEL", args, container: "new", netns: fresh.netns }),
  ]);
  assert.deepEqual([third.code, deleted.code], [0, 0], third.stdout + deleted.stdout);
  const left = await h.traces();
  assert.ok(left.some((t) => t.endsWith("testnet.third")), left.join(", "));
  assert.equal(left.length, 4);
});

test("an endpoint that is none, or names the machine's interface, costs neither pod nor machine anything", async () => {
  await using h = await CniHarness.start();
  const key = "/calico/resources/v3/projectcalico.org/workloadendpoints/blue/" +
    "harness--1-k8s-web--0-eth0";
  const uplink = ["uplink0", "type", "veth", "peer", "name", "uplink1"];
  assert.equal((await run(["ip", "-n", h.host, "link", "add", ...uplink])).code, 0);
  const links = await h.traces();
  assert.equal(links.length, 2);
  const args = await addPod(h, "web-0");
  const named = {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "harness--1-k8s-web--0-eth0", namespace: "blue" },
    spec: {
      ...{ orchestrator: "k8s", node: NODE, pod: "web-0", endpoint: "eth0" },
      interfaceName: "uplink0",
    },
  };
  const spec = (containerID: string) => ({ ...named, spec: { ...named.spec, containerID } });
  for (const value of [null, {}, { spec: null }, spec("old"), spec("w1")]) {
    await h.store.put(key, value);
    const { netns, json } = await h.add({ args, container: "w1" });
    const conf = h.conf({ prevResult: json });
    const check = await h.call({ command: "CHECK", args, container: "w1", netns, conf });
    assert.equal(check.code, 0, check.stdout);
    // With the namespace and without.
    await h.store.put(key, (value as any)?.spec ? spec("w1") : value);
    const more = value === null ? {} : { netns };
    const gone = await h.call({ command: "DEL", args, container: "w1", ...more });
    assert.equal(gone.code, 0, gone.stdout);
    assert.deepEqual(await h.traces(), links, JSON.stringify(value));
  }
});

test("no packet reaches a pod before its policy is in place, however early the sender began", async () => {
  await using h = await CniHarness.start({ policyDelay: 400 });
  const sender = await h.add({ container: "sender" });
  const target = "10.244.200.9";
  const flood = `
    const s = Deno.listenDatagram({ transport: "udp", hostname: "0.0.0.0", port: 0 });
    const to = { transport: "udp", hostname: "${target}", port: 9 };
    for (;;) { for (let i = 0; i < 20; i++) await s.send(new Uint8Array(8), to).catch(() => {});
      await new Promise((r) => setTimeout(r, 1)); }`;
  const child = new Deno.Command("nsenter", {
    args: [`--net=${sender.netns}`, Deno.execPath(), "eval", "--unstable-net", flood],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const received = async (netns: string) => {
      const [link] = await h.ip(netns, "-s", "link", "show", "dev", "eth0");
      return link.stats64.rx.packets as number;
    };
    const netns = await h.addNamespace();
    const adding = h.call({ container: "target", netns, args: `IP=${target}` });
    let looked = 0;
    for (let i = 0; i < 200; i++) {
      const there = await run(["nsenter", `--net=${netns}`, "ip", "link", "show", "eth0"]);
      if (there.code !== 0) {
        await new Promise((r) => setTimeout(r, 10));
        continue;
      }
      // Counted first: an interface that is down afterwards was down while it was counted.
      const packets = await received(netns);
      const endpoint = await h.ip("", "link", "show", "dev", "calitarget");
      if (endpoint[0]?.flags.includes("UP")) break;
      assert.equal(packets, 0);
      looked++;
    }
    assert.ok(looked > 0, "the pair was seen before its policy was in place");
    assert.equal((await adding).code, 0, (await adding).stdout);
    for (let i = 0; i < 100 && await received(netns) === 0; i++) {
      await new Promise((r) => setTimeout(r, 20));
    }
    assert.ok(await received(netns) > 0, "the flood arrives when the pod is attached");
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
});

test("a caller who is not root is not served", async () => {
  await using h = await CniHarness.start();
  assert.equal((await Deno.stat(h.socket)).mode! & 0o777, 0o600);
  await Deno.chmod(h.folder, 0o755);
  await Deno.chmod(h.socket, 0o666);
  const conf = JSON.stringify(h.conf());
  const code = `
    const c = await Deno.connect({ transport: "unix", path: ${JSON.stringify(h.socket)} });
    const words = ["TORTIE1", "cni", "tortie", "CNI_COMMAND=STATUS"].join("\\0") + "\\0\\0";
    await c.write(new TextEncoder().encode(words + ${JSON.stringify(conf)})).catch(() => {});
    await c.closeWrite().catch(() => {});
    const n = await c.read(new Uint8Array(10)).catch(() => null);
    console.log(n === null ? "refused" : "answered");`;
  const path = `${h.folder}/client.ts`;
  await Deno.writeTextFile(path, code);
  const deno = await Deno.realPath(Deno.execPath());
  const client = [deno, "run", "-A", "--no-lock", path];
  const asRoot = await run(client);
  assert.equal(asRoot.stdout.trim(), "answered", asRoot.stderr);
  const other = await run(
    ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", ...client],
    { env: { DENO_DIR: "/nonexistent", HOME: "/nonexistent" } },
  );
  assert.equal(other.stdout.trim(), "refused", other.stderr);
});
