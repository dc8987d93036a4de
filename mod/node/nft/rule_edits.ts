/**
 * The shortest way from the rules that a chain has to those that it should have: rules that stay keep
 * their place, their handle and their counters. Rules are compared by their marks alone.
 */

/** One step; the steps of a chain are taken in their order, all deletions first. */
export type RuleEdit =
  /** The rule at this index of the old list goes. */
  | { readonly edit: "delete"; readonly index: number }
  /** The rule at `index` of the new list comes before the old one at `before`, which stays. */
  | { readonly edit: "insert"; readonly index: number; readonly before: number }
  /** The rule at `index` of the new list comes to the end. */
  | { readonly edit: "append"; readonly index: number };

/** Lists whose middles are longer than this are not compared rule by rule. */
const mostCompared = 250_000;

/**
 * Steps from `old` to `wanted`. Deletions of everything (`wanted` shares nothing with `old`) come as
 * deletions too: the caller may flush instead.
 */
export function ruleEdits(old: readonly string[], wanted: readonly string[]): RuleEdit[] {
  const kept = commonRules(old, wanted);
  const edits: RuleEdit[] = [];
  const stays = new Set(kept.map(([from]) => from));
  for (let index = 0; index < old.length; index++) {
    if (!stays.has(index)) edits.push({ edit: "delete", index });
  }
  let next = 0;
  for (let index = 0; index < wanted.length; index++) {
    if (next < kept.length && kept[next][1] === index) next++;
    else if (next < kept.length) edits.push({ edit: "insert", index, before: kept[next][0] });
    else edits.push({ edit: "append", index });
  }
  return edits;
}

/** Pairs of indexes (old, wanted) of rules that stay, both rising. */
function commonRules(old: readonly string[], wanted: readonly string[]): [number, number][] {
  const pairs: [number, number][] = [];
  let start = 0;
  let oldEnd = old.length, wantedEnd = wanted.length;
  // A rule without a mark is not ours and never stays.
  const same = (i: number, j: number) => old[i] !== "" && old[i] === wanted[j];
  while (start < oldEnd && start < wantedEnd && same(start, start)) pairs.push([start, start++]);
  const tail: [number, number][] = [];
  while (oldEnd > start && wantedEnd > start && same(oldEnd - 1, wantedEnd - 1)) {
    tail.push([--oldEnd, --wantedEnd]);
  }
  const rows = oldEnd - start, columns = wantedEnd - start;
  if (rows > 0 && columns > 0 && rows * columns <= mostCompared) {
    pairs.push(...longestCommon(start, rows, columns, same));
  }
  return pairs.concat(tail.reverse());
}

/** The longest common subsequence of two middles that begin at `start`. */
function longestCommon(
  start: number,
  rows: number,
  columns: number,
  same: (i: number, j: number) => boolean,
): [number, number][] {
  const width = columns + 1;
  const lengths = new Uint32Array((rows + 1) * width);
  for (let i = rows - 1; i >= 0; i--) {
    for (let j = columns - 1; j >= 0; j--) {
      lengths[i * width + j] = same(start + i, start + j)
        ? lengths[(i + 1) * width + j + 1] + 1
        : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
    }
  }
  const pairs: [number, number][] = [];
  for (let i = 0, j = 0; i < rows && j < columns;) {
    if (same(start + i, start + j)) pairs.push([start + i++, start + j++]);
    else if (lengths[(i + 1) * width + j] >= lengths[i * width + j + 1]) i++;
    else j++;
  }
  return pairs;
}
