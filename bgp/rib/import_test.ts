import assert from "node:assert/strict";
import { formatIp, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import type { Attributes } from "../message/attributes.ts";
import { keyOf } from "../prefix_key.ts";
import { type ImportContext, judgeImport } from "./import.ts";

const KEY = keyOf(mustPrefix("10.0.0.0/8"));

const context: ImportContext = {
  source: {
    kind: "peer",
    name: "p",
    internal: true,
    as: 65001,
    routerId: 5,
    client: false,
  },
  localAs: 65001,
  allowLocalAs: 0,
  routerId: 0x0a000001,
  clusterId: 0x09090909,
  self: mustIp("10.0.0.1"),
};

const good: Attributes = { origin: 0, asPath: [], nextHop: mustIp("10.0.0.2") };
const path = (...asns: number[]) => [{ type: "sequence" as const, asns }];

Deno.test("what may not be used, and why", () => {
  const external = { ...context, source: { ...context.source, internal: false, as: 65002 } };
  const mine = ["192.0.2.9", "2001:db8::9"];
  const others: ImportContext = { ...context, isOwn: (ip) => mine.includes(formatIp(ip)) };
  const cases: [string, ImportContext, Partial<Attributes>, RegExp | undefined][] = [
    ["all right", context, {}, undefined],
    ["our AS", external, { asPath: path(65002, 65001) }, /our own AS 65001/],
    [
      "our AS, once allowed",
      { ...external, allowLocalAs: 1 },
      { asPath: path(2, 65001) },
      undefined,
    ],
    ["our AS, twice", { ...external, allowLocalAs: 1 }, { asPath: path(65001, 65001) }, /own AS/],
    ["reflected back", context, { originatorId: 0x0a000001 }, /our own, reflected/],
    ["our cluster", context, { clusterList: [1, 0x09090909] }, /our cluster 9\.9\.9\.9/],
    ["another cluster", context, { clusterList: [1], originatorId: 7 }, undefined],
    ["our address", context, { nextHop: mustIp("10.0.0.1") }, /our own address/],
    ["another address of ours", others, { nextHop: mustIp("192.0.2.9") }, /our own address/],
    ["an IPv6 one", others, { nextHop: mustIp("2001:db8::9") }, /our own address/],
    ["one beside it", others, { nextHop: mustIp("2001:db8::8") }, undefined],
    ["loopback", context, { nextHop: mustIp("127.0.0.1") }, /not the address of a host/],
    ["multicast", context, { nextHop: mustIp("ff02::1") }, /not the address of a host/],
    ["mapped", context, { nextHop: mustIp("::ffff:10.0.0.7") }, /is an IPv4 address/],
    ["::1", context, { nextHop: mustIp("::1") }, /not the address of a host/],
    ["none", context, { nextHop: undefined }, /no next hop/],
  ];
  for (const [name, where, change, words] of cases) {
    const { blocked } = judgeImport(where, KEY, { ...good, ...change });
    if (words) assert.match(blocked ?? "", words, name);
    else assert.equal(blocked, undefined, name);
  }
});

Deno.test("destinations that are none, and those that only hold such", () => {
  const cases: [string, RegExp | undefined][] = [
    ["0.0.0.0/8", /no destination .* this host's own/],
    ["0.4.0.0/16", /this host's own/],
    ["0.0.0.0/32", /this host's own/],
    ["127.0.0.0/8", /this host's own/],
    ["127.8.0.1/32", /this host's own/],
    ["224.0.0.0/4", /groups/],
    ["239.1.2.3/32", /groups/],
    ["255.255.255.255/32", /those of a link/],
    ["::/128", /this host's own/],
    ["::1/128", /this host's own/],
    ["fe80::/10", /those of a link/],
    ["fe80::1/128", /those of a link/],
    ["febf::/16", /those of a link/],
    ["ff00::/8", /groups/],
    ["ff02::1/128", /groups/],
    ["0.0.0.0/0", undefined],
    ["0.0.0.0/1", undefined],
    ["128.0.0.0/1", undefined],
    ["126.0.0.0/7", undefined],
    ["1.0.0.0/8", undefined],
    ["10.244.0.0/26", undefined],
    ["169.254.169.254/32", undefined],
    ["223.255.255.0/24", undefined],
    ["240.0.0.0/4", undefined],
    ["255.255.255.0/24", undefined],
    ["::/0", undefined],
    ["::/1", undefined],
    ["::2/128", undefined],
    ["64:ff9b::/96", undefined],
    ["2001:db8::/32", undefined],
    ["fd00::/8", undefined],
    ["fec0::/10", undefined],
  ];
  for (const [prefix, words] of cases) {
    const { blocked } = judgeImport(context, keyOf(mustPrefix(prefix)), good);
    if (words) assert.match(blocked ?? "", words, prefix);
    else assert.equal(blocked, undefined, prefix);
  }
});

Deno.test("the filter comes last, and may change attributes", () => {
  let asked = 0;
  const filter = {
    id: "f",
    judge: ({ attributes }: { attributes: Attributes }) => {
      asked++;
      return attributes.med === 1
        ? { accept: false, reason: "MED 1" } as const
        : { accept: true, attributes: { ...attributes, localPref: 7 } } as const;
    },
  };
  const filtered = { ...context, filter };
  assert.equal(judgeImport(filtered, KEY, good).attributes.localPref, 7);
  assert.equal(judgeImport(filtered, KEY, { ...good, med: 1 }).blocked, "refused by filter: MED 1");
  judgeImport(filtered, KEY, { ...good, originatorId: 0x0a000001 });
  assert.equal(asked, 2, "a loop is no question for the filter");
});
