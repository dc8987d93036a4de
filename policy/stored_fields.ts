/**
 * Reads members of stored objects strictly: a member has the form that it should have, or a `Misread`
 * says where and why not. Nothing is put in place of what is wrong, since what takes its place (no
 * list, no selector) often means "everybody". What a misread policy then does stands in
 * `kubernetes_reading.ts` and `calico.ts`; here is only what forms are.
 *
 * As for Go, null is absent. Fields that are not known are misread too: in a rule, a newer version's
 * field narrows whom the rule lets in, and without it the rule would let in more.
 */
import { nearest } from "../mod/model/nearest.ts";
import { show } from "../mod/model/show.ts";

/** Something of a stored object that cannot be understood. */
export class Misread extends Error {
  override readonly name = "Misread";
  constructor(readonly path: string, readonly why: string) {
    super(`${path}: ${why}`);
  }
}

export type Members = Readonly<Record<string, unknown>>;

/** An object; undefined where it is absent. */
export function membersOf(value: unknown, path: string): Members | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new Misread(path, `${show(value)} is not an object`);
  }
  return value as Members;
}

/** A list; undefined where it is absent. */
export function itemsOf(value: unknown, path: string): readonly unknown[] | undefined {
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw new Misread(path, `${show(value)} is not a list`);
  return value;
}

/** A text; undefined where it is absent. */
export function wordOf(value: unknown, path: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw new Misread(path, `${show(value)} is not a text`);
  return value;
}

/** A list of texts. */
export function wordsOf(value: unknown, path: string): string[] | undefined {
  return itemsOf(value, path)?.map((item, i) => {
    const at = `${path}[${i}]`;
    const word = wordOf(item, at);
    if (word === undefined) throw new Misread(at, "null is not a text");
    return word;
  });
}

/**
 * The same with the names of known fields as they should be: Go's own reader, by which Calico reads
 * what is in etcd, takes `Selector` for `selector`.
 */
export function inAnyCase(members: Members, known: readonly string[]): Members {
  const strange = unknownOf(members, known);
  if (strange.length === 0) return members;
  const copy: Record<string, unknown> = { ...members };
  for (const field of strange) {
    const meant = known.find((name) => name.toLowerCase() === field.toLowerCase());
    // What is there under both names stays: an unknown field beside the known one.
    if (meant === undefined || isThere(copy[meant])) continue;
    copy[meant] = copy[field];
    delete copy[field];
  }
  return copy;
}

/** Refuses fields that are none of the known ones. */
export function onlyKnown(members: Members, known: readonly string[], path: string): void {
  const first = unknownOf(members, known)[0];
  if (first !== undefined) throw new Misread(`${path}.${first}`, unknownField(first, known));
}

/** Names of members that are there and not known. */
export function unknownOf(members: Members, known: readonly string[]): string[] {
  return Object.keys(members).filter((key) => !known.includes(key) && isThere(members[key]));
}

export function unknownField(field: string, known: readonly string[]): string {
  const near = nearest(field, known);
  return `unknown field${near === undefined ? "" : ` (did you mean ${near}?)`}`;
}

function isThere(value: unknown): boolean {
  return value !== undefined && value !== null;
}

/** Runs a reading; its Misread's text, or what it gave. */
export function attempt<T>(read: () => T): { readonly value: T } | { readonly misread: string } {
  try {
    return { value: read() };
  } catch (error) {
    if (error instanceof Misread) return { misread: error.message };
    throw error;
  }
}
