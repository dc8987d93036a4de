/**
 * The endpoints of the cluster, joined from WorkloadEndpoints, Pods and profiles (which come from
 * Namespaces, ServiceAccounts and Profile objects). Any of the parts may change or come first; what
 * is joined again is remembered as dirty until the engine asks.
 */
import { formatPrefix, parsePrefix } from "../mod/net/mod.ts";
import { calicoProfile } from "./calico.ts";
import { type EffectiveProfile, everything } from "./effective.ts";
import {
  type Endpoint,
  joinEndpoint,
  parseProfileName,
  type PodFacts,
  podFacts,
  UNKNOWN_LABELS,
  type WorkloadFacts,
  workloadFacts,
} from "./endpoint.ts";
import {
  labelsOf,
  listOf,
  type NetworkSetObject,
  type PodObject,
  type PolicyObject,
  type ProfileObject,
  type WorkloadEndpointObject,
} from "./inputs.ts";
import { namespaceProfile, serviceAccountProfile } from "./kubernetes.ts";
import type { Family } from "./rules.ts";
import { NAMESPACE_LABEL } from "./selectors.ts";
import { addTo, deleteFrom } from "./multimap.ts";

/** A NetworkSet or GlobalNetworkSet, with the labels of its namespace. */
export interface JoinedNetworkSet {
  readonly labels: ReadonlyMap<string, string>;
  readonly nets: Readonly<Record<Family, readonly string[]>>;
}

interface NetworkSetFacts {
  readonly namespace: string;
  readonly labels: readonly (readonly [string, string])[];
  readonly nets: Readonly<Record<Family, readonly string[]>>;
}

/** What is kept of a Namespace or ServiceAccount. */
interface Labelled extends PolicyObject {
  readonly closes: boolean;
}

/** A profile that is always there, as Calico's. */
export const DEFAULT_ALLOW = "projectcalico-default-allow";
const defaultAllow: EffectiveProfile = {
  name: DEFAULT_ALLOW,
  labels: [],
  rules: { ingress: [everything("allow")], egress: [everything("allow")] },
  problems: [],
};

/** The first of those whose labels are not all known; a profile's name in the datastore has no space. */
const unknownLabels: EffectiveProfile = {
  name: UNKNOWN_LABELS,
  labels: [],
  rules: { ingress: [everything("deny")], egress: [everything("deny")] },
  problems: [],
};

export class Workloads {
  readonly #workloads = new Map<string, WorkloadFacts>();
  readonly #pods = new Map<string, PodFacts>();
  readonly #endpoints = new Map<string, Endpoint>();
  readonly #networkSets = new Map<string, NetworkSetFacts>();
  readonly #namespaces = new Map<string, Labelled>();
  readonly #accounts = new Map<string, Labelled>();
  readonly #stored = new Map<string, EffectiveProfile>();
  /** Profiles by name as they were last worked out; absent: not yet, or not since a change. */
  readonly #profiles = new Map<string, EffectiveProfile | undefined>();

  readonly #byPod = new Map<string, Set<string>>();
  readonly #byProfile = new Map<string, Set<string>>();
  readonly #setsByNamespace = new Map<string, Set<string>>();

  readonly #everyNode: string | undefined;
  readonly #dirtyEndpoints = new Set<string>();
  readonly #dirtySets = new Set<string>();
  readonly #dirtyProfiles = new Set<string>();

  /**
   * `everyNode`: all endpoints are seen at once, so interfaces get names that no two nodes share, with
   * this prefix.
   */
  constructor(everyNode: string | undefined) {
    this.#everyNode = everyNode;
  }

  /** `closes`, here and below: its labels are not all known (`stored_object.ts`). */
  setWorkload(key: string, object: WorkloadEndpointObject | undefined, closes = false): void {
    const before = this.#workloads.get(key);
    if (before?.podKey) deleteFrom(this.#byPod, before.podKey, key);
    if (object) {
      const read = { ...workloadFacts(object), closes };
      const facts = this.#everyNode === undefined
        ? read
        : { ...read, interfaceName: read.interfaceName && `${this.#everyNode}/${key}` };
      this.#workloads.set(key, facts);
      if (facts.podKey) addTo(this.#byPod, facts.podKey, key);
    } else this.#workloads.delete(key);
    this.#dirtyEndpoints.add(key);
  }

  setPod(key: string, object: PodObject | undefined, closes = false): void {
    if (object) this.#pods.set(key, { ...podFacts(object), closes });
    else this.#pods.delete(key);
    for (const endpoint of this.#byPod.get(key) ?? []) this.#dirtyEndpoints.add(endpoint);
  }

  setNamespace(name: string, object: PolicyObject | undefined, closes = false): void {
    if (object) {
      this.#namespaces.set(name, { metadata: { labels: object.metadata?.labels }, closes });
    } else this.#namespaces.delete(name);
    this.#profileChanged(`kns.${name}`);
    for (const set of this.#setsByNamespace.get(name) ?? []) this.#dirtySets.add(set);
  }

  /** `key`: `namespace/name`. */
  setAccount(key: string, object: PolicyObject | undefined, closes = false): void {
    if (object) this.#accounts.set(key, { metadata: { labels: object.metadata?.labels }, closes });
    else this.#accounts.delete(key);
    this.#profileChanged(`ksa.${key.replace("/", ".")}`);
  }

  setProfile(name: string, object: ProfileObject | undefined): EffectiveProfile | undefined {
    const profile = object && calicoProfile(object);
    if (profile) this.#stored.set(name, profile);
    else this.#stored.delete(name);
    this.#profileChanged(name);
    const parsed = parseProfileName(name);
    if (parsed?.is === "namespace") {
      for (const set of this.#setsByNamespace.get(parsed.namespace) ?? []) {
        this.#dirtySets.add(set);
      }
    }
    return profile;
  }

  /** `key`: `namespace/name`, or `/name` for a GlobalNetworkSet. */
  setNetworkSet(key: string, object: NetworkSetObject | undefined): void {
    const before = this.#networkSets.get(key);
    if (before && before.namespace !== "") {
      deleteFrom(this.#setsByNamespace, before.namespace, key);
    }
    this.#networkSets.delete(key);
    if (object) {
      const namespace = key.slice(0, key.indexOf("/"));
      const nets: Record<Family, string[]> = { 4: [], 6: [] };
      for (const text of listOf(object.spec?.nets)) {
        const prefix = typeof text === "string" ? parsePrefix(text) : undefined;
        if (prefix) nets[prefix.ip.family].push(formatPrefix(prefix));
      }
      this.#networkSets.set(key, { namespace, labels: labelsOf(object.metadata?.labels), nets });
      if (namespace !== "") addTo(this.#setsByNamespace, namespace, key);
    }
    this.#dirtySets.add(key);
  }

  endpoint(key: string): Endpoint | undefined {
    return this.#endpoints.get(key);
  }

  endpoints(): Iterable<Endpoint> {
    return this.#endpoints.values();
  }

  /**
   * What a name stands for. A namespace's profile comes from the Namespace object; a stored Profile
   * of that name (a copy that a controller made) serves where there is none; without either the
   * namespace counts as there, for no pod can be in one that is not. In all three it has its name for a
   * label.
   */
  profile(name: string): EffectiveProfile | undefined {
    if (this.#profiles.has(name)) return this.#profiles.get(name);
    const profile = this.#workOut(name);
    this.#profiles.set(name, profile);
    return profile;
  }

  #workOut(name: string): EffectiveProfile | undefined {
    if (name === UNKNOWN_LABELS) return unknownLabels;
    const parsed = parseProfileName(name);
    switch (parsed?.is) {
      case "namespace": {
        const object = this.#namespaces.get(parsed.namespace);
        if (object) return { ...namespaceProfile(parsed.namespace, object), closes: object.closes };
        const implied = namespaceProfile(parsed.namespace);
        const stored = this.#stored.get(name);
        if (!stored) return implied;
        const labels = new Map([...implied.labels, ...stored.labels]);
        return { ...stored, labels: [...labels] };
      }
      case "account": {
        const object = this.#accounts.get(`${parsed.namespace}/${parsed.account}`);
        return object
          ? {
            ...serviceAccountProfile(parsed.namespace, parsed.account, object),
            closes: object.closes,
          }
          : this.#stored.get(name);
      }
      default:
        return this.#stored.get(name) ?? (name === DEFAULT_ALLOW ? defaultAllow : undefined);
    }
  }

  #profileChanged(name: string): void {
    this.#profiles.delete(name);
    this.#dirtyProfiles.add(name);
    for (const endpoint of this.#byProfile.get(name) ?? []) this.#dirtyEndpoints.add(endpoint);
  }

  /** Profiles whose objects changed since the last call. */
  takeProfiles(): string[] {
    const names = [...this.#dirtyProfiles];
    this.#dirtyProfiles.clear();
    // What no endpoint uses need not be kept.
    for (const name of names) if (!this.#byProfile.has(name)) this.#profiles.delete(name);
    return names;
  }

  /** Keys of endpoints that may differ since the last call: each is to be joined anew. */
  takeEndpoints(): string[] {
    const dirty = [...this.#dirtyEndpoints];
    this.#dirtyEndpoints.clear();
    return dirty;
  }

  /** It is not done with: the next call gives it again. */
  retakeEndpoint(key: string): void {
    this.#dirtyEndpoints.add(key);
  }

  /** Joins an endpoint anew: as it was and as it is. */
  rejoin(key: string): { before: Endpoint | undefined; after: Endpoint | undefined } {
    const before = this.#endpoints.get(key);
    const facts = this.#workloads.get(key);
    let after: Endpoint | undefined;
    if (facts) {
      const pod = facts.podKey === undefined ? undefined : this.#pods.get(facts.podKey);
      after = joinEndpoint(facts, pod, (name) => this.profile(name));
      this.#endpoints.set(key, after);
    } else this.#endpoints.delete(key);
    for (const name of before?.profiles ?? []) {
      if (after?.profiles.includes(name)) continue;
      deleteFrom(this.#byProfile, name, key);
      if (!this.#byProfile.has(name)) this.#profiles.delete(name);
    }
    for (const name of after?.profiles ?? []) addTo(this.#byProfile, name, key);
    return { before, after };
  }

  /** Keys of network sets that may differ since the last call. */
  takeNetworkSets(): string[] {
    const dirty = [...this.#dirtySets];
    this.#dirtySets.clear();
    return dirty;
  }

  /** It is not done with: the next call gives it again. */
  retakeNetworkSet(key: string): void {
    this.#dirtySets.add(key);
  }

  /** A network set with all its labels; undefined: there is none. */
  networkSet(key: string): JoinedNetworkSet | undefined {
    const facts = this.#networkSets.get(key);
    if (!facts) return undefined;
    const labels = new Map<string, string>();
    if (facts.namespace !== "") {
      const inherited = this.profile(`kns.${facts.namespace}`)?.labels ?? [];
      for (const [label, value] of inherited) labels.set(label, value);
    }
    for (const [label, value] of facts.labels) labels.set(label, value);
    if (facts.namespace !== "") labels.set(NAMESPACE_LABEL, facts.namespace);
    return { labels, nets: facts.nets };
  }
}
