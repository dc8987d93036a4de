/**
 * FelixConfiguration: settings of the agent, `default` for all nodes, `node.<name>` for one. A field
 * that is absent says nothing; mod/node joins environment, node's and default object and built-in
 * defaults.
 */
import * as v from "valibot";
import type { Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import { bool, durationText, integer, netText, oneOf, text } from "./fields.ts";

const severity = v.optional(oneOf("Trace", "Debug", "Info", "Warning", "Error", "Fatal"));
const hostPort = v.object({
  protocol: v.optional(text, "TCP"),
  port: integer(0, 65535),
  net: v.optional(netText),
});
const duration = v.optional(durationText);

const schema = objectSchema("FelixConfiguration", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      logSeverityScreen: severity,
      logSeverityFile: severity,
      logSeveritySys: severity,
      interfacePrefix: v.optional(text),
      interfaceExclude: v.optional(text),
      mtuIfacePattern: v.optional(text),
      ipv6Support: v.optional(bool),
      ipipEnabled: v.optional(bool),
      ipipMTU: v.optional(integer(0, 65535)),
      vxlanEnabled: v.optional(bool),
      vxlanMTU: v.optional(integer(0, 65535)),
      vxlanMTUV6: v.optional(integer(0, 65535)),
      vxlanPort: v.optional(integer(0, 65535)),
      vxlanVNI: v.optional(integer(0, 16777215)),
      defaultEndpointToHostAction: v.optional(oneOf("Drop", "Accept", "Return")),
      routeRefreshInterval: duration,
      reportingInterval: duration,
      reportingTTL: duration,
      endpointReportingEnabled: v.optional(bool),
      endpointReportingDelay: duration,
      healthEnabled: v.optional(bool),
      healthHost: v.optional(text),
      healthPort: v.optional(integer(0, 65535)),
      prometheusMetricsEnabled: v.optional(bool),
      prometheusMetricsHost: v.optional(text),
      prometheusMetricsPort: v.optional(integer(0, 65535)),
      failsafeInboundHostPorts: v.optional(v.array(hostPort)),
      failsafeOutboundHostPorts: v.optional(v.array(hostPort)),
      natOutgoingAddress: v.optional(text),
      deviceRouteProtocol: v.optional(integer(0, 255)),
      deviceRouteSourceAddress: v.optional(text),
      removeExternalRoutes: v.optional(bool),
      chainInsertMode: v.optional(oneOf("Insert", "Append")),
      iptablesRefreshInterval: duration,
      nftablesMode: v.optional(oneOf("Enabled", "Disabled", "Auto"), "Auto"),
      bpfEnabled: v.optional(bool),
      floatingIPs: v.optional(oneOf("Enabled", "Disabled"), "Disabled"),
      workloadSourceSpoofing: v.optional(text),
    }),
    {},
  ),
});

export type FelixConfiguration = v.InferOutput<typeof schema>;
export type FelixConfigurationInput = v.InferInput<typeof schema>;

export const felixConfigurationKind: Kind<FelixConfiguration, FelixConfigurationInput> = {
  kind: "FelixConfiguration",
  apiVersion: "projectcalico.org/v3",
  plural: "felixconfigurations",
  home: "calico",
  namespaced: false,
  names: ["felixconfiguration", "felixconfigurations", "felixconfig", "felixconfigs"],
  schema,
  columns: [],
};
