import assert from "node:assert/strict";
import { mustIp } from "../mod/net/mod.ts";
import { Evaluator, type Packet } from "./evaluate.ts";
import type { Chain, MapVerdict, Rule, Ruleset, SetDef, Statement } from "./rules.ts";

const base = { type: "filter", hook: "forward", priority: 0, policy: "accept" } as const;

function ruleset(
  chains: Record<string, Statement[][]>,
  sets: Record<string, string[] | Record<string, MapVerdict>> = {},
  kinds: Record<string, "addr" | "net" | "addr-port"> = {},
): Ruleset {
  const defs = Object.entries(sets).map(([name, members]): [string, SetDef] => [
    name,
    Array.isArray(members)
      ? { name, kind: kinds[name] ?? "net", members: new Set(members) }
      : { name, kind: "verdict-map", members: new Map(Object.entries(members)) },
  ]);
  return {
    family: 4,
    chains: new Map(
      Object.entries(chains).map(([name, rules]): [string, Chain] => [name, {
        name,
        ...(name === "base" ? { base } : {}),
        rules: rules.map((statements): Rule => ({ statements })),
      }]),
    ),
    sets: new Map(defs),
  };
}

const packet: Packet = {
  iifname: "cali1",
  oifname: "eth0",
  source: mustIp("10.0.0.1"),
  destination: mustIp("192.0.2.1"),
  protocol: 6,
  sourcePort: 40000,
  destinationPort: 80,
};

function verdict(set: Ruleset, change: Partial<Packet> = {}) {
  return new Evaluator(set).run("base", { ...packet, ...change }).verdict;
}

/** Whether a packet satisfies one statement: then it is dropped. */
function holds(match: Statement, change: Partial<Packet> = {}, set: Partial<Ruleset> = {}) {
  return verdict({ ...ruleset({ base: [[match, { do: "drop" }]] }), ...set }, change) === "drop";
}

Deno.test("jump returns behind itself, goto to the caller of its chain", () => {
  const mark = (value: number): Statement => ({ do: "mark", value, mask: value });
  const set = ruleset({
    base: [[{ do: "jump", chain: "a" }], [mark(1)]],
    a: [[{ do: "goto", chain: "b" }], [mark(2)]],
    b: [[{ do: "jump", chain: "c" }], [mark(4)]],
    c: [[{ do: "return" }], [mark(8)]],
  });
  const run = new Evaluator(set).run("base", packet, true);
  assert.equal(run.mark, 5);
  assert.equal(run.verdict, "accept");
  assert.deepEqual(run.steps.map((s) => `${s.chain}${s.index}`), [
    "base0",
    "a0",
    "b0",
    "c0",
    "b1",
    "base1",
  ]);
});

Deno.test("a goto of a base chain ends in the chain's policy", () => {
  const set = ruleset({
    base: [[{ do: "goto", chain: "a" }], [{ do: "drop" }]],
    a: [[{ do: "counter" }]],
  });
  assert.equal(verdict(set), "accept");
});

Deno.test("accept, drop and reject end everything; return in a base chain takes its policy", () => {
  for (const action of ["accept", "drop", "reject"] as const) {
    const set = ruleset({
      base: [[{ do: "jump", chain: "a" }], [{ do: "drop" }]],
      a: [[{ do: action }]],
    });
    const run = new Evaluator(set).run("base", packet);
    assert.equal(run.verdict, action);
    assert.equal(run.decidedBy?.chain, "a");
  }
  assert.equal(verdict(ruleset({ base: [[{ do: "return" }], [{ do: "drop" }]] })), "accept");
});

Deno.test("statements before a match that fails have taken effect", () => {
  const set = ruleset({
    base: [
      [{ do: "mark", value: 1, mask: 3 }, { match: "protocol", value: 17 }, { do: "drop" }],
      [{ match: "mark", value: 1, mask: 3 }, { do: "reject" }],
    ],
  });
  assert.equal(verdict(set, { mark: 2 }), "reject");
});

Deno.test("verdict maps: an entry acts, none leads to the next rule", () => {
  const set = ruleset(
    {
      base: [[{ do: "vmap", key: "iifname", map: "m" }], [{ do: "reject" }]],
      a: [[{ do: "drop" }]],
    },
    {
      m: {
        cali1: { do: "goto", chain: "a" },
        cali2: { do: "accept" },
        cali3: { do: "return" },
      },
    },
  );
  assert.equal(verdict(set), "drop");
  assert.equal(verdict(set, { iifname: "cali2" }), "accept");
  assert.equal(verdict(set, { iifname: "cali3" }), "accept");
  assert.equal(verdict(set, { iifname: "cali4" }), "reject");
  assert.equal(verdict(set, { iifname: undefined }), "reject");
});

Deno.test("matches, and their negation", () => {
  assert(holds({ match: "iifname", value: "cali*" }));
  assert(holds({ match: "iifname", value: "cali1" }));
  assert(!holds({ match: "iifname", value: "cali" }));
  assert(!holds({ match: "iifname", value: "cali*", not: true }));
  assert(holds({ match: "oifname", value: "eth0" }));
  assert(holds({ match: "saddr", prefix: "10.0.0.0/8" }));
  assert(!holds({ match: "saddr", prefix: "10.0.0.0/8", not: true }));
  assert(holds({ match: "daddr", prefix: "0.0.0.0/0" }));
  assert(holds({ match: "protocol", value: 17, not: true }));
  assert(holds({ match: "dport", ranges: [[1, 2], [79, 80]] }));
  assert(!holds({ match: "dport", ranges: [[81, 90]] }));
  assert(holds({ match: "sport", ranges: [[1, 39999]], not: true }));
  assert(!holds({ match: "dport", ranges: [[1, 2]], not: true }, { destinationPort: undefined }));
  assert(holds({ match: "icmp", type: 8 }, { protocol: 1, icmpType: 8, icmpCode: 3 }));
  assert(!holds({ match: "icmp", type: 8, code: 0 }, { protocol: 1, icmpType: 8, icmpCode: 3 }));
  assert(holds({ match: "icmp", type: 8, code: 0, not: true }, { icmpType: 8, icmpCode: 3 }));
  assert(holds({ match: "ctstate", states: ["new", "related"] }));
  assert(!holds({ match: "ctstate", states: ["established"] }));
  assert(holds({ match: "ctstatus", status: "dnat" }, { translated: "dnat" }));
  assert(holds({ match: "ctstatus", status: "dnat", not: true }));
  assert(holds({ match: "mark", value: 0x10000, mask: 0x10000 }, { mark: 0x30000 }));
  assert(holds({ match: "mark", value: 0x80000000, mask: 0x80000000 }, { mark: 0x80000000 }));
  assert(holds({ match: "rpf-fail" }, { spoofed: true }));
  assert(!holds({ match: "rpf-fail" }));
  assert(holds({ match: "fib-daddr-local" }, { destinationIsLocal: true }));
  assert(holds({ match: "fib-saddr-local" }, { sourceIsLocal: true }));
  assert(holds({ match: "fib-saddr-oif-local", not: true }));
});

Deno.test("sets: networks of any length, addresses, addresses with ports", () => {
  const { sets } = ruleset({}, {
    nets: ["10.0.0.0/30", "192.0.2.1/32"],
    none: [],
    ips: ["10.0.0.1"],
    ports: ["192.0.2.1,6,80", "10.0.0.1,6,40000"],
  }, { ips: "addr", ports: "addr-port" });
  const inSet = (match: Statement, change: Partial<Packet> = {}) => holds(match, change, { sets });
  assert(inSet({ match: "saddr", set: "nets" }));
  assert(inSet({ match: "daddr", set: "nets" }));
  assert(!inSet({ match: "saddr", set: "nets" }, { source: mustIp("10.0.0.4") }));
  assert(inSet({ match: "saddr", set: "none", not: true }));
  assert(inSet({ match: "saddr", set: "ips" }));
  assert(!inSet({ match: "daddr", set: "ips" }));
  assert(inSet({ match: "address-port", side: "destination", set: "ports" }));
  assert(inSet({ match: "address-port", side: "source", set: "ports" }));
  assert(!inSet({ match: "address-port", side: "destination", set: "ports" }, { protocol: 17 }));
  assert(
    inSet({ match: "address-port", side: "destination", set: "ports", not: true }, {
      protocol: 1,
      destinationPort: undefined,
    }),
  );
});

Deno.test("what a ruleset lacks is told by name, and endless jumps end", () => {
  assert.throws(() => verdict(ruleset({ base: [[{ do: "jump", chain: "x" }]] })), /no chain x/);
  assert.throws(
    () => verdict(ruleset({ base: [[{ match: "saddr", set: "s" }, { do: "drop" }]] })),
    /no set s/,
  );
  assert.throws(
    () =>
      verdict(ruleset({ base: [[{ do: "jump", chain: "a" }]], a: [[{ do: "jump", chain: "a" }]] })),
    /too many jumps/,
  );
});
