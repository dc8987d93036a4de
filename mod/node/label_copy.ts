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
import { ResourceError, type Resources } from "../store/resources.ts";
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

/** Endpoints whose copy was found right for a pod as it still is. */
const right = new WeakMap<WorkloadEndpoint, PodFacts>();

/** Brings the copies up to date, one after the other; throws what the datastore refuses. */
export async function copyLabels(state: ClusterState, resources: Resources): Promise<void> {
  const others: [WorkloadEndpoint, PodFacts][] = [];
  state.endpoints.forEach((endpoint) => {
    const pod = podOf(state, endpoint);
    if (pod && right.get(endpoint) !== pod) others.push([endpoint, pod]);
  });
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
      // Gone meanwhile, with its pod.
      if (!(error instanceof ResourceError && error.kind === "notFound")) throw error;
    }
  }
}
