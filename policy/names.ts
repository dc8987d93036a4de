/**
 * Names of chains and sets, Calico's (felix/rules, nftables mode): the four logical tables become
 * prefixes of chain names, policies and profiles have chains of their own, sets of addresses are
 * called by the hash of what they hold. Whoever lists the table finds what he knows.
 */
import { createHash } from "node:crypto";
import { uniqueId } from "../mod/selector/selector.ts";
import type { Direction } from "./effective.ts";
import type { Family, PolicyId, PolicyKind } from "./rules.ts";

/** The kernel's limit is 255 characters and a NUL. */
const MAX_NAME = 255;
const SAFE = /^[A-Za-z0-9.][A-Za-z0-9_./-]*$/;

/** Fixed chains. */
export const chains = {
  rawPrerouting: "raw-PREROUTING",
  rawOutput: "raw-OUTPUT",
  rawCaliPrerouting: "raw-cali-PREROUTING",
  rpfSkip: "raw-cali-rpf-skip",
  filterInput: "filter-INPUT",
  filterForward: "filter-FORWARD",
  filterOutput: "filter-OUTPUT",
  input: "filter-cali-INPUT",
  forward: "filter-cali-FORWARD",
  workloadToHost: "filter-cali-wl-to-host",
  fromWorkload: "filter-cali-from-wl-dispatch",
  toWorkload: "filter-cali-to-wl-dispatch",
  fromLimits: "filter-cali-from-wl-limits",
  toLimits: "filter-cali-to-wl-limits",
  fromCommon: "filter-cali-from-wl-common",
  toCommon: "filter-cali-to-wl-common",
  cidrBlock: "filter-cali-cidr-block",
  natPrerouting: "nat-PREROUTING",
  natOutput: "nat-OUTPUT",
  natPostrouting: "nat-POSTROUTING",
  caliPostrouting: "nat-cali-POSTROUTING",
  natOutgoing: "nat-cali-nat-outgoing",
  floatingDnat: "nat-cali-fip-dnat",
  floatingSnat: "nat-cali-fip-snat",
} as const;

/** Fixed sets, by id. */
export const setIds = {
  masqueradePools: "masq-ipam-pools",
  allPools: "all-ipam-pools",
  allHosts: "all-hosts-net",
  allVxlan: "all-vxlan-net",
} as const;

const kindPrefix: Readonly<Record<PolicyKind, string>> = {
  NetworkPolicy: "np",
  GlobalNetworkPolicy: "gnp",
  KubernetesNetworkPolicy: "knp",
  KubernetesClusterNetworkPolicy: "kcnp",
};

/** What is hashed where a name would be too long or has characters that a name may not have. */
function name(prefix: string, id: string): string {
  if (prefix.length + id.length <= MAX_NAME && SAFE.test(id)) return prefix + id;
  return `${prefix}_${createHash("sha256").update(id).digest("base64url")}`;
}

/** `filter-cali-tw-cali123`: traffic to the workload; `-fw-`: from it. */
export function endpointChain(direction: Direction, interfaceName: string): string {
  return name(`filter-cali-${direction === "ingress" ? "tw" : "fw"}-`, interfaceName);
}

/** `filter-cali-tl-cali123`: limits of traffic to the workload; `-fl-`: from it. */
export function limitChain(direction: Direction, interfaceName: string): string {
  return name(`filter-cali-${direction === "ingress" ? "tl" : "fl"}-`, interfaceName);
}

/** `knp default/allow-web`: as comments and explanations name a policy. */
export function policyLabel(id: Pick<PolicyId, "kind" | "namespace" | "name">): string {
  const local = id.namespace === "" ? id.name : `${id.namespace}/${id.name}`;
  return `${kindPrefix[id.kind]} ${local}`;
}

export function policyChain(direction: Direction, id: PolicyId): string {
  const local = id.namespace === "" ? id.name : `${id.namespace}/${id.name}`;
  return name(
    `filter-cali-${direction === "ingress" ? "pi" : "po"}-`,
    `${kindPrefix[id.kind]}/${local}`,
  );
}

export function profileChain(direction: Direction, profile: string): string {
  return name(`filter-cali-${direction === "ingress" ? "pri" : "pro"}-`, profile);
}

/** The end of the chains of endpoints with these profiles (one or more). */
export function tailChain(direction: Direction, profiles: readonly string[]): string {
  return name(`filter-cali-${direction === "ingress" ? "pris" : "pros"}-`, profiles.join("\n"));
}

/**
 * Policies of one tier with one subject that endpoints share: all there are, or those listed.
 */
export function groupChain(
  direction: Direction,
  tier: string,
  subjectId: string,
  policies?: readonly PolicyId[],
): string {
  const hash = createHash("sha3-224").update(`${direction}\n${tier}\n${subjectId}\n`);
  for (const id of policies ?? []) hash.update(`${id.kind}/${id.namespace}/${id.name}\n`);
  const prefix = `filter-cali-${direction === "ingress" ? "gi" : "go"}-`;
  return prefix + hash.digest("base64url").slice(0, 22);
}

/** Whether only what endpoints send or get comes to a chain: it hangs on policy, and may drop all. */
export function servesEndpointsAlone(chain: string): boolean {
  return /^filter-cali-(tw|fw|tl|fl|pi|po|pri|pro|pris|pros|gi|go)-/.test(chain);
}

/**
 * `cali40s-qMt7iLlGDhvLnCjM0l9nzxb`: family, Calico's format version 0, the id; 31 characters as an
 * ipset has, `:` written as `-`.
 */
export function setName(family: Family, id: string): string {
  return `cali${family}0${id}`.slice(0, 31).replaceAll(":", "-");
}

/**
 * The addresses and ports of endpoints that carry a port of one of these names; for one name it is
 * Calico's id. A name has no comma.
 */
export function namedPortsId(
  selectorId: string,
  protocol: string,
  ports: readonly string[],
): string {
  return uniqueId("n", `${selectorId},${protocol},${ports.join(",")}`);
}

/** Networks that a rule lists. */
export function literalNetsId(nets: readonly string[]): string {
  return uniqueId("l", nets.join(","));
}

/** Calico's id of a service's endpoints, with or without their ports. */
export function serviceId(namespace: string, service: string, withPorts: boolean): string {
  return uniqueId(withPorts ? "svc" : "svcnoport", `${namespace}/${service}`);
}

/** A comment may take 127 bytes in the kernel. */
export function comment(text: string): string {
  let cut = text;
  const encoder = new TextEncoder();
  while (encoder.encode(cut).length > 127) cut = cut.slice(0, cut.length > 127 ? 127 : -1);
  return cut;
}
