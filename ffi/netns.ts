/**
 * Network namespaces. setns(2) moves the calling thread alone, so a namespace is entered only for the
 * time of one synchronous function (`inNetns`), on the thread that runs JavaScript: a socket made
 * there belongs to the namespace for ever and is used from outside afterwards.
 *
 * The hazard that the rule avoids: an asynchronous operation or a nonblocking foreign call that is
 * *started* inside may make the runtime spawn a pool thread, which inherits the namespace, keeps it
 * alive and later serves unrelated work in it. So the function must not await, must not start
 * anything, and a returned promise is refused.
 *
 * Named namespaces are as `ip netns` makes them: a file under /run/netns on which the namespace is
 * mounted, so that it outlives the process.
 */

import { KernelError } from "./errors.ts";
import { closeFd, cString, errno, libc, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY } from "./libc.ts";
import { check } from "./libc.ts";
import { openFd } from "./file.ts";

const CLONE_NEWNET = 0x40000000;
const NS_GET_NSTYPE = 0xb703n;
const MS_BIND = 0x1000n, MS_REC = 0x4000n, MS_SHARED = 0x100000n;
const MNT_DETACH = 2;

/** Where named namespaces stand; /var/run is a link to /run. */
export const netnsDirectory = "/run/netns";

/** An open network namespace. It stays alive as long as this is not closed. */
export class Netns {
  #fd: number;

  private constructor(fd: number, readonly path: string) {
    this.#fd = fd;
  }

  /** The namespace of this thread, which is the process's unless within `inNetns`. */
  static current(): Netns {
    return Netns.open("/proc/thread-self/ns/net");
  }

  /**
   * By path (`/proc/1234/ns/net`, `/run/netns/blue`) or by the name of a named one. Throws KernelError:
   * ENOENT there is none, EINVAL it is not a network namespace.
   */
  static open(nameOrPath: string): Netns {
    const path = nameOrPath.includes("/") ? nameOrPath : `${netnsDirectory}/${nameOrPath}`;
    const operation = `open network namespace ${path}`;
    let fd: number;
    try {
      fd = openFd(path, O_RDONLY | O_NONBLOCK);
    } catch (error) {
      throw error instanceof KernelError ? error.during(operation) : error;
    }
    if (libc().ioctl(fd, NS_GET_NSTYPE, null) !== CLONE_NEWNET) {
      closeFd(fd);
      throw new KernelError(22, operation, { detail: "this is not a network namespace" });
    }
    return new Netns(fd, path);
  }

  /** Takes over a descriptor that is known to be a network namespace; `path` names it in errors. */
  static adopt(fd: number, path: string): Netns {
    return new Netns(fd, path);
  }

  /** The descriptor: for IFLA_NET_NS_FD. Throws EBADF after `close`. */
  get fd(): number {
    if (this.#fd < 0) throw new KernelError(9, `use network namespace ${this.path}`);
    return this.#fd;
  }

  /**
   * Device and inode, `4:4026531840`: the same for all names of one namespace, and never of two that
   * live. (The link in /proc/self/fd says `net:[…]` only where no name is mounted.)
   */
  get identity(): string {
    const { dev, ino } = Deno.statSync(`/proc/self/fd/${this.fd}`);
    return `${dev}:${ino}`;
  }

  close(): void {
    if (this.#fd >= 0) closeFd(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Namespaces that this thread has entered, outermost first; the first is where it belongs. */
const entered: Netns[] = [];

/**
 * Runs `work` in the namespace and comes back, also after an error. `work` must be synchronous and
 * must not start anything asynchronous (see above). May be nested. If the way back is barred, the
 * process ends: it must not go on in a foreign namespace.
 */
export function inNetns<T>(netns: Netns, work: () => T): T {
  if (entered.length === 0) entered.push(Netns.current());
  check(libc().setns(netns.fd, CLONE_NEWNET), `enter network namespace ${netns.path}`);
  entered.push(netns);
  let result: T;
  try {
    result = work();
  } finally {
    entered.pop();
    comeBack();
  }
  if (isThenable(result)) {
    throw new TypeError("the work within a network namespace must be synchronous");
  }
  return result;
}

function comeBack(): void {
  const back = entered[entered.length - 1];
  if (libc().setns(back.fd, CLONE_NEWNET) === 0) return;
  console.error(`cannot leave a network namespace (errno ${errno()}); ending the process`);
  Deno.exit(70);
}

function isThenable(value: unknown): boolean {
  return typeof value === "object" && value !== null && "then" in value &&
    typeof value.then === "function";
}

/**
 * Makes a named namespace, as `ip netns add`. Its loopback is down. Throws KernelError EEXIST if the
 * name is taken.
 */
export function createNetns(name: string): void {
  const path = pathOf(name);
  const operation = `create network namespace ${name}`;
  prepareDirectory(operation);
  closeFd(openAs(operation, () => openFd(path, O_RDONLY | O_CREAT | O_EXCL, 0)));
  if (entered.length === 0) entered.push(Netns.current());
  let mounted = false;
  try {
    check(libc().unshare(CLONE_NEWNET), operation);
    try {
      const none = cString("none");
      const source = cString("/proc/thread-self/ns/net");
      check(libc().mount(source, cString(path), none, MS_BIND, null), operation);
      mounted = true;
    } finally {
      comeBack();
    }
  } finally {
    if (!mounted) libc().unlink(cString(path));
  }
}

/** Removes a named namespace, as `ip netns del`; it ends when nothing uses it any more. */
export function deleteNetns(name: string): void {
  const path = cString(pathOf(name));
  const operation = `delete network namespace ${name}`;
  // EINVAL: the file is there but nothing is mounted on it, as a crash may leave it.
  if (libc().umount2(path, MNT_DETACH) < 0 && errno() !== 22) check(-1, operation);
  check(libc().unlink(path), operation);
}

/** The names of all named namespaces. */
export function listNetns(): string[] {
  try {
    return [...Deno.readDirSync(netnsDirectory)].map((entry) => entry.name).sort();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

function pathOf(name: string): string {
  if (name === "" || name === "." || name === ".." || /[/\0]/.test(name) || name.length > 255) {
    throw new KernelError(22, `use network namespace "${name}"`, {
      detail: "a name is a file name without slashes",
    });
  }
  return `${netnsDirectory}/${name}`;
}

function openAs<T>(operation: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw error instanceof KernelError ? error.during(operation) : error;
  }
}

/**
 * /run/netns must be a shared mount, so that a namespace mounted there is seen, and let go, by every
 * mount namespace of the machine. As ip-netns(8): share it; where it is no mount yet (EINVAL), bind it
 * onto itself first.
 */
function prepareDirectory(operation: string): void {
  const directory = cString(netnsDirectory), none = cString("none"), empty = cString("");
  libc().mkdir(directory, 0o755);
  for (let bound = false;; bound = true) {
    if (libc().mount(empty, directory, none, MS_SHARED | MS_REC, null) === 0) return;
    if (errno() !== 22 || bound) check(-1, operation);
    check(libc().mount(directory, directory, none, MS_BIND | MS_REC, null), operation);
  }
}
