/**
 * Unix sockets that Deno's own cannot serve: a listener that knows who calls (SO_PEERCRED), and a
 * datagram to a socket (systemd's notify socket).
 */
import { acceptOn } from "./accept.ts";
import { KernelError } from "./errors.ts";
import {
  AF_UNIX,
  check,
  closeFd,
  errno,
  intBytes,
  libc,
  MSG_NOSIGNAL,
  SO_PEERCRED,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from "./libc.ts";
import { type Reactor, reactor } from "./reactor.ts";
import { Stream } from "./stream.ts";

const ENAMETOOLONG = 36;

/** sockaddr_un; a leading `@` means the abstract namespace. */
function address(path: string): Uint8Array<ArrayBuffer> {
  const name = new TextEncoder().encode(path);
  if (name.length > 107) {
    throw new KernelError(ENAMETOOLONG, `use the socket ${path}`, {
      detail: "a socket's path has at most 107 bytes",
    });
  }
  const abstract = path.startsWith("@");
  const bytes = new Uint8Array(2 + name.length + (abstract ? 0 : 1));
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  bytes.set(name, 2);
  if (abstract) bytes[2] = 0;
  return bytes;
}

/** getsockopt: a descriptor of the process that connected (Linux 6.5). */
const SO_PEERPIDFD = 77;
/** _IOWR(0xff, 11, struct pidfd_info of 64 bytes): how a process ended, told from Linux 6.15. */
const PIDFD_GET_INFO = 0xc040ff0bn;
const PIDFD_INFO_EXIT = 8n;
/** Milliseconds that a parent may take to collect its child's status. */
const REAPED_WITHIN = 250;

/** A client's connection, and whose process it is. */
export class UnixStream extends Stream {
  readonly peerPid: number;
  readonly peerUid: number;

  constructor(fd: number, name: string, within?: Reactor) {
    const cred = new Uint8Array(12);
    check(
      libc().getsockopt(fd, SOL_SOCKET, SO_PEERCRED, cred, intBytes(cred.length)),
      `ask who calls on ${name}`,
    );
    super(fd, name, within);
    const view = new DataView(cred.buffer);
    this.peerPid = view.getInt32(0, true);
    this.peerUid = view.getUint32(4, true);
  }

  /**
   * As a stream's; where the kernel tells how the peer's process ended, it must have ended by itself
   * and with success: one that was killed after it had read everything may not have passed it on.
   */
  override async peerClosed(): Promise<boolean> {
    const process = intBytes(-1);
    const known = libc().getsockopt(this.fd, SOL_SOCKET, SO_PEERPIDFD, process, intBytes(4)) === 0;
    const pidfd = known ? new DataView(process.buffer).getInt32(0, true) : -1;
    try {
      return await super.peerClosed() && await endedWell(pidfd);
    } finally {
      if (pidfd >= 0) closeFd(pidfd);
    }
  }
}

/** Did the process end with status 0? true where that cannot be told. */
async function endedWell(pidfd: number): Promise<boolean> {
  if (pidfd < 0) return true;
  const info = new Uint8Array(64);
  const view = new DataView(info.buffer);
  for (let waited = 0, pause = 1; waited < REAPED_WITHIN; waited += pause, pause *= 2) {
    info.fill(0);
    view.setBigUint64(0, PIDFD_INFO_EXIT, true);
    if (libc().ioctl(pidfd, PIDFD_GET_INFO, info) < 0) return true;
    if (view.getBigUint64(0, true) & PIDFD_INFO_EXIT) return view.getInt32(60, true) === 0;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return true;
}

export interface UnixListener {
  close(): void;
}

/**
 * Listens at a path, readable and writable for its owner alone. A socket file that a dead process
 * left behind is replaced; one on which somebody answers is KernelError EADDRINUSE. The socket gets
 * its name by a rename, so nobody ever finds it with other rights or with nobody listening.
 */
export function listenUnix(
  path: string,
  onConnection: (stream: UnixStream) => void,
  within: Reactor = reactor(),
): UnixListener {
  if (answers(path)) {
    throw new KernelError(98, `listen on ${path}`, { detail: "another process serves it" });
  }
  const c = libc();
  const part = `${path}.${Deno.pid}`;
  removeFile(part);
  const type = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const fd = check(c.socket(AF_UNIX, type, 0), `make the socket ${path}`);
  try {
    const at = address(part);
    check(c.bind(fd, at, at.length), `bind ${path}`);
    Deno.chmodSync(part, 0o600);
    check(c.listen(fd, 512), `listen on ${path}`);
    Deno.renameSync(part, path);
  } catch (error) {
    closeFd(fd);
    removeFile(part);
    throw error;
  }
  const accepting = acceptOn(fd, `listen on ${path}`, within, (client) => {
    let stream: UnixStream;
    try {
      stream = new UnixStream(client, `a client of ${path}`, within);
    } catch {
      closeFd(client); // who calls cannot be told, so it is not served
      return;
    }
    onConnection(stream);
  });
  const { ino } = Deno.statSync(path);
  return {
    close() {
      accepting.close();
      closeFd(fd);
      // A successor may have put its own socket there already.
      if (fileNumber(path) === ino) removeFile(path);
    },
  };
}

function answers(path: string): boolean {
  const fd = check(libc().socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "make a socket");
  try {
    const at = address(path);
    return libc().connect(fd, at, at.length) === 0;
  } finally {
    closeFd(fd);
  }
}

function fileNumber(path: string): number | null {
  try {
    return Deno.statSync(path).ino;
  } catch {
    return null;
  }
}

function removeFile(path: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/**
 * Holds a name in the abstract namespace of sockets, which each network namespace has of its own: one
 * process at a time, until it releases it or ends. undefined where another process holds it.
 */
export function holdName(name: string): { release(): void } | undefined {
  const EADDRINUSE = 98;
  const fd = check(libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), `hold the name ${name}`);
  const at = address(`@${name}`);
  if (libc().bind(fd, at, at.length) < 0) {
    const reason = errno();
    closeFd(fd);
    if (reason === EADDRINUSE) return undefined;
    throw new KernelError(reason, `hold the name ${name}`);
  }
  return { release: () => closeFd(fd) };
}

/** Sends one datagram, e.g. `READY=1` to systemd's NOTIFY_SOCKET. */
export function sendDatagram(path: string, text: string): void {
  const operation = `notify ${path}`;
  const fd = check(libc().socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), operation);
  try {
    const at = address(path);
    const bytes = new TextEncoder().encode(text);
    check(
      libc().sendto(fd, bytes, BigInt(bytes.length), MSG_NOSIGNAL, at, at.length),
      operation,
    );
  } finally {
    closeFd(fd);
  }
}
