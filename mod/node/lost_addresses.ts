/**
 * Puts the addresses of a container that the datastore has forgotten on record again, under the
 * container's own handle. An older copy of the datastore that was put back knows neither the endpoint nor
 * the block; the node that has the container gives its addresses to nobody (`unrouted_holders.ts`), but
 * another node would claim the block and give them. With the record the block is this node's again, the
 * container's DEL gives the address back, and where that never comes the controllers free it on this node's
 * word, as any container's without a pod.
 *
 * Only what IPAM has free is taken: an address that another has on record stays his, and is named. And of
 * each family one address at most, as ADD gives: what else stands on its interface, somebody in the
 * container has put there, who could take whole pools so.
 *
 * Whose an interface is that bears no mark of ours, Calico's, nobody knows. It is under the handle under
 * which an ADD puts an address that it finds there (`cni/live_holders.ts`), with the interface's name in the
 * container's place.
 *
 * A container under another interface plugin (bridge, ptp) may have its addresses of our IPAM plugin, and
 * there is no endpoint of it that could be lost. What that one gave is put on record again as it was. All
 * others are left alone, though their addresses lie in a pool: with a block of ours a route would come that
 * takes the other network's packets.
 *
 * A lease that an older copy keeps for an ordinal, used by nobody, names the container as its user: its
 * ordinal waits until that one is gone.
 */
import { attributesOf } from "../../cni/addresses.ts";
import type { Given } from "../../cni/deps.ts";
import { handleId } from "../../cni/identity.ts";
import { interfaceHandle } from "../../cni/live_holders.ts";
import type { Mark } from "../../cni/mark.ts";
import { hostNames } from "../../cni/own_links.ts";
import type { AllocationBlock } from "../model/ipam_block.ts";
import { IpamError } from "../ipam/errors.ts";
import type { Ipam } from "../ipam/ipam.ts";
import { LEASE_PREFIX } from "../ipam/lease_record.ts";
import { containerOf } from "../ipam/questions.ts";
import type { AssignIpRequest, Assignment } from "../ipam/types.ts";
import { mustIp } from "../net/mod.ts";
import { StoreError } from "../store/store.ts";

type LostIpam = Pick<
  Ipam,
  "assignment" | "assignIp" | "handOver" | "ipsByHandle" | "relabel" | "releaseIps"
>;

export interface LostContainer {
  /** The host side of its interface. */
  readonly hostName: string;
  /** undefined: Calico made the interface, or another interface plugin. */
  readonly mark: Pick<Mark, "containerId" | "ifname"> | undefined;
  /** Another interface plugin made it. */
  readonly foreign?: boolean;
  readonly addresses: readonly string[];
  /** Whether its interface is there still. */
  readonly isThere: () => boolean;
}

/** Why addresses are not on record for the container, in words, by address; empty: all are. */
export type Unrecorded = ReadonlyMap<string, string>;

/** The network of Calico's own configuration. */
const NETWORK = "k8s-pod-network";
/** What an interface's name has behind its prefix: of a hash, or of a container's ID (`cni/identity.ts`). */
const HASH = 11;
/** Of each family, addresses of an interface that are looked at: the first that lies in a pool counts. */
const MOST = 8;

/**
 * The network that containers of a node are in, by whose name their handles begin (`<network>.<container>`):
 * of most that are on record. A DEL of another network leaves the address to the controllers.
 */
export function networkOf(node: string, blocks: Iterable<AllocationBlock>): string {
  const counts = new Map<string, number>();
  for (const { attributes } of blocks) {
    for (const { handle_id: handle, secondary } of attributes) {
      const { type, interface: ifname, ...said } = secondary ?? {};
      const isContainers = said.node === node && type === undefined && ifname === undefined;
      const end = handle?.lastIndexOf(".") ?? -1;
      if (!isContainers || end <= 0 || handle!.startsWith(LEASE_PREFIX)) continue;
      const network = handle!.slice(0, end);
      counts.set(network, (counts.get(network) ?? 0) + 1);
    }
  }
  const [most] = [...counts].sort(([, a], [, b]) => b - a);
  return most?.[0] ?? NETWORK;
}

/** The network of an attachment that the runtime remembers: `<network>-<container ID>-<interface>`. */
export function cachedNetwork(
  cached: readonly string[],
  mark: LostContainer["mark"],
): string | undefined {
  const end = mark && `-${mark.containerId}-${mark.ifname}`;
  return end && cached.find((name) => name.endsWith(end))?.slice(0, -end.length);
}

export async function recordLost(
  ipam: LostIpam,
  { node, network }: { readonly node: string; readonly network: string },
  lost: LostContainer,
  now: Date,
): Promise<Unrecorded> {
  const { hostName, mark, addresses } = lost;
  const handle = mark
    ? handleId(network, mark.containerId, mark.ifname)
    : interfaceHandle(network, hostName);
  const attributes = attributesOf({ handle, node, ifname: mark?.ifname ?? "eth0" }, now);
  const unrecorded = new Map<string, string>();
  for (const family of [4, 6] as const) {
    const candidates = addresses.filter((ip) => mustIp(ip).family === family).slice(0, MOST);
    let at = candidates[0];
    try {
      if (at === undefined || await hasOne(ipam, lost, node, handle, candidates)) continue;
      for (at of candidates) {
        const why = await recordOne(ipam, lost, { address: at, host: node, handle, attributes });
        if (why === undefined) break;
        if (why !== "in no pool") unrecorded.set(at, why);
      }
    } catch (error) {
      if (!(error instanceof IpamError || error instanceof StoreError)) throw error;
      unrecorded.set(at, error.message);
    }
  }
  return unrecorded;
}

export interface ForeignOptions {
  readonly node: string;
  /** undefined: it is none that our IPAM plugin gave. */
  readonly given: (address: string) => Promise<Given | undefined>;
  /** Who has it on record, as the datastore's changes have told: this costs nothing. */
  readonly stands: (address: string) => Partial<Given> | undefined;
  /** It is on record so: for a time when it is not. */
  readonly seen: (address: string, given: Given) => void;
  /** Longer than such a plugin takes from the IPAM plugin's DEL to the end of its interface. */
  readonly pause: () => Promise<void>;
}

/** The same for a container under another interface plugin, which may have its addresses of our IPAM. */
export async function recordForeign(
  ipam: LostIpam,
  options: ForeignOptions,
  lost: LostContainer,
): Promise<Unrecorded> {
  const unrecorded = new Map<string, string>();
  for (const family of [4, 6] as const) {
    // What it had first: who may set addresses in there could take whole pools.
    const address = lost.addresses.find((ip) => mustIp(ip).family === family);
    if (address === undefined) continue;
    try {
      const why = await recordGiven(ipam, options, lost, address);
      if (why !== undefined && why !== "in no pool") unrecorded.set(address, why);
    } catch (error) {
      if (!(error instanceof IpamError || error instanceof StoreError)) throw error;
      unrecorded.set(address, error.message);
    }
  }
  return unrecorded;
}

/** Why it is not on record as it was given; undefined where it is, or our IPAM plugin gave it not. */
async function recordGiven(
  ipam: LostIpam,
  { node, given, stands, seen, pause }: ForeignOptions,
  lost: LostContainer,
  address: string,
): Promise<string | undefined> {
  const to = await given(address);
  const { handle, attributes } = stands(address) ?? {};
  if (!to) {
    if (handle !== undefined && attributes?.node === node) seen(address, { handle, attributes });
    return undefined;
  }
  if (handle === to.handle) return undefined;
  const held = await ipam.assignment(address);
  if (held?.handle === to.handle || !lost.isThere()) return undefined;
  if (held?.handle !== undefined && isContainers(held, node)) {
    // Of one that had it before, and has ended.
    await ipam.handOver({ address, handle: held.handle, to });
    return undefined;
  }
  if (!held) await pause();
  return await recordOne(ipam, lost, { address, host: node, ...to });
}

/** Whether it is on record for a container of the node, and not for a tunnel, a gateway or a lease. */
function isContainers({ handle, attributes }: Assignment, node: string): boolean {
  return attributes.node === node && attributes.type === undefined &&
    !handle?.startsWith(LEASE_PREFIX);
}

/** Whether one of the family's addresses is on record for the container, be it there still or not. */
async function hasOne(
  ipam: LostIpam,
  lost: LostContainer,
  node: string,
  handle: string,
  candidates: readonly string[],
): Promise<boolean> {
  for (const address of candidates) {
    const held = await ipam.assignment(address);
    if (held && isOwn(held, lost, node)) return true;
  }
  const { family } = mustIp(candidates[0]);
  const recorded = (await ipam.ipsByHandle(handle) ?? []).filter((ip) => ip.family === family);
  if (lost.mark || recorded.length === 0) return recorded.length > 0;
  // Every life of a pod that Calico wired has this handle: those are a former one's.
  if (!lost.isThere()) return true;
  await ipam.releaseIps(recorded.map((address) => ({ address, handle })));
  return false;
}

/** Why the address is not on record for the container; undefined where it is. */
async function recordOne(
  ipam: LostIpam,
  { isThere }: LostContainer,
  request: AssignIpRequest & { readonly address: string; readonly handle: string },
): Promise<string | undefined> {
  const { address, handle } = request;
  const held = await ipam.assignment(address);
  if (!isThere()) return undefined;
  if (held) {
    if (held.handle === handle || await useLease(ipam, held, request)) return undefined;
    return `IPAM has given it to handle ${held.handle}`;
  }
  try {
    await ipam.assignIp(request);
  } catch (error) {
    // Of another IPAM, which no pool of ours gives to anybody.
    if (error instanceof IpamError && error.kind === "notInPool") return "in no pool";
    // Another look was quicker.
    if ((await ipam.assignment(address))?.handle === handle) return undefined;
    throw error;
  }
  // Its DEL may have come by before there was anything on record that it could give back.
  if (!isThere()) await ipam.releaseIps([{ address, handle }]);
}

/** Whether it is a lease that nobody used, and the container is on record as its user now. */
async function useLease(
  ipam: LostIpam,
  { ip, handle = "", attributes: { container } }: Assignment,
  { handle: user, attributes: { node, timestamp } = {} }: AssignIpRequest,
): Promise<boolean> {
  if (!handle.startsWith(LEASE_PREFIX) || container !== undefined || user === undefined) {
    return false;
  }
  return await ipam.relabel({
    address: ip,
    handle,
    change: ({ keptUntil: _, ...found }) =>
      found.container === undefined ? { ...found, container: user, node, timestamp } : undefined,
  });
}

function isOwn(
  { handle = "", attributes }: Assignment,
  { hostName, mark }: LostContainer,
  node: string,
): boolean {
  const by = attributes.container ?? handle;
  const isOf = (name: string) => `${by}.`.includes(`.${name}.`);
  if (mark) return isOf(mark.containerId);
  if (isOf(hostName)) return true;
  // Calico's plugin has it on record for a pod, or a container, whose interface has just this name.
  const { pod, namespace = "default", interface: ifname = "eth0" } = attributes;
  const prefix = hostName.slice(0, -HASH);
  return attributes.node === node &&
    containerOf({ handle: by }).some((containerId) =>
      hostNames({ namespace, pod, containerId, ifname }, prefix).includes(hostName)
    );
}
