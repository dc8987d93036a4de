/**
 * Host sides of pods' pairs: up, with Calico's MAC, and as wide as the pod's own side. CNI makes and
 * removes them, and gives both sides one MTU; of two that differ the wider one sends what the narrower
 * one drops without a word.
 */
import { IFF_NOARP, type Link } from "../../../ffi/route/link.ts";
import { Reconciler } from "../reconciler.ts";
import type { LinkTable } from "./link_table.ts";

export interface LinkState {
  readonly up: boolean;
  readonly mac: string;
  /** What somebody has set otherwise than CNI did, in words; never wanted. */
  readonly astray?: string;
}

export function linkState({ socket }: LinkTable, link: Link): LinkState {
  const inner = socket.otherSide(link);
  const astray = [
    inner && inner.mtu !== link.mtu ? `mtu ${link.mtu}, not the pod's ${inner.mtu}` : undefined,
    link.flags & IFF_NOARP ? "arp off" : undefined,
    link.masterIndex ? "part of a bridge" : undefined,
  ].filter((word) => word !== undefined).join(", ");
  return { up: link.up, mac: link.mac ?? "", astray: astray || undefined };
}

export function endpointLinks(links: LinkTable): Reconciler<LinkState> {
  const { socket } = links;
  return new Reconciler<LinkState>({
    name: "link",
    read: () => new Map(links.endpoints().map((link) => [link.name, linkState(links, link)])),
    same: (a, b) => a.up === b.up && a.mac === b.mac && a.astray === b.astray,
    put(name, { up, mac }, actual) {
      // Most are down and nothing else: how they are has just been seen.
      if (actual && !actual.astray) {
        return socket.setLink(name, { up, mac: actual.mac === mac ? undefined : mac });
      }
      const link = socket.link(name);
      const inner = link && socket.otherSide(link);
      socket.setLink(name, {
        up,
        // To set it, even to the same, forgets all neighbours.
        mac: link?.mac === mac ? undefined : mac,
        mtu: inner && inner.mtu !== link.mtu ? inner.mtu : undefined,
        arp: true,
        masterIndex: link?.masterIndex ? 0 : undefined,
      });
    },
    remove: () => {},
    // Interfaces come and go with their pods: CNI's business.
    ours: () => false,
  });
}
