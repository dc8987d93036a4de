/** What the kernel holds, as text for people: links, addresses, routes, rules, neighbours, settings. */
import { formatIp, formatPrefix } from "../../net/mod.ts";
import type {
  Link,
  Neighbour,
  NextHop,
  Route,
  RouteSocket,
  RoutingRule,
} from "../../../ffi/route/mod.ts";
import { readSysctl } from "../../../ffi/sysctl.ts";

type Family = 4 | 6;

const nameOf = (links: readonly Link[], index: number | undefined) =>
  links.find((link) => link.index === index)?.name ?? `interface ${index}`;

export function linksText(links: readonly Link[]): string {
  return lines(links.map((link) =>
    [
      `${link.index}: ${link.name}`,
      link.kind ?? "",
      link.up ? "up" : "down",
      link.running ? "running" : "not running",
      `mtu ${link.mtu}`,
      link.mac ?? "",
      link.masterIndex ? `master ${nameOf(links, link.masterIndex)}` : "",
      link.linkIndex !== undefined ? `peer ${link.linkIndex}` : "",
      link.vxlan
        ? `vni ${link.vxlan.vni} port ${link.vxlan.port}${
          link.vxlan.local ? ` local ${formatIp(link.vxlan.local)}` : ""
        }`
        : "",
      link.alias ? JSON.stringify(link.alias) : "",
    ].filter((word) => word !== "").join(" ")
  ));
}

export function addressesText(socket: RouteSocket, family: Family): string {
  const links = socket.links();
  return lines(
    socket.addresses({ family }).map(({ index, ip, length, scope, peer }) =>
      `${nameOf(links, index)}: ${formatIp(ip)}/${length}` +
      `${peer ? ` peer ${formatIp(peer)}` : ""} scope ${scope ?? 0}`
    ),
  );
}

export function routesText(socket: RouteSocket, family: Family): string {
  const links = socket.links();
  return lines(socket.routes({ family }).map((route) => routeText(route, links)));
}

function routeText(route: Route, links: readonly Link[]): string {
  const hop = ({ gateway, oif, weight, onlink }: NextHop) =>
    [
      gateway ? `via ${formatIp(gateway)}` : "",
      oif === undefined ? "" : `dev ${nameOf(links, oif)}`,
      weight !== undefined && weight > 1 ? `weight ${weight}` : "",
      onlink ? "onlink" : "",
    ].filter((word) => word !== "").join(" ");
  return [
    route.type && route.type !== "unicast" ? route.type : "",
    formatPrefix(route.destination),
    ...(route.hops ?? []).map(hop),
    route.source ? `src ${formatIp(route.source)}` : "",
    `table ${route.table ?? 254} proto ${route.protocol ?? "?"} metric ${route.priority ?? 0}`,
    route.mtu ? `mtu ${route.mtu}` : "",
  ].filter((word) => word !== "").join(" ");
}

export function rulesText(socket: RouteSocket, family: Family): string {
  return lines(
    socket.rules(family).map((rule: RoutingRule) =>
      [
        `${rule.priority ?? 0}:`,
        rule.invert ? "not" : "",
        `from ${rule.source ? formatPrefix(rule.source) : "all"}`,
        rule.destination ? `to ${formatPrefix(rule.destination)}` : "",
        rule.mark
          ? `fwmark 0x${rule.mark.value.toString(16)}/0x${rule.mark.mask.toString(16)}`
          : "",
        rule.inputInterface ? `iif ${rule.inputInterface}` : "",
        rule.outputInterface ? `oif ${rule.outputInterface}` : "",
        `lookup ${rule.table} proto ${rule.protocol ?? 0}`,
      ].filter((word) => word !== "").join(" ")
    ),
  );
}

export function neighboursText(socket: RouteSocket): string {
  const links = socket.links();
  const kinds = ["neighbour", "proxy", "fdb"] as const;
  return lines(kinds.flatMap((kind) =>
    socket.neighbours({ kind }).map((entry: Neighbour) => {
      const ip = "ip" in entry && entry.ip ? formatIp(entry.ip) : "";
      const mac = "mac" in entry ? entry.mac ?? "" : "";
      const state = "state" in entry ? `state 0x${(entry.state ?? 0).toString(16)}` : "";
      return [kind, nameOf(links, entry.index), ip, mac, state].filter((w) => w !== "").join(" ");
    })
  ));
}

const SETTINGS = [
  "kernel/osrelease",
  "kernel/modules_disabled",
  "net/core/somaxconn",
  "net/core/rmem_max",
  "net/ipv4/ip_forward",
  "net/ipv4/ip_local_port_range",
  "net/ipv4/neigh/default/gc_thresh1",
  "net/ipv4/neigh/default/gc_thresh2",
  "net/ipv4/neigh/default/gc_thresh3",
  "net/ipv6/conf/all/forwarding",
  "net/ipv6/conf/all/disable_ipv6",
  "net/netfilter/nf_conntrack_count",
  "net/netfilter/nf_conntrack_max",
  "net/netfilter/nf_conntrack_tcp_be_liberal",
  "net/bridge/bridge-nf-call-iptables",
  "fs/inotify/max_user_watches",
  "fs/file-max",
];
/** Of every interface. */
const INTERFACE_SETTINGS = [
  "ipv4/conf/%/rp_filter",
  "ipv4/conf/%/forwarding",
  "ipv4/conf/%/proxy_arp",
  "ipv4/conf/%/arp_ignore",
  "ipv4/neigh/%/proxy_delay",
  "ipv6/conf/%/forwarding",
  "ipv6/conf/%/proxy_ndp",
  "ipv6/conf/%/accept_ra",
];

export function sysctlsText(interfaces: readonly string[]): string {
  const paths = [
    ...SETTINGS,
    ...["all", "default", ...interfaces].flatMap((name) =>
      INTERFACE_SETTINGS.map((path) => `net/${path.replace("%", name)}`)
    ),
  ];
  return lines(paths.flatMap((path) => {
    try {
      return [`${path} = ${readSysctl(path).replaceAll(/\s+/g, " ")}`];
    } catch {
      return []; // another kernel, or a module that is not loaded
    }
  }));
}

function lines(list: readonly string[]): string {
  return list.map((line) => `${line}\n`).join("");
}
