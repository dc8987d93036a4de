/**
 * Beside a Kubernetes cluster with a datastore of its own, what Calico's kube-controllers copy there:
 *
 *     Namespace        -> Profile kns.<namespace>
 *     ServiceAccount   -> Profile ksa.<namespace>.<account>
 *     NetworkPolicy    -> NetworkPolicy knp.default.<name>
 *     a Pod's labels   -> its WorkloadEndpoint's
 *
 * What of these names has no original goes. The profiles come from the API as its driver reads them
 * there (`store/kubernetes/native.ts`). Pure: from what should be and what is, the writes.
 */
import { networkPolicyKind } from "../model/network_policy.ts";
import { type ProfileInput, profileKind } from "../model/profile.ts";
import { encodeObject, ModelError, parseObject, readObject } from "../model/validate.ts";
import { endpointLabels } from "../model/workload_endpoint.ts";
import { calicoPolicy, KNP } from "./network_policy.ts";
import type { Loose } from "../ipam/check/evidence.ts";

export type DerivedKind = typeof profileKind | typeof networkPolicyKind;

export type DerivedAction =
  | { readonly do: "put"; readonly kind: DerivedKind; readonly object: Loose }
  | {
    readonly do: "delete";
    readonly kind: DerivedKind;
    readonly name: string;
    readonly namespace?: string;
  }
  | {
    readonly do: "label";
    readonly name: string;
    readonly namespace: string;
    readonly labels: Readonly<Record<string, string>>;
  };

/** As they are in the API; by name, `namespace/name`. */
export interface Originals {
  readonly profiles: ReadonlyMap<string, Loose>;
  readonly policies: ReadonlyMap<string, Loose>;
  pod(namespace: string, name: string): Loose | undefined;
}

/** As they are in the datastore; by name, `namespace/name`, key. */
export interface Copies {
  readonly profiles: ReadonlyMap<string, Loose>;
  readonly policies: ReadonlyMap<string, Loose>;
  readonly endpoints: ReadonlyMap<string, Loose>;
}

export interface Derives {
  readonly policy: boolean;
  readonly namespace: boolean;
  readonly serviceAccount: boolean;
  readonly workloadEndpoint: boolean;
}

export interface Derived {
  readonly actions: readonly DerivedAction[];
  /** Originals of which all or a part cannot be copied, and why; what stands for them is left as it is. */
  readonly faults: readonly string[];
}

/** Whether a profile is one that is derived. */
export const isDerivedProfile = (name: string): boolean => /^k(ns|sa)\../.test(name);
export const isDerivedPolicy = (name: string): boolean => name.startsWith(KNP);

export function derivedActions(originals: Originals, copies: Copies, what: Derives): Derived {
  const actions: DerivedAction[] = [];
  const faults: string[] = [];
  const attempt = (name: string, work: () => DerivedAction | undefined) => {
    try {
      const action = work();
      if (action) actions.push(action);
    } catch (error) {
      faults.push(`${name} is not copied: ${(error as Error).message}`);
    }
  };
  // Policies before the labels that they select by: who is to be closed is closed first.
  if (what.policy) {
    for (const [id, object] of originals.policies) {
      attempt(`NetworkPolicy ${id}`, () => {
        const [namespace, name] = id.split("/");
        const copy = copies.policies.get(`${namespace}/${KNP}${name}`);
        const problems: string[] = [];
        const wanted = calicoPolicy(object, problems);
        faults.push(...problems.map((problem) => `NetworkPolicy ${id}: ${problem}`));
        try {
          return put(networkPolicyKind, wanted, copy);
        } catch (error) {
          if (!(error instanceof ModelError)) throw error;
          // Whom it is for is known, and not whom it lets in: nobody, rather than everybody.
          const { ingress: _in, egress: _out, ...closed } = wanted.spec!;
          faults.push(`NetworkPolicy ${id} is copied without its rules: ${error.message}`);
          return put(networkPolicyKind, { ...wanted, spec: closed }, copy);
        }
      });
    }
  }
  const profiles = (name: string) => name.startsWith("kns.") ? what.namespace : what.serviceAccount;
  for (const [name, { spec }] of originals.profiles) {
    if (!profiles(name)) continue;
    attempt(`Profile ${name}`, () => {
      const object: ProfileInput = {
        kind: "Profile",
        apiVersion: "projectcalico.org/v3",
        metadata: { name },
        spec,
      };
      return put(profileKind, object, copies.profiles.get(name));
    });
  }
  if (what.workloadEndpoint) {
    for (const endpoint of copies.endpoints.values()) {
      const action = labelled(endpoint, originals);
      if (action) actions.push(action);
    }
  }
  for (const name of copies.profiles.keys()) {
    if (originals.profiles.has(name) || !profiles(name)) continue;
    actions.push({ do: "delete", kind: profileKind, name });
  }
  for (const id of what.policy ? copies.policies.keys() : []) {
    const [namespace, name] = id.split("/");
    if (originals.policies.has(`${namespace}/${name.slice(KNP.length)}`)) continue;
    actions.push({ do: "delete", kind: networkPolicyKind, name, namespace });
  }
  return { actions, faults };
}

/** Of an object that is there, the spec alone is compared: the rest is its own. */
function put(kind: Loose, wanted: Loose, copy: Loose): DerivedAction | undefined {
  const object = parseObject<Loose>(kind, wanted);
  if (ordered(specOf(kind, copy)) === ordered(specOf(kind, object))) return undefined;
  return { do: "put", kind, object: wanted };
}

/** With its defaults, without what is empty; undefined for what is no such object. */
function specOf(kind: Loose, copy: Loose): Loose {
  try {
    if (copy === undefined) return undefined;
    return (encodeObject(kind, readObject<Loose>(kind, copy)) as Loose).spec;
  } catch {
    return undefined;
  }
}

function labelled(endpoint: Loose, originals: Originals): DerivedAction | undefined {
  const { metadata, spec } = endpoint ?? {};
  const { name, namespace, labels } = metadata ?? {};
  if (spec?.orchestrator !== "k8s" || !spec.pod || !name || !namespace) return undefined;
  const pod = originals.pod(namespace, spec.pod);
  if (!pod) return undefined;
  const account = pod.spec?.serviceAccountName || "default";
  const wanted = endpointLabels(pod.metadata?.labels, namespace, "k8s", account);
  if (ordered(labels ?? {}) === ordered(wanted)) return undefined;
  return { do: "label", name, namespace, labels: wanted };
}

/** Members in one order: the store may keep another. */
export function ordered(value: unknown): string {
  return JSON.stringify(
    value,
    (_key, v) =>
      typeof v === "bigint"
        ? `${v}`
        : v && typeof v === "object" && !Array.isArray(v)
        ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0))
        : v,
  ) ?? "";
}
