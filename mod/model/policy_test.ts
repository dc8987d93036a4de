import assert from "node:assert/strict";
import { kubernetesNetworkPolicyKind, printSelector } from "./kubernetes_network_policy.ts";
import { globalNetworkPolicyKind, networkPolicyKind } from "./network_policy.ts";
import { stagedNetworkPolicyKind } from "./staged_policy.ts";
import { ModelError, parseObject } from "./validate.ts";
import type { AnyKind } from "./kinds.ts";

function refusal(kind: AnyKind, spec: Record<string, unknown>, name = "p"): string {
  try {
    parseObject(kind, { metadata: { name, ...(kind.namespaced && { namespace: "n" }) }, spec });
    return "";
  } catch (error) {
    assert.ok(error instanceof ModelError, String(error));
    return error.message;
  }
}

const ingress = (rule: Record<string, unknown>) => ({ ingress: [{ action: "Allow", ...rule }] });
const egress = (rule: Record<string, unknown>) => ({ egress: [{ action: "Allow", ...rule }] });

Deno.test("types follow from the rules", () => {
  const typesOf = (spec: unknown) =>
    parseObject(networkPolicyKind, { metadata: { name: "p", namespace: "n" }, spec }).spec.types;
  assert.deepEqual(typesOf({}), ["Ingress"]);
  assert.deepEqual(typesOf(ingress({})), ["Ingress"]);
  assert.deepEqual(typesOf(egress({})), ["Egress"]);
  assert.deepEqual(typesOf({ ...ingress({}), ...egress({}) }), ["Ingress", "Egress"]);
  assert.deepEqual(typesOf({ ...egress({}), types: ["Ingress"] }), ["Ingress"]);
});

Deno.test("protocols and ports read in all their notations and come out canonical", () => {
  const policy = parseObject(networkPolicyKind, {
    metadata: { name: "p", namespace: "n" },
    spec: ingress({
      protocol: "tcp",
      notProtocol: "17",
      destination: { ports: [80, "443", "8000:8080", "90:90", "http"] },
    }),
  });
  const [rule] = policy.spec.ingress!;
  assert.equal(rule.protocol, "TCP");
  assert.equal(rule.notProtocol, 17);
  assert.deepEqual(rule.destination.ports, [80, 443, "8000:8080", 90, "http"]);
  assert.deepEqual(rule.source, {});
});

const refused: [kind: AnyKind, spec: Record<string, unknown>, message: RegExp][] = [
  [
    networkPolicyKind,
    ingress({ destination: { ports: [80] } }),
    /ingress\[0\]\.destination\.ports: \[80\] needs protocol TCP, UDP or SCTP/,
  ],
  [networkPolicyKind, ingress({ protocol: "ICMP", destination: { ports: ["http"] } }), /not ICMP/],
  [
    networkPolicyKind,
    ingress({ protocol: "TCP", destination: { ports: ["9:8"] } }),
    /"9:8" is not allowed: want a port/,
  ],
  [
    networkPolicyKind,
    ingress({ protocol: "TCP", destination: { ports: [0] } }),
    /: 0 is not allowed/,
  ],
  [networkPolicyKind, ingress({ protocol: "XTP" }), /"XTP" is not allowed: want TCP, UDP/],
  [networkPolicyKind, ingress({ icmp: { type: 8 } }), /icmp: needs protocol ICMP/],
  [
    networkPolicyKind,
    ingress({ protocol: "ICMP", icmp: { code: 0 } }),
    /icmp\.code: 0 needs a type/,
  ],
  [
    networkPolicyKind,
    ingress({ protocol: "ICMPv6", ipVersion: 4 }),
    /ICMPv6 needs ipVersion 6, not 4/,
  ],
  [
    networkPolicyKind,
    ingress({ source: { nets: ["10.0.0.0/8"] }, destination: { nets: ["fd00::/8"] } }),
    /mixes IPv4 and IPv6/,
  ],
  [
    networkPolicyKind,
    ingress({ ipVersion: 6, source: { nets: ["10.0.0.0/8"] } }),
    /"10\.0\.0\.0\/8" does not agree with ipVersion 6/,
  ],
  [networkPolicyKind, ingress({ source: { notNets: ["::0/0"] } }), /would exclude every address/],
  [
    networkPolicyKind,
    ingress({ destination: { services: { name: "s" } } }),
    /services: is not allowed in the destination of ingress/,
  ],
  [
    networkPolicyKind,
    ingress({ source: { services: { name: "s" }, selector: "a == 'b'" } }),
    /services: cannot stand beside selector/,
  ],
  [
    globalNetworkPolicyKind,
    ingress({ source: { services: { name: "s" } } }),
    /services\.namespace: is missing/,
  ],
  [
    networkPolicyKind,
    ingress({ source: { selector: "global()" } }),
    /selector: may not use global\(\)/,
  ],
  [
    networkPolicyKind,
    ingress({ source: { namespaceSelector: "global() && all()" } }),
    /it must be alone/,
  ],
  [networkPolicyKind, { selector: "global()" }, /spec\.selector/],
  [
    networkPolicyKind,
    ingress({ action: "Deny", http: { methods: ["GET"] } }),
    /http: is only allowed in rules with action Allow/,
  ],
  [
    networkPolicyKind,
    egress({ http: { methods: ["GET"] } }),
    /http: is not allowed in egress rules/,
  ],
  [networkPolicyKind, { types: ["Ingress", "Ingress"] }, /repeats one/],
  [globalNetworkPolicyKind, { preDNAT: true }, /preDNAT: needs applyOnForward: true/],
  [
    globalNetworkPolicyKind,
    { preDNAT: true, doNotTrack: true, applyOnForward: true },
    /preDNAT: cannot stand beside doNotTrack/,
  ],
  [
    globalNetworkPolicyKind,
    { preDNAT: true, applyOnForward: true, ...egress({}) },
    /egress: is not allowed in a preDNAT policy/,
  ],
  [
    stagedNetworkPolicyKind,
    { stagedAction: "Delete", selector: "a == 'b'" },
    /stagedAction Delete/,
  ],
];

Deno.test("rules that do not fit together are refused, with place and remedy", () => {
  for (const [kind, spec, message] of refused) assert.match(refusal(kind, spec), message);
});

Deno.test("a rule's namespaceSelector may be global() alone", () => {
  assert.equal(
    refusal(networkPolicyKind, ingress({ source: { namespaceSelector: " global( )" } })),
    "",
  );
});

Deno.test("policy names are a label, tier.name, or a converted policy's", () => {
  for (const name of ["web", "tier.web", "knp.default.a.b.c"]) {
    assert.equal(refusal(networkPolicyKind, {}, name), "", name);
  }
  for (const name of ["a.b.c", "Web", "web.", "knp.default.", "-a"]) {
    assert.match(refusal(networkPolicyKind, {}, name), /metadata\.name/, name);
  }
  assert.match(refusal(globalNetworkPolicyKind, {}, "knp.default.x"), /metadata\.name/);
});

const kubernetesRefused: [spec: Record<string, unknown>, message: RegExp][] = [
  [{ ingress: [{ from: [{}] }] }, /ingress\[0\]\.from\[0\]: is empty/],
  [
    { ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/8" }, podSelector: {} }] }] },
    /make two peers/,
  ],
  [
    { egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["11.0.0.0/9"] } }] }] },
    /except\[0\]: 11\.0\.0\.0\/9 is not a part of/,
  ],
  [
    { egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: ["10.0.0.0/8"] } }] }] },
    /is not a part of/,
  ],
  [{ ingress: [{ ports: [{ endPort: 90 }] }] }, /endPort: 90 needs a number in port/],
  [{ ingress: [{ ports: [{ port: "http", endPort: 90 }] }] }, /needs a number in port/],
  [{ ingress: [{ ports: [{ port: 91, endPort: 90 }] }] }, /endPort: 90 is less than port 91/],
  [{ ingress: [{ ports: [{ port: 0 }] }] }, /ports\[0\]\.port/],
  [
    { ingress: [{ ports: [{ protocol: "ICMP", port: 1 }] }] },
    /"ICMP" is not allowed: want one of TCP, UDP, SCTP/,
  ],
  [
    { podSelector: { matchExpressions: [{ key: "a", operator: "In" }] } },
    /In needs at least one value/,
  ],
  [
    { podSelector: { matchExpressions: [{ key: "a", operator: "Exists", values: ["x"] }] } },
    /not allowed with operator Exists/,
  ],
  [{ podSelector: { matchLabels: { "a b": "c" } } }, /matchLabels/],
  [{ policyTypes: ["ingress"] }, /"ingress" is not allowed/],
  [{ policyType: ["Ingress"] }, /policyType: unknown field \(did you mean policyTypes\?\)/],
];

Deno.test("Kubernetes' policies are checked as its API server does", () => {
  for (const [spec, message] of kubernetesRefused) {
    assert.match(refusal(kubernetesNetworkPolicyKind, spec), message);
  }
  assert.equal(
    refusal(kubernetesNetworkPolicyKind, {
      podSelector: { matchLabels: { app: "db" } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{
        from: [{ podSelector: {}, namespaceSelector: {} }],
        ports: [{ port: 80, endPort: 90 }],
      }],
    }),
    "",
  );
});

Deno.test("policyTypes are Ingress, and Egress where there are egress rules", () => {
  const typesOf = (spec: unknown) =>
    parseObject(kubernetesNetworkPolicyKind, { metadata: { name: "p", namespace: "n" }, spec })
      .spec.policyTypes;
  assert.deepEqual(typesOf({}), ["Ingress"]);
  assert.deepEqual(typesOf({ egress: [] }), ["Ingress"]);
  assert.deepEqual(typesOf({ egress: [{}] }), ["Ingress", "Egress"]);
  assert.deepEqual(typesOf({ egress: [{}], policyTypes: ["Egress"] }), ["Egress"]);
});

Deno.test("selectors print as kubectl prints them", () => {
  assert.equal(printSelector({}), "<none>");
  assert.equal(
    printSelector({
      matchLabels: { b: "2", a: "1" },
      matchExpressions: [
        { key: "t", operator: "In", values: ["x", "y"] },
        { key: "old", operator: "DoesNotExist" },
      ],
    }),
    "!old,a=1,b=2,t in (x,y)",
  );
});
