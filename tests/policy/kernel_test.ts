/**
 * The kernel against the evaluator (`walk.ts`), and deliberate faults in what the kernel gets, each of
 * which must show. `POLICY_WORLDS` asks for more worlds, `POLICY_SEED` for others. Needs root and ip.
 */
import assert from "node:assert/strict";
import type {
  Chain,
  MapVerdict,
  Match,
  Rule,
  RulesetDelta,
  SetChange,
} from "../../policy/rules.ts";
import { EngineDataplane } from "../../mod/node/nft/engine_dataplane.ts";
import { openNftDataplane } from "../../mod/node/nft/open.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import { endpoint } from "../../policy/testing.ts";
import { inTopology, type Probe, STOLEN, type Topology } from "./topology.ts";
import { OWN_SEED, seed, walk } from "./walk.ts";

const worlds = Number(Deno.env.get("POLICY_WORLDS") ?? 400);

/** The reactor and the libraries outlive a test. */
function realTest(name: string, test: (topology: Topology) => Promise<void>): void {
  Deno.test({
    name,
    fn: () => inTopology(test),
    sanitizeOps: false,
    sanitizeResources: false,
  });
}

realTest(`the kernel does what the evaluator says (${worlds} worlds)`, async (topology) => {
  const { asked, allowed, mismatch, coverage } = await walk(topology, { worlds });
  assert.equal(mismatch, undefined);
  // Other worlds may lack one by chance.
  if (seed === OWN_SEED && worlds >= 400) {
    assert.deepEqual(coverage.missing(), [], "all features were met, with either verdict");
  }
  // A test that only ever sees one answer tests nothing.
  assert(allowed > asked / 10 && allowed < asked * 9 / 10, `${allowed} of ${asked}`);
  assert(asked >= 2000, `${asked} cases`);
  console.log(`${asked} cases, ${allowed} of them allowed`);
});

realTest("what has no policy yet is closed, and nobody sends from others' addresses", async (t) => {
  const dataplane = openNftDataplane({ netns: t.node });
  try {
    let port = 30_000;
    const ask = async (pairs: [string, string][]): Promise<string[]> => {
      port++;
      const probes = pairs.flatMap(([source, destination]) =>
        (["TCP", "UDP", "SCTP"] as const).map((protocol): Probe => ({
          source,
          destination,
          protocol,
          sourcePort: port,
          port: 80,
        }))
      );
      const arrived = await t.probe(probes, probes);
      return [...new Set([...arrived].map((p) => `${p.source} ${p.destination}`))].sort();
    };
    const outside = ["192.0.2.1", "10.0.0.1"] as [string, string];
    const between = ["10.0.0.1", "10.0.0.65"] as [string, string];
    const between6 = ["fd00::1", "fd00::41"] as [string, string];
    const stolen = [STOLEN, "192.0.2.1"] as [string, string];
    const all = [outside, between, between6, stolen];
    // Without a table everything goes: the wiring is right.
    assert.deepEqual(await ask(all), all.map((p) => p.join(" ")).sort());

    const engine = new PolicyEngine({ nodeName: "node1" });
    const kernel = new EngineDataplane(dataplane);
    await kernel.apply(engine);
    assert.deepEqual(await ask(all), [], "interfaces without an endpoint");

    const pod = (n: number) =>
      endpoint("x", `p${n}`, [`10.0.0.${n * 64 + 1}`, `fd00::${(n * 64 + 1).toString(16)}`], {
        interfaceName: `calip${n}`,
      });
    engine.update([{ put: pod(0) }]);
    await kernel.apply(engine);
    assert.deepEqual(await ask(all), ["192.0.2.1 10.0.0.1"], "the other end is closed still");
    engine.update([{ put: pod(1) }]);
    await kernel.apply(engine);
    assert.deepEqual(
      await ask(all),
      [outside, between, between6].map((p) => p.join(" ")).sort(),
      "all but the stolen address",
    );
  } finally {
    await dataplane.close();
  }
});

/** Changes every rule of the chains whose names begin so; undefined takes a rule away. */
function everyRule(
  prefix: RegExp,
  change: (rule: Rule, index: number, chain: Chain) => Rule | undefined,
): (delta: RulesetDelta) => RulesetDelta {
  return (delta) => ({
    ...delta,
    chains: new Map([...delta.chains].map(([name, chain]) => [
      name,
      chain && prefix.test(name)
        ? {
          ...chain,
          rules: chain.rules.map((r, i) => change(r, i, chain)).filter((r) => r !== undefined),
        }
        : chain,
    ])),
  });
}
const everyMatch = (change: (match: Match) => Match | undefined) =>
  everyRule(/-p[io]-/, (rule) => ({
    ...rule,
    statements: rule.statements.map((s) => "match" in s ? change(s) : s).filter((s) => !!s),
  }));

const faults: Record<string, (delta: RulesetDelta) => RulesetDelta> = {
  "a rule is missing": everyRule(/-p[io]-/, (rule, i) => i === 0 ? undefined : rule),
  "except is ignored": everyMatch((m) =>
    (m.match === "saddr" || m.match === "daddr") && m.not ? undefined : m
  ),
  "endPort is off by one": everyMatch((m) =>
    m.match === "dport" ? { ...m, ranges: m.ranges.map(([a, b]) => [a, b > a ? b - 1 : b]) } : m
  ),
  "the last rule is dropped": everyRule(
    /-p[io]-/,
    (rule, i, { rules }) => i === rules.length - 1 ? undefined : rule,
  ),
  "egress is taken for ingress": (delta) => ({
    ...delta,
    sets: new Map([...delta.sets].map(([name, change]): [string, SetChange] => {
      const twist = ([key, v]: readonly [string, MapVerdict]): [string, MapVerdict] => [
        key,
        "chain" in v
          ? { ...v, chain: v.chain.replace(/-([tf])w-/, (_, d) => d === "t" ? "-fw-" : "-tw-") }
          : v,
      ];
      if (change.is === "verdicts") return [name, { ...change, add: change.add.map(twist) }];
      return change.is === "new" && change.set.kind === "verdict-map"
        ? [name, {
          ...change,
          set: { ...change.set, members: new Map([...change.set.members].map(twist)) },
        }]
        : [name, change];
    })),
  }),
};

for (const [fault, spoil] of Object.entries(faults)) {
  realTest(`a fault is found within 2,000 cases: ${fault}`, async (topology) => {
    const { asked, mismatch } = await walk(topology, { cases: 2000 }, spoil);
    assert(mismatch !== undefined, `not found in ${asked} cases`);
  });
}
