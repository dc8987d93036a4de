/**
 * The chains that are there on every node (felix/rules/static.go, nftables mode): where the table
 * hangs on the kernel's hooks, who goes through which endpoint's chain, and what is refused before
 * any policy is asked. A change of endpoints never touches them.
 *
 * - raw prerouting: a pod may only send from its own address (no route back by the interface it
 *   came from: dropped), no router advertisements or redirects at all (CVE-2020-10749), whether or
 *   not the cluster uses IPv6;
 * - forward: from a pod's interface through its egress chain, to one through its ingress chain. An
 *   interface that has a pod's name and no chain is dropped: a new pod is closed until its policy
 *   is there;
 * - input: tunnel packets from strangers are dropped; a pod's packets to its host pass its egress
 *   policy, then `endpointToHostAction`;
 * - what the host sends to its own pods is not policed (probes of the kubelet), but for what it answers
 *   in connections of theirs that policy has cut;
 * - where floating addresses are on: they become the pods' own before anything else is asked;
 * - postrouting: sources in masquerading pools leave the pools with the node's address.
 *
 * Base chains accept in the end and rules only take away: a packet passes this table only if it
 * would pass without the table. So loading it opens nothing, and host endpoints, pre-DNAT and
 * untracked policies can later hang in raw, mangle and output without moving these.
 */
import type { Output } from "./output.ts";
import { marks, type PolicyParameters, toHostComment } from "./parameters.ts";
import { chains, setIds, setName } from "./names.ts";
import { type Direction, directions } from "./effective.ts";
import { commonChains, commonRules, cutRule } from "./render_endpoint.ts";
import { type FloatingAddress, floatingRules } from "./floating.ts";
import { limitMaps } from "./limits.ts";
import { clearMark } from "./render_rule.ts";
import type { BaseHook, Chain, Family, Match, Rule, Statement } from "./rules.ts";

/** What the static chains of one family hang on beside the parameters. */
export interface StaticInputs {
  readonly vxlan: boolean;
  readonly ipip: boolean;
  readonly masquerade: boolean;
  /** Local interfaces that may send from more than their own addresses, and from which. */
  readonly spoofing: readonly { readonly interfaceName: string; readonly prefix: string }[];
  /** Addresses by which local endpoints are reached beside their own. */
  readonly floating: readonly FloatingAddress[];
  /** A local endpoint has limits. */
  readonly limited: boolean;
}

const TCP = 6, UDP = 17, IPIP = 4, ICMPV6 = 58;
const counter = { do: "counter" } as const;
const accept = { do: "accept" } as const;
const drop = { do: "drop" } as const;

function rule(statements: Statement[], comment?: string): Rule {
  const origin = { is: "static" } as const;
  return comment === undefined ? { statements, origin } : { statements, comment, origin };
}

function base(
  name: string,
  type: BaseHook["type"],
  hook: BaseHook["hook"],
  priority: number,
  rules: Rule[],
): Chain {
  return { name, base: { type, hook, priority, policy: "accept" }, rules };
}

/** All static chains of a family; the dispatch maps are sets and come from the endpoints. */
export function staticChains(
  family: Family,
  parameters: PolicyParameters,
  inputs: StaticInputs,
): Chain[] {
  return [
    ...rawChains(family, parameters, inputs),
    ...forwardChains(parameters, family, inputs),
    ...inputChains(family, parameters, inputs),
    outputChain(parameters),
    ...natChains(family, parameters, inputs),
  ];
}

function jump(chain: string): Statement {
  return { do: "jump", chain };
}

function rawChains(family: Family, parameters: PolicyParameters, inputs: StaticInputs): Chain[] {
  const rules: Rule[] = [rule([clearMark(marks.all)])];
  const port = parameters.vxlanPort;
  // What is in the tunnel is tracked; the tunnel itself need not be.
  const untracked = rule([
    { match: "protocol", value: UDP },
    { match: "dport", ranges: [[port, port]] },
    counter,
    { do: "notrack" },
  ]);
  if (inputs.vxlan) rules.push(untracked);
  for (const from of fromWorkloads(parameters)) {
    if (family === 6) {
      for (const type of [134, 137]) {
        rules.push(rule(
          [
            from,
            { match: "protocol", value: ICMPV6 },
            { match: "icmp", type },
            counter,
            drop,
          ],
          type === 134 ? "Drop router advertisements of workloads" : "Drop redirects of workloads",
        ));
      }
      // Without an address yet: duplicate address detection and multicast listener reports.
      for (const type of [131, 135, 143]) {
        rules.push(rule([
          from,
          { match: "saddr", prefix: "::/128" },
          { match: "protocol", value: ICMPV6 },
          { match: "icmp", type },
          { do: "return" },
        ]));
      }
    }
    if (inputs.spoofing.length > 0) rules.push(rule([from, jump(chains.rpfSkip)]));
    rules.push(rule([from, { match: "rpf-fail" }, counter, drop], "Drop spoofed sources"));
  }
  const result: Chain[] = [
    base(chains.rawPrerouting, "filter", "prerouting", -300, [
      rule([counter, jump(chains.rawCaliPrerouting)]),
    ]),
    { name: chains.rawCaliPrerouting, rules },
    ...(inputs.vxlan ? [base(chains.rawOutput, "filter", "output", -300, [untracked])] : []),
  ];
  if (inputs.spoofing.length > 0) {
    result.push({
      name: chains.rpfSkip,
      rules: inputs.spoofing.map(({ interfaceName, prefix }) =>
        rule([
          { match: "iifname", value: interfaceName },
          { match: "saddr", prefix },
          counter,
          accept,
        ])
      ),
    });
  }
  return result;
}

function fromWorkloads(parameters: PolicyParameters): Match[] {
  return parameters.interfacePrefixes.map((p) => ({ match: "iifname", value: `${p}*` }));
}

function toWorkloads(parameters: PolicyParameters): Match[] {
  return parameters.interfacePrefixes.map((p) => ({ match: "oifname", value: `${p}*` }));
}

/** The chain of an interface's limits, for those that have any; then on. */
function limits(direction: Direction): Rule {
  const key = direction === "egress" ? "iifname" : "oifname";
  return rule([{ do: "vmap", key, map: limitMaps[direction] }]);
}

function forwardChains(
  parameters: PolicyParameters,
  family: Family,
  inputs: StaticInputs,
): Chain[] {
  const cidrs = parameters.serviceCidrs.filter((c) => c.includes(":") === (family === 6));
  const deny = parameters.denyAction;
  const result: Chain[] = [
    base(chains.filterForward, "filter", "forward", 0, [rule([counter, jump(chains.forward)])]),
    {
      name: chains.forward,
      rules: [
        rule([clearMark(marks.all & ~marks.accept)]),
        ...(inputs.limited ? [limits("egress"), limits("ingress")] : []),
        ...fromWorkloads(parameters).map((m) => rule([m, counter, jump(chains.fromWorkload)])),
        ...toWorkloads(parameters).map((m) => rule([m, counter, jump(chains.toWorkload)])),
        ...(cidrs.length > 0 ? [rule([jump(chains.cidrBlock)])] : []),
      ],
    },
    dispatch(chains.fromWorkload, "iifname", deny),
    dispatch(chains.toWorkload, "oifname", deny),
    ...directions.map((d) => ({ name: commonChains[d], rules: commonRules(d, parameters) })),
  ];
  if (cidrs.length > 0) {
    result.push({
      name: chains.cidrBlock,
      rules: cidrs.map((prefix) =>
        rule([{ match: "daddr", prefix }, counter, { do: deny }], "Untranslated service address")
      ),
    });
  }
  return result;
}

function dispatch(name: string, key: "iifname" | "oifname", deny: "drop" | "reject"): Chain {
  return {
    name,
    rules: [
      rule([{ do: "vmap", key, map: name }]),
      rule([counter, { do: deny }], "Unknown interface"),
    ],
  };
}

function inputChains(
  family: Family,
  parameters: PolicyParameters,
  inputs: StaticInputs,
): Chain[] {
  const rules: Rule[] = [];
  const guard = (matches: Match[], set: string, comment: string) => {
    rules.push(
      rule([
        ...matches,
        { match: "saddr", set: setName(family, set) },
        { match: "fib-daddr-local" },
        counter,
        accept,
      ], `Allow ${comment} from nodes`),
      // To a broadcast or multicast address too: the device hears whatever the host does.
      rule([...matches, counter, drop], `Drop other ${comment}`),
    );
  };
  if (inputs.ipip && family === 4) {
    guard([{ match: "protocol", value: IPIP }], setIds.allHosts, "IPIP packets");
  }
  if (inputs.vxlan) {
    const port = parameters.vxlanPort;
    guard(
      [{ match: "protocol", value: UDP }, { match: "dport", ranges: [[port, port]] }],
      setIds.allVxlan,
      "VXLAN packets",
    );
  }
  for (const from of fromWorkloads(parameters)) {
    rules.push(rule([from, counter, { do: "goto", chain: chains.workloadToHost }]));
  }
  const toHost: Rule[] = inputs.limited ? [limits("egress")] : [];
  if (family === 6) {
    // Neighbour discovery and multicast listening, without which there is no IPv6.
    for (const type of [130, 131, 132, 133, 135, 136, 143]) {
      toHost.push(rule([
        { match: "protocol", value: ICMPV6 },
        { match: "icmp", type },
        counter,
        accept,
      ]));
    }
  }
  toHost.push(
    rule([counter, jump(chains.fromWorkload)]),
    rule(
      [counter, { do: parameters.endpointToHostAction }],
      toHostComment,
    ),
  );
  return [
    base(chains.filterInput, "filter", "input", 0, [rule([counter, jump(chains.input)])]),
    { name: chains.input, rules },
    { name: chains.workloadToHost, rules: toHost },
  ];
}

/** Alone on its hook, so that what the host sends elsewhere is asked one question and no more. */
function outputChain(parameters: PolicyParameters): Chain {
  return base(
    chains.filterOutput,
    "filter",
    "output",
    0,
    toWorkloads(parameters).map((to) => {
      const { statements, comment } = cutRule(parameters);
      return rule([to, ...statements], comment);
    }),
  );
}

/** Before kube-proxy's chains at -100, as Calico's rules stand before them. */
const DNAT_PRIORITY = -110;
/** After kube-proxy's chains at 100, whose marks decide first. */
const NAT_PRIORITY = 110;

function natChains(family: Family, parameters: PolicyParameters, inputs: StaticInputs): Chain[] {
  const outgoing: Rule[] = [];
  if (inputs.masquerade) {
    const matches: Match[] = [
      { match: "saddr", set: setName(family, setIds.masqueradePools) },
      { match: "daddr", set: setName(family, setIds.allPools), not: true },
    ];
    if (parameters.natOutgoingExclusions === "IPPoolsAndHostIPs") {
      matches.push({ match: "daddr", set: setName(family, setIds.allHosts), not: true });
    }
    if (parameters.natOutgoingInterface) {
      matches.push({ match: "oifname", value: parameters.natOutgoingInterface });
    }
    if (parameters.natPorts) {
      for (const value of [TCP, UDP]) {
        outgoing.push(rule([
          { match: "protocol", value },
          ...matches,
          counter,
          { do: "masquerade", ports: parameters.natPorts },
        ]));
      }
    }
    outgoing.push(rule([...matches, counter, { do: "masquerade" }]));
  }
  const floating = parameters.floatingIps ? floatingRules(inputs.floating) : undefined;
  const postrouting: Rule[] = [
    ...(floating ? [rule([jump(chains.floatingSnat)])] : []),
    rule([jump(chains.natOutgoing)]),
  ];
  const devices = [
    ...(inputs.ipip && family === 4 ? ["tunl0"] : []),
    ...(inputs.vxlan ? [family === 4 ? "vxlan.calico" : "vxlan-v6.calico"] : []),
  ];
  for (const device of devices) {
    // The host's own packets that chose an address of another interface get the tunnel's.
    postrouting.push(rule([
      { match: "oifname", value: device },
      { match: "fib-saddr-oif-local", not: true },
      { match: "fib-saddr-local" },
      counter,
      { do: "masquerade" },
    ]));
  }
  return [
    ...(floating
      ? [
        base(chains.natPrerouting, "nat", "prerouting", DNAT_PRIORITY, [
          rule([counter, jump(chains.floatingDnat)]),
        ]),
        base(chains.natOutput, "nat", "output", DNAT_PRIORITY, [
          rule([counter, jump(chains.floatingDnat)]),
        ]),
        { name: chains.floatingDnat, rules: floating.dnat },
        { name: chains.floatingSnat, rules: floating.snat },
      ]
      : []),
    base(chains.natPostrouting, "nat", "postrouting", NAT_PRIORITY, [
      rule([counter, jump(chains.caliPostrouting)]),
    ]),
    { name: chains.caliPostrouting, rules: postrouting },
    { name: chains.natOutgoing, rules: outgoing },
  ];
}

const families: readonly Family[] = [4, 6];

/** Keeps the static chains of both families in the output. */
export class StaticOutput {
  /** What they were made of, as text. */
  readonly #made: Record<Family, string> = { 4: "", 6: "" };
  readonly #names: Record<Family, readonly string[]> = { 4: [], 6: [] };

  constructor(readonly output: Output, readonly parameters: PolicyParameters) {}

  render(
    pools: {
      vxlan(family: Family): boolean;
      ipip(): boolean;
      masquerades(family: Family): boolean;
    },
    endpoints: {
      spoofing(family: Family): StaticInputs["spoofing"];
      floating(family: Family): StaticInputs["floating"];
      limited(): boolean;
    },
  ): void {
    for (const family of families) {
      const inputs: StaticInputs = {
        vxlan: pools.vxlan(family),
        ipip: pools.ipip(),
        masquerade: pools.masquerades(family),
        spoofing: endpoints.spoofing(family),
        floating: endpoints.floating(family),
        limited: endpoints.limited(),
      };
      const made = JSON.stringify(inputs);
      if (this.#made[family] === made) continue;
      this.#made[family] = made;
      const chains = staticChains(family, this.parameters, inputs);
      const names = chains.map((c) => c.name);
      for (const chain of chains) this.output.setChain(family, chain.name, chain);
      for (const name of this.#names[family]) {
        if (!names.includes(name)) this.output.setChain(family, name, undefined);
      }
      this.#names[family] = names;
    }
  }
}
