/**
 * FelixConfiguration: settings of the agent, `default` for all nodes, `node.<name>` for one, any
 * other name with a nodeSelector for some. A field that is absent says nothing; mod/node joins
 * environment, node's and default object and built-in defaults.
 *
 * All of Calico's fields are here, so that a configuration can be carried over; which of them have an
 * effect is mod/node's matter.
 */
import * as v from "valibot";
import type { Issue, Kind } from "./kind.ts";
import { objectSchema } from "./resource.ts";
import {
  anyInteger,
  bool,
  byteOrText,
  canonical,
  checkedText,
  cidrText,
  cidrv4Text,
  durationText,
  integer,
  interfaceNameText,
  ipv4Text,
  ipv6Text,
  isDscp,
  LABEL,
  matching,
  neverEmpty,
  oneOf,
  oneOfAnyCase,
  plainDurationText,
  pointer,
  portValue,
  regexpText,
  selectorOfAtMost,
  text,
  WANT_DSCP,
  wholeDurationText,
} from "./fields.ts";
import { nameColumn } from "./columns.ts";
import { mapOf } from "./map_schema.ts";
import { show } from "./show.ts";

const flag = v.optional(bool);
const word = v.optional(text);
/** Calico has pointers to these: "" and an empty list are stored, and not the same as nothing. */
const given = v.optional(pointer(text));
const list = <const S extends v.GenericSchema>(item: S) => v.optional(pointer(v.array(item)));
const number = v.optional(anyInteger);
const duration = v.optional(wholeDurationText);
/** Of fields with another pattern or none, and of those that Calico v3.32 does not know yet. */
const anyDuration = v.optional(plainDurationText);
const pattern = v.optional(regexpText);
const port = v.optional(integer(0, 65535));
const severity = v.optional(oneOfAnyCase("Trace", "Debug", "Info", "Warning", "Error", "Fatal"));
const enabled = v.optional(oneOf("Enabled", "Disabled"));
const mark = v.optional(integer(0, 0xffff_ffff, "uint32"));
const priority = v.optional(integer(1, 2147483646));
const allowAction = v.optional(oneOfAnyCase("Accept", "Return"));
const denyAction = v.optional(oneOfAnyCase("Drop", "Reject"));
/** Of the custom resource's definition; what Calico's validator asks beside it goes as far at most. */
function keyValues(value: RegExp, want: string) {
  return v.optional(checkedText(
    (s) => s.replace(/,$/, "").split(",").every((item) => value.test(item)),
    `a comma list such as Key=${want}`,
  ));
}

/** What the CRD's pattern takes, in a form that is decided letter by letter. */
const timeout = v.optional(matching(
  /^(?:(?:[0-9]*(?:\.[0-9]*)?(?:[hms]|us))+|Auto)$/,
  "a duration such as 20s or 1h30m, or Auto",
));
const logFilterKey = matching(
  /^[a-zA-Z0-9_.-]{1,15}$/,
  "an interface name of 1 to 15 letters, digits, '_', '.' or '-'; or all, weps or heps",
);

const hostPort = v.object({
  /** TCP, UDP or SCTP in any case; TCP where it is absent. */
  protocol: v.optional(matching(/^(tcp|udp|sctp)$/i, "TCP, UDP or SCTP")),
  port: integer(0, 65535, "uint16"),
  net: v.optional(cidrText),
});
const hostPorts = list(hostPort);
const interfaceFilter = matching(
  /^[a-zA-Z0-9:._+-]{1,15}$/,
  "an interface name of at most 15 letters, digits, ':', '.', '_', '-', with + for any rest",
);
const nodePort = v.pipe(
  portValue,
  v.check(
    (p) => typeof p === "number" || /^[0-9]+:[0-9]+$/.test(p),
    "a port or a range such as 30000:32767, no name",
  ),
);

const schema = objectSchema("FelixConfiguration", "projectcalico.org/v3", {
  spec: v.optional(
    v.object({
      nodeSelector: v.optional(selectorOfAtMost(1024)),
      useInternalDataplaneDriver: flag,
      dataplaneDriver: word,
      dataplaneWatchdogTimeout: anyDuration,
      ipv6Support: flag,
      routeRefreshInterval: duration,
      interfaceRefreshInterval: duration,
      iptablesRefreshInterval: duration,
      iptablesPostWriteCheckInterval: duration,
      iptablesLockProbeInterval: duration,
      featureDetectOverride: keyValues(/^\w+=(true|false|)$/, "true"),
      featureGates: keyValues(/^\w+=[^=]+$/, "value"),
      ipsetsRefreshInterval: duration,
      maxIpsetSize: number,
      iptablesBackend: v.optional(oneOfAnyCase("Legacy", "NFT", "Auto")),
      xdpRefreshInterval: duration,
      netlinkTimeout: duration,
      metadataAddr: word,
      metadataPort: number,
      openstackRegion: v.optional(checkedText(
        (s) => LABEL.test(s) && s.length <= 63 - "openstack-region-".length,
        "a DNS label of at most 46 characters",
      )),
      interfacePrefix: word,
      interfaceExclude: word,
      chainInsertMode: v.optional(oneOfAnyCase("Insert", "Append")),
      defaultEndpointToHostAction: v.optional(oneOfAnyCase("Drop", "Accept", "Return")),
      iptablesFilterAllowAction: allowAction,
      iptablesMangleAllowAction: allowAction,
      iptablesFilterDenyAction: denyAction,
      logPrefix: v.optional(
        matching(/^([a-zA-Z0-9%: /_-])*$/, "letters, digits, '%', ':', '/', '_', '-' and blanks"),
      ),
      logActionRateLimit: v.optional(
        matching(/^[1-9]\d{0,3}\/(second|minute|hour|day)$/, "a rate such as 10/minute"),
      ),
      logActionRateLimitBurst: v.optional(integer(0, 9999)),
      logFilePath: word,
      logSeverityFile: severity,
      logSeverityScreen: severity,
      logSeveritySys: severity,
      logDebugFilenameRegex: pattern,
      ipipEnabled: flag,
      ipipMTU: number,
      vxlanEnabled: flag,
      vxlanMTU: number,
      vxlanMTUV6: number,
      vxlanPort: number,
      vxlanVNI: number,
      allowVXLANPacketsFromWorkloads: flag,
      allowIPIPPacketsFromWorkloads: flag,
      reportingInterval: duration,
      reportingTTL: duration,
      endpointReportingEnabled: flag,
      endpointReportingDelay: duration,
      endpointStatusPathPrefix: word,
      iptablesMarkMask: mark,
      disableConntrackInvalidCheck: flag,
      healthEnabled: flag,
      healthHost: given,
      healthPort: number,
      healthTimeoutOverrides: v.optional(v.array(v.object({
        name: matching(/^[a-zA-Z0-9_ -]+$/, "a name of letters, digits, '_', '-' and blanks"),
        timeout: v.optional(
          v.pipe(
            durationText,
            v.check((s) => !s.startsWith("-"), "a duration that is not negative"),
          ),
          "0s",
        ),
      }))),
      prometheusMetricsEnabled: flag,
      prometheusMetricsHost: v.optional(
        matching(/^[a-zA-Z0-9:._+-]{1,64}$/, "an address or a host name"),
      ),
      prometheusMetricsPort: number,
      prometheusGoMetricsEnabled: flag,
      prometheusProcessMetricsEnabled: flag,
      prometheusWireGuardMetricsEnabled: flag,
      prometheusMetricsCAFile: given,
      prometheusMetricsCertFile: given,
      prometheusMetricsKeyFile: given,
      prometheusMetricsClientAuth: v.optional(neverEmpty(oneOf(
        "RequireAndVerifyClientCert",
        "RequireAnyClientCert",
        "VerifyClientCertIfGiven",
        "NoClientCert",
      ))),
      failsafeInboundHostPorts: hostPorts,
      failsafeOutboundHostPorts: hostPorts,
      kubeNodePortRanges: v.optional(pointer(v.pipe(
        v.array(nodePort),
        v.check((list) => list.length <= 7, "at most 7 ranges"),
      ))),
      policySyncPathPrefix: word,
      usageReportingEnabled: flag,
      usageReportingInitialDelay: duration,
      usageReportingInterval: duration,
      natPortRange: v.optional(neverEmpty(nodePort)),
      natOutgoingAddress: v.optional(ipv4Text),
      natOutgoingExclusions: v.optional(neverEmpty(oneOf("IPPoolsOnly", "IPPoolsAndHostIPs"))),
      deviceRouteSourceAddress: v.optional(ipv4Text),
      deviceRouteSourceAddressIPv6: v.optional(ipv6Text),
      deviceRouteProtocol: number,
      removeExternalRoutes: flag,
      programClusterRoutes: v.optional(
        oneOf("Enabled", "Disabled", "EnabledIPIPOnly", "EnabledNoEncapOnly"),
      ),
      ipForwarding: enabled,
      externalNodesList: list(cidrv4Text),
      debugMemoryProfilePath: word,
      debugDisableLogDropping: flag,
      debugSimulateCalcGraphHangAfter: duration,
      debugSimulateDataplaneHangAfter: duration,
      debugSimulateDataplaneApplyDelay: duration,
      debugHost: given,
      debugPort: port,
      iptablesNATOutgoingInterfaceFilter: v.optional(interfaceFilter),
      sidecarAccelerationEnabled: flag,
      xdpEnabled: flag,
      genericXDPEnabled: flag,
      nftablesMode: v.optional(oneOf("Enabled", "Disabled", "Auto"), "Auto"),
      nftablesFlowTableOffload: v.optional(oneOf("All", "Disabled")),
      nftablesFlowTableDataIfacePattern: pattern,
      nftablesRefreshInterval: duration,
      nftablesFilterAllowAction: allowAction,
      nftablesMangleAllowAction: allowAction,
      nftablesFilterDenyAction: denyAction,
      nftablesMarkMask: mark,
      bpfEnabled: flag,
      bpfOverlayHostSourceIP: v.optional(oneOf("TunnelAddress", "HostAddress")),
      bpfDisableUnprivileged: flag,
      bpfJITHardening: v.optional(neverEmpty(oneOf("Auto", "Strict"))),
      bpfLogLevel: v.optional(oneOfAnyCase("Off", "Info", "Debug", ""), ""),
      bpfConntrackLogLevel: v.optional(oneOf("Off", "Debug")),
      bpfConntrackMode: v.optional(neverEmpty(oneOf("Auto", "Userspace", "BPFProgram"))),
      bpfConntrackTimeouts: v.optional(v.object({
        creationGracePeriod: timeout,
        tcpSynSent: timeout,
        tcpEstablished: timeout,
        tcpFinsSeen: timeout,
        tcpResetSeen: timeout,
        udpTimeout: timeout,
        genericTimeout: timeout,
        icmpTimeout: timeout,
      })),
      bpfIPFragTimeout: anyDuration,
      bpfLogFilters: v.optional(pointer(mapOf(logFilterKey, text))),
      bpfCTLBLogFilter: word,
      bpfDataIfacePattern: pattern,
      bpfL3IfacePattern: pattern,
      bpfConnectTimeLoadBalancingEnabled: flag,
      bpfConnectTimeLoadBalancing: v.optional(
        neverEmpty(oneOf("TCP", "Enabled", "Disabled")),
        "TCP",
      ),
      bpfHostNetworkedNATWithoutCTLB: v.optional(
        neverEmpty(oneOf("Enabled", "Disabled")),
        "Enabled",
      ),
      bpfExternalServiceMode: v.optional(oneOfAnyCase("Tunnel", "DSR")),
      bpfDSROptoutCIDRs: list(cidrText),
      bpfExtToServiceConnmark: v.optional(integer(0, 0xffff_ffff)),
      bpfKubeProxyIptablesCleanupEnabled: flag,
      bpfKubeProxyMinSyncPeriod: duration,
      bpfKubeProxyHealthzPort: port,
      bpfPSNATPorts: v.optional(neverEmpty(portValue)),
      bpfMapSizeNATFrontend: number,
      bpfMapSizeNATBackend: number,
      bpfMapSizeNATAffinity: number,
      bpfMapSizeRoute: number,
      bpfMapSizeConntrack: number,
      bpfMapSizePerCpuConntrack: number,
      bpfMapSizeConntrackScaling: v.optional(oneOfAnyCase("Disabled", "DoubleIfFull")),
      bpfMapSizeConntrackCleanupQueue: v.optional(integer(1, Infinity)),
      bpfMapSizeIPSets: number,
      bpfMapSizeIfState: number,
      bpfHostConntrackBypass: flag,
      bpfIPFragmentReassemblyEnabled: flag,
      bpfEnforceRPF: v.optional(oneOfAnyCase("Disabled", "Strict", "Loose")),
      bpfPolicyDebugEnabled: flag,
      bpfForceTrackPacketsFromIfaces: list(interfaceFilter),
      bpfDisableGROForIfaces: pattern,
      bpfExcludeCIDRsFromNAT: list(cidrText),
      bpfExportBufferSizeMB: number,
      istioAmbientMode: enabled,
      istioDSCPMark: v.optional(byteOrText(v.pipe(
        canonical<string | number, string | number>(
          v.union([v.number(), v.string()]),
          // A number of eight bits is one, as a text too.
          (mark) => typeof mark === "string" && /^\d+$/.test(mark) && isDscp(+mark) ? +mark : mark,
          WANT_DSCP,
        ),
        v.check(isDscp, WANT_DSCP),
      ))),
      cgroupV2Path: word,
      flowLogsPolicyEvaluationMode: v.optional(oneOf("None", "Continuous")),
      bpfRedirectToPeer: v.optional(oneOf("Enabled", "Disabled")),
      bpfAttachType: v.optional(neverEmpty(oneOf("TC", "TCX", "Netkit"))),
      flowLogsFlushInterval: duration,
      flowLogsCollectorDebugTrace: flag,
      flowLogsGoldmaneServer: given,
      flowLogsLocalReporter: enabled,
      bpfProfiling: enabled,
      routeSource: v.optional(oneOfAnyCase("WorkloadIPs", "CalicoIPAM")),
      routeTableRanges: list(v.object({ min: anyInteger, max: anyInteger })),
      routeTableRange: v.optional(v.object({ min: anyInteger, max: anyInteger })),
      routeSyncDisabled: flag,
      ipv4NormalRoutePriority: priority,
      ipv4ElevatedRoutePriority: priority,
      ipv6NormalRoutePriority: priority,
      ipv6ElevatedRoutePriority: priority,
      liveMigrationRouteConvergenceTime: anyDuration,
      wireguardEnabled: flag,
      wireguardEnabledV6: flag,
      wireguardThreadingEnabled: flag,
      wireguardListeningPort: v.optional(integer(1, 65535)),
      wireguardListeningPortV6: v.optional(integer(1, 65535)),
      wireguardRoutingRulePriority: v.optional(integer(1, 32765)),
      wireguardInterfaceName: v.optional(interfaceNameText),
      wireguardInterfaceNameV6: v.optional(interfaceNameText),
      wireguardMTU: number,
      wireguardMTUV6: number,
      wireguardHostEncryptionEnabled: flag,
      wireguardKeepAlive: duration,
      awsSrcDstCheck: v.optional(neverEmpty(oneOf("DoNothing", "Enable", "Disable"))),
      serviceLoopPrevention: v.optional(oneOf("Drop", "Reject", "Disabled")),
      workloadSourceSpoofing: v.optional(oneOf("Disabled", "Any")),
      mtuIfacePattern: pattern,
      floatingIPs: v.optional(oneOf("Enabled", "Disabled"), "Disabled"),
      localSubnetL2Reachability: v.optional(oneOf("Disabled", "PodsAndLoadBalancers")),
      localSubnetL2ReachabilityRefreshInterval: anyDuration,
      windowsManageFirewallRules: v.optional(neverEmpty(oneOf("Enabled", "Disabled"))),
      goGCThreshold: v.optional(integer(-1, Infinity)),
      goMemoryLimitMB: v.optional(integer(-1, Infinity)),
      goMaxProcs: v.optional(integer(-1, Infinity)),
      requireMTUFile: flag,
      bpfMaglevMaxEndpointsPerService: v.optional(integer(1, 3000)),
      bpfMaglevMaxServices: v.optional(integer(1, 3000)),
      /** Of older versions. */
      iptablesLockFilePath: word,
      iptablesLockTimeout: anyDuration,
      debugBPFCgroupV2: word,
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
  crd: true,
  names: ["felixconfiguration", "felixconfigurations", "felixconfig", "felixconfigs"],
  schema,
  columns: [nameColumn],
  complete({ spec }) {
    // The older boolean says it all where it is set.
    if (spec.bpfConnectTimeLoadBalancingEnabled === undefined) return;
    spec.bpfHostNetworkedNATWithoutCTLB = "Disabled";
    spec.bpfConnectTimeLoadBalancing = spec.bpfConnectTimeLoadBalancingEnabled
      ? "Enabled"
      : "Disabled";
  },
  check,
};

const MAX_ROUTE_TABLES = 65535;

function check({ metadata, spec }: FelixConfiguration): Issue[] {
  const issues: Issue[] = [];
  const say = (field: string, message: string) => issues.push({ path: `spec.${field}`, message });
  if (spec.nodeSelector && (metadata.name === "default" || metadata.name.startsWith("node."))) {
    say("nodeSelector", `is not allowed in the FelixConfiguration ${show(metadata.name)}`);
  }
  if (spec.routeTableRange && spec.routeTableRanges) {
    say("routeTableRange", "cannot stand beside routeTableRanges; want the latter");
  }
  const range = spec.routeTableRange;
  if (range && !(range.min >= 1 && range.min <= range.max && range.max <= 250)) {
    say("routeTableRange", `${show(range)} is not allowed: want min and max from 1 to 250`);
  }
  let tables = 0;
  (spec.routeTableRanges ?? []).forEach((range, i) => {
    if (!(range.min >= 1 && range.min <= range.max && range.max <= 0xffff_ffff)) {
      say(`routeTableRanges[${i}]`, `${show(range)} is not allowed: want 1 <= min <= max < 2^32`);
    }
    tables += range.max - range.min + 1;
  });
  if (tables > MAX_ROUTE_TABLES) {
    say("routeTableRanges", `name ${tables} tables; want at most ${MAX_ROUTE_TABLES}`);
  }
  return issues;
}
