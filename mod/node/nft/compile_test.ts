import assert from "node:assert/strict";
import {
  bytes,
  cmp,
  daddr,
  dport,
  drop,
  ip,
  leave,
  lookup,
  mask,
  meta,
  protocol,
} from "../../../ffi/nft/testing.ts";
import { hostWord, portBytes } from "../../../ffi/nft/expr.ts";
import type { Family, Rule, SetKind, Statement } from "../../../policy/rules.ts";
import { type CompiledRule, compileRule } from "./compile.ts";
import { readMark } from "./rule_mark.ts";
import { CompileError } from "./terms.ts";

const sets: Record<string, SetKind> = {
  "cali40s:x": "addr",
  nets: "net",
  services: "addr-port",
  map: "verdict-map",
};

function compile(
  statements: Statement[],
  { family = 4 as Family, comment, kinds = sets }: {
    family?: Family;
    comment?: string;
    kinds?: Record<string, SetKind>;
  } = {},
): CompiledRule {
  const rule: Rule = { statements, comment };
  return compileRule(rule, "cali-pi", family, (name) => kinds[name]);
}

Deno.test("what nft writes for the same words, we write", () => {
  // The rest is compared with nft's own listing, and with packets, on the real kernel.
  assert.deepEqual(
    compile([
      { match: "protocol", value: 6 },
      { match: "daddr", prefix: "10.65.0.128/26", not: true },
      { match: "dport", ranges: [[80, 80]] },
      { do: "drop" },
    ]).expressions,
    [
      ...protocol(6),
      daddr,
      mask(ip("255.255.255.192"), 0),
      cmp("neq", ip("10.65.0.128")),
      dport,
      cmp("eq", portBytes(80)),
      drop,
    ],
  );
  assert.deepEqual(
    compile([{ match: "saddr", set: "cali40s:x" }, { do: "return" }]).expressions,
    [
      { kind: "payload", dreg: 1, base: "network", offset: 12, length: 4 },
      { kind: "lookup", sreg: 1, set: "cali40s-x", flags: undefined },
      leave,
    ],
  );
  assert.deepEqual(
    compile([{ do: "mark", value: 0x10000, mask: 0x30000 }]).expressions,
    [
      meta("mark"),
      { ...mask(hostWord(0xfffcffff), 0), xor: hostWord(0x10000) },
      { kind: "meta", key: "mark", sreg: 1 },
    ],
  );
});

Deno.test("several ports are a set of the rule's own", () => {
  const { expressions, anonymous } = compile([
    { match: "protocol", value: 17 },
    { match: "dport", ranges: [[53, 53], [5000, 5010]], not: true },
    { match: "sport", ranges: [[1, 1], [2, 2]] },
  ]);
  assert.deepEqual(
    anonymous.map(({ hasIntervals, elements }) => [
      hasIntervals,
      elements.map(({ key, flags }) => `${key[0] << 8 | key[1]}${flags ? ")" : ""}`),
    ]),
    [
      [true, ["53", "54)", "5000", "5011)"]],
      [false, ["1", "2"]],
    ],
  );
  assert.deepEqual(expressions.filter((e) => e.kind === "lookup"), [
    lookup("__set%d", 1, 1),
    lookup("__set%d", 2),
  ]);
});

Deno.test("the fields of an address and port stand behind one another in the registers", () => {
  const of = (family: Family) =>
    compile([{ match: "address-port", side: "destination", set: "services" }], { family })
      .expressions.map((e) => "dreg" in e ? e.dreg : undefined);
  assert.deepEqual(of(4), [1, 9, 10, undefined]);
  assert.deepEqual(of(6), [1, 12, 13, undefined]);
});

Deno.test("all addresses are no condition, none of them is one that nothing meets", () => {
  assert.deepEqual(compile([{ match: "saddr", prefix: "0.0.0.0/0" }]).expressions, []);
  assert.deepEqual(
    compile([{ match: "saddr", prefix: "::/0", not: true }], { family: 6 }).expressions.slice(1),
    [mask(new Uint8Array(16), 0), cmp("neq", new Uint8Array(16))],
  );
});

Deno.test("a mark stands for all that a rule says", () => {
  const base: Statement[] = [
    { match: "protocol", value: 6 },
    { match: "saddr", set: "cali40s:x" },
    { match: "dport", ranges: [[80, 80], [443, 443]] },
    { do: "accept" },
  ];
  const one = compile(base);
  assert.match(one.mark, /^[\w-]{16}$/);
  assert.equal(one.comment, `cali:${one.mark};`);
  assert.equal(compile(structuredClone(base)).mark, one.mark);
  const others = [
    compile([...base.slice(0, 3), { do: "drop" }]),
    compile(base.slice(0, 3)),
    compile([base[1], base[0], ...base.slice(2)]),
    compile([...base.slice(0, 2), { match: "dport", ranges: [[80, 80], [444, 444]] }, base[3]]),
    compile([...base.slice(0, 2), { match: "dport", ranges: [[80, 80], [443, 444]] }, base[3]]),
    compile([base[0], { match: "saddr", set: "cali40s:x", not: true }, ...base.slice(2)]),
    compile([base[0], { match: "saddr", set: "nets" }, ...base.slice(2)]),
    // The same set, but of another kind now: the rule must be made anew with it.
    compile(base, { kinds: { "cali40s:x": "net" } }),
    compile(base, { comment: "for people" }),
    compile(base, { family: 6 }),
  ];
  assert.equal(new Set([one, ...others].map(({ mark }) => mark)).size, others.length + 1);
});

Deno.test("comments keep the mark, whatever their length", () => {
  for (const comment of ["x".repeat(127), "ä".repeat(90), "日本".repeat(40)]) {
    const rule = compile([{ do: "accept" }], { comment });
    const length = new TextEncoder().encode(rule.comment).length;
    assert(length <= 127 && length > 120, `${length} bytes`);
    assert.equal(readMark(rule.comment), rule.mark);
    assert(!rule.comment.includes("\ufffd"));
  }
  for (const foreign of ["", "hello", "cali:short;", "cali:0123456789abcdef", "calico"]) {
    assert.equal(readMark(foreign), "");
  }
});

Deno.test("what cannot be said is refused with where and why", () => {
  const bad: [Statement[], RegExp][] = [
    [[{ match: "saddr", set: "none" }], /chain cali-pi of IPv4: there is no set none/],
    [[{ match: "saddr", set: "services" }], /set services is of kind addr-port, not addr or net/],
    [[{ do: "vmap", key: "iifname", map: "nets" }], /set nets is of kind net, not verdict-map/],
    [[{ match: "daddr", prefix: "fd00::/64" }], /fd00::\/64 is not of IPv4/],
    [[{ match: "daddr", prefix: "10.0.0.1/24" }], /"10.0.0.1\/24" is not an address or network/],
    [[{ match: "dport", ranges: [] }], /a match on dport names no port/],
    [[{ match: "dport", ranges: [[2, 1]] }], /2 to 1 is not a range of ports/],
    [[{ match: "dport", ranges: [[0, 65536]] }], /0 to 65536 is not a range of ports/],
  ];
  for (const [statements, message] of bad) {
    assert.throws(
      () => compile(statements),
      (error) => error instanceof CompileError && message.test(error.message),
    );
  }
});

Deno.test("interface names are compared as the kernel holds them", () => {
  const data = (value: string) => {
    const [, compare] = compile([{ match: "iifname", value }]).expressions;
    return (compare as { data: Uint8Array }).data;
  };
  assert.deepEqual(data("cali*"), bytes("63616c69"));
  assert.deepEqual(data("lo"), bytes("6c6f0000000000000000000000000000"));
  assert.equal(data("cali0123456789a").length, 16);
});
