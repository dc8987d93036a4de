/** Host sides of pods' pairs: up, with Calico's MAC. CNI makes and removes them. */
import type { Link } from "../../../ffi/route/link.ts";
import { Reconciler } from "../reconciler.ts";
import type { LinkTable } from "./link_table.ts";

export interface LinkState {
  readonly up: boolean;
  readonly mac: string;
}

export function linkState(link: Link): LinkState {
  return { up: link.up, mac: link.mac ?? "" };
}

export function endpointLinks(links: LinkTable): Reconciler<LinkState> {
  return new Reconciler<LinkState>({
    name: "link",
    read: () => new Map(links.endpoints().map((link) => [link.name, linkState(link)])),
    same: (a, b) => a.up === b.up && a.mac === b.mac,
    put: (name, { up, mac }) => links.socket.setLink(name, { up, mac }),
    remove: () => {},
    // Interfaces come and go with their pods: CNI's business.
    ours: () => false,
  });
}
