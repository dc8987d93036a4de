/** Which troubles the runtime is told to try again, and which somebody must end first. */
import assert from "node:assert/strict";
import { StoreError, type StoreErrorKind } from "../mod/store/store.ts";
import { CniCode } from "./errors.ts";
import { toCniError } from "./failure.ts";

Deno.test("a datastore that is away or takes no credentials of ours: again; one that refuses for good: not", () => {
  const told: Record<StoreErrorKind, [CniCode, RegExp]> = {
    unavailable: [CniCode.tryAgain, /^The datastore cannot be reached now: why\.$/],
    conflict: [CniCode.tryAgain, /^The datastore cannot be reached now: why\.$/],
    // A token that has run out: as without a service, which tries those of the configuration.
    denied: [CniCode.tryAgain, /^The datastore refuses: why\.$/],
    invalid: [CniCode.datastore, /^The datastore refuses: why\.$/],
    exists: [CniCode.datastore, /^The datastore refuses: why\.$/],
    notFound: [CniCode.datastore, /^The datastore refuses: why\.$/],
    compacted: [CniCode.datastore, /^The datastore refuses: why\.$/],
  };
  for (const [kind, [code, words]] of Object.entries(told)) {
    const error = toCniError(new StoreError(kind as StoreErrorKind, "why"));
    assert.equal(error.code, code, kind);
    assert.match(error.message, words);
  }
});
