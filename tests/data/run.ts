/**
 * `deno task test:data [DIR]`: every data set under DIR (default ../shared/data) through its driver;
 * passed, failed and skipped per file, each failure and each reason for skipping. Exit code 1 where
 * anything failed, 2 where DIR cannot be read.
 */
import type { FileResult } from "./selector.ts";

type Driver = { run(dir: string): Promise<FileResult[]> };

/** Drivers, and the files that each of them reads. */
const DRIVERS: { name: string; files: RegExp; load: () => Promise<Driver> }[] = [
  { name: "selector", files: /^selector\//, load: () => import("./selector.ts") },
  { name: "validation", files: /^validation\//, load: () => import("./validation.ts") },
  {
    name: "manifests",
    files: /^(manifests|calico-samples)\//,
    load: () => import("./manifests.ts"),
  },
  { name: "cli", files: /^cli\//, load: () => import("./cli.ts") },
  { name: "ipam", files: /^ipam\//, load: () => import("./ipam_drivers.ts") },
  { name: "netpol", files: /^netpol\//, load: () => import("./netpol.ts") },
  { name: "bgp", files: /^bgp\//, load: () => import("./bgp.ts") },
  { name: "cni", files: /^cni\//, load: () => import("./cni.ts") },
];

export const DEFAULT_DIR = new URL("../../../shared/data", import.meta.url).pathname;

/** Files of data under a folder, relative to it. */
async function dataFiles(dir: string, under = ""): Promise<string[]> {
  const files: string[] = [];
  for await (const entry of Deno.readDir(`${dir}/${under}`)) {
    const path = `${under}${entry.name}`;
    if (entry.isDirectory) files.push(...await dataFiles(dir, `${path}/`));
    else if (under !== "" && /\.(jsonl|yaml|json)$/.test(entry.name)) files.push(path);
  }
  return files.sort();
}

/** Runs the drivers that have a file under the folder; one row a file, also for files without one. */
export async function runData(dir: string): Promise<FileResult[]> {
  const files = await dataFiles(dir);
  const rows: FileResult[] = [];
  for (const { files: own, load } of DRIVERS) {
    if (files.some((file) => own.test(file))) rows.push(...await (await load()).run(dir));
  }
  for (const file of files) {
    const told = rows.some((row) => row.file === file || row.file.startsWith(`${file} `));
    if (told || /topology\.json$/.test(file)) continue;
    rows.push({
      file,
      passed: 0,
      failed: 0,
      skipped: 1,
      failures: [],
      reasons: ["no driver reads this file yet"],
    });
  }
  return rows;
}

if (import.meta.main) {
  const dir = (Deno.args[0] ?? DEFAULT_DIR).replace(/\/$/, "");
  let rows: FileResult[];
  try {
    rows = await runData(dir);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    console.error(`no data at ${dir}: name the folder, e.g. deno task test:data ../shared/data`);
    Deno.exit(2);
  }
  const total = { passed: 0, failed: 0, skipped: 0 };
  for (const { file, passed, failed, skipped, failures, reasons = [] } of rows) {
    total.passed += passed;
    total.failed += failed;
    total.skipped += skipped;
    console.log(`${file}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
    for (const failure of failures.slice(0, 20)) console.log(`    FAILED ${failure}`);
    if (failures.length > 20) console.log(`    and ${failures.length - 20} more`);
    for (const reason of reasons) console.log(`    skipped: ${reason}`);
  }
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  Deno.exit(total.failed > 0 ? 1 : 0);
}
