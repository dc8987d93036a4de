/** All sources, and which of them a key or a prefix concerns. */
import { clusterInformationKind } from "../../model/cluster_information.ts";
import { affinitiesPrefix } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import type { Narrowing } from "./api.ts";
import { crdSource } from "./crd.ts";
import { ipamSources } from "./ipam.ts";
import { leaseSource } from "./lease.ts";
import { nativeSources } from "./native.ts";
import { nodeSource } from "./node.ts";
import { podSource } from "./pod.ts";
import { withSoundMetadata } from "./sound_metadata.ts";
import type { Source } from "./source.ts";
import { wordSource } from "./words.ts";

/** Calico's kinds that are no custom resources of their own name here. */
const ELSEWHERE = new Set(["nodes", "profiles", "workloadendpoints", "ipamconfigurations"]);

export interface SourceOptions {
  readonly interfacePrefix?: string;
  readonly usePodCidr?: boolean;
}

export interface Sources {
  readonly all: readonly Source[];
  /** A kind with few objects: the cheapest list that tells the revision. */
  readonly cheapest: Source;
}

export function makeSources(options: SourceOptions = {}): Sources {
  const crds = KINDS.filter((kind) => kind.home === "calico" && !ELSEWHERE.has(kind.plural));
  const cheapest = withSoundMetadata(crdSource(clusterInformationKind));
  return {
    cheapest,
    all: [
      cheapest,
      ...ipamSources(),
      ...[
        ...crds.filter((kind) => kind !== clusterInformationKind).map(crdSource),
        nodeSource({ usePodCidr: options.usePodCidr }),
        ...nativeSources,
        podSource(options.interfacePrefix ?? "cali"),
      ].map(withSoundMetadata),
      leaseSource,
      wordSource,
    ],
  };
}

/** The source of a key; undefined for a key that no object can stand for. */
export function sourceOf(sources: Sources, key: string): Source | undefined {
  return sources.all.find(({ prefixes }) => prefixes.some((prefix) => key.startsWith(prefix)));
}

/** A source that may have keys with a prefix, and where they are. */
export interface Part {
  readonly source: Source;
  readonly narrowings: readonly Narrowing[];
}

export function partsOf(sources: Sources, prefix: string): Part[] {
  return sources.all.flatMap((source) => {
    const concerned = source.prefixes.some((own) =>
      (own.startsWith(prefix) && !source.apart) || prefix.startsWith(own)
    );
    const narrowings = concerned ? source.narrow(prefix) : [];
    return narrowings.length > 0 ? [{ source, narrowings }] : [];
  });
}

/**
 * What Calico writes to etcd and not to Kubernetes: the statuses of agents and endpoints, and the
 * markers of hosts. Written, they are forgotten; read, they are not there.
 */
export function isForgotten(key: string): boolean {
  return key.startsWith("/calico/felix/") ||
    (key.startsWith(affinitiesPrefix) && !key.slice(affinitiesPrefix.length).includes("/"));
}
