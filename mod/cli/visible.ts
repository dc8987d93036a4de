/**
 * What stands in the datastore is anybody's text. Shown to a person it must not steer the terminal: control
 * characters (also those of eight bits) and marks that turn the direction of writing are shown as escapes.
 */

// deno-lint-ignore no-control-regex
const UNSEEN = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

/** One line of text, with `\x1b` for an escape character. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (letter) => {
    const code = letter.charCodeAt(0).toString(16);
    return code.length > 2 ? `\\u${code}` : `\\x${code.padStart(2, "0")}`;
  });
}
