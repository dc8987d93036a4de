/**
 * Felix's parameters as this agent uses them: environment (FELIX_…) over FelixConfiguration
 * `node.<name>` over `default` over the built-in default, as in Felix. A value that cannot be
 * understood is passed over and named in `problems`; the next one in line holds. What is set and has no
 * effect here is named in `unfollowed` (`felix_unfollowed.ts`).
 */
import { goRegExp } from "../model/go_regexp.ts";
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import { defaultParameters, type PolicyParameters } from "../../policy/parameters.ts";
import { type Family, formatPrefix, parsePrefix } from "../net/mod.ts";
import { parseBoolean } from "./config.ts";
import { unfollowed } from "./felix_unfollowed.ts";
import { LEAST_MTU } from "./vxlan.ts";

/** What of it policy is made with as it stands. */
type OfPolicy = Pick<
  PolicyParameters,
  | "interfacePrefixes"
  | "endpointToHostAction"
  | "denyAction"
  | "dropInvalid"
  | "allowVxlanFromWorkloads"
  | "allowIpipFromWorkloads"
  | "externalNodes"
  | "natOutgoingExclusions"
  | "natPorts"
  | "natOutgoingInterface"
  | "logPrefix"
  | "ipip"
>;

export interface FelixParameters extends OfPolicy {
  readonly mtuInterfacePattern: RegExp;
  /** Seconds between two full looks at the kernel; 0: never. */
  readonly routeRefreshInterval: number;
  /** Seconds; 0: never. */
  readonly reportingInterval: number;
  readonly reportingTtl: number;
  readonly endpointReporting: boolean;
  /** Off: routes and settings of IPv6 are left alone; its rules stay, so that nothing is open. */
  readonly ipv6: boolean;
  /** Absent: as the pools want it. */
  readonly vxlanEnabled?: boolean;
  readonly vxlanPort: number;
  readonly vxlanVni: number;
  /** 0: from the host's. */
  readonly vxlanMtu: Readonly<Record<Family, number>>;
  /** 0: from the host's. */
  readonly ipipMtu: number;
  /** FloatingIPs: endpoints' ipNATs are translated. */
  readonly floatingIps: boolean;
  /** WorkloadSourceSpoofing is Any: endpoints may send from the prefixes that they name. */
  readonly sourceSpoofing: boolean;
  readonly healthEnabled: boolean;
  readonly metricsEnabled: boolean;
  readonly problems: readonly string[];
  /** Sources of settings and what each has set that is not followed, in words. */
  readonly unfollowed: readonly string[];
}

/** What of it policy is made with: the node's engine, and whoever explains what that does. */
export function policyParameters(
  felix: FelixParameters,
): Partial<Omit<PolicyParameters, "nodeName">> {
  const { interfacePrefixes, endpointToHostAction, vxlanPort, vxlanEnabled, ipip } = felix;
  const { denyAction, dropInvalid, allowVxlanFromWorkloads, allowIpipFromWorkloads } = felix;
  const { externalNodes, natOutgoingExclusions, natPorts, natOutgoingInterface } = felix;
  const { floatingIps, sourceSpoofing, logPrefix } = felix;
  return {
    ...{ interfacePrefixes, endpointToHostAction, denyAction, dropInvalid, logPrefix },
    ...{ allowVxlanFromWorkloads, allowIpipFromWorkloads, externalNodes, vxlanPort, ipip },
    ...{ natOutgoingExclusions, natPorts, natOutgoingInterface, floatingIps, sourceSpoofing },
    vxlan: vxlanEnabled === undefined ? undefined : { 4: vxlanEnabled },
  };
}

/** The variables that these come from, by their names in an environment. */
export const POLICY_VARIABLES = [
  "interfaceprefix",
  "defaultendpointtohostaction",
  "floatingips",
  "workloadsourcespoofing",
  "vxlanport",
  "vxlanenabled",
  "ipinipenabled",
  "nftablesfilterdenyaction",
  "iptablesfilterdenyaction",
  "disableconntrackinvalidcheck",
  "allowvxlanpacketsfromworkloads",
  "allowipippacketsfromworkloads",
  "externalnodescidrlist",
  "natoutgoingexclusions",
  "natportrange",
  "iptablesnatoutgoinginterfacefilter",
  "logprefix",
] as const;

const MTU_PATTERN = "^((en|wl|ww|sl|ib)[Pcopsvx].*|(eth|wlan|wwan).*)";

/** Go's durations: `30s`, `1m30s`, `1h`; a bare number is seconds. */
export function parseDuration(text: string): number | undefined {
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text);
  const units: Record<string, number> = {
    h: 3600,
    m: 60,
    s: 1,
    ms: 1e-3,
    us: 1e-6,
    "µs": 1e-6,
    ns: 1e-9,
  };
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(h|ms|us|µs|ns|m|s)/g)];
  if (parts.length === 0 || parts.map((p) => p[0]).join("") !== text) return undefined;
  return parts.reduce((sum, [, n, unit]) => sum + Number(n) * units[unit], 0);
}

/** In any case of letters, as Felix reads them. */
function oneOf<T>(text: string, values: Readonly<Record<string, T>>): T | undefined {
  const lower = text.toLowerCase();
  return Object.hasOwn(values, lower) ? values[lower] : undefined;
}

export function felixParameters(
  nodeName: string,
  environment: ReadonlyMap<string, string>,
  configurations: ReadonlyMap<string, FelixConfiguration>,
): FelixParameters {
  const problems: string[] = [];
  const asked = { variables: new Set<string>(), fields: new Set<string>() };
  const specs = [`node.${nodeName}`, "default"]
    .map((name) => configurations.get(name)?.spec as Record<string, unknown> | undefined);

  /** The first value in line that `read` understands. */
  function value<T>(
    names: { env: string; field: string; want?: string },
    read: (text: string) => T | undefined,
    fallback: T,
  ): T {
    asked.variables.add(names.env.toLowerCase());
    asked.fields.add(names.field);
    const line: [string, unknown][] = [
      [`FELIX_${names.env.toUpperCase()}`, environment.get(names.env.toLowerCase())],
      ...specs.map((spec): [string, unknown] => [`spec.${names.field}`, spec?.[names.field]]),
    ];
    for (const [where, found] of line) {
      if (found === undefined || found === null || found === "") continue;
      let understood: T | undefined;
      try {
        understood = read(String(found));
      } catch {
        // said below
      }
      if (understood !== undefined) return understood;
      const why = names.want ? `is not ${names.want}` : "is not understood";
      problems.push(`${where}="${found}" ${why}; it is passed over`);
    }
    return fallback;
  }

  const boolean = (env: string, field: string, fallback: boolean) =>
    value({ env, field }, (t) => parseBoolean(env, t), fallback);
  const seconds = (env: string, field: string, fallback: number) =>
    value({ env, field }, parseDuration, fallback);
  const number = (env: string, field: string, least: number, most: number, fallback: number) =>
    value(
      { env, field, want: `a number from ${least} to ${most}` },
      (t) => /^\d+$/.test(t) && Number(t) >= least && Number(t) <= most ? Number(t) : undefined,
      fallback,
    );
  const mtu = (env: string, field: string, family: Family) => {
    const least = LEAST_MTU[family];
    return value(
      { env, field, want: `an MTU from ${least} to 65535, nor 0 for what the links leave` },
      (t) => {
        const n = /^\d+$/.test(t) ? Number(t) : -1;
        return n === 0 || n >= least && n <= 65535 ? n : undefined;
      },
      0,
    );
  };

  const denyActionOf = (env: string, otherwise: "drop" | "reject") =>
    value(
      { env, field: env, want: "Drop or Reject" },
      (t) => oneOf(t, { drop: "drop", reject: "reject" }),
      otherwise,
    );
  /** Of nftables', and where nobody has set that of iptables', which says what was wanted. */
  const denyAction = denyActionOf(
    "nftablesFilterDenyAction",
    denyActionOf("iptablesFilterDenyAction", "drop"),
  );

  const parameters: Omit<FelixParameters, "unfollowed"> = {
    denyAction,
    dropInvalid: !boolean("DisableConntrackInvalidCheck", "disableConntrackInvalidCheck", false),
    allowVxlanFromWorkloads: boolean(
      "AllowVXLANPacketsFromWorkloads",
      "allowVXLANPacketsFromWorkloads",
      false,
    ),
    allowIpipFromWorkloads: boolean(
      "AllowIPIPPacketsFromWorkloads",
      "allowIPIPPacketsFromWorkloads",
      false,
    ),
    externalNodes: value(
      { env: "ExternalNodesCIDRList", field: "externalNodesList", want: "addresses or networks" },
      networks,
      [],
    ),
    natOutgoingExclusions: value(
      {
        env: "NATOutgoingExclusions",
        field: "natOutgoingExclusions",
        want: "IPPoolsOnly or IPPoolsAndHostIPs",
      },
      (t) =>
        oneOf(t, { ippoolsonly: "IPPoolsOnly", ippoolsandhostips: "IPPoolsAndHostIPs" } as const),
      "IPPoolsOnly",
    ),
    natPorts: value<PolicyParameters["natPorts"]>(
      { env: "NATPortRange", field: "natPortRange", want: "a range of ports such as 32768:65535" },
      portRange,
      undefined,
    ),
    natOutgoingInterface: value<string | undefined>(
      {
        env: "IptablesNATOutgoingInterfaceFilter",
        field: "iptablesNATOutgoingInterfaceFilter",
        want: "an interface's name, or the beginning of one and +",
      },
      // iptables' wildcard, as nftables has it.
      (t) => /^[A-Za-z0-9:._-]{1,15}\+?$/.test(t) ? t.replace(/\+$/, "*") : undefined,
      undefined,
    ),
    logPrefix: value(
      {
        env: "LogPrefix",
        field: "logPrefix",
        want:
          "a text of at most 100 characters without % (what Felix puts in its place is not known)",
      },
      (t) => t.length <= 100 && /^[ -~]+$/.test(t) && !t.includes("%") ? `${t}: ` : undefined,
      defaultParameters.logPrefix,
    ),
    ipip: value<boolean | undefined>(
      { env: "IpInIpEnabled", field: "ipipEnabled" },
      (t) => parseBoolean("IpInIpEnabled", t),
      undefined,
    ),
    interfacePrefixes: value(
      { env: "InterfacePrefix", field: "interfacePrefix" },
      (t) => /^[A-Za-z0-9_.-]{1,11}(,[A-Za-z0-9_.-]{1,11})*$/.test(t) ? t.split(",") : undefined,
      ["cali"],
    ),
    mtuInterfacePattern: value(
      { env: "MTUIfacePattern", field: "mtuIfacePattern" },
      goRegExp,
      goRegExp(MTU_PATTERN),
    ),
    endpointToHostAction: value(
      { env: "DefaultEndpointToHostAction", field: "defaultEndpointToHostAction" },
      (t) => {
        const lower = t.toLowerCase();
        return lower === "accept" || lower === "drop" || lower === "return" ? lower : undefined;
      },
      // Felix's bare default is DROP; all of Calico's Kubernetes manifests set ACCEPT.
      "accept",
    ),
    routeRefreshInterval: seconds("RouteRefreshInterval", "routeRefreshInterval", 90),
    reportingInterval: seconds("ReportingIntervalSecs", "reportingInterval", 30),
    reportingTtl: seconds("ReportingTTLSecs", "reportingTTL", 90),
    endpointReporting: boolean("EndpointReportingEnabled", "endpointReportingEnabled", false),
    ipv6: boolean("Ipv6Support", "ipv6Support", true),
    vxlanEnabled: value<boolean | undefined>(
      { env: "VXLANEnabled", field: "vxlanEnabled" },
      (t) => parseBoolean("VXLANEnabled", t),
      undefined,
    ),
    vxlanPort: number("VXLANPort", "vxlanPort", 1, 65535, 4789),
    vxlanVni: number("VXLANVNI", "vxlanVNI", 0, 16777215, 4096),
    vxlanMtu: {
      4: mtu("VXLANMTU", "vxlanMTU", 4),
      6: mtu("VXLANMTUV6", "vxlanMTUV6", 6),
    },
    ipipMtu: mtu("IpInIpMtu", "ipipMTU", 4),
    floatingIps: value(
      { env: "FloatingIPs", field: "floatingIPs" },
      (t) => oneOf(t, { enabled: true, disabled: false }),
      false,
    ),
    sourceSpoofing: value(
      { env: "WorkloadSourceSpoofing", field: "workloadSourceSpoofing" },
      (t) => oneOf(t, { any: true, disabled: false }),
      false,
    ),
    healthEnabled: boolean("HealthEnabled", "healthEnabled", true),
    metricsEnabled: boolean("PrometheusMetricsEnabled", "prometheusMetricsEnabled", false),
    problems,
  };
  return {
    ...parameters,
    unfollowed: unfollowed({ nodeName, environment, configurations, asked }),
  };
}

/** A comma list; an address is a network of its own. */
function networks(text: string): string[] | undefined {
  const found = text.split(",").map((part) => part.trim()).filter(Boolean).map(parsePrefix);
  return found.every((prefix) => prefix !== undefined) ? found.map(formatPrefix) : undefined;
}

/** `first:last`, or one. */
function portRange(text: string): PolicyParameters["natPorts"] {
  const [first, last = first] = text.split(":").map((t) => /^\d{1,5}$/.test(t) ? Number(t) : NaN);
  return text.split(":").length <= 2 && first >= 1 && first <= last && last <= 65535
    ? [first, last]
    : undefined;
}
