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

export interface ListedNetns {
  /** As /proc names it: `net:[4026531840]`. */
  readonly inode: string;
  /** All by which it can be opened, what lasts longest first; any of them may be gone by then. */
  readonly paths: readonly string[];
}

export interface NetnsList {
  readonly namespaces: readonly ListedNetns[];
  /** Why there may be more of them; undefined: there are not. */
  readonly unseen: string | undefined;
}

/** PROC_PID_INIT_INO of the kernel's proc_ns.h: the PID namespace that sees every process. */
const INITIAL_PID_NAMESPACE = "pid:[4026531836]";
/** Processes that are looked at before others have their turn. */
const BATCH = 256;
/** How often it is looked for processes that have begun meanwhile. */
const PASSES = 10;
/** How often it is looked for a namespace to which no path leads. */
const LOOKS = 4;

/**
 * Shows each namespace to `visit`; undefined, or why there may be more of them. One is gone only where none
 * of its paths leads to it any more and it is not found a second time: a process that has ended may have
 * left it to its children.
 */
export async function visitAllNetns(
  visit: (netns: Netns) => void,
  list: () => Promise<NetnsList> = listAllNetns,
): Promise<string | undefined> {
  const seen = new Set<string>();
  let unseen: string | undefined;
  for (let pass = 1;; pass++) {
    const found = await list();
    unseen ??= found.unseen;
    const lost: ListedNetns[] = [];
    for (const listed of found.namespaces) {
      if (seen.has(listed.inode)) continue;
      try {
        using netns = openListed(listed);
        if (netns) visit(netns);
        else lost.push(listed);
      } catch (error) {
        unseen ??= unseenNetns(listed.paths[0], error);
      }
      if (!lost.includes(listed)) seen.add(listed.inode);
    }
    if (lost.length === 0) return unseen;
    if (pass === LOOKS) return unseen ?? notReached(lost[0]);
  }
}

/** By the first path that leads to it; undefined: none does. Throws why one could not be opened. */
function openListed({ inode, paths }: ListedNetns): Netns | undefined {
  let failure: unknown;
  for (const path of paths) {
    try {
      const netns = Netns.open(path);
      // A process may have moved to another one, or its number may be another's.
      if (nameOf(netns) === inode) return netns;
      netns.close();
    } catch (error) {
      if (!isNoNetns(error)) failure ??= error;
    }
  }
  if (failure !== undefined) throw failure;
}

/**
 * Our own namespace is not among them. One that cannot be opened is told (`unseen`), and keeps nobody from
 * knowing the others. `proc` is where procfs is mounted.
 */
export async function listAllNetns(proc = "/proc"): Promise<NetnsList> {
  const paths = new Map<string, string[]>();
  const add = (inode: string, path: string) => {
    const known = paths.get(inode);
    if (known) known.push(path);
    else paths.set(inode, [path]);
  };
  let unseen: string | undefined;
  const processes = await processPaths(proc, (pid, error) => {
    // The first process of a sandbox may have more rights than we, and is no container's.
    if (pid === "1") return;
    unseen =
      `the network namespace of process ${pid} cannot be read (${error.message}); its service ` +
      "needs CAP_SYS_PTRACE";
  });
  for (const [inode, path] of mounted(proc)) add(inode, path);
  // Files whose mount is not in the tables above: another's, or a link.
  for (const name of listNetns()) {
    const path = `${netnsDirectory}/${name}`;
    try {
      add(inodeOf(path), path);
    } catch (error) {
      if (!isNoNetns(error)) unseen = unseenNetns(path, error);
    }
  }
  for (const [inode, path] of processes) add(inode, path);
  paths.delete(Deno.readLinkSync(`${proc}/thread-self/ns/net`));
  return {
    namespaces: [...paths].map(([inode, paths]) => ({ inode, paths })),
    unseen: unseen ?? foreignProcesses(proc),
  };
}

/**
 * Of every process. Where one has ended before it was looked at, those that have begun meanwhile are looked
 * at too: its children may keep what it has left.
 */
async function processPaths(
  proc: string,
  refused: (pid: string, error: Error) => void,
): Promise<[inode: string, path: string][]> {
  const found: [string, string][] = [];
  const known = new Set<string>();
  let looked = 0;
  for (let pass = 1, ended = true; ended && pass <= PASSES; pass++) {
    ended = false;
    for (const { name: pid } of Deno.readDirSync(proc)) {
      if (!/^[0-9]+$/.test(pid) || known.has(pid)) continue;
      known.add(pid);
      if (++looked % BATCH === 0) await new Promise((resolve) => setTimeout(resolve));
      const path = `${proc}/${pid}/ns/net`;
      try {
        found.push([Deno.readLinkSync(path), path]);
      } catch (error) {
        if (isGone(error)) ended = true;
        else refused(pid, error as Error);
      }
    }
  }
  return found;
}

function isGone(error: unknown): boolean {
  if (error instanceof Deno.errors.NotFound) return true;
  // ESRCH has no class of its own.
  return /os error 3\)/.test(String((error as Error).message));
}

/** As ours and as the first process's mount table has them. */
function mounted(proc: string): [inode: string, path: string][] {
  const found: [string, string][] = [];
  for (const [table, root] of [["self", ""], ["1", `${proc}/1/root`]]) {
    let text: string;
    try {
      text = readText(`${proc}/${table}/mountinfo`);
    } catch (error) {
      if (!isKernelError(error)) throw error;
      continue;
    }
    for (const [inode, path] of nsfsMounts(text)) found.push([inode, root + path]);
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
  return nameOf(netns);
}

/** As the links in /proc name it. */
function nameOf(netns: Netns): string {
  return `net:[${netns.identity.split(":")[1]}]`;
}

/** Of a namespace that is there, and into which we may not look. */
function unseenNetns(path: string, error: unknown): string {
  return `the network namespace ${path} cannot be looked into: ${(error as Error).message}`;
}

function notReached({ inode, paths }: ListedNetns): string {
  const more = paths.length > 1 ? ` and ${paths.length - 1} more` : "";
  return `the network namespace ${inode} cannot be looked into: it is there, and no path leads to it ` +
    `(${paths[0]}${more})`;
}

/** Whether an attempt to open a path failed since there is no network namespace (any more). */
function isNoNetns(error: unknown): boolean {
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
