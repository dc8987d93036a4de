/**
 * Opens the datastore that a location names. Each driver is imported when it is needed, so that no
 * command and no plugin call loads one that it does not use.
 *
 * What cannot be reached is StoreError "unavailable" (trying again may help), what refuses us is
 * "denied", and what is wrong with the location itself (a key file that is not there) is "invalid"; the
 * message says which datastore, why, and what to do.
 */

import { clusterInformationKind } from "../model/cluster_information.ts";
import { resourceKey } from "../model/keys.ts";
import type { DatastoreLocation } from "./location.ts";
import type { Store } from "./store.ts";

export interface OpenOptions {
  /** The embedded store: how long to wait for a former owner that is about to end. Default 0. */
  readonly waitMs?: number;
  /** How long an operation may take while the store does not answer. Default: the driver's own. */
  readonly patienceMs?: number;
  /**
   * Not to ask the datastore anything yet: a service that keeps on trying opens it while it is away.
   * Without it, a store that does not answer now is no store.
   */
  readonly lazily?: boolean;
  /** A Kubernetes API beside another datastore, for Kubernetes' own objects. */
  readonly beside?: boolean;
  /** Hears what is wrong and does not keep the store from going on, for a service's log. */
  readonly onTrouble?: (message: string) => void;
  /** Hears of each thing once that a Kubernetes API has taken otherwise than it was sent. */
  readonly onWarning?: (message: string) => void;
}

/** The store at this location; the caller closes it. */
export async function openDatastore(
  location: DatastoreLocation,
  options: OpenOptions = {},
): Promise<Store> {
  switch (location.kind) {
    case "kv": {
      const { openKv } = await import("./kv.ts");
      return await openKv(location.path, { waitMs: options.waitMs });
    }
    case "socket": {
      const { remoteStore } = await import("./remote.ts");
      const { patienceMs, lazily } = options;
      const store = remoteStore(location.path, patienceMs === undefined ? {} : { patienceMs });
      if (!lazily) await ask(store);
      return store;
    }
    case "etcd": {
      const { openEtcd } = await import("./etcd/mod.ts");
      return await openEtcd(location, options);
    }
    case "kubernetes": {
      const { openKubernetes } = await import("./kubernetes/mod.ts");
      return await openKubernetes(location, options);
    }
  }
}

/** Asks the store for one thing, so that one that is not there is known now; closes it then. */
async function ask(store: Store): Promise<void> {
  try {
    await store.get(resourceKey(clusterInformationKind, "default"));
  } catch (error) {
    await store.close();
    throw error;
  }
}
