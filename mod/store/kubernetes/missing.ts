/**
 * Kinds that the API server does not serve: a CRD that is not installed (yet), ClusterNetworkPolicy on
 * most clusters. They count as kinds without objects and are asked for again now and then.
 *
 * A server that does not know a kind answers 404, or 403 where our role does not name it. Whether the
 * kind is served, everybody may read in the discovery document, and that alone counts (`api.ts` asks it
 * for each 404): a kind that is served, and is forbidden or not found for the moment, is an error, since
 * a policy that is not seen is a door that stays open.
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

  /** undefined: the error means that the kind is not served, which is noted. Else what it means. */
  async meaning(source: Source, error: unknown): Promise<unknown> {
    if (!(error instanceof ApiError) || (error.status !== 404 && error.status !== 403)) {
      return error;
    }
    try {
      if (error.status === 403 && await this.api.isServed(source.resource)) return error;
    } catch (failure) {
      return failure;
    }
    this.#seenMs.set(source, this.clock.monotonicMs());
    return undefined;
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
