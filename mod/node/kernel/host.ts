/** The host's interfaces and addresses, for the choice of the node's own (`autodetect.ts`). */
import { type Ip, prefixContains, prefixOf } from "../../net/mod.ts";
import type { Host, HostInterface } from "../autodetect.ts";
import { type KernelPath, resolveByOthers } from "../next_hops.ts";
import type { LinkTable } from "./link_table.ts";

export function readHost(links: LinkTable, paths: () => readonly KernelPath[]): Host {
  const { socket } = links;
  links.read();
  const interfaces = new Map<number, HostInterface>();
  for (const link of links.all().sort((a, b) => a.index - b.index)) {
    const { name, up, mtu } = link;
    interfaces.set(link.index, { name, up, mtu, addresses: [] });
  }
  for (const { index, ip, length } of socket.addresses()) {
    interfaces.get(index)?.addresses.push({ ip, length });
  }
  const sourceTowards = (destination: Ip): Ip | undefined => {
    const hop = resolveByOthers(paths(), destination);
    if (!hop?.gateway) return undefined;
    return socket.addresses().find((a) =>
      a.index === hop.oif && a.ip.family === destination.family &&
      prefixContains(prefixOf(a.ip, a.length), hop.gateway!)
    )?.ip;
  };
  return { interfaces: [...interfaces.values()], sourceTowards };
}
