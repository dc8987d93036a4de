import assert from "node:assert/strict";
import fc from "fast-check";
import { formatIp, formatPrefix, ipFromBigInt, prefixOf } from "../net/mod.ts";
import { ippoolKind } from "./ippool.ts";
import {
  encodeObject,
  ModelError,
  parseObject,
  type ParseOptions,
  readObject,
} from "./validate.ts";

const pool = (spec: Record<string, unknown>) => ({ metadata: { name: "p" }, spec });

function refusal(spec: Record<string, unknown>, options: ParseOptions = {}): string {
  try {
    parseObject(ippoolKind, pool(spec), options);
    return "";
  } catch (error) {
    assert.ok(error instanceof ModelError);
    return error.message;
  }
}

Deno.test("defaults are Calico's", () => {
  const { spec } = parseObject(ippoolKind, pool({ cidr: "10.0.0.0/16" }));
  assert.deepEqual(spec, {
    cidr: "10.0.0.0/16",
    vxlanMode: "Never",
    ipipMode: "Never",
    natOutgoing: false,
    disabled: false,
    disableBGPExport: false,
    blockSize: 26,
    nodeSelector: "all()",
    namespaceSelector: "",
    allowedUses: ["Workload", "Tunnel"],
    assignmentMode: "Automatic",
  });
  assert.equal(parseObject(ippoolKind, pool({ cidr: "fd00::/48" })).spec.blockSize, 122);
  assert.equal(
    parseObject(ippoolKind, pool({ cidr: "10.0.0.0/16", blockSize: 0 })).spec.blockSize,
    26,
  );
});

Deno.test("host bits are refused with the corrected value, and masked where kubectl may write them", () => {
  assert.match(
    refusal({ cidr: "10.244.3.220/24" }),
    /spec\.cidr: 10\.244\.3\.220\/24.*want 10\.244\.3\.0\/24/,
  );
  const warnings: string[] = [];
  const read = parseObject(ippoolKind, pool({ cidr: "10.244.3.220/24" }), {
    crd: true,
    warn: (warning) => warnings.push(warning),
  });
  assert.equal(read.spec.cidr, "10.244.3.0/24");
  assert.equal(warnings.length, 1);
  assert.match(warnings[0], /10\.244\.3\.0\/24/);
});

Deno.test("whatever is stored reads as its network", () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 0xffff_ffffn }),
      fc.integer({ min: 0, max: 32 }),
      (n, length) => {
        const ip = ipFromBigInt(4, n);
        const read = readObject(ippoolKind, pool({ cidr: `${formatIp(ip)}/${length}` }));
        assert.equal(read.spec.cidr, formatPrefix(prefixOf(ip, length)));
      },
    ),
  );
});

const refused: [spec: Record<string, unknown>, message: RegExp][] = [
  [{}, /spec\.cidr: is missing/],
  [{ cidr: "10.0.0.0" }, /spec\.cidr.*want a CIDR/],
  [{ cidr: "nonsense" }, /spec\.cidr: "nonsense" is not allowed/],
  [{ cidr: "10.0.0.0/27" }, /spec\.cidr: 10\.0\.0\.0\/27 is smaller than one block of \/26/],
  [{ cidr: "10.0.0.0/16", blockSize: 33 }, /spec\.blockSize: 33.*20 to 32/],
  [{ cidr: "10.0.0.0/16", blockSize: 19 }, /spec\.blockSize: 19.*20 to 32/],
  [{ cidr: "fd00::/64", blockSize: 64 }, /spec\.blockSize: 64.*116 to 128/],
  [{ cidr: "10.0.0.0/16", ipipMode: "always" }, /"always".*one of Never, Always, CrossSubnet/],
  [
    { cidr: "10.0.0.0/16", ipipMode: "Always", vxlanMode: "Always" },
    /spec\.ipipMode: Always cannot stand beside vxlanMode Always/,
  ],
  [{ cidr: "fd00::/64", ipipMode: "Always" }, /IPIP carries IPv4 alone/],
  [{ cidr: "169.254.5.0/24" }, /link-local range 169\.254\.0\.0\/16/],
  [{ cidr: "0.0.0.0/0" }, /link-local range 169\.254\.0\.0\/16/],
  [{ cidr: "10.0.0.0/16", nodeSelector: "role =" }, /spec\.nodeSelector.*a selector/],
  [{ cidr: "10.0.0.0/16", nodeSelector: "global()" }, /may not use global\(\)/],
  [
    { cidr: "10.0.0.0/16", allowedUses: ["Tunnel"], namespaceSelector: "all()" },
    /want allowedUses \[Workload\]/,
  ],
  [{ cidr: "10.0.0.0/16", natOutgoing: 0 }, /spec\.natOutgoing: 0 is not true or false/],
  [{ cidr: "10.0.0.0/16", natOutgoing: "yes" }, /spec\.natOutgoing: "yes" is not true or false/],
  [{ cidr: "10.0.0.0/16", cdir: "x" }, /spec\.cdir: unknown field \(did you mean cidr\?\)/],
];

Deno.test("what Calico refuses is refused, with field, value and what is allowed", () => {
  for (const [spec, message] of refused) assert.match(refusal(spec), message);
});

Deno.test("a disabled pool may be smaller than a block", () => {
  assert.equal(refusal({ cidr: "10.0.0.0/27", disabled: true }), "");
});

Deno.test("storage has Calico's members in Calico's order, zero values left out", () => {
  const stored = encodeObject(
    ippoolKind,
    parseObject(ippoolKind, {
      spec: { natOutgoing: true, cidr: "10.0.0.0/16" },
      metadata: { name: "p" },
    }),
  );
  assert.equal(
    JSON.stringify(stored),
    '{"kind":"IPPool","apiVersion":"projectcalico.org/v3","metadata":{"name":"p"},"spec":' +
      '{"cidr":"10.0.0.0/16","vxlanMode":"Never","ipipMode":"Never","natOutgoing":true,' +
      '"blockSize":26,"nodeSelector":"all()","allowedUses":["Workload","Tunnel"],' +
      '"assignmentMode":"Automatic"}}',
  );
});
