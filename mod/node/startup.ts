/**
 * What a node writes about itself before it begins (Calico's `calico-node -startup`): its Node with
 * the address by which others reach it, the default pools where a family has none, and
 * FelixConfiguration `default`. All of it may run on every node at the same moment and again at every
 * start: what is there already is left as people have set it. What stands there and cannot be read is
 * left as it is too, and named: somebody's settings may be in it. Nothing else waits for what could not be
 * read or written: a node that others cannot find follows policy all the same.
 *
 * A Node that was there and is gone may have been deleted to take the node out of the cluster: it is
 * completed when it comes back, and made anew only by a new process, as Calico's startup does.
 */
import {
  addressBits,
  type Family,
  formatIp,
  formatPrefix,
  mustPrefix,
  parseCidr,
  type Prefix,
  prefixContains,
} from "../net/mod.ts";
import {
  clusterInformationKind,
  lockReason,
  unreadableCluster,
} from "../model/cluster_information.ts";
import { felixConfigurationKind } from "../model/felix_configuration.ts";
import { ippoolKind } from "../model/ippool.ts";
import { resourceKey } from "../model/keys.ts";
import { KUBERNETES, type Node, nodeKind } from "../model/node.ts";
import { printJson } from "../store/json.ts";
import { ResourceError, type Resources } from "../store/resources.ts";
import { type Host, listedInterfaces, type NodeAddress, nodeAddress } from "./autodetect.ts";
import { ConfigError, type NodeConfig } from "./config.ts";
import { tellFelixVariables } from "./felix_variables.ts";
import { nodeAddressOf } from "./peering.ts";

export interface NodeAddresses {
  readonly 4?: NodeAddress;
  readonly 6?: NodeAddress;
}

const cidrText = (a: NodeAddress) => `${formatIp(a.ip)}/${a.length}`;

/** Finds the node's addresses; with an empty wish those that the Node has are kept while they hold. */
export function findAddresses(config: NodeConfig, host: Host, known?: Node): NodeAddresses {
  const found = (family: Family): NodeAddress | undefined => {
    const stored = family === 4 ? known?.spec.bgp?.ipv4Address : known?.spec.bgp?.ipv6Address;
    const wish = config.ip[family];
    if (wish === "" && stored && parseCidr(stored)) {
      try {
        return nodeAddress(stored, "", family, host);
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error; // no longer ours: look again
      }
    }
    return nodeAddress(wish, config.ipMethod[family], family, host);
  };
  return { 4: found(4), 6: found(6) };
}

/**
 * Looks whether the datastore is locked, as for a migration: nobody may write then. That the object is gone
 * says nothing: a lock that was seen stays, until datastoreReady is true.
 */
export class ReadyCheck {
  #lock: string | undefined;

  /** ResourceError "refused" while it is locked. */
  async mustBeReady(resources: Resources): Promise<void> {
    const cluster = await resources.get(clusterInformationKind, "default").catch((error) => {
      if (isUnreadable(error)) return error;
      throw error;
    });
    // As for an agent that reads the same.
    if (cluster instanceof ResourceError) this.#lock = unreadableCluster(cluster.message);
    else if (cluster) this.#lock = lockReason(cluster);
    if (!this.#lock) return;
    const gone = cluster ? "" : ", and is gone now";
    throw new ResourceError(
      "refused",
      'ClusterInformation "default"',
      `the datastore is locked (${this.#lock}${gone}); unlock it when the migration is over`,
    );
  }
}

/** An object is there that is none: half-written, or of another shape than its kind's. */
export function isUnreadable(error: unknown): error is ResourceError {
  return error instanceof ResourceError && error.kind === "malformed";
}

/** What a node has written about itself. */
export interface Registration {
  /** Of our Node; undefined where it could not be written. */
  readonly addresses?: NodeAddresses;
  /** Why our Node says nothing of us, or what it said before: others do not find the way to us. */
  readonly unregistered?: string;
  /** What else could not be written. */
  readonly unwritten: readonly string[];
}

/**
 * Writes all that others must know of this node, each thing for itself. ConfigError where the node must
 * not run as it is configured. `warn` is told what stands in the way of nothing. `again`: our Node has been
 * there, and is not made anew.
 */
export async function register(
  resources: Resources,
  config: NodeConfig,
  host: Host,
  warn: (text: string) => void = () => {},
  again = false,
): Promise<Registration> {
  const unwritten: string[] = [];
  const attempt = async (what: string, write: () => Promise<void>) => {
    try {
      await write();
    } catch (error) {
      if (error instanceof ConfigError) throw error;
      unwritten.push(`${what}: ${(error as Error).message}`);
    }
  };
  await attempt("no default pool can be made", () => ensurePools(resources, config, host, warn));
  await attempt(
    "no FelixConfiguration is there to edit",
    () => ensureFelixConfiguration(resources, warn),
  );
  await attempt(
    "nobody is told of this node's FELIX_ variables",
    () => tellFelixVariables(resources.store, config.nodeName, config.felix),
  );
  try {
    return { addresses: await registerNode(resources, config, host, warn, again), unwritten };
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    return { unregistered: `this node is not registered: ${(error as Error).message}`, unwritten };
  }
}

/**
 * Creates or completes our Node; ResourceError "malformed" where it cannot be read. ConfigError where
 * the address that we come with is another node's; one that our Node has had already stays ours, and
 * `warn` is told who else claims it. `again`: nothing is created.
 */
export async function registerNode(
  resources: Resources,
  config: NodeConfig,
  host: Host,
  warn: (text: string) => void = () => {},
  again = false,
): Promise<NodeAddresses> {
  const { nodeName } = config;
  const { items, broken } = await resources.list(nodeKind);
  const known = items.find((n) => n.metadata.name === nodeName);
  const addresses = findAddresses(config, host, known);
  if (!addresses[4] && !addresses[6] && config.backend !== "none") {
    throw new ConfigError(
      `no address of this node was found (IP=${config.ip[4] || "autodetect"}, method ` +
        `${config.ipMethod[4]}); set IP to one of its addresses`,
    );
  }
  checkUnique(items, nodeName, addresses, warn);
  const complete = (node: Node): Node => {
    const bgp = { ...node.spec.bgp };
    if (addresses[4]) bgp.ipv4Address = cidrText(addresses[4]);
    if (addresses[6]) bgp.ipv6Address = cidrText(addresses[6]);
    if (config.asNumber !== undefined) bgp.asNumber = config.asNumber;
    const own = [addresses[4], addresses[6]].flatMap((a) => a ? [cidrText(a)] : []);
    // Calico 3.32 writes none of ours here; those that others wrote must not be of another time.
    const listed = node.spec.addresses?.filter(({ address, type }) =>
      type !== "CalicoNodeIP" || own.includes(address)
    );
    const interfaces = listedInterfaces(host);
    const { kubernetesNode } = config;
    return {
      ...node,
      spec: {
        ...node.spec,
        ...(kubernetesNode && {
          orchRefs: [{ nodeName: kubernetesNode, orchestrator: KUBERNETES }],
        }),
        bgp: Object.keys(bgp).length > 0 ? bgp : undefined,
        addresses: listed?.length ? listed : undefined,
        interfaces: interfaces.length > 0 ? interfaces : undefined,
      },
    };
  };
  const modify = () =>
    resources.modify(nodeKind, nodeName, undefined, (node: Node) => {
      const next = complete(node);
      return printJson(next) === printJson(node) ? undefined : next;
    });
  // One that is there and cannot be read is told of where somebody tries to write it.
  const isUnread = broken.some(({ key }) => key === resourceKey(nodeKind, nodeName));
  if (known) await modify();
  else if (!again || isUnread) {
    const fresh = complete({ metadata: { name: nodeName }, spec: {}, status: {} } as Node);
    await resources.create(nodeKind, {
      kind: "Node",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: nodeName },
      spec: fresh.spec,
    }).catch((error) => {
      // Somebody was quicker (a restart of ourselves): complete what is there.
      if (error instanceof ResourceError && error.kind === "exists") return modify();
      throw error;
    });
  }
  return addresses;
}

/**
 * Whether our addresses are ours alone. A new claim on another node's address is refused: it would take
 * the traffic of a node that works. An address that our Node holds in the datastore is no claim but a
 * restart, and the pods of this machine shall not go without a service because somebody has written
 * a Node with the same address meanwhile (Calico looks for conflicts only where the address has changed,
 * too). BGP's peers then see to it that nothing comes of the other one (`peering.ts`).
 */
function checkUnique(
  nodes: readonly Node[],
  own: string,
  addresses: NodeAddresses,
  warn: (text: string) => void,
): void {
  const known = nodes.find(({ metadata }) => metadata.name === own);
  for (const node of nodes) {
    const { name } = node.metadata;
    if (name === own) continue;
    for (const family of [4, 6] as const) {
      const text = addresses[family] && formatIp(addresses[family].ip);
      if (text === undefined || storedAddress(node, family) !== text) continue;
      const conflict = `the node "${name}" has the address ${text} too`;
      if (storedAddress(known, family) !== text) {
        throw new ConfigError(
          `${conflict}; set IP or NODENAME, or delete that Node if it is gone`,
        );
      }
      warn(
        `${conflict}, which stays this node's own; give that Node another address, or delete it if ` +
          "that machine is gone",
      );
    }
  }
}

/** The address in a Node, whatever prefix length it is written with. */
function storedAddress(node: Node | undefined, family: Family): string | undefined {
  const ip = nodeAddressOf(node, family === 4 ? "ipv4" : "ipv6");
  return ip && formatIp(ip);
}

/** Calico's choice where no CIDR is given: the first of these that no address of the host lies in. */
function freeCidr(family: Family, host: Host): Prefix {
  if (family === 6) {
    const random = crypto.getRandomValues(new Uint8Array(5)).toHex();
    const words = `fd${random}`.match(/.{4}/g)!;
    return mustPrefix(`${words.join(":")}::/48`);
  }
  const candidates = [
    "192.168.0.0/16",
    ...Array.from({ length: 16 }, (_, i) => `172.${16 + i}.0.0/16`),
  ].map(mustPrefix);
  const used = (prefix: Prefix) =>
    host.interfaces.some((i) => i.addresses.some((a) => prefixContains(prefix, a.ip)));
  return candidates.find((c) => !used(c)) ?? candidates[0];
}

/**
 * Makes the default pool of each family that has none. Where a pool cannot be read, nobody knows whether
 * there is one: then none is made, and `warn` is told.
 */
export async function ensurePools(
  resources: Resources,
  config: NodeConfig,
  host: Host,
  warn: (text: string) => void = () => {},
): Promise<void> {
  const { items, broken } = await resources.list(ippoolKind);
  if (broken.length > 0) {
    for (const { error } of broken) warn(`no default pool is made meanwhile: ${error.message}`);
    return;
  }
  for (const family of [4, 6] as const) {
    const wanted = config.pool[family];
    if (!wanted || items.some((p) => parseCidr(p.spec.cidr)?.ip.family === family)) continue;
    const cidr = wanted.cidr ?? freeCidr(family, host);
    if (cidr.length > addressBits(family)) continue;
    try {
      await resources.create(ippoolKind, {
        kind: "IPPool",
        apiVersion: "projectcalico.org/v3",
        metadata: { name: `default-ipv${family}-ippool` },
        spec: {
          cidr: formatPrefix(cidr),
          blockSize: wanted.blockSize,
          ipipMode: wanted.ipipMode,
          vxlanMode: wanted.vxlanMode,
          natOutgoing: wanted.natOutgoing,
          nodeSelector: wanted.nodeSelector,
          disableBGPExport: wanted.disableBGPExport,
        },
      });
    } catch (error) {
      // Another node made it at the same moment.
      if (!(error instanceof ResourceError && error.kind === "exists")) throw error;
    }
  }
}

/** FelixConfiguration `default`, so that people find one to edit; one that cannot be read is left. */
export async function ensureFelixConfiguration(
  resources: Resources,
  warn: (text: string) => void = () => {},
): Promise<void> {
  try {
    if (await resources.get(felixConfigurationKind, "default")) return;
    await resources.create(felixConfigurationKind, {
      kind: "FelixConfiguration",
      apiVersion: "projectcalico.org/v3",
      metadata: { name: "default" },
      spec: { logSeverityScreen: "Info" },
    });
  } catch (error) {
    if (isUnreadable(error)) return warn(error.message);
    if (!(error instanceof ResourceError && error.kind === "exists")) throw error;
  }
}
