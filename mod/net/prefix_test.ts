import assert from "node:assert/strict";
import { formatIp, mustIp } from "./ip.ts";
import {
  formatPrefix,
  ipAt,
  lastIp,
  mustPrefix,
  ordinalOf,
  parseCidr,
  parsePrefix,
  parseStrictPrefix,
  prefixCovers,
  prefixesOverlap,
  prefixSize,
} from "./prefix.ts";

Deno.test("a CIDR keeps its address and gives its network", () => {
  const cidr = parseCidr("10.244.3.220/24")!;
  assert.equal(formatIp(cidr.ip), "10.244.3.220");
  assert.equal(formatPrefix(cidr.prefix), "10.244.3.0/24");
  assert.equal(formatPrefix(parseCidr("fd00:0:0:1:2::3/63")!.prefix), "fd00::/63");
});

Deno.test("what is no CIDR is refused", () => {
  for (
    const text of ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/08", "::/129", "a/8", "/8"]
  ) {
    assert.equal(parseCidr(text), undefined, text);
  }
  assert.equal(parseStrictPrefix("10.244.3.220/24"), undefined);
  assert.equal(parseStrictPrefix("10.244.3.220"), undefined);
  assert.equal(formatPrefix(parsePrefix("10.244.3.220")!), "10.244.3.220/32");
});

Deno.test("cover, overlap, size and position", () => {
  const [wide, narrow] = [mustPrefix("10.244.0.0/16"), mustPrefix("10.244.3.0/24")];
  assert.ok(prefixCovers(wide, narrow) && !prefixCovers(narrow, wide));
  assert.ok(prefixesOverlap(narrow, wide));
  assert.ok(!prefixesOverlap(narrow, mustPrefix("10.244.4.0/24")));
  assert.ok(!prefixesOverlap(mustPrefix("0.0.0.0/0"), mustPrefix("::/0")));
  assert.equal(prefixSize(mustPrefix("fd00::/122")), 64n);
  assert.equal(formatIp(lastIp(narrow)), "10.244.3.255");
  assert.equal(ordinalOf(narrow, mustIp("10.244.3.7")), 7n);
  assert.equal(formatIp(ipAt(narrow, 7)), "10.244.3.7");
});
