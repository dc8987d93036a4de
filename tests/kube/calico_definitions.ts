/**
 * CustomResourceDefinitions of group crd.projectcalico.org/v1 with the names, scopes, fields and defaults
 * of Calico v3.32.1's, and schemas that are our own: what a cluster of today drops is dropped in the tests
 * too. Those of kinds that people write come from the schemas of `mod/model`, turned into structural ones;
 * IPAM's records, which have no v3 form, are spelt out here. As in Calico's own definitions `deleted` of a
 * BlockAffinity is a string, and counters of blocks are 64 bits wide.
 */
import { toJsonSchema } from "@valibot/to-json-schema";
import { KINDS } from "../../mod/model/kinds.ts";
import { isMap } from "./object.ts";
import type { StructuralSchema } from "./schema.ts";

const GROUP = "crd.projectcalico.org";

/** Fields that may hold fractions; other numbers are whole. */
const FRACTIONS = new Set(["order"]);
/** Whole numbers that people may write as texts; they are stored as numbers. */
const WHOLE = new Set(["asNumber", "localASNumber", "istioDSCPMark"]);

/** From what the converter makes to what a definition may hold. */
export function structural(schema: any, field = ""): StructuralSchema {
  const branches = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(branches)) {
    const types = new Set(branches.map((b: any) => b.type));
    const texts = types.has("string") && (types.has("number") || types.has("integer"));
    if (texts && WHOLE.has(field)) return { type: "integer" };
    if (texts) return { "x-kubernetes-int-or-string": true };
    return { "x-kubernetes-preserve-unknown-fields": true };
  }
  const out: StructuralSchema = {};
  if (schema.nullable) out.nullable = true;
  if (Array.isArray(schema.enum)) {
    out.enum = schema.enum;
    out.type = typeof schema.enum[0] as "string" | "boolean";
    if (typeof schema.enum[0] === "number") out.type = "integer";
    return out;
  }
  switch (schema.type) {
    case undefined:
      return { "x-kubernetes-preserve-unknown-fields": true };
    case "number":
      return { ...out, type: FRACTIONS.has(field) ? "number" : "integer" };
    case "array":
      return { ...out, type: "array", items: structural(schema.items ?? {}, field) };
    case "object": {
      out.type = "object";
      if (isMap(schema.additionalProperties)) {
        out.additionalProperties = structural(schema.additionalProperties);
        return out;
      }
      out.properties = {};
      for (const [name, inner] of Object.entries(schema.properties ?? {})) {
        out.properties[name] = structural(inner, name);
      }
      if (schema.required?.length > 0) out.required = schema.required;
      return out;
    }
    default:
      return { ...out, type: schema.type };
  }
}

interface Definition {
  plural: string;
  kind: string;
  namespaced?: boolean;
  /** It is a resource of its own. */
  status?: boolean;
  properties: Record<string, StructuralSchema>;
}

function definition({ plural, kind, namespaced, properties, status }: Definition): object {
  const named = { type: "string" } as const;
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: { name: `${plural}.${GROUP}` },
    spec: {
      group: GROUP,
      names: { plural, singular: kind.toLowerCase(), kind, listKind: `${kind}List` },
      scope: namespaced ? "Namespaced" : "Cluster",
      versions: [{
        name: "v1",
        served: true,
        storage: true,
        ...(status && { subresources: { status: {} } }),
        schema: {
          openAPIV3Schema: {
            type: "object",
            properties: {
              apiVersion: named,
              kind: named,
              metadata: { type: "object" },
              ...properties,
            },
          },
        },
      }],
    },
  };
}

/** What `mod/model` knows of later versions, and the definitions of Calico 3.32 do not have. */
const LATER: Readonly<Record<string, readonly string[]>> = {
  felixconfigurations: [
    "bpfIPFragTimeout",
    "bpfIPFragmentReassemblyEnabled",
    "bpfOverlayHostSourceIP",
    "debugBPFCgroupV2",
    "iptablesLockFilePath",
    "iptablesLockTimeout",
    "localSubnetL2Reachability",
    "localSubnetL2ReachabilityRefreshInterval",
    "nftablesFlowTableDataIfacePattern",
    "nftablesFlowTableOffload",
  ].map((field) => `spec.${field}`),
  ippools: ["status"],
  kubecontrollersconfigurations: ["spec", "status.runningConfig"].flatMap((place) => [
    `${place}.controllers.migration`,
    `${place}.controllers.node.hostEndpoint.templates.[].annotations`,
  ]),
  tiers: ["status"],
};

/** What the server fills in where nothing is said. */
const DEFAULTS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  bgpconfigurations: {
    "spec.logSeverityScreen": "Info",
    "spec.nodeMeshPassword.secretKeyRef.name": "",
    "spec.serviceLoadBalancerAggregation": "Enabled",
  },
  bgppeers: { "spec.password.secretKeyRef.name": "" },
  felixconfigurations: { "spec.nftablesMode": "Auto" },
  globalnetworkpolicies: { "spec.tier": "default" },
  ippools: { "spec.assignmentMode": "Automatic" },
  kubecontrollersconfigurations: Object.fromEntries(
    ["spec", "status.runningConfig"].flatMap((place) => [
      [`${place}.controllers.loadBalancer.assignIPs`, "AllServices"],
      [`${place}.controllers.policyMigration.enabled`, "Enabled"],
      [`${place}.healthChecks`, "Enabled"],
    ]),
  ),
  networkpolicies: { "spec.tier": "default" },
  stagedglobalnetworkpolicies: { "spec.stagedAction": "Set", "spec.tier": "default" },
  stagedkubernetesnetworkpolicies: { "spec.stagedAction": "Set" },
  stagednetworkpolicies: { "spec.stagedAction": "Set", "spec.tier": "default" },
  tiers: { "spec.defaultAction": "Deny" },
};

/** Kinds whose status is a resource of its own. */
const STATUS = ["kubecontrollersconfigurations"];

/** The schema of a field; `[]` stands for the items of a list. */
function at(properties: Record<string, StructuralSchema>, path: readonly string[]) {
  let schema: StructuralSchema = { properties };
  for (const step of path) {
    const inner = step === "[]" ? schema.items : schema.properties?.[step];
    if (!inner) throw new Error(`there is no field ${path.join(".")}`);
    schema = inner;
  }
  return schema;
}

function forget(properties: Record<string, StructuralSchema>, path: readonly string[]): void {
  const last = path.at(-1)!;
  const { properties: fields } = at(properties, path.slice(0, -1));
  if (!fields?.[last]) throw new Error(`there is no field ${path.join(".")}`);
  delete fields[last];
}

function fromModel(): object[] {
  return KINDS.filter((kind) => kind.crd && kind.plural !== "ipamconfigurations").map((kind) => {
    const whole = toJsonSchema(kind.schema, {
      target: "openapi-3.0",
      errorMode: "ignore",
      typeMode: "input",
    }) as any;
    const properties: Record<string, StructuralSchema> = {};
    for (const field of ["spec", "status"]) {
      if (whole.properties[field]) properties[field] = structural(whole.properties[field], field);
    }
    const { plural, namespaced } = kind;
    for (const path of LATER[plural] ?? []) forget(properties, path.split("."));
    for (const [path, value] of Object.entries(DEFAULTS[plural] ?? {})) {
      at(properties, path.split(".")).default = value;
    }
    const status = STATUS.includes(plural);
    return definition({ plural, kind: kind.kind, namespaced, properties, status });
  });
}

const text: StructuralSchema = { type: "string" };
const bool: StructuralSchema = { type: "boolean" };
const whole: StructuralSchema = { type: "integer" };
const wide: StructuralSchema = { type: "integer", format: "int64" };
const texts: StructuralSchema = { type: "object", additionalProperties: text };
const list = (items: StructuralSchema): StructuralSchema => ({ type: "array", items });

const spec = (properties: Record<string, StructuralSchema>, required: string[]) => ({
  spec: { type: "object", properties, required } as StructuralSchema,
});

const IPAM: Definition[] = [
  {
    plural: "blockaffinities",
    kind: "BlockAffinity",
    properties: spec(
      { cidr: text, deleted: text, node: text, state: text, type: text },
      ["cidr", "deleted", "node", "state"],
    ),
  },
  {
    plural: "ipamblocks",
    kind: "IPAMBlock",
    properties: spec({
      affinity: text,
      affinityClaimTime: { type: "string", format: "date-time" },
      allocations: list({ type: "integer", nullable: true }),
      attributes: list({
        type: "object",
        properties: {
          handle_id: text,
          secondary: texts,
          alternateOwnerAttrs: texts,
        },
      }),
      cidr: text,
      deleted: bool,
      sequenceNumber: { ...wide, default: 0 },
      sequenceNumberForAllocation: { type: "object", additionalProperties: wide },
      strictAffinity: bool,
      unallocated: list(whole),
    }, ["allocations", "attributes", "cidr", "strictAffinity", "unallocated"]),
  },
  {
    plural: "ipamhandles",
    kind: "IPAMHandle",
    properties: spec({
      block: { type: "object", additionalProperties: whole },
      deleted: bool,
      handleID: text,
    }, ["block", "handleID"]),
  },
  {
    plural: "ipamconfigs",
    kind: "IPAMConfig",
    properties: spec({
      autoAllocateBlocks: bool,
      kubeVirtVMAddressPersistence: { type: "string", enum: ["Enabled", "Disabled"] },
      maxBlocksPerHost: { type: "integer", minimum: 0, maximum: 2 ** 31 - 1 },
      strictAffinity: bool,
    }, ["autoAllocateBlocks", "strictAffinity"]),
  },
];

/** What Calico v3.33's definitions of IPAM's records know beside these. */
const SINCE_333: Readonly<Record<string, (spec: StructuralSchema) => void>> = {
  ipamblocks({ properties }) {
    properties!.attributes.items!.properties!.releasedAt = { type: "string", format: "date-time" };
  },
  ipamconfigs({ properties }) {
    properties!.ipCooldownSeconds = { type: "integer", minimum: 0, maximum: 1200 };
  },
};

/** All kinds that Calico keeps in this group, by the definitions of a version. */
export function calicoDefinitions(version: "3.32" | "3.33" = "3.32"): object[] {
  const records = structuredClone(IPAM);
  for (const { plural, properties } of version === "3.33" ? records : []) {
    SINCE_333[plural]?.(properties.spec);
  }
  return [...fromModel(), ...records.map(definition)];
}

/** ClusterNetworkPolicy of the network policy API, which a cluster may have or not. */
export function clusterNetworkPolicyDefinition(): object {
  const open: StructuralSchema = {
    type: "object",
    "x-kubernetes-preserve-unknown-fields": true,
  };
  const rules: StructuralSchema = {
    type: "array",
    maxItems: 100,
    items: {
      type: "object",
      required: ["action"],
      properties: {
        name: { type: "string", maxLength: 100 },
        action: { type: "string", enum: ["Accept", "Deny", "Pass"] },
        from: list(open),
        to: list(open),
        protocols: list(open),
        ports: list(open),
      },
    },
  };
  return {
    apiVersion: "apiextensions.k8s.io/v1",
    kind: "CustomResourceDefinition",
    metadata: {
      name: "clusternetworkpolicies.policy.networking.k8s.io",
      annotations: { "api-approved.kubernetes.io": "made for tests" },
    },
    spec: {
      group: "policy.networking.k8s.io",
      names: {
        plural: "clusternetworkpolicies",
        kind: "ClusterNetworkPolicy",
        shortNames: ["cnp"],
      },
      scope: "Cluster",
      versions: [{
        name: "v1alpha2",
        served: true,
        storage: true,
        subresources: { status: {} },
        schema: {
          openAPIV3Schema: {
            type: "object",
            required: ["spec"],
            properties: {
              apiVersion: text,
              kind: text,
              metadata: { type: "object" },
              spec: {
                type: "object",
                required: ["priority", "subject", "tier"],
                properties: {
                  tier: { type: "string", enum: ["Admin", "Baseline"] },
                  priority: { type: "integer", format: "int32", minimum: 0, maximum: 1000 },
                  subject: open,
                  ingress: rules,
                  egress: rules,
                },
              },
              status: open,
            },
          },
        },
      }],
    },
  };
}
