/**
 * Objects whose metadata is not of the form that every object's has: labels that are a list, an owner that
 * is a text. A kube-apiserver stores none; what answers in its place may. Such an object is damaged, like a
 * half-written one: under each key that it can stand for nothing can be read, and what is wrong is said.
 * Nobody beyond this meets its metadata, and the others of its list are read. A stray annotation of a Pod
 * or Node is only passed over: that it is damaged would cut it off from its network.
 */
import { isJsonObject } from "../json.ts";
import type { KubeObject } from "./api.ts";
import { stringsOf } from "./metadata.ts";
import type { Source } from "./source.ts";

interface Form {
  readonly want: string;
  fits(value: unknown): boolean;
}

const isText = (value: unknown) => typeof value === "string";
const TEXT: Form = { want: "a text", fits: isText };
const TEXTS: Form = {
  want: "texts by name",
  fits: (value) => isJsonObject(value) && Object.values(value).every(isText),
};

/** Of the members that somebody reads. One that is not there, or null, says nothing. */
const FORMS: Readonly<Record<string, Form>> = {
  namespace: TEXT,
  generateName: TEXT,
  uid: TEXT,
  resourceVersion: TEXT,
  creationTimestamp: TEXT,
  deletionTimestamp: TEXT,
  generation: {
    want: "a number",
    fits: (value) => typeof value === "number" || typeof value === "bigint",
  },
  labels: TEXTS,
  annotations: TEXTS,
  finalizers: { want: "a list of texts", fits: (v) => Array.isArray(v) && v.every(isText) },
  ownerReferences: {
    want: "a list of objects whose members are texts, or true or false",
    fits: (value) =>
      Array.isArray(value) && value.every((owner) =>
        isJsonObject(owner) &&
        Object.values(owner).every((one) => one === null || isText(one) || typeof one === "boolean")
      ),
  },
};

/** What is wrong with an object's metadata. */
export function metadataFault(
  { metadata }: KubeObject,
  namespaced: boolean,
): string | undefined {
  if (namespaced && !metadata.namespace) return "its metadata is damaged: it has no namespace";
  for (const [member, { want, fits }] of Object.entries(FORMS)) {
    const value = metadata[member];
    if (value === undefined || value === null || fits(value)) continue;
    return `its metadata is damaged: ${member} is not ${want}`;
  }
  return undefined;
}

/** Kinds of what runs, and must go on running. */
const ALIVE: ReadonlySet<string> = new Set(["Pod", "Node"]);

function withoutStrays(object: KubeObject): KubeObject {
  const { annotations } = object.metadata;
  if (annotations === undefined || TEXTS.fits(annotations)) return object;
  const texts = isJsonObject(annotations) ? stringsOf(annotations) : {};
  return { ...object, metadata: { ...object.metadata, annotations: texts } };
}

/** The source, with such objects told as damaged. */
export function withSoundMetadata(source: Source): Source {
  const { kind, namespaced } = source.resource;
  return {
    ...source,
    read(object) {
      const passed = ALIVE.has(kind) ? withoutStrays(object) : object;
      return metadataFault(passed, namespaced) === undefined ? source.read(passed) : [];
    },
    strange(object) {
      const reason = `${kind} ${object.metadata.name}: ${metadataFault(object, namespaced)}`;
      return source.read(bare(object, namespaced)).map(({ key }) => ({ key, reason }));
    },
  };
}

/** With no more metadata than its names, from which the keys follow. */
function bare(object: KubeObject, namespaced: boolean): KubeObject {
  const { name, namespace } = object.metadata;
  const known = typeof namespace === "string" && namespace !== "" ? namespace : "-";
  return { ...object, metadata: { name, ...(namespaced && { namespace: known }) } };
}
