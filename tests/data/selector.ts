/**
 * Calico's selectors, judged by Calico's own parser: which texts are valid, how they print, their
 * ids, and what they match.
 */
import { parseSelector, SelectorError } from "../../mod/selector/selector.ts";

/** What came of one file of cases. */
export interface FileResult {
  file: string;
  passed: number;
  failed: number;
  skipped: number;
  /** One line a failure: the case's id and what differs. */
  failures: string[];
  /** Why cases were skipped. */
  reasons?: string[];
}

interface SelectorCase {
  id: string;
  expr: string;
  valid: boolean;
  canonical?: string;
  unique_id?: string;
  truth?: { labels: Record<string, string>; match: boolean }[];
}

/** Runs the cases under `dir` (the folder that holds `selector/`). */
export async function run(dir: string): Promise<FileResult[]> {
  const file = "selector/calico-selectors.jsonl";
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [] };
  const lines = (await Deno.readTextFile(`${dir}/${file}`)).trim().split("\n");
  for (const line of lines) {
    const test: SelectorCase = JSON.parse(line);
    const wrong = judge(test);
    if (wrong === undefined) result.passed++;
    else {
      result.failed++;
      result.failures.push(`${test.id}: ${wrong}`);
    }
  }
  return [result];
}

function judge(test: SelectorCase): string | undefined {
  let selector;
  try {
    selector = parseSelector(test.expr);
  } catch (error) {
    if (!(error instanceof SelectorError)) throw error;
    return test.valid ? `refused, should be accepted: ${error.message}` : undefined;
  }
  if (!test.valid) return `accepted as ${selector}, should be refused`;
  if (`${selector}` !== test.canonical) return `printed ${selector}, want ${test.canonical}`;
  if (selector.id !== test.unique_id) return `id ${selector.id}, want ${test.unique_id}`;
  for (const { labels, match } of test.truth ?? []) {
    if (selector.matches(labels) !== match) return `on ${JSON.stringify(labels)}: not ${match}`;
  }
}
