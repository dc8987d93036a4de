/**
 * What this node reports into the datastore, under Calico's keys:
 *
 *   felix/v2/…/status                 process status, with a TTL: gone when the agent is
 *   felix/v2/…/last_reported_status   the same, kept
 *   felix/v2/…/workload/…             endpoint status, where EndpointReportingEnabled says so
 *   CalicoNodeStatus                  filled where somebody has created one for this node
 *
 * Reports are best effort: a datastore that is away stops no packet, and the next report says it all.
 */
import {
  endpointStatusKey,
  endpointStatusPrefix,
  felixLastStatusKey,
  felixStatusKey,
} from "../model/keys.ts";
import { type CalicoNodeStatus, calicoNodeStatusKind } from "../model/calico_node_status.ts";
import { type WorkloadEndpoint, workloadKeyOf } from "../model/workload_endpoint.ts";
import type { Resources } from "../store/resources.ts";
import { type Store, StoreError } from "../store/store.ts";
import { formatIp, parseIp } from "../net/mod.ts";
import type { PeerStatus, RouteStatus } from "../../bgp/config.ts";

export type EndpointState = "up" | "down" | "error";

/** RFC 3339 in whole seconds, as Go prints it. */
const seconds = (time: Date) => `${time.toISOString().slice(0, 19)}Z`;

export class Reporter {
  readonly #started = performance.now();
  #first = true;
  readonly #told = new Map<string, EndpointState>();
  /** Of the datastore, when it was looked what it has of endpoints. */
  #lookedAt: number | undefined;

  constructor(readonly store: Store, readonly nodeName: string) {}

  /** The process status. `ttl` is Felix's ReportingTTL in seconds. */
  async process(ttl: number): Promise<void> {
    const value = {
      time: seconds(new Date()),
      uptime: (performance.now() - this.#started) / 1000,
      first_update: this.#first,
    };
    await this.store.put(felixLastStatusKey(this.nodeName), value);
    await this.store.put(felixStatusKey(this.nodeName), value, { ttlSeconds: ttl });
    this.#first = false;
  }

  /** Writes what has changed since the last call, and removes what no endpoint stands behind. */
  async endpoints(states: ReadonlyMap<string, EndpointState>): Promise<void> {
    const { epoch } = this.store;
    if (this.#lookedAt !== epoch) {
      // A former process may have reported endpoints that have gone since; or it is an older copy.
      const { entries } = await this.store.list(endpointStatusPrefix(this.nodeName));
      this.#told.clear();
      for (const { key, value } of entries) {
        this.#told.set(key, (value as { status?: EndpointState }).status ?? "error");
      }
      this.#lookedAt = epoch;
    }
    for (const [key, status] of states) {
      if (this.#told.get(key) === status) continue;
      await this.store.put(key, { status });
      this.#told.set(key, status);
    }
    for (const key of this.#told.keys()) {
      if (states.has(key)) continue;
      await this.store.delete(key).catch(ignoreMissing);
      this.#told.delete(key);
    }
  }

  /** Reporting was switched off: what was told is taken back. */
  async withdrawEndpoints(): Promise<void> {
    if (this.#told.size > 0) await this.endpoints(new Map());
  }
}

function ignoreMissing(error: unknown): void {
  if (!(error instanceof StoreError && error.kind === "notFound")) throw error;
}

/** The key under which an endpoint's status is told. */
export function statusKeyOf(nodeName: string, endpoint: WorkloadEndpoint): string {
  return endpointStatusKey(
    nodeName,
    endpoint.spec.orchestrator ?? "cni",
    workloadKeyOf(endpoint),
    endpoint.spec.endpoint ?? "eth0",
  );
}

const PEER_TYPE = { mesh: "NodeMesh", node: "NodePeer", global: "GlobalPeer" } as const;

/** What kind of peer a name stands for (peering.ts gives the names). */
export function peerType(name: string): "mesh" | "node" | "global" {
  return name.startsWith("Mesh_") ? "mesh" : name.startsWith("Global_") ? "global" : "node";
}

type Status = NonNullable<CalicoNodeStatus["status"]>;

export interface NodeFacts {
  readonly peers: readonly PeerStatus[];
  readonly routes: readonly RouteStatus[];
  readonly routerId: string;
  readonly version: string;
  readonly bootTime: Date;
  readonly bgp: boolean;
}

/** The status of a CalicoNodeStatus with the classes that it asks for. */
export function nodeStatus(
  classes: readonly string[],
  facts: NodeFacts,
  now: Date,
): Status {
  const status: Status = { lastUpdated: seconds(now) };
  const ofFamily = (family: 4 | 6) =>
    facts.peers.filter((p) => parseIp(p.address)?.family === family);
  if (classes.includes("Agent")) {
    const bird = {
      state: facts.bgp ? "Ready" as const : "NotReady" as const,
      version: facts.version,
      routerID: facts.routerId,
      lastBootTime: seconds(facts.bootTime),
      lastReconfigurationTime: seconds(facts.bootTime),
    };
    status.agent = { birdV4: bird, birdV6: bird };
  }
  if (classes.includes("BGP")) {
    const table = (family: 4 | 6) =>
      ofFamily(family).map((p) => ({
        peerIP: p.address,
        type: PEER_TYPE[peerType(p.name)],
        state: p.state as "Established",
        since: seconds(new Date(p.since)),
      }));
    const up = (family: 4 | 6) => ofFamily(family).filter((p) => p.state === "Established").length;
    status.bgp = {
      numberEstablishedV4: up(4),
      numberNotEstablishedV4: ofFamily(4).length - up(4),
      numberEstablishedV6: up(6),
      numberNotEstablishedV6: ofFamily(6).length - up(6),
      peersV4: table(4),
      peersV6: table(6),
    };
  }
  if (classes.includes("Routes")) {
    const byName = new Map(facts.peers.map((p) => [p.name, p]));
    const table = (family: 4 | 6) =>
      facts.routes.filter((r) => r.prefix.includes(":") === (family === 6)).map((r) => {
        const peer = r.peer ? byName.get(r.peer) : undefined;
        const gateway = parseIp(r.nextHop);
        return {
          type: r.used || r.best ? "FIB" as const : "RIB" as const,
          destination: r.prefix,
          gateway: gateway ? formatIp(gateway) : undefined,
          learnedFrom: peer
            ? {
              sourceType: peerType(peer.name) === "mesh" ? "NodeMesh" as const : "BGPPeer" as const,
              peerIP: peer.address,
            }
            : { sourceType: "Static" as const },
        };
      });
    status.routes = { routesV4: table(4), routesV6: table(6) };
  }
  return status;
}

/** Fills one CalicoNodeStatus object. */
export async function fillNodeStatus(
  resources: Resources,
  name: string,
  facts: NodeFacts,
): Promise<void> {
  await resources.modify(calicoNodeStatusKind, name, undefined, (object) => ({
    ...object,
    status: nodeStatus(object.spec.classes ?? [], facts, new Date()),
  }));
}
