/**
 * BGP data that others made: single messages (`bgp_vectors.ts`), answers to wrong messages on a live
 * session (`bgp_errors.ts`), and what Calico's own templates make of peering resources
 * (`bgp_peering.ts`).
 */
import type { FileResult } from "./selector.ts";
import { type ErrorCase, judgeError } from "./bgp_errors.ts";
import { judgePeering, type PeeringCase } from "./bgp_peering.ts";
import { judgeVector, type Vector } from "./bgp_vectors.ts";

/** What became of one case: nothing wrong, something wrong, or not to be judged here, and why. */
export type Verdict = undefined | string | { skipped: string };

async function runFile<T extends { id: string }>(
  dir: string,
  file: string,
  judge: (test: T) => Verdict,
): Promise<FileResult[]> {
  const reasons: string[] = [];
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons };
  let text: string;
  try {
    text = await Deno.readTextFile(`${dir}/${file}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return []; // a set may hold only some of the files
    throw error;
  }
  const lines = text.trim().split("\n");
  for (const line of lines) {
    const test: T = JSON.parse(line);
    const verdict = judge(test);
    if (verdict === undefined) result.passed++;
    else if (typeof verdict === "string") {
      result.failed++;
      result.failures.push(`${test.id}: ${verdict}`);
    } else {
      result.skipped++;
      reasons.push(`${test.id}: ${verdict.skipped}`);
    }
  }
  return [result];
}

/** Runs the cases under `dir` (the folder that holds `bgp/`). */
export async function run(dir: string): Promise<FileResult[]> {
  return [
    ...await runFile<Vector>(dir, "bgp/bgp-vectors.jsonl", judgeVector),
    ...await runFile<ErrorCase>(dir, "bgp/rfc-error-handling.jsonl", judgeError),
    ...await runFile<PeeringCase>(dir, "bgp/calico-peering-cases.jsonl", judgePeering),
  ];
}
