/**
 * What some kinds need beyond their schema when they are stored: a look at other objects (pools that
 * overlap, blocks of another size, tiers in use), forms that differ in storage (policies carry their
 * tier as a label and their name in an annotation), and work before a deletion. A table by kind; the
 * general way of storing is in `resources.ts`; pools and nodes have files of their own. The rules are
 * those of Calico's clientv3.
 */
import { bgpFilterKind } from "../model/bgp_filter.ts";
import { type BGPPeer, bgpPeerKind } from "../model/bgp_peer.ts";
import {
  readIpamConfig,
  type StoredIpamConfig,
  storedIpamConfig,
  strangeSettings,
} from "../model/ipam_config.ts";
import {
  type IPAMConfiguration,
  ipamConfigurationKind,
  NO_METADATA,
} from "../model/ipam_configuration.ts";
import { ippoolKind } from "../model/ippool.ts";
import { ipamConfigKey } from "../model/keys.ts";
import type { Issue } from "../model/kind.ts";
import type { AnyKind } from "../model/kinds.ts";
import {
  globalNetworkPolicyKind,
  type NetworkPolicy,
  networkPolicyKind,
} from "../model/network_policy.ts";
import { nodeKind } from "../model/node.ts";
import { DEFAULT_ALLOW_PROFILE, type Profile, profileKind } from "../model/profile.ts";
import type { Resource } from "../model/resource.ts";
import { stagedGlobalNetworkPolicyKind, stagedNetworkPolicyKind } from "../model/staged_policy.ts";
import { BUILT_IN_TIERS, tierKind } from "../model/tier.ts";
import { readObject } from "../model/validate.ts";
import type { Damaged } from "./damaged.ts";
import { nodeRules } from "./node_rules.ts";
import { poolRules } from "./pool_rules.ts";
import { ResourceError, resourceName } from "./resource_error.ts";
import type { Resources, WriteMode } from "./resources.ts";

export interface StoreRules<T extends Resource = any> {
  /** The one object of the kind is a record of another form, under this key. */
  record?: {
    readonly key: string;
    write(object: T): unknown;
    read(value: any): unknown;
  };
  /** Objects that are there without being stored, and cannot be written. */
  builtIn?: readonly T[];
  /** Faults beside what is stored; `old` where the object replaces one. */
  check?(resources: Resources, object: T, old: T | undefined, mode: WriteMode): Promise<Issue[]>;
  /** Throws where it must not be deleted; does what has to be done first; says the revision to delete. */
  beforeDelete?(resources: Resources, object: T, mode: WriteMode): Promise<T>;
  /** The same for one that cannot be read; `object` has a name and nothing else. */
  beforeDeleteDamaged?(resources: Resources, object: T, damaged: Damaged): Promise<unknown>;
  /** What a deletion that was cut off has left, of the object as it was last known, and what helps. */
  cutOff?(object: T): string;
  /** On a copy, before it is encoded. */
  toStorage?(object: T): void;
  /** On an object just read. */
  fromStorage?(object: T): void;
}

/** Annotation under which Calico keeps a policy's own name, whatever the key says. */
export const METADATA_ANNOTATION = "projectcalico.org/metadata";
export const LABEL_TIER = "projectcalico.org/tier";

const policyRules: StoreRules<NetworkPolicy> = {
  async check(resources, policy, old) {
    if (old || await resources.get(tierKind, policy.spec.tier)) return [];
    return [{
      path: "spec.tier",
      message: `tier "${policy.spec.tier}" does not exist; create the Tier first`,
    }];
  },
  toStorage(policy) {
    policy.metadata.labels = { ...policy.metadata.labels, [LABEL_TIER]: policy.spec.tier };
    policy.metadata.annotations = {
      ...policy.metadata.annotations,
      [METADATA_ANNOTATION]: JSON.stringify({ name: policy.metadata.name }),
    };
  },
  fromStorage(policy) {
    const { metadata } = policy;
    const { [METADATA_ANNOTATION]: stored, ...annotations } = metadata.annotations ?? {};
    metadata.name = nameInAnnotation(stored) ??
      (policy.spec.tier === "default" && metadata.name.startsWith("default.")
        ? metadata.name.slice("default.".length)
        : metadata.name);
    if (Object.keys(annotations).length > 0) metadata.annotations = annotations;
    else delete metadata.annotations;
    metadata.labels = { ...metadata.labels, [LABEL_TIER]: policy.spec.tier };
  },
};

function nameInAnnotation(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    const name = JSON.parse(text)?.name;
    return typeof name === "string" && name !== "" ? name : undefined;
  } catch {
    return undefined;
  }
}

/** Kinds of policies that stand in a tier. */
const TIERED: readonly AnyKind[] = [
  networkPolicyKind,
  globalNetworkPolicyKind,
  stagedNetworkPolicyKind,
  stagedGlobalNetworkPolicyKind,
];

/** Whether Calico before 3.32 may have stored the object under `default.<name>`. */
export function hasPrefixedKey(kind: AnyKind): boolean {
  return TIERED.includes(kind);
}

const tierRules: StoreRules = {
  // Its name is all that is looked at.
  beforeDeleteDamaged: (resources, tier) => tierRules.beforeDelete!(resources, tier, {}),
  async beforeDelete(resources, tier) {
    const name = tier.metadata.name;
    const resource = resourceName("Tier", name);
    if (Object.hasOwn(BUILT_IN_TIERS, name)) {
      throw new ResourceError("refused", resource, `${resource} is built in and cannot be deleted`);
    }
    for (const kind of TIERED) {
      const policy = (await resources.list(kind)).items.find((p: any) => p.spec.tier === name);
      if (policy) {
        throw new ResourceError(
          "refused",
          resource,
          `${resource} is not empty: it holds ${
            resourceName(kind.kind, policy.metadata.name, policy.metadata.namespace)
          }; delete its policies first`,
        );
      }
    }
    return tier;
  },
};

const ipamConfigurationRules: StoreRules<IPAMConfiguration> = {
  record: {
    key: ipamConfigKey,
    write: ({ spec }) => ({
      ...strangeSettings(spec),
      ...storedIpamConfig({ ...readIpamConfig(undefined), ...spec }),
    }),
    read: (stored: StoredIpamConfig) => ({
      metadata: { name: "default" },
      spec: { ...strangeSettings(stored), ...readIpamConfig(stored) },
    }),
  },
  // Who changes these alone must not hear that it was done; a file's are passed over with a warning.
  check: (_resources, { metadata }, _old, { changed }) =>
    Promise.resolve(
      (["labels", "annotations"] as const)
        .filter((field) => changed && Object.keys(metadata[field] ?? {}).length > 0)
        .map((field) => ({ path: `metadata.${field}`, message: NO_METADATA })),
    ),
};

const profileRules: StoreRules<Profile> = {
  builtIn: [readObject(profileKind, {
    metadata: { name: DEFAULT_ALLOW_PROFILE, resourceVersion: "0" },
    spec: { ingress: [{ action: "Allow" }], egress: [{ action: "Allow" }] },
  })],
};

const peerRules: StoreRules<BGPPeer> = {
  async check(resources, { spec }) {
    if (!spec.filters?.length) return [];
    const { items } = await resources.list(bgpFilterKind);
    const missing = spec.filters.filter((name) => !items.some((f) => f.metadata.name === name));
    return missing.map((name) => ({
      path: "spec.filters",
      message: `BGPFilter "${name}" does not exist; create it first`,
    }));
  },
};

export const STORE_RULES: ReadonlyMap<AnyKind, StoreRules> = new Map<AnyKind, StoreRules>([
  [networkPolicyKind, policyRules],
  [globalNetworkPolicyKind, policyRules],
  [stagedNetworkPolicyKind, policyRules],
  [stagedGlobalNetworkPolicyKind, policyRules],
  [ippoolKind, poolRules],
  [ipamConfigurationKind, ipamConfigurationRules],
  [tierKind, tierRules],
  [profileKind, profileRules],
  [bgpPeerKind, peerRules],
  [nodeKind, nodeRules],
]);
