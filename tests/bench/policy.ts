/**
 * The policy engine at scale, without a kernel: 1,000 local endpoints, 1,000 policies, 100 addresses
 * in each policy's set. Time of a first full computation, and of one change (an address, a policy, an
 * endpoint, a label) from the object to the delta of both families; memory.
 *
 *     deno run -A --v8-flags=--expose-gc tests/bench/policy.ts [endpoints] [policies] [addresses]
 */
import { PolicyEngine } from "../../policy/engine.ts";
import type { PolicyObject } from "../../policy/inputs.ts";
import { endpoint, kubernetesPolicy, namespace, pod } from "../../policy/testing.ts";

export interface PolicyFigures {
  endpoints: number;
  policies: number;
  addresses: number;
  /** Milliseconds. */
  full: number;
  /** Both families' whole rulesets, copied out. */
  snapshot: number;
  /** Per kind of change: p50 and p99 in milliseconds. */
  changes: Record<string, { p50: number; p99: number }>;
  /** What the engine holds after the first computation, objects not counted. */
  heapMb: number;
}

export function measure(endpoints = 1000, policies = 1000, addresses = 100): PolicyFigures {
  const namespaces = 10;
  const ns = (i: number) => `ns${i % namespaces}`;
  const ip = (i: number) => `10.${64 + (i >> 16)}.${i >> 8 & 255}.${i & 255}`;
  /** Pods of a group are the addresses of a set; groups are large enough. */
  const groups = Math.max(1, Math.floor(endpoints / addresses));
  const labels = (i: number) => ({ app: `app${i}`, group: `g${i % groups}` });
  const podOf = (i: number, extra: Record<string, string> = {}) =>
    pod(ns(i), `p${i}`, { ...labels(i), ...extra });
  const endpointOf = (i: number) =>
    endpoint(ns(i), `p${i}`, [ip(i), `fd00::${i.toString(16)}`], {
      interfaceName: `cali${i.toString(16).padStart(11, "0")}`,
    });
  const policyOf = (i: number, port = 80) =>
    kubernetesPolicy(ns(i), `np${i}`, {
      podSelector: { matchLabels: { app: `app${i % endpoints}` } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{
        from: [{
          namespaceSelector: {},
          podSelector: { matchLabels: { group: `g${i % groups}` } },
        }],
        ports: [{ port }, { port: 53, protocol: "UDP" }],
      }],
      egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: [`10.0.${i & 255}.0/24`] } }] }],
    });
  const objects: PolicyObject[] = [];
  for (let i = 0; i < namespaces; i++) objects.push(namespace(`ns${i}`, { team: `t${i}` }));
  for (let i = 0; i < endpoints; i++) objects.push(podOf(i), endpointOf(i));
  for (let i = 0; i < policies; i++) objects.push(policyOf(i));

  const collect = (globalThis as { gc?: () => void }).gc ?? (() => {});
  collect();
  const heapBefore = Deno.memoryUsage().heapUsed;
  const engine = new PolicyEngine({ nodeName: "node1" });
  let start = performance.now();
  engine.update(objects.map((put) => ({ put })));
  engine.changes(4);
  engine.changes(6);
  const full = performance.now() - start;
  collect();
  const heapMb = (Deno.memoryUsage().heapUsed - heapBefore) / 2 ** 20;
  start = performance.now();
  engine.ruleset(4);
  engine.ruleset(6);
  const snapshot = performance.now() - start;

  const step = (put: PolicyObject): number => {
    const start = performance.now();
    engine.update([{ put }]);
    engine.changes(4);
    engine.changes(6);
    return performance.now() - start;
  };
  const changes: PolicyFigures["changes"] = {};
  const time = (name: string, make: (i: number) => PolicyObject) => {
    const times: number[] = [];
    for (let i = 0; i < 300; i++) times.push(step(make(i)));
    times.sort((a, b) => a - b);
    changes[name] = { p50: times[150], p99: times[297] };
  };
  // Another node's pods, each one more member of a set.
  time("address", (i) =>
    endpoint(ns(i), `far${i}`, [`10.200.${i >> 8}.${i & 255}`], {
      node: "node2",
      labels: { group: `g${i % groups}` },
    }));
  time("new policy", (i) => policyOf(policies + i));
  time("policy's port", (i) => policyOf(i, 81));
  time("endpoint", (i) => endpointOf(endpoints + i));
  time("label", (i) => podOf(i, { group: `g${(i + 1) % groups}` }));
  time(
    "policy for all",
    (i) => kubernetesPolicy(ns(0), `all${i}`, { podSelector: {}, ingress: [{}] }),
  );
  time("namespace's labels", (i) => namespace(`ns${i % 10}`, { team: `u${i}` }));
  return {
    endpoints,
    policies,
    addresses,
    full,
    snapshot,
    changes,
    heapMb,
  };
}

if (import.meta.main) {
  const figures = measure(...Deno.args.map(Number));
  const ms = (n: number) => `${n.toFixed(3)} ms`;
  console.log(
    `${figures.endpoints} endpoints, ${figures.policies} policies, ${figures.addresses} addresses`,
  );
  console.log(`first computation  ${ms(figures.full)}`);
  console.log(`both rulesets      ${ms(figures.snapshot)}`);
  for (const [name, { p50, p99 }] of Object.entries(figures.changes)) {
    console.log(`${name.padEnd(19)}p50 ${ms(p50)}, p99 ${ms(p99)}`);
  }
  console.log(`held by the engine ${figures.heapMb.toFixed(1)} MB`);
}
