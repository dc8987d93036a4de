/** What a node answers to the controllers, and when it looks again. */
import assert from "node:assert/strict";
import { answerKey, questionKey } from "../ipam/questions.ts";
import { HALF_WRITTEN, halfWritable } from "../ipam/testing/half_written.ts";
import { memoryStore } from "../store/memory.ts";
import { type Store, StoreError } from "../store/store.ts";
import { AddressQuestions } from "./address_questions.ts";
import { heldAddresses } from "./held_addresses.ts";
import type { Log } from "./log.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };
const ask = (...handles: string[]) => ({
  addresses: handles.map((handle, i) => ({ ip: `10.0.0.${i}`, handle })),
});

async function until(what: string, is: () => Promise<boolean> | boolean): Promise<void> {
  for (let i = 0; i < 400; i++) {
    if (await is()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(what);
}

Deno.test("each sign of life is enough", () => {
  const none = { containers: new Set<string>(), addresses: new Set<string>(), cached: [] };
  const { addresses } = ask("net.a", "net.b.eth1", "net.with.dots.c");
  assert.deepEqual(heldAddresses(addresses, none), []);
  assert.deepEqual(heldAddresses(addresses, { ...none, containers: new Set(["b"]) }), ["10.0.0.1"]);
  assert.deepEqual(heldAddresses(addresses, { ...none, containers: new Set(["c"]) }), ["10.0.0.2"]);
  assert.deepEqual(heldAddresses(addresses, { ...none, addresses: new Set(["10.0.0.0"]) }), [
    "10.0.0.0",
  ]);
  assert.deepEqual(heldAddresses(addresses, { ...none, cached: ["net-a-eth0"] }), ["10.0.0.0"]);
  assert.deepEqual(heldAddresses(addresses, { ...none, cached: ["net-abc-eth0"] }), []);
  const dashed = [{ ip: "10.0.0.0", handle: "k8s-pod-network.my-c1" }];
  assert.deepEqual(heldAddresses(dashed, { ...none, cached: ["net-my-c1-eth0"] }), ["10.0.0.0"]);
  const network = { ...none, containers: new Set(["net"]) };
  assert.deepEqual(heldAddresses(addresses, network), [], "the network's name is no container");
});

Deno.test("a node says that it can be asked, answers, and looks again while something is held", async () => {
  const store = memoryStore();
  let held = ["10.0.0.0"];
  let fails = false;
  const questions = new AddressQuestions({
    store,
    nodeName: "n1",
    held: () => fails ? Promise.reject(new Error("no permission")) : Promise.resolve({ held }),
    log: silent,
    again: 1,
  });
  const answer = async () => (await store.get<any>(answerKey("n1")))?.value;
  try {
    questions.start();
    await until("the first answer", async () => (await answer())?.asked === "");
    const asked = await store.create(questionKey("n1"), ask("net.a"));
    await until("the answer", async () => (await answer())?.asked === asked);
    assert.deepEqual((await answer()).held, ["10.0.0.0"]);
    held = [];
    await until("another look", async () => (await answer()).held.length === 0);
    // What cannot be looked at is not answered for.
    fails = true;
    const next = await store.update(questionKey("n1"), ask("net.b"), asked);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal((await answer()).asked, asked);
    assert.notEqual(next, asked);
  } finally {
    await questions.stop();
    await store.close();
  }
});

Deno.test("an answer that was taken away or put back to another is given again, and no more often", async () => {
  const inner = halfWritable(memoryStore());
  let writes = 0;
  const store: Store = Object.assign(Object.create(inner), {
    put: (key: string, value: unknown) => (writes++, inner.put(key, value)),
  });
  const held = () => Promise.resolve({ held: [] });
  const questions = new AddressQuestions({ store, nodeName: "n1", held, log: silent, again: 1 });
  const key = answerKey("n1");
  const stands = async () => JSON.stringify((await inner.get(key).catch(() => undefined))?.value);
  const told = JSON.stringify({ asked: "", held: [] });
  try {
    questions.start();
    await until("the first answer", async () => await stands() === told);
    await inner.delete(key);
    await until("it is there again", async () => await stands() === told);
    await inner.put(key, { asked: "5", held: ["10.0.0.1"], unseen: "of another time" });
    await until("it is right again", async () => await stands() === told);
    await inner.put(key, HALF_WRITTEN);
    await until("it is whole again", async () => await stands() === told);
    const before = writes;
    await new Promise((resolve) => setTimeout(resolve, 300));
    assert.equal(writes, before);
  } finally {
    await questions.stop();
    await inner.close();
  }
});

Deno.test("a datastore that forbids such records is told of, once", async () => {
  const store = memoryStore();
  const denied = () => Promise.reject(new StoreError("denied", "forbidden to us"));
  const warned: string[] = [];
  const questions = new AddressQuestions({
    store: Object.assign(Object.create(store), { put: denied, list: denied }) as Store,
    nodeName: "n1",
    held: () => Promise.resolve({ held: [] }),
    log: { ...silent, warn: (message) => void warned.push(message) },
  });
  questions.start();
  try {
    await until("both are told", () => warned.length >= 2);
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(warned.sort(), [
      "cannot hear the controllers' questions",
      "this node may not answer the controllers, who release addresses without it",
    ]);
  } finally {
    await questions.stop();
    await store.close();
  }
});

Deno.test("a datastore that takes no such records is left alone", async () => {
  const store = memoryStore();
  const refused = () => Promise.reject(new StoreError("invalid", "no such key"));
  let warned = 0;
  const questions = new AddressQuestions({
    store: Object.assign(Object.create(store), { put: refused, list: refused }) as Store,
    nodeName: "n1",
    held: () => Promise.resolve({ held: [] }),
    log: { ...silent, warn: () => void warned++, error: () => void warned++ },
  });
  questions.start();
  await questions.stop();
  assert.equal(warned, 0);
  await store.close();
});

Deno.test("questions are heard again after whatever the store has answered", async () => {
  const inner = memoryStore();
  let faults = 3;
  const store = new Proxy(inner, {
    get: (target, name) => {
      if (name === "list") {
        return (prefix: string) =>
          faults-- > 0
            ? Promise.reject([new SyntaxError("<"), new StoreError("invalid", "400")][faults % 2])
            : target.list(prefix);
      }
      const value = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const questions = new AddressQuestions({
    store,
    nodeName: "n1",
    held: () => Promise.resolve({ held: [] }),
    log: silent,
  });
  try {
    questions.start();
    const asked = await inner.create(questionKey("n1"), ask("net.a"));
    const answer = async () => (await inner.get<any>(answerKey("n1")))?.value;
    await until("the answer", async () => (await answer())?.asked === asked);
    assert(faults < 0);
  } finally {
    await questions.stop();
    await inner.close();
  }
});
