/**
 * For tests: what a sound record becomes when a single value of it, at any depth, is of another form or
 * missing. Whoever reads records of the datastore is shown all of them: somebody else has written them.
 */
const OTHERS: readonly unknown[] = [null, 5, "x", "", true, [], {}, [null], [{}], undefined];

export interface Mutation {
  /** `attributes.0.handle_id = 5`. */
  readonly what: string;
  readonly value: unknown;
}

/** The value itself is replaced too; `undefined`: the member is missing. */
export function* mutations(sound: unknown, path = ""): Generator<Mutation> {
  for (const other of OTHERS) {
    if (path === "" && other === undefined) continue;
    yield { what: `${path || "it"} = ${JSON.stringify(other) ?? "missing"}`, value: other };
  }
  if (typeof sound !== "object" || sound === null) return;
  for (const [key, inner] of Object.entries(sound)) {
    for (const { what, value } of mutations(inner, path === "" ? key : `${path}.${key}`)) {
      const copy: any = Array.isArray(sound) ? [...sound] : { ...sound };
      if (value !== undefined) copy[key] = value;
      else if (Array.isArray(sound)) copy.splice(Number(key), 1);
      else delete copy[key];
      yield { what, value: copy };
    }
  }
}
