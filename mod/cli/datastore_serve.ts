/**
 * `datastore serve`: one process that owns the embedded store and serves it to others over a socket,
 * as one machine's node services and the lab use it. It runs until SIGINT or SIGTERM.
 */
import { KernelError } from "../../ffi/errors.ts";
import { sendDatagram } from "../../ffi/unix.ts";
import { serveSocket } from "../node/socket.ts";
import { logger, startLogging } from "../node/log.ts";
import { openKv } from "../store/kv.ts";
import { serveStore } from "../store/serve.ts";
import { StoreError } from "../store/store.ts";
import { type Call, textOption } from "./command.ts";
import { EXIT, failure, type Io } from "./io.ts";

export async function run(call: Call): Promise<number> {
  const { io } = call;
  const stateDir = io.env("TORTIE_STATE_DIR") || "/var/lib/tortie";
  const runDir = io.env("TORTIE_RUN_DIR") || "/run/tortie";
  const path = textOption(call, "path") ?? `${stateDir}/store.kv`;
  const socket = textOption(call, "socket") ?? `${runDir}/store.sock`;
  await startLogging("info");
  const log = logger("datastore");
  await makeFolder(socket);
  const store = await open(path, socket);
  try {
    const served = serve(socket, store, log);
    try {
      notify(io, "READY=1");
      log.info("serving the datastore", { path, socket });
      await new Promise<void>((resolve) => {
        if (io.signal.aborted) resolve();
        io.signal.addEventListener("abort", () => resolve(), { once: true });
      });
      notify(io, "STOPPING=1");
      log.info("stopping");
    } finally {
      await served.close();
    }
  } finally {
    await store.close();
  }
  return EXIT.ok;
}

async function makeFolder(socket: string): Promise<void> {
  const folder = socket.replace(/\/[^/]*$/, "");
  if (folder === "" || folder === socket) return;
  await Deno.mkdir(folder, { recursive: true, mode: 0o755 });
}

async function open(path: string, socket: string) {
  try {
    // A predecessor that is ending gives the file back in a moment.
    return await openKv(path, { socket, waitMs: 5000 });
  } catch (error) {
    if (error instanceof StoreError) throw failure(error.message);
    throw error;
  }
}

function serve(
  socket: string,
  store: Awaited<ReturnType<typeof openKv>>,
  log: ReturnType<typeof logger>,
) {
  try {
    return serveSocket({ path: socket, methods: serveStore(store), log });
  } catch (error) {
    if (error instanceof KernelError) throw failure(error.message);
    throw error;
  }
}

function notify(io: Io, text: string): void {
  const path = io.env("NOTIFY_SOCKET");
  if (path) sendDatagram(path, text);
}
