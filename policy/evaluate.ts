/**
 * Runs a described packet through rendered rules as nf_tables would: statement by statement, with
 * marks, jumps, gotos, verdict maps and sets. It is the oracle of the kernel: explanations, matrices
 * and the choice of connections to cut all ask here, over the very rules that the kernel got.
 */
import {
  formatIp,
  formatPrefix,
  type Ip,
  mustPrefix,
  type Prefix,
  prefixContains,
  prefixOf,
} from "../mod/net/mod.ts";
import {
  type BaseHook,
  type Chain,
  type ConntrackState,
  type MapVerdict,
  type Match,
  portProtocols,
  type Rule,
  type RulesView,
  type SetDef,
} from "./rules.ts";

/** What the rules can see of a packet. Host facts default to: not this host's, route is fine. */
export interface Packet {
  readonly iifname?: string;
  readonly oifname?: string;
  readonly source: Ip;
  readonly destination: Ip;
  /** Layer 4 protocol number. */
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  /** A packet that begins a connection where absent. */
  readonly state?: ConntrackState;
  readonly translated?: "dnat" | "snat";
  readonly mark?: number;
  /** Of its connection; a new one has none. */
  readonly connectionMark?: number;
  readonly destinationIsLocal?: boolean;
  readonly sourceIsLocal?: boolean;
  readonly sourceIsOfInterface?: boolean;
  readonly spoofed?: boolean;
}

export type Verdict = "accept" | "drop" | "reject";

/** A rule that was asked. */
export interface Step {
  readonly chain: string;
  readonly index: number;
  readonly rule: Rule;
  /** The first match that did not hold; absent: all held. */
  readonly failed?: Match;
}

export interface Run {
  readonly verdict: Verdict;
  /**
   * The rules that held, in order, and those of policies and profiles that did not; only where they
   * were asked for.
   */
  readonly steps: readonly Step[];
  /** The mark in the end. */
  readonly mark: number;
  /** The rule that gave the verdict; absent where a base chain's policy did. */
  readonly decidedBy?: Step;
}

/** nf_tables allows as many jumps inside one another. */
const MAX_DEPTH = 16;

interface Frame {
  readonly chain: Chain;
  next: number;
}

/** A ruleset made ready to be asked. It must not change meanwhile. */
export class Evaluator {
  readonly #hooks = new Map<BaseHook["hook"], readonly string[]>();
  readonly #lengths = new Map<SetDef, readonly number[]>();
  readonly #prefixes = new Map<string, Prefix>();
  // Texts of addresses that are asked about again and again, as a matrix does.
  readonly #texts = new WeakMap<Ip, string>();
  readonly #nets = new WeakMap<Ip, string[]>();

  constructor(readonly ruleset: RulesView) {}

  /** Runs the packet from the beginning of a chain; a chain that ends without verdict accepts. */
  run(chainName: string, packet: Packet, trace = false): Run {
    const steps: Step[] = [];
    const frames: Frame[] = [{ chain: this.#chain(chainName), next: 0 }];
    let mark = packet.mark ?? 0;
    let frame: Frame, index = 0, rule: Rule;
    let step: Step | undefined;
    // The rule that is asked, noted once.
    const here = (): Step => {
      if (!step) {
        step = { chain: frame.chain.name, index, rule };
        if (trace) steps.push(step);
      }
      return step;
    };

    nextRule: for (;;) {
      if (frames.length === 0) return { verdict: "accept", steps, mark };
      frame = frames[frames.length - 1];
      index = frame.next++;
      rule = frame.chain.rules[index];
      step = undefined;
      if (!rule) {
        const policy = frame.chain.base?.policy;
        if (policy) return { verdict: policy, steps, mark };
        frames.pop();
        continue;
      }
      for (const statement of rule.statements) {
        if ("match" in statement) {
          if (this.#matches(statement, packet, mark)) continue;
          if (trace && (rule.origin?.is === "policy" || rule.origin?.is === "profile")) {
            steps.push({ chain: frame.chain.name, index, rule, failed: statement });
          }
          continue nextRule;
        }
        // A map's verdict acts as if it stood in the rule; without one the next rule is asked.
        const effect = statement.do === "vmap" ? this.#verdictOf(statement, packet) : statement;
        if (!effect) continue nextRule;
        switch (effect.do) {
          case "mark":
            mark = ((mark & ~effect.mask) | effect.value) >>> 0;
            break;
          case "counter":
          case "log":
          case "notrack":
            break;
          case "continue":
            here();
            continue nextRule;
          case "accept":
          case "drop":
          case "reject":
            return { verdict: effect.do, steps, mark, decidedBy: here() };
          case "masquerade":
          case "dnat":
          case "snat":
            return { verdict: "accept", steps, mark, decidedBy: here() };
          case "return":
            here();
            if (frame.chain.base) return { verdict: frame.chain.base.policy, steps, mark };
            frames.pop();
            continue nextRule;
          case "jump":
          case "goto":
            here();
            this.#call(frames, effect.do, effect.chain);
            continue nextRule;
          default:
            unreachable(effect);
        }
      }
      here();
    }
  }

  /** Runs the packet through all chains on a hook that may drop it, in their order. */
  runHook(hook: BaseHook["hook"], packet: Packet, trace = false): Run {
    let onHook = this.#hooks.get(hook);
    if (!onHook) {
      onHook = [...this.ruleset.chains.values()]
        .filter(({ base }) => base?.hook === hook && base.type !== "nat")
        .sort((a, b) => a.base!.priority - b.base!.priority).map(({ name }) => name);
      this.#hooks.set(hook, onHook);
    }
    if (onHook.length === 1) return this.run(onHook[0], packet, trace);
    let result: Run = { verdict: "accept", steps: [], mark: packet.mark ?? 0 };
    for (const name of onHook) {
      const run = this.run(name, { ...packet, mark: result.mark }, trace);
      result = { ...run, steps: [...result.steps, ...run.steps] };
      if (run.verdict !== "accept") break;
    }
    return result;
  }

  #call(frames: Frame[], how: "jump" | "goto", name: string): void {
    if (frames.length > MAX_DEPTH) throw new Error(`chain ${name}: too many jumps in one another`);
    // After a goto the end of the new chain leads back to where this one was called.
    if (how === "goto") {
      const frame = frames.pop()!;
      // From a base chain there is no way back: its policy decides in the end.
      if (frame.chain.base) frames.push({ chain: frame.chain, next: frame.chain.rules.length });
    }
    frames.push({ chain: this.#chain(name), next: 0 });
  }

  #chain(name: string): Chain {
    const chain = this.ruleset.chains.get(name);
    if (!chain) throw new Error(`there is no chain ${name}`);
    return chain;
  }

  #set(name: string): SetDef {
    const set = this.ruleset.sets.get(name);
    if (!set) throw new Error(`there is no set ${name}`);
    return set;
  }

  #verdictOf(
    { key, map }: { readonly key: "iifname" | "oifname"; readonly map: string },
    packet: Packet,
  ): MapVerdict | undefined {
    const set = this.#set(map);
    if (set.kind !== "verdict-map") throw new Error(`${map} is no verdict map`);
    const name = key === "iifname" ? packet.iifname : packet.oifname;
    return name === undefined ? undefined : set.members.get(name);
  }

  #matches(match: Match, packet: Packet, mark: number): boolean {
    switch (match.match) {
      case "iifname":
        return flip(matchesName(match.value, packet.iifname), match.not);
      case "oifname":
        return flip(matchesName(match.value, packet.oifname), match.not);
      case "saddr":
      case "daddr": {
        const ip = match.match === "saddr" ? packet.source : packet.destination;
        const inside = "prefix" in match
          ? prefixContains(this.#prefix(match.prefix), ip)
          : this.holds(match.set, ip);
        return flip(inside, match.not);
      }
      case "protocol":
        return flip(packet.protocol === match.value, match.not);
      case "sport":
      case "dport": {
        const port = match.match === "sport" ? packet.sourcePort : packet.destinationPort;
        if (port === undefined) return false;
        const inside = match.ranges.some(([first, last]) => port >= first && port <= last);
        return flip(inside, match.not);
      }
      case "address-port": {
        const from = match.side === "source";
        const ip = from ? packet.source : packet.destination;
        const port = from ? packet.sourcePort : packet.destinationPort;
        const set = this.#set(match.set);
        const inside = set.kind === "addr-port" && port !== undefined &&
          portProtocols.has(packet.protocol) &&
          set.members.has(`${this.#textOf(ip)},${packet.protocol},${port}`);
        return flip(inside, match.not);
      }
      case "icmp":
        return flip(
          packet.icmpType === match.type &&
            (match.code === undefined || packet.icmpCode === match.code),
          match.not,
        );
      case "ctstate":
        return flip(match.states.includes(packet.state ?? "new"), match.not);
      case "ctstatus":
        return flip(packet.translated === match.status, match.not);
      case "mark":
        return flip(((mark & match.mask) >>> 0) === match.value, match.not);
      case "ctmark": {
        const found = ((packet.connectionMark ?? 0) & match.mask) >>> 0;
        return flip(found === match.value, match.not);
      }
      case "fib-daddr-local":
        return flip(packet.destinationIsLocal ?? false, match.not);
      case "fib-saddr-local":
        return flip(packet.sourceIsLocal ?? false, match.not);
      case "fib-saddr-oif-local":
        return flip(packet.sourceIsOfInterface ?? false, match.not);
      // A packet that is described is one that is within limits.
      case "over-rate":
      case "over-connections":
        return false;
      case "rpf-fail":
        return packet.spoofed ?? false;
      default:
        return unreachable(match);
    }
  }

  /** Whether an address is a member of a set of addresses or networks. */
  holds(setName: string, ip: Ip): boolean {
    const set = this.#set(setName);
    switch (set.kind) {
      case "addr":
        return set.members.has(this.#textOf(ip));
      case "net": {
        return this.#lengthsOf(set).some((length) => set.members.has(this.#netOf(ip, length)));
      }
      default:
        throw new Error(`${setName} is no set of addresses`);
    }
  }

  /** Lengths of the networks in a set: so many look-ups find what holds an address. */
  #lengthsOf(set: SetDef): readonly number[] {
    let lengths = this.#lengths.get(set);
    if (!lengths) {
      const found = new Set<number>();
      for (const member of set.members.keys()) {
        found.add(Number(member.slice(member.indexOf("/") + 1)));
      }
      lengths = [...found].sort((a, b) => b - a);
      this.#lengths.set(set, lengths);
    }
    return lengths;
  }

  #textOf(ip: Ip): string {
    let text = this.#texts.get(ip);
    if (text === undefined) this.#texts.set(ip, text = formatIp(ip));
    return text;
  }

  /** The network of a length that holds the address, as text. */
  #netOf(ip: Ip, length: number): string {
    let nets = this.#nets.get(ip);
    if (!nets) this.#nets.set(ip, nets = []);
    return nets[length] ??= formatPrefix(prefixOf(ip, length));
  }

  #prefix(text: string): Prefix {
    let prefix = this.#prefixes.get(text);
    if (!prefix) this.#prefixes.set(text, prefix = mustPrefix(text));
    return prefix;
  }
}

function flip(value: boolean, not: boolean | undefined): boolean {
  return value !== (not ?? false);
}

function matchesName(pattern: string, name: string | undefined): boolean {
  if (name === undefined) return false;
  return pattern.endsWith("*") ? name.startsWith(pattern.slice(0, -1)) : name === pattern;
}

function unreachable(value: never): never {
  throw new Error(`unknown ${JSON.stringify(value)}`);
}
