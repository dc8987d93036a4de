/**
 * The server is away for some seconds, and there again: as it was, or put back from a copy of its data and
 * gone on from there. A follower keeps what it knows meanwhile and ends with what the store holds, though
 * revisions that it knows stand for other values now.
 */

import assert from "node:assert/strict";
import { Writer } from "./breaks.ts";
import { type Case, pause, type Room } from "./case.ts";
import type { Store } from "../store.ts";

const OUTAGE_MS = 2500;

/** A follower that knows a late past, which is taken back; what others write then is what it must know. */
function setBack(
  name: string,
  late: (store: Store, room: Room) => Promise<void>,
  others: (store: Store, room: Room) => Promise<void>,
): Case {
  return {
    name: `data that was put back from a copy is told: ${name}`,
    needs: ["backUp"],
    async run(room) {
      const { store } = room;
      for (const [i, name] of ["a", "z", "gone"].entries()) {
        await store.put(room.key(name), room.value(i));
      }
      const putBack = await room.subject.backUp!();
      const picture = await room.follow(room.key(""));
      await late(store, room);
      await picture.mustBeTrue();
      const { epoch } = store;
      await putBack((other) => others(other, room));
      // Whoever asks now may be answered from another past, and knows that.
      await new Writer(room).get(room.key("a"));
      assert.notEqual(store.epoch, epoch, "what was remembered is to be forgotten");
      await picture.mustBeTrue();
      assert(!picture.entries.has(room.key("lost")), "what was never written is not there");
      // From here on nothing is missed.
      await new Writer(room).create(room.key("next"), room.value(900));
      await picture.until("what is new", () => picture.entries.has(room.key("next")));
      await picture.mustBeTrue();
    },
  };
}

export const outageCases: readonly Case[] = [
  {
    name: "an outage of some seconds loses nothing, and a follower keeps what it knows",
    needs: ["outage"],
    async run(room) {
      const { store } = room;
      const writer = new Writer(room);
      for (let i = 0; i < 5; i++) await store.put(room.key(`k${i}`), room.value(i));
      const picture = await room.follow(room.key(""));
      const before = await store.get(room.key("k0"));
      const giveBack = await room.subject.outage!();
      // What is asked for meanwhile is answered when it can be, or has a clear end.
      const pending = Promise.allSettled([
        store.get(room.key("k1")),
        store.update(room.key("k0"), room.value(10), before!.revision),
        store.create(room.key("k5"), room.value(15)),
      ]);
      await pause(OUTAGE_MS);
      assert.deepEqual(picture.gone, []);
      assert.equal(picture.entries.size, 5);
      await giveBack();
      for (const outcome of await pending) {
        if (outcome.status === "fulfilled") continue;
        assert.equal(outcome.reason.kind, "unavailable", outcome.reason.message);
      }
      const now = (await writer.get(room.key("k2")))!;
      await writer.delete(room.key("k2"), now.revision);
      await writer.create(room.key("k6"), room.value(6));
      await picture.until("the deletion", () => picture.gone.includes(room.key("k2")));
      await picture.until("what is new", () => picture.entries.has(room.key("k6")));
      await picture.mustBeTrue();
      assert.deepEqual(picture.gone, [room.key("k2")]);
    },
  },
  setBack(
    "nothing was written since",
    async (store, room) => {
      await store.put(room.key("a"), room.value(10));
      await store.put(room.key("lost"), room.value(11));
      await store.delete(room.key("gone"));
    },
    () => Promise.resolve(),
  ),
  setBack(
    "the same revision stands for another value",
    async (store, room) => void await store.put(room.key("a"), room.value(10)),
    async (store, room) => void await store.put(room.key("a"), room.value(20)),
  ),
  setBack(
    "the newest put is the same at the same revision, and all before it is another",
    async (store, room) => {
      await store.put(room.key("lost"), room.value(10));
      await store.put(room.key("a"), room.value(11));
    },
    async (store, room) => {
      await store.put(room.key("x"), room.value(20));
      await store.put(room.key("a"), room.value(11));
      await store.put(room.key("y"), room.value(21));
    },
  ),
  setBack(
    "gone on beyond all that was known",
    async (store, room) => {
      await store.put(room.key("a"), room.value(10));
      await store.put(room.key("lost"), room.value(11));
    },
    async (store, room) => {
      await store.delete(room.key("gone"));
      for (let i = 0; i < 12; i++) await store.put(room.key(`n${i % 3}`), room.value(20 + i));
    },
  ),
];
