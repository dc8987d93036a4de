/** How a test's Kubernetes API is started. */
import type { Grant } from "./access.ts";
import type { ServerOptions } from "./server.ts";

export interface KubeOptions extends Partial<ServerOptions> {
  /** Where to listen; 127.0.0.1 where absent. */
  host?: string;
  /** Under which address clients find it, if not `host`. */
  advertise?: string;
  /** 0 or absent: any. */
  port?: number;
  /**
   * Offers HTTP/2 too, as real servers do: a client's calls and watches then share one connection. Not
   * offered else, since the runtime's HTTP/2 takes several times as long for a call.
   */
  http2?: boolean;
  /** Names and addresses in the server's certificate, beside the usual. */
  names?: string[];
  /** The revision before the first. */
  revision?: number;
  /** Milliseconds between bookmarks; 0: none but at a watch's end. */
  bookmarks?: number;
  /** Milliseconds since 1970; the clock of deletions and token expiry. */
  now?: () => number;
  /** What users and groups may do; more can be added to `kube.grants`. */
  grants?: Grant[];
}
