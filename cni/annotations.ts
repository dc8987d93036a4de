/**
 * Which addresses an attachment is to get, and what else its annotations ask for: those of its pod and
 * namespace, CNI_ARGS and the network configuration, in Calico's order of precedence:
 *
 *     ipAddrs, ipAddrsNoIpam   (pod)                   these addresses and no others
 *     tortie.io/ip-pins        (pod)                   one of these (`pins.ts`)
 *     IP=                      (CNI_ARGS)              the same as ipAddrs
 *     ipv4pools, ipv6pools     (pod, else namespace)   from these pools, in this order
 *     ipam.ipv4_pools, …       (configuration)         the same
 *     otherwise                                        from the pools that select node and namespace
 *
 * Whole lists replace each other. What an earlier line decides is not asked of a later one, which is said in
 * the log, and must be readable all the same; pins, which Calico does not know, exclude pools and other
 * families on the same Pod. Annotations come from whoever may write a pod: each is followed, or
 * refused with a sentence that names the object and the annotation; none is passed over in silence: what
 * nobody knows, or says nothing for this pod, is told to the log (`unfollowed`), as Calico follows it no more.
 * What only an administrator may allow has its switch in the configuration (feature_control) or in
 * FelixConfiguration. host-local knows ranges and no pools, so with it the annotations that speak of
 * Calico's IPAM are refused. Pure.
 */

import {
  type Family,
  formatIp,
  type Ip,
  parseIp,
  parsePrefix,
  type Prefix,
} from "../mod/net/mod.ts";
import { type Annotations, AnnotationSource, CNI_PREFIX, quote } from "./annotation_source.ts";
import type { CniArgs } from "./args.ts";
import type { EndpointFeatures } from "./deps.ts";
import { CniCode, CniError } from "./errors.ts";
import { type Named, specialUse } from "./forbidden_addresses.ts";
import { givesFamily } from "./host_local/conf.ts";
import type { NetConf } from "./netconf.ts";
import { familiesOf, PIN_NAMES, type Pins, readPins } from "./pins.ts";
import { QOS_NAMES, QOS_PREFIX, type QosControls, readQos } from "./qos.ts";

export type { Annotations } from "./annotation_source.ts";

/**
 * What IPAM is to be asked. `by`: who asks for just that, for the sentence that refuses it: `Pod blue/p:
 * annotation …`; undefined where nobody did.
 */
export type AddressPlan =
  | {
    /** One address of each family wanted, from these pools (as texts) or from any. */
    readonly kind: "automatic";
    readonly ipv4: boolean;
    readonly ipv6: boolean;
    readonly ipv4Pools: readonly string[];
    readonly ipv6Pools: readonly string[];
    readonly by?: string;
  }
  | {
    /** These addresses. */
    readonly kind: "fixed";
    readonly addresses: readonly Ip[];
    readonly by?: string;
  }
  | {
    /** One of these for each family that they name. */
    readonly kind: "pinned";
    readonly pins: Pins;
  }
  | {
    /** These, without a record in IPAM. */ readonly kind: "unmanaged";
    readonly addresses: Ip[];
  };

/** What else the annotations of a pod say about its interface. */
export interface PodRequest {
  readonly plan: AddressPlan;
  /** MAC of the pod's side. */
  readonly mac: string | undefined;
  readonly floatingIps: Named;
  /** Addresses that were named one by one, with who names them: none of them may be a machine's. */
  readonly named: readonly Named[];
  readonly allowedSourcePrefixes: readonly Prefix[];
  readonly qos: QosControls | undefined;
  /** Sentences about annotations that are not followed, and keep no pod from starting. */
  readonly unfollowed: readonly string[];
}

/** Of whom and under which rules. */
export interface AnnotationContext {
  readonly conf: NetConf;
  readonly args: CniArgs;
  readonly pod: Annotations;
  readonly namespace: Annotations;
  readonly features: EndpointFeatures | undefined;
}

/** CniError `annotation` where an annotation cannot be followed. */
export function readRequest(context: AnnotationContext): PodRequest {
  const { conf, args } = context;
  const name = args.pod ? `${args.pod.namespace}/${args.pod.name}` : "";
  const pod = new AnnotationSource(context.pod, `Pod ${name}`);
  const namespace = new AnnotationSource(
    context.namespace,
    `Namespace ${args.pod?.namespace ?? ""}`,
  );
  const plan = addressPlan(conf, args, pod, namespace);
  const by = (annotation: string) => pod.nameOf(CNI_PREFIX + annotation);
  const floating: Named = {
    by: by("floatingIPs"),
    addresses: floatingIps(conf, pod, context.features),
  };
  const named: Named[] = [floating];
  if (plan.kind === "unmanaged") {
    named.push({ by: by("ipAddrsNoIpam"), addresses: plan.addresses });
  } else if (plan.kind === "pinned") {
    const { addresses, spare } = plan.pins;
    const [pins, spares] = PIN_NAMES.map((annotation) => pod.nameOf(annotation));
    named.push({ by: pins, addresses }, { by: spares, addresses: spare });
  } else if (plan.kind === "fixed") {
    named.push({ by: plan.by ?? pod.object, addresses: plan.addresses });
  } else {
    // host-local's, which it looks for in its ranges.
    named.push({ by: IP_ARGUMENT, addresses: args.addresses });
  }
  return {
    plan,
    named,
    mac: hardwareAddress(pod),
    floatingIps: floating,
    allowedSourcePrefixes: sourcePrefixes(pod, context.features),
    qos: readQos(pod),
    unfollowed: [
      ...unknownNames(pod, KNOWN_OF_POD),
      ...unknownNames(namespace, KNOWN_OF_NAMESPACE),
      ...idlePools(plan, pod, namespace),
      ...passedOver(plan, pod, namespace, args),
      ...doubledFloating(pod),
    ],
  };
}

const PREFIXES = [CNI_PREFIX, QOS_PREFIX, "tortie.io/"];
const KNOWN_OF_NAMESPACE: ReadonlySet<string> = new Set(
  ["ipv4pools", "ipv6pools", "ipFamilies"].map((name) => CNI_PREFIX + name),
);
const KNOWN_OF_POD: ReadonlySet<string> = new Set([
  ...KNOWN_OF_NAMESPACE,
  ...["ipAddrs", "ipAddrsNoIpam", "hwAddr", "floatingIPs", "allowedSourcePrefixes"]
    .map((name) => CNI_PREFIX + name),
  // Written by plugins.
  ...["podIP", "podIPs", "containerID"].map((name) => CNI_PREFIX + name),
  ...QOS_NAMES,
  ...PIN_NAMES,
]);

function unknownNames(source: AnnotationSource, known: ReadonlySet<string>): string[] {
  return source.unknown(PREFIXES, known)
    .map((name) => `${source.nameOf(name)} is none that is known there, and is not followed`);
}

/** What only the interface plugin can follow, of which we are none: a sentence for each. */
export function ofInterface({ pod, args, conf }: AnnotationContext): string[] {
  const name = args.pod ? `${args.pod.namespace}/${args.pod.name}` : "";
  const source = new AnnotationSource(pod, `Pod ${name}`);
  return OF_INTERFACE.filter((one) => source.has(one)).map((one) =>
    `${source.nameOf(one)} is not followed: the plugin ${
      quote(conf.type)
    } makes the pod's interface`
  );
}

/**
 * Pools of a family of which the pod gets no address. A Pod that asks for just that is refused; a
 * Namespace may name both for pods of either.
 */
function idlePools(
  plan: AddressPlan,
  pod: AnnotationSource,
  namespace: AnnotationSource,
): string[] {
  if (plan.kind !== "automatic") return [];
  return ([4, 6] as const).flatMap((family) => {
    const name = `${CNI_PREFIX}ipv${family}pools`;
    if (family === 4 ? plan.ipv4 : plan.ipv6) return [];
    if (pod.has(name)) {
      throw pod.refuse(
        name,
        `names IPv${family} pools, and the pod gets no IPv${family} address: remove it, or ask for one ` +
          `with ${CNI_PREFIX}ipFamilies, or ipam.assign_ipv${family} in the network configuration`,
      );
    }
    if (!namespace.has(name)) return [];
    return [`${namespace.nameOf(name)} is not followed: the pod gets no IPv${family} address`];
  });
}

/** What asks for pools and families, where the addresses come from elsewhere. */
function passedOver(
  plan: AddressPlan,
  pod: AnnotationSource,
  namespace: AnnotationSource,
  args: CniArgs,
): string[] {
  if (plan.kind === "automatic") return [];
  const { by, families } = decision(plan, pod);
  const over = [pod, namespace].flatMap((source) =>
    CHOICES.flatMap((name) => {
      if (source === namespace && pod.has(name)) return [];
      // A list that cannot be read is refused, as in Calico, whatever comes of it.
      const asked = name === FAMILIES ? ipFamilies(source) ?? [] : source.list(name);
      const agrees = name === FAMILIES && asked.length === families.length &&
        families.every((family) => (asked as number[]).includes(family));
      if (asked.length === 0 || agrees) return [];
      if (source === pod && plan.kind === "pinned") {
        throw pod.refuse(
          name,
          name === FAMILIES
            ? `names other families than the addresses of ${PIN_NAMES[0]}: remove it, or name those`
            : `excludes ${
              PIN_NAMES[0]
            }, whose addresses are of the pools that they lie in: keep one of them`,
        );
      }
      return [`${source.nameOf(name)} is not followed: ${by} goes before it`];
    })
  );
  const isArgument = plan.kind === "fixed" && plan.by === IP_ARGUMENT;
  if (args.addresses.length > 0 && !isArgument) {
    over.push(`${IP_ARGUMENT} is not followed: ${by} goes before it`);
  }
  return over;
}

/** Who says which addresses the pod gets, and of which families. */
function decision(
  plan: Exclude<AddressPlan, { kind: "automatic" }>,
  pod: AnnotationSource,
): { by: string; families: Family[] } {
  if (plan.kind === "pinned") {
    return { by: pod.nameOf(PIN_NAMES[0]), families: familiesOf(plan.pins) };
  }
  const own = plan.kind === "fixed" ? plan.by : pod.nameOf(CNI_PREFIX + "ipAddrsNoIpam");
  return { by: own ?? pod.object, families: plan.addresses.map(({ family }) => family) };
}

/** Who asks, where it is no annotation. */
const IP_ARGUMENT = "CNI_ARGS: IP=";

const FAMILIES = `${CNI_PREFIX}ipFamilies`;
/** What chooses among pools. */
const CHOICES = [FAMILIES, `${CNI_PREFIX}ipv4pools`, `${CNI_PREFIX}ipv6pools`];

const PINS: ReadonlySet<string> = new Set(PIN_NAMES);

const OF_INTERFACE = [
  ...["hwAddr", "floatingIPs", "allowedSourcePrefixes"].map((name) => CNI_PREFIX + name),
  ...QOS_NAMES,
];

/** Annotations that speak of Calico's IPAM. */
const OF_IPAM = [
  ...["ipAddrs", "ipv4pools", "ipv6pools", "ipFamilies"].map((name) => CNI_PREFIX + name),
  ...PIN_NAMES,
];

function addressPlan(
  conf: NetConf,
  args: CniArgs,
  pod: AnnotationSource,
  namespace: AnnotationSource,
): AddressPlan {
  if (conf.ipam.hostLocal) {
    for (const source of [pod, namespace]) {
      for (const name of OF_IPAM) {
        if (!(PINS.has(name) ? source.isNamed(name) : source.has(name))) continue;
        throw source.refuse(
          name,
          "needs ipam.type calico-ipam (or tortie-ipam) in the network configuration, which has " +
            "host-local: remove the annotation",
        );
      }
    }
  }
  const ways = [CNI_PREFIX + "ipAddrs", CNI_PREFIX + "ipAddrsNoIpam"]
    .filter((name) => pod.has(name));
  if (pod.isNamed(PIN_NAMES[0])) ways.push(PIN_NAMES[0]);
  if (ways.length > 1) throw pod.refuse(ways[0], `excludes ${ways[1]}: keep one of them`);
  const [way] = ways;
  if (way === CNI_PREFIX + "ipAddrsNoIpam") {
    if (!conf.featureControl.ipAddrsNoIpam) {
      throw pod.refuse(
        way,
        "needs feature_control.ip_addrs_no_ipam in the network configuration",
      );
    }
    return { kind: "unmanaged", addresses: addresses(pod, way) };
  }
  if (way === CNI_PREFIX + "ipAddrs") {
    return {
      kind: "fixed",
      addresses: addresses(pod, way),
      by: pod.nameOf(way),
    };
  }
  const pins = readPins(pod);
  if (pins) {
    if (!conf.featureControl.ipPins) {
      throw pod.refuse(
        PIN_NAMES[0],
        "is switched off by feature_control.ip_pins in the network configuration",
      );
    }
    return { kind: "pinned", pins };
  }
  for (const ip of args.addresses) {
    const use = specialUse(ip);
    if (!use) continue;
    const what = `${IP_ARGUMENT} asks for ${formatIp(ip)}, which is ${use}: no pod can have it.`;
    throw new CniError(CniCode.annotation, what);
  }
  // host-local takes those of CNI_ARGS from its own ranges.
  if (conf.ipam.hostLocal) {
    return {
      kind: "automatic",
      ipv4: givesFamily(conf.ipam.hostLocal, 4),
      ipv6: givesFamily(conf.ipam.hostLocal, 6),
      ipv4Pools: [],
      ipv6Pools: [],
    };
  }
  if (args.addresses.length > 0) {
    return { kind: "fixed", addresses: args.addresses, by: IP_ARGUMENT };
  }

  const families = ipFamilies(pod) ?? ipFamilies(namespace);
  const pools = (name: string, configured: readonly string[]) =>
    pod.has(name) ? pod.list(name) : namespace.has(name) ? namespace.list(name) : configured;
  const plan = {
    kind: "automatic",
    ipv4: families ? families.includes(4) : conf.ipam.assignIpv4,
    ipv6: families ? families.includes(6) : conf.ipam.assignIpv6,
    ipv4Pools: pools(CNI_PREFIX + "ipv4pools", conf.ipam.ipv4Pools),
    ipv6Pools: pools(CNI_PREFIX + "ipv6pools", conf.ipam.ipv6Pools),
    by: poolsBy(conf, pod, namespace),
  } as const;
  if (!plan.ipv4 && !plan.ipv6) {
    throw new CniError(
      CniCode.configuration,
      "Network configuration: ipam.assign_ipv4 and ipam.assign_ipv6 are both off, so the pod would " +
        "have no address: turn one on.",
    );
  }
  return plan;
}

/** Who chooses families and pools; the most particular, and all its annotations that do. */
function poolsBy(
  conf: NetConf,
  pod: AnnotationSource,
  namespace: AnnotationSource,
): string | undefined {
  const asked = [pod, namespace].flatMap((source, i) => {
    const own = CHOICES.filter((name) => source.has(name) && !(i === 1 && pod.has(name)));
    return own.map((name) => source.nameOf(name));
  });
  if (asked.length > 0) return asked.join(" and ");
  const { ipv4Pools, ipv6Pools } = conf.ipam;
  return ipv4Pools.length + ipv6Pools.length > 0
    ? "Network configuration: ipam.ipv4_pools or ipam.ipv6_pools"
    : undefined;
}

function addresses(from: AnnotationSource, name: string): Ip[] {
  const texts = from.list(name);
  if (texts.length === 0) throw from.refuse(name, "is an empty list: name an address");
  const found: Ip[] = [];
  for (const text of texts) {
    const ip = parseIp(text);
    if (!ip) throw from.refuse(name, `${quote(text)} is not an IP address`);
    refuseSpecial(from, name, ip);
    const same = found.find((f) => f.family === ip.family);
    if (same) {
      throw from.refuse(
        name,
        `asks for more than one IPv${ip.family} address, ${formatIp(same)} and ${formatIp(ip)}: ` +
          "an interface has one of each family",
      );
    }
    found.push(ip);
  }
  return found.sort((a, b) => a.family - b.family);
}

function refuseSpecial(from: AnnotationSource, name: string, ip: Ip): void {
  const use = specialUse(ip);
  if (use) throw from.refuse(name, `asks for ${formatIp(ip)}, which is ${use}: no pod can have it`);
}

function ipFamilies(from: AnnotationSource): (4 | 6)[] | undefined {
  const name = FAMILIES;
  if (!from.has(name)) return undefined;
  const texts = from.list(name);
  const families = texts.map((text) => text === "IPv4" ? 4 : text === "IPv6" ? 6 : undefined);
  const wrong = families.indexOf(undefined);
  if (wrong >= 0) throw from.refuse(name, `${quote(texts[wrong])} is neither IPv4 nor IPv6`);
  if (families.length === 0 || new Set(families).size !== families.length) {
    throw from.refuse(name, "must name IPv4, IPv6 or both, each once");
  }
  return families as (4 | 6)[];
}

function hardwareAddress(pod: AnnotationSource): string | undefined {
  const name = CNI_PREFIX + "hwAddr";
  if (!pod.has(name)) return undefined;
  const text = pod.text(name).trim().toLowerCase().replaceAll("-", ":");
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text)) {
    throw pod.refuse(name, `${quote(text)} is not a MAC address, such as 02:00:5e:10:00:01`);
  }
  if (parseInt(text.slice(0, 2), 16) & 1 || text === "00:00:00:00:00:00") {
    throw pod.refuse(name, `${text} is not the address of one interface`);
  }
  return text;
}

function floatingIps(
  conf: NetConf,
  pod: AnnotationSource,
  features: EndpointFeatures | undefined,
): Ip[] {
  const name = CNI_PREFIX + "floatingIPs";
  if (!pod.has(name)) return [];
  if (!conf.featureControl.floatingIps) {
    throw pod.refuse(name, "needs feature_control.floating_ips in the network configuration");
  }
  if (!features?.floatingIps) {
    throw pod.refuse(name, "needs floatingIPs: Enabled in FelixConfiguration default");
  }
  const found = new Map<string, Ip>();
  for (const text of pod.list(name)) {
    const ip = parseIp(text);
    if (!ip) throw pod.refuse(name, `${quote(text)} is not an IP address`);
    refuseSpecial(pod, name, ip);
    found.set(formatIp(ip), ip);
  }
  return [...found.values()];
}

function doubledFloating(pod: AnnotationSource): string[] {
  const name = CNI_PREFIX + "floatingIPs";
  const texts = pod.list(name).map((text) => formatIp(parseIp(text)!));
  const doubled = new Set(texts.filter((text, i) => texts.indexOf(text) < i));
  return [...doubled].map((text) =>
    `${pod.nameOf(name)} names ${text} more than once, which is followed once`
  );
}

function sourcePrefixes(
  pod: AnnotationSource,
  features: EndpointFeatures | undefined,
): Prefix[] {
  const name = CNI_PREFIX + "allowedSourcePrefixes";
  const prefixes = pod.list(name).map((text) => {
    const prefix = text.includes("/") ? parsePrefix(text) : undefined;
    if (!prefix) {
      throw pod.refuse(name, `${quote(text)} is not a CIDR, such as 192.0.2.0/24`);
    }
    return prefix;
  });
  if (prefixes.length > 0 && !features?.sourceSpoofing) {
    throw pod.refuse(name, "needs workloadSourceSpoofing: Any in FelixConfiguration default");
  }
  return prefixes;
}
