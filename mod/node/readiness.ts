/**
 * Whether this node is ready, in words: the datastore has been read, the kernel holds what follows from
 * it, and the datastore is followed. A short outage is only worth a word, since the kernel goes on as it
 * is. One that lasts longer than a driver's own patience (watches are tried for 30 s, lists for 10 s)
 * makes the node unready: new policies and endpoints do not reach it, and who watches probes, a rollout
 * for one, should hear of that.
 */
import type { AgentReport } from "./agent.ts";
import type { Report } from "./health.ts";

/** Milliseconds. */
const LOST_TOO_LONG = 60_000;

export interface Facts {
  /** What the service waits for before it has an agent. */
  readonly waiting?: string;
  readonly agent?: AgentReport;
  /** Why the kernel does not do what it should, whatever the agent says. */
  readonly faults: readonly string[];
  /** What makes the node no less able to forward; asked where all is well. */
  readonly warnings: () => readonly string[];
}

export function readiness({ waiting, agent, faults, warnings }: Facts): Report {
  const reasons = [...unready(waiting, agent), ...faults];
  if (reasons.length > 0 || !agent) return { ok: false, reasons };
  const words = [
    ...agent.store.ok ? [] : [`the datastore is away: ${agent.store.error}`],
    ...agent.locked ? [`the datastore is locked (${agent.locked})`] : [],
    ...agent.errors,
    ...warnings(),
  ];
  return { ok: true, reasons: ["ready", ...words.map((word) => `warning: ${word}`)] };
}

function unready(waiting: string | undefined, agent: AgentReport | undefined): string[] {
  if (waiting) return [waiting];
  if (!agent?.ready && agent?.locked) {
    return [`the datastore is locked (${agent.locked}); unlock it to begin`];
  }
  if (!agent?.ready) {
    return [
      agent?.synced
        ? `the kernel does not hold the state yet: ${agent.errors[0] ?? "first turn under way"}`
        : `the datastore has not been read yet: ${agent?.store.error ?? ""}`,
    ];
  }
  if (agent.lostMilliseconds <= LOST_TOO_LONG) return [];
  const seconds = Math.round(agent.lostMilliseconds / 1000);
  return [
    `the datastore is away: ${agent.store.error}; for ${seconds} s nothing that is new has reached ` +
    "this node",
  ];
}
