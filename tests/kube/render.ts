/**
 * Objects as text. A list of our own kinds leaves kind and apiVersion out of its items, as typed lists
 * do; custom resources always carry theirs, under the version that was asked for.
 */
import { jsonOf, type KubeObject } from "./object.ts";
import { apiVersionOf, type ResourceKind } from "./resource_kind.ts";

export function render(kind: ResourceKind, object: KubeObject): string {
  const text = jsonOf(object);
  const wanted = apiVersionOf(kind);
  if (object.apiVersion === wanted) return text;
  return `{"apiVersion":"${wanted}"${text.slice(`{"apiVersion":"${object.apiVersion}"`.length)}`;
}

export function renderItem(kind: ResourceKind, object: KubeObject): string {
  const text = render(kind, object);
  if (kind.custom) return text;
  const head = `{"apiVersion":"${apiVersionOf(kind)}","kind":"${kind.kind}",`;
  return text.startsWith(head) ? `{${text.slice(head.length)}` : text;
}

const encoder = new TextEncoder();
const lines = new WeakMap<KubeObject, Map<string, Uint8Array>>();

/** One line of a watch, made once for all watches that send it. */
export function renderEvent(type: string, kind: ResourceKind, object: KubeObject): Uint8Array {
  let made = lines.get(object);
  if (!made) lines.set(object, made = new Map());
  const id = `${type} ${kind.version}`;
  let line = made.get(id);
  if (!line) {
    line = encoder.encode(`{"type":"${type}","object":${render(kind, object)}}\n`);
    made.set(id, line);
  }
  return line;
}
