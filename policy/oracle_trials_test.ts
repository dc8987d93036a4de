/**
 * Two plain readings of the specifications, written without the engine: Kubernetes' NetworkPolicy
 * (a connection is allowed if each side is not isolated or one of its policies allows it), and
 * Calico's tiers (policies in order, rules in order, Pass, default action, profiles). Random small
 * worlds are judged by both and by the engine over rendered rules, in both families.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { mustIp, mustPrefix, prefixContains } from "../mod/net/mod.ts";
import { parseSelector } from "../mod/selector/selector.ts";
import { PolicyEngine } from "./engine.ts";
import { PolicyView } from "./explain.ts";
import type { PolicyObject } from "./inputs.ts";
import {
  type CalicoSpec,
  calicoSpec,
  type Conn,
  connections,
  type Entity,
  type K8sPeer,
  type K8sSelector,
  type K8sSpec,
  k8sSpec,
  labels,
  objectsOf,
  tier,
  type Tiers,
  type World,
  world,
  type WorldPod,
} from "./testing/random_worlds.ts";
import { calico, calicoPolicy, kubernetesPolicy } from "./testing.ts";

const runs = Number(Deno.env.get("POLICY_RUNS") ?? 120);

function compare(
  w: World,
  policies: PolicyObject[],
  judge: (c: Conn, family: 4 | 6) => boolean,
): void {
  const engine = new PolicyEngine();
  engine.update([...objectsOf(w), ...policies].map((put) => ({ put })));
  assert.deepEqual(engine.problems(), []);
  const view = new PolicyView(engine);
  for (const family of [4, 6] as const) {
    for (const c of connections(w, family)) {
      const asked = {
        from: { ip: c.source },
        to: { ip: c.destination },
        protocol: c.protocol,
        port: c.port,
        sourcePort: c.sourcePort,
      };
      const got = view.allows(asked);
      if (got === judge(c, family)) continue;
      const { egress, ingress } = view.explain(asked);
      assert.fail(
        `${c.source} -> ${c.destination} ${c.protocol}/${c.port}: ${got}\n` +
          JSON.stringify([egress?.walk, ingress?.walk], null, 1),
      );
    }
  }
}

function k8sMatches(selector: K8sSelector, l: Record<string, string>): boolean {
  return Object.entries(selector.matchLabels ?? {}).every(([k, v]) => l[k] === v) &&
    (selector.matchExpressions ?? []).every(({ key, operator, values }) => {
      switch (operator) {
        case "In":
          return key in l && values!.includes(l[key]);
        case "NotIn":
          return !(key in l && values!.includes(l[key]));
        case "Exists":
          return key in l;
        default:
          return !(key in l);
      }
    });
}

function k8sAllows(
  c: Conn,
  direction: "ingress" | "egress",
  w: World,
  policies: { ns: string; spec: K8sSpec }[],
): boolean {
  const self = direction === "ingress" ? c.to : c.from;
  const other = direction === "ingress" ? c.from : c.to;
  const otherIp = direction === "ingress" ? c.source : c.destination;
  if (!self) return true;
  const mine = policies.filter(({ ns, spec }) => {
    const types = spec.policyTypes ??
      ["Ingress", ...((spec.egress?.length ?? 0) > 0 ? ["Egress"] : [])];
    return ns === self.ns && types.map((t) => t.toLowerCase()).includes(direction) &&
      k8sMatches(spec.podSelector, self.labels);
  });
  if (mine.length === 0) return true;
  return mine.some(({ ns, spec }) =>
    (spec[direction] ?? []).some((rule) => {
      const peers = "from" in rule
        ? rule.from
        : "to" in rule
        ? (rule as { to?: K8sPeer[] }).to
        : [];
      const peerOk = !peers || peers.length === 0 || peers.some((peer) => {
        if (peer.ipBlock) {
          const ip = mustIp(otherIp);
          return prefixContains(mustPrefix(peer.ipBlock.cidr), ip) &&
            !(peer.ipBlock.except ?? []).some((e) => prefixContains(mustPrefix(e), ip));
        }
        if (!other) return false;
        const nsOk = peer.namespaceSelector
          ? k8sMatches(peer.namespaceSelector, w.namespaces[other.ns])
          : other.ns === ns;
        return nsOk && k8sMatches(peer.podSelector ?? {}, other.labels);
      });
      const portOk = !rule.ports || rule.ports.length === 0 || rule.ports.some((p) => {
        if ((p.protocol ?? "TCP") !== c.protocol) return false;
        if (p.port === undefined) return true;
        if (typeof p.port === "string") {
          return c.to?.ports[p.port] === `${c.port}/${c.protocol}`;
        }
        return c.port >= p.port && c.port <= (p.endPort ?? p.port);
      });
      return peerOk && portOk;
    })
  );
}

Deno.test("Kubernetes' policies: the engine agrees with the specification read plainly", () => {
  fc.assert(
    fc.property(
      world,
      fc.array(fc.tuple(fc.constantFrom("n1", "n2"), k8sSpec), { maxLength: 4 }),
      (w, list) => {
        const policies = list.map(([ns, spec]) => ({ ns, spec }));
        compare(
          w,
          policies.map(({ ns, spec }, i) => kubernetesPolicy(ns, `k${i}`, { ...spec })),
          (c) => k8sAllows(c, "egress", w, policies) && k8sAllows(c, "ingress", w, policies),
        );
      },
    ),
    { numRuns: runs },
  );
});

interface CalicoWorld extends World {
  /** GlobalNetworkSet with these labels, of 192.0.2.0/24. */
  setLabels: Record<string, string>;
}

/** What a rule's selectors see of an address: all labels of what stands there. */
function labelsAt(w: CalicoWorld, ip: string, p: WorldPod | undefined): Record<string, string>[] {
  if (ip === "192.0.2.1") return [{ ...w.setLabels }];
  if (!p) return [];
  const own = w.namespaces[p.ns];
  const inherited = Object.fromEntries(Object.entries(own).map(([k, v]) => [`pcns.${k}`, v]));
  return [{
    ...inherited,
    "pcns.projectcalico.org/name": p.ns,
    "pcns.kubernetes.io/metadata.name": p.ns,
    // Of the pod's own those that speak of its namespace count for nothing.
    ...Object.fromEntries(Object.entries(p.labels).filter(([name]) => !name.startsWith("pcns."))),
    "projectcalico.org/namespace": p.ns,
    "projectcalico.org/orchestrator": "k8s",
    "projectcalico.org/serviceaccount": p.account,
  }];
}

/** A namespaceSelector's text over an endpoint's labels. */
function inNamespaces(selector: string, l: Record<string, string>): boolean {
  if (selector === "all()") return "projectcalico.org/namespace" in l;
  if (selector === "global()") return !("projectcalico.org/namespace" in l);
  const inherited = Object.fromEntries(
    Object.entries(l).filter(([k]) => k.startsWith("pcns.")).map(([k, v]) => [k.slice(5), v]),
  );
  return parseSelector(selector).matches(inherited);
}

function entityMatches(
  w: CalicoWorld,
  e: Entity,
  ip: string,
  p: WorldPod | undefined,
  port: number,
  protocol: string,
  ruleProtocol: string | undefined,
  ns: string,
): boolean {
  const at = labelsAt(w, ip, p);
  const address = mustIp(ip);
  const inside = (nets: string[]) =>
    nets.some((n) =>
      mustPrefix(n).ip.family === address.family && prefixContains(mustPrefix(n), address)
    );
  const selects = (l: Record<string, string>): boolean => {
    const looks = e.selector || e.notSelector || e.namespaceSelector || e.serviceAccounts;
    if (!looks) return true;
    if (e.namespaceSelector) {
      if (!inNamespaces(e.namespaceSelector, l)) return false;
    } else if (ns !== "" && l["projectcalico.org/namespace"] !== ns) return false;
    if (e.serviceAccounts && l["projectcalico.org/serviceaccount"] !== "sa") return false;
    return !e.selector || parseSelector(e.selector).matches(l);
  };
  const limited = e.selector || e.namespaceSelector || e.serviceAccounts ||
    (e.notSelector && ns !== "");
  if (limited && !at.some(selects)) return false;
  if (e.nets && !inside(e.nets)) return false;
  if (e.notNets && inside(e.notNets)) return false;
  if (e.notSelector && at.some((l) => parseSelector(e.notSelector!).matches(l))) return false;
  const named = (name: string) =>
    p !== undefined && p.ports[name] === `${port}/${protocol}` &&
    (ruleProtocol ?? "TCP") === protocol;
  const has = (list: (number | string)[]) =>
    list.some((x) => {
      if (typeof x === "number") return x === port;
      const range = /^(\d+):(\d+)$/.exec(x);
      return range ? port >= Number(range[1]) && port <= Number(range[2]) : named(x);
    });
  if (e.ports && !has(e.ports)) return false;
  return !(e.notPorts && has(e.notPorts));
}

function calicoAllows(
  c: Conn,
  family: 4 | 6,
  direction: "ingress" | "egress",
  w: CalicoWorld,
  tiers: Tiers,
  policies: { ns: string; name: string; spec: CalicoSpec }[],
): boolean {
  const self = direction === "ingress" ? c.to : c.from;
  if (!self) return true;
  const [own] = labelsAt(w, self.ip[4], self);
  const typesOf = ({ types, ingress, egress }: CalicoSpec) =>
    (types ?? (egress!.length > 0 ? (ingress!.length > 0 ? ["ingress", "egress"] : ["egress"]) : [
      "ingress",
    ])).map((t) => t.toLowerCase());
  const applies = policies.filter(({ ns, spec }) => {
    if (!typesOf(spec).includes(direction)) return false;
    if (ns !== "" && ns !== self.ns) return false;
    if (spec.selector && !parseSelector(spec.selector).matches(own)) return false;
    if (ns === "" && spec.namespaceSelector && !inNamespaces(spec.namespaceSelector, own)) {
      return false;
    }
    return !spec.serviceAccountSelector || spec.serviceAccountSelector === "all()" ||
      self.account === "sa";
  });
  const families = (list: string[]) => list.filter((n) => mustPrefix(n).ip.family === family);
  const sorted = Object.keys({ ...tiers, default: 1, lost: 1 }).sort((a, b) => {
    const order = (t: string) =>
      t === "default" ? 1_000_000 : t === "lost" ? Infinity : tiers[t].order ?? Infinity;
    const known = (t: string) => t !== "lost";
    if (known(a) !== known(b)) return known(a) ? -1 : 1;
    return order(a) !== order(b) ? (order(a) < order(b) ? -1 : 1) : a < b ? -1 : 1;
  });
  tier: for (const tier of sorted) {
    const mine = applies.filter((p) => (p.spec.tier ?? "default") === tier).sort((a, b) => {
      const [x, y] = [a.spec.order ?? Infinity, b.spec.order ?? Infinity];
      if (x !== y) return x < y ? -1 : 1;
      const key = (p: typeof a) =>
        `${p.name}/${p.ns}/${p.ns === "" ? "GlobalNetworkPolicy" : "NetworkPolicy"}`;
      return key(a) < key(b) ? -1 : 1;
    });
    if (mine.length === 0) continue;
    for (const { ns, spec } of mine) {
      for (const rule of spec[direction] ?? []) {
        if (rule.ipVersion && rule.ipVersion !== family) continue;
        const lists = [rule.source, rule.destination].flatMap((e) => [e.nets, e.notNets]);
        if (lists.some((l) => l && families(l).length === 0)) continue;
        if (rule.protocol && rule.protocol !== c.protocol) continue;
        if (rule.notProtocol && rule.notProtocol === c.protocol) continue;
        if (
          !entityMatches(
            w,
            rule.source,
            c.source,
            c.from,
            c.sourcePort,
            c.protocol,
            rule.protocol,
            ns,
          )
        ) continue;
        if (
          !entityMatches(
            w,
            rule.destination,
            c.destination,
            c.to,
            c.port,
            c.protocol,
            rule.protocol,
            ns,
          )
        ) continue;
        if (rule.action === "Allow") return true;
        if (rule.action === "Deny") return false;
        if (rule.action === "Pass") continue tier;
      }
    }
    if ((tiers[tier]?.defaultAction ?? "Deny") === "Deny") return false;
  }
  return true;
}

Deno.test("Calico's policies: the engine agrees with tiers, orders and rules read plainly", () => {
  fc.assert(
    fc.property(
      world,
      labels,
      fc.record({ t1: tier, t2: tier }),
      fc.uniqueArray(
        fc.record({
          ns: fc.constantFrom("n1", "n2", ""),
          name: fc.constantFrom("c1", "c2", "c3"),
          spec: calicoSpec,
        }),
        { maxLength: 5, selector: (p) => `${p.ns}/${p.name}` },
      ),
      (base, setLabels, tiers, raw) => {
        const w = { ...base, setLabels };
        const policies = raw.map((p) => ({
          ...p,
          // Only global policies choose namespaces.
          spec: p.ns === "" ? p.spec : { ...p.spec, namespaceSelector: undefined },
        }));
        compare(
          w,
          [
            ...Object.entries(tiers).map(([name, spec]) => calico("Tier", name, spec)),
            calico("GlobalNetworkSet", "outside", { nets: ["192.0.2.0/24"] }, setLabels),
            ...policies.map(({ ns, name, spec }) =>
              calicoPolicy(ns, name, JSON.parse(JSON.stringify(spec)))
            ),
          ],
          (c, family) =>
            calicoAllows(c, family, "egress", w, tiers, policies) &&
            calicoAllows(c, family, "ingress", w, tiers, policies),
        );
      },
    ),
    { numRuns: runs },
  );
});
