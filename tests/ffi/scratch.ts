/** Network namespaces for one test, and the real tools within them. */
import { libc } from "../../ffi/libc.ts";
import { libnl } from "../../ffi/libnl.ts";
import { createNetns, deleteNetns, listNetns, Netns } from "../../ffi/netns.ts";

// Opened here, so that no test is blamed for a library that stays.
libc();
libnl();

let made = 0;

/** A namespace that is gone at the end of the scope, also after a failure. */
export class Scratch {
  readonly name = `tffi${Deno.pid}n${++made}`;
  readonly netns: Netns;

  constructor() {
    createNetns(this.name);
    this.netns = Netns.open(this.name);
  }

  /** Runs a tool in the namespace; what it printed. Throws if it failed. */
  async run(...argv: string[]): Promise<string> {
    const args = ["netns", "exec", this.name, ...argv];
    const { success, stdout, stderr } = await new Deno.Command("ip", { args }).output();
    const text = new TextDecoder();
    if (!success) {
      throw new Error(`${argv.join(" ")}: ${text.decode(stderr)}${text.decode(stdout)}`);
    }
    return text.decode(stdout);
  }

  /** `ip -j …` as objects. */
  async json(...args: string[]): Promise<Record<string, any>[]> {
    const text = await this.run("ip", "-j", ...args);
    return text.trim() ? JSON.parse(text) : [];
  }

  [Symbol.dispose](): void {
    this.netns.close();
    if (listNetns().includes(this.name)) deleteNetns(this.name);
  }
}

export const pause = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, milliseconds));

/** Waits until it is true; throws after `seconds`. */
export async function until(what: string, isTrue: () => boolean, seconds = 10): Promise<void> {
  const deadline = performance.now() + seconds * 1000;
  while (!isTrue()) {
    if (performance.now() > deadline) throw new Error(`never came true: ${what}`);
    await pause(5);
  }
}

/**
 * A test that uses the reactor: its wait on another thread may end a moment after the test, when the
 * machine is busy, and is no leak of the test's.
 */
export function test(name: string, run: () => void | Promise<void>): void {
  Deno.test(name, { sanitizeOps: false }, run);
}
