/**
 * The two archive forms that the build meets: a gzipped tar (npm) and a zip (Deno's release). One
 * file is taken out of each, in memory; no external program, so that a machine with only npm can build.
 * A damaged archive is refused: sizes, the tar header's sum and the zip's CRC are looked at.
 */
import { crc32 } from "node:zlib";

async function pipe(
  bytes: Uint8Array<ArrayBuffer>,
  through: DecompressionStream,
): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(through);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** One file of a .tgz. */
export async function untar(
  tgz: Uint8Array<ArrayBuffer>,
  name: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const tar = await pipe(tgz, new DecompressionStream("gzip"));
  const text = (at: number, length: number) =>
    new TextDecoder().decode(tar.subarray(at, at + length)).replace(/\0.*$/s, "");
  for (let at = 0; at + 512 <= tar.length && tar[at] !== 0;) {
    const header = tar.subarray(at, at + 512);
    // The header's sum is taken with its own field as blanks.
    const sum = header.reduce((n, byte, i) => n + (i >= 148 && i < 156 ? 32 : byte), 0);
    const size = parseInt(text(at + 124, 12).trim(), 8);
    if (
      !Number.isSafeInteger(size) || parseInt(text(at + 148, 8).trim(), 8) !== sum ||
      at + 512 + size > tar.length
    ) throw new Error("the tar archive is damaged");
    if (text(at, 100) === name) return tar.slice(at + 512, at + 512 + size);
    at += 512 + Math.ceil(size / 512) * 512;
  }
  throw new Error(`the archive has no file ${name}`);
}

/** One file of a zip, found by its central directory (APPNOTE 4.3.12). */
export async function inflateEntry(
  zip: Uint8Array<ArrayBuffer>,
  name: string,
): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await entryOf(zip, name);
  } catch (error) {
    // An offset that leads out of the file, or a stream that does not inflate.
    if (!(error instanceof RangeError || error instanceof TypeError)) throw error;
    throw new Error(`the zip archive is damaged: ${error.message}`, { cause: error });
  }
}

async function entryOf(
  zip: Uint8Array<ArrayBuffer>,
  name: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const view = new DataView(zip.buffer, zip.byteOffset, zip.byteLength);
  let end = zip.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("not a zip archive");
  let at = view.getUint32(end + 16, true);
  for (let i = view.getUint16(end + 10, true); i > 0; i--) {
    if (view.getUint32(at, true) !== 0x02014b50) throw new Error("the zip archive is damaged");
    const [method, size] = [view.getUint16(at + 10, true), view.getUint32(at + 20, true)];
    const [nameLength, extra, comment] = [28, 30, 32].map((o) => view.getUint16(at + o, true));
    const entry = new TextDecoder().decode(zip.subarray(at + 46, at + 46 + nameLength));
    if (entry === name) {
      const local = view.getUint32(at + 42, true);
      const start = local + 30 + view.getUint16(local + 26, true) +
        view.getUint16(local + 28, true);
      const data = zip.slice(start, start + size);
      const file = method === 0 ? data : await pipe(data, new DecompressionStream("deflate-raw"));
      if (crc32(file) !== view.getUint32(at + 16, true)) {
        throw new Error(`the zip archive is damaged: ${name} has another CRC than it says`);
      }
      return file;
    }
    at += 46 + nameLength + extra + comment;
  }
  throw new Error(`the archive has no file ${name}`);
}
