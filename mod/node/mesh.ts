/**
 * Calico's full mesh: every node with a BGP address peers with every other (confd's bird templates).
 * Of two nodes the one with the greater address, compared as text, waits to be called.
 */
import type { PeerConfig, SpeakerConfig } from "../../bgp/config.ts";
import { formatIp, type Ip, parseCidr, parseIp } from "../net/mod.ts";
import type { Node } from "../model/node.ts";
import type { NodeConfig } from "./config.ts";
import type { ClusterState } from "./state.ts";

export interface Peering {
  /** Absent where this node has no address to speak from. */
  readonly speaker?: SpeakerConfig;
  readonly peers: readonly PeerConfig[];
  readonly problems: readonly string[];
}

const DEFAULT_AS = 64512;

export function peering(state: ClusterState, config: NodeConfig): Peering {
  const own = state.nodes.get(config.nodeName);
  const address = addressOf(own);
  if (!own || !address) return { peers: [], problems: [] };
  const global = state.bgpConfigurations.get("default")?.spec;
  const local = state.bgpConfigurations.get(`node.${config.nodeName}`)?.spec;
  const defaultAs = Number(global?.asNumber ?? DEFAULT_AS);
  const asOf = (node: Node) => Number(node.spec.bgp?.asNumber ?? defaultAs);
  const port = config.bgpPort ?? local?.listenPort ?? global?.listenPort ?? 179;
  const speaker: SpeakerConfig = {
    as: asOf(own),
    routerId: parseIp(config.routerId) ?? address,
    listen: [{ family: 4, address, port }],
  };
  const peers: PeerConfig[] = [];
  if (global?.nodeToNodeMeshEnabled ?? true) {
    for (const [name, node] of state.nodes) {
      const theirs = addressOf(node);
      if (name === config.nodeName || !theirs) continue;
      peers.push({
        name: `Mesh_${formatIp(theirs).replaceAll(".", "_")}`,
        address: theirs,
        port,
        remoteAs: asOf(node),
        source: address,
        passive: formatIp(address) > formatIp(theirs),
        holdTime: config.bgpHoldTime,
        nextHop: "self",
      });
    }
  }
  return { speaker, peers, problems: [] };
}

function addressOf(node: Node | undefined): Ip | undefined {
  const text = node?.spec.bgp?.ipv4Address;
  return text === undefined ? undefined : parseCidr(text)?.ip;
}
