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
  /** Names of the objects among those of the system tests; not all of them are given. */
  objects: string[];
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
  const reasons: string[] = [];
  const result: FileResult = { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons };
  const shared = await lines<{ name: string; object: any }>(
    `${dir}/manifests/calicoctl-crud-objects.jsonl`,
  );
  for (const test of await lines<TableCase>(`${dir}/${file}`)) {
    const given = shared.filter(({ name }) => test.objects.includes(name));
    const shown = await tableOf(test.table, given.map(({ object }) => object));
    if (shown === undefined) {
      result.skipped++;
      reasons.push(`${test.id}: its objects are not given`);
    } else if (shown.trimEnd() === test.table) result.passed++;
    else {
      result.failed++;
      result.failures.push(`${test.id}: have\n${shown}\nwant\n${test.table}`);
    }
  }
  return result;
}

/**
 * The table of the objects that its rows name: those that are given, else pools made of the cells of
 * their own rows. undefined where an object of another kind is not given.
 */
async function tableOf(table: string, given: any[]): Promise<string | undefined> {
  const [headings, ...rows] = table.split("\n").map((line) => line.trimEnd().split(/ {3,}/));
  const isPool = headings.join() === "NAME,CIDR,SELECTOR";
  const manifests = rows.filter(([name]) => name !== "").map(([name, cidr, nodeSelector]) => {
    const object = given.find(({ metadata }) => metadata.name === name);
    if (object || !isPool) return object && parseManifest(object);
    return parseManifest({
      apiVersion: "projectcalico.org/v3",
      kind: "IPPool",
      metadata: { name },
      spec: { cidr, nodeSelector },
    });
  });
  if (manifests.length === 0 || manifests.includes(undefined)) return undefined;
  const [{ kind }] = manifests;
  const wide = headings.join() !== kind.columns.map((column: any) => column.heading).join();
  const objects = manifests.map(({ object }) => object);
  return await print({ format: wide ? "wide" : "ps" }, [{ kind, objects, whole: true }]);
}
