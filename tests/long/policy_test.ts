/** The kernel against the evaluator, in 50,000 cases; all of others' cases. Needs root and ip. */
import assert from "node:assert/strict";
import { askShared, sharedAreThere, sharedCases } from "../policy/shared_cases.ts";
import { inTopology } from "../policy/topology.ts";
import { walk } from "../policy/walk.ts";

Deno.test({
  name: "the kernel does what the evaluator says in 50,000 cases",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    inTopology(async (topology) => {
      const { asked, allowed, mismatch, coverage } = await walk(topology, {
        worlds: 4000,
        cases: 50_000,
      });
      assert.equal(mismatch, undefined);
      assert(asked >= 50_000, `${asked} cases`);
      assert.deepEqual(coverage.missing(), []);
      assert(allowed > asked / 10 && allowed < asked * 9 / 10, `${allowed} of ${asked}`);
    }),
});

const why = sharedAreThere ? "" : " (skipped: ../shared/data/netpol is not beside this checkout)";

Deno.test({
  name: `all of others' cases hold with real packets${why}`,
  ignore: !sharedAreThere,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async (t) => await askShared(t, await sharedCases()),
});
