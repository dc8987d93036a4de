/**
 * The runtime's HTTP server, with an end that comes. Its own `shutdown` waits for every request that it
 * has seen, and waits for good where a connection broke in the very moment in which its request came (one
 * of some thousand such moments; denoland/deno 2.7). A process that is told to stop would not. So the end
 * gives handlers that are at work a moment, and then breaks all connections: who asks for a probe asks
 * again.
 */

/** Milliseconds for those that are at work. */
const GRACE_MS = 500;

export interface HttpServer {
  readonly port: number;
  /** Resolves when all is over, which is soon. */
  close(): Promise<void>;
}

export type HttpHandler = Deno.ServeHandler<Deno.NetAddr>;

/** `port` 0: one that is free; `cert` and `key`, PEM: over TLS. Throws where it cannot listen. */
export function serveHttp(
  at: { hostname: string; port: number; cert?: string; key?: string },
  handle: HttpHandler,
): HttpServer {
  const over = new AbortController();
  const { hostname, port, cert, key } = at;
  const working = new Set<Promise<unknown>>();
  const server = Deno.serve({
    hostname,
    port,
    ...(cert !== undefined && key !== undefined && { cert, key }),
    signal: over.signal,
    onListen: () => {},
    onError: (error) => new Response(`${(error as Error).message}\n`, { status: 500 }),
  }, async (request, info) => {
    const work = Promise.try(handle, request, info);
    working.add(work);
    try {
      return await work;
    } finally {
      working.delete(work);
    }
  });
  return {
    port: server.addr.port,
    async close() {
      await withinGrace(Promise.allSettled(working));
      over.abort();
      await server.finished;
    },
  };
}

async function withinGrace(work: Promise<unknown>): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, GRACE_MS);
  await Promise.race([work, promise]);
  clearTimeout(timer);
}
