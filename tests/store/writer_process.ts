/**
 * A process that owns a kv file and writes as fast as it can until it is killed. On standard output:
 *
 *     open <revision>                       the file is open, at this revision; now it waits to be
 *                                           told on standard input from which revision to read back
 *     log <revision> <type> <key> <n>       a change that it found there after that revision
 *     ready                                 all of them were told; now it writes
 *     ack <revision> <type> <key> <n>       this write was acknowledged
 *
 *     deno run -A --unstable-kv writer_process.ts <file> <name>
 */
import { openKv } from "../../mod/store/kv.ts";
import { StoreError } from "../../mod/store/store.ts";

const [path, name] = Deno.args;
const encoder = new TextEncoder();

function say(text: string): void {
  const bytes = encoder.encode(text);
  for (let at = 0; at < bytes.length;) at += Deno.stdout.writeSync(bytes.subarray(at));
}

const store = await openKv(path, { waitMs: 60_000, log: { entries: 1000 } });
say(`open ${store.revision}\n`);
const input = new Uint8Array(32);
const from = new TextDecoder().decode(input.subarray(0, await Deno.stdin.read(input) ?? 0)).trim();
let told = Number(from), lines = "";
if (told < store.revision) {
  for await (const event of store.watch<{ n: number }>("/", { from })) {
    const n = event.type === "put" ? event.value.n : "-";
    lines += `log ${event.revision} ${event.type} ${event.key} ${n}\n`;
    told = Number(event.revision);
    if (told === store.revision) break;
  }
}
say(lines + "ready\n");

// Whoever comes next reads all of it back, so it must not outgrow the log, however late the kill is.
const mostWrites = 900;
let n = 0, written = 0;
async function write(writer: number): Promise<void> {
  while (written++ < mostWrites) {
    const key = `/k/${Math.floor(Math.random() * 40)}`;
    const id = `${name}.${++n}`;
    const value = { n: id, pad: n % 50 === 0 ? "x".repeat(17_000 + n * 331 % 60_000) : "" };
    try {
      if (n % 7 === writer) say(`ack ${await store.delete(key)} delete ${key} -\n`);
      else say(`ack ${await store.put(key, value)} put ${key} ${id}\n`);
    } catch (error) {
      if (!(error instanceof StoreError) || error.kind !== "notFound") throw error;
    }
  }
}
await Promise.all([0, 1, 2, 3, 4, 5].map(write));
await Deno.stdin.read(input);
