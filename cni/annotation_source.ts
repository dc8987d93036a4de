/**
 * The annotations of one object, with the object's name for the sentences that refuse one: whoever reads
 * them in a pod's events must know at which object to look, what is wrong and what is allowed.
 */

import { shorten } from "./environment.ts";
import { CniCode, CniError } from "./errors.ts";

export type Annotations = Readonly<Record<string, string>>;

/** Calico's own. */
export const CNI_PREFIX = "cni.projectcalico.org/";

export class AnnotationSource {
  /** `object`: `Pod blue/web-0`, `Namespace blue`. */
  constructor(readonly annotations: Annotations, readonly object: string) {}

  /** Whole name with prefix. An empty annotation counts as none, as in Calico. */
  has(name: string): boolean {
    return Object.hasOwn(this.annotations, name) && this.annotations[name] !== "";
  }

  /** Whether it is there at all, be it empty. */
  isNamed(name: string): boolean {
    return Object.hasOwn(this.annotations, name);
  }

  /** Names that begin with one of the prefixes and are none of those that are known. */
  unknown(prefixes: readonly string[], known: ReadonlySet<string>): string[] {
    return Object.keys(this.annotations)
      .filter((name) => !known.has(name) && prefixes.some((prefix) => name.startsWith(prefix)));
  }

  /** "" where it is not there. */
  text(name: string): string {
    if (!this.has(name)) return "";
    // What somebody wrote into the datastore by hand has passed no API.
    const value: unknown = this.annotations[name];
    if (typeof value === "string") return value;
    throw this.refuse(name, `is ${quote(JSON.stringify(value))}, and has to be a text`);
  }

  /** A JSON list of texts; an annotation that is not there is an empty one. */
  list(name: string): string[] {
    if (!this.has(name)) return [];
    const text = this.text(name);
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      value = undefined;
    }
    if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
      throw this.refuse(
        name,
        `${quote(text)} is not a JSON list of texts, such as '["a","b"]'`,
      );
    }
    return value;
  }

  /** How messages name one annotation. */
  nameOf(name: string): string {
    return `${this.object}: annotation ${name}`;
  }

  /** The error about one annotation; `what` goes on from its name and has no full stop. */
  refuse(name: string, what: string): CniError {
    return new CniError(CniCode.annotation, `${this.nameOf(name)} ${what}.`);
  }
}

/** Shortened, in quotes. */
export function quote(text: string): string {
  return JSON.stringify(shorten(text));
}
