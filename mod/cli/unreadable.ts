/**
 * For what calicoctl does not read a file at all, whichever of its objects it is in, and how it says so: a
 * field that the object's kind does not know, a value of another type than its field's.
 */
import type { AnyKind } from "../model/kinds.ts";
import { typeIssues } from "../model/typed.ts";
import { unknownFields } from "../model/validate.ts";
import type { SourceObject } from "./documents.ts";

export interface Unreadable {
  readonly path: string;
  /** With the path. */
  readonly words: string;
}

export function unreadable(kind: AnyKind, value: unknown): Unreadable[] {
  const unknown = kind.open ? [] : unknownFields(kind, value);
  // calicoctl has no Kubernetes' objects; those are checked each at its turn.
  const typed = kind.home === "calico" ? typeIssues(kind, value) : [];
  return [
    ...unknown.map(({ path }) => ({
      path,
      words: `field in document is not recognized or is in the wrong location: ${path}`,
    })),
    ...typed.map(({ path, message }) => ({
      path,
      words: `error unmarshaling JSON: ${path}: ${message}`,
    })),
  ];
}

export function unreadableText({ path, words }: Unreadable, source: SourceObject): string {
  return `failed to execute command: ${source.at(path)}: ${words}`;
}
