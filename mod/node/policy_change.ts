/**
 * What the policy engine is given of a key of the datastore: by the node's agent, and by the commands
 * that explain what it does. It is the value as it stands there, since the engine alone decides what
 * of it can be understood; but the key says which object it is. So a policy whose metadata is lost, or
 * which is no object at all, is still that policy, and what is put under a key goes with it.
 */
import { parseResourceKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import {
  type Change,
  type InputKind,
  inputKind,
  type ObjectMeta,
  type PolicyObject,
} from "../../policy/inputs.ts";
import { labelledKinds, withKnownNames } from "../../policy/stored_object.ts";
import { isJsonObject } from "../store/json.ts";

const kinds = new Map<string, { readonly apiVersion: string; readonly kind: string }>([
  ...KINDS.map((kind) => [`${kind.home}/${kind.plural}`, kind] as const),
  // Of the API alone, which nobody writes through us.
  ["kubernetes/endpointslices", { apiVersion: "discovery.k8s.io/v1", kind: "EndpointSlice" }],
]);
/** Without these more would be allowed than with them. */
const closing = new Set(["NetworkPolicy", "GlobalNetworkPolicy", "KubernetesNetworkPolicy"]);
/** Pods inherit their labels, which a pod has no copy of. */
const inherited = new Set(["Namespace", "ServiceAccount"]);

/** A value that came, or (undefined) the end of one; undefined for what policy does not hang on. */
export function policyChange(key: string, value: unknown): Change | undefined {
  const at = parseResourceKey(key);
  const known = at && kinds.get(`${at.home}/${at.plural}`);
  const kind = known && inputKind(known.apiVersion, known.kind);
  if (!kind) return undefined;
  const { namespace, name } = at;
  const { apiVersion } = known;
  const isObject = isJsonObject(value);
  if (value === undefined || !isObject && !closing.has(kind) && !inherited.has(kind)) {
    return { remove: { apiVersion, kind: known.kind, namespace, name } };
  }
  const object: PolicyObject & { readonly spec?: unknown } = isObject
    ? withKnownNames(kind, value)
    : closing.has(kind)
    ? { metadata: {}, spec: value ?? "null" }
    : { metadata: value ?? "null" } as PolicyObject;
  const metadata = metadataOf(object.metadata, kind);
  const isNamed = metadata.name === name && (metadata.namespace || undefined) === namespace;
  if (isNamed && kindOf(object) === kind) return { put: object };
  return {
    put: { ...object, apiVersion, kind: known.kind, metadata: { ...metadata, namespace, name } },
  };
}

/**
 * Metadata that are none count as labels that are none: without, the object would pass for unlabelled.
 * No object is without metadata, its name is among them.
 */
function metadataOf(metadata: unknown, kind: InputKind): ObjectMeta {
  if (isJsonObject(metadata)) return metadata as ObjectMeta;
  if (!labelledKinds.has(kind)) return {};
  return { labels: (metadata ?? "none, for it has no metadata") as ObjectMeta["labels"] };
}

function kindOf({ apiVersion, kind }: { apiVersion?: unknown; kind?: unknown }) {
  return typeof apiVersion === "string" && typeof kind === "string"
    ? inputKind(apiVersion, kind)
    : undefined;
}
