/** Archives for the tests of this folder, made by the formats' own rules. */
import { crc32 } from "node:zlib";

type Bytes = Uint8Array<ArrayBuffer>;

export const bytesOf = (text: string): Bytes => new TextEncoder().encode(text);

export function join(...parts: Bytes[]): Bytes {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

async function compressed(bytes: Bytes, form: CompressionFormat): Promise<Bytes> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream(form));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A tar archive (ustar) of the files. */
export function tar(files: Record<string, Bytes>): Bytes {
  const parts: Bytes[] = [];
  for (const [name, content] of Object.entries(files)) {
    const header = new Uint8Array(512);
    const put = (at: number, text: string) => header.set(bytesOf(text), at);
    put(0, name);
    put(124, `${content.length.toString(8).padStart(11, "0")}\0`);
    put(148, " ".repeat(8));
    const sum = header.reduce((n, byte) => n + byte, 0);
    put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
    parts.push(header, content, new Uint8Array((512 - content.length % 512) % 512));
  }
  return join(...parts, new Uint8Array(1024));
}

export const gzip = (bytes: Bytes) => compressed(bytes, "gzip");

/** A zip archive of one file. */
export async function zip(name: string, content: Bytes, stored = false): Promise<Bytes> {
  const data = stored ? content : await compressed(content, "deflate-raw");
  const title = bytesOf(name);
  /** Little-endian numbers: [size in bytes, value]. */
  const record = (...fields: [number, number][]): Bytes =>
    new Uint8Array(
      fields.flatMap(([size, n]) => Array.from({ length: size }, (_, i) => n >>> 8 * i & 255)),
    );
  /** The fields that both headers share, from "version needed" to "extra length". */
  const shared: [number, number][] = [
    [2, 20],
    [2, 0],
    [2, stored ? 0 : 8],
    [4, 0],
    [4, crc32(content)],
    [4, data.length],
    [4, content.length],
    [2, title.length],
    [2, 0],
  ];
  const local = join(record([4, 0x04034b50], ...shared), title, data);
  const central = join(
    record([4, 0x02014b50], [2, 20], ...shared, [2, 0], [2, 0], [2, 0], [4, 0], [4, 0]),
    title,
  );
  const end = record(
    [4, 0x06054b50],
    [4, 0],
    [2, 1],
    [2, 1],
    [4, central.length],
    [4, local.length],
    [2, 0],
  );
  return join(local, central, end);
}
