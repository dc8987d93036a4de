/**
 * IPPool: a range from which addresses are given, and how traffic of these addresses travels.
 *
 * A pool's CIDR has no host bits when we write it; one that somebody stored with host bits is read as
 * its network, as all of Calico's readers do. Missing values are filled in on reading too, since
 * objects that kubectl wrote lack them.
 */
import * as v from "valibot";
import { formatPrefix, mustPrefix, parseCidr, prefixesOverlap, sameIp } from "../net/mod.ts";
import type { Issue, Kind } from "./kind.ts";
import { conditionSchema, objectSchema } from "./resource.ts";
import {
  atMost,
  cidrText,
  integer,
  neverEmpty,
  oneOf,
  selectorText,
  zeroBool,
  zeroSelector,
} from "./fields.ts";
import { column, nameColumn } from "./columns.ts";
import { show } from "./show.ts";

const mode = v.optional(oneOf("Never", "Always", "CrossSubnet"), "Never");

const schema = objectSchema("IPPool", "projectcalico.org/v3", {
  spec: v.object({
    /** Canonical network; after reading never with host bits. */
    cidr: cidrText,
    vxlanMode: mode,
    ipipMode: mode,
    natOutgoing: zeroBool,
    /** No new addresses; those given stay routed, masqueraded and exported. */
    disabled: zeroBool,
    disableBGPExport: zeroBool,
    /** Prefix length of a block; 26 or 122 where it is not given, never 0 after reading. */
    blockSize: v.optional(integer(0, 128), 0),
    nodeSelector: v.optional(selectorText, "all()"),
    /** Empty: pods of all namespaces. */
    namespaceSelector: zeroSelector,
    /** Workload and Tunnel where nothing is said; Workload alone for a pool of some namespaces. */
    allowedUses: v.optional(atMost(10, oneOf("Workload", "Tunnel", "LoadBalancer")), () => []),
    /** Manual: gives addresses only where it is named. */
    assignmentMode: v.optional(neverEmpty(oneOf("Automatic", "Manual")), "Automatic"),
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
  crd: true,
  names: ["ippool", "ippools", "ipp", "ipps", "pool", "pools"],
  schema,
  columns: [
    nameColumn,
    column("CIDR", (p) => p.spec.cidr),
    column("SELECTOR", (p) => p.spec.nodeSelector),
  ],
  wideColumns: [
    nameColumn,
    column("CIDR", (p) => p.spec.cidr),
    column("NAT", (p) => String(p.spec.natOutgoing)),
    column("IPIPMODE", (p) => p.spec.ipipMode),
    column("VXLANMODE", (p) => p.spec.vxlanMode),
    column("DISABLED", (p) => String(p.spec.disabled)),
    column("DISABLEBGPEXPORT", (p) => String(p.spec.disableBGPExport)),
    column("SELECTOR", (p) => p.spec.nodeSelector),
    column("ASSIGNMENTMODE", (p) => p.spec.assignmentMode),
  ],
  complete,
  hostBits,
  check,
};

function complete({ spec }: IPPool): void {
  const cidr = parseCidr(spec.cidr);
  if (cidr) {
    spec.cidr = formatPrefix(cidr.prefix);
    if (spec.blockSize === 0) spec.blockSize = cidr.ip.family === 4 ? 26 : 122;
  }
  if (spec.allowedUses.length === 0) {
    // Calico fills in both always, and then refuses the pool: a tunnel address has no namespace.
    spec.allowedUses = spec.namespaceSelector === "" ? ["Workload", "Tunnel"] : ["Workload"];
  }
}

/** The fault of a CIDR with host bits, before `complete` has masked it. */
function hostBits(pool: IPPool): Issue[] {
  const cidr = parseCidr(pool.spec.cidr);
  if (!cidr || sameIp(cidr.ip, cidr.prefix.ip)) return [];
  return [{
    path: "spec.cidr",
    message: `${pool.spec.cidr} has host bits set; want ${formatPrefix(cidr.prefix)}`,
  }];
}

const LINK_LOCAL = [mustPrefix("169.254.0.0/16"), mustPrefix("fe80::/10")];

function check({ spec }: IPPool): Issue[] {
  const cidr = parseCidr(spec.cidr)?.prefix;
  if (!cidr) {
    return [{
      path: "spec.cidr",
      message: `${show(spec.cidr)} is not allowed: want a CIDR such as 10.0.0.0/16`,
    }];
  }
  const issues: Issue[] = [];
  const say = (field: string, message: string) => issues.push({ path: `spec.${field}`, message });
  const family = cidr.ip.family;
  const [least, most] = family === 4 ? [20, 32] : [116, 128];
  const blockSizeOk = spec.blockSize >= least && spec.blockSize <= most;
  if (!blockSizeOk) {
    say(
      "blockSize",
      `${spec.blockSize} is not allowed: want ${least} to ${most} in an IPv${family} pool`,
    );
  } else if (cidr.length > spec.blockSize && !spec.disabled) {
    say(
      "cidr",
      `${spec.cidr} is smaller than one block of /${spec.blockSize}; want a larger range or a ` +
        `blockSize of ${cidr.length} to ${most}`,
    );
  }
  const linkLocal = LINK_LOCAL.find((l) => prefixesOverlap(l, cidr));
  if (linkLocal) {
    say("cidr", `${spec.cidr} overlaps with the link-local range ${formatPrefix(linkLocal)}`);
  }
  if (spec.ipipMode !== "Never" && spec.vxlanMode !== "Never") {
    say("ipipMode", `${spec.ipipMode} cannot stand beside vxlanMode ${spec.vxlanMode}`);
  }
  if (family === 6 && spec.ipipMode !== "Never") {
    say("ipipMode", `${spec.ipipMode} is not allowed: IPIP carries IPv4 alone; want Never`);
  }
  for (const field of ["nodeSelector", "namespaceSelector"] as const) {
    if (spec[field].includes("global(")) {
      say(field, `${show(spec[field])} is not allowed: a pool's selector may not use global()`);
    }
  }
  if (spec.allowedUses.includes("Tunnel") && spec.namespaceSelector !== "") {
    say(
      "namespaceSelector",
      "cannot stand beside the use Tunnel, since tunnels belong to no namespace; " +
        "want allowedUses [Workload]",
    );
  }
  if (spec.allowedUses.includes("LoadBalancer")) checkLoadBalancer(spec, say);
  return issues;
}

function checkLoadBalancer(
  spec: IPPool["spec"],
  say: (field: string, message: string) => void,
): void {
  if (spec.allowedUses.some((use) => use !== "LoadBalancer")) {
    say("allowedUses", "LoadBalancer cannot be combined with Workload or Tunnel");
  }
  for (const field of ["ipipMode", "vxlanMode"] as const) {
    if (spec[field] !== "Never") {
      say(field, `${spec[field]} is not allowed in a LoadBalancer pool; want Never`);
    }
  }
  if (spec.disableBGPExport) {
    say("disableBGPExport", "true is not allowed in a LoadBalancer pool");
  }
  if (spec.nodeSelector !== "all()") {
    say(
      "nodeSelector",
      `${show(spec.nodeSelector)} is not allowed in a LoadBalancer pool; want all()`,
    );
  }
}
