/**
 * The last look before a pod gets its addresses: does another workload of this node have one of them,
 * whatever the records say? A block that was deleted by hand, or put back from an old backup, has
 * forgotten its pods, and IPAM gives their addresses anew; the kernel has not forgotten. An address is
 * somebody's where a route to just this address leads over a workload interface, or where it is this
 * machine's own: one look into the kernel for each address, and nothing in the store. Where the endpoint
 * is lost too, its route has gone, or goes any moment: then the node knows the interface, and what the
 * container has beyond it (`mod/node/unrouted_holders.ts`); it is asked second, since it knows from the
 * moment on from which the route may go.
 *
 * Such an address is put on record for who has it, under the handle by which his own DEL gives it back,
 * so that it is not tried again with every pod. Where that is not known, it is under a handle that
 * names the interface: the controllers ask the node about that one as about any container's
 * (`mod/ipam/questions.ts`), and free it when no route leads there any more.
 */

import { formatIp, type Ip, sameIp } from "../mod/net/mod.ts";
import { attributesOf, type Claimant } from "./addresses.ts";
import type { CniDeps } from "./deps.ts";
import { nodeEndpoints } from "./endpoint.ts";
import { handleId } from "./identity.ts";
import type { HostLink } from "./kernel.ts";
import { parseMark } from "./mark.ts";

/** Who has an address on this node. */
export interface LiveHolder {
  readonly ip: Ip;
  /** The host side of his interface; "host": the machine itself. */
  readonly link: HostLink | "host";
}

export type HolderDeps = Pick<
  CniDeps,
  | "kernel"
  | "ipam"
  | "store"
  | "nodeName"
  | "interfacePrefix"
  | "unroutedHolder"
  | "given"
  | "freed"
  | "log"
>;

/** Those of the addresses that others have. `own`: an interface that gives way to the caller's. */
export async function liveHolders(
  deps: HolderDeps,
  addresses: readonly Ip[],
  own: string | undefined,
): Promise<LiveHolder[]> {
  const found: LiveHolder[] = [];
  for (const ip of addresses) {
    const link = await linkWith(deps, ip);
    if (link !== undefined && (link === "host" || link.name !== own)) found.push({ ip, link });
  }
  return found;
}

async function linkWith(
  { kernel, unroutedHolder, interfacePrefix: prefix = "cali" }: HolderDeps,
  ip: Ip,
): Promise<HostLink | "host" | undefined> {
  const link = await kernel.linkOf(ip);
  if (link === "host") return link;
  const isWorkloads = link?.name.startsWith(prefix) || parseMark(link?.alias) !== undefined;
  return isWorkloads ? link : unroutedHolder?.(ip);
}

/**
 * Puts the address that a handle has just got on record for its holder, and says who that is. Nothing
 * is changed where it is the handle's no more.
 */
export async function recordHolder(
  deps: HolderDeps,
  network: string,
  { ip, link }: LiveHolder,
  now: Date,
): Promise<string> {
  const { ipam, log, interfacePrefix: prefix = "cali" } = deps;
  const claimant = await claimantOf(deps, network, link);
  const whose = nameOf(claimant, link);
  const held = await ipam.assignment(ip);
  if (held?.handle === undefined) return whose;
  const isForeign = link !== "host" && !parseMark(link.alias) && !link.name.startsWith(prefix);
  const before = isForeign ? await deps.given?.(ip) : undefined;
  const to = before ?? { handle: claimant.handle, attributes: attributesOf(claimant, now) };
  await ipam.handOver({ address: ip, handle: held.handle, to });
  log?.("warn", "IPAM gave an address that another on this node has; it is his on record now", {
    address: formatIp(ip),
    holder: whose,
    handle: to.handle,
  });
  // His DEL may have come by before there was anything on record that it could give back.
  if (await linkWith(deps, ip) === undefined) {
    await ipam.releaseIps([{ address: ip, handle: to.handle }]);
  }
  return whose;
}

/**
 * Frees what a handle has, where no endpoint says whose that is: a network's name or an old record may have
 * brought an address under it that a container of this node still has, which stays on record until that one
 * is gone. Whether all of them are free. `isOwn`: whether a holder is the one whose handle it is.
 */
export async function releaseUnheld(
  deps: HolderDeps,
  handle: string,
  isOwn: (holder: LiveHolder) => boolean | Promise<boolean> = () => false,
): Promise<boolean> {
  const { ipam, log } = deps;
  const addresses = await ipam.ipsByHandle(handle);
  const held: LiveHolder[] = [];
  for (const holder of await holdersAmong(deps, addresses ?? [])) {
    if (!await isOwn(holder)) held.push(holder);
  }
  deps.freed?.(handle);
  // There is no such handle, as at a repeated DEL.
  if (!addresses) return true;
  if (held.length === 0) {
    await ipam.releaseByHandle(handle);
    return true;
  }
  const free = addresses.filter((address) => !held.some(({ ip }) => sameIp(ip, address)));
  if (free.length > 0) await ipam.releaseIps(free.map((address) => ({ address, handle })));
  log?.(
    "warn",
    "addresses of a handle without an endpoint stay on record: this node still has them",
    {
      handle,
      addresses: held.map(({ ip, link }) =>
        `${formatIp(ip)} (${link === "host" ? "the machine itself" : `interface ${link.name}`})`
      ),
    },
  );
  return false;
}

/** Those who really have it: a route of an old record may lead to a container that has other addresses. */
export async function holdersAmong(
  deps: HolderDeps,
  addresses: readonly Ip[],
): Promise<LiveHolder[]> {
  const found: LiveHolder[] = [];
  for (const holder of await liveHolders(deps, addresses, undefined)) {
    const { ip, link } = holder;
    const there = link === "host" ? [] : await deps.kernel.addressesBeyond(link.name);
    if (there.length === 0 || there.some((one) => sameIp(one, ip))) found.push(holder);
  }
  return found;
}

/** In words. */
export async function whoHas(
  deps: HolderDeps,
  network: string,
  { link }: LiveHolder,
): Promise<string> {
  return nameOf(await claimantOf(deps, network, link), link);
}

async function claimantOf(
  { store, nodeName: node }: HolderDeps,
  network: string,
  link: HostLink | "host",
): Promise<Claimant> {
  if (link === "host") return { handle: machineHandle(network, node), node, ifname: "eth0" };
  const mark = parseMark(link.alias);
  const endpoint = (await nodeEndpoints(store, node)).map(({ value }) => value)
    .find(({ spec }) =>
      spec.interfaceName === link.name && (!mark || spec.containerID === mark.containerId)
    );
  const { spec, metadata } = endpoint ?? {};
  const container = mark?.containerId ?? spec?.containerID;
  const ifname = mark?.ifname ?? spec?.endpoint ?? "eth0";
  const pod = spec?.pod
    ? { namespace: metadata!.namespace ?? "default", name: spec.pod }
    : undefined;
  return {
    handle: container ? handleId(network, container, ifname) : interfaceHandle(network, link.name),
    node,
    ifname: container ? ifname : "eth0",
    pod: container ? pod : undefined,
  };
}

/** Of what the machine itself has. */
function machineHandle(network: string, node: string): string {
  return `${network}.${node}`;
}

/** Whether that is on record so, by an ADD of whatever network. */
export function isMachines(
  handle: string | undefined,
  attributes: Readonly<Record<string, string>>,
  node: string,
): boolean {
  return handle?.endsWith(machineHandle("", node)) === true && attributes.node === node &&
    attributes.pod === undefined && attributes.type === undefined;
}

/** Of an interface of which nobody knows whose it is. */
export function interfaceHandle(network: string, hostName: string): string {
  return `${network}.${hostName}`;
}

function nameOf({ pod, handle }: Claimant, link: HostLink | "host"): string {
  if (link === "host") return "the machine itself";
  return `${pod ? `pod ${pod.namespace}/${pod.name}` : handle} (interface ${link.name})`;
}
