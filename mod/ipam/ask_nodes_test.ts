/** Asking nodes beside the controllers, who write and take back questions of their own meanwhile. */
import assert from "node:assert/strict";
import type { Clock } from "../store/clock.ts";
import { memoryStore } from "../store/memory.ts";
import type { Store } from "../store/store.ts";
import { nodesOf } from "./ask_nodes.ts";
import {
  answerKey,
  type AskedAddress,
  askedId,
  type Question,
  questionKey,
  readQuestion,
} from "./questions.ts";

/** Every wait lets the others do something, and time passes. */
class Others implements Clock {
  time = 0;
  constructor(readonly turn: () => Promise<void>) {}
  wallMs = () => this.time;
  monotonicMs = () => this.time;
  after(ms: number, run: () => void) {
    this.time += ms;
    this.turn().then(run);
    return () => {};
  }
}

const mine = [{ ip: "10.0.0.1", handle: "net.a" }, { ip: "10.0.0.2", handle: "net.b" }];
const asked = new Map([["n1", mine]]);
const idsOf = (list: readonly AskedAddress[]) => new Set(list.map(askedId));

async function inStore(run: (store: Store) => Promise<void>): Promise<void> {
  const store = memoryStore();
  try {
    await run(store);
  } finally {
    await store.close();
  }
}

/** The node: answers the question that stands. */
async function answer(store: Store): Promise<void> {
  const entry = await store.get<Question>(questionKey("n1"));
  if (!entry) return;
  const held = readQuestion(entry.value).addresses.map(({ ip }) => ip)
    .filter((ip) => ip === "10.0.0.1");
  await store.put(answerKey("n1"), { asked: entry.revision, held });
}

Deno.test("a node answers, and nothing is left of the question", () =>
  inStore(async (store) => {
    // An answer of before to nothing, or to another question, is none.
    await store.put(answerKey("n1"), { asked: "", held: ["10.0.0.2"] });
    const clock = new Others(() => answer(store));
    const word = (await nodesOf(store, { clock })(asked)).get("n1");
    assert.deepEqual(word, { held: new Set(["10.0.0.1"]), asked: idsOf(mine) });
    assert.equal(await store.get(questionKey("n1")), undefined);
  }));

Deno.test("the controllers' question stays beside, and theirs coming in between does not confuse", () =>
  inStore(async (store) => {
    await store.put(answerKey("n1"), { asked: "", held: [] });
    const theirs = { ip: "10.0.0.9", handle: "net.x" };
    const key = questionKey("n1");
    const revision = await store.create(key, { addresses: [theirs] });
    let turns = 0;
    const clock = new Others(async () => {
      const stands = (await store.get<Question>(key))!;
      // First they overwrite it with theirs alone, and the node answers that.
      if (++turns === 1) await store.update(key, { addresses: [theirs] }, stands.revision);
      await answer(store);
    });
    const word = (await nodesOf(store, { clock })(asked)).get("n1");
    assert.deepEqual(word, { held: new Set(["10.0.0.1"]), asked: idsOf(mine) });
    const after = (await store.get<Question>(key))!;
    assert.deepEqual(after.value, { addresses: [theirs] });
    assert.notEqual(after.revision, revision);
  }));

Deno.test("a call of the controllers stays where others' questions come and go", () =>
  inStore(async (store) => {
    await store.put(answerKey("n1"), { asked: "", held: [] });
    await store.create(questionKey("n1"), { addresses: [], at: 7 });
    await nodesOf(store, { clock: new Others(() => answer(store)) })(asked);
    assert.deepEqual((await store.get(questionKey("n1")))?.value, { addresses: [], at: 7 });
  }));

Deno.test("two who ask at once get their answers both, whoever wrote last", () =>
  inStore(async (store) => {
    await store.put(answerKey("n1"), { asked: "", held: [] });
    const key = questionKey("n1");
    const abort = new AbortController();
    // A node takes a moment for its answer; what was asked by then may be another's by now.
    const node = (async () => {
      const { revision: from } = await store.list(key);
      for await (const event of store.watch(key, { from, signal: abort.signal })) {
        if (event.type !== "put") continue;
        await new Promise((resolve) => setTimeout(resolve, 20));
        await store.put(answerKey("n1"), { asked: event.revision, held: [] });
      }
    })();
    const ask = nodesOf(store, { limit: 3000 });
    const other = [{ ip: "10.0.0.3", handle: "net.c" }];
    const first = ask(asked);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const second = ask(new Map([["n1", other]]));
    const word = (addresses: typeof mine) => ({ held: new Set(), asked: idsOf(addresses) });
    assert.deepEqual((await first).get("n1"), word(mine));
    assert.deepEqual((await second).get("n1"), word(other));
    abort.abort();
    await node;
  }));

Deno.test("a node that does not answer in time, and one that cannot be asked", () =>
  inStore(async (store) => {
    const clock = new Others(() => Promise.resolve());
    const never = (await nodesOf(store, { clock })(asked)).get("n1");
    assert.deepEqual(never, { silent: "node n1 cannot be asked", never: true });
    await store.put(answerKey("n1"), { asked: "", held: [] });
    const late = (await nodesOf(store, { clock, limit: 5000 })(asked)).get("n1");
    assert.deepEqual(late, { silent: "node n1 has not answered within 5 s", never: false });
    assert.equal(await store.get(questionKey("n1")), undefined);
  }));
