/**
 * Liveness, readiness and metrics over HTTP, as Felix serves them: `/liveness` and `/readiness` on the
 * health port, `/metrics` (Prometheus text format 0.0.4) on the metrics port. Every answer says why in
 * words, and comes from memory: no probe waits for the kernel, the datastore or a peer.
 *
 * Live means that the agent's loop turns. Ready means that this node can forward, and hears what is new
 * (`readiness.ts`). A peer that is down makes nobody unready; it is told as a warning.
 */

import { ConfigError } from "./config.ts";
import { serveHttp } from "./http_server.ts";

export interface Report {
  readonly ok: boolean;
  /** One line each, most important first. */
  readonly reasons: readonly string[];
}

export interface HealthSource {
  liveness(): Report;
  readiness(): Report;
}

export interface Endpoint {
  readonly host: string;
  readonly port: number;
  /** What the port is set by: told where it is taken. */
  readonly setBy: string;
}

function answer(report: Report): Response {
  const lines = report.reasons.length > 0 ? report.reasons : [report.ok ? "ok" : "no reason known"];
  return new Response(`${lines.join("\n")}\n`, { status: report.ok ? 200 : 503 });
}

/** Serves the probes; a port of 0 in `at` means not to. */
export function serveHealth(at: Endpoint, source: HealthSource): () => Promise<void> {
  return serve(at, (path) => {
    if (path === "/liveness") return answer(source.liveness());
    if (path === "/readiness") return answer(source.readiness());
  });
}

/** Serves the metrics. */
export function serveMetrics(at: Endpoint, metrics: Metrics): () => Promise<void> {
  return serve(at, (path) =>
    path === "/metrics"
      ? new Response(metrics.text(), {
        headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
      })
      : undefined);
}

function serve(at: Endpoint, route: (path: string) => Response | undefined): () => Promise<void> {
  if (at.port === 0) return () => Promise.resolve();
  const handle = (request: Request) => {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response("only GET\n", { status: 405 });
    }
    return route(new URL(request.url).pathname) ?? new Response("not found\n", { status: 404 });
  };
  try {
    return serveHttp({ hostname: at.host, port: at.port }, handle).close;
  } catch (error) {
    throw new ConfigError(
      `cannot serve HTTP on ${at.host} port ${at.port}: ${
        (error as Error).message
      }; choose another ` +
        `port (${at.setBy}; 0 means none)`,
    );
  }
}

type Labels = Record<string, string>;

interface Metric {
  readonly help: string;
  readonly type: "counter" | "gauge";
  readonly values: Map<string, number>;
}

/** Counters and gauges by name; asked values are read when somebody looks. */
export class Metrics {
  readonly #metrics = new Map<string, Metric>();
  readonly #asked: (() => void)[] = [];

  /** Declares a metric; `ask` is called before each reading to set its values. */
  declare(name: string, type: Metric["type"], help: string, ask?: () => void): void {
    this.#metrics.set(name, { help, type, values: new Map() });
    if (ask) this.#asked.push(ask);
  }

  set(name: string, value: number, labels: Labels = {}): void {
    this.#metric(name).values.set(format(labels), value);
  }

  add(name: string, value = 1, labels: Labels = {}): void {
    const { values } = this.#metric(name);
    const key = format(labels);
    values.set(key, (values.get(key) ?? 0) + value);
  }

  /** Forgets all label sets, e.g. of peers that are gone. */
  reset(name: string): void {
    this.#metric(name).values.clear();
  }

  #metric(name: string): Metric {
    const metric = this.#metrics.get(name);
    if (!metric) throw new TypeError(`the metric ${name} was not declared`);
    return metric;
  }

  text(): string {
    for (const ask of this.#asked) ask();
    let out = "";
    for (const [name, { help, type, values }] of [...this.#metrics].sort()) {
      out += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
      for (const [labels, value] of [...values].sort()) out += `${name}${labels} ${value}\n`;
    }
    return out;
  }
}

function format(labels: Labels): string {
  const pairs = Object.entries(labels).sort().map(([name, value]) =>
    `${name}="${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`
  );
  return pairs.length > 0 ? `{${pairs.join(",")}}` : "";
}
