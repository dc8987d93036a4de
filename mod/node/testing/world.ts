/** For tests: a cluster's state as the datastore would tell it, object by object. */
import { blockKey, resourceKey } from "../../model/keys.ts";
import { formatIp, ipAt, mustPrefix, ordinalOf, parseIp } from "../../net/mod.ts";
import { ClusterState } from "../state.ts";

const calico = (plural: string) => ({ plural, home: "calico", namespaced: false } as const);

export interface BlockWishes {
  /** Absent: nobody's. */
  readonly node?: string;
  /** Address to the node that has it, with a handle of its own where one is named. */
  readonly given?: Readonly<Record<string, string | { node: string; handle: string }>>;
}

export class StateWorld {
  readonly state: ClusterState;
  #revision = 0;

  constructor(readonly nodeName = "node1") {
    this.state = new ClusterState(nodeName);
  }

  put(key: string, value: unknown): void {
    this.state.apply(key, value, String(++this.#revision));
  }

  node(name: string, spec: object | undefined, labels: Record<string, string> = {}): void {
    const object = spec && {
      kind: "Node",
      apiVersion: "projectcalico.org/v3",
      metadata: { name, labels },
      spec,
    };
    this.put(resourceKey(calico("nodes"), name), object);
  }

  pool(name: string, spec: object | undefined): void {
    const object = spec && {
      kind: "IPPool",
      apiVersion: "projectcalico.org/v3",
      metadata: { name },
      spec,
    };
    this.put(resourceKey(calico("ippools"), name), object);
  }

  block(cidr: string, wishes: BlockWishes | undefined): void {
    this.put(blockKey(mustPrefix(cidr)), wishes && block(cidr, wishes));
  }
}

/** An IPAM block as it is stored. */
export function block(cidr: string, { node, given = {} }: BlockWishes) {
  const prefix = mustPrefix(cidr);
  const size = Math.min(2 ** ((prefix.ip.family === 4 ? 32 : 128) - prefix.length), 64);
  const allocations: (number | null)[] = new Array(size).fill(null);
  const attributes = Object.entries(given).map(([ip, to], index) => {
    allocations[Number(ordinalOf(prefix, parseIp(ip)!))] = index;
    const { node, handle } = typeof to === "string" ? { node: to, handle: `pod-${index}` } : to;
    return { handle_id: handle, secondary: { node } };
  });
  return {
    cidr,
    affinity: node ? `host:${node}` : null,
    allocations,
    unallocated: [],
    attributes,
    sequenceNumber: 1,
    sequenceNumberForAllocation: {},
    deleted: false,
  };
}

export const nth = (cidr: string, n: number): string => formatIp(ipAt(mustPrefix(cidr), n));
