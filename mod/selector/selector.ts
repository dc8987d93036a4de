/**
 * Calico's label selectors (libcalico-go/lib/selector): `role in {"db", "cache"} && !has(old)`.
 * `parseSelector` reads one; the result matches label sets, prints itself in the canonical form and
 * has the id under which Calico names sets of addresses.
 */

/** Labels of one object. */
export type Labels = Readonly<Record<string, string>> | ReadonlyMap<string, string>;
