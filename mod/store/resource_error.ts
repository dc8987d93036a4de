/** What kept an operation on resources from being done, in words for the user. */
import { StoreError } from "./store.ts";

export type ResourceErrorKind =
  | "exists" // create: there is one of that name
  | "notFound"
  | "conflict" // the object was changed since it was read
  | "invalid" // the object breaks a rule of its kind, alone or beside what is stored
  | "refused" // built in, read only, or still in use
  | "malformed" // what is stored cannot be read
  | "unavailable" // the datastore cannot be reached
  | "denied"; // the datastore refuses us

export class ResourceError extends Error {
  override readonly name = "ResourceError";
  constructor(
    readonly kind: ResourceErrorKind,
    /** `IPPool "default"`. */
    readonly resource: string,
    message: string,
    /** notFound: what else was missing, as the namespace of an object that was to be made. */
    readonly detail?: string,
  ) {
    super(message);
  }
}

/** `IPPool "p"`, `NetworkPolicy "ns/p"`. */
export function resourceName(kind: string, name: string, namespace?: string): string {
  return `${kind} "${namespace ? `${namespace}/` : ""}${name}"`;
}

/** Turns what a store throws into a ResourceError about the resource. */
export function fromStoreError(error: unknown, resource: string): unknown {
  if (!(error instanceof StoreError)) return error;
  switch (error.kind) {
    case "exists":
      return new ResourceError("exists", resource, `${resource} already exists`);
    case "notFound":
      return new ResourceError("notFound", resource, `${resource} does not exist`);
    case "conflict":
      return new ResourceError(
        "conflict",
        resource,
        `${resource} was changed by someone else since it was read; read it again and retry`,
      );
    case "denied":
      return new ResourceError("denied", resource, `${resource}: ${error.message}`);
    case "unavailable":
      return new ResourceError("unavailable", resource, error.message);
    case "compacted":
    case "invalid":
      return new ResourceError("invalid", resource, `${resource}: ${error.message}`);
  }
}
