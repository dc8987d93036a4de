/**
 * Writes `ffi/route/golden/iproute2.txt` anew: runs each command that stands there with the real ip(8)
 * or bridge(8), one after the other in one scratch network namespace (and a second one for peers), and
 * keeps the message that it sent to the kernel. Needs root, iproute2 and strace.
 *
 *     deno run -A tests/tools/capture_netlink.ts
 *
 * A section of the file is
 *
 *     == <name> <message type>
 *     $ <command>                the one whose message of that type is kept; PEER is the second namespace
 *     <hex>
 *
 * and a line `! <command>` is run without looking at what it sends. Interface indexes follow from the
 * order of the commands. A command may be refused (`$? ` instead of `$ `): its message counts.
 */
const file = new URL("../../ffi/route/golden/iproute2.txt", import.meta.url);
const node = `rtcap${Deno.pid}`, peer = `rtcap${Deno.pid}p`;

async function run(argv: string[], mayFail = false): Promise<void> {
  const command = new Deno.Command(argv[0], { args: argv.slice(1) });
  const { success, stdout, stderr } = await command.output();
  if (success || mayFail) return;
  const text = new TextDecoder();
  throw new Error(`${argv.join(" ")} failed: ${text.decode(stdout)}${text.decode(stderr)}`);
}

function words(command: string): string[] {
  return command.trim().split(/\s+/).map((word) => word === "PEER" ? peer : word);
}

const within = (argv: string[]) => ["ip", "netns", "exec", node, ...argv];

/** The datagrams that a command sends, from strace's dump of what it writes. */
async function sent(command: string, mayFail: boolean): Promise<Uint8Array[]> {
  const trace = await Deno.makeTempFile();
  try {
    const strace = ["strace", "-o", trace, "-e", "trace=sendto,sendmsg", "-e", "write=all"];
    await run(within([...strace, ...words(command)]), mayFail);
    const datagrams: string[] = [];
    for (const line of (await Deno.readTextFile(trace)).split("\n")) {
      const dump = /^ \| ([0-9a-f]{5,}) {2}(.{49})/.exec(line);
      if (!dump) continue;
      if (parseInt(dump[1], 16) === 0) datagrams.push("");
      datagrams[datagrams.length - 1] += dump[2].replaceAll(" ", "");
    }
    return datagrams.map((hex) => Uint8Array.fromHex(hex));
  } finally {
    await Deno.remove(trace);
  }
}

/**
 * The last message of the type: ip(8) looks things up first, and probes with an empty message of
 * sequence number 0. Sequence number and port are set to 0; what is behind the message is cut off.
 */
function pick(datagrams: Uint8Array[], type: number, command: string): string {
  const found = datagrams.findLast((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return view.getUint16(4, true) === type && view.getUint32(8, true) !== 0;
  });
  if (!found) throw new Error(`${command}: sent no message of type ${type}`);
  const message = found.slice(0, new DataView(found.buffer, found.byteOffset).getUint32(0, true));
  message.fill(0, 8, 16);
  return (message.toHex().match(/.{1,96}/g) ?? []).join("\n");
}

const lines = (await Deno.readTextFile(file)).split("\n");
const out: string[] = [];
await run(["ip", "netns", "add", node]);
try {
  await run(["ip", "netns", "add", peer]);
  let type = 0;
  for (const line of lines) {
    const section = /^== \S+ (\d+)$/.exec(line);
    const command = /^(\$\??|!) (.*)$/.exec(line);
    if (section) type = Number(section[1]);
    if (/^[0-9a-f]+$/.test(line)) continue;
    out.push(line);
    if (!command) continue;
    if (command[1] === "!") await run(within(words(command[2])));
    else out.push(pick(await sent(command[2], command[1] === "$?"), type, command[2]));
  }
} finally {
  await run(["ip", "netns", "delete", node]);
  await run(["ip", "netns", "delete", peer], true);
}
await Deno.writeTextFile(file, out.join("\n"));
console.log(`${out.filter((line) => line.startsWith("== ")).length} messages`);
