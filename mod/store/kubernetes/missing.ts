/**
 * Kinds that the API server does not serve: a CRD that is not installed (yet), ClusterNetworkPolicy on
 * most clusters. They count as kinds without objects and are asked for again now and then.
 *
 * A server that does not know a kind may also answer 403 where our role does not name it. Whether the
 * kind is served, everybody may read in the discovery document; a kind that is served and forbidden is
 * an error, since a policy that is not seen is a door that stays open.
 */
import type { Clock } from "../clock.ts";
import type { KubernetesApi } from "./api.ts";
import { ApiError } from "./failure.ts";
import type { Source } from "./source.ts";

export class Missing {
  /** When it was last seen not to be there. */
  readonly #seenMs = new Map<Source, number>();

  constructor(readonly api: KubernetesApi, readonly clock: Clock, readonly forgetMs: number) {}

  /** Known not to be served, and not to be asked yet. */
  isKnown(source: Source): boolean {
    const seen = this.#seenMs.get(source);
    if (seen === undefined) return false;
    if (this.clock.monotonicMs() - seen < this.forgetMs) return true;
    this.#seenMs.delete(source);
    return false;
  }

  /** Whether an error means that the kind is not served. */
  async note(source: Source, error: unknown): Promise<boolean> {
    if (!(error instanceof ApiError)) return false;
    const missing = error.status === 404 ||
      (error.status === 403 && !await this.api.isServed(source.resource));
    if (missing) this.#seenMs.set(source, this.clock.monotonicMs());
    return missing;
  }

  /** Asks whether it is served by now. */
  async isStill(source: Source): Promise<boolean> {
    if (await this.api.isServed(source.resource)) {
      this.#seenMs.delete(source);
      return false;
    }
    this.#seenMs.set(source, this.clock.monotonicMs());
    return true;
  }
}
