import assert from "node:assert/strict";
import { tar } from "./tar.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

async function unpacked(archive: BlobPart[]): Promise<Record<string, string>> {
  const folder = await Deno.makeTempDir();
  try {
    const file = `${folder}/a.tar`;
    await Deno.writeFile(file, new Uint8Array(await new Blob(archive).arrayBuffer()));
    const { success, stderr } = await new Deno.Command("tar", {
      args: ["-xf", file, "-C", folder],
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    await Deno.remove(file);
    const found: Record<string, string> = {};
    const walk = async (path: string) => {
      for await (const entry of Deno.readDir(`${folder}/${path}`)) {
        const below = path === "" ? entry.name : `${path}/${entry.name}`;
        if (entry.isDirectory) await walk(below);
        else {
          const { size, mode, mtime } = await Deno.stat(`${folder}/${below}`);
          found[below] = `${size} ${(mode! & 0o777).toString(8)} ${mtime!.toISOString()}`;
        }
      }
    };
    await walk("");
    return found;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("tar(1) unpacks what is written: sizes about a block, long names, times", async () => {
  const modified = Date.UTC(2026, 10, 22, 13, 41, 6, 500);
  const long = `d/${"x".repeat(90)}/${"y".repeat(90)}`;
  const sizes = { empty: 0, one: 1, less: 511, block: 512, more: 513, [long]: 20_000 };
  const files = Object.entries(sizes).map(([name, size]) => ({
    name,
    content: bytes("z".repeat(size)),
    modified,
  }));
  const found = await unpacked([...tar(files)]);
  const want = Object.entries(sizes)
    .map(([name, size]) => [name, `${size} 600 2026-11-22T13:41:06.000Z`]);
  assert.deepEqual(found, Object.fromEntries(want));
});

Deno.test("names that ustar cannot hold are refused", () => {
  for (const name of ["ä", "a\nb", "x".repeat(101), `${"d".repeat(160)}/${"e".repeat(90)}`]) {
    assert.throws(() => [...tar([{ name, content: bytes(""), modified: 0 }])], RangeError, name);
  }
});
