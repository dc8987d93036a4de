/** The dataplane on the kernel: sockets, and the reactor that wakes it when others commit. */
import { NftEvents } from "../../../ffi/nft/events.ts";
import { openNftClient, openNftListener } from "../../../ffi/nft/socket.ts";
import type { Netns } from "../../../ffi/netns.ts";
import { reactor } from "../../../ffi/reactor.ts";
import { type DataplaneOptions, NftDataplane } from "./dataplane.ts";

/**
 * Opens the dataplane of a namespace (default: this process's). Nothing is changed before the first
 * `apply` or `update`. While it is open it keeps the process alive.
 */
export function openNftDataplane(
  options: DataplaneOptions & { readonly netns?: Netns } = {},
): NftDataplane {
  const client = openNftClient(options.netns);
  const listener = openNftListener(options.netns);
  const dataplane: NftDataplane = new NftDataplane(client, new NftEvents(listener), {
    keepTracking: true,
    ...options,
    onClose: () => {
      registration.close();
      options.onClose?.();
    },
  });
  const registration = reactor().add(listener.fd, { read: true }, () => dataplane.heard());
  return dataplane;
}
