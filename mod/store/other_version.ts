/**
 * Objects of another version of their API than the one that is known here, as a newer Calico may store them
 * (`projectcalico.org/v4`). They are read as far as they can be, are shown as what they are, and can be deleted.
 * They are not written: what is written here is of our version, and nobody knows what the fields of another
 * come to in it. Calico's own client refuses them too.
 */
import type { AnyKind } from "../model/kinds.ts";
import { CRD_API } from "../model/manifest.ts";
import { show } from "../model/show.ts";
import { ResourceError } from "./resource_error.ts";

/** The version that a stored value says it is of, where that is another; one that says none is of ours. */
export function otherVersion(kind: AnyKind, value: unknown): string | undefined {
  const version = (value as { apiVersion?: unknown } | null | undefined)?.apiVersion;
  if (typeof version !== "string" || version === "" || version === kind.apiVersion) {
    return undefined;
  }
  return kind.crd && version === CRD_API ? undefined : version;
}

/** Throws where what stands there is of another version. */
export function refuseOtherVersion(kind: AnyKind, resource: string, stored: unknown): void {
  const version = otherVersion(kind, stored);
  if (version === undefined) return;
  throw new ResourceError(
    "refused",
    resource,
    `${resource} is stored with apiVersion ${
      show(version)
    }, and ${kind.apiVersion} alone is known here: ` +
      "to change it a newer client is needed; it can be deleted",
  );
}
