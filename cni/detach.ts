/**
 * Taking an attachment away, whole or in pieces: the work of DEL, and what ADD does with its own
 * remains and GC with what the runtime has forgotten. It works by names and marks alone, so it does
 * not matter how far the ADD came, nor in which process it ran:
 *
 *     interface   ->   endpoint   ->   addresses
 *
 * in that order: an address is free (or, where it is pinned to an ordinal, kept for it) only after the pod
 * cannot use it any more, and an endpoint is on record as long as anything of it is in the kernel. The
 * datastore is asked first; where it does not answer nothing is touched and the runtime tries again, as in
 * Calico.
 *
 * An endpoint that belongs to another container by now (a newer sandbox of the same pod) stays, with
 * its interface; only the handle of the container that goes is released. What stands under the
 * attachment's key and is no endpoint goes with the attachment (`endpoint_record.ts`).
 *
 * The records may be of an older copy of the datastore, and speak of a container that ended since: what a
 * later one has by now, its interface or an address, stays.
 */

import { type Ip, sameIp } from "../mod/net/mod.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import type { Store } from "../mod/store/store.ts";
import type { CniDeps, CniIpam } from "./deps.ts";
import { addressesOf, deleteEndpoint, siblingEndpoints } from "./endpoint.ts";
import { type EndpointEntry, readEndpoint } from "./endpoint_record.ts";
import { CniError } from "./errors.ts";
import { type EndpointIdentity, isOf, oldHandleId } from "./identity.ts";
import type { CniKernel } from "./kernel.ts";
import { leasedTo, parkLease } from "./pin_leases.ts";
import { holdersAmong, interfaceHandle, releaseUnheld } from "./live_holders.ts";
import { parseMark } from "./mark.ts";
import { hostNames, isLinkOf } from "./own_links.ts";

export type DetachDeps = Pick<
  CniDeps,
  | "store"
  | "ipam"
  | "leases"
  | "kernel"
  | "nodeName"
  | "endpointRemoved"
  | "interfacePrefix"
  | "unroutedHolder"
  | "given"
  | "freed"
  | "now"
  | "log"
>;

export interface DetachOptions {
  /** Nothing is touched unless it resolves. */
  readonly ready?: Promise<void>;
  /** Frees what the attachment's handle has. */
  readonly release?: (handle: string) => Promise<unknown>;
}

/**
 * Removes all that there is of the attachment; repeating it does no harm. What is asked of the records is
 * asked in one turn: the caller holds the attachment's locks, so nobody of this node writes it meanwhile.
 */
export async function detach(
  deps: DetachDeps,
  identity: EndpointIdentity,
  netns: string | undefined,
  { ready, release }: DetachOptions = {},
): Promise<void> {
  const { store, ipam, kernel } = deps;
  const prefix = deps.interfacePrefix ?? "cali";
  const oldHandle = oldHandleId(identity);
  const look = {
    entry: readEndpoint(store, identity.key),
    leased: leasedTo(deps, identity),
    old: oldHandle === undefined ? undefined : ipam.ipsByHandle(oldHandle),
  };
  // Who failed before is told, and then nobody awaits the others.
  for (const answer of Object.values(look)) answer?.catch(() => {});
  await ready;
  const entry = await look.entry;
  const names = hostNames(identity, prefix);
  const heir = entry?.value
    ? !isOf(entry.value, identity.containerId)
    : entry !== undefined && await hasLaterSandbox(kernel, identity, names);
  await removeHostLinks(deps, identity, names, entry, heir);
  if (netns !== undefined) {
    await removePodLink(kernel, netns, identity, names, entry?.value, heir);
  }

  const belongs = (endpoint: WorkloadEndpoint | undefined) =>
    endpoint ? isOf(endpoint, identity.containerId) : !heir;
  const deleted = await deleteEndpoint(store, identity.key, belongs, entry);
  release ??= await mayBeHeld(deps, heir ? undefined : entry?.value)
    ? (handle) => releaseUnheld(deps, handle)
    : (handle) => ipam.releaseByHandle(handle);
  await release(identity.handle);
  // Of one that Calico wired, and that lost its endpoint, the node knew no more than its interface; an older
  // copy of the datastore may have the endpoint of a former life in its place.
  if (!entry || heir) {
    const handles = names.map((name) => interfaceHandle(identity.network, name));
    await Promise.all(handles.map(release));
  }
  await parkLease(deps, identity, await look.leased, deps.now?.() ?? new Date());
  await releaseOldHandle(ipam, identity, oldHandle, await look.old);
  if (deleted) deps.endpointRemoved?.(deleted);
}

/** Whether somebody has an address that the attachment's record names, or may have one since none is named. */
async function mayBeHeld(deps: DetachDeps, recorded: WorkloadEndpoint | undefined) {
  const addresses = recorded ? addressesOf(recorded) : [];
  return addresses.length === 0 || (await holdersAmong(deps, addresses)).length > 0;
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

/**
 * Whose a record is that does not say it: a newer sandbox's of the same pod, where an interface of that
 * one is in use.
 */
async function hasLaterSandbox(
  kernel: CniKernel,
  { pod, containerId, ifname }: EndpointIdentity,
  names: readonly string[],
): Promise<boolean> {
  if (pod === undefined) return false;
  for (const name of names) {
    const mark = parseMark((await kernel.hostLink(name))?.alias);
    const isOthers = mark?.ifname === ifname && mark.containerId !== containerId;
    if (isOthers && mark.state === "in use") return true;
  }
  return false;
}

/** Pairs that bear the attachment's mark, and the one without a mark that the record speaks for. */
async function removeHostLinks(
  { kernel, store }: DetachDeps,
  identity: EndpointIdentity,
  names: readonly string[],
  entry: EndpointEntry | undefined,
  heir: boolean,
): Promise<void> {
  const recorded = heir ? undefined : entry?.value?.spec.interfaceName;
  for (const name of new Set(recorded ? [...names, recorded] : names)) {
    const link = await kernel.hostLink(name);
    if (!link) continue;
    const spokenFor = entry !== undefined && !heir && (!entry.value || name === recorded);
    if (!isLinkOf(link, identity, names, spokenFor)) continue;
    const isMarked = parseMark(link.alias) !== undefined;
    const isOthers = !isMarked &&
      (await isAnothers(store, identity, name) || await isLaterLifes(kernel, name, entry?.value));
    if (!isOthers) await kernel.removeHostLink(name);
  }
}

/**
 * Whether the container beyond an interface of Calico's, which says of no container, is a later one of the
 * pod's than the record's: the name is the same, and none of its addresses is.
 */
async function isLaterLifes(
  kernel: CniKernel,
  name: string,
  recorded: WorkloadEndpoint | undefined,
): Promise<boolean> {
  return recorded !== undefined && hasOthers(recorded, await kernel.addressesBeyond(name));
}

/** Whether a container has addresses, and none of the record's. */
function hasOthers(recorded: WorkloadEndpoint, there: readonly Ip[]): boolean {
  const known = addressesOf(recorded);
  return there.length > 0 && !there.some((ip) => known.some((one) => sameIp(one, ip)));
}

/** Whether the record of another attachment, which could have the name, has it, or cannot be read. */
async function isAnothers(
  store: Store,
  identity: EndpointIdentity,
  name: string,
): Promise<boolean> {
  const others = await siblingEndpoints(store, identity);
  return others.some(({ key, value }) =>
    key !== identity.key && (!value || value.spec.interfaceName === name)
  );
}

/**
 * The interface inside the pod, where its other side is this attachment's: so a pair that somebody renamed
 * goes too, and an interface of another plugin stays. Of one that bears no mark the record says whether it is the
 * attachment's or its heir's. A namespace that is gone or never was one is no error: there is nothing to remove.
 */
async function removePodLink(
  kernel: CniKernel,
  path: string,
  identity: EndpointIdentity,
  names: readonly string[],
  recorded: WorkloadEndpoint | undefined,
  heir: boolean,
): Promise<void> {
  const { ifname } = identity;
  const netns = await kernel.openNamespace(path, "undefined").catch((error: unknown) => {
    if (error instanceof CniError) return undefined;
    throw error;
  });
  if (!netns) return;
  try {
    const link = await netns.link(ifname);
    if (!link?.host) return;
    const others = recorded !== undefined &&
      hasOthers(recorded, link.addresses.map(({ ip }) => ip));
    // The number of a process that is gone may be another's by now, and so may the path.
    const isOwn = heir ? others || link.host.name !== recorded?.spec.interfaceName : !others;
    if (isLinkOf(link.host, identity, names, isOwn)) await netns.removeLink(ifname);
  } finally {
    netns.close();
  }
}
