/**
 * UDP and raw IP sockets in the reactor, in any network namespace: what the lab probes with (UDP,
 * ICMP echo). A socket is made inside the namespace and used from anywhere.
 */
import { formatIp, type Ip } from "../mod/net/mod.ts";
import { KernelError } from "./errors.ts";
import {
  AF_INET,
  AF_INET6,
  check,
  closeFd,
  cString,
  EAGAIN,
  EINTR,
  errno,
  intBytes,
  libc,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  setOption,
  SO_BINDTODEVICE,
  SO_RCVBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOL_SOCKET,
} from "./libc.ts";
import { inNetns, type Netns } from "./netns.ts";
import { reactor, type Registration } from "./reactor.ts";

const IPPROTO_IP = 0, IP_MTU_DISCOVER = 10, IP_PMTUDISC_PROBE = 3;
const IPPROTO_IPV6 = 41, IPV6_UNICAST_HOPS = 16, IPV6_MTU_DISCOVER = 23, IPV6_V6ONLY = 26;

/** sockaddr_in or sockaddr_in6. */
export function socketAddress(ip: Ip, port: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(ip.family === 4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, ip.family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, port, false);
  bytes.set(ip.bytes, ip.family === 4 ? 4 : 8);
  return bytes;
}

/** The address and port of a sockaddr that the kernel filled in. */
export function readSocketAddress(bytes: Uint8Array): { ip: Ip; port: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const v6 = view.getUint16(0, true) === AF_INET6;
  return {
    ip: v6 ? { family: 6, bytes: bytes.slice(8, 24) } : { family: 4, bytes: bytes.slice(4, 8) },
    port: view.getUint16(2, false),
  };
}

export interface DatagramOptions {
  readonly family: 4 | 6;
  /** An IP protocol number makes a raw socket; absent: UDP. */
  readonly protocol?: number;
  readonly netns?: Netns;
  /** Bound to this address and port; absent: the kernel's choice when something is sent. */
  readonly local?: { readonly ip: Ip; readonly port: number };
  /**
   * What is sent is never fragmented, here or on the way, whatever is known of the path (ip(7),
   * IP_PMTUDISC_PROBE): what does not fit the interface is refused, what does not fit the path is lost.
   */
  readonly dontFragment?: boolean;
  /** Bytes of the receive buffer. */
  readonly receiveBuffer?: number;
  /** SO_BINDTODEVICE; link-local addresses need it. */
  readonly device?: string;
  /** Of IPv6 packets to one host. */
  readonly hopLimit?: number;
}

export interface Datagram {
  readonly ip: Ip;
  readonly port: number;
  /** A copy. Of a raw IPv4 socket with the IP header in front. */
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export class DatagramSocket {
  readonly #fd: number;
  readonly #registration: Registration;
  readonly #buffer = new Uint8Array(65536);
  #closed = false;

  /** Calls `onDatagram` for each that comes; errors of ICMP answers (refused) are passed over. */
  constructor(options: DatagramOptions, onDatagram: (datagram: Datagram) => void) {
    const domain = options.family === 4 ? AF_INET : AF_INET6;
    const type = (options.protocol === undefined ? SOCK_DGRAM : SOCK_RAW) | SOCK_CLOEXEC |
      SOCK_NONBLOCK;
    const make = () =>
      check(libc().socket(domain, type, options.protocol ?? 0), "make a datagram socket");
    this.#fd = options.netns ? inNetns(options.netns, make) : make();
    try {
      if (options.receiveBuffer) {
        libc().setsockopt(
          this.#fd,
          SOL_SOCKET,
          SO_RCVBUFFORCE,
          intBytes(options.receiveBuffer),
          4,
        );
      }
      if (options.device !== undefined) {
        const name = cString(options.device);
        setOption(this.#fd, SOL_SOCKET, SO_BINDTODEVICE, name, `bind to ${options.device}`);
      }
      if (options.hopLimit !== undefined) {
        setOption(this.#fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, options.hopLimit, "set the hop limit");
      }
      if (options.dontFragment) {
        const [level, option] = options.family === 4
          ? [IPPROTO_IP, IP_MTU_DISCOVER]
          : [IPPROTO_IPV6, IPV6_MTU_DISCOVER];
        setOption(this.#fd, level, option, IP_PMTUDISC_PROBE, "send what must not be fragmented");
      }
      if (options.local) {
        const { ip, port } = options.local;
        // The unspecified address stands for its own family alone; raw sockets have no such option.
        if (ip.family === 6 && options.protocol === undefined) {
          setOption(this.#fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, "bind");
        }
        const at = socketAddress(ip, port);
        check(libc().bind(this.#fd, at, at.length), `bind ${formatIp(ip)} port ${port}`);
      }
    } catch (error) {
      closeFd(this.#fd);
      throw error;
    }
    this.#registration = reactor().add(this.#fd, { read: true }, () => this.#receive(onDatagram));
  }

  #receive(onDatagram: (datagram: Datagram) => void): void {
    const from = new Uint8Array(28);
    for (let i = 0; i < 64 && !this.#closed; i++) {
      const n = libc().recvfrom(
        this.#fd,
        this.#buffer,
        BigInt(this.#buffer.length),
        MSG_DONTWAIT,
        from,
        intBytes(from.length),
      );
      if (n < 0) {
        const reason = errno();
        if (reason === EAGAIN) return;
        continue; // EINTR, or an ICMP error of something sent before: the next one may be a datagram
      }
      onDatagram({ ...readSocketAddress(from), bytes: this.#buffer.slice(0, n) });
    }
  }

  /** Sends one datagram; false where the kernel has no room or no way now. */
  send(ip: Ip, port: number, bytes: Uint8Array<ArrayBuffer>): boolean {
    if (this.#closed) throw new KernelError(9, `send to ${formatIp(ip)}`);
    const to = socketAddress(ip, port);
    for (;;) {
      const length = BigInt(bytes.length);
      if (libc().sendto(this.#fd, bytes, length, MSG_NOSIGNAL, to, to.length) >= 0) return true;
      if (errno() !== EINTR) return false;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#registration.close();
    closeFd(this.#fd);
  }
}
