import assert from "node:assert/strict";
import { PolicyEngine } from "./engine.ts";
import {
  applyDelta,
  calicoPolicy,
  comparable,
  endpoint,
  kubernetesPolicy,
  pod,
} from "./testing.ts";
import type { Ruleset } from "./rules.ts";

const puts = (...objects: unknown[]) => objects.map((put) => ({ put })) as never;
const all = (name: string, namespace = "x") =>
  kubernetesPolicy(namespace, name, { podSelector: {}, ingress: [] });

/** Names of the chains that a chain jumps to. */
function jumps({ chains }: Ruleset, name: string): string[] {
  return chains.get(name)!.rules.flatMap((r) => r.statements)
    .flatMap((s) => "do" in s && s.do === "jump" ? [s.chain] : []);
}

Deno.test("a policy that joins a group changes the group alone, for whatever many endpoints", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const pods = Array.from({ length: 20 }, (_, i) => i);
  engine.update(puts(
    ...pods.flatMap((
      i,
    ) => [pod("x", `p${i}`, { app: `a${i}` }), endpoint("x", `p${i}`, [`10.0.0.${i + 1}`])]),
    ...pods.map((i) =>
      kubernetesPolicy("x", `own${i}`, { podSelector: { matchLabels: { app: `a${i}` } } })
    ),
    all("one"),
    all("two"),
  ));
  let kernel: Ruleset = applyDelta(
    { family: 4, chains: new Map(), sets: new Map() },
    engine.changes(4)!,
  );
  engine.update(puts(all("three")));
  const delta = engine.changes(4)!;
  const names = [...delta.chains.keys()].sort();
  assert.equal(names.length, 2);
  assert.match(names[0], /^filter-cali-gi-/);
  assert.equal(names[1], "filter-cali-pi-knp/x/three");
  assert.equal(delta.sets.size, 0);
  kernel = applyDelta(kernel, delta);
  assert.deepEqual(comparable(kernel), comparable(engine.ruleset(4)));
  assert.deepEqual(jumps(kernel, names[0]).sort(), [
    "filter-cali-pi-knp/x/one",
    "filter-cali-pi-knp/x/three",
    "filter-cali-pi-knp/x/two",
  ]);
  // Its rules may change without anybody else hearing of it.
  engine.update(puts(kubernetesPolicy("x", "three", { podSelector: {}, ingress: [{}] })));
  assert.deepEqual([...engine.changes(4)!.chains.keys()], ["filter-cali-pi-knp/x/three"]);
});

Deno.test("endpoints with the same policies and profiles share their rules", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(
    endpoint("x", "p1", ["10.0.0.1"], { labels: { app: "a" } }),
    endpoint("x", "p2", ["10.0.0.2"], { labels: { app: "b" } }),
    endpoint("y", "p3", ["10.0.0.3"]),
    all("one"),
  ));
  const { chains } = engine.ruleset(4);
  const rules = (name: string) => chains.get(name)!.rules;
  assert.equal(rules("filter-cali-tw-calixp1"), rules("filter-cali-tw-calixp2"));
  assert.equal(
    rules("filter-cali-tw-calixp1"),
    engine.ruleset(6).chains.get("filter-cali-tw-calixp1")!.rules,
  );
  assert.notEqual(rules("filter-cali-tw-calixp1"), rules("filter-cali-tw-caliyp3"));
});

Deno.test("tiers by order then name, lost ones last; policies by order then name", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const policy = (name: string, tier: string, order?: number) =>
    calicoPolicy("", name, { tier, order, selector: `!has(${name})`, ingress: [] });
  const tier = (name: string, order?: number, defaultAction = "Deny") => ({
    apiVersion: "projectcalico.org/v3",
    kind: "Tier",
    metadata: { name },
    spec: { order, defaultAction },
  });
  engine.update(puts(
    endpoint("x", "p", ["10.0.0.1"]),
    tier("b", 10),
    tier("a", 10, "Pass"),
    tier("z"),
    policy("p1", "lost", 1),
    policy("p2", "default", 5),
    policy("p3", "default"),
    policy("p4", "default", -1),
    policy("p0", "default", 5),
    policy("p5", "b", 1),
    policy("p6", "a", 1),
    policy("p7", "z", 1),
  ));
  const set = engine.ruleset(4);
  assert.deepEqual(
    jumps(set, "filter-cali-tw-calixp").slice(1),
    ["p6", "p5", "p4", "p0", "p2", "p3", "p7", "p1"].map((p) => `filter-cali-pi-gnp/${p}`),
  );
  const drops = set.chains.get("filter-cali-tw-calixp")!.rules
    .flatMap((r) => r.origin?.is === "tier-end" ? [r.origin.tier] : []);
  assert.deepEqual(drops, ["b", "default", "z", "lost"]);
});

Deno.test("a policy of Calico's at Kubernetes' order keeps its place by name", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(
    endpoint("x", "p", ["10.0.0.1"]),
    all("a"),
    all("c"),
    calicoPolicy("x", "b", { order: 1000, ingress: [{ action: "Deny" }], selector: "all()" }),
  ));
  assert.deepEqual(jumps(engine.ruleset(4), "filter-cali-tw-calixp").slice(1), [
    "filter-cali-pi-knp/x/a",
    "filter-cali-pi-np/x/b",
    "filter-cali-pi-knp/x/c",
  ]);
});

Deno.test("a group of many asks every fifth time whether one has decided", () => {
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(puts(
    endpoint("x", "p", ["10.0.0.1"]),
    ...Array.from({ length: 12 }, (_, i) => all(`n${String(i).padStart(2, "0")}`)),
  ));
  const set = engine.ruleset(4);
  const [, group] = jumps(set, "filter-cali-tw-calixp");
  const shape = set.chains.get(group)!.rules.map((r) =>
    r.comment === "Return on verdict" ? "?" : "match" in r.statements[0] ? "g" : "j"
  ).join("");
  assert.equal(shape, "jgggg?jgggg?jg");
});

Deno.test("profiles are asked where a tier may leave a packet undecided, and only there", () => {
  const tail = (...policies: unknown[]) => {
    const engine = new PolicyEngine({ nodeName: "node1" });
    engine.update(puts(endpoint("x", "p", ["10.0.0.1"]), ...policies));
    const { chains } = engine.ruleset(4);
    const ends = chains.get("filter-cali-tw-calixp")!.rules.flatMap((r) => r.statements)
      .flatMap((s) => "do" in s && s.do === "goto" ? [s.chain] : []);
    assert.equal(chains.has("filter-cali-pri-kns.x"), ends.length > 0);
    return ends;
  };
  const policy = (ingress: unknown[], tier?: string) =>
    calicoPolicy("x", "p", { tier, types: ["Ingress"], ingress });
  const soft = {
    apiVersion: "projectcalico.org/v3",
    kind: "Tier",
    metadata: { name: "soft" },
    spec: { order: 1, defaultAction: "Pass" },
  };
  const open = ["filter-cali-pris-kns.x"];
  assert.deepEqual(tail(), open);
  assert.deepEqual(tail(all("deny")), []);
  assert.deepEqual(tail(policy([{ action: "Allow" }])), []);
  assert.deepEqual(tail(policy([{ action: "Pass", protocol: "TCP" }])), open);
  assert.deepEqual(tail(soft, policy([], "soft")), open);
  assert.deepEqual(tail(soft, policy([], "soft"), all("deny")), []);
});
