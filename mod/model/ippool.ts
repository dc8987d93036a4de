/** IPPool: a range from which addresses are given, and how traffic of these addresses travels. */
import * as v from "valibot";
import { formatPrefix, parseCidr } from "../net/mod.ts";
import { type Kind } from "./kind.ts";
import { conditionSchema, objectSchema } from "./resource.ts";
import { integer, oneOf, selectorText, text, zeroBool, zeroText } from "./fields.ts";

const mode = v.optional(oneOf("Never", "Always", "CrossSubnet"), "Never");

const schema = objectSchema("IPPool", "projectcalico.org/v3", {
  spec: v.object({
    /** Canonical network; after reading never with host bits. */
    cidr: text,
    vxlanMode: mode,
    ipipMode: mode,
    natOutgoing: zeroBool,
    /** No new addresses; those given stay routed, masqueraded and exported. */
    disabled: zeroBool,
    disableBGPExport: zeroBool,
    /** Prefix length of a block; 26 or 122 where it is not given. */
    blockSize: v.optional(integer(0, 128), 0),
    nodeSelector: v.optional(selectorText, "all()"),
    /** Empty: pods of all namespaces. */
    namespaceSelector: zeroText,
    allowedUses: v.optional(
      v.array(oneOf("Workload", "Tunnel", "LoadBalancer")),
      () => ["Workload", "Tunnel"],
    ),
    /** Manual: gives addresses only where it is named. */
    assignmentMode: v.optional(oneOf("Automatic", "Manual"), "Automatic"),
  }),
  status: v.optional(v.object({ conditions: v.optional(v.array(conditionSchema)) })),
});

/** A pool as it was read: defaults filled in, CIDR masked, blockSize never 0. */
export type IPPool = v.InferOutput<typeof schema>;
/** A pool as it may be written. */
export type IPPoolInput = v.InferInput<typeof schema>;
export type EncapMode = IPPool["spec"]["ipipMode"];

export const ippoolKind: Kind<IPPool, IPPoolInput> = {
  kind: "IPPool",
  apiVersion: "projectcalico.org/v3",
  plural: "ippools",
  home: "calico",
  namespaced: false,
  names: ["ippool", "ippools", "ipp", "ipps", "pool", "pools"],
  schema,
  columns: [],
  complete(pool) {
    const { spec } = pool;
    const cidr = parseCidr(spec.cidr);
    if (!cidr) return;
    spec.cidr = formatPrefix(cidr.prefix);
    if (spec.blockSize === 0) spec.blockSize = cidr.ip.family === 4 ? 26 : 122;
    if (spec.allowedUses.length === 0) spec.allowedUses = ["Workload", "Tunnel"];
  },
};

/** Whether the pool's status forbids new addresses (condition Allocatable is False). */
export function isAllocatable(pool: IPPool): boolean {
  return !pool.status?.conditions?.some((c) => c.type === "Allocatable" && c.status === "False");
}
