/**
 * Permanent neighbour entries, by `index address`: of each pod's address on its interface, so that
 * neither ARP nor neighbour discovery is needed towards a pod, and of each far tunnel address on a VXLAN device, where nobody
 * would answer. Entries that the kernel found out by itself are its own.
 */
import { NUD_PERMANENT } from "../../../ffi/route/neighbour.ts";
import type { Neighbour } from "../../../ffi/route/neighbour.ts";
import { formatIp, type Ip, mustIp } from "../../net/mod.ts";
import { Reconciler } from "../reconciler.ts";
import { gone } from "./gone.ts";
import type { LinkTable } from "./link_table.ts";

type IpNeighbour = Extract<Neighbour, { kind: "neighbour" }>;

export const neighbourKey = (index: number, ip: Ip | string): string =>
  `${index} ${typeof ip === "string" ? ip : formatIp(ip)}`;

function entryOf(key: string, mac?: string): IpNeighbour {
  const [index, ip] = key.split(" ");
  return { kind: "neighbour", index: Number(index), ip: mustIp(ip), mac };
}

/** Whether entries of this address stand where ours would. */
export function concernsNeighbours(links: LinkTable, { index, ip }: IpNeighbour): boolean {
  return links.isEndpoint(index)
    ? links.ipv6 || ip.family === 4
    : links.tunnelFamily(index) === ip.family;
}

/** The MAC of an entry that is ours to keep; undefined for what the kernel learned. */
export function permanentMac(entry: IpNeighbour): string | undefined {
  return (entry.state ?? NUD_PERMANENT) & NUD_PERMANENT ? entry.mac : undefined;
}

export function neighbours(links: LinkTable): Reconciler<string> {
  const { socket } = links;
  return new Reconciler<string>({
    name: "neighbour",
    read() {
      const mine = new Map<string, string>();
      for (const entry of socket.neighbours({ kind: "neighbour" })) {
        if (entry.kind !== "neighbour" || !concernsNeighbours(links, entry)) continue;
        const mac = permanentMac(entry);
        if (mac) mine.set(neighbourKey(entry.index, entry.ip), mac);
      }
      return mine;
    },
    same: (a, b) => a === b,
    put: (key, mac) => socket.replaceNeighbour(entryOf(key, mac)),
    remove: (key) => gone(() => socket.deleteNeighbour(entryOf(key))),
  });
}
