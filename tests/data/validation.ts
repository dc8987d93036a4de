/**
 * What Calico's validator says of manifests (table entries of its own tests, CRD rules and tiers in a
 * datastore), and what we say of them: accepted or refused.
 */
import { ModelError } from "../../mod/model/validate.ts";
import { parseManifest } from "../../mod/model/manifest.ts";
import type { FileResult } from "./selector.ts";

interface Case {
  id: string;
  desc: string;
  usable: boolean;
  why_not_usable?: string;
  valid: boolean;
  manifest: { kind?: string };
}

/** Runs validation/calico-v3-validation.jsonl under `dir`. */
export async function run(dir: string): Promise<FileResult[]> {
  const file = "validation/calico-v3-validation.jsonl";
  const reasons: string[] = [];
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons };
  const lines = (await Deno.readTextFile(`${dir}/${file}`)).trim().split("\n");
  for (const line of lines) {
    const test: Case = JSON.parse(line);
    if (!test.usable) {
      result.skipped++;
      reasons.push(`${test.id}: not usable: ${test.why_not_usable ?? ""}`);
      continue;
    }
    const refusal = refusalOf(test.manifest);
    if (refusal?.kind === "unknownKind") {
      result.skipped++;
      reasons.push(`${test.id}: ${refusal.message}`);
    } else if ((refusal === undefined) === test.valid) {
      result.passed++;
    } else {
      result.failed++;
      result.failures.push(
        `${test.id} (${test.desc}): ${
          refusal ? `refused: ${refusal.message}` : "accepted, should be refused"
        }`,
      );
    }
  }
  return [result];
}

function refusalOf(manifest: unknown): ModelError | undefined {
  try {
    parseManifest(manifest);
    return undefined;
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}
