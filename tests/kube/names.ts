/**
 * What objects, labels and annotations may be called: the page "Object Names and IDs" (DNS subdomain,
 * DNS label, path segment) and "Labels and Selectors". Faults are causes of a 422.
 */
import type { Metadata } from "./object.ts";
import { type FieldError, invalidValue, required, tooLong } from "./status.ts";

/** Which names a kind takes. */
export type NameRule = "subdomain" | "label" | "service" | "path";

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const LABEL_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const PART = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

/** Why the name is not allowed; nothing where it is. */
export function nameFault(name: string, rule: NameRule): string | undefined {
  switch (rule) {
    case "label":
      return name.length <= 63 && LABEL.test(name)
        ? undefined
        : "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', " +
          "and must start and end with an alphanumeric character (at most 63 characters)";
    case "service":
      return name.length <= 63 && LABEL_1035.test(name)
        ? undefined
        : "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with " +
          "an alphabetic character, and end with an alphanumeric character";
    case "subdomain":
      return name.length <= 253 && SUBDOMAIN.test(name)
        ? undefined
        : "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' " +
          "or '.', and must start and end with an alphanumeric character (at most 253 characters)";
    case "path":
      return name !== "." && name !== ".." && !/[/%]/.test(name)
        ? undefined
        : "a path segment may not be '.' or '..' and may not contain '/' or '%'";
  }
}

const isQualifiedName = (key: string) => {
  const parts = key.split("/");
  const name = parts.pop()!;
  return parts.length <= 1 && name.length <= 63 && PART.test(name) &&
    (parts.length === 0 || (parts[0].length <= 253 && SUBDOMAIN.test(parts[0])));
};

/** "must consist of alphanumeric characters, -, _ or ."; a key becomes a file of a mounted volume. */
export const isConfigMapKey = (key: string) =>
  key.length <= 253 && /^[-._a-zA-Z0-9]+$/.test(key) && key !== "." && !key.startsWith("..");

/** All annotations together, keys and values, in bytes. */
const ANNOTATION_LIMIT = 256 * 1024;

export function metadataFaults(metadata: Metadata, rule: NameRule): FieldError[] {
  const faults: FieldError[] = [];
  if (metadata.name === "" || metadata.name === undefined) {
    faults.push(required("metadata.name", "name or generateName is required"));
  } else {
    const why = nameFault(metadata.name, rule);
    if (why) faults.push(invalidValue("metadata.name", metadata.name, why));
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    if (!isQualifiedName(key)) {
      faults.push(invalidValue("metadata.labels", key, "a qualified name is wanted"));
    }
    if (value.length > 63 || (value !== "" && !PART.test(value))) {
      faults.push(
        invalidValue(
          "metadata.labels",
          value,
          "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' " +
            "or '.', and must start and end with an alphanumeric character (at most 63 characters)",
        ),
      );
    }
  }
  let size = 0;
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    size += key.length + value.length;
    if (!isQualifiedName(key.toLowerCase())) {
      faults.push(invalidValue("metadata.annotations", key, "a qualified name is wanted"));
    }
  }
  if (size > ANNOTATION_LIMIT) {
    faults.push(tooLong("metadata.annotations", ANNOTATION_LIMIT));
  }
  for (const finalizer of metadata.finalizers ?? []) {
    if (!isQualifiedName(finalizer)) {
      faults.push(invalidValue("metadata.finalizers", finalizer, "a qualified name is wanted"));
    }
  }
  (metadata.ownerReferences ?? []).forEach((owner, i) => {
    for (const field of ["apiVersion", "kind", "name", "uid"] as const) {
      if (!owner[field]) faults.push(required(`metadata.ownerReferences[${i}].${field}`));
    }
  });
  return faults;
}

const SUFFIX = "bcdfghjklmnpqrstvwxz2456789";

/** `generateName` and five characters; the prefix is cut so that 63 hold. */
export function generatedName(prefix: string): string {
  const random = crypto.getRandomValues(new Uint8Array(5));
  return prefix.slice(0, 58) + [...random].map((b) => SUFFIX[b % SUFFIX.length]).join("");
}
