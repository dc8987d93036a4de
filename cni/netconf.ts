/**
 * The network configuration on the plugin's standard input, read once and judged before anything is
 * done. Strict where we understand a field (a wrong type or an impossible value is refused with code
 * 7, naming the field), tolerant where we do not: unknown keys, unknown runtimeConfig and keys of
 * other plugins are left alone, as the specification asks.
 *
 * The keys are Calico's own (so that `10-calico.conflist` works under our names and our
 * conflist under Calico's), and one of ours: `tortie`, with the path of the node service's socket.
 * Keys that speak of Calico's plugin process itself (log files, API credentials, lock files) have no
 * meaning here: the service does the work, logs and holds the credentials.
 *
 * Order of judgement: JSON (code 6), version (code 1), fields (code 7).
 */

import { isTooDeep, TOO_DEEP } from "../mod/store/json.ts";
import { CniCode, CniError } from "./errors.ts";
import { shorten } from "./environment.ts";
import {
  type DatastoreLocation,
  kubernetesOfNetConf,
  LocationError,
  locationFromNetConf,
} from "../mod/store/location.ts";
import { type HostLocalConf, parseHostLocal } from "./host_local/conf.ts";
import { MAX_BYTES } from "./request.ts";
import { parseRoutes, type ResultRoute } from "./result.ts";
import { ABSENT_VERSION, type CniVersion, isSupported, SUPPORTED_VERSIONS } from "./versions.ts";

/** `ipam` of a configuration. */
export interface IpamConf {
  /** `tortie-ipam` and `calico-ipam` are ours; host-local is answered on its own files. */
  readonly type: string;
  readonly assignIpv4: boolean;
  readonly assignIpv6: boolean;
  /** Names or CIDRs of pools; empty: whatever the pools' selectors say. */
  readonly ipv4Pools: readonly string[];
  readonly ipv6Pools: readonly string[];
  /** For the result of the IPAM plugin; undefined where none are given. */
  readonly routes: readonly ResultRoute[] | undefined;
  /** Only host-local's: default routes stand beside `routes` (Calico). */
  readonly includeDefaultRoutes: boolean;
  /** Where the type is host-local. */
  readonly hostLocal: HostLocalConf | undefined;
}

/** An attachment that the runtime still knows, from `cni.dev/valid-attachments`. */
export interface ValidAttachment {
  readonly containerId: string;
  readonly ifname: string;
}

export interface NetConf {
  readonly cniVersion: CniVersion;
  /** Of the network: part of the IPAM handle. */
  readonly name: string;
  /** The plugin that the runtime called: ours, or the one that delegates IPAM to us. */
  readonly type: string;
  /** The host's interface of the stock bridge plugin that has the gateway; undefined under any other plugin. */
  readonly bridge: string | undefined;
  readonly ipam: IpamConf;
  /** Bytes; 0: the node decides. */
  readonly mtu: number;
  /** Labels, profiles and ports must come from a Pod object. */
  readonly policyFromKubernetes: boolean;
  /** As the file names this node; the service's own name is what counts. */
  readonly nodeName: string | undefined;
  readonly allowIpForwarding: boolean;
  readonly featureControl: {
    readonly ipAddrsNoIpam: boolean;
    readonly floatingIps: boolean;
    /** Ours: whether `tortie.io/ip-pins` is followed. On unless it is switched off. */
    readonly ipPins: boolean;
  };
  /** Path of the node service's socket, and of the store for when no service is there. */
  readonly socket: string | undefined;
  readonly store: string | undefined;
  /** The datastore that Calico's own keys name (`datastore_type`, `etcd_endpoints`, …), likewise. */
  readonly datastore: DatastoreLocation | undefined;
  /** The Kubernetes API beside an etcd (`kubernetes.kubeconfig`), likewise. */
  readonly kubernetes: DatastoreLocation | undefined;
  /** As it came; `result.ts` reads it. */
  readonly prevResult: unknown;
  /** Only of GC; undefined where the key is missing. */
  readonly validAttachments: readonly ValidAttachment[] | undefined;
}

type Fields = Record<string, unknown>;

/** JSON of standard input as an object, with the version it asks for: code 6, or 1. */
export function decodeConf(stdin: Uint8Array): { fields: Fields; cniVersion: CniVersion } {
  if (stdin.length > MAX_BYTES) {
    throw new CniError(
      CniCode.decode,
      `The network configuration on standard input is larger than ${MAX_BYTES} bytes.`,
    );
  }
  let value: unknown;
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(stdin);
    if (isTooDeep(text)) throw new SyntaxError(TOO_DEEP);
    value = JSON.parse(text);
  } catch (error) {
    const empty = stdin.every((byte) => byte === 32 || (byte >= 9 && byte <= 13));
    throw new CniError(
      CniCode.decode,
      empty
        ? "Standard input is empty: it must hold the network configuration."
        : `The network configuration on standard input is not JSON: ${
          shorten((error as Error).message, 200)
        }.`,
    );
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new CniError(
      CniCode.decode,
      "The network configuration on standard input is not a JSON object.",
    );
  }
  const fields = value as Fields;
  const version = fields.cniVersion ?? ABSENT_VERSION;
  if (typeof version !== "string") {
    throw new CniError(CniCode.decode, "cniVersion of the network configuration is not a text.");
  }
  const asked = version === "" ? ABSENT_VERSION : version;
  if (!isSupported(asked)) {
    throw new CniError(
      CniCode.incompatibleVersion,
      `cniVersion ${JSON.stringify(shorten(asked))} of the network configuration is not served: ` +
        `use one of ${SUPPORTED_VERSIONS.join(", ")}.`,
    );
  }
  return { fields, cniVersion: asked };
}

/** The version that an error should carry when the configuration is not to be trusted yet. */
export function guessVersion(stdin: Uint8Array): CniVersion | undefined {
  try {
    return decodeConf(stdin).cniVersion;
  } catch {
    return undefined;
  }
}

/** A whole configuration from standard input; CniError with code 1, 6 or 7. */
export function parseNetConf(stdin: Uint8Array): NetConf {
  const { fields, cniVersion } = decodeConf(stdin);
  const name = text(fields, "name") ?? "";
  if (name === "") {
    throw wrong("name", "is missing: give the network a name");
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9_.-]*$/.test(name) || name.length > 200) {
    throw wrong(
      "name",
      `${JSON.stringify(shorten(name))} must begin with a letter or digit and hold only letters, ` +
        "digits, '_', '.' and '-'",
    );
  }
  const policy = object(fields, "policy");
  const containerSettings = object(fields, "container_settings");
  const features = object(fields, "feature_control");
  const tortie = object(fields, "tortie");
  return {
    cniVersion,
    name,
    type: text(fields, "type") ?? "",
    bridge: bridgeOf(fields),
    ipam: parseIpam(object(fields, "ipam")),
    mtu: parseMtu(fields),
    policyFromKubernetes: text(policy, "type", "policy.") === "k8s",
    nodeName: text(fields, "nodename") || undefined,
    allowIpForwarding: flag(containerSettings, "allow_ip_forwarding", "container_settings."),
    featureControl: {
      ipAddrsNoIpam: flag(features, "ip_addrs_no_ipam", "feature_control."),
      floatingIps: flag(features, "floating_ips", "feature_control."),
      ipPins: features.ip_pins === undefined || flag(features, "ip_pins", "feature_control."),
    },
    socket: path(tortie, "socket"),
    store: path(tortie, "store"),
    datastore: inWords(() => locationFromNetConf(fields)),
    kubernetes: inWords(() => kubernetesOfNetConf(fields)),
    prevResult: fields.prevResult,
    validAttachments: parseValidAttachments(fields),
  };
}

/** What the stock plugin makes of its keys; a fault of theirs is its own to tell. */
function bridgeOf({ type, bridge, vlan }: Fields): string | undefined {
  if (type !== "bridge") return undefined;
  const name = typeof bridge === "string" && bridge !== "" ? bridge : "cni0";
  return typeof vlan === "number" && vlan > 0 ? `${name}.${vlan}` : name;
}

function parseIpam(ipam: Fields): IpamConf {
  return {
    type: text(ipam, "type", "ipam.") ?? "",
    assignIpv4: assignFlag(ipam, "assign_ipv4", true),
    assignIpv6: assignFlag(ipam, "assign_ipv6", false),
    ipv4Pools: texts(ipam, "ipv4_pools", "ipam."),
    ipv6Pools: texts(ipam, "ipv6_pools", "ipam."),
    routes: ipam.routes === undefined || ipam.routes === null
      ? undefined
      : parseRoutes(ipam.routes, "ipam.routes"),
    includeDefaultRoutes: flag(ipam, "include_default_routes", "ipam."),
    hostLocal: ipam.type === "host-local" ? parseHostLocal(ipam) : undefined,
  };
}

/** Calico writes these as texts, and only the exact text that differs from the default counts. */
function assignFlag(ipam: Fields, key: string, otherwise: boolean): boolean {
  const value = ipam[key];
  if (value === undefined || value === null) return otherwise;
  if (typeof value === "boolean") return value;
  if (typeof value !== "string") throw wrong(`ipam.${key}`, 'must be "true" or "false"');
  return value === String(!otherwise) ? !otherwise : otherwise;
}

function parseMtu(fields: Fields): number {
  const value = fields.mtu ?? 0;
  if (typeof value !== "number" || !Number.isInteger(value) || value < 0 || value > 65535) {
    throw wrong("mtu", "must be a whole number of bytes up to 65535, or 0 for the node's own");
  }
  if (value !== 0 && value < 68) throw wrong("mtu", `${value} is less than IPv4's least, 68`);
  return value;
}

function parseValidAttachments(fields: Fields): ValidAttachment[] | undefined {
  const key = "cni.dev/valid-attachments";
  // Early runtimes wrote the key without the slash's vendor part.
  const value = fields[key] ?? fields["cni.dev/attachments"];
  if (value === undefined || value === null) return undefined;
  if (!Array.isArray(value)) throw wrong(key, "must be a list");
  return value.map((item: unknown, index) => {
    const entry = item as Fields;
    if (
      typeof entry !== "object" || entry === null ||
      typeof entry.containerID !== "string" || typeof entry.ifname !== "string"
    ) {
      throw wrong(`${key}[${index}]`, "must have the texts containerID and ifname");
    }
    return { containerId: entry.containerID, ifname: entry.ifname };
  });
}

function inWords(locate: () => DatastoreLocation | undefined): DatastoreLocation | undefined {
  try {
    return locate();
  } catch (error) {
    if (!(error instanceof LocationError)) throw error;
    throw new CniError(CniCode.configuration, `Network configuration: ${error.message}.`);
  }
}

function path(fields: Fields, key: string): string | undefined {
  const value = text(fields, key, "tortie.") || undefined;
  if (value !== undefined && (!value.startsWith("/") || value.includes("\0"))) {
    throw wrong(`tortie.${key}`, `${JSON.stringify(shorten(value))} is not an absolute path`);
  }
  return value;
}

function text(fields: Fields, key: string, prefix = ""): string | undefined {
  const value = fields[key];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw wrong(prefix + key, "must be a text");
  return value;
}

function texts(fields: Fields, key: string, prefix: string): string[] {
  const value = fields[key];
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.some((item) => typeof item !== "string")) {
    throw wrong(prefix + key, "must be a list of texts");
  }
  return value;
}

function flag(fields: Fields, key: string, prefix: string): boolean {
  const value = fields[key];
  if (value === undefined || value === null) return false;
  if (typeof value !== "boolean") throw wrong(prefix + key, "must be true or false");
  return value;
}

function object(fields: Fields, key: string): Fields {
  const value = fields[key];
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw wrong(key, "must be an object");
  return value as Fields;
}

function wrong(field: string, rule: string): CniError {
  return new CniError(
    CniCode.configuration,
    `Network configuration: ${field} ${rule}.`,
  );
}
