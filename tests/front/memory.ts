/** The memory of a program that runs, as the kernel has it: how its image lies there, page by page. */
import assert from "node:assert/strict";
import { deferRelocations, PT_LOAD, readImage } from "../../installer/build/elf.ts";

const PAGE = 4096;
const RELA = 24;

export interface Memory {
  /** Rights of each page of the image, as `r-x`, from its first one on; "" between its segments. */
  readonly pages: readonly string[];
  /** Words that say where the program lies. */
  readonly words: number;
  /** Those of them that say something else; of what can be written no more, there is none. */
  readonly others: { readonly sealed: number; readonly written: number };
}

/** Of the executable when it serves a store. `plain`: the same program with no front door. */
export async function memoryOf(path: string, plain: string): Promise<Memory> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-front-memory-" });
  const child = new Deno.Command(path, {
    args: ["datastore", "serve"],
    env: { TORTIE_STATE_DIR: folder, TORTIE_RUN_DIR: folder },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    await answering(`${folder}/store.sock`);
    const { pages, base } = pagesOf(child.pid, path);
    return { pages, ...wordsOf(child.pid, base, plain) };
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await Deno.remove(folder, { recursive: true });
  }
}

function pagesOf(pid: number, path: string): { pages: string[]; base: number } {
  const mappings = Deno.readTextFileSync(`/proc/${pid}/maps`).trim().split("\n").map((line) => {
    const [, from, to, rights, name] = line.match(
      /^([0-9a-f]+)-([0-9a-f]+) (...). \S+ \S+ \S+\s*(.*)$/,
    )!;
    return { from: parseInt(from, 16), to: parseInt(to, 16), rights, name };
  });
  const base = mappings.find(({ name }) => name === path)!.from;
  const pages: string[] = [];
  // V8 has some of the file at another place too, and may have what it likes between the segments.
  for (const { address, memorySize } of loads(Deno.readFileSync(path))) {
    for (let page = Math.floor(address / PAGE); page * PAGE < address + memorySize; page++) {
      while (pages.length < page) pages.push("");
      const at = base + page * PAGE;
      pages[page] = mappings.find(({ from, to }) => at >= from && at < to)?.rights ?? "---";
    }
  }
  return { pages, base };
}

const loads = (file: Uint8Array) =>
  readImage(file).headers.filter(({ type }) => type === PT_LOAD)
    .sort((a, b) => a.address - b.address);

function wordsOf(pid: number, base: number, plain: string): Omit<Memory, "pages"> {
  const file = Deno.readFileSync(plain);
  const view = new DataView(file.buffer);
  const { relocations, count, sealed, sealedSize } = deferRelocations(file).deferred;
  using mem = Deno.openSync(`/proc/${pid}/mem`);
  const parts = loads(file).map(({ address, memorySize }) => {
    const bytes = new Uint8Array(memorySize);
    mem.seekSync(base + address, Deno.SeekMode.Start);
    for (let at = 0; at < memorySize;) at += mem.readSync(bytes.subarray(at))!;
    return { address, end: address + memorySize, view: new DataView(bytes.buffer) };
  });
  const others = { sealed: 0, written: 0 };
  // The table lies in the first segment, where addresses are offsets in the file.
  for (let at = relocations; at < relocations + count * RELA; at += RELA) {
    const target = Number(view.getBigUint64(at, true)), addend = view.getBigInt64(at + 16, true);
    const part = parts.find(({ address, end }) => target >= address && target < end)!;
    if (part.view.getBigUint64(target - part.address, true) === BigInt(base) + addend) continue;
    if (target >= sealed && target < sealed + sealedSize) others.sealed++;
    else others.written++;
  }
  return { words: count, others };
}

async function answering(path: string): Promise<void> {
  for (let i = 0; i < 1000; i++) {
    try {
      return (await Deno.connect({ transport: "unix", path })).close();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
  assert.fail(`${path} does not answer within 10 s`);
}
