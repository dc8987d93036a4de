/** Whatever bytes come, the decoders answer, soon, and with a NOTIFICATION that can be sent. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { fromHex } from "./bytes.ts";
import { encodeNotification } from "./frame.ts";
import { Framer } from "./framer.ts";
import { decodeBody, decodeMessage } from "./message.ts";
import type { UpdateContext } from "./update.ts";

const golden = (await Deno.readTextFile(new URL("../golden/bird2.jsonl", import.meta.url)))
  .trim().split("\n").map((line) => JSON.parse(line) as { type: number; body: string });

const contexts: UpdateContext[] = [2, 4].flatMap((asSize) =>
  [true, false].map((internal) => ({
    asSize: asSize as 2 | 4,
    internal,
    families: new Set(["ipv4", "ipv6"] as const),
  }))
);

function judge(type: number, body: Uint8Array): void {
  for (const context of contexts) {
    const result = decodeBody(type, body, context);
    if (result.ok) continue;
    const { code, subcode, data, text } = result.error;
    assert.ok(code >= 1 && code <= 7 && subcode >= 0 && text.length > 0);
    assert.ok(encodeNotification({ code, subcode, data }).length <= 4096);
  }
}

Deno.test("real messages with octets changed, cut, doubled", () => {
  const edit = fc.tuple(fc.constantFrom("set", "cut", "insert"), fc.nat(4096), fc.nat(255));
  fc.assert(
    fc.property(fc.constantFrom(...golden), fc.array(edit, { maxLength: 6 }), (message, edits) => {
      let bytes = [...fromHex(message.body)];
      for (const [what, where, value] of edits) {
        const at = bytes.length === 0 ? 0 : where % bytes.length;
        if (what === "set") bytes[at] = value;
        else if (what === "cut") bytes = bytes.slice(0, at);
        else bytes.splice(at, 0, value);
      }
      const least = { 1: 10, 2: 4, 3: 2, 4: 0, 5: 4 }[message.type]!;
      while (bytes.length < least) bytes.push(0); // the framer lets no shorter one pass
      judge(message.type, new Uint8Array(bytes));
    }),
    { numRuns: 5000 },
  );
});

Deno.test("noise", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), (noise) => {
      decodeMessage(noise, contexts[0]);
      new Framer({ onMessage: () => {}, onError: () => {} }).push(noise);
      const body = new Uint8Array(Math.max(10, noise.length));
      body.set(noise);
      for (let type = 0; type <= 6; type++) judge(type, body);
    }),
    { numRuns: 2000 },
  );
});
