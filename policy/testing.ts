/**
 * What the tests of this room share: short ways to write objects, a comparable form of rulesets, the
 * application of deltas, and the properties that every ruleset must have.
 */
import assert from "node:assert/strict";
import { parsePrefix, prefixesOverlap } from "../mod/net/mod.ts";
import type { PolicyObject } from "./inputs.ts";
import type { Ruleset, RulesetDelta, SetDef } from "./rules.ts";

type Labels = Record<string, string>;

export function namespace(name: string, labels: Labels = {}): PolicyObject {
  return { apiVersion: "v1", kind: "Namespace", metadata: { name, labels } };
}

export function account(namespace: string, name: string, labels: Labels = {}): PolicyObject {
  return { apiVersion: "v1", kind: "ServiceAccount", metadata: { namespace, name, labels } };
}

/** `ports`: `{http: 80}` or `{dns: "53/UDP"}`. */
export function pod(
  namespace: string,
  name: string,
  labels: Labels = {},
  options: {
    ips?: string[];
    ports?: Record<string, number | string | undefined>;
    account?: string;
  } = {},
): PolicyObject {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace, name, labels },
    spec: {
      serviceAccountName: options.account ?? "default",
      containers: [{
        name: "c",
        ports: Object.entries(options.ports ?? {}).map(([name, port]) => {
          const [number, protocol] = String(port).split("/");
          return { name, containerPort: Number(number), protocol: protocol ?? "TCP" };
        }),
      }],
    },
    status: { podIPs: (options.ips ?? []).map((ip) => ({ ip })) },
  } as PolicyObject;
}

export function endpoint(
  namespace: string,
  pod: string,
  ips: string[],
  options: {
    node?: string;
    interfaceName?: string;
    labels?: Labels;
    profiles?: readonly string[];
    orchestrator?: string;
    spoofing?: readonly string[];
    /** External address of each of its addresses. */
    floating?: string;
    qos?: Readonly<Record<string, number | undefined>>;
  } = {},
): PolicyObject {
  return {
    apiVersion: "projectcalico.org/v3",
    kind: "WorkloadEndpoint",
    metadata: { namespace, name: `n-k8s-${pod}-eth0`, labels: options.labels ?? {} },
    spec: {
      orchestrator: options.orchestrator ?? "k8s",
      node: options.node ?? "node1",
      pod,
      endpoint: "eth0",
      ipNetworks: ips.map((ip) => ip.includes("/") ? ip : `${ip}/${ip.includes(":") ? 128 : 32}`),
      interfaceName: options.interfaceName ?? `cali${namespace}${pod}`,
      ...(options.profiles ? { profiles: options.profiles } : {}),
      ...(options.floating
        ? { ipNATs: ips.map((ip) => ({ internalIP: ip, externalIP: options.floating })) }
        : {}),
      ...(options.qos ? { qosControls: options.qos } : {}),
      ...(options.spoofing ? { allowSpoofedSourcePrefixes: options.spoofing } : {}),
    },
  } as PolicyObject;
}

export function kubernetesPolicy(
  namespace: string,
  name: string,
  spec: Record<string, unknown>,
): PolicyObject {
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { namespace, name },
    spec,
  } as PolicyObject;
}

/** Calico's: in a namespace, or global where it is empty. */
export function calicoPolicy(
  namespace: string,
  name: string,
  spec: Record<string, unknown>,
): PolicyObject {
  return {
    apiVersion: "projectcalico.org/v3",
    kind: namespace === "" ? "GlobalNetworkPolicy" : "NetworkPolicy",
    metadata: namespace === "" ? { name } : { namespace, name },
    spec,
  } as PolicyObject;
}

export function calico(kind: string, name: string, spec: unknown, labels?: Labels): PolicyObject {
  return {
    apiVersion: "projectcalico.org/v3",
    kind,
    metadata: labels ? { name, labels } : { name },
    spec,
  } as PolicyObject;
}

/** A value that is equal for rulesets that say the same. */
export function comparable(ruleset: Pick<Ruleset, "family" | "chains" | "sets">): unknown {
  const sorted = <T>(map: ReadonlyMap<string, T>) =>
    [...map].sort(([a], [b]) => a < b ? -1 : a > b ? 1 : 0);
  return {
    family: ruleset.family,
    chains: sorted(ruleset.chains),
    sets: sorted(ruleset.sets).map(([name, set]) => [
      name,
      set.kind,
      set.kind === "verdict-map" ? sorted(set.members) : [...set.members].sort(),
    ]),
  };
}

/** What stands after a delta. Throws where the delta does not fit. */
export function applyDelta(ruleset: Ruleset, delta: RulesetDelta): Ruleset {
  const chains = new Map(ruleset.chains);
  for (const [name, chain] of delta.chains) {
    if (chain) chains.set(name, chain);
    else assert(chains.delete(name), `chain ${name} is not there`);
  }
  const sets = new Map<string, SetDef>(ruleset.sets);
  for (const [name, change] of delta.sets) {
    switch (change.is) {
      case "new":
        sets.set(name, change.set);
        break;
      case "gone":
        assert(sets.delete(name), `set ${name} is not there`);
        break;
      case "members": {
        const set = sets.get(name);
        assert(set && set.kind === change.kind, `set ${name}`);
        const members = new Set(set.members.keys());
        for (const m of change.remove) assert(members.delete(m), `${name} has no ${m}`);
        for (const m of change.add) {
          assert(!members.has(m), `${name} has ${m} already`);
          members.add(m);
        }
        sets.set(name, { name, kind: change.kind, members });
        break;
      }
      case "verdicts": {
        const set = sets.get(name);
        assert(set?.kind === "verdict-map", `map ${name}`);
        const members = new Map(set.members);
        for (const m of change.remove) assert(members.delete(m), `${name} has no ${m}`);
        for (const [m, verdict] of change.add) members.set(m, verdict);
        sets.set(name, { name, kind: "verdict-map", members });
      }
    }
  }
  return { family: ruleset.family, revision: delta.to, chains, sets };
}

/**
 * Everything named is there, everything there is used (unless `rivals`: two endpoints claim one
 * interface, and the loser's policies lead nowhere), and members are what the language wants.
 */
export function checkRuleset(ruleset: Ruleset, rivals = false): void {
  const usedChains = new Set<string>(), usedSets = new Set<string>();
  const queue = [...ruleset.chains.values()].filter((c) => c.base);
  const visit = (name: string, from: string) => {
    const chain = ruleset.chains.get(name);
    assert(chain, `${from} names chain ${name}, which is not there`);
    if (!usedChains.has(name)) {
      usedChains.add(name);
      queue.push(chain);
    }
  };
  for (let chain = queue.pop(); chain; chain = queue.pop()) {
    assert(/^[A-Za-z0-9_./-]{1,255}$/.test(chain.name), chain.name);
    for (const { statements, comment } of chain.rules) {
      assert(new TextEncoder().encode(comment ?? "").length <= 127, comment);
      let ported = false;
      for (const statement of statements) {
        if ("set" in statement || ("do" in statement && statement.do === "vmap")) {
          const name = "set" in statement ? statement.set : (statement as { map: string }).map;
          const set = ruleset.sets.get(name);
          assert(set, `${chain.name} names set ${name}, which is not there`);
          if ("match" in statement) {
            const wantPort = statement.match === "address-port";
            assert.equal(set.kind === "addr-port", wantPort, `${chain.name} ${name}`);
          }
          if (usedSets.has(name)) continue;
          usedSets.add(name);
          if (set.kind !== "verdict-map") continue;
          for (const verdict of set.members.values()) {
            if ("chain" in verdict) visit(verdict.chain, name);
          }
        } else if ("chain" in statement) visit(statement.chain, chain.name);
        if ("match" in statement) {
          if (statement.match === "protocol" && !statement.not) ported = true;
          if (/^(sport|dport|icmp)$/.test(statement.match)) assert(ported, chain.name);
          if (statement.match === "sport" || statement.match === "dport") {
            assert(statement.ranges.length > 0);
            statement.ranges.forEach(([a, b], i) => {
              assert(a <= b && (i === 0 || statement.ranges[i - 1][1] + 1 < a), chain!.name);
            });
          }
        }
      }
    }
  }
  for (const [name, chain] of ruleset.chains) {
    assert.equal(name, chain.name);
    // What endpoints begin with stands ready for the first one.
    if (name.endsWith("-wl-common")) continue;
    assert(rivals || chain.base || usedChains.has(name), `nothing leads to chain ${name}`);
  }
  for (const [name, set] of ruleset.sets) {
    assert.equal(name, set.name);
    assert(/^[A-Za-z0-9_./-]{1,255}$/.test(name), name);
    const fixed =
      /^cali[46]0(masq-ipam-pools|all-ipam-pools|all-hosts-net|all-vxlan-net)$|-wl-limits$/;
    assert(rivals || usedSets.has(name) || fixed.test(name), `nothing uses set ${name}`);
    if (set.kind !== "net") continue;
    const prefixes = [...set.members].map((m) => parsePrefix(m)!);
    prefixes.forEach((p, i) => {
      assert.equal(p.ip.family, ruleset.family);
      for (const other of prefixes.slice(i + 1)) assert(!prefixesOverlap(p, other), name);
    });
  }
}
