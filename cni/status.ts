/**
 * STATUS (CNI SPEC 1.1.0): could an ADD succeed now? Success says nothing; trouble is code 50 with
 * what is missing and what to do. Looked at are the same things that ADD depends on: the datastore
 * answers and is not locked, this node is registered, and some pool gives addresses.
 */

import {
  clusterInformationKind,
  lockReason,
  unreadableCluster,
} from "../mod/model/cluster_information.ts";
import { poolMap } from "../mod/ipam/facts.ts";
import { unreadWords } from "../mod/ipam/pools.ts";
import { isBroken, readRaw } from "../mod/store/raw.ts";
import { ippoolKind } from "../mod/model/ippool.ts";
import { resourceKey, resourcePrefix } from "../mod/model/keys.ts";
import { nodeKind } from "../mod/model/node.ts";
import type { Store } from "../mod/store/store.ts";
import { CniCode, CniError } from "./errors.ts";

/**
 * CniError `tryAgain` while the datastore is locked, as for a migration: ADD and DEL wait. Where there
 * is no ClusterInformation, what the agent has seen before counts (`locked`).
 */
export async function checkDatastoreReady(
  store: Store,
  locked?: () => string | undefined,
): Promise<void> {
  const info = await readRaw(store, resourceKey(clusterInformationKind, "default"));
  const why = isBroken(info)
    ? unreadableCluster(info.reason)
    : info
    ? lockReason(info.value)
    : locked?.();
  if (!why) return;
  throw new CniError(
    CniCode.tryAgain,
    `Calico is currently not ready to process requests: ${why}; unlock it with ` +
      "`tortie datastore migrate unlock`.",
  );
}

/** CniError `unavailable` where an ADD would fail. `needsPools`: addresses come from IPPools. */
export async function status(
  store: Store,
  nodeName: string,
  needsPools = true,
  locked?: () => string | undefined,
): Promise<void> {
  try {
    await checkDatastoreReady(store, locked);
    if (!await store.get(resourceKey(nodeKind, nodeName))) {
      throw unavailable(
        `there is no Node ${nodeName} in the datastore; the node service registers it when it starts`,
      );
    }
    if (!needsPools) return;
    // One that cannot be read takes nothing from the others.
    const { enabled, unread } = poolMap(await store.list(resourcePrefix(ippoolKind)));
    if (enabled.some(({ uses }) => uses.includes("Workload"))) return;
    throw unavailable(
      `no IPPool gives addresses to pods; ${
        unread.length > 0 ? unreadWords(unread) : "create or enable one"
      }`,
    );
  } catch (error) {
    if (error instanceof CniError && error.code === CniCode.unavailable) throw error;
    throw unavailable((error as Error).message.replace(/\.$/, ""), error);
  }
}

function unavailable(why: string, cause?: unknown): CniError {
  return new CniError(CniCode.unavailable, `No pod can be attached now: ${why}.`, undefined, {
    cause,
  });
}
