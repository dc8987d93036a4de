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
import { BUILT_IN_TIERS } from "../mod/model/tier.ts";
import { formatIp, parseIp } from "../mod/net/mod.ts";
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
  type TierObject,
} from "./inputs.ts";
import { kubernetesPolicy } from "./kubernetes.ts";
import { LabelIndex } from "./label_index.ts";
import { addTo, deleteFrom } from "./multimap.ts";
import { endpointChain, policyChain, policyLabel, profileChain } from "./names.ts";
import { Output, sameRules } from "./output.ts";
import { defaultParameters, type PolicyParameters } from "./parameters.ts";
import { type PolicyClass, PolicyClasses } from "./policy_classes.ts";
import { protocolNumber } from "./protocol.ts";
import { dispatchMaps, endpointRules, groupChainOf, type TierPolicies } from "./render_endpoint.ts";
import { type RenderedRules, renderRules } from "./render_rule.ts";
import type { Chain, Family, PolicyId, Rule, Ruleset, RulesetDelta } from "./rules.ts";
import { type Contribution, SetRegistry } from "./set_registry.ts";
import { staticChains } from "./static_chains.ts";
import { Workloads } from "./workloads.ts";

const families: readonly Family[] = [4, 6];

/** Something of an object that the engine cannot understand, and what it does instead. */
export interface Problem {
  /** `KubernetesNetworkPolicy default/allow-web`. */
  readonly object: string;
  readonly message: string;
}

interface PolicyEntry {
  readonly number: number;
  policy: EffectivePolicy;
  /** Local endpoints that it applies to. */
  endpoints: number;
  /** What stands in the output for it. */
  readonly rendered: Map<string, RenderedRules>;
}

interface EndpointEntry {
  endpoint: Endpoint;
  /** Policies that came (true) and went (false) in this update, by number. */
  readonly delta: Map<number, boolean>;
  policyClass: PolicyClass;
  body?: Body;
}

/** The rules of all endpoints that have the same policies and the same profiles. */
interface Body {
  readonly policyClass: PolicyClass;
  readonly profiles: readonly string[];
  readonly endpoints: Set<EndpointEntry>;
  rules: Readonly<Record<Direction, readonly Rule[]>>;
  /** Group chains that the rules jump to. */
  groups: readonly Chain[];
  /** Profile chains that the rules jump to. */
  calls: readonly (readonly [Direction, string])[];
  /** Tiers of its policies, whether they are there or not. */
  tiers: ReadonlySet<string>;
}

interface TierInfo {
  readonly order: number;
  readonly defaultAction: "Deny" | "Pass";
}

export class PolicyEngine {
  readonly parameters: PolicyParameters;
  readonly #workloads: Workloads;
  readonly #sets = new SetRegistry();
  readonly #fixed: FixedSets;
  readonly #output = new Output();
  readonly #classes = new PolicyClasses();

  readonly #policies = new Map<string, PolicyEntry>();
  readonly #byNumber = new Map<number, PolicyEntry>();
  #nextNumber = 0;
  readonly #tiers = new Map<string, TierInfo>();
  readonly #problems = new Map<string, readonly string[]>();
  /** EndpointSlice -> the service that it names. */
  readonly #sliceServices = new Map<string, string>();
  /** What endpoints bring into sets, by endpoint. */
  readonly #contributions = new Map<string, Contribution>();

  /** Endpoints of this node. */
  readonly #local = new Map<string, EndpointEntry>();
  /** Interface -> keys of local endpoints that claim it; the first by name has it. */
  readonly #interfaces = new Map<string, Set<string>>();
  readonly #subjects: LabelIndex<EndpointEntry>;
  /** Selector of a subject -> policies that use it. */
  readonly #bySubject = new Map<string, Set<PolicyEntry>>();

  readonly #bodies = new Map<PolicyClass, Map<string, Body>>();
  readonly #groupUsers = new Map<string, number>();
  /** `ingress/kns.default` -> bodies that jump to the profile's chain. */
  readonly #profileUsers = new Map<string, number>();
  readonly #profileRendered = new Map<string, RenderedRules>();

  // What one update has still to do.
  readonly #changedPolicies = new Map<string, EffectivePolicy | undefined>();
  readonly #moved = new Set<EndpointEntry>();
  readonly #dirtyTiers = new Set<string>();
  readonly #dirtyBodies = new Set<Body>();
  readonly #dirtyPolicies = new Set<PolicyEntry>();
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
    this.#subjects = new LabelIndex((selectorId, entry, matches) => {
      for (const policy of this.#bySubject.get(selectorId) ?? []) {
        this.#apply(policy, entry, matches);
      }
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
        if (!kind || !metadata?.name) continue;
        const input = inputKind(apiVersion, kind);
        if (input) this.#take(input, metadata.namespace ?? "", metadata.name, change.put);
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
    if (object) {
      const { order, defaultAction } = object.spec ?? {};
      this.#tiers.set(name, {
        order: typeof order === "number" ? order : Infinity,
        defaultAction: defaultAction === "Pass" ? "Pass" : "Deny",
      });
    } else this.#tiers.delete(name);
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
    this.#settleProfiles();
    this.#settleTiers();
    for (const entry of this.#moved) this.#settleClass(entry);
    this.#moved.clear();
    for (const body of this.#dirtyBodies) this.#renderBody(body);
    this.#dirtyBodies.clear();
    for (const entry of this.#dirtyPolicies) this.#renderPolicy(entry);
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
    }
    if (after.spoofing.length > 0) this.#spoofing.set(key, after);
    else this.#spoofing.delete(key);
    const relabelled = !before || !sameLabels(entry.endpoint.labels, after.labels) ||
      entry.endpoint === after;
    entry.endpoint = after;
    if (relabelled) this.#subjects.setItem(entry, after.labels);
    this.#moved.add(entry);
  }

  #forget(key: string, entry: EndpointEntry): void {
    this.#subjects.removeItem(entry);
    entry.delta.clear();
    this.#moved.delete(entry);
    this.#leaveBody(entry);
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

  /** A policy begins or ceases to apply to a local endpoint. */
  #apply(policy: PolicyEntry, entry: EndpointEntry, applies: boolean): void {
    const { number } = policy;
    if (entry.delta.get(number) === !applies) entry.delta.delete(number);
    else entry.delta.set(number, applies);
    this.#moved.add(entry);
    const was = policy.endpoints;
    policy.endpoints += applies ? 1 : -1;
    if (was === 0 || policy.endpoints === 0) this.#dirtyPolicies.add(policy);
  }

  #settlePolicy(key: string, policy: EffectivePolicy | undefined): void {
    let entry = this.#policies.get(key);
    if (!policy) {
      if (!entry) return;
      this.#unsubscribe(entry);
      this.#policies.delete(key);
      this.#dirtyPolicies.add(entry);
      return;
    }
    if (!entry) {
      const number = this.#nextNumber++;
      entry = { number, policy, endpoints: 0, rendered: new Map() };
      this.#policies.set(key, entry);
      this.#byNumber.set(number, entry);
      this.#subscribe(entry);
      return;
    }
    const before = entry.policy;
    const sameSubject = before.subject.id === policy.subject.id;
    if (!sameSubject) this.#unsubscribe(entry);
    entry.policy = policy;
    if (!sameSubject) this.#subscribe(entry);
    if (!samePlace(before, policy)) {
      for (const body of this.#bodiesWith((b) => b.policyClass.policies.has(entry.number))) {
        this.#dirtyBodies.add(body);
      }
    }
    this.#dirtyPolicies.add(entry);
  }

  #subscribe(entry: PolicyEntry): void {
    const { subject } = entry.policy;
    const users = this.#bySubject.get(subject.id);
    if (users) {
      users.add(entry);
      for (const item of this.#subjects.itemsOf(subject.id)) this.#apply(entry, item, true);
    } else {
      this.#bySubject.set(subject.id, new Set([entry]));
      this.#subjects.addSelector(subject);
    }
  }

  #unsubscribe(entry: PolicyEntry): void {
    const { id } = entry.policy.subject;
    for (const item of [...this.#subjects.itemsOf(id)]) this.#apply(entry, item, false);
    deleteFrom(this.#bySubject, id, entry);
    if (!this.#bySubject.has(id)) this.#subjects.removeSelector(id);
  }

  *#bodiesWith(test: (body: Body) => boolean): Generator<Body> {
    for (const bodies of this.#bodies.values()) {
      for (const body of bodies.values()) if (test(body)) yield body;
    }
  }

  #settleProfiles(): void {
    if (this.#dirtyProfiles.size === 0) return;
    for (
      const body of this.#bodiesWith((b) => b.profiles.some((p) => this.#dirtyProfiles.has(p)))
    ) {
      this.#dirtyBodies.add(body);
    }
    for (const name of this.#dirtyProfiles) {
      for (const direction of directions) {
        if (this.#profileUsers.has(`${direction}/${name}`)) this.#renderProfile(direction, name);
      }
    }
    this.#dirtyProfiles.clear();
  }

  #settleTiers(): void {
    for (const tier of this.#dirtyTiers) {
      for (const body of this.#bodiesWith((b) => b.tiers.has(tier))) this.#dirtyBodies.add(body);
    }
    this.#dirtyTiers.clear();
  }

  /** Brings an endpoint to the class and the body that it belongs to now. */
  #settleClass(entry: EndpointEntry): void {
    const next = this.#classes.after(entry.policyClass, entry.delta);
    entry.delta.clear();
    const body = entry.body;
    const { profiles } = entry.endpoint;
    if (next !== entry.policyClass) {
      this.#classes.enter(next);
      this.#classes.leave(entry.policyClass);
      entry.policyClass = next;
    } else if (body && sameList(body.profiles, profiles)) return;
    this.#leaveBody(entry);
    let bodies = this.#bodies.get(next);
    if (!bodies) this.#bodies.set(next, bodies = new Map());
    const key = profiles.join("\n");
    let found = bodies.get(key);
    if (!found) {
      found = {
        policyClass: next,
        profiles,
        endpoints: new Set(),
        rules: { ingress: [], egress: [] },
        groups: [],
        calls: [],
        tiers: new Set(),
      };
      bodies.set(key, found);
      this.#dirtyBodies.add(found);
    }
    found.endpoints.add(entry);
    entry.body = found;
    this.#dirtyInterfaces.add(entry.endpoint.interfaceName);
  }

  #leaveBody(entry: EndpointEntry): void {
    const { body } = entry;
    if (!body) return;
    entry.body = undefined;
    body.endpoints.delete(entry);
    // Who is last is seen when bodies are rendered: another endpoint may still come in.
    if (body.endpoints.size === 0) this.#dirtyBodies.add(body);
  }

  #renderBody(body: Body): void {
    const before = { groups: body.groups, calls: body.calls };
    if (body.endpoints.size === 0) {
      const bodies = this.#bodies.get(body.policyClass);
      bodies?.delete(body.profiles.join("\n"));
      if (bodies?.size === 0) this.#bodies.delete(body.policyClass);
      body.groups = [];
      body.calls = [];
    } else {
      const tiers = this.#tiersOf(body.policyClass);
      body.tiers = new Set(
        [...body.policyClass.policies].map((n) => this.#byNumber.get(n)!.policy.id.tier),
      );
      body.groups = directions.flatMap((d) =>
        tiers[d].filter((t) => t.policies.length > 1).map((t) => groupChainOf(d, t))
      );
      const calls: [Direction, string][] = [];
      const rules = {} as Record<Direction, readonly Rule[]>;
      for (const d of directions) {
        const called = body.profiles.filter((p) =>
          (this.#workloads.profile(p)?.rules[d]?.length ?? 0) > 0
        );
        for (const p of called) calls.push([d, p]);
        const fresh = endpointRules(d, tiers[d], called, this.parameters);
        rules[d] = sameRules(fresh, body.rules[d]) ? body.rules[d] : fresh;
      }
      body.calls = calls;
      if (rules.ingress !== body.rules.ingress || rules.egress !== body.rules.egress) {
        body.rules = rules;
        for (const { endpoint } of body.endpoints) {
          this.#dirtyInterfaces.add(endpoint.interfaceName);
        }
      }
    }
    for (const group of body.groups) {
      const users = this.#groupUsers.get(group.name) ?? 0;
      this.#groupUsers.set(group.name, users + 1);
      this.#output.setBoth(group.name, group);
    }
    for (const { name } of before.groups) {
      const users = this.#groupUsers.get(name)! - 1;
      if (users > 0) this.#groupUsers.set(name, users);
      else {
        this.#groupUsers.delete(name);
        this.#output.setBoth(name, undefined);
      }
    }
    for (const [direction, profile] of body.calls) {
      const key = `${direction}/${profile}`;
      const users = this.#profileUsers.get(key) ?? 0;
      this.#profileUsers.set(key, users + 1);
      if (users === 0) this.#renderProfile(direction, profile);
    }
    for (const [direction, profile] of before.calls) {
      const key = `${direction}/${profile}`;
      const users = this.#profileUsers.get(key)! - 1;
      if (users > 0) this.#profileUsers.set(key, users);
      else {
        this.#profileUsers.delete(key);
        this.#renderProfile(direction, profile);
      }
    }
  }

  /** Policies of a class by tier, in the order in which they are asked. */
  #tiersOf(policyClass: PolicyClass): Record<Direction, TierPolicies[]> {
    const byTier = new Map<string, EffectivePolicy[]>();
    for (const number of policyClass.policies) {
      const { policy } = this.#byNumber.get(number)!;
      const list = byTier.get(policy.id.tier);
      if (list) list.push(policy);
      else byTier.set(policy.id.tier, [policy]);
    }
    const result: Record<Direction, TierPolicies[]> = { ingress: [], egress: [] };
    for (const tier of [...byTier.keys()].sort((a, b) => this.#compareTiers(a, b))) {
      const policies = byTier.get(tier)!.sort(comparePolicies);
      const { defaultAction } = this.#tier(tier) ?? { defaultAction: "Deny" as const };
      for (const direction of directions) {
        const ids = policies.filter((p) => p.rules[direction]).map((p) => p.id);
        if (ids.length > 0) result[direction].push({ tier, defaultAction, policies: ids });
      }
    }
    return result;
  }

  #tier(name: string): TierInfo | undefined {
    return this.#tiers.get(name) ??
      (Object.hasOwn(BUILT_IN_TIERS, name) ? BUILT_IN_TIERS[name] : undefined);
  }

  /** Tiers that do not exist come last. */
  #compareTiers(a: string, b: string): number {
    const [x, y] = [this.#tier(a), this.#tier(b)];
    if (!x !== !y) return x ? -1 : 1;
    const [i, j] = [x?.order ?? Infinity, y?.order ?? Infinity];
    return i !== j ? (i < j ? -1 : 1) : compareCodePoints(a, b);
  }

  /** Chains and sets of a policy, or their end if it applies to nothing here. */
  #renderPolicy(entry: PolicyEntry): void {
    const { policy, rendered } = entry;
    const alive = this.#policies.get(policyKey(policy.id)) === entry;
    for (const direction of directions) {
      const rules = policy.rules[direction];
      const name = policyChain(direction, policy.id);
      for (const family of families) {
        const key = `${direction}/${family}`;
        const before = rendered.get(key);
        const after = alive && entry.endpoints > 0 && rules
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
    if (!alive) this.#byNumber.delete(entry.number);
  }

  #renderProfile(direction: Direction, profile: string): void {
    const name = profileChain(direction, profile);
    const used = this.#profileUsers.has(`${direction}/${profile}`);
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

/** By order, then by `name/namespace/kind`, as Calico sorts. */
function comparePolicies(a: EffectivePolicy, b: EffectivePolicy): number {
  if (a.order !== b.order) return a.order < b.order ? -1 : 1;
  const name = ({ id }: EffectivePolicy) => `${id.name}/${id.namespace}/${id.kind}`;
  return compareCodePoints(name(a), name(b));
}

/** Whether two versions of a policy stand in the same place of an endpoint's list. */
function samePlace(a: EffectivePolicy, b: EffectivePolicy): boolean {
  return a.order === b.order && a.id.tier === b.id.tier &&
    directions.every((d) => !a.rules[d] === !b.rules[d]);
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
