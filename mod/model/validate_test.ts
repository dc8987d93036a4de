import assert from "node:assert/strict";
import { bgpConfigurationKind } from "./bgp_configuration.ts";
import { bgpPeerKind } from "./bgp_peer.ts";
import { parseManifest } from "./manifest.ts";
import { felixConfigurationKind } from "./felix_configuration.ts";
import { ippoolKind } from "./ippool.ts";
import { namespaceKind } from "./namespace.ts";
import { networkPolicyKind } from "./network_policy.ts";
import { nodeKind } from "./node.ts";
import { podKind } from "./pod.ts";
import { tierKind } from "./tier.ts";
import { encodeObject, ModelError, parseObject, readObject, unknownFields } from "./validate.ts";

function issuesOf(run: () => unknown): string[] {
  try {
    run();
    return [];
  } catch (error) {
    assert.ok(error instanceof ModelError, String(error));
    return error.issues.map((issue) => `${issue.path}: ${issue.message}`);
  }
}

Deno.test("all faults are told at once, each with its path", () => {
  const issues = issuesOf(() =>
    parseObject(networkPolicyKind, {
      metadata: { name: "p", namespace: "n" },
      spec: {
        ingress: [
          { action: "Allow" },
          { action: "allow", source: { nets: ["10.0.0.1/24"], ports: [70000] } },
        ],
        oder: 5,
      },
    })
  );
  assert.deepEqual(issues.map((issue) => issue.split(": ")[0]).sort(), [
    "spec.ingress[1].action",
    "spec.ingress[1].source.nets[0]",
    "spec.ingress[1].source.ports[0]",
    "spec.oder",
  ]);
});

Deno.test("fields of a newer version survive reading, changing and writing", () => {
  const stored = {
    kind: "Node",
    apiVersion: "projectcalico.org/v3",
    metadata: { name: "n", futureMeta: [1] },
    spec: {
      bgp: { ipv4Address: "192.0.2.1/24", futureBgp: { deep: true } },
      addresses: [{ address: "192.0.2.1", type: "InternalIP", futureItem: "x" }],
      futureSpec: null,
    },
    future: {},
  };
  const node = readObject(nodeKind, stored);
  node.spec.bgp!.asNumber = 64512;
  const written = JSON.parse(JSON.stringify(encodeObject(nodeKind, node)));
  assert.deepEqual(written.metadata.futureMeta, [1]);
  assert.deepEqual(written.spec.bgp.futureBgp, { deep: true });
  assert.equal(written.spec.bgp.asNumber, 64512);
  assert.equal(written.spec.addresses[0].futureItem, "x");
  assert.deepEqual(written.future, {});
  assert.ok(issuesOf(() => parseObject(nodeKind, stored)).length >= 4);
  assert.deepEqual(issuesOf(() => parseObject(nodeKind, stored, { unknownFields: "keep" })), []);
  assert.equal(written.spec.futureSpec, null);
  assert.equal(unknownFields(nodeKind, stored).length, 5);
});

Deno.test("an unknown field is told also where it is null, as Go's strict reader tells it", () => {
  const faults = (kind: any, spec: unknown) =>
    issuesOf(() => parseObject(kind, { metadata: { name: "n", namespace: "n" }, spec }));
  const policy = {
    selectr: null,
    ingress: [{ action: "Deny", sourc: null, source: { serviceAccounts: { a: null } } }],
  };
  const paths = faults(networkPolicyKind, policy).map((issue) => issue.split(": ")[0]);
  assert.deepEqual(paths.sort(), [
    "spec.ingress[0].sourc",
    "spec.ingress[0].source.serviceAccounts.a",
    "spec.selectr",
  ]);
});

Deno.test("null in a list or map of texts or objects is the empty one, as in Go", () => {
  const node = parseObject(nodeKind, {
    metadata: { name: "n", labels: { a: null } },
    spec: { orchRefs: [null], interfaces: [{ addresses: [null] }] },
  });
  assert.deepEqual({ ...node.metadata.labels }, { a: "" });
  assert.deepEqual(node.spec.orchRefs, [{ orchestrator: "" }]);
  assert.deepEqual(node.spec.interfaces, [{ addresses: [""] }]);
});

Deno.test("what Calico stores without a check can be read, and says what is wrong with it", () => {
  const node = { metadata: { name: "n" }, spec: { addresses: [{ address: "x" }, {}] } };
  assert.equal(readObject(nodeKind, node).spec.addresses![1].address, "");
  const [first] = issuesOf(() => parseObject(nodeKind, node));
  assert.match(
    first,
    /^spec\.addresses\[0\]\.address: "x" is not allowed: want an address, with or without/,
  );
  for (const spec of [{ dataplaneWatchdogTimeout: "-5s" }, { nftablesRefreshInterval: "10us" }]) {
    const felix = { metadata: { name: "default" }, spec };
    const read = readObject(felixConfigurationKind, felix).spec;
    assert.deepEqual({ ...read, ...spec }, { ...read });
    assert.equal(issuesOf(() => parseObject(felixConfigurationKind, felix)).length, 1);
  }
});

Deno.test("a duration of FelixConfiguration is of whole units as it is stored, where Calico's pattern says so", () => {
  const take = (spec: object) =>
    parseObject(felixConfigurationKind, { metadata: { name: "default" }, spec }).spec;
  for (const [text, stored] of [["1h0.5m", "1h0m30s"], ["1.0s", "1s"], ["500ms", "500ms"]]) {
    assert.equal(take({ ipsetsRefreshInterval: text }).ipsetsRefreshInterval, stored);
  }
  for (const text of ["1.5s", "1500ms", "0.5ms", "1m0.25s"]) {
    const [issue] = issuesOf(() => take({ ipsetsRefreshInterval: text }));
    assert.match(
      issue,
      /^spec\.ipsetsRefreshInterval: ".*" is not allowed: want .* without a fraction/,
    );
  }
  const time = { liveMigrationRouteConvergenceTime: "1500ms" };
  assert.equal(take(time).liveMigrationRouteConvergenceTime, "1.5s");
});

Deno.test('null and "" of an optional field are the same as nothing, as in Go', () => {
  const policy = parseObject(networkPolicyKind, {
    metadata: { name: "p", namespace: "n", labels: { empty: "" }, creationTimestamp: null },
    spec: {
      selector: "",
      order: null,
      ingress: null,
      egress: [{ action: "Allow", protocol: null }],
    },
  });
  assert.equal("selector" in policy.spec, false);
  assert.equal("order" in policy.spec, false);
  assert.deepEqual(policy.spec.types, ["Egress"]);
  assert.equal("protocol" in policy.spec.egress![0], false);
  assert.deepEqual(policy.metadata.labels, { empty: "" });
});

Deno.test("field names are read in any case, as Go's JSON reader does", () => {
  const tier = parseObject(tierKind, { metadata: { name: "t" }, spec: { Order: 5 } });
  assert.equal(tier.spec.order, 5);
});

Deno.test("reading tolerates broken rules, not broken shapes", () => {
  const read = (spec: unknown) => readObject(tierKind, { metadata: { name: "t" }, spec });
  assert.equal(read({ order: 1, defaultAction: "Explode" }).spec.defaultAction, "Explode");
  for (const spec of [{ order: "first" }, [], "x", 5]) {
    assert.throws(
      () => read(spec),
      (error: unknown) => error instanceof ModelError && error.kind === "malformed",
    );
  }
  for (const value of [null, undefined, 5, "x", [], [{}]]) {
    assert.throws(() => readObject(tierKind, value), ModelError);
  }
});

Deno.test("the input is not changed and not shared", () => {
  const input = { metadata: { name: "n" }, spec: { orchRefs: [{ orchestrator: "k8s" }] } };
  const before = structuredClone(input);
  const node = parseObject(nodeKind, input);
  node.spec.orchRefs![0].orchestrator = "other";
  node.metadata.name = "m";
  assert.deepEqual(input, before);
});

Deno.test("a field called __proto__ is a field like any other", () => {
  const value = JSON.parse('{"metadata":{"name":"n"},"spec":{"__proto__":{"bgp":{"asNumber":1}}}}');
  const node = readObject(nodeKind, value);
  assert.equal(node.spec.bgp, undefined);
  assert.equal(({} as Record<string, unknown>).bgp, undefined);
  assert.ok(JSON.stringify(encodeObject(nodeKind, node)).includes('"__proto__"'));
});

Deno.test("kinds of which we read a part take what else users write", () => {
  const pod = parseObject(podKind, {
    metadata: { name: "p", namespace: "n" },
    spec: { containers: [{ name: "c", image: "i", command: ["x"] }], tolerations: [] },
  });
  assert.deepEqual((pod.spec.containers[0] as Record<string, unknown>).command, ["x"]);
});

Deno.test("names, namespaces, labels and annotations are checked", () => {
  const metadata = (metadata: unknown) => issuesOf(() => parseObject(nodeKind, { metadata }));
  assert.match(metadata({})[0], /metadata\.name: is missing/);
  assert.match(metadata({ generateName: "a-" })[0], /generateName is not supported/);
  assert.match(metadata({ name: "A" })[0], /"A" is not allowed/);
  assert.match(metadata({ name: "a".repeat(254) })[0], /at most 253/);
  assert.match(metadata({ name: "a", namespace: "n" })[0], /nodes are not namespaced/);
  assert.match(metadata({ name: "a", labels: { "a b": "x" } })[0], /key "a b"/);
  assert.match(metadata({ name: "a", labels: { a: "x y" } })[0], /metadata\.labels\.a: "x y"/);
  assert.match(
    metadata({ name: "a", labels: { a: 5 } })[0],
    /metadata\.labels\.a: 5 is not a text/,
  );
  assert.match(
    metadata({ name: "a", annotations: { k: "x".repeat(256 * 1024) } })[0],
    /annotations: are too large/,
  );
  assert.match(
    issuesOf(() => parseObject(networkPolicyKind, { metadata: { name: "p" } }))[0],
    /metadata\.namespace: is missing/,
  );
});

Deno.test("a namespace has its name for a label", () => {
  const namespace = parseObject(namespaceKind, { metadata: { name: "shop", labels: { a: "b" } } });
  assert.deepEqual(namespace.metadata.labels, { a: "b", "kubernetes.io/metadata.name": "shop" });
});

Deno.test('"" where Calico reads a number or time out of a text is refused of a new file, and read as nothing', () => {
  const cases: [kind: any, name: string, spec: any, path: string][] = [
    [bgpPeerKind, "p", { peerIP: "192.0.2.1", asNumber: "" }, "spec.asNumber"],
    [bgpPeerKind, "p", { peerIP: "192.0.2.1", localASNumber: "" }, "spec.localASNumber"],
    [bgpPeerKind, "p", { peerIP: "192.0.2.1", MaxRestartTime: "" }, "spec.maxRestartTime"],
    [bgpPeerKind, "p", { peerIP: "192.0.2.1", keepaliveTime: "" }, "spec.keepaliveTime"],
    [bgpConfigurationKind, "default", { asNumber: "" }, "spec.asNumber"],
    [
      bgpConfigurationKind,
      "default",
      { nodeMeshMaxRestartTime: "" },
      "spec.nodeMeshMaxRestartTime",
    ],
    [
      bgpConfigurationKind,
      "default",
      { serviceLoadBalancerAggregation: "" },
      "spec.serviceLoadBalancerAggregation",
    ],
    [nodeKind, "n", { bgp: { asNumber: "" } }, "spec.bgp.asNumber"],
    [tierKind, "t", { order: 1, defaultAction: "" }, "spec.defaultAction"],
    [ippoolKind, "p", { cidr: "10.0.0.0/16", assignmentMode: "" }, "spec.assignmentMode"],
    ...[
      "natPortRange",
      "bpfPSNATPorts",
      "netlinkTimeout",
      "natOutgoingExclusions",
      "bpfAttachType",
      "bpfConnectTimeLoadBalancing",
      "awsSrcDstCheck",
    ]
      .map((field): [any, string, any, string] => [
        felixConfigurationKind,
        "default",
        { [field]: "" },
        `spec.${field}`,
      ]),
  ];
  for (const [kind, name, spec, path] of cases) {
    const object = { metadata: { name }, spec };
    assert.deepEqual(issuesOf(() => parseObject(kind, object)), [
      `${path}: "" is not allowed: leave the field away`,
    ]);
    const doubts: string[] = [];
    const read = readObject(kind, object, (issues) => doubts.push(...issues.map((i) => i.path)));
    assert.deepEqual(doubts, [path]);
    const field = path.split(".").at(-1)!;
    assert.doesNotMatch(JSON.stringify(read.spec), new RegExp(`"${field}":""`));
  }
});

Deno.test('"" is no number and no truth value, also where 0 and false are the same as nothing', () => {
  for (
    const [kind, field] of [[bgpConfigurationKind, "listenPort"], [ippoolKind, "disabled"], [
      bgpPeerKind,
      "keepOriginalNextHop",
    ]]
  ) {
    const object = {
      metadata: { name: "default" },
      spec: { cidr: "10.0.0.0/16", [field as string]: "" },
    };
    const issue = issuesOf(() => parseObject(kind as any, object));
    assert.match(issue.join("\n"), new RegExp(`^spec\\.${field}: "" is not`, "m"));
  }
});

Deno.test("what is empty is stored where Calico stores it", () => {
  const stored = (kind: string, spec: unknown, metadata: object = { name: "default" }) => {
    const { kind: known, object } = parseManifest({
      apiVersion: "projectcalico.org/v3",
      kind,
      metadata,
      spec,
    });
    return (encodeObject(known, object) as { spec: unknown }).spec;
  };
  const side = { nets: [], notNets: [], ports: [], notPorts: [], serviceAccounts: { names: [] } };
  const http = { methods: [], paths: [] };
  const rule = { action: "Allow", protocol: "TCP", source: side, destination: { nets: [] }, http };
  const cases: [kind: string, spec: unknown, want: unknown][] = [
    ["StagedNetworkPolicy", { stagedAction: "Delete", types: ["Ingress"] }, {
      stagedAction: "Delete",
      tier: "default",
    }],
    ["StagedKubernetesNetworkPolicy", {}, { stagedAction: "Set", podSelector: {} }],
    ["StagedKubernetesNetworkPolicy", { ingress: [{ from: [], ports: [] }], policyTypes: [] }, {
      stagedAction: "Set",
      podSelector: {},
      ingress: [{}],
    }],
    ["GlobalNetworkPolicy", { ingress: [rule], egress: [], performanceHints: [], types: [] }, {
      tier: "default",
      ingress: [{
        action: "Allow",
        protocol: "TCP",
        source: { serviceAccounts: {} },
        destination: {},
        http: {},
      }],
      types: ["Ingress"],
    }],
    ["GlobalNetworkSet", { nets: [] }, {}],
    ["IPReservation", { reservedCIDRs: [] }, {}],
    ["IPReservation", {}, {}],
    ["Profile", { ingress: [], egress: [] }, {}],
    ["BGPFilter", { exportV4: [], importV6: [] }, {}],
    ["BGPConfiguration", { communities: [], serviceClusterIPs: [], ignoredInterfaces: [] }, {
      logSeverityScreen: "Info",
      serviceLoadBalancerAggregation: "Enabled",
    }],
    // Pointers, in Go.
    ["FelixConfiguration", {
      healthHost: "",
      failsafeInboundHostPorts: [],
      healthTimeoutOverrides: [{ name: "a" }],
      kubeNodePortRanges: [],
      externalNodesList: [],
      debugHost: "",
      logFilePath: "",
      istioDSCPMark: "1",
      routeTableRanges: [],
    }, {
      healthHost: "",
      healthTimeoutOverrides: [{ name: "a", timeout: "0s" }],
      failsafeInboundHostPorts: [],
      kubeNodePortRanges: [],
      externalNodesList: [],
      debugHost: "",
      nftablesMode: "Auto",
      bpfLogLevel: "",
      bpfConnectTimeLoadBalancing: "TCP",
      bpfHostNetworkedNATWithoutCTLB: "Enabled",
      istioDSCPMark: 1,
      routeTableRanges: [],
      floatingIPs: "Disabled",
    }],
  ];
  for (const [kind, spec, want] of cases) {
    // As texts: the order of members is Calico's too.
    assert.equal(JSON.stringify(stored(kind, spec)), JSON.stringify(want), kind);
  }
  // What only a newer version knows stays as it is.
  const { kind, object } = parseManifest({
    apiVersion: "projectcalico.org/v3",
    kind: "GlobalNetworkSet",
    metadata: { name: "s" },
    spec: { newer: [] },
  }, { keepUnknown: true });
  assert.deepEqual((encodeObject(kind, object) as { spec: unknown }).spec, { newer: [] });
});
