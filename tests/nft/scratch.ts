/** A network namespace for one test, and the real tools in it. */
import { libc } from "../../ffi/libc.ts";
import { libnl } from "../../ffi/libnl.ts";
import { createNetns, deleteNetns, Netns } from "../../ffi/netns.ts";

// Opened here, so that no test is blamed for a library that stays.
libc();
libnl();

let count = 0;

export interface Scratch {
  readonly netns: Netns;
  readonly name: string;
  /** Runs a shell command within; its standard output. Throws with what it said if it fails. */
  sh(command: string): Promise<string>;
  /** Gives a script to the real nft. */
  nft(script: string): Promise<string>;
}

/** Makes a namespace, runs the test in it, and removes it whatever happens. */
export async function inScratch(test: (scratch: Scratch) => Promise<void>): Promise<void> {
  const name = `nft-test-${Deno.pid}-${++count}`;
  createNetns(name);
  const netns = Netns.open(name);
  const run = async (argv: string[], input = ""): Promise<string> => {
    const child = new Deno.Command("ip", {
      args: ["netns", "exec", name, ...argv],
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(input)).catch(() => {});
    await writer.close().catch(() => {});
    const { code, stdout, stderr } = await child.output();
    const text = new TextDecoder();
    if (code !== 0) throw new Error(`${argv.join(" ")} failed (${code}): ${text.decode(stderr)}`);
    return text.decode(stdout);
  };
  try {
    await test({
      netns,
      name,
      sh: (command) => run(["sh", "-ec", command]),
      nft: (script) => run(["nft", "-f", "-"], script),
    });
  } finally {
    netns.close();
    deleteNetns(name);
  }
}
