/**
 * The checks of the CNI specification that others wrote: each id must be one of our own tests, and
 * that test is run, here and now, against the plugin as a process.
 */
import { runCheck } from "../cni/case.ts";
import { CHECK_NODE, CHECKS } from "../cni/checks.ts";
import { CniHarness, missingForCni } from "../cni/harness.ts";
import type { FileResult } from "./selector.ts";

/** Runs what cni/cni-checks.jsonl under `dir` lists. */
export async function run(dir: string): Promise<FileResult[]> {
  const file = "cni/cni-checks.jsonl";
  const reasons: string[] = [];
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons };
  const lines = (await Deno.readTextFile(`${dir}/${file}`)).trim().split("\n");
  const asked: { id: string; name: string }[] = lines.map((line) => JSON.parse(line));
  const missing = missingForCni();
  if (missing) return [{ ...result, skipped: asked.length, reasons: [missing] }];
  await using harness = await CniHarness.start(CHECK_NODE);
  for (const { id, name } of asked) {
    const check = CHECKS.find((c) => c.id === id);
    try {
      if (!check) throw new Error("no test of ours has this id");
      await runCheck(check, harness);
      result.passed++;
    } catch (error) {
      result.failed++;
      result.failures.push(`${id} (${name}): ${(error as Error).message}`);
    }
  }
  return [result];
}
