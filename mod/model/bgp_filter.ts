/** BGPFilter: ordered rules for what a peer may tell us and what we tell it; the first match decides. */
import * as v from "valibot";
import { parseStrictPrefix } from "../net/mod.ts";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { asNumberValue, checkedText, integer, matching, oneOf } from "./fields.ts";
import { column, nameColumn } from "./columns.ts";
import { parseCommunity, WANT_COMMUNITY } from "./community.ts";

const community = checkedText((s) => parseCommunity(s) !== undefined, WANT_COMMUNITY);
const priority = integer(1, 2147483646);
const asNumbers = v.pipe(
  v.array(asNumberValue),
  v.check((list) => list.length > 0, "at least one"),
);

const operation = v.object({
  addCommunity: v.optional(v.object({ value: community })),
  prependASPath: v.optional(v.object({
    prefix: v.pipe(asNumbers, v.check((list) => list.length <= 10, "at most 10")),
  })),
  setPriority: v.optional(v.object({ value: priority })),
});

function rule(family: 4 | 6) {
  const bits = family === 4 ? 32 : 128;
  return v.object({
    cidr: v.optional(checkedText(
      (s) => parseStrictPrefix(s)?.ip.family === family,
      `an IPv${family} CIDR without host bits`,
    )),
    prefixLength: v.optional(v.object({
      min: v.optional(integer(0, bits, "int32")),
      max: v.optional(integer(0, bits, "int32")),
    })),
    source: v.optional(oneOf("RemotePeers")),
    interface: v.optional(matching(
      /^[a-zA-Z0-9_.*-]{1,15}$/,
      "an interface name of at most 15 letters, digits, '_', '.' or '-', with * for any characters",
    )),
    matchOperator: v.optional(oneOf("Equal", "NotEqual", "In", "NotIn")),
    peerType: v.optional(oneOf("eBGP", "iBGP")),
    communities: v.optional(v.object({
      values: v.pipe(v.array(community), v.check((list) => list.length === 1, "exactly one")),
    })),
    asPathPrefix: v.optional(asNumbers),
    priority: v.optional(priority),
    action: oneOf("Accept", "Reject"),
    operations: v.optional(v.pipe(
      v.array(operation),
      v.check((list) => list.length >= 1 && list.length <= 10, "1 to 10 operations"),
    )),
  });
}

const v4 = v.optional(v.array(rule(4)));
const v6 = v.optional(v.array(rule(6)));

const schema = objectSchema("BGPFilter", "projectcalico.org/v3", {
  spec: v.optional(v.object({ exportV4: v4, importV4: v4, exportV6: v6, importV6: v6 }), {}),
});

export type BGPFilter = v.InferOutput<typeof schema>;
export type BGPFilterInput = v.InferInput<typeof schema>;
export type BGPFilterRule = v.InferOutput<ReturnType<typeof rule>>;

export const bgpFilterKind: Kind<BGPFilter, BGPFilterInput> = {
  kind: "BGPFilter",
  apiVersion: "projectcalico.org/v3",
  plural: "bgpfilters",
  home: "calico",
  namespaced: false,
  crd: true,
  names: ["bgpfilter", "bgpfilters", "bgpf", "bgpfs", "bf", "bfs"],
  schema,
  columns: [
    nameColumn,
    column("NUMEXPORTV4", (f) => String(f.spec.exportV4?.length ?? 0)),
    column("NUMIMPORTV4", (f) => String(f.spec.importV4?.length ?? 0)),
    column("NUMEXPORTV6", (f) => String(f.spec.exportV6?.length ?? 0)),
    column("NUMIMPORTV6", (f) => String(f.spec.importV6?.length ?? 0)),
  ],
  check: ({ spec }) =>
    (["exportV4", "importV4", "exportV6", "importV6"] as const).flatMap((list) =>
      (spec[list] ?? []).flatMap((rule, i) => ruleIssues(rule, `spec.${list}[${i}]`))
    ),
};

function ruleIssues(rule: BGPFilterRule, path: string): Issue[] {
  const issues: Issue[] = [];
  const say = (field: string, message: string) =>
    issues.push({ path: `${path}.${field}`, message });
  if ((rule.cidr === undefined) !== (rule.matchOperator === undefined)) {
    say(
      rule.cidr === undefined ? "cidr" : "matchOperator",
      "is missing: cidr and matchOperator need each other",
    );
  }
  if (rule.prefixLength && rule.cidr === undefined) say("prefixLength", "needs cidr beside it");
  if (rule.operations && rule.action !== "Accept") {
    say("operations", "are only allowed with action Accept");
  }
  (rule.operations ?? []).forEach((operation, i) => {
    if (Object.keys(operation).length !== 1) {
      say(`operations[${i}]`, "want exactly one of addCommunity, prependASPath and setPriority");
    }
  });
  return issues;
}
