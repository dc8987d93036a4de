/**
 * The checks of the CNI specification 1.1.0, each under its id, against the plugin as a process and a
 * real node service, kernel and namespaces.
 */
import assert from "node:assert/strict";
import { runCheck } from "./case.ts";
import { CHECK_NODE, CHECKS } from "./checks.ts";
import { CniHarness, missingForCni } from "./harness.ts";

const missing = missingForCni();
let harness: CniHarness | undefined;

Deno.test.beforeAll(async () => {
  if (!missing) harness = await CniHarness.start(CHECK_NODE);
});
Deno.test.afterAll(async () => {
  await harness?.stop();
});

Deno.test("the checks have the ids cni-01 to cni-75, each once", () => {
  assert.deepEqual(
    CHECKS.map((check) => check.id),
    Array.from({ length: 75 }, (_, i) => `cni-${String(i + 1).padStart(2, "0")}`),
  );
});

for (const check of CHECKS) {
  Deno.test({
    name: `${check.id}: ${check.name}${missing ? ` (skipped: ${missing})` : ""}`,
    ignore: missing !== undefined,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: () => runCheck(check, harness!),
  });
}
