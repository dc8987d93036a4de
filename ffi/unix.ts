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
