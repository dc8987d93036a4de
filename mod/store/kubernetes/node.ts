/**
 * Calico's Node on Kubernetes' Node: what Calico adds stands in annotations `projectcalico.org/…` (one
 * table here), the rest is read from the Node itself. Labels are Kubernetes' own; what Calico has
 * beside them stands in an annotation, and `kube-labels`, which only the value has, tells the two apart
 * when the value is written back. Nodes are made and deleted by Kubernetes alone.
 *
 * Writing is a patch of these annotations at the Node's revision, on the status as Calico does, for
 * which its ClusterRole has the permission. After Calico's backend/k8s/resources/node.go.
 */
import type { Node } from "../../model/node.ts";
import { nodeKind } from "../../model/node.ts";
import { parseResourceKey, resourceKey, resourcePrefix } from "../../model/keys.ts";
import {
  KUBE_LABELS,
  NODE_ANNOTATION_PREFIX,
  NODE_ANNOTATIONS,
} from "../../model/node_annotations.ts";
import { formatIp, ipAt, parseCidr, parseIp } from "../../net/mod.ts";
import { isTooDeep } from "../json.ts";
import { StoreError } from "../store.ts";
import type { Fields, KubeObject, KubeResource } from "./api.ts";
import {
  isFilled,
  METADATA_ANNOTATION,
  objectsOf,
  parseObject,
  sorted,
  stringsOf,
} from "./metadata.ts";
import { revisionOf, type Source } from "./source.ts";

const resource: KubeResource = {
  group: "",
  version: "v1",
  plural: "nodes",
  kind: "Node",
  namespaced: false,
  page: 250,
};

const PREFIX = NODE_ANNOTATION_PREFIX;
const LABELS = `${PREFIX}labels`, ANNOTATIONS = `${PREFIX}annotations`;
const INTERFACES = `${PREFIX}Interfaces`;

export interface NodeOptions {
  /** The tunnel's address is the first of the node's pod CIDR (host-local IPAM). */
  readonly usePodCidr?: boolean;
}

export function readNode(object: KubeObject, options: NodeOptions = {}): Node {
  const { metadata } = object;
  const kubeSpec = object.spec ?? {}, kubeStatus = object.status ?? {};
  const notes = metadata.annotations ?? {};
  const node: Fields = { spec: {}, status: {} };
  for (const [name, path] of NODE_ANNOTATIONS) {
    const text = notes[PREFIX + name];
    if (text) set(node, path, name === "ASNumber" ? asNumber(text) : text);
  }
  if (options.usePodCidr && kubeSpec.podCIDR) {
    const first = firstAddress(kubeSpec.podCIDR);
    if (first) set(node, ["spec", "bgp", "ipv4IPIPTunnelAddr"], first);
  }
  const { bgp } = node.spec;
  const addresses = [
    ...[bgp?.ipv4Address, bgp?.ipv6Address].filter(Boolean).map((address) => ({
      address,
      type: "CalicoNodeIP",
    })),
    ...objectsOf(kubeStatus.addresses)
      .filter(({ type }: Fields) => type === "InternalIP" || type === "ExternalIP")
      .map(({ address, type }: Fields) => ({ address, type })),
    // What is no address is told of where it stands, in `spec.bgp`.
  ].filter(({ address }) => isAddress(address));
  const interfaces = interfacesOf(notes[INTERFACES]);
  const podCIDRs = Array.isArray(kubeSpec.podCIDRs)
    ? kubeSpec.podCIDRs
    : kubeSpec.podCIDR
    ? [kubeSpec.podCIDR]
    : [];
  const kubeLabels = metadata.labels ?? {};
  const labels = sorted({ ...stringsOf(parseObject(notes[LABELS])), ...kubeLabels });
  const annotations = {
    ...stringsOf(parseObject(notes[ANNOTATIONS])),
    [KUBE_LABELS]: JSON.stringify(sorted(kubeLabels)),
  };
  return {
    kind: "Node",
    apiVersion: "projectcalico.org/v3",
    metadata: {
      name: metadata.name,
      ...(metadata.uid && { uid: metadata.uid }),
      creationTimestamp: metadata.creationTimestamp,
      ...(isFilled(labels) && { labels }),
      annotations,
    },
    spec: {
      ...(bgp && { bgp }),
      ...withoutBgp(node.spec),
      ...(addresses.length > 0 && { addresses }),
      orchRefs: [{ nodeName: metadata.name, orchestrator: "k8s" }],
      ...(interfaces && { interfaces }),
    },
    status: { ...node.status, ...(podCIDRs.length > 0 && { podCIDRs }) },
  } as Node;
}

/** The patch of a Node's annotations that a value asks for; null takes one away. */
export function patchNode(value: Node, revision: string): Fields {
  const annotations: Record<string, string | null> = {};
  for (const [name, path] of NODE_ANNOTATIONS) {
    const found = path.reduce((at: any, member) => at?.[member], value);
    annotations[PREFIX + name] = found === undefined || found === "" ? null : String(found);
  }
  const { interfaces } = value.spec ?? {};
  annotations[INTERFACES] = interfaces?.length ? JSON.stringify(interfaces) : null;
  const { [KUBE_LABELS]: kubeLabels, [METADATA_ANNOTATION]: _, ...own } =
    value.metadata?.annotations ?? {};
  const inherited = stringsOf(parseObject(kubeLabels));
  const labels = Object.fromEntries(
    Object.entries(value.metadata?.labels ?? {}).filter(([name]) =>
      !Object.hasOwn(inherited, name)
    ),
  );
  annotations[LABELS] = isFilled(labels) ? JSON.stringify(sorted(labels)) : null;
  annotations[ANNOTATIONS] = isFilled(own) ? JSON.stringify(sorted(own)) : null;
  return { metadata: { resourceVersion: revision, annotations } };
}

export function nodeSource(options: NodeOptions = {}): Source {
  return {
    resource,
    prefixes: [resourcePrefix(nodeKind)],
    narrow: () => [{}],
    locate(key) {
      const at = parseResourceKey(key);
      return at && at.namespace === undefined ? { name: at.name } : undefined;
    },
    read: (object) => [{
      key: resourceKey(nodeKind, object.metadata.name),
      value: readNode(object, options),
    }],
    partial: true,
    write: {
      create(_api, key, at) {
        return Promise.reject(
          new StoreError(
            "invalid",
            `Node ${at.name} does not exist in Kubernetes, which makes the nodes; this node's name ` +
              "(NODENAME) must be that of its Kubernetes Node",
            key,
          ),
        );
      },
      async update(api, _key, at, value, revision) {
        const node = value as Node;
        // A value that was not read from here does not say which labels are Kubernetes'.
        const whole = node.metadata?.annotations?.[KUBE_LABELS] === undefined
          ? await withKubeLabels(await api.get(resource, at.name), node)
          : node;
        const patch = patchNode(whole, revision);
        return revisionOf(await api.patch(resource, at.name, undefined, patch, "status"));
      },
      remove(_api, key, object) {
        return Promise.reject(
          new StoreError(
            "invalid",
            `Node ${object.metadata.name} is Kubernetes' own: delete it with kubectl delete node`,
            key,
          ),
        );
      },
    },
  };
}

function withKubeLabels(object: KubeObject | undefined, node: Node): Node {
  const { metadata } = node;
  const kubeLabels = JSON.stringify(object?.metadata.labels ?? {});
  return {
    ...node,
    metadata: { ...metadata, annotations: { ...metadata?.annotations, [KUBE_LABELS]: kubeLabels } },
  };
}

function set(into: Fields, path: readonly string[], value: unknown): void {
  if (value === undefined) return;
  let at = into;
  for (const member of path.slice(0, -1)) at = at[member] ??= {};
  at[path.at(-1)!] = value;
}

function withoutBgp({ bgp: _, ...spec }: Fields): Fields {
  return spec;
}

/** A number, or two halves with a dot between. */
function asNumber(text: string): number | undefined {
  const dotted = /^([0-9]{1,5})\.([0-9]{1,5})$/.exec(text);
  const number = dotted
    ? Number(dotted[1]) * 65536 + Number(dotted[2])
    : /^[0-9]+$/.test(text)
    ? Number(text)
    : NaN;
  return number >= 0 && number <= 0xffffffff ? number : undefined;
}

function interfacesOf(text: string | undefined): unknown[] | undefined {
  if (!text || isTooDeep(text)) return undefined;
  try {
    const isText = (value: unknown) => typeof value === "string";
    const list = objectsOf(JSON.parse(text)).filter(({ name = "", addresses = [] }: Fields) =>
      isText(name) && Array.isArray(addresses) && addresses.every(isText)
    );
    return list.length > 0 ? list : undefined;
  } catch {
    return undefined;
  }
}

function firstAddress(cidr: string): string | undefined {
  const { prefix } = parseCidr(cidr) ?? {};
  return prefix?.ip.family === 4 ? formatIp(ipAt(prefix, 1)) : undefined;
}

/** With or without a prefix length. */
function isAddress(value: unknown): boolean {
  return typeof value === "string" &&
    (parseIp(value) !== undefined || parseCidr(value) !== undefined);
}
