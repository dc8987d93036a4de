/** Classes of letters in regular expressions as Go has them: of ASCII alone, as ranges in order. */

export type Range = readonly [first: number, last: number];

export const LAST = 0x10ffff;

const DIGIT: Range[] = [[48, 57]], UPPER: Range[] = [[65, 90]], LOWER: Range[] = [[97, 122]];
const WORD: Range[] = [...DIGIT, ...UPPER, [95, 95], ...LOWER];
/** `\\d`, `\\s`, `\\w`. */
export const PERL: Readonly<Record<string, Range[]>> = {
  d: DIGIT,
  s: [[9, 10], [12, 13], [32, 32]],
  w: WORD,
};
/** `[[:alpha:]]` and its like. */
export const POSIX: Readonly<Record<string, Range[]>> = {
  alnum: [...DIGIT, ...UPPER, ...LOWER],
  alpha: [...UPPER, ...LOWER],
  ascii: [[0, 127]],
  blank: [[9, 9], [32, 32]],
  cntrl: [[0, 31], [127, 127]],
  digit: DIGIT,
  graph: [[33, 126]],
  lower: LOWER,
  print: [[32, 126]],
  punct: [[33, 47], [58, 64], [91, 96], [123, 126]],
  space: [[9, 13], [32, 32]],
  upper: UPPER,
  word: WORD,
  xdigit: [...DIGIT, [65, 70], [97, 102]],
};
/** One letter in an expression with the flag u. */
export function literal(code: number): string {
  return `\\u{${code.toString(16)}}`;
}

/** Members of a class. */
export function ranges(set: readonly Range[]): string {
  return set.map(([first, last]) =>
    first === last ? literal(first) : `${literal(first)}-${literal(last)}`
  ).join("");
}

export function complement(set: readonly Range[]): Range[] {
  const rest: Range[] = [];
  let next = 0;
  for (const [first, last] of set) {
    if (first > next) rest.push([next, first - 1]);
    next = last + 1;
  }
  return [...rest, [next, LAST]];
}
