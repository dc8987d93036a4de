/**
 * rtnetlink messages that others captured (`reference/netlink-samples` of the folder `shared` beside
 * the checkout, where there is one): ours must have the same bytes, and the kernel's refusals must be
 * read with the same number and words.
 */
import assert from "node:assert/strict";
import { mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { readAcknowledgement } from "../../ffi/netlink/acknowledgement.ts";
import { NLMSG_DONE, NLMSG_ERROR } from "../../ffi/netlink/constants.ts";
import { MessageCursor } from "../../ffi/netlink/decoder.ts";
import { MessageEncoder } from "../../ffi/netlink/encoder.ts";
import type { Netns } from "../../ffi/netns.ts";
import * as route from "../../ffi/route/mod.ts";

const folder = new URL("../../../shared/reference/netlink-samples/", import.meta.url);

const cali = 2, up0 = 5, vxlan = 6;
const peer = { fd: 4, path: "nlpeer" } as Netns;
const ip = mustIp, prefix = mustPrefix;
const onCali = [{ oif: cali }];
const podMac = "0a:58:0a:41:00:02", vtepMac = "66:aa:bb:cc:dd:ee";
const fdb = { kind: "fdb", index: vxlan, mac: vtepMac, ip: ip("192.168.77.2") } as const;

type Body = (message: MessageEncoder) => void;

/** By the sample's name: a command, or type, flags and body of a request that is none. */
const ours: Record<string, route.Command | [type: number, flags: number, body: Body]> = {
  "dellink-enodev": [18, 1, (m) => route.encodeGetLink(m, "nosuch0", 9)],
  "dellink": route.deleteLink(cali),
  "delneigh-fdb": route.deleteNeighbour(fdb),
  "delroute-esrch": route.deleteRoute({
    destination: prefix("10.2.2.2/32"),
    protocol: 80,
    scope: "link",
    type: "unicast",
  }),
  "delroute": route.deleteRoute({ destination: prefix("10.65.0.3/32"), hops: onCali }),
  "getlink-by-name": [18, 1, (m) => route.encodeGetLink(m, "calitest0", 9)],
  "getlink-dump": [18, 0x301, (m) => route.encodeDumpLinks(m, 1, 17)],
  "getroute-dump-table": [26, 0x301, (m) => route.encodeDumpRoutes(m, { family: 4, table: 1000 })],
  "link-addrgenmode-afspec": route.setLink(cali, { addrGenMode: "none" }),
  "link-set-mtu-mac": route.setLink(cali, { mtu: 1400, mac: "ee:ee:ee:ee:ee:ee" }),
  "link-set-netns": route.setLink(3, { netns: peer }),
  "link-up": route.setLink(cali, { up: true }),
  "newaddr-v4": route.addAddress({ index: vxlan, ip: ip("10.65.0.1"), length: 32 }),
  "newaddr-v6": route.addAddress({
    index: vxlan,
    ip: ip("fd00:10:65::1"),
    length: 128,
    flags: route.IFA_F_NODAD,
  }),
  "newlink-ipip": route.addLink({ kind: "ipip", name: "tunl7", mtu: 1480 })[0],
  "newlink-veth-netns": route.addLink({
    kind: "veth",
    name: "calitest0",
    mtu: 1450,
    mac: "ee:ee:ee:ee:ee:ee",
    peer: { name: "eth0", netns: peer },
  })[0],
  "newlink-veth-peer-extra": route.addLink({
    kind: "veth",
    name: "calitest1",
    peer: { name: "eth1", mtu: 1440, mac: "0a:00:00:00:00:01", txQueues: 1, netns: peer },
  })[0],
  "newlink-vxlan": route.addLink({
    kind: "vxlan",
    name: "vxlan.calico",
    mtu: 1450,
    mac: "66:3b:5d:01:02:03",
    vni: 4096,
    port: 4789,
    local: ip("192.168.77.1"),
    parentIndex: up0,
  })[0],
  "newneigh-fdb": route.replaceNeighbour(fdb),
  "newneigh-permanent": route.replaceNeighbour({
    kind: "neighbour",
    index: cali,
    ip: ip("10.65.0.2"),
    mac: podMac,
  }),
  "newneigh-proxy-v6": route.addNeighbour({
    kind: "proxy",
    index: cali,
    ip: ip("fd00:10:65::99"),
  }),
  "newneigh-vxlan-arp": route.replaceNeighbour({
    kind: "neighbour",
    index: vxlan,
    ip: ip("10.65.1.1"),
    mac: vtepMac,
  }),
  "newroute-blackhole-v6": route.addRoute({
    destination: prefix("fd00:10:65::/122"),
    protocol: 80,
    type: "blackhole",
  }),
  "newroute-blackhole": route.addRoute({
    destination: prefix("10.65.0.0/26"),
    protocol: 80,
    type: "blackhole",
  }),
  "newroute-eexist": route.addRoute({
    destination: prefix("10.65.0.2/32"),
    protocol: 80,
    hops: onCali,
  }),
  "newroute-enetdown": route.replaceRoute({
    destination: prefix("10.2.2.2/32"),
    protocol: 80,
    hops: [{ oif: 11 }],
  }),
  "newroute-enetunreach-extack": route.addRoute({
    destination: prefix("10.77.0.0/24"),
    protocol: 3,
    hops: [{ gateway: ip("172.31.255.1"), oif: up0 }],
  }),
  "newroute-multipath": route.addRoute({
    destination: prefix("10.66.0.0/24"),
    protocol: 80,
    hops: [
      { gateway: ip("192.168.77.2"), oif: up0 },
      { gateway: ip("192.168.77.3"), oif: up0 },
    ],
  }),
  "newroute-table1000": route.addRoute({
    destination: prefix("10.9.0.0/24"),
    protocol: 80,
    table: 1000,
    hops: onCali,
  }),
  "newroute-v6-workload": route.replaceRoute({
    destination: prefix("fd00:10:65::2/128"),
    protocol: 80,
    priority: 1024,
    hops: onCali,
  }),
  "newroute-vxlan-onlink": route.replaceRoute({
    destination: prefix("10.65.1.0/26"),
    protocol: 80,
    mtu: 1450,
    hops: [{ gateway: ip("10.65.1.1"), oif: vxlan, onlink: true }],
  }),
  "newroute-workload-link-src": route.replaceRoute({
    destination: prefix("10.65.0.3/32"),
    protocol: 80,
    source: ip("192.168.77.1"),
    hops: onCali,
  }),
  "newroute-workload-link": route.replaceRoute({
    destination: prefix("10.65.0.2/32"),
    protocol: 80,
    hops: onCali,
  }),
  "newrule-fwmark": route.addRule({
    family: 4,
    priority: 99,
    table: 1000,
    mark: { value: 0x100000, mask: 0x100000 },
    invert: true,
    protocol: 80,
  }),
};

/** Objects that this room does not make; their refusals are read all the same. */
const foreign: Record<string, string> = {
  "delqdisc": "traffic control",
  "newqdisc-htb": "traffic control",
  "newqdisc-ingress": "traffic control",
  "newqdisc-tbf-minimal": "traffic control",
  "newqdisc-tbf": "traffic control",
  "newtclass-htb-minimal": "traffic control",
  "newtclass-htb": "traffic control",
  "newtfilter-matchall-mirred": "traffic control",
  "newtfilter-u32-mirred": "traffic control",
  "getnsid": "namespace ids",
  "newnsid": "namespace ids",
  "newlink-target-netnsid-moves-link": "a message that must never be sent",
  "error-ifname-too-long": "a name that is refused before anything is sent",
};

interface Sample {
  readonly sent: Uint8Array[];
  readonly received: Uint8Array[];
  /** What the sample's own decoder says about refusals: `-101`, and the words. */
  readonly errors: number[];
  readonly words: string[];
}

function readSample(text: string): Sample {
  const blocks = (head: string) =>
    [...text.matchAll(new RegExp(`^## ${head} .*\\n((?:[0-9a-f]+\\n)+)`, "gm"))]
      .map((match) => Uint8Array.fromHex(match[1].replaceAll("\n", "")));
  return {
    sent: blocks("SEND"),
    received: blocks("RECV"),
    errors: [...text.matchAll(/ error=-(\d+) /g)].map((match) => Number(match[1])),
    words: [...text.matchAll(/NLMSGERR_ATTR_MSG\(1\) len=\d+ = "([^"]*)"/g)].map((m) => m[1]),
  };
}

/** Sequence number, port and the number of a namespace's descriptor are the sender's own. */
function masked(message: Uint8Array): string {
  const bytes = message.slice();
  bytes.fill(0, 8, 16);
  return bytes.toHex().replaceAll(/08001c00[0-9a-f]{8}/g, "08001c0004000000");
}

/** The first message of a datagram, without what iproute2 sends behind it. */
function firstMessage(datagram: Uint8Array): Uint8Array {
  return datagram.subarray(
    0,
    new DataView(datagram.buffer, datagram.byteOffset).getUint32(0, true),
  );
}

function encoded(what: typeof ours[string]): string {
  const message = new MessageEncoder();
  if (Array.isArray(what)) {
    message.begin(what[0], what[1], 0);
    what[2](message);
  } else {
    message.begin(what.type, what.flags | 5, 0);
    what.encode(message);
  }
  return masked(message.end().finish());
}

let names: string[] = [];
try {
  names = [...Deno.readDirSync(folder)].map((entry) => entry.name)
    .flatMap((name) => /^rt-(.*)\.txt$/.exec(name)?.[1] ?? []).sort();
} catch (error) {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}

if (names.length === 0) {
  Deno.test({
    name: "captured rtnetlink samples (skipped: the folder shared is not beside this checkout)",
    ignore: true,
    fn() {},
  });
}

for (const name of names) {
  const sample = readSample(Deno.readTextFileSync(new URL(`rt-${name}.txt`, folder)));
  Deno.test({
    name: `sample ${name}: our bytes` + (foreign[name] ? ` (skipped: ${foreign[name]})` : ""),
    ignore: name in foreign,
    fn() {
      const wanted = ours[name];
      assert.ok(wanted, `there is no test for the sample rt-${name}`);
      const sent = sample.sent.map((datagram) => masked(firstMessage(datagram)));
      assert.ok(sent.length > 0);
      // Where several were sent, all but one are ip(8)'s look-ups and probes.
      const bytes = encoded(wanted);
      assert.equal(bytes, sent.find((message) => message === bytes) ?? sent.at(-1));
    },
  });
  if (sample.errors.length === 0) continue;
  Deno.test(`sample ${name}: the refusal is read`, () => {
    const refused: { errno: number; detail?: string }[] = [];
    for (const datagram of sample.received) {
      for (const message = new MessageCursor(datagram); message.next();) {
        if (message.type !== NLMSG_ERROR && message.type !== NLMSG_DONE) continue;
        const ack = readAcknowledgement(message);
        if (ack.errno) refused.push(ack);
      }
    }
    assert.deepEqual(refused.map((ack) => ack.errno), sample.errors);
    sample.words.forEach((words, i) => {
      assert.ok(refused[i].detail?.includes(words.replace(/\.$/, "")), refused[i].detail);
    });
  });
}
