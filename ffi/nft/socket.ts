/** nf_tables of the kernel: the client and the listener over netlink sockets. */
import { Connection } from "../netlink/connection.ts";
import { setOption } from "../libc.ts";
import {
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_DROP_MEMBERSHIP,
  NETLINK_NETFILTER,
  SOL_NETLINK,
} from "../netlink/constants.ts";
import { NetlinkSocket } from "../netlink/socket.ts";
import { inNetns, type Netns } from "../netns.ts";
import { NftClient } from "./client.ts";
import type { NftListener } from "./events.ts";
import { NFNLGRP_NFTABLES } from "./wire.ts";

/** Bytes of notifications that may wait: a commit of several thousand objects by another. */
const eventBuffer = 16 << 20;

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

/** A socket that hears of every commit in its namespace; its `fd` is for the reactor. */
class ListeningSocket extends NetlinkSocket implements NftListener {
  constructor() {
    super(NETLINK_NETFILTER, { receiveBuffer: eventBuffer, sendBuffer: 4096 });
    this.join();
  }

  join(): void {
    this.#member(NETLINK_ADD_MEMBERSHIP, "hear of nf_tables");
  }

  leave(): void {
    this.#member(NETLINK_DROP_MEMBERSHIP, "hear no more of nf_tables");
  }

  #member(option: number, operation: string): void {
    setOption(this.fd, SOL_NETLINK, option, NFNLGRP_NFTABLES, operation);
  }
}

/** A socket that hears of every commit in the namespace, or in the one that this thread is in. */
export function openNftListener(netns?: Netns): ListeningSocket {
  return within(netns, () => new ListeningSocket());
}
