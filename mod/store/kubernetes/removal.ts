/**
 * The revision of a deletion. The API server answers a DELETE of a custom resource with a Status that
 * does not tell it, so it is taken from the watch of that one object: its DELETED event has it.
 */
import type { Revision } from "../store.ts";
import type { KubeObject, KubeResource, KubernetesApi } from "./api.ts";
import { ApiError, Unreachable } from "./failure.ts";
import { revisionOf } from "./source.ts";

const PATIENCE_MS = 5000;

/** Deletes the object as it is: its UID and revision must still be the same. */
export async function removeObject(
  api: KubernetesApi,
  resource: KubeResource,
  object: KubeObject,
): Promise<Revision> {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  const answer = await api.remove(resource, name, namespace, { uid, resourceVersion });
  // A finalizer, or the grace that a pod has, holds it back: it is only marked.
  const { deletionTimestamp, finalizers, deletionGracePeriodSeconds } = answer.metadata ?? {};
  if (deletionTimestamp && (finalizers?.length || deletionGracePeriodSeconds > 0)) {
    return revisionOf(answer as KubeObject);
  }
  return await deletion(api, resource, object);
}

async function deletion(
  api: KubernetesApi,
  resource: KubeResource,
  object: KubeObject,
): Promise<Revision> {
  const { name, namespace, uid } = object.metadata;
  const abort = new AbortController();
  const cancel = api.clock.after(PATIENCE_MS, () => abort.abort());
  const narrowing = { namespace, fieldSelector: `metadata.name=${name}` };
  try {
    for await (const event of api.watch(resource, narrowing, revisionOf(object), abort.signal)) {
      if (event.type === "DELETED" && event.object.metadata.uid === uid) {
        return revisionOf(event.object);
      }
    }
  } catch (error) {
    if (!(error instanceof ApiError || error instanceof Unreachable)) throw error;
  } finally {
    cancel();
    abort.abort();
  }
  // Not before the deletion, at least.
  return await api.revision(resource, narrowing);
}
