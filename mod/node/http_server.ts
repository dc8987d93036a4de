/**
 * The runtime's HTTP server, with an end that comes. Its own `shutdown` waits for every request that it
 * has seen, and waits for good where a connection broke in the very moment in which its request came (one
 * of some thousand such moments; denoland/deno 2.7). A process that is told to stop would not. So the end
 * cuts what is still under way: who asks for a probe asks again.
 */

export interface HttpServer {
  readonly port: number;
  /** Takes nothing new, breaks what is under way, and resolves. */
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
  const server = Deno.serve({
    hostname,
    port,
    ...(cert !== undefined && key !== undefined && { cert, key }),
    signal: over.signal,
    onListen: () => {},
    onError: (error) => new Response(`${(error as Error).message}\n`, { status: 500 }),
  }, handle);
  return {
    port: server.addr.port,
    close: () => {
      over.abort();
      return server.finished;
    },
  };
}
