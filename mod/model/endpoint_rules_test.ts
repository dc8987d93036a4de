/** Calico's rules for nodes, endpoints, sets, profiles, settings, and for metadata. */
import assert from "node:assert/strict";
import { faultsOf, many, out, rule, testRules } from "./testing/rules.ts";

const wep = (more: object) => ({
  node: "n1",
  orchestrator: "k8s",
  pod: "p",
  endpoint: "eth0",
  interfaceName: "cali1",
  ...more,
});
testRules({
  Node: [
    ["nothing", {}],
    ["all of it", {
      bgp: {
        asNumber: 65000,
        ipv4Address: "192.0.2.1/24",
        ipv6Address: "2001:db8::1/64",
        ipv4IPIPTunnelAddr: "10.0.0.1",
        routeReflectorClusterID: "224.0.0.1",
      },
      ipv4VXLANTunnelAddr: "10.0.0.2",
      vxlanTunnelMACAddr: "66:00:00:00:00:01",
      orchRefs: [{ nodeName: "n1", orchestrator: "k8s" }],
      wireguard: { interfaceIPv4Address: "10.0.0.3" },
      addresses: [{ address: "192.0.2.1", type: "InternalIP" }],
    }],
    ["an empty bgp", { bgp: {} }, "spec.bgp"],
    ["IPv6 as IPv4", { bgp: { ipv4Address: "2001:db8::1/64" } }, "spec.bgp.ipv4Address"],
    ["a cluster ID", { bgp: { routeReflectorClusterID: "fd00::1" } }, /routeReflectorClusterID/],
    ["a tunnel that is none", { ipv4VXLANTunnelAddr: "10.0.0.0/24" }, "spec.ipv4VXLANTunnelAddr"],
    ["a MAC that is none", { vxlanTunnelMACAddr: "66:00" }, "spec.vxlanTunnelMACAddr"],
    ["another type", { addresses: [{ address: "192.0.2.1", type: "IP" }] }, /addresses\[0\]\.type/],
  ],
  WorkloadEndpoint: [
    [
      "a pod's",
      wep({ ipNetworks: ["10.0.0.1/32", "fd00::1/128"], mac: "ee:ee:ee:ee:ee:ee" }),
      undefined,
      "n1-k8s-p-eth0",
    ],
    ["a network", wep({ ipNetworks: ["10.0.0.0/24"] }), "spec.ipNetworks[0]", "n1-k8s-p-eth0"],
    ["no interface", wep({ interfaceName: "" }), "spec.interfaceName", "n1-k8s-p-eth0"],
    ["a long interface", wep({ interfaceName: "a".repeat(16) }), /interfaceName/, "n1-k8s-p-eth0"],
    [
      "NAT",
      wep({
        ipNetworks: ["10.0.0.1/32"],
        ipNATs: [{ internalIP: "10.0.0.1", externalIP: "192.0.2.1" }],
      }),
      undefined,
      "n1-k8s-p-eth0",
    ],
    [
      "NAT of another",
      wep({
        ipNetworks: ["10.0.0.1/32"],
        ipNATs: [{ internalIP: "10.0.0.2", externalIP: "192.0.2.1" }],
      }),
      /ipNATs\[0\]/,
      "n1-k8s-p-eth0",
    ],
    ["a gateway", wep({ ipv4Gateway: "fe80::1" }), "spec.ipv4Gateway", "n1-k8s-p-eth0"],
    ["a container", wep({ containerID: "-x" }), "spec.containerID", "n1-k8s-p-eth0"],
    [
      "a port",
      wep({ ports: [{ name: "http", protocol: "TCP", port: 80 }] }),
      undefined,
      "n1-k8s-p-eth0",
    ],
    [
      "a port of ICMP",
      wep({ ports: [{ name: "a", protocol: "ICMP", port: 80 }] }),
      /ports\[0\]/,
      "n1-k8s-p-eth0",
    ],
    [
      "a port without name",
      wep({ ports: [{ protocol: "TCP", port: 80 }] }),
      /ports\[0\]\.name/,
      "n1-k8s-p-eth0",
    ],
    [
      "a host port",
      wep({
        ports: [{ protocol: "TCP", port: 80, hostPort: 8080, hostIP: "192.0.2.1" }],
      }),
      undefined,
      "n1-k8s-p-eth0",
    ],
    [
      "a host that is none",
      wep({
        ports: [{ protocol: "TCP", port: 80, hostPort: 8080, hostIP: "here" }],
      }),
      /ports\[0\]\.hostIP/,
      "n1-k8s-p-eth0",
    ],
    ["spoofing", wep({ allowSpoofedSourcePrefixes: ["any"] }), /allowSpoofed/, "n1-k8s-p-eth0"],
    [
      "quality of service",
      wep({ qosControls: { ingressBandwidth: 1e6, dscp: 46 } }),
      undefined,
      "n1-k8s-p-eth0",
    ],
  ],
  HostEndpoint: [
    ["an interface", { node: "n1", interfaceName: "eth0" }],
    ["all interfaces", { node: "n1", interfaceName: "*" }],
    ["addresses", { node: "n1", expectedIPs: ["192.0.2.1", "fd00::1"], profiles: ["a"] }],
    ["neither", { node: "n1" }, "spec.interfaceName"],
    ["no node", { interfaceName: "eth0" }, "spec.node"],
    ["a node that is none", { node: "N 1", interfaceName: "eth0" }, "spec.node"],
    ["an interface that is none", { node: "n1", interfaceName: "eth*" }, "spec.interfaceName"],
    ["a network", { node: "n1", expectedIPs: ["192.0.2.0/24"] }, "spec.expectedIPs[0]"],
    ["a port", {
      node: "n1",
      interfaceName: "*",
      ports: [{ name: "ssh", protocol: "TCP", port: 22 }],
    }],
    ["port 0", {
      node: "n1",
      interfaceName: "*",
      ports: [{ name: "ssh", protocol: "TCP", port: 0 }],
    }, "spec.ports[0].port"],
    ["a port's name", {
      node: "n1",
      interfaceName: "*",
      ports: [{ name: "Secure Shell", protocol: "TCP", port: 22 }],
    }, "spec.ports[0].name"],
  ],
  NetworkSet: [
    ["networks", { nets: ["10.0.0.0/8", "10.0.0.1", "fd00::/8"] }],
    ["nonsense", { nets: ["10.0.0"] }, "spec.nets[0]"],
  ],
  GlobalNetworkSet: [
    ["nothing", {}],
    ["networks", { nets: ["10.0.0.5/8"] }],
    ["a name", { nets: ["example.com"] }, "spec.nets[0]"],
  ],
  Profile: [
    [
      "as many methods as anybody wants",
      rule({ http: { methods: many(21, "").map((_, i) => `M${i}`) } }),
    ],
    ["global() as a rule's selector", rule({ source: { selector: "global()" } })],
    ["ICMP by its name", rule({ protocol: "ICMP", icmp: { type: 8 } })],
    ["ICMP by its number", rule({ protocol: 1, icmp: { type: 8 } }), "spec.ingress[0].icmp"],
    [
      "HTTP over protocol 6",
      rule({ protocol: 6, http: { methods: ["GET"] } }),
      "spec.ingress[0].http",
    ],
    ["rules and labels", { ...rule({}), ...out({ action: "Deny" }), labelsToApply: { a: "b" } }],
    ["a bad label", { labelsToApply: { "a b": "c" } }, /labelsToApply/],
    ["a bad rule", rule({ source: { nets: ["x"] } }), "spec.ingress[0].source.nets[0]"],
    ["as many rules as Calico 3.32 takes", { egress: many(1100, { action: "Allow" }) }],
  ],
  ClusterInformation: [
    ["all of it", {
      clusterGUID: "0123456789abcdef0123456789abcdef",
      clusterType: "k8s,bgp",
      calicoVersion: "v3.32.1",
      datastoreReady: true,
      variant: "Calico",
    }],
    ["a text as flag", { datastoreReady: "yes" }, "spec.datastoreReady"],
  ],
  KubeControllersConfiguration: [
    ["names of policies, in the words of 3.32", {
      controllers: { policyMigration: { enabled: "Disabled" } },
    }],
    ["and of 3.33", { controllers: { migration: { policyNameMigrator: "Disabled" } } }],
    ["another word", { controllers: { policyMigration: { enabled: true } } }, /policyMigration/],
    ["all of it", {
      logSeverityScreen: "Info",
      healthChecks: "Enabled",
      etcdV3CompactionPeriod: "10m",
      prometheusMetricsPort: 0,
      debugProfilePort: 9095,
      controllers: {
        node: {
          reconcilerPeriod: "5m",
          syncLabels: "Enabled",
          leakGracePeriod: "0s",
          hostEndpoint: {
            autoCreate: "Enabled",
            createDefaultHostEndpoint: "Disabled",
            templates: [{
              generateName: "t",
              interfaceCIDRs: ["10.0.0.0/8"],
              interfacePattern: "^eth",
              labels: { a: "b" },
              nodeSelector: "all()",
            }],
          },
        },
        policy: { reconcilerPeriod: "5m" },
        loadBalancer: { assignIPs: "RequestedServicesOnly" },
      },
    }],
    ["another severity", { logSeverityScreen: "Trace" }, "spec.logSeverityScreen"],
    ["health", { healthChecks: "On" }, "spec.healthChecks"],
    ["a port", { prometheusMetricsPort: 65536 }, "spec.prometheusMetricsPort"],
    ["a period", { controllers: { policy: { reconcilerPeriod: "soon" } } }, /reconcilerPeriod/],
    ["labels", { controllers: { node: { syncLabels: "Yes" } } }, /syncLabels/],
    ["services", { controllers: { loadBalancer: { assignIPs: "None" } } }, /assignIPs/],
    ["a pattern", {
      controllers: { node: { hostEndpoint: { templates: [{ interfacePattern: "(" }] } } },
    }, /interfacePattern/],
  ],
  CalicoNodeStatus: [
    ["all of it", { node: "n1", classes: ["Agent", "BGP", "Routes"], updatePeriodSeconds: 0 }],
    ["another class", { node: "n1", classes: ["All"], updatePeriodSeconds: 1 }, "spec.classes[0]"],
    [
      "a class twice",
      { node: "n1", classes: ["BGP", "BGP"], updatePeriodSeconds: 1 },
      "spec.classes",
    ],
    ["a long period", { node: "n1", classes: ["BGP"], updatePeriodSeconds: 86401 }, /updatePeriod/],
    ["no node", { classes: ["BGP"], updatePeriodSeconds: 1 }, "spec.node"],
  ],
  FelixConfiguration: [
    ["marks", { istioDSCPMark: 23, featureGates: "A=b,C=d", featureDetectOverride: "X=true,Y=" }],
    ["a mark of more than eight bits", { istioDSCPMark: 256 }, "spec.istioDSCPMark"],
    ["a broken mark", { istioDSCPMark: 1.5 }, "spec.istioDSCPMark"],
    ["a gate without value", { featureGates: "a==" }, "spec.featureGates"],
    ["a feature that is neither", { featureDetectOverride: "X=yes" }, "spec.featureDetectOverride"],
    [
      "a selector of 1024 characters",
      { nodeSelector: "all()".padEnd(1024) },
      undefined,
      "racks",
    ],
    [
      "a selector of 1025 characters",
      { nodeSelector: "all()".padEnd(1025) },
      "spec.nodeSelector",
      "racks",
    ],
    ["some of it", {
      bpfEnabled: false,
      chainInsertMode: "append",
      logSeverityScreen: "warning",
      routeRefreshInterval: "90s",
      failsafeInboundHostPorts: [{ protocol: "tcp", port: 22, net: "10.0.0.0/8" }],
      vxlanVNI: 4096,
    }],
    ["durations in Go's other forms", {
      routeRefreshInterval: "+5s",
      reportingInterval: ".5s",
      reportingTTL: "1.s1.5m",
    }],
    ["a unit below ms", { routeRefreshInterval: "1us" }, "spec.routeRefreshInterval"],
    ["a duration in days", { routeRefreshInterval: "1d" }, "spec.routeRefreshInterval"],
    ["a negative duration", { reportingTTL: "-1s" }, "spec.reportingTTL"],
    ["another mode", { chainInsertMode: "Before" }, "spec.chainInsertMode"],
    ["a text as flag", { bpfEnabled: "on" }, "spec.bpfEnabled"],
    ["a port", { failsafeInboundHostPorts: [{ port: 65536 }] }, /failsafeInboundHostPorts\[0\]/],
    ["ranges twice", {
      routeTableRange: { min: 1, max: 250 },
      routeTableRanges: [{ min: 1, max: 250 }],
    }, "spec.routeTableRange"],
    ["timeouts of connections", {
      bpfConntrackTimeouts: { tcpSynSent: "20s", udpTimeout: "1h30m", icmpTimeout: "Auto" },
    }],
    [
      "a timeout that nobody knows",
      { bpfConntrackTimeouts: { bogusKey: "5s" } },
      "spec.bpfConntrackTimeouts.bogusKey",
    ],
    [
      "a timeout that is none",
      { bpfConntrackTimeouts: { tcpSynSent: `${"s".repeat(60)}!` } },
      "spec.bpfConntrackTimeouts.tcpSynSent",
    ],
    ["filters of the log", {
      bpfLogFilters: { all: "tcp", "eth0.1": "udp", weps: "host 1.2.3.4" },
    }],
    ["a filter of no interface", { bpfLogFilters: { "bad iface!!": "x" } }, /^spec\.bpfLogFilters/],
    ["Go's patterns", { mtuIfacePattern: "(?s)en.*", bpfDataIfacePattern: "^a(?i)b|(?U)c+$" }],
    ["JavaScript's patterns", { mtuIfacePattern: "[^]" }, "spec.mtuIfacePattern"],
    ["a range too large", { routeTableRange: { min: 1, max: 251 } }, "spec.routeTableRange"],
    ["nodes of default", { nodeSelector: "all()" }, "spec.nodeSelector", "default"],
    ["nodes of another", { nodeSelector: "has(a)" }, undefined, "racks"],
  ],
});

testRules({
  Tier: [
    ["an order", { order: 1.5, defaultAction: "Pass" }],
    ["another action", { defaultAction: "Allow" }, "spec.defaultAction"],
    ["two labels", {}, "metadata.name", "a.b"],
    ["the default tier", { order: 1000000 }, undefined, "default"],
    ["the default tier without an order, which is its own", {}, undefined, "default"],
    ["kube-admin without an order", { defaultAction: "Pass" }, "spec.order", "kube-admin"],
    ["the default tier elsewhere", { order: 1 }, "spec.order", "default"],
    [
      "the default tier passing",
      { order: 1000000, defaultAction: "Pass" },
      /defaultAction/,
      "default",
    ],
    ["kube-admin", { order: 1000, defaultAction: "Pass" }, undefined, "kube-admin"],
    ["kube-admin denying", { order: 1000, defaultAction: "Deny" }, /defaultAction/, "kube-admin"],
    ["kube-baseline", { order: 10000000, defaultAction: "Pass" }, undefined, "kube-baseline"],
  ],
}, "tier1");

Deno.test("templates of host endpoints have a name of their own, and say which addresses they are for", () => {
  const faults = (...templates: unknown[]) =>
    faultsOf({
      apiVersion: "projectcalico.org/v3",
      kind: "KubeControllersConfiguration",
      metadata: { name: "default" },
      spec: { controllers: { node: { hostEndpoint: { templates } } } },
    }, true).map(({ path }) => path.replace(/.*templates/, ""));
  const sound = { generateName: "t", interfaceCIDRs: ["10.0.0.0/8"] };
  assert.deepEqual(faults(sound, { generateName: "u", interfacePattern: "^eth" }), []);
  assert.deepEqual(faults({ ...sound, generateName: "" }), ["[0].generateName"]);
  assert.deepEqual(faults(sound, { generateName: "u" }), ["[1]"]);
  assert.deepEqual(faults(sound, { generateName: "u", interfaceCIDRs: [] }), ["[1]"]);
  assert.deepEqual(faults(sound, sound), ["[1].generateName"]);
  // It stands within a name: as it is usually written, it ends with a dash.
  for (const generateName of ["foo-", "-x", "a.b"]) {
    assert.deepEqual(faults({ ...sound, generateName }), [], generateName);
  }
  for (const generateName of ["Foo", "foo_", "f.", ".f", "a b", "a".repeat(254)]) {
    assert.deepEqual(faults({ ...sound, generateName }), ["[0].generateName"], generateName);
  }
});

Deno.test("what metadata may be", () => {
  const faults = (kind: string, metadata: unknown, spec: unknown = {}) =>
    faultsOf({ apiVersion: "projectcalico.org/v3", kind, metadata, spec }).map(({ path }) => path);
  assert.deepEqual(faults("Node", { name: "a.b-c.d" }), []);
  assert.deepEqual(faults("Node", { name: "a_b" }), ["metadata.name"]);
  assert.deepEqual(faults("Node", { generateName: "a" }), ["metadata.name"]);
  assert.deepEqual(faults("Node", { name: "a".repeat(254) }), ["metadata.name"]);
  assert.deepEqual(faults("Node", { name: "a", namespace: "b" }), ["metadata.namespace"]);
  assert.deepEqual(faults("Node", { name: "a", labels: { "-": "b" } }), ["metadata.labels"]);
  assert.deepEqual(faults("Node", { name: "a", labels: { b: "c d" } }), ["metadata.labels.b"]);
  assert.deepEqual(faults("Node", { name: "a", annotations: { "b c": "" } }), [
    "metadata.annotations",
  ]);
  const reserved = { "projectcalico.org/namespace": "x" };
  assert.deepEqual(faults("NetworkSet", { name: "a", labels: reserved }), ["metadata.labels"]);
  assert.deepEqual(faults("Node", { name: "a" }, { colour: 1 }), ["spec.colour"]);
});
