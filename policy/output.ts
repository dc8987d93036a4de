/**
 * The rendered chains and dispatch maps of both families, with what changed in them since the last
 * delta. Chains are values: an equal one that is set again is no change.
 */
import { dispatchMaps } from "./render_endpoint.ts";
import { directions } from "./effective.ts";
import { limitMaps } from "./limits.ts";
import type { Chain, Family, MapVerdict, Rule, SetChange, SetDef } from "./rules.ts";

const families: readonly Family[] = [4, 6];

export class Output {
  readonly #chains: Record<Family, Map<string, Chain>> = { 4: new Map(), 6: new Map() };
  /** Names, with the chain that the taker of changes knows (undefined: none). */
  readonly #dirty: Record<Family, Map<string, Chain | undefined>> = {
    4: new Map(),
    6: new Map(),
  };
  /** The maps are the same in both families: interface names have none. */
  readonly #maps = new Map<string, Map<string, MapVerdict>>(
    directions.flatMap((d) => [[dispatchMaps[d], new Map()], [limitMaps[d], new Map()]]),
  );
  /** map -> interface -> true came, false went. */
  readonly #mapDirty: Record<Family, Map<string, Map<string, boolean>>> = {
    4: new Map(),
    6: new Map(),
  };
  readonly #mapsTold: Record<Family, boolean> = { 4: false, 6: false };

  /** Sets a chain, or with undefined takes it away. */
  setChain(family: Family, name: string, chain: Chain | undefined): void {
    const chains = this.#chains[family];
    const before = chains.get(name);
    if (before === chain || (before && chain && sameChain(before, chain))) return;
    if (!this.#dirty[family].has(name)) this.#dirty[family].set(name, before);
    if (chain) chains.set(name, chain);
    else chains.delete(name);
  }

  setBoth(name: string, chain: Chain | undefined): void {
    for (const family of families) this.setChain(family, name, chain);
  }

  /** Sets or takes away the way of an interface in a dispatch map. */
  setVerdict(map: string, interfaceName: string, verdict: MapVerdict | undefined): void {
    const members = this.#maps.get(map)!;
    const before = members.get(interfaceName);
    if (before === verdict || (before && verdict && sameVerdict(before, verdict))) return;
    if (verdict) members.set(interfaceName, verdict);
    else members.delete(interfaceName);
    for (const family of families) {
      let dirty = this.#mapDirty[family].get(map);
      if (!dirty) this.#mapDirty[family].set(map, dirty = new Map());
      const came = verdict !== undefined;
      if (dirty.get(interfaceName) === !came) dirty.delete(interfaceName);
      else dirty.set(interfaceName, came);
    }
  }

  chains(family: Family): Map<string, Chain> {
    return new Map(this.#chains[family]);
  }

  /** The chains themselves, which go on changing. */
  liveChains(family: Family): ReadonlyMap<string, Chain> {
    return this.#chains[family];
  }

  /** A dispatch map itself, which goes on changing. */
  liveMap(name: string): SetDef | undefined {
    const members = this.#maps.get(name);
    return members && { name, kind: "verdict-map", members };
  }

  *maps(): Generator<SetDef> {
    for (const [name, members] of this.#maps) {
      yield { name, kind: "verdict-map", members: new Map(members) };
    }
  }

  /** Chains that differ from what the last call said. */
  takeChains(family: Family): Map<string, Chain | undefined> {
    const result = new Map<string, Chain | undefined>();
    for (const [name, before] of this.#dirty[family]) {
      const now = this.#chains[family].get(name);
      if (now === before || (now && before && sameChain(now, before))) continue;
      result.set(name, now);
    }
    this.#dirty[family].clear();
    return result;
  }

  takeMaps(family: Family): Map<string, SetChange> {
    const result = new Map<string, SetChange>();
    if (!this.#mapsTold[family]) {
      this.#mapsTold[family] = true;
      for (const set of this.maps()) result.set(set.name, { is: "new", set });
    } else {
      for (const [name, dirty] of this.#mapDirty[family]) {
        const members = this.#maps.get(name)!;
        const add: [string, MapVerdict][] = [], remove: string[] = [];
        for (const [interfaceName, came] of dirty) {
          if (came) add.push([interfaceName, members.get(interfaceName)!]);
          else remove.push(interfaceName);
        }
        if (add.length + remove.length > 0) result.set(name, { is: "verdicts", add, remove });
      }
    }
    this.#mapDirty[family].clear();
    return result;
  }
}

function sameVerdict(a: MapVerdict, b: MapVerdict): boolean {
  return a.do === b.do && ("chain" in a ? a.chain : "") === ("chain" in b ? b.chain : "");
}

/** Equal in all that the kernel or an explanation sees. Rules are often the same array. */
export function sameChain(a: Chain, b: Chain): boolean {
  return a.name === b.name && JSON.stringify(a.base) === JSON.stringify(b.base) &&
    sameRules(a.rules, b.rules);
}

export function sameRules(a: readonly Rule[], b: readonly Rule[]): boolean {
  return a === b || (a.length === b.length &&
    a.every((rule, i) => rule === b[i] || JSON.stringify(rule) === JSON.stringify(b[i])));
}
