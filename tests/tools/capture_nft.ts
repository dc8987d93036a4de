/**
 * Writes the golden files of `ffi/nft/golden` anew: gives each `<name>.nft` there to the real nft, in a
 * network namespace of its own behind `setup.nft`, and keeps the bytes that nft sent to the kernel as
 * `<name>.hex`; likewise each `<name>.conntrack`, a command line of conntrack(8). Needs root, nft,
 * conntrack, ip and strace.
 *
 *     deno run -A tests/tools/capture_nft.ts [name…]
 */
const golden = new URL("../../ffi/nft/golden/", import.meta.url).pathname;
const netns = `nftcap${Deno.pid}`;

interface Output {
  readonly code: number;
  readonly text: string;
}

async function run(program: string, ...args: string[]): Promise<Output> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const text = new TextDecoder();
  return { code, text: text.decode(stdout) + text.decode(stderr) };
}

async function must(program: string, ...args: string[]): Promise<void> {
  const { code, text } = await run(program, ...args);
  if (code !== 0) throw new Error(`${program} ${args.join(" ")} failed (${code}): ${text}`);
}

/**
 * The netlink datagrams that a command sends, from strace's dump of what it writes: lines of
 * ` | 00010  14 00 … |`, one block a call.
 */
async function sent(argv: string[]): Promise<string[]> {
  const trace = await Deno.makeTempFile();
  try {
    const strace = ["-f", "-o", trace, "-e", "trace=sendto,sendmsg", "-e", "write=all"];
    const { code, text } = await run("ip", "netns", "exec", netns, "strace", ...strace, ...argv);
    if (code !== 0) throw new Error(`${argv.join(" ")} failed (${code}): ${text}`);
    const datagrams: string[] = [];
    for (const line of (await Deno.readTextFile(trace)).split("\n")) {
      const dump = /^ \| ([0-9a-f]{5,}) {2}(.{49})/.exec(line);
      if (!dump) continue;
      if (parseInt(dump[1], 16) === 0) datagrams.push("");
      datagrams[datagrams.length - 1] += dump[2].replaceAll(" ", "");
    }
    return datagrams;
  } finally {
    await Deno.remove(trace);
  }
}

/** Batches only (they begin with BATCH_BEGIN): nft also reads what is there, and that varies. */
function isBatch(hex: string): boolean {
  return hex.slice(8, 12) === "1000";
}

function wrapped(hex: string): string {
  return (hex.match(/.{1,96}/g) ?? []).join("\n");
}

const only = new Set(Deno.args);
for (const entry of [...Deno.readDirSync(golden)].sort((a, b) => a.name < b.name ? -1 : 1)) {
  const [, name, kind] = /^(.*)\.(nft|conntrack)$/.exec(entry.name) ?? [];
  if (!name || name === "setup" || (only.size > 0 && !only.has(name))) continue;
  await must("ip", "netns", "add", netns);
  try {
    await must("ip", "netns", "exec", netns, "nft", "-f", `${golden}setup.nft`);
    let datagrams: string[];
    if (kind === "nft") {
      datagrams = (await sent(["nft", "-f", golden + entry.name])).filter(isBatch);
    } else {
      const command = (await Deno.readTextFile(golden + entry.name)).trim().split(/\s+/);
      datagrams = await sent(["conntrack", ...command]);
    }
    if (datagrams.length === 0) throw new Error(`${entry.name}: nothing was sent`);
    await Deno.writeTextFile(`${golden}${name}.hex`, datagrams.map(wrapped).join("\n\n") + "\n");
    console.log(`${name}: ${datagrams.map((d) => d.length / 2).join(" + ")} bytes`);
  } finally {
    await must("ip", "netns", "delete", netns);
  }
}
