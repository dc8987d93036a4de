/**
 * A tar archive of files, as POSIX has it (ustar, IEEE 1003.1-1988): for each file a header of 512 bytes and
 * its content, filled up to whole blocks; two empty blocks end it.
 */
const BLOCK = 512;
const encoder = new TextEncoder();

export interface TarFile {
  /** Relative, with slashes; names beyond ASCII and of more than 255 bytes are refused. */
  readonly name: string;
  readonly content: Uint8Array;
  /** In milliseconds since 1970. */
  readonly modified: number;
}

/** The archive, piece by piece. */
export function* tar(files: Iterable<TarFile>): Generator<Uint8Array<ArrayBuffer>> {
  for (const { name, content, modified } of files) {
    yield header(name, content.length, modified);
    yield content.slice();
    const rest = content.length % BLOCK;
    if (rest > 0) yield new Uint8Array(BLOCK - rest);
  }
  yield new Uint8Array(2 * BLOCK);
}

function header(name: string, size: number, modified: number): Uint8Array<ArrayBuffer> {
  const block = new Uint8Array(BLOCK);
  const put = (at: number, text: string) => block.set(encoder.encode(text), at);
  const number = (at: number, width: number, value: number) =>
    put(at, value.toString(8).padStart(width - 1, "0"));
  const [prefix, base] = split(name);
  put(0, base);
  number(100, 8, 0o600);
  number(108, 8, 0); // user
  number(116, 8, 0); // group
  number(124, 12, size);
  number(136, 12, Math.floor(modified / 1000));
  put(148, " ".repeat(8)); // counted as blanks in the sum
  put(156, "0"); // a regular file
  put(257, "ustar\0" + "00");
  put(345, prefix);
  const sum = block.reduce((all, byte) => all + byte, 0);
  put(148, `${sum.toString(8).padStart(6, "0")}\0 `);
  return block;
}

/** At most 100 bytes of name, and 155 of what stands before a slash. */
function split(name: string): [prefix: string, base: string] {
  if (/[^\x20-\x7e]/.test(name)) throw new RangeError(`tar: ${name} is not ASCII`);
  if (name.length <= 100) return ["", name];
  const at = name.indexOf("/", name.length - 101);
  if (at < 0 || at > 155) throw new RangeError(`tar: ${name} is too long`);
  return [name.slice(0, at), name.slice(at + 1)];
}
