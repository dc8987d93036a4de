import assert from "node:assert/strict";
import { memoryStore } from "../store/memory.ts";
import { felixVariables, felixVariablesKey, tellFelixVariables } from "./felix_variables.ts";

Deno.test("a node's record is written anew over whatever stands there, and only where it differs", async () => {
  const store = memoryStore();
  const key = felixVariablesKey("a");
  const environment = new Map([["vxlanport", "4790"], ["logseverityscreen", "info"]]);
  for (const damaged of [{ big: 10n ** 24n }, [10n ** 24n], null, "text"]) {
    await store.put(key, damaged);
    await tellFelixVariables(store, "a", environment);
    assert.deepEqual([...await felixVariables(store)], [[
      "a",
      new Map([["vxlanport", "4790"]]),
    ]]);
  }
  const { revision } = (await store.get(key))!;
  await tellFelixVariables(store, "a", environment);
  assert.equal((await store.get(key))!.revision, revision);
  await store.close();
});
