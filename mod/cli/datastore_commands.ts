/** The commands about the datastore as a whole, as `commands.ts` lists them. */
import type { CommandSpec, OptionSpec } from "./command.ts";

const FILE: OptionSpec = {
  flags: "-f, --filename <file>",
  description: "file of the export; - for standard input",
  completes: "file",
};

/** `store`: the options that say where the datastore is. */
export const DATASTORE_COMMANDS = (store: readonly OptionSpec[]): CommandSpec[] => [
  {
    name: "datastore export",
    summary: "print all that the datastore holds, for import into another",
    description: "Prints all that the datastore holds: resources, Kubernetes' own objects where " +
      "they are kept there, IPAM's records. calicoctl can import it too. One that is a Kubernetes " +
      "API must be locked first (`datastore migrate lock`).",
    options: [...store],
    examples: [["Into a file", "datastore export > cluster.yaml"]],
    load: () => import("./datastore_export.ts"),
  },
  {
    name: "datastore import",
    summary: "write an export into an empty datastore, which is locked then",
    description: "Writes an export of tortie or of calicoctl into a datastore that is empty. An " +
      "import that was cut off goes on when it is given again. The datastore is locked until " +
      "`datastore migrate unlock`.",
    options: [FILE, ...store],
    examples: [["From a file", "datastore import -f cluster.yaml"]],
    load: () => import("./datastore_import.ts"),
  },
  {
    name: "datastore migrate export",
    summary: "print what a Kubernetes datastore is to take over, as calicoctl does",
    description: "Prints what a Kubernetes datastore is to take over, as calicoctl does: nodes " +
      "under their Kubernetes names, without endpoints and profiles. The datastore must be locked.",
    options: [...store],
    examples: [["Into a file", "datastore migrate export > datastore.yaml"]],
    load: () => import("./datastore_migrate_export.ts"),
  },
  {
    name: "datastore migrate import",
    summary: "as datastore import",
    options: [FILE, ...store],
    examples: [["From a file", "datastore migrate import -f datastore.yaml"]],
    load: () => import("./datastore_import.ts"),
  },
  {
    name: "datastore migrate lock",
    summary: "lock the datastore: no pod is attached, nodes keep their state",
    options: [...store],
    examples: [["Before an export", "datastore migrate lock"]],
    load: () => import("./datastore_lock.ts"),
  },
  {
    name: "datastore migrate unlock",
    summary: "let the datastore be used again",
    options: [
      { flags: "--force", description: "though an import into it has not ended" },
      ...store,
    ],
    examples: [["After an import", "datastore migrate unlock"]],
    load: () => import("./datastore_unlock.ts"),
  },
  ...["datastore migrate-policy-names", "datastore migrate migrate-policy-names"].map((name) => ({
    name,
    summary: "store policies under their own names, as Calico does since 3.32",
    options: [
      { flags: "--dry-run", description: "say what would be done, and do nothing" },
      ...store,
    ],
    examples: [["What would be done", `${name} --dry-run`]] as const,
    load: () => import("./datastore_policy_names.ts"),
  })),
];
