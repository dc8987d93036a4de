/**
 * The configuration of a BIRD 2 that is a member of a lab's mesh, in the spirit of Calico's template
 * for its own nodes: the router's ID is its IPv4 address; `direct` knows the link, `kernel` learns the
 * default route and gets what BGP learns; each block is a static blackhole, of which only the hosts
 * behind it are reachable; with each node one session per family, over that family's addresses, that
 * both ends restart gracefully (RFC 4724). Of two members the one whose address is the smaller text
 * waits to be called, as everybody's does in Calico's mesh. Pure.
 */
import { formatIp, formatPrefix, type Ip, type Prefix } from "../net/mod.ts";

/** A block as it is told to the mesh. Every attribute may be another one after a reload. */
export interface AnnouncedBlock {
  readonly block: Prefix;
  /** Absent: the member's address of the session. */
  readonly nextHop?: Ip;
  readonly med?: number;
  readonly localPref?: number;
}

export interface BirdSettings {
  readonly announce: readonly AnnouncedBlock[];
  /** Seconds for which peers keep our routes while we restart; "off": not at all. */
  readonly restartTime: number | "off";
  /** Seconds. */
  readonly holdTime: number;
  /** Its AS number; absent: that of the mesh. */
  readonly as?: number;
}

export interface BirdConfigInput extends BirdSettings {
  /** The AS number of the nodes. */
  readonly meshAs: number;
  readonly log: string;
  /** The member's addresses, one of each family at most; the first IPv4 one is the router ID. */
  readonly addresses: readonly Ip[];
  /** Sources of what the member itself sends to what it has learned. */
  readonly hosts: readonly Ip[];
  readonly peers: readonly { readonly name: string; readonly address: Ip }[];
}

const own = (ips: readonly Ip[], family: 4 | 6) => ips.find((ip) => ip.family === family);

export function birdConfig(input: BirdConfigInput): string {
  const families = input.addresses.map((ip) => ip.family);
  return [
    `# Written by the lab at each change.`,
    `log "${input.log}" all;`,
    `router id ${routerId(input)};`,
    // Nothing new reaches the kernel after a restart before all peers have told their tables.
    ...input.restartTime === "off" ? [] : [`graceful restart wait ${input.restartTime};`],
    `protocol device {}`,
    `protocol direct { ${families.map((f) => `ipv${f}; `).join("")}}`,
    ...families.flatMap((family) => familyPart(input, family)),
    ...input.peers.map((peer) => session(input, peer)),
    "",
  ].join("\n");
}

/** BIRD's router ID is a number of 32 bits: without IPv4, what an IPv6 address ends with. */
function routerId({ addresses }: BirdConfigInput): string {
  const ip = own(addresses, 4);
  return ip ? formatIp(ip) : addresses[0].bytes.subarray(-4).join(".");
}

function familyPart(input: BirdConfigInput, family: 4 | 6): string[] {
  const source = own(input.hosts, family);
  const announced = input.announce.filter((a) => a.block.ip.family === family);
  return [
    `protocol static blocks${family} {`,
    `  ipv${family};`,
    ...announced.map((a) => `  route ${formatPrefix(a.block)} blackhole;`),
    `}`,
    // `persist`: routes stay in the kernel when BIRD ends, as forwarding does on a node of ours.
    `protocol kernel kernel${family} {`,
    `  learn; persist; scan time 2;`,
    // Without this the kernel would lose what the sessions have not told again yet.
    ...input.restartTime === "off" ? [] : [`  graceful restart on;`],
    `  ipv${family} { import all; export filter {`,
    `    if source = RTS_STATIC then accept;`,
    `    if source != RTS_BGP then reject;`,
    ...source ? [`    krt_prefsrc = ${formatIp(source)};`] : [],
    `    accept;`,
    `  }; };`,
    `}`,
    `filter to_mesh${family} {`,
    `  if source != RTS_STATIC then reject;`,
    ...announced.flatMap(attributes),
    `  accept;`,
    `}`,
  ];
}

function attributes({ block, nextHop, med, localPref }: AnnouncedBlock): string[] {
  const settings = [
    ...nextHop ? [`bgp_next_hop = ${formatIp(nextHop)};`] : [],
    ...med === undefined ? [] : [`bgp_med = ${med};`],
    ...localPref === undefined ? [] : [`bgp_local_pref = ${localPref};`],
  ];
  if (settings.length === 0) return [];
  return [`  if net = ${formatPrefix(block)} then { ${settings.join(" ")} }`];
}

function session(
  { meshAs, as = meshAs, addresses, restartTime, holdTime }: BirdConfigInput,
  { name, address }: { readonly name: string; readonly address: Ip },
): string {
  const { family } = address;
  const local = formatIp(own(addresses, family)!), remote = formatIp(address);
  return [
    `protocol bgp ${name}_${family} {`,
    `  local ${local} as ${as};`,
    `  neighbor ${remote} as ${meshAs};`,
    `  multihop;`,
    ...local < remote ? [`  passive on;`] : [],
    `  hold time ${holdTime};`,
    `  connect delay time 1; connect retry time 1; error wait time 1, 3;`,
    ...restartTime === "off"
      ? [`  graceful restart off;`]
      : [`  graceful restart on; graceful restart time ${restartTime};`],
    `  ipv${family} { import all; export filter to_mesh${family}; gateway recursive; };`,
    `}`,
  ].join("\n");
}
