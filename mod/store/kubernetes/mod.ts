/** The kubernetes driver's door. */
import type { KubernetesLocation } from "../location.ts";
import type { OpenOptions } from "../open.ts";
import { type Store, StoreError } from "../store.ts";

export function openKubernetes(
  _location: KubernetesLocation,
  _options: OpenOptions = {},
): Promise<Store> {
  return Promise.reject(
    new StoreError(
      "denied",
      "this build has no driver for Kubernetes' datastore; name another with --store",
    ),
  );
}
