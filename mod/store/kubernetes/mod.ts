/** The kubernetes driver's door: opens the datastore of a cluster. */
import { systemClock } from "../clock.ts";
import type { Store } from "../store.ts";
import { KubernetesApi } from "./api.ts";
import { findAccess, machine, type Surroundings } from "./cluster.ts";
import { type KubernetesConfig, TIMING, type Timing } from "./config.ts";
import { Connection } from "./connection.ts";
import { makeSources } from "./sources.ts";
import { KubernetesStore } from "./store.ts";

export type { KubernetesConfig } from "./config.ts";

export interface KubernetesOptions {
  /** How long an operation may take while the server does not answer. */
  readonly patienceMs?: number;
  /** Not to ask the server anything yet: a service keeps on trying while it is away. */
  readonly lazily?: boolean;
  /** Beside another datastore, for Kubernetes' own objects. */
  readonly beside?: boolean;
  /** Hears what is wrong and does not keep the store from going on. */
  readonly onTrouble?: (message: string) => void;
  /** Hears of each thing once that the server has taken otherwise than it was sent. */
  readonly onWarning?: (message: string) => void;
  readonly timing?: Partial<Timing>;
  readonly surroundings?: Surroundings;
}

/** StoreError "invalid" where the configuration is at fault, "unavailable" or "denied" by the server. */
export async function openKubernetes(
  config: KubernetesConfig,
  options: KubernetesOptions = {},
): Promise<Store> {
  const around = options.surroundings ?? machine;
  const access = await findAccess(config, around);
  const { patienceMs } = options;
  const timing = { ...TIMING, ...(patienceMs !== undefined && { patienceMs }), ...options.timing };
  const { onTrouble, onWarning } = options;
  const connection = new Connection(
    access,
    around,
    timing,
    systemClock,
    onTrouble,
    onWarning && warnings(onWarning),
  );
  const api = new KubernetesApi(connection, systemClock, options.beside);
  const store = new KubernetesStore(api, makeSources(config), timing, systemClock);
  if (!options.lazily) {
    try {
      await store.get("/calico/resources/v3/projectcalico.org/clusterinformations/default");
    } catch (error) {
      await store.close();
      throw error;
    }
  }
  return store;
}

/**
 * Fields of which nobody is told: of IPAM's records those that older definitions lack and that are written in
 * another place too (`ipam.ts`), and every status, which tells and is no wish.
 */
const UNTOLD =
  /^unknown field "(spec\.attributes\[\d+\]\.releasedAt|spec\.ipCooldownSeconds|status\b.*)"$/;

/** Each warning once, however many objects it is about. */
function warnings(tell: (message: string) => void): Connection["onWarning"] {
  const told = new Set<string>();
  return (warning, { resource }) => {
    if (UNTOLD.test(warning)) return;
    const dropped = warning.startsWith("unknown field ");
    const message = `${resource}: ${warning}` +
      (dropped ? ", which the cluster's definition does not have: it was not kept" : "");
    if (!told.has(message)) tell(message);
    told.add(message);
  };
}
