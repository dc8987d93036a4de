/**
 * What the controllers are to do: KubeControllersConfiguration `default` with Calico's defaults, under
 * the environment variables that kube-controllers knows. `runningConfig` is what came of it, told in the
 * object's status.
 */
import { durationSeconds } from "../model/duration.ts";
import type { KubeControllersConfiguration } from "../model/kube_controllers_configuration.ts";
import { show } from "../model/show.ts";
import type { Derives } from "./derive.ts";
import type { Read } from "./view.ts";

type Spec = KubeControllersConfiguration["spec"];
type Status = KubeControllersConfiguration["status"];
type HostEndpoint = NonNullable<
  NonNullable<NonNullable<Spec["controllers"]>["node"]>["hostEndpoint"]
>;
export type HostEndpointTemplate = NonNullable<HostEndpoint["templates"]>[number];

/** As Calico makes the object where there is none. */
export const DEFAULT_SPEC = {
  logSeverityScreen: "Info",
  healthChecks: "Enabled",
  etcdV3CompactionPeriod: "10m0s",
  prometheusMetricsPort: 9094,
  controllers: {
    node: {
      reconcilerPeriod: "5m0s",
      syncLabels: "Enabled",
      hostEndpoint: { autoCreate: "Disabled", createDefaultHostEndpoint: "Enabled" },
      leakGracePeriod: "15m0s",
    },
    policy: { reconcilerPeriod: "5m0s" },
    workloadEndpoint: { reconcilerPeriod: "5m0s" },
    serviceAccount: { reconcilerPeriod: "5m0s" },
    namespace: { reconcilerPeriod: "5m0s" },
    loadBalancer: { assignIPs: "AllServices" },
  },
} as const;

export interface Settings {
  /** The node controller: addresses, labels, host endpoints. */
  readonly node: boolean;
  /** Milliseconds; 0: leaks are left alone. */
  readonly leakGrace: number;
  readonly syncLabels: boolean;
  /** What is said of host endpoints is no word for it: none is made and none goes. */
  readonly hostEndpointsUnclear: boolean;
  readonly hostEndpoints: {
    readonly autoCreate: boolean;
    readonly createDefault: boolean;
    readonly templates: readonly HostEndpointTemplate[];
  };
  /** What is copied from a Kubernetes API beside the datastore. */
  readonly derives: Derives;
  readonly health: boolean;
  /** 0: none. */
  readonly metricsPort: number;
  /** What the status says. */
  readonly running: NonNullable<NonNullable<Status>["runningConfig"]>;
  readonly environment: Readonly<Record<string, string>>;
  /** Variables and fields that could not be understood; the defaults are taken for them. */
  readonly faults: readonly string[];
}

type Environment = (name: string) => string | undefined;

const LEVELS = ["None", "Debug", "Info", "Warning", "Error", "Fatal", "Panic"] as const;

/** What a stored configuration says; one that names no controllers at all means all of them. */
export function specOf(
  configuration: Read<KubeControllersConfiguration> | undefined,
): Spec | undefined {
  const { value, object } = configuration ?? {};
  if (!object) return undefined;
  if (value.spec?.controllers ?? undefined) return object.spec;
  return { ...object.spec, controllers: undefined } as unknown as Spec;
}

/** `spec` undefined: there is no such object. `beside`: there is a Kubernetes API beside the datastore. */
export function settingsOf(spec: Spec | undefined, env: Environment, beside = false): Settings {
  const given = spec ?? DEFAULT_SPEC as unknown as Spec;
  const node = given.controllers?.node;
  const environment: Record<string, string> = {};
  const faults: string[] = [];
  const variable = <T>(name: string, fallback: T, read: (text: string) => T | undefined): T => {
    const text = env(name);
    if (text === undefined || text === "") return fallback;
    environment[name] = text;
    const value = read(text);
    if (value === undefined) {
      faults.push(`${name}=${show(text)} is not understood, and passed over`);
    }
    return value ?? fallback;
  };
  const onOff = (text: string) =>
    /^(enabled|true)$/i.test(text)
      ? "Enabled" as const
      : /^(disabled|false)$/i.test(text)
      ? "Disabled" as const
      : undefined;
  const autoCreate = variable(
    "AUTO_HOST_ENDPOINTS",
    node?.hostEndpoint?.autoCreate ?? "Disabled",
    onOff,
  );
  const unclear = autoCreate !== "Enabled" && autoCreate !== "Disabled";
  if (unclear) {
    faults.push(
      `hostEndpoint.autoCreate ${
        show(autoCreate)
      } is neither Enabled nor Disabled; host endpoints stay ` +
        "as they are",
    );
  }
  const syncLabels = variable("SYNC_NODE_LABELS", node?.syncLabels ?? "Enabled", onOff);
  const health = variable("HEALTH_ENABLED", given.healthChecks ?? "Enabled", onOff);
  const level = variable(
    "LOG_LEVEL",
    given.logSeverityScreen ?? "Info",
    (text) => LEVELS.find((one) => one.toLowerCase() === text.toLowerCase()),
  );
  const enabled = variable(
    "ENABLED_CONTROLLERS",
    undefined as string[] | undefined,
    (text) => text.split(",").map((one) => one.trim().toLowerCase()),
  );
  const graceText = node?.leakGracePeriod ?? DEFAULT_SPEC.controllers.node.leakGracePeriod;
  const grace = durationSeconds(graceText);
  if (grace === undefined) {
    faults.push(`leakGracePeriod ${show(graceText)} is no duration; 15m0s is taken`);
  }
  const hostEndpoint = {
    ...node?.hostEndpoint,
    autoCreate,
    createDefaultHostEndpoint: node?.hostEndpoint?.createDefaultHostEndpoint ?? "Enabled",
  };
  const isOn = (name: "node" | keyof Derives) =>
    enabled
      ? enabled.includes(name.toLowerCase())
      : given.controllers === undefined || given.controllers[name] !== undefined;
  const runs = isOn("node");
  const derives: Derives = {
    policy: beside && isOn("policy"),
    namespace: beside && isOn("namespace"),
    serviceAccount: beside && isOn("serviceAccount"),
    workloadEndpoint: beside && isOn("workloadEndpoint"),
  };
  return {
    node: runs,
    leakGrace: (grace ?? 900) * 1000,
    syncLabels: syncLabels === "Enabled",
    hostEndpointsUnclear: unclear,
    hostEndpoints: {
      autoCreate: autoCreate === "Enabled",
      createDefault: hostEndpoint.createDefaultHostEndpoint === "Enabled",
      templates: node?.hostEndpoint?.templates ?? [],
    },
    derives,
    health: health === "Enabled",
    metricsPort: given.prometheusMetricsPort ?? 9094,
    running: {
      logSeverityScreen: level,
      healthChecks: health,
      prometheusMetricsPort: given.prometheusMetricsPort ?? 9094,
      controllers: {
        ...(runs && {
          node: {
            ...(node?.reconcilerPeriod && { reconcilerPeriod: node.reconcilerPeriod }),
            syncLabels,
            hostEndpoint,
            leakGracePeriod: grace === undefined ? "15m0s" : graceText,
          },
        }),
        ...Object.fromEntries(
          Object.entries(derives).filter(([, on]) => on)
            .map(([name]) => [name, { ...given.controllers?.[name as keyof Derives] }]),
        ),
      },
    },
    environment,
    faults,
  };
}
