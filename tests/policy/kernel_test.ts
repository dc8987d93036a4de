/**
 * The kernel against the evaluator (`walk.ts`), and deliberate faults, each in one place of each world:
 * a rule deleted in the kernel itself, or one on its way there spoiled. Each must show. `POLICY_WORLDS` asks for more worlds, `POLICY_SEED` for others. Needs root and ip.
 */
import assert from "node:assert/strict";
import type { Chain, Match, Rule } from "../../policy/rules.ts";
import { EngineDataplane } from "../../mod/node/nft/engine_dataplane.ts";
import { openNftDataplane } from "../../mod/node/nft/open.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import { endpoint } from "../../policy/testing.ts";
import { inTopology, type Probe, STOLEN, type Topology } from "./topology.ts";
import { type Fault, OWN_SEED, seed, walk } from "./walk.ts";

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

/** Rules of policies, not of what is the same in every world. */
const ofPolicy = /-p[io]-/;

/** Changes one rule of one policy, of all those in these deltas to which `change` has an answer. */
function oneRule(
  change: (rule: Rule, index: number, chain: Chain) => Rule | "gone" | undefined,
): NonNullable<Fault["spoil"]> {
  return (deltas, pick) => {
    const places = deltas.flatMap((delta, d) =>
      [...delta.chains.values()].flatMap((chain) =>
        chain && ofPolicy.test(chain.name)
          ? chain.rules.flatMap((rule, i) => {
            const changed = change(rule, i, chain);
            return changed ? [{ d, chain, i, changed }] : [];
          })
          : []
      )
    );
    if (places.length === 0) return [...deltas];
    const { d, chain, i, changed } = places[pick(places.length)];
    const rules = chain.rules.toSpliced(i, 1, ...(changed === "gone" ? [] : [changed]));
    const chains = new Map(deltas[d].chains).set(chain.name, { ...chain, rules });
    return deltas.with(d, { ...deltas[d], chains });
  };
}

/** As `rule`, with other conditions; undefined where none is another. */
function withMatches(rule: Rule, change: (match: Match) => Match | undefined): Rule | undefined {
  const statements = rule.statements.map((s) => "match" in s ? change(s) : s);
  if (statements.every((s, i) => s === rule.statements[i])) return undefined;
  return { ...rule, statements: statements.filter((s) => s !== undefined) };
}

/** Each in one place of each world. */
const faults: Record<string, Fault> = {
  "a rule is deleted in the kernel": {
    afterwards: async (client, pick) => {
      const rules = (["ip", "ip6"] as const).flatMap((family) =>
        client.ruleHeads({ family, name: "calico" })
          .filter(({ chain }) => ofPolicy.test(chain))
          .map(({ chain, handle }) => ({ family, table: "calico", chain, handle }))
      );
      if (rules.length === 0) return;
      await client.commit(client.begin().deleteRule(rules[pick(rules.length)]));
    },
  },
  "except is ignored": {
    spoil: oneRule((rule) =>
      withMatches(
        rule,
        (m) => (m.match === "saddr" || m.match === "daddr") && m.not ? undefined : m,
      )
    ),
  },
  "endPort is off by one": {
    spoil: oneRule((rule) =>
      withMatches(rule, (m) => {
        if (m.match !== "dport" || m.ranges.every(([a, b]) => a === b)) return m;
        return { ...m, ranges: m.ranges.map(([a, b]) => [a, b > a ? b + 1 : b]) };
      })
    ),
  },
  "the last rule is dropped": {
    spoil: oneRule((_rule, i, { rules }) => i === rules.length - 1 ? "gone" : undefined),
  },
  "egress is taken for ingress": {
    // A policy's rules for one direction stand in its chain for the other.
    spoil: (deltas, pick) => {
      const places = deltas.flatMap(({ chains }, d) =>
        [...chains.values()].flatMap((chain) => {
          if (!chain || !ofPolicy.test(chain.name)) return [];
          const twin = chain.name.replace(ofPolicy, (is) => is === "-pi-" ? "-po-" : "-pi-");
          const rules = chains.get(twin)?.rules;
          return rules ? [{ d, chain: { ...chain, rules } }] : [];
        })
      );
      if (places.length === 0) return [...deltas];
      const { d, chain } = places[pick(places.length)];
      const chains = new Map(deltas[d].chains).set(chain.name, chain);
      return deltas.with(d, { ...deltas[d], chains });
    },
  },
};

for (const [name, fault] of Object.entries(faults)) {
  realTest(`a fault is found within 2,000 cases: ${name}`, async (topology) => {
    const { asked, mismatch } = await walk(topology, { cases: 2000 }, fault);
    assert(mismatch !== undefined, `not found in ${asked} cases`);
    console.log(`found in case ${asked}`);
  });
}
