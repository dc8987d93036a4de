/**
 * Automatic host endpoints, after kube-controllers (`hostendpoints.go`): one for all interfaces of each
 * node, and those of the templates, so that policy can be written for nodes without an object made by
 * hand for each. They carry the node's labels, and a profile that allows everything until a policy
 * selects them. Pure: nodes and settings in, the endpoints that should be out; and the difference to
 * those that are.
 */
import { goRegExp } from "../model/go_regexp.ts";
import { formatIp, parseCidr, parseIp, parsePrefix, prefixContains } from "../net/mod.ts";
import type { HostEndpoint } from "../model/host_endpoint.ts";
import { parseResourceKey } from "../model/keys.ts";
import { type Node, nodeKind, tunnelAddressesOf } from "../model/node.ts";
import { parseSelector, SelectorError } from "../selector/selector.ts";
import { isJsonObject } from "../store/json.ts";
import type { HostEndpointTemplate, Settings } from "./settings.ts";
import type { ClusterView } from "./view.ts";

export const CREATED_BY = "projectcalico.org/created-by";
export const CONTROLLER = "calico-kube-controllers";
const ALLOW_PROFILE = "projectcalico-default-allow";
const LONGEST_NAME = 253;

export type Wanted = Pick<HostEndpoint, "metadata" | "spec">;

export type HostEndpointAction =
  | { readonly do: "create"; readonly endpoint: Wanted }
  | { readonly do: "update"; readonly endpoint: Wanted }
  | { readonly do: "delete"; readonly name: string };

/** Whether the controllers made it; others are left alone. */
export function isAutomatic(endpoint: { metadata?: { labels?: Record<string, string> } }): boolean {
  return endpoint.metadata?.labels?.[CREATED_BY] === CONTROLLER;
}

/** What of the view host endpoints follow from. */
export interface HostEndpointFacts {
  readonly nodes: readonly Node[];
  readonly existing: readonly HostEndpoint[];
  /** Names of nodes of which nothing more is known. */
  readonly unreadable: ReadonlySet<string>;
}

export function hostEndpointFacts(
  { nodes, hostEndpoints, broken }: Pick<ClusterView, "nodes" | "hostEndpoints" | "broken">,
): HostEndpointFacts {
  const unreadable = new Set([...broken.keys()].flatMap((key) => {
    const at = parseResourceKey(key);
    return at?.home === "calico" && at.plural === nodeKind.plural ? [at.name] : [];
  }));
  return {
    nodes: [...nodes].flatMap(([name, { object }]) =>
      object ? [{ ...object, metadata: { ...object.metadata, name } }] : []
    ),
    // Somebody else may have written them.
    existing: [...hostEndpoints].map(([name, { value }]) => ({
      ...(isJsonObject(value) && value),
      metadata: { ...(isJsonObject(value?.metadata) && value.metadata), name },
      spec: isJsonObject(value?.spec) ? value.spec : {},
    })) as unknown as HostEndpoint[],
    unreadable,
  };
}

/**
 * What has to be done so that the automatic endpoints are those that should be. A node that cannot be
 * read keeps what it has: without them its doors are open.
 */
export function hostEndpointActions(
  { nodes, existing, unreadable = new Set() }: Partial<Pick<HostEndpointFacts, "unreadable">> & {
    readonly nodes: Iterable<Node>;
    readonly existing: Iterable<HostEndpoint>;
  },
  settings: Settings["hostEndpoints"],
): HostEndpointAction[] {
  const wanted = new Map<string, Wanted>();
  if (settings.autoCreate) {
    for (const node of nodes) {
      for (const endpoint of endpointsOf(node, settings)) {
        wanted.set(endpoint.metadata.name, endpoint);
      }
    }
  }
  const actions: HostEndpointAction[] = [];
  const present = new Set<string>();
  for (const endpoint of existing) {
    const { name } = endpoint.metadata;
    present.add(name);
    if (!isAutomatic(endpoint)) continue;
    const want = wanted.get(name);
    if (!want) {
      if (!settings.autoCreate || !unreadable.has(endpoint.spec.node)) {
        actions.push({ do: "delete", name });
      }
    } else if (differs(endpoint, want)) actions.push({ do: "update", endpoint: want });
  }
  for (const [name, endpoint] of wanted) {
    if (!present.has(name)) actions.push({ do: "create", endpoint });
  }
  return actions;
}

function endpointsOf(node: Node, settings: Settings["hostEndpoints"]): Wanted[] {
  const { name } = node.metadata;
  const endpoints: Wanted[] = [];
  if (settings.createDefault) {
    endpoints.push(endpointOf(node, hostEndpointName(name), "*", expectedIps(node)));
  }
  for (const template of settings.templates) endpoints.push(...fromTemplate(node, template));
  return endpoints;
}

/** `<node>-auto-hep`, `<node>-<template>-auto-hep`, `<node>-<template>-<interface>-auto-hep`. */
export function hostEndpointName(node: string, template?: string, iface?: string): string {
  const name = [node, template, iface, "auto-hep"].filter((part) => part).join("-");
  if (name.length <= LONGEST_NAME) return name;
  const end = `-${hash(name)}-auto-hep`;
  return name.slice(0, LONGEST_NAME - end.length).replace(/[-.]+$/, "") + end;
}

/** FNV-1a, 64 bits, in hex: for names that would be too long. */
function hash(text: string): string {
  let value = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    value = BigInt.asUintN(64, (value ^ BigInt(byte)) * 0x100000001b3n);
  }
  return value.toString(16).padStart(16, "0");
}

function endpointOf(
  node: Node,
  name: string,
  interfaceName: string,
  expectedIPs: string[],
  template?: HostEndpointTemplate,
): Wanted {
  const labels = { ...node.metadata.labels, ...template?.labels, [CREATED_BY]: CONTROLLER };
  const { annotations } = template ?? {};
  return {
    metadata: { name, labels, ...(annotations && { annotations }) },
    spec: {
      node: node.metadata.name,
      interfaceName,
      ...(expectedIPs.length > 0 && { expectedIPs }),
      profiles: [ALLOW_PROFILE],
    },
  };
}

/** The node's own, its tunnels', then other internal addresses; each once. */
export function expectedIps(node: Node): string[] {
  const { spec } = node;
  const internal = (spec.addresses ?? []).filter(({ type }) => type === "InternalIP");
  const texts = [
    spec.bgp?.ipv4Address,
    spec.bgp?.ipv6Address,
    ...tunnelAddressesOf(node),
    ...internal.map(({ address }) => address),
  ];
  return [...new Set(texts.flatMap(plainAddress))];
}

function plainAddress(text: string | undefined): string[] {
  const ip = text ? parseCidr(text)?.ip ?? parseIp(text) : undefined;
  return ip ? [formatIp(ip)] : [];
}

/** A template's: for each interface that its pattern matches, or one for the addresses in its CIDRs. */
function fromTemplate(node: Node, template: HostEndpointTemplate): Wanted[] {
  if (!selects(template.nodeSelector, node.metadata.labels ?? {})) return [];
  const { name } = node.metadata;
  const cidrs = (template.interfaceCIDRs ?? []).flatMap((text) => parsePrefix(text) ?? []);
  const within = (addresses: string[]) =>
    cidrs.length === 0
      ? addresses
      : addresses.filter((text) => cidrs.some((cidr) => prefixContains(cidr, parseIp(text)!)));
  if (!template.interfacePattern) {
    const ips = within(expectedIps(node));
    if (ips.length === 0) return [];
    // Without an interface, it is the addresses that say which.
    const { spec: { interfaceName: _, ...spec }, metadata } = endpointOf(
      node,
      hostEndpointName(name, template.generateName),
      "",
      ips,
      template,
    );
    return [{ metadata, spec: spec as Wanted["spec"] }];
  }
  const pattern = regexp(template.interfacePattern);
  return (node.spec.interfaces ?? []).flatMap((iface) => {
    if (!iface.name || !pattern?.test(iface.name)) return [];
    const ips = within((iface.addresses ?? []).flatMap(plainAddress));
    if (cidrs.length > 0 && ips.length === 0) return [];
    const own = hostEndpointName(name, template.generateName, iface.name);
    return [endpointOf(node, own, iface.name, ips, template)];
  });
}

function regexp(text: string): RegExp | undefined {
  try {
    return goRegExp(text);
  } catch {
    return undefined;
  }
}

function selects(selector: string | undefined, labels: Record<string, string>): boolean {
  if (!selector) return true;
  try {
    return parseSelector(selector).matches(labels);
  } catch (error) {
    if (error instanceof SelectorError) return false;
    throw error;
  }
}

function differs({ metadata, spec }: HostEndpoint, want: Wanted): boolean {
  const form = (labels: unknown) =>
    JSON.stringify(Object.entries(isJsonObject(labels) ? labels : {}).sort());
  return form(metadata.labels) !== form(want.metadata.labels) ||
    form(want.metadata.annotations) !== form(metadata.annotations) ||
    JSON.stringify([
        spec.node,
        spec.interfaceName ?? "",
        spec.expectedIPs ?? [],
        spec.profiles ?? [],
      ]) !==
      JSON.stringify([
        want.spec.node,
        want.spec.interfaceName ?? "",
        want.spec.expectedIPs ?? [],
        want.spec.profiles ?? [],
      ]);
}
