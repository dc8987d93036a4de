import assert from "node:assert/strict";
import { formatPrefix, mustIp, mustPrefix } from "../net/mod.ts";
import { IpamError } from "./errors.ts";
import {
  determinePools,
  judgePool,
  type Pool,
  PoolMap,
  type PoolQuestion,
  readPool,
} from "./pools.ts";

function pool(name: string, cidr: string, spec: object = {}, more: object = {}) {
  return readPool({ metadata: { name }, spec: { cidr, ...spec }, ...more })!;
}

const ANY: PoolQuestion = {
  family: 4,
  requested: [],
  use: "Workload",
  host: "n1",
  nodeLabels: {},
  namespaceLabels: {},
};

function names(map: PoolMap, question: Partial<PoolQuestion> = {}): string[] {
  return determinePools(map, { ...ANY, ...question }).map((p) => p.name);
}

function refusal(map: PoolMap, question: Partial<PoolQuestion>): IpamError {
  try {
    names(map, question);
  } catch (error) {
    assert(error instanceof IpamError);
    return error;
  }
  assert.fail("should be refused");
}

Deno.test("pools are read with Calico's defaults, host bits masked", () => {
  const four = pool("a", "10.244.3.220/24");
  assert.equal(formatPrefix(four.prefix), "10.244.3.0/24");
  assert.deepEqual(
    [four.blockSize, four.uses, four.automatic, four.closed],
    [26, ["Workload", "Tunnel"], true, undefined],
  );
  assert.equal(pool("b", "fd00::/48").blockSize, 122);
  assert.equal(pool("b", "fd00::/48", { blockSize: 0 }).blockSize, 122);
});

Deno.test("what is no pool is no pool", () => {
  for (
    const spec of [{ cidr: "10.0.0.0" }, { cidr: "x/8" }, {}, { cidr: "10.0.0.0/8", blockSize: 19 }]
  ) {
    assert.equal(readPool({ metadata: { name: "a" }, spec }), undefined);
  }
  assert.equal(readPool(null), undefined);
});

Deno.test("disabled pools, pools being deleted and pools with Allocatable=False give nothing", () => {
  const condition = (status: string) => ({
    status: { conditions: [{ type: "Allocatable", status, message: "" }] },
  });
  const map = new PoolMap([
    pool("open", "10.0.0.0/24", {}, condition("True")),
    pool("disabled", "10.0.1.0/24", { disabled: true }),
    pool("overlapping", "10.0.2.0/24", {}, condition("False")),
    readPool({
      metadata: { name: "leaving", deletionTimestamp: "2026-11-22T00:00:00Z" },
      spec: { cidr: "10.0.3.0/24" },
    })!,
  ]);
  assert.deepEqual(names(map), ["open"]);
  for (const name of ["disabled", "overlapping", "leaving"]) {
    const error = refusal(map, { requested: [name] });
    assert.equal(error.kind, "poolDisabled");
    assert.match(error.message, /does not exist, or is not enabled/);
  }
});

Deno.test("a pool that is smaller than its blocks gives nothing", () => {
  const error = refusal(new PoolMap([pool("a", "10.0.0.0/28")]), { requested: ["a"] });
  assert.match(error.message, /blocks \(\/26\) are larger/);
});

Deno.test("the longest enabled prefix owns an address", () => {
  const map = new PoolMap([
    pool("wide", "10.0.0.0/16"),
    pool("narrow", "10.0.3.0/24", { blockSize: 28 }),
    pool("closed", "10.0.3.0/28", { disabled: true }),
  ]);
  assert.equal(map.ownerOfAddress(mustIp("10.0.3.1"))?.name, "narrow");
  assert.equal(map.ownerOfAddress(mustIp("10.0.4.1"))?.name, "wide");
  assert.equal(map.ownerOfAddress(mustIp("10.1.0.1")), undefined);
  assert.deepEqual(map.ceded(map.all.find((p) => p.name === "wide")!).map(formatPrefix), [
    "10.0.3.0/24",
  ]);
});

Deno.test("of equal prefixes the older pool owns, then the one first by name", () => {
  const at = (name: string, creationTimestamp?: string) =>
    readPool({ metadata: { name, creationTimestamp }, spec: { cidr: "10.0.0.0/24" } })!;
  const owner = (...pools: ReturnType<typeof at>[]) =>
    new PoolMap(pools).ownerOfAddress(mustIp("10.0.0.1"))?.name;
  assert.equal(owner(at("a", "2026-02-01T00:00:00Z"), at("b", "2026-01-01T00:00:00Z")), "b");
  assert.equal(owner(at("b"), at("a")), "a");
});

Deno.test("a block is a pool's where the pool owns all of it and has its size; else it is stray", () => {
  const map = new PoolMap([
    pool("wide", "10.0.0.0/16"),
    pool("narrow", "10.0.3.0/24", { blockSize: 28 }),
    pool("tiny", "10.0.9.0/28", { blockSize: 30 }),
  ]);
  const owner = (cidr: string) => map.ownerOfBlock(mustPrefix(cidr))?.name;
  assert.equal(owner("10.0.4.0/26"), "wide");
  assert.equal(owner("10.0.3.0/28"), "narrow");
  assert.equal(owner("10.0.3.0/26"), undefined); // wide's, from before narrow
  assert.equal(owner("10.0.9.0/26"), undefined); // wide's, with tiny inside
  assert.equal(owner("10.0.9.0/30"), "tiny");
  assert.equal(owner("10.0.4.0/28"), undefined); // of another block size
  for (const cidr of ["10.0.3.0/26", "10.0.9.0/26", "10.0.4.0/28"]) {
    assert(map.isStray(mustPrefix(cidr)), cidr);
  }
  assert(!map.isStray(mustPrefix("10.0.4.0/26")));
  assert(!map.isStray(mustPrefix("10.9.0.0/26")), "outside of all pools");
});

Deno.test("selectors of node and namespace, automatic pools only", () => {
  const map = new PoolMap([
    pool("all", "10.0.0.0/24", { nodeSelector: "all()" }),
    pool("blue", "10.0.1.0/24", { nodeSelector: "color == 'blue'" }),
    pool("prod", "10.0.2.0/24", { namespaceSelector: "env == 'prod'" }),
    pool("both", "10.0.3.0/24", {
      nodeSelector: "color == 'blue'",
      namespaceSelector: "env == 'prod'",
    }),
    pool("manual", "10.0.4.0/24", { assignmentMode: "Manual" }),
  ]);
  const blue = { nodeLabels: { color: "blue" } };
  const prod = { namespaceLabels: { env: "prod" } };
  assert.deepEqual(names(map), ["all"]);
  assert.deepEqual(names(map, blue), ["all", "blue"]);
  assert.deepEqual(names(map, prod), ["all", "prod"]);
  assert.deepEqual(names(map, { ...blue, ...prod }), ["all", "blue", "both", "prod"]);
});

Deno.test("named pools are used whatever their selectors, by name or CIDR, in the order asked", () => {
  const map = new PoolMap([
    pool("a", "10.0.0.0/24", { nodeSelector: "never == 'true'" }),
    pool("b", "10.0.1.0/24", { assignmentMode: "Manual" }),
  ]);
  assert.deepEqual(names(map, { requested: ["b", "10.0.0.9/24", "b"] }), ["b", "a"]);
});

Deno.test("names that lead nowhere", () => {
  const map = new PoolMap([pool("a", "10.0.0.0/24"), pool("six", "fd00::/48")]);
  const kind = (text: string) => refusal(map, { requested: ["a", text] }).kind;
  assert.equal(kind("b"), "poolUnknown");
  assert.equal(kind("10.0.0.0/25"), "poolUnknown");
  assert.equal(kind("10.0.0.1"), "poolUnknown");
  assert.equal(kind("six"), "poolFamily");
  assert.equal(kind("fd00::/48"), "poolFamily");
  assert.equal(refusal(map, { family: 6, requested: ["six", "a"] }).kind, "poolFamily");
});

Deno.test("the use must be allowed", () => {
  const map = new PoolMap([
    pool("work", "10.0.0.0/24", { allowedUses: ["Workload"] }),
    pool("tunnel", "10.0.1.0/24", { allowedUses: ["Tunnel"] }),
  ]);
  assert.deepEqual(names(map), ["work"]);
  assert.deepEqual(names(map, { use: "Tunnel" }), ["tunnel"]);
  assert.match(refusal(map, { use: "LoadBalancer" }).message, /match the required use/);
  assert.equal(refusal(map, { requested: ["tunnel"] }).kind, "noPools");
});

Deno.test("no pool at all, and none for the node", () => {
  assert.match(refusal(new PoolMap([]), {}).message, /cannot find a qualified ippool/);
  const map = new PoolMap([pool("a", "10.0.0.0/24", { nodeSelector: "x == 'y'" })]);
  assert.match(refusal(map, {}).message, /no configured Calico pools for node n1/);
});

Deno.test("a pool that cannot be read gives nothing, and is named where nothing else gives", () => {
  const forms: [unknown, RegExp][] = [
    [null, /^it is null$/],
    [5, /^it is 5$/],
    [{ metadata: { name: "a" }, spec: "x" }, /cidr/],
    [{ metadata: 5, spec: { cidr: "10.0.0.0/24" } }, /no metadata\.name/],
    [{ metadata: { name: "a" }, spec: { cidr: 5 } }, /its cidr is 5/],
    [{ metadata: { name: "a" }, spec: { cidr: "10.0.0.0/24", blockSize: 19 } }, /blockSize is 19/],
    [{ metadata: { name: "a" }, spec: { cidr: "10.0.0.0/24", disabled: "x" } }, /disabled is "x"/],
    [
      { metadata: { name: "a" }, spec: { cidr: "10.0.0.0/24", nodeSelector: 7 } },
      /nodeSelector is 7/,
    ],
    [
      { metadata: { name: "a" }, spec: { cidr: "10.0.0.0/24", allowedUses: "x" } },
      /allowedUses are/,
    ],
  ];
  for (const [value, why] of forms) assert.match(judgePool(value) as string, why);
  const unread = [{ name: "half", why: "it is not JSON" }];
  const named = /IPPool half cannot be read: it is not JSON; write it anew, or delete it/;
  const refused = (pools: Pool[], question: Partial<PoolQuestion>, kind: string) => {
    const error = refusal(new PoolMap(pools, unread), question);
    assert.match(error.message, named);
    assert.equal(error.kind, kind, error.message);
    return error.message;
  };
  assert.doesNotMatch(refused([], {}, "badRecord"), /there is no enabled/);
  refused([pool("a", "10.0.0.0/24", { disabled: true })], {}, "badRecord");
  refused([pool("six", "fd00::/48")], {}, "badRecord");
  refused([pool("a", "10.0.0.0/24")], { requested: ["half"] }, "badRecord");
  refused([pool("a", "10.0.0.0/24")], { requested: ["10.9.0.0/24"] }, "badRecord");
  refused([pool("a", "10.0.0.0/24", { nodeSelector: "x == 'y'" })], {}, "noPools");
  refused([pool("a", "10.0.0.0/24", { allowedUses: ["Tunnel"] })], {}, "noPools");
  const more = new PoolMap([pool("a", "10.0.0.0/24")], unread);
  assert.deepEqual(names(more), ["a"]);
  assert.doesNotMatch(refusal(more, { requested: ["b"] }).message, named);
});

Deno.test("a pool whose selector cannot be read closes no other pool", () => {
  const broken = pool("broken", "10.0.1.0/24", { nodeSelector: "a ==" });
  assert.deepEqual(names(new PoolMap([pool("a", "10.0.0.0/24"), broken])), ["a"]);
  assert.match(refusal(new PoolMap([broken]), {}).message, /selectors of broken cannot be read/);
});
