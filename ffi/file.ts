/**
 * Files by plain system calls. Deno's own file API refuses /proc/sys unless a program has every
 * permission, and knows no flock(2); the kernel's own files are small, so each is read and written in
 * one go.
 */

import { isKernelError, KernelError } from "./errors.ts";
import {
  check,
  closeFd,
  cString,
  errno,
  libc,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  O_WRONLY,
  retrying,
} from "./libc.ts";

const utf8 = new TextEncoder();
const decoder = new TextDecoder();
const buffer = new Uint8Array(4096);

/** open(2) with O_CLOEXEC. The caller closes the descriptor (`closeFd`). */
export function openFd(path: string, flags: number, mode = 0o600): number {
  const name = cString(path);
  return retrying(() => libc().open(name, flags | O_CLOEXEC, mode), `open ${path}`);
}

/** The whole text of a file. */
export function readText(path: string): string {
  const fd = openFd(path, O_RDONLY);
  try {
    let text = "";
    while (true) {
      const got = retrying(() => libc().read(fd, buffer, BigInt(buffer.length)), `read ${path}`);
      if (got === 0) break;
      text += decoder.decode(buffer.subarray(0, got), { stream: true });
    }
    return text + decoder.decode();
  } finally {
    closeFd(fd);
  }
}

/** Writes text into a file that is there, as one write(2): what a sysctl wants. */
export function writeText(path: string, text: string): void {
  const fd = openFd(path, O_WRONLY | O_TRUNC);
  try {
    writeAll(fd, utf8.encode(text), `write ${path}`);
  } finally {
    closeFd(fd);
  }
}

/** Adds a line to a log file, made with mode 0600 if it is not there. */
export function appendText(path: string, text: string): void {
  const fd = openFd(path, O_WRONLY | O_CREAT | O_APPEND);
  try {
    writeAll(fd, utf8.encode(text), `append to ${path}`);
  } finally {
    closeFd(fd);
  }
}

/** write(2) until all is written. */
export function writeAll(fd: number, bytes: Uint8Array<ArrayBuffer>, operation: string): void {
  for (let at = 0; at < bytes.length;) {
    const rest = bytes.subarray(at);
    at += retrying(() => libc().write(fd, rest, BigInt(rest.length)), operation);
  }
}

const LOCK_EX = 2, LOCK_NB = 4;

/**
 * An exclusive lock between processes (flock(2)) on a file of its own. It ends with `release`, and
 * with the process, however that ends; the file stays, because removing it would let two in.
 */
export class FileLock {
  #fd: number;

  private constructor(readonly path: string, fd: number) {
    this.#fd = fd;
  }

  /** The lock, or undefined if another holds it. The file is made with mode 0600. */
  static tryAcquire(path: string): FileLock | undefined {
    const fd = openFd(path, O_RDWR | O_CREAT);
    if (libc().flock(fd, LOCK_EX | LOCK_NB) === 0) return new FileLock(path, fd);
    const reason = errno();
    closeFd(fd);
    const error = new KernelError(reason, `lock ${path}`);
    if (isKernelError(error, "EAGAIN")) return undefined;
    throw error;
  }

  /** Waits for the lock up to `milliseconds`, without holding up anything else; then ETIMEDOUT. */
  static async acquire(path: string, milliseconds: number): Promise<FileLock> {
    const deadline = performance.now() + milliseconds;
    while (true) {
      const lock = FileLock.tryAcquire(path);
      if (lock) return lock;
      const left = deadline - performance.now();
      if (left <= 0) {
        throw new KernelError(110, `lock ${path}`, { detail: "another process holds it" });
      }
      await new Promise((resolve) => setTimeout(resolve, Math.min(20, left)));
    }
  }

  release(): void {
    if (this.#fd >= 0) closeFd(this.#fd);
    this.#fd = -1;
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** Removes a file; true if it was there. */
export function unlinkIfThere(path: string): boolean {
  if (libc().unlink(cString(path)) === 0) return true;
  const error = new KernelError(errno(), `remove ${path}`);
  if (isKernelError(error, "ENOENT")) return false;
  throw error;
}

/** chmod(2). */
export function setMode(path: string, mode: number): void {
  check(libc().chmod(cString(path), mode), `set the mode of ${path}`);
}
