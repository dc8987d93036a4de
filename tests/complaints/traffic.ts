/**
 * What the reproductions of complaints talk with: connections that stay open, questions by UDP from
 * one port, and what a node's kernel tracks of them.
 */
import assert from "node:assert/strict";
import { DatagramSocket } from "../../ffi/datagram.ts";
import { connectTcp, type TcpStream } from "../../ffi/tcp.ts";
import { netnsPath } from "../../mod/lab/cluster.ts";
import type { Lab } from "../../mod/lab/lab.ts";
import type { PodRecord } from "../../mod/lab/record.ts";
import { mustIp } from "../../mod/net/mod.ts";
import { Netns, pause, pod, tool } from "../cluster/harness.ts";

/** A connection that is in use: says something, and hears it again or not. */
export class Talk {
  #heard = "";
  #said = 0;
  #open = true;

  constructor(readonly stream: TcpStream) {
    this.#listen();
  }

  static async open(from: PodRecord, to: string, port: number): Promise<Talk> {
    using netns = Netns.open(netnsPath(from.netns));
    return new Talk(
      await connectTcp({ remote: { ip: mustIp(to), port }, netns, timeout: 3000 }),
    );
  }

  async #listen(): Promise<void> {
    try {
      for (let bytes; (bytes = await this.stream.read());) {
        this.#heard += new TextDecoder().decode(bytes);
      }
    } catch {
      // broken off by close
    }
    this.#open = false;
  }

  /** Whether what is said now comes back. */
  async answers(milliseconds: number): Promise<boolean> {
    const word = `<${++this.#said}>`;
    if (!this.#open) return false;
    this.stream.write(new TextEncoder().encode(word)).catch(() => {});
    const end = performance.now() + milliseconds;
    while (performance.now() < end) {
      if (this.#heard.includes(word)) return true;
      await pause(10);
    }
    return false;
  }
}

export const ingress = (name: string, target: string, from: string[]) =>
  JSON.stringify({
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: "default" },
    spec: {
      podSelector: { matchLabels: { app: target } },
      policyTypes: ["Ingress"],
      ingress: [{ from: from.map((app) => ({ podSelector: { matchLabels: { app } } })) }],
    },
  });

/** Tracked connections of a node with an address, each with its mark. */
export async function tracked(lab: Lab, node: string, address: string): Promise<string[]> {
  const all = await tool(lab.node(node).namespace, "conntrack", "-L");
  return all.split("\n").filter((line) => line.includes(`=${address} `))
    .map((line) => `${/src=\S+ dst=\S+ sport=\S+ dport=\S+/.exec(line)} ${/mark=\d+/.exec(line)}`)
    .sort();
}

/** Marks them, so that one that took their place is told from them. */
export async function stamp(lab: Lab, node: string, address: string): Promise<string[]> {
  await tool(lab.node(node).namespace, "conntrack", "-U", "-p", "udp", "-d", address, "-m", "7");
  const stamped = await tracked(lab, node, address);
  assert.match(stamped.join(), /^[^,]*mark=7$/);
  return stamped;
}

/** Asks by UDP, from one port all the time. */
export function asker(from: PodRecord) {
  using netns = Netns.open(netnsPath(from.netns));
  let heard = 0;
  const socket = new DatagramSocket({ family: 4, netns }, () => heard++);
  return {
    async answered(address: string, milliseconds = 300): Promise<boolean> {
      const before = heard;
      const end = performance.now() + milliseconds;
      while (heard === before && performance.now() < end) {
        socket.send(mustIp(address), 53, new TextEncoder().encode("?"));
        await pause(20);
      }
      return heard > before;
    },
    close: () => socket.close(),
  };
}

export function dns(name: string, address?: string): string {
  const manifest = JSON.parse(pod(name, {
    annotations: address ? { "cni.projectcalico.org/ipAddrs": `["${address}"]` } : undefined,
  }));
  manifest.spec.containers[0].ports = [{ containerPort: 53, protocol: "UDP" }];
  return JSON.stringify(manifest);
}
