/**
 * Which interfaces of the host may be removed for an attachment: those that bear its mark, and, where one
 * bears no mark of ours (Calico made it), those of a name that Calico or we would give to just this
 * attachment. That a record names an interface is no permission: whoever can write a WorkloadEndpoint
 * could name the machine's uplink, or another pod's.
 */

import { type EndpointIdentity, hostInterfaceName, otherHostInterfaceName } from "./identity.ts";
import type { CniKernel, HostLink } from "./kernel.ts";
import { isMarkOf, type Mark, parseMark } from "./mark.ts";

/** Calico's plugin has it where nothing else is configured, be it configured otherwise by now. */
const USUAL_PREFIX = "cali";

/** All that the attachment's host side can be called. */
export function hostNames(
  identity: Pick<EndpointIdentity, "namespace" | "pod" | "containerId" | "ifname">,
  prefix: string,
): string[] {
  const names = [prefix, USUAL_PREFIX].flatMap((one) => [
    hostInterfaceName(identity, one),
    otherHostInterfaceName(identity, one),
  ]);
  return [...new Set(names)];
}

/** `named`: something besides the interface's name says that it is the attachment's. */
export function isLinkOf(
  link: Pick<HostLink, "name" | "alias">,
  owner: Pick<Mark, "containerId" | "ifname">,
  names: readonly string[],
  named: boolean,
): boolean {
  const mark = parseMark(link.alias);
  return mark ? isMarkOf(mark, owner) : named && names.includes(link.name);
}

/** The attachment's host side, of the name that its record gives or of another that it could have. */
export async function findLinkOf(
  kernel: Pick<CniKernel, "hostLink">,
  owner: Pick<Mark, "containerId" | "ifname">,
  names: readonly string[],
  recorded: string | undefined,
): Promise<HostLink | undefined> {
  for (const name of new Set(recorded ? [recorded, ...names] : names)) {
    const link = await kernel.hostLink(name);
    if (link && isLinkOf(link, owner, names, name === recorded)) return link;
  }
}
