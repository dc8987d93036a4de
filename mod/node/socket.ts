/**
 * The node's local socket (`/run/tortie/tortie.sock`): CNI calls, the local API and, where this
 * process holds the embedded store, the store. Only root may connect (the file's mode), and whose
 * process calls is checked on each connection (SO_PEERCRED).
 */
import { listenUnix } from "../../ffi/unix.ts";
import type { CniServer } from "../../cni/server.ts";
import type { Methods } from "../rpc/method.ts";
import { RpcServer } from "../rpc/server.ts";
import type { Log } from "./log.ts";

export interface SocketOptions {
  readonly path: string;
  readonly methods: Methods;
  /** Absent in a process that only serves a store. */
  readonly cni?: CniServer;
  readonly log: Log;
}

export interface LocalSocket {
  /** Ends all conversations. */
  close(): Promise<void>;
}

/** Serves the socket; KernelError EADDRINUSE where another process does already. */
export function serveSocket(options: SocketOptions): LocalSocket {
  const { path, methods, cni, log } = options;
  const server = new RpcServer({
    methods,
    cni: cni && ((request, { deliver }) => cni.handle(request, deliver)),
  });
  const own = Deno.uid();
  const listener = listenUnix(path, (stream) => {
    if (stream.peerUid !== 0 && stream.peerUid !== own) {
      log.warn("refused a caller who is not root", { uid: stream.peerUid, pid: stream.peerPid });
      stream.close();
      return;
    }
    server.accept(stream);
  });
  return {
    async close() {
      listener.close();
      await server.close();
    },
  };
}
