/**
 * Names of nodes on the way from etcd to Kubernetes. In etcd a node may have another name than in
 * Kubernetes; its reference of orchestrator `k8s` says which. In the Kubernetes datastore the Node is
 * Kubernetes' own, so an export for it gives every mention of the node that name: the Node, the
 * configurations `node.<name>`, peers and host endpoints of the node, and IPAM's affinities,
 * attributes and tunnel handles. (calicoctl's export leaves out peers and host endpoints.)
 */
import {
  affinityKey,
  formatAffinity,
  handlePrefix,
  parseAffinity,
  parseAffinityKey,
} from "../../model/keys.ts";
import type { Resource } from "../../model/resource.ts";
import type { Content, Item, StoredRecord } from "./content.ts";

/** Handles of addresses that nodes have for themselves, before the node's name. */
const TUNNEL_HANDLES = [
  "ipip-tunnel-addr-",
  "vxlan-tunnel-addr-",
  "vxlan-v6-tunnel-addr-",
  "wireguard-tunnel-addr-",
  "wireguard-v6-tunnel-addr-",
];

export interface NodeNames {
  /** By the name in the datastore. */
  readonly names: ReadonlyMap<string, string>;
  /** Nodes that Kubernetes does not know, and pairs that it knows by one name. */
  readonly faults: readonly string[];
}

export function nodeNames(items: readonly Item[]): NodeNames {
  const names = new Map<string, string>();
  const faults: string[] = [];
  for (const { kind, object } of items) {
    if (kind.kind !== "Node") continue;
    const { name } = object.metadata;
    const refs =
      (object as { spec?: { orchRefs?: { orchestrator?: string; nodeName?: string }[] } })
        .spec?.orchRefs ?? [];
    const there = refs.findLast((ref) => ref.orchestrator === "k8s")?.nodeName;
    if (!there) {
      faults.push(
        `node ${name} missing a 'k8s' orchestrator reference. Unable to export data unless every ` +
          "node has a 'k8s' orchestrator reference",
      );
      continue;
    }
    const other = [...names].find(([, used]) => used === there)?.[0];
    if (other !== undefined) {
      faults.push(`nodes ${other} and ${name} both refer to the Kubernetes node ${there}`);
    }
    names.set(name, there);
  }
  return { names, faults };
}

/** The content with every node under its new name. */
export function rename(content: Content, names: ReadonlyMap<string, string>): Content {
  if ([...names].every(([from, to]) => from === to)) return content;
  const to = (name: string) => names.get(name) ?? name;
  const { affinities, handles, blocks } = content.records;
  return {
    ...content,
    items: content.items.map((item) => ({ ...item, object: renamed(item, to) })),
    records: {
      ...content.records,
      affinities: affinities.map((record) => affinity(record, to)),
      handles: handles.map(({ key, value }) => {
        const id = handle(key.slice(handlePrefix.length), to);
        // Older versions of Calico wrote its name into it too.
        const named = typeof value.HandleID === "string"
          ? { HandleID: handle(value.HandleID, to) }
          : {};
        return { key: handlePrefix + id, value: { ...value, ...named } };
      }),
      blocks: blocks.map((record) => block(record, to)),
    },
  };
}

type To = (name: string) => string;

function renamed({ kind, object }: Item, to: To): Resource {
  const { name } = object.metadata;
  const spec = (object as Resource & { spec?: { node?: string } }).spec;
  switch (kind.kind) {
    case "Node":
      return withName(object, to(name));
    case "FelixConfiguration":
    case "BGPConfiguration":
      return name.startsWith("node.") ? withName(object, `node.${to(name.slice(5))}`) : object;
    case "BGPPeer":
    case "HostEndpoint":
      return spec?.node
        ? { ...object, spec: { ...spec, node: to(spec.node) } } as Resource
        : object;
    default:
      return object;
  }
}

function withName(object: Resource, name: string): Resource {
  return { ...object, metadata: { ...object.metadata, name } };
}

function handle(id: string, to: To): string {
  for (const prefix of TUNNEL_HANDLES) {
    if (id.startsWith(prefix)) return prefix + to(id.slice(prefix.length));
  }
  return id;
}

function affinity({ key, value }: StoredRecord, to: To): StoredRecord {
  const { owner, block } = parseAffinityKey(key)!;
  if (owner.type !== "host") return { key, value };
  return { key: affinityKey({ type: "host", name: to(owner.name) }, block), value };
}

interface Attribute {
  handle_id?: string | null;
  secondary?: Record<string, string> | null;
}

function block({ key, value }: StoredRecord, to: To): StoredRecord {
  const owner = parseAffinity(value.affinity as string | null | undefined);
  const attributes = (value.attributes as Attribute[] | null ?? []).map((attribute) => ({
    ...attribute,
    ...attribute.handle_id && { handle_id: handle(attribute.handle_id, to) },
    ...attribute.secondary?.node && {
      secondary: { ...attribute.secondary, node: to(attribute.secondary.node) },
    },
  }));
  return {
    key,
    value: {
      ...value,
      attributes,
      ...owner?.type === "host" && {
        affinity: formatAffinity({ type: "host", name: to(owner.name) }),
      },
      ...typeof value.hostAffinity === "string" && { hostAffinity: to(value.hostAffinity) },
    },
  };
}
