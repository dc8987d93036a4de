/**
 * `delete`: objects by kind and name, or those that files name. All are tried, also after a failure, as long as the
 * datastore is there.
 */
import type { AnyKind } from "../model/kinds.ts";
import { nodeKind } from "../model/node.ts";
import type { Resource } from "../model/resource.ts";
import { STORE_RULES } from "../store/resource_rules.ts";
import { ResourceError, resourceName } from "../store/resource_error.ts";
import { type Call, flagOption, listOption } from "./command.ts";
import { withResources } from "./context.ts";
import { identify, type Identity } from "./identify.ts";
import { CliError, EXIT, type Io, usageError } from "./io.ts";
import { kindAndNames, namespaceOf } from "./kind_argument.ts";
import { refuseLiveNode } from "./live_node.ts";
import { refuseManaged } from "./managed.ts";
import { isLost, lostMidway, reportFailures, success } from "./report.ts";
import { progress } from "./terminal.ts";

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const wanted = await identities(call);
  if (wanted.length === 0) {
    io.stdout("No resources specified\n");
    return EXIT.ok;
  }
  const readOnly = wanted.find(({ kind }) => kind.readOnly);
  if (readOnly) {
    throw new CliError(
      EXIT.failed,
      `${readOnly.kind.kind} "${readOnly.name}" cannot be deleted by users: ${readOnly.kind.readOnly}`,
    );
  }
  return await withResources(call, async (resources) => {
    const done: string[] = [];
    const failures: unknown[] = [];
    const line = progress(io, "deleted", wanted.length);
    for (const { kind, name, namespace, resourceVersion } of wanted) {
      try {
        await unlessInterrupted(
          io,
          kind,
          name,
          async () => {
            if (call.program === "calicoctl") refuseManaged(kind, { name, namespace });
            if (kind === nodeKind) await refuseLiveNode(call, resources, name);
            await resources.delete(kind, name, namespace, { resourceVersion });
          },
        );
        done.push(kind.kind);
      } catch (error) {
        if (isLost(error) || error instanceof Interrupted) {
          const next = resourceName(kind.kind, name, namespace);
          failures.push(
            lostMidway(error, { past: "deleted", done: done.length, total: wanted.length, next }),
          );
          break;
        }
        const absent = error instanceof ResourceError && error.kind === "notFound";
        // As calicoctl, which takes away what is of a node before it looks for the Node.
        if (absent && kind === nodeKind && call.program === "calicoctl") {
          const node = { metadata: { name }, spec: {} } as Resource;
          await STORE_RULES.get(kind)?.beforeDelete?.(resources, node, {});
        }
        if (absent && flagOption(call, "skipNotExists")) done.push(kind.kind);
        else failures.push(error);
      }
      line.at(done.length);
    }
    line.end();
    if (done.length > 0) io.stdout(success("deleted", done));
    const kinds = new Set(wanted.map(({ kind }) => kind.kind));
    const of = kinds.size === 1 ? `'${wanted[0].kind.kind}' ` : "";
    return reportFailures(call, failures, `Failed to delete ${of}resource: `);
  });
}

async function identities(call: Call): Promise<Identity[]> {
  const files = listOption(call, "filename");
  if (files.length > 0) {
    if (call.args.length > 0) throw usageError("delete takes a kind and names, or -f, not both");
    return await identify(call, files);
  }
  if (call.args.length === 0) {
    throw usageError("delete needs a kind and names, such as `delete ippool p1`, or -f");
  }
  const { kind, names } = kindAndNames(call.args);
  if (names.length === 0) {
    throw usageError(`delete ${call.args[0]} needs the names of those to delete`);
  }
  const namespace = namespaceOf(call, kind);
  return names.map((name) => ({ kind, name, namespace }));
}

class Interrupted extends CliError {}

/**
 * SIGINT and SIGTERM end it; a deletion of several steps, such as a pool's, then says what it may have
 * left.
 */
async function unlessInterrupted<T>(
  io: Io,
  kind: AnyKind,
  name: string,
  deletion: () => Promise<T>,
): Promise<T> {
  const { signal } = io;
  if (signal.aborted) throw new Interrupted(EXIT.failed, "interrupted");
  const { promise, reject } = Promise.withResolvers<never>();
  const interrupt = () => {
    const left = STORE_RULES.get(kind)?.cutOff?.({ metadata: { name }, spec: {} } as Resource);
    reject(new Interrupted(EXIT.failed, left ? `interrupted; ${left}` : "interrupted"));
  };
  signal.addEventListener("abort", interrupt, { once: true });
  try {
    return await Promise.race([deletion(), promise]);
  } finally {
    signal.removeEventListener("abort", interrupt);
  }
}
