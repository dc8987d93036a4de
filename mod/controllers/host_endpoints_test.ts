/** Automatic host endpoints, those of templates, and what becomes of them when settings or nodes change. */
import assert from "node:assert/strict";
import type { HostEndpoint } from "../model/host_endpoint.ts";
import { hostEndpointKind } from "../model/host_endpoint.ts";
import type { Node } from "../model/node.ts";
import { parseObject } from "../model/validate.ts";
import {
  CONTROLLER,
  CREATED_BY,
  expectedIps,
  hostEndpointActions,
  hostEndpointName,
} from "./host_endpoints.ts";

const ON = { autoCreate: true, createDefault: true, templates: [] };

const node = (name: string, spec: object = {}, labels: Record<string, string> = {}): Node =>
  ({ metadata: { name, labels }, spec }) as unknown as Node;

const full = node("n1", {
  bgp: {
    ipv4Address: "192.0.2.11/24",
    ipv6Address: "2001:db8::11/64",
    ipv4IPIPTunnelAddr: "10.0.0.1",
  },
  ipv4VXLANTunnelAddr: "10.0.0.2",
  ipv6VXLANTunnelAddr: "fd00::2",
  wireguard: { interfaceIPv4Address: "10.0.0.3", interfaceIPv6Address: "fd00::3" },
  addresses: [
    { address: "192.0.2.11/24", type: "CalicoNodeIP" },
    { address: "192.0.2.11", type: "InternalIP" },
    { address: "198.51.100.1", type: "InternalIP" },
    { address: "203.0.113.1", type: "ExternalIP" },
  ],
  interfaces: [
    { name: "eth0", addresses: ["192.0.2.11/24"] },
    { name: "eth1", addresses: ["198.51.100.1/24", "2001:db8:1::1/64"] },
  ],
}, { rack: "r1" });

function wanted(nodes: Node[], settings: Parameters<typeof hostEndpointActions>[1]) {
  return hostEndpointActions({ nodes, existing: [] }, settings).map((action) => {
    assert(action.do === "create");
    // Calico would take what we write.
    parseObject(hostEndpointKind, {
      kind: "HostEndpoint",
      apiVersion: "projectcalico.org/v3",
      ...action.endpoint,
    });
    return action.endpoint;
  });
}

Deno.test("a node's addresses: BGP's, the tunnels', then other internal ones, each once", () => {
  assert.deepEqual(expectedIps(full), [
    "192.0.2.11",
    "2001:db8::11",
    "10.0.0.1",
    "10.0.0.2",
    "fd00::2",
    "10.0.0.3",
    "fd00::3",
    "198.51.100.1",
  ]);
});

Deno.test("one for all interfaces of each node, in Calico's form", () => {
  const [endpoint] = wanted([full], ON);
  assert.deepEqual(endpoint, {
    metadata: { name: "n1-auto-hep", labels: { rack: "r1", [CREATED_BY]: CONTROLLER } },
    spec: {
      node: "n1",
      interfaceName: "*",
      expectedIPs: expectedIps(full),
      profiles: ["projectcalico-default-allow"],
    },
  });
  assert.deepEqual(wanted([full], { ...ON, autoCreate: false }), []);
});

Deno.test("templates: by pattern, by CIDR, by node", () => {
  const template = { generateName: "front", labels: { zone: "dmz" }, nodeSelector: "rack == 'r1'" };
  const of = (more: object, nodes = [full]) =>
    wanted(nodes, { ...ON, createDefault: false, templates: [{ ...template, ...more }] })
      .map(({ metadata, spec }) => [metadata.name, spec.interfaceName, spec.expectedIPs]);
  assert.deepEqual(of({ interfacePattern: "eth[0-9]" }), [
    ["n1-front-eth0-auto-hep", "eth0", ["192.0.2.11"]],
    ["n1-front-eth1-auto-hep", "eth1", ["198.51.100.1", "2001:db8:1::1"]],
  ]);
  assert.deepEqual(of({ interfacePattern: "eth", interfaceCIDRs: ["198.51.100.0/24"] }), [
    ["n1-front-eth1-auto-hep", "eth1", ["198.51.100.1"]],
  ]);
  assert.deepEqual(of({ interfaceCIDRs: ["198.51.100.0/24"] }), [
    ["n1-front-auto-hep", undefined, ["198.51.100.1"]],
  ]);
  assert.deepEqual(of({ interfaceCIDRs: ["10.99.0.0/16"] }), []);
  assert.deepEqual(of({}, [node("n2", full.spec)]), []);
  const [{ metadata }] = wanted([full], { ...ON, createDefault: false, templates: [template] });
  assert.deepEqual(metadata.labels, { rack: "r1", zone: "dmz", [CREATED_BY]: CONTROLLER });
});

Deno.test("names that would be too long are cut and told apart", () => {
  const [a, b] = ["a", "b"].map((end) => hostEndpointName("n".repeat(250) + end));
  assert.notEqual(a, b);
  assert(a.length <= 253 && a.endsWith("-auto-hep"));
});

Deno.test("only what differs is written; only ours is deleted", () => {
  const [want] = wanted([full], ON);
  const stored = {
    kind: "HostEndpoint",
    apiVersion: "projectcalico.org/v3",
    ...want,
  } as HostEndpoint;
  const by = (existing: HostEndpoint[], nodes = [full], settings = ON) =>
    hostEndpointActions({ nodes, existing }, settings).map((a) =>
      `${a.do} ${"name" in a ? a.name : a.endpoint.metadata.name}`
    );
  assert.deepEqual(by([stored]), []);
  const stale = { ...stored, spec: { ...stored.spec, expectedIPs: ["192.0.2.99"] } };
  assert.deepEqual(by([stale]), ["update n1-auto-hep"]);
  const unlabelled = {
    ...stored,
    metadata: { ...stored.metadata, labels: { [CREATED_BY]: CONTROLLER } },
  };
  assert.deepEqual(by([unlabelled]), ["update n1-auto-hep"]);
  assert.deepEqual(by([stored], []), ["delete n1-auto-hep"]);
  assert.deepEqual(by([stored], [full], { ...ON, autoCreate: false }), ["delete n1-auto-hep"]);
  const handmade = { ...stored, metadata: { name: "n1-auto-hep" } } as HostEndpoint;
  assert.deepEqual(by([handmade]), [], "one made by hand is left alone, whatever its name");
  assert.deepEqual(by([handmade], [], ON), []);
});
