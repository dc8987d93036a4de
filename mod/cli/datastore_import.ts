/**
 * `datastore import` and `datastore migrate import`: writes an export (ours or calicoctl's) into a
 * datastore that holds nothing yet, or the first part of the same import. The whole file is checked before
 * anything is written. The datastore is locked, and stays so until `datastore migrate unlock`.
 */
import { type Call, textOption } from "./command.ts";
import { type OpenStore, openStore, resourcesOf } from "./context.ts";
import { type Content, readContent } from "./datastore/content.ts";
import { isKubernetes } from "./datastore_export.ts";
import { MAX_BYTES, parseArchive } from "./datastore/file.ts";
import { ImportError, performImport } from "./datastore/perform.ts";
import { type Plan, planImport } from "./datastore/plan.ts";
import { describeFile, fileReason, readTextWithin } from "./files.ts";
import { CliError, EXIT, failure, type Io, usageError } from "./io.ts";
import { progress } from "./terminal.ts";

const MOST_NAMES = 20;

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const file = textOption(call, "filename");
  if (file === undefined) {
    throw usageError("import needs -f with the file of an export, or - for standard input");
  }
  const text = await textOf(file, io);
  const wanted = parseArchive(text, describeFile(file), (w) => io.stderr(`warning: ${w}\n`));
  const opened = await openStore(call, { make: true });
  try {
    return await importInto(call, opened, wanted, await digestOf(text));
  } finally {
    await opened.close();
  }
}

async function importInto(
  { io, program }: Call,
  opened: OpenStore,
  wanted: Content,
  digest: string,
): Promise<number> {
  const resources = await resourcesOf(opened.store);
  // As every client does first; what it makes may differ from the file.
  await resources.ensureInitialized();
  const { entries, ...there } = await readContent(opened.store);
  const plan = planImport(wanted, there, isKubernetes(opened.location));
  const inTheWay = [...plan.inTheWay, ...there.broken, ...there.ofOtherVersion];
  if (inTheWay.length > 0) throw occupied(inTheWay);
  for (const name of plan.unknownNodes) {
    io.stderr(
      `[WARNING] Node ${name} is passed over: there is no Kubernetes node of that name, and the ` +
        "Kubernetes datastore has no others\n",
    );
  }
  const total = plan.create.length + plan.replace.length + plan.records.length;
  const line = progress(io, "imported", total);
  try {
    await performImport({ resources, plan, wanted, entries, digest, at: (n) => line.at(n) });
  } catch (error) {
    if (error instanceof ImportError) throw told(error, program);
    throw error;
  } finally {
    line.end();
  }
  tell(io, plan);
  io.stdout(`The datastore is locked; \`${program} datastore migrate unlock\` lets it be used.\n`);
  return EXIT.ok;
}

function tell(io: Io, plan: Plan): void {
  io.stdout(`Successfully applied ${plan.create.length + plan.replace.length} resource(s)\n`);
  io.stdout("Importing IPAM resources\n");
  io.stdout(`Successfully applied ${plan.records.length} IPAM resource(s)\n`);
  if (plan.same > 0) io.stdout(`${plan.same} were there already, as they are in the file.\n`);
  const skipped = plan.skipped.length + plan.skippedRecords;
  if (skipped > 0) {
    const kinds = [...new Set(plan.skipped.map(({ kind }) => kind.kind))].sort();
    if (plan.skippedRecords > 0) kinds.push("Pods, Namespaces and their like");
    io.stdout(
      `${skipped} were passed over, since Kubernetes itself has them (${kinds.join(", ")}).\n`,
    );
  }
  io.stdout("Datastore information successfully imported.\n");
}

function occupied(inTheWay: readonly string[]): CliError {
  const named = inTheWay.slice(0, MOST_NAMES).join(", ");
  const more = inTheWay.length > MOST_NAMES ? ` and ${inTheWay.length - MOST_NAMES} more` : "";
  return failure(
    `Datastore already has Calico resources, which are not those of the file: ${named}${more}. ` +
      "Nothing was written; delete them, or import into an empty datastore",
  );
}

function told(error: ImportError, program: string): CliError {
  if (error.kind === "undone") {
    return failure(`${error.message}. What had been written was taken back`);
  }
  return new CliError(
    EXIT.unreachable,
    `${error.message}. A part is written; the datastore is locked. Give the same import again ` +
      `(\`${program} datastore import\`), and it goes on from there`,
  );
}

async function textOf(file: string, io: Io): Promise<string> {
  try {
    return await readTextWithin(file, io, MAX_BYTES);
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw failure(`${describeFile(file)} cannot be read: ${fileReason(error)}`);
  }
}

async function digestOf(text: string): Promise<string> {
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
