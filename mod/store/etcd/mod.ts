/** The etcd driver's door. */
import type { EtcdLocation } from "../location.ts";
import type { OpenOptions } from "../open.ts";
import { type Store, StoreError } from "../store.ts";

export function openEtcd(_location: EtcdLocation, _options: OpenOptions = {}): Promise<Store> {
  return Promise.reject(
    new StoreError("denied", "this build has no driver for etcd; name another with --store"),
  );
}
