/**
 * Finds a key that stands twice in one object of a JSON text. JSON.parse takes the last of them without
 * a word, and the reader of the file sees the first.
 */

export interface RepeatedKey {
  readonly key: string;
  /** Offset of the second one in the text. */
  readonly offset: number;
}

/** The first repeated key of a text that JSON.parse takes. */
export function repeatedKey(text: string): RepeatedKey | undefined {
  /** Of each open object its keys so far; of a list undefined. */
  const open: (Set<string> | undefined)[] = [];
  /** Whether a string that begins here is a key. */
  let atKey = false;
  for (let at = 0; at < text.length; at++) {
    switch (text[at]) {
      case "{":
        open.push(new Set());
        atKey = true;
        break;
      case "[":
        open.push(undefined);
        atKey = false;
        break;
      case "}":
      case "]":
        open.pop();
        atKey = false;
        break;
      case ",":
        atKey = open.at(-1) !== undefined;
        break;
      case '"': {
        const offset = at;
        while (text[++at] !== '"') if (text[at] === "\\") at++;
        if (!atKey) break;
        atKey = false;
        const key = JSON.parse(text.slice(offset, at + 1)) as string;
        const keys = open.at(-1)!;
        if (keys.has(key)) return { key, offset };
        keys.add(key);
      }
    }
  }
  return undefined;
}
