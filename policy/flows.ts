/**
 * Which live connections does policy no longer allow? Packets of an established connection pass the
 * chains of endpoints unseen, so a change from allow to deny leaves it open until somebody marks its
 * tracking as cut. This judges a tracked connection as if it began now; `mod/node` marks those that
 * fail.
 *
 * A connection is judged as the forward hook saw its first packet: from the client's own address
 * (masquerading comes later) to the server behind any service address (its translation came before),
 * which is where the replies come from; the client's side by the chains of the interface that it came
 * in by, the server's by those of the one that it left by. Sides that live on other nodes are judged
 * there. What the host itself began is not policed and never cut.
 *
 * Thousands of connections differ by the client's port alone, which hardly any policy asks for: then
 * one answer serves them all.
 */
import { type Ip, ipKey, mustIp } from "../mod/net/mod.ts";
import type { Endpoint } from "./endpoint.ts";
import type { PolicyEngine } from "./engine.ts";
import { Evaluator, type Packet } from "./evaluate.ts";
import { chains } from "./names.ts";
import { touchedInterfaces, type TouchedNames } from "./reach.ts";
import { type Chain, type Family, portProtocols } from "./rules.ts";

export interface FlowTuple {
  readonly source: Ip;
  readonly destination: Ip;
  /** Layer 4 protocol number. */
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmp?: { readonly type: number; readonly code: number };
}

/** A tracked connection (ffi's `Flow` is one). */
export interface TrackedFlow {
  /** The first packet as it was sent. */
  readonly original: FlowTuple;
  /** An answer as it will be sent. */
  readonly reply: FlowTuple;
}

/** So many answers are kept. */
const MOST_ANSWERS = 20_000;

interface Rules {
  readonly evaluator: Evaluator;
  /** Whether a rule asks for the client's port; undefined: nobody wanted to know yet. */
  bySourcePort?: boolean;
  readonly answers: Map<string, boolean>;
}

interface OwnAddress {
  readonly ip: Ip;
  readonly key: string;
}

/** Addresses of endpoints, read once; an endpoint that changes is another object. */
const addressesOf = new WeakMap<Endpoint, readonly OwnAddress[]>();

function readAddresses(endpoint: Endpoint): readonly OwnAddress[] {
  let addresses = addressesOf.get(endpoint);
  if (!addresses) {
    addresses = [...endpoint.addresses[4], ...endpoint.addresses[6]].map((text) => {
      const ip = mustIp(text);
      return { ip, key: ipKey(ip) };
    });
    addressesOf.set(endpoint, addresses);
  }
  return addresses;
}

/** The endpoints of a node. */
interface Local {
  readonly revision: number;
  /** Address -> interface. */
  readonly interfaces: ReadonlyMap<string, string>;
  /** Interface -> addresses. */
  readonly addresses: ReadonlyMap<string, readonly OwnAddress[]>;
}

/** Most changes leave the endpoints as they are, and a thousand of them weigh more than a change may. */
const locals = new WeakMap<PolicyEngine, Local>();

function localOf(engine: PolicyEngine): Local {
  const known = locals.get(engine);
  if (known?.revision === engine.localRevision) return known;
  const interfaces = new Map<string, string>(),
    addresses = new Map<string, readonly OwnAddress[]>();
  for (const endpoint of engine.endpoints()) {
    if (!engine.isLocal(endpoint)) continue;
    const { interfaceName } = endpoint;
    const own = readAddresses(endpoint);
    const others = addresses.get(interfaceName);
    addresses.set(interfaceName, others ? [...others, ...own] : own);
    for (const { key } of own) interfaces.set(key, interfaceName);
  }
  const local = { revision: engine.localRevision, interfaces, addresses };
  locals.set(engine, local);
  return local;
}

/**
 * The policy of an engine's node at one moment. Make a new one after an update. Cheap to make: a change
 * of one element must not cost what the whole ruleset weighs.
 */
export class FlowJudge {
  readonly revision: number;
  readonly #rules: Record<Family, Rules>;
  readonly #local: Local;
  readonly #host: ReadonlySet<string>;

  constructor(engine: PolicyEngine, hostAddresses: Iterable<Ip>) {
    this.revision = engine.revision;
    this.#rules = { 4: rulesOf(engine, 4), 6: rulesOf(engine, 6) };
    this.#host = new Set([...hostAddresses].map(ipKey));
    this.#local = localOf(engine);
  }

  /** Addresses of the local endpoints that changed chains or sets lead to; of such interfaces alone. */
  addressesBehind(
    family: Family,
    names: TouchedNames,
    isWanted: (interfaceName: string) => boolean = () => true,
  ): Ip[] {
    const { ruleset } = this.#rules[family].evaluator;
    return [...touchedInterfaces(ruleset, names)].filter(isWanted)
      .flatMap((name) => this.#local.addresses.get(name) ?? [])
      .map(({ ip }) => ip).filter((ip) => ip.family === family);
  }

  /** Whether the connection would be allowed if it began now. */
  isAllowed({ original, reply }: TrackedFlow): boolean {
    const client = ipKey(original.source), server = ipKey(reply.source);
    const iifname = this.#local.interfaces.get(client);
    const oifname = this.#local.interfaces.get(server);
    if ((iifname === undefined && oifname === undefined) || this.#host.has(client)) return true;
    const { protocol, icmp, sourcePort } = original;
    const rules = this.#rules[original.source.family];
    const { evaluator, answers } = rules;
    rules.bySourcePort ??= [...evaluator.ruleset.chains.values()].some(asksForSourcePort);
    // Other protocols that are tracked by numbers (GRE's keys) have none that rules ask for.
    const hasPorts = portProtocols.has(protocol);
    const port = hasPorts ? reply.sourcePort ?? original.destinationPort : undefined;
    const key = `${client}${server} ${protocol} ${port ?? `${icmp?.type} ${icmp?.code}`}${
      rules.bySourcePort ? ` ${sourcePort}` : ""
    }`;
    let allowed = answers.get(key);
    if (allowed === undefined) {
      const packet: Packet = {
        source: original.source,
        destination: reply.source,
        protocol,
        sourcePort: hasPorts ? sourcePort : undefined,
        destinationPort: port,
        icmpType: icmp?.type,
        icmpCode: icmp?.code,
      };
      const destinationIsLocal = this.#host.has(server);
      const hook = destinationIsLocal ? chains.filterInput : chains.filterForward;
      const passes = (side: Pick<Packet, "iifname" | "oifname">) =>
        evaluator.run(hook, { ...packet, ...side, destinationIsLocal }).verdict === "accept";
      allowed = (iifname === undefined || passes({ iifname })) &&
        (oifname === undefined || passes({ oifname }));
      if (answers.size >= MOST_ANSWERS) answers.clear();
      answers.set(key, allowed);
    }
    return allowed;
  }
}

function rulesOf(engine: PolicyEngine, family: Family): Rules {
  return { evaluator: new Evaluator(engine.live(family)), answers: new Map() };
}

const asking = new WeakMap<Chain, boolean>();

function asksForSourcePort(chain: Chain): boolean {
  const known = asking.get(chain);
  if (known !== undefined) return known;
  const asks = chain.rules.some(({ statements }) =>
    statements.some((s) =>
      "match" in s &&
      (s.match === "sport" || (s.match === "address-port" && s.side === "source"))
    )
  );
  asking.set(chain, asks);
  return asks;
}
