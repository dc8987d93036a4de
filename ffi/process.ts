/**
 * Starting other processes: for the lab alone, which starts copies of its own executable and what the
 * user typed: the command behind `lab exec`, the BIRD of a mesh member. posix_spawn makes the child in the network namespace in which the
 * calling thread is, so a namespace is a matter of `inNetns`.
 *
 * A process is known by its pid together with its start time: a pid alone may be somebody else's by
 * the time a signal is sent.
 */
import { KernelError } from "./errors.ts";
import { openFd, readText } from "./file.ts";
import { check, closeFd, cString, libc, O_RDWR } from "./libc.ts";
import { inNetns, type Netns } from "./netns.ts";
import { reactor } from "./reactor.ts";

const SPAWN_SETSIGDEF = 0x04, SPAWN_SETSIGMASK = 0x08, SPAWN_SETSID = 0x80;
/** sigset_t; signal 1 is its first bit. */
const SIGSET_SIZE = 128;
const SYS_PIDFD_OPEN = 434n;
const WNOHANG = 1;
const ESRCH = 3;

export interface SpawnOptions {
  /** Absolute path of the executable. */
  readonly path: string;
  /** argv, the name included. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly netns?: Netns;
  /** Working directory; absent: ours. */
  readonly cwd?: string;
  /** Descriptors to become 0, 1 and 2; absent: /dev/null. */
  readonly stdin?: number;
  readonly stdout?: number;
  readonly stderr?: number;
  /** A session of its own: it outlives our terminal. */
  readonly detached?: boolean;
}

/** A process as it can be found again. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after boot; field 22 of /proc/<pid>/stat. */
  readonly startTime: string;
}

/** A pointer array ended by a null, and the strings that it points to. */
function pointers(words: readonly string[]): { array: Uint8Array<ArrayBuffer>; keep: unknown } {
  const keep = words.map(cString);
  const addresses = new BigUint64Array(words.length + 1);
  keep.forEach((word, i) => {
    addresses[i] = BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(word)));
  });
  return { array: new Uint8Array(addresses.buffer), keep };
}

/** Starts a process; its pid. Whoever started it should `wait` for it. */
export function spawn(options: SpawnOptions): number {
  const c = libc();
  // Larger than any libc's own structures.
  const actions = new Uint8Array(512), attributes = new Uint8Array(1024);
  const argv = pointers(options.argv);
  const env = pointers(Object.entries(options.env).map(([name, value]) => `${name}=${value}`));
  const pid = new Uint8Array(4);
  const nothing = openFd("/dev/null", O_RDWR);
  c.posix_spawn_file_actions_init(actions);
  c.posix_spawnattr_init(attributes);
  try {
    [options.stdin, options.stdout, options.stderr].forEach((fd, i) =>
      c.posix_spawn_file_actions_adddup2(actions, fd ?? nothing, i)
    );
    if (options.cwd !== undefined) {
      const chdir = c.posix_spawn_file_actions_addchdir_np;
      if (!chdir) {
        throw new KernelError(38, `start ${options.path} in ${options.cwd}`, {
          detail: "a working directory needs glibc 2.29",
        });
      }
      chdir(actions, cString(options.cwd));
    }
    // What we inherited without asking (a pipe of a shell script, say) is not the child's to hold open.
    c.posix_spawn_file_actions_addclosefrom_np?.(actions, 3);
    // The runtime ignores SIGPIPE; a program expects every signal as it comes.
    c.posix_spawnattr_setsigdefault(attributes, new Uint8Array(SIGSET_SIZE).fill(0xff, 0, 4));
    c.posix_spawnattr_setsigmask(attributes, new Uint8Array(SIGSET_SIZE));
    c.posix_spawnattr_setflags(
      attributes,
      SPAWN_SETSIGDEF | SPAWN_SETSIGMASK | (options.detached ? SPAWN_SETSID : 0),
    );
    const start = () =>
      c.posix_spawn(pid, cString(options.path), actions, attributes, argv.array, env.array);
    const error = options.netns ? inNetns(options.netns, start) : start();
    if (error !== 0) throw new KernelError(error, `start ${options.path}`);
    void argv.keep, void env.keep;
    return new DataView(pid.buffer).getInt32(0, true);
  } finally {
    c.posix_spawn_file_actions_destroy(actions);
    c.posix_spawnattr_destroy(attributes);
    closeFd(nothing);
  }
}

/** How a process ended: `exit` 0 to 255, or the signal that ended it. */
export interface Ended {
  readonly exit?: number;
  readonly signal?: number;
}

/** Waits for a child of this process. */
export async function wait(pid: number): Promise<Ended> {
  const fd = check(Number(libc().syscall(SYS_PIDFD_OPEN, BigInt(pid), 0n)), `watch process ${pid}`);
  await new Promise<void>((resolve) => {
    const registration = reactor().add(fd, { read: true }, () => {
      registration.close();
      resolve();
    });
  });
  closeFd(fd);
  const status = new Uint8Array(4);
  check(libc().waitpid(pid, status, WNOHANG), `wait for process ${pid}`);
  const word = new DataView(status.buffer).getInt32(0, true);
  return (word & 0x7f) === 0 ? { exit: word >> 8 & 0xff } : { signal: word & 0x7f };
}

/** The identity of a running process; undefined where there is none of that pid, or only its ashes. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const fields = readText(`/proc/${pid}/stat`).replace(/^.*\) /s, "").split(" ");
    return fields[0] === "Z" ? undefined : { pid, startTime: fields[19] };
  } catch (error) {
    if (error instanceof KernelError && (error.code === "ENOENT" || error.code === "ESRCH")) return;
    throw error;
  }
}

/** Whether that very process still runs. */
export function isAlive(process: ProcessIdentity): boolean {
  return identify(process.pid)?.startTime === process.startTime;
}

/** Sends a signal to that very process; false where it is gone. */
export function signal(process: ProcessIdentity, number: number): boolean {
  if (!isAlive(process)) return false;
  const result = libc().kill(process.pid, number);
  return result === 0 || check(result, `signal process ${process.pid}`) === -ESRCH;
}

/** A file in memory, for a child's standard input or output. */
export class MemoryFile {
  readonly fd: number;

  constructor(content?: Uint8Array<ArrayBuffer>) {
    this.fd = check(libc().memfd_create(cString("tortie"), 1), "make a file in memory");
    if (!content) return;
    for (let at = 0; at < content.length;) {
      const rest = content.subarray(at);
      // pwrite leaves the offset, which the child shares, at the beginning.
      at += check(
        libc().pwrite(this.fd, rest, BigInt(rest.length), BigInt(at)),
        "fill a file in memory",
      );
    }
  }

  /** Everything that was written, from the beginning. */
  text(): string {
    const parts: Uint8Array[] = [];
    for (let at = 0;;) {
      const part = new Uint8Array(65536);
      const n = check(
        libc().pread(this.fd, part, BigInt(part.length), BigInt(at)),
        "read a file in memory",
      );
      if (n === 0) break;
      parts.push(part.subarray(0, n));
      at += n;
    }
    return new TextDecoder().decode(new Uint8Array(parts.flatMap((p) => [...p])));
  }

  close(): void {
    closeFd(this.fd);
  }
}
