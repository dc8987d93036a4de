/** Pods, Namespaces and profiles that somebody wrote wrongly: told by name, or in nobody's way. */
import assert from "node:assert/strict";
import { HALF_WRITTEN, halfWritable } from "../mod/ipam/testing/half_written.ts";
import { resourceKey } from "../mod/model/keys.ts";
import { namespaceKind } from "../mod/model/namespace.ts";
import { podKind } from "../mod/model/pod.ts";
import { profileKind } from "../mod/model/profile.ts";
import { memoryStore } from "../mod/store/memory.ts";
import { World } from "./testing/world.ts";

const args = "K8S_POD_NAMESPACE=blue;K8S_POD_NAME=web-0";
const POD = resourceKey(podKind, "web-0", "blue");
const NAMESPACE = resourceKey(namespaceKind, "blue");
const BAD: readonly unknown[] = [HALF_WRITTEN, null, 5, "x", [], {}, { metadata: null, spec: {} }];
const metadata = { name: "web-0", namespace: "blue" };

async function inWorld(run: (w: World) => Promise<void>): Promise<void> {
  const w = await World.make({}, halfWritable(memoryStore()));
  try {
    await run(w);
  } finally {
    await w.store.close();
  }
}

Deno.test("a Pod or Namespace that cannot be read is named, and keeps no DEL from its work", () =>
  inWorld(async (w) => {
    const pods = [
      { metadata },
      { metadata: { ...metadata, annotations: "x" }, spec: {} },
      { metadata: { ...metadata, name: 5 }, spec: {} },
      { metadata: { ...metadata, ownerReferences: [null] }, spec: {} },
      { metadata, spec: { containers: "x" } },
      { metadata, spec: { containers: [null] } },
      { metadata, spec: { initContainers: [{ ports: [5] }] } },
      { metadata, spec: { containers: [{ ports: [{ name: "http", protocol: 6 }] }] } },
      { metadata, spec: { serviceAccountName: {} } },
    ];
    const cases = [
      ...[...BAD, ...pods].map((value) => [POD, value, /^Pod blue\/web-0 \(/] as const),
      ...BAD.map((value) => [NAMESPACE, value, /^Namespace blue \(/] as const),
    ];
    for (const [key, value, who] of cases) {
      await w.addPod("web-0");
      await w.addNamespace("blue");
      assert.equal((await w.call({ args, container: "before" })).exit, 0);
      await w.store.put(key, value);
      const { json } = await w.call({ args });
      assert.equal(json.code, 104, JSON.stringify([value, json]));
      assert.match(json.msg, who);
      assert.match(json.msg, /cannot be read: .*; delete it, or write it anew\.$/);
      for (const container of ["c1", "before"]) {
        assert.equal((await w.call({ command: "DEL", args, container })).exit, 0);
      }
      assert.deepEqual(await w.traces(), []);
    }
  }));

Deno.test("a network's profile that cannot be read stays as it is, and keeps no container out", () =>
  inWorld(async (w) => {
    const key = resourceKey(profileKind, "net");
    for (const value of BAD) {
      const revision = await w.store.put(key, value);
      assert.equal((await w.call()).exit, 0, JSON.stringify(value));
      const now = await w.store.list(key);
      assert.equal([...now.entries, ...now.broken ?? []][0].revision, revision);
      assert.equal((await w.call({ command: "DEL" })).exit, 0);
    }
  }));
