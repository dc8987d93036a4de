/**
 * The small language in which policy is rendered for the kernel: chains of rules over sets, for the
 * table `calico` of one address family. It is a value, nothing more: `mod/node/nft` compiles it to
 * nf_tables expressions, `evaluate.ts` runs a described packet through it, `text.ts` prints it.
 * Because all three read the same rules, what `policy explain` says is what the kernel does.
 *
 * The language is the part of nf_tables that Calico's rules need (felix/rules, nftables mode), in
 * Calico's order of thought: a rule is a list of statements, run from left to right; the first match
 * that does not hold ends the rule; actions before a verdict take effect (marks, counters, logs).
 *
 * Conventions that a compiler may rely on:
 * - prefixes and addresses are canonical text of the ruleset's own family (`10.0.0.0/8`, `fd00::1`);
 * - members of a `net` set never overlap or nest, so an interval set takes them as they are; they
 *   may touch;
 * - `sport`, `dport` and `icmp` only follow a positive `protocol` match of the same rule;
 * - ranges of ports are sorted, disjoint and not empty; inclusive on both sides;
 * - a set or chain that a rule names is in the same ruleset; chains do not call themselves;
 * - chain and set names are at most 255 characters of `[A-Za-z0-9_./-]`.
 */

export type Family = 4 | 6;

/** Protocol numbers that have ports: UDPLite (136) has them too, but Calico's rules do not use them. */
export const portProtocols: ReadonlySet<number> = new Set([6, 17, 132]);

export type ConntrackState = "new" | "established" | "related" | "invalid" | "untracked";

/** Inclusive on both sides. */
export type PortRange = readonly [first: number, last: number];

export type Match =
  /** A trailing `*` matches every name with that beginning. */
  | { readonly match: "iifname" | "oifname"; readonly value: string; readonly not?: boolean }
  | { readonly match: "saddr" | "daddr"; readonly prefix: string; readonly not?: boolean }
  /** The address is a member of an `addr` or `net` set. */
  | { readonly match: "saddr" | "daddr"; readonly set: string; readonly not?: boolean }
  /** Layer 4 protocol number (in IPv6 behind the extension headers). */
  | { readonly match: "protocol"; readonly value: number; readonly not?: boolean }
  | {
    readonly match: "sport" | "dport";
    readonly ranges: readonly PortRange[];
    readonly not?: boolean;
  }
  /** (address, protocol, port) of one side is a member of an `addr-port` set. */
  | {
    readonly match: "address-port";
    readonly side: "source" | "destination";
    readonly set: string;
    readonly not?: boolean;
  }
  /** ICMP in family 4, ICMPv6 in family 6; `not` negates type and code as one. */
  | {
    readonly match: "icmp";
    readonly type: number;
    readonly code?: number;
    readonly not?: boolean;
  }
  /** The connection is in one of the states. */
  | {
    readonly match: "ctstate";
    readonly states: readonly ConntrackState[];
    readonly not?: boolean;
  }
  | { readonly match: "ctstatus"; readonly status: "dnat" | "snat"; readonly not?: boolean }
  /** (mark & mask) == value. */
  | {
    readonly match: "mark";
    readonly value: number;
    readonly mask: number;
    readonly not?: boolean;
  }
  /** (mark of the connection & mask) == value; never holds for a packet that is not tracked. */
  | {
    readonly match: "ctmark";
    readonly value: number;
    readonly mask: number;
    readonly not?: boolean;
  }
  /** The destination (source) is an address of this host (`fib daddr type local`). */
  | { readonly match: "fib-daddr-local" | "fib-saddr-local"; readonly not?: boolean }
  /** The source is an address of the interface the packet leaves by (`fib saddr . oif type local`). */
  | { readonly match: "fib-saddr-oif-local"; readonly not?: boolean }
  /** More than the rate, with what may come at once: what is over it matches. */
  | {
    readonly match: "over-rate";
    /** Bytes or packets a second. */
    readonly rate: number;
    readonly burst: number;
    readonly unit: "bytes" | "packets";
  }
  /** More connections than these have passed here and still live. */
  | { readonly match: "over-connections"; readonly count: number }
  /** No route to the source leads back through the interface it came in by (`fib saddr . mark . iif oif 0`). */
  | { readonly match: "rpf-fail" };

export type Action =
  /** mark = (mark & ~mask) | value. */
  | { readonly do: "mark"; readonly value: number; readonly mask: number }
  | { readonly do: "counter" }
  | {
    readonly do: "accept" | "drop" | "return" | "continue" | "notrack";
  }
  /** ICMP(v6) port unreachable. */
  | { readonly do: "reject" }
  | { readonly do: "jump" | "goto"; readonly chain: string }
  /** The verdict that the map gives for the interface; no entry: the next rule. */
  | { readonly do: "vmap"; readonly key: "iifname" | "oifname"; readonly map: string }
  /** `ports`: source ports to choose from (needs a protocol match); without it fully random. */
  | { readonly do: "masquerade"; readonly ports?: PortRange }
  /** The destination (source) becomes this address. */
  | { readonly do: "dnat" | "snat"; readonly address: string }
  /** To the kernel log, or with `group` to that NFLOG group. */
  | { readonly do: "log"; readonly prefix: string; readonly group?: number };

export type Statement = Match | Action;

/** Where a rule comes from: read by `explain`, not by the kernel. */
export type Origin =
  | { readonly is: "static" }
  | { readonly is: "policy"; readonly policy: PolicyId; readonly rule: number }
  | { readonly is: "profile"; readonly profile: string; readonly rule: number }
  /** A jump into a policy, a profile or a group of policies. */
  | { readonly is: "policy-call"; readonly policy: PolicyId }
  | { readonly is: "group-call"; readonly tier: string }
  | { readonly is: "profile-call"; readonly profile: string }
  | { readonly is: "tier-end"; readonly tier: string }
  | { readonly is: "no-profile" };

/** Kinds of policy, as they stand in chain names (felix/rules): np, gnp, knp. */
export type PolicyKind =
  | "NetworkPolicy"
  | "GlobalNetworkPolicy"
  | "KubernetesNetworkPolicy"
  | "KubernetesClusterNetworkPolicy";

export interface PolicyId {
  readonly kind: PolicyKind;
  /** Empty for kinds without a namespace. */
  readonly namespace: string;
  readonly name: string;
  readonly tier: string;
}

export interface Rule {
  readonly statements: readonly Statement[];
  /** At most 127 bytes; for people who list the table. */
  readonly comment?: string;
  readonly origin?: Origin;
}

export interface BaseHook {
  readonly type: "filter" | "nat" | "route";
  readonly hook: "prerouting" | "input" | "forward" | "output" | "postrouting";
  readonly priority: number;
  readonly policy: "accept" | "drop";
}

export interface Chain {
  readonly name: string;
  /** A base chain hangs on a hook; without it only jumps lead here. */
  readonly base?: BaseHook;
  readonly rules: readonly Rule[];
}

/** What a verdict map holds for an interface. */
export type MapVerdict =
  | { readonly do: "accept" | "drop" | "return" }
  | { readonly do: "jump" | "goto"; readonly chain: string };

/**
 * Members are text, so that sets of them compare by value:
 * addr `10.0.0.1`; net `10.0.0.0/24` (always with a length); addr-port `10.0.0.1,6,80`
 * (address, protocol number, port).
 */
export type SetDef =
  | {
    readonly name: string;
    readonly kind: "addr" | "net" | "addr-port";
    readonly members: ReadonlySet<string>;
  }
  | {
    readonly name: string;
    readonly kind: "verdict-map";
    /** What the map is asked with: an interface name. */
    readonly members: ReadonlyMap<string, MapVerdict>;
  };

export type SetKind = SetDef["kind"];

/** Everything that should stand in the table `calico` of a family. Never changes once it is given. */
export interface Ruleset {
  readonly family: Family;
  /** Of the engine's state: a delta whose `from` this is leads on from here. */
  readonly revision?: number;
  readonly chains: ReadonlyMap<string, Chain>;
  readonly sets: ReadonlyMap<string, SetDef>;
}

/** What asking rules needs of a ruleset; sets may be made only when they are asked for. */
export interface RulesView {
  readonly family: Family;
  readonly chains: ReadonlyMap<string, Chain>;
  readonly sets: Pick<ReadonlyMap<string, SetDef>, "get">;
}

/** How a set changed since the last delta. */
export type SetChange =
  /** With all its members; in place of what may have stood under the name. */
  | { readonly is: "new"; readonly set: SetDef }
  | { readonly is: "gone" }
  | {
    readonly is: "members";
    readonly kind: "addr" | "net" | "addr-port";
    readonly add: readonly string[];
    readonly remove: readonly string[];
  }
  | {
    readonly is: "verdicts";
    readonly add: readonly (readonly [string, MapVerdict])[];
    readonly remove: readonly string[];
  };

/**
 * What changed in one family between two revisions of a ruleset. Applied whole, in one transaction,
 * to the ruleset of `from` it gives the one of `to`.
 */
export interface RulesetDelta {
  readonly family: Family;
  readonly from: number;
  readonly to: number;
  /** New content of chains that are new or differ; undefined: the chain is gone. */
  readonly chains: ReadonlyMap<string, Chain | undefined>;
  readonly sets: ReadonlyMap<string, SetChange>;
}
