/**
 * One process owns a kv file. Deno KV itself would let several in, but their watches would not see
 * each other's writes and their commits would fail with "database is locked"; so the owner holds an
 * advisory lock (flock) on a file beside it, which the kernel releases with the process, however it
 * ends. The lock file says who the owner is, and stays: removing it would let two processes hold two
 * different files of that name.
 */

import { type Clock, sleep } from "./clock.ts";
import { StoreError } from "./store.ts";

export interface LockOptions {
  readonly clock: Clock;
  /** The socket at which the owner serves the store: whoever comes second is sent there. */
  readonly socket?: string;
  /** How long to wait for an owner that is about to end. */
  readonly waitMs: number;
}

export interface Lock {
  release(): void;
}

interface Owner {
  pid: number;
  since: string;
  socket?: string;
}

/** Takes the lock of the kv file; StoreError "unavailable", naming the owner, where it is taken. */
export async function lockKv(path: string, options: LockOptions): Promise<Lock> {
  const { clock, socket, waitMs } = options;
  const file = await Deno.open(`${path}.lock`, {
    create: true,
    read: true,
    write: true,
    mode: 0o600,
  });
  try {
    const until = clock.monotonicMs() + waitMs;
    while (!await file.tryLock(true)) {
      if (clock.monotonicMs() >= until) throw inUse(path, await readOwner(file));
      await sleep(clock, 20);
    }
    const owner: Owner = { pid: Deno.pid, since: new Date(clock.wallMs()).toISOString(), socket };
    await file.truncate(0);
    await file.seek(0, Deno.SeekMode.Start);
    await file.write(new TextEncoder().encode(JSON.stringify(owner) + "\n"));
  } catch (error) {
    file.close();
    throw error;
  }
  return { release: () => file.close() };
}

async function readOwner(file: Deno.FsFile): Promise<Partial<Owner>> {
  try {
    await file.seek(0, Deno.SeekMode.Start);
    const bytes = new Uint8Array(4096);
    const length = await file.read(bytes) ?? 0;
    const owner = JSON.parse(new TextDecoder().decode(bytes.subarray(0, length)));
    return typeof owner === "object" && owner !== null ? owner : {};
  } catch {
    return {}; // The owner is just writing it.
  }
}

function inUse(path: string, { pid, since, socket }: Partial<Owner>): StoreError {
  const who = pid === undefined ? "another process" : `process ${pid} (since ${since})`;
  const where = socket === undefined ? "the socket at which it serves it" : `its socket ${socket}`;
  return new StoreError(
    "unavailable",
    `the datastore ${path} is in use by ${who}, and one process at a time can open it; ` +
      `reach it through ${where}, or stop that process`,
  );
}
