/**
 * Whole command lines in this process: words in, exit code and both streams out, against a store in
 * memory that is served over a real socket, as a node service serves it.
 */
import { run } from "../../mod/cli/main.ts";
import type { Io } from "../../mod/cli/io.ts";
import { denoConnection } from "../../mod/rpc/connect.ts";
import { RpcServer } from "../../mod/rpc/server.ts";
import type { Methods } from "../../mod/rpc/method.ts";
import { memoryStore } from "../../mod/store/memory.ts";
import { Resources } from "../../mod/store/resources.ts";
import { serveStore } from "../../mod/store/serve.ts";
import type { Store } from "../../mod/store/store.ts";

export interface Answer {
  readonly exit: number;
  readonly out: string;
  readonly err: string;
}

export interface CallOptions {
  readonly stdin?: string;
  readonly env?: Record<string, string>;
  readonly name?: string;
}

/** One command line, its environment holding nothing but what is given. */
export async function command(
  words: readonly string[],
  options: CallOptions = {},
): Promise<Answer> {
  let [out, err] = ["", ""];
  const io: Io = {
    stdout: (text) => void (out += text),
    stderr: (text) => void (err += text),
    stdin: () => Promise.resolve(options.stdin ?? ""),
    env: (name) => options.env?.[name],
    signal: new AbortController().signal,
  };
  const exit = await run(words, { io, name: options.name });
  return { exit, out, err };
}

/** A store at a socket, and a folder for files. */
export class Cluster {
  readonly resources: Resources;
  /** What a test has started beside it, and how that ends. */
  readonly endings: (() => Promise<void>)[] = [];

  private constructor(
    readonly folder: string,
    readonly store: Store,
    readonly close: () => Promise<void>,
  ) {
    this.resources = new Resources(store);
  }

  static async start(methods: Methods = {}): Promise<Cluster> {
    const folder = await Deno.makeTempDir({ prefix: "tortie-cli-" });
    const store = memoryStore();
    const server = new RpcServer({ methods: { ...serveStore(store), ...methods } });
    const listener = Deno.listen({ transport: "unix", path: `${folder}/tortie.sock` });
    const accepting = (async () => {
      for await (const connection of listener) server.accept(denoConnection(connection));
    })();
    return new Cluster(folder, store, async () => {
      listener.close();
      await accepting;
      await server.close();
      await store.close();
      await Deno.remove(folder, { recursive: true });
    });
  }

  /** A command line that finds this cluster as the node of this machine; words separated by blanks. */
  run(line: string | readonly string[], options: CallOptions = {}): Promise<Answer> {
    const words = typeof line === "string" ? line.split(" ") : line;
    return command(words, {
      ...options,
      env: { TORTIE_RUN_DIR: this.folder, TORTIE_STATE_DIR: this.folder, ...options.env },
    });
  }

  /** Writes a file and returns its path. */
  async file(name: string, text: string): Promise<string> {
    const path = `${this.folder}/${name}`;
    await Deno.mkdir(path.replace(/\/[^/]*$/, ""), { recursive: true });
    await Deno.writeTextFile(path, text);
    return path;
  }
}

/** A test with a cluster of its own. */
export function test(
  name: string,
  body: (cluster: Cluster) => Promise<void>,
  methods: Methods = {},
): void {
  Deno.test(name, async () => {
    const cluster = await Cluster.start(methods);
    try {
      await body(cluster);
    } finally {
      for (const end of cluster.endings.reverse()) await end();
      await cluster.close();
    }
  });
}
