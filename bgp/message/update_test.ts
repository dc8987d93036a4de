import assert from "node:assert/strict";
import fc from "fast-check";
import { formatPrefix, type Ip, mustIp, mustPrefix, prefixOf } from "../../mod/net/mod.ts";
import { keyOf, prefixOfKey } from "../prefix_key.ts";
import type { Attributes } from "./attributes.ts";
import { fromHex, toHex, Writer } from "./bytes.ts";
import { HEADER_LENGTH, MAX_LENGTH } from "./framer.ts";
import { AttributeCache, decodeUpdate, type UpdateContext, type UpdateResult } from "./update.ts";
import {
  encodeAttributes,
  writeAnnouncements,
  writeEndOfRib,
  writeWithdrawals,
} from "./update_encode.ts";

const EXTERNAL: UpdateContext = {
  asSize: 4,
  internal: false,
  families: new Set(["ipv4", "ipv6"]),
};
const INTERNAL: UpdateContext = { ...EXTERNAL, internal: true };

/** An UPDATE's body of hexadecimal parts: withdrawn routes, attributes, NLRI. */
function body(attributes: string, nlri = "18cb0071", withdrawn = ""): Uint8Array {
  const length = (hex: string) => (hex.length / 2).toString(16).padStart(4, "0");
  return fromHex(length(withdrawn) + withdrawn + length(attributes) + attributes + nlri);
}

const O = "40010100"; // ORIGIN IGP
const P = "40020602010000fdea"; // AS_PATH 65002
const N = "400304c0000201"; // NEXT_HOP 192.0.2.1
const REACH = "800e1c0002011020010db8000000000000000000000001003020010db80001";

const names = (keys: readonly (string | number)[]) =>
  keys.map((key) => formatPrefix(prefixOfKey(key)));

function attributesOf(result: UpdateResult): Attributes {
  assert.equal(result.answer, "accept");
  if (result.answer !== "accept") throw new Error();
  return result.announced[0].attributes;
}

Deno.test("RFC 7606's answer to each malformed attribute", () => {
  const cases: [string, string, UpdateContext, UpdateResult["answer"] | "discard", RegExp][] = [
    ["attribute cut off", `${O}${P}400328c0000201`, EXTERNAL, "treat-as-withdraw", /overruns/],
    ["two octets left", `${O}${P}${N}4014`, EXTERNAL, "treat-as-withdraw", /2 octets left/],
    ["ORIGIN 3", `40010103${P}${N}`, EXTERNAL, "treat-as-withdraw", /ORIGIN 3/],
    ["ORIGIN optional", `c0010100${P}${N}`, EXTERNAL, "treat-as-withdraw", /flags 0xc0/],
    ["no ORIGIN, no NEXT_HOP", P, EXTERNAL, "treat-as-withdraw", /no ORIGIN, no NEXT_HOP/],
    ["segment type 5", `${O}40020605010000fdea${N}`, EXTERNAL, "treat-as-withdraw", /type 5/],
    ["empty segment", `${O}4002020200${N}`, EXTERNAL, "treat-as-withdraw", /length zero/],
    ["segment cut off", `${O}40020602020000fdea${N}`, EXTERNAL, "treat-as-withdraw", /inside/],
    ["AS 0", `${O}400206020100000000${N}`, EXTERNAL, "treat-as-withdraw", /AS 0/],
    ["confederation", `${O}40020603010000fdea${N}`, INTERNAL, "treat-as-withdraw", /confed/],
    ["NEXT_HOP of 5", `${O}${P}400305c000020101`, EXTERNAL, "treat-as-withdraw", /NEXT_HOP of 5/],
    ["MED of 3", `${O}${P}${N}800403000001`, EXTERNAL, "treat-as-withdraw", /MULTI_EXIT_DISC of 3/],
    ["LOCAL_PREF of 3, iBGP", `${O}${P}${N}400503000001`, INTERNAL, "treat-as-withdraw", /of 3/],
    ["LOCAL_PREF of 3, eBGP", `${O}${P}${N}400503000001`, EXTERNAL, "discard", /should not send/],
    ["LOCAL_PREF, eBGP", `${O}${P}${N}40050400000064`, EXTERNAL, "discard", /should not send/],
    ["ATOMIC_AGGREGATE of 1", `${O}${P}${N}40060101`, EXTERNAL, "discard", /of 1 octets/],
    ["AGGREGATOR of 6", `${O}${P}${N}c00706fdeac0000209`, EXTERNAL, "discard", /instead of 8/],
    ["AGGREGATOR AS 0", `${O}${P}${N}c0070800000000c0000209`, EXTERNAL, "discard", /AS 0/],
    ["COMMUNITIES of 0", `${O}${P}${N}c00800`, EXTERNAL, "treat-as-withdraw", /multiple of 4/],
    ["ORIGINATOR_ID, eBGP", `${O}${P}${N}800904c0000201`, EXTERNAL, "discard", /should not/],
    ["ORIGINATOR_ID of 5", `${O}${P}${N}800905c000020101`, INTERNAL, "treat-as-withdraw", /of 5/],
    [
      "CLUSTER_LIST of 6",
      `${O}${P}${N}800a06c00002010101`,
      INTERNAL,
      "treat-as-withdraw",
      /multiple of 4/,
    ],
    ["AS4_PATH from a new peer", `${O}${P}${N}c0110602010000fdea`, EXTERNAL, "discard", /should/],
    [
      "extended communities of 7",
      `${O}${P}${N}c01007${"00".repeat(7)}`,
      EXTERNAL,
      "treat-as-withdraw",
      /multiple of 8/,
    ],
    [
      "large communities of 13",
      `${O}${P}${N}c0200d${"00".repeat(13)}`,
      EXTERNAL,
      "treat-as-withdraw",
      /multiple of 12/,
    ],
    ["ORIGIN twice", `${O}40010102${P}${N}`, EXTERNAL, "discard", /again/],
    ["unknown well-known", `${O}${P}${N}406401ff`, EXTERNAL, "session-reset", /well-known/],
    ["MP_REACH_NLRI twice", `${REACH}${REACH}${O}${P}`, EXTERNAL, "session-reset", /twice/],
    [
      "next hop of 5",
      `800e1100020105000000000000` + `3020010db80001`.padEnd(18, "0") + O + P,
      EXTERNAL,
      "session-reset",
      /next hop of 5/,
    ],
    ["IPv6 prefix cut off", `800f0700020140000000`, EXTERNAL, "session-reset", /inside/],
  ];
  for (const [name, attributes, context, answer, words] of cases) {
    const result = decodeUpdate(body(attributes), context);
    assert.equal(result.answer, answer === "discard" ? "accept" : answer, name);
    const text = result.answer === "session-reset" ? result.error.text : result.notes.join("; ");
    assert.match(text, words, name);
    if (result.answer === "treat-as-withdraw") {
      assert.deepEqual(names(result.withdrawn), ["203.0.113.0/24"], name);
    }
    if (answer === "discard" && result.answer === "accept") {
      assert.deepEqual(names(result.announced[0].keys), ["203.0.113.0/24"], name);
    }
  }
  const discarded = attributesOf(
    decodeUpdate(body(`${O}${P}${N}40050400000064800904c0000201`), EXTERNAL),
  );
  assert.equal(discarded.localPref, undefined);
  assert.equal(discarded.originatorId, undefined);
});

Deno.test("fields that do not fit the message reset the session", () => {
  for (
    const [hex, subcode] of [
      ["00050000", 1], // withdrawn routes overrun
      ["00000005", 1], // attributes overrun
      ["000021cb0071000000", 1],
      ["0000000021cb00710000", 10], // NLRI of length 33
      ["0000000018cb00", 10], // NLRI cut off
      ["000218cb0000", 10], // withdrawn cut off
    ] as const
  ) {
    const result = decodeUpdate(fromHex(hex), EXTERNAL);
    assert.equal(result.answer, "session-reset", hex);
    if (result.answer === "session-reset") {
      assert.deepEqual([result.error.code, result.error.subcode], [3, subcode], hex);
    }
  }
});

Deno.test("what would cost the routes of a message costs the session where none can be found", () => {
  const UNREACH = "800f0a0002013020010db80002";
  const OVERRUN = "4001ff00"; // an ORIGIN that hides what follows
  const BAD_ORIGIN = "4001020000";
  const NONE = REACH.slice(0, -14).replace("800e1c", "800e15"); // MP_REACH_NLRI of no prefix
  const MULTICAST = REACH.replace("000201", "000202"); // of a family that we do not carry
  const cases: [
    what: string,
    attributes: string,
    nlri: string,
    withdrawn: string,
    then: UpdateResult["answer"] | number,
  ][] = [
    ["MP_REACH_NLRI behind an overrun", `${OVERRUN}${P}${REACH}`, "", "", 1],
    ["the same before it", `${REACH}${P}${OVERRUN}`, "", "", "treat-as-withdraw"],
    ["the same with IPv4 prefixes", `${OVERRUN}${P}${REACH}`, "18cb0071", "", "treat-as-withdraw"],
    ["nothing but an ORIGIN of 2", BAD_ORIGIN, "", "", 1],
    ["nothing but rests of one", "40", "", "", 1],
    ["nothing but an AS_PATH with AS 0", "400206020100000000", "", "", 1],
    ["nothing but a MED with other flags", "c00404" + "00000001", "", "", 1],
    ["withdrawn, ORIGIN of 2", BAD_ORIGIN, "", "18cb0071", 1],
    ["MP_UNREACH_NLRI, ORIGIN of 2", `${UNREACH}${BAD_ORIGIN}`, "", "", 1],
    ["MP_UNREACH_NLRI, communities of 5", `${UNREACH}c008050000000001`, "", "", 1],
    ["MP_REACH_NLRI of nothing, ORIGIN of 2", `${NONE}${BAD_ORIGIN}${P}`, "", "", 1],
    ["another family, ORIGIN of 2", `${MULTICAST}${BAD_ORIGIN}${P}`, "", "", "treat-as-withdraw"],
    // What is in order, or is only dropped, is no reason for anything.
    ["withdrawn, well-formed attributes", `${O}${P}`, "", "18cb0071", "accept"],
    ["MP_UNREACH_NLRI, well-formed attributes", `${UNREACH}${O}${P}`, "", "", "accept"],
    ["no mandatory attribute without a route", `${O}`, "", "", "accept"],
    ["withdrawn, ATOMIC_AGGREGATE of 1", "40060101", "", "18cb0071", "accept"],
    ["withdrawn, LOCAL_PREF of 3, eBGP", "400503000001", "", "18cb0071", "accept"],
    // RFC 7606 5.3: what such an MP_REACH_NLRI says is not known.
    ["MP_REACH_NLRI as well-known", `4${REACH.slice(1)}${O}${P}`, "", "", 4],
    ["MP_UNREACH_NLRI as transitive", `c${UNREACH.slice(1)}`, "", "", 4],
  ];
  for (const [what, attributes, nlri, withdrawn, then] of cases) {
    const result = decodeUpdate(body(attributes, nlri, withdrawn), EXTERNAL);
    if (typeof then === "string") assert.equal(result.answer, then, what);
    else {
      assert.equal(result.answer, "session-reset", what);
      if (result.answer !== "session-reset") continue;
      assert.deepEqual([result.error.code, result.error.subcode], [3, then], what);
      if (then === 1) assert.match(result.error.text, /without reachable prefixes/, what);
    }
  }
});

Deno.test("treat-as-withdraw withdraws everything that the message speaks of", () => {
  const result = decodeUpdate(
    body(`${REACH}800f0a0002013020010db80002${O}${P}`, "18cb0071", "18cb0072"),
    EXTERNAL,
  );
  assert.equal(result.answer, "treat-as-withdraw"); // no NEXT_HOP for the IPv4 prefix
  if (result.answer !== "treat-as-withdraw") return;
  assert.deepEqual(names(result.withdrawn).sort(), [
    "2001:db8:1::/48",
    "2001:db8:2::/48",
    "203.0.113.0/24",
    "203.0.114.0/24",
  ]);
});

Deno.test("both families in one UPDATE have next hops of their own", () => {
  const result = decodeUpdate(body(`${REACH}${O}${P}${N}`), EXTERNAL);
  assert.equal(result.answer, "accept");
  if (result.answer !== "accept") return;
  const hops = result.announced.map(({ attributes, keys }) => [
    names(keys)[0],
    attributes.nextHop!.family,
  ]);
  assert.deepEqual(hops, [["203.0.113.0/24", 4], ["2001:db8:1::/48", 6]]);
});

Deno.test("families that were not agreed on are let pass by", () => {
  const ipv6Only = { ...EXTERNAL, families: new Set(["ipv6"] as const) };
  const result = decodeUpdate(body(`${O}${P}${N}`), ipv6Only);
  assert.equal(result.answer, "accept");
  if (result.answer === "accept") {
    assert.equal(result.announced.length, 0);
    assert.match(result.notes[0], /ipv4 was not agreed on/);
  }
  const multicast = decodeUpdate(body(`800f03000202`, ""), EXTERNAL);
  assert.equal(multicast.answer, "accept");
  if (multicast.answer === "accept") assert.equal(multicast.endOfRib, undefined);
});

Deno.test("unknown attributes: transitive ones are kept with the Partial bit, others are not", () => {
  const attributes = attributesOf(
    decodeUpdate(body(`${O}${P}${N}c0fa03616263` + `80fb0178` + `d0fc000161`), EXTERNAL),
  );
  assert.deepEqual(attributes.unknown?.map((u) => [u.type, u.flags, toHex(u.value)]), [
    [250, 0xe0, "616263"],
    [252, 0xe0, "61"],
  ]);
});

Deno.test("the Partial bit of a known attribute stays", () => {
  const bytes = body(`${O}${P}${N}e00804fde80007`);
  const attributes = attributesOf(decodeUpdate(bytes, EXTERNAL));
  assert.deepEqual(attributes.partial, [8]);
  assert.match(toHex(encodeAttributes(attributes, EXTERNAL)), /e00804fde80007$/);
});

Deno.test("AS4_PATH and AS4_AGGREGATOR of an old peer", () => {
  const old: UpdateContext = { ...EXTERNAL, asSize: 2 };
  const path = (as: string, as4: string, more = "") => {
    const read = attributesOf(decodeUpdate(body(`${O}${as}${N}${as4}${more}`), old));
    return [read.asPath.map((s) => [s.type, ...s.asns]), read.aggregator?.as];
  };
  // 64999 23456 with 4200000005: what is more in AS_PATH stands before it.
  const two = "40020602025ba05ba0".replace("02025ba05ba0", "0202fde75ba0");
  assert.deepEqual(path(two, "c011060201fa56ea05"), [
    [["sequence", 64999], ["sequence", 4200000005]],
    undefined,
  ]);
  // Longer than AS_PATH: ignored.
  assert.deepEqual(path("4002040201fde7", "c0110a0202fa56ea05fa56ea06"), [
    [["sequence", 64999]],
    undefined,
  ]);
  // An AGGREGATOR with a real AS says that both are out of date.
  assert.deepEqual(
    path(two, "c011060201fa56ea05", "c00706fde7c0000209c01208fa56ea05c0000209"),
    [[["sequence", 64999, 23456]], 64999],
  );
  assert.deepEqual(
    path(two, "c011060201fa56ea05", "c007065ba0c0000209c01208fa56ea05c0000209"),
    [[["sequence", 64999], ["sequence", 4200000005]], 4200000005],
  );
});

Deno.test("equal attributes become one object, faulty ones never", () => {
  const context = { ...EXTERNAL, cache: new AttributeCache() };
  const read = (nlri: string) => attributesOf(decodeUpdate(body(`${O}${P}${N}`, nlri), context));
  assert.equal(read("18cb0071"), read("18cb0072"));
  const noted = () => decodeUpdate(body(`${O}${P}${N}40060101`), context);
  for (const result of [noted(), noted()]) {
    assert.ok(result.answer === "accept" && result.notes.length === 1, "told each time");
  }
  const internal = { ...context, internal: true };
  const pref = body(`${O}${P}${N}40050400000064`);
  assert.equal(attributesOf(decodeUpdate(pref, internal)).localPref, 100);
  assert.equal(attributesOf(decodeUpdate(pref, context)).localPref, undefined);
});

Deno.test("attributes and a next hop whose octets follow each other alike are not one", () => {
  // An MP_REACH_NLRI of 2001:db8:1::/48, with its next hop first.
  const reach = (hop: string) => {
    const value = `000201${(hop.length / 2).toString(16).padStart(2, "0")}${hop}003020010db80001`;
    return `800e${(value.length / 2).toString(16).padStart(2, "0")}${value}`;
  };
  const within = "2233445566778899aabbccddee";
  const fe80 = "fe80" + "00".repeat(13) + "01";
  // A next hop that reads like an unknown attribute 0x28 of 13 octets, with a link-local one after it;
  // and such an attribute, with the link-local one as its next hop.
  const both = body(`${O}${P}${reach(`28c00d${within}${fe80}`)}`, "");
  const alone = body(`${O}${P}c0280d${within}${reach(fe80)}`, "");
  for (const order of [[both, alone], [alone, both]]) {
    const context = { ...EXTERNAL, cache: new AttributeCache() };
    for (const bytes of order) {
      const cached = attributesOf(decodeUpdate(bytes, context));
      assert.deepEqual(cached, attributesOf(decodeUpdate(bytes, EXTERNAL)));
    }
  }
});

const as = fc.integer({ min: 1, max: 0xffffffff });
const u32 = fc.nat(0xffffffff);
const some = <T>(arbitrary: fc.Arbitrary<T>) =>
  fc.array(arbitrary, { minLength: 1, maxLength: 300 });
const hop4 = u32.map((n): Ip => ({
  family: 4,
  bytes: new Uint8Array([10, n >>> 16, n >>> 8, n]),
}));
const hop6 = fc.uint8Array({ minLength: 15, maxLength: 15 }).map((b): Ip => ({
  family: 6,
  bytes: new Uint8Array([0x20, ...b]),
}));
const linkLocal = fc.uint8Array({ minLength: 8, maxLength: 8 }).map((b): Ip => ({
  family: 6,
  bytes: new Uint8Array([0xfe, 0x80, 0, 0, 0, 0, 0, 0, ...b]),
}));

const anyAttributes = fc.record({
  origin: fc.constantFrom(0, 1, 2) as fc.Arbitrary<0 | 1 | 2>,
  asPath: fc.array(
    fc.record({
      type: fc.constantFrom("set", "sequence") as fc.Arbitrary<"set" | "sequence">,
      asns: fc.array(as, { minLength: 1, maxLength: 255 }),
    }, { noNullPrototype: true }),
    { maxLength: 3 },
  ),
  med: u32,
  localPref: u32,
  atomicAggregate: fc.constant(true),
  aggregator: fc.record({ as, address: u32 }, { noNullPrototype: true }),
  communities: some(u32),
  originatorId: u32,
  clusterList: some(u32),
  extendedCommunities: some(
    fc.uint8Array({ minLength: 8, maxLength: 8 }).map((b) => toHex(b)),
  ),
  largeCommunities: some(fc.tuple(u32, u32, u32)),
}, {
  requiredKeys: ["origin", "asPath"],
  noNullPrototype: true,
}) as fc.Arbitrary<Attributes>;

const keys4 = fc.uniqueArray(
  fc.tuple(u32, fc.nat(32)).map(([n, length]) =>
    keyOf(prefixOf({ family: 4, bytes: new Uint8Array([n >>> 24, n >>> 16, n >>> 8, n]) }, length))
  ),
  { minLength: 1, maxLength: 1500 },
);
const keys6 = fc.uniqueArray(
  fc.tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(128)).map(([bytes, length]) =>
    keyOf(prefixOf({ family: 6, bytes }, length))
  ),
  { minLength: 1, maxLength: 600 },
);

/** The bodies of the messages in one buffer; each no longer than a message may be. */
function messages(out: Writer): Uint8Array[] {
  const bytes = out.done();
  const found: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const length = bytes[at + 16] << 8 | bytes[at + 17];
    assert.ok(length <= MAX_LENGTH);
    found.push(bytes.subarray(at + HEADER_LENGTH, at + length));
    at += length;
  }
  return found;
}

Deno.test("what is announced is read as it was meant, in as few messages as hold it", () => {
  fc.assert(
    fc.property(
      anyAttributes,
      fc.oneof(
        fc.tuple(fc.constant("ipv4" as const), keys4, hop4, fc.constant(undefined)),
        fc.tuple(
          fc.constant("ipv6" as const),
          keys6,
          hop6,
          fc.option(linkLocal, { nil: undefined }),
        ),
      ),
      fc.constantFrom(2 as const, 4 as const),
      (common, [family, keys, nextHop, link], asSize) => {
        const attributes: Attributes = {
          ...common,
          nextHop,
          ...(link && { linkLocal: link }),
        };
        const context = { ...INTERNAL, asSize };
        const encoded = encodeAttributes(attributes, context);
        fc.pre(encoded.length < 3900);
        const out = new Writer();
        const count = writeAnnouncements(out, family, attributes, encoded, keys);
        const bodies = messages(out);
        assert.equal(bodies.length, count);
        const read: (string | number)[] = [];
        bodies.forEach((bytes, i) => {
          const result = decodeUpdate(bytes, context);
          assert.equal(result.answer, "accept", JSON.stringify(result));
          if (result.answer !== "accept") return;
          assert.deepEqual(result.notes, []);
          if (asSize === 4) assert.deepEqual(result.announced[0].attributes, attributes);
          read.push(...result.announced[0].keys);
          if (i < bodies.length - 1) {
            assert.ok(bytes.length + HEADER_LENGTH > MAX_LENGTH - 17, "the message is full");
          }
        });
        assert.deepEqual(read, keys);
      },
    ),
    { numRuns: 60 },
  );
});

Deno.test("what is withdrawn is read as it was meant", () => {
  fc.assert(
    fc.property(keys4, keys6, (four, six) => {
      for (const [family, keys] of [["ipv4", four], ["ipv6", six]] as const) {
        const out = new Writer();
        writeWithdrawals(out, family, keys);
        const read = messages(out).flatMap((bytes) => {
          const result = decodeUpdate(bytes, EXTERNAL);
          assert.equal(result.answer, "accept");
          return result.answer === "accept" ? result.withdrawn : [];
        });
        assert.deepEqual(read, keys);
      }
    }),
    { numRuns: 40 },
  );
});

Deno.test("End-of-RIB of both families", () => {
  for (const family of ["ipv4", "ipv6"] as const) {
    const out = new Writer();
    writeEndOfRib(out, family);
    const result = decodeUpdate(messages(out)[0], EXTERNAL);
    assert.ok(result.answer === "accept" && result.endOfRib === family);
  }
});

Deno.test("an old peer is told AS_TRANS and the real path beside it", () => {
  const attributes: Attributes = {
    origin: 0,
    asPath: [{ type: "sequence", asns: [64999, 4200000005] }],
    nextHop: mustIp("192.0.2.1"),
    aggregator: { as: 4200000005, address: 1 },
  };
  const context = { ...EXTERNAL, asSize: 2 as const };
  const out = new Writer();
  const keys = [keyOf(mustPrefix("203.0.113.0/24"))];
  writeAnnouncements(out, "ipv4", attributes, encodeAttributes(attributes, context), keys);
  assert.match(toHex(messages(out)[0]), /4002060202fde75ba0/);
  const read = attributesOf(decodeUpdate(messages(out)[0], context));
  assert.deepEqual(read.asPath.flatMap((s) => s.asns), [64999, 4200000005]);
  assert.equal(read.aggregator?.as, 4200000005);
});
