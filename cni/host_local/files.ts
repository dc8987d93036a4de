/**
 * host-local's records on disk, in the real plugin's own form, so that both can work on one folder at
 * the same time and a node can go from one to the other and back:
 *
 *     <dataDir>/<network>/<address>             "<container>\r\n<interface>": who has it
 *     <dataDir>/<network>/last_reserved_ip.<n>  the address that range set n gave last
 *     <dataDir>/<network>/lock                  held by flock(2) around every look and change
 *
 * An address is taken by creating its file exclusively, before anybody uses it. Whoever is killed
 * between creating and writing leaves an empty file, which no DEL of the real plugin finds any more;
 * under the lock nobody is writing, so here an empty file counts as free. Very old plugins wrote the
 * container alone.
 *
 * Waiting for the lock blocks a thread, so the calls of this process take turns before they ask for it.
 */

import { formatIp, type Ip, mustIp, parseIp } from "../../mod/net/mod.ts";
import { CniCode, CniError } from "../errors.ts";
import { KeyedLocks } from "../locks.ts";

/** Where the real plugin keeps its folders. */
export const DEFAULT_DATA_DIR = "/var/lib/cni/networks";
const LINE_BREAK = "\r\n";
const LAST_PREFIX = "last_reserved_ip.";
/** How long another process may hold the folder, in milliseconds. */
const LOCK_PATIENCE = 10_000;

const turns = new KeyedLocks();

/** One record. */
export interface Reservation {
  readonly ip: Ip;
  readonly containerId: string;
  /** undefined in files of very old plugins. */
  readonly ifname: string | undefined;
}

/** What may be done while the lock is held. */
export interface OpenFolder {
  reservations(): Promise<Reservation[]>;
  /** False where somebody has it. */
  reserve(ip: Ip, containerId: string, ifname: string): Promise<boolean>;
  release(ip: Ip): Promise<void>;
  lastReserved(set: number): Promise<Ip | undefined>;
  setLastReserved(set: number, ip: Ip): Promise<void>;
}

export class HostLocalFiles {
  readonly #folder: string;

  constructor(network: string, dataDir = DEFAULT_DATA_DIR) {
    this.#folder = `${dataDir}/${network}`;
  }

  /** Works on the folder alone, making it where it is missing. */
  async change<T>(work: (folder: OpenFolder) => Promise<T>): Promise<T> {
    return await this.#guard(async () => {
      await Deno.mkdir(this.#folder, { recursive: true, mode: 0o755 });
      return await this.#locked(work);
    });
  }

  /** The same where there is a folder; undefined where there is none, and so no record. */
  async changeIfThere<T>(work: (folder: OpenFolder) => Promise<T>): Promise<T | undefined> {
    return await this.#guard(async () => {
      const there = await Deno.stat(this.#folder).catch((error: unknown) => {
        if (error instanceof Deno.errors.NotFound) return undefined;
        throw error;
      });
      return there && await this.#locked(work);
    });
  }

  async #guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await turns.hold([this.#folder], work);
    } catch (error) {
      if (error instanceof CniError) throw error;
      throw new CniError(
        CniCode.io,
        `The records of host-local in ${this.#folder} cannot be read or written: ${
          (error as Error).message
        }.`,
        undefined,
        { cause: error },
      );
    }
  }

  async #locked<T>(work: (folder: OpenFolder) => Promise<T>): Promise<T> {
    const lock = await Deno.open(`${this.#folder}/lock`, {
      read: true,
      write: true,
      create: true,
      mode: 0o750,
    });
    await patiently(lock, this.#folder);
    try {
      return await work(new Folder(this.#folder));
    } finally {
      // The lock goes with its file.
      lock.close();
    }
  }
}

/** Takes the lock, or gives up; what is granted after that is let go at once. */
async function patiently(lock: Deno.FsFile, folder: string): Promise<void> {
  const granted = lock.lock(true);
  let timer: number | undefined;
  const late = new Promise<"late">((resolve) => {
    timer = setTimeout(() => resolve("late"), LOCK_PATIENCE);
  });
  try {
    if (await Promise.race([granted, late]) !== "late") return;
  } catch (error) {
    lock.close();
    throw error;
  } finally {
    clearTimeout(timer);
  }
  granted.catch(() => {}).finally(() => lock.close());
  throw new CniError(
    CniCode.tryAgain,
    `Another program has held ${folder}/lock for ${LOCK_PATIENCE / 1000} s; try again.`,
  );
}

class Folder implements OpenFolder {
  constructor(readonly path: string) {}

  async reservations(): Promise<Reservation[]> {
    const found: Reservation[] = [];
    for await (const { name, isFile } of Deno.readDir(this.path)) {
      const ip = isFile ? parseIp(name) : undefined;
      const text = ip && (await Deno.readTextFile(`${this.path}/${name}`)).trim();
      if (!text) continue;
      const at = text.indexOf(LINE_BREAK);
      found.push({
        ip: ip!,
        containerId: at < 0 ? text : text.slice(0, at),
        ifname: at < 0 ? undefined : text.slice(at + LINE_BREAK.length),
      });
    }
    return found;
  }

  async reserve(ip: Ip, containerId: string, ifname: string): Promise<boolean> {
    const path = `${this.path}/${formatIp(ip)}`;
    const size = await Deno.stat(path).then((s) => s.size, (error: unknown) => {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    if (size) return false;
    if (size === 0) await Deno.remove(path);
    try {
      const text = containerId + LINE_BREAK + ifname;
      await Deno.writeTextFile(path, text, { createNew: true, mode: 0o644 });
      return true;
    } catch (error) {
      if (error instanceof Deno.errors.AlreadyExists) return false;
      // As on a full disk: half a record would be nobody's.
      await Deno.remove(path).catch(() => {});
      throw error;
    }
  }

  async release(ip: Ip): Promise<void> {
    try {
      await Deno.remove(`${this.path}/${formatIp(ip)}`);
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }

  async lastReserved(set: number): Promise<Ip | undefined> {
    try {
      return parseIp(await Deno.readTextFile(`${this.path}/${LAST_PREFIX}${set}`));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  }

  async setLastReserved(set: number, ip: Ip): Promise<void> {
    await Deno.writeTextFile(`${this.path}/${LAST_PREFIX}${set}`, formatIp(ip), { mode: 0o644 });
  }
}

/** Whether a network's folder has the address on record for the container. */
export async function isHostLocals(
  address: string,
  containerId: string,
  dataDir = DEFAULT_DATA_DIR,
): Promise<boolean> {
  const text = formatIp(mustIp(address));
  try {
    for await (const { name, isDirectory } of Deno.readDir(dataDir)) {
      if (!isDirectory) continue;
      const record = await Deno.readTextFile(`${dataDir}/${name}/${text}`).catch(() => "");
      if (record.split(LINE_BREAK)[0].trim() === containerId) return true;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return false;
}
