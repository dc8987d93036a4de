/**
 * What is collected, and the file that it goes into. A part that cannot be had is told in the archive
 * (`errors.txt`) and to the user; the rest is collected all the same. Everything passes `redact`.
 */
import { fileReason } from "../files.ts";
import { failure, type Io } from "../io.ts";
import { redact } from "./redact.ts";
import { tar, type TarFile } from "./tar.ts";

export class Collection {
  readonly #files = new Map<string, TarFile>();
  readonly #errors: string[] = [];
  readonly #encoder = new TextEncoder();

  /** @param root the folder in the archive */
  constructor(readonly root: string, readonly io: Io, readonly now: number) {}

  /** A part, made now; `say` is told to the user. */
  async add(name: string, make: () => string | Promise<string>, say?: string): Promise<void> {
    if (say) this.io.stdout(`${say}\n`);
    try {
      this.put(name, await make());
    } catch (error) {
      this.missing(name, (error as Error).message);
    }
  }

  put(name: string, text: string): void {
    const path = this.#pathOf(name);
    const content = this.#encoder.encode(redact(text));
    this.#files.set(path, { name: path, content, modified: this.now });
  }

  missing(name: string, why: string): void {
    this.#errors.push(`${name}: ${why}`);
    this.io.stderr(redact(`warning: without ${name}: ${why}`) + "\n");
  }

  /** Writes it for this user alone; a failure leaves no file. */
  async write(folder: string, name: string): Promise<string> {
    if (this.#errors.length > 0) this.put("errors.txt", this.#errors.map((e) => `${e}\n`).join(""));
    let path = `${folder.replace(/\/+$/, "")}/${name}`;
    let made = false;
    try {
      const [file, free] = await createNew(path);
      path = free;
      made = true;
      await ReadableStream.from(tar(this.#files.values()))
        .pipeThrough(new CompressionStream("gzip"))
        .pipeTo(file.writable);
      return path;
    } catch (error) {
      if (made) await Deno.remove(path).catch(() => {});
      throw failure(`the archive ${path} cannot be written: ${fileReason(error)}`);
    }
  }

  /** Names come from files and resources too. */
  #pathOf(name: string): string {
    const safe = `${this.root}/${name}`.split("/")
      .map((part) => part.replace(/[^\x20-\x7e]/g, "_").replace(/^\.+$/, "_").slice(0, 90))
      .join("/");
    if (safe.length <= 240 && !this.#files.has(safe)) return safe;
    return `${safe.slice(0, 200)}-${this.#files.size}`;
  }
}

/** A new file; one that is there (of the same second) is kept, and the next gets `-2`. */
async function createNew(path: string): Promise<[Deno.FsFile, string]> {
  for (let n = 1;; n++) {
    const free = n === 1 ? path : path.replace(/(\.tar\.gz)?$/, `-${n}$1`);
    try {
      return [await Deno.open(free, { write: true, createNew: true, mode: 0o600 }), free];
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists) || n === 100) throw error;
    }
  }
}

/** `20261122_134106`, in UTC. */
export function stampOf(now: number): string {
  return new Date(now).toISOString().replace(/[-:]/g, "").replace("T", "_").slice(0, 15);
}

export function outputFolder(io: Io, given: string | undefined): string {
  return given || io.env("TMPDIR") || "/tmp";
}
