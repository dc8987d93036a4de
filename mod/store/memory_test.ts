import { storeConformance } from "./conformance.ts";
import { memoryStore } from "./memory.ts";
import { forgetHistory, SMALL_LOG } from "./testing.ts";

storeConformance("memory", async () => {
  const store = memoryStore({ log: SMALL_LOG });
  return { store, close: () => store.close(), compact: () => forgetHistory(store) };
});
