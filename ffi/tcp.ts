/**
 * TCP in the reactor, for what Deno's own sockets cannot do: another network namespace, a source
 * address with a fixed port, TCP-MD5 signatures (RFC 2385), TTL security (RFC 5082), a device. The
 * namespace is that in which the socket is made; everything else works from anywhere.
 */
import { formatIp, type Ip } from "../mod/net/mod.ts";
import { acceptOn } from "./accept.ts";
import { readSocketAddress, socketAddress } from "./datagram.ts";
import { KernelError } from "./errors.ts";
import {
  AF_INET,
  AF_INET6,
  check,
  closeFd,
  cString,
  EINPROGRESS,
  EINTR,
  errno,
  intBytes,
  libc,
  setOption,
  SO_BINDTODEVICE,
  SO_REUSEADDR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./libc.ts";
import { inNetns, type Netns } from "./netns.ts";
import { reactor, socketError } from "./reactor.ts";
import { Stream } from "./stream.ts";

const IPPROTO_IP = 0, IPPROTO_TCP = 6, IPPROTO_IPV6 = 41;
const TCP_NODELAY = 1, TCP_MD5SIG = 14;
const IP_TTL = 2, IP_MINTTL = 21;
const IPV6_UNICAST_HOPS = 16, IPV6_V6ONLY = 26, IPV6_MINHOPCOUNT = 73;
const ETIMEDOUT = 110, ECANCELED = 125, ENOENT = 2;
/** struct tcp_md5sig: sockaddr_storage, flags, prefix length, key length, interface, key. */
const MD5_SIZE = 216, MD5_KEY_LENGTH_AT = 130, MD5_KEY_AT = 136, MD5_MAX_KEY = 80;

export interface Endpoint {
  readonly ip: Ip;
  readonly port: number;
}

export interface TcpOptions {
  readonly netns?: Netns;
  /** SO_BINDTODEVICE. */
  readonly device?: string;
  /** Time to live of what we send. */
  readonly ttl?: number;
  /** What arrives with less is dropped by the kernel. */
  readonly minTtl?: number;
}

export interface ConnectOptions extends TcpOptions {
  readonly remote: Endpoint;
  /** The address (and port, or 0) to call from. */
  readonly local?: Endpoint;
  /** TCP-MD5 key. */
  readonly md5?: string;
  /** Milliseconds; KernelError ETIMEDOUT after them. */
  readonly timeout?: number;
  /** Gives the attempt up: KernelError ECANCELED. */
  readonly signal?: AbortSignal;
}

const describe = ({ ip, port }: Endpoint) =>
  `${ip.family === 6 ? `[${formatIp(ip)}]` : formatIp(ip)}:${port}`;

/** A connected TCP socket. */
export class TcpStream extends Stream {
  readonly local: Endpoint;
  readonly remote: Endpoint;

  constructor(fd: number, name?: string) {
    const remote = endpointOf(fd, "getpeername");
    super(fd, name ?? describe(remote));
    this.remote = remote;
    this.local = endpointOf(fd, "getsockname");
  }

  /** From now on what arrives with a lesser TTL is dropped: for connections that were accepted. */
  setMinTtl(minTtl: number): void {
    const [level, option] = this.remote.ip.family === 4
      ? [IPPROTO_IP, IP_MINTTL]
      : [IPPROTO_IPV6, IPV6_MINHOPCOUNT];
    setOption(this.fd, level, option, minTtl, `set the least TTL from ${this.name}`);
  }
}

function endpointOf(fd: number, call: "getsockname" | "getpeername"): Endpoint {
  const bytes = new Uint8Array(28);
  check(libc()[call](fd, bytes, intBytes(bytes.length)), call);
  return readSocketAddress(bytes);
}

function makeSocket(family: 4 | 6, options: TcpOptions, operation: string): number {
  const domain = family === 4 ? AF_INET : AF_INET6;
  const type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const make = () => check(libc().socket(domain, type, 0), operation);
  const fd = options.netns ? inNetns(options.netns, make) : make();
  try {
    setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1, operation);
    if (options.device) {
      setOption(fd, SOL_SOCKET, SO_BINDTODEVICE, cString(options.device), operation);
    }
    const [level, ttl, minTtl] = family === 4
      ? [IPPROTO_IP, IP_TTL, IP_MINTTL]
      : [IPPROTO_IPV6, IPV6_UNICAST_HOPS, IPV6_MINHOPCOUNT];
    if (options.ttl !== undefined) setOption(fd, level, ttl, options.ttl, operation);
    if (options.minTtl !== undefined) setOption(fd, level, minTtl, options.minTtl, operation);
    return fd;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Sets the key for one peer; undefined takes it away. */
function setMd5(fd: number, peer: Ip, key: string | undefined, operation: string): void {
  const bytes = new Uint8Array(MD5_SIZE);
  bytes.set(socketAddress(peer, 0));
  const secret = new TextEncoder().encode(key ?? "");
  if (secret.length > MD5_MAX_KEY) {
    throw new KernelError(22, operation, { detail: `an MD5 key has at most ${MD5_MAX_KEY} bytes` });
  }
  new DataView(bytes.buffer).setUint16(MD5_KEY_LENGTH_AT, secret.length, true);
  bytes.set(secret, MD5_KEY_AT);
  const result = libc().setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, bytes, bytes.length);
  // Taking away a key that was not there is no failure.
  if (result < 0 && !(key === undefined && errno() === ENOENT)) check(result, operation);
}

/** Opens a connection. Throws KernelError: ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH and so on. */
export async function connectTcp(options: ConnectOptions): Promise<TcpStream> {
  const { remote, local, signal } = options;
  const operation = `connect to ${describe(remote)}`;
  const fd = makeSocket(remote.ip.family, options, operation);
  try {
    if (options.md5 !== undefined) setMd5(fd, remote.ip, options.md5, operation);
    if (local) {
      const at = socketAddress(local.ip, local.port);
      check(libc().bind(fd, at, at.length), `${operation} from ${describe(local)}`);
    }
    const to = socketAddress(remote.ip, remote.port);
    if (libc().connect(fd, to, to.length) < 0) {
      const reason = errno();
      if (reason !== EINPROGRESS && reason !== EINTR) throw new KernelError(reason, operation);
      const failed = await connected(fd, options.timeout, signal);
      if (failed) throw new KernelError(failed, operation);
    }
    return new TcpStream(fd);
  } catch (error) {
    closeFd(fd);
    throw error;
  }
}

/** Waits until the socket is connected; the errno of what went wrong, or 0. */
function connected(fd: number, timeout?: number, signal?: AbortSignal): Promise<number> {
  return new Promise((resolve) => {
    const end = (error: number) => {
      registration.close();
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      resolve(error);
    };
    const abort = () => end(ECANCELED);
    const registration = reactor().add(fd, { write: true }, () => end(socketError(fd)));
    const timer = timeout === undefined ? undefined : setTimeout(() => end(ETIMEDOUT), timeout);
    signal?.addEventListener("abort", abort);
    if (signal?.aborted) abort();
  });
}

export interface ListenOptions extends TcpOptions {
  readonly local: Endpoint;
  readonly backlog?: number;
}

export interface TcpListener {
  /** The port, where 0 was asked for. */
  readonly port: number;
  /** The key that connections from this peer must be signed with; undefined: none. */
  setMd5(peer: Ip, key: string | undefined): void;
  close(): void;
}

/** Listens; the unspecified address stands for all of its family (IPv6 alone, not both). */
export function listenTcp(
  options: ListenOptions,
  onConnection: (stream: TcpStream) => void,
): TcpListener {
  const { local } = options;
  const operation = `listen on ${describe(local)}`;
  const fd = makeSocket(local.ip.family, options, operation);
  let port: number;
  try {
    setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1, operation);
    if (local.ip.family === 6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1, operation);
    const at = socketAddress(local.ip, local.port);
    check(libc().bind(fd, at, at.length), operation);
    check(libc().listen(fd, options.backlog ?? 128), operation);
    port = endpointOf(fd, "getsockname").port;
  } catch (error) {
    closeFd(fd);
    throw error;
  }
  const accepting = acceptOn(fd, operation, reactor(), (client) => {
    let stream: TcpStream;
    try {
      stream = new TcpStream(client);
    } catch {
      closeFd(client); // gone before it could be asked who it was
      return;
    }
    onConnection(stream);
  });
  let closed = false;
  return {
    port,
    setMd5: (peer, key) => setMd5(fd, peer, key, `${operation}: set the key of ${formatIp(peer)}`),
    close() {
      if (closed) return;
      closed = true;
      accepting.close();
      closeFd(fd);
    },
  };
}
