/** `bgp peers`: the sessions of this machine's speaker, live. */
import { type Call, textOption } from "./command.ts";
import { EXIT, usageError } from "./io.ts";
import { askNode, type PeerStatus, sinceText } from "./node_api.ts";
import { tabbed } from "./tables.ts";

export async function run(call: Call): Promise<number> {
  const format = textOption(call, "output") ?? "ps";
  if (!["ps", "wide", "json"].includes(format)) {
    throw usageError(`-o ${format}: want ps, wide or json`);
  }
  const peers = await askNode<PeerStatus[]>(call, "bgp.peers");
  call.io.stdout(
    format === "json"
      ? `${JSON.stringify(peers, null, 2)}\n`
      : peersTable(peers, format === "wide", Date.now()),
  );
  return EXIT.ok;
}

/** The table; `now` is in milliseconds since 1970. */
export function peersTable(peers: readonly PeerStatus[], wide: boolean, now: number): string {
  const headings = ["PEER", "AS", "TYPE", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "SENT", "INFO"];
  const more = ["NAME", "LOCAL", "ROUTER-ID", "HOLD", "FAMILIES", "CAPABILITIES", "STALE"];
  const rows = peers.map((peer) => [
    peer.port === 179 ? peer.address : `${peer.address} port ${peer.port}`,
    String(peer.remoteAs),
    peer.internal ? "iBGP" : "eBGP",
    peer.state,
    sinceText(peer.since, now),
    String(peer.prefixes.received),
    String(peer.prefixes.accepted),
    String(peer.prefixes.sent),
    info(peer),
    ...(wide
      ? [
        peer.name,
        peer.localAddress ?? "",
        peer.routerId ?? "",
        peer.holdTime === undefined ? "" : `${peer.holdTime}s`,
        peer.families.join(","),
        peer.capabilities.join(", "),
        String(peer.prefixes.stale),
      ]
      : []),
  ]);
  return `${tabbed([wide ? [...headings, ...more] : headings, ...rows])}\n`;
}

function info(peer: PeerStatus): string {
  if (peer.configError) return `wrong configuration: ${peer.configError}`;
  if (peer.state === "Established") {
    return peer.malformed.count === 0
      ? ""
      : `${peer.malformed.count} malformed, last: ${peer.malformed.last ?? ""}`;
  }
  return peer.lastError ? `${peer.reason}; last error: ${peer.lastError.text}` : peer.reason;
}
