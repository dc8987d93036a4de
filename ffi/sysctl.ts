/**
 * Kernel settings under /proc/sys, by their path: `net/ipv4/conf/cali12345/proxy_arp`. Slashes and
 * not dots, because interface names may hold dots. What stands under `net/` is the network
 * namespace's of the thread that opens the file, so another namespace's settings are reached within
 * `inNetns`, or by naming it here.
 */

import { KernelError } from "./errors.ts";
import { readText, writeText } from "./file.ts";
import { inNetns, type Netns } from "./netns.ts";

/** The setting's text without the closing newline. Throws KernelError (ENOENT: there is none such). */
export function readSysctl(path: string, netns?: Netns): string {
  const file = fileOf(path);
  const read = () => readText(file).trimEnd();
  return netns ? inNetns(netns, read) : read();
}

/** Sets it. Throws KernelError (ENOENT none such, EINVAL not a value for it, EACCES read only). */
export function writeSysctl(path: string, value: string | number, netns?: Netns): void {
  const file = fileOf(path);
  const write = () => writeText(file, String(value));
  if (netns) inNetns(netns, write);
  else write();
}

function fileOf(path: string): string {
  const parts = path.split("/");
  if (parts.some((part) => part === "" || part === "." || part === "..")) {
    throw new KernelError(2, `sysctl ${path}`, { detail: "write it as net/ipv4/ip_forward" });
  }
  return `/proc/sys/${path}`;
}
