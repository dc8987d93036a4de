import assert from "node:assert/strict";
import { formatIp, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import { type Attributes, NO_ADVERTISE, NO_EXPORT } from "../message/attributes.ts";
import { keyOf } from "../prefix_key.ts";
import { ExportClass, exportRoute, type ExportRules, type ExportTarget } from "./export.ts";
import { LOCAL, Route, type RouteSource } from "./route.ts";

const KEY = keyOf(mustPrefix("10.244.1.0/26"));
const SELF = mustIp("10.0.0.1");

const target = (rules: Partial<ExportRules> = {}, extra: Partial<ExportTarget> = {}) => ({
  name: "to",
  client: false,
  class: new ExportClass({
    internal: true,
    localAs: 65001,
    nextHop: "auto",
    self: { ipv4: SELF },
    clusterId: 77,
    ...rules,
  }),
  ...extra,
});

const internal: RouteSource = {
  kind: "peer",
  name: "i",
  internal: true,
  as: 65001,
  routerId: 5,
  client: false,
};
const external: RouteSource = { ...internal, name: "e", internal: false, as: 65002, routerId: 6 };

const learned: Attributes = {
  origin: 0,
  asPath: [{ type: "sequence", asns: [65002] }],
  nextHop: mustIp("192.0.2.9"),
  med: 30,
  localPref: 150,
  communities: [1],
};

function told(source: RouteSource, to: ExportTarget, attributes: Attributes = learned) {
  const result = exportRoute(new Route(KEY, source, attributes, attributes, 0), to);
  return result && {
    path: result.asPath.flatMap((s) => s.asns).join(" "),
    hop: formatIp(result.nextHop!),
    localPref: result.localPref,
    med: result.med,
    originatorId: result.originatorId,
    clusterList: result.clusterList,
  };
}

const own: Attributes = { origin: 0, asPath: [], med: 4 };

Deno.test("our own routes", () => {
  assert.deepEqual(told(LOCAL, target(), own), {
    path: "",
    hop: "10.0.0.1",
    localPref: 100,
    med: 4,
    originatorId: undefined,
    clusterList: undefined,
  });
  assert.deepEqual(told(LOCAL, target({ internal: false }), { ...own, localPref: 7 }), {
    path: "65001",
    hop: "10.0.0.1",
    localPref: undefined,
    med: 4,
    originatorId: undefined,
    clusterList: undefined,
  });
  assert.equal(told(LOCAL, target({ self: {} }), own), undefined, "no next hop, no route");
  assert.equal(told(LOCAL, target(), { ...own, nextHop: mustIp("10.9.9.9") })?.hop, "10.9.9.9");
});

Deno.test("routes of external peers", () => {
  const inside = told(external, target())!;
  assert.deepEqual([inside.hop, inside.localPref, inside.med], ["192.0.2.9", 150, 30]);
  assert.equal(inside.clusterList, undefined);
  assert.equal(told(external, target({ nextHop: "self" }))?.hop, "10.0.0.1");
  const outside = told(external, target({ internal: false }))!;
  assert.deepEqual([outside.path, outside.hop, outside.med, outside.localPref], [
    "65001 65002",
    "10.0.0.1",
    undefined,
    undefined,
  ]);
  assert.equal(told(external, target({ internal: false, nextHop: "keep" }))?.hop, "192.0.2.9");
  assert.equal(told(external, target({}, { name: "e" })), undefined, "never back");
});

Deno.test("routes of internal peers: to internal ones by reflection alone", () => {
  assert.equal(told(internal, target()), undefined);
  assert.deepEqual(told(internal, target({}, { client: true })), {
    path: "65002",
    hop: "192.0.2.9",
    localPref: 150,
    med: 30,
    originatorId: 5,
    clusterList: [77],
  });
  const client = { ...internal, client: true };
  const reflected = told(client, target(), { ...learned, originatorId: 8, clusterList: [1] })!;
  assert.deepEqual([reflected.originatorId, reflected.clusterList], [8, [77, 1]]);
  const outside = told(internal, target({ internal: false }), { ...learned, clusterList: [1] })!;
  assert.deepEqual([outside.path, outside.clusterList, outside.originatorId], [
    "65001 65002",
    undefined,
    undefined,
  ]);
});

Deno.test("well-known communities and filters", () => {
  const marked = (community: number) => ({ ...learned, communities: [community] });
  assert.equal(told(external, target({ internal: false }), marked(NO_EXPORT)), undefined);
  assert.ok(told(external, target(), marked(NO_EXPORT)));
  assert.equal(told(external, target(), marked(NO_ADVERTISE)), undefined);
  const seen: unknown[] = [];
  const filter = {
    id: "f",
    judge: (route: { local?: unknown; from?: { peer: string } }) => {
      seen.push(route.from?.peer ?? "own");
      return route.from
        ? { accept: false, reason: "no" } as const
        : { accept: true, attributes: { ...own, localPref: 9 } } as const;
    },
  };
  assert.equal(told(external, target({}, { filter })), undefined);
  assert.equal(told(LOCAL, target({}, { filter }), own)?.localPref, 9);
  assert.deepEqual(seen, ["e", "own"]);
});

Deno.test("equal attributes stay one object for all peers of a class", () => {
  const to = target();
  const route = (key: string) => new Route(keyOf(mustPrefix(key)), LOCAL, own, own, 0);
  assert.equal(exportRoute(route("10.1.0.0/16"), to), exportRoute(route("10.2.0.0/16"), to));
});
