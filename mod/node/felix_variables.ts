/**
 * What a node tells of its FELIX_ variables, for whoever wants to know how it judges: they win over
 * every FelixConfiguration, and stand in no object.
 *
 *     /tortie/nodes/<node>/felix    of the node: { "<parameter, lower case>": "<value>" }
 *
 * Only variables that policy hangs on are told: others may hold what is nobody's business. A node of
 * ours without any tells an empty object, so that it is known to have none. Written when the node
 * registers, for a process keeps its environment. A datastore that cannot hold such records is left
 * without.
 */
import { printJson } from "../store/json.ts";
import { damageOf } from "../store/damaged.ts";
import { type Store, StoreError } from "../store/store.ts";
import { POLICY_VARIABLES } from "./felix.ts";

/** Parameters of the environment: names in lower case, without FELIX_. */
export type FelixVariables = ReadonlyMap<string, string>;

const NODES = "/tortie/nodes/";

export const felixVariablesKey = (node: string): string => `${NODES}${node}/felix`;

/** Writes the node's record where it does not stand there yet. */
export async function tellFelixVariables(
  store: Store,
  node: string,
  environment: FelixVariables,
): Promise<void> {
  const record = Object.fromEntries(
    POLICY_VARIABLES.flatMap((name) => {
      const value = environment.get(name);
      return value === undefined ? [] : [[name, value]];
    }),
  );
  const key = felixVariablesKey(node);
  try {
    const text = await store.get(key).then(
      (stored) => stored && printJson(stored.value),
      (error) => {
        // Nobody's but ours: it is written anew.
        if (damageOf(error)) return undefined;
        throw error;
      },
    );
    if (text !== printJson(record)) await store.put(key, record);
  } catch (error) {
    if (!isRefused(error)) throw error;
  }
}

/** The records of all nodes that have one. */
export async function felixVariables(store: Store): Promise<Map<string, FelixVariables>> {
  const found = new Map<string, FelixVariables>();
  try {
    for (const { key, value } of (await store.list(NODES)).entries) {
      const node = /^\/tortie\/nodes\/([^/]+)\/felix$/.exec(key)?.[1];
      if (node === undefined || typeof value !== "object" || value === null) continue;
      const entries = Object.entries(value)
        .filter((entry): entry is [string, string] => typeof entry[1] === "string");
      found.set(node, new Map(entries));
    }
  } catch (error) {
    if (!isRefused(error)) throw error;
  }
  return found;
}

function isRefused(error: unknown): boolean {
  return error instanceof StoreError && (error.kind === "invalid" || error.kind === "denied");
}
