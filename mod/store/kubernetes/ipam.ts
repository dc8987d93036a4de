/**
 * IPAM's records in custom resources: the same facts as in etcd, under Kubernetes names and in
 * camelCase. Deletion takes two steps, since readers hold revisions and not only names: the record is
 * marked (`deleted`, a compare-and-swap: from here on it is gone), then the object is deleted. Whoever
 * meets a marked one clears it away. In this version of the CRDs an affinity's mark is the text "true".
 *
 * An object is found by its name, which follows from what it is of. One of another name, whatever its spec
 * says, stands for nothing: it would be listed and never read or written.
 *
 * The API server drops without a word what a definition does not know. Calico v3.32's lack two members that
 * we write: `releasedAt` of a block's attributes, beside which stands another mark (`mod/ipam/cooling.ts`),
 * and `ipCooldownSeconds` of the configuration, which then stands in an annotation of the object (`Spare`):
 * where the answer to a write shows that it was dropped, a second write adds it, and between the two the
 * setting does not count. Where the definition has the field, as v3.33's does, there is no annotation.
 */
import { formatPrefix, parsePrefix, type Prefix } from "../../net/mod.ts";
import {
  affinitiesPrefix,
  affinityKey,
  type AffinityOwner,
  blockKey,
  blockPrefix,
  handleKey,
  handlePrefix,
  IPAM_PREFIX,
  ipamConfigKey,
  parseAffinityKey,
  parseBlockKey,
  parseHandleKey,
} from "../../model/keys.ts";
import type { AllocationBlock } from "../../model/ipam_block.ts";
import type { BlockAffinity } from "../../model/block_affinity.ts";
import {
  MOST_COOLDOWN,
  readIpamConfig,
  type StoredIpamConfig,
  storedIpamConfig,
  strangeSettings,
} from "../../model/ipam_config.ts";
import type { IpamHandle } from "../../model/ipam_handle.ts";
import { StoreError } from "../store.ts";
import type { Fields, KubeObject, KubeResource, KubernetesApi } from "./api.ts";
import { ApiError } from "./failure.ts";
import { METADATA_ANNOTATION } from "./metadata.ts";
import { affinityName, cidrName, cidrOfName, hostnameHash } from "./names.ts";
import { type Marks, Others } from "./others.ts";
import { removeObject } from "./removal.ts";
import { type Place, type Reading, revisionOf, type Source } from "./source.ts";

const LABEL_HASH = "projectcalico.org/hostname-hash";
const LABEL_TYPE = "projectcalico.org/affinity-type";
const LABEL_VERSION = "projectcalico.org/ip-version";
const VIRTUAL: AffinityOwner = { type: "virtual", name: "load-balancer" };
const virtualPrefix = `${IPAM_PREFIX}virtual/`;

function resource(plural: string, kind: string, exact = false): KubeResource {
  return { group: "crd.projectcalico.org", version: "v1", plural, kind, namespaced: false, exact };
}

function body(
  { kind }: KubeResource,
  name: string,
  spec: Fields,
  labels?: Record<string, string>,
  replaced?: { readonly resourceVersion: string; readonly marks: Marks },
): KubeObject {
  const { resourceVersion, marks = {} } = replaced ?? {};
  return {
    apiVersion: "crd.projectcalico.org/v1",
    kind,
    metadata: {
      ...marks,
      name,
      ...(resourceVersion && { resourceVersion }),
      ...(labels && { labels: { ...marks.labels, ...labels } }),
      annotations: {
        ...marks.annotations,
        [METADATA_ANNOTATION]: JSON.stringify({
          creationTimestamp: null,
          ...(labels && { labels }),
        }),
      },
    },
    spec,
  };
}

/** An annotation for what a definition may not know of a spec. */
interface Spare {
  readonly annotation: string;
  /** What was written, and is not in the server's answer; undefined where nothing is missing. */
  text(written: Fields, answered: Fields): string | undefined;
}

interface Form {
  readonly resource: KubeResource;
  readonly prefixes: readonly string[];
  readonly narrow?: Source["narrow"];
  locate(key: string): Place | undefined;
  read(spec: Fields, object: KubeObject): Reading | undefined;
  write(key: string, value: any): { spec: Fields; labels?: Record<string, string> };
  /** The key that an object of a name would have, where that can be told and is not the name itself. */
  keyOf?(name: string): string | undefined;
  /** The mark's form; without it, deletion is in one step. */
  readonly mark?: true | "true";
  readonly spare?: Spare;
}

/** The annotations with this one as it should be; no text: without it. */
function withAnnotation(
  annotations: Readonly<Record<string, string>>,
  name: string,
  text: string | undefined,
): Record<string, string> {
  const { [name]: _, ...others } = annotations;
  return text === undefined ? others : { ...others, [name]: text };
}

function ipamSource(form: Form): Source {
  const { resource, mark, spare } = form;
  const others = new Others(resource);
  const isMarked = (object: KubeObject) =>
    object.spec?.deleted === true || object.spec?.deleted === "true";
  const clear = async (api: KubernetesApi, object: KubeObject) => {
    const { name, uid, resourceVersion } = object.metadata;
    try {
      await api.remove(resource, name, undefined, { uid, resourceVersion });
    } catch (error) {
      // Somebody else was quicker.
      if (!(error instanceof ApiError && (error.status === 404 || error.status === 409))) {
        throw error;
      }
    }
  };
  const toBody = (
    key: string,
    at: Place,
    value: unknown,
    replaced?: { readonly resourceVersion: string; readonly marks: Marks },
  ) => {
    if (typeof value !== "object" || value === null) {
      throw new StoreError("invalid", `${key}: the Kubernetes datastore holds objects`, key);
    }
    const { spec, labels } = form.write(key, value);
    const present = replaced?.marks.annotations ?? {};
    if (!spare || !replaced || !Object.hasOwn(present, spare.annotation)) {
      return body(resource, at.name, spec, labels, replaced);
    }
    // What was dropped of the last spec will be of this one: one write for both.
    const annotations = withAnnotation(present, spare.annotation, spare.text(spec, {}));
    return body(resource, at.name, spec, labels, {
      ...replaced,
      marks: { ...replaced.marks, annotations },
    });
  };
  /** The answer to a write, with the annotation that holds what it lacks. */
  const whole = async (api: KubernetesApi, written: KubeObject, answer: KubeObject) => {
    if (!spare) return answer;
    const { annotations = {} } = answer.metadata;
    const text = spare.text(written.spec, answer.spec ?? {});
    if (annotations[spare.annotation] === text) return answer;
    const metadata = {
      ...answer.metadata,
      annotations: withAnnotation(annotations, spare.annotation, text),
    };
    return await api.replace(resource, { ...answer, metadata });
  };
  const noted = (object: KubeObject) => {
    others.note(object);
    return revisionOf(object);
  };
  /** The name that the object should have by its spec, where that is another. */
  const otherName = (object: KubeObject, { key }: Reading) => {
    const name = form.locate(key)?.name;
    return name === object.metadata.name ? undefined : name;
  };
  return {
    resource,
    prefixes: form.prefixes,
    narrow: form.narrow ?? (() => [{}]),
    locate: form.locate,
    read(object) {
      const reading = form.read(object.spec ?? {}, object);
      if (!reading || otherName(object, reading) !== undefined) return [];
      others.note(object);
      return [mark && isMarked(object) ? { key: reading.key, value: undefined } : reading];
    },
    ...(mark && {
      isMarked,
      clear,
      strange(object: KubeObject) {
        const { name } = object.metadata;
        const reading = form.read(object.spec ?? {}, object);
        const other = reading && otherName(object, reading);
        const what = `${resource.kind} ${name}`;
        const key = form.keyOf?.(name) ?? form.prefixes[0] + name;
        return [
          other === undefined
            ? { key, reason: `${what} is half-written: its spec does not say of what it is` }
            : {
              key,
              reason: `${what} says that it is what ${other} is the name of`,
              speaksOf: reading!.key,
            },
        ];
      },
    }),
    write: {
      async create(api, key, at, value) {
        const written = toBody(key, at, value);
        return noted(await whole(api, written, await api.create(resource, written)));
      },
      async update(api, key, at, value, resourceVersion) {
        const marks = await others.at(api, at.name, resourceVersion);
        const written = toBody(key, at, value, { resourceVersion, marks });
        return noted(await whole(api, written, await api.replace(resource, written)));
      },
      async remove(api, _key, object) {
        if (!mark) return await removeObject(api, resource, object);
        const { name, resourceVersion } = object.metadata;
        try {
          const marked = await api.patch(resource, name, undefined, {
            metadata: { resourceVersion },
            spec: { deleted: mark },
          });
          await clear(api, marked);
          return revisionOf(marked);
        } catch (error) {
          // Half-written, past the schema, it takes no mark, and nobody reads it.
          if (!(error instanceof ApiError && error.status === 422)) throw error;
          const { uid } = (await api.get(resource, name))?.metadata ?? {};
          return await removeObject(api, resource, { metadata: { name, uid, resourceVersion } });
        }
      },
    },
  };
}

const BLOCKS: Form = {
  resource: { ...resource("ipamblocks", "IPAMBlock", true), page: 250 },
  prefixes: [blockPrefix(4), blockPrefix(6)],
  locate(key) {
    const block = parseBlockKey(key);
    return block && { name: cidrName(block) };
  },
  read(spec) {
    const cidr = cidrOf(spec);
    return cidr && { key: blockKey(cidr), value: readBlock(spec) };
  },
  write: (_key, block) => ({ spec: writeBlock(block) }),
  keyOf(name) {
    const block = cidrOfName(name);
    return block && blockKey(block);
  },
  mark: true,
};

/** As etcd holds it, members in Calico's order. */
export function readBlock(spec: Fields): AllocationBlock {
  const {
    cidr,
    affinity,
    affinityClaimTime,
    allocations,
    unallocated,
    attributes,
    sequenceNumber,
    sequenceNumberForAllocation,
    deleted,
    strictAffinity: _always,
    ...others
  } = spec;
  return {
    cidr,
    affinity: affinity ?? null,
    ...(affinityClaimTime && { affinity_claim_time: affinityClaimTime }),
    allocations: allocations ?? [],
    unallocated: unallocated ?? [],
    attributes: attributes ?? [],
    sequenceNumber: sequenceNumber ?? 0,
    sequenceNumberForAllocation: sequenceNumberForAllocation ?? {},
    deleted: deleted ?? false,
    ...others,
  };
}

export function writeBlock(block: AllocationBlock): Fields {
  const { affinity, affinity_claim_time, hostAffinity, ...others } = block;
  const owner = affinity ?? (hostAffinity ? `host:${hostAffinity}` : undefined);
  return {
    ...others,
    ...(owner && { affinity: owner }),
    ...(affinity_claim_time && { affinityClaimTime: affinity_claim_time }),
    deleted: block.deleted ?? false,
    // Older CRDs want it.
    strictAffinity: false,
  };
}

const AFFINITIES: Form = {
  resource: resource("blockaffinities", "BlockAffinity"),
  prefixes: [affinitiesPrefix, virtualPrefix],
  narrow: narrowAffinities,
  locate(key) {
    const parsed = parseAffinityKey(key);
    return parsed && { name: affinityName(parsed.owner.name, parsed.block) };
  },
  read(spec) {
    const cidr = cidrOf(spec);
    if (!cidr || typeof spec.node !== "string" || spec.node === "") return undefined;
    const owner: AffinityOwner = spec.type === "virtual"
      ? VIRTUAL
      : { type: "host", name: spec.node };
    const value: BlockAffinity = { state: spec.state ?? "", deleted: false };
    return { key: affinityKey(owner, cidr), value };
  },
  write(key, value: BlockAffinity) {
    const { owner, block } = parseAffinityKey(key)!;
    return {
      spec: {
        cidr: formatPrefix(block),
        deleted: String(value.deleted ?? false),
        node: owner.name,
        state: value.state,
        type: owner.type,
      },
      labels: {
        [LABEL_TYPE]: owner.type,
        [LABEL_HASH]: hostnameHash(owner.name),
        [LABEL_VERSION]: String(block.ip.family),
      },
    };
  },
  mark: "true",
};

/**
 * One owner's affinities bear its hash as a label; those that versions before v3.31 wrote bear none,
 * and are looked through one by one.
 */
function narrowAffinities(prefix: string) {
  const match = /^\/calico\/ipam\/v2\/(?:host|virtual)\/([^/]+)\/(?:ipv([46])\/)?/.exec(prefix);
  if (!match) return [{}];
  const [, owner, family] = match;
  const version = family ? `,${LABEL_VERSION}=${family}` : "";
  return [
    { labelSelector: `${LABEL_HASH}=${hostnameHash(owner)}${version}` },
    { labelSelector: `!${LABEL_HASH}` },
  ];
}

const HANDLES: Form = {
  resource: resource("ipamhandles", "IPAMHandle"),
  prefixes: [handlePrefix],
  locate(key) {
    const id = parseHandleKey(key);
    return id === undefined ? undefined : { name: id.toLowerCase() };
  },
  read(spec, object) {
    const id = spec.handleID || object.metadata.name;
    // Without its counts it is half-written, and must not look as if it had counted to nothing.
    const value = { ...(spec.block !== undefined && { block: spec.block }), deleted: false };
    return { key: handleKey(id), value };
  },
  write: (key, value: IpamHandle) => ({
    spec: {
      block: value.block ?? {},
      deleted: value.deleted ?? false,
      handleID: parseHandleKey(key)!,
    },
  }),
  mark: true,
};

/** The seconds as digits. Whoever writes the object as Calico does, `calicoctl ipam configure`, drops it. */
const COOLDOWN_ANNOTATION = "tortie.projectcalico.org/ip-cooldown-seconds";

const CONFIG: Form = {
  resource: resource("ipamconfigs", "IPAMConfig"),
  prefixes: [ipamConfigKey],
  locate: (key) => key === ipamConfigKey ? { name: "default" } : undefined,
  read(spec, object) {
    if (object.metadata.name !== "default") return undefined;
    const text = object.metadata.annotations?.[COOLDOWN_ANNOTATION] ?? "";
    const seconds = /^\d{1,4}$/.test(text) ? Number(text) : Infinity;
    const dropped = seconds <= MOST_COOLDOWN && { ipCooldownSeconds: seconds };
    return { key: ipamConfigKey, value: readConfig({ ...dropped, ...spec }) };
  },
  write: (_key, value: StoredIpamConfig) => ({ spec: writeConfig(value) }),
  spare: {
    annotation: COOLDOWN_ANNOTATION,
    text: ({ ipCooldownSeconds: written }, { ipCooldownSeconds: answered }) =>
      written && answered === undefined ? String(written) : undefined,
  },
};

/** Of one opened store: they remember what its objects bear beside what we write. */
export function ipamSources(): readonly Source[] {
  return [CONFIG, BLOCKS, AFFINITIES, HANDLES].map(ipamSource);
}

export function readConfig(spec: Fields): StoredIpamConfig {
  const known = storedIpamConfig({
    ...readIpamConfig(undefined),
    strictAffinity: spec.strictAffinity ?? false,
    autoAllocateBlocks: spec.autoAllocateBlocks ?? false,
    maxBlocksPerHost: spec.maxBlocksPerHost ?? 0,
    ...(spec.kubeVirtVMAddressPersistence &&
      { kubeVirtVMAddressPersistence: spec.kubeVirtVMAddressPersistence }),
    ipCooldownSeconds: spec.ipCooldownSeconds ?? 0,
  });
  return { ...strangeSettings(spec), ...known };
}

export function writeConfig(stored: StoredIpamConfig): Fields {
  const config = readIpamConfig(stored);
  return {
    ...strangeSettings(stored),
    autoAllocateBlocks: config.autoAllocateBlocks,
    kubeVirtVMAddressPersistence: config.kubeVirtVMAddressPersistence,
    ...(config.maxBlocksPerHost !== 0 && { maxBlocksPerHost: config.maxBlocksPerHost }),
    ...(config.ipCooldownSeconds !== 0 && { ipCooldownSeconds: config.ipCooldownSeconds }),
    strictAffinity: config.strictAffinity,
  };
}

/** Masked, as the keys are; undefined for what is none. */
function cidrOf(spec: Fields): Prefix | undefined {
  return typeof spec.cidr === "string" ? parsePrefix(spec.cidr) : undefined;
}
