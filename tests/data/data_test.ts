/** The data sets that others wrote, where they lie beside the checkout; one step a file. */
import assert from "node:assert/strict";
import { DEFAULT_DIR, runData } from "./run.ts";

const there = await Deno.stat(DEFAULT_DIR).then(() => true, () => false);
const why = there ? "" : " (skipped: ../shared/data is not beside this checkout)";

Deno.test(
  {
    name: `data sets of others${why}`,
    ignore: !there,
    sanitizeResources: false,
    sanitizeOps: false,
  },
  async (t) => {
    for (const row of await runData(DEFAULT_DIR)) {
      const skipped = row.skipped > 0 ? `, ${row.skipped} skipped: ${row.reasons?.join("; ")}` : "";
      await t.step({
        name: `${row.file}: ${row.passed} passed${skipped}`,
        ignore: row.passed + row.failed === 0,
        fn: () => assert.deepEqual(row.failures, []),
      });
    }
  },
);
