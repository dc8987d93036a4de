/**
 * IPAMConfiguration `default`: IPAM's settings as a resource. It is stored as IPAM's own record
 * (`ipam_config.ts`), which has no metadata; `mod/store/resource_rules.ts` goes between the two.
 */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { integer, oneOf } from "./fields.ts";
import { MOST_COOLDOWN } from "./ipam_config.ts";
import { column, nameColumn } from "./columns.ts";
import { show } from "./show.ts";

const schema = objectSchema("IPAMConfiguration", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      strictAffinity: v.optional(v.boolean(), false),
      /** 0: the built-in limit of 20. */
      maxBlocksPerHost: v.optional(integer(0, 1_000_000, "int32"), 0),
      autoAllocateBlocks: v.optional(v.boolean(), true),
      kubeVirtVMAddressPersistence: v.optional(oneOf("Enabled", "Disabled")),
      ipCooldownSeconds: v.optional(integer(0, MOST_COOLDOWN)),
    }),
    {},
  ),
});

/** Of labels and annotations. */
export const NO_METADATA = "are not kept: IPAM's settings are stored as a record that has none";

export type IPAMConfiguration = v.InferOutput<typeof schema>;
export type IPAMConfigurationInput = v.InferInput<typeof schema>;

export const ipamConfigurationKind: Kind<IPAMConfiguration, IPAMConfigurationInput> = {
  kind: "IPAMConfiguration",
  apiVersion: "projectcalico.org/v3",
  plural: "ipamconfigurations",
  home: "calico",
  namespaced: false,
  names: ["ipamconfiguration", "ipamconfigurations", "ipamconfig", "ipamconfigs"],
  schema,
  columns: [
    nameColumn,
    column("STRICTAFFINITY", (c) => String(c.spec.strictAffinity)),
    column("AUTOALLOCATEBLOCKS", (c) => String(c.spec.autoAllocateBlocks)),
  ],
  wideColumns: [
    nameColumn,
    column("STRICTAFFINITY", (c) => String(c.spec.strictAffinity)),
    column("AUTOALLOCATEBLOCKS", (c) => String(c.spec.autoAllocateBlocks)),
    column("MAXBLOCKSPERHOST", (c) => String(c.spec.maxBlocksPerHost)),
  ],
  check({ metadata, spec }) {
    const issues: Issue[] = [];
    if (metadata.name !== "default") {
      issues.push({
        path: "metadata.name",
        message: `${show(metadata.name)} is not allowed: want default, the one of the cluster`,
      });
    }
    if (!spec.strictAffinity && !spec.autoAllocateBlocks) {
      issues.push({
        path: "spec.autoAllocateBlocks",
        message: "false is not allowed unless strictAffinity is true: no node would get a block",
      });
    }
    return issues;
  },
  remarks({ metadata }) {
    const fields = (["labels", "annotations"] as const)
      .filter((field) => Object.keys(metadata[field] ?? {}).length > 0);
    return fields.map((field) => ({ path: `metadata.${field}`, message: NO_METADATA }));
  },
  checkWrite: ({ spec }) =>
    spec.maxBlocksPerHost <= 0 || spec.strictAffinity ? [] : [{
      path: "spec.maxBlocksPerHost",
      message: `${spec.maxBlocksPerHost} needs strictAffinity: true`,
    }],
};
