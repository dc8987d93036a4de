import assert from "node:assert/strict";
import fc from "fast-check";
import { type Ip, mustIp, mustPrefix } from "../../net/mod.ts";
import { type PlannedRoute, PROTOCOL_BGP, PROTOCOL_OWN, sameRoute } from "../route_plan.ts";
import {
  asSeen,
  entriesOf,
  hasOurProtocol,
  mending,
  withEntry,
  withoutEntry,
} from "./route_entries.ts";

const prefix = mustPrefix("10.244.3.0/26");
const STATIC = 4;

/** `80 via 1`, `4 via 2 metric 5`, `81 via 1 tos 16`, `80 blackhole`. */
function entry(text: string): PlannedRoute {
  const [protocol, ...words] = text.split(" ");
  const after = (word: string) =>
    words.includes(word) ? Number(words[words.indexOf(word) + 1]) : undefined;
  const metric = after("metric"), tos = after("tos"), via = after("via");
  return {
    prefix,
    protocol: Number(protocol),
    type: via === undefined ? "blackhole" : "unicast",
    hops: via === undefined ? [] : [{ gateway: mustIp(`192.0.2.${via}`), oif: 2 }],
    ...(metric !== undefined && { metric }),
    ...(tos !== undefined && { tos }),
  };
}

const last = ({ bytes }: Ip) => bytes[bytes.length - 1];
const text = (e: PlannedRoute): string =>
  [
    e.protocol,
    ...(e.hops.length > 0 ? ["via", last(e.hops[0].gateway!)] : ["blackhole"]),
    ...(e.metric !== undefined ? ["metric", e.metric] : []),
    ...(e.tos !== undefined ? ["tos", e.tos] : []),
  ].join(" ");
const texts = (seen: PlannedRoute | undefined) => entriesOf(seen).map(text);

Deno.test("notifications keep up the kernel's order", () => {
  let seen: PlannedRoute | undefined = withEntry(undefined, entry("80 via 1"), "only");
  seen = withEntry(seen, entry("4 via 2"), "first");
  assert.deepEqual(texts(seen), ["4 via 2", "80 via 1"]);
  seen = withEntry(seen, entry("81 via 3"), "last");
  seen = withEntry(seen, entry("80 via 4 metric 5"), "only");
  assert.deepEqual(texts(seen), ["4 via 2", "80 via 1", "81 via 3", "80 via 4 metric 5"]);
  seen = withEntry(seen, entry("4 via 5"), "replaces");
  assert.deepEqual(texts(seen), ["4 via 5", "80 via 1", "81 via 3", "80 via 4 metric 5"]);
  seen = withoutEntry(seen, entry("80 via 1"));
  seen = withoutEntry(seen, entry("4 via 5"));
  assert.deepEqual(texts(seen), ["81 via 3", "80 via 4 metric 5"]);
  seen = withoutEntry(seen, entry("81 via 3"));
  assert.deepEqual(texts(seen), ["80 via 4 metric 5"]);
  assert.equal(withoutEntry(seen, entry("80 via 4 metric 5")), undefined);
});

Deno.test("what leads and is as desired stays where it is", () => {
  const cases: [
    desired: string,
    seen: string[],
    remove: string[],
    put: boolean,
    after: string[],
  ][] = [
    ["80 via 1", [], [], true, ["80 via 1"]],
    ["80 via 1", ["80 via 2"], [], true, ["80 via 1"]],
    ["80 via 1", ["4 via 9", "80 via 1"], ["4 via 9"], false, ["80 via 1"]],
    ["80 via 1", ["80 via 1", "4 via 9"], [], false, ["80 via 1", "4 via 9"]],
    ["80 via 1", ["80 via 1", "81 via 9"], ["81 via 9"], false, ["80 via 1"]],
    ["80 via 1", ["4 via 9", "80 via 2"], ["80 via 2"], true, ["80 via 1"]],
    ["80 via 1", ["80 via 1 metric 5"], ["80 via 1 metric 5"], true, ["80 via 1"]],
    ["80 via 1", ["80 via 1", "81 via 1 tos 16"], ["81 via 1 tos 16"], false, ["80 via 1"]],
    ["81 via 1", ["80 via 2", "4 via 9"], [], true, ["81 via 1", "4 via 9"]],
  ];
  for (const [desired, seen, remove, put, after] of cases) {
    const mended = mending(entry(desired), asSeen(seen.map(entry)));
    assert.deepEqual(
      [mended.remove.map(text), mended.put, texts(mended.after)],
      [remove, put, after],
      `${desired} in ${seen.join(", ")}`,
    );
  }
});

Deno.test("whatever stands there, the desired one leads afterwards, and no other is of ours", () => {
  const anyEntry = fc.record({
    protocol: fc.constantFrom(STATIC, PROTOCOL_OWN, PROTOCOL_BGP),
    via: fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined }),
    place: fc.constantFrom("", "", "", " metric 5", " tos 16"),
  }).map(({ protocol, via, place }) =>
    entry(`${protocol} ${via === undefined ? "blackhole" : `via ${via}`}${place}`)
  );
  // The kernel holds no two that are equal; others' of another metric or TOS are not kept.
  const anyTable = fc.uniqueArray(anyEntry, { selector: text, maxLength: 6 }).map((entries) =>
    entries.filter((e) => hasOurProtocol(e) || !/metric|tos/.test(text(e)))
  );
  fc.assert(fc.property(anyTable, fc.constantFrom("80 via 1", "80 blackhole"), (table, wish) => {
    const desired = entry(wish);
    const { remove, put, after } = mending(desired, asSeen(table));
    // As the kernel does it, naming by protocol, type, way, metric and TOS.
    let kernel = table.filter((e) => !remove.some((gone) => text(gone) === text(e)));
    if (put) {
      const rivals = kernel.filter((e) => !/metric|tos/.test(text(e)));
      assert.ok(!rivals.slice(1).some((e) => sameRoute(e, desired)), "EEXIST");
      const rest = kernel.filter((e) => e !== rivals[0]);
      kernel = [desired, ...rest];
    }
    const inPlace = kernel.filter((e) => !/metric|tos/.test(text(e)));
    assert.equal(text(inPlace[0]), wish);
    assert.deepEqual(kernel.filter(hasOurProtocol).map(text), [wish]);
    assert.deepEqual(kernel.map(text), texts(after));
  }));
});

Deno.test("IPv6 tells of ways that join, and of single ones that go", () => {
  const six = (...last: number[]): PlannedRoute => ({
    prefix: mustPrefix("fd00::/122"),
    protocol: PROTOCOL_OWN,
    type: "unicast",
    hops: last.map((n) => ({ gateway: mustIp(`2001:db8::${n}`), oif: 2 })),
  });
  const both = withEntry(six(1), six(1, 2), "last");
  assert.deepEqual(both, six(1, 2));
  assert.deepEqual(withoutEntry(both, six(2)), six(1));
  assert.equal(withoutEntry(both, six(1, 2)), undefined);
});
