import assert from "node:assert/strict";
import fc from "fast-check";
import { fromHex } from "./bytes.ts";
import { type Capability, describeCapability } from "./capability.ts";
import { HEADER_LENGTH } from "./framer.ts";
import { decodeOpen, encodeOpen } from "./open.ts";

const u8 = fc.nat(255);
const u16 = fc.nat(65535);

const record = <T>(model: { [K in keyof T]: fc.Arbitrary<T[K]> }) =>
  fc.record(model, { noNullPrototype: true });

const capability: fc.Arbitrary<Capability> = fc.oneof(
  record({ kind: fc.constant("multiprotocol" as const), afi: u16, safi: u8 }),
  fc.constant({ kind: "route-refresh" } as const),
  fc.constant({ kind: "enhanced-route-refresh" } as const),
  record({
    kind: fc.constant("graceful-restart" as const),
    restarting: fc.boolean(),
    notification: fc.boolean(),
    time: fc.nat(4095),
    families: fc.array(
      record({ afi: u16, safi: u8, forwarding: fc.boolean() }),
      { maxLength: 4 },
    ),
  }),
  record({
    kind: fc.constant("unknown" as const),
    code: fc.constantFrom(6, 9, 67, 69, 71, 73, 200),
    value: fc.uint8Array({ maxLength: 200 }),
  }),
);

Deno.test("an OPEN is read as it was written, in short and in extended form", () => {
  fc.assert(fc.property(
    fc.integer({ min: 1, max: 0xffffffff }),
    fc.oneof(fc.constant(0), fc.integer({ min: 3, max: 65535 })),
    fc.integer({ min: 1, max: 0xffffffff }),
    fc.array(capability, { maxLength: 8 }),
    (as, holdTime, routerId, others) => {
      const capabilities = [...others, { kind: "four-octet-as", as } as const];
      const open = { as, holdTime, routerId, capabilities };
      const read = decodeOpen(encodeOpen(open).subarray(HEADER_LENGTH));
      assert.ok(read.ok);
      assert.deepEqual(read.value, {
        ...open,
        version: 4,
        headerAs: as > 65535 ? 23456 : as,
      });
    },
  ));
});

Deno.test("what is wrong with an OPEN, and the NOTIFICATION for it", () => {
  // version, AS, hold time, identifier, length of parameters, parameters
  const cases: [string, string, number, number, string?][] = [
    ["version 3", "03fdea005ac000020200", 2, 1, "0004"],
    ["AS 0", "040000005ac000020200", 2, 2],
    ["AS 0 in the capability", "04fdea005ac00002020802064104" + "00000000", 2, 2],
    ["identifier 0", "04fdea005a0000000000", 2, 3],
    ["hold time 1", "04fdea0001c000020200", 2, 6],
    ["hold time 2", "04fdea0002c000020200", 2, 6],
    ["an unknown parameter", "04fdea005ac0000202034d0100", 2, 4],
    ["parameters longer than the message", "04fdea005ac0000202080206", 2, 0],
    ["octets after the parameters", "04fdea005ac00002020000", 2, 0],
    ["a parameter longer than its field", "04fdea005ac00002020402054104", 2, 0],
    ["a capability longer than its parameter", "04fdea005ac0000202050203410400", 2, 0],
    ["a four-octet AS of three", "04fdea005ac0000202070205410300fdea", 2, 0],
    ["one octet of a parameter", "04fdea005ac000020201" + "02", 2, 0],
  ];
  for (const [name, hex, code, subcode, data] of cases) {
    const read = decodeOpen(fromHex(hex));
    assert.ok(!read.ok, name);
    assert.deepEqual([read.error.code, read.error.subcode], [code, subcode], name);
    if (data) assert.deepEqual(read.error.data, fromHex(data), name);
  }
});

Deno.test("a known capability of an impossible length has no effect", () => {
  const read = decodeOpen(fromHex("04fdea005ac0000202070205010300010001".slice(0, 20 + 14)));
  assert.ok(read.ok, JSON.stringify(read));
  assert.deepEqual(read.value.capabilities.map((c) => c.kind), ["unknown"]);
});

Deno.test("capabilities in words", () => {
  const words = (c: Capability) => describeCapability(c);
  assert.equal(words({ kind: "multiprotocol", afi: 2, safi: 1 }), "ipv6");
  assert.equal(words({ kind: "multiprotocol", afi: 25, safi: 70 }), "AFI 25 SAFI 70");
  assert.equal(
    words({
      kind: "graceful-restart",
      restarting: true,
      notification: false,
      time: 9,
      families: [],
    }),
    "graceful restart 9 s, restarting",
  );
  assert.equal(words({ kind: "unknown", code: 73, value: new Uint8Array() }), "FQDN");
  assert.equal(words({ kind: "unknown", code: 250, value: new Uint8Array() }), "capability 250");
});
