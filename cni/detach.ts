/**
 * Taking an attachment away, whole or in pieces: the work of DEL, and what ADD does with its own
 * remains and GC with what the runtime has forgotten. It works by names and marks alone, so it does
 * not matter how far the ADD came, nor in which process it ran:
 *
 *     interface   ->   endpoint   ->   addresses
 *
 * in that order: an address is free (or, where it is pinned to an ordinal, kept for it) only after the pod cannot use it any more, and an endpoint is on
 * record as long as anything of it is in the kernel. The datastore is asked first; where it does not
 * answer nothing is touched and the runtime tries again, as in Calico.
 *
 * An endpoint that belongs to another container by now (a newer sandbox of the same pod) stays, with
 * its interface; only the handle of the container that goes is released.
 */

import type { Ip } from "../mod/net/mod.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import type { CniDeps, CniIpam } from "./deps.ts";
import { deleteEndpoint } from "./endpoint.ts";
import { CniError } from "./errors.ts";
import {
  type EndpointIdentity,
  hostInterfaceName,
  isOf,
  oldHandleId,
  otherHostInterfaceName,
} from "./identity.ts";
import type { CniKernel } from "./kernel.ts";
import { leasedTo, parkLease } from "./pin_leases.ts";
import { isMarkOf, parseMark } from "./mark.ts";

export type DetachDeps = Pick<
  CniDeps,
  "store" | "ipam" | "leases" | "kernel" | "endpointRemoved" | "interfacePrefix" | "now"
>;

/**
 * Removes all that there is of the attachment; repeating it does no harm. Nothing is touched unless
 * `ready` resolves. What is asked of the records is asked in one turn: the caller holds the attachment's
 * locks, so nobody of this node writes it meanwhile.
 */
export async function detach(
  deps: DetachDeps,
  identity: EndpointIdentity,
  netns: string | undefined,
  ready: Promise<void> = Promise.resolve(),
): Promise<void> {
  const { store, ipam, kernel } = deps;
  const prefix = deps.interfacePrefix ?? "cali";
  const ours = (endpoint: WorkloadEndpoint) => isOf(endpoint, identity.containerId);

  const oldHandle = oldHandleId(identity);
  const look = {
    entry: store.get<WorkloadEndpoint>(identity.key),
    leased: leasedTo(deps, identity),
    old: oldHandle === undefined ? undefined : ipam.ipsByHandle(oldHandle),
  };
  // Who failed before is told, and then nobody awaits the others.
  for (const answer of Object.values(look)) answer?.catch(() => {});
  await ready;
  const entry = await look.entry;
  const found = entry?.value;
  const hostName = found?.spec.interfaceName;
  if (found && ours(found) && hostName) await removeOwnLink(kernel, identity, hostName);
  await removeMarkedLinks(kernel, identity, prefix);
  const foreign = found && !ours(found) ? hostName : undefined;
  if (netns !== undefined) await removePodLink(kernel, netns, identity.ifname, prefix, foreign);

  const deleted = await deleteEndpoint(store, identity.key, ours, entry);
  await ipam.releaseByHandle(identity.handle);
  await parkLease(deps, identity, await look.leased, deps.now?.() ?? new Date());
  await releaseOldHandle(ipam, identity, oldHandle, await look.old);
  if (deleted) deps.endpointRemoved?.(deleted);
}

/**
 * The handle `<namespace>.<pod>` of very old plugins. A container of a network that has the
 * namespace's name could have the same; its attributes say that it is none of the pod's.
 */
async function releaseOldHandle(
  ipam: CniIpam,
  identity: EndpointIdentity,
  handle: string | undefined,
  [first]: readonly Ip[] = [],
): Promise<void> {
  if (handle === undefined || !first) return;
  const attributes = (await ipam.assignment(first))?.attributes ?? {};
  const isPods = attributes.pod === identity.pod && attributes.namespace === identity.namespace;
  if (isPods || Object.keys(attributes).length === 0) await ipam.releaseByHandle(handle);
}

/** The endpoint's interface, unless its mark says that the name went to another attachment. */
async function removeOwnLink(
  kernel: CniKernel,
  identity: EndpointIdentity,
  name: string,
): Promise<void> {
  const link = await kernel.hostLink(name);
  const mark = parseMark(link?.alias);
  if (link && (!mark || isMarkOf(mark, identity))) await kernel.removeHostLink(name);
}

/** Pairs whose endpoint is gone already, if they bear this attachment's mark. */
async function removeMarkedLinks(
  kernel: CniKernel,
  identity: EndpointIdentity,
  prefix: string,
): Promise<void> {
  for (
    const name of [
      hostInterfaceName(identity, prefix),
      otherHostInterfaceName(identity, prefix),
    ]
  ) {
    const mark = parseMark((await kernel.hostLink(name))?.alias);
    if (mark && isMarkOf(mark, identity)) {
      await kernel.removeHostLink(name);
    }
  }
}

/**
 * The interface inside the pod, where its other side is a workload interface of this host: so a pair
 * that somebody renamed goes too, and an interface of another plugin stays. A namespace that is gone
 * or never was one is no error: there is nothing to remove in it.
 */
async function removePodLink(
  kernel: CniKernel,
  path: string,
  ifname: string,
  prefix: string,
  keepHostName: string | undefined,
): Promise<void> {
  const netns = await kernel.openNamespace(path, "undefined").catch((error: unknown) => {
    if (error instanceof CniError) return undefined;
    throw error;
  });
  if (!netns) return;
  try {
    const link = await netns.link(ifname);
    if (link?.host?.name.startsWith(prefix) && link.host.name !== keepHostName) {
      await netns.removeLink(ifname);
    }
  } finally {
    netns.close();
  }
}
