/** Child processes of the store's tests: started by their file, read line by line, ended by pid. */
import { RUN_MODULE } from "../tools/run_module.ts";

const HERE = new URL(".", import.meta.url).pathname;

export class Child {
  readonly #process: Deno.ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #stdin: WritableStreamDefaultWriter<Uint8Array>;

  constructor(file: string, ...args: string[]) {
    this.#process = new Deno.Command(Deno.execPath(), {
      args: [...RUN_MODULE, `${HERE}${file}`, ...args],
      stdin: "piped",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    this.#stdin = this.#process.stdin.getWriter();
    this.#lines = lines(this.#process.stdout);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** The next line; undefined when there will be none. A line that was cut off is none. */
  async next(): Promise<string | undefined> {
    const { value, done } = await this.#lines.next();
    return done ? undefined : value;
  }

  /** All lines that are still to come. */
  async rest(): Promise<string[]> {
    const rest: string[] = [];
    for (let line; (line = await this.next()) !== undefined;) rest.push(line);
    return rest;
  }

  /** Writes to its standard input, if it still reads. */
  async say(text: string): Promise<void> {
    await this.#stdin.write(new TextEncoder().encode(text)).catch(() => {});
  }

  /** Closes its standard input: the children take that as the wish that they end. */
  async ask(): Promise<void> {
    await this.#stdin.close().catch(() => {});
  }

  /** kill -9. What it had written before may still be read. */
  kill(): void {
    try {
      this.#process.kill("SIGKILL");
    } catch { /* It has ended already. */ }
  }

  async ended(): Promise<Deno.CommandStatus> {
    await this.ask();
    return await this.#process.status;
  }
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let held = "";
  for await (const chunk of stream) {
    const parts = (held + decoder.decode(chunk, { stream: true })).split("\n");
    held = parts.pop()!;
    yield* parts;
  }
}
