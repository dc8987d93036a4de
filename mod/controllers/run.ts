/**
 * `tortie controllers run` as a process: the controllers, their probes and metrics, until SIGTERM. The
 * settings of the process come from the environment: TORTIE_CONTROLLERS_HEALTH_PORT (9097, on
 * 127.0.0.1), and what kube-controllers knows (`settings.ts`); everything else from
 * KubeControllersConfiguration, followed while it runs.
 */
import { sendDatagram } from "../../ffi/unix.ts";
import { Metrics, serveHealth, serveMetrics } from "../node/health.ts";
import type { Log } from "../node/log.ts";
import { systemClock } from "../store/clock.ts";
import type { Store } from "../store/store.ts";
import { Controllers } from "./controllers.ts";

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

/** Runs until the signal. ConfigError where a port cannot be served. */
export async function runControllers(parts: RunParts): Promise<void> {
  const { env, log, signal } = parts;
  const controllers = new Controllers({
    ...parts,
    clock: systemClock,
    holder: `${Deno.hostname()}_${crypto.randomUUID()}`,
  });
  const metrics = new Metrics();
  controllers.declare(metrics);
  const servers = new Servers(controllers, metrics, {
    health: Number(env("TORTIE_CONTROLLERS_HEALTH_PORT") || HEALTH_PORT),
    metricsHost: env("TORTIE_CONTROLLERS_METRICS_HOST") || "0.0.0.0",
  });
  await servers.settle();
  const timer = setInterval(() => {
    servers.settle().catch((error) => log.warn("cannot serve HTTP", { error }));
  }, LOOK);
  try {
    notify(env, "READY=1");
    log.info("controllers started");
    await controllers.run(signal);
    log.info("stopping");
  } finally {
    notify(env, "STOPPING=1");
    clearInterval(timer);
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

  async settle(): Promise<void> {
    const { health, metricsPort } = this.controllers.settings;
    if (this.#health?.on !== health) {
      await this.#health?.close();
      this.#health = undefined;
      const close = serveHealth(
        { host: "127.0.0.1", port: health ? this.at.health : 0 },
        this.controllers,
      );
      this.#health = { on: health, close };
    }
    if (this.#metrics?.port !== metricsPort) {
      await this.#metrics?.close();
      this.#metrics = undefined;
      const close = serveMetrics({ host: this.at.metricsHost, port: metricsPort }, this.metrics);
      this.#metrics = { port: metricsPort, close };
    }
  }

  async close(): Promise<void> {
    await this.#health?.close();
    await this.#metrics?.close();
  }
}

function notify(env: RunParts["env"], text: string): void {
  const path = env("NOTIFY_SOCKET");
  if (path) sendDatagram(path, text);
}
