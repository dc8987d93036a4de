/** Each of these as calicoctl v3.32.1 reads it, or not. */
import assert from "node:assert/strict";
import { KINDS } from "./kinds.ts";
import { typeIssues } from "./typed.ts";

type Case = [spec: unknown, ...notOfTheirType: string[]];

const rule = (fields: object) => ({ ingress: [{ action: "Allow", ...fields }] });
const ports = (...list: unknown[]) => rule({ protocol: "TCP", destination: { ports: list } });

const CASES: Record<string, Case[]> = {
  NetworkPolicy: [
    [{ order: "abc" }, "spec.order"],
    [{ order: "5" }, "spec.order"],
    [{ order: 1.5 }],
    [{ Order: true }, "spec.order"],
    [{ selector: "a =", order: null }],
    [{ selector: ["all()"] }, "spec.selector"],
    [{ types: "Ingress" }, "spec.types"],
    [{ types: ["Sideways", 5, null] }],
    [{ types: [["Ingress"]] }, "spec.types[0]"],
    [{ ingress: {} }, "spec.ingress"],
    [[], "spec"],
    [rule({ protocol: "quic" })],
    [rule({ protocol: 0 })],
    [rule({ protocol: 256 }), "spec.ingress[0].protocol"],
    [rule({ protocol: [6] }), "spec.ingress[0].protocol"],
    [rule({ ipVersion: 5 })],
    [rule({ ipVersion: "4" }), "spec.ingress[0].ipVersion"],
    [rule({ icmp: { type: 1.5 } }), "spec.ingress[0].icmp.type"],
    [rule({ icmp: { type: 300 } })],
    [ports(0, "0", "0:5", "a_b", "80:90")],
    [
      ports(70000, "70000", "9:3", "5:x", "", 1.5, true),
      ...[0, 1, 2, 3, 4, 5, 6].map((i) => `spec.ingress[0].destination.ports[${i}]`),
    ],
  ],
  IPPool: [
    [{ cidr: "10.0.0.0/33", blockSize: 1000, ipipMode: "Sometimes" }],
    [{ cidr: "10.0.0.0/8", blockSize: "26" }, "spec.blockSize"],
    [{ cidr: "10.0.0.0/8", blockSize: 26.5 }, "spec.blockSize"],
    [{ cidr: "10.0.0.0/8", blockSize: 2 ** 63 }, "spec.blockSize"],
    [{ cidr: "10.0.0.0/8", disabled: "true" }, "spec.disabled"],
    [{ cidr: "10.0.0.0/8", disabled: 0 }, "spec.disabled"],
    [{ cidr: { a: 1 } }, "spec.cidr"],
  ],
  GlobalNetworkSet: [
    [{ nets: ["10.0.0.0/33", 5] }],
    [{ nets: "10.0.0.0/8" }, "spec.nets"],
  ],
  BGPPeer: [
    [{ asNumber: "1.10", ttlSecurity: 255, maxRestartTime: "-5s", peerIP: "nobody" }],
    [{ asNumber: "" }, "spec.asNumber"],
    [{ asNumber: "1.70000" }, "spec.asNumber"],
    [{ asNumber: 70000.5 }, "spec.asNumber"],
    [{ asNumber: 2 ** 32 }, "spec.asNumber"],
    [{ ttlSecurity: 256 }, "spec.ttlSecurity"],
    [{ numAllowedLocalASNumbers: 2 ** 31 }, "spec.numAllowedLocalASNumbers"],
    [{ maxRestartTime: "5" }, "spec.maxRestartTime"],
  ],
  FelixConfiguration: [
    [{ routeRefreshInterval: "1us", vxlanPort: 70000, natPortRange: "a", bpfLogLevel: "loud" }],
    [{ routeRefreshInterval: 0 }, "spec.routeRefreshInterval"],
    [{ routeRefreshInterval: "5x" }, "spec.routeRefreshInterval"],
    [{ iptablesMarkMask: -1 }, "spec.iptablesMarkMask"],
    [{ failsafeInboundHostPorts: [{ port: 65536 }] }, "spec.failsafeInboundHostPorts[0].port"],
    [{ istioDSCPMark: "AF99" }],
    [{ istioDSCPMark: 256 }, "spec.istioDSCPMark"],
    [{ bpfLogFilters: { eth0: ["tcp"] } }, "spec.bpfLogFilters.eth0"],
  ],
  StagedKubernetesNetworkPolicy: [
    [{ ingress: [{ ports: [{ port: "Foo Bar" }, { port: 70000 }] }] }],
    [{ ingress: [{ ports: [{ port: 1.5 }] }] }, "spec.ingress[0].ports[0].port"],
  ],
};

Deno.test("a value that is not of its field's type, and one that only breaks a rule", () => {
  for (const [name, cases] of Object.entries(CASES)) {
    const kind = KINDS.find((k) => k.kind === name && k.home === "calico")!;
    for (const [spec, ...want] of cases) {
      const value = { apiVersion: kind.apiVersion, kind: name, metadata: { name: "x" }, spec };
      const found = typeIssues(kind, value).map(({ path }) => path);
      assert.deepEqual(found, want, `${name} ${JSON.stringify(spec)}`);
    }
  }
});

Deno.test("metadata has types too", () => {
  const kind = KINDS.find((k) => k.kind === "GlobalNetworkSet")!;
  const of = (metadata: unknown) => typeIssues(kind, { metadata }).map(({ path }) => path);
  assert.deepEqual(of({ name: "Not a name", labels: { a: "not a value" } }), []);
  assert.deepEqual(of(5), ["metadata"]);
  assert.deepEqual(of({ name: ["b"], labels: { a: {} }, creationTimestamp: "foo" }), [
    "metadata.name",
    "metadata.labels.a",
    "metadata.creationTimestamp",
  ]);
});
