/**
 * Which selectors match which items (endpoints, network sets), kept up to date as either changes.
 *
 * Asking every selector about every item would cost selectors times items for one change. Most
 * selectors cannot match without a certain label (`app == "web"`, the namespace of a policy), so
 * each is filed under one such label, and an item is only asked by selectors filed under labels that
 * it has. The other way round, a new selector that is bound to a namespace asks the items of that
 * namespace alone.
 */
import type { Requirement, Selector } from "../mod/selector/selector.ts";
import { NAMESPACE_LABEL, ORCHESTRATOR_LABEL } from "./selectors.ts";
import { addTo, deleteFrom } from "./multimap.ts";

export type LabelMap = ReadonlyMap<string, string>;

/** Told of each match that begins or ends. */
export type OnMatch<Item> = (selectorId: string, item: Item, matches: boolean) => void;

interface SelectorEntry<Item> {
  readonly selector: Selector;
  readonly items: Set<Item>;
  /** The label under which it is filed; undefined: asked about every item. */
  readonly filed?: { readonly label: string; readonly values?: ReadonlySet<string> };
}

interface ItemEntry {
  labels: LabelMap;
  readonly selectors: Set<string>;
}

export class LabelIndex<Item> {
  readonly #items = new Map<Item, ItemEntry>();
  readonly #selectors = new Map<string, SelectorEntry<Item>>();
  /** label -> value -> selectors that need the label to have it. */
  readonly #byValue = new Map<string, Map<string, Set<string>>>();
  /** label -> selectors that need the label, with whatever value. */
  readonly #byLabel = new Map<string, Set<string>>();
  readonly #unfiled = new Set<string>();
  readonly #byNamespace = new Map<string, Set<Item>>();
  readonly #onMatch: OnMatch<Item>;

  constructor(onMatch: OnMatch<Item>) {
    this.#onMatch = onMatch;
  }

  /** Adds an item or gives it other labels. */
  setItem(item: Item, labels: LabelMap): void {
    let entry = this.#items.get(item);
    if (!entry) {
      entry = { labels, selectors: new Set() };
      this.#items.set(item, entry);
    } else this.#unfileNamespace(item, entry.labels);
    entry.labels = labels;
    const namespace = labels.get(NAMESPACE_LABEL);
    if (namespace !== undefined) addTo(this.#byNamespace, namespace, item);

    for (const id of [...entry.selectors]) {
      if (!this.#selectors.get(id)!.selector.matches(labels)) this.#end(id, item, entry);
    }
    for (const id of this.#candidates(labels)) {
      if (!entry.selectors.has(id) && this.#selectors.get(id)!.selector.matches(labels)) {
        this.#begin(id, item, entry);
      }
    }
  }

  removeItem(item: Item): void {
    const entry = this.#items.get(item);
    if (!entry) return;
    for (const id of [...entry.selectors]) this.#end(id, item, entry);
    this.#unfileNamespace(item, entry.labels);
    this.#items.delete(item);
  }

  /** Adds a selector; nothing happens where its id is known. */
  addSelector(selector: Selector): void {
    const { id } = selector;
    if (this.#selectors.has(id)) return;
    const filed = chooseLabel(selector.requirements);
    const entry: SelectorEntry<Item> = { selector, items: new Set(), filed };
    this.#selectors.set(id, entry);
    if (!filed) this.#unfiled.add(id);
    else if (!filed.values) addTo(this.#byLabel, filed.label, id);
    else {
      const values = this.#byValue.get(filed.label) ?? new Map<string, Set<string>>();
      this.#byValue.set(filed.label, values);
      for (const value of filed.values) addTo(values, value, id);
    }
    const namespaces = selector.requirements.get(NAMESPACE_LABEL)?.values;
    const items = namespaces
      ? [...namespaces].flatMap((ns) => [...this.#byNamespace.get(ns) ?? []])
      : this.#items.keys();
    for (const item of items) {
      const other = this.#items.get(item)!;
      if (selector.matches(other.labels)) this.#begin(id, item, other);
    }
  }

  /** Removes a selector; its matches end without a word. */
  removeSelector(id: string): void {
    const entry = this.#selectors.get(id);
    if (!entry) return;
    for (const item of entry.items) this.#items.get(item)!.selectors.delete(id);
    this.#selectors.delete(id);
    if (!entry.filed) this.#unfiled.delete(id);
    else if (!entry.filed.values) deleteFrom(this.#byLabel, entry.filed.label, id);
    else {
      // None where the selector asks for a value of none, and another of that kind went before it.
      const values = this.#byValue.get(entry.filed.label);
      if (!values) return;
      for (const value of entry.filed.values) deleteFrom(values, value, id);
      if (values.size === 0) this.#byValue.delete(entry.filed.label);
    }
  }

  /** The items that a selector matches. */
  itemsOf(selectorId: string): ReadonlySet<Item> {
    return this.#selectors.get(selectorId)?.items ?? new Set();
  }

  /** Ids of the selectors that match an item. */
  selectorsOf(item: Item): ReadonlySet<string> {
    return this.#items.get(item)?.selectors ?? new Set();
  }

  *#candidates(labels: LabelMap): Generator<string> {
    yield* this.#unfiled;
    for (const [label, value] of labels) {
      const values = this.#byValue.get(label)?.get(value);
      if (values) yield* values;
      const present = this.#byLabel.get(label);
      if (present) yield* present;
    }
  }

  #begin(id: string, item: Item, entry: ItemEntry): void {
    entry.selectors.add(id);
    this.#selectors.get(id)!.items.add(item);
    this.#onMatch(id, item, true);
  }

  #end(id: string, item: Item, entry: ItemEntry): void {
    entry.selectors.delete(id);
    this.#selectors.get(id)!.items.delete(item);
    this.#onMatch(id, item, false);
  }

  #unfileNamespace(item: Item, labels: LabelMap): void {
    const namespace = labels.get(NAMESPACE_LABEL);
    if (namespace !== undefined) deleteFrom(this.#byNamespace, namespace, item);
  }
}

/**
 * The label that tells most: one of the pod's own with few values, then the namespace, then any that
 * must be there. The orchestrator says nothing, all pods have it.
 */
function chooseLabel(
  needs: ReadonlyMap<string, Requirement>,
): SelectorEntry<unknown>["filed"] {
  let best: { label: string; values?: ReadonlySet<string>; rank: number } | undefined;
  for (const [label, { values }] of needs) {
    if (label === ORCHESTRATOR_LABEL) continue;
    const rank = !values ? 1e9 : label === NAMESPACE_LABEL ? 1e6 : values.size;
    if (!best || rank < best.rank) best = { label, values, rank };
  }
  return best && { label: best.label, values: best.values };
}
