/**
 * Policies that Calico's controllers (and ours) make of Kubernetes' own, on a datastore of etcd: their
 * names are the controllers', who write them anew as Kubernetes has them. calicoctl's commands refuse
 * such a name, and so do ours, but for `tortie delete`: where there is no Kubernetes any more, nobody
 * else takes them away. (`validate` knows the name, as Calico's validator.)
 */
import type { AnyKind } from "../model/kinds.ts";
import { networkPolicyKind } from "../model/network_policy.ts";
import type { Metadata } from "../model/resource.ts";
import { ResourceError, resourceName } from "../store/resource_error.ts";

const PREFIX = "knp.default.";

export function refuseManaged(kind: AnyKind, { name, namespace }: Metadata): void {
  if (kind !== networkPolicyKind as AnyKind || !name.startsWith(PREFIX)) return;
  const resource = resourceName(kind.kind, name, namespace);
  throw new ResourceError(
    "refused",
    resource,
    `${resource} has the name of a policy that is made of Kubernetes' NetworkPolicy "${
      name.slice(PREFIX.length)
    }": kubernetes network policies must be managed through the kubernetes API`,
  );
}
