/**
 * Callers that are no peers. Each is refused; who it was is kept for a while, so that somebody who
 * wonders why a session does not come up can see that the other end did call, and from which address
 * (mostly: another one than the peer is configured with). A caller that goes on calling fills neither
 * the log nor the memory.
 */
import { formatIp, type Ip } from "../mod/net/mod.ts";
import type { Clock } from "./transport.ts";

/** Milliseconds after the last call for which a stranger is remembered. */
const MEMORY = 600_000;

const MOST = 32;

export interface Stranger {
  readonly address: string;
  /** Calls refused. */
  readonly calls: number;
  /** The last one; milliseconds since 1970. */
  readonly at: number;
}

export class Strangers {
  readonly #known = new Map<string, Stranger>();

  constructor(private readonly clock: Clock) {}

  /** A call has been refused; whether it is worth a line in the log. */
  refused(address: Ip): boolean {
    this.#forgetOld();
    const text = formatIp(address);
    const calls = this.#known.get(text)?.calls ?? 0;
    this.#known.delete(text); // the last to call stands last
    if (this.#known.size >= MOST) {
      const [oldest] = this.#known.keys();
      this.#known.delete(oldest);
    }
    this.#known.set(text, { address: text, calls: calls + 1, at: this.clock.wallTime() });
    return calls === 0;
  }

  /** These are peers now. */
  welcome(addresses: readonly Ip[]): void {
    for (const address of addresses) this.#known.delete(formatIp(address));
  }

  list(): Stranger[] {
    this.#forgetOld();
    return [...this.#known.values()];
  }

  #forgetOld(): void {
    const since = this.clock.wallTime() - MEMORY;
    for (const [key, { at }] of this.#known) if (at < since) this.#known.delete(key);
  }
}
