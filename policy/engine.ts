/**
 * The policy engine: objects in, rulesets out. It keeps what follows from what, so that one changed
 * endpoint, policy or label costs what it touches and nothing more:
 *
 *   objects -> workloads (endpoints joined from WEP, Pod, profiles)
 *           -> subjects index: which policies apply to which local endpoint -> classes -> bodies
 *           -> set registry: which address belongs to which set in use
 *           -> output: chains of policies, profiles, groups, endpoints; dispatch maps
 *
 * Only endpoints of this node get chains; members of sets come from all endpoints. A policy has
 * chains while it applies to a local endpoint, a set exists while a chain names it. What comes out
 * depends on the objects alone, never on the order in which they came: an engine that was fed the
 * present objects afresh gives the same rulesets (engine_test.ts walks random paths to show it).
 *
 * Host endpoints, pre-DNAT and untracked policies are not rendered yet; policies of the latter two
 * kinds never applied to workloads.
 */
import { compareCodePoints } from "../mod/selector/selector.ts";
import { formatIp, parseIp } from "../mod/net/mod.ts";
import { Bodies, type Body } from "./bodies.ts";
import { calicoPolicy } from "./calico.ts";
import { type Direction, directions, type EffectivePolicy, policyKey } from "./effective.ts";
import { type Endpoint, sameContribution, sameLabels } from "./endpoint.ts";
import { FixedSets } from "./fixed_sets.ts";
import {
  type CalicoPolicyObject,
  type Change,
  type EndpointSliceObject,
  type InputKind,
  inputKind,
  type KubernetesPolicyObject,
  listOf,
  type PolicyObject,
  textOf,
  type TierObject,
} from "./inputs.ts";
import { kubernetesPolicy } from "./kubernetes.ts";
import { LabelIndex } from "./label_index.ts";
import { addTo, deleteFrom } from "./multimap.ts";
import { endpointChain, policyChain, policyLabel, profileChain } from "./names.ts";
import { Output } from "./output.ts";
import { defaultParameters, type PolicyParameters } from "./parameters.ts";
import { type PolicyClass, PolicyClasses, type SubjectNumber } from "./policy_classes.ts";
import { protocolNumber } from "./protocol.ts";
import { dispatchMaps } from "./render_endpoint.ts";
import { type RenderedRules, renderRules } from "./render_rule.ts";
import type { Family, PolicyId, Ruleset, RulesetDelta } from "./rules.ts";
import { type Contribution, SetRegistry } from "./set_registry.ts";
import { staticChains } from "./static_chains.ts";
import { samePlace, type Subject, Subjects } from "./subjects.ts";
import { Workloads } from "./workloads.ts";

const families: readonly Family[] = [4, 6];

/** Something of an object that the engine cannot understand, and what it does instead. */
export interface Problem {
  /** `KubernetesNetworkPolicy default/allow-web`. */
  readonly object: string;
  readonly message: string;
}

interface PolicyEntry {
  policy: EffectivePolicy;
  subject: Subject;
  /** What stands in the output for it, by `direction/family`. */
  readonly rendered: Map<string, RenderedRules>;
}

interface EndpointEntry {
  endpoint: Endpoint;
  /** Subjects that came (true) and went (false) in this update. */
  readonly delta: Map<SubjectNumber, boolean>;
  policyClass: PolicyClass;
  body?: Body;
}

export class PolicyEngine {
  readonly parameters: PolicyParameters;
  readonly #workloads: Workloads;
  readonly #sets = new SetRegistry();
  readonly #fixed: FixedSets;
  readonly #output = new Output();
  readonly #classes = new PolicyClasses();

  readonly #policies = new Map<string, PolicyEntry>();
  readonly #subjects = new Subjects();
  readonly #bodies: Bodies;
  readonly #problems = new Map<string, readonly string[]>();
  /** EndpointSlice -> the service that it names. */
  readonly #sliceServices = new Map<string, string>();
  /** What endpoints bring into sets, by endpoint. */
  readonly #contributions = new Map<string, Contribution>();

  /** Endpoints of this node. */
  readonly #local = new Map<string, EndpointEntry>();
  /** Interface -> keys of local endpoints that claim it; the first by name has it. */
  readonly #interfaces = new Map<string, Set<string>>();
  /** Which subjects select which local endpoints. */
  readonly #index = new LabelIndex<EndpointEntry>((selectorId, entry, matches) =>
    this.#selected(selectorId, entry, matches)
  );
  readonly #profileRendered = new Map<string, RenderedRules>();

  // What one update has still to do.
  readonly #changedPolicies = new Map<string, EffectivePolicy | undefined>();
  readonly #moved = new Set<EndpointEntry>();
  readonly #dirtyTiers = new Set<string>();
  readonly #dirtySubjects = new Set<SubjectNumber>();
  readonly #dirtyPolicies = new Map<string, PolicyEntry>();
  readonly #dirtyProfiles = new Set<string>();
  readonly #dirtyInterfaces = new Set<string>();

  #staticKey: Record<Family, string> = { 4: "", 6: "" };
  #staticNames: Record<Family, readonly string[]> = { 4: [], 6: [] };
  #spoofing = new Map<string, Endpoint>();
  #revision = 0;
  #taken: Record<Family, number> = { 4: 0, 6: 0 };

  constructor(parameters: Partial<PolicyParameters> = {}) {
    this.parameters = { ...defaultParameters, ...parameters };
    this.#workloads = new Workloads(this.parameters.nodeName === undefined);
    this.#fixed = new FixedSets(this.#sets, this.parameters);
    this.#bodies = new Bodies({
      subjects: this.#subjects,
      output: this.#output,
      parameters: this.parameters,
      hasRules: (profile, direction) =>
        (this.#workloads.profile(profile)?.rules[direction]?.length ?? 0) > 0,
      profileUsed: (direction, profile) => this.#renderProfile(direction, profile),
      changed: (body) => {
        for (const name of body.interfaces.keys()) this.#dirtyInterfaces.add(name);
      },
    });
    this.update([]);
  }

  /** Counts updates; what a delta or a ruleset was made of. */
  get revision(): number {
    return this.#revision;
  }

  /** Takes changes of objects in; the rulesets are up to date when it returns. */
  update(changes: Iterable<Change>): void {
    for (const change of changes) {
      if ("put" in change) {
        const { apiVersion, kind, metadata } = change.put;
        const name = textOf(metadata?.name);
        const input = inputKind(textOf(apiVersion), textOf(kind));
        if (input && name !== "") this.#take(input, textOf(metadata?.namespace), name, change.put);
      } else {
        const { apiVersion, kind, namespace, name } = change.remove;
        const input = inputKind(apiVersion, kind);
        if (input) this.#take(input, namespace ?? "", name, undefined);
      }
    }
    this.#settle();
    this.#revision++;
  }

  #take(kind: InputKind, namespace: string, name: string, object: PolicyObject | undefined): void {
    // Names go into selectors, keys and chains; no store of Kubernetes or Calico has others.
    if (!/^[^\s'"/]+$/.test(name) || !/^[^\s'"/]*$/.test(namespace)) return;
    const inNamespace = `${namespace || "default"}/${name}`;
    switch (kind) {
      case "WorkloadEndpoint":
        return this.#workloads.setWorkload(inNamespace, object);
      case "Pod":
        return this.#workloads.setPod(inNamespace, object);
      case "Namespace":
        return this.#workloads.setNamespace(name, object);
      case "ServiceAccount":
        return this.#workloads.setAccount(inNamespace, object);
      case "NetworkSet":
        return this.#workloads.setNetworkSet(inNamespace, object);
      case "GlobalNetworkSet":
        return this.#workloads.setNetworkSet(`/${name}`, object);
      case "Profile": {
        const profile = this.#workloads.setProfile(name, object);
        return this.#report(`Profile ${name}`, profile?.problems ?? []);
      }
      case "Tier":
        return this.#takeTier(name, object);
      case "IPPool":
        return this.#fixed.setPool(name, object);
      case "Node":
        return this.#fixed.setNode(name, object);
      case "EndpointSlice":
        return this.#takeSlice(namespace || "default", name, object);
      case "NetworkPolicy":
        return this.#takePolicy(
          { kind, namespace: namespace || "default", name },
          object && calicoPolicy(object as CalicoPolicyObject, kind),
        );
      case "GlobalNetworkPolicy":
        return this.#takePolicy(
          { kind, namespace: "", name },
          object && calicoPolicy(object as CalicoPolicyObject, kind),
        );
      case "KubernetesNetworkPolicy":
        return this.#takePolicy(
          { kind, namespace: namespace || "default", name },
          object && kubernetesPolicy(object as KubernetesPolicyObject),
        );
    }
  }

  #takePolicy(
    id: Pick<PolicyId, "kind" | "namespace" | "name">,
    read: EffectivePolicy | { readonly problem?: string } | undefined,
  ): void {
    const label = `${id.kind} ${id.namespace === "" ? id.name : `${id.namespace}/${id.name}`}`;
    if (read && "subject" in read) {
      this.#changedPolicies.set(policyKey(id), read);
      this.#report(label, read.problems);
    } else {
      this.#changedPolicies.set(policyKey(id), undefined);
      this.#report(label, read?.problem ? [read.problem] : []);
    }
  }

  #takeTier(name: string, object: TierObject | undefined): void {
    const { order, defaultAction } = object?.spec ?? {};
    this.#subjects.setTier(
      name,
      object && {
        order: typeof order === "number" ? order : Infinity,
        defaultAction: defaultAction === "Pass" ? "Pass" : "Deny",
      },
    );
    this.#dirtyTiers.add(name);
  }

  #takeSlice(namespace: string, name: string, object: EndpointSliceObject | undefined): void {
    // A slice names its service by label, so a slice that is gone is taken from every service.
    const slice = `${namespace}/${name}`;
    const service = object?.metadata?.labels?.["kubernetes.io/service-name"];
    const before = this.#sliceServices.get(slice);
    if (before !== undefined && before !== service) {
      this.#sets.setService(`${namespace}/${before}`, slice, undefined);
      this.#sliceServices.delete(slice);
    }
    if (!object || !service) return;
    this.#sliceServices.set(slice, service);
    this.#sets.setService(`${namespace}/${service}`, slice, {
      addresses: listOf(object.endpoints)
        .filter((e) => e?.conditions?.ready !== false)
        .flatMap((e) => listOf(e?.addresses))
        .map((a) => typeof a === "string" ? parseIp(a) : undefined)
        .filter((ip) => ip !== undefined)
        .map(formatIp),
      ports: listOf(object.ports).flatMap((p) => {
        const protocol = protocolNumber(p?.protocol ?? "TCP");
        return protocol !== undefined && Number.isInteger(p?.port)
          ? [{ protocol, port: p.port! }]
          : [];
      }),
    });
  }

  #report(object: string, messages: readonly string[]): void {
    if (messages.length > 0) this.#problems.set(object, messages);
    else this.#problems.delete(object);
  }

  /** Objects of which something could not be understood, in the order of their names. */
  problems(): Problem[] {
    return [...this.#problems].sort(([a], [b]) => compareCodePoints(a, b))
      .flatMap(([object, messages]) => messages.map((message) => ({ object, message })));
  }

  /** All endpoints of the cluster. */
  endpoints(): Iterable<Endpoint> {
    return this.#workloads.endpoints();
  }

  /** Whether this endpoint has chains here; without an interface there is nothing to hang them on. */
  isLocal(endpoint: Endpoint): boolean {
    const { nodeName } = this.parameters;
    return endpoint.interfaceName !== "" && (nodeName === undefined || endpoint.node === nodeName);
  }

  /** What a set holds, in words; undefined for a name that is no set in use. */
  describeSet(family: Family, name: string): string | undefined {
    return this.#sets.describe(family, name);
  }

  /** All that should stand in the kernel. A copy: later updates do not change it. */
  ruleset(family: Family): Ruleset {
    const sets = this.#sets.snapshot(family);
    for (const map of this.#output.maps()) sets.set(map.name, map);
    return { family, revision: this.#revision, chains: this.#output.chains(family), sets };
  }

  /**
   * What changed since the last call for this family (at first: everything); undefined if nothing
   * did. Applied to what stood at the last call it gives `ruleset(family)`.
   */
  changes(family: Family): RulesetDelta | undefined {
    const chains = this.#output.takeChains(family);
    const sets = this.#sets.takeChanges(family);
    for (const [name, change] of this.#output.takeMaps(family)) sets.set(name, change);
    const from = this.#taken[family];
    this.#taken[family] = this.#revision;
    if (chains.size + sets.size === 0) return undefined;
    return { family, from, to: this.#revision, chains, sets };
  }

  // From here on: what an update has to do once all objects are taken in. The order matters: labels
  // before matches, matches before classes, classes before rules, rules before the sets they name.

  #settle(): void {
    for (const name of this.#workloads.takeProfiles()) this.#dirtyProfiles.add(name);
    for (const { key, before, after } of this.#workloads.takeEndpoints()) {
      this.#settleEndpoint(key, before, after);
    }
    for (const [key, set] of this.#workloads.takeNetworkSets()) {
      const item = `set ${key}`;
      if (!set) this.#sets.removeItem(item);
      else {
        this.#sets.setItem(item, set.labels, {
          nets: set.nets,
          addresses: { 4: [], 6: [] },
          ports: [],
        });
      }
    }
    for (const [key, policy] of this.#changedPolicies) this.#settlePolicy(key, policy);
    this.#changedPolicies.clear();
    for (const entry of this.#moved) this.#settleClass(entry);
    this.#moved.clear();
    this.#settleBodies();
    for (const [key, entry] of this.#dirtyPolicies) this.#renderPolicy(key, entry);
    this.#dirtyPolicies.clear();
    for (const name of this.#dirtyInterfaces) this.#renderInterface(name);
    this.#dirtyInterfaces.clear();
    this.#classes.sweep();
    this.#renderStatic();
  }

  #settleEndpoint(key: string, before: Endpoint | undefined, after: Endpoint | undefined): void {
    const item = `endpoint ${key}`;
    if (!after) this.#sets.removeItem(item);
    else if (!before || !sameContribution(before, after)) {
      const contribution = contributionOf(after);
      this.#sets.setItem(item, after.labels, contribution);
      this.#contributions.set(key, contribution);
    } else if (!sameLabels(before.labels, after.labels)) {
      this.#sets.setItem(item, after.labels, this.#contributions.get(key)!);
    }
    if (!after) this.#contributions.delete(key);

    let entry = this.#local.get(key);
    if (!after || !this.isLocal(after)) {
      if (entry) this.#forget(key, entry);
      return;
    }
    if (!entry) {
      entry = { endpoint: after, delta: new Map(), policyClass: this.#classes.none };
      this.#classes.enter(entry.policyClass);
      this.#local.set(key, entry);
      this.#claim(key, after);
    } else if (entry.endpoint.interfaceName !== after.interfaceName) {
      this.#unclaim(key, entry.endpoint);
      this.#claim(key, after);
      if (entry.body) this.#bodies.leave(entry.body, entry.endpoint.interfaceName);
      entry.body = undefined;
    }
    if (after.spoofing.length > 0) this.#spoofing.set(key, after);
    else this.#spoofing.delete(key);
    const relabelled = !before || !sameLabels(entry.endpoint.labels, after.labels) ||
      entry.endpoint === after;
    entry.endpoint = after;
    if (relabelled) this.#index.setItem(entry, after.labels);
    this.#moved.add(entry);
  }

  #forget(key: string, entry: EndpointEntry): void {
    this.#index.removeItem(entry);
    entry.delta.clear();
    this.#moved.delete(entry);
    if (entry.body) this.#bodies.leave(entry.body, entry.endpoint.interfaceName);
    this.#classes.leave(entry.policyClass);
    this.#unclaim(key, entry.endpoint);
    this.#spoofing.delete(key);
    this.#local.delete(key);
  }

  #claim(key: string, { interfaceName }: Endpoint): void {
    addTo(this.#interfaces, interfaceName, key);
    this.#dirtyInterfaces.add(interfaceName);
  }

  #unclaim(key: string, { interfaceName }: Endpoint): void {
    deleteFrom(this.#interfaces, interfaceName, key);
    this.#dirtyInterfaces.add(interfaceName);
  }

  /** A subject begins or ceases to select a local endpoint. */
  #selected(selectorId: string, entry: EndpointEntry, matches: boolean): void {
    const subject = this.#subjects.bySelector(selectorId)!;
    const { number } = subject;
    if (entry.delta.get(number) === !matches) entry.delta.delete(number);
    else entry.delta.set(number, matches);
    this.#moved.add(entry);
    // With the first its policies get their chains, with the last they lose them.
    if (this.#index.itemsOf(selectorId).size !== (matches ? 1 : 0)) return;
    for (const key of subject.policies.keys()) {
      this.#dirtyPolicies.set(key, this.#policies.get(key)!);
    }
  }

  #settlePolicy(key: string, policy: EffectivePolicy | undefined): void {
    const entry = this.#policies.get(key);
    const before = entry?.policy;
    if (!policy && !entry) return;
    if (entry && (!policy || policy.subject.id !== before!.subject.id)) {
      this.#subjects.remove(entry.subject, key);
      this.#dirtySubjects.add(entry.subject.number);
      if (entry.subject.policies.size === 0) this.#unselect(entry.subject);
    }
    if (policy) {
      const subject = this.#subjects.add(key, policy);
      if (entry) {
        entry.policy = policy;
        entry.subject = subject;
      } else this.#policies.set(key, { policy, subject, rendered: new Map() });
      this.#dirtyPolicies.set(key, this.#policies.get(key)!);
      this.#index.addSelector(policy.subject);
      if (!before || !samePlace(before, policy)) this.#dirtySubjects.add(subject.number);
    } else {
      this.#policies.delete(key);
      this.#dirtyPolicies.set(key, entry!);
    }
  }

  /** A subject without policies selects nobody any more. */
  #unselect({ selector, number }: Subject): void {
    for (const entry of this.#index.itemsOf(selector.id)) {
      if (entry.delta.get(number) === true) entry.delta.delete(number);
      else entry.delta.set(number, false);
      this.#moved.add(entry);
    }
    this.#index.removeSelector(selector.id);
  }

  /** Brings an endpoint to the class and the body that it belongs to now. */
  #settleClass(entry: EndpointEntry): void {
    const next = this.#classes.after(entry.policyClass, entry.delta);
    entry.delta.clear();
    const { endpoint: { profiles, interfaceName }, body } = entry;
    if (body?.policyClass === next && sameList(body.profiles, profiles)) return;
    this.#classes.enter(next);
    this.#classes.leave(entry.policyClass);
    entry.policyClass = next;
    if (body) this.#bodies.leave(body, interfaceName);
    entry.body = this.#bodies.enter(next, profiles, interfaceName);
    this.#dirtyInterfaces.add(interfaceName);
  }

  #settleBodies(): void {
    const profiles = this.#dirtyProfiles, tiers = this.#dirtyTiers, subjects = this.#dirtySubjects;
    if (profiles.size + tiers.size + subjects.size > 0) {
      this.#bodies.touch((body) => {
        if (body.profiles.some((p) => profiles.has(p))) return true;
        for (const number of body.policyClass.subjects) {
          if (subjects.has(number) || (tiers.size > 0 && this.#subjects.isIn(number, tiers))) {
            return true;
          }
        }
        return false;
      });
    }
    this.#bodies.render();
    for (const name of profiles) {
      for (const direction of directions) {
        if (this.#bodies.isProfileUsed(direction, name)) this.#renderProfile(direction, name);
      }
    }
    profiles.clear();
    tiers.clear();
    subjects.clear();
  }

  /** Chains and sets of a policy, or their end if it is gone or selects nobody here. */
  #renderPolicy(policyKey: string, entry: PolicyEntry): void {
    const { policy, rendered } = entry;
    const active = this.#policies.get(policyKey) === entry &&
      this.#index.itemsOf(policy.subject.id).size > 0;
    for (const direction of directions) {
      const rules = policy.rules[direction];
      const name = policyChain(direction, policy.id);
      for (const family of families) {
        const key = `${direction}/${family}`;
        const before = rendered.get(key);
        const after = active && rules
          ? renderRules(
            rules,
            family,
            direction,
            `${policyLabel(policy.id)} ${direction}`,
            (rule) => ({ is: "policy", policy: policy.id, rule }),
            this.parameters,
          )
          : undefined;
        if (after) rendered.set(key, after);
        else rendered.delete(key);
        this.#useSets(family, before, after);
        this.#output.setChain(family, name, after && { name, rules: after.rules });
      }
    }
  }

  #renderProfile(direction: Direction, profile: string): void {
    const name = profileChain(direction, profile);
    const used = this.#bodies.isProfileUsed(direction, profile);
    const rules = this.#workloads.profile(profile)?.rules[direction] ?? [];
    for (const family of families) {
      const key = `${direction}/${family}/${profile}`;
      const before = this.#profileRendered.get(key);
      const after = used
        ? renderRules(
          rules,
          family,
          direction,
          `Profile ${profile} ${direction}`,
          (rule) => ({ is: "profile", profile, rule }),
          this.parameters,
        )
        : undefined;
      if (after) this.#profileRendered.set(key, after);
      else this.#profileRendered.delete(key);
      this.#useSets(family, before, after);
      this.#output.setChain(family, name, after && { name, rules: after.rules });
    }
  }

  /** New sets are taken before old ones are given back, so that those in both stay as they are. */
  #useSets(
    family: Family,
    before: RenderedRules | undefined,
    after: RenderedRules | undefined,
  ): void {
    for (const [id, spec] of after?.sets ?? []) this.#sets.acquire(family, id, spec);
    for (const id of before?.sets.keys() ?? []) this.#sets.release(family, id);
  }

  #renderInterface(interfaceName: string): void {
    const claims = this.#interfaces.get(interfaceName);
    const owner = claims && [...claims].sort(compareCodePoints)[0];
    const body = owner === undefined ? undefined : this.#local.get(owner)?.body;
    for (const direction of directions) {
      const name = endpointChain(direction, interfaceName);
      this.#output.setBoth(name, body && { name, rules: body.rules[direction] });
      this.#output.setVerdict(
        dispatchMaps[direction],
        interfaceName,
        body && { do: "goto", chain: name },
      );
    }
  }

  #renderStatic(): void {
    for (const family of families) {
      const inputs = {
        vxlan: this.#fixed.vxlan(family),
        ipip: this.#fixed.ipip(),
        masquerade: this.#fixed.masquerades(family),
        spoofing: this.#spoofingOf(family),
      };
      const key = JSON.stringify(inputs);
      if (this.#staticKey[family] === key) continue;
      this.#staticKey[family] = key;
      const chains = staticChains(family, this.parameters, inputs);
      const names = chains.map((c) => c.name);
      for (const chain of chains) this.#output.setChain(family, chain.name, chain);
      for (const name of this.#staticNames[family]) {
        if (!names.includes(name)) this.#output.setChain(family, name, undefined);
      }
      this.#staticNames[family] = names;
    }
  }

  #spoofingOf(family: Family): { interfaceName: string; prefix: string }[] {
    if (this.#spoofing.size === 0) return [];
    return [...this.#spoofing].sort(([a], [b]) => compareCodePoints(a, b))
      .flatMap(([, { interfaceName, spoofing }]) =>
        spoofing.filter((p) => p.includes(":") === (family === 6))
          .map((prefix) => ({ interfaceName, prefix }))
      );
  }
}

function contributionOf(endpoint: Endpoint): Contribution {
  const { addresses, ports } = endpoint;
  return {
    nets: {
      4: addresses[4].map((a) => `${a}/32`),
      6: addresses[6].map((a) => `${a}/128`),
    },
    addresses,
    ports,
  };
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
