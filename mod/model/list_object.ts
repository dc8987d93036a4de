/**
 * `kind: List`, and the lists that Kubernetes' API answers with (PodList): the items of the latter
 * leave out what they are, because the list says it.
 */
export interface ListObject {
  readonly apiVersion?: unknown;
  readonly kind: string;
  readonly items: readonly unknown[];
}

export function isListObject(value: unknown): value is ListObject {
  if (value === null || typeof value !== "object") return false;
  const { kind, items } = value as { kind?: unknown; items?: unknown };
  return typeof kind === "string" && kind.endsWith("List") && Array.isArray(items);
}

/** Of a list's kind, but no list: its items are missing or something else. */
export function isListWithoutItems(
  value: unknown,
): value is { readonly kind: string; readonly items?: unknown } {
  if (value === null || typeof value !== "object" || isListObject(value)) return false;
  const { kind, metadata } = value as { kind?: unknown; metadata?: { name?: unknown } | null };
  if (typeof kind !== "string" || !kind.endsWith("List")) return false;
  // Somebody's kind may end so too; its objects have a name.
  return kind === "List" || Object.hasOwn(value, "items") || metadata?.name === undefined;
}

/**
 * The first item of a typed list that says that it is of another kind: to Go's readers it is of the list's,
 * to others of its own, and nobody may make of it what was not meant. A list is none of the kind either,
 * whatever its own items say.
 */
export function strangerIn(
  { kind, items }: ListObject,
): { index: number; kind: unknown } | { index: number; list: true } | undefined {
  const itemKind = kind.slice(0, -"List".length);
  if (itemKind === "") return undefined;
  for (const [index, item] of items.entries()) {
    if (Array.isArray(item)) return { index, list: true };
    const own = (item as { kind?: unknown } | null | undefined)?.kind;
    if (own !== undefined && own !== null && own !== "" && own !== itemKind) {
      return { index, kind: own };
    }
  }
}

/** The items, each with the kind and version that it has from the list where it says none. */
export function listItems({ apiVersion, kind, items }: ListObject): unknown[] {
  const itemKind = kind.slice(0, -"List".length);
  if (itemKind === "") return [...items];
  return items.map((item) =>
    item !== null && typeof item === "object" && !Array.isArray(item)
      ? { apiVersion, kind: itemKind, ...item }
      : item
  );
}
