import assert from "node:assert/strict";
import { FakeClock } from "../testing/fake_net.ts";
import { Timers } from "./timers.ts";

function make() {
  const clock = new FakeClock();
  const expired: [string, number][] = [];
  const timers = new Timers(clock, (name) => expired.push([name, clock.now()]));
  return { clock, expired, timers };
}

Deno.test("a timer runs out once, at its last deadline", () => {
  const { clock, expired, timers } = make();
  timers.start("hold", 10, false);
  for (let i = 0; i < 5; i++) {
    clock.advance(6_000);
    timers.start("hold", 10, false);
  }
  clock.advance(9_999);
  assert.deepEqual(expired, []);
  clock.advance(1);
  assert.deepEqual(expired, [["hold", 40_000]]);
  clock.advance(100_000);
  assert.equal(expired.length, 1);
});

Deno.test("a timer may be made shorter, and stopped", () => {
  const { clock, expired, timers } = make();
  timers.start("hold", 240, false);
  timers.start("hold", 3, false);
  timers.start("keepalive", 1, false);
  timers.stop("keepalive");
  clock.advance(240_000);
  assert.deepEqual(expired, [["hold", 3_000]]);
  timers.start("hold", 1, false);
  timers.stopAll();
  clock.advance(5_000);
  assert.equal(expired.length, 1);
});

Deno.test("jitter takes up to a quarter away", () => {
  const { clock, expired, timers } = make();
  const times: number[] = [];
  for (let i = 0; i < 200; i++) {
    const start = clock.now();
    timers.start("keepalive", 100, true);
    clock.advance(100_000);
    times.push(expired.at(-1)![1] - start);
  }
  assert.equal(times.length, 200);
  assert.ok(Math.min(...times) >= 75_000 && Math.max(...times) <= 100_000);
  assert.ok(Math.max(...times) - Math.min(...times) > 10_000);
});

Deno.test("a process that was not running gives the peer a second chance", () => {
  const { clock, expired, timers } = make();
  timers.start("hold", 10, false);
  clock.sleep(30_000);
  clock.advance(0);
  assert.deepEqual(expired, [], "what the peer sent meanwhile has not been read yet");
  clock.advance(1_000);
  assert.equal(expired.length, 1);

  const woken = make();
  woken.timers.start("hold", 10, false);
  woken.clock.sleep(30_000);
  woken.clock.advance(0);
  woken.timers.start("hold", 10, false); // a message was there
  woken.clock.advance(9_000);
  assert.deepEqual(woken.expired, []);
});
