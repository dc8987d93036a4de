/** The commands that look at machines for those who search a fault, as `commands.ts` lists them. */
import type { CommandSpec, OptionSpec } from "./command.ts";

const OUTPUT: OptionSpec = {
  flags: "--output-dir <folder>",
  description: "folder for the archive (default: $TMPDIR or /tmp)",
  completes: "file",
};

export const DIAGNOSIS_COMMANDS = (store: readonly OptionSpec[]): CommandSpec[] => [
  {
    name: "node checksystem",
    summary: "find out whether this machine's kernel can carry a node",
    description:
      "Finds out whether this machine's kernel can carry a node, by trying each thing in " +
      "a network namespace that is gone at the end. Exits with 1 where something is missing.",
    options: [{
      flags: "-f, --kernel-config <file>",
      description: "judge a kernel by the file of its configuration, not the one that runs",
      completes: "file",
    }],
    examples: [
      ["This machine", "node checksystem"],
      ["Another kernel", "node checksystem --kernel-config /boot/config-6.1.0"],
    ],
    load: () => import("./node_checksystem.ts"),
  },
  {
    name: "node diags",
    summary: "collect what a report of a fault of this node needs",
    description:
      "Collects state, routes, rules, settings and logs of this node into one archive. " +
      "What is called or looks like a password, token or key is left out of it; " +
      "look it through all the same.",
    options: [
      { flags: "--log-dir <folder>", description: "folder of logs", completes: "file" },
      OUTPUT,
    ],
    examples: [["With logs", "node diags --log-dir /var/log/calico"]],
    load: () => import("./node_diags.ts"),
  },
  {
    name: "cluster diags",
    summary: "collect what a report of a fault of the cluster needs",
    description: "Collects all resources, IPAM's state and check, and what is known of each node " +
      "into one archive. Logs are on the nodes: see `node diags`.",
    options: [
      {
        flags: "--focus-nodes <names>",
        description: "nodes whose part comes first, a comma list",
        completes: "nodes",
      },
      { flags: "--since <duration>", description: "of logs; refused", hidden: true },
      { flags: "--max-logs <number>", description: "of logs; refused", hidden: true },
      OUTPUT,
      ...store,
    ],
    examples: [["The cluster", "cluster diags"]],
    load: () => import("./cluster_diags.ts"),
  },
];
