/**
 * What lies under an object's key and is no object: half a write, a value of another shape, somebody's
 * experiment with etcdctl. It cannot be read, but it must not be in the way for ever: it can be deleted,
 * written anew as a whole, and, where it is JSON at least, patched until it is whole.
 */
import type { AnyKind } from "../model/kinds.ts";
import type { Metadata, Resource } from "../model/resource.ts";
import { isTime } from "../model/time.ts";
import { isJsonObject } from "./json.ts";
import { otherVersion } from "./other_version.ts";
import { ResourceError, resourceName } from "./resource_error.ts";
import { type Entry, type Revision, StoreError } from "./store.ts";

export interface Damaged {
  readonly revision: Revision;
  /** A whole sentence that says what cannot be read, and why. */
  readonly reason: string;
  /** undefined where it is not even JSON. */
  readonly value?: unknown;
}

export const DELETE_OR_WRITE = "delete it, or write it anew";

/** The damage that a store tells of when it is asked for a key; undefined for any other trouble. */
export function damageOf(error: unknown): Damaged | undefined {
  if (!(error instanceof StoreError) || error.damaged === undefined) return undefined;
  return { revision: error.damaged, reason: error.message };
}

/** An entry that has not the shape of its kind. */
export function damagedEntry(kind: AnyKind, { revision, value }: Entry, message: string): Damaged {
  const version = otherVersion(kind, value);
  const remedy = version === undefined
    ? DELETE_OR_WRITE
    : `it is of ${version}: want a newer client, or delete it`;
  return { revision, reason: `${message}; ${remedy}`, value };
}

export function damagedError(
  kind: AnyKind,
  name: string,
  namespace: string | undefined,
  { reason }: Damaged,
): ResourceError {
  const message = kind.mendedWith ? reason.replace(DELETE_OR_WRITE, kind.mendedWith) : reason;
  return new ResourceError("malformed", resourceName(kind.kind, name, namespace), message);
}

/**
 * The damaged value in the form of an object, for whoever mends it: name and revision are right, and
 * nothing else can be relied upon. undefined where there is nothing to mend.
 */
export function mendable<T extends Resource>(
  kind: AnyKind,
  name: string,
  namespace: string | undefined,
  { revision, value }: Damaged,
): T | undefined {
  if (!isJsonObject(value)) return undefined;
  const metadata = isJsonObject(value.metadata) ? value.metadata : {};
  return {
    ...value,
    kind: kind.kind,
    apiVersion: kind.apiVersion,
    metadata: {
      ...metadata,
      name,
      ...namespace !== undefined && { namespace },
      resourceVersion: revision,
    },
  } as unknown as T;
}

/** The name and no more, for what has to be done before a damaged object is deleted. */
export function bareObject<T extends Resource>(
  kind: AnyKind,
  name: string,
  namespace: string | undefined,
  { revision }: Damaged,
): T {
  const metadata: Metadata = {
    name,
    ...namespace !== undefined && { namespace },
    resourceVersion: revision,
  };
  return { kind: kind.kind, apiVersion: kind.apiVersion, metadata, spec: {} } as unknown as T;
}

/** Identity and birth of a stored object, as far as Calico's readers can read them. */
export function identityOf(value: unknown): { uid?: string; creationTimestamp?: string } {
  const metadata = isJsonObject(value) && isJsonObject(value.metadata) ? value.metadata : {};
  const { uid, creationTimestamp: time } = metadata;
  return {
    ...typeof uid === "string" && uid !== "" && { uid },
    ...typeof time === "string" && isTime(time) && { creationTimestamp: time },
  };
}
