/**
 * Gives the policy engine what has changed. A few changes go in at once. Many (a first reading of the
 * datastore, or all of it again after it was away) go in by slices, between which the event loop has
 * its turn: probes, CNI calls and BGP timers do not wait for ten thousand endpoints.
 *
 * The engine's state depends on the objects alone and not on their order, so many are put into the
 * order that costs least: policies, then this node's endpoints, which say what policies and sets are
 * in use, then the members of these sets, each of which is then asked only about selectors that it may
 * match. Of several changes of one object the last one counts.
 */
import type { Change } from "../../policy/inputs.ts";
import type { PolicyEngine } from "../../policy/engine.ts";

/** So many changes at once share the work that they cause; fewer where they hold others up. */
const SLICE = 64;
const SMALLEST = 8;
/** Milliseconds that a slice may take. */
const LONGEST = 50;

/** `pause` is called between slices; it waits where others have waited long enough. */
export async function feed(
  engine: Pick<PolicyEngine, "update" | "isWhole">,
  changes: readonly Change[],
  nodeName: string,
  pause: () => Promise<void> | void,
  now: () => number = () => performance.now(),
): Promise<void> {
  if (changes.length <= SLICE) return engine.update(changes);
  const ordered = inOrder(changes, nodeName);
  engine.isWhole = false;
  try {
    let size = SLICE;
    for (let at = 0; at < ordered.length;) {
      if (at > 0) await pause();
      const began = now();
      engine.update(ordered.slice(at, at + size));
      at += size;
      const took = now() - began;
      if (took > LONGEST) size = Math.max(SMALLEST, size >> 1);
      else if (took < LONGEST / 4) size = Math.min(SLICE, size << 1);
    }
  } finally {
    engine.isWhole = true;
  }
}

/** The last change of each object, cheapest order first. */
export function inOrder(changes: readonly Change[], nodeName: string): Change[] {
  const last = new Map<string, Change>();
  for (const change of changes) last.set(objectOf(change), change);
  const ranked: Change[][] = [[], [], [], []];
  for (const change of last.values()) ranked[rank(change, nodeName)].push(change);
  return ranked.flat();
}

function objectOf(change: Change): string {
  if ("remove" in change) {
    const { apiVersion, kind, namespace, name } = change.remove;
    return `${apiVersion} ${kind} ${namespace ?? ""} ${name}`;
  }
  const { apiVersion, kind, metadata } = change.put;
  return `${apiVersion} ${kind} ${metadata?.namespace ?? ""} ${metadata?.name}`;
}

function rank(change: Change, nodeName: string): number {
  if ("remove" in change) return 0;
  const { kind } = change.put;
  if (kind === "Pod") return 1;
  if (kind !== "WorkloadEndpoint") return 0;
  const { spec } = change.put as { spec?: { node?: unknown } };
  return spec?.node === nodeName ? 2 : 3;
}
