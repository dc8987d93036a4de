import assert from "node:assert/strict";
import fc from "fast-check";
import { intervalElements } from "../../../ffi/nft/elements.ts";
import type { Family, SetKind } from "../../../policy/rules.ts";
import { formatIp, formatPrefix, type Ip, prefixOf } from "../../net/mod.ts";
import { isSameSet, memberElements, readMembers, setDefinition } from "./sets.ts";
import { CompileError } from "./terms.ts";

const families: readonly Family[] = [4, 6];
const kinds: readonly SetKind[] = ["addr", "net", "addr-port", "verdict-map"];
const bytesOf = (family: Family) => {
  const length = family === 4 ? 4 : 16;
  return fc.uint8Array({ minLength: length, maxLength: length });
};
const anyIp = (family: Family): fc.Arbitrary<Ip> =>
  bytesOf(family).map((bytes) => ({ family, bytes }));

function anyMember(kind: SetKind, family: Family): fc.Arbitrary<[string, string?]> {
  switch (kind) {
    case "addr":
      return anyIp(family).map((ip) => [formatIp(ip)]);
    case "net":
      return fc.tuple(anyIp(family), fc.nat(family === 4 ? 32 : 128))
        .map(([ip, length]) => [formatPrefix(prefixOf(ip, length))]);
    case "addr-port":
      return fc.tuple(anyIp(family), fc.nat(255), fc.nat(65535))
        .map(([ip, protocol, port]) => [`${formatIp(ip)},${protocol},${port}`]);
    case "verdict-map":
      return fc.tuple(
        // A pattern would take a second a hundred.
        fc.string({ unit: fc.constantFrom(..."abcxyz019._-"), minLength: 1, maxLength: 15 }),
        fc.constantFrom("accept", "drop", "return", "goto cali-fw", "jump filter-cali-tw-cali1"),
      ).map(([name, verdict]) => [name, verdict]);
  }
}

for (const kind of kinds) {
  Deno.test(`members of kind ${kind} are read from the elements that they became`, () => {
    fc.assert(fc.property(
      fc.constantFrom(...families).chain((family) =>
        anyMember(kind, family).map((member) => ({ family, member }))
      ),
      ({ family, member: [member, verdict] }) => {
        const elements = memberElements("s", kind, family, member, verdict);
        assert.deepEqual([...readMembers(kind, family, elements)], [[member, verdict ?? ""]]);
        const definition = setDefinition("calico", family, "s", kind);
        for (const { key } of elements) assert.equal(key.length, definition.keyLength);
      },
    ));
  });
}

Deno.test("a range that is no network is read, and can be named to be deleted", () => {
  const first = new Uint8Array([10, 0, 0, 1]), last = new Uint8Array([10, 0, 0, 5]);
  const elements = intervalElements(first, last);
  assert.deepEqual([...readMembers("net", 4, elements).keys()], ["10.0.0.1-10.0.0.5"]);
  assert.deepEqual(memberElements("s", "net", 4, "10.0.0.1-10.0.0.5"), elements);
});

Deno.test("what is no member is refused", () => {
  const bad: [SetKind, Family, string][] = [
    ["addr", 4, "10.0.0"],
    ["addr", 4, "10.0.0.256"],
    ["addr", 4, "10.0.0.01"],
    ["addr", 4, "10.0.0.1."],
    ["addr", 4, "10..0.1"],
    ["addr", 4, ""],
    ["addr", 4, "fd00::1"],
    ["addr", 6, "10.0.0.1"],
    ["addr", 4, "10.0.0.1/32"],
    ["net", 4, "10.0.0.0"],
    ["net", 4, "10.0.0.1/24"],
    ["net", 4, "10.0.0.0/33"],
    ["net", 4, "10.0.0.0/x"],
    ["net", 6, "fd00::1/64"],
    ["addr-port", 4, "10.0.0.1,6"],
    ["addr-port", 4, "10.0.0.1,300,80"],
    ["addr-port", 4, "10.0.0.1,6,65536"],
    ["addr-port", 4, "10.0.0.1,6,80,1"],
    ["verdict-map", 4, ""],
    ["verdict-map", 4, "sixteen-letters-"],
  ];
  for (const [kind, family, member] of bad) {
    assert.throws(
      () => memberElements("s", kind, family, member),
      (error) =>
        error instanceof CompileError && error.message.includes(`"${member}" is not a member`),
      `${kind} ${member}`,
    );
  }
});

Deno.test("sets of the kernel are told apart by kind and family", () => {
  for (const kind of kinds) {
    for (const other of kinds) {
      const a = setDefinition("calico", 4, "s", kind), b = setDefinition("calico", 4, "s", other);
      assert.equal(isSameSet(a, b), kind === other);
    }
    if (kind === "verdict-map") continue;
    assert(!isSameSet(setDefinition("c", 4, "s", kind), setDefinition("c", 6, "s", kind)));
  }
});
