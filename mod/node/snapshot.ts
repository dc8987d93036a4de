/**
 * The last good picture of what BGP needs, on disk: nodes, pools, BGP resources, this node's blocks and
 * endpoints. A service that starts while the datastore is away speaks to its peers from it, so that
 * they do not take this node for dead and withdraw its routes; the kernel has kept its own part anyway.
 * The datastore's own word replaces it as soon as it can be read.
 */
import { parseAffinityKey, parseBlockKey, parseResourceKey } from "../model/keys.ts";
import type { Entry } from "../store/store.ts";
import { ClusterState } from "./state.ts";
import { isJsonObject, parseJson, printJson } from "../store/json.ts";

const PLURALS = new Set([
  ...["nodes", "ippools", "bgpconfigurations", "bgppeers", "bgpfilters"],
  ...["workloadendpoints", "felixconfigurations"],
]);
/** Milliseconds between a change and its being written. */
const DELAY = 1000;

interface Picture {
  readonly node: string;
  readonly entries: Entry[];
}

export class Snapshot {
  /**
   * Each as it stands in the file: writing a thousand anew must not hold up a turn of the agent. Those
   * that have changed since are written out with the next picture: some come and go before.
   */
  readonly #entries = new Map<string, string | Entry>();
  #timer: number | undefined;
  #complete = false;

  constructor(
    readonly path: string,
    readonly nodeName: string,
    readonly onError: (error: Error) => void,
  ) {}

  #concerns(key: string, value: object): boolean {
    const resource = parseResourceKey(key);
    if (resource) {
      if (resource.home !== "calico" || !PLURALS.has(resource.plural)) return false;
      if (resource.plural !== "workloadendpoints") return true;
      return (value as { spec?: { node?: string } }).spec?.node === this.nodeName;
    }
    const affinity = parseAffinityKey(key);
    if (affinity) return affinity.owner.name === this.nodeName;
    if (!parseBlockKey(key)) return false;
    return (value as { affinity?: string }).affinity === `host:${this.nodeName}`;
  }

  /** Takes note of one change. */
  note(key: string, entry: Entry | undefined): void {
    const value = entry?.value;
    if (entry && isJsonObject(value) && this.#concerns(key, value)) {
      this.#entries.set(key, this.#complete ? entry : printJson(entry));
    } else if (!this.#entries.delete(key)) return;
    if (this.#complete) this.#schedule();
  }

  /** The datastore has been read whole: from now on the picture is worth keeping. */
  complete(): void {
    this.#complete = true;
    this.#schedule();
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.save();
    }, DELAY);
  }

  /** Writes what is pending, and no more after that. */
  close(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.save();
  }

  save(): void {
    for (const [key, entry] of this.#entries) {
      if (typeof entry !== "string") this.#entries.set(key, printJson(entry));
    }
    const entries = [...this.#entries.values()].join(",");
    const text = `{"node":${JSON.stringify(this.nodeName)},"entries":[${entries}]}`;
    try {
      Deno.writeTextFileSync(`${this.path}.part`, text, { mode: 0o600 });
      Deno.renameSync(`${this.path}.part`, this.path);
    } catch (error) {
      this.onError(error as Error);
    }
  }
}

/** The picture of a former process of this node; undefined where there is none that can be used. */
export function readSnapshot(
  path: string,
  nodeName: string,
  usePodCidr = false,
): ClusterState | undefined {
  try {
    const { node, entries } = parseJson(Deno.readTextFileSync(path)) as unknown as Picture;
    if (node !== nodeName) return undefined;
    const state = new ClusterState(nodeName, usePodCidr);
    for (const { key, value, revision } of entries) state.apply(key, value, revision);
    return state;
  } catch (error) {
    // None, or half a one from a full disk: then the datastore is waited for, as at a first start.
    if (error instanceof Deno.errors.NotFound || error instanceof SyntaxError) return undefined;
    if (error instanceof TypeError) return undefined;
    throw error;
  }
}
