/**
 * For tests of the dataplane: any rulesets (for fast-check), and a table of a fake or real kernel as a
 * value that can be compared, whatever path led to it.
 */
import fc from "fast-check";
import type { NftClient } from "../../../ffi/nft/client.ts";
import type { Expression } from "../../../ffi/nft/expr.ts";
import { readComment } from "../../../ffi/nft/userdata.ts";
import { NFT_SET_ANONYMOUS } from "../../../ffi/nft/wire.ts";
import type {
  BaseHook,
  Chain,
  Family,
  MapVerdict,
  Rule,
  Ruleset,
  SetDef,
  SetKind,
  Statement,
} from "../../../policy/rules.ts";
import type { Rulesets } from "./dataplane.ts";
import { readMembers, setDefinition } from "./sets.ts";
import { kernelName, nftFamily } from "./terms.ts";

/** Regular chains; a rule jumps only to a later one, so that nothing runs in a circle. */
const chainNames = ["filter-cali-fw-cali1", "cali-tw-cali1", "cali-pi-a", "cali-pi-b", "cali-gi-c"];
/** Now on a hook, now on none. */
const hookNames = ["filter-FORWARD", "raw-PREROUTING", "nat-POSTROUTING"];
const setNames = ["cali40s:one", "cali40s:two", "cali40n:three", "from-wl", "to-wl"];
const interfaces = ["cali1", "cali2", "cali0123456789a"];

const hooks: readonly BaseHook[] = [
  { type: "filter", hook: "forward", priority: 0, policy: "accept" },
  { type: "filter", hook: "forward", priority: 0, policy: "drop" },
  { type: "filter", hook: "input", priority: 10, policy: "accept" },
  { type: "filter", hook: "prerouting", priority: -300, policy: "accept" },
  { type: "nat", hook: "postrouting", priority: 110, policy: "accept" },
  { type: "route", hook: "output", priority: -150, policy: "accept" },
];

/** Disjoint; some touch; the first and the last reach the ends of the space. */
const nets: Record<Family, readonly string[]> = {
  4: [
    "0.0.0.0/8",
    "10.0.0.0/25",
    "10.0.0.128/25",
    "10.0.1.0/24",
    "10.0.2.7/32",
    "10.0.2.8/32",
    "192.168.0.0/16",
    "255.255.255.0/24",
  ],
  6: [
    "::/8",
    "fd00::/64",
    "fd00:0:0:1::/64",
    "fd00:0:0:2::5/128",
    "fd00:0:0:2::6/128",
    "fe80::/10",
    "ff00::/8",
  ],
};
const addresses: Record<Family, readonly string[]> = {
  4: ["10.0.0.1", "10.0.0.2", "10.65.3.200", "0.0.0.0", "255.255.255.255"],
  6: ["fd00::1", "fd00::2", "2001:db8::ff", "::", "::ffff:1.2.3.4"],
};

function anyMembers(kind: SetKind, family: Family): fc.Arbitrary<SetDef["members"]> {
  switch (kind) {
    case "addr":
      return fc.subarray([...addresses[family]]).map((m) => new Set(m));
    case "net":
      return fc.oneof(
        { weight: 9, arbitrary: fc.shuffledSubarray([...nets[family]]) },
        { weight: 1, arbitrary: fc.constant([family === 4 ? "0.0.0.0/0" : "::/0"]) },
      ).map((m) => new Set(m));
    case "addr-port":
      return fc.subarray(
        addresses[family].flatMap((ip) => [`${ip},6,80`, `${ip},6,443`, `${ip},17,53`]),
      ).map((m) => new Set(m));
    case "verdict-map":
      return fc.dictionary(
        fc.constantFrom(...interfaces),
        fc.constantFrom<MapVerdict>(
          { do: "accept" },
          { do: "drop" },
          { do: "goto", chain: chainNames[0] },
          { do: "jump", chain: chainNames[1] },
          { do: "goto", chain: chainNames[1] },
        ),
        { noNullPrototype: true },
      ).map((m) => new Map(Object.entries(m)));
  }
}

/** Sets of any kinds under few names, so that names change their kind from ruleset to ruleset. */
function anySets(family: Family): fc.Arbitrary<Map<string, SetDef>> {
  const kinds = fc.constantFrom<SetKind>("addr", "net", "addr-port", "verdict-map");
  const one = (name: string) =>
    fc.option(
      kinds.chain((kind) =>
        anyMembers(kind, family).map((members) => ({ name, kind, members }) as SetDef)
      ),
    );
  return fc.tuple(...setNames.map(one)).map((sets) =>
    new Map(sets.filter((set) => set !== null).map((set) => [set.name, set]))
  );
}

function anyStatement(
  family: Family,
  sets: ReadonlyMap<string, SetDef>,
  targets: readonly string[],
  type: string,
): fc.Arbitrary<Statement[]> {
  const not = fc.option(fc.constant(true), { nil: undefined });
  const side = fc.constantFrom("saddr" as const, "daddr" as const);
  const of = (...kinds: SetKind[]) =>
    [...sets.values()].filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name);
  const one = (statement: fc.Arbitrary<Statement>) => statement.map((s) => [s]);
  const choices: fc.Arbitrary<Statement[]>[] = [
    one(fc.record({
      match: fc.constantFrom("iifname" as const, "oifname" as const),
      value: fc.constantFrom("cali*", "tunl0", "cali0123456789a"),
      not,
    })),
    one(fc.record({
      match: side,
      prefix: fc.constantFrom(...nets[family], family === 4 ? "0.0.0.0/0" : "::/0"),
      not,
    })),
    fc.record({
      protocol: fc.constantFrom(6, 17, 132),
      match: fc.constantFrom("sport" as const, "dport" as const),
      ranges: fc.shuffledSubarray([[80, 80], [443, 443], [1000, 2000], [5000, 5010]], {
        minLength: 1,
      }).map((ranges) => ranges.map(([a, b]) => [a, b] as const).sort((a, b) => a[0] - b[0])),
      not,
    }).map(({ protocol, ...ports }) => [{ match: "protocol", value: protocol }, ports]),
    fc.record({ match: fc.constant("icmp" as const), type: fc.nat(255), code: fc.nat(15), not })
      .map((icmp) => [{ match: "protocol", value: family === 4 ? 1 : 58 }, icmp]),
    one(fc.record({
      match: fc.constant("ctstate" as const),
      states: fc.subarray(["new", "established", "related", "invalid", "untracked"] as const, {
        minLength: 1,
      }),
      not,
    })),
    one(fc.record({
      match: fc.constant("ctstatus" as const),
      status: fc.constantFrom("dnat" as const, "snat" as const),
      not,
    })),
    one(fc.constantFrom<Statement>(
      { match: "mark", value: 0x10000, mask: 0x10000 },
      { match: "mark", value: 0, mask: 0x30000, not: true },
      { match: "mark", value: 7, mask: 0xffffffff },
      { match: "ctmark", value: 0x100000, mask: 0x100000 },
      { match: "ctmark", value: 0, mask: 0x100000, not: true },
      { match: "fib-daddr-local" },
      { match: "fib-daddr-local", not: true },
      { match: "over-rate", rate: 1250000, burst: 65536, unit: "bytes" },
      { match: "over-rate", rate: 50, burst: 5, unit: "packets" },
      { match: "over-connections", count: 3 },
      { do: "counter" },
      { do: "mark", value: 0x10000, mask: 0x30000 },
      { do: "mark", value: 1, mask: 0xffffffff },
      { do: "log", prefix: "calico-packet: " },
      { do: "log", prefix: "DPI0|np/default/x", group: 2 },
      ...(type === "raw" ? [{ match: "rpf-fail" }, { do: "notrack" }] as const : []),
    )),
  ];
  const lookups = of("addr", "net");
  if (lookups.length) {
    choices.push(one(fc.record({ match: side, set: fc.constantFrom(...lookups), not })));
  }
  const ports = of("addr-port");
  if (ports.length) {
    choices.push(one(fc.record({
      match: fc.constant("address-port" as const),
      side: fc.constantFrom("source" as const, "destination" as const),
      set: fc.constantFrom(...ports),
      not,
    })));
  }
  const maps = of("verdict-map");
  if (maps.length && type !== "regular") {
    choices.push(one(fc.record({
      do: fc.constant("vmap" as const),
      key: fc.constantFrom("iifname" as const, "oifname" as const),
      map: fc.constantFrom(...maps),
    })));
  }
  const ends: Statement[] = [{ do: "accept" }, { do: "drop" }, { do: "return" }];
  // The kernel takes it in some hooks only, wherever it is reached from.
  if (type === "filter") ends.push({ do: "reject" });
  if (type === "nat") ends.push({ do: "masquerade" });
  for (const chain of targets) ends.push({ do: "jump", chain }, { do: "goto", chain });
  return fc.tuple(fc.array(fc.oneof(...choices), { maxLength: 3 }), fc.constantFrom(...ends))
    .map(([statements, end]) => {
      const all = statements.flat();
      return all.some((s) => "do" in s && s.do === "vmap") ? all : [...all, end];
    })
    // An action ends its rule for what comes behind it, but for marks, counters and logs.
    .map((statements) => {
      const last = statements.findIndex((s) =>
        "do" in s && (s.do === "vmap" || s.do === "notrack")
      );
      return last < 0 ? statements : statements.slice(0, last + 1);
    });
}

function anyRules(
  family: Family,
  sets: ReadonlyMap<string, SetDef>,
  targets: readonly string[],
  type: string,
): fc.Arbitrary<Rule[]> {
  const rule = fc.record({
    statements: anyStatement(family, sets, targets, type),
    comment: fc.option(fc.constantFrom("from workloads", "ein Käse", "x".repeat(120)), {
      nil: undefined,
    }),
  });
  return fc.array(rule, { maxLength: 5 });
}

/** Any ruleset of a family that the kernel can take. */
export function anyRuleset(family: Family): fc.Arbitrary<Ruleset> {
  return anySets(family).chain((sets) => {
    const regular = chainNames.map((name, i) =>
      // Maps lead to the first two, which are therefore always there.
      fc.tuple(
        fc.constant(i < 2).chain((must) => must ? fc.constant(true) : fc.boolean()),
        anyRules(family, sets, [], "regular"),
      ).map(([is, rules]): Chain | undefined => is ? { name, rules } : undefined)
    );
    const hooked = hookNames.map((name) =>
      fc.option(fc.constantFrom(undefined, ...hooks)).chain((base) =>
        base === null ? fc.constant(undefined) : anyRules(
          family,
          sets,
          chainNames.slice(0, 2),
          !base ? "regular" : base.priority === -300 ? "raw" : base.type,
        ).map((rules): Chain => base ? { name, base, rules } : { name, rules })
      )
    );
    return fc.tuple(...regular, ...hooked).map((chains): Ruleset => ({
      family,
      chains: new Map(chains.filter((c) => c !== undefined).map((c) => [c.name, c])),
      sets,
    }));
  });
}

export function anyRulesets(): fc.Arbitrary<Rulesets> {
  return fc.record({ 4: anyRuleset(4), 6: anyRuleset(6) });
}

/** What a table says, without what differs from path to path: handles, counters, names of port sets. */
export interface TableContent {
  readonly chains: Record<string, { base: unknown; rules: unknown[] }>;
  readonly sets: Record<string, { kind: string; members: string[] }>;
}

/** Undefined: there is no such table. */
export function readContent(
  client: NftClient,
  family: Family,
  name = "calico",
): TableContent | undefined {
  const table = { family: nftFamily(family), name };
  if (!client.table(table)) return undefined;
  const chains: Record<string, { base: unknown; rules: unknown[] }> = {};
  for (const chain of client.chains(table)) chains[chain.name] = { base: chain.base, rules: [] };
  const anonymous = new Map<string, string[]>();
  const sets: Record<string, { kind: string; members: string[] }> = {};
  for (const set of client.sets(table)) {
    const elements = client.elements(set);
    if (set.flags & NFT_SET_ANONYMOUS) {
      anonymous.set(set.name, elements.map((e) => `${e.key.join(".")}/${e.flags ?? 0}`).sort());
      continue;
    }
    const kinds: SetKind[] = ["addr", "net", "addr-port", "verdict-map"];
    const kind = kinds.find((k) => {
      const { flags, keyLength, keyType, size } = setDefinition(name, family, set.name, k);
      return flags === set.flags && keyLength === set.keyLength && keyType === set.keyType &&
        size === set.size && !set.hasStatements;
    });
    const members = kind ? [...readMembers(kind, family, elements)].map((m) => m.join(" ")) : [];
    sets[set.name] = { kind: kind ?? "unknown", members: members.sort() };
  }
  for (const rule of client.rules(table)) {
    chains[rule.chain].rules.push({
      comment: readComment(rule.userdata),
      expressions: rule.expressions.map((e) => plain(e, anonymous)),
    });
  }
  return { chains, sets };
}

function plain(expression: Expression, anonymous: ReadonlyMap<string, string[]>): unknown {
  if (expression.kind === "counter") return { kind: "counter" };
  if (expression.kind === "lookup") {
    const set = anonymous.get(expression.set) ?? expression.set;
    return { ...expression, set, setId: undefined, flags: expression.flags || undefined };
  }
  // The kernel says what it took as given.
  if (expression.kind === "bitwise") return { ...expression, op: undefined };
  return expression;
}

/** The names and members that a ruleset asks for, from the ruleset itself and not from a kernel. */
export function expectedShape(ruleset: Ruleset): {
  chains: Record<string, { base: unknown; rules: number }>;
  sets: Record<string, { kind: string; members: string[] }>;
} {
  const chains: Record<string, { base: unknown; rules: number }> = {};
  for (const { name, base, rules } of ruleset.chains.values()) {
    chains[kernelName(name)] = { base, rules: rules.length };
  }
  const sets: Record<string, { kind: string; members: string[] }> = {};
  for (const set of ruleset.sets.values()) {
    const members = set.kind === "verdict-map"
      ? [...set.members].map(([name, v]) => `${name} ${v.do}${"chain" in v ? ` ${v.chain}` : ""}`)
      : [...set.members].map((member) => `${member} `);
    sets[kernelName(set.name)] = { kind: set.kind, members: members.sort() };
  }
  return { chains, sets };
}

/** The shape of what a kernel holds. */
export function shapeOf(content: TableContent): ReturnType<typeof expectedShape> {
  const chains = Object.fromEntries(
    Object.entries(content.chains).map(([name, { base, rules }]) => [
      name,
      { base, rules: rules.length },
    ]),
  );
  return { chains, sets: content.sets };
}
