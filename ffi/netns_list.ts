/**
 * All network namespaces of the machine that anything keeps alive and that can be found: those in which a
 * process is, and those that are mounted on a file, wherever that is (`ip netns`, Docker and containerd
 * each have a folder of their own). A namespace that lives by an open descriptor alone is not found.
 *
 * Processes are those of our PID namespace. In a container without the machine's own (`hostPID`) they are
 * not the machine's: that is said (`unseen`), and so is a process of which we may not know.
 */
import { readText } from "./file.ts";
import { isKernelError } from "./errors.ts";
import { listNetns, Netns, netnsDirectory } from "./netns.ts";

export interface NetnsList {
  /** One path for each namespace, to open it by; it may be gone by then. */
  readonly paths: readonly string[];
  /** Why there may be more of them; undefined: there are not. */
  readonly unseen: string | undefined;
}

/** PROC_PID_INIT_INO of the kernel's proc_ns.h: the PID namespace that sees every process. */
const INITIAL_PID_NAMESPACE = "pid:[4026531836]";
/** Processes that are looked at before others have their turn. */
const BATCH = 256;

/**
 * Our own namespace is not among them. One that cannot be opened is told (`unseen`), and keeps nobody from
 * knowing the others. `proc` is where procfs is mounted.
 */
export async function listAllNetns(proc = "/proc"): Promise<NetnsList> {
  const paths = new Map<string, string>();
  let unseen: string | undefined;
  let looked = 0;
  for (const { name: pid } of Deno.readDirSync(proc)) {
    if (!/^[0-9]+$/.test(pid)) continue;
    if (++looked % BATCH === 0) await new Promise((resolve) => setTimeout(resolve));
    const path = `${proc}/${pid}/ns/net`;
    try {
      const inode = Deno.readLinkSync(path);
      if (!paths.has(inode)) paths.set(inode, path);
    } catch (error) {
      if (isGone(error)) continue;
      // The first process of a sandbox may have more rights than we, and is no container's.
      if (pid !== "1") {
        unseen = `the network namespace of process ${pid} cannot be read ` +
          `(${(error as Error).message}); its service needs CAP_SYS_PTRACE`;
      }
    }
  }
  for (const [inode, path] of mounted(proc)) if (!paths.has(inode)) paths.set(inode, path);
  // Files whose mount is not in the tables above: another's, or a link.
  for (const name of listNetns()) {
    const path = `${netnsDirectory}/${name}`;
    try {
      const inode = inodeOf(path);
      if (!paths.has(inode)) paths.set(inode, path);
    } catch (error) {
      if (!isNoNetns(error)) unseen = unseenNetns(path, error);
    }
  }
  paths.delete(Deno.readLinkSync(`${proc}/thread-self/ns/net`));
  return { paths: [...paths.values()], unseen: unseen ?? foreignProcesses(proc) };
}

function isGone(error: unknown): boolean {
  if (error instanceof Deno.errors.NotFound) return true;
  // ESRCH has no class of its own.
  return /os error 3\)/.test(String((error as Error).message));
}

/** By inode, as ours and as the first process's mount table has them. */
function mounted(proc: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [table, root] of [["self", ""], ["1", `${proc}/1/root`]]) {
    let text: string;
    try {
      text = readText(`${proc}/${table}/mountinfo`);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      continue;
    }
    for (const [inode, path] of nsfsMounts(text)) {
      if (!found.has(inode)) found.set(inode, root + path);
    }
  }
  return found;
}

/** proc_pid_mountinfo(5): the network namespaces of a mount table, with where they are mounted. */
export function nsfsMounts(mountinfo: string): [inode: string, path: string][] {
  return mountinfo.split("\n").flatMap((line): [string, string][] => {
    const [, , , root, path] = line.split(" ");
    if (!line.includes(" - nsfs ") || !root?.startsWith("net:[")) return [];
    return [[root, path.replace(/\\([0-7]{3})/g, (_, o) => String.fromCharCode(parseInt(o, 8)))]];
  });
}

function inodeOf(path: string): string {
  using netns = Netns.open(path);
  return `net:[${netns.identity.split(":")[1]}]`;
}

/** Of a namespace that is there, and into which we may not look. */
export function unseenNetns(path: string, error: unknown): string {
  return `the network namespace ${path} cannot be looked into: ${(error as Error).message}`;
}

/** Whether an attempt to open a path failed since there is no network namespace (any more). */
export function isNoNetns(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    (isKernelError(error) && ["ENOENT", "ESRCH", "EINVAL", "ESTALE"].includes(error.code));
}

function foreignProcesses(proc: string): string | undefined {
  if (Deno.readLinkSync(`${proc}/self/ns/pid`) === INITIAL_PID_NAMESPACE) return undefined;
  // A machine within a container (kind, LXC): its init is there, and every process below it.
  const isMachine = readText(`${proc}/1/cgroup`).split("\n").some((line) =>
    line.endsWith("/init.scope")
  );
  if (isMachine) return undefined;
  return "its service does not see the machine's processes, and so not the network namespaces that only " +
    "they keep: run it with the machine's PID namespace (hostPID: true)";
}
