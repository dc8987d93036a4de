/**
 * The endpoints of this node: which policies select them, which rules they therefore have, and which
 * interface leads to which chain. Two endpoints may claim one interface for a moment (a pod that took
 * another's place); the first by name has it.
 *
 * A change only notes who moved; `settle` then brings each endpoint to its class and body, and
 * `renderInterfaces` its chains to the output.
 */
import { compareCodePoints, type Selector } from "../mod/selector/selector.ts";
import type { Attempts } from "./attempts.ts";
import type { Bodies, Body } from "./bodies.ts";
import { directions } from "./effective.ts";
import { type Endpoint, sameLabels } from "./endpoint.ts";
import type { FloatingAddress } from "./floating.ts";
import { LabelIndex } from "./label_index.ts";
import { limitMaps, limitRules } from "./limits.ts";
import { addTo, deleteFrom } from "./multimap.ts";
import { endpointChain, limitChain } from "./names.ts";
import type { Output } from "./output.ts";
import { type PolicyClass, PolicyClasses, type SubjectNumber } from "./policy_classes.ts";
import { dispatchMaps } from "./render_endpoint.ts";
import type { Family } from "./rules.ts";
import type { Subject, Subjects } from "./subjects.ts";

interface Entry {
  endpoint: Endpoint;
  /** Subjects that came (true) and went (false) since the last `settle`. */
  readonly delta: Map<SubjectNumber, boolean>;
  policyClass: PolicyClass;
  body?: Body;
}

export interface LocalContext {
  readonly subjects: Subjects;
  readonly bodies: Bodies;
  readonly output: Output;
  readonly attempts: Attempts;
  /** A subject selects its first endpoint here, or no longer any. */
  selectedFirstOrNone(subject: Subject): void;
}

export class LocalEndpoints {
  readonly #context: LocalContext;
  readonly #entries = new Map<string, Entry>();
  /** Interface -> keys of the endpoints that claim it. */
  readonly #claims = new Map<string, Set<string>>();
  /** Endpoints that may send from more than their own addresses. */
  readonly #spoofing = new Map<string, Endpoint>();
  /** Endpoints with limits. */
  readonly #limited = new Set<string>();
  /** Endpoints that are reached by other addresses too. */
  readonly #floating = new Map<string, Endpoint>();
  readonly #classes = new PolicyClasses();
  readonly #index = new LabelIndex<Entry>((id, entry, matches) =>
    this.#selected(id, entry, matches)
  );
  readonly #moved = new Set<Entry>();
  readonly #dirtyInterfaces = new Set<string>();

  constructor(context: LocalContext) {
    this.#context = context;
  }

  /** Adds an endpoint or gives it another shape; undefined takes it away. */
  set(key: string, endpoint: Endpoint | undefined): void {
    const entry = this.#entries.get(key);
    if (!endpoint) {
      if (entry) this.#remove(key, entry);
    } else if (entry) this.#change(key, entry, endpoint);
    else this.#add(key, endpoint);
    if (endpoint && endpoint.spoofing.length > 0) this.#spoofing.set(key, endpoint);
    else this.#spoofing.delete(key);
    if (endpoint?.qos) this.#limited.add(key);
    else this.#limited.delete(key);
    if (endpoint && endpoint.floating[4].length + endpoint.floating[6].length > 0) {
      this.#floating.set(key, endpoint);
    } else this.#floating.delete(key);
  }

  #add(key: string, endpoint: Endpoint): void {
    const entry: Entry = { endpoint, delta: new Map(), policyClass: this.#classes.none };
    this.#classes.enter(entry.policyClass);
    this.#entries.set(key, entry);
    this.#claim(key, endpoint);
    this.#index.setItem(entry, endpoint.labels);
    this.#moved.add(entry);
  }

  #change(key: string, entry: Entry, endpoint: Endpoint): void {
    const before = entry.endpoint;
    if (before.interfaceName !== endpoint.interfaceName) {
      this.#unclaim(key, before);
      this.#claim(key, endpoint);
      if (entry.body) this.#context.bodies.leave(entry.body, before.interfaceName);
      entry.body = undefined;
    }
    if (JSON.stringify(before.qos) !== JSON.stringify(endpoint.qos)) {
      this.#dirtyInterfaces.add(endpoint.interfaceName);
    }
    entry.endpoint = endpoint;
    if (!sameLabels(before.labels, endpoint.labels)) this.#index.setItem(entry, endpoint.labels);
    this.#moved.add(entry);
  }

  #remove(key: string, entry: Entry): void {
    this.#index.removeItem(entry);
    this.#moved.delete(entry);
    this.#context.attempts.forget("finding its policies", `WorkloadEndpoint ${key}`);
    if (entry.body) this.#context.bodies.leave(entry.body, entry.endpoint.interfaceName);
    this.#classes.leave(entry.policyClass);
    this.#unclaim(key, entry.endpoint);
    this.#entries.delete(key);
  }

  #claim(key: string, { interfaceName }: Endpoint): void {
    addTo(this.#claims, interfaceName, key);
    this.#dirtyInterfaces.add(interfaceName);
  }

  #unclaim(key: string, { interfaceName }: Endpoint): void {
    deleteFrom(this.#claims, interfaceName, key);
    this.#dirtyInterfaces.add(interfaceName);
  }

  /** A selector of policies is there (again). */
  addSubject(selector: Selector): void {
    this.#index.addSelector(selector);
  }

  /** A subject has no policies any more: it selects nobody. */
  removeSubject({ selector, number }: Subject): void {
    for (const entry of this.#index.itemsOf(selector.id)) this.#note(entry, number, false);
    this.#index.removeSelector(selector.id);
  }

  /** Whether a subject selects an endpoint here. */
  isSelected(subject: Subject): boolean {
    return this.#index.itemsOf(subject.selector.id).size > 0;
  }

  #selected(selectorId: string, entry: Entry, matches: boolean): void {
    const subject = this.#context.subjects.bySelector(selectorId)!;
    this.#note(entry, subject.number, matches);
    if (this.#index.itemsOf(selectorId).size === (matches ? 1 : 0)) {
      this.#context.selectedFirstOrNone(subject);
    }
  }

  #note(entry: Entry, number: SubjectNumber, came: boolean): void {
    if (entry.delta.get(number) === !came) entry.delta.delete(number);
    else entry.delta.set(number, came);
    this.#moved.add(entry);
  }

  /** Brings those that moved to the class and the body that they belong to now. */
  settle(): void {
    const { attempts } = this.#context;
    for (const entry of this.#moved) {
      const { key, namespace } = entry.endpoint;
      const work = () => this.#bring(entry);
      if (attempts.run("finding its policies", `WorkloadEndpoint ${key}`, namespace, work)) {
        this.#moved.delete(entry);
      }
    }
    this.#classes.sweep();
  }

  #bring(entry: Entry): void {
    const next = this.#classes.after(entry.policyClass, entry.delta);
    entry.delta.clear();
    const { endpoint: { profiles, interfaceName }, body } = entry;
    if (body?.policyClass === next && sameList(body.profiles, profiles)) return;
    this.#classes.enter(next);
    this.#classes.leave(entry.policyClass);
    entry.policyClass = next;
    if (body) this.#context.bodies.leave(body, interfaceName);
    entry.body = this.#context.bodies.enter(next, profiles, interfaceName);
    this.#dirtyInterfaces.add(interfaceName);
  }

  /** The rules of a body changed: the chains of its interfaces do too. */
  touch(body: Body): void {
    for (const name of body.interfaces.keys()) this.#dirtyInterfaces.add(name);
  }

  renderInterfaces(): void {
    for (const name of this.#dirtyInterfaces) {
      const work = () => this.#renderInterface(name);
      if (this.#context.attempts.run("making its chains", `interface ${name}`, "", work)) {
        this.#dirtyInterfaces.delete(name);
      }
    }
  }

  #renderInterface(interfaceName: string): void {
    const { output } = this.#context;
    const claims = this.#claims.get(interfaceName);
    const owner = claims && [...claims].sort(compareCodePoints)[0];
    const entry = owner === undefined ? undefined : this.#entries.get(owner);
    const body = entry?.body;
    for (const direction of directions) {
      const name = endpointChain(direction, interfaceName);
      output.setBoth(name, body && { name, rules: body.rules[direction] });
      output.setVerdict(
        dispatchMaps[direction],
        interfaceName,
        body && { do: "goto", chain: name },
      );
      const limits = limitRules(direction, entry?.endpoint.qos);
      const chain = limitChain(direction, interfaceName);
      const is = limits.length > 0;
      output.setBoth(chain, is ? { name: chain, rules: limits } : undefined);
      output.setVerdict(
        limitMaps[direction],
        interfaceName,
        is ? { do: "jump", chain } : undefined,
      );
    }
  }

  /** Whether any endpoint here has limits. */
  get limited(): boolean {
    return this.#limited.size > 0;
  }

  /** Addresses by which endpoints here are reached beside their own, sorted. */
  floating(family: Family): FloatingAddress[] {
    return [...this.#floating].sort(([a], [b]) => compareCodePoints(a, b))
      .flatMap(([, { floating }]) => floating[family]);
  }

  /** Interfaces with the networks from which they may send beside their own, sorted. */
  spoofing(family: Family): { interfaceName: string; prefix: string }[] {
    return [...this.#spoofing].sort(([a], [b]) => compareCodePoints(a, b))
      .flatMap(([, { interfaceName, spoofing }]) =>
        spoofing.filter((p) => p.includes(":") === (family === 6))
          .map((prefix) => ({ interfaceName, prefix }))
      );
  }
}

function sameList(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
