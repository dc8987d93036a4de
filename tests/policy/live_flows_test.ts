/**
 * Live connections against changes of policy, with real packets of both directions: what is denied
 * now is cut, whoever speaks first afterwards and however it was translated; the rest goes on. Needs
 * root, ip and nft.
 */
import assert from "node:assert/strict";
import { EngineDataplane } from "../../mod/node/nft/engine_dataplane.ts";
import { type FlowParts, openFlowParts } from "../../mod/node/flow_parts.ts";
import type { NftDataplane } from "../../mod/node/nft/dataplane.ts";
import { openNftDataplane } from "../../mod/node/nft/open.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import type { Change, PolicyObject } from "../../policy/inputs.ts";
import {
  calico,
  calicoPolicy,
  endpoint,
  kubernetesPolicy,
  namespace,
  pod,
} from "../../policy/testing.ts";
import { inTopology, NODE, type Probe, type Protocol, SERVICE, type Topology } from "./topology.ts";

const silent = { debug() {}, info() {}, warn() {}, error() {} };
const protocols: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const address = (n: number, family: 4 | 6) =>
  family === 4 ? `10.0.0.${n * 64 + 1}` : `fd00::${(n * 64 + 1).toString(16)}`;
const outside = { 4: "192.0.2.1", 6: "2001:db8::1" } as const;

/** A connection, as the client sees it and as the server does. */
interface Live {
  readonly protocol: Protocol;
  readonly client: [address: string, port: number];
  readonly to: [address: string, port: number];
  /** Behind a translated address. */
  readonly server?: [address: string, port: number];
  /** What the server takes the client for. */
  readonly clientSeen?: [address: string, port: number];
}

let nextPort = 20_000;
function live(protocol: Protocol, from: string, to: string, more: Partial<Live> = {}): Live {
  return { protocol, client: [from, nextPort++], to: [to, 80], ...more };
}

function packet(l: Live, from: "client" | "server", part: Probe["part"]): Probe {
  const { protocol, client, to, server = to, clientSeen = client } = l;
  const probe = (source: Live["client"], destination: Live["client"], seen: Probe["seen"]) => ({
    protocol,
    source: source[0],
    sourcePort: source[1],
    destination: destination[0],
    port: destination[1],
    part,
    seen,
  });
  return from === "client"
    ? probe(client, to, {
      source: clientSeen[0],
      sourcePort: clientSeen[1],
      destination: server[0],
      port: server[1],
    })
    : probe(server, clientSeen, {
      source: to[0],
      sourcePort: to[1],
      destination: client[0],
      port: client[1],
    });
}

/** The node's service, as far as policy and connections go. */
class NodeParts {
  readonly engine = new PolicyEngine({ nodeName: "node1" });
  readonly #nft: NftDataplane;
  readonly #dataplane: EngineDataplane;
  readonly #flows: FlowParts;
  /** Who waits for the end of a look that began after this moment. */
  #waiting: { readonly since: number; readonly go: () => void }[] = [];

  constructor(readonly topology: Topology, cutting = true) {
    this.#nft = openNftDataplane({ netns: topology.node });
    this.#flows = openFlowParts({
      engine: this.engine,
      kernel: {
        hostAddresses: () => [NODE, "2001:db8::fe"].map(mustIp),
        isUp: () => true,
      },
      log: silent,
      netns: topology.node,
      onPass: ({ milliseconds }) => {
        const began = performance.now() - milliseconds;
        const due = this.#waiting.filter(({ since }) => since <= began);
        this.#waiting = this.#waiting.filter(({ since }) => since > began);
        for (const { go } of due) go();
      },
    });
    this.#dataplane = new EngineDataplane(
      this.#nft,
      (deltas) => cutting && this.#flows.cutter.applied(deltas),
    );
  }

  /** Resolves when the rules are in the kernel. */
  async change(changes: readonly Change[]): Promise<void> {
    this.engine.update(changes);
    await this.#dataplane.apply(this.engine);
  }

  /** Resolves when the connections have been looked at, too. */
  async changeAndCut(...changes: Change[]): Promise<void> {
    await this.change(changes);
    // One that was under way may have seen less. That of this change begins with the next turn.
    const since = performance.now();
    await new Promise<void>((go) => this.#waiting.push({ since, go }));
  }

  put(...objects: PolicyObject[]): Promise<void> {
    return this.changeAndCut(...objects.map((put) => ({ put })));
  }

  async close(): Promise<void> {
    await this.#flows.close();
    await this.#nft.close();
  }
}

function removal({ apiVersion, kind, metadata }: PolicyObject): Change {
  const { namespace, name } = metadata!;
  return { remove: { apiVersion, kind: kind!, namespace, name: name! } };
}

const pods = [0, 1, 2, 3].flatMap((n) => [
  pod("x", `p${n}`, { app: `p${n}`, role: "any" }),
  endpoint("x", `p${n}`, [address(n, 4), address(n, 6)], { interfaceName: `calip${n}` }),
]);
const scene = [namespace("x", { stage: "test" }), ...pods];

/** The first packets of connections, one after the other; all must arrive. */
async function establish(t: Topology, lives: readonly Live[]): Promise<void> {
  for (
    const [from, part] of [
      ["client", "open"],
      ["server", "answer"],
      ["client", "later"],
      ["server", "later"],
    ] as const
  ) {
    const probes = lives.map((l) => packet(l, from, part));
    const arrived = await t.probe(probes, probes);
    for (const p of probes) assert(arrived.has(p), `not established: ${JSON.stringify(p)}`);
  }
}

/** What of them still goes through, `first` being the first to speak. */
async function alive(
  t: Topology,
  lives: readonly Live[],
  expected: readonly Live[],
  first: "client" | "server",
): Promise<Live[]> {
  const through = new Set<Live>();
  for (const from of first === "client" ? ["client", "server"] : ["server", "client"]) {
    const all = lives.map((l) => [l, packet(l, from as "client" | "server", "later")] as const);
    const arrived = await t.probe(
      all.map(([, p]) => p),
      all.filter(([l]) => expected.includes(l)).map(([, p]) => p),
    );
    for (const [l, p] of all) {
      if (arrived.has(p)) through.add(l);
      else if (expected.includes(l)) assert.fail(`lost: ${JSON.stringify(p)}`);
    }
  }
  return lives.filter((l) => through.has(l));
}

function realTest(name: string, test: (topology: Topology) => Promise<void>): void {
  Deno.test({
    name,
    fn: () => inTopology(test),
    sanitizeOps: false,
    sanitizeResources: false,
  });
}

const toP1 = kubernetesPolicy("x", "to-p1", {
  podSelector: { matchLabels: { app: "p1" } },
  ingress: [{ from: [{ podSelector: { matchLabels: { app: "p3" } } }] }],
});
const fromP2 = kubernetesPolicy("x", "from-p2", {
  podSelector: { matchLabels: { app: "p2" } },
  policyTypes: ["Egress"],
  egress: [{ to: [{ podSelector: { matchLabels: { app: "p3" } } }] }],
});

/** Of every protocol and family: those that the two policies deny, and those that they do not. */
function connections(): { denied: Live[]; allowed: Live[] } {
  const denied: Live[] = [], allowed: Live[] = [];
  for (const protocol of protocols) {
    for (const family of [4, 6] as const) {
      const ip = (n: number) => address(n, family);
      denied.push(
        live(protocol, ip(0), ip(1)),
        live(protocol, outside[family], ip(1)),
        live(protocol, ip(2), ip(0)),
        live(protocol, ip(2), outside[family]),
      );
      allowed.push(
        live(protocol, ip(3), ip(1)),
        live(protocol, ip(2), ip(3)),
        live(protocol, ip(1), ip(0)),
        live(protocol, outside[family], ip(2)),
        live(protocol, ip(0), outside[family]),
      );
    }
  }
  return { denied, allowed };
}

for (const first of ["server", "client"] as const) {
  realTest(
    `what policy denies is cut in both directions, the ${first} speaking first`,
    async (t) => {
      const node = new NodeParts(t);
      try {
        await node.put(...scene);
        const { denied, allowed } = connections();
        const all = [...denied, ...allowed];
        await establish(t, all);
        await node.put(toP1, fromP2);
        assert.deepEqual(await alive(t, all, allowed, first), allowed);
        // And again: nothing of what was sent has opened anything.
        assert.deepEqual(await alive(t, all, allowed, first), allowed);
        await node.changeAndCut(removal(toP1), removal(fromP2));
        assert.deepEqual(await alive(t, all, all, first), all, "allowed again");
      } finally {
        await node.close();
      }
    },
  );
}

realTest(
  "a control: whose tracking is only ended lives on, when the server speaks first",
  async (t) => {
    const node = new NodeParts(t, false);
    try {
      await node.change(scene.map((put) => ({ put })));
      const { denied } = connections();
      await establish(t, denied);
      await node.change([toP1, fromP2].map((put) => ({ put })));
      assert.deepEqual(await alive(t, denied, denied, "client"), denied, "nobody cuts");
      await t.sh("conntrack -F 2>/dev/null");
      const alone = await alive(t, denied, [], "server");
      assert.deepEqual(alone, denied, "nobody who ends the tracking cuts");
    } finally {
      await node.close();
    }
  },
);

realTest("translated connections are cut and kept as others are", async (t) => {
  await t.sh(
    `nft "add table ip kube; ` +
      `add chain ip kube pre { type nat hook prerouting priority -100; }; ` +
      `add rule ip kube pre ip daddr ${SERVICE} meta l4proto { 6, 17, 132 } th dport 80 dnat to 10.0.0.65:8080; ` +
      `add rule ip kube pre ip daddr ${SERVICE} meta l4proto { 6, 17, 132 } th dport 81 dnat to 10.0.0.193:8080; ` +
      `add chain ip kube post { type nat hook postrouting priority 100; }; ` +
      `add rule ip kube post oifname eth0 ip saddr 10.0.0.0/24 masquerade"`,
  );
  const node = new NodeParts(t);
  try {
    await node.put(...scene);
    const masked = (l: Live): Live => ({ ...l, clientSeen: [NODE, l.client[1]] });
    const denied = protocols.flatMap((protocol) => [
      live(protocol, address(0, 4), SERVICE, { server: [address(1, 4), 8080] }),
      live(protocol, outside[4], SERVICE, { server: [address(1, 4), 8080] }),
      masked(live(protocol, address(2, 4), outside[4])),
    ]);
    const allowed = protocols.flatMap((protocol) => [
      live(protocol, address(0, 4), SERVICE, { to: [SERVICE, 81], server: [address(3, 4), 8080] }),
      masked(live(protocol, address(0, 4), outside[4])),
    ]);
    const all = [...denied, ...allowed];
    await establish(t, all);
    await node.put(toP1, fromP2);
    assert.deepEqual(await alive(t, all, allowed, "server"), allowed);
    assert.deepEqual(await alive(t, all, allowed, "client"), allowed);
  } finally {
    await node.close();
  }
});

realTest("whatever turns allow into deny cuts, and nothing but that", async (t) => {
  const node = new NodeParts(t);
  try {
    const role = (value: string) => [pod("x", "p0", { app: "p0", role: value })];
    const friends = kubernetesPolicy("x", "friends", {
      podSelector: { matchLabels: { app: "p1" } },
      ingress: [{ from: [{ podSelector: { matchLabels: { role: "any" } } }] }],
    });
    const stage = kubernetesPolicy("x", "stage", {
      podSelector: { matchLabels: { app: "p1" } },
      ingress: [{ from: [{ namespaceSelector: { matchLabels: { stage: "test" } } }] }],
    });
    const block = (except: string[]) =>
      kubernetesPolicy("x", "block", {
        podSelector: { matchLabels: { app: "p1" } },
        ingress: [{ from: [{ ipBlock: { cidr: "10.0.0.0/24", except } }] }],
      });
    const port = (endPort: number) =>
      kubernetesPolicy("x", "port", {
        podSelector: { matchLabels: { app: "p1" } },
        ingress: [{ ports: protocols.map((protocol) => ({ port: 70, endPort, protocol })) }],
      });
    const named = (number: number) => [
      kubernetesPolicy("x", "named", {
        podSelector: { matchLabels: { app: "p1" } },
        ingress: [{ ports: protocols.map((protocol) => ({ port: `web-${protocol}`, protocol })) }],
      }),
      pod("x", "p1", { app: "p1", role: "any" }, {
        ports: Object.fromEntries(protocols.map((p) => [`web-${p}`, `${number}/${p}`])),
      }),
    ];
    const globalSet = (nets: string[]) => [
      calico("GlobalNetworkSet", "far", { nets }, { set: "far" }),
      calicoPolicy("", "no-far", {
        selector: "app == 'p1'",
        types: ["Ingress"],
        ingress: [{ action: "Deny", source: { selector: "set == 'far'" } }, { action: "Allow" }],
      }),
    ];
    const tier = (order: number) => [
      calico("Tier", "first", { order, defaultAction: "Pass" }),
      calicoPolicy("", "first.no", {
        tier: "first",
        selector: "app == 'p1'",
        types: ["Ingress"],
        ingress: [{ action: "Deny", source: { selector: "app == 'p0'" } }],
      }),
    ];
    const tierAfter = calico("Tier", "first", { order: 5_000_000, defaultAction: "Pass" });
    const allowHere = calicoPolicy("", "allow", {
      selector: "app == 'p1'",
      types: ["Ingress"],
      ingress: [{ action: "Allow" }],
    });
    /** Objects before, the change, and what has to go in the end. */
    const changes: Record<string, [PolicyObject[], PolicyObject[]]> = {
      "a policy comes": [[], [toP1]],
      "a client's label goes": [[friends], role("none")],
      "a namespace's label goes": [[stage], [namespace("x", { stage: "other" })]],
      "a block excepts it": [[block([])], [block(["10.0.0.0/26"])]],
      "a range of ports ends earlier": [[port(80)], [port(79)]],
      "a named port moves": [named(80), named(81)],
      "a set takes it in": [globalSet(["203.0.113.0/24"]), globalSet(["10.0.0.0/26"])],
      "a tier moves forward": [[...tier(5_000_000), tierAfter, allowHere], tier(10)],
    };
    for (const [what, [before, after]] of Object.entries(changes)) {
      await node.put(...scene, ...before);
      const denied = protocols.map((p) => live(p, address(0, 4), address(1, 4)));
      const allowed = protocols.flatMap((p) => [
        live(p, address(0, 4), address(2, 4)),
        live(p, address(0, 6), address(2, 6)),
      ]);
      const all = [...denied, ...allowed];
      await establish(t, all);
      await node.put(...after);
      assert.deepEqual(await alive(t, all, allowed, "server"), allowed, what);
      const policies = [...before, ...after].filter((o) =>
        o.kind !== "Namespace" && o.kind !== "Pod"
      );
      await node.changeAndCut(...policies.map(removal), ...scene.map((put) => ({ put })));
      assert.deepEqual(await alive(t, all, all, "server"), all, `${what}, undone`);
    }
  } finally {
    await node.close();
  }
});

realTest("what changed while nobody ran is enforced at the start", async (t) => {
  let node = new NodeParts(t);
  try {
    await node.put(...scene);
    const { denied, allowed } = connections();
    const all = [...denied, ...allowed];
    await establish(t, all);
    await node.close();
    node = new NodeParts(t);
    await node.put(...scene, toP1, fromP2);
    assert.deepEqual(await alive(t, all, allowed, "server"), allowed);
  } finally {
    await node.close();
  }
});

realTest("connections that begin while the rules change are caught too", async (t) => {
  const node = new NodeParts(t);
  try {
    await node.put(...scene);
    const begun: Live[] = [];
    let changing = true;
    const begin = async () => {
      while (changing) {
        const some = Array.from({ length: 5 }, () => live("UDP", address(0, 4), address(1, 4)));
        const probes = some.map((l) => packet(l, "client", "open"));
        const arrived = await t.probe(probes, []);
        // A server that speaks unasked begins a connection of its own, which policy allows.
        const asked = some.filter((_, i) => arrived.has(probes[i]));
        begun.push(...asked);
        await t.probe(asked.map((l) => packet(l, "server", "answer")), []);
      }
    };
    const beginning = begin();
    await new Promise<void>((resolve) => setTimeout(resolve, 200));
    await node.put(toP1);
    // The second look.
    await new Promise<void>((resolve) => setTimeout(resolve, 1000));
    changing = false;
    await beginning;
    assert(begun.length > 5, `${begun.length}`);
    assert.deepEqual(await alive(t, begun, [], "client"), []);
  } finally {
    await node.close();
  }
});
