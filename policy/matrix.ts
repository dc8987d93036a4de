/**
 * Who reaches whom, for a heap of objects without a cluster: every pod as client and as server, for
 * each port asked about. Pods become endpoints as the CNI plugin would make them (WorkloadEndpoint
 * with the pod's addresses, profiles of its namespace and account); the rest is the engine and the
 * rules of the kernel.
 *
 * What files leave out is filled in kindly: a Namespace without object exists, with its name for a
 * label; a pod without address gets one of 198.18.0.0/15 and of 2001:2::/48 (RFC 2544, RFC 5180),
 * which no policy speaks of. A pod on its node's network is no endpoint, as in Calico: no policy
 * applies to it, no selector finds it, and rules see its node's address; pods of the same node take
 * what it sends unpoliced. A pod that has ended (Succeeded, Failed) has given its address back and is
 * left out.
 */
import { addToIp, formatIp, mustIp, parseIp } from "../mod/net/mod.ts";
import { isListObject, listItems } from "../mod/model/list_object.ts";
import type { Direction } from "./effective.ts";
import { PolicyEngine } from "./engine.ts";
import { podPorts } from "./endpoint.ts";
import {
  CLIENT_PORT,
  type Connection,
  ExplainError,
  type HostPod,
  PolicyView,
  type Side,
} from "./explain.ts";
import {
  inputKind,
  type KubernetesNodeObject,
  listOf,
  type PodObject,
  type PolicyObject,
  textOf,
  type WorkloadEndpointObject,
} from "./inputs.ts";
import { defaultParameters, type PolicyParameters } from "./parameters.ts";
import { protocolName, protocolNumber } from "./protocol.ts";
import type { Family } from "./rules.ts";

/** A port to ask about. */
export interface MatrixPort {
  /** `TCP/80`, `UDP/dns`. */
  readonly label: string;
  readonly protocol: number;
  /** A name is looked up in the server's container ports. */
  readonly port: number | string;
}

/** Rows of `.` (allowed) and `X` (denied): a row a client, a character a server. */
export interface MatrixTable {
  readonly ingress: readonly string[];
  readonly egress: readonly string[];
  readonly combined: readonly string[];
}

export interface Matrix {
  /** `namespace/pod`, sorted as the objects came. */
  readonly endpoints: readonly string[];
  /** By the port's label. */
  readonly ports: Readonly<Record<string, MatrixTable>>;
}

/**
 * Reads `80/tcp`, `tcp/80`, `http/tcp` or `80` (TCP); undefined for anything else. A name is as in
 * Kubernetes: letters, digits and dashes, a letter among them.
 */
export function parseMatrixPort(text: string): MatrixPort | undefined {
  const parts = text.split("/");
  if (parts.length > 2 || parts.some((p) => p === "")) return undefined;
  const isProtocol = (part: string) => /^(tcp|udp|sctp)$/i.test(part);
  const [port, protocol] = parts.length === 1
    ? [parts[0], "TCP"]
    : isProtocol(parts[0])
    ? [parts[1], parts[0]]
    : [parts[0], parts[1]];
  if (!isProtocol(protocol) || isProtocol(port)) return undefined;
  const number = protocolNumber(protocol)!;
  if (/^[0-9]+$/.test(port)) {
    const value = Number(port);
    return value >= 1 && value <= 65535
      ? { label: `${protocolName(number)}/${value}`, protocol: number, port: value }
      : undefined;
  }
  return /^(?=.*[a-z])[a-z0-9](-?[a-z0-9])*$/i.test(port) && port.length <= 63
    ? { label: `${protocolName(number)}/${port}`, protocol: number, port }
    : undefined;
}

/** Objects of a file as they are: a `kind: List` stands for its items. */
export function flattenObjects(objects: Iterable<unknown>): PolicyObject[] {
  const result: PolicyObject[] = [];
  for (const object of objects) {
    if (object === null || typeof object !== "object") continue;
    if (isListObject(object)) result.push(...flattenObjects(listItems(object)));
    else result.push(object);
  }
  return result;
}

export interface JudgedObjects {
  readonly engine: PolicyEngine;
  /** Ready for questions, with the parameters of each node. */
  readonly view: PolicyView;
  /** `namespace/pod`, in the order of the objects. */
  readonly pods: readonly string[];
}

/** The parameters of a node, or of one of which nothing is known (""). */
export type ParametersOf = (node: string) => Partial<Omit<PolicyParameters, "nodeName">>;

/**
 * An engine that holds the objects and an endpoint for every pod among them. Objects without a
 * namespace where one belongs are in `default`, as kubectl would put them; of two of one name the
 * last one stands.
 *
 * `stored`: the objects are those of a datastore, where a pod has the interface that its
 * WorkloadEndpoint names on the node that this names, and else none: what is forwarded for it is dropped.
 * In files, which need not hold WorkloadEndpoints, every pod has one.
 */
export function engineOf(
  objects: Iterable<unknown>,
  parametersOf: ParametersOf = () => ({}),
  stored = false,
): JudgedObjects {
  const flat = flattenObjects(objects);
  const given = new Set<string>();
  const found = new Map<string, PodObject>();
  for (const object of flat) {
    const { metadata } = object;
    const namespace = metadata?.namespace || "default";
    switch (inputKind(object.apiVersion, object.kind ?? "")) {
      case "WorkloadEndpoint": {
        const { spec } = object as WorkloadEndpointObject;
        if (spec?.pod) given.add(`${namespace}/${spec.pod}`);
        break;
      }
      case "Pod":
        if (metadata?.name) found.set(`${namespace}/${metadata.name}`, object);
    }
  }
  let spare = 0;
  const made: WorkloadEndpointObject[] = [];
  const pods: string[] = [];
  const hostPods = new Map<string, HostPod>();
  const nodes = new Map<string, string>();
  for (const object of flat) {
    // Kubernetes' own, which says nothing else that policy needs.
    if (object.apiVersion !== "v1" || object.kind !== "Node" || !object.metadata?.name) continue;
    for (const entry of listOf((object as KubernetesNodeObject).status?.addresses)) {
      const ip = parseIp(textOf(entry?.address));
      if (ip) nodes.set(formatIp(ip), object.metadata.name);
    }
  }
  for (const [key, object] of found) {
    const { spec, status, metadata } = object;
    if (/^(Succeeded|Failed)$/.test(status?.phase ?? "")) continue;
    pods.push(key);
    if (given.has(key)) continue;
    let addresses = addressesOf(status?.podIPs, status?.podIP);
    if (spec?.hostNetwork && addresses.length === 0) {
      addresses = addressesOf(status?.hostIPs, status?.hostIP);
    }
    if (addresses.length === 0) {
      spare++;
      addresses = ["198.18.0.0", "2001:2::"].map((base) => formatIp(addToIp(mustIp(base), spare)));
    }
    if (spec?.hostNetwork) {
      const own: Record<Family, string[]> = { 4: [], 6: [] };
      for (const address of addresses) {
        const ip = parseIp(address);
        if (!ip) continue;
        const text = formatIp(ip);
        own[ip.family].push(text);
        // Some node's, even where it is not said which.
        if (spec.nodeName || !nodes.has(text)) nodes.set(text, spec.nodeName ?? "");
      }
      hostPods.set(key, { addresses: own, ports: podPorts(object) });
      continue;
    }
    made.push({
      apiVersion: "projectcalico.org/v3",
      kind: "WorkloadEndpoint",
      metadata: {
        name: `matrix-k8s-${metadata!.name}-eth0`,
        namespace: key.slice(0, key.indexOf("/")),
      },
      spec: {
        orchestrator: "k8s",
        node: spec?.nodeName,
        pod: metadata!.name,
        endpoint: "eth0",
        ipNetworks: addresses,
      },
    });
  }
  const known = new Map<string, ReturnType<ParametersOf>>();
  const parametersOnce = (node: string) => {
    let parameters = known.get(node);
    if (!parameters) known.set(node, parameters = parametersOf(node));
    return parameters;
  };
  const prefixesOf = (node: string) =>
    parametersOnce(node).interfacePrefixes ?? defaultParameters.interfacePrefixes;
  const changes = [...flat, ...made].map((object) => {
    const isEndpoint = inputKind(object.apiVersion, object.kind ?? "") === "WorkloadEndpoint";
    if (!isEndpoint) return { put: object };
    return { put: stored ? whereItIs(object, found, prefixesOf) : withInterface(object) };
  });
  const engines = new Map<string, PolicyEngine>();
  // Most nodes have the same parameters, and so the same engine.
  const engineOfNode = (node: string): PolicyEngine => {
    const parameters = parametersOnce(node);
    const text = JSON.stringify(parameters);
    let engine = engines.get(text);
    if (!engine) {
      engines.set(text, engine = new PolicyEngine(parameters));
      engine.update(changes);
    }
    return engine;
  };
  const engine = engineOfNode("");
  const byNode = new Map<string, PolicyEngine>();
  const view = new PolicyView(engine, {
    nodes,
    hostPods,
    engineOf: (node) => {
      let found = byNode.get(node);
      if (!found) byNode.set(node, found = engineOfNode(node));
      return found;
    },
  });
  return { engine, view, pods };
}

const ANY_INTERFACE = "cali0";

function withInterface(object: WorkloadEndpointObject): WorkloadEndpointObject {
  const { spec } = object;
  const has = typeof spec?.interfaceName === "string" && spec.interfaceName !== "";
  return has ? object : { ...object, spec: { ...spec, interfaceName: ANY_INTERFACE } };
}

/** Without an interface where the pod is on another node, or its interface another than a pod's. */
function whereItIs(
  object: WorkloadEndpointObject,
  pods: ReadonlyMap<string, PodObject>,
  prefixesOf: (node: string) => readonly string[],
): WorkloadEndpointObject {
  const { spec, metadata } = object;
  const node = pods.get(`${metadata?.namespace || "default"}/${spec?.pod}`)?.spec?.nodeName;
  const elsewhere = node !== undefined && node !== spec?.node;
  const name = textOf(spec?.interfaceName);
  const ofAPod = prefixesOf(textOf(spec?.node)).some((prefix) => name.startsWith(prefix));
  return ofAPod && !elsewhere ? object : { ...object, spec: { ...spec, interfaceName: "" } };
}

/** Those of the list, or the one beside it; what is no address is none. */
function addressesOf(
  list: readonly { readonly ip?: string }[] | undefined,
  one: string | undefined,
): string[] {
  const isAddress = (text: string) => parseIp(text) !== undefined;
  const all = listOf(list).map((entry) => textOf(entry?.ip)).filter(isAddress);
  return all.length > 0 ? all : [textOf(one)].filter(isAddress);
}

/** Who reaches whom. */
export function matrix(
  objects: Iterable<unknown>,
  ports: readonly MatrixPort[],
  parametersOf?: ParametersOf,
): Matrix {
  const { view, pods } = engineOf(objects, parametersOf);
  return matrixOf(view, pods, ports);
}

export interface MatrixOptions {
  /** Of the clients. */
  readonly sourcePort?: number;
  /** Which family where both sides have both; IPv4 where absent. */
  readonly family?: Family;
}

/** A name as a side of a connection. */
export function sideOf(name: string): Side {
  return name.includes("/") ? { endpoint: name } : { ip: name };
}

/**
 * The same for endpoints of a view: names, or addresses that need be nobody's. A side that is not an
 * endpoint allows all.
 */
export function matrixOf(
  view: PolicyView,
  endpoints: readonly string[],
  ports: readonly MatrixPort[],
  { sourcePort = CLIENT_PORT, family }: MatrixOptions = {},
): Matrix {
  const sides = endpoints.map(sideOf);
  const tables: Record<string, MatrixTable> = {};
  for (const { label, protocol, port } of ports) {
    const table: Record<Direction | "combined", string[]> = {
      ingress: [],
      egress: [],
      combined: [],
    };
    for (const from of sides) {
      let ingress = "", egress = "", combined = "";
      for (const to of sides) {
        const found = verdicts(view, { from, to, protocol, port, sourcePort, family });
        ingress += found.ingress ? "." : "X";
        egress += found.egress ? "." : "X";
        combined += found.ingress && found.egress ? "." : "X";
      }
      table.ingress.push(ingress);
      table.egress.push(egress);
      table.combined.push(combined);
    }
    tables[label] = table;
  }
  return { endpoints: [...endpoints], ports: tables };
}

/** A pair without a common family, or a server without the named port, has no connection. */
function verdicts(view: PolicyView, connection: Connection): Record<Direction, boolean> {
  try {
    return { ingress: true, egress: true, ...view.verdicts(connection) };
  } catch (error) {
    if (error instanceof ExplainError && /^(no-address|bad-port)$/.test(error.kind)) {
      return { ingress: false, egress: false };
    }
    throw error;
  }
}
