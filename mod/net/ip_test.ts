import assert from "node:assert/strict";
import fc from "fast-check";
import {
  addToIp,
  compareIp,
  formatIp,
  ipFromBigInt,
  ipToBigInt,
  isLinkLocal,
  mustIp,
  parseIp,
} from "./ip.ts";

const read = (text: string) => {
  const ip = parseIp(text);
  return ip ? formatIp(ip) : undefined;
};

Deno.test("addresses are read strictly and written canonically", () => {
  const cases: [string, string | undefined][] = [
    ["192.0.2.1", "192.0.2.1"],
    ["192.0.2.01", undefined],
    ["192.0.2.256", undefined],
    ["192.0.2", undefined],
    ["192.0.2.1 ", undefined],
    ["", undefined],
    ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
    ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
    ["::", "::"],
    ["::1", "::1"],
    ["1::", "1::"],
    ["::ffff:192.0.2.1", "::ffff:192.0.2.1"],
    ["64:ff9b::192.0.2.33", "64:ff9b::c000:221"],
    ["1:2:3:4:5:6:192.0.2.1", "1:2:3:4:5:6:c000:201"],
    ["1:2:3:4:5:6:7:8:9", undefined],
    ["1:2:3:4:5:6:7", undefined],
    ["1:2:3:4:5:6:7::8", undefined],
    ["1:::2", undefined],
    ["1::2::3", undefined],
    ["fe80::1%eth0", undefined],
    ["12345::", undefined],
    ["::1.2.3", undefined],
  ];
  for (const [text, want] of cases) assert.equal(read(text), want, text);
});

Deno.test("an address survives text and number", () => {
  fc.assert(fc.property(
    fc.oneof(
      fc.record({ family: fc.constant<4>(4), n: fc.bigInt(0n, (1n << 32n) - 1n) }),
      fc.record({ family: fc.constant<6>(6), n: fc.bigInt(0n, (1n << 128n) - 1n) }),
    ),
    ({ family, n }) => {
      const ip = ipFromBigInt(family, n);
      const back = mustIp(formatIp(ip));
      assert.equal(compareIp(ip, back), 0);
      assert.equal(ipToBigInt(back), n);
    },
  ));
});

Deno.test("adding stops at the end of the space", () => {
  assert.equal(formatIp(addToIp(mustIp("10.0.0.255"), 1)), "10.0.1.0");
  assert.throws(() => addToIp(mustIp("255.255.255.255"), 1), RangeError);
  assert.throws(() => addToIp(mustIp("::"), -1), RangeError);
});

Deno.test("addresses of one link", () => {
  const links = ["fe80::1", "febf::1", "fec0::1", "fe7f::1", "2001:db8::1", "254.128.0.1"]
    .filter((text) => isLinkLocal(mustIp(text)));
  assert.deepEqual(links, ["fe80::1", "febf::1"]);
});
