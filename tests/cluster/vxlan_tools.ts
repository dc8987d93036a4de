/**
 * For tests of VXLAN: what is on the wire between the nodes of a lab, what stands in their kernels and
 * in IPAM, and tunnel packets made by hand.
 */
import assert from "node:assert/strict";
import type { Lab, RunningPod } from "../../mod/lab/lab.ts";
import { pingMatrix } from "../../mod/lab/matrix.ts";
import { blockPrefix } from "../../mod/model/keys.ts";
import type { AllocationBlock } from "../../mod/model/ipam_block.ts";
import { formatIp, type Ip, ipAt, mustPrefix } from "../../mod/net/mod.ts";
import { tool } from "./harness.ts";

export type Mode = "Always" | "CrossSubnet" | "Never";

const bare = (address: string) => address.replace(/\/.*/, "");

/** Counts packets between nodes as the router's bridges see them: tunnels' and pods' own bare ones. */
export class Wire {
  #before: Readonly<Record<string, number>> = {};

  private constructor(readonly namespace: string) {}

  static async tap(lab: Lab): Promise<Wire> {
    const { routerNamespace, nodes, directory } = lab.record.layout;
    const rules = nodes.flatMap((a) =>
      nodes.filter((b) => b !== a).map((b) =>
        `ip saddr ${bare(a.addresses[0])} ip daddr ${bare(b.addresses[0])} udp dport 4789 ` +
        `counter comment "${a.name} ${b.name}"`
      )
    );
    rules.push('ip saddr 10.244.0.0/16 ip daddr 10.244.0.0/16 counter comment "bare"');
    const chain = ["type filter hook prerouting priority 0", ...rules].join("\n");
    const file = `${directory}/count.nft`;
    await Deno.writeTextFile(file, `table bridge count {\nchain c {\n${chain}\n}\n}\n`);
    await tool(routerNamespace, "nft", "-f", file);
    return new Wire(routerNamespace);
  }

  /** Packets since the last look, by `from to`, and `bare`. */
  async look(): Promise<Record<string, number>> {
    const text = await tool(this.namespace, "nft", "list", "table", "bridge", "count");
    const now: Record<string, number> = {};
    for (const [, packets, comment] of text.matchAll(/packets (\d+) .*comment "([^"]*)"/g)) {
      now[comment] = Number(packets);
    }
    const before = this.#before;
    this.#before = now;
    return Object.fromEntries(
      Object.entries(now).map(([comment, n]) => [comment, n - (before[comment] ?? 0)]),
    );
  }
}

export function pool(vxlanMode: Mode, name = "default-ipv4-ippool", cidr = "10.244.0.0/16") {
  return JSON.stringify({
    apiVersion: "projectcalico.org/v3",
    kind: "IPPool",
    metadata: { name },
    spec: { cidr, vxlanMode, natOutgoing: cidr === "10.244.0.0/16" },
  });
}

export async function nodeObject(lab: Lab, name: string) {
  const said = await lab.tortie(["get", "node", name, "-o", "json"]);
  return JSON.parse(said.stdout);
}

/** What a tool says, line by line, with single spaces. */
export async function lines(namespace: string, program: string, ...args: string[]) {
  const text = await tool(namespace, program, ...args);
  return text.split("\n").map((line) => line.trim().replace(/ +/g, " ")).filter(Boolean);
}

/** A node's block within a prefix, as its own blackhole route says. */
export async function blockOf(lab: Lab, name: string, within = "10.244.", family = "-4") {
  const own = await lines(lab.node(name).namespace, "ip", family, "route");
  const found = own.map((route) => /^blackhole (\S+)/.exec(route)?.[1])
    .find((cidr) => cidr?.startsWith(within));
  assert.ok(found, `${name} has a block in ${within}: ${own.join("; ")}`);
  return found;
}

/** The route to a prefix as `ip route` prints it; "" where there is none. */
export async function routeTo(namespace: string, prefix: string, family = "-4"): Promise<string> {
  return (await lines(namespace, "ip", family, "route", "show", "exact", prefix)).join("; ");
}

export const allReach = (pods: readonly RunningPod[], family?: 4 | 6) => async () =>
  (await pingMatrix(pods, family)).flat().every((reached) => reached);

/** Addresses on record under a handle. */
export async function heldBy(lab: Lab, handle: string): Promise<string[]> {
  const held: string[] = [];
  for (const family of [4, 6] as const) {
    const { entries } = await lab.store.list<AllocationBlock>(blockPrefix(family));
    for (const { value } of entries) {
      value.allocations.forEach((index, ordinal) => {
        if (index === null || value.attributes[index].handle_id !== handle) return;
        held.push(formatIp(ipAt(mustPrefix(value.cidr), ordinal)));
      });
    }
  }
  return held;
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += bytes[i] << 8 | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** An echo request in Ethernet in VXLAN (RFC 7348): the payload of a UDP packet to port 4789. */
export function encapsulated(packet: {
  vni: number;
  destinationMac: string;
  source: Ip;
  destination: Ip;
  /** The echo's identifier. */
  id: number;
}): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(8 + 14 + 20 + 8);
  const view = new DataView(bytes.buffer);
  bytes[0] = 0x08; // I: the VNI is valid
  view.setUint32(4, packet.vni << 8);
  bytes.set(packet.destinationMac.split(":").map((b) => parseInt(b, 16)), 8);
  bytes.set([2, 0, 0, 0, 0, 1], 14);
  view.setUint16(20, 0x0800);
  const ip = bytes.subarray(22, 42);
  ip.set([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1]);
  ip.set(packet.source.bytes, 12);
  ip.set(packet.destination.bytes, 16);
  view.setUint16(22 + 10, checksum(ip));
  const icmp = bytes.subarray(42);
  icmp[0] = 8;
  view.setUint16(42 + 4, packet.id);
  view.setUint16(42 + 2, checksum(icmp));
  return bytes;
}
