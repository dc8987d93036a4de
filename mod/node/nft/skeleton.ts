/**
 * The closed skeleton of what is wanted (policy/closed.ts) as something wanted itself: what is put in
 * the place of a table that is gone, where the whole would take long or must not be made yet.
 */
import { skeletonOf } from "../../../policy/closed.ts";
import type { SetDef } from "../../../policy/rules.ts";
import { Wanted, type WantedSet } from "./wanted.ts";

/**
 * Up to this weight the whole is there as soon as the skeleton would be. An element weighs 1; a chain
 * more, because the kernel follows all of them from every hook.
 */
const lightest = 2000;
const chainWeight = 10;

/** Whether a transaction with all that is wanted takes much longer than its skeleton. */
export function isHeavy({ chains, sets }: Wanted): boolean {
  let weight = chains.size * chainWeight;
  for (const { members } of sets.values()) weight += members.size;
  return weight > lightest;
}

export function skeletonWanted({ family, chains, sets }: Wanted): Wanted {
  const skeleton = skeletonOf(chains);
  const used = new Map<string, SetDef>();
  for (const name of skeleton.sets) {
    const set = sets.get(name);
    if (set) used.set(name, asSet(set));
  }
  const wanted = new Wanted(family);
  wanted.replace({ family, chains: skeleton.chains, sets: used });
  return wanted;
}

/** No rule of the skeleton looks up a verdict map. */
function asSet({ name, kind, members }: WantedSet): SetDef {
  if (kind === "verdict-map") throw new Error(`the skeleton uses the verdict map ${name}`);
  return { name, kind, members: new Set(members.keys()) };
}
