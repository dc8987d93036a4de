/**
 * Calico up to 3.31 stored a policy `foo` of the default tier under the name `default.foo`; since 3.32 it
 * is stored as it is called. Old names are read all the same; this moves them.
 *
 * A copy is written under the new name, then the old entry is deleted at the revision that was copied:
 * at no moment is there no policy, and a crash in between leaves two that are the same, of which the
 * next run deletes the old one. Two that differ are somebody's work: both stay, and are told.
 */
import { resourceKey, resourcePrefix } from "../../model/keys.ts";
import { type AnyKind, KINDS } from "../../model/kinds.ts";
import type { Resource } from "../../model/resource.ts";
import { ModelError } from "../../model/validate.ts";
import { hasPrefixedKey } from "../../store/resource_rules.ts";
import { decodeEntry } from "../../store/resources.ts";
import { type Entry, type Store, StoreError } from "../../store/store.ts";
import { canonical } from "./content.ts";

const METADATA_ANNOTATION = "projectcalico.org/metadata";
const TRIES = 5;

export interface PolicyNames {
  /** `NetworkPolicy shop/default.foo -> foo`. */
  readonly moved: readonly string[];
  /** What stays as it is, with the reason. */
  readonly faults: readonly string[];
}

export async function migratePolicyNames(store: Store, dryRun: boolean): Promise<PolicyNames> {
  const [moved, faults]: string[][] = [[], []];
  for (const kind of KINDS.filter(hasPrefixedKey)) {
    const { entries, broken = [] } = await store.list(resourcePrefix(kind));
    for (const { key, reason } of broken) faults.push(`${key}: ${reason}`);
    for (const entry of entries) {
      try {
        const object = decodeEntry<Resource>(kind, entry);
        const { name, namespace } = object.metadata;
        const key = resourceKey(kind, name, namespace);
        if (key === entry.key || !isDefaultTier(object)) continue;
        const stored = entry.key.slice(entry.key.lastIndexOf("/") + 1);
        const line = `${kind.kind} ${namespace ? `${namespace}/` : ""}${stored} -> ${name}`;
        const fault = await move(store, kind, entry, key, name, dryRun);
        if (fault === undefined) moved.push(line);
        else faults.push(`${line}: ${fault}`);
      } catch (error) {
        if (!(error instanceof ModelError)) throw error;
        faults.push(`${entry.key}: ${error.message}`);
      }
    }
  }
  return { moved, faults };
}

function isDefaultTier(object: Resource): boolean {
  const tier = (object as { spec?: { tier?: string } }).spec?.tier;
  return tier === undefined || tier === "" || tier === "default";
}

/** undefined when it is done, or why it is not. */
async function move(
  store: Store,
  kind: AnyKind,
  first: Entry,
  key: string,
  name: string,
  dryRun: boolean,
): Promise<string | undefined> {
  let old: Entry | undefined = first;
  for (let attempt = 0; attempt < TRIES && old; attempt++) {
    const copy = renamed(old.value as Resource, name);
    const there: Entry | undefined = await store.get(key);
    if (there && meaning(kind, there) !== meaning(kind, { ...old, key, value: copy })) {
      return `there is another ${kind.kind} under the new name; delete the one that is not wanted`;
    }
    if (dryRun) return undefined;
    let made: string | undefined;
    try {
      if (!there) made = await store.create(key, copy);
      await store.delete(old.key, old.revision);
      return undefined;
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      if (error.kind === "notFound") return undefined; // another run was quicker
      if (error.kind !== "conflict" && error.kind !== "exists") throw error;
      // The old one was changed after it was copied: the copy is of no use.
      if (made !== undefined) await store.delete(key, made).catch(() => {});
    }
    old = await store.get(first.key);
  }
  return old ? "it is changed again and again; try later" : undefined;
}

function renamed(value: Resource, name: string): Resource {
  const annotations = {
    ...value.metadata?.annotations,
    [METADATA_ANNOTATION]: JSON.stringify({ name }),
  };
  return { ...value, metadata: { ...value.metadata, name, annotations } };
}

/** What a policy says, without the times and numbers of its entry. */
function meaning(kind: AnyKind, entry: Entry): string {
  const { metadata, ...rest } = decodeEntry<Resource>(kind, entry);
  const { name, labels, annotations } = metadata;
  return canonical({ ...rest, name, labels, annotations });
}
