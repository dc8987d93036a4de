/**
 * Settings of Felix that somebody has set and that have no effect here. A cluster may bring them along;
 * who has set one is told, once and by name, instead of finding out by what the network does.
 *
 * Named is what is set, is read by nobody here and says something else than Felix's default or than what
 * is done here anyway. Where a switch turns a whole part of Felix on (`bpf…`, `wireguard…`), the switch
 * alone is named: without it the others have no effect in Felix either.
 */
import type { FelixConfiguration } from "../model/felix_configuration.ts";
import { durationSeconds } from "../model/duration.ts";

/** Values that ask for nothing else than what is done; parameters in lower case. */
const SAME: Readonly<Record<string, readonly string[]>> = {
  useinternaldataplanedriver: ["true"],
  dataplanedriver: ["calico-iptables-plugin"],
  dataplanewatchdogtimeout: ["90"],
  interfacerefreshinterval: ["90"],
  iptablesrefreshinterval: ["90", "180"],
  iptablespostwritecheckinterval: ["1", "5"],
  // The variable is in milliseconds.
  iptableslockprobeinterval: ["0.05", "50"],
  iptableslocktimeout: ["0"],
  iptableslockfilepath: ["/run/xtables.lock"],
  iptablesbackend: ["auto"],
  iptablesfilterallowaction: ["accept"],
  iptablesmangleallowaction: ["accept"],
  iptablesmarkmask: ["4294901760", "0xffff0000"],
  ipsetsrefreshinterval: ["90"],
  xdprefreshinterval: ["90"],
  nftablesmode: ["auto", "enabled"],
  nftablesrefreshinterval: ["90", "180"],
  nftablesfilterallowaction: ["accept"],
  nftablesmangleallowaction: ["accept"],
  nftablesmarkmask: ["4294901760", "0xffff0000"],
  nftablesflowtableoffload: ["disabled"],
  maxipsetsize: ["1048576"],
  netlinktimeout: ["10"],
  metadataaddr: ["127.0.0.1"],
  metadataport: ["8775"],
  interfaceexclude: ["kube-ipvs0"],
  chaininsertmode: ["insert"],
  logfilepath: ["/var/log/calico/felix.log"],
  logseverityfile: ["info"],
  logseverityscreen: ["info"],
  logseveritysys: ["info"],
  endpointreportingdelay: ["1"],
  endpointstatuspathprefix: ["/var/run/calico"],
  healthhost: ["localhost", "127.0.0.1"],
  healthport: ["9099"],
  prometheusmetricsport: ["9091"],
  prometheusgometricsenabled: ["true"],
  prometheusprocessmetricsenabled: ["true"],
  prometheuswireguardmetricsenabled: ["true"],
  kubenodeportranges: ["30000:32767"],
  // Ours is 80, whatever Felix gives its pods' routes.
  devicerouteprotocol: ["3", "80"],
  removeexternalroutes: ["true"],
  programclusterroutes: ["disabled", "enabledipiponly"],
  ipforwarding: ["enabled"],
  ipv4normalroutepriority: ["1024"],
  ipv6normalroutepriority: ["1024"],
  ipv4elevatedroutepriority: ["512"],
  ipv6elevatedroutepriority: ["512"],
  routesource: ["calicoipam"],
  routesyncdisabled: ["false"],
  sidecaraccelerationenabled: ["false"],
  xdpenabled: ["true", "false"],
  genericxdpenabled: ["false"],
  bpfenabled: ["false"],
  wireguardenabled: ["false"],
  wireguardenabledv6: ["false"],
  awssrcdstcheck: ["donothing"],
  serviceloopprevention: ["drop"],
  localsubnetl2reachability: ["disabled"],
  istioambientmode: ["disabled"],
  requiremtufile: ["false"],
};

/** Of a part that is off unless its switch is named; of another system; or with nothing to say here. */
const SILENT =
  /^(bpf(?!enabled$)|wireguard(?!enabled(v6)?$)|windows|usagereporting|flowlogs|debug|go(gc|mem|max))/;

/** Variables that others read, or that say where a datastore is, which is told elsewhere. */
const ELSEWHERE =
  /^(datastoretype|felixhostname|etcd.*|typha.*|healthhost|prometheusmetricshost|nodename)$/;

/** As an environment names it, to the field's name in lower case. */
const fieldOf = (parameter: string) => parameter.toLowerCase().replace(/(secs|millis)$/, "");

function saysMore(parameter: string, value: unknown): boolean {
  if (value === undefined || value === null) return false;
  const text = String(Array.isArray(value) ? value.join(",") : value).toLowerCase();
  const field = fieldOf(parameter);
  if (text === "" || text === "none" || SILENT.test(field)) return false;
  const same = Object.hasOwn(SAME, field) ? SAME[field] : [];
  return !same.includes(text) && !same.includes(String(durationSeconds(text)));
}

export interface FelixSources {
  readonly nodeName: string;
  readonly environment: ReadonlyMap<string, string>;
  readonly configurations: ReadonlyMap<string, FelixConfiguration>;
  /** Variables and fields that were asked for; variables in lower case. */
  readonly asked: { readonly variables: ReadonlySet<string>; readonly fields: ReadonlySet<string> };
}

/** One sentence for each source that sets what is not followed. */
export function unfollowed(sources: FelixSources): string[] {
  const { environment, configurations, nodeName, asked } = sources;
  const told: string[] = [];
  const tell = (where: string, names: readonly string[]) => {
    if (names.length === 0) return;
    const [verb, them] = names.length === 1 ? ["is", "it has"] : ["are", "they have"];
    told.push(`${where}${names.join(", ")} ${verb} set and not followed: ${them} no effect here`);
  };
  tell(
    "",
    [...environment].filter(([name, value]) =>
      !asked.variables.has(name) && !ELSEWHERE.test(name) && saysMore(name, value)
    ).map(([name]) => `FELIX_${name.toUpperCase()}`).sort(),
  );
  for (const name of [`node.${nodeName}`, "default"]) {
    const spec = configurations.get(name)?.spec ?? {};
    tell(
      `FelixConfiguration ${name}: `,
      Object.entries(spec).filter(([field, value]) =>
        !asked.fields.has(field) && saysMore(field, value)
      ).map(([field]) => field).sort(),
    );
  }
  for (const [name, { spec }] of configurations) {
    if (name === "default" || name.startsWith("node.")) continue;
    if (spec?.nodeSelector) tell(`FelixConfiguration ${name}: `, ["nodeSelector"]);
  }
  return told;
}
