/** The commands of calicoctl, as data (see `command.ts`). */
import type { CalicoctlCommand, Flag } from "./command.ts";

const CONFIG: Flag = {
  name: "config",
  short: "c",
  type: "string",
  default: "/etc/calico/calicoctl.cfg",
  usage:
    "File that says how the datastore is reached, YAML or JSON; given, it counts before any variable",
  completes: "file",
};
const NAMESPACE: Flag = {
  name: "namespace",
  short: "n",
  type: "string",
  usage: "The resources' namespace",
  completes: "namespace",
};
/** Of all commands that read resources from files. */
const FILES: readonly Flag[] = [
  CONFIG,
  NAMESPACE,
  {
    name: "filename",
    short: "f",
    type: "string",
    usage: "File (up to 64 MiB) or folder of resources, YAML or JSON; '-' for standard input",
    completes: "file",
  },
  {
    name: "recursive",
    short: "R",
    type: "bool",
    usage: "Folders of -f with those below them",
    of: "filename",
  },
  {
    name: "skip-empty",
    type: "bool",
    usage: "Files without resources are no error",
    of: "filename",
  },
];
const LOG_DIR: Flag = {
  name: "log-dir",
  type: "string",
  default: "/var/log/calico",
  usage: "Folder of the logs",
  completes: "file",
};

/** Instead of flags about logs of the cluster. */
const ON_NODES =
  "no logs are fetched from other machines; run calicoctl node diags --log-dir there";

const resources = () => import("./resources.ts");

/** The commands that work on resources. */
const RESOURCES: readonly CalicoctlCommand[] = [
  {
    name: "apply",
    short: "Create resources, or replace those that exist",
    long: "Creates the resources of a file, a folder or standard input, and replaces those that\n" +
      "exist already.",
    examples: [
      ["The resources of a file", "apply -f ./policy.yaml"],
      ["From standard input", "apply -f - < policy.json"],
    ],
    flags: FILES,
    load: async () => ({ run: (await resources()).apply }),
  },
  {
    name: "create",
    short: "Create resources",
    long:
      "Creates the resources of a file, a folder or standard input. Those that exist already\n" +
      "are an error.",
    examples: [
      ["The resources of a file", "create -f ./policy.yaml"],
      ["From standard input", "create -f - < policy.json"],
    ],
    flags: [
      ...FILES,
      { name: "skip-exists", type: "bool", usage: "Pass over resources that exist" },
    ],
    load: async () => ({ run: (await resources()).create }),
  },
  {
    name: "replace",
    short: "Replace resources that exist",
    long: "Replaces resources by those of a file, a folder or standard input. One that does not\n" +
      "exist is an error.",
    examples: [["The resources of a file", "replace -f ./policy.yaml"]],
    flags: FILES,
    load: async () => ({ run: (await resources()).replace }),
  },
  {
    name: "validate",
    short: "Check resources without applying them",
    long:
      "Checks the resources of a file, a folder or standard input as apply would. No datastore\n" +
      "is needed.",
    examples: [["The resources of a file", "validate -f ./policy.yaml"]],
    flags: FILES,
    load: async () => ({ run: (await resources()).validate }),
  },
  {
    name: "delete",
    operands: "[KIND [NAME...]]",
    completes: ["kind", "name"],
    short: "Delete resources, by kind and name or those of a file",
    long: "Deletes resources, by kind and name or those that a file, a folder or standard input\n" +
      "names. One that does not exist is an error.",
    examples: [
      ["Two policies by name", "delete networkpolicy foo bar"],
      ["The resources of a file", "delete -f ./policy.yaml"],
    ],
    flags: [
      ...FILES,
      {
        name: "skip-not-exists",
        short: "s",
        type: "bool",
        usage: "Pass over resources that are not there",
      },
    ],
    load: async () => ({ run: (await resources()).remove }),
  },
  {
    name: "get",
    operands: "[KIND [NAME...]]",
    completes: ["kind", "name"],
    short: "Show resources, by kind and name or those of a file",
    long:
      "Shows resources: all of a kind, some by name, or those that a file names. YAML and JSON\n" +
      "can be fed back into apply and replace.",
    examples: [
      ["All network policies of the namespace", "get networkpolicy"],
      ["Two of them as YAML", "get networkpolicy my-policy-1 my-policy-2 -o yaml"],
    ],
    flags: [
      ...FILES,
      {
        name: "output",
        short: "o",
        type: "string",
        default: "ps",
        usage: "Form of the output: yaml, json, ps, wide, name, custom-columns=...",
        completes: ["ps", "wide", "yaml", "json", "name", "custom-columns="],
      },
      { name: "all-namespaces", short: "A", type: "bool", usage: "Of all namespaces" },
      {
        name: "all-namespaces-a",
        short: "a",
        type: "bool",
        usage: "As --all-namespaces",
        hidden: true,
      },
      {
        name: "export",
        type: "bool",
        usage:
          "Objects by name without what belongs to this cluster alone (ignored for whole kinds, and with -f)",
      },
    ],
    load: async () => ({ run: (await resources()).get }),
  },
  {
    name: "patch",
    operands: "KIND NAME",
    completes: ["kind", "name", "nothing"],
    short: "Change fields of one resource",
    long: "Changes fields of one resource that exists; the others stay as they are.",
    examples: [[
      "Make a node a route reflector",
      `patch node node-0 --patch '{"spec":{"bgp":{"routeReflectorClusterID":"224.0.0.1"}}}'`,
    ]],
    count: [2, 2],
    flags: [
      CONFIG,
      NAMESPACE,
      { name: "patch", short: "p", type: "string", usage: "The change, as JSON or YAML" },
      {
        name: "type",
        short: "t",
        type: "string",
        default: "strategic",
        usage: "Kind of the change: strategic, json or merge",
        completes: ["strategic", "json", "merge"],
      },
    ],
    load: async () => ({ run: (await resources()).patch }),
  },
  {
    name: "label",
    operands: "KIND NAME [key=value | key]",
    completes: ["kind", "name", "nothing"],
    short: "Set or remove a label of a resource",
    long: "Sets a label of a resource (key=value; --overwrite where it has another value), or\n" +
      "removes it (the key, with --remove).",
    examples: [
      ["Set a label of a node", "label nodes node1 cluster=frontend"],
      ["Give it another value", "label nodes node1 cluster=backend --overwrite"],
      ["Remove it", "label nodes node1 cluster --remove"],
    ],
    count: [3, Infinity],
    flags: [
      CONFIG,
      NAMESPACE,
      { name: "overwrite", type: "bool", usage: "Change the value of a label that is there" },
      { name: "remove", type: "bool", usage: "Remove the label" },
    ],
    load: async () => ({ run: (await resources()).label }),
  },
];

/** Addresses. */
const IPAM: readonly CalicoctlCommand[] = [
  {
    name: "ipam",
    short: "Addresses and blocks",
    long: "Shows and changes how addresses are given.",
  },
  {
    name: "ipam check",
    short: "Look for faults in IPAM's data",
    long:
      "Compares blocks, handles and endpoints, and tells every address about which they differ.",
    examples: [["Write a report of what is wrong", "ipam check --show-problem-ips -o report.json"]],
    flags: [
      CONFIG,
      {
        name: "kubeconfig",
        type: "string",
        usage: "File of the Kubernetes API's address",
        completes: "file",
      },
      {
        name: "output",
        short: "o",
        type: "string",
        usage: "File for the report",
        completes: "file",
      },
      { name: "show-all-ips", type: "bool", usage: "Tell every address that is looked at" },
      { name: "show-problem-ips", type: "bool", usage: "Tell the addresses that are wrong" },
    ],
  },
  {
    name: "ipam configure",
    short: "Change IPAM's settings",
    long: "Changes IPAM's settings for the whole cluster.",
    examples: [["No addresses of other nodes' blocks", "ipam configure --strictaffinity=true"]],
    flags: [
      CONFIG,
      {
        name: "ip-cooldown-seconds",
        type: "int",
        default: -1,
        usage: "Seconds for which a released address is not given again",
      },
      {
        name: "kubevirt-ip-persistence",
        type: "string",
        usage: "Whether KubeVirt's machines keep their addresses (Enabled|Disabled)",
        completes: ["Enabled", "Disabled"],
      },
      {
        name: "max-blocks-per-host",
        type: "string",
        usage: "Most blocks that one node may have",
      },
      {
        name: "strictaffinity",
        type: "string",
        usage: "Whether nodes take addresses of their own blocks alone, true or false",
        completes: ["true", "false"],
      },
    ],
  },
  {
    name: "ipam release",
    short: "Release addresses",
    long: "Takes back an address that nobody uses, or all leaked ones of a report of ipam check.",
    examples: [
      ["One address", "ipam release --ip 10.0.0.1"],
      ["The leaked ones of a report", "ipam release --from-report report.json"],
    ],
    flags: [
      CONFIG,
      {
        name: "force",
        type: "bool",
        usage: "Also where the report may be out of date, or the address in use",
      },
      {
        name: "from-report",
        type: "stringArray",
        usage: "Report of ipam check",
        completes: "file",
      },
      { name: "ip", type: "string", usage: "The address" },
    ],
  },
  {
    name: "ipam show",
    short: "Show how full pools are, and who has an address",
    long:
      "Shows how full the pools are. Flags tell more: of one address, of blocks, of borrowed\n" +
      "addresses, of the settings.",
    examples: [
      ["How full the pools are", "ipam show"],
      ["Who has an address", "ipam show --ip 10.0.0.1"],
    ],
    flags: [
      CONFIG,
      { name: "ip", type: "string", usage: "Who has this address" },
      { name: "show-blocks", type: "bool", usage: "The blocks of each pool too" },
      { name: "show-borrowed", type: "bool", usage: "Addresses given in blocks of other nodes" },
      { name: "show-configuration", type: "bool", usage: "The settings" },
    ],
    oneOf: ["ip", "show-blocks", "show-borrowed", "show-configuration"],
  },
  {
    name: "ipam split",
    operands: "NUMBER",
    short: "Split a pool into smaller ones",
    long: "Splits a pool into so many smaller ones. The datastore must be locked.",
    examples: [["Into four", "ipam split 4 --name my-pool"]],
    count: [1, 1],
    flags: [
      CONFIG,
      { name: "cidr", type: "string", usage: "The pool's CIDR", completes: "cidr" },
      { name: "name", type: "string", usage: "The pool's name", completes: "pool" },
    ],
  },
];

/** The machine and the cluster. */
const NODES: readonly CalicoctlCommand[] = [
  {
    name: "node",
    short: "This node",
    long: "Runs and looks at the node service of this machine.",
  },
  {
    name: "node checksystem",
    short: "Look whether this machine can be a node",
    long: "Looks whether the kernel of this machine has what a node needs.",
    examples: [["This machine", "node checksystem"]],
    flags: [{
      name: "kernel-config",
      short: "f",
      type: "string",
      usage: "File of the kernel's configuration",
      completes: "file",
    }],
  },
  {
    name: "node diags",
    short: "Collect what a report of a fault needs",
    long: "Collects what a report of a fault of this node needs into one archive.",
    examples: [["This machine", "node diags"]],
    flags: [LOG_DIR],
  },
  {
    name: "node run",
    short: "Run the node service",
    long: "Runs the node service on this machine, here and now, not in a container.",
    examples: [[
      "Find the IPv4 address by a route",
      "node run --ip autodetect --ip-autodetection-method can-reach=8.8.8.8",
    ]],
    flags: [
      CONFIG,
      { ...LOG_DIR, instead: "the log is on standard error" },
      { name: "as", type: "string", usage: "The node's AS number", variable: "AS" },
      {
        name: "backend",
        type: "string",
        default: "bird",
        usage: "How routes are spread (bird|none)",
        completes: ["bird", "none"],
        variable: "CALICO_NETWORKING_BACKEND",
      },
      {
        name: "dryrun",
        type: "bool",
        usage: "Say what would be run",
        instead: "no container is started; leave it away",
      },
      {
        name: "felix-config",
        type: "string",
        usage: "File of the agent's configuration",
        completes: "file",
        instead: "set variables FELIX_…, or apply a FelixConfiguration",
      },
      {
        name: "init-system",
        type: "bool",
        usage: "Run as an init system wants it",
        instead: "write a unit that runs `tortie node run`",
      },
      { name: "ip", type: "string", usage: "The node's IPv4 address" },
      {
        name: "ip-autodetection-method",
        type: "string",
        default: "first-found",
        usage: "How the IPv4 address is found",
        variable: "IP_AUTODETECTION_METHOD",
      },
      { name: "ip6", type: "string", usage: "The node's IPv6 address" },
      {
        name: "ip6-autodetection-method",
        type: "string",
        default: "first-found",
        usage: "How the IPv6 address is found",
        variable: "IP6_AUTODETECTION_METHOD",
      },
      { name: "name", type: "string", usage: "The node's name", option: "nodename" },
      {
        name: "no-default-ippools",
        type: "bool",
        usage: "Make no pools at the first start",
        variable: "NO_DEFAULT_POOLS",
      },
      {
        name: "node-image",
        type: "string",
        default: "calico/node:latest",
        usage: "Has no meaning here: no image is run",
        instead: "no image is run",
      },
    ],
  },
  {
    name: "node status",
    short: "Show what this node does",
    long: "Shows the node service of this machine and its BGP peers.",
    examples: [["This machine", "node status"]],
  },
  {
    name: "cluster",
    short: "The whole cluster",
    long: "Looks at the whole cluster.",
  },
  {
    name: "cluster diags",
    short: "Collect what a report of a fault of the cluster needs",
    long: "Collects what a report of a fault needs from the whole cluster.",
    examples: [["The cluster", "cluster diags"]],
    flags: [
      CONFIG,
      {
        name: "focus-nodes",
        type: "string",
        usage: "Nodes to begin with, a comma list",
        completes: "nodes",
      },
      {
        name: "max-logs",
        type: "int",
        default: 5,
        usage: "Most logs of each component",
        instead: ON_NODES,
      },
      {
        name: "max-parallelism",
        type: "int",
        default: 10,
        usage: "Most logs at a time",
        instead: ON_NODES,
      },
      {
        name: "since",
        type: "string",
        usage: "Logs of so long ago at most, as 30m or 2h",
        instead: ON_NODES,
      },
      {
        name: "skip-temp-dir-cleanup",
        type: "bool",
        usage: "Leave the temporary folder",
        instead: "no temporary folder is made",
      },
    ],
  },
];

/** The datastore as a whole. */
const DATASTORE: readonly CalicoctlCommand[] = [
  {
    name: "datastore",
    short: "The datastore as a whole",
    long: "Works on the datastore as a whole.",
  },
  {
    name: "datastore migrate",
    short: "From etcd to Kubernetes",
    long: "Moves all that an etcd datastore holds to a Kubernetes datastore.",
  },
  {
    name: "datastore migrate export",
    short: "Print all that the etcd datastore holds, as YAML",
    long: "Prints all that an etcd datastore holds, as YAML for datastore migrate import.",
    examples: [["Into a file", "datastore migrate export > datastore.yaml"]],
    flags: [CONFIG],
  },
  {
    name: "datastore migrate import",
    short: "Write an export into the Kubernetes datastore",
    long:
      "Writes what datastore migrate export printed into a Kubernetes datastore, or into any other.",
    examples: [["From a file", "datastore migrate import -f datastore.yaml"]],
    flags: [
      CONFIG,
      {
        name: "filename",
        short: "f",
        type: "string",
        usage: "File of the export",
        completes: "file",
      },
    ],
  },
  {
    name: "datastore migrate lock",
    short: "Let nobody change the datastore",
    long: "Locks the datastore: nobody changes it until it is unlocked.",
    examples: [["Before an export", "datastore migrate lock"]],
    flags: [CONFIG],
  },
  {
    name: "datastore migrate unlock",
    short: "Let the datastore be changed again",
    long: "Unlocks a datastore that was locked.",
    examples: [["After an import", "datastore migrate unlock"]],
    flags: [CONFIG],
  },
  ...["datastore migrate-policy-names", "datastore migrate migrate-policy-names"].map((name) => ({
    name,
    hidden: name.includes("migrate "),
    short: "Take the prefix of the default tier from old policies' names",
    long:
      'Rewrites policies of an etcd datastore whose names begin with "default.", as they did\n' +
      "before 3.32.",
    examples: [["Once, after the upgrade", name]] as const,
    flags: [CONFIG],
  })),
];

export const CALICOCTL_COMMANDS: readonly CalicoctlCommand[] = [
  {
    name: "",
    short: "",
    long: "Shows and changes a Calico cluster's resources: networks, policies, endpoints, nodes.",
    flags: [{ name: "version", type: "bool", usage: "Say how the version is shown", hidden: true }],
  },
  ...RESOURCES,
  ...IPAM,
  ...NODES,
  ...DATASTORE,
  {
    name: "version",
    short: "Show the version of this program",
    long: "Shows the version of this program, and of the cluster where it can be reached.",
    examples: [["Both", "version"], ["This program's alone", "version --client"]],
    flags: [
      { name: "client", type: "bool", usage: "Of this program alone" },
      { ...CONFIG, default: undefined },
      { name: "poll", type: "string", usage: "Look for changes again and again, as 30s" },
    ],
    load: () => import("./version.ts"),
  },
  {
    name: "completion",
    operands: "bash|zsh|fish",
    completes: [["bash", "zsh", "fish"], "nothing"],
    short: "Print the completion script of a shell",
    long: "Prints the script by which a shell completes command lines of this program.",
    examples: [["For this bash", "completion bash > /etc/bash_completion.d/calicoctl"]],
    count: [1, 1],
    load: () => import("../completion/script.ts"),
  },
  {
    name: "help",
    operands: "[command]",
    short: "Help about any command",
    long: "Shows what a command does and takes.",
    load: () => import("./help_command.ts"),
  },
];
