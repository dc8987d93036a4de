/**
 * Which of some addresses containers of this machine still have, whatever the datastore says: what the
 * controllers ask before an address is taken back (`address_questions.ts`). An address is held where
 *
 *   - an interface of ours bears the mark of its container (`cni/mark.ts`), in use or being made;
 *   - a route leads to it over a workload interface;
 *   - an interface in any network namespace of the machine has it (`ffi/netns_list.ts`): so containers
 *     under other interface plugins (bridge, ptp, macvlan) count too, whoever runs them;
 *   - the machine itself has it: tunnels, and gateways of blocks under other interface plugins;
 *   - the runtime remembers an attachment of the container (libcni's cache, which DEL clears).
 *
 * One of them is enough. A namespace that cannot be looked at is named in the answer (`unseen`): then that
 * an address is not held says nothing. Without the machine's own links and routes there is no answer.
 */
import { parseMark } from "../../cni/mark.ts";
import { listAllNetns, visitAllNetns } from "../../ffi/netns_list.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { type AskedAddress, containerOf } from "../ipam/questions.ts";
import { addressBits, formatIp, parseCidr } from "../net/mod.ts";

export interface MachineFacts {
  /** Container IDs of the marks on host interfaces. */
  readonly containers: ReadonlySet<string>;
  /** Addresses to which a route leads over a workload interface, or that the machine or a namespace has. */
  readonly addresses: ReadonlySet<string>;
  /** Names in libcni's cache: `<network>-<container ID>-<interface>`. */
  readonly cached: readonly string[];
  /** What of the machine could not be looked at, in words. */
  readonly unseen?: string;
}

/** Those that are held, in the order asked. */
export function heldAddresses(
  asked: readonly AskedAddress[],
  facts: MachineFacts,
): string[] {
  const { addresses } = facts;
  return asked.filter((one) =>
    addresses.has(one.ip) || containerOf(one).some((id) => hasContainer(facts, id))
  ).map(({ ip }) => ip);
}

/** Whether an interface of ours or the runtime's memory speaks for the container. */
export function hasContainer(
  { containers, cached }: Pick<MachineFacts, "containers" | "cached">,
  container: string,
): boolean {
  return containers.has(container) || cached.some((name) => name.includes(`-${container}-`));
}

/** Where libcni remembers the attachments that a runtime has made. */
export const CNI_CACHE = "/var/lib/cni/results";

export async function readMachine(
  interfacePrefixes: readonly string[],
  cache: string = CNI_CACHE,
  listNetns = listAllNetns,
): Promise<MachineFacts> {
  const containers = new Set<string>();
  const addresses = new Set<string>();
  using socket = RouteSocket.open();
  const workload = new Set<number>();
  for (const link of socket.links()) {
    const mark = parseMark(link.alias);
    if (mark) containers.add(mark.containerId);
    if (interfacePrefixes.some((prefix) => link.name.startsWith(prefix))) workload.add(link.index);
  }
  for (const { destination, hops = [] } of socket.routes()) {
    const { ip, length } = destination;
    const isHost = length === addressBits(ip.family);
    if (isHost && hops.some(({ oif }) => oif !== undefined && workload.has(oif))) {
      addresses.add(formatIp(ip));
    }
  }
  for (const { ip } of socket.addresses()) addresses.add(formatIp(ip));
  const unseen = await visitAllNetns((netns) => {
    using inside = RouteSocket.open(netns);
    for (const { ip } of inside.addresses()) addresses.add(formatIp(ip));
  }, listNetns);
  return { containers, addresses, cached: await cachedAttachments(cache), unseen };
}

/** Names of what the runtime remembers. */
export async function cachedAttachments(folder: string = CNI_CACHE): Promise<string[]> {
  try {
    const found: string[] = [];
    for await (const { name } of Deno.readDir(folder)) found.push(name);
    return found;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

/** What the runtime remembers of an attachment. */
export interface Remembered {
  readonly network: string;
  readonly containerId: string;
  readonly ifname: string;
  readonly addresses: readonly string[];
  /** The addresses are of our IPAM plugin, or Calico's. */
  readonly isOurs: boolean;
}

/** All attachments that the runtime remembers, but for those in a form that we do not know. */
export async function remembered(folder: string = CNI_CACHE): Promise<Remembered[]> {
  const found: (Remembered | undefined)[] = [];
  for (const name of await cachedAttachments(folder)) {
    found.push(readCached(await Deno.readTextFile(`${folder}/${name}`).catch(() => "")));
  }
  return found.filter((one) => one !== undefined);
}

/** As libcni writes it (`cniCacheV1`), with the result as the plugin gave it, of any version. */
function readCached(text: string): Remembered | undefined {
  const { networkName: network, containerId, ifName: ifname, result, config } = parsed(text);
  const isText = (value: unknown): value is string => typeof value === "string";
  if (!isText(network) || !isText(containerId) || !isText(ifname)) return undefined;
  const { ips, ip4, ip6 } = objectOf(result);
  const texts = [...listOf(ips).map((one) => objectOf(one).address), ...[ip4, ip6].map(ipOf)];
  const addresses = texts.filter(isText).map((one) => parseCidr(one)?.ip)
    .filter((one) => one !== undefined).map(formatIp);
  return { network, containerId, ifname, addresses, isOurs: isText(config) && hasOurIpam(config) };
}

/** `config`: in base64 the configuration of one plugin, or of the list that it stands in. */
function hasOurIpam(config: string): boolean {
  let text: string;
  try {
    text = new TextDecoder().decode(Uint8Array.fromBase64(config));
  } catch {
    return false;
  }
  const { plugins, ...single } = parsed(text);
  return [single, ...listOf(plugins)].some((one) => {
    const { type } = objectOf(objectOf(one).ipam);
    return type === "tortie-ipam" || type === "calico-ipam";
  });
}

/** What is none has no members. */
function objectOf(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
}

function parsed(text: string): Record<string, unknown> {
  try {
    return objectOf(JSON.parse(text));
  } catch {
    return {};
  }
}

const listOf = (value: unknown): unknown[] => Array.isArray(value) ? value : [];
const ipOf = (value: unknown) => objectOf(value).ip;
