/**
 * Felix's parameters as this agent uses them: environment (FELIX_…) over FelixConfiguration
 * `node.<name>` over `default` over the built-in default, as in Felix. A value that cannot be
 * understood is passed over and named in `problems`; the next one in line holds.
 */
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import type { PolicyParameters } from "../../policy/parameters.ts";
import type { Family } from "../net/mod.ts";
import { parseBoolean } from "./config.ts";
import { LEAST_MTU } from "./vxlan.ts";

export interface FelixParameters {
  readonly interfacePrefixes: readonly string[];
  readonly mtuInterfacePattern: RegExp;
  readonly endpointToHostAction: "accept" | "drop" | "return";
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
}

/** What of it policy is made with: the node's engine, and whoever explains what that does. */
export function policyParameters(
  felix: FelixParameters,
): Partial<Omit<PolicyParameters, "nodeName">> {
  const { interfacePrefixes, endpointToHostAction, vxlanPort, vxlanEnabled } = felix;
  const { floatingIps, sourceSpoofing } = felix;
  return {
    interfacePrefixes,
    endpointToHostAction,
    floatingIps,
    sourceSpoofing,
    vxlanPort,
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
  const specs = [`node.${nodeName}`, "default"]
    .map((name) => configurations.get(name)?.spec as Record<string, unknown> | undefined);

  /** The first value in line that `read` understands. */
  function value<T>(
    names: { env: string; field: string; want?: string },
    read: (text: string) => T | undefined,
    fallback: T,
  ): T {
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

  return {
    interfacePrefixes: value(
      { env: "InterfacePrefix", field: "interfacePrefix" },
      (t) => /^[A-Za-z0-9_.-]{1,11}(,[A-Za-z0-9_.-]{1,11})*$/.test(t) ? t.split(",") : undefined,
      ["cali"],
    ),
    mtuInterfacePattern: value(
      { env: "MTUIfacePattern", field: "mtuIfacePattern" },
      (t) => new RegExp(t),
      new RegExp(MTU_PATTERN),
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
}
