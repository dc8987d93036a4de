import assert from "node:assert/strict";
import { formatIp } from "../mod/net/mod.ts";
import { AnnotationSource } from "./annotation_source.ts";
import { CniError } from "./errors.ts";
import { familiesOf, PIN_NAMES, readPins } from "./pins.ts";

const [PINS, SPARE, KEEP] = PIN_NAMES;
const read = (annotations: Record<string, string>) =>
  readPins(new AnnotationSource(annotations, "Pod blue/p"));

Deno.test("pins: a list with commas or in JSON; addresses, ranges and networks", () => {
  assert.equal(read({}), undefined);
  const addresses = (text: string) => read({ [PINS]: text })!.addresses.map(formatIp).join(" ");
  const wanted = "10.0.0.9 10.0.0.4 10.0.0.5 10.0.0.6 10.0.0.12 10.0.0.13";
  assert.equal(addresses(" 10.0.0.9, 10.0.0.4-10.0.0.6 ,10.0.0.12/31"), wanted);
  assert.equal(addresses('["10.0.0.9","10.0.0.4 - 10.0.0.6","10.0.0.12/31"]'), wanted);
  const both = read({
    [PINS]: "fd00::1,10.0.0.1",
    [SPARE]: "10.0.0.2",
    [KEEP]: "15m",
  })!;
  assert.deepEqual(familiesOf(both), [4, 6]);
  assert.equal(both.spare.length, 1);
  assert.equal(both.keep, 900);
  assert.equal(read({ [PINS]: "10.0.0.1" })!.keep, 3600);
});

Deno.test("pins: what cannot be read is refused with object, annotation and what is allowed", () => {
  const wrong: [Record<string, string>, string, RegExp][] = [
    [{ [PINS]: "x" }, PINS, /"x" is not an address, a range/],
    [{ [PINS]: "10.0.0.5-10.0.0.4" }, PINS, /not an address, a range/],
    [{ [PINS]: "10.0.0.5-" }, PINS, /not an address, a range/],
    [{ [PINS]: "-10.0.0.5" }, PINS, /not an address, a range/],
    [{ [PINS]: "10.0.0.5-x" }, PINS, /not an address, a range/],
    [{ [PINS]: "10.0.0.5-fd00::1" }, PINS, /not an address, a range/],
    [{ [PINS]: "10.0.0.1-10.0.0.2-10.0.0.3" }, PINS, /not an address, a range/],
    [{ [PINS]: "10.0.0.1/24" }, PINS, /without host bits/],
    [{ [PINS]: "10.0.0.0/8" }, PINS, /more than 4096/],
    [{ [PINS]: "::/0" }, PINS, /more than 4096/],
    [{ [PINS]: "10.0.0.1, 10.0.0.0/30" }, PINS, /names 10\.0\.0\.1 twice/],
    [{ [PINS]: "[]" }, PINS, /empty list/],
    [{ [PINS]: ", ," }, PINS, /empty list/],
    [{ [PINS]: "[1]" }, PINS, /JSON list of texts/],
    [{ [PINS]: "10.0.0.1", [SPARE]: "10.0.0.1" }, SPARE, /which tortie\.io\/ip-pins names too/],
    [{ [PINS]: "10.0.0.1", [SPARE]: "fd00::1" }, SPARE, /no address of its family/],
    [{ [PINS]: "10.0.0.1", [KEEP]: "soon" }, KEEP, /not a duration/],
    [{ [PINS]: "10.0.0.1", [KEEP]: "-1h" }, KEEP, /not a duration/],
    [{ [SPARE]: "10.0.0.1" }, SPARE, /needs tortie\.io\/ip-pins beside it/],
  ];
  for (const [annotations, name, words] of wrong) {
    assert.throws(
      () => read(annotations),
      (e) =>
        e instanceof CniError && e.code === 102 && words.test(e.message) &&
        e.message.startsWith(`Pod blue/p: annotation ${name} `),
      JSON.stringify(annotations),
    );
  }
});
