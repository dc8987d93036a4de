/**
 * GC (CNI SPEC 1.1.0): the runtime lists the attachments of this network that it knows; everything
 * else of this network on this node goes, by the same code as DEL. Container and interface must both
 * match. The network of an endpoint is known by its IPAM handle, or by the lease that it uses; that of a plain
 * container also by its profile.
 *
 * An ADD that runs meanwhile, or began after the list was made, is not in it: attachments that
 * somebody works on, or has worked on since the GC began, are left to the next one. So is an address that a
 * container of this node has, though it is on record for one that the runtime does not know: the names of
 * lost containers' networks are guessed (`mod/node/lost_addresses.ts`), and records may be of an older copy
 * of the datastore.
 */

import { holdersOnNode } from "./allocations.ts";
import type { CniDeps } from "./deps.ts";
import { detach, type DetachDeps } from "./detach.ts";
import { addressesOf, nodeRecords } from "./endpoint.ts";
import { type EndpointEntry, placeOf } from "./endpoint_record.ts";
import { CniCode, CniError } from "./errors.ts";
import { toCniError } from "./failure.ts";
import { type EndpointIdentity, handleId } from "./identity.ts";
import { releaseUnheld } from "./live_holders.ts";
import { parseMark } from "./mark.ts";
import type { NetConf } from "./netconf.ts";
import { hostNames } from "./own_links.ts";
import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";

export type GcDeps = DetachDeps & Pick<CniDeps, "recordedHandles">;

/**
 * Runs the work under the attachment's locks, or not at all where somebody works on it, or has added
 * it since this GC began.
 */
export type WhenFree = (
  handle: string,
  identity: EndpointIdentity | undefined,
  work: () => Promise<void>,
) => Promise<void>;

export async function collectGarbage(
  deps: GcDeps,
  conf: NetConf,
  whenFree: WhenFree,
): Promise<void> {
  const valid = requireValidAttachments(conf);
  const validHandles = new Set(
    valid.map((a) => handleId(conf.name, a.containerId, a.ifname)),
  );
  const { handles, leaseUsers } = deps.recordedHandles
    ? { handles: await deps.recordedHandles(), leaseUsers: new Set<string>() }
    : await holdersOnNode(deps.store, conf.name, deps.nodeName);
  const failures: string[] = [];
  /** What comes to `false` was left, for a reason that was told. */
  const attempt = async (what: string, work: () => Promise<boolean | void>) => {
    try {
      if (await work() === false) return;
      deps.log?.("info", "GC removed what the runtime does not know", { what });
    } catch (error) {
      failures.push(`${what}: ${toCniError(error).message}`);
    }
  };

  for (const entry of await nodeRecords(deps.store, deps.nodeName)) {
    const { key, value } = entry;
    const identity = value
      ? identityOf(value, key, conf.name)
      : await identityOfDamaged(deps, entry, conf.name);
    if (!identity || validHandles.has(identity.handle)) continue;
    const ofThisNetwork = handles.has(identity.handle) || leaseUsers.has(identity.handle) ||
      await holdsAddresses(deps, identity) ||
      (identity.orchestrator === "cni" && value?.spec.profiles?.includes(conf.name)) ||
      (value !== undefined && await isNobodys(deps, identity, value));
    if (!ofThisNetwork) continue;
    handles.delete(identity.handle);
    await whenFree(
      identity.handle,
      identity,
      () =>
        attempt(
          `endpoint ${identity.namespace}/${identity.name}`,
          async () => {
            let freed = true;
            const release = async (handle: string) => {
              if (!await releaseUnheld(deps, handle)) freed = false;
            };
            await detach(deps, identity, undefined, { release });
            return freed;
          },
        ),
    );
  }
  for (const handle of handles) {
    if (validHandles.has(handle)) continue;
    await whenFree(
      handle,
      undefined,
      () => attempt(`handle ${handle}`, () => releaseUnheld(deps, handle)),
    );
  }
  if (failures.length > 0) {
    throw new CniError(
      CniCode.tryAgain,
      `GC of network ${conf.name} could not remove everything; run it again: ${
        failures.join("; ")
      }`,
    );
  }
}

/** GC without the list would remove everything: refused. */
export function requireValidAttachments(conf: NetConf) {
  if (conf.validAttachments) return conf.validAttachments;
  throw new CniError(
    CniCode.configuration,
    'Network configuration: "cni.dev/valid-attachments" is missing; GC removes what is not in it. ' +
      "Give an empty list to remove everything.",
  );
}

/** For containers whose ID has a dot: their handles are known by their endpoints alone. */
async function holdsAddresses(deps: GcDeps, identity: EndpointIdentity): Promise<boolean> {
  if (!identity.containerId.includes(".")) return false;
  return (await deps.ipam.ipsByHandle(identity.handle) ?? []).length > 0;
}

/** Of a pod without IPAM nothing says the network: it goes once its interface has gone. */
async function isNobodys(
  { ipam, kernel, interfacePrefix: prefix = "cali" }: GcDeps,
  identity: EndpointIdentity,
  endpoint: WorkloadEndpoint,
): Promise<boolean> {
  for (const name of [...hostNames(identity, prefix), endpoint.spec.interfaceName]) {
    if (name && await kernel.hostLink(name)) return false;
  }
  for (const ip of addressesOf(endpoint)) if (await ipam.assignment(ip)) return false;
  return true;
}

function identityOf(
  endpoint: WorkloadEndpoint,
  key: string,
  network: string,
): EndpointIdentity | undefined {
  const { orchestrator, node, containerID, endpoint: ifname, pod } = endpoint.spec;
  if (!node || !containerID || !ifname) return undefined;
  if (orchestrator !== "k8s" && orchestrator !== "cni") return undefined;
  return {
    orchestrator,
    namespace: endpoint.metadata.namespace ?? "default",
    pod: orchestrator === "k8s" ? pod : undefined,
    containerId: containerID,
    ifname,
    node,
    name: endpoint.metadata.name,
    key,
    handle: handleId(network, containerID, ifname),
    network,
  };
}

/**
 * Whose a record is that cannot be read: its key says it, but for a pod's container. That is known by the
 * mark of the interface; where there is none, the record is left to the pod's next ADD or DEL.
 */
async function identityOfDamaged(
  { kernel, interfacePrefix: prefix = "cali" }: GcDeps,
  { key }: EndpointEntry,
  network: string,
): Promise<EndpointIdentity | undefined> {
  const place = placeOf(key);
  if (!place) return undefined;
  const { orchestrator, namespace, id, ifname, node, name } = place;
  if (orchestrator !== "k8s" && orchestrator !== "cni") return undefined;
  const pod = orchestrator === "k8s" ? id : undefined;
  const of = (containerId: string): EndpointIdentity => ({
    ...{ orchestrator, namespace, pod, containerId, ifname, node, name, key },
    handle: handleId(network, containerId, ifname),
    network,
  });
  if (pod === undefined) return of(id);
  for (const host of hostNames({ namespace, pod, containerId: "", ifname }, prefix)) {
    const mark = parseMark((await kernel.hostLink(host))?.alias);
    if (mark?.ifname === ifname) return of(mark.containerId);
  }
}
