import assert from "node:assert/strict";
import type { FilteredRoute } from "../../bgp/config.ts";
import { type Attributes, formatAsPath, formatCommunity } from "../../bgp/message/attributes.ts";
import type { BGPFilterRule } from "../model/bgp_filter.ts";
import { mustPrefix } from "../net/mod.ts";
import { filterProblems, routeFilter } from "./bgp_filter.ts";
import { exportPolicy } from "./export_policy.ts";

function route(
  cidr: string,
  attributes: Partial<Attributes> = {},
  learned = true,
): FilteredRoute {
  return {
    prefix: mustPrefix(cidr),
    attributes: { origin: 0, asPath: [], ...attributes },
    ...(learned
      ? { from: { peer: "p", as: 65001, internal: false } }
      : { local: { tag: "block" } }),
  };
}

const path = (...asns: number[]) => [{ type: "sequence" as const, asns }];

/** Whether one accepting rule matches (what it does not match is refused behind it). */
function matches(rule: Partial<BGPFilterRule>, r: FilteredRoute, internal = false): boolean {
  const behind = { id: "no", judge: () => ({ accept: false, reason: "no rule" }) as const };
  return routeFilter([{ action: "Accept", ...rule } as BGPFilterRule], { internal }, behind)!
    .judge(r).accept;
}

Deno.test("conditions", () => {
  const cases: [Partial<BGPFilterRule>, FilteredRoute, boolean][] = [
    [{}, route("10.0.0.0/8"), true],
    [{ cidr: "10.0.0.0/8", matchOperator: "Equal" }, route("10.0.0.0/8"), true],
    [{ cidr: "10.0.0.0/8", matchOperator: "Equal" }, route("10.1.0.0/16"), false],
    [{ cidr: "10.0.0.0/8", matchOperator: "NotEqual" }, route("10.1.0.0/16"), true],
    [{ cidr: "10.0.0.0/8", matchOperator: "In" }, route("10.0.0.0/8"), true],
    [{ cidr: "10.0.0.0/8", matchOperator: "In" }, route("10.1.2.3/32"), true],
    [{ cidr: "10.0.0.0/8", matchOperator: "In" }, route("11.0.0.0/8"), false],
    [{ cidr: "10.0.0.0/8", matchOperator: "In" }, route("0.0.0.0/0"), false],
    [{ cidr: "10.0.0.0/8", matchOperator: "NotIn" }, route("11.0.0.0/8"), true],
    [
      { cidr: "10.0.0.0/8", matchOperator: "In", prefixLength: { min: 16, max: 24 } },
      route("10.0.0.0/8"),
      false,
    ],
    [
      { cidr: "10.0.0.0/8", matchOperator: "In", prefixLength: { min: 16, max: 24 } },
      route("10.1.2.0/24"),
      true,
    ],
    [
      { cidr: "10.0.0.0/8", matchOperator: "In", prefixLength: { max: 24 } },
      route("10.1.2.3/32"),
      false,
    ],
    [{ source: "RemotePeers" }, route("10.0.0.0/8"), true],
    [{ source: "RemotePeers" }, route("10.0.0.0/8", {}, false), false],
    [{ interface: "eth0" }, route("10.0.0.0/8"), false],
    [{ peerType: "eBGP" }, route("10.0.0.0/8"), true],
    [{ peerType: "iBGP" }, route("10.0.0.0/8"), false],
    [{ asPathPrefix: [1, 2] }, route("10.0.0.0/8", { asPath: path(1, 2, 3) }), true],
    [{ asPathPrefix: [1, 2] }, route("10.0.0.0/8", { asPath: path(1) }), false],
    [{ communities: { values: ["1:2"] } }, route("10.0.0.0/8", { communities: [65538] }), true],
    [{ communities: { values: ["1:2"] } }, route("10.0.0.0/8"), false],
    [
      { communities: { values: ["1:2:3"] } },
      route("10.0.0.0/8", { largeCommunities: [[1, 2, 3]] }),
      true,
    ],
    [{ priority: 1024 }, route("10.0.0.0/8"), true],
    [{ priority: 100 }, route("10.0.0.0/8", { localPref: 2147483547 }), true],
    [{ priority: 100 }, route("10.0.0.0/8", { localPref: 100 }), false],
    [
      { cidr: "10.0.0.0/8", matchOperator: "In", source: "RemotePeers" },
      route("10.1.0.0/16", {}, false),
      false,
    ],
  ];
  for (const [rule, r, want] of cases) assert.equal(matches(rule, r), want, JSON.stringify(rule));
  assert.equal(matches({ peerType: "iBGP" }, route("10.0.0.0/8"), true), true);
});

Deno.test("the first rule that matches decides; operations change what it accepts", () => {
  const filter = routeFilter([
    { action: "Reject", cidr: "10.1.0.0/16", matchOperator: "In" },
    {
      action: "Accept",
      cidr: "10.0.0.0/8",
      matchOperator: "In",
      operations: [
        { addCommunity: { value: "65000:7" } },
        { addCommunity: { value: "65000:7:8" } },
        { prependASPath: { prefix: [65000, 65001] } },
        { setPriority: { value: 100 } },
      ],
    },
    { action: "Reject" },
  ] as BGPFilterRule[], { internal: false })!;
  assert.deepEqual(filter.judge(route("10.1.2.0/24")), {
    accept: false,
    reason: "BGPFilter rule 1 rejects it",
  });
  const shared = route("10.2.0.0/16", { asPath: path(9) });
  const verdict = filter.judge(shared);
  assert.ok(verdict.accept && verdict.attributes);
  const { communities, largeCommunities, asPath, localPref } = verdict.attributes;
  assert.deepEqual(communities!.map(formatCommunity), ["65000:7"]);
  assert.deepEqual(largeCommunities, [[65000, 7, 8]]);
  assert.equal(formatAsPath(asPath), "65000 65001 9");
  assert.equal(localPref, 2147483547);
  const again = filter.judge({ ...shared, prefix: mustPrefix("10.3.0.0/16") });
  assert.equal(again.accept && again.attributes, verdict.attributes, "one object for equal input");
  assert.equal(filter.judge(route("192.168.0.0/16")).accept, false);
  assert.equal(routeFilter([], { internal: false }), undefined);
});

Deno.test("a rule with an interface is told to have no effect", () => {
  const problems = filterProblems({
    metadata: { name: "f" },
    spec: { importV4: [{ action: "Accept" }, { action: "Reject", interface: "eth*" }] },
  } as any);
  assert.equal(problems.length, 1);
  assert.match(problems[0], /import rule 2 for ipv4 names the interface eth\*/);
});

Deno.test("the export policy: own routes, pools, blocks, communities", () => {
  const policy = exportPolicy({
    pools: [
      { prefix: mustPrefix("10.244.0.0/16"), disableBGPExport: false },
      { prefix: mustPrefix("10.244.128.0/24"), disableBGPExport: true },
    ],
    blocks: [mustPrefix("10.244.1.0/26")],
    services: [mustPrefix("10.96.0.0/12")],
    advertisements: [{ prefix: mustPrefix("10.244.0.0/16"), communities: ["65000:1"] }],
  });
  const judge = (cidr: string, learned = true) => {
    const verdict = policy.judge(route(cidr, {}, learned));
    return verdict.accept ? verdict.attributes!.communities?.map(formatCommunity) : verdict.reason;
  };
  assert.deepEqual(judge("10.244.1.0/26", false), ["65000:1"]);
  assert.deepEqual(judge("192.168.0.0/24", false), undefined);
  assert.deepEqual(judge("10.244.2.0/26"), ["65000:1"]);
  assert.deepEqual(judge("10.96.0.1/32"), undefined);
  assert.match(judge("10.244.1.5/32") as string, /in a block of this node/);
  assert.match(judge("10.244.1.0/26") as string, /in a block of this node/);
  assert.match(judge("10.244.128.7/32") as string, /disableBGPExport/);
  assert.match(judge("0.0.0.0/0") as string, /in no pool/);
});
