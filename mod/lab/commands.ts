/** The lab's commands, as data; their actions are in actions.ts. */
import type { CommandSpec, OptionSpec } from "../cli/command.ts";

const LAB: OptionSpec = { flags: "--lab <name>", description: "the lab's name (default: lab)" };
const NAMESPACE: OptionSpec = {
  flags: "-n, --namespace <name>",
  description: "namespace of pods that name none (default: default)",
};
const WAIT: OptionSpec = {
  flags: "--wait <seconds>",
  description: "how long a pod that is told to try again later is tried again (default: 0)",
};
const actions = () => import("./actions.ts");
const action =
  (name: Exclude<keyof Awaited<ReturnType<typeof actions>>, "default">) => async () => ({
    run: (await actions())[name],
  });

export const LAB_COMMANDS: readonly CommandSpec[] = [
  {
    name: "lab up",
    summary: "make a cluster of network namespaces on this machine",
    description:
      "Makes a router, nodes with a node service each, and a datastore that serves them " +
      "all, in network namespaces of their own. This machine's network is not touched.",
    options: [
      LAB,
      { flags: "--nodes <n>", description: "number of nodes (default: 3)" },
      {
        flags: "--subnets <list>",
        description:
          "for each subnet its nodes, its CIDR or both: 2,1 or 10.1.0.0/24:2,10.2.0.0/24:1",
      },
      {
        flags: "--ip-families <list>",
        description: "of nodes and pods: IPv4 (default), IPv6, or IPv4,IPv6 for dual stack",
      },
      {
        flags: "--env <name=value>",
        description: "for the node services, e.g. CALICO_IPV4POOL_CIDR=10.244.0.0/16",
        repeat: true,
      },
    ],
    examples: [
      ["Three nodes on one subnet", "lab up"],
      ["Two on one subnet, one on another", "lab up --subnets 2,1"],
      ["Dual stack", "lab up --ip-families IPv4,IPv6 --env CALICO_IPV6POOL_CIDR=fd00:10:244::/64"],
      ["With another default pool", "lab up --env CALICO_IPV4POOL_CIDR=10.9.0.0/16"],
    ],
    load: action("up"),
  },
  {
    name: "lab run",
    summary: "run Pods, Deployments and StatefulSets of manifests",
    description:
      "Applies what the manifests hold and starts their pods: each a network namespace, " +
      "wired by the CNI plugin, in which a process answers on the container ports.",
    options: [
      {
        flags: "-f, --filename <file>",
        description: "file or directory of manifests; - for standard input",
        repeat: true,
      },
      { flags: "--node <name>", description: "put all pods on this node (default: in turn)" },
      NAMESPACE,
      WAIT,
      LAB,
    ],
    examples: [["Two ways", "lab run -f web.yaml"], [
      "On one node",
      "lab run -f web.yaml --node node2",
    ]],
    load: action("runPods"),
  },
  {
    name: "lab pods",
    summary: "list the pods of a lab",
    options: [
      LAB,
      { flags: "-o, --output <format>", description: "ps or json" },
    ],
    load: action("pods"),
  },
  {
    name: "lab delete",
    args: [{ name: "<pods...>", description: "names, or namespace/name" }],
    summary: "take pods away",
    description: "Takes pods away: CNI DEL, namespace, Pod object. A pod of a Deployment or " +
      "StatefulSet gets a replacement.",
    options: [NAMESPACE, WAIT, LAB],
    load: action("deletePods"),
  },
  {
    name: "lab exec",
    args: [
      { name: "<pod>", description: "name, or namespace/name" },
      { name: "<command...>", description: "program and arguments, behind --" },
    ],
    summary: "run a command in a pod's network namespace",
    options: [NAMESPACE, LAB],
    examples: [["Look around", "lab exec web -- ip addr"]],
    load: action("exec"),
  },
  {
    name: "lab node-exec",
    args: [
      { name: "<node>", description: "name of a node" },
      { name: "<command...>", description: "program and arguments, behind --" },
    ],
    summary: "run a command in a node's network namespace",
    options: [LAB],
    examples: [["Its routes", "lab node-exec node1 -- ip route"]],
    load: action("nodeExec"),
  },
  {
    name: "lab down",
    summary: "take a lab away, whatever state it is in",
    options: [LAB],
    load: action("down"),
  },
  {
    name: "lab demo",
    summary:
      "show the whole of it, IPv4 and IPv6: three nodes on two subnets, pods, BGP with BIRD " +
      "as a member, addresses, policy, VXLAN between subnets, restarts",
    options: [
      {
        flags: "--megabytes <n>",
        description: "size of the transfer over restarts (default: 200)",
      },
      {
        flags: "--bird <path>",
        description:
          "BIRD 2's executable, as /usr/sbin/bird, for the chapter with a member of the " +
          "mesh that is not ours (left out without it)",
      },
      { flags: "--keep", description: "leave the lab up at the end" },
    ],
    load: action("demo"),
  },
  {
    name: "lab serve-pod",
    hidden: true,
    args: [
      { name: "<pod>", description: "its name, which it tells callers" },
      { name: "<ports...>", description: "tcp:PORT or udp:PORT" },
    ],
    summary: "answer on a pod's ports (started by lab run)",
    load: action("serve"),
  },
];
