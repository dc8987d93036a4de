/**
 * What others (and we) commit, as the kernel tells it on the multicast group NFNLGRP_NFTABLES: one
 * message for each object that was made or deleted, then NEWGEN with the new generation. The header
 * of each carries the port id of the socket that committed: so our own commits are known for what
 * they are. (The process id in NEWGEN is that of a thread, and useless for it.)
 *
 * The kernel queues a commit's notifications before it lets the next batch in; so whoever is refused
 * for a stale generation finds the reason already waiting here.
 */
import { isKernelError } from "../errors.ts";
import { MessageCursor } from "../netlink/decoder.ts";
import type { Transport } from "../netlink/transport.ts";
import { getSubject } from "./objects.ts";
import { NFGENMSG, NFT_MSG_NEWGEN, type NftFamily } from "./wire.ts";

/** Called for what is read. */
export interface NftEventHandler {
  /** A commit by `port` changed something in this table. Once for each message. */
  changed(family: NftFamily, table: string, port: number): void;
  /** A commit by `port` is complete. */
  committed(generation: number, port: number, program: string): void;
  /** Notifications were lost: anything may have changed. */
  lost(): void;
}

/** A socket that has joined NFNLGRP_NFTABLES, and can leave it and join it again. */
export interface NftListener extends Transport {
  leave(): void;
  join(): void;
}

export class NftEvents {
  readonly #transport: NftListener;
  readonly #message = new MessageCursor();

  constructor(transport: NftListener) {
    this.#transport = transport;
  }

  /**
   * Runs work of which nothing is to be heard. As long as somebody listens, the kernel makes a message
   * for every object of a commit, four KiB each: a commit of a hundred thousand elements takes ten
   * times as long. What others commit meanwhile is not heard of either: the caller must compare
   * generations.
   */
  async deaf<T>(work: () => Promise<T>): Promise<T> {
    this.#transport.leave();
    try {
      return await work();
    } finally {
      this.#transport.join();
    }
  }

  /**
   * Reads what waits, without waiting. What the socket of `ownPort` committed is passed over, but for
   * its end.
   */
  drain(ownPort: number, handler: NftEventHandler): void {
    while (true) {
      let datagram: Uint8Array | undefined;
      try {
        datagram = this.#transport.receive(false);
      } catch (error) {
        if (!isKernelError(error, "ENOBUFS")) throw error;
        handler.lost();
        continue;
      }
      if (!datagram) return;
      const message = this.#message.aim(datagram);
      while (message.next()) {
        if (message.type === NFT_MSG_NEWGEN) this.#generation(handler);
        else if (message.port !== ownPort) {
          const { family, table } = getSubject(message);
          if (family) handler.changed(family, table, message.port);
        }
      }
    }
  }

  close(): void {
    this.#transport.close();
  }

  #generation(handler: NftEventHandler): void {
    let generation = 0, program = "";
    for (const a = this.#message.attributes(NFGENMSG); a.next();) {
      if (a.type === 1) generation = a.be32();
      else if (a.type === 3) program = a.string();
    }
    handler.committed(generation, this.#message.port, program);
  }
}
