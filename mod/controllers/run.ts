/**
 * `tortie controllers run` as a process: the controllers, their probes and metrics, until SIGTERM. The
 * settings of the process come from the environment: TORTIE_CONTROLLERS_HEALTH_PORT (9097, on
 * 127.0.0.1), TORTIE_CONTROLLERS_LEASE_SECONDS (15), and what kube-controllers knows (`settings.ts`); everything else from
 * KubeControllersConfiguration, followed while it runs.
 */
import { sendDatagram } from "../../ffi/unix.ts";
import { ConfigError } from "../node/config.ts";
import { Metrics, serveHealth, serveMetrics } from "../node/health.ts";
import type { Log } from "../node/log.ts";
import { systemClock } from "../store/clock.ts";
import type { Store } from "../store/store.ts";
import { Controllers } from "./controllers.ts";
import { declareMetrics } from "./metrics.ts";

export interface RunParts {
  readonly store: Store;
  readonly api?: Store;
  readonly podsKnown: boolean;
  readonly log: Log;
  readonly env: (name: string) => string | undefined;
  readonly signal: AbortSignal;
}

const HEALTH_PORT = 9097;
/** Milliseconds between two looks at whether the ports are still those that are asked for. */
const LOOK = 1000;

/** Runs until the signal. ConfigError where a setting is wrong or the port of the probes is taken. */
export async function runControllers(parts: RunParts): Promise<void> {
  const { env, log, signal } = parts;
  const leaseSeconds = number(env, "TORTIE_CONTROLLERS_LEASE_SECONDS", 15, 1, 3600);
  const health = number(env, "TORTIE_CONTROLLERS_HEALTH_PORT", HEALTH_PORT, 0, 65_535);
  const controllers = new Controllers({
    ...parts,
    leaseSeconds,
    clock: systemClock,
    holder: `${Deno.hostname()}_${crypto.randomUUID()}`,
  });
  const metrics = new Metrics();
  declareMetrics(metrics, () => controllers.counted);
  const servers = new Servers(controllers, metrics, {
    health,
    metricsHost: env("TORTIE_CONTROLLERS_METRICS_HOST") || "0.0.0.0",
  });
  await servers.settleHealth();
  // A port of the configuration that is taken stops nobody: it is told, and tried again.
  let told = "";
  const settle = async () => {
    try {
      await servers.settle();
      told = "";
    } catch (error) {
      if ((error as Error).message !== told) log.warn("cannot serve HTTP", { error });
      told = (error as Error).message;
    }
  };
  let settling: Promise<void> | undefined;
  const timer = setInterval(() => settling ??= settle().finally(() => settling = undefined), LOOK);
  try {
    notify(env, "READY=1");
    log.info("controllers started");
    await controllers.run(signal);
    log.info("stopping");
  } finally {
    notify(env, "STOPPING=1");
    clearInterval(timer);
    await settling;
    await servers.close();
  }
}

/** The HTTP servers, on the ports that the settings ask for now. */
class Servers {
  #health: { on: boolean; close(): Promise<void> } | undefined;
  #metrics: { port: number; close(): Promise<void> } | undefined;

  constructor(
    readonly controllers: Controllers,
    readonly metrics: Metrics,
    readonly at: { readonly health: number; readonly metricsHost: string },
  ) {}

  async settleHealth(): Promise<void> {
    const { health } = this.controllers.settings;
    if (this.#health?.on === health) return;
    await this.#health?.close();
    this.#health = undefined;
    const at = {
      host: "127.0.0.1",
      port: health ? this.at.health : 0,
      setBy: "TORTIE_CONTROLLERS_HEALTH_PORT",
    };
    this.#health = { on: health, close: serveHealth(at, this.controllers) };
  }

  /** Metrics wait until the configuration has been read. */
  async settle(): Promise<void> {
    await this.settleHealth();
    const { metricsPort: port } = this.controllers.settings;
    if (!this.controllers.isConfigured || this.#metrics?.port === port) return;
    await this.#metrics?.close();
    this.#metrics = undefined;
    const setBy = "prometheusMetricsPort of KubeControllersConfiguration default";
    const close = serveMetrics({ host: this.at.metricsHost, port, setBy }, this.metrics);
    this.#metrics = { port, close };
  }

  async close(): Promise<void> {
    await this.#health?.close();
    await this.#metrics?.close();
  }
}

function number(env: RunParts["env"], name: string, fallback: number, least: number, most: number) {
  const text = env(name);
  if (!text) return fallback;
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  throw new ConfigError(`${name}="${text}" is not an integer from ${least} to ${most}`);
}

function notify(env: RunParts["env"], text: string): void {
  const path = env("NOTIFY_SOCKET");
  if (path) sendDatagram(path, text);
}
