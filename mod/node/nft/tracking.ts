/**
 * Why there is a table `calico-conntrack` beside `calico`. The kernel tracks connections of a family as
 * long as some rule asks for their state, and stops with the last one. Where nobody else asks (no
 * kube-proxy, no firewall), that would be the moment in which another program deletes our table: a
 * connection that begins then, though policy denies it, is met in its midst when our rules are back. If
 * the server speaks next, it looks as if the server had called the client, which policy may well allow,
 * and nobody can tell who began.
 *
 * So one rule that does nothing, in a chain that hangs on no hook and costs no packet anything, holds
 * the tracking in a table of its own. What begins while `calico` is away is then known by its beginning
 * and judged and cut when the rules are back (flow_cutter.ts). It is wanted, read, mended and removed
 * like the other table. Who flushes the whole ruleset takes this away too; nothing in nf_tables can
 * help it.
 */
import type { Family, Ruleset } from "../../../policy/rules.ts";

/** What holds the tracking for the dataplane that keeps the table `table`. */
export function trackingTable(table: string): string {
  return `${table}-conntrack`;
}

/** All that stands in it. */
export function trackingRuleset(family: Family): Ruleset {
  const rule = {
    statements: [
      { match: "ctstate", states: ["established"] },
      { do: "return" },
    ],
    comment: "Keeps connection tracking on while the table calico is away",
    origin: { is: "static" },
  } as const;
  return {
    family,
    chains: new Map([["keep-tracking", { name: "keep-tracking", rules: [rule] }]]),
    sets: new Map(),
  };
}
