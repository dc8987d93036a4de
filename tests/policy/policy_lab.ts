/**
 * A lab of the built executable for cases of network policy: dual-stack nodes with their services,
 * pods by real CNI ADDs at given addresses, and a host outside behind the lab's router. Objects go
 * through the store with `tortie apply` and `tortie delete`.
 *
 * When has a change reached the kernels? Nodes follow the store in the order of its revisions, and
 * put a change of policy in by whole transactions. So the last thing that is written is a policy for
 * one pod of each node, the canaries, that opens a port which was closed before: once that port
 * answers, all that was written earlier is in that node's kernel, and the case is asked once, with no
 * second try for what must not pass.
 */
import assert from "node:assert/strict";
import { inNetns, Netns } from "../../ffi/netns.ts";
import { IFA_F_NODAD } from "../../ffi/route/address.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { podKind } from "../../mod/model/pod.ts";
import { mustIp, mustPrefix, parseCidr } from "../../mod/net/mod.ts";
import { until, withLab } from "../cluster/harness.ts";
import type { Probe } from "./packets.ts";
import { type Fates, Prober } from "./prober.ts";

export type Labels = Readonly<Record<string, string>>;

export interface LabPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Labels;
  /** Canonical texts; IPv4 of 10.65.0.0/16, IPv6 of fd00:65::/112. */
  readonly addresses: readonly string[];
  readonly node: string;
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort: number;
    readonly protocol: string;
  }[];
}

export interface PolicyManifest {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
  readonly spec?: unknown;
}

/** What should be in the store beside the pods themselves. */
export interface State {
  readonly namespaces: Readonly<Record<string, Labels>>;
  /** Labels of pods, by `namespace/pod`; the others keep theirs. */
  readonly labels: Readonly<Record<string, Labels>>;
  readonly policies: readonly PolicyManifest[];
}

/** The host outside. */
export const OUTSIDE = ["203.0.113.9", "2001:db8:9::9"] as const;
const POOLS = ["10.65.0.0/16", "fd00:65::/112"] as const;
const canaries: readonly LabPod[] = ["node1", "node2"].map((node, i) => ({
  namespace: "canary",
  name: `canary${i + 1}`,
  labels: {},
  addresses: [
    `10.65.255.${i * 64 + 1}`,
    `fd00:65::ff${(i * 64 + 1).toString(16).padStart(2, "0")}`,
  ],
  node,
}));

export const keyOf = ({ namespace, name }: { namespace: string; name: string }) =>
  `${namespace}/${name}`;

/** A lab with the canaries running and the outside wired, for the time of `test`. */
export async function withPolicyLab(test: (lab: PolicyLab) => Promise<void>): Promise<void> {
  await withLab({
    subnets: "2",
    families: "IPv4,IPv6",
    env: {
      CALICO_IPV4POOL_CIDR: POOLS[0],
      CALICO_IPV6POOL_CIDR: POOLS[1],
      // The outside sees the pods' own addresses.
      CALICO_IPV4POOL_NAT_OUTGOING: "false",
    },
  }, async (lab) => {
    const policyLab = new PolicyLab(lab);
    try {
      await policyLab.begin();
      await test(policyLab);
    } finally {
      policyLab.close();
    }
  });
}

export class PolicyLab {
  readonly prober = new Prober();
  readonly #pods = new Map<string, { pod: LabPod; record: PodRecord; netns: Netns }>();
  readonly #opened: Netns[] = [];
  /** What stands in the store, as text. */
  readonly #policies = new Map<string, string>();
  readonly #namespaces = new Map<string, string>();
  readonly #labels = new Map<string, string>();
  #turn = 0;
  #sourcePort = 20_000;

  constructor(readonly lab: Lab) {}

  async begin(): Promise<void> {
    const { routerNamespace, nodes } = this.lab.record.layout;
    const router = Netns.open(netnsPath(routerNamespace));
    this.#opened.push(router);
    using socket = RouteSocket.open(router);
    const lo = socket.link("lo")!.index;
    OUTSIDE.forEach((text, i) => {
      const ip = mustIp(text);
      const length = ip.family === 4 ? 32 : 128;
      // Usable at once: the prober binds to it.
      socket.addAddress({ index: lo, ip, length, ...(ip.family === 6 && { flags: IFA_F_NODAD }) });
      // By way of the first node, which knows the second one's pods.
      socket.addRoute({
        destination: mustPrefix(POOLS[i]),
        hops: [{
          gateway: parseCidr(nodes[0].addresses[i])!.ip,
          oif: socket.link("br1")!.index,
        }],
      });
    });
    inNetns(router, () => this.prober.add(router, OUTSIDE));
    for (const pod of canaries) await this.start(pod);
    await this.settle();
  }

  close(): void {
    this.prober.close();
    for (const { netns } of this.#pods.values()) netns.close();
    for (const netns of this.#opened) netns.close();
  }

  has(key: string): boolean {
    return this.#pods.has(key);
  }

  addressesOf(key: string): readonly string[] {
    const found = this.#pods.get(key);
    if (!found) throw new Error(`the lab has no pod ${key}`);
    return found.pod.addresses;
  }

  /** Starts a pod as `tortie lab run` does, at its addresses. */
  async start(pod: LabPod): Promise<void> {
    const manifest = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        namespace: pod.namespace,
        name: pod.name,
        labels: pod.labels,
        annotations: { "cni.projectcalico.org/ipAddrs": JSON.stringify(pod.addresses) },
      },
      spec: { containers: [{ name: "c", ports: pod.ports ?? [] }] },
    };
    const [record] = await this.lab.run([manifest], { node: pod.node });
    assert.deepEqual([...record.addresses].sort(), [...pod.addresses].sort());
    const netns = Netns.open(netnsPath(record.netns));
    this.#pods.set(keyOf(pod), { pod, record, netns });
    this.#labels.set(keyOf(pod), JSON.stringify(pod.labels));
    this.prober.add(netns, pod.addresses);
  }

  async remove(key: string): Promise<void> {
    const { pod, record, netns } = this.#pods.get(key)!;
    this.prober.remove(pod.addresses);
    netns.close();
    this.#pods.delete(key);
    this.#labels.delete(key);
    await this.lab.remove(record);
  }

  /** Brings the store to the state, and waits until both kernels have followed. */
  async update(state: State): Promise<void> {
    const wanted = new Map(state.policies.map((policy) => {
      const metadata = { ...policy.metadata, namespace: policy.metadata?.namespace ?? "default" };
      return [`${metadata.namespace}/${metadata.name}`, JSON.stringify({ ...policy, metadata })];
    }));
    const gone = [...this.#policies].filter(([key]) => !wanted.has(key));
    if (gone.length > 0) {
      await this.#tortie(["delete", "-f", "-"], gone.map(([, text]) => text));
      for (const [key] of gone) this.#policies.delete(key);
    }
    const documents: string[] = [];
    for (const [name, labels] of Object.entries(state.namespaces)) {
      const text = JSON.stringify({
        apiVersion: "v1",
        kind: "Namespace",
        metadata: { name, labels },
      });
      if (this.#namespaces.get(name) !== text) documents.push(text);
      this.#namespaces.set(name, text);
    }
    for (const [key, labels] of Object.entries(state.labels)) {
      if (this.#labels.get(key) === JSON.stringify(labels)) continue;
      this.#labels.set(key, JSON.stringify(labels));
      const [namespace, name] = key.split("/");
      const pod = await this.lab.resources.get(podKind, name, namespace);
      documents.push(JSON.stringify({
        ...pod,
        metadata: {
          namespace,
          name,
          labels,
          annotations: pod!.metadata.annotations,
        },
      }));
    }
    for (const [key, text] of wanted) {
      if (this.#policies.get(key) !== text) documents.push(text);
      this.#policies.set(key, text);
    }
    if (documents.length > 0) await this.#tortie(["apply", "-f", "-"], documents);
    await this.settle();
  }

  async #tortie(args: string[], documents: string[]): Promise<void> {
    const said = await this.lab.tortie(args, documents.join("\n---\n"));
    assert.equal(said.exit, 0, said.stderr);
  }

  /** Waits until all that was written before is in the kernels of both nodes, in both families. */
  async settle(): Promise<void> {
    const port = 10_000 + ++this.#turn;
    await this.lab.apply(JSON.stringify({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "canary", namespace: "canary" },
      spec: { podSelector: {}, policyTypes: ["Ingress"], ingress: [{ ports: [{ port }] }] },
    }));
    await until(`the canaries answer on port ${port}`, 20_000, async () => {
      const probes = this.#connections(
        [...OUTSIDE],
        canaries.flatMap((c) => c.addresses),
        ["TCP"],
        [port],
      );
      const fates = await this.prober.probe(probes, () => true, { limit: 25, grace: 0 });
      return probes.every((p) => fates.get(p)!.answered);
    });
  }

  /** Tries between addresses of one family, from a port that no earlier try had. */
  #connections(
    from: readonly string[],
    to: readonly string[],
    protocols: readonly Probe["protocol"][],
    ports: readonly number[],
  ): Probe[] {
    const sourcePort = this.nextSourcePort();
    const family = (text: string) => text.includes(":") ? 6 : 4;
    return from.flatMap((source) =>
      to.filter((destination) => destination !== source && family(source) === family(destination))
        .flatMap((destination) =>
          protocols.flatMap((protocol) =>
            ports.map((port): Probe => ({ source, destination, protocol, sourcePort, port }))
          )
        )
    );
  }

  nextSourcePort(): number {
    return this.#sourcePort++;
  }

  /**
   * Tries all, and says what went otherwise than wanted, or undefined. What must not pass may not
   * even once; what must is tried anew for a while where `patient`, as routes to new pods need time.
   */
  async judge(
    wanted: ReadonlyMap<Probe, boolean>,
    options: { patient?: boolean; limit?: number } = {},
  ): Promise<string | undefined> {
    const end = performance.now() + 10_000;
    for (let now = wanted;;) {
      const fates: Fates = await this.prober.probe([...now.keys()], (p) => now.get(p)!, options);
      const through = [...now].filter(([p, allowed]) => !allowed && reached(fates, p));
      if (through.length > 0) return `${list(through)} got through`;
      const lost = [...now].filter(([p, allowed]) => allowed && !fates.get(p)!.answered);
      if (lost.length === 0) return undefined;
      if (!options.patient || performance.now() > end) return `${list(lost)} got no answer`;
      const sourcePort = this.nextSourcePort();
      now = new Map([...wanted].map(([p, allowed]) => [{ ...p, sourcePort }, allowed]));
    }
  }
}

const reached = (fates: Fates, p: Probe) => fates.get(p)!.arrived || fates.get(p)!.answered;

function list(probes: readonly [Probe, boolean][]): string {
  const words = probes.slice(0, 5).map(([p]) =>
    `${p.source} -> ${p.destination} ${p.protocol}/${p.port}`
  );
  return `${words.join("; ")} (${probes.length} in all)`;
}
