/**
 * What real Calico stored for the sample manifests, against what we store for them, and what we make
 * of Calico's own values: every value of the dump is read and must encode to the same bytes.
 */
import { memoryStore } from "../../mod/store/memory.ts";
import { Resources } from "../../mod/store/resources.ts";
import { parseResourceKey } from "../../mod/model/keys.ts";
import { kindByKey } from "../../mod/model/kinds.ts";
import { parseManifest } from "../../mod/model/manifest.ts";
import { encodeObject, readObject } from "../../mod/model/validate.ts";
import { parseYaml } from "../../mod/cli/yaml.ts";
import type { FileResult } from "./selector.ts";

/** Runs over `dir`/../reference/calico-etcd-dump.md and the samples under `dir`. */
export async function run(dir: string): Promise<FileResult[]> {
  const file = "reference/calico-etcd-dump.md";
  const entries = parseDump(await Deno.readTextFile(`${dir}/../${file}`));
  return [rewritten(file, entries), await created(dir, entries)];
}

interface DumpEntry {
  key: string;
  text: string;
}

/** Entries of the dump: a key in back-quotes, then its value in a json block. */
function parseDump(text: string): DumpEntry[] {
  return [...text.matchAll(/^`(\/calico\/[^`]+)`[^\n]*\n```json\n([^\n]*)\n/gm)]
    .map(([, key, value]) => ({ key, text: value }));
}

function rewritten(file: string, entries: DumpEntry[]): FileResult {
  const result = empty(file);
  for (const { key, text } of entries) {
    const parts = parseResourceKey(key);
    const kind = parts && kindByKey(parts);
    if (!parts) continue;
    if (!kind) skip(result, `${key}: kind not known`);
    else {
      const again = goJson(encodeObject(kind, readObject(kind, JSON.parse(text))));
      compare(result, key, again, text);
    }
  }
  return result;
}

/** The samples, created in an empty store in the order in which they were. */
async function created(dir: string, entries: DumpEntry[]): Promise<FileResult> {
  const result = empty("calico-samples created");
  const store = memoryStore();
  const resources = new Resources(store);
  // In the dump the filter comes before the peer that names it, as in the file.
  for (const entry of [...Deno.readDirSync(`${dir}/calico-samples`)].sort(byName)) {
    const path = `${dir}/calico-samples/${entry.name}`;
    for (const { value } of parseYaml(await Deno.readTextFile(path), entry.name)) {
      const { kind, object } = parseManifest(value);
      await resources.create(kind, object);
    }
  }
  // The first entry of a key: the dump ends with those of a second store.
  const first = new Map(entries.toReversed().map((entry) => [entry.key, entry.text]));
  for (const { key, value } of (await store.list("/calico/resources/")).entries) {
    const text = first.get(key);
    if (text === undefined) {
      skip(result, `${key}: not in the dump`);
      continue;
    }
    compare(result, key, masked(goJson(value)), masked(text));
  }
  await store.close();
  return result;
}

const byName = (a: { name: string }, b: { name: string }) => a.name < b.name ? -1 : 1;

/** JSON as Go's encoder writes it: <, > and & escaped. */
function goJson(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll("<", "\\u003c").replaceAll(">", "\\u003e").replaceAll("&", "\\u0026");
}

/** Without what is new in each run. */
function masked(text: string): string {
  return text.replace(/"uid":"[^"]*"/, '"uid":"U"')
    .replace(/"creationTimestamp":"[^"]*"/, '"creationTimestamp":"T"')
    .replace(/"clusterGUID":"[0-9a-f]{32}"/, '"clusterGUID":"G"');
}

function empty(file: string): FileResult {
  return { file, passed: 0, failed: 0, skipped: 0, failures: [], reasons: [] };
}

function skip(result: FileResult, reason: string): void {
  result.skipped++;
  result.reasons!.push(reason);
}

function compare(result: FileResult, id: string, actual: string, expected: string): void {
  if (actual === expected) result.passed++;
  else {
    result.failed++;
    result.failures.push(`${id}:\n  have ${actual}\n  want ${expected}`);
  }
}
