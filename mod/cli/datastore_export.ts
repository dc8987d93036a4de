/**
 * `datastore migrate export`: what a Kubernetes datastore is to take over, as calicoctl prints it: the
 * datastore must be locked, nodes have their Kubernetes names, endpoints and profiles are left out.
 * `datastore export`: everything, under the names that it has, for any datastore.
 *
 * Both go to standard output as they are made. A datastore in a file or in etcd is read at one revision,
 * so that a whole export needs no lock there; on Kubernetes it does.
 */
import { clusterInformationKind } from "../model/cluster_information.ts";
import type { Call } from "./command.ts";
import { openStore, resourcesOf } from "./context.ts";
import { type Content, readContent } from "./datastore/content.ts";
import { isConverted, printArchive } from "./datastore/file.ts";
import { clusterOf, isLocked, unfinishedImport } from "./datastore/lock.ts";
import { nodeNames, rename } from "./datastore/node_names.ts";
import { EXIT, failure } from "./io.ts";

export async function run(call: Call): Promise<number> {
  return await exportStore(call, true);
}

export async function exportStore(call: Call, whole: boolean): Promise<number> {
  const { io, program } = call;
  const opened = await openStore(call);
  try {
    const cluster = await clusterOf(await resourcesOf(opened.store));
    const needsLock = !whole || isKubernetes(opened.location);
    if (needsLock && !isLocked(cluster)) {
      throw failure(
        `datastore is not locked. Run the \`${program} datastore migrate lock\` command in order ` +
          "to begin migration",
      );
    }
    if (unfinishedImport(cluster) !== undefined) {
      throw failure(
        "an import into this datastore has begun and not ended, so that it holds a part of a " +
          `cluster; give the same \`${program} datastore import\` again first`,
      );
    }
    const content = await readContent(opened.store);
    const hindrances = hindrancesOf(content);
    if (hindrances.length > 0) {
      throw failure(`nothing is exported, since ${hindrances.join("\nand ")}`);
    }
    for (const what of content.leftOut) io.stderr(`warning: left out ${what}\n`);
    const wanted = whole ? content : forKubernetes(content);
    for (const piece of printArchive(wanted, whole)) io.stdout(piece);
    return EXIT.ok;
  } finally {
    await opened.close();
  }
}

/** Why it would be no export of everything, with what helps. */
function hindrancesOf({ broken, ofOtherVersion }: Content): string[] {
  const told = (entries: readonly string[], what: string) =>
    entries.length > 0 ? [`${entries.length} ${what}:\n${entries.join("\n")}`] : [];
  return [
    ...told(broken, "entries cannot be read; put them right or delete them"),
    ...told(
      ofOtherVersion,
      "entries are of another version than is known here; export with a newer client, or delete them",
    ),
  ];
}

export function isKubernetes(location: { readonly kind: string }): boolean {
  return location.kind === "kubernetes";
}

/** What calicoctl exports. */
function forKubernetes(content: Content): Content {
  const { names, faults } = nodeNames(content.items);
  if (faults.length > 0) throw failure(faults.join("\n"));
  const items = content.items.filter((item) =>
    !isConverted(item) && item.kind !== clusterInformationKind as unknown
  );
  return rename({ ...content, items }, names);
}
