/** The three parts of an export's file, between lines of `===` (`file.ts` says what is in them). */

const SEPARATOR = /^===[ \t]*\r?\n/m;

export function partsOf(text: string): string[] {
  return text.split(SEPARATOR);
}

/** No YAML has such a line, but within a text, where it is indented. */
export function isArchive(text: string): boolean {
  return SEPARATOR.test(text) && partsOf(text).length === 3;
}
