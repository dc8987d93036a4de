/**
 * What a node service is told before it can ask the datastore: flags over environment. Calico's own
 * names are understood (NODENAME, IP, IP_AUTODETECTION_METHOD, AS, CALICO_IPV4POOL_…, FELIX_…), ours
 * begin with TORTIE_. Everything else comes from the datastore's FelixConfiguration and
 * BGPConfiguration, over which a FELIX_ variable wins, as in Felix.
 */
import { parseCidr, parseIp, type Prefix } from "../net/mod.ts";
import {
  type DatastoreLocation,
  datastoreTypeOf,
  locationBeside,
  LocationError,
  locationFromEnvironment,
  parseStoreName,
} from "../store/location.ts";

/** A setting that cannot be understood: says which, what it was, and what it may be. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

export type EncapMode = "Never" | "Always" | "CrossSubnet";

/** How the default pool of a family is made where the datastore has no pool of the family. */
export interface DefaultPool {
  cidr?: Prefix;
  blockSize: number;
  ipipMode: EncapMode;
  vxlanMode: EncapMode;
  natOutgoing: boolean;
  nodeSelector: string;
  disableBGPExport: boolean;
}

export interface NodeConfig {
  nodeName: string;
  /** Socket and pid file. */
  runDir: string;
  /** Embedded store and journals. */
  stateDir: string;
  /** Where Calico keeps `nodename` and `mtu`. */
  calicoDir: string;
  /** A kv is this process's own, and others reach it over its socket. */
  store: DatastoreLocation;
  /** Where Pods and Namespaces are read, beside a datastore that has none. */
  kubernetes?: DatastoreLocation;
  /** The name of Kubernetes' Node for this machine (CALICO_K8S_NODE_REF). */
  kubernetesNode?: string;
  /** A datastore that is not there at the first start of all is waited for (WAIT_FOR_DATASTORE). */
  waitForDatastore: boolean;
  /** `autodetect`, `none`, empty (keep what the Node has, else autodetect), or an address[/length]. */
  ip: { 4: string; 6: string };
  ipMethod: { 4: string; 6: string };
  asNumber?: number;
  routerId: string;
  /** `bird` and `vxlan` are Calico's words: with the first BGP is spoken. */
  backend: "bgp" | "vxlan" | "none";
  bgpPort?: number;
  /** Seconds; BIRD's, and so Calico's, is 240. */
  bgpHoldTime: number;
  /** undefined: no default pool of the family (`none`, NO_DEFAULT_POOLS). */
  pool: { 4?: DefaultPool; 6?: DefaultPool };
  /** FELIX_ parameters, names lower case without prefix. */
  felix: Map<string, string>;
  /** Nodes' networks are those that Kubernetes gave them, beside IPAM's blocks (USE_POD_CIDR). */
  usePodCidr: boolean;
  /** Milliseconds between two looks at the path MTU to another node; 0: none. */
  pathMtuInterval: number;
  /** 0: off. */
  healthPort: number;
  healthHost: string;
  metricsPort: number;
  metricsHost: string;
  logLevel: "debug" | "info" | "warning" | "error";
}

/** Flags of `tortie node run`, as the command line gives them. */
export interface NodeFlags {
  nodename?: string;
  store?: string;
  /** What the file of -c names; it wins over the environment. */
  named?: DatastoreLocation;
  /** What configuration files in their usual places name; flag and environment win. */
  configured?: DatastoreLocation;
  /** What KUBECONFIG names where nothing else does; undefined on a machine with an embedded store. */
  kubeconfig?: DatastoreLocation;
  ip?: string;
  ip6?: string;
  logLevel?: string;
  /** They win over the environment's. */
  variables?: ReadonlyMap<string, string>;
}

type Environment = (name: string) => string | undefined;

const FALSE = /^(0|f|false|no|n|off)$/i;
const TRUE = /^(1|t|true|yes|y|on)$/i;

export function parseBoolean(name: string, text: string): boolean {
  if (TRUE.test(text)) return true;
  if (FALSE.test(text)) return false;
  throw new ConfigError(`${name}="${text}" is not a boolean; use true or false`);
}

function parseInteger(name: string, text: string, least: number, most: number): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < least || n > most) {
    throw new ConfigError(`${name}="${text}" is not an integer from ${least} to ${most}`);
  }
  return n;
}

/** An AS number, plain or as `high.low`. */
function parseAs(name: string, text: string): number {
  const dotted = /^(\d{1,5})\.(\d{1,5})$/.exec(text);
  if (!dotted) return parseInteger(name, text, 1, 0xffffffff);
  const [high, low] = dotted.slice(1).map((t) => parseInteger(name, t, 0, 0xffff));
  return high * 65536 + low;
}

function encapMode(name: string, text: string | undefined): EncapMode {
  const lower = (text ?? "Never").toLowerCase();
  if (lower === "off" || lower === "never" || lower === "") return "Never";
  if (lower === "always") return "Always";
  if (lower === "crosssubnet" || lower === "cross-subnet") return "CrossSubnet";
  throw new ConfigError(`${name}="${text}" is not one of Always, CrossSubnet, Never`);
}

function defaultPool(env: Environment, family: 4 | 6): DefaultPool | undefined {
  const name = (rest: string) => `CALICO_IPV${family}POOL_${rest}`;
  const cidr = env(name("CIDR"));
  const none = env("NO_DEFAULT_POOLS");
  if (cidr === "none" || (none && parseBoolean("NO_DEFAULT_POOLS", none))) return undefined;
  // As Calico: an IPv6 pool is made where the node speaks IPv6, or a CIDR is asked for.
  if (family === 6 && !cidr && !["autodetect"].includes(env("IP6") ?? "")) return undefined;
  const parsed = cidr ? parseCidr(cidr) : undefined;
  if (cidr && parsed?.ip.family !== family) {
    throw new ConfigError(`${name("CIDR")}="${cidr}" is not an IPv${family} CIDR`);
  }
  const flag = (rest: string, fallback: boolean) => {
    const text = env(name(rest));
    return text ? parseBoolean(name(rest), text) : fallback;
  };
  const size = env(name("BLOCK_SIZE"));
  const [least, most] = family === 4 ? [20, 32] : [116, 128];
  const blockSize = size
    ? parseInteger(name("BLOCK_SIZE"), size, least, most)
    : family === 4
    ? 26
    : 122;
  if (parsed && parsed.prefix.length > blockSize) {
    throw new ConfigError(
      `${name("CIDR")}="${cidr}" is smaller than a block of /${blockSize}; use a shorter prefix`,
    );
  }
  return {
    cidr: parsed?.prefix,
    blockSize,
    ipipMode: family === 4 ? encapMode(name("IPIP"), env(name("IPIP"))) : "Never",
    vxlanMode: encapMode(name("VXLAN"), env(name("VXLAN"))),
    natOutgoing: flag("NAT_OUTGOING", family === 4),
    nodeSelector: env(name("NODE_SELECTOR")) ?? "all()",
    disableBGPExport: flag("DISABLE_BGP_EXPORT", false),
  };
}

function storeLocation(flags: NodeFlags, env: Environment, stateDir: string): DatastoreLocation {
  return inWords(() => {
    if (flags.store) return parseStoreName(flags.store, "--store", env);
    if (flags.named) return flags.named;
    const name = env("TORTIE_STORE");
    if (name) return parseStoreName(name, "TORTIE_STORE", env);
    const own: DatastoreLocation = { kind: "kv", path: `${stateDir}/store.kv` };
    if (datastoreTypeOf(env) === "kv") return own;
    return locationFromEnvironment(env) ?? flags.configured ?? flags.kubeconfig ?? own;
  });
}

function inWords<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof LocationError) throw new ConfigError(error.message);
    throw error;
  }
}

function address(name: string, text: string | undefined, fallback: string): string {
  const value = text ?? fallback;
  if (value === "" || value === "autodetect" || value === "none") return value;
  const bare = value.includes("/") ? parseCidr(value)?.ip : parseIp(value);
  if (!bare) {
    throw new ConfigError(`${name}="${value}" is not an address, autodetect or none`);
  }
  return value;
}

/** The node's name where nothing is configured: the host's, lower case, without white space. */
function hostName(): string {
  return Deno.hostname().trim().toLowerCase();
}

/** Reads flags and environment; a ConfigError names the setting that is wrong. */
export function nodeConfig(
  flags: NodeFlags,
  environment: Environment = (n) => Deno.env.get(n),
): NodeConfig {
  const env: Environment = (name) => flags.variables?.get(name) ?? environment(name);
  const stateDir = env("TORTIE_STATE_DIR") || "/var/lib/tortie";
  const felix = new Map<string, string>();
  for (const name of Object.keys(Deno.env.toObject())) {
    if (/^FELIX_/i.test(name)) felix.set(name.slice(6).toLowerCase(), Deno.env.get(name)!);
  }
  const nodeName = (flags.nodename ?? env("NODENAME") ?? env("FELIX_FELIXHOSTNAME") ?? hostName())
    .trim();
  if (!/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/.test(nodeName)) {
    throw new ConfigError(
      `the node name "${nodeName}" is not a lower-case DNS name; set NODENAME to one`,
    );
  }
  const backend = env("CALICO_NETWORKING_BACKEND") || "bird";
  if (!["bird", "bgp", "vxlan", "none"].includes(backend)) {
    throw new ConfigError(
      `CALICO_NETWORKING_BACKEND="${backend}" is not one of bird, vxlan, none`,
    );
  }
  const level = (flags.logLevel ?? env("TORTIE_LOG_LEVEL") ?? "info").toLowerCase();
  if (!["debug", "info", "warning", "error"].includes(level)) {
    throw new ConfigError(`the log level "${level}" is not one of debug, info, warning, error`);
  }
  const as = env("AS");
  const port = (name: string, fallback: number) => {
    const text = env(name);
    return text ? parseInteger(name, text, 0, 65535) : fallback;
  };
  const holdTime = env("TORTIE_BGP_HOLD_TIME");
  const wait = env("WAIT_FOR_DATASTORE");
  const pathMtu = env("TORTIE_PATH_MTU_INTERVAL");
  const store = storeLocation(flags, env, stateDir);
  return {
    nodeName,
    runDir: env("TORTIE_RUN_DIR") || "/run/tortie",
    stateDir,
    calicoDir: env("TORTIE_CALICO_DIR") || "/var/lib/calico",
    store,
    kubernetes: inWords(() => locationBeside(store, env)),
    kubernetesNode: env("CALICO_K8S_NODE_REF") || undefined,
    waitForDatastore: wait ? parseBoolean("WAIT_FOR_DATASTORE", wait) : false,
    ip: {
      4: address("IP", flags.ip ?? env("IP"), ""),
      6: address("IP6", flags.ip6 ?? env("IP6"), "none"),
    },
    ipMethod: {
      4: env("IP_AUTODETECTION_METHOD") || "first-found",
      6: env("IP6_AUTODETECTION_METHOD") || "first-found",
    },
    asNumber: as ? parseAs("AS", as) : undefined,
    routerId: env("CALICO_ROUTER_ID") || "",
    backend: backend === "bird" ? "bgp" : backend as NodeConfig["backend"],
    bgpPort: env("TORTIE_BGP_PORT") ? port("TORTIE_BGP_PORT", 179) : undefined,
    bgpHoldTime: holdTime ? parseInteger("TORTIE_BGP_HOLD_TIME", holdTime, 3, 65535) : 240,
    pool: { 4: defaultPool(env, 4), 6: defaultPool(env, 6) },
    felix,
    usePodCidr: env("USE_POD_CIDR") ? parseBoolean("USE_POD_CIDR", env("USE_POD_CIDR")!) : false,
    pathMtuInterval: 1000 *
      (pathMtu ? parseInteger("TORTIE_PATH_MTU_INTERVAL", pathMtu, 0, 86_400) : 300),
    healthPort: port("TORTIE_HEALTH_PORT", 9099),
    healthHost: env("FELIX_HEALTHHOST") || "127.0.0.1",
    metricsPort: port("TORTIE_METRICS_PORT", 9091),
    metricsHost: env("FELIX_PROMETHEUSMETRICSHOST") || "0.0.0.0",
    logLevel: level as NodeConfig["logLevel"],
  };
}
