/**
 * Forwarding entries of the VXLAN devices, by `index MAC`: frames for this MAC go to this host. The
 * devices learn nothing; every entry with a destination is ours, and one that no node stands behind
 * goes, so that nothing is sent to where a node was before.
 */
import type { Neighbour } from "../../../ffi/route/neighbour.ts";
import { NUD_NOARP, NUD_PERMANENT } from "../../../ffi/route/neighbour.ts";
import { formatIp, mustIp } from "../../net/mod.ts";
import { Reconciler } from "../reconciler.ts";
import { gone } from "./gone.ts";
import type { LinkTable } from "./link_table.ts";

type ForwardingEntry = Extract<Neighbour, { kind: "fdb" }>;

export const forwardingKey = (index: number, mac: string): string => `${index} ${mac}`;

/**
 * The host of an entry that stands for good. With another port, VNI or interface than the device's own
 * it is no entry that any node is reached by, and reads otherwise.
 */
export function forwardingHost(entry: ForwardingEntry): string | undefined {
  const { state = NUD_PERMANENT, ip, port, vni, viaIndex } = entry;
  if (!ip || !(state & (NUD_PERMANENT | NUD_NOARP))) return undefined;
  const astray = Object.entries({ port, vni, viaIndex }).filter(([, value]) => value !== undefined);
  return [formatIp(ip), ...astray.map(([name, value]) => `${name} ${value}`)].join(" ");
}

function entryOf(key: string, host?: string): ForwardingEntry {
  const [index, mac] = key.split(" ");
  return { kind: "fdb", index: Number(index), mac, ip: host ? mustIp(host) : undefined };
}

export function forwarding(links: LinkTable): Reconciler<string> {
  const { socket } = links;
  return new Reconciler<string>({
    name: "forwarding entry",
    read() {
      const mine = new Map<string, string>();
      for (const { link } of links.tunnels()) {
        for (const entry of socket.neighbours({ kind: "fdb", index: link.index })) {
          if (entry.kind !== "fdb") continue;
          const host = forwardingHost(entry);
          if (host) mine.set(forwardingKey(entry.index, entry.mac), host);
        }
      }
      return mine;
    },
    same: (a, b) => a === b,
    put(key, host, actual) {
      // A replacement that does not name them leaves port, VNI and interface as they are.
      if (actual?.includes(" ")) gone(() => socket.deleteNeighbour(entryOf(key)));
      socket.replaceNeighbour(entryOf(key, host));
    },
    // Without a host: all destinations that a MAC has been given go at once.
    remove: (key) => gone(() => socket.deleteNeighbour(entryOf(key))),
  });
}
