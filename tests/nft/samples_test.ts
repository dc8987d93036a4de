/**
 * nf_tables and conntrack messages that others captured (`reference/netlink-samples` of the folder
 * `shared` beside the checkout, where there is one): ours must have the same bytes, and what the
 * kernel answered must be read for what it is.
 *
 * Samples that nft and conntrack(8) sent are compared byte by byte. Those that were built by hand come
 * with attributes in another order and with acknowledgements asked for, which says nothing to the
 * kernel: these are compared with both put aside.
 */
import assert from "node:assert/strict";
import { Conntrack, getFlow, putDelete, putFlow, putHeader } from "../../ffi/conntrack.ts";
import { readAcknowledgement } from "../../ffi/netlink/acknowledgement.ts";
import { Connection } from "../../ffi/netlink/connection.ts";
import { NLMSG_ERROR } from "../../ffi/netlink/constants.ts";
import { AttributeCursor, MessageCursor } from "../../ffi/netlink/decoder.ts";
import { MessageEncoder } from "../../ffi/netlink/encoder.ts";
import { fakeKernel } from "../../ffi/netlink/fake.ts";
import { NftClient } from "../../ffi/nft/client.ts";
import { intervalElements } from "../../ffi/nft/elements.ts";
import { explainRefusals } from "../../ffi/nft/errors.ts";
import {
  CT_STATE,
  CT_STATUS,
  type Expression,
  FIB,
  hostWord,
  NAT_RANGE,
  portBytes,
  RTN_LOCAL,
} from "../../ffi/nft/expr.ts";
import { getRule } from "../../ffi/nft/objects.ts";
import * as w from "../../ffi/nft/testing.ts";
import { Transaction, type TransactionOptions } from "../../ffi/nft/transaction.ts";
import { commentUserdata, readComment, setUserdata } from "../../ffi/nft/userdata.ts";
import {
  NFT_DATA_VERDICT,
  NFT_MSG_NEWRULE,
  NFT_SET_ANONYMOUS,
  NFT_SET_CONCAT,
  NFT_SET_CONSTANT,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  nftTypes,
} from "../../ffi/nft/wire.ts";
import { mustIp } from "../../mod/net/mod.ts";

const folder = new URL("../../../shared/reference/netlink-samples/", import.meta.url);
const there = await Deno.stat(folder).then(() => true, () => false);
const skipped = there ? "" : " (skipped: ../shared/reference is not beside this checkout)";

interface Sample {
  readonly sent: Uint8Array[];
  readonly received: Uint8Array[];
}

async function read(name: string): Promise<Sample> {
  const text = await Deno.readTextFile(new URL(`${name}.txt`, folder));
  const sample: Sample = { sent: [], received: [] };
  for (const [, direction, hex] of text.matchAll(/^## (SEND|RECV)[^\n]*\n((?:[0-9a-f]+\n)+)/gm)) {
    sample[direction === "SEND" ? "sent" : "received"].push(w.bytes(hex));
  }
  return sample;
}

const ip4 = "ip" as const, table = "calico";
const chain = (name: string) => ({ family: ip4, table, name });
const { set, rule, counter, accept, drop, ip } = w;
const fw = "filter-cali-fw", fw1 = "filter-cali-fw-cali1", fw2 = "filter-cali-fw-cali2";
const dispatch = "filter-cali-from-wl-dispatch";
const cali40nets = (tx: Transaction, name: string, addresses: string[], flags: number) => {
  tx.addSet({
    ...set(name, 1),
    flags,
    keyType: nftTypes.ipv4_addr,
    keyLength: 4,
    userdata: setUserdata("network"),
  });
  tx.addElements(set(name, 1), addresses.map((a) => ({ key: ip(a) })));
};
/** Userdata of a concatenation: no byte order, and the fields' types for nft's own listing. */
const concatenated = w.bytes("000400000000 0308 00040d000000 0100");
const markStays = hostWord(0x80000);
const toMark: Expression = { kind: "meta", key: "mark", sreg: 1 };
const markTo = (mask: number, xor: number): Expression[] => [
  w.meta("mark"),
  {
    kind: "bitwise",
    sreg: 1,
    dreg: 1,
    op: 0,
    length: 4,
    mask: hostWord(mask),
    xor: hostWord(xor),
  },
  toMark,
];
const load = (dreg: number, value: Uint8Array): Expression => ({
  kind: "immediate",
  dreg,
  data: { value },
});

/** What nft sent, by the sample's name. */
const byNft: Record<string, (tx: Transaction) => void> = {
  "table-chains": (tx) => {
    tx.addTable({ family: ip4, name: table });
    tx.addChain(chain(fw));
    tx.addChain({
      ...chain("filter-FORWARD"),
      base: { type: "filter", hook: "forward", priority: 0, policy: "accept" },
    });
    tx.addChain({
      ...chain("nat-POSTROUTING"),
      base: { type: "nat", hook: "postrouting", priority: 110, policy: "accept" },
    });
  },
  "rule-jump-iifname-counter": (tx) =>
    rule(
      tx,
      "filter-FORWARD",
      [w.meta("iifname"), w.cmp("eq", new TextEncoder().encode("cali")), counter, w.jump(fw)],
      "cali:abcd1234abcd1234;",
    ),
  "rule-payload-cidr-port": (tx) => {
    rule(tx, fw, [
      w.payload("network", 12, 2),
      w.cmp("eq", new Uint8Array([10, 65])),
      ...w.protocol(6),
      w.dport,
      w.cmp("eq", portBytes(8080)),
      counter,
      accept,
    ]);
    rule(tx, fw, [
      w.daddr,
      w.cmp("neq", ip("10.96.0.1")),
      ...w.protocol(17),
      w.dport,
      w.cmp("gte", portBytes(1000)),
      w.cmp("lte", portBytes(2000)),
      counter,
      drop,
    ]);
  },
  "rule-mark-ct": (tx) => {
    const state: Expression = { kind: "ct", key: "state", dreg: 1 };
    const known = CT_STATE.established | CT_STATE.related;
    rule(tx, fw, [state, w.mask(hostWord(known)), w.cmp("neq", hostWord(0)), counter, accept]);
    rule(tx, fw, [
      state,
      w.mask(hostWord(CT_STATE.invalid)),
      w.cmp("neq", hostWord(0)),
      counter,
      drop,
    ]);
    rule(tx, fw, markTo(0xfffeffff, 0));
    rule(tx, fw, [
      w.meta("mark"),
      w.mask(hostWord(0x10000), 0),
      w.cmp("eq", hostWord(0x10000)),
      counter,
      w.leave,
    ]);
    rule(tx, fw, markTo(0xfffdffff, 0x20000));
    rule(tx, fw, markTo(0xfff0ffff, 0x10000));
  },
  "goto-drop-return": (tx) => {
    rule(tx, fw, [w.goTo(fw1)]);
    rule(tx, fw2, [w.leave]);
    rule(tx, fw2, [drop]);
    rule(tx, fw2, [w.meta("oifname"), w.cmp("eq", w.ifname("cali2")), accept]);
    rule(tx, fw2, [
      w.meta("iif"),
      w.cmp("eq", hostWord(1)),
      w.meta("oif"),
      w.cmp("eq", hostWord(1)),
      accept,
    ]);
  },
  "set-ipv4": (tx) => {
    cali40nets(tx, "cali40this-host", ["10.0.0.1", "10.0.0.2"], 0);
    rule(tx, fw, [w.saddr, w.lookup("cali40this-host", 1), counter, accept]);
    rule(tx, fw, [w.daddr, w.lookup("cali40this-host", 1, 1), counter, drop]);
  },
  "set-interval": (tx) => {
    cali40nets(tx, "cali40nets", [], NFT_SET_INTERVAL);
    const nets = [
      ["10.65.0.0", "10.65.0.63"],
      ["10.99.0.5", "10.99.0.5"],
      ["192.168.0.0", "192.168.255.255"],
    ].flatMap(([first, last]) => intervalElements(ip(first), ip(last)));
    // nft 1.0.6 sends the elements twice: at first with what is before them.
    tx.addElements(set("cali40nets", 1), [w.nothingFrom(4), ...nets]);
    tx.addElements(set("cali40nets", 1), nets);
    rule(tx, fw, [w.saddr, w.lookup("cali40nets", 1), counter, accept]);
  },
  "set-concat": (tx) => {
    const ports = set("cali40ports", 1);
    tx.addSet({ ...ports, flags: 0, keyType: 0x730d, keyLength: 12, userdata: concatenated });
    tx.addElements(ports, [{
      key: new Uint8Array([...ip("10.65.0.2"), 6, 0, 0, 0, ...portBytes(8080), 0, 0]),
    }]);
    rule(tx, fw, [
      w.daddr,
      w.meta("l4proto", 9),
      w.payload("transport", 2, 2, 10),
      w.lookup("cali40ports", 1),
      counter,
      accept,
    ]);
  },
  "set-concat-interval": (tx) => {
    const ports = set("cali40netport", 1);
    tx.addSet({
      ...ports,
      flags: NFT_SET_CONCAT | NFT_SET_INTERVAL,
      keyType: 0x730d,
      keyLength: 12,
      fields: [4, 1, 2],
      userdata: concatenated,
    });
    tx.addElements(ports, [{
      key: new Uint8Array([...ip("10.65.0.0"), 6, 0, 0, 0, ...portBytes(8000), 0, 0]),
      keyEnd: new Uint8Array([...ip("10.65.0.63"), 6, 0, 0, 0, ...portBytes(8080), 0, 0]),
    }]);
  },
  "anon-set-ports": (tx) => {
    const ports = set("__set%d", 5);
    tx.addSet({
      ...ports,
      flags: NFT_SET_ANONYMOUS | NFT_SET_CONSTANT | NFT_SET_INTERVAL,
      keyType: nftTypes.inet_service,
      keyLength: 2,
      size: 7,
      userdata: w.bytes(
        "000402000000 020401000000 0314 000407000000 010c 000408000000 010402000000",
      ),
    });
    tx.addElements(ports, [
      w.nothingFrom(2),
      ...[[80, 80], [443, 443], [8000, 8080]].flatMap(([first, last]) =>
        intervalElements(portBytes(first), portBytes(last))
      ),
    ]);
    rule(tx, fw, [...w.protocol(6), w.dport, w.lookup("__set%d", 5), counter, accept]);
  },
  "vmap-iifname": (tx) => {
    tx.addChain(chain(fw1)).addChain(chain(fw2));
    tx.addSet({
      ...set(dispatch, 1),
      flags: NFT_SET_MAP,
      keyType: nftTypes.ifname,
      keyLength: 16,
      dataType: NFT_DATA_VERDICT,
      userdata: setUserdata("host", "none"),
    });
    tx.addElements(set(dispatch, 1), [{ key: w.ifname("cali1"), data: w.verdict("goto", fw1) }]);
    rule(tx, "filter-FORWARD", [
      w.meta("iifname"),
      { kind: "lookup", sreg: 1, dreg: 0, set: dispatch, setId: 1 },
    ]);
  },
  "vmap-element-change": (tx) => {
    tx.deleteElements(set(dispatch), [{ key: w.ifname("cali1") }]);
    tx.addElements(set(dispatch, 6), [{ key: w.ifname("cali2"), data: w.verdict("goto", fw2) }]);
  },
  "fib-rpf-addrtype": (tx) => {
    rule(tx, "raw-PREROUTING", [
      w.meta("mark"),
      w.mask(markStays, 0),
      w.cmp("eq", markStays),
      w.fib(FIB.saddr | FIB.mark | FIB.iif, "oif"),
      w.cmp("eq", hostWord(0)),
      counter,
      drop,
    ]);
    const isLocal = w.cmp("eq", hostWord(RTN_LOCAL));
    rule(tx, fw, [w.fib(FIB.daddr, "addrtype"), isLocal, counter, accept]);
    rule(tx, "nat-POSTROUTING", [
      w.meta("oifname"),
      w.cmp("eq", w.ifname("tunl0")),
      w.fib(FIB.saddr | FIB.oif, "addrtype"),
      w.cmp("neq", hostWord(RTN_LOCAL)),
      w.fib(FIB.saddr, "addrtype"),
      isLocal,
      counter,
      { kind: "masq" },
    ]);
    rule(tx, fw, [
      { kind: "ct", key: "status", dreg: 1 },
      w.mask(hostWord(CT_STATUS.dnat)),
      w.cmp("neq", hostWord(0)),
      counter,
      accept,
    ]);
  },
  "log-limit-reject-notrack": (tx) => {
    tx.addChain({
      ...chain("raw-PREROUTING"),
      base: { type: "filter", hook: "prerouting", priority: -300 },
    });
    rule(tx, fw, [
      { kind: "limit", rate: 10, unit: 60, burst: 5, type: 0, flags: 0 },
      { kind: "log", prefix: "calico-packet: ", level: 6 },
    ]);
    rule(tx, fw, [counter, { kind: "log", prefix: "DPI0|np/default/x", group: 1 }]);
    rule(tx, fw, [counter, { kind: "reject", type: "icmp", code: 3 }]);
    rule(tx, fw, [...w.protocol(6), counter, { kind: "reject", type: "tcp-reset", code: 0 }]);
    rule(tx, "raw-PREROUTING", [
      ...w.protocol(17),
      w.dport,
      w.cmp("eq", portBytes(4789)),
      counter,
      { kind: "notrack" },
    ]);
  },
  "nat": (tx) => {
    const post = "nat-POSTROUTING", pre = "nat-PREROUTING";
    const to = (address: string) => load(1, ip(address));
    tx.addChain({ ...chain(pre), base: { type: "nat", hook: "prerouting", priority: -100 } });
    rule(tx, post, [
      w.saddr,
      w.lookup("cali40nets", 2),
      w.daddr,
      w.lookup("cali40nets", 2, 1),
      counter,
      { kind: "masq", flags: NAT_RANGE.fullyRandom },
    ]);
    rule(tx, post, [
      w.saddr,
      w.cmp("eq", ip("10.1.1.1")),
      counter,
      to("192.168.77.9"),
      { kind: "nat", type: "snat", family: "ip", addressMin: 1 },
    ]);
    rule(tx, post, [
      ...w.protocol(17),
      counter,
      load(1, portBytes(1024)),
      load(2, portBytes(4788)),
      { kind: "masq", flags: NAT_RANGE.proto, protoMin: 1, protoMax: 2 },
    ]);
    rule(tx, pre, [
      w.daddr,
      w.cmp("eq", ip("192.168.77.9")),
      counter,
      to("10.65.0.2"),
      { kind: "nat", type: "dnat", family: "ip", addressMin: 1 },
    ]);
    rule(tx, pre, [
      ...w.protocol(6),
      w.daddr,
      w.cmp("eq", ip("192.168.77.9")),
      w.dport,
      w.cmp("eq", portBytes(80)),
      counter,
      to("10.65.0.2"),
      load(2, portBytes(8080)),
      {
        kind: "nat",
        type: "dnat",
        family: "ip",
        addressMin: 1,
        protoMin: 2,
        flags: NAT_RANGE.proto,
      },
    ]);
    rule(tx, pre, [
      ...w.protocol(6),
      w.dport,
      w.cmp("eq", portBytes(81)),
      load(1, portBytes(9000)),
      { kind: "redir", protoMin: 1, flags: NAT_RANGE.proto },
    ]);
  },
  "objref-counter": (tx) => {
    tx.addCounter({ family: ip4, table, name: "c1" });
    rule(tx, fw2, [{ kind: "objref", type: 1, name: "c1" }]);
  },
  "rule-insert-replace-delete": (tx) => {
    const at = { family: ip4, table, chain: fw2 };
    tx.addRule({ ...at, expressions: [counter, accept] }, "prepend");
    tx.addRule({ ...at, expressions: [counter, drop] }, { after: 45 });
    tx.replaceRule({ ...at, handle: 45, expressions: [counter, w.leave] });
    tx.deleteRule({ ...at, handle: 45 });
  },
  "flush-delete-chain": (tx) => {
    tx.flushChain(chain(fw2)).flushSet(set("cali40this-host")).deleteSet(set("nosuchmap"));
  },
  "delete-table": (tx) => tx.deleteTable({ family: ip4, name: table }),
};

const tx = (name: string) => ({ family: ip4, table: "tx", name });
const txRule = (tx: Transaction, chain: string, expressions: Expression[], userdata?: Uint8Array) =>
  tx.addRule({ family: ip4, table: "tx", chain, expressions, userdata });

/** What was built by hand: number of the first message, generation, messages. */
const byHand: Record<
  string,
  [first: number, generation: number | undefined, (t: Transaction) => void]
> = {
  "batch-ok-acks": [20, 132, (t) => t.addTable({ family: ip4, name: "tx" }).addChain(tx("c1"))],
  "batch-stale-genid": [10, 131, (t) => t.addTable({ family: ip4, name: "tx" })],
  "batch-two-errors": [30, undefined, (t) => {
    t.addChain(tx("c2"));
    txRule(t, "nochain", [w.jump("c2")]);
    txRule(t, "c2", [w.jump("nosuch")]);
    txRule(t, "c1", [w.jump("c2")]);
  }],
  "delchain-busy": [60, undefined, (t) => t.deleteChain(tx("c2"))],
  "flush-then-delchain": [70, undefined, (t) => t.flushChain(tx("c1")).deleteChain(tx("c2"))],
  "loop-emlink": [50, undefined, (t) => {
    t.addChain({
      ...tx("base"),
      base: { type: "filter", hook: "forward", priority: 0, policy: "accept" },
    });
    txRule(t, "base", [w.jump("c1")]);
  }],
  "newrule-echo": [80, undefined, (t) => {
    txRule(t, "c1", [counter], commentUserdata("hello"));
  }],
};

/** Attributes in the order of their numbers, empty nests and zero table flags left out. */
function sorted(attributes: AttributeCursor): string {
  const parts: [number, string][] = [];
  while (attributes.next()) {
    const inner = attributes.isNested ? sorted(attributes.nested()) : w.hex(attributes.bytes());
    if (inner !== "" && inner !== "{}") {
      parts.push([attributes.type, `${attributes.type}=${inner}`]);
    }
  }
  return `{${parts.sort((a, b) => a[0] - b[0]).map(([, text]) => text).join(" ")}}`;
}

function withoutOrder(datagram: Uint8Array): string[] {
  const lines: string[] = [];
  const ACK_ECHO = 0xc, NEWTABLE = 0xa00, CREATE = 0x400;
  for (const m = new MessageCursor(datagram); m.next();) {
    // A table needs no CREATE, and 0 for its flags is the same as none.
    const flags = m.flags & ~ACK_ECHO & ~(m.type === NEWTABLE ? CREATE : 0);
    const content = sorted(m.attributes(4)).replace(m.type === NEWTABLE ? / 2=0{8}/ : /$^/, "");
    lines.push(`${m.type} ${flags} ${m.sequence} ${w.hex(m.bytes().slice(0, 4))} ${content}`);
  }
  return lines;
}

function transaction(
  write: (t: Transaction) => void,
  options: TransactionOptions = {},
): Uint8Array {
  const t = new Transaction(options);
  write(t);
  return t.finish();
}

for (const [name, write] of Object.entries(byNft)) {
  Deno.test({
    name: `nft-${name}: our bytes are nft's${skipped}`,
    ignore: !there,
    fn: async () => {
      const { sent: [sent] } = await read(`nft-${name}`);
      assert.deepEqual(w.messages(transaction(write)), w.messages(sent));
    },
  });
}

for (const [name, [first, generation, write]] of Object.entries(byHand)) {
  Deno.test({
    name: `nft-${name}: our batch says the same${skipped}`,
    ignore: !there,
    fn: async () => {
      const { sent: [sent] } = await read(`nft-${name}`);
      let sequence = first;
      const ours = transaction(write, { generation, nextSequence: () => sequence++ });
      assert.deepEqual(withoutOrder(ours), withoutOrder(sent));
    },
  });
}

/** What a client sends, without the acknowledgement that we always ask for. */
function sentBy(ask: (client: NftClient) => unknown): string[] {
  const kernel = fakeKernel(() => []);
  ask(new NftClient(new Connection(kernel)));
  const ACK = 4;
  return kernel.requests.map((r) => `${r.type} ${r.flags & ~ACK} ${w.hex(r.payload)}`);
}
const asked = (datagram: Uint8Array) =>
  w.messages(datagram).map((line) => line.replace(/^(\d+ \d+) \d+/, "$1"));

Deno.test({
  name: `nft-getgen, nft-list-ruleset-dump: we ask as nft does${skipped}`,
  ignore: !there,
  fn: async () => {
    const [generation] = (await read("nft-getgen")).sent;
    assert.deepEqual(sentBy((c) => c.generation()), asked(generation));
    const list = (await read("nft-list-ruleset-dump")).sent;
    assert.deepEqual(
      sentBy((c) => [c.generation(), c.tables(), c.generation()]),
      list.flatMap(asked),
    );
  },
});

Deno.test({
  name: `nft-newrule-echo: the kernel's rule is read${skipped}`,
  ignore: !there,
  fn: async () => {
    const { received: [received] } = await read("nft-newrule-echo");
    const message = new MessageCursor(received);
    message.next();
    assert.equal(message.type, NFT_MSG_NEWRULE);
    const read1 = getRule(message)!;
    assert.equal(read1.handle, 9);
    assert.equal(readComment(read1.userdata), "hello");
    assert.deepEqual(read1.expressions, [{ kind: "counter", bytes: 0, packets: 0 }]);
  },
});

const refusals: Record<string, string[]> = {
  "batch-two-errors": [
    'ENOENT add rule in chain nochain of table ip tx: there is no "nochain"',
    "ENOENT add rule in chain c2 of table ip tx: one of chain nosuch is missing",
  ],
  "delchain-busy": ['EBUSY delete chain c2 of table ip tx: "c2" is still in use'],
  "flush-delete-chain": [
    'ENOENT delete set nosuchmap of table ip calico: there is no "nosuchmap"',
  ],
  "loop-emlink": [
    "EMLINK add rule in chain base of table ip tx: " +
    "chains call one another in a circle, or more than 16 deep",
  ],
  "batch-stale-genid": ["ERESTART begin batch: undefined"],
  "batch-ok-acks": [],
};
for (const [name, expected] of Object.entries(refusals)) {
  Deno.test({
    name: `nft-${name}: the kernel's answers are explained${skipped}`,
    ignore: !there,
    fn: async () => {
      const { sent: [sent], received } = await read(`nft-${name}`);
      const refused = [];
      for (const datagram of received) {
        for (const m = new MessageCursor(datagram); m.next();) {
          if (m.type !== NLMSG_ERROR) continue;
          const ack = readAcknowledgement(m);
          if (ack.errno) refused.push(ack);
        }
      }
      assert.deepEqual(
        explainRefusals(sent, refused).map((r) => `${r.code} ${r.subject}: ${r.hint}`),
        expected,
      );
    },
  });
}

const tuple = (
  source: string,
  destination: string,
  sourcePort: number,
  destinationPort: number,
) => ({
  source: mustIp(source),
  destination: mustIp(destination),
  protocol: 6,
  sourcePort,
  destinationPort,
});
const flow = {
  original: tuple("10.65.0.2", "10.96.0.1", 40000, 443),
  reply: tuple("10.96.0.1", "10.65.0.2", 443, 40000),
  status: 12,
  timeout: 300,
  mark: 0,
  zone: 0,
  id: 0,
  tcpState: 3,
};

function message(type: number, flags: number, write: (e: MessageEncoder) => void): string {
  const encoder = new MessageEncoder().begin(type, flags, 0);
  write(encoder);
  return w.messages(encoder.end().finish())[0];
}
const unnumbered = (datagram: Uint8Array) =>
  w.messages(w.clearPadding(datagram)).map((line) => line.replace(/^(\d+ \d+) \d+/, "$1 0"))[0];

Deno.test({
  name: `ct-*: connections are asked for, made and deleted as conntrack does${skipped}`,
  ignore: !there,
  fn: async () => {
    const made = (await read("ct-new")).sent[0];
    assert.equal(message(0x100, 0x605, (e) => putFlow(e, flow)), unnumbered(made));
    const all = (await read("ct-dump")).sent[0];
    assert.equal(message(0x101, 0x301, (e) => putHeader(e, 0)), unnumbered(all));
    const [list, ...deletions] = (await read("ct-delete-by-orig-src")).sent;
    assert.equal(message(0x101, 0x301, (e) => putHeader(e, 4)), unnumbered(list));
    // conntrack(8) sends all that it knows; the kernel reads the tuples. We add the id.
    const one = {
      ...flow,
      original: tuple("10.65.0.2", "10.96.0.2", 40001, 443),
      reply: tuple("10.96.0.2", "10.65.0.2", 443, 40001),
    };
    const bothTuples = 2 * (4 + 2 * 52) + 8 + "258 5 0 ".length - 8;
    for (const [i, deleted] of [one, flow].entries()) {
      const ours = message(0x102, 5, (e) => putDelete(e, deleted)).slice(0, bothTuples);
      assert.equal(ours, unnumbered(deletions[i]).slice(0, bothTuples));
    }
  },
});

Deno.test({
  name: `ct-flush-filter-*: many are deleted by one message${skipped}`,
  ignore: !there,
  fn: async () => {
    const kernel = fakeKernel(() => []);
    new Conntrack(new Connection(kernel)).deleteFlowsOf(mustIp("10.65.0.2"));
    // The first is the probe.
    const ours = kernel.requests.slice(1).map((r) => `${r.type} ${r.flags} 0 ${w.hex(r.payload)}`);
    const originals = (await read("ct-flush-filter-orig-src")).sent;
    const replies = (await read("ct-flush-filter-reply-src")).sent;
    assert.deepEqual(ours.slice(0, 1), originals.map(unnumbered));
    // Built by hand, the second carries an empty word for the other direction in another place.
    const content = (line: string) => {
      const payload = w.bytes(line.split(" ")[3]);
      return sorted(new AttributeCursor(payload, 4));
    };
    assert.equal(content(ours[1]), content(unnumbered(replies[0])));
  },
});

Deno.test({
  name: `ct-dump: the kernel's connections are read${skipped}`,
  ignore: !there,
  fn: async () => {
    const { received } = await read("ct-dump");
    const flows = received.flatMap((datagram) => {
      const found = [];
      for (const m = new MessageCursor(datagram); m.next();) {
        const read1 = m.type === 0x100 ? getFlow(m) : undefined;
        if (read1) found.push(read1);
      }
      return found;
    });
    assert.deepEqual(flows[0], {
      original: { ...tuple("10.9.0.9", "10.65.0.2", 5000, 53), protocol: 17, icmp: undefined },
      reply: { ...tuple("10.65.0.2", "10.9.0.9", 53, 5000), protocol: 17, icmp: undefined },
      status: 8,
      timeout: 299,
      mark: 0,
      zone: 0,
      id: 0x2a60b721,
      tcpState: undefined,
    });
    assert.equal(flows.length, 2);
  },
});

Deno.test({
  name: `every sample of nf_tables and conntrack has its test${skipped}`,
  ignore: !there,
  fn: async () => {
    const names = [];
    for await (const { name } of Deno.readDir(folder)) {
      if (/^(nft|ct)-/.test(name)) names.push(name.replace(".txt", ""));
    }
    const tested = [
      ...Object.keys(byNft).map((name) => `nft-${name}`),
      ...Object.keys(byHand).map((name) => `nft-${name}`),
      "nft-getgen",
      "nft-list-ruleset-dump",
      "ct-new",
      "ct-dump",
      "ct-delete-by-orig-src",
      "ct-flush-filter-orig-src",
      "ct-flush-filter-reply-src",
    ];
    assert.deepEqual(names.sort(), tested.sort());
  },
});
