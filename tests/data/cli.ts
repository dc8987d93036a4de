/**
 * calicoctl's own tables: the names that each kind answers to, the columns of both tables, and two
 * whole tables of its system tests, to the last blank; its usage texts (`cli_usage.ts`) and its system
 * tests themselves (`cli_system.ts`).
 */
import { kindByName } from "../../mod/model/kinds.ts";
import { parseManifest } from "../../mod/model/manifest.ts";
import { print } from "../../mod/cli/output.ts";
import { run as runSystem } from "./cli_system.ts";
import { run as runUsage } from "./cli_usage.ts";
import type { FileResult } from "./selector.ts";

interface ColumnCase {
  id: string;
  kind: string;
  names: string[];
  columns: string[];
  wide_columns: string[];
  namespaced: boolean;
}

interface TableCase {
  id: string;
  /** Without the blanks at its very end. */
  table: string;
}

/** Runs the cases under `dir` (the folder that holds `cli/`). */
export async function run(dir: string): Promise<FileResult[]> {
  return [await columns(dir), await tables(dir), await runUsage(dir), await runSystem(dir)];
}

async function lines<T>(path: string): Promise<T[]> {
  return (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line));
}

async function columns(dir: string): Promise<FileResult> {
  const file = "cli/calicoctl-get-columns.jsonl";
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const test of await lines<ColumnCase>(`${dir}/${file}`)) {
    const wrong = judgeColumns(test);
    if (wrong === undefined) result.passed++;
    else {
      result.failed++;
      result.failures.push(`${test.id} (${test.kind}): ${wrong}`);
    }
  }
  return result;
}

function judgeColumns(test: ColumnCase): string | undefined {
  for (const name of test.names) {
    const kind = kindByName(name);
    if (kind?.kind !== test.kind) return `"${name}" is ${kind?.kind ?? "no kind"}`;
    if (kind.namespaced !== test.namespaced) return `namespaced is ${kind.namespaced}`;
    const headings = kind.columns.map((column) => column.heading);
    const wide = (kind.wideColumns ?? kind.columns).map((column) => column.heading);
    if (headings.join() !== test.columns.join()) return `columns are ${headings}`;
    if (wide.join() !== test.wide_columns.join()) return `wide columns are ${wide}`;
  }
}

async function tables(dir: string): Promise<FileResult> {
  const file = "cli/calicoctl-get-tables.jsonl";
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const test of await lines<TableCase>(`${dir}/${file}`)) {
    const shown = await poolTable(test.table);
    if (shown.trimEnd() === test.table) result.passed++;
    else {
      result.failed++;
      result.failures.push(`${test.id}: have\n${shown}\nwant\n${test.table}`);
    }
  }
  return result;
}

/** The table of the pools that a table's own cells name: those objects are not all given. */
async function poolTable(table: string): Promise<string> {
  const [, ...rows] = table.split("\n").map((line) => line.split(/ {3,}/));
  const manifests = rows.map(([name, cidr, nodeSelector]) =>
    parseManifest({
      apiVersion: "projectcalico.org/v3",
      kind: "IPPool",
      metadata: { name },
      spec: { cidr, nodeSelector },
    })
  );
  const objects = manifests.map(({ object }) => object);
  return await print({ format: "ps" }, [{ kind: manifests[0].kind, objects, whole: true }]);
}
