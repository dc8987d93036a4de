/**
 * Who reaches whom, for a heap of objects without a cluster: every pod as client and as server, for
 * each port asked about. Pods become endpoints as the CNI plugin would make them (WorkloadEndpoint
 * with the pod's addresses, profiles of its namespace and account); the rest is the engine and the
 * rules of the kernel.
 *
 * What files leave out is filled in kindly: a Namespace without object exists, with its name for a
 * label; a pod without address gets one of 198.18.0.0/15, which no policy speaks of.
 */
import { addToIp, formatIp, mustIp } from "../mod/net/mod.ts";
import type { Direction } from "./effective.ts";
import { PolicyEngine } from "./engine.ts";
import { CLIENT_PORT, type Connection, ExplainError, PolicyView } from "./explain.ts";
import {
  inputKind,
  listOf,
  type PodObject,
  type PolicyObject,
  type WorkloadEndpointObject,
} from "./inputs.ts";
import type { PolicyParameters } from "./parameters.ts";
import { protocolName, protocolNumber } from "./protocol.ts";

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

/** Reads `80/tcp`, `tcp/80`, `http/tcp` or `80` (TCP); undefined for anything else. */
export function parseMatrixPort(text: string): MatrixPort | undefined {
  const parts = text.split("/");
  if (parts.length > 2 || parts.some((p) => p === "")) return undefined;
  const isProtocol = (part: string) => /^(tcp|udp|sctp)$/i.test(part);
  const [port, protocol] = parts.length === 1
    ? [parts[0], "TCP"]
    : isProtocol(parts[0])
    ? [parts[1], parts[0]]
    : [parts[0], parts[1]];
  if (!isProtocol(protocol)) return undefined;
  const number = protocolNumber(protocol)!;
  if (/^[0-9]+$/.test(port)) {
    const value = Number(port);
    return value >= 1 && value <= 65535
      ? { label: `${protocolName(number)}/${value}`, protocol: number, port: value }
      : undefined;
  }
  return /^[a-z0-9-]{1,63}$/i.test(port)
    ? { label: `${protocolName(number)}/${port}`, protocol: number, port }
    : undefined;
}

/** Objects of a file as they are: a `kind: List` stands for its items. */
export function flattenObjects(objects: Iterable<unknown>): PolicyObject[] {
  const result: PolicyObject[] = [];
  for (const object of objects) {
    if (object === null || typeof object !== "object") continue;
    const { kind, items } = object as { kind?: unknown; items?: unknown };
    if (typeof kind === "string" && kind.endsWith("List") && Array.isArray(items)) {
      result.push(...flattenObjects(items));
    } else result.push(object);
  }
  return result;
}

/**
 * An engine that holds the objects and an endpoint for every pod among them. Objects without a
 * namespace where one belongs are in `default`, as kubectl would put them.
 */
export function engineOf(
  objects: Iterable<unknown>,
  parameters: Partial<Omit<PolicyParameters, "nodeName">> = {},
): { engine: PolicyEngine; pods: string[] } {
  const engine = new PolicyEngine(parameters);
  const flat = flattenObjects(objects);
  const pods: string[] = [];
  const given = new Set<string>();
  for (const object of flat) {
    if (inputKind(object.apiVersion, object.kind ?? "") !== "WorkloadEndpoint") continue;
    const { spec, metadata } = object as WorkloadEndpointObject;
    if (spec?.pod) given.add(`${metadata?.namespace || "default"}/${spec.pod}`);
  }
  let spare = mustIp("198.18.0.1");
  const made: WorkloadEndpointObject[] = [];
  for (const object of flat) {
    if (inputKind(object.apiVersion, object.kind ?? "") !== "Pod" || !object.metadata?.name) {
      continue;
    }
    const pod: PodObject = object;
    const namespace = object.metadata.namespace || "default";
    const key = `${namespace}/${object.metadata.name}`;
    if (pods.includes(key)) continue;
    pods.push(key);
    if (given.has(key)) continue;
    let addresses = listOf(pod.status?.podIPs).map((p) => p?.ip).filter((ip) => !!ip) as string[];
    if (addresses.length === 0 && pod.status?.podIP) addresses = [pod.status.podIP];
    if (addresses.length === 0) {
      addresses = [formatIp(spare)];
      spare = addToIp(spare, 1);
    }
    made.push({
      apiVersion: "projectcalico.org/v3",
      kind: "WorkloadEndpoint",
      metadata: { name: `matrix-k8s-${object.metadata.name}-eth0`, namespace },
      spec: {
        orchestrator: "k8s",
        pod: object.metadata.name,
        endpoint: "eth0",
        ipNetworks: addresses,
      },
    });
  }
  engine.update([...flat, ...made].map((put) => ({ put })));
  return { engine, pods };
}

/** Who reaches whom. */
export function matrix(
  objects: Iterable<unknown>,
  ports: readonly MatrixPort[],
  parameters: Partial<Omit<PolicyParameters, "nodeName">> = {},
): Matrix {
  const { engine, pods } = engineOf(objects, parameters);
  return matrixOf(new PolicyView(engine), pods, ports);
}

/**
 * The same for endpoints of a view: names, or addresses that need be nobody's. A side that is not an
 * endpoint allows all.
 */
export function matrixOf(
  view: PolicyView,
  endpoints: readonly string[],
  ports: readonly MatrixPort[],
  sourcePort = CLIENT_PORT,
): Matrix {
  const sides = endpoints.map((name) => name.includes("/") ? { endpoint: name } : { ip: name });
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
        const connection: Connection = { from, to, protocol, port, sourcePort };
        const [i, e] = [
          allowed(view, connection, "ingress"),
          allowed(view, connection, "egress"),
        ];
        ingress += i ? "." : "X";
        egress += e ? "." : "X";
        combined += i && e ? "." : "X";
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
function allowed(view: PolicyView, connection: Connection, direction: Direction): boolean {
  try {
    return view.allowsSide(connection, direction) ?? true;
  } catch (error) {
    if (error instanceof ExplainError && /^(no-address|bad-port)$/.test(error.kind)) return false;
    throw error;
  }
}
