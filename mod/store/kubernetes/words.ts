/**
 * What controllers and nodes say to each other, `/tortie/nodes/<node>/asked` and `…/held`, as
 * ConfigMaps of kube-system. A Pod that is gone from the API proves less than one may think (it was
 * deleted by force, and its node, which does not hear of it, still runs the container), so nodes are
 * asked here too.
 *
 *     tortie-asked.<node>    labels: tortie.io/node-word: asked    data: node, word (the value as JSON)
 *
 * ConfigMaps and not annotations of the Node: each has a revision of its own, which is what an answer
 * refers to, and a write to one is no event for everybody who watches Nodes. A node reads and writes its
 * own two by their names; only the controllers read all, by the label.
 */
import { NODE_WORDS } from "../../model/keys.ts";
import { parseJson, printJson } from "../json.ts";
import type { Json } from "../store.ts";
import type { KubeObject, KubeResource } from "./api.ts";
import { hostnameHash } from "./names.ts";
import { removeObject } from "./removal.ts";
import { type Place, revisionOf, type Source } from "./source.ts";

const resource: KubeResource = {
  group: "",
  version: "v1",
  plural: "configmaps",
  kind: "ConfigMap",
  namespaced: true,
};
const NAMESPACE = "kube-system";
const LABEL = "tortie.io/node-word";
/** The longest name of an object. */
const LONGEST = 253;

interface Word {
  readonly node: string;
  readonly is: string;
}

function wordOf(key: string): Word | undefined {
  const match = /^\/tortie\/nodes\/([^/]+)\/(asked|held)$/.exec(key);
  return match ? { node: match[1], is: match[2] } : undefined;
}

function placeOf({ node, is }: Word): Place {
  const plain = `tortie-${is}.${node}`;
  // Only a very long node name does not fit; its hash does.
  const name = plain.length <= LONGEST
    ? plain
    : `tortie-${is}.${hostnameHash(node).slice(0, 52).toLowerCase()}`;
  return { namespace: NAMESPACE, name };
}

export const wordSource: Source = {
  resource,
  prefixes: [NODE_WORDS],
  apart: true,
  narrow(prefix) {
    const word = wordOf(prefix);
    if (word) {
      return [{ namespace: NAMESPACE, fieldSelector: `metadata.name=${placeOf(word).name}` }];
    }
    return [{ namespace: NAMESPACE, labelSelector: LABEL }];
  },
  locate(key) {
    const word = wordOf(key);
    return word && placeOf(word);
  },
  read({ metadata, data }) {
    const { node, word } = data ?? {};
    const is = metadata.labels?.[LABEL];
    // Somebody else's of such a name, or one that was written by hand and says nothing.
    if (typeof node !== "string" || (is !== "asked" && is !== "held")) return [];
    if (placeOf({ node, is }).name !== metadata.name) return [];
    let value: Json = null;
    try {
      value = parseJson(String(word));
    } catch {
      // Whoever reads it takes it for no question and no answer.
    }
    return [{ key: `${NODE_WORDS}${node}/${is}`, value }];
  },
  write: {
    create: async (api, key, at, value) =>
      revisionOf(await api.create(resource, body(key, at, value))),
    update: async (api, key, at, value, revision) =>
      revisionOf(await api.replace(resource, body(key, at, value, revision))),
    remove: (api, _key, object) => removeObject(api, resource, object),
  },
};

function body(key: string, at: Place, value: unknown, resourceVersion?: string): KubeObject {
  const { node, is } = wordOf(key)!;
  return {
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { ...at, labels: { [LABEL]: is }, ...(resourceVersion && { resourceVersion }) },
    data: { node, word: printJson(value as Json) },
  };
}
