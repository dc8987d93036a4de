import assert from "node:assert/strict";
import fc from "fast-check";
import { Connection } from "../../../ffi/netlink/connection.ts";
import { NftClient } from "../../../ffi/nft/client.ts";
import { type Expression, portBytes } from "../../../ffi/nft/expr.ts";
import { NftEvents } from "../../../ffi/nft/events.ts";
import { FakeNft } from "../../../ffi/nft/fake.ts";
import type { FakeTable } from "../../../ffi/nft/fake_table.ts";
import { readComment } from "../../../ffi/nft/userdata.ts";
import type {
  Chain,
  Family,
  Rule,
  Ruleset,
  RulesetDelta,
  SetChange,
  SetDef,
} from "../../../policy/rules.ts";
import { type DataplaneEvent, type DataplaneOptions, NftDataplane } from "./dataplane.ts";
import type { Rulesets } from "./dataplane.ts";
import { anyRulesets, expectedShape, readContent, shapeOf } from "./testing.ts";
import { DeltaGapError } from "./wanted.ts";

const families: readonly Family[] = [4, 6];

/**
 * Time does not matter here; only that somebody waits for it. What is tried again after a failure is
 * not tried here.
 */
function soon(milliseconds: number, work: () => void): () => void {
  let cancelled = milliseconds >= 250;
  queueMicrotask(() => cancelled || work());
  return () => cancelled = true;
}

/** Waits for what is under way; the work pauses for other work now and then. */
async function until(done: () => boolean): Promise<void> {
  for (let i = 0; i < 5000 && !done(); i++) await new Promise((r) => setTimeout(r));
  assert(done());
}

/** A dataplane on a fake kernel, and a client of another program. */
function harness(options: DataplaneOptions & { deaf?: boolean } = {}, kernel = new FakeNft()) {
  const events: DataplaneEvent[] = [];
  const listener = kernel.listen();
  const dataplane = new NftDataplane(
    new NftClient(new Connection(kernel.connect())),
    options.deaf ? undefined : new NftEvents(listener),
    { later: soon, onEvent: (event) => events.push(event), ...options },
  );
  const other = new NftClient(new Connection(kernel.connect()));
  return { kernel, dataplane, other, events, listener };
}

function ruleset(family: Family, chains: Chain[], sets: SetDef[] = []): Ruleset {
  return {
    family,
    chains: new Map(chains.map((c) => [c.name, c])),
    sets: new Map(sets.map((s) => [s.name, s])),
  };
}
const empty6 = ruleset(6, []);
const accept: Rule = { statements: [{ do: "accept" }] };
const drop: Rule = { statements: [{ do: "drop" }] };
const mark = (n: number): Rule => ({ statements: [{ do: "mark", value: n, mask: 0xff }] });
const chain = (name: string, ...rules: Rule[]): Chain => ({ name, rules });
const addrs = (...members: string[]): SetDef => ({
  name: "cali40s:x",
  kind: "addr",
  members: new Set(members),
});

/** What stands in a kernel that never held anything else. */
async function fresh(desired: Rulesets) {
  const { dataplane, other } = harness();
  await dataplane.apply(desired);
  return [readContent(other, 4), readContent(other, 6)];
}

function anyDelta(from: Ruleset, to: Ruleset): RulesetDelta {
  const chains = new Map<string, Chain | undefined>();
  for (const name of from.chains.keys()) if (!to.chains.has(name)) chains.set(name, undefined);
  for (const [name, c] of to.chains) chains.set(name, c);
  const sets = new Map<string, SetChange>();
  for (const name of from.sets.keys()) if (!to.sets.has(name)) sets.set(name, { is: "gone" });
  for (const [name, set] of to.sets) {
    const old = from.sets.get(name);
    if (old?.kind !== set.kind) sets.set(name, { is: "new", set });
    else if (set.kind === "verdict-map") {
      const before = (old as typeof set).members;
      sets.set(name, {
        is: "verdicts",
        remove: [...before.keys()].filter((m) => !set.members.has(m)),
        add: [...set.members],
      });
    } else {
      const before = (old as typeof set).members;
      sets.set(name, {
        is: "members",
        kind: set.kind,
        remove: [...before].filter((m) => !set.members.has(m)),
        add: [...set.members].filter((m) => !before.has(m)),
      });
    }
  }
  return { family: to.family, from: 0, to: 0, chains, sets };
}

Deno.test("any state is reached from any other, by rulesets or by deltas", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(anyRulesets(), fc.boolean(), fc.boolean()), {
        minLength: 2,
        maxLength: 5,
      }),
      async (steps) => {
        const h = harness();
        let last: Rulesets | undefined;
        for (const [desired, byDelta, restart] of steps) {
          const used = restart ? harness({}, h.kernel).dataplane : h.dataplane;
          if (byDelta && last && !restart) {
            await used.update(families.map((f) => anyDelta(last![f], desired[f])));
          } else await used.apply(desired);
          const now = families.map((f) => readContent(h.other, f));
          for (const family of families) {
            assert.deepEqual(
              shapeOf(readContent(h.other, family)!),
              expectedShape(desired[family]),
            );
          }
          assert.deepEqual(now, await fresh(desired));
          // What is as it should be is left alone.
          const commits = h.kernel.commits;
          await used.apply(desired);
          await used.resync();
          assert.equal(h.kernel.commits, commits);
          if (!restart) last = desired;
          else await h.dataplane.apply(last = desired);
        }
        assert.deepEqual(h.events.filter((e) => e.event === "refused"), []);
      },
    ),
    { numRuns: 30 },
  );
});

function both(four: Ruleset): Rulesets {
  return { 4: four, 6: empty6 };
}
const forward = (...rules: Rule[]): Chain => ({
  name: "filter-FORWARD",
  base: { type: "filter", hook: "forward", priority: 0, policy: "accept" },
  rules,
});
const lookup = (set: string): Rule => ({
  statements: [{ match: "saddr", set }, { do: "accept" }],
});
function marksOf(other: NftClient, name: string): string[] {
  return other.ruleHeads({ family: "ip", name: "calico" }, name)
    .map(({ userdata }) => new TextDecoder().decode(userdata!.subarray(2, -1)));
}

Deno.test("one set member is one message, and nothing is read for it", async () => {
  const { dataplane, other, events, kernel } = harness();
  await dataplane.apply(both(ruleset(4, [forward(lookup("cali40s:x"))], [addrs("10.0.0.1")])));
  events.length = 0;
  const change: RulesetDelta = {
    family: 4,
    from: 0,
    to: 1,
    chains: new Map(),
    sets: new Map([["cali40s:x", {
      is: "members",
      kind: "addr",
      add: ["10.0.0.2"],
      remove: ["10.0.0.1"],
    }]]),
  };
  await dataplane.update([change]);
  assert.equal(events.length, 1);
  assert.deepEqual({ ...events[0], bytes: 0 }, {
    event: "committed",
    family: 4,
    messages: 2,
    bytes: 0,
    reason: "change",
  });
  assert.deepEqual(readContent(other, 4)!.sets["cali40s-x"].members, ["10.0.0.2 "]);
  // A change and its reversal before the kernel heard of either are none.
  await dataplane.update([
    {
      ...change,
      sets: new Map([[
        "cali40s:x",
        { ...change.sets.get("cali40s:x"), add: ["10.0.0.9"], remove: [] } as SetChange,
      ]]),
    },
    {
      ...change,
      sets: new Map([[
        "cali40s:x",
        { ...change.sets.get("cali40s:x"), add: [], remove: ["10.0.0.9"] } as SetChange,
      ]]),
    },
  ]);
  assert.equal(events.length, 1);
  assert.equal(kernel.commits, 3);
});

Deno.test("rules that stay keep their handles, and with them their counters", async () => {
  const { dataplane, other } = harness();
  const table = { family: "ip", name: "calico" } as const;
  const handles = () => other.ruleHeads(table, "c").map(({ handle }) => handle);
  const go = (...rules: Rule[]) => dataplane.apply(both(ruleset(4, [chain("c", ...rules)])));
  await go(mark(1), mark(2), mark(3), mark(4));
  const [one, two, three, four] = handles();
  await go(mark(1), mark(9), mark(2), mark(4), mark(8));
  const now = handles();
  assert.deepEqual([now[0], now[2], now[3]], [one, two, four]);
  assert(!now.includes(three));
  // Rules that were made without being read are named all the same.
  await go(mark(7), mark(9), mark(8), mark(6));
  assert.equal(handles()[1], now[1]);
  assert.equal(handles()[2], now[4]);
  await go();
  assert.deepEqual(handles(), []);
});

Deno.test("a map's entry is led elsewhere before the chain that it named goes", async () => {
  const { dataplane, other, events } = harness();
  const map = (chainName: string): SetDef => ({
    name: "from-wl",
    kind: "verdict-map",
    members: new Map([["cali1", { do: "goto", chain: chainName }]]),
  });
  const dispatch = forward({ statements: [{ do: "vmap", key: "iifname", map: "from-wl" }] });
  await dataplane.apply(both(ruleset(4, [dispatch, chain("one", drop)], [map("one")])));
  await dataplane.apply(both(ruleset(4, [dispatch, chain("two", drop)], [map("two")])));
  assert.deepEqual(readContent(other, 4)!.sets["from-wl"].members, ["cali1 goto two"]);
  assert.deepEqual(Object.keys(readContent(other, 4)!.chains).sort(), ["filter-FORWARD", "two"]);
  assert(events.every(({ event }) => event === "committed"));
});

Deno.test("a fresh process takes over what it finds and commits nothing", async () => {
  const { dataplane, kernel } = harness();
  const desired = both(ruleset(4, [forward(lookup("cali40s:x")), chain("c", mark(1))], [
    addrs("10.0.0.1", "10.0.0.2"),
  ]));
  await dataplane.apply(desired);
  const { commits } = kernel;
  const second = harness({}, kernel);
  await second.dataplane.apply(desired);
  assert.equal(kernel.commits, commits);
  assert.deepEqual(second.events, []);
});

Deno.test("what a former process left over goes, in the same transaction", async () => {
  const { dataplane, kernel } = harness();
  await dataplane.apply(both(ruleset(4, [forward(lookup("cali40s:x"))], [addrs("10.0.0.1")])));
  const { commits } = kernel;
  const second = harness({}, kernel);
  const desired = both(ruleset(4, [forward(accept)]));
  await second.dataplane.apply(desired);
  assert.equal(kernel.commits, commits + 1);
  assert.deepEqual(shapeOf(readContent(second.other, 4)!), expectedShape(desired[4]));
});

Deno.test("other tables are not touched, ours alone are removed", async () => {
  const { dataplane, other, kernel } = harness();
  await other.commit(
    other.begin()
      .addTable({ family: "ip", name: "filter" })
      .addChain({ family: "ip", table: "filter", name: "cali-FORWARD" })
      .addTable({ family: "inet", name: "calico" }),
  );
  await dataplane.apply(both(ruleset(4, [forward(accept)])));
  await dataplane.remove();
  assert.deepEqual([...kernel.tables.keys()], ["ip filter", "inet calico"]);
  assert.equal(kernel.table("ip", "filter")!.chains.size, 1);
  await dataplane.remove();
  await dataplane.resync();
  assert.equal(kernel.tables.size, 2, "after remove nothing is wanted");
  await dataplane.apply(both(ruleset(4, [forward(accept)])));
  assert.equal(kernel.table("ip", "calico")!.chains.size, 1);
});

/** Ways to change what a rule says while its comment stays. */
function changesOf(expressions: readonly Expression[]): Expression[][] {
  const at = (i: number, ...now: Expression[]) => expressions.toSpliced(i, 1, ...now);
  return expressions.flatMap((e, i): Expression[][] => {
    const ways = [at(i), at(i, e, { kind: "counter" })];
    if (e.kind === "immediate" && e.data.verdict) {
      const code = e.data.verdict.code === "drop" ? "accept" : "drop";
      ways.push(at(i, { ...e, data: { verdict: { code } } }));
    } else if (e.kind === "cmp") {
      ways.push(
        at(i, { ...e, op: e.op === "eq" ? "neq" : "eq" }),
        at(i, { ...e, data: e.data.map((byte, n) => n === 0 ? byte ^ 1 : byte) }),
      );
    } else if (e.kind === "bitwise") {
      ways.push(at(i, { ...e, mask: e.mask.map((byte) => byte ^ 0x80) }));
    } else if (e.kind === "payload") ways.push(at(i, { ...e, offset: e.offset + 2 }));
    else if (e.kind === "limit") ways.push(at(i, { ...e, rate: e.rate + 1 }));
    else if (e.kind === "lookup" && e.dreg === undefined) {
      ways.push(at(i, { ...e, flags: e.flags ? 0 : 1 }));
    } else if (e.kind === "meta") ways.push(at(i, { ...e, key: "len" }));
    return ways;
  });
}

Deno.test("a rule that was changed under its own comment is found, at once and by a fresh process", async () => {
  await fc.assert(
    fc.asyncProperty(anyRulesets(), fc.nat(), fc.nat(), async (desired, which, how) => {
      const h = harness();
      await h.dataplane.apply(desired);
      const rules = families.flatMap((f) => {
        const family = f === 4 ? "ip" : "ip6";
        return h.other.rules({ family, name: "calico" });
      }).filter(({ expressions }) =>
        // An anonymous set belongs to its rule alone; those have a test of their own.
        expressions.length > 0 &&
        !expressions.some((e) => e.kind === "lookup" && e.set.startsWith("__"))
      );
      fc.pre(rules.length > 0);
      const rule = rules[which % rules.length];
      const ways = changesOf(rule.expressions);
      const expressions = ways[how % ways.length];
      const changed = { ...rule, handle: rule.handle!, position: undefined, expressions };
      const wanted = families.map((f) => readContent(h.other, f));
      const damage = () => h.other.commit(h.other.begin().replaceRule(changed));
      await damage();
      assert.notDeepEqual(families.map((f) => readContent(h.other, f)), wanted);
      await harness({}, h.kernel).dataplane.apply(desired);
      assert.deepEqual(families.map((f) => readContent(h.other, f)), wanted);
      // The first process has heard of both, and reads and finds all right.
      await h.dataplane.update([]);
      assert.deepEqual(families.map((f) => readContent(h.other, f)), wanted);
      const { chain, table, family, userdata } = rule;
      const same = h.other.rules({ family, name: table }, chain).find((r) =>
        readComment(r.userdata) === readComment(userdata)
      )!;
      await h.other.commit(h.other.begin().replaceRule({ ...changed, handle: same.handle! }));
      const commits = h.kernel.commits;
      h.dataplane.heard();
      await h.dataplane.update([]);
      assert.equal(h.kernel.commits, commits + 1);
      assert.deepEqual(families.map((f) => readContent(h.other, f)), wanted);
      await h.dataplane.close();
    }),
    { numRuns: 50 },
  );
});

Deno.test("a rule's own set of ports that was changed under its comment is found", async () => {
  const { dataplane, other } = harness();
  const desired = both(ruleset(4, [forward({
    statements: [
      { match: "protocol", value: 6 },
      { match: "dport", ranges: [[80, 80], [443, 443]] },
      { do: "drop" },
    ],
  })]));
  await dataplane.apply(desired);
  const wanted = readContent(other, 4);
  const table = { family: "ip", name: "calico" } as const;
  for (const ports of [[80, 444], [80], [80, 443, 444]]) {
    const [rule] = other.rules(table);
    const tx = other.begin();
    const set = { family: "ip", table: "calico", name: "__set%d", id: tx.nextSetId() } as const;
    const [old] = other.sets(table);
    tx.addSet({ ...old, ...set }).addElements(set, ports.map((port) => ({ key: portBytes(port) })));
    const expressions = rule.expressions.map((e) =>
      e.kind === "lookup" ? { ...e, set: set.name, setId: set.id } : e
    );
    tx.replaceRule({ ...rule, handle: rule.handle!, position: undefined, expressions });
    await other.commit(tx);
    assert.notDeepEqual(readContent(other, 4), wanted);
    await dataplane.update([]);
    assert.deepEqual(readContent(other, 4), wanted);
  }
});

for (const deaf of [false, true]) {
  const how = deaf ? "by the generation alone" : "by its notification";
  Deno.test(`damage is seen ${how} and mended with the next change`, async () => {
    const { dataplane, other, events } = harness({ deaf });
    const table = { family: "ip", table: "calico" } as const;
    const one = both(ruleset(4, [forward(lookup("cali40s:x")), chain("c", mark(1), mark(2))], [
      addrs("10.0.0.1", "10.0.0.2"),
    ]));
    await dataplane.apply(one);
    const [{ handle }] = other.ruleHeads({ family: "ip", name: "calico" }, "c");
    await other.commit(
      other.begin()
        .deleteRule({ ...table, chain: "c", handle })
        .addRule(
          { ...table, chain: "filter-FORWARD", expressions: [{ kind: "counter" }] },
          "prepend",
        )
        .addChain({ ...table, name: "foreign" })
        .addElements({ ...table, name: "cali40s-x" }, [{ key: new Uint8Array([1, 2, 3, 4]) }])
        .deleteElements({ ...table, name: "cali40s-x" }, [{ key: new Uint8Array([10, 0, 0, 1]) }]),
    );
    assert.notDeepEqual(shapeOf(readContent(other, 4)!), expectedShape(one[4]));
    await dataplane.update([]);
    assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(one));
    if (!deaf) {
      assert.deepEqual(events.filter((e) => e.event === "foreign"), [
        { event: "foreign", family: 4, table: "calico", program: "fake" },
      ]);
      const repair = events.at(-2)!;
      assert(repair.event === "committed" && repair.reason === "repair");
      assert.equal(events.at(-1)!.event, "settled");
    }
  });
}

Deno.test("damage is mended without being asked, as soon as it is heard of", async () => {
  const { dataplane, other } = harness();
  const desired = both(ruleset(4, [forward(accept)]));
  await dataplane.apply(desired);
  await other.commit(other.begin().deleteTable({ family: "ip", name: "calico" }));
  assert.equal(readContent(other, 4), undefined);
  dataplane.heard();
  await until(() => readContent(other, 4) !== undefined);
  assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(desired));
  await dataplane.close();
});

Deno.test("who touched our table is told also if the news comes in two parts", async () => {
  const h = harness();
  await h.dataplane.apply({ 4: ruleset(4, [chain("a", accept)]), 6: empty6 });
  h.dataplane.heard();
  const receive = h.listener.receive.bind(h.listener);
  await h.other.commit(h.other.begin().deleteTable({ family: "ip", name: "calico" }));
  let parts = 0;
  h.listener.receive = (wait) => parts++ === 1 ? undefined : receive(wait);
  h.dataplane.heard();
  assert.deepEqual(h.events.filter(({ event }) => event === "foreign"), []);
  h.dataplane.heard();
  assert.equal(h.events.filter(({ event }) => event === "foreign").length, 1);
  await h.dataplane.close();
});

Deno.test("what others do to their own tables costs no reading", async () => {
  const { dataplane, other, kernel } = harness();
  const set = (...members: string[]) =>
    both(ruleset(4, [forward(lookup("cali40s:x"))], [addrs(...members)]));
  await dataplane.apply(set("10.0.0.1"));
  let batches = 0;
  kernel.onBatch = () => void batches++;
  for (let i = 2; i < 12; i++) {
    await other.commit(other.begin().addTable({ family: "ip", name: `other${i}` }));
    await dataplane.apply(set(`10.0.0.${i}`));
  }
  // Each of ours went through at once: the generation was known from what was heard.
  assert.equal(batches, 20);
});

Deno.test("a commit that comes between is no harm: the kernel refuses, we look again", async () => {
  const { dataplane, other, kernel, events } = harness();
  const desired = both(ruleset(4, [forward(accept), chain("c", mark(1))]));
  await dataplane.apply(both(ruleset(4, [forward(accept)])));
  let times = 0;
  kernel.onBatch = (port) => {
    if (port === other.port || times === 3) return;
    times++;
    // Once in a table of their own, then twice in ours.
    const tx = other.begin().addTable({ family: "ip", name: "other" });
    if (times > 1) tx.addChain({ family: "ip", table: "calico", name: `intruder${times}` });
    other.commitNow(tx);
  };
  await dataplane.apply(desired);
  assert.equal(times, 3);
  assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(desired));
  assert.deepEqual(events.filter((e) => e.event === "refused"), []);
});

Deno.test("lost notifications make everything be read again", async () => {
  const { dataplane, other, listener, events } = harness();
  const desired = both(ruleset(4, [forward(accept)]));
  await dataplane.apply(desired);
  await other.commit(
    other.begin().flushChain({ family: "ip", table: "calico", name: "filter-FORWARD" }),
  );
  listener.overflow();
  await dataplane.update([]);
  assert(events.some(({ event }) => event === "lost"));
  assert.deepEqual(readContent(other, 4), (await fresh(desired))[0]);
});

Deno.test("what is refused is tried again, and at last with the whole table anew", async () => {
  const { dataplane, other, kernel, events } = harness();
  const desired = both(ruleset(4, [forward(lookup("cali40s:x"))], [addrs("10.0.0.1")]));
  await dataplane.apply(both(ruleset(4, [forward(accept)])));
  let refusals = 0;
  const before = kernel.commits;
  kernel.onBatch = (port) => port !== other.port && refusals++ < 5 ? 12 : undefined;
  await dataplane.apply(desired);
  assert.equal(refusals, 6);
  assert.equal(kernel.commits, before + 1);
  const last = events.at(-1)!;
  assert(last.event === "committed" && last.reason === "replace");
  assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(desired));
});

Deno.test("who refuses for ever is told of; what stood still stands; the next call tries again", async () => {
  const { dataplane, other, kernel } = harness();
  const old = both(ruleset(4, [forward(accept)]));
  const desired = both(ruleset(4, [forward(drop)]));
  await dataplane.apply(old);
  kernel.onBatch = (port) => port !== other.port ? 12 : undefined;
  await assert.rejects(
    dataplane.apply(desired),
    /table calico of IPv4 could not be brought up to date in 10 attempts .* out of memory/,
  );
  assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(old));
  kernel.onBatch = undefined;
  await dataplane.update([]);
  assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(desired));
});

const allowed: Rule["statements"] = [{ do: "mark", value: 0x10000, mask: 0x10000 }, {
  do: "return",
}];
const tooLong: Rule = { statements: Array.from({ length: 129 }, () => ({ do: "counter" })) };
const closed = [{
  statements: [{ do: "counter" }, { do: "drop" }],
  comment: "Closed: these rules cannot be made",
}];
const jumps = (...names: string[]) =>
  forward(...names.map((name): Rule => ({ statements: [{ do: "jump", chain: name }] })));
const [X, Y] = ["filter-cali-pi-gnp/x", "filter-cali-pi-gnp/y"];

Deno.test("a chain that cannot be made drops, and holds up nothing else", async () => {
  for (
    const [bad, why] of [
      [tooLong, "add rule in chain filter-cali-pi-gnp/x of table ip calico: EINVAL"],
      [{ statements: [{ match: "saddr", set: "gone" }] }, "there is no set gone"],
      [{ statements: [{ do: "jump", chain: "gone" }] }, "ENOENT"],
    ] as [Rule, string][]
  ) {
    const { dataplane, other, events, kernel } = harness();
    const words = () =>
      events.flatMap((e) => e.event === "quarantine" ? [[e.family, e.words.join()]] : []);
    const want = (x: Chain, y: Chain) => both(ruleset(4, [jumps(X, Y), x, y]));
    const shouldBe = async (desired: Rulesets) =>
      assert.deepEqual(readContent(other, 4), (await fresh(desired))[0]);
    const x = chain(X, accept, bad);
    // A first start.
    await dataplane.apply(want(x, chain(Y, accept)));
    await shouldBe(want({ name: X, rules: closed } as Chain, chain(Y, accept)));
    assert.equal(words().length, 1);
    assert(
      `${words()[0]}`.startsWith(`4,chain ${X} cannot be made: what comes to it is dropped (`),
    );
    assert(`${words()[0]}`.includes(why), `${words()[0]}`);
    // Other changes go in, at the first attempt.
    const commits = kernel.commits, refusals = events.filter((e) => e.event === "refused").length;
    await dataplane.apply(want(x, chain(Y, drop)));
    await shouldBe(want({ name: X, rules: closed } as Chain, chain(Y, drop)));
    assert.equal(kernel.commits, commits + 1);
    assert.equal(events.filter((e) => e.event === "refused").length, refusals);
    // A look at all, and a table that another takes away.
    await dataplane.resync();
    await other.commit(other.begin().deleteTable({ family: "ip", name: "calico" }));
    await dataplane.update([]);
    await shouldBe(want({ name: X, rules: closed } as Chain, chain(Y, drop)));
    assert.equal(words().length, 1);
    // Another chain under the name.
    await dataplane.apply(want(chain(X, drop), chain(Y, drop)));
    await shouldBe(want(chain(X, drop), chain(Y, drop)));
    assert.deepEqual(words().slice(1), [[4, ""]]);
    // One that was good, and is not.
    await dataplane.apply(want(x, chain(Y, drop)));
    await shouldBe(want({ name: X, rules: closed } as Chain, chain(Y, drop)));
    // It goes.
    await dataplane.apply(both(ruleset(4, [jumps(Y), chain(Y, accept)])));
    await shouldBe(both(ruleset(4, [jumps(Y), chain(Y, accept)])));
    assert.deepEqual(words().at(-1), [4, ""]);
    await dataplane.close();
  }
});

Deno.test("what the kernel refused is tried again with each look at the whole", async () => {
  const { dataplane, other, kernel } = harness();
  const desired = both(ruleset(4, [jumps(X), chain(X, tooLong)]));
  const expressionsOf = (name: string) =>
    other.rules({ family: "ip", name: "calico" }).find((r) => r.chain === name)!.expressions.length;
  await dataplane.apply(desired);
  assert.equal(readContent(other, 4)!.chains[X].rules.length, 1);
  kernel.longestRule = 200;
  await dataplane.update([]);
  assert.equal(expressionsOf(X), 2);
  await dataplane.resync();
  assert.equal(expressionsOf(X), 129);
});

Deno.test("a member that is none is left out where that closes, else the chain drops", async () => {
  const { dataplane, other, events } = harness();
  const Z = "filter-cali-pi-gnp/z", N = "filter-cali-pi-gnp/n";
  const set = (...members: string[]): SetDef => ({
    name: "cali40n:x",
    kind: "addr-port",
    members: new Set(members),
  });
  const match = (not = false) =>
    ({ match: "address-port", side: "source", set: "cali40n:x", not }) as const;
  const chains = [
    jumps(X, Y, Z, N),
    chain(X, { statements: [match(), ...allowed] }),
    chain(Y, { statements: [match(), { do: "drop" }] }, { statements: [...allowed] }),
    chain(Z, { statements: [match(true), ...allowed] }),
    chain(N, { statements: [...allowed] }),
  ];
  const want = (s: SetDef, closes: boolean) =>
    both(ruleset(
      4,
      chains.map((c) =>
        closes && (c.name === Y || c.name === Z) ? { ...c, rules: closed } as Chain : c
      ),
      [s],
    ));
  const is = async (good: string[], closes: boolean) =>
    assert.deepEqual(readContent(other, 4), (await fresh(want(set(...good), closes)))[0]);
  await dataplane.apply(want(set("10.0.0.1,6,80", "10.0.0.2,6,70000"), false));
  await is(["10.0.0.1,6,80"], true);
  const told = () => events.filter((e) => e.event === "quarantine").map((e) => e.words.join());
  assert.match(told()[0], /^set cali40n:x is without 10\.0\.0\.2,6,70000: chains that would allow/);
  const change = (add: string[], remove: string[]) =>
    dataplane.update([{
      family: 4,
      from: 0,
      to: 0,
      chains: new Map(),
      sets: new Map([["cali40n:x", { is: "members", kind: "addr-port", add, remove }]]),
    }]);
  await change(["10.0.0.3,6,80", "10.0.0.4,x,1"], []);
  await is(["10.0.0.1,6,80", "10.0.0.3,6,80"], true);
  await change([], ["10.0.0.2,6,70000"]);
  await is(["10.0.0.1,6,80", "10.0.0.3,6,80"], true);
  await dataplane.resync();
  await is(["10.0.0.1,6,80", "10.0.0.3,6,80"], true);
  await change([], ["10.0.0.4,x,1"]);
  await is(["10.0.0.1,6,80", "10.0.0.3,6,80"], false);
  assert.equal(told().at(-1), "");
  // One that comes to a set that was sound.
  await change(["10.0.0.9"], ["10.0.0.1,6,80"]);
  await is(["10.0.0.3,6,80"], true);
  // As a fresh ruleset without it.
  await dataplane.apply(want(set("10.0.0.7,6,80"), false));
  await is(["10.0.0.7,6,80"], false);
});

Deno.test("a set whose members the kernel refuses is empty, and closes", async () => {
  const { dataplane, other } = harness();
  const set = (...members: string[]): SetDef => ({
    name: "cali40s:x",
    kind: "net",
    members: new Set(members),
  });
  const chains = [
    jumps(X, Y),
    chain(X, { statements: [{ match: "saddr", set: "cali40s:x" }, ...allowed] }),
    chain(Y, { statements: [{ match: "saddr", set: "cali40s:x", not: true }, ...allowed] }),
  ];
  await dataplane.apply(both(ruleset(4, chains, [set("10.0.0.0/8", "10.0.0.0/24")])));
  const asClosed = [chains[0], chains[1], { name: Y, rules: closed } as Chain];
  assert.deepEqual(
    readContent(other, 4),
    (await fresh(both(ruleset(4, asClosed, [set()]))))[0],
  );
  const sound = both(ruleset(4, chains, [set("10.0.0.0/8")]));
  await dataplane.apply(sound);
  assert.deepEqual(readContent(other, 4), (await fresh(sound))[0]);
});

Deno.test("where the whole cannot be made and no table is there, the skeleton is put there", async () => {
  const { dataplane, other, kernel } = harness();
  const map: SetDef = { name: "m", kind: "verdict-map", members: new Map() };
  const desired = both(ruleset(
    4,
    [forward({
      statements: [{ match: "iifname", value: "cali*" }, { do: "vmap", key: "iifname", map: "m" }],
    }, drop)],
    [map],
  ));
  let batches = 0;
  kernel.onBatch = (port) => port !== other.port && batches++ < 10 ? 12 : undefined;
  await assert.rejects(dataplane.apply(desired), /in 10 attempts/);
  assert.equal(readContent(other, 4)!.chains["filter-FORWARD"].rules.length, 1);
  await dataplane.update([]);
  assert.deepEqual(readContent(other, 4), (await fresh(desired))[0]);
});

Deno.test("one family's trouble does not hold up the other", async () => {
  const { dataplane, other } = harness();
  const bad = ruleset(4, [forward(lookup("cali40s:none"))]);
  const good = ruleset(6, [forward(accept)]);
  await assert.rejects(dataplane.apply({ 4: bad, 6: good }), /there is no set cali40s:none/);
  assert.equal(readContent(other, 4), undefined);
  assert.deepEqual(shapeOf(readContent(other, 6)!), expectedShape(good));
  await dataplane.apply({ 4: ruleset(4, [forward(accept)]), 6: good });
  assert.equal(readContent(other, 4)!.chains["filter-FORWARD"].rules.length, 1);
});

Deno.test("a delta that does not fit is refused before anything changes", async () => {
  const { dataplane, kernel } = harness();
  await dataplane.apply(both(ruleset(4, [forward(accept)])));
  const { commits } = kernel;
  await assert.rejects(
    dataplane.update([{
      family: 4,
      from: 0,
      to: 1,
      chains: new Map([["filter-FORWARD", undefined]]),
      sets: new Map([["no", { is: "members", kind: "addr", add: ["10.0.0.1"], remove: [] }]]),
    }]),
    DeltaGapError,
  );
  await dataplane.update([]);
  assert.equal(kernel.commits, commits);
});

Deno.test("a table switched off by hand is switched on again", async () => {
  const { dataplane, other } = harness();
  const desired = both(ruleset(4, [forward(accept)]));
  await dataplane.apply(desired);
  await other.commit(other.begin().addTable({ family: "ip", name: "calico", flags: 1 }));
  assert.equal(other.table({ family: "ip", name: "calico" })!.flags, 1);
  await dataplane.update([]);
  assert.equal(other.table({ family: "ip", name: "calico" })!.flags, 0);
});

Deno.test("rules are told by their marks, whatever else their comment says", async () => {
  const { dataplane, other } = harness();
  const rule: Rule = { statements: [{ do: "accept" }], comment: "who goes there" };
  await dataplane.apply(both(ruleset(4, [chain("c", rule, rule, drop)])));
  const [first, second, third] = marksOf(other, "c");
  assert.match(first, /^cali:[\w-]{16}; who goes there$/);
  assert.equal(first, second);
  assert.match(third, /^cali:[\w-]{16};$/);
});

Deno.test("work waits for work; a closed dataplane says so", async () => {
  const { dataplane, other } = harness();
  const all = await Promise.allSettled([
    dataplane.apply(both(ruleset(4, [chain("a")]))),
    dataplane.apply(both(ruleset(4, [chain("b")]))),
    dataplane.resync(),
    dataplane.close(),
    dataplane.apply(both(ruleset(4, [chain("c")]))),
  ]);
  assert.deepEqual(all.map(({ status }) => status), [
    "fulfilled",
    "fulfilled",
    "fulfilled",
    "fulfilled",
    "rejected",
  ]);
  assert.deepEqual(Object.keys(readContent(other, 4)!.chains), ["b"]);
});

Deno.test("a program that fights us is met ever more slowly, and at once when it has been quiet", async () => {
  const pauses: number[] = [];
  let clock = 0;
  let due: (() => void) | undefined;
  const { dataplane, other } = harness({
    now: () => clock,
    later: (milliseconds, work) => {
      pauses.push(milliseconds);
      due = work;
      return () => due = undefined;
    },
  });
  const desired = both(ruleset(4, [forward(accept)]));
  await dataplane.apply(desired);
  const fight = async () => {
    await other.commit(other.begin().deleteTable({ family: "ip", name: "calico" }));
    dataplane.heard();
    dataplane.heard();
    clock += pauses.at(-1)!;
    due!();
    await dataplane.update([]);
    assert(readContent(other, 4));
  };
  for (let i = 0; i < 8; i++) await fight();
  assert.deepEqual(pauses, [0, 20, 40, 80, 160, 320, 640, 1000]);
  clock += 3000;
  await fight();
  assert.equal(pauses.at(-1), 0);
  await other.commit(other.begin().deleteTable({ family: "ip", name: "calico" }));
  dataplane.heard();
  await dataplane.close();
  assert.equal(due, undefined, "a closed dataplane repairs nothing");
});

/** Time that passes when it is told to. */
function handTime() {
  let clock = 0;
  const due = new Set<{ at: number; work: () => void }>();
  return {
    options: {
      now: () => clock,
      later: (milliseconds: number, work: () => void) => {
        const entry = { at: clock + milliseconds, work };
        due.add(entry);
        return () => void due.delete(entry);
      },
    },
    due: () => [...due].map(({ at }) => at - clock),
    /** To the next thing that is due; false: there is none. */
    next(): boolean {
      const [first] = [...due].sort((a, b) => a.at - b.at);
      if (!first) return false;
      due.delete(first);
      clock = Math.max(clock, first.at);
      first.work();
      return true;
    },
    now: () => clock,
  };
}

Deno.test("a repair that fails is told of, and tried again ever later until it succeeds", async () => {
  const time = handTime();
  const { dataplane, other, kernel, events } = harness(time.options);
  const desired = both(ruleset(4, [forward(accept)]));
  await dataplane.apply(desired);
  await other.commit(other.begin().deleteTable({ family: "ip", name: "calico" }));
  kernel.onBatch = (port) => port !== other.port ? 1 : undefined;
  dataplane.heard();
  const failures = () => events.filter((e) => e.event === "failed");
  const pauses: number[] = [];
  for (let failed = 1; failed <= 6; failed++) {
    for (let i = 0; i < 5000 && failures().length < failed; i++) {
      time.next();
      await new Promise((resolve) => setTimeout(resolve));
    }
    assert.equal(failures().length, failed);
    assert.match(failures()[failed - 1].error.message, /operation not permitted/);
    assert.equal(time.due().length, 1, "nobody asks, and nothing is heard");
    pauses.push(...time.due());
  }
  assert(pauses.every((pause, i) => pause <= 20_000 && (i === 0 || pause >= pauses[i - 1])));
  assert(pauses[0] >= 250 && pauses[3] >= 2000, `${pauses}`);
  assert.equal(events.filter((e) => e.event === "settled").length, 0);
  kernel.onBatch = undefined;
  time.next();
  await until(() => events.at(-1)?.event === "settled");
  assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(desired));
  assert.deepEqual(time.due(), []);
  // Closed in the midst of a fault, it tries nothing more.
  await other.commit(other.begin().deleteTable({ family: "ip", name: "calico" }));
  kernel.onBatch = (port) => port !== other.port ? 1 : undefined;
  const failing = dataplane.update([]);
  let isOver = false;
  const ended = assert.rejects(failing, /operation not permitted/).finally(() => isOver = true);
  await until(() => isOver || time.next() && false);
  await ended;
  await dataplane.close();
  assert.deepEqual(time.due(), []);
});

Deno.test("a table that another program owns is told of, and taken as soon as it is gone, though nothing is heard", async () => {
  const time = handTime();
  const { dataplane, other, kernel, events } = harness(time.options);
  const desired = both(ruleset(4, [forward(accept)]));
  await dataplane.apply(desired);
  const owned = { family: "ip", name: "calico", flags: 2, chains: new Map(), sets: new Map() };
  await other.commit(other.begin().deleteTable({ family: "ip", name: "calico" }));
  kernel.tables = new Map([...kernel.tables, ["ip calico", owned as FakeTable]]);
  const { commits } = kernel;
  dataplane.heard();
  for (let i = 0; i < 4; i++) {
    time.next();
    await dataplane.update([]).catch(() => {});
  }
  const failures = events.filter((e) => e.event === "failed");
  assert(failures.length >= 4);
  assert.match(failures[0].error.message, /^table ip calico belongs to another program/);
  assert.equal(kernel.commits, commits);
  assert.deepEqual(events.filter((e) => e.event === "refused"), [], "none was tried in vain");
  kernel.tables = new Map([...kernel.tables].filter(([key]) => key !== "ip calico"));
  assert(time.due().every((pause) => pause <= 2000));
  time.next();
  await until(() => events.at(-1)?.event === "settled");
  assert.deepEqual([readContent(other, 4), readContent(other, 6)], await fresh(desired));
  await dataplane.close();
});

Deno.test("a program that undoes at once what we commit cannot hold us for ever", async () => {
  const due: (() => void)[] = [];
  let undo = true;
  const parts = harness({
    later: (_milliseconds, work) => {
      due.push(work);
      return () => {};
    },
    onEvent: (event) => {
      if (event.event !== "committed" || event.family !== 4 || !undo) return;
      other.commitNow(other.begin().deleteTable({ family: "ip", name: "calico" }));
    },
  });
  const { dataplane, other } = parts;
  const desired = both(ruleset(4, [forward(accept)]));
  await dataplane.apply(desired);
  assert.equal(readContent(other, 4), undefined);
  assert.equal(due.length, 1, "the repair comes later");
  undo = false;
  due[0]();
  await dataplane.update([]);
  assert.deepEqual(shapeOf(readContent(other, 4)!), expectedShape(desired[4]));
});

/** A node with one interface: its chain is found by a map, of `size` addresses one is asked for. */
function node(size: number): Rulesets {
  const common = chain("filter-cali-to-wl-common", {
    statements: [{ match: "ctstate", states: ["established"] }, { do: "accept" }],
  });
  return both(ruleset(4, [
    forward({ statements: [{ do: "jump", chain: "filter-cali-to-wl-dispatch" }] }),
    chain("filter-cali-to-wl-dispatch", {
      statements: [{ do: "vmap", key: "oifname", map: "filter-cali-to-wl-dispatch" }],
    }, drop),
    common,
    chain("filter-cali-tw-cali1", { statements: [{ do: "jump", chain: common.name }] }, {
      statements: [{ match: "saddr", set: "cali40s:x" }, { do: "accept" }],
    }, drop),
  ], [
    addrs(...Array.from({ length: size }, (_, i) => `10.0.${i >> 8}.${i & 255}`)),
    {
      name: "filter-cali-to-wl-dispatch",
      kind: "verdict-map",
      members: new Map([["cali1", { do: "goto", chain: "filter-cali-tw-cali1" }]]),
    },
  ]));
}
const closedChains = [
  "filter-FORWARD",
  "filter-cali-to-wl-common",
  "filter-cali-to-wl-dispatch",
];
const chainsOf = (client: NftClient) => Object.keys(readContent(client, 4)?.chains ?? {}).sort();
const deleteTable = (client: NftClient) =>
  client.commit(client.begin().deleteTable({ family: "ip", name: "calico" }));

Deno.test("where the whole takes long, its closed skeleton comes first; at a start it does not", async () => {
  let seen: string[][] = [];
  const parts = harness({
    onEvent: (event) => {
      if (event.event === "committed" && event.family === 4) {
        seen.push([event.reason, ...chainsOf(parts.other)]);
      }
    },
  });
  const { dataplane, other, kernel } = parts;
  const desired = node(3000);
  await dataplane.apply(desired);
  assert.deepEqual(seen.map(([reason]) => reason), ["start"]);
  const whole = readContent(other, 4);
  for (const way of ["heard", "resync"] as const) {
    seen = [];
    await deleteTable(other);
    if (way === "heard") dataplane.heard();
    else await dataplane.resync();
    while (seen.length < 2) await new Promise((resolve) => setTimeout(resolve));
    await dataplane.update([]);
    assert.deepEqual(seen, [["closed", ...closedChains], ["repair", ...chainsOf(other)]]);
    assert.deepEqual(readContent(other, 4), whole);
  }
  // Once more while the whole is on its way: the kernel refuses it, and the skeleton is there again.
  seen = [];
  let batches = 0;
  kernel.onBatch = (port) => {
    if (port === other.port || ++batches !== 2) return;
    other.commitNow(other.begin().deleteTable({ family: "ip", name: "calico" }));
  };
  await deleteTable(other);
  await dataplane.resync();
  assert.deepEqual(seen.map(([reason]) => reason), ["closed", "closed", "repair"]);
  assert.deepEqual(readContent(other, 4), whole);
  kernel.onBatch = undefined;
  // A small one is there as soon.
  seen = [];
  await dataplane.apply(node(10));
  await deleteTable(other);
  await dataplane.resync();
  assert.deepEqual(seen.map(([reason]) => reason), ["change", "repair"]);
});

Deno.test("a table deleted in the midst of a plan is closed before that plan is committed", async () => {
  const reasons: string[] = [];
  const blows = { left: 0 };
  const { dataplane, other, kernel } = harness({
    later: (milliseconds, work) => {
      const timer = setTimeout(work, milliseconds);
      return () => clearTimeout(timer);
    },
    onEvent: (event) => {
      if (event.event !== "committed" || event.family !== 4) return;
      reasons.push(event.reason);
      // Its turn comes in the first pause of what is done next.
      if (event.reason === "closed" && blows.left-- > 0) setTimeout(() => deleteTable(other));
    },
  });
  const desired = node(30_000);
  await dataplane.apply(desired);
  const whole = shapeOf(readContent(other, 4)!);
  let batches = 0;
  kernel.onBatch = (port) => {
    if (port !== other.port) batches++;
  };
  for (const repeated of [1, 3]) {
    reasons.length = batches = 0;
    blows.left = repeated;
    await deleteTable(other);
    await dataplane.resync();
    const closings = Array<string>(repeated + 1).fill("closed");
    assert.deepEqual(reasons, [...closings, "repair"]);
    assert.equal(batches, reasons.length, "none of them was refused");
    assert.deepEqual(shapeOf(readContent(other, 4)!), whole);
  }
  await dataplane.close();
});

Deno.test("a table deleted while the whole is committed is closed before it is made again", async () => {
  const reasons: string[] = [];
  const { dataplane, other } = harness({
    onEvent: (event) => {
      if (event.event !== "committed" || event.family !== 4) return;
      reasons.push(event.reason);
    },
  });
  await dataplane.apply(node(10));
  // The kernel has taken it, and nobody has looked yet.
  const commit = NftClient.prototype.commit;
  let once = true;
  NftClient.prototype.commit = async function (tx, elsewhere) {
    await commit.call(this, tx, elsewhere);
    if (tx.size < 256_000 || !once) return;
    once = false;
    other.commitNow(other.begin().deleteTable({ family: "ip", name: "calico" }));
  };
  try {
    await dataplane.apply(node(20_000));
  } finally {
    NftClient.prototype.commit = commit;
  }
  assert.deepEqual(reasons, ["start", "change", "closed", "repair"]);
  assert.deepEqual(shapeOf(readContent(other, 4)!), expectedShape(node(20_000)[4]));
});

Deno.test("a table deleted while it is read is not taken for read", async () => {
  const { dataplane, other } = harness();
  const desired = node(10);
  await dataplane.apply(desired);
  // The event is heard in a pause of the reading, so it does not wait at the end.
  const elements = NftClient.prototype.elementsInTurns;
  let left = 2;
  NftClient.prototype.elementsInTurns = async function (set, reading) {
    const found = await elements.call(this, set, reading);
    if (set.family === "ip" && --left === 0) {
      await deleteTable(other);
      dataplane.heard();
    }
    return found;
  };
  try {
    await dataplane.resync();
  } finally {
    NftClient.prototype.elementsInTurns = elements;
  }
  assert.deepEqual(shapeOf(readContent(other, 4)!), expectedShape(desired[4]));
});

Deno.test("a light table that would wait for a heavy one is closed, too", async () => {
  const closed: Family[] = [];
  const { dataplane, other } = harness({
    onEvent: (event) => {
      if (event.event === "committed" && event.reason === "closed") closed.push(event.family);
    },
  });
  await dataplane.apply({ 4: node(3000)[4], 6: ruleset(6, [forward(accept)]) });
  const tx = other.begin();
  for (const family of ["ip", "ip6"] as const) tx.deleteTable({ family, name: "calico" });
  await other.commit(tx);
  await dataplane.resync();
  assert.deepEqual(closed, [4, 6]);
});

Deno.test("while a program that fights us waits for the whole, the skeleton stands; any process replaces it", async () => {
  let clock = 0;
  let due: (() => void) | undefined;
  const h = harness({
    now: () => clock,
    later: (_milliseconds, work) => {
      due = work;
      return () => due = undefined;
    },
  });
  const { dataplane, other, kernel, events } = h;
  const desired = node(10);
  await dataplane.apply(desired);
  const whole = readContent(other, 4);
  const settled = () => new Promise((resolve) => setTimeout(resolve));
  const blow = async () => {
    await deleteTable(other);
    dataplane.heard();
    await settled();
  };
  await blow();
  assert.deepEqual(chainsOf(other), [], "the first repair is due at once");
  due!();
  await dataplane.update([]);
  assert.deepEqual(readContent(other, 4), whole);
  for (let i = 0; i < 5; i++) {
    clock += 25;
    await blow();
    assert.deepEqual(chainsOf(other), closedChains, `blow ${i}`);
  }
  // One that comes faster than that is met a little later, by the next timer.
  const repair = due!;
  clock += 1;
  await blow();
  assert.deepEqual(chainsOf(other), []);
  assert.notEqual(due, repair);
  clock += 19;
  due!();
  await settled();
  assert.deepEqual(chainsOf(other), closedChains);
  const second = harness({}, kernel);
  await second.dataplane.apply(desired);
  assert.deepEqual(readContent(other, 4), whole);
  repair();
  await dataplane.update([]);
  assert.deepEqual(readContent(other, 4), whole);
  assert.equal(events.filter((e) => e.event === "committed" && e.reason === "closed").length, 6);
});

Deno.test("a second table holds connection tracking, is mended like the first, and goes with it", async () => {
  const { dataplane, other, events } = harness({ keepTracking: true });
  const names = () => other.tables().map(({ family, name }) => `${family} ${name}`).sort();
  const all = ["ip calico", "ip calico-conntrack", "ip6 calico", "ip6 calico-conntrack"];
  const rules = () =>
    (["ip", "ip6"] as const).map((family) =>
      other.rules({ family, name: "calico-conntrack" }).map((r) => r.expressions[0].kind)
    );
  await dataplane.apply(node(10));
  assert.deepEqual(names(), all);
  assert.deepEqual(rules(), [["ct"], ["ct"]]);
  await other.commit(other.begin().deleteTable({ family: "ip", name: "calico-conntrack" }));
  dataplane.heard();
  while (names().length < 4) await new Promise((resolve) => setTimeout(resolve));
  await dataplane.update([]);
  assert.deepEqual(rules(), [["ct"], ["ct"]]);
  assert.equal(events.filter((e) => e.event === "foreign").length, 1);
  await other.commit(
    other.begin().flushChain({ family: "ip6", table: "calico-conntrack", name: "keep-tracking" }),
  );
  await dataplane.resync();
  assert.deepEqual(rules(), [["ct"], ["ct"]]);
  await dataplane.remove();
  assert.deepEqual(names(), []);
});
