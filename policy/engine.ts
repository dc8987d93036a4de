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
 * present objects afresh gives the same rulesets (engine_trials_test.ts walks random paths to show it). An
 * object that something fails with costs nobody else: `attempts.ts`.
 *
 * Host endpoints, pre-DNAT and untracked policies are not rendered yet; policies of the latter two
 * kinds never applied to workloads.
 */
import { show } from "../mod/model/show.ts";
import { compareCodePoints } from "../mod/selector/selector.ts";
import { Attempts } from "./attempts.ts";
import { Bodies } from "./bodies.ts";
import { calicoPolicy } from "./calico.ts";
import { type Direction, directions, type EffectivePolicy, policyKey } from "./effective.ts";
import { type Endpoint, sameContribution, sameLabels } from "./endpoint.ts";
import { FixedSets } from "./fixed_sets.ts";
import {
  type CalicoPolicyObject,
  type Change,
  type InputKind,
  inputKind,
  type KubernetesPolicyObject,
  type ObjectMeta,
  type PolicyObject,
  type ProfileObject,
  textOf,
  type TierObject,
} from "./inputs.ts";
import { kubernetesPolicy } from "./kubernetes.ts";
import { LocalEndpoints } from "./local_endpoints.ts";
import { policyChain, policyLabel, profileChain } from "./names.ts";
import { Output } from "./output.ts";
import { defaultParameters, type PolicyParameters } from "./parameters.ts";
import type { SubjectNumber } from "./policy_classes.ts";
import { RuleChains } from "./rule_chains.ts";
import type { Family, PolicyId, Ruleset, RulesetDelta, RulesView } from "./rules.ts";
import { ServiceSlices } from "./service_slices.ts";
import { type Contribution, SetRegistry } from "./set_registry.ts";
import { StaticOutput } from "./static_chains.ts";
import { readStored, type StoredReading } from "./stored_object.ts";
import { samePlace, type Subject, Subjects } from "./subjects.ts";
import { Workloads } from "./workloads.ts";

/** Something of an object that the engine cannot understand, and what it does instead. */
export interface Problem {
  /** `KubernetesNetworkPolicy default/allow-web`. */
  readonly object: string;
  /** Of the object; empty where it is in none. */
  readonly namespace: string;
  /** Begins with the path of the field. */
  readonly message: string;
}

/** Kinds that live in a namespace, but for policies. */
const namespaced: ReadonlySet<InputKind> = new Set<InputKind>([
  ...["WorkloadEndpoint", "Pod", "ServiceAccount", "NetworkSet"] as const,
]);

interface PolicyEntry {
  policy: EffectivePolicy;
  subject: Subject;
}

export class PolicyEngine {
  readonly parameters: PolicyParameters;
  readonly #sets = new SetRegistry();
  readonly #attempts = new Attempts();
  readonly #output = new Output();
  readonly #subjects = new Subjects();
  readonly #workloads: Workloads;
  readonly #fixed: FixedSets;
  readonly #slices: ServiceSlices;
  readonly #ruleChains: RuleChains;
  readonly #bodies: Bodies;
  readonly #local: LocalEndpoints;
  readonly #static: StaticOutput;

  readonly #policies = new Map<string, PolicyEntry>();
  /** What endpoints bring into sets, by endpoint. */
  readonly #contributions = new Map<string, Contribution>();
  readonly #problems = new Map<
    string,
    Pick<Problem, "namespace"> & { messages: readonly string[] }
  >();

  // What an update has still to do. What could not be done stays here for the next one.
  readonly #untaken = new Map<string, Change>();
  /** Endpoints of which it is not known how far they were brought. */
  readonly #unsettled = new Set<string>();
  readonly #changedPolicies = new Map<string, EffectivePolicy | undefined>();
  readonly #dirtyPolicies = new Map<string, PolicyEntry>();
  readonly #dirtyProfiles = new Set<string>();
  readonly #unrendered = new Set<string>();
  readonly #dirtyTiers = new Set<string>();
  readonly #dirtySubjects = new Set<SubjectNumber>();

  #revision = 0;
  #localRevision = 0;
  readonly #taken: Record<Family, number> = { 4: 0, 6: 0 };

  constructor(parameters: Partial<PolicyParameters> = {}) {
    this.parameters = { ...defaultParameters, ...parameters };
    this.#workloads = new Workloads(
      this.parameters.nodeName === undefined ? this.parameters.interfacePrefixes[0] : undefined,
    );
    this.#fixed = new FixedSets(this.#sets, this.parameters);
    this.#slices = new ServiceSlices(this.#sets);
    this.#ruleChains = new RuleChains(this.#sets, this.#output, this.parameters);
    this.#static = new StaticOutput(this.#output, this.parameters);
    this.#bodies = new Bodies({
      subjects: this.#subjects,
      output: this.#output,
      attempts: this.#attempts,
      parameters: this.parameters,
      hasRules: (profile, direction) =>
        (this.#workloads.profile(profile)?.rules[direction]?.length ?? 0) > 0,
      profileUsed: (direction, profile) => this.#renderProfile(direction, profile),
      changed: (body) => this.#local.touch(body),
    });
    this.#local = new LocalEndpoints({
      subjects: this.#subjects,
      bodies: this.#bodies,
      output: this.#output,
      attempts: this.#attempts,
      selectedFirstOrNone: ({ policies }) => {
        for (const key of policies.keys()) {
          this.#dirtyPolicies.set(key, this.#policies.get(key)!);
        }
      },
    });
    this.update([]);
  }

  /**
   * False while more updates are to come that belong together with those before: then what the rules
   * say is nobody's policy yet.
   */
  isWhole = true;

  /** Counts updates; what a delta or a ruleset was made of. */
  get revision(): number {
    return this.#revision;
  }

  /** Another number where an endpoint of this node has come, changed or gone. */
  get localRevision(): number {
    return this.#localRevision;
  }

  /**
   * Takes changes of objects in; the rulesets are up to date when it returns. No object's fault holds up
   * the others (`attempts.ts`).
   */
  update(changes: Iterable<Change>): void {
    for (const given of [this.#untaken.values(), changes]) {
      for (const change of given) {
        const { object, namespace } = objectOf(change);
        const work = () => this.#takeChange(change);
        if (this.#attempts.run("reading it", object, namespace, work)) this.#untaken.delete(object);
        else this.#untaken.set(object, change);
      }
    }
    this.#settle();
    this.#revision++;
  }

  #takeChange(change: Change): void {
    if ("put" in change) {
      const { apiVersion, kind } = change.put;
      const input = inputKind(textOf(apiVersion), textOf(kind));
      if (!input) return;
      const read = withEscapedName(readStored(input, change.put));
      const { name, namespace } = read.object.metadata ?? {};
      if (textOf(name) !== "") this.#take(input, textOf(namespace), textOf(name), read);
    } else {
      const { apiVersion, kind, namespace, name } = change.remove;
      const input = inputKind(apiVersion, kind);
      if (input) this.#take(input, escapeName(namespace ?? ""), escapeName(name), undefined);
    }
  }

  /** `read`: undefined where the object is gone. */
  #take(kind: InputKind, namespace: string, name: string, read: StoredReading | undefined): void {
    const inNamespace = `${namespace || "default"}/${name}`;
    const { object, problems = [], closes = false } = read ?? {};
    // Those of policies and profiles are told with what their own readers find.
    if (namespaced.has(kind)) {
      // A set may be meant by policies of everywhere.
      const concerned = kind === "NetworkSet" ? "" : namespace || "default";
      this.#report(`${kind} ${inNamespace}`, concerned, problems);
    } else if (!kind.endsWith("Policy") && kind !== "Profile" && kind !== "EndpointSlice") {
      // What inherits from a Namespace is in it; all else concerns everybody.
      this.#report(`${kind} ${name}`, kind === "Namespace" ? name : "", problems);
    }
    switch (kind) {
      case "WorkloadEndpoint":
        return this.#workloads.setWorkload(inNamespace, object, closes);
      case "Pod":
        return this.#workloads.setPod(inNamespace, object, closes);
      case "Namespace":
        return this.#workloads.setNamespace(name, object, closes);
      case "ServiceAccount":
        return this.#workloads.setAccount(inNamespace, object, closes);
      case "NetworkSet":
        return this.#workloads.setNetworkSet(inNamespace, object);
      case "GlobalNetworkSet":
        return this.#workloads.setNetworkSet(`/${name}`, object);
      case "Profile": {
        const set = (object: ProfileObject | undefined) => this.#workloads.setProfile(name, object);
        const profile = object ? safely(object, set) : set(undefined);
        return this.#report(`Profile ${name}`, "", [...problems, ...profile?.problems ?? []]);
      }
      case "Tier":
        return this.#takeTier(name, object);
      case "IPPool":
        return this.#fixed.setPool(name, object);
      case "Node":
        return this.#fixed.setNode(name, object);
      case "EndpointSlice": {
        const misread = this.#slices.set(namespace || "default", name, object);
        const label = `${kind} ${inNamespace}`;
        // A service may be meant by policies of everywhere.
        return this.#report(label, "", [...problems, ...misread]);
      }
      case "NetworkPolicy":
        return this.#takePolicy(
          { kind, namespace: namespace || "default", name },
          object && safely(object, (o: CalicoPolicyObject) => calicoPolicy(o, kind)),
          problems,
        );
      case "GlobalNetworkPolicy":
        return this.#takePolicy(
          { kind, namespace: "", name },
          object && safely(object, (o: CalicoPolicyObject) => calicoPolicy(o, kind)),
          problems,
        );
      case "KubernetesNetworkPolicy":
        return this.#takePolicy(
          { kind, namespace: namespace || "default", name },
          object && safely(object, (o: KubernetesPolicyObject) => kubernetesPolicy(o)),
          problems,
        );
    }
  }

  #takePolicy(
    id: Pick<PolicyId, "kind" | "namespace" | "name">,
    read: EffectivePolicy | { readonly problem?: string } | undefined,
    problems: readonly string[],
  ): void {
    const label = `${id.kind} ${id.namespace === "" ? id.name : `${id.namespace}/${id.name}`}`;
    if (read && "subject" in read) {
      this.#changedPolicies.set(policyKey(id), read);
      this.#report(label, id.namespace, [...problems, ...read.problems]);
    } else {
      this.#changedPolicies.set(policyKey(id), undefined);
      this.#report(label, id.namespace, [...problems, ...read?.problem ? [read.problem] : []]);
    }
  }

  #takeTier(name: string, object: TierObject | undefined): void {
    const { order, defaultAction } = object?.spec ?? {};
    this.#subjects.setTier(
      name,
      object && {
        order: order ?? Infinity,
        defaultAction: defaultAction === "Pass" ? "Pass" : "Deny",
      },
    );
    this.#dirtyTiers.add(name);
  }

  #report(object: string, namespace: string, messages: readonly string[]): void {
    if (messages.length > 0) this.#problems.set(object, { namespace, messages });
    else this.#problems.delete(object);
  }

  /** Objects of which something could not be understood, in the order of their names. */
  problems(): Problem[] {
    const understood = [...this.#problems].flatMap(([object, { namespace, messages }]) =>
      messages.map((message) => ({ object, namespace, message }))
    );
    return [...understood, ...this.#attempts.problems()]
      .sort((a, b) => compareCodePoints(a.object, b.object));
  }

  /** All endpoints of the cluster. */
  endpoints(): Iterable<Endpoint> {
    return this.#workloads.endpoints();
  }

  /** One of them, by `namespace/name`. */
  endpoint(key: string): Endpoint | undefined {
    return this.#workloads.endpoint(key);
  }

  /** Whether this endpoint has chains here; without an interface there is nothing to hang them on. */
  isLocal(endpoint: Endpoint): boolean {
    const { nodeName } = this.parameters;
    return endpoint.interfaceName !== "" && (nodeName === undefined || endpoint.node === nodeName);
  }

  /** The node whose address this is, as the Node objects say. */
  nodeOf(address: string): string | undefined {
    return this.#fixed.nodeOf(address);
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
   * The same to be asked and not to be kept: nothing is copied but what is asked for, and what it says
   * holds until the next update.
   */
  live(family: Family): RulesView {
    const set = this.#sets.byName(family);
    const get = (name: string) => this.#output.liveMap(name) ?? set(name);
    return { family, chains: this.#output.liveChains(family), sets: { get } };
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
    const attempts = this.#attempts;
    for (const key of this.#workloads.takeEndpoints()) this.#attemptEndpoint(key);
    for (const key of this.#workloads.takeNetworkSets()) {
      const work = () => this.#settleNetworkSet(key);
      const object = key.startsWith("/") ? `GlobalNetworkSet ${key.slice(1)}` : `NetworkSet ${key}`;
      if (!attempts.run("taking it into sets", object, "", work)) {
        this.#workloads.retakeNetworkSet(key);
      }
    }
    for (const [key, policy] of this.#changedPolicies) {
      const work = () => this.#settlePolicy(key, policy);
      if (attempts.run("finding whom it selects", ...named(key), work)) {
        this.#changedPolicies.delete(key);
      }
    }
    this.#local.settle();
    this.#settleBodies();
    for (const [key, entry] of this.#dirtyPolicies) {
      const work = () => this.#renderPolicy(key, entry);
      if (attempts.run("making its rules", ...named(key), work)) this.#dirtyPolicies.delete(key);
      else this.#closePolicy(entry);
    }
    this.#local.renderInterfaces();
    const { floatingIps, sourceSpoofing } = this.parameters;
    attempts.run(
      "making them",
      "chains that hang on no policy",
      "",
      () =>
        this.#static.render(this.#fixed, {
          spoofing: (family) => sourceSpoofing ? this.#local.spoofing(family) : [],
          floating: (family) => floatingIps ? this.#local.floating(family) : [],
          limited: () => this.#local.limited,
        }),
    );
  }

  #settleNetworkSet(key: string): void {
    const item = `set ${key}`, set = this.#workloads.networkSet(key);
    if (!set) return this.#sets.removeItem(item);
    this.#sets.setItem(item, set.labels, {
      nets: set.nets,
      addresses: { 4: [], 6: [] },
      ports: [],
    });
  }

  #attemptEndpoint(key: string): void {
    const attempts = this.#attempts, [namespace] = key.split("/");
    const object = `WorkloadEndpoint ${key}`;
    const done = attempts.run("taking it in", object, namespace, () => {
      const { before, after } = this.#workloads.rejoin(key);
      this.#settleEndpoint(key, this.#unsettled.has(key) ? undefined : before, after);
    });
    if (done) {
      if (this.#unsettled.delete(key)) attempts.forget("closing it", object);
      return;
    }
    this.#unsettled.add(key);
    this.#workloads.retakeEndpoint(key);
    this.#localRevision++;
    // An interface without chains is closed.
    attempts.run("closing it", object, namespace, () => this.#local.set(key, undefined));
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

    const local = after && this.isLocal(after) ? after : undefined;
    if (local || (before && this.isLocal(before))) this.#localRevision++;
    this.#local.set(key, local);
  }

  #settlePolicy(key: string, policy: EffectivePolicy | undefined): void {
    const entry = this.#policies.get(key);
    const before = entry?.policy;
    if (!policy && !entry) return;
    if (entry && (!policy || policy.subject.id !== before!.subject.id)) {
      this.#subjects.remove(entry.subject, key);
      this.#dirtySubjects.add(entry.subject.number);
      if (entry.subject.policies.size === 0) this.#local.removeSubject(entry.subject);
    }
    if (policy) {
      const subject = this.#subjects.add(key, policy);
      if (entry) {
        entry.policy = policy;
        entry.subject = subject;
      } else this.#policies.set(key, { policy, subject });
      this.#dirtyPolicies.set(key, this.#policies.get(key)!);
      this.#local.addSubject(policy.subject);
      if (!before || !samePlace(before, policy)) this.#dirtySubjects.add(subject.number);
    } else {
      this.#policies.delete(key);
      this.#dirtyPolicies.set(key, entry!);
    }
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
    for (const name of this.#unrendered) profiles.add(name);
    this.#unrendered.clear();
    tiers.clear();
    subjects.clear();
  }

  /** Chains and sets of a policy, or their end if it is gone or selects nobody here. */
  #renderPolicy(key: string, entry: PolicyEntry): void {
    const { policy: { id, rules }, subject } = entry;
    const active = this.#policies.get(key) === entry && this.#local.isSelected(subject);
    for (const direction of directions) {
      const list = active ? rules[direction] : undefined;
      this.#ruleChains.set(
        policyChain(direction, id),
        list && {
          rules: list,
          direction,
          title: `${policyLabel(id)} ${direction}`,
          origin: (rule) => ({ is: "policy", policy: id, rule }),
        },
      );
    }
  }

  /** Others jump to its chains. */
  #closePolicy({ policy: { id, rules } }: PolicyEntry): void {
    for (const direction of directions) {
      if (rules[direction]) this.#ruleChains.close(policyChain(direction, id));
    }
  }

  #renderProfile(direction: Direction, profile: string): void {
    const name = profileChain(direction, profile);
    const work = () => this.#setProfile(name, direction, profile);
    if (this.#attempts.run(`making its ${direction} rules`, `Profile ${profile}`, "", work)) return;
    this.#ruleChains.close(name);
    // Tried again with the next update.
    this.#unrendered.add(profile);
  }

  #setProfile(name: string, direction: Direction, profile: string): void {
    const used = this.#bodies.isProfileUsed(direction, profile);
    this.#ruleChains.set(
      name,
      used
        ? {
          rules: this.#workloads.profile(profile)?.rules[direction] ?? [],
          direction,
          title: `Profile ${profile} ${direction}`,
          origin: (rule) => ({ is: "profile", profile, rule }),
        }
        : undefined,
    );
  }
}

/** A policy by its key, as problems name it, and its namespace. */
function named(key: string): [object: string, namespace: string] {
  const [kind, namespace, ...rest] = key.split("/");
  const name = rest.join("/");
  return [`${kind} ${namespace === "" ? name : `${namespace}/${name}`}`, namespace];
}

/** What a change is of, as problems name it. */
function objectOf(change: Change): { object: string; namespace: string } {
  const { apiVersion, kind } = "put" in change ? change.put : change.remove;
  const at: ObjectMeta = "put" in change ? change.put.metadata ?? {} : change.remove;
  const namespace = textOf(at.namespace), name = textOf(at.name);
  const input = inputKind(textOf(apiVersion), textOf(kind)) ?? textOf(kind);
  return { object: `${input} ${namespace === "" ? name : `${namespace}/${name}`}`, namespace };
}

/** A policy whose reader fails says as much as one whose spec is none. */
function safely<O extends CalicoPolicyObject, T>(object: PolicyObject, read: (object: O) => T): T {
  try {
    return read(object as O);
  } catch (error) {
    return read({ ...object, spec: `reading it failed: ${(error as Error).message}` } as O);
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

/**
 * Names go into selectors, keys and chains, where spaces, quotes and slashes mean something. Kubernetes
 * and Calico refuse names with them. What has one all the same counts under the escaped name; who refers
 * to it by the other does not find it.
 */
function escapeName(name: string): string {
  return name.replace(
    /[\s'"/%]/g,
    (c) => `%${c.charCodeAt(0).toString(16).padStart(2, "0").toUpperCase()}`,
  );
}

function withEscapedName(read: StoredReading): StoredReading {
  const { object } = read;
  let metadata = object.metadata;
  const problems: string[] = [];
  for (const field of ["namespace", "name"] as const) {
    const text = textOf(metadata?.[field]), escaped = escapeName(text);
    if (escaped === text) continue;
    metadata = { ...metadata, [field]: escaped };
    problems.push(
      `metadata.${field}: ${
        show(text)
      } is no name for Kubernetes or Calico; it is taken as ${escaped}`,
    );
  }
  if (problems.length === 0) return read;
  return { ...read, object: { ...object, metadata }, problems: [...problems, ...read.problems] };
}
