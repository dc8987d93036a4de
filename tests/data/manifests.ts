/**
 * Manifests that people write: those of Calico's documentation and of calicoctl's own system tests,
 * and the samples of which we have real Calico's dumps. Accepted where Calico accepts them.
 */
import { ModelError } from "../../mod/model/validate.ts";
import { parseManifest } from "../../mod/model/manifest.ts";
import { parseYaml } from "../../mod/cli/yaml.ts";
import type { FileResult } from "./selector.ts";

interface Case {
  id: string;
  kind: string;
  object: unknown;
  placeholder?: boolean;
  /** null: of a kind that Calico's validator does not know. */
  upstream_valid: boolean | null;
}

/** Runs the cases under `dir` (the folder that holds `manifests/` and `calico-samples/`). */
export async function run(dir: string): Promise<FileResult[]> {
  return [
    await runCases(dir, "manifests/calico-docs-manifests.jsonl"),
    await runCases(dir, "manifests/calicoctl-crud-objects.jsonl"),
    ...await runSamples(dir),
  ];
}

async function runCases(dir: string, file: string): Promise<FileResult> {
  const lines = (await Deno.readTextFile(`${dir}/${file}`)).trim().split("\n");
  const tests = lines.map((line): Case => JSON.parse(line));
  return judgeAll(file, tests);
}

async function runSamples(dir: string): Promise<FileResult[]> {
  const results: FileResult[] = [];
  const names = [...Deno.readDirSync(`${dir}/calico-samples`)].map((entry) => entry.name).sort();
  for (const name of names) {
    const file = `calico-samples/${name}`;
    const documents = parseYaml(await Deno.readTextFile(`${dir}/${file}`), file);
    const tests = documents.map(({ value, line }): Case => ({
      id: `${name}:${line}`,
      kind: (value as { kind: string }).kind,
      object: value,
      upstream_valid: true,
    }));
    results.push(judgeAll(file, tests));
  }
  return results;
}

function judgeAll(file: string, tests: Case[]): FileResult {
  const reasons: string[] = [];
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons };
  for (const test of tests) {
    const refusal = refusalOf(test.object);
    if (test.placeholder) {
      result.skipped++;
      reasons.push(`${test.id}: holds text to fill in`);
    } else if (test.upstream_valid === null || refusal?.kind === "unknownKind") {
      result.skipped++;
      reasons.push(`${test.id}: ${refusal?.message ?? "not judged by Calico's validator"}`);
    } else if ((refusal === undefined) === test.upstream_valid) {
      result.passed++;
    } else {
      result.failed++;
      result.failures.push(
        `${test.id}: ${refusal ? `refused: ${refusal.message}` : "accepted, should be refused"}`,
      );
    }
  }
  return result;
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
