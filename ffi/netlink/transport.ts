/**
 * What carries netlink datagrams: the kernel's socket (`socket.ts`) or a fake kernel in the same
 * process (`fake.ts`). Netlink's kernel side works in the sender's own system call: when `send` comes
 * back, the work is done and its answers (of a dump: the first of them) wait to be received.
 */

import type { Bytes } from "./encoder.ts";

export interface Transport {
  /** Hands over one datagram of one or more messages. Throws KernelError. */
  send(datagram: Bytes): void;
  /**
   * As send, but waits on another thread, for what takes the kernel milliseconds (deleting a link,
   * a big nf_tables transaction). The datagram must stay as it is until then.
   */
  sendAsync(datagram: Bytes): Promise<void>;
  /**
   * The next datagram, as a view that stays valid until the next call; undefined if there is none
   * (`wait` false) or none came within seconds (`wait` true). Throws KernelError with code ENOBUFS
   * once when the kernel had to drop datagrams; those that it kept can be received afterwards.
   */
  receive(wait: boolean): Uint8Array | undefined;
  close(): void;
}
