import assert from "node:assert/strict";
import { Repeats } from "./repeats.ts";

/** Time that is set. */
class Moment {
  now = 0;
  monotonicMs = () => this.now;
}

Deno.test("the same is said once, then at growing intervals, with a count", () => {
  const clock = new Moment();
  const repeats = new Repeats(clock);
  const said: string[] = [];
  for (let second = 0; second <= 5000; second++) {
    for (const { error, times } of repeats.hear(["no room"]).say) {
      said.push(`${second} s: ${error} (${times})`);
    }
    clock.now += 1000;
  }
  assert.deepEqual(said, [
    "0 s: no room (1)",
    "10 s: no room (11)",
    "70 s: no room (71)",
    "670 s: no room (671)",
    "4270 s: no room (4271)",
  ]);
});

Deno.test("what was quiet for long is new again; another thing is said at once", () => {
  const clock = new Moment();
  const repeats = new Repeats(clock);
  const say = (...errors: string[]) => repeats.hear(errors).say.map(({ error }) => error);
  assert.deepEqual(say("a"), ["a"]);
  clock.now += 5000;
  assert.deepEqual(say(), []);
  assert.deepEqual(say("a", "b"), ["b"]);
  clock.now += 10_001;
  assert.deepEqual(say(), []);
  assert.deepEqual(say("a"), ["a"]);
});

Deno.test("of very many at once some are said, and the number of the others", () => {
  const repeats = new Repeats(new Moment());
  const { say, more } = repeats.hear(Array.from({ length: 5000 }, (_, i) => `route ${i}`));
  assert.deepEqual([say.length, more], [20, 4980]);
});
