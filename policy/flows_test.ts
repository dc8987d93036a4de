import assert from "node:assert/strict";
import { mustIp } from "../mod/net/mod.ts";
import { PolicyEngine } from "./engine.ts";
import { FlowJudge, type TrackedFlow } from "./flows.ts";
import type { Change, PolicyObject } from "./inputs.ts";
import { Touched } from "./reach.ts";
import { calicoPolicy, endpoint, kubernetesPolicy, namespace, pod } from "./testing.ts";
import { formatIp } from "../mod/net/mod.ts";

const objects: PolicyObject[] = [
  namespace("x"),
  pod("x", "web", { app: "web" }),
  endpoint("x", "web", ["10.0.0.1", "fd00::1"]),
  pod("x", "client", { app: "client" }),
  endpoint("x", "client", ["10.0.0.2", "fd00::2"]),
  pod("x", "far", { app: "far" }),
  endpoint("x", "far", ["10.1.0.1", "fd00::101"], { node: "node2" }),
];
const webPolicy = kubernetesPolicy("x", "web", {
  podSelector: { matchLabels: { app: "web" } },
  policyTypes: ["Ingress", "Egress"],
  ingress: [{ ports: [{ port: 8080 }] }],
  egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8" } }] }],
});

function engineOf(...more: PolicyObject[]): PolicyEngine {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update([...objects, ...more].map((put) => ({ put })));
  return engine;
}

const judgeOf = (...more: PolicyObject[]) =>
  new FlowJudge(engineOf(...more), [mustIp("192.0.2.1"), mustIp("2001:db8::1")]);

type End = [address: string, port: number];
function flow(from: End, to: End, server: End = to, protocol = 6): TrackedFlow {
  const end = (source: End, destination: End) => ({
    source: mustIp(source[0]),
    destination: mustIp(destination[0]),
    protocol,
    sourcePort: source[1],
    destinationPort: destination[1],
  });
  return { original: end(from, to), reply: end(server, from) };
}

Deno.test("live connections are judged as if they began now", () => {
  const judge = judgeOf(webPolicy);
  const allowed = (...ends: [End, End, End?]) => judge.isAllowed(flow(...ends));
  assert.equal(allowed(["10.0.0.2", 40000], ["10.0.0.1", 8080]), true);
  assert.equal(allowed(["10.0.0.2", 40000], ["10.0.0.1", 22]), false);
  assert.equal(allowed(["fd00::2", 40000], ["fd00::1", 22]), false);
  // Through a service: the server's own port counts.
  assert.equal(allowed(["10.0.0.2", 40000], ["10.96.0.1", 80], ["10.0.0.1", 8080]), true);
  assert.equal(allowed(["10.0.0.2", 40000], ["10.96.0.1", 8080], ["10.0.0.1", 22]), false);
  // The pod as client.
  assert.equal(allowed(["10.0.0.1", 40000], ["10.0.0.2", 22]), true);
  assert.equal(allowed(["10.0.0.1", 40000], ["203.0.113.1", 443]), false);
  // The host's own connections (probes) are never cut, nor are others'.
  assert.equal(allowed(["192.0.2.1", 40000], ["10.0.0.1", 22]), true);
  assert.equal(allowed(["203.0.113.1", 1], ["203.0.113.2", 2]), true);
  // What is another node's to judge is judged there.
  assert.equal(allowed(["203.0.113.1", 1], ["10.1.0.1", 22]), true);
});

Deno.test("what a pod began with its own host is judged as the input hook sees it", () => {
  const deny = kubernetesPolicy("x", "none", { podSelector: {}, policyTypes: ["Egress"] });
  for (const host of ["192.0.2.1", "2001:db8::1"]) {
    const pod = host.includes(":") ? "fd00::1" : "10.0.0.1";
    const ends: [End, End] = [[pod, 40000], [host, 53]];
    assert.equal(judgeOf().isAllowed(flow(...ends)), true);
    assert.equal(judgeOf(deny).isAllowed(flow(...ends)), false);
    const engine = new PolicyEngine({ nodeName: "node1", endpointToHostAction: "drop" });
    engine.update(objects.map((put) => ({ put })));
    const judge = new FlowJudge(engine, [mustIp("192.0.2.1"), mustIp("2001:db8::1")]);
    assert.equal(judge.isAllowed(flow(...ends)), false);
    assert.equal(judge.isAllowed(flow([pod, 40000], [host.replace(/1$/, "2"), 53])), true);
  }
});

Deno.test("protocols whose numbers are no ports are judged without", () => {
  const gre = 47;
  const deny = kubernetesPolicy("x", "none", { podSelector: {}, policyTypes: ["Ingress"] });
  const ends: [End, End] = [["203.0.113.1", 7], ["10.0.0.1", 9]];
  assert.equal(judgeOf().isAllowed(flow(...ends, undefined, gre)), true);
  assert.equal(judgeOf(deny).isAllowed(flow(...ends, undefined, gre)), false);
});

Deno.test("answers are shared by connections of other source ports only if no rule asks for it", () => {
  const bySource = calicoPolicy("x", "source", {
    selector: "app == 'web'",
    types: ["Ingress"],
    ingress: [{ action: "Allow", protocol: "TCP", source: { ports: [40000] } }],
  });
  const judge = judgeOf(bySource);
  const from = (port: number) => judge.isAllowed(flow(["10.0.0.2", port], ["10.0.0.1", 80]));
  assert.deepEqual([40000, 40001, 40000].map(from), [true, false, true]);
});

Deno.test("a change concerns the endpoints whose walk meets it, and no others", () => {
  const engine = engineOf(webPolicy);
  const touchedBy = (...changes: Change[]): string[] => {
    engine.changes(4);
    engine.changes(6);
    engine.update(changes);
    const touched = new Touched();
    for (const family of [4, 6] as const) {
      const delta = engine.changes(family);
      if (delta) touched.addDelta(delta);
    }
    const judge = new FlowJudge(engine, []);
    return ([4, 6] as const)
      .flatMap((family) => judge.addressesBehind(family, touched.of(family)).map(formatIp)).sort();
  };
  assert.deepEqual(touchedBy({ put: webPolicy }), []);
  const fromFar = kubernetesPolicy("x", "from-far", {
    podSelector: { matchLabels: { app: "client" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { app: "far" } } }] }],
  });
  assert.deepEqual(touchedBy({ put: fromFar }), ["10.0.0.2", "fd00::2"]);
  // A member leaves a set that only the client's rules ask.
  assert.deepEqual(touchedBy({ put: pod("x", "far", { app: "other" }) }), ["10.0.0.2", "fd00::2"]);
  // Nobody asks for this one.
  assert.deepEqual(touchedBy({ put: pod("x", "far", { app: "third" }) }), []);
  // Two policies for one subject: the rules lie behind a group's chain.
  const more = kubernetesPolicy("x", "more", {
    podSelector: { matchLabels: { app: "client" } },
    ingress: [{ ports: [{ port: 1 }] }],
  });
  touchedBy({ put: more });
  const changed = kubernetesPolicy("x", "more", {
    podSelector: { matchLabels: { app: "client" } },
    ingress: [{ ports: [{ port: 2 }] }],
  });
  assert.deepEqual(touchedBy({ put: changed }), ["10.0.0.2", "fd00::2"]);
  const everything = new Touched();
  everything.addEverything();
  assert.equal(new FlowJudge(engine, []).addressesBehind(4, everything.of(4)).length, 2);
});
