/**
 * Why is a connection allowed or denied? A view of an engine answers for one described connection:
 * the verdict, and the walk of either side through tiers, policies, rules and profiles. It runs the
 * connection through the engine's own rulesets (`evaluate.ts`), so it cannot say otherwise than the
 * kernel does.
 *
 * What a host and its own pods say to each other takes other ways than what is forwarded: to the host
 * through the input hook, from it through the output hook, where nothing of ours stands in the way.
 * Whose an address is, the Node objects say, or the caller.
 *
 * An engine without a node name holds every endpoint of the cluster and answers for any pair. That
 * of a node judges its own endpoints; the other side is judged where it lives, and the walk says so.
 */
import { formatIp, type Ip, mustIp, parseIp } from "../mod/net/mod.ts";
import type { Direction } from "./effective.ts";
import type { Endpoint, EndpointPort } from "./endpoint.ts";
import type { PolicyEngine } from "./engine.ts";
import { Evaluator, type Packet, type Run } from "./evaluate.ts";
import { protocolName, protocolNumber } from "./protocol.ts";
import type { Family } from "./rules.ts";
import { type WalkStep, WalkWriter } from "./walk.ts";

export type { WalkStep } from "./walk.ts";

/** A side of a connection: a pod (`namespace/pod`) or endpoint, or an address that may be one's. */
export type Side = { readonly endpoint: string } | { readonly ip: string };

export interface Connection {
  readonly from: Side;
  readonly to: Side;
  /** `TCP`, `udp`, 132 … */
  readonly protocol: string | number;
  /** The server's, by number or by the name it has there; needed for TCP, UDP and SCTP. */
  readonly port?: number | string;
  /** The client's; one that programs get by themselves where absent. */
  readonly sourcePort?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  /** Which family where both sides have both; IPv4 where absent. */
  readonly family?: Family;
}

export interface SideVerdict {
  readonly direction: Direction;
  /** `namespace/pod`. */
  readonly endpoint: string;
  readonly allowed: boolean;
  readonly walk: readonly WalkStep[];
}

export interface Explanation {
  readonly allowed: boolean;
  readonly family: Family;
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly port?: number;
  /** Of the client's endpoint; absent where it has none here. */
  readonly egress?: SideVerdict;
  /** Of the server's endpoint. */
  readonly ingress?: SideVerdict;
  /** What a reader should know beside the verdict. */
  readonly notes: readonly string[];
}

/** A question that cannot be answered: why, and what would do. */
export class ExplainError extends Error {
  override readonly name = "ExplainError";
  constructor(
    readonly kind: "unknown-endpoint" | "no-address" | "bad-address" | "bad-port" | "bad-protocol",
    message: string,
  ) {
    super(message);
  }
}

/** Source port of a connection that says none: in Linux' range for clients. */
export const CLIENT_PORT = 40_000;

/** The family that a protocol belongs to alone. */
const icmpFamily: Readonly<Record<number, Family | undefined>> = { 1: 4, 58: 6 };

interface Resolved {
  readonly endpoint?: Endpoint;
  readonly addresses: Readonly<Record<Family, string | undefined>>;
  /** Where a port's name is looked up. */
  readonly ports: readonly EndpointPort[];
}

/**
 * A pod on its node's network: no endpoint, so no policy is its own, no selector finds it and no named
 * port of a policy is one of its; who connects to it knows its ports all the same.
 */
export interface HostPod {
  readonly addresses: Readonly<Record<Family, readonly string[]>>;
  readonly ports: readonly EndpointPort[];
}

export interface ViewOptions {
  /** Address -> node, beside what Node objects say. */
  readonly nodes?: ReadonlyMap<string, string>;
  /** By `namespace/pod`. */
  readonly hostPods?: ReadonlyMap<string, HostPod>;
  /** The engine with the parameters of a node, where they are not everybody's. */
  readonly engineOf?: (node: string) => PolicyEngine;
}

/** An engine at one moment, ready for questions. Make a new one after an update. */
export class PolicyView {
  readonly #evaluators = new Map<PolicyEngine, Partial<Record<Family, Evaluator>>>();
  readonly #byName = new Map<string, Endpoint>();
  readonly #byAddress = new Map<string, Endpoint>();
  readonly #ips = new Map<string, Ip>();

  constructor(readonly engine: PolicyEngine, readonly options: ViewOptions = {}) {
    for (const endpoint of engine.endpoints()) {
      this.#byName.set(endpoint.key, endpoint);
      if (endpoint.pod !== "") this.#byName.set(`${endpoint.namespace}/${endpoint.pod}`, endpoint);
      for (const family of [4, 6] as const) {
        for (const address of endpoint.addresses[family]) this.#byAddress.set(address, endpoint);
      }
    }
  }

  /** An endpoint by `namespace/pod`, by its own name, or by an address. */
  find(name: string): Endpoint | undefined {
    return this.#byName.get(name) ?? this.#byAddress.get(name);
  }

  /** Whether the connection is allowed; throws an ExplainError as `explain`. */
  allows(connection: Connection): boolean {
    const { sides } = this.#prepare(connection);
    return sides.every(({ run }) => run(false).verdict === "accept");
  }

  /** The verdicts of both sides; undefined for one that has no endpoint here. */
  verdicts(connection: Connection): Partial<Record<Direction, boolean>> {
    const result: Partial<Record<Direction, boolean>> = {};
    for (const { direction, run } of this.#prepare(connection).sides) {
      result[direction] = run(false).verdict === "accept";
    }
    return result;
  }

  explain(connection: Connection): Explanation {
    const { sides, family, source, destination, protocol, port, notes } = this.#prepare(connection);
    const verdicts = sides.map(({ direction, endpoint, hook, run }): SideVerdict => {
      const result = run(true);
      const allowed = result.verdict === "accept";
      const walk = new WalkWriter(direction, (name) => this.engine.describeSet(family, name))
        .walk(result);
      if (hook === "output" && allowed && walk.length === 0) {
        const text = "not policed: it comes from the pod's own node";
        walk.push({ is: "end", outcome: "allow", text });
      }
      return {
        direction,
        endpoint: nameOf(endpoint),
        allowed,
        walk,
      };
    });
    return {
      allowed: verdicts.every((v) => v.allowed),
      family,
      source,
      destination,
      protocol,
      port,
      egress: verdicts.find((v) => v.direction === "egress"),
      ingress: verdicts.find((v) => v.direction === "ingress"),
      notes: [...notes, ...this.#problemNotes(sides.map(({ endpoint }) => endpoint.namespace))],
    };
  }

  /** What could not be understood of policies that these namespaces have, or all. */
  #problemNotes(namespaces: readonly string[]): string[] {
    return this.engine.problems()
      .filter(({ namespace }) => namespace === "" || namespaces.includes(namespace))
      .map(({ object, message }) => `${object}: ${message}`);
  }

  #prepare(connection: Connection) {
    const protocol = protocolNumber(connection.protocol);
    if (protocol === undefined) {
      throw new ExplainError(
        "bad-protocol",
        `"${connection.protocol}" is not a protocol: TCP, UDP, SCTP, ICMP, ICMPv6 or a number`,
      );
    }
    const from = this.#resolve(connection.from);
    const to = this.#resolve(connection.to);
    // ICMP is IPv4's and ICMPv6 is IPv6's.
    const family = connection.family ?? icmpFamily[protocol] ??
      ([4, 6] as const).find((f) =>
        from.addresses[f] !== undefined && to.addresses[f] !== undefined
      );
    const source = family && from.addresses[family];
    const destination = family && to.addresses[family];
    if (!family || source === undefined || destination === undefined) {
      throw new ExplainError(
        "no-address",
        `the two sides have no ${
          family ? `IPv${family} address both` : "address of the same family"
        } (client ${describe(from)}, server ${describe(to)})`,
      );
    }
    const port = this.#port(connection, to, protocol);
    const packet: Packet = {
      source: this.#ip(source),
      destination: this.#ip(destination),
      protocol,
      sourcePort: port === undefined ? undefined : connection.sourcePort ?? CLIENT_PORT,
      destinationPort: port,
      icmpType: connection.icmpType ?? (protocol === 1 ? 8 : protocol === 58 ? 128 : undefined),
      icmpCode: connection.icmpCode ?? 0,
    };
    const notes: string[] = [];
    const sides: {
      direction: Direction;
      endpoint: Endpoint;
      hook: "forward" | "input" | "output";
      run: (trace: boolean) => Run;
    }[] = [];
    for (
      const [direction, endpoint] of [["egress", from.endpoint], ["ingress", to.endpoint]] as const
    ) {
      if (!endpoint) continue;
      const { nodeName } = this.engine.parameters;
      if (nodeName !== undefined && endpoint.node !== nodeName) {
        notes.push(`${direction} of ${nameOf(endpoint)} is judged on node ${endpoint.node}`);
        continue;
      }
      // A pod whose interface has no chains yet is closed; so is one whose interface is not known.
      const engine = this.options.engineOf?.(endpoint.node) ?? this.engine;
      const known = engine.endpoint(endpoint.key)?.interfaceName;
      if (!known) {
        notes.push(
          `${
            nameOf(endpoint)
          } has no interface that policy knows (no WorkloadEndpoint names one on ` +
            "the node that it runs on): all that is forwarded for it is dropped",
        );
      }
      const name = known || `${engine.parameters.interfacePrefixes[0]}?`;
      const other = direction === "egress" ? destination : source;
      const ownNode = endpoint.node !== "" && this.#nodeOf(other) === endpoint.node;
      const [hook, onTheWay] = direction === "egress"
        ? ([ownNode ? "input" : "forward", { iifname: name, destinationIsLocal: ownNode }] as const)
        : ([ownNode ? "output" : "forward", { oifname: name, sourceIsLocal: ownNode }] as const);
      sides.push({
        direction,
        endpoint,
        hook,
        run: (trace) =>
          this.#evaluator(engine, family).runHook(hook, { ...packet, ...onTheWay }, trace),
      });
    }
    if (from.endpoint && from.endpoint === to.endpoint) {
      notes.push("what a pod sends to itself does not leave it: in a cluster no policy is asked");
    }
    if (!from.endpoint && !to.endpoint) {
      notes.push("neither side is an endpoint of this cluster: no policy is asked");
    }
    notes.push(...this.#sideNotes(connection.from, source, sides.length > 0));
    notes.push(...this.#sideNotes(connection.to, destination, sides.length > 0));
    return { sides, family, source, destination, protocol, port, notes };
  }

  /** What a side is taken for that is no endpoint. */
  #sideNotes(side: Side, address: string, asked: boolean): string[] {
    if ("endpoint" in side) {
      if (this.#byName.has(side.endpoint) || !this.options.hostPods?.has(side.endpoint)) return [];
      return [
        `${side.endpoint} is on its node's network: no policy applies to it, and rules see the ` +
        `address ${address}`,
      ];
    }
    if (!asked || this.#byAddress.has(address)) return [];
    if (this.options.nodes?.has(address) || this.engine.nodeOf(address) !== undefined) return [];
    return [
      `${address} stands in no Pod and no Node: it is taken for an address outside the cluster`,
    ];
  }

  #nodeOf(address: string): string | undefined {
    return this.options.nodes?.get(address) || this.engine.nodeOf(address);
  }

  #evaluator(engine: PolicyEngine, family: Family): Evaluator {
    let evaluators = this.#evaluators.get(engine);
    if (!evaluators) this.#evaluators.set(engine, evaluators = {});
    return evaluators[family] ??= new Evaluator(engine.ruleset(family));
  }

  #resolve(side: Side): Resolved {
    if ("ip" in side) {
      const ip = parseIp(side.ip);
      if (!ip) throw new ExplainError("bad-address", `"${side.ip}" is not an IP address`);
      const text = formatIp(ip);
      const endpoint = this.#byAddress.get(text);
      return {
        endpoint,
        addresses: { 4: ip.family === 4 ? text : undefined, 6: ip.family === 6 ? text : undefined },
        ports: endpoint?.ports ?? [],
      };
    }
    const endpoint = this.#byName.get(side.endpoint);
    const found = endpoint ?? this.options.hostPods?.get(side.endpoint);
    if (!found) {
      throw new ExplainError(
        "unknown-endpoint",
        `there is no endpoint ${side.endpoint}: name a pod as NAMESPACE/POD, or an IP address`,
      );
    }
    return {
      endpoint,
      addresses: { 4: found.addresses[4][0], 6: found.addresses[6][0] },
      ports: found.ports,
    };
  }

  #port({ port }: Connection, to: Resolved, protocol: number): number | undefined {
    const hasPorts = protocol === 6 || protocol === 17 || protocol === 132;
    if (port === undefined) {
      if (!hasPorts) return undefined;
      throw new ExplainError("bad-port", `${protocolName(protocol)} needs a port`);
    }
    if (!hasPorts) {
      throw new ExplainError("bad-port", `${protocolName(protocol)} has no ports`);
    }
    const number = typeof port === "number" || /^[0-9]+$/.test(port)
      ? Number(port)
      : to.ports.find((p) => p.name === port && p.protocol === protocol)?.port;
    if (number === undefined) {
      throw new ExplainError(
        "bad-port",
        `the server has no ${protocolName(protocol)} port named "${port}"`,
      );
    }
    if (!Number.isInteger(number) || number < 0 || number > 65535) {
      throw new ExplainError("bad-port", `${port} is not a port: 0 to 65535`);
    }
    return number;
  }

  #ip(text: string): Ip {
    let ip = this.#ips.get(text);
    if (!ip) this.#ips.set(text, ip = mustIp(text));
    return ip;
  }
}

function nameOf(endpoint: Endpoint): string {
  return endpoint.pod === "" ? endpoint.key : `${endpoint.namespace}/${endpoint.pod}`;
}

function describe(side: Resolved): string {
  const list = [side.addresses[4], side.addresses[6]].filter((a) => a !== undefined);
  return list.length > 0 ? list.join(" and ") : "without address";
}

const indent: Readonly<Record<WalkStep["is"], string>> = {
  tier: "  ",
  policy: "    ",
  profile: "    ",
  rule: "      ",
  end: "  ",
};

/** The explanation as lines for a terminal. */
export function formatExplanation(explanation: Explanation): string[] {
  const { source, destination, protocol, port, egress, ingress, notes } = explanation;
  const name = (side: SideVerdict | undefined, address: string) =>
    side ? `${side.endpoint} (${address})` : address;
  const lines = [
    `${name(egress, source)} -> ${name(ingress, destination)}, ${
      /^[0-9]/.test(protocolName(protocol)) ? `protocol ${protocol}` : protocolName(protocol)
    }${port === undefined ? "" : ` port ${port}`}: ${explanation.allowed ? "allowed" : "denied"}`,
  ];
  for (const side of [egress, ingress]) {
    if (!side) continue;
    lines.push(`${side.direction} of ${side.endpoint}: ${side.allowed ? "allowed" : "denied"}`);
    for (const step of side.walk) lines.push(indent[step.is] + step.text);
  }
  for (const note of notes) lines.push(`note: ${note}`);
  return lines;
}
