/**
 * Others' cases with real packets in a lab of the built executable, where they lie beside the
 * checkout: a choice over all features; all of them in the long tests. Our own cases (cases_test.ts)
 * cover the same features everywhere. Needs root.
 */
import assert from "node:assert/strict";
import { FEATURES, tableOf } from "./features.ts";
import { askShared, chosen, sharedAreThere, sharedCases } from "./shared_cases.ts";

const why = sharedAreThere ? "" : " (skipped: ../shared/data/netpol is not beside this checkout)";
/** So many cases of each feature and file. */
const EACH = 4;

Deno.test({
  name: `others' cases hold with real packets${why}`,
  ignore: !sharedAreThere,
  sanitizeOps: false,
  sanitizeResources: false,
}, async (t) => {
  const all = await sharedCases();
  const cases = chosen(all, EACH);
  assert(cases.length >= 40, `${cases.length} cases`);
  const table = tableOf(cases);
  // Features that no case of theirs has; ours have them.
  const none = FEATURES.filter((f) => table.get(f)!.length === 0);
  assert.deepEqual(none, [
    "IPv6 ipBlock",
    "matchExpressions Exists",
    "matchExpressions DoesNotExist",
    "policy changes",
  ]);
  await askShared(t, cases);
});
