/**
 * Our bytes are nft's bytes. Each test writes one batch from typed objects and compares it, byte by
 * byte, with what the real nft sent for the script of the same name (`golden/<name>.nft`, captured by
 * tests/tools/capture_nft.ts). A batch that is read back gives the same objects.
 */
import assert from "node:assert/strict";
import { MessageCursor } from "../netlink/decoder.ts";
import { intervalElements } from "./elements.ts";
import {
  CT_STATE,
  CT_STATUS,
  type Expression,
  FIB,
  hostWord,
  NAT_RANGE,
  portBytes,
  RTN_LOCAL,
  verdictExpression,
} from "./expr.ts";
import { getRule } from "./objects.ts";
import { concatenatedType } from "./set.ts";
import {
  accept,
  bytes,
  cmp,
  counter,
  daddr,
  daddr6,
  dport,
  drop,
  fib,
  goTo,
  hex,
  ifname,
  ip,
  jump,
  leave,
  lookup,
  mask,
  messages,
  meta,
  nothingFrom,
  payload,
  protocol,
  rule,
  saddr,
  saddr6,
  set,
  sport,
  verdict,
} from "./testing.ts";
import { Transaction } from "./transaction.ts";
import { setUserdata } from "./userdata.ts";
import {
  NFT_DATA_VERDICT,
  NFT_MSG_NEWRULE,
  NFT_SET_ANONYMOUS,
  NFT_SET_CONSTANT,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  nftTypes,
} from "./wire.ts";

const table = "calico";

const batches: Record<string, (tx: Transaction) => void> = {
  "tables-and-chains": (tx) => {
    const family = "ip6", table = "tortie";
    tx.addTable({ family, name: table });
    tx.addChain({ family, table, name: "cali-fw" });
    tx.addChain({
      family,
      table,
      name: "raw-PREROUTING",
      base: { type: "filter", hook: "prerouting", priority: -300, policy: "drop" },
    });
    tx.addChain({
      family,
      table,
      name: "mangle-OUTPUT",
      base: { type: "route", hook: "output", priority: -150, policy: "accept" },
    });
    tx.addChain({
      family,
      table,
      name: "nat-INPUT",
      base: { type: "nat", hook: "input", priority: 100, policy: "accept" },
    });
  },

  interfaces: (tx) => {
    rule(
      tx,
      "forward",
      [meta("iifname"), cmp("eq", new TextEncoder().encode("cali")), counter, jump("cali-pi")],
      "cali:abcdefgh_-012345; from workloads",
    );
    rule(tx, "forward", [meta("oifname"), cmp("neq", ifname("tunl0")), counter, goTo("cali-pi")]);
    rule(tx, "forward", [meta("iifname"), cmp("eq", ifname("cali0123456789a")), leave]);
  },

  "addresses-v4": (tx) => {
    // Prefixes of whole bytes are compared without a mask.
    rule(tx, "cali-pi", [
      payload("network", 12, 2),
      cmp("eq", new Uint8Array([10, 65])),
      counter,
      accept,
    ]);
    rule(tx, "cali-pi", [
      daddr,
      mask(ip("255.255.255.192")),
      cmp("neq", ip("10.65.0.128")),
      counter,
      drop,
    ]);
    rule(tx, "cali-pi", [saddr, cmp("eq", ip("10.65.0.7")), leave]);
    rule(tx, "cali-pi", [saddr, lookup("cali40this-host", 1), accept]);
    rule(tx, "cali-pi", [daddr, lookup("cali40pools", 2, 1), drop]);
  },

  "addresses-v6": (tx) => {
    const chain = "cali-pi", family = "ip6";
    const six = (expressions: Expression[]) => rule(tx, chain, expressions, undefined, family);
    six([payload("network", 8, 8), cmp("eq", ip("fd00:10::").slice(0, 8)), counter, accept]);
    six([
      daddr6,
      mask(bytes("ffffffffffffffffffe0000000000000")),
      cmp("neq", ip("fd00:10:0:0:80::")),
      counter,
      drop,
    ]);
    six([daddr6, cmp("eq", ip("fd00::1")), accept]);
    six([saddr6, lookup("cali60pools", 5), accept]);
    six([
      ...protocol(58),
      payload("transport", 0, 1),
      cmp("eq", new Uint8Array([135])),
      accept,
    ]);
    six([counter, { kind: "reject", type: "icmp", code: 4 }]);
  },

  ports: (tx) => {
    rule(tx, "cali-pi", [...protocol(6), dport, cmp("eq", portBytes(80)), accept]);
    rule(tx, "cali-pi", [...protocol(17, "neq"), drop]);
    rule(tx, "cali-pi", [
      ...protocol(17),
      sport,
      cmp("gte", portBytes(1000)),
      cmp("lte", portBytes(2000)),
      accept,
    ]);
    rule(tx, "cali-pi", [...protocol(17), dport, cmp("neq", portBytes(53)), drop]);
    rule(tx, "cali-pi", [
      ...protocol(132),
      dport,
      { kind: "range", sreg: 1, op: "neq", from: portBytes(7000), to: portBytes(7010) },
      drop,
    ]);
  },

  "port-lists": (tx) => {
    const anonymous = "__set%d";
    tx.addSet({
      ...set(anonymous, 6),
      flags: NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | NFT_SET_INTERVAL,
      keyType: nftTypes.inet_service,
      keyLength: 2,
      size: 7,
      // Byte order, merged elements, and the type as an expression: for nft's own listing.
      userdata: bytes(
        "000402000000 020401000000 0314 000407000000 010c 00040b000000 010402000000",
      ),
    });
    tx.addElements(set(anonymous, 6), [
      nothingFrom(2),
      ...intervalElements(portBytes(80), portBytes(80)),
      ...intervalElements(portBytes(443), portBytes(443)),
      ...intervalElements(portBytes(8000), portBytes(8080)),
    ]);
    rule(tx, "cali-pi", [...protocol(6), dport, lookup(anonymous, 6), accept]);
    tx.addSet({
      ...set(anonymous, 7),
      flags: NFT_SET_ANONYMOUS | NFT_SET_CONSTANT,
      keyType: nftTypes.inet_service,
      keyLength: 2,
      size: 2,
      userdata: bytes("000402000000 0314 000407000000 010c 00040b000000 010401000000"),
    });
    tx.addElements(set(anonymous, 7), [{ key: portBytes(53) }, { key: portBytes(67) }]);
    rule(tx, "cali-pi", [...protocol(17), sport, lookup(anonymous, 7, 1), accept]);
  },

  icmp: (tx) => {
    rule(tx, "cali-pi", [
      ...protocol(1),
      payload("transport", 0, 1),
      cmp("eq", new Uint8Array([8])),
      accept,
    ]);
    // Two neighbouring fields that are both to be equal: nft compares them as one.
    rule(tx, "cali-pi", [
      ...protocol(1),
      payload("transport", 0, 2),
      cmp("eq", new Uint8Array([3, 4])),
      drop,
    ]);
  },

  "conntrack-and-marks": (tx) => {
    const chain = "cali-pi";
    const state: Expression = { kind: "ct", key: "state", dreg: 1 };
    const none = hostWord(0);
    rule(tx, chain, [
      state,
      mask(hostWord(CT_STATE.established | CT_STATE.related)),
      cmp("neq", none),
      accept,
    ]);
    rule(tx, chain, [state, mask(hostWord(CT_STATE.invalid)), cmp("neq", none), drop]);
    rule(tx, chain, [
      { kind: "ct", key: "status", dreg: 1 },
      mask(hostWord(CT_STATUS.dnat)),
      cmp("neq", none),
      accept,
    ]);
    const mark = meta("mark");
    rule(tx, chain, [mark, mask(hostWord(0x10000), 0), cmp("eq", hostWord(0x10000)), leave]);
    rule(tx, chain, [mark, mask(hostWord(0x30000), 0), cmp("neq", none), accept]);
    const set: Expression = { kind: "meta", key: "mark", sreg: 1 };
    rule(tx, chain, [mark, mask(hostWord(0xfffeffff), 0), set]);
    rule(tx, chain, [
      mark,
      {
        kind: "bitwise",
        sreg: 1,
        dreg: 1,
        op: 0,
        length: 4,
        mask: hostWord(0xfff0ffff),
        xor: hostWord(0x10000),
      },
      set,
    ]);
  },

  routing: (tx) => {
    rule(tx, "prerouting", [
      fib(FIB.saddr | FIB.mark | FIB.iif, "oif"),
      cmp("eq", hostWord(0)),
      counter,
      drop,
    ]);
    rule(tx, "cali-pi", [fib(FIB.daddr, "addrtype"), cmp("eq", hostWord(RTN_LOCAL)), accept]);
    rule(tx, "cali-pi", [
      fib(FIB.saddr | FIB.oif, "addrtype"),
      cmp("neq", hostWord(RTN_LOCAL)),
      accept,
    ]);
  },

  actions: (tx) => {
    const chain = "cali-pi";
    rule(tx, "prerouting", [
      ...protocol(17),
      dport,
      cmp("eq", portBytes(4789)),
      counter,
      { kind: "notrack" },
    ]);
    rule(tx, chain, [counter, { kind: "reject", type: "icmp", code: 3 }]);
    rule(tx, chain, [...protocol(6), { kind: "reject", type: "tcp-reset", code: 0 }]);
    rule(tx, chain, [{ kind: "log", prefix: "calico-packet: ", level: 6 }]);
    rule(tx, chain, [{ kind: "log", prefix: "DPI0|np/default/x", group: 2 }]);
    rule(tx, chain, [
      { kind: "limit", rate: 10, unit: 60, burst: 5, type: 0, flags: 0 },
      accept,
    ]);
    rule(tx, chain, [verdictExpression({ code: "continue" })]);
    rule(tx, chain, [{ kind: "connlimit", count: 20, flags: 1 }, drop]);
    rule(tx, chain, [{ kind: "quota", bytes: 1024, flags: 1, consumed: 0 }, drop]);
    tx.addCounter({ family: "ip", table, name: "hits" });
    rule(tx, chain, [{ kind: "objref", type: 1, name: "hits" }]);
  },

  masquerade: (tx) => {
    rule(tx, "postrouting", [
      saddr,
      lookup("cali40pools", 2),
      daddr,
      lookup("cali40pools", 2, 1),
      counter,
      { kind: "masq", flags: NAT_RANGE.fullyRandom },
    ]);
    rule(tx, "postrouting", [{ kind: "masq" }]);
    rule(tx, "postrouting", [
      ...protocol(17),
      { kind: "immediate", dreg: 1, data: { value: portBytes(1024) } },
      { kind: "immediate", dreg: 2, data: { value: portBytes(4788) } },
      { kind: "masq", flags: NAT_RANGE.proto, protoMin: 1, protoMax: 2 },
    ]);
  },

  sets: (tx) => {
    tx.addSet({
      ...set("cali40s-one", 1),
      flags: 0,
      keyType: nftTypes.ipv4_addr,
      keyLength: 4,
      userdata: setUserdata("network"),
    });
    tx.addElements(set("cali40s-one", 1), [{ key: ip("10.0.0.1") }, { key: ip("10.0.0.2") }]);
    tx.addSet({
      ...set("cali60s-two", 2, "ip6"),
      flags: NFT_SET_INTERVAL,
      keyType: nftTypes.ipv6_addr,
      keyLength: 16,
      userdata: setUserdata("network"),
    });
    const three = set("cali60n-three", 3, "ip6");
    tx.addSet({
      ...three,
      flags: 0,
      keyType: concatenatedType([
        nftTypes.ipv6_addr,
        nftTypes.inet_proto,
        nftTypes.inet_service,
      ]),
      keyLength: 24,
      userdata: bytes("000400000000 0308 00040d000000 0100"),
    });
    tx.addElements(three, [{
      key: new Uint8Array([...ip("fd00::5"), 6, 0, 0, 0, ...portBytes(443), 0, 0]),
    }]);
  },

  "interval-elements": (tx) => {
    tx.addElements(set("cali40pools", 2), [
      nothingFrom(4),
      ...intervalElements(ip("10.65.0.0"), ip("10.65.0.63")),
      ...intervalElements(ip("10.99.0.5"), ip("10.99.0.5")),
      ...intervalElements(ip("192.168.0.0"), ip("192.168.255.255")),
    ]);
    tx.deleteElements(set("cali40pools"), intervalElements(ip("10.65.0.0"), ip("10.65.0.63")));
    tx.addElements(set("cali60pools", 5, "ip6"), [
      nothingFrom(16),
      ...intervalElements(ip("fd00:10::"), ip("fd00:10::ffff:ffff:ffff:ffff")),
      // To the top: no end; nft notes for itself that the interval is open.
      ...intervalElements(ip("ff00::"), ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))
        .map((e) => ({ ...e, userdata: bytes("010401000000") })),
    ]);
  },

  concatenation: (tx) => {
    const name = "cali40ports";
    tx.addElements(set(name, 3), [{
      key: new Uint8Array([...ip("10.65.0.2"), 6, 0, 0, 0, ...portBytes(8080), 0, 0]),
    }]);
    // The fields stand behind one another: register 1 is the words 8 to 11.
    const fields = (address: number, port: number): Expression[] => [
      payload("network", address, 4),
      { kind: "meta", key: "l4proto", dreg: 9 },
      payload("transport", port, 2, 10),
    ];
    rule(tx, "cali-pi", [...fields(16, 2), lookup(name, 3), accept]);
    rule(tx, "cali-pi", [...fields(12, 0), lookup(name, 3, 1), drop]);
  },

  "verdict-map": (tx) => {
    const toWorkloads = set("to-wl", 1);
    tx.addSet({
      ...toWorkloads,
      flags: NFT_SET_MAP,
      keyType: nftTypes.ifname,
      keyLength: 16,
      dataType: NFT_DATA_VERDICT,
      dataLength: 0,
      userdata: setUserdata("host", "none"),
    });
    tx.addElements(toWorkloads, [
      { key: ifname("cali1"), data: verdict("goto", "fw-cali1") },
      { key: ifname("cali2"), data: verdict("jump", "fw-cali2") },
      { key: ifname("cali3"), data: { verdict: { code: "drop" } } },
    ]);
    tx.deleteElements(set("from-wl"), [{ key: ifname("cali1") }]);
    rule(tx, "forward", [meta("oifname"), {
      kind: "lookup",
      sreg: 1,
      dreg: 0,
      set: "to-wl",
      setId: 1,
    }]);
  },

  deletions: (tx) => {
    const family = "ip";
    tx.flushChain({ family, table, name: "fw-cali2" });
    tx.deleteElements(set("from-wl"), [{ key: ifname("cali1") }]);
    tx.deleteChain({ family, table, name: "fw-cali1" });
    tx.flushSet(set("cali40this-host"));
    tx.deleteSet(set("cali40ports"));
    tx.deleteTable({ family: "ip6", name: "calico" });
  },
};

for (const [name, write] of Object.entries(batches)) {
  Deno.test(`the batch "${name}" has nft's bytes`, async () => {
    const golden = await Deno.readTextFile(new URL(`golden/${name}.hex`, import.meta.url));
    const tx = new Transaction();
    write(tx);
    assert.deepEqual(messages(tx.finish()), messages(bytes(golden)));
  });
}

Deno.test("every golden file has its test", async () => {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(new URL("golden", import.meta.url))) {
    if (name.endsWith(".nft") && name !== "setup.nft") names.push(name.slice(0, -4));
  }
  assert.deepEqual(names.sort(), Object.keys(batches).sort());
});

Deno.test("rules that nft sent read as what they were written from, and write as they were", async () => {
  let rules = 0;
  for (const name of Object.keys(batches)) {
    const golden = bytes(
      await Deno.readTextFile(new URL(`golden/${name}.hex`, import.meta.url)),
    );
    const tx = new Transaction();
    batches[name](tx);
    const ours = new MessageCursor(tx.finish()), theirs = new MessageCursor(golden);
    while (ours.next() && theirs.next()) {
      if (theirs.type !== NFT_MSG_NEWRULE) continue;
      const read = getRule(theirs);
      assert(read);
      assert.deepEqual(read, getRule(ours));
      const again = new Transaction().addRule(read).finish();
      const first = new MessageCursor(again);
      first.next();
      first.next();
      assert.equal(hex(first.bytes()), hex(theirs.bytes()));
      rules++;
    }
  }
  assert(rules > 40, `${rules} rules`);
});
