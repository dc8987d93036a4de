/**
 * An endpoint's labels are at all times its pod's: policy joins the two itself. The copy in the
 * WorkloadEndpoint is for people and for other programs, and the node that owns the endpoint keeps it
 * up to date, here: after a turn in which pods or endpoints of this node have changed.
 */
import { KUBERNETES_RESOURCES } from "../model/keys.ts";
import {
  endpointLabels,
  type WorkloadEndpoint,
  workloadEndpointKind,
} from "../model/workload_endpoint.ts";
import { ResourceError, type ResourceErrorKind, type Resources } from "../store/resources.ts";
import type { ClusterState, PodFacts } from "./state.ts";

/** Keys of endpoints' pods; an endpoint that changes is another object. */
const podKeys = new WeakMap<WorkloadEndpoint, string>();

/** The pod of an endpoint, where it has one that is known. */
function podOf(state: ClusterState, endpoint: WorkloadEndpoint): PodFacts | undefined {
  const { metadata: { namespace = "default" }, spec } = endpoint;
  if (spec.orchestrator !== "k8s") return undefined;
  let key = podKeys.get(endpoint);
  if (!key) {
    podKeys.set(endpoint, key = `${KUBERNETES_RESOURCES}pods/${namespace}/${spec.pod}`);
  }
  return state.pods.get(key);
}

/** The labels that an endpoint should have; undefined where its pod is not known. */
export function wantedLabels(
  state: ClusterState,
  endpoint: WorkloadEndpoint,
): Record<string, string> | undefined {
  const pod = podOf(state, endpoint);
  const { metadata: { namespace = "default" } } = endpoint;
  return pod && endpointLabels(pod.labels, namespace, "k8s", pod.account);
}

function same(a: Readonly<Record<string, string>>, b: Readonly<Record<string, string>>): boolean {
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((n) => a[n] === b[n]);
}

/** What one endpoint fails of, and with it all others. */
const OF_ALL: ReadonlySet<ResourceErrorKind> = new Set(["unavailable", "denied"]);

/** Endpoints whose copy was found right for a pod as it still is. */
const right = new WeakMap<WorkloadEndpoint, PodFacts>();

/**
 * Brings the copies up to date, one after the other. An endpoint that cannot be written keeps no other from
 * its labels: what is wrong with it is thrown at the end. A datastore that cannot be reached, or refuses us,
 * ends it at once.
 */
export async function copyLabels(state: ClusterState, resources: Resources): Promise<void> {
  const others: [WorkloadEndpoint, PodFacts][] = [];
  state.endpoints.forEach((endpoint) => {
    const pod = podOf(state, endpoint);
    if (pod && right.get(endpoint) !== pod) others.push([endpoint, pod]);
  });
  const failed: ResourceError[] = [];
  for (const [endpoint, pod] of others) {
    const labels = wantedLabels(state, endpoint)!;
    if (same(labels, endpoint.metadata.labels ?? {})) {
      right.set(endpoint, pod);
      continue;
    }
    const { name, namespace } = endpoint.metadata;
    try {
      await resources.modify(
        workloadEndpointKind,
        name,
        namespace,
        (stored: WorkloadEndpoint) =>
          same(labels, stored.metadata.labels ?? {})
            ? undefined
            : { ...stored, metadata: { ...stored.metadata, labels } },
      );
    } catch (error) {
      if (!(error instanceof ResourceError) || OF_ALL.has(error.kind)) throw error;
      // Gone meanwhile, with its pod.
      if (error.kind !== "notFound") failed.push(error);
    }
  }
  if (failed.length > 1) {
    throw new Error(`${failed[0].message}; so it is with ${failed.length - 1} more`);
  }
  if (failed.length > 0) throw failed[0];
}
