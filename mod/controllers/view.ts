/**
 * The cluster as the controllers see it, kept by one watch over the store. Values are kept as they are
 * read; what cannot be understood is passed over, and named in `broken`.
 */
import { formatPrefix } from "../net/mod.ts";
import { affinityState } from "../ipam/affinities.ts";
import { readBlock } from "../ipam/block.ts";
import type { StoredBlock } from "../ipam/block_table.ts";
import { POD_KIND } from "../ipam/check/records.ts";
import { addressesOf, type Facts, isReadable, type Loose } from "../ipam/check/evidence.ts";
import { readSettings } from "../ipam/facts.ts";
import { type Pool, readPool } from "../ipam/pools.ts";
import {
  type Answer,
  isAnswered,
  parseNodeKey,
  type Question,
  readAnswer,
  readQuestion,
} from "../ipam/questions.ts";
import { lockReason } from "../model/cluster_information.ts";
import type { Kind } from "../model/kind.ts";
import {
  type KubeControllersConfiguration,
  kubeControllersConfigurationKind,
} from "../model/kube_controllers_configuration.ts";
import { kubernetesName, type Node, nodeKind } from "../model/node.ts";
import type { Resource } from "../model/resource.ts";
import { ModelError, readObject } from "../model/validate.ts";
import { parseWorkloadEndpointName } from "../model/workload_endpoint.ts";
import { type IpamConfig, readIpamConfig } from "../model/ipam_config.ts";
import {
  type AffinityOwner,
  handlePrefix,
  ipamConfigKey,
  parseAffinityKey,
  parseBlockKey,
  parseHandleKey,
  parseResourceKey,
  type ResourceKey,
  resourceKey,
} from "../model/keys.ts";
import type { Revision } from "../store/store.ts";
import { isDerivedPolicy, isDerivedProfile } from "./derive.ts";
import { Remains } from "./remains.ts";

export interface Stored<T = Loose> {
  readonly value: T;
  readonly revision: Revision;
}

/** With what it says, each value in its form; undefined where it cannot be read. */
export interface Read<T> extends Stored {
  readonly object?: T;
}

export interface AffinityFacts {
  readonly owner: AffinityOwner;
  readonly cidr: string;
  readonly state: string;
  readonly revision: Revision;
}

export class ClusterView implements Facts {
  /** By CIDR. */
  readonly blocks = new Map<string, StoredBlock>();
  /** By key. */
  readonly affinities = new Map<string, AffinityFacts>();
  /** By id. */
  readonly handles = new Map<string, Stored>();
  readonly nodes = new Map<string, Read<Node>>();
  readonly hostEndpoints = new Map<string, Stored>();
  readonly pools = new Map<string, Pool>();
  /** By key. */
  readonly endpoints = new Map<string, Loose>();
  /** Copies of what a Kubernetes cluster has (`derive.ts`): by name, and by `namespace/name`. */
  readonly profiles = new Map<string, Loose>();
  readonly policies = new Map<string, Loose>();
  readonly questions = new Map<string, Stored<Question>>();
  readonly answers = new Map<string, Answer>();
  readonly remains = new Remains();
  readonly broken = new Map<string, string>();
  ipamConfig: IpamConfig = readIpamConfig(undefined);
  /** KubeControllersConfiguration `default`. */
  configuration: Read<KubeControllersConfiguration> | undefined;
  /** ClusterInformation's datastoreReady, which must be true where there is one. */
  ready = true;
  readonly #pods = new Map<string, Loose>();
  readonly #live = new Set<string>();
  /** Keys of endpoints by address. */
  readonly #byAddress = new Map<string, Set<string>>();
  /** Keys of endpoints that do not say which addresses they have. */
  readonly unreadable = new Set<string>();

  /** Takes one change; undefined: the key is gone. Whether it concerns us. */
  apply(key: string, value: unknown, revision: Revision): boolean {
    this.broken.delete(key);
    try {
      const resource = parseResourceKey(key);
      return resource
        ? this.#resource(key, resource, value, revision)
        : this.#record(key, value, revision);
    } catch (error) {
      this.broken.set(key, (error as Error).message);
      return true;
    }
  }

  #resource(
    key: string,
    { home, plural, name, namespace }: ResourceKey,
    value: Loose,
    revision: Revision,
  ): boolean {
    const into = (map: Map<string, Stored>, id: string) => {
      if (value === undefined) map.delete(id);
      else map.set(id, { value, revision });
      return true;
    };
    if (home === "kubernetes") {
      if (plural !== "pods") return false;
      if (value === undefined) this.#pods.delete(`${namespace}/${name}`);
      else this.#pods.set(`${namespace}/${name}`, value);
      return true;
    }
    switch (plural) {
      case "nodes":
        if (value === undefined) this.nodes.delete(name);
        else this.nodes.set(name, this.#read(key, nodeKind, value, revision));
        return true;
      case "ippools": {
        const pool = value === undefined ? undefined : readPool(value);
        if (pool) this.pools.set(name, pool);
        else this.pools.delete(name);
        return true;
      }
      case "hostendpoints":
        return into(this.hostEndpoints, name);
      case "workloadendpoints":
        this.#endpoint(key, value);
        return true;
      case "profiles":
        return isDerivedProfile(name) && set(this.profiles, name, value);
      case "networkpolicies":
        return isDerivedPolicy(name) && set(this.policies, `${namespace}/${name}`, value);
      case "kubecontrollersconfigurations":
        if (name === "default") {
          this.configuration = value === undefined
            ? undefined
            : this.#read(key, kubeControllersConfigurationKind, value, revision);
        }
        return true;
      case "clusterinformations":
        // That it is gone says nothing: a lock that was seen stays.
        if (name === "default" && value !== undefined) this.ready = !lockReason(value);
        return true;
      default:
        return false;
    }
  }

  #read<T extends Resource>(
    key: string,
    kind: Kind<T, any>,
    value: unknown,
    revision: Revision,
  ): Read<T> {
    try {
      return { value, revision, object: readObject(kind, value) };
    } catch (error) {
      if (!(error instanceof ModelError)) throw error;
      this.broken.set(key, error.message);
      return { value, revision };
    }
  }

  #record(key: string, value: Loose, revision: Revision): boolean {
    const prefix = parseBlockKey(key);
    if (prefix) {
      const cidr = formatPrefix(prefix);
      this.blocks.delete(cidr);
      if (value !== undefined) {
        this.blocks.set(cidr, { prefix, block: readBlock(value, prefix), revision });
      }
      return true;
    }
    const affinity = parseAffinityKey(key);
    if (affinity) {
      if (value === undefined) this.affinities.delete(key);
      else {
        this.affinities.set(key, {
          owner: affinity.owner,
          cidr: formatPrefix(affinity.block),
          // An empty value is the oldest form, and means confirmed.
          state: (affinityState(value) ?? "damaged") || "confirmed",
          revision,
        });
      }
      return true;
    }
    if (key.startsWith(handlePrefix)) {
      const id = parseHandleKey(key)!;
      if (value === undefined) this.handles.delete(id);
      else this.handles.set(id, { value, revision });
      return true;
    }
    if (key === ipamConfigKey) {
      this.ipamConfig = readSettings(value).config;
      return true;
    }
    const isNews = this.remains.take(key, value !== undefined);
    const asked = parseNodeKey(key);
    if (asked) return this.#word(asked.node, asked.is, value, revision);
    const live = /^\/calico\/felix\/v2\/[^/]+\/host\/([^/]+)\/status$/.exec(key)?.[1];
    if (live === undefined) return isNews;
    const had = this.#live.has(live);
    if (value === undefined) this.#live.delete(live);
    else this.#live.add(live);
    // Renewed twice a minute by every node: only that it comes and goes is news.
    return had !== this.#live.has(live);
  }

  #word(node: string, is: "question" | "answer", value: Loose, revision: Revision): boolean {
    const map: Map<string, unknown> = is === "question" ? this.questions : this.answers;
    if (value === undefined) map.delete(node);
    else {map.set(
        node,
        is === "question" ? { value: readQuestion(value), revision } : readAnswer(value),
      );}
    return true;
  }

  #endpoint(key: string, value: Loose): void {
    for (const address of addressesOf(this.endpoints.get(key))) {
      const keys = this.#byAddress.get(address);
      keys?.delete(key);
      if (keys?.size === 0) this.#byAddress.delete(address);
    }
    this.endpoints.delete(key);
    this.unreadable.delete(key);
    if (value === undefined) return;
    this.endpoints.set(key, value);
    if (!isReadable(value)) this.unreadable.add(key);
    for (const address of addressesOf(value)) {
      if (!this.#byAddress.has(address)) this.#byAddress.set(address, new Set());
      this.#byAddress.get(address)!.add(key);
    }
  }

  endpointsOf(address: string): Loose[] {
    return [...this.#byAddress.get(address) ?? []].map((key) => this.endpoints.get(key));
  }

  pod(namespace: string, name: string): Loose | undefined {
    if (this.broken.has(resourceKey(POD_KIND, name, namespace))) return null;
    return this.#pods.get(`${namespace}/${name}`);
  }

  /** What stands under the key cannot be read; that it is gone was told before. */
  tellBroken(key: string, reason: string): void {
    this.broken.set(key, reason);
    const at = parseResourceKey(key);
    if (at?.plural === "clusterinformations" && at.name === "default") this.ready = false;
    if (at?.plural === "workloadendpoints") this.unreadable.add(key);
  }

  /**
   * An endpoint that cannot be read and whose name does not say whose it is, so that it may have any
   * address: its key.
   */
  get unreadableUser(): string | undefined {
    return [...this.broken.keys()].find((key) => {
      const at = parseResourceKey(key);
      return at?.plural === "workloadendpoints" && !parseWorkloadEndpointName(at.name);
    });
  }

  /** One that cannot be read is there. */
  hasNode(name: string): boolean {
    return this.nodes.has(name) || this.broken.has(resourceKey(nodeKind, name));
  }

  /** The name that Pods have for a node. */
  kubernetesNode(name: string): string | undefined {
    return kubernetesName(this.nodes.get(name)?.value);
  }

  /** The agent's status stands, where the datastore keeps one. */
  hasStatus(node: string): boolean {
    return this.#live.has(node);
  }

  isLive(node: string): boolean {
    return this.hasStatus(node) || isAnswered(this.questions.get(node), this.answers.get(node));
  }

  /** How many pods it knows of. */
  get podCount(): number {
    return this.#pods.size;
  }
}

function set(map: Map<string, Loose>, id: string, value: Loose): true {
  if (value === undefined) map.delete(id);
  else map.set(id, value);
  return true;
}
