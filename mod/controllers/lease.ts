/**
 * One leader at a time, by a Lease in the store in Kubernetes' own form (coordination.k8s.io/v1). The
 * rule is client-go's, and trusts no clock but one's own: who sees the same revision of the lease for as
 * long as it lasts takes it over by compare-and-swap; the leader writes it anew in a third of that time,
 * and stops leading after two thirds without having been able to. Where the store can, the lease has a
 * time to live too, so that nothing is left of controllers that are gone.
 *
 * Two who lead at once, as after a pause of the whole machine, do no harm: every action of theirs is a
 * compare-and-swap on what they have seen. The lease is there to spare the store the double work.
 */
import { CONTROLLERS_LEASE } from "../model/keys.ts";
import { isBroken, readRaw } from "../store/raw.ts";
import type { BrokenEntry, Entry, Revision, Store } from "../store/store.ts";
import { StoreError } from "../store/store.ts";

export const LEASE_KEY = CONTROLLERS_LEASE;

export interface LeaseOptions {
  /** Who we are: unique for each process. */
  readonly holder: string;
  /** How long a lease lasts without a word. */
  readonly seconds: number;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Milliseconds since 1970, for people. */
  readonly wall: () => number;
}

export type LeaseState =
  | { readonly is: "leader" }
  | { readonly is: "standby"; readonly leader: string }
  /** The store can keep no lease: everybody leads. */
  | { readonly is: "unled"; readonly why: string };

interface LeaseSpec {
  holderIdentity?: string;
  leaseTransitions?: number;
  acquireTime?: string;
}

/** What is half-written, or no lease, is nobody's: whoever is first writes it anew. */
function specOf(entry: Entry<{ spec?: unknown } | null> | BrokenEntry | undefined): LeaseSpec {
  if (!entry || isBroken(entry)) return {};
  const spec = (entry.value?.spec ?? {}) as Record<keyof LeaseSpec, unknown>;
  const { holderIdentity, leaseTransitions, acquireTime } = spec;
  return {
    ...(typeof holderIdentity === "string" && { holderIdentity }),
    ...(Number.isInteger(leaseTransitions) && { leaseTransitions: leaseTransitions as number }),
    ...(typeof acquireTime === "string" && { acquireTime }),
  };
}

export class Lease {
  #seen: { revision: Revision; at: number } | undefined;
  #renewed = -Infinity;
  #state: LeaseState = { is: "standby", leader: "" };
  #ttl = true;

  constructor(readonly store: Store, readonly options: LeaseOptions) {}

  /** Whether we lead now. */
  get state(): LeaseState {
    const { now, seconds } = this.options;
    if (this.#state.is === "leader" && now() - this.#renewed >= seconds * 1000 * 2 / 3) {
      this.#state = { is: "standby", leader: "" };
    }
    return this.#state;
  }

  /** Milliseconds until `turn` should be called again. */
  get pause(): number {
    return this.options.seconds * 1000 / (this.state.is === "leader" ? 3 : 5);
  }

  /** Takes, renews or watches the lease; throws what the store throws. */
  async turn(): Promise<LeaseState> {
    const { now, seconds, holder } = this.options;
    const asked = now();
    try {
      const entry = await readRaw<{ spec?: unknown } | null>(this.store, LEASE_KEY);
      const spec = specOf(entry);
      const mine = spec.holderIdentity === holder;
      if (entry && !mine && spec.holderIdentity) {
        // From after it was read: it may have been written a moment before.
        if (this.#seen?.revision !== entry.revision) {
          this.#seen = { revision: entry.revision, at: now() };
        }
        if (now() - this.#seen.at < seconds * 1000) {
          return this.#state = { is: "standby", leader: spec.holderIdentity };
        }
      }
      const revision = await this.#write(
        entry?.revision,
        this.#object(mine ? spec : undefined, spec),
      );
      this.#seen = { revision, at: asked };
      // From before it was written: for nobody does it last longer than for us.
      this.#renewed = asked;
      return this.#state = { is: "leader" };
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (error.kind === "invalid" || error.kind === "denied") {
        return this.#state = { is: "unled", why: error.message };
      }
      const raced = error.kind === "exists" || error.kind === "conflict" ||
        error.kind === "notFound";
      if (!raced) throw error;
      return this.#state = { is: "standby", leader: "" };
    }
  }

  /** Gives the lease up, so that another leads at once. */
  async resign(): Promise<void> {
    if (this.#state.is !== "leader") return;
    this.#state = { is: "standby", leader: "" };
    const { revision } = this.#seen!;
    try {
      await this.store.delete(LEASE_KEY, revision);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      // Another's already, or the store is away: then it ends by itself.
    }
  }

  #object(own: LeaseSpec | undefined, last: LeaseSpec): object {
    const time = `${new Date(this.options.wall()).toISOString().slice(0, -1)}000Z`;
    return {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name: "tortie-controllers", namespace: "kube-system" },
      spec: {
        holderIdentity: this.options.holder,
        leaseDurationSeconds: this.options.seconds,
        acquireTime: own?.acquireTime ?? time,
        renewTime: time,
        leaseTransitions: (last.leaseTransitions ?? -1) + (own ? 0 : 1),
      },
    };
  }

  async #write(revision: Revision | undefined, value: object): Promise<Revision> {
    const write = (ttlSeconds?: number) => {
      const options = ttlSeconds === undefined ? undefined : { ttlSeconds };
      return revision === undefined
        ? this.store.create(LEASE_KEY, value, options)
        : this.store.update(LEASE_KEY, value, revision, options);
    };
    if (!this.#ttl) return await write();
    try {
      // Longer than the lease: it is the rule above that takes it over, this only clears it away.
      return await write(this.options.seconds * 2);
    } catch (error) {
      if (!(error instanceof StoreError && error.kind === "invalid")) throw error;
      this.#ttl = false;
      return await write();
    }
  }
}
