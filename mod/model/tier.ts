/**
 * Tier: policies in groups that are judged one after the other. Calico's client writes the order of the
 * default tier where a user gives none (libcalico-go/lib/resources/tier.go), and lists show it of a
 * stored one without, as Kubernetes' datastore does to all readers. Of etcd, Felix takes such a tier as
 * it stands there: it comes after all that have an order.
 */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { conditionSchema, objectSchema } from "./resource.ts";
import { float, LABEL, neverEmpty, oneOf } from "./fields.ts";
import { column, goPointer, nameColumn } from "./columns.ts";
import { show } from "./show.ts";

const schema = objectSchema("Tier", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      /** Absent in what is stored by other means: after all that have one. */
      order: v.optional(float),
      /** For an endpoint to which a policy of the tier applies and none decided. */
      defaultAction: v.optional(neverEmpty(oneOf("Deny", "Pass")), "Deny"),
    }),
    {},
  ),
  status: v.optional(v.object({ conditions: v.optional(v.array(conditionSchema)) }), {}),
});

export type Tier = v.InferOutput<typeof schema>;
export type TierInput = v.InferInput<typeof schema>;

export const tierKind: Kind<Tier, TierInput> = {
  kind: "Tier",
  apiVersion: "projectcalico.org/v3",
  plural: "tiers",
  home: "calico",
  namespaced: false,
  names: ["tier", "tiers"],
  schema,
  crd: true,
  columns: [nameColumn, column("ORDER", (t) => goPointer(t.spec.order))],
  ownNameCheck: true,
  prepare: withOrder,
  listed(tiers) {
    tiers.forEach(withOrder);
    return tiers.sort((a, b) => a.spec.order! - b.spec.order!);
  },
  check(tier) {
    const { name } = tier.metadata;
    const issues: Issue[] = [];
    if (!LABEL.test(name) || name.length > 63) {
      issues.push({
        path: "metadata.name",
        message: `${show(name)} is not allowed: want at most 63 lower-case letters, digits and ` +
          "'-', beginning and ending with a letter or digit",
      });
    }
    const fixed = Object.hasOwn(BUILT_IN_TIERS, name) ? BUILT_IN_TIERS[name] : undefined;
    for (const field of ["order", "defaultAction"] as const) {
      if (!fixed || tier.spec[field] === fixed[field]) continue;
      issues.push({
        path: `spec.${field}`,
        message: `${show(tier.spec[field])} is not allowed: the tier ${name} is built in with ` +
          `${field} ${fixed[field]}`,
      });
    }
    return issues;
  },
};

/** Of the default tier, and of every one that its user gave none. */
export const DEFAULT_TIER_ORDER = 1_000_000;

function withOrder({ spec }: Tier): void {
  spec.order ??= DEFAULT_TIER_ORDER;
}

/** Tiers that are always there, as `ensureInitialized` writes them. */
export const BUILT_IN_TIERS: Readonly<Record<string, Required<Tier["spec"]>>> = {
  "default": { order: DEFAULT_TIER_ORDER, defaultAction: "Deny" },
  "kube-admin": { order: 1_000, defaultAction: "Pass" },
  "kube-baseline": { order: 10_000_000, defaultAction: "Pass" },
};
