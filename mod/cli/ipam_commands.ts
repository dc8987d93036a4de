/** The commands about addresses, and the controllers that look after them, as `commands.ts` lists them. */
import type { CommandSpec, OptionSpec } from "./command.ts";

/** `store`: the options that say where the datastore is. */
export const IPAM_COMMANDS = (store: readonly OptionSpec[]): CommandSpec[] => [
  {
    name: "ipam check",
    summary: "find what is wrong with the records of addresses",
    description: "Checks the integrity of IPAM's records, among themselves and beside nodes, " +
      "endpoints and pools. Nodes are asked whether a container has what nobody seems to use. Exits " +
      "with 1 where something is wrong.",
    options: [
      { flags: "-o, --output <file>", description: "write a report as JSON to this file" },
      { flags: "--show-all-ips", description: "print all addresses that are checked" },
      {
        flags: "--show-problem-ips",
        description: "print all addresses that are leaked or not allocated properly",
      },
      {
        flags: "--kubeconfig <file>",
        description: "read Pods and Services from this Kubernetes API beside the datastore",
      },
      ...store,
    ],
    examples: [["With a report for ipam release", "ipam check --show-problem-ips -o report.json"]],
    load: () => import("./ipam_check.ts"),
  },
  {
    name: "ipam release",
    summary: "release an address, or those that a report calls leaked",
    options: [
      { flags: "--ip <address>", description: "the address to release" },
      {
        flags: "--from-report <file>",
        description: "a report of ipam check; of several, what all of them call leaked",
        repeat: true,
      },
      {
        flags: "--force",
        description: "though the datastore is not locked, the report is of another version, the " +
          "address of --ip is in use, or it cannot be shown that nobody uses an address",
      },
      {
        flags: "--kubeconfig <file>",
        description: "read Pods and Services from this Kubernetes API beside the datastore",
      },
      ...store,
    ],
    examples: [
      ["One address", "ipam release --ip 10.0.0.1"],
      ["Hold all of the cluster still for a report and its use", "datastore migrate lock"],
      ["See what is leaked", "ipam check -o report.json"],
      ["Release that", "ipam release --from-report report.json"],
      ["Let the cluster go on", "datastore migrate unlock"],
    ],
    load: () => import("./ipam_release.ts"),
  },
  {
    name: "ipam configure",
    summary: "change the settings of the cluster's addresses",
    options: [
      {
        flags: "--strictaffinity <bool>",
        description: "true: no node borrows from another's block",
        completes: ["true", "false"],
      },
      {
        flags: "--max-blocks-per-host <number>",
        description: "blocks that a node may have; 0: 20",
      },
      {
        flags: "--kubevirt-ip-persistence <mode>",
        description: "whether KubeVirt's machines keep their addresses: Enabled or Disabled",
        completes: ["Enabled", "Disabled"],
      },
      {
        flags: "--ip-cooldown-seconds <number>",
        description: "seconds between a release and the next use of an address, 0 to 1200",
      },
      ...store,
    ],
    examples: [["No borrowing", "ipam configure --strictaffinity=true"]],
    load: () => import("./ipam_configure.ts"),
  },
  {
    name: "ipam split",
    args: [{ name: "[number]", description: "how many: 2, 4, 8 …" }],
    summary: "split a pool into smaller ones of equal size",
    description:
      "Splits a pool into smaller ones. Addresses in use stay as they are. The datastore " +
      "must be locked. Given again, it ends a split that was cut off. With both --name and --cidr, the " +
      "pool of that name must have that CIDR.",
    options: [
      { flags: "--cidr <cidr>", description: "the pool's CIDR", completes: "cidr" },
      { flags: "--name <pool>", description: "the pool's name", completes: "pool" },
      { flags: "--undo", description: "take back a split that was cut off" },
      ...store,
    ],
    examples: [["Into four", "ipam split 4 --name my-pool"]],
    load: () => import("./ipam_split.ts"),
  },
];

export const CONTROLLER_COMMANDS = (store: readonly OptionSpec[]): CommandSpec[] => [
  {
    name: "controllers run",
    summary: "run the cluster-wide controllers: upkeep of addresses, nodes, host endpoints",
    description:
      "Runs the cluster-wide controllers until SIGTERM. Of several that run, one leads; " +
      "the others wait to take its place. Beside a datastore that is not Kubernetes itself, Nodes, " +
      "Pods, Namespaces, ServiceAccounts and NetworkPolicies are copied from the Kubernetes API that " +
      "--kubeconfig names, or, beside an etcd, KUBECONFIG or the pod's service account.",
    options: [
      { flags: "--kubeconfig <file>", description: "of the Kubernetes API beside the datastore" },
      ...store.filter(({ flags }) => !flags.includes("--log-level")),
      { flags: "--log-level <level>", description: "debug, info, warning or error" },
    ],
    examples: [
      ["On the node's datastore", "controllers run"],
      ["On an etcd beside a cluster", "controllers run --kubeconfig /etc/kubernetes/admin.conf"],
    ],
    load: () => import("./controllers_run.ts"),
  },
];
