/** Speakers on a fake net, for tests: node n of a full mesh has the address 10.0.x.y. */
import { type Ip, mustIp, mustPrefix } from "../../mod/net/mod.ts";
import type { LocalRoute, PeerConfig, SpeakerConfig } from "../config.ts";
import { Speaker } from "../speaker.ts";
import { FakeClock, FakeNet } from "./fake_net.ts";

export interface Node {
  readonly address: Ip;
  speaker: Speaker;
  /** The learned table as `onRoutes` has told it: prefix to next hops. */
  kernel: Map<string, string[]>;
}

export function meshAddress(n: number): Ip {
  return mustIp(`10.0.${n >> 8}.${n & 0xff}`);
}

export class Cluster {
  readonly clock: FakeClock;
  readonly net: FakeNet;
  readonly nodes = new Map<number, Node>();

  constructor(seed = 1, latency = 1) {
    this.clock = new FakeClock(seed);
    this.net = new FakeNet(this.clock, latency);
  }

  /** Starts a speaker; without peers. */
  add(n: number, config: Partial<SpeakerConfig> = {}): Node {
    const address = meshAddress(n);
    const former = this.nodes.get(n);
    const node: Node = {
      address,
      speaker: new Speaker({
        as: 64512,
        routerId: address,
        listen: [{ family: 4, port: 179 }],
        ...config,
      }, { transport: this.net.transport(address), clock: this.clock }),
      kernel: former?.kernel ?? new Map(),
    };
    this.nodes.set(n, node);
    node.speaker.onRoutes((changes) => {
      if (this.nodes.get(n) !== node) return;
      for (const { prefix, paths } of changes) {
        const key = prefix.ip.bytes.join(".") + "/" + prefix.length;
        if (paths.length === 0) node.kernel.delete(key);
        else node.kernel.set(key, paths.map((path) => path.nextHop.bytes.join(".")));
      }
    });
    node.speaker.start();
    return node;
  }

  /** Peers of node n: everybody else of the list, by Calico's rule of who calls. */
  mesh(members: readonly number[], extra: Partial<PeerConfig> = {}): void {
    for (const n of members) this.nodes.get(n)!.speaker.setPeers(meshPeers(n, members, extra));
  }

  announce(n: number, ...prefixes: string[]): void {
    const routes: LocalRoute[] = prefixes.map((text) => ({ prefix: mustPrefix(text) }));
    this.nodes.get(n)!.speaker.announce(routes);
  }

  established(n: number): number {
    return this.nodes.get(n)!.speaker.peers().filter((p) => p.state === "Established").length;
  }

  /** The process dies without a word. */
  kill(n: number): void {
    const node = this.nodes.get(n)!;
    this.net.kill(node.address);
    // The speaker object must not act any more: a dead process has no timers.
    node.speaker.stop({ graceful: true });
  }
}

export function meshPeers(
  n: number,
  members: readonly number[],
  extra: Partial<PeerConfig> = {},
): PeerConfig[] {
  const own = meshAddress(n).bytes.join(".");
  return members.filter((m) => m !== n).map((m) => {
    const address = meshAddress(m);
    const text = address.bytes.join(".");
    return {
      name: `Mesh_${text.replaceAll(".", "_")}`,
      address,
      remoteAs: 64512,
      source: meshAddress(n),
      // As texts: the node with the greater one calls.
      passive: own < text,
      ...extra,
    };
  });
}
