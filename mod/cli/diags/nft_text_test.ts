import assert from "node:assert/strict";
import { verdictExpression } from "../../../ffi/nft/expr.ts";
import { commentUserdata } from "../../../ffi/nft/userdata.ts";
import { chainText, setText } from "./nft_text.ts";

const table = { family: "ip", table: "calico" } as const;
const name = (text: string) => {
  const bytes = new Uint8Array(16);
  bytes.set(new TextEncoder().encode(text));
  return bytes;
};

Deno.test("chains and rules, expression by expression", () => {
  const base = { type: "filter", hook: "forward", priority: -10, policy: "drop" } as const;
  const text = chainText({ ...table, name: "c", base }, [{
    ...table,
    chain: "c",
    handle: 7,
    userdata: commentUserdata("why"),
    expressions: [
      { kind: "meta", key: "iifname", dreg: 1 },
      { kind: "cmp", sreg: 1, op: "eq", data: new TextEncoder().encode("cali") },
      { kind: "cmp", sreg: 1, op: "eq", data: new Uint8Array([0, 80]) },
      verdictExpression({ code: "jump", chain: "d" }),
    ],
  }]);
  assert.equal(
    text,
    "  chain c { type filter hook forward priority -10 policy drop\n" +
      '    [ meta key iifname dreg 1 ] [ cmp sreg 1 op eq data "cali" ] ' +
      '[ cmp sreg 1 op eq data 0x0050 ] [ immediate dreg 0 data jump d ] comment "why" # handle 7\n' +
      "  }",
  );
});

Deno.test("sets and maps with addresses, names and verdicts", () => {
  const set = { ...table, name: "s", flags: 4, keyType: 7, keyLength: 4 };
  assert.equal(
    setText(set, [{ key: new Uint8Array([10, 0, 0, 1]) }, {
      key: new Uint8Array([11, 0, 0, 0]),
      flags: 1,
    }]),
    "  set s { flags 0x4 key 4 bytes\n    0x0a000001 (10.0.0.1)\n    0x0b000000 (11.0.0.0) end\n  }",
  );
  const map = { ...table, name: "m", flags: 8, keyType: 41, keyLength: 16, dataType: 0xffffff00 };
  assert.equal(
    setText(map, [{ key: name("cali1"), data: { verdict: { code: "goto", chain: "fw" } } }]),
    '  map m { flags 0x8 key 16 bytes\n    "cali1" : goto fw\n  }',
  );
  const many = Array.from(
    { length: 5001 },
    (_, i) => ({ key: new Uint8Array([10, 0, i >> 8, i]) }),
  );
  assert.match(setText(set, many), /\n {4}… and 1 more\n {2}}$/);
});
