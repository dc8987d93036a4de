import assert from "node:assert/strict";
import type { Chain, MapVerdict, Ruleset, RulesetDelta, SetDef } from "../../../policy/rules.ts";
import { Wanted } from "./wanted.ts";

const chain = (name: string): Chain => ({ name, rules: [] });
const addrs = (name: string, ...members: string[]): SetDef => ({
  name,
  kind: "addr",
  members: new Set(members),
});
const ruleset = (chains: Chain[], sets: SetDef[]): Ruleset => ({
  family: 4,
  chains: new Map(chains.map((c) => [c.name, c])),
  sets: new Map(sets.map((s) => [s.name, s])),
});
const delta = (rest: Partial<RulesetDelta>): RulesetDelta => ({
  family: 4,
  from: 0,
  to: 1,
  chains: new Map(),
  sets: new Map(),
  ...rest,
});
const members = (add: string[], remove: string[] = []) =>
  ({ is: "members", kind: "addr", add, remove }) as const;

/** What has changed, in a form that compares. */
function changesOf(wanted: Wanted) {
  const { chains, sets, members } = wanted.changes;
  return {
    chains: [...chains].sort(),
    sets: [...sets].sort(),
    members: Object.fromEntries([...members].map(([name, m]) => [name, Object.fromEntries(m)])),
  };
}

Deno.test("a ruleset in the place of another counts as what differs", () => {
  const same = chain("same");
  const wanted = new Wanted(4);
  wanted.replace(ruleset([same, chain("gone"), chain("changed")], [
    addrs("s", "10.0.0.1", "10.0.0.2"),
    addrs("gone", "10.0.0.1"),
    addrs("kind", "10.0.0.1"),
  ]));
  wanted.told();
  wanted.replace(ruleset([same, chain("new"), chain("changed")], [
    addrs("s", "10.0.0.2", "10.0.0.3"),
    addrs("new"),
    { name: "kind", kind: "net", members: new Set(["10.0.0.0/8"]) },
  ]));
  assert.deepEqual(changesOf(wanted), {
    chains: ["changed", "gone", "new"],
    sets: ["gone", "kind", "new"],
    // What the kernel holds of each member that changed.
    members: { s: { "10.0.0.1": "", "10.0.0.3": undefined } },
  });
  assert.equal(wanted.kindOf("kind"), "net");
  assert.equal(wanted.kindOf("gone"), undefined);
});

Deno.test("a ruleset that is given belongs to its giver", () => {
  const given = new Set(["10.0.0.1"]);
  const first = ruleset([chain("c")], [{ name: "s", kind: "addr", members: given }]);
  const wanted = new Wanted(4);
  wanted.replace(first);
  wanted.change(delta({
    chains: new Map([["c", undefined], ["d", chain("d")]]),
    sets: new Map([["s", members(["10.0.0.2"])]]),
  }));
  given.add("10.0.0.9");
  assert.deepEqual([...first.chains.keys()], ["c"]);
  assert.deepEqual([...given], ["10.0.0.1", "10.0.0.9"]);
  assert.deepEqual([...wanted.chains.keys()], ["d"]);
  assert.deepEqual([...wanted.sets.get("s")!.members.keys()], ["10.0.0.1", "10.0.0.2"]);
});

Deno.test("changes of a map are told by what the kernel holds", () => {
  const to = (chain: string): MapVerdict => ({ do: "goto", chain });
  const wanted = new Wanted(4);
  wanted.replace(ruleset([], [{
    name: "m",
    kind: "verdict-map",
    members: new Map([["cali1", to("a")], ["cali2", to("b")]]),
  }]));
  wanted.told();
  wanted.change(delta({
    sets: new Map([["m", {
      is: "verdicts",
      add: [["cali1", to("c")], ["cali3", { do: "drop" }]],
      remove: ["cali2"],
    }]]),
  }));
  wanted.change(delta({
    sets: new Map([["m", { is: "verdicts", add: [["cali1", to("d")]], remove: [] }]]),
  }));
  assert.deepEqual(changesOf(wanted).members, {
    m: { cali1: "goto a", cali2: "goto b", cali3: undefined },
  });
  assert.deepEqual([...wanted.sets.get("m")!.members], [["cali1", "goto d"], ["cali3", "drop"]]);
});

Deno.test("a set that is new to the kernel has no members to tell apart", () => {
  const wanted = new Wanted(4);
  wanted.change(delta({ sets: new Map([["s", { is: "new", set: addrs("s", "10.0.0.1") }]]) }));
  wanted.change(delta({ sets: new Map([["s", members(["10.0.0.2"], ["10.0.0.1"])]]) }));
  assert.deepEqual(changesOf(wanted), { chains: [], sets: ["s"], members: {} });
  wanted.change(delta({ sets: new Map([["s", { is: "gone" }]]) }));
  assert.deepEqual(changesOf(wanted).sets, ["s"]);
  assert.equal(wanted.sets.size, 0);
});

Deno.test("a ruleset or delta of the other family is a mistake", () => {
  const wanted = new Wanted(6);
  assert.throws(() => wanted.replace(ruleset([], [])), /IPv4 was given for IPv6/);
  assert.throws(() => wanted.change(delta({})), /IPv4 was given for IPv6/);
});
