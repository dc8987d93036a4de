/**
 * The name of the host side of a pair: Calico's, or the other one where that is somebody else's, or may be.
 */

import type { CniDeps } from "./deps.ts";
import type { EndpointEntry } from "./endpoint_record.ts";
import { CniCode, CniError } from "./errors.ts";
import { type EndpointIdentity, hostInterfaceName, otherHostInterfaceName } from "./identity.ts";
import { parseMark } from "./mark.ts";

/** Such a name, after which nothing has it: what is nobody's any more goes. `others`: endpoints that could have it. */
export async function takeHostName(
  deps: CniDeps,
  identity: EndpointIdentity,
  others: readonly EndpointEntry[],
): Promise<string> {
  const { name, remnant } = await findHostName(deps, identity, others);
  if (remnant) await deps.kernel.removeHostLink(name);
  return name;
}

/**
 * Changes nothing. `remnant`: an interface has the name that is nobody's any more, which another program's
 * ADD or another container's left. CniError `exists` where neither name is to be had.
 */
export async function findHostName(
  deps: CniDeps,
  identity: EndpointIdentity,
  others: readonly EndpointEntry[],
): Promise<{ name: string; remnant: boolean }> {
  const prefix = deps.interfacePrefix ?? "cali";
  const siblings = others.filter(({ key }) => key !== identity.key);
  const taken = new Set(siblings.map(({ value }) => value?.spec.interfaceName));
  const unknown = siblings.some(({ value }) => value === undefined);
  for (
    const name of [
      hostInterfaceName(identity, prefix),
      otherHostInterfaceName(identity, prefix),
    ]
  ) {
    if (taken.has(name)) continue;
    const link = await deps.kernel.hostLink(name);
    if (!link) return { name, remnant: false };
    const mark = parseMark(link.alias);
    // One without a mark is Calico's, and may be that of which the record cannot be read.
    if (mark ? mark.state === "in use" : unknown) continue;
    return { name, remnant: true };
  }
  throw new CniError(
    CniCode.exists,
    `Both names that the host side of ${identity.name} could have are taken by other containers ` +
      `(${hostInterfaceName(identity, prefix)}, ${otherHostInterfaceName(identity, prefix)}).`,
  );
}
