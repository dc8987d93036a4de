/** BGPConfiguration: `default` for the cluster, `node.<name>` for one node. */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  asNumberValue,
  bool,
  cidrText,
  durationText,
  integer,
  ipText,
  oneOf,
  text,
} from "./fields.ts";

const cidrs = v.optional(v.array(v.object({ cidr: cidrText })));
export const secretKeyRef = v.object({
  secretKeyRef: v.optional(v.object({
    name: v.optional(text),
    key: text,
    optional: v.optional(bool),
  })),
});

const schema = objectSchema("BGPConfiguration", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      logSeverityScreen: v.optional(
        oneOf("Trace", "Debug", "Info", "Warning", "Error", "Fatal"),
        "Info",
      ),
      /** Absent: true (only in `default`). */
      nodeToNodeMeshEnabled: v.optional(bool),
      /** Absent: 64512 (only in `default`). */
      asNumber: v.optional(asNumberValue),
      serviceLoadBalancerIPs: cidrs,
      serviceExternalIPs: cidrs,
      serviceClusterIPs: cidrs,
      serviceLoadBalancerAggregation: v.optional(oneOf("Enabled", "Disabled"), "Enabled"),
      communities: v.optional(
        v.array(v.object({ name: v.optional(text), value: v.optional(text) })),
      ),
      prefixAdvertisements: v.optional(v.array(v.object({
        cidr: v.optional(cidrText),
        communities: v.optional(v.array(text)),
      }))),
      /** Absent: 179. */
      listenPort: v.optional(integer(1, 65535)),
      nodeMeshPassword: v.optional(secretKeyRef),
      nodeMeshMaxRestartTime: v.optional(durationText),
      bindMode: v.optional(oneOf("None", "NodeIP")),
      ignoredInterfaces: v.optional(v.array(text)),
      localWorkloadPeeringIPV4: v.optional(ipText),
      localWorkloadPeeringIPV6: v.optional(ipText),
      programClusterRoutes: v.optional(oneOf("Enabled", "Disabled")),
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
  names: ["bgpconfiguration", "bgpconfigurations", "bgpconfig", "bgpconfigs"],
  schema,
  columns: [],
};
