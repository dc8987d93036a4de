/**
 * Logging of the services: one JSON object a line on standard error, with the journal's priority in
 * front where the journal is reading. Messages are constant, data are properties, so that logs can be
 * searched. Other rooms get a `Log` passed in and know nothing of this.
 */
import { configure, getLogger, type LogRecord } from "@logtape/logtape";

/** What rooms are given to write with. */
export interface Log {
  debug(message: string, data?: Record<string, unknown>): void;
  info(message: string, data?: Record<string, unknown>): void;
  warn(message: string, data?: Record<string, unknown>): void;
  error(message: string, data?: Record<string, unknown>): void;
}

const PRIORITY = { trace: 7, debug: 7, info: 6, warning: 4, error: 3, fatal: 2 } as const;

function plain(value: unknown): unknown {
  if (value instanceof Error) return value.message;
  return typeof value === "bigint" ? value.toString() : value;
}

/** Sets logging up for the life of the process. */
export async function startLogging(level: "debug" | "info" | "warning" | "error"): Promise<void> {
  const encoder = new TextEncoder();
  const journal = Deno.env.has("JOURNAL_STREAM");
  const sink = (record: LogRecord) => {
    const data = Object.entries(record.properties).map(([k, v]) => [k, plain(v)]);
    const text = JSON.stringify({
      ts: new Date(record.timestamp).toISOString(),
      level: record.level,
      sub: record.category.slice(1).join("."),
      msg: record.message.join(""),
      ...Object.fromEntries(data),
    });
    let bytes = encoder.encode(`${journal ? `<${PRIORITY[record.level]}>` : ""}${text}\n`);
    try {
      while (bytes.length > 0) bytes = bytes.subarray(Deno.stderr.writeSync(bytes));
    } catch {
      // Nobody reads any more: a log that cannot be written must not stop the dataplane.
    }
  };
  await configure({
    sinks: { stderr: sink },
    loggers: [
      { category: ["tortie"], sinks: ["stderr"], lowestLevel: level },
      { category: ["logtape", "meta"], sinks: [] },
    ],
  });
}

export function logger(part: string): Log {
  const log = getLogger(["tortie", part]);
  return {
    debug: (message, data) => log.debug(message, data ?? {}),
    info: (message, data) => log.info(message, data ?? {}),
    warn: (message, data) => log.warn(message, data ?? {}),
    error: (message, data) => log.error(message, data ?? {}),
  };
}
