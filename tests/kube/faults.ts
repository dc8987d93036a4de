/**
 * Faults that a test orders: answers that come late, that are errors, that never come because the
 * connection breaks, before the work was done or after it. The first fault that fits a request is done;
 * one with `times` wears out.
 */
import { type ApiError, failure, internal, tooManyRequests } from "./status.ts";

/** A request as a fault sees it. */
export interface Call {
  method: string;
  /** With the query. */
  path: string;
  /** get, list, watch, create, update, patch, delete, deletecollection; "" outside of resources. */
  verb: string;
  /** Plural; "" outside of resources. */
  resource: string;
  namespace: string;
  name: string;
  user: string;
}

export interface Fault {
  /** Absent: all requests. */
  match?: (call: Call) => boolean;
  /** How often; absent: until it is taken away. */
  times?: number;
  /** Milliseconds before the work is done. */
  delay?: number;
  /** Answered instead of doing the work. */
  status?: number;
  /**
   * Answered instead of doing the work, as it is, with `status` or 200: what a proxy says in the
   * server's place.
   */
  text?: string;
  /** Seconds, with status 429 or 503. */
  retryAfter?: number;
  /** Breaks the connection before the work, or after it in place of the answer. */
  drop?: "request" | "answer";
}

export class Faults {
  #active: { fault: Fault; left: number }[] = [];

  /** The result takes it away. */
  add(fault: Fault): () => void {
    const entry = { fault, left: fault.times ?? Infinity };
    this.#active.push(entry);
    return () => {
      this.#active = this.#active.filter((e) => e !== entry);
    };
  }

  clear(): void {
    this.#active = [];
  }

  /** The fault for this request, if any; it counts as done. */
  take(call: Call): Fault | undefined {
    const entry = this.#active.find(({ fault, left }) => left > 0 && (fault.match?.(call) ?? true));
    if (!entry) return undefined;
    entry.left--;
    if (entry.left <= 0) this.#active = this.#active.filter((e) => e !== entry);
    return entry.fault;
  }
}

/** What a fault with a status answers. */
export function faultError(fault: Fault): ApiError {
  switch (fault.status) {
    case 429:
      return tooManyRequests(fault.retryAfter ?? 1);
    case 500:
      return internal("etcdserver: leader changed");
    case 503:
      return failure(
        503,
        "ServiceUnavailable",
        "the server is currently unable to handle the request",
        fault.retryAfter ? { retryAfterSeconds: fault.retryAfter } : undefined,
      );
    default:
      return failure(fault.status!, "", `ordered by the test: ${fault.status}`);
  }
}
