/**
 * calicoctl's system tests, on our command line under its name and a store of its own for each. The
 * cases list a test's calls and assertions without its variables and loops, so each is written out here,
 * by the name of the test; a case whose name says nothing that can be run is told as skipped.
 */
import { Cluster } from "../cli/harness.ts";
import { COMMANDS } from "../../mod/cli/commands.ts";
import { Bench, SkipCase } from "./cli_system_bench.ts";
import { TESTS } from "./cli_system_cases.ts";
import type { FileResult } from "./selector.ts";

interface SystemCase {
  id: string;
  test: string;
  calls_in_order_of_tree: string[];
}

export async function run(dir: string): Promise<FileResult> {
  const file = "cli/calicoctl-st-tests.jsonl";
  const reasons: string[] = [];
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons };
  const objects = new Map<string, any>();
  for (const row of await rows(`${dir}/manifests/calicoctl-crud-objects.jsonl`)) {
    objects.set(row.name, row.object);
  }
  for (const test of await rows(`${dir}/${file}`) as SystemCase[]) {
    const reason = skipReason(test);
    if (reason !== undefined) {
      result.skipped++;
      reasons.push(`${test.id} (${test.test}): ${reason}`);
      continue;
    }
    const cluster = await Cluster.start();
    try {
      await TESTS[test.test](new Bench(cluster, objects));
      result.passed++;
    } catch (error) {
      const { message } = error as Error;
      if (error instanceof SkipCase) {
        result.skipped++;
        reasons.push(`${test.id} (${test.test}): ${message}`);
      } else {
        result.failed++;
        result.failures.push(`${test.id} (${test.test}): ${message}`);
      }
    } finally {
      await cluster.close();
    }
  }
  return result;
}

/** Why a case cannot be run: a verb that is not part of this build, or nothing in it that says what to do. */
function skipReason(test: SystemCase): string | undefined {
  const missing = ["ipam split", "datastore migrate lock"].filter((verb) =>
    test.calls_in_order_of_tree.some((call) => call.includes(`'${verb}`)) &&
    !COMMANDS.some(({ name }) => name === verb)
  );
  if (missing.length > 0) return `needs ${missing.join(" and ")}`;
  if (Object.hasOwn(TESTS, test.test)) return undefined;
  return test.calls_in_order_of_tree.length === 0
    ? "names no call and no data"
    : "no test of that name here";
}

async function rows(path: string): Promise<any[]> {
  return (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
}
