/**
 * Rulesets as text in nft's own language, for people and tests: `nft -f` loads what is printed here.
 * The node service does not use it; it speaks netlink. What two programs make of the same ruleset
 * can be compared.
 */
import type {
  Action,
  BaseHook,
  Chain,
  Family,
  MapVerdict,
  Match,
  Rule,
  Ruleset,
  RulesetDelta,
  SetDef,
} from "./rules.ts";

/** The whole table; the one of that name that was there is replaced. */
export function printRuleset(ruleset: Ruleset, table = "calico"): string {
  const family = ruleset.family === 4 ? "ip" : "ip6";
  const lines = [`table ${family} ${table}`, `delete table ${family} ${table}`];
  lines.push(`table ${family} ${table} {`);
  const sorted = <T extends { readonly name: string }>(items: Iterable<T>): T[] =>
    [...items].sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  for (const set of sorted(ruleset.sets.values())) lines.push(...printSet(set, ruleset.family));
  // Chains first by name alone: they may jump to one another in any order.
  for (const chain of sorted(ruleset.chains.values())) {
    lines.push(...printChain(chain, ruleset.family));
  }
  lines.push("}");
  return lines.join("\n") + "\n";
}

/**
 * One change of the table, as commands: what `nft -f` makes of it is what the delta asks for. A chain
 * that differs is written anew, for nft has no other way without knowing handles.
 */
export function printDelta(delta: RulesetDelta, table = "calico"): string {
  const { family } = delta;
  const at = `${family === 4 ? "ip" : "ip6"} ${table}`;
  const lines: string[] = [], last: string[] = [], verdicts: string[] = [];
  const members = (to: string[], verb: string, name: string, all: Iterable<string>) => {
    const list = [...all];
    if (list.length > 0) to.push(`${verb} element ${at} ${name} { ${list.join(", ")} }`);
  };
  const entry = ([name, v]: readonly [string, MapVerdict]) => `"${name}" : ${printVerdict(v)}`;
  const text = (member: string) => member.replaceAll(",", " . ");
  for (const [name, change] of delta.sets) {
    switch (change.is) {
      case "new": {
        const { set } = change;
        const map = set.kind === "verdict-map";
        const head = `${map ? "map" : "set"} ${at} ${name}`;
        lines.push(`add ${head} { ${setType(set.kind, family).join("; ")}; }`);
        if (map) members(verdicts, "add", name, [...set.members].map(entry));
        else members(lines, "add", name, [...set.members].map(text));
        break;
      }
      case "gone":
        last.push(`delete set ${at} ${name}`);
        break;
      case "members":
        members(lines, "delete", name, change.remove.map(text));
        members(lines, "add", name, change.add.map(text));
        break;
      case "verdicts":
        members(verdicts, "delete", name, change.remove.map((m) => `"${m}"`));
        members(verdicts, "add", name, change.add.map(entry));
    }
  }
  const rules: string[] = [];
  for (const [name, chain] of delta.chains) {
    const subject = `chain ${at} ${name}`;
    if (chain) {
      lines.push(`add ${subject}${chain.base ? ` { ${printBase(chain.base)} }` : ""}`);
      rules.push(`flush ${subject}`);
      for (const r of chain.rules) rules.push(`add rule ${at} ${name} ${printRule(r, family)}`);
    } else {
      rules.push(`flush ${subject}`);
      last.unshift(`delete ${subject}`);
    }
  }
  return [...lines, ...rules, ...verdicts, ...last].join("\n") + "\n";
}

function setType(kind: SetDef["kind"], family: Family): string[] {
  const address = family === 4 ? "ipv4_addr" : "ipv6_addr";
  switch (kind) {
    case "verdict-map":
      return ["type ifname : verdict"];
    case "addr-port":
      return [`type ${address} . inet_proto . inet_service`];
    case "net":
      return [`type ${address}`, "flags interval"];
    case "addr":
      return [`type ${address}`];
  }
}

function printSet(set: SetDef, family: Family): string[] {
  const type = setType(set.kind, family);
  if (set.kind === "verdict-map") {
    const verdicts = [...set.members].map(([name, v]) => `"${name}" : ${printVerdict(v)}`);
    return block(`map ${set.name}`, [...type, ...elements(verdicts)]);
  }
  const members = [...set.members].map((m) => m.replaceAll(",", " . "));
  return block(`set ${set.name}`, [...type, ...elements(members)]);
}

function elements(members: string[]): string[] {
  return members.length === 0 ? [] : [`elements = { ${members.sort().join(", ")} }`];
}

function printChain(chain: Chain, family: Family): string[] {
  const { base } = chain;
  return block(`chain ${chain.name}`, [
    ...(base ? [printBase(base)] : []),
    ...chain.rules.map((rule) => printRule(rule, family)),
  ]);
}

function printBase({ type, hook, priority, policy }: BaseHook): string {
  return `type ${type} hook ${hook} priority ${priority}; policy ${policy};`;
}

function block(head: string, lines: readonly string[]): string[] {
  return [`\t${head} {`, ...lines.map((line) => `\t\t${line}`), "\t}"];
}

/** One rule, as it stands in a chain. */
export function printRule(rule: Rule, family: Family): string {
  const parts = rule.statements.map((s) =>
    "match" in s ? printMatch(s, family) : printAction(s, family)
  );
  if (rule.comment !== undefined) parts.push(`comment "${rule.comment.replaceAll('"', "'")}"`);
  return parts.join(" ");
}

function printMatch(match: Match, family: Family): string {
  const ip = family === 4 ? "ip" : "ip6";
  const not = "not" in match && match.not ? "!= " : "";
  switch (match.match) {
    case "iifname":
    case "oifname":
      return `${match.match} ${not}"${match.value}"`;
    case "saddr":
    case "daddr":
      return `${ip} ${match.match} ${not}${"prefix" in match ? match.prefix : `@${match.set}`}`;
    case "protocol":
      return `meta l4proto ${not}${match.value}`;
    case "sport":
    case "dport": {
      const ranges = match.ranges.map(([a, b]) => a === b ? `${a}` : `${a}-${b}`);
      return `th ${match.match} ${not}${
        ranges.length === 1 ? ranges[0] : `{ ${ranges.join(", ")} }`
      }`;
    }
    case "address-port": {
      const [address, port] = match.side === "source" ? ["saddr", "sport"] : ["daddr", "dport"];
      return `${ip} ${address} . meta l4proto . th ${port} ${not}@${match.set}`;
    }
    case "icmp": {
      const icmp = family === 4 ? "icmp" : "icmpv6";
      if (match.code === undefined) return `${icmp} type ${not}${match.type}`;
      return `${icmp} type . ${icmp} code ${not}{ ${match.type} . ${match.code} }`;
    }
    case "ctstate":
      return `ct state ${not}{ ${match.states.join(", ")} }`;
    case "ctstatus":
      return match.not
        ? `ct status & ${match.status} == 0`
        : `ct status & ${match.status} == ${match.status}`;
    case "mark":
    case "ctmark": {
      const what = match.match === "mark" ? "meta mark" : "ct mark";
      return `${what} & 0x${hex(match.mask)} ${match.not ? "!=" : "=="} 0x${hex(match.value)}`;
    }
    case "fib-daddr-local":
      return `fib daddr type ${not}local`;
    case "fib-saddr-local":
      return `fib saddr type ${not}local`;
    case "fib-saddr-oif-local":
      return `fib saddr . oif type ${not}local`;
    case "over-rate":
      return `limit rate over ${match.rate} ${match.unit}/second burst ${match.burst} ${match.unit}`;
    case "over-connections":
      return `ct count over ${match.count}`;
    case "rpf-fail":
      return "fib saddr . mark . iif oif 0";
  }
}

function printAction(action: Action, family: Family): string {
  switch (action.do) {
    case "mark": {
      const keep = (~action.mask) >>> 0;
      const kept = `meta mark set mark & 0x${hex(keep)}`;
      return action.value === 0 ? kept : `${kept} ^ 0x${hex(action.value)}`;
    }
    case "vmap":
      return `${action.key} vmap @${action.map}`;
    case "jump":
    case "goto":
      return `${action.do} ${action.chain}`;
    case "reject":
      return family === 4
        ? "reject with icmp port-unreachable"
        : "reject with icmpv6 port-unreachable";
    case "masquerade":
      return action.ports
        ? `masquerade to :${action.ports[0]}-${action.ports[1]}`
        : "masquerade fully-random";
    case "dnat":
    case "snat":
      return `${action.do} to ${action.address}`;
    case "log":
      return `log prefix "${action.prefix}"${
        action.group === undefined ? "" : ` group ${action.group}`
      }`;
    default:
      return action.do;
  }
}

function printVerdict(verdict: MapVerdict): string {
  return "chain" in verdict ? `${verdict.do} ${verdict.chain}` : verdict.do;
}

function hex(n: number): string {
  return n.toString(16);
}
