/**
 * All commands, as data. Actions are imported when they are run; the words here are what `--help`
 * prints. Names, options and their letters are calicoctl's where calicoctl has the command.
 */
import { LAB_COMMANDS } from "../lab/commands.ts";
import type { CommandSpec, OptionSpec } from "./command.ts";
import { DATASTORE_COMMANDS } from "./datastore_commands.ts";
import { CONTROLLER_COMMANDS, IPAM_COMMANDS } from "./ipam_commands.ts";
import { DIAGNOSIS_COMMANDS } from "./node_commands.ts";

/** For help: the order of `context.ts`. */
export const WHERE_HELP =
  "The datastore is the first of these that is given: --store WHERE, -c FILE, --context NAME,\n" +
  "TORTIE_STORE, what /etc/tortie/config.yaml or /etc/calico/calicoctl.cfg names, Calico's variables\n" +
  "(DATASTORE_TYPE, ETCD_ENDPOINTS …), KUBECONFIG (unless this machine has an embedded store), this\n" +
  "machine's node service, its embedded store, ~/.kube/config.";

const STORE: readonly OptionSpec[] = [
  {
    flags: "--store <where>",
    description: "the datastore: a served store's socket, kv:PATH, etcd:URLS or kubernetes: " +
      "(the default: see `tortie --help`)",
    completes: "file",
  },
  {
    flags: "-c, --config <file>",
    description: "configuration that names the datastore; counts before TORTIE_STORE",
    completes: "file",
  },
  {
    flags: "--context <name>",
    description: "the Kubernetes datastore of this kubeconfig context",
  },
  {
    flags: "--allow-version-mismatch",
    description: "accepted as calicoctl does; versions of client and cluster are never compared",
    hidden: true,
  },
  { flags: "-l, --log-level <level>", description: "accepted as calicoctl does", hidden: true },
];
const NAMESPACE: OptionSpec = {
  flags: "-n, --namespace <name>",
  description: "namespace of the resources (default: default)",
  completes: "namespace",
};
const FILES: readonly OptionSpec[] = [
  {
    flags: "-f, --filename <file>",
    description:
      "file (up to 64 MiB) or directory of resources, YAML or JSON; - for standard input",
    repeat: true,
    completes: "file",
  },
  { flags: "-R, --recursive", description: "directories of -f with those below them" },
  { flags: "--skip-empty", description: "files without resources are no fault" },
];
const LIVE_OUTPUT: OptionSpec = {
  flags: "-o, --output <format>",
  description: "ps, wide or json",
  values: ["ps", "wide", "json"],
};
const kinds = async () => (await import("./kind_argument.ts")).kindTable();

export const COMMANDS: readonly CommandSpec[] = [
  {
    name: "get",
    args: [
      {
        name: "[kind]",
        description: "kind of resource, such as ippool, node, networkpolicy, knp",
        completes: "kind",
      },
      {
        name: "[names...]",
        description: "names; all of the kind where none is given",
        completes: "name",
      },
    ],
    summary: "show resources",
    description: "Shows resources: all of a kind, some by name, or those that a file names. " +
      "YAML and JSON output can be fed back into apply, but for kinds that only read.",
    options: [
      {
        flags: "-o, --output <format>",
        description: "ps, wide, yaml, json, name or custom-columns=NAME,CIDR",
        completes: ["ps", "wide", "yaml", "json", "name", "custom-columns="],
      },
      NAMESPACE,
      { flags: "-A, --all-namespaces", description: "of all namespaces" },
      { flags: "-a", description: "as -A", hidden: true },
      { flags: "--export", description: "without what belongs to this cluster alone" },
      ...FILES,
      ...STORE,
    ],
    examples: [
      ["All address pools", "get ippools -o wide"],
      ["Two policies as YAML", "get networkpolicy web db -n shop -o yaml"],
      ["Kubernetes' own network policies", "get knp -A"],
    ],
    moreHelp: kinds,
    load: () => import("./get.ts"),
  },
  {
    name: "create",
    summary: "create resources; fails where one exists",
    options: [
      ...FILES,
      { flags: "--skip-exists", description: "pass over resources that exist" },
      NAMESPACE,
      ...STORE,
    ],
    examples: [
      ["From a file", "create -f pools.yaml"],
      ["From standard input", "create -f - < pools.yaml"],
    ],
    load: () => import("./create.ts"),
  },
  {
    name: "apply",
    summary: "create resources, or replace those that exist",
    description: "Creates resources, or replaces those that exist. All files are checked before " +
      "anything is written.",
    options: [...FILES, NAMESPACE, ...STORE],
    examples: [
      ["From a file", "apply -f policy.yaml"],
      ["Everything in a directory and below", "apply -R -f manifests/"],
    ],
    load: () => import("./apply.ts"),
  },
  {
    name: "replace",
    summary: "replace resources that exist",
    options: [...FILES, NAMESPACE, ...STORE],
    examples: [["From a file", "replace -f policy.yaml"]],
    load: () => import("./replace.ts"),
  },
  {
    name: "patch",
    args: [
      { name: "<kind>", description: "kind of resource", completes: "kind" },
      { name: "<name>", description: "its name", completes: "name" },
    ],
    summary: "change fields of one resource",
    options: [
      { flags: "-p, --patch <change>", description: "the change, as JSON or YAML" },
      {
        flags: "-t, --type <type>",
        description: "strategic (default), merge (RFC 7386) or json (RFC 6902)",
        values: ["strategic", "merge", "json"],
      },
      NAMESPACE,
      ...STORE,
    ],
    examples: [
      ["No new addresses from a pool", `patch ippool p1 -p '{"spec":{"disabled":true}}'`],
    ],
    load: () => import("./patch.ts"),
  },
  {
    name: "label",
    args: [
      { name: "<kind>", description: "kind of resource", completes: "kind" },
      { name: "<name>", description: "its name", completes: "name" },
      { name: "<label>", description: "key=value, or a key with --remove" },
    ],
    summary: "set or remove a label of a resource",
    options: [
      { flags: "--overwrite", description: "change the value of a label that is there" },
      { flags: "--remove", description: "remove the label" },
      NAMESPACE,
      ...STORE,
    ],
    examples: [
      ["Add a label", "label node node1 rack=r1"],
      ["Change it", "label node node1 rack=r2 --overwrite"],
      ["Remove it", "label node node1 rack --remove"],
    ],
    load: () => import("./label.ts"),
  },
  {
    name: "delete",
    args: [
      { name: "[kind]", description: "kind of resource", completes: "kind" },
      { name: "[names...]", description: "names of those to delete", completes: "name" },
    ],
    summary: "delete resources",
    description:
      "Deletes resources by kind and name, or those that files name. A pool lets go of " +
      "its blocks, a node of all that is its.",
    options: [
      ...FILES,
      { flags: "-s, --skip-not-exists", description: "pass over resources that are not there" },
      { flags: "--force", description: "a node too whose service still reports and that has pods" },
      NAMESPACE,
      ...STORE,
    ],
    examples: [
      ["By name", "delete networkpolicy web db -n shop"],
      ["What a file made", "delete -f policy.yaml"],
    ],
    load: () => import("./delete.ts"),
  },
  {
    name: "validate",
    summary: "check files as apply would, without a datastore",
    options: [...FILES, NAMESPACE, ...STORE.map((option) => ({ ...option, hidden: true }))],
    examples: [["A file", "validate -f policy.yaml"]],
    load: () => import("./validate.ts"),
  },
  {
    name: "ipam show",
    summary: "how full pools and blocks are, and who has an address",
    options: [
      { flags: "--ip <address>", description: "who has this address" },
      { flags: "--show-blocks", description: "the blocks of each pool too" },
      { flags: "--show-borrowed", description: "addresses given in blocks of other nodes" },
      { flags: "--show-configuration", description: "the settings" },
      { flags: "-o, --output <format>", description: "ps or json", values: ["ps", "json"] },
      ...STORE,
    ],
    examples: [
      ["Pools and blocks", "ipam show --show-blocks"],
      ["One address", "ipam show --ip 10.244.1.7"],
    ],
    load: () => import("./ipam_show.ts"),
  },
  ...IPAM_COMMANDS(STORE),
  ...CONTROLLER_COMMANDS(STORE),
  {
    name: "node run",
    summary: "run the node service: agent, BGP speaker and CNI server",
    options: [
      { flags: "--nodename <name>", description: "this node's name (NODENAME)" },
      { flags: "--store <where>", description: "the datastore (TORTIE_STORE)" },
      { flags: "-c, --config <file>", description: "configuration that names the datastore" },
      { flags: "--ip <address>", description: "this node's IPv4 address, or autodetect (IP)" },
      {
        flags: "--ip6 <address>",
        description: "this node's IPv6 address, autodetect or none (IP6)",
      },
      { flags: "--log-level <level>", description: "debug, info, warning or error" },
    ],
    examples: [["With the embedded store", "node run --nodename node1 --ip 192.0.2.11"]],
    load: () => import("./node_run.ts"),
  },
  {
    name: "node status",
    summary: "what this machine's node service does: peers, endpoints, errors",
    options: [{
      flags: "-o, --output <format>",
      description: "ps or json",
      values: ["ps", "json"],
    }],
    examples: [["For people", "node status"], ["For programs", "node status -o json"]],
    load: () => import("./node_status.ts"),
  },
  ...DIAGNOSIS_COMMANDS(STORE),
  {
    name: "bgp peers",
    summary: "sessions of this machine's BGP speaker, live",
    options: [LIVE_OUTPUT],
    examples: [["With all that was negotiated", "bgp peers -o wide"]],
    load: () => import("./bgp_peers.ts"),
  },
  {
    name: "bgp routes",
    args: [{ name: "[prefix]", description: "this prefix alone" }],
    summary: "routes of this machine's BGP speaker, live, and why each is taken or not",
    options: [LIVE_OUTPUT, { flags: "--best", description: "only those that are used" }],
    examples: [["Why this way", "bgp routes 10.244.1.0/26"]],
    load: () => import("./bgp_routes.ts"),
  },
  {
    name: "bgp refresh",
    args: [{
      name: "[peers...]",
      description: "addresses or names of peers; all where none is given",
    }],
    summary: "ask BGP peers to tell their routes again (route refresh); no session is reset",
    examples: [["All peers", "bgp refresh"], ["One of them", "bgp refresh 192.0.2.1"]],
    load: () => import("./bgp_refresh.ts"),
  },
  {
    name: "policy explain",
    summary: "why a connection is allowed or denied, rule by rule",
    options: [
      { flags: "--from <side>", description: "the client: NAMESPACE/POD or an address" },
      { flags: "--to <side>", description: "the server: NAMESPACE/POD or an address" },
      { flags: "--port <port>", description: "the server's port: 80/tcp, dns/udp, icmp" },
      { flags: "--source-port <port>", description: "the client's port" },
      {
        flags: "--family <4|6>",
        description: "IPv4 or IPv6 where both sides have both",
        values: ["4", "6"],
      },
      { flags: "-o, --output <format>", description: "text or json", values: ["text", "json"] },
      ...FILES.slice(0, 2),
      ...STORE,
    ],
    examples: [
      ["In the cluster", "policy explain --from default/red --to default/blue --port 80/tcp"],
      [
        "Of manifests, without a cluster",
        "policy explain -f all.yaml --from shop/web --to 192.0.2.9 --port 443/tcp",
      ],
    ],
    load: () => import("./policy_explain.ts"),
  },
  {
    name: "policy matrix",
    summary: "who reaches whom",
    options: [
      { flags: "--port <port>", description: "the port, as 80/tcp; may be repeated", repeat: true },
      {
        flags: "--family <4|6>",
        description: "IPv4 (default) or IPv6 where both sides have both",
        values: ["4", "6"],
      },
      {
        flags: "-o, --output <format>",
        description: "table or json",
        values: ["table", "json"],
      },
      ...FILES.slice(0, 2),
      ...STORE,
    ],
    examples: [
      ["Of manifests, without a cluster", "policy matrix -f all.yaml --port 80/tcp --port 53/udp"],
    ],
    load: () => import("./policy_matrix.ts"),
  },
  {
    name: "datastore serve",
    summary: "own the embedded store and serve it over a socket",
    options: [
      {
        flags: "--path <file>",
        description: "the store's file ($TORTIE_STATE_DIR/store.kv)",
        completes: "file",
      },
      {
        flags: "--socket <path>",
        description: "the socket ($TORTIE_RUN_DIR/store.sock)",
        completes: "file",
      },
    ],
    examples: [["For a lab", "datastore serve --path /tmp/lab.kv --socket /tmp/lab.sock"]],
    load: () => import("./datastore_serve.ts"),
  },
  ...DATASTORE_COMMANDS(STORE),
  ...LAB_COMMANDS,
  {
    name: "completion",
    args: [{
      name: "<shell>",
      description: "bash, zsh or fish",
      completes: ["bash", "zsh", "fish"],
    }],
    summary: "print the script by which a shell completes tortie's command lines",
    description: "Prints the script by which a shell completes tortie's command lines: commands, " +
      "flags, kinds, and names out of the datastore.",
    examples: [
      ["For this bash", "completion bash > /etc/bash_completion.d/tortie"],
      ["For zsh", "completion zsh > /usr/local/share/zsh/site-functions/_tortie"],
      ["For fish", "completion fish > ~/.config/fish/completions/tortie.fish"],
    ],
    load: () => import("./completion/script.ts"),
  },
  {
    name: "version",
    summary: "version of this executable, and of the cluster",
    options: [
      { flags: "--client", description: "of this executable alone" },
      { flags: "--licenses", description: "licences of the libraries that it carries" },
      {
        flags: "-o, --output <format>",
        description: "text, json or yaml",
        values: ["text", "json", "yaml"],
      },
      ...STORE,
    ],
    examples: [["For programs", "version -o json"]],
    load: () => import("./version.ts"),
  },
];

/** What the groups of commands are about. */
export const GROUPS: Readonly<Record<string, string>> = {
  ipam: "addresses",
  node: "this machine's node service",
  bgp: "the BGP speaker of this machine",
  policy: "who may reach whom, and why",
  datastore: "the datastore as a whole",
  cluster: "the whole cluster",
  "datastore migrate": "from one datastore to another, in calicoctl's words",
  controllers: "cluster-wide jobs",
  lab: "a cluster of network namespaces on this machine",
  migrate: "from other networks to this one",
};
