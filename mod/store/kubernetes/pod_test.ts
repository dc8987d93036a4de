/** Pods and Nodes, and what Calico makes of them. */
import assert from "node:assert/strict";
import { nodeKind } from "../../model/node.ts";
import { readObject } from "../../model/validate.ts";
import { CLAIMED_ADDRESSES } from "../../model/workload_endpoint.ts";
import type { KubeObject } from "./api.ts";
import { AttachedPods } from "./attached.ts";
import { difference } from "./difference.ts";
import { accountProfile, namespaceProfile } from "./native.ts";
import { patchNode, readNode } from "./node.ts";
import { endpointAnnotations, endpointKeyOf, readEndpoint } from "./endpoint.ts";
import { podSource, readPod } from "./pod.ts";
import { GOLDENS } from "./testing/goldens.ts";

const pod = (): KubeObject => JSON.parse(GOLDENS.pod);
const source = podSource("cali");

Deno.test("a pod's endpoint has what Calico gives it", () => {
  assert.equal(
    endpointKeyOf(pod()),
    "/calico/resources/v3/projectcalico.org/workloadendpoints/red/node--1-k8s-web--0-eth0",
  );
  assert.deepEqual(readEndpoint(pod()), {
    kind: "WorkloadEndpoint",
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name: "node--1-k8s-web--0-eth0",
      namespace: "red",
      uid: "6f4f6a0e-3f0c-4c6b-9d55-0d9c4f1f0a11",
      creationTimestamp: "2026-01-02T03:04:05Z",
      labels: {
        app: "web",
        "projectcalico.org/namespace": "red",
        "projectcalico.org/orchestrator": "k8s",
        "projectcalico.org/serviceaccount": "runner",
      },
    },
    spec: {
      orchestrator: "k8s",
      node: "node-1",
      containerID: "c0ffee",
      pod: "web-0",
      endpoint: "eth0",
      serviceAccountName: "runner",
      ipNetworks: ["192.0.2.5/32", "2001:db8::5/128"],
      profiles: ["kns.red", "ksa.red.runner"],
      interfaceName: "cali6e2eed2400e",
      ports: [{ name: "http", protocol: "TCP", port: 80, hostPort: 0, hostIP: "" }],
    },
  });
});

Deno.test("a pod without a network has no endpoint", () => {
  const without = (change: (pod: KubeObject) => void) => {
    const changed = pod();
    change(changed);
    return source.read(changed).at(-1)!.value;
  };
  const notes = (p: KubeObject) => p.metadata.annotations!;
  assert.equal(without((p) => p.status.phase = "Succeeded"), undefined);
  assert.equal(without((p) => p.status.phase = "Failed"), undefined);
  assert.equal(without((p) => notes(p)[IP] = ""), undefined);
  assert.equal(
    without((p) => {
      p.metadata.annotations = {};
      p.status = {};
    }),
    undefined,
  );
  for (const change of [{ nodeName: "" }, { hostNetwork: true }]) {
    const changed = pod();
    Object.assign(changed.spec, change);
    assert.equal(endpointKeyOf(changed), undefined);
    assert.equal(source.read(changed).length, 1);
  }
});

const IP = "cni.projectcalico.org/podIP", IPS = "cni.projectcalico.org/podIPs";

Deno.test("addresses come from the status, and until it has some from annotations, as a claim", () => {
  const ips = (change: (pod: KubeObject) => void) => {
    const changed = pod();
    change(changed);
    const { spec, metadata } = readEndpoint(changed) ?? {};
    return [spec?.ipNetworks, metadata?.annotations?.[CLAIMED_ADDRESSES]];
  };
  // Whoever may change a Pod can write its annotations; its status only the kubelet and the network.
  assert.deepEqual(ips((p) => Object.assign(p.metadata.annotations!, { [IPS]: "192.0.2.66/32" })), [
    ["192.0.2.5/32", "2001:db8::5/128"],
    undefined,
  ]);
  assert.deepEqual(ips((p) => p.metadata.annotations = {}), [
    ["192.0.2.5/32", "2001:db8::5/128"],
    undefined,
  ]);
  assert.deepEqual(ips((p) => p.status = { podIP: "192.0.2.98", podIPs: [] }), [
    ["192.0.2.98/32"],
    undefined,
  ]);
  assert.deepEqual(ips((p) => p.status = {}), [["192.0.2.5/32", "2001:db8::5/128"], "claimed"]);
  assert.deepEqual(
    ips((p) => {
      p.metadata.annotations = { [IP]: "192.0.2.6/32" };
      p.status = {};
    }),
    [["192.0.2.6/32"], "claimed"],
  );
  assert.deepEqual(
    ips((p) => {
      p.metadata.annotations = { "vpc.amazonaws.com/pod-ips": "192.0.2.97" };
      p.status = {};
    }),
    [["192.0.2.97/32"], "claimed"],
  );
  assert.deepEqual(ips((p) => p.status = { podIP: "nonsense" }), [undefined, undefined]);
});

Deno.test("who attached a pod knows its addresses before the kubelet reports", () => {
  const attached = new AttachedPods();
  const former = pod();
  former.metadata.resourceVersion = "10";
  const fresh = pod();
  Object.assign(fresh.metadata.annotations!, { [IP]: "192.0.2.7/32", [IPS]: "192.0.2.7/32" });
  fresh.metadata.resourceVersion = "11";
  const read = (object: KubeObject) => {
    const { spec, metadata } = readEndpoint(object, "cali", attached)!;
    assert.equal(metadata.annotations, undefined);
    return spec.ipNetworks;
  };
  const claim = attached.claim(former, { containerID: "c0ffee", ipNetworks: ["192.0.2.7/32"] });
  // The watch may bring what was written before its answer does, and what was there before it.
  assert.deepEqual(read(fresh), ["192.0.2.7/32"]);
  assert.deepEqual(read(former), ["192.0.2.5/32", "2001:db8::5/128"]);
  claim.written(fresh);
  assert.deepEqual(read(fresh), ["192.0.2.7/32"]);
  assert.deepEqual(read(former), ["192.0.2.5/32", "2001:db8::5/128"]);
  // Somebody's hand on the annotations is nothing.
  const touched = structuredClone(fresh);
  touched.metadata.resourceVersion = "12";
  Object.assign(touched.metadata.annotations!, {
    "cni.projectcalico.org/containerID": "c0",
    [IPS]: "192.0.2.66/32",
  });
  assert.deepEqual(read(touched), ["192.0.2.7/32"]);
  // The kubelet has reported: it is the status's word now, for good.
  const reported = structuredClone(fresh);
  reported.metadata.resourceVersion = "13";
  reported.status.podIPs = [{ ip: "192.0.2.8" }];
  assert.deepEqual(read(reported), ["192.0.2.8/32"]);
  assert.deepEqual(read(fresh), ["192.0.2.5/32", "2001:db8::5/128"]);
  // One that was refused is none.
  attached.claim(former, { containerID: "c0ffee", ipNetworks: ["192.0.2.7/32"] }).refused();
  assert.deepEqual(read(fresh), ["192.0.2.5/32", "2001:db8::5/128"]);
});

Deno.test("an annotation chooses between the pod's two names of an interface, and no other", () => {
  const usual = readEndpoint(pod())!;
  const named = pod();
  const other = { ...usual, spec: { ...usual.spec, interfaceName: "caliaa6ebf2d4bd" } };
  assert.equal(endpointAnnotations(usual)["cni.tortie.io/interface"], null);
  const notes = endpointAnnotations(other);
  Object.assign(named.metadata.annotations!, { "cni.tortie.io/interface": "other" });
  const { interfaceName } = readEndpoint(named)!.spec;
  assert.notEqual(interfaceName, usual.spec.interfaceName);
  assert.match(interfaceName!, /^cali[0-9a-f]{11}$/);
  other.spec.interfaceName = interfaceName!;
  assert.equal(endpointAnnotations(other)["cni.tortie.io/interface"], "other");
  assert.deepEqual(notes["cni.projectcalico.org/podIPs"], "192.0.2.5/32,2001:db8::5/128");
  Object.assign(named.metadata.annotations!, { "cni.tortie.io/interface": "cali12345678901" });
  assert.equal(readEndpoint(named)!.spec.interfaceName, usual.spec.interfaceName);
});

Deno.test("floating addresses and source prefixes are read where they make sense", () => {
  const changed = pod();
  Object.assign(changed.metadata.annotations!, {
    "cni.projectcalico.org/floatingIPs": '["203.0.113.7","2001:db8::7","x"]',
    "cni.projectcalico.org/allowedSourcePrefixes": '["198.51.100.9/24","x"]',
  });
  const { ipNATs, allowSpoofedSourcePrefixes } = readEndpoint(changed)!.spec;
  assert.deepEqual(ipNATs, [
    { internalIP: "192.0.2.5", externalIP: "203.0.113.7" },
    { internalIP: "2001:db8::5", externalIP: "2001:db8::7" },
  ]);
  assert.deepEqual(allowSpoofedSourcePrefixes, ["198.51.100.0/24"]);
});

Deno.test("limits are kept beside the addresses", () => {
  const limited = readEndpoint(pod())!;
  limited.spec.qosControls = { ingressBandwidth: 1_000_000 };
  const notes = endpointAnnotations(limited);
  const changed = pod();
  Object.assign(changed.metadata.annotations!, notes);
  assert.deepEqual(readEndpoint(changed)!.spec.qosControls, { ingressBandwidth: 1_000_000 });
  Object.assign(changed.metadata.annotations!, { "cni.tortie.io/qosControls": "[1]" });
  assert.equal(readEndpoint(changed)!.spec.qosControls, undefined);
});

Deno.test("of a pod is read what a network needs", () => {
  const read = readPod(pod());
  assert.deepEqual(read.spec.containers, [
    { name: "c", image: "i", ports: [{ name: "http", containerPort: 80 }] },
  ]);
  assert.deepEqual(read.status, {
    phase: "Running",
    podIPs: [{ ip: "192.0.2.5" }, { ip: "2001:db8::5" }],
  });
  assert.equal(read.metadata.managedFields, undefined);
  assert.deepEqual(read.metadata.labels, { app: "web" });
});

Deno.test("only the pods that can have such an endpoint are asked for", () => {
  const narrow = (tail: string) =>
    source.narrow(`/calico/resources/v3/projectcalico.org/workloadendpoints/${tail}`);
  assert.deepEqual(narrow(""), [{}]);
  assert.deepEqual(narrow("red/"), [{ namespace: "red" }]);
  assert.deepEqual(narrow("red/node--1"), [{ namespace: "red" }]);
  assert.deepEqual(narrow("red/node--1-"), [
    { namespace: "red", fieldSelector: "spec.nodeName=node-1" },
  ]);
  assert.deepEqual(narrow("red/node--1-k8s-web--0"), [
    { namespace: "red", fieldSelector: "spec.nodeName=node-1" },
  ]);
  assert.deepEqual(narrow("red/node--1-k8s-web--0-"), [
    { namespace: "red", fieldSelector: "metadata.name=web-0,spec.nodeName=node-1" },
  ]);
  assert.deepEqual(narrow("default/node--1-cni"), []);
  assert.deepEqual(narrow("default/node--1-cni-c0ffee-"), []);
  assert.deepEqual(source.narrow("/tortie/kubernetes/pods/red/"), [{ namespace: "red" }]);
  assert.deepEqual(source.narrow("/"), [{ namespace: undefined }]);
});

Deno.test("a Pod or Node of a shape that none has is read as far as it can be", () => {
  const base = { metadata: { name: "p", namespace: "d", resourceVersion: "1" } };
  const status = { podIP: "10.0.0.1" };
  for (const containers of ["text", 7, null, ["text"], [{ name: "c", ports: "text" }], { a: 1 }]) {
    const pod = {
      ...base,
      spec: { nodeName: "n", containers, initContainers: containers },
      status,
    };
    assert(Array.isArray(readPod(pod).spec.containers));
    const read = readEndpoint(pod);
    assert.deepEqual(read?.spec.ipNetworks, ["10.0.0.1/32"]);
    assert.equal(read?.spec.ports, undefined);
  }
  for (const strange of [null, "text", 7]) {
    const object = { ...base, spec: strange, status: strange };
    assert.deepEqual(readPod(object).spec.containers, []);
    assert.equal(endpointKeyOf(object), undefined);
    assert.equal(readEndpoint(object), undefined);
    assert.deepEqual(readNode(object).spec.addresses, undefined);
    readNode({ ...base, spec: { podCIDRs: strange }, status: { addresses: strange } });
  }
});

Deno.test("a Node is read with Calico's annotations, and they are written back", () => {
  const object: KubeObject = JSON.parse(GOLDENS.node);
  const node = readNode(object);
  assert.deepEqual(node.metadata.labels, { "kubernetes.io/os": "linux", rack: "r1" });
  assert.deepEqual(node.spec, {
    bgp: { ipv4Address: "203.0.113.4/24", asNumber: 64600 },
    ipv4VXLANTunnelAddr: "192.0.2.4",
    addresses: [
      { address: "203.0.113.4/24", type: "CalicoNodeIP" },
      { address: "203.0.113.4", type: "InternalIP" },
    ],
    orchRefs: [{ nodeName: "n1", orchestrator: "k8s" }],
  });
  assert.deepEqual(node.status, { podCIDRs: ["192.0.2.64/26"] });
  const { annotations } = patchNode(node, "7").metadata;
  const set = Object.entries(annotations).filter(([, value]) => value !== null);
  assert.deepEqual(Object.fromEntries(set), object.metadata.annotations);
  assert.equal(
    readNode(object, { usePodCidr: true }).spec.bgp?.ipv4IPIPTunnelAddr,
    "192.0.2.65",
  );
});

Deno.test("broken annotations of a Node are passed over", () => {
  const node = readNode({
    metadata: {
      name: "n1",
      annotations: {
        "projectcalico.org/ASNumber": "many",
        "projectcalico.org/labels": "[",
        "projectcalico.org/Interfaces": "{}",
      },
    },
  });
  assert.deepEqual(node.spec, { orchRefs: [{ nodeName: "n1", orchestrator: "k8s" }] });
  const wrong = readNode({
    metadata: {
      name: "n1",
      annotations: {
        "projectcalico.org/IPv4Address": "x/y",
        "projectcalico.org/Interfaces": '[3,{"name":7},{"name":"eth0","addresses":["10.0.0.1"]}]',
      },
    },
    status: { addresses: [{ type: "InternalIP", address: "10.0.0.1" }] },
  });
  // Kept where it is told of; the object can be read, and what our own Node should say written.
  assert.equal(wrong.spec.bgp?.ipv4Address, "x/y");
  assert.deepEqual(wrong.spec.addresses, [{ address: "10.0.0.1", type: "InternalIP" }]);
  assert.deepEqual(wrong.spec.interfaces, [{ name: "eth0", addresses: ["10.0.0.1"] }]);
  const told: string[] = [];
  readObject(nodeKind, wrong, (issues) => told.push(...issues.map(({ path }) => path)));
  assert.deepEqual(told, ["spec.bgp.ipv4Address"]);
  const dotted = readNode({
    metadata: { name: "n1", annotations: { "projectcalico.org/ASNumber": "1.10" } },
  });
  assert.equal(dotted.spec.bgp?.asNumber, 65546);
});

Deno.test("namespaces and accounts are profiles", () => {
  const metadata = { name: "red", labels: { team: "a" }, creationTimestamp: "t" };
  const { metadata: { name }, spec } = namespaceProfile({ metadata });
  assert.equal(name, "kns.red");
  assert.deepEqual(spec.labelsToApply, { "pcns.team": "a", "pcns.projectcalico.org/name": "red" });
  assert.equal(spec.ingress[0].action, "Allow");
  const account = accountProfile({ metadata: { ...metadata, name: "web.api", namespace: "red" } });
  assert.equal(account.metadata.name, "ksa.red.web.api");
  assert.deepEqual(account.spec, {
    labelsToApply: { "pcsa.team": "a", "pcsa.projectcalico.org/name": "web.api" },
  });
});

Deno.test("a patch makes one value of another", () => {
  assert.deepEqual(
    difference({ a: 1, b: { c: 2, d: 3 }, e: [1] }, { b: { c: 2, d: 4 }, e: [1, 2] }),
    {
      b: { d: 4 },
      e: [1, 2],
      a: null,
    },
  );
  assert.deepEqual(difference({ a: { b: 1 } }, { a: { b: 1 } }), {});
  const big = 2n ** 60n;
  assert.deepEqual(difference({ a: big, b: big }, { a: big, b: big + 1n }), { b: big + 1n });
});

Deno.test("a patch tells of labels that are named as members of every object", () => {
  const names = JSON.parse('{"constructor":"x","toString":"x","__proto__":"x"}');
  const added = difference({ labels: {} }, { labels: names }) as { labels: object };
  assert.deepEqual(Object.entries(added.labels), Object.entries(names));
  const removed = difference({ labels: names }, { labels: {} }) as { labels: object };
  assert.deepEqual(Object.entries(removed.labels), Object.keys(names).map((name) => [name, null]));
});
