/**
 * `node status`: what the node service of this machine does, asked of itself: peers as calicoctl
 * shows them, endpoints, blocks, and what could not be done, with the reason.
 */
import type { NodeStatus } from "../node/api.ts";
import { type Call, textOption } from "./command.ts";
import { EXIT, usageError } from "./io.ts";
import { askNode, sinceText } from "./node_api.ts";
import { boxed } from "./tables.ts";

export async function run(call: Call): Promise<number> {
  const format = textOption(call, "output") ?? "ps";
  if (!["ps", "json"].includes(format)) throw usageError(`-o ${format}: want ps or json`);
  const status = await askNode<NodeStatus>(call, "node.status");
  const text = call.program === "calicoctl" ? calicoctlStatusText : statusText;
  call.io.stdout(
    format === "json" ? `${JSON.stringify(status, null, 2)}\n` : text(status, Date.now()),
  );
  // calicoctl asks whether it runs, which it does.
  const well = status.ready && status.datastore.ok || call.program === "calicoctl";
  return well ? EXIT.ok : EXIT.failed;
}

const PEER_TYPES: Record<string, string> = {
  mesh: "node-to-node mesh",
  node: "node specific",
  global: "global",
};

/** As calicoctl says it, which scripts look for; what it does not tell follows. */
function calicoctlStatusText(status: NodeStatus, now: number): string {
  return `Calico process is running.\n${peersText(status, 4, now)}${peersText(status, 6, now)}\n` +
    headText(status) + restText(status, now);
}

/** The whole answer for people. `now` is in milliseconds since 1970. */
export function statusText(status: NodeStatus, now: number): string {
  return headText(status) + peersText(status, 4, now) + peersText(status, 6, now) +
    restText(status, now);
}

function headText({ node, pid, version, started, ready, datastore, memoryBytes }: NodeStatus) {
  return `The node service of ${node} is running${ready ? "" : ", but not ready yet"} ` +
    `(version ${version}, pid ${pid}, since ${started.slice(0, 19)}Z, ` +
    `${Math.round(memoryBytes / 1048576)} MiB).\n` +
    (datastore.ok ? "" : `The datastore is away: ${datastore.error ?? "no reason known"}\n`);
}

function restText(status: NodeStatus, now: number): string {
  const { errors, warnings } = status;
  const parts = [`\nEndpoints: ${status.endpoints.length}\n`];
  if (status.endpoints.length > 0) {
    parts.push(boxed([
      ["NAMESPACE", "WORKLOAD", "INTERFACE", "ADDRESSES", "STATE"],
      ...status.endpoints.map((e) => [
        e.namespace,
        e.workload,
        e.interface,
        e.addresses.join(", "),
        e.state,
      ]),
    ]));
  }
  parts.push(`\nBlocks: ${status.blocks.length === 0 ? "none" : status.blocks.join(", ")}\n`);
  parts.push(pathsText(status));
  const lastErrors = status.peers.flatMap(({ address, way, configError, lastError }) => {
    const who = way ? `peer ${address} (${way})` : `peer ${address}`;
    if (configError) return [`${who}: ${configError}`];
    return lastError ? [`${who}: ${lastError.text} (${sinceText(lastError.at, now)})`] : [];
  });
  parts.push(listText("Errors", errors), listText("Warnings", warnings));
  parts.push(listText("Last errors of peers", lastErrors));
  return parts.join("");
}

function peersText({ peers }: NodeStatus, family: 4 | 6, now: number): string {
  const own = peers.filter((peer) => peer.address.includes(":") === (family === 6));
  const title = `\nIPv${family} BGP status\n`;
  if (own.length === 0) return `${title}No IPv${family} peers found.\n`;
  return title + boxed([
    ["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"],
    ...own.map((peer) => [
      peer.address,
      PEER_TYPES[peer.type] ?? peer.type,
      peer.state === "Established" ? "up" : "start",
      sinceText(peer.since, now),
      peer.state === "Established" ? peer.state : `${peer.state} ${peer.reason}`.trim(),
    ]),
  ]);
}

/** `?.`: a service of an older version answers without paths. */
function pathsText({ paths }: NodeStatus): string {
  if (!paths?.length) return "";
  return "\nPaths to other nodes (bytes of a packet)\n" + boxed([
    ["NODE", "ADDRESS", "CONFIGURED MTU", "PATH MTU", "VERDICT"],
    ...paths.map((p) => [
      p.node,
      p.address,
      `${p.configuredMtu}`,
      p.pathMtu === undefined ? "unknown" : `${p.pathMtu}`,
      p.verdict,
    ]),
  ]);
}

function listText(title: string, lines: readonly string[]): string {
  return lines.length === 0 ? "" : `\n${title}:\n${lines.map((line) => `  ${line}\n`).join("")}`;
}
