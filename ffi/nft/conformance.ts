/**
 * What nf_tables do, as tests: the same run on the fake kernel (fake_test.ts) and on the real one
 * (tests/nft/conformance_test.ts), so that what is proven on the fake one holds.
 */
import assert from "node:assert/strict";
import { isKernelError } from "../errors.ts";
import type { Connection } from "../netlink/connection.ts";
import { NLM_F_ACK, NLM_F_CREATE, NLM_F_REQUEST } from "../netlink/constants.ts";
import { MessageEncoder } from "../netlink/encoder.ts";
import type { NftClient } from "./client.ts";
import { intervalElements, readIntervals } from "./elements.ts";
import { StaleGenerationError, TransactionError } from "./errors.ts";
import type { NftEvents } from "./events.ts";
import { type Expression, verdictExpression } from "./expr.ts";
import { putTable } from "./objects.ts";
import type { NftSet } from "./set.ts";
import { accept, bytes, counter, drop, goTo, ifname, ip, jump, saddr, verdict } from "./testing.ts";
import { Transaction } from "./transaction.ts";
import { commentUserdata, readComment, setUserdata } from "./userdata.ts";
import {
  NFT_DATA_VERDICT,
  NFT_MSG_NEWRULE,
  NFT_MSG_NEWTABLE,
  NFT_RULE_MAXEXPRS,
  NFT_SET_ANONYMOUS,
  NFT_SET_CONSTANT,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  nftTypes,
} from "./wire.ts";

/** A kernel to try: the same namespace for all of one case, and nothing in it. */
export interface Kernel {
  readonly client: NftClient;
  /** The client's, for messages that no client would send. */
  readonly connection: Connection;
  /** Another program. */
  readonly other: NftClient;
  /** Opened before anything was committed. */
  readonly events: NftEvents;
}

const family = "ip" as const, table = "t";
const name = { family, name: table };
const chain = (chainName: string) => ({ family, table, name: chainName });
const set = (setName: string) => ({ family, table, name: setName });
const base = (priority = 0) =>
  ({ type: "filter", hook: "forward", priority, policy: "accept" }) as const;
const addrs = (setName: string, flags = 0): NftSet => ({
  ...set(setName),
  flags,
  keyType: nftTypes.ipv4_addr,
  keyLength: 4,
  id: 1,
  userdata: setUserdata("network"),
});
const verdicts = (setName: string): NftSet => ({
  ...set(setName),
  flags: NFT_SET_MAP,
  keyType: nftTypes.ifname,
  keyLength: 16,
  dataType: NFT_DATA_VERDICT,
  dataLength: 0,
  id: 1,
});
const rule = (chainName: string, ...expressions: Expression[]) => ({
  family,
  table,
  chain: chainName,
  expressions,
});
const commented = (chainName: string, comment: string) => ({
  ...rule(chainName, counter),
  userdata: commentUserdata(comment),
});
const lookup = (setName: string, dreg?: number): Expression => ({
  kind: "lookup",
  sreg: 1,
  dreg,
  set: setName,
});
const element = (address: string) => ({ key: ip(address) });
const range = (first: string, last: string) => intervalElements(ip(first), ip(last));

async function commit(kernel: Kernel, write: (t: Transaction) => unknown): Promise<void> {
  const t = kernel.client.begin();
  write(t);
  await kernel.client.commit(t);
}

/** The codes with which a transaction is refused. */
async function refusedWith(kernel: Kernel, write: (t: Transaction) => unknown): Promise<string[]> {
  try {
    await commit(kernel, write);
  } catch (error) {
    if (error instanceof TransactionError) return error.refusals.map((r) => r.code);
    throw error;
  }
  return [];
}

const comments = ({ client }: Kernel, chainName: string): string[] =>
  client.ruleHeads(name, chainName).map((r) => readComment(r.userdata));
const handles = ({ client }: Kernel, chainName: string): number[] =>
  client.ruleHeads(name, chainName).map((r) => r.handle);
const members = ({ client }: Kernel, setName: string): string[] =>
  client.elements(set(setName)).map((e) => e.key.join(".")).sort();

export const cases: Record<string, (kernel: Kernel) => Promise<void>> = {
  "a batch is done whole or not at all, and every refusal is told": async (k) => {
    await commit(k, (t) => t.addTable(name).addChain(chain("there")));
    const codes = await refusedWith(k, (t) =>
      t.addChain(chain("new"))
        .addRule(rule("nowhere", accept))
        .addRule(rule("new", jump("nowhere")))
        .addRule(rule("new", saddr, lookup("nothing")))
        .deleteSet(set("nothing")));
    assert.deepEqual(codes, ["ENOENT", "ENOENT", "ENOENT", "ENOENT"]);
    assert.deepEqual(k.client.chains(name).map((c) => c.name), ["there"]);
  },

  "a batch without its end is acknowledged and discarded": async (k) => {
    const whole = k.client.begin().addTable(name).addChain(chain("c")).finish();
    const before = k.client.generation();
    const answer = k.connection.exchange(whole.slice(0, whole.length - 20));
    assert.deepEqual(answer.refused, []);
    assert.equal(k.client.generation(), before);
    assert.equal(k.client.table(name), undefined);
  },

  "a change outside a batch is refused": async (k) => {
    assert.throws(
      () =>
        k.connection.request("add table", NFT_MSG_NEWTABLE, NLM_F_CREATE, (e) => putTable(e, name)),
      (error) => isKernelError(error, "EINVAL"),
    );
  },

  "an acknowledgement is no proof": async (k) => {
    // By hand: acknowledgements asked for, in a batch that fails elsewhere.
    const t = new Transaction({ nextSequence: () => k.connection.nextSequence() });
    const begin = t.finish().slice(0, 20), end = t.finish().slice(20);
    const sequence = k.connection.nextSequence();
    const good = new MessageEncoder().begin(NFT_MSG_NEWTABLE, NLM_F_REQUEST | NLM_F_ACK, sequence);
    putTable(good, name);
    good.end();
    const bad = k.client.begin().deleteTable({ family, name: "nothing" }).finish().slice(20, -20);
    const batch = new Uint8Array([...begin, ...good.finish(), ...bad, ...end]);
    const answer = k.connection.exchange(batch);
    assert(answer.done.has(sequence));
    assert.equal(answer.refused.length, 1);
    assert.equal(k.client.table(name), undefined);
  },

  "the generation counts commits that change something": async (k) => {
    const before = k.client.generation();
    await commit(k, (t) => t.addTable(name));
    assert.equal(k.client.generation(), before + 1);
    await k.other.commit(k.other.begin().addTable({ family: "ip6", name: "x" }));
    assert.equal(k.client.generation(), before + 2);
    await commit(k, () => {});
    assert.equal(k.client.generation(), before + 2);
    await refusedWith(k, (t) => t.deleteSet(set("nothing")));
    assert.equal(k.client.generation(), before + 2);
  },

  "who names a generation that is past is refused": async (k) => {
    const generation = k.client.generation();
    await k.other.commit(k.other.begin().addTable({ family: "ip6", name: "x" }));
    await assert.rejects(
      k.client.commit(k.client.begin(generation).addTable(name)),
      (error) => error instanceof StaleGenerationError && error.generation === generation,
    );
    assert.equal(k.client.table(name), undefined);
    await k.client.commit(k.client.begin(generation + 1).addTable(name));
    assert(k.client.table(name));
  },

  "what is in use cannot go, unless its use goes before": async (k) => {
    await commit(
      k,
      (t) =>
        t.addTable(name).addChain(chain("one")).addChain(chain("two")).addSet(addrs("s"))
          .addRule(rule("one", saddr, lookup("s"), jump("two"))),
    );
    assert.deepEqual(await refusedWith(k, (t) => t.deleteChain(chain("two"))), ["EBUSY"]);
    assert.deepEqual(await refusedWith(k, (t) => t.deleteSet(set("s"))), ["EBUSY"]);
    await commit(
      k,
      (t) => t.flushChain(chain("one")).deleteChain(chain("two")).deleteSet(set("s")),
    );
    assert.deepEqual(k.client.chains(name).map((c) => c.name), ["one"]);
    assert.deepEqual(k.client.sets(name), []);
  },

  "a chain that a map leads to is in use": async (k) => {
    const to = (to: string) => ({ key: ifname("cali1"), data: verdict("goto", to) });
    await commit(
      k,
      (t) =>
        t.addTable(name).addChain(chain("one")).addChain(chain("two")).addSet(verdicts("m"))
          .addElements(set("m"), [to("one")]),
    );
    assert.deepEqual(await refusedWith(k, (t) => t.deleteChain(chain("one"))), ["EBUSY"]);
    await commit(
      k,
      (t) =>
        t.deleteElements(set("m"), [{ key: ifname("cali1") }]).addElements(set("m"), [to("two")])
          .deleteChain(chain("one")),
    );
    const [found] = k.client.elements(set("m"));
    assert.deepEqual(found.data, verdict("goto", "two"));
    await commit(k, (t) => t.deleteSet(set("m")).deleteChain(chain("two")));
    assert.deepEqual(k.client.chains(name), []);
    assert.deepEqual(
      await refusedWith(k, (t) => t.addSet(verdicts("m")).addElements(set("m"), [to("two")])),
      ["ENOENT"],
    );
  },

  "a chain's own rules go with it": async (k) => {
    await commit(k, (t) =>
      t.addTable(name).addChain(chain("one")).addChain(chain("two")).addRule(
        rule("one", jump("two")),
      ));
    await commit(k, (t) => t.deleteChain(chain("one")).deleteChain(chain("two")));
    assert.deepEqual(k.client.chains(name), []);
  },

  "chains under a hook may not run in a circle": async (k) => {
    await commit(k, (t) =>
      t.addTable(name).addChain(chain("one")).addChain(chain("two"))
        .addRule(rule("one", jump("two"))).addRule(rule("two", jump("one"))));
    assert.deepEqual(
      await refusedWith(
        k,
        (t) => t.addChain({ ...chain("b"), base: base() }).addRule(rule("b", jump("one"))),
      ),
      ["EMLINK"],
    );
    await commit(k, (t) => t.flushChain(chain("two")));
    await commit(
      k,
      (t) => t.addChain({ ...chain("b"), base: base() }).addRule(rule("b", jump("one"))),
    );
    assert.deepEqual(await refusedWith(k, (t) => t.addRule(rule("two", jump("one")))), ["EMLINK"]);
  },

  "no rule leads to a base chain": async (k) => {
    const codes = await refusedWith(
      k,
      (t) =>
        t.addTable(name).addChain({ ...chain("b"), base: base() }).addChain(chain("c"))
          .addRule(rule("c", jump("b"))),
    );
    assert.deepEqual(codes, ["EOPNOTSUPP"]);
  },

  "a base chain can change its policy and nothing else": async (k) => {
    const make = (priority: number, policy: "accept" | "drop") => (t: Transaction) =>
      t.addTable(name).addChain({ ...chain("b"), base: { ...base(priority), policy } });
    await commit(k, make(5, "accept"));
    await commit(k, make(5, "drop"));
    assert.deepEqual(k.client.chains(name)[0].base, { ...base(5), policy: "drop" });
    assert.deepEqual(await refusedWith(k, make(6, "drop")), ["EOPNOTSUPP"]);
    await commit(k, (t) => {
      t.deleteChain(chain("b"));
      make(6, "accept")(t);
    });
    assert.deepEqual(k.client.chains(name)[0].base, base(6));
  },

  "rules are placed where they are told, and keep their handles": async (k) => {
    await commit(
      k,
      (t) =>
        t.addTable(name).addChain(chain("c")).addRule(commented("c", "b")).addRule(
          commented("c", "d"),
        ),
    );
    const [b, d] = handles(k, "c");
    await commit(
      k,
      (t) =>
        t.addRule(commented("c", "a"), "prepend").addRule(commented("c", "c"), { after: b })
          .addRule(commented("c", "e")).addRule(commented("c", "c2"), { before: d }),
    );
    assert.deepEqual(comments(k, "c"), ["a", "b", "c", "c2", "d", "e"]);
    const now = handles(k, "c");
    assert.deepEqual([now[1], now[4]], [b, d]);
    await commit(k, (t) =>
      t.replaceRule({ ...commented("c", "B"), handle: b })
        .deleteRule({ ...rule("c"), handle: d }));
    assert.deepEqual(comments(k, "c"), ["a", "B", "c", "c2", "e"]);
    assert.equal(handles(k, "c")[1], b);
    assert.deepEqual(
      await refusedWith(k, (t) => t.deleteRule({ ...rule("c"), handle: d })),
      ["ENOENT"],
    );
    assert.deepEqual(
      await refusedWith(k, (t) => t.addRule(commented("c", "x"), { before: 9999 })),
      ["ENOENT"],
    );
    await commit(k, (t) => t.flushChain(chain("c")));
    assert.deepEqual(comments(k, "c"), []);
  },

  "a rule has so many expressions and no more; the refusal names its chain": async (k) => {
    const long = (length: number) => Array.from({ length }, () => counter);
    await commit(k, (t) => {
      t.addTable(name).addChain(chain("a")).addChain(chain("b"));
      t.addRule(rule("a", ...long(NFT_RULE_MAXEXPRS)));
    });
    const t = k.client.begin();
    t.addRule(rule("a", accept)).addRule(rule("b", ...long(NFT_RULE_MAXEXPRS + 1)));
    await assert.rejects(k.client.commit(t), (error) => {
      assert(error instanceof TransactionError);
      const [{ code, message }, ...more] = error.refusals;
      assert.deepEqual([code, message, more], [
        "EINVAL",
        { type: NFT_MSG_NEWRULE, name: "b" },
        [],
      ]);
      return true;
    });
    assert.equal(handles(k, "a").length, 1);
  },
  "elements come and go": async (k) => {
    await commit(k, (t) =>
      t.addTable(name).addSet(addrs("s")).addElements(set("s"), [
        element("10.0.0.1"),
        element("10.0.0.2"),
      ]));
    await commit(k, (t) => t.addElements(set("s"), [element("10.0.0.1"), element("10.0.0.3")]));
    assert.deepEqual(members(k, "s"), ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    assert.deepEqual(
      await refusedWith(k, (t) => t.addElements(set("s"), [element("10.0.0.1")], true)),
      ["EEXIST"],
    );
    assert.deepEqual(
      await refusedWith(k, (t) => t.deleteElements(set("s"), [element("10.0.0.9")])),
      ["ENOENT"],
    );
    await commit(k, (t) =>
      t.deleteElements(set("s"), [element("10.0.0.1")]).addElements(
        set("s"),
        [element("10.0.0.4")],
        true,
      ));
    assert.deepEqual(members(k, "s"), ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    await commit(k, (t) => t.flushSet(set("s")));
    assert.deepEqual(members(k, "s"), []);
  },

  "a key of a map has one value": async (k) => {
    const to = (data: ReturnType<typeof verdict>) => ({ key: ifname("cali1"), data });
    await commit(k, (t) =>
      t.addTable(name).addChain(chain("one")).addSet(verdicts("m"))
        .addElements(set("m"), [to(verdict("goto", "one"))]));
    await commit(k, (t) => t.addElements(set("m"), [to(verdict("goto", "one"))]));
    assert.deepEqual(
      await refusedWith(k, (t) => t.addElements(set("m"), [to(verdict("jump", "one"))])),
      ["EEXIST"],
    );
  },

  "intervals may touch and reach the ends, but not overlap": async (k) => {
    await commit(
      k,
      (t) =>
        t.addTable(name).addSet(addrs("s", NFT_SET_INTERVAL)).addElements(set("s"), [
          ...range("10.0.0.0", "10.0.0.127"),
          ...range("10.0.0.128", "10.0.0.255"),
          ...range("0.0.0.0", "0.255.255.255"),
          ...range("255.0.0.0", "255.255.255.255"),
        ], true),
    );
    const read = () =>
      readIntervals(k.client.elements(set("s"))).map((i) =>
        `${i.first.join(".")}-${i.last.join(".")}`
      );
    assert.deepEqual(read(), [
      "0.0.0.0-0.255.255.255",
      "10.0.0.0-10.0.0.127",
      "10.0.0.128-10.0.0.255",
      "255.0.0.0-255.255.255.255",
    ]);
    assert.deepEqual(
      await refusedWith(
        k,
        (t) => t.addElements(set("s"), range("10.0.0.64", "10.0.0.200"), true),
      ),
      ["EEXIST"],
    );
    // The one in the place of the other, and a wider one in the place of two.
    await commit(k, (t) =>
      t.deleteElements(set("s"), range("10.0.0.0", "10.0.0.127"))
        .deleteElements(set("s"), range("10.0.0.128", "10.0.0.255"))
        .addElements(set("s"), range("10.0.0.0", "10.0.0.255"), true));
    assert.deepEqual(read()[1], "10.0.0.0-10.0.0.255");
  },

  "a set of ports lives and dies with its rule": async (k) => {
    const anonymous = { ...set("__set%d"), id: 7 };
    await commit(k, (t) => {
      t.addTable(name).addChain(chain("c"));
      t.addSet({
        ...anonymous,
        flags: NFT_SET_ANONYMOUS | NFT_SET_CONSTANT,
        keyType: nftTypes.inet_service,
        keyLength: 2,
        size: 2,
      });
      t.addElements(anonymous, [{ key: bytes("0050") }, { key: bytes("01bb") }]);
      t.addRule(rule("c", { kind: "payload", dreg: 1, base: "transport", offset: 2, length: 2 }, {
        ...lookup("__set%d"),
        setId: 7,
      } as Expression));
    });
    const [found] = k.client.sets(name);
    assert.equal(found.flags & NFT_SET_ANONYMOUS, NFT_SET_ANONYMOUS);
    assert.equal(k.client.elements(found).length, 2);
    const [{ expressions }] = k.client.rules(name, "c");
    assert.equal((expressions[1] as { set: string }).set, found.name);
    await commit(k, (t) => t.flushChain(chain("c")));
    assert.deepEqual(k.client.sets(name), []);
  },

  "in one batch a name can go and come as something else": async (k) => {
    await commit(k, (t) =>
      t.addTable(name).addChain(chain("c")).addSet(addrs("s")).addRule(
        rule("c", saddr, lookup("s")),
      ));
    assert.deepEqual(
      await refusedWith(k, (t) => t.addSet(addrs("s", NFT_SET_INTERVAL))),
      ["EEXIST"],
    );
    await commit(k, (t) =>
      t.flushChain(chain("c")).deleteSet(set("s")).deleteChain(chain("c"))
        .addSet(addrs("s", NFT_SET_INTERVAL)).addChain({ ...chain("c"), base: base() })
        .addElements(set("s"), range("10.0.0.0", "10.0.0.3"), true)
        .addRule(rule("c", saddr, lookup("s"), drop)));
    assert.equal(k.client.sets(name)[0].flags, NFT_SET_INTERVAL);
    assert.deepEqual(k.client.chains(name)[0].base, base());
    await commit(k, (t) => t.deleteTable(name).addTable(name).addChain(chain("x")));
    assert.deepEqual(k.client.chains(name).map((c) => c.name), ["x"]);
  },

  "a table can be switched off and on": async (k) => {
    await commit(k, (t) => t.addTable({ ...name, flags: 1 }));
    assert.equal(k.client.table(name)?.flags, 1);
    await commit(k, (t) => t.addTable({ ...name, flags: 0 }));
    assert.equal(k.client.table(name)?.flags, 0);
  },

  "what is not there lists as nothing, or is told to be missing": async (k) => {
    assert.deepEqual(k.client.tables(), []);
    assert.deepEqual(k.client.chains(name), []);
    assert.deepEqual(k.client.rules(name), []);
    assert.throws(() => k.client.sets(name), (error) => isKernelError(error, "ENOENT"));
    assert.throws(() => k.client.elements(set("s")), (error) => isKernelError(error, "ENOENT"));
    assert.equal(k.client.table(name), undefined);
    assert.deepEqual(await k.client.rulesInTurns(name, (head) => head), []);
  },

  "commits are heard of, with who made them": async (k) => {
    const heard: string[] = [];
    const drain = () =>
      k.events.drain(k.client.port, {
        changed: (family, table, port) =>
          heard.push(`${family} ${table} by ${port === k.other.port ? "other" : port}`),
        committed: (generation, port) =>
          heard.push(`${generation} by ${port === k.client.port ? "us" : "other"}`),
        lost: () => heard.push("lost"),
      });
    const before = k.client.generation();
    await commit(k, (t) => t.addTable(name).addChain(chain("c")));
    await k.other.commit(
      k.other.begin().addTable({ family: "ip6", name: "x" }).addRule(rule("c", accept)),
    );
    drain();
    assert.deepEqual(heard, [
      `${before + 1} by us`,
      "ip6 x by other",
      "ip t by other",
      `${before + 2} by other`,
    ]);
    heard.length = 0;
    await k.events.deaf(() => commit(k, (t) => t.addChain(chain("d"))));
    drain();
    assert.deepEqual(heard, []);
    await commit(
      k,
      (t) => t.addRule(rule("d", verdictExpression({ code: "continue" }), goTo("c"))),
    );
    drain();
    assert.deepEqual(heard, [`${before + 4} by us`]);
  },
};
