/**
 * What an ADD finds where it is to work: nothing, this very attachment (an error), the remainder of an
 * ADD that was cut off (taken away), the pod's earlier sandbox (which gives way in its time), or an
 * interface of somebody else (an error). Told apart by the endpoint, the interfaces and their marks.
 */

import type { WorkloadEndpoint } from "../mod/model/workload_endpoint.ts";
import type { CniDeps } from "./deps.ts";
import { detach } from "./detach.ts";
import type { EndpointEntry } from "./endpoint.ts";
import { CniCode, CniError } from "./errors.ts";
import type { FirstLook } from "./first_look.ts";
import { type EndpointIdentity, isOf } from "./identity.ts";
import type { PodLink, PodNamespace } from "./kernel.ts";
import { isMarkOf, parseMark } from "./mark.ts";

/**
 * Step 1. Returns the endpoint of the pod's earlier sandbox, if there is one; nothing of it is touched
 * yet. CniError `exists` where this attachment, or another interface of the name, is there.
 */
export async function clearTheWay(
  deps: CniDeps,
  identity: EndpointIdentity,
  netns: PodNamespace,
  look: Pick<FirstLook, "found" | "held">,
): Promise<EndpointEntry | undefined> {
  const { kernel, ipam } = deps;
  const entry = await look.found;
  const found = entry?.value;
  const hostName = found?.spec.interfaceName;
  const mine = found !== undefined && isOf(found, identity.containerId);
  const podLink = await netns.link(identity.ifname);
  const hostLink = podLink?.host ?? (hostName ? await kernel.hostLink(hostName) : undefined);
  const mark = parseMark(hostLink?.alias);
  const marked = mark !== undefined && isMarkOf(mark, identity);

  // The pair that the endpoint speaks of, if it is this attachment's, must be a remainder.
  const unmarked = mine && !mark && hostLink?.name === hostName;
  if (hostLink && (marked || unmarked) && mark?.state !== "adding") {
    throw new CniError(
      CniCode.exists,
      `Container ${identity.containerId} has its interface ${identity.ifname} already (host side ` +
        `${hostLink.name}): nothing was changed; DEL it before adding it again.`,
    );
  }
  const earlierSandbox = mine ? undefined : entry;
  const removable = marked || (hostName !== undefined && podLink?.host?.name === hostName);
  if (podLink && !removable) throw interfaceExists(podLink, netns);

  if (mine || marked) {
    await detach(deps, identity, netns.path);
    if (!earlierSandbox) await mustBeFree(identity, netns);
  } else if (await look.held()) {
    // An ADD was cut off between the address's record and the endpoint's.
    await ipam.releaseByHandle(identity.handle);
  }
  return earlierSandbox;
}

/** The earlier sandbox gives way: what it held of the wished addresses is free only after that. */
export async function removeEarlier(
  deps: CniDeps,
  identity: EndpointIdentity,
  netns: PodNamespace,
  earlier: WorkloadEndpoint,
): Promise<void> {
  const { interfaceName } = earlier.spec;
  if (interfaceName) await deps.kernel.removeHostLink(interfaceName);
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
