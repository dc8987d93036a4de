/**
 * The kernel's end of netlink: a Transport over a netlink socket. libnl opens and sends; receiving is
 * recv(2) on its descriptor into one buffer of ours, which spares a copy and an allocation for each
 * datagram. Without libnl the same is done by plain system calls.
 *
 * A socket belongs to the network namespace of the thread that made it, for ever; so a socket for a
 * pod is made within `inNetns` and works from anywhere afterwards.
 *
 * Options set on every socket: extended acknowledgements with the request cut to its header, strict
 * checking (without it the kernel ignores dump filters), and forced buffers, since the defaults lose
 * answers (netlink(7), ENOBUFS) and refuse big transactions (EMSGSIZE).
 */

import { KernelError } from "../errors.ts";
import {
  AF_NETLINK,
  check,
  closeFd,
  errno,
  intBytes,
  libc,
  MSG_DONTWAIT,
  MSG_TRUNC,
  setOption,
  SO_RCVBUF,
  SO_RCVBUFFORCE,
  SO_RCVTIMEO,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_RAW,
  SOL_SOCKET,
} from "../libc.ts";
import { type Libnl, libnl, libnlText } from "../libnl.ts";
import {
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  SOL_NETLINK,
} from "./constants.ts";
import { Connection } from "./connection.ts";
import type { Bytes } from "./encoder.ts";
import type { Transport } from "./transport.ts";

const EAGAIN = 11, EINTR = 4, EIO = 5;
/** More than the kernel puts into one datagram (32 KiB of a dump; a request echoed back: 64 KiB). */
const receiveCapacity = 1 << 17;
/** Buffers of closed sockets: a pod's socket lives for a millisecond. */
const spareBuffers: Bytes[] = [];
/** How long `receive(true)` waits. The kernel answers within send(2); this only ends the impossible. */
const receiveSeconds = 5;

export interface NetlinkSocketOptions {
  /** Multicast groups to join, by number (RTNLGRP_…). */
  readonly groups?: readonly number[];
  /** Bytes of the receive buffer; forced beyond the system's limit where we may. Default 4 MiB. */
  readonly receiveBuffer?: number;
  /** Bytes of the send buffer, which bounds one datagram. Default 1 MiB. */
  readonly sendBuffer?: number;
  /** NETLINK_GET_STRICT_CHK. Default true. */
  readonly strict?: boolean;
  /** NETLINK_CAP_ACK: refusals carry the request's header only. Default true. */
  readonly capAck?: boolean;
}

export class NetlinkSocket implements Transport {
  readonly #buffer: Bytes = spareBuffers.pop() ?? new Uint8Array(receiveCapacity);
  readonly #carrier: Carrier;
  #sendBuffer: number;
  #closed = false;
  /** Datagrams on other threads: the socket must outlive them. */
  #underWay = 0;

  /** @param protocol NETLINK_ROUTE, NETLINK_NETFILTER */
  constructor(protocol: number, options: NetlinkSocketOptions = {}) {
    const library = libnl();
    this.#carrier = library ? libnlCarrier(library, protocol) : plainCarrier(protocol);
    this.#sendBuffer = options.sendBuffer ?? 1 << 20;
    try {
      const fd = this.fd;
      const on = (option: number, what: string) => setOption(fd, SOL_NETLINK, option, 1, what);
      on(NETLINK_EXT_ACK, "ask netlink for extended errors");
      if (options.capAck ?? true) on(NETLINK_CAP_ACK, "ask netlink for short errors");
      if (options.strict ?? true) {
        // Kernels before 4.20 do not know it; there, dumps are filtered on our side alone.
        libc().setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, intBytes(1), 4);
      }
      forceBuffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, options.receiveBuffer ?? 4 << 20);
      forceBuffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, this.#sendBuffer);
      const time = new Uint8Array(new BigInt64Array([BigInt(receiveSeconds), 0n]).buffer);
      setOption(fd, SOL_SOCKET, SO_RCVTIMEO, time, "bound netlink's waiting");
      for (const group of options.groups ?? []) {
        setOption(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group, `join netlink group ${group}`);
      }
    } catch (error) {
      this.#carrier.close();
      throw error;
    }
  }

  /** For the reactor. */
  get fd(): number {
    return this.#carrier.fd;
  }

  /** Our port id, the sender's address that notifications of our changes carry. */
  get port(): number {
    const address = new Uint8Array(12), length = intBytes(12);
    check(libc().getsockname(this.fd, address, length), "read a netlink socket's address");
    return new DataView(address.buffer).getUint32(4, true);
  }

  /** Makes room for one datagram of so many bytes. The kernel counts its own bookkeeping too. */
  reserveSend(bytes: number): void {
    const need = bytes + (bytes >> 2) + 65536;
    if (need <= this.#sendBuffer) return;
    this.#sendBuffer = need;
    forceBuffer(this.fd, SO_SNDBUFFORCE, SO_SNDBUF, need);
  }

  send(datagram: Bytes): void {
    if (this.#closed) throw new KernelError(9, "send netlink messages");
    this.#carrier.send(datagram);
  }

  async sendAsync(datagram: Bytes): Promise<void> {
    if (this.#closed) throw new KernelError(9, "send netlink messages");
    this.#underWay++;
    try {
      const sent = await this.#carrier.sendAsync(datagram);
      // Refused as a whole (too long, no memory), so nothing was done: the same once more, on this
      // thread, tells why.
      if (sent < 0) this.#carrier.send(datagram);
    } finally {
      this.#underWay--;
      if (this.#closed && this.#underWay === 0) this.#carrier.close();
    }
  }

  receive(wait: boolean): Uint8Array | undefined {
    if (this.#closed) throw new KernelError(9, "receive netlink answers");
    const flags = MSG_TRUNC | (wait ? 0 : MSG_DONTWAIT);
    while (true) {
      const length = libc().recv(this.fd, this.#buffer, BigInt(this.#buffer.length), flags);
      if (length >= 0) {
        if (length <= this.#buffer.length) return this.#buffer.subarray(0, length);
        // Cut off, so as good as lost: the reader starts again.
        throw new KernelError(105, "receive netlink answers", {
          detail: `an answer of ${length} bytes is too long`,
        });
      }
      const reason = errno();
      if (reason === EINTR) continue;
      if (reason === EAGAIN) return undefined;
      throw new KernelError(reason, "receive netlink answers");
    }
  }

  /** Idempotent. A datagram that another thread is still sending is waited for. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (spareBuffers.length < 4) spareBuffers.push(this.#buffer);
    if (this.#underWay === 0) this.#carrier.close();
  }
}

/** Opens a conversation with the kernel in the namespace of the calling thread. */
export function openConnection(protocol: number, options?: NetlinkSocketOptions): Connection {
  return new Connection(new NetlinkSocket(protocol, options));
}

/** What libnl and plain system calls do differently. */
interface Carrier {
  readonly fd: number;
  send(datagram: Bytes): void;
  /** Negative where nothing was sent. Why stays on the other thread. */
  sendAsync(datagram: Bytes): Promise<number>;
  close(): void;
}

function libnlCarrier(library: Libnl, protocol: number): Carrier {
  const { calls } = library;
  const operation = "open a netlink socket";
  const socket = calls.nl_socket_alloc();
  if (!socket) throw new KernelError(12, operation);
  const code = calls.nl_connect(socket, protocol);
  if (code < 0) {
    const reason = errno() || EIO;
    calls.nl_socket_free(socket);
    throw new KernelError(reason, operation, { detail: `libnl: ${libnlText(library, code)}` });
  }
  return {
    fd: calls.nl_socket_get_fd(socket),
    send(datagram) {
      if (calls.nl_sendto(socket, datagram, BigInt(datagram.length)) < 0) {
        throw new KernelError(errno(), "send netlink messages");
      }
    },
    sendAsync: (datagram) => calls.sendAsync(socket, datagram, BigInt(datagram.length)),
    close: () => calls.nl_socket_free(socket),
  };
}

function plainCarrier(protocol: number): Carrier {
  const operation = "open a netlink socket";
  const fd = check(libc().socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), operation);
  // sockaddr_nl with port id 0: the kernel chooses one.
  const address = new Uint8Array(12);
  new DataView(address.buffer).setUint16(0, AF_NETLINK, true);
  if (libc().bind(fd, address, address.length) < 0) {
    const reason = errno();
    closeFd(fd);
    throw new KernelError(reason, operation);
  }
  return {
    fd,
    send(datagram) {
      check(libc().send(fd, datagram, BigInt(datagram.length), 0), "send netlink messages");
    },
    sendAsync: (datagram) => libc().sendAsync(fd, datagram, BigInt(datagram.length), 0),
    close: () => closeFd(fd),
  };
}

/** The forced option needs CAP_NET_ADMIN over the machine; without it, as much as the system allows. */
function forceBuffer(fd: number, forced: number, polite: number, bytes: number): void {
  if (libc().setsockopt(fd, SOL_SOCKET, forced, intBytes(bytes), 4) < 0) {
    libc().setsockopt(fd, SOL_SOCKET, polite, intBytes(bytes), 4);
  }
}
