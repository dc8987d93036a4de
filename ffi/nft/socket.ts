/** nf_tables of the kernel: the client and the listener over netlink sockets. */
import { Connection } from "../netlink/connection.ts";
import { NETLINK_NETFILTER } from "../netlink/constants.ts";
import { NetlinkSocket } from "../netlink/socket.ts";
import { inNetns, type Netns } from "../netns.ts";
import { NftClient } from "./client.ts";
import { NFNLGRP_NFTABLES } from "./wire.ts";

/** Bytes of notifications that may wait: those of a commit of a hundred thousand elements. */
const eventBuffer = 64 << 20;

function within<T>(netns: Netns | undefined, open: () => T): T {
  return netns ? inNetns(netns, open) : open();
}

/** A client of the namespace, or of the one that this thread is in. */
export function openNftClient(netns?: Netns): NftClient {
  const socket = within(netns, () => new NetlinkSocket(NETLINK_NETFILTER));
  return new NftClient(new Connection(socket), {
    reserveSend: (bytes) => socket.reserveSend(bytes),
  });
}

/** A socket that hears of every commit in the namespace; its `fd` is for the reactor. */
export function openNftListener(netns?: Netns): NetlinkSocket {
  return within(netns, () =>
    new NetlinkSocket(NETLINK_NETFILTER, {
      groups: [NFNLGRP_NFTABLES],
      receiveBuffer: eventBuffer,
      sendBuffer: 4096,
    }));
}
