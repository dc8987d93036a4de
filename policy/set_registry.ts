/**
 * The sets of addresses that active rules name, with their members, in one family. A set exists
 * while a chain uses it; its members come from all endpoints of the cluster and from network sets.
 *
 * Items (endpoints, network sets) are matched by a LabelIndex that knows only the selectors of the
 * sets in use. A match that begins or ends, or an item whose addresses change, touches just the sets
 * of the matching selectors.
 */
import { LabelIndex, type LabelMap } from "./label_index.ts";
import { Members } from "./members.ts";
import { setName } from "./names.ts";
import { protocolName } from "./protocol.ts";
import type { SetSpec } from "./render_rule.ts";
import type { Family, SetChange, SetDef } from "./rules.ts";
import type { EndpointPort } from "./endpoint.ts";
import { addTo, deleteFrom } from "./multimap.ts";

/** What an item brings into sets. */
export interface Contribution {
  /** Networks with length, both families. */
  readonly nets: Readonly<Record<Family, readonly string[]>>;
  /** Addresses without length, for named ports. */
  readonly addresses: Readonly<Record<Family, readonly string[]>>;
  readonly ports: readonly EndpointPort[];
}

/** Ready endpoints of a service. */
export interface ServiceEndpoints {
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly protocol: number; readonly port: number }[];
}

interface ActiveSet {
  readonly id: string;
  readonly spec: SetSpec;
  readonly users: Record<Family, number>;
  /** Undefined where no chain of the family uses it. */
  readonly members: Record<Family, Members | undefined>;
}

const families: readonly Family[] = [4, 6];

export class SetRegistry {
  readonly #sets = new Map<string, ActiveSet>();
  /** Sets whose members hang on a selector, by the selector's id. */
  readonly #bySelector = new Map<string, Set<ActiveSet>>();
  readonly #byService = new Map<string, Set<ActiveSet>>();
  readonly #contributions = new Map<string, Contribution>();
  readonly #services = new Map<string, Map<string, ServiceEndpoints>>();
  /** Sets that are always there: pools, hosts. */
  readonly #fixed = new Map<string, Record<Family, Members>>();
  readonly #index = new LabelIndex<string>((selectorId, item, matches) => {
    const contribution = this.#contributions.get(item);
    if (!contribution) return;
    for (const set of this.#bySelector.get(selectorId) ?? []) {
      this.#contribute(set, contribution, matches);
    }
  });
  /** By family: names of sets that came or went since the last delta. */
  readonly #came: Record<Family, Set<string>> = { 4: new Set(), 6: new Set() };
  readonly #gone: Record<Family, Set<string>> = { 4: new Set(), 6: new Set() };
  readonly #touched: Record<Family, Map<string, Members>> = { 4: new Map(), 6: new Map() };
  /** Names that the taker of changes has heard of. */
  readonly #known: Record<Family, Set<string>> = { 4: new Set(), 6: new Set() };

  /** Adds an item, or gives it other labels or another contribution. */
  setItem(key: string, labels: LabelMap, contribution: Contribution): void {
    const before = this.#contributions.get(key);
    if (before && before !== contribution) {
      // Sets that the item stays in hear of the difference; the index tells the others.
      for (const id of this.#index.selectorsOf(key)) {
        for (const set of this.#bySelector.get(id) ?? []) {
          this.#contribute(set, contribution, true);
          this.#contribute(set, before, false);
        }
      }
    }
    this.#contributions.set(key, contribution);
    this.#index.setItem(key, labels);
  }

  removeItem(key: string): void {
    this.#index.removeItem(key);
    this.#contributions.delete(key);
  }

  /** The endpoints that one EndpointSlice lists for a service; undefined: the slice is gone. */
  setService(service: string, slice: string, endpoints: ServiceEndpoints | undefined): void {
    const slices = this.#services.get(service) ?? new Map<string, ServiceEndpoints>();
    const before = slices.get(slice);
    for (const set of this.#byService.get(service) ?? []) {
      if (endpoints) this.#contributeService(set, endpoints, true);
      if (before) this.#contributeService(set, before, false);
    }
    if (endpoints) slices.set(slice, endpoints);
    else slices.delete(slice);
    if (slices.size > 0) this.#services.set(service, slices);
    else this.#services.delete(service);
  }

  /** One more chain of a family uses the set. */
  acquire(family: Family, id: string, spec: SetSpec): void {
    let set = this.#sets.get(id);
    if (!set) {
      set = { id, spec, users: { 4: 0, 6: 0 }, members: { 4: undefined, 6: undefined } };
      this.#sets.set(id, set);
      if (spec.is === "selector" || spec.is === "named-port") {
        addTo(this.#bySelector, spec.selector.id, set);
        this.#index.addSelector(spec.selector);
      } else if (spec.is === "service") {
        addTo(this.#byService, `${spec.namespace}/${spec.name}`, set);
      }
    }
    if (set.users[family]++ > 0) return;
    const members = new Members(family, kindOf(spec));
    set.members[family] = members;
    this.#fill(set, family);
    members.takeChanges();
    this.#appear(family, setName(family, id));
  }

  /** One chain less uses it; nobody's set is gone. */
  release(family: Family, id: string): void {
    const set = this.#sets.get(id);
    if (!set || set.users[family] === 0) throw new Error(`set ${id} is not in use`);
    if (--set.users[family] > 0) return;
    set.members[family] = undefined;
    this.#disappear(family, setName(family, id));
    if (set.users[4] + set.users[6] > 0) return;
    this.#sets.delete(id);
    const { spec } = set;
    if (spec.is === "selector" || spec.is === "named-port") {
      const { id } = spec.selector;
      deleteFrom(this.#bySelector, id, set);
      if (!this.#bySelector.has(id)) this.#index.removeSelector(id);
    } else if (spec.is === "service") {
      deleteFrom(this.#byService, `${spec.namespace}/${spec.name}`, set);
    }
  }

  /** Members of a set that is always there, whoever uses it. */
  fixed(family: Family, id: string): Members {
    let both = this.#fixed.get(id);
    if (!both) {
      both = { 4: new Members(4, "net"), 6: new Members(6, "net") };
      this.#fixed.set(id, both);
      for (const f of families) this.#appear(f, setName(f, id));
    }
    this.#touch(family, setName(family, id), both[family]);
    return both[family];
  }

  /** All sets of a family. */
  snapshot(family: Family): Map<string, SetDef> {
    const result = new Map<string, SetDef>();
    for (const [name, members] of this.#all(family)) {
      result.set(name, { name, kind: members.kind, members: members.snapshot() });
    }
    return result;
  }

  /** The sets of a family by name, each copied when it is asked for. To be used until the next change. */
  byName(family: Family): (name: string) => SetDef | undefined {
    let index: Map<string, Members> | undefined;
    const copies = new Map<string, SetDef>();
    return (name) => {
      const copy = copies.get(name);
      if (copy) return copy;
      const members = (index ??= new Map(this.#all(family))).get(name);
      if (!members) return undefined;
      const set: SetDef = { name, kind: members.kind, members: members.snapshot() };
      copies.set(name, set);
      return set;
    };
  }

  /** What a set holds, in words. */
  describe(family: Family, name: string): string | undefined {
    for (const { id, spec } of this.#sets.values()) {
      if (setName(family, id) !== name) continue;
      switch (spec.is) {
        case "selector":
          return `${spec.selector}`;
        case "named-port":
          return `port ${[...spec.ports].join(" or ")}/${
            protocolName(spec.protocol)
          } of ${spec.selector}`;
        case "nets":
          return spec.nets.join(", ");
        case "service":
          return `service ${spec.namespace}/${spec.name}`;
      }
    }
  }

  /** What changed since the last call. */
  takeChanges(family: Family): Map<string, SetChange> {
    const result = new Map<string, SetChange>();
    const known = this.#known[family];
    for (const name of this.#gone[family]) {
      if (known.delete(name)) result.set(name, { is: "gone" });
    }
    if (this.#came[family].size > 0) {
      for (const [name, members] of this.#all(family)) {
        if (!this.#came[family].has(name)) continue;
        members.takeChanges();
        const set: SetDef = { name, kind: members.kind, members: members.snapshot() };
        result.set(name, { is: "new", set });
        known.add(name);
      }
    }
    for (const [name, members] of this.#touched[family]) {
      if (result.has(name)) continue;
      const { add, remove } = members.takeChanges();
      if (add.length + remove.length === 0) continue;
      result.set(name, { is: "members", kind: members.kind, add, remove });
    }
    this.#came[family].clear();
    this.#gone[family].clear();
    this.#touched[family].clear();
    return result;
  }

  *#all(family: Family): Generator<[string, Members]> {
    for (const set of this.#sets.values()) {
      const members = set.members[family];
      if (members) yield [setName(family, set.id), members];
    }
    for (const [id, members] of this.#fixed) yield [setName(family, id), members[family]];
  }

  #appear(family: Family, name: string): void {
    // A set that went and came back within one delta is made anew: its kind may differ.
    this.#gone[family].delete(name);
    this.#came[family].add(name);
  }

  #disappear(family: Family, name: string): void {
    this.#came[family].delete(name);
    this.#touched[family].delete(name);
    this.#gone[family].add(name);
  }

  #touch(family: Family, name: string, members: Members): void {
    if (!this.#came[family].has(name)) this.#touched[family].set(name, members);
  }

  #fill(set: ActiveSet, family: Family): void {
    const { spec } = set;
    switch (spec.is) {
      case "nets":
        for (const net of spec.nets) set.members[family]!.add(net);
        return;
      case "service":
        for (
          const endpoints of this.#services.get(`${spec.namespace}/${spec.name}`)?.values() ?? []
        ) {
          this.#contributeService(set, endpoints, true, family);
        }
        return;
      case "selector":
      case "named-port":
        for (const item of this.#index.itemsOf(spec.selector.id)) {
          this.#contribute(set, this.#contributions.get(item)!, true, family);
        }
    }
  }

  /** Adds or takes away what an item brings, in one family or in both. */
  #contribute(set: ActiveSet, from: Contribution, add: boolean, only?: Family): void {
    const { spec } = set;
    for (const family of only ? [only] : families) {
      const members = set.members[family];
      if (!members) continue;
      let changed = false;
      const apply = (member: string) => {
        changed = true;
        if (add) members.add(member);
        else members.remove(member);
      };
      if (spec.is === "selector") from.nets[family].forEach(apply);
      else if (spec.is === "named-port") {
        for (const { name, protocol, port } of from.ports) {
          if (!spec.ports.has(name) || protocol !== spec.protocol) continue;
          for (const address of from.addresses[family]) apply(`${address},${protocol},${port}`);
        }
      }
      if (changed) this.#touch(family, setName(family, set.id), members);
    }
  }

  #contributeService(
    set: ActiveSet,
    from: ServiceEndpoints,
    add: boolean,
    only?: Family,
  ): void {
    const { spec } = set;
    if (spec.is !== "service") return;
    for (const family of only ? [only] : families) {
      const members = set.members[family];
      if (!members) continue;
      const apply = (member: string) => add ? members.add(member) : members.remove(member);
      for (const address of from.addresses) {
        if (address.includes(":") !== (family === 6)) continue;
        if (!spec.withPorts) apply(`${address}/${family === 4 ? 32 : 128}`);
        else {
          for (const { protocol, port } of from.ports) apply(`${address},${protocol},${port}`);
        }
      }
      this.#touch(family, setName(family, set.id), members);
    }
  }
}

function kindOf(spec: SetSpec): "net" | "addr-port" {
  return spec.is === "named-port" || (spec.is === "service" && spec.withPorts)
    ? "addr-port"
    : "net";
}
