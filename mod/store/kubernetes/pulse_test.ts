import assert from "node:assert/strict";
import { ManualClock, settle } from "../testing.ts";
import type { Unreachable } from "./failure.ts";
import { Pulse } from "./pulse.ts";

function scene() {
  const clock = new ManualClock();
  let questions = 0, idle = 0;
  let answer: () => Promise<void> = () => Promise.resolve();
  const pulse = new Pulse(clock, 30_000, () => (questions++, answer()), () => void idle++);
  const deaf: Unreachable[] = [];
  return {
    clock,
    pulse,
    deaf,
    join: (alone = false) => {
      const beat = pulse.join((error) => {
        deaf.push(error);
        beat.leave();
      }, alone);
      return beat;
    },
    answers: (how: () => Promise<void>) => answer = how,
    get questions() {
      return questions;
    },
    get idle() {
      return idle;
    },
  };
}

Deno.test("however many watches are silent, one question is asked for all of them", async () => {
  const s = scene();
  const beats = Array.from({ length: 30 }, () => s.join());
  await s.clock.advance(29_000);
  assert.equal(s.questions, 0);
  // Whoever says something speaks for all.
  beats[7].heard();
  await s.clock.advance(29_000);
  assert.equal(s.questions, 0);
  await s.clock.advance(2000);
  assert.equal(s.questions, 1);
  await s.clock.advance(60_000);
  assert.equal(s.questions, 3, "an answer is heard too");
  assert.deepEqual(s.deaf, []);
  for (const beat of beats) {
    beat.leave();
    beat.leave();
  }
  assert.equal(s.idle, 1);
  assert.equal(s.clock.pending, 0);
});

Deno.test("without an answer all of them are told, with how long nothing was heard", async () => {
  const s = scene();
  const no = Promise.withResolvers<void>();
  s.answers(() => no.promise);
  for (let i = 0; i < 3; i++) s.join();
  await s.clock.advance(45_000);
  assert.equal(s.deaf.length, 0);
  no.reject(new Error("no answer within 15 s"));
  await settle();
  assert.equal(s.deaf.length, 3);
  assert.equal(s.deaf[0].message, "nothing was heard for 45 s: no answer within 15 s");
  assert.equal(s.deaf[0].awayMs, 45_000);
  assert.equal(s.idle, 1);
  assert.equal(s.clock.pending, 0);
});

Deno.test("a watch that speaks while the question is out is not deaf; a doubt asks at once", async () => {
  const s = scene();
  const no = Promise.withResolvers<void>();
  s.answers(() => no.promise);
  const beat = s.join();
  s.pulse.doubt(0);
  s.pulse.doubt(0);
  assert.equal(s.questions, 1);
  await s.clock.advance(1000);
  beat.heard();
  no.reject(new Error("late"));
  await settle();
  assert.deepEqual(s.deaf, []);
  beat.leave();
  s.pulse.doubt(0);
  assert.equal(s.questions, 1, "nobody watches");
});

Deno.test("whose connection is its own has no other to speak for it: after a late call it is deaf, or has spoken", async () => {
  const s = scene();
  const silent = s.join(true), speaks = s.join(true), shares = s.join();
  await s.clock.advance(1000);
  const sent = s.clock.monotonicMs();
  await s.clock.advance(5000);
  speaks.heard();
  s.pulse.doubt(sent);
  await settle();
  assert.equal(s.questions, 1, "for the one that shares its connection");
  assert.equal(s.deaf.length, 1);
  assert.equal(s.deaf[0].message, "nothing was heard for 6 s: a call was not answered in time");
  assert.equal(s.deaf[0].awayMs, 5000, "the server's silence is that to the call");
  assert.equal(s.pulse.watches, 2);
  for (const beat of [silent, speaks, shares]) beat.leave();
  assert.equal(s.clock.pending, 0);
});
