/**
 * BGPConfiguration: `default` for the cluster, `node.<name>` for one node. Most fields may stand in
 * `default` alone.
 */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  asNumberValue,
  bool,
  checkedText,
  durationText,
  integer,
  ipv4Text,
  ipv6Text,
  nameText,
  neverEmpty,
  oneOf,
  oneOfAnyCase,
  strictCidrText,
  text,
  zeroIsNothing,
} from "./fields.ts";
import { column, nameColumn } from "./columns.ts";
import { parseCommunity, WANT_COMMUNITY } from "./community.ts";
import { show } from "./show.ts";

const cidrs = v.optional(v.array(v.object({ cidr: v.optional(strictCidrText) })));
export const secretKeyRef = v.object({
  secretKeyRef: v.optional(v.object({
    name: v.optional(text),
    key: v.optional(text, ""),
    optional: v.optional(bool),
  })),
});

const schema = objectSchema("BGPConfiguration", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      logSeverityScreen: v.optional(
        oneOfAnyCase("Trace", "Debug", "Info", "Warning", "Error", "Fatal"),
        "Info",
      ),
      /** Absent: true (only in `default`). */
      nodeToNodeMeshEnabled: v.optional(bool),
      /** Absent: 64512 (only in `default`). */
      asNumber: v.optional(asNumberValue),
      serviceLoadBalancerIPs: cidrs,
      serviceExternalIPs: cidrs,
      serviceClusterIPs: cidrs,
      serviceLoadBalancerAggregation: v.optional(
        neverEmpty(oneOf("Enabled", "Disabled")),
        "Enabled",
      ),
      communities: v.optional(v.array(
        v.object({
          name: nameText,
          value: checkedText((s) => parseCommunity(s) !== undefined, WANT_COMMUNITY),
        }),
      )),
      prefixAdvertisements: v.optional(v.array(
        v.object({
          cidr: strictCidrText,
          /** Values, or names of `communities`. */
          communities: v.optional(
            v.pipe(v.array(text), v.check((list) => list.length > 0, "at least one")),
            () => [],
          ),
        }),
      )),
      /** Absent: 179. */
      listenPort: v.optional(zeroIsNothing(integer(0, 65535, "uint16"))),
      nodeMeshPassword: v.optional(secretKeyRef),
      nodeMeshMaxRestartTime: v.optional(durationText),
      bindMode: v.optional(oneOf("None", "NodeIP")),
      ignoredInterfaces: v.optional(v.array(
        checkedText(
          (s) => s !== "*" && /^[a-zA-Z0-9_.*-]{1,15}$/.test(s),
          "an interface name of at most 15 letters, digits, '_', '.' or '-', with * for any " +
            "characters, but not * alone",
        ),
      )),
      localWorkloadPeeringIPV4: v.optional(ipv4Text),
      localWorkloadPeeringIPV6: v.optional(ipv6Text),
      programClusterRoutes: v.optional(
        oneOf("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"),
      ),
      ipv4NormalRoutePriority: v.optional(integer(1, 2147483646)),
      ipv6NormalRoutePriority: v.optional(integer(1, 2147483646)),
    }),
    {},
  ),
});

export type BGPConfiguration = v.InferOutput<typeof schema>;
export type BGPConfigurationInput = v.InferInput<typeof schema>;

/** What holds where no BGPConfiguration says otherwise. */
export const DEFAULT_AS_NUMBER = 64512;
export const DEFAULT_BGP_PORT = 179;

export const bgpConfigurationKind: Kind<BGPConfiguration, BGPConfigurationInput> = {
  kind: "BGPConfiguration",
  apiVersion: "projectcalico.org/v3",
  plural: "bgpconfigurations",
  home: "calico",
  namespaced: false,
  crd: true,
  names: ["bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"],
  schema,
  columns: [
    nameColumn,
    column("LOGSEVERITY", (c) => c.spec.logSeverityScreen),
    column("MESHENABLED", (c) => String(c.spec.nodeToNodeMeshEnabled ?? "-")),
    column("ASNUMBER", (c) => String(c.spec.asNumber ?? "-")),
  ],
  check,
};

const DEFAULT_ONLY = [
  "nodeToNodeMeshEnabled",
  "asNumber",
  "serviceLoadBalancerIPs",
  "serviceExternalIPs",
  "serviceClusterIPs",
  "nodeMeshPassword",
  "nodeMeshMaxRestartTime",
] as const;

function check({ metadata, spec }: BGPConfiguration): Issue[] {
  const issues: Issue[] = [];
  const say = (field: string, message: string) => issues.push({ path: `spec.${field}`, message });
  if (metadata.name !== "default") {
    for (const field of DEFAULT_ONLY) {
      const value = spec[field];
      if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
      say(field, `is not allowed here: it may stand in the BGPConfiguration "default" alone`);
    }
  }
  if (spec.nodeToNodeMeshEnabled === false) {
    for (const field of ["nodeMeshPassword", "nodeMeshMaxRestartTime"] as const) {
      if (spec[field]) say(field, "is not allowed while nodeToNodeMeshEnabled is false");
    }
  }
  const communities = spec.communities ?? [];
  const advertisements = spec.prefixAdvertisements ?? [];
  if (communities.length > 0 && advertisements.length === 0) {
    say("communities", "are defined, but no prefixAdvertisements use them");
  }
  const names = new Set(communities.map((c) => c.name));
  advertisements.forEach((advertisement, i) => {
    for (const community of advertisement.communities) {
      if (parseCommunity(community) || names.has(community)) continue;
      say(
        `prefixAdvertisements[${i}].communities`,
        `${
          show(community)
        } is not allowed: want ${WANT_COMMUNITY}, or a name from spec.communities`,
      );
    }
  });
  return issues;
}
