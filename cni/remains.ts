/**
 * What an ADD finds where it is to work: nothing, this very attachment (an error), the remainder of an
 * ADD that was cut off (taken away), the pod's earlier sandbox (which gives way in its time), or an
 * interface of somebody else (an error). Told apart by the endpoint, the interfaces and their marks. What
 * stands under the attachment's key and is no endpoint is a remainder too.
 */

import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import type { CniDeps } from "./deps.ts";
import { detach } from "./detach.ts";
import type { SoundEntry } from "./endpoint_record.ts";
import { CniCode, CniError } from "./errors.ts";
import type { FirstLook } from "./first_look.ts";
import { type EndpointIdentity, isOf } from "./identity.ts";
import type { PodLink, PodNamespace } from "./kernel.ts";
import { isMarkOf, parseMark } from "./mark.ts";
import { findLinkOf, hostNames, isLinkOf } from "./own_links.ts";

/**
 * Step 1. Returns the endpoint of the pod's earlier sandbox, if there is one, with its interface only
 * where that is its own (`own_links.ts`); nothing of it is touched yet. CniError `exists` where this
 * attachment, or another interface of the name, is there.
 */
export async function clearTheWay(
  deps: CniDeps,
  identity: EndpointIdentity,
  netns: PodNamespace,
  look: Pick<FirstLook, "found" | "held">,
): Promise<SoundEntry | undefined> {
  const { kernel, ipam } = deps;
  const entry = await look.found;
  const found = entry?.value;
  const recorded = found?.spec.interfaceName;
  const names = namesOf(deps, identity);
  // What is no endpoint is whatever an ADD or somebody else left under this attachment's key.
  const mine = entry !== undefined && (!found || isOf(found, identity.containerId));
  const podLink = await netns.link(identity.ifname);
  const hostLink = podLink?.host ?? (recorded ? await kernel.hostLink(recorded) : undefined);
  const mark = parseMark(hostLink?.alias);
  const marked = mark !== undefined && isMarkOf(mark, identity);

  // The pair that the endpoint speaks of, if it is this attachment's, must be a remainder.
  const unmarked = found !== undefined && mine && hostLink !== undefined &&
    hostLink.name === recorded && isLinkOf(hostLink, identity, names, !mark);
  if (hostLink && (marked || unmarked) && mark?.state !== "adding") {
    throw new CniError(
      CniCode.exists,
      `Container ${identity.containerId} has its interface ${identity.ifname} already (host side ` +
        `${hostLink.name}): nothing was changed; DEL it before adding it again.`,
    );
  }
  const earlier = found && !mine
    ? await earlierSandbox(deps, identity, { ...entry!, value: found })
    : undefined;
  const givesWay = earlier?.value.spec.interfaceName;
  const removable = marked || (givesWay !== undefined && podLink?.host?.name === givesWay);
  if (podLink && !removable) throw interfaceExists(podLink, netns);

  if (mine || marked) {
    await detach(deps, identity, netns.path);
    if (!earlier) await mustBeFree(identity, netns);
  } else if (await look.held()) {
    // An ADD was cut off between the address's record and the endpoint's.
    await ipam.releaseByHandle(identity.handle);
  }
  return earlier;
}

/**
 * The endpoint of the pod's earlier sandbox, with the interface that is its own by mark or name: none,
 * where it names another's.
 */
async function earlierSandbox(
  deps: CniDeps,
  identity: EndpointIdentity,
  entry: SoundEntry,
): Promise<SoundEntry> {
  const { value } = entry;
  const interfaceName = await linkOfEarlier(deps, identity, value);
  return { ...entry, value: { ...value, spec: { ...value.spec, interfaceName } } };
}

async function linkOfEarlier(
  deps: CniDeps,
  identity: EndpointIdentity,
  { spec }: WorkloadEndpoint,
): Promise<string | undefined> {
  const owner = { containerId: spec.containerID ?? "", ifname: identity.ifname };
  const names = namesOf(deps, identity);
  return (await findLinkOf(deps.kernel, owner, names, spec.interfaceName))?.name;
}

function namesOf({ interfacePrefix = "cali" }: CniDeps, identity: EndpointIdentity): string[] {
  return hostNames(identity, interfacePrefix);
}

/** The earlier sandbox gives way: what it held of the wished addresses is free only after that. */
export async function removeEarlier(
  deps: CniDeps,
  identity: EndpointIdentity,
  netns: PodNamespace,
  earlier: WorkloadEndpoint,
): Promise<void> {
  const link = await linkOfEarlier(deps, identity, earlier);
  if (link !== undefined) await deps.kernel.removeHostLink(link);
  await mustBeFree(identity, netns);
}

async function mustBeFree(identity: EndpointIdentity, netns: PodNamespace): Promise<void> {
  const still = await netns.link(identity.ifname);
  if (still) throw interfaceExists(still, netns);
}

function interfaceExists(link: PodLink, netns: PodNamespace): CniError {
  return new CniError(
    CniCode.exists,
    `Interface ${link.name} exists already in ${netns.path} and is not ours: remove it, or set ` +
      "CNI_IFNAME to another name.",
  );
}
