/**
 * A node in a network namespace with four pods and a host outside, wired as the CNI plugin wires
 * them, and probes between any two of their addresses: whole TCP, UDP and SCTP first packets on raw
 * sockets, so that nothing but the node's rules decides whether they arrive. Needs root and ip.
 */
import { DatagramSocket } from "../../ffi/datagram.ts";
import { libc } from "../../ffi/libc.ts";
import { libnl } from "../../ffi/libnl.ts";
import { createNetns, deleteNetns, Netns } from "../../ffi/netns.ts";
import { type Family, type Ip, mustIp } from "../../mod/net/mod.ts";
import { keyOf, packetOf, type Probe, protocolNumbers } from "./packets.ts";

export type { Probe, Protocol } from "./packets.ts";

// Opened here, so that no test is blamed for a library that stays.
libc();
libnl();

export interface Topology {
  /** The node: what is tested lives here. */
  readonly node: Netns;
  readonly nodeName: string;
  /** Sends all; the answer is those that arrived, after all that `expected` names or a wait. */
  probe(probes: readonly Probe[], expected: readonly Probe[]): Promise<Set<Probe>>;
  /** Runs a shell command in the node's namespace. */
  sh(command: string): Promise<string>;
}

/** Addresses of pod n (interface `calipN`): as policy/testing/random_worlds.ts gives them. */
const podAddresses = (n: number) => [`10.0.0.${n * 64 + 1}`, `fd00::${(n * 64 + 1).toString(16)}`];
const outsideAddresses = ["192.0.2.1", "10.0.0.250", "2001:db8::1", "fd00::fa"];
/** Addresses that only translated packets come from: a service's, and the node's. */
export const SERVICE = "10.96.0.1", NODE = "192.0.2.254";
const translatedAddresses = [SERVICE, NODE];
const PODS = 4;
/** An address that pod 0 has taken for itself: nobody routes it there. */
export const STOLEN = "10.0.0.251";

let count = 0;

export async function inTopology(test: (topology: Topology) => Promise<void>): Promise<void> {
  const prefix = `pol-${Deno.pid}-${++count}`;
  const node = `${prefix}-node`, outside = `${prefix}-out`;
  const pods = Array.from({ length: PODS }, (_, n) => `${prefix}-p${n}`);
  const names = [node, outside, ...pods];
  const made: string[] = [];
  const opened: Netns[] = [];
  const sockets: DatagramSocket[] = [];
  try {
    for (const name of names) {
      createNetns(name);
      made.push(name);
    }
    await shell(script(node, outside, pods));
    const open = (name: string) => {
      const netns = Netns.open(name);
      opened.push(netns);
      return netns;
    };
    const nodeNetns = open(node);
    const waiting = new Map<string, (() => void)>();
    const bySide = new Map<string, DatagramSocket>();
    const listen = (netns: Netns, address: string) => {
      const ip = mustIp(address);
      for (const [name, protocol] of Object.entries(protocolNumbers)) {
        const socket = new DatagramSocket(
          { family: ip.family, protocol, netns, local: { ip, port: 0 }, receiveBuffer: 1 << 22 },
          (datagram) => {
            const at = ip.family === 4 ? (datagram.bytes[0] & 15) * 4 : 0;
            const view = new DataView(datagram.bytes.buffer, datagram.bytes.byteOffset + at);
            const key = [textOf(datagram.ip), address, name, view.getUint16(0), view.getUint16(2)];
            waiting.get(key.join(" "))?.();
          },
        );
        sockets.push(socket);
        bySide.set(`${address} ${name}`, socket);
      }
    };
    const outsideNetns = open(outside);
    for (const address of outsideAddresses) listen(outsideNetns, address);
    pods.forEach((name, n) => {
      const netns = open(name);
      for (const address of podAddresses(n)) listen(netns, address);
      if (n === 0) listen(netns, STOLEN);
    });

    await test({
      node: nodeNetns,
      nodeName: node,
      sh: (command) => shell(`ip netns exec ${node} sh -ec '${command}'`),
      probe: async (probes, expected) => {
        const arrived = new Set<Probe>();
        const missing = new Set(expected);
        let done = () => {};
        const all = new Promise<void>((resolve) => done = resolve);
        for (const p of probes) {
          waiting.set(keyOf(p), () => {
            arrived.add(p);
            missing.delete(p);
            if (missing.size === 0) done();
          });
        }
        if (missing.size === 0) done();
        for (const p of probes) {
          bySide.get(`${p.source} ${p.protocol}`)!.send(mustIp(p.destination), 0, packetOf(p));
        }
        const timers: number[] = [];
        const wait = (ms: number) =>
          new Promise<void>((resolve) => timers.push(setTimeout(resolve, ms)));
        await Promise.race([all, wait(1000)]);
        // What should not arrive has had the same time, and a little more.
        await wait(20);
        timers.forEach(clearTimeout);
        for (const p of probes) waiting.delete(keyOf(p));
        return arrived;
      },
    });
  } finally {
    for (const socket of sockets) socket.close();
    for (const netns of opened) netns.close();
    for (const name of made) deleteNetns(name);
  }
}

function script(node: string, outside: string, pods: string[]): string {
  const lines = [
    `N="ip -n ${node}"; O="ip -n ${outside}"`,
    `ip netns exec ${node} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv6.conf.default.accept_dad=0`,
    `ip netns exec ${outside} sysctl -qw net.ipv6.conf.default.accept_dad=0`,
    "$N link set lo up; $O link set lo up",
    `$N link add eth0 type veth peer name eth0 netns ${outside}`,
    "$N link set eth0 up; $O link set eth0 up",
    "$N addr add 192.0.2.254/24 dev eth0; $N addr add 2001:db8::fe/64 dev eth0 nodad",
    "$O addr add 192.0.2.1/24 dev eth0; $O addr add 10.0.0.250/32 dev eth0",
    "$O addr add 2001:db8::1/64 dev eth0 nodad; $O addr add fd00::fa/128 dev eth0 nodad",
    "$O route add default via 192.0.2.254; $O -6 route add default via 2001:db8::fe",
    quiet(outside),
    "$N route add 10.0.0.250/32 via 192.0.2.1; $N -6 route add fd00::fa/128 via 2001:db8::1",
  ];
  pods.forEach((pod, n) => {
    const [four, six] = podAddresses(n);
    const host = `calip${n}`;
    lines.push(
      `ip netns exec ${pod} sysctl -qw net.ipv6.conf.default.accept_dad=0`,
      quiet(pod),
      `P="ip -n ${pod}"`,
      `$N link add ${host} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns ${pod}`,
      // From this hardware address follows the gateway's fe80::ecee:eeff:feee:eeee.
      `$N link set ${host} up; $P link set lo up; $P link set eth0 up`,
      `$N route add ${four}/32 dev ${host}; $N -6 route add ${six}/128 dev ${host}`,
      `$P addr add ${four}/32 dev eth0; $P addr add ${six}/128 dev eth0 nodad`,
      "$P route add 169.254.1.1 dev eth0 scope link; $P route add default via 169.254.1.1",
      "$P neigh add 169.254.1.1 lladdr ee:ee:ee:ee:ee:ee dev eth0 nud permanent",
      "$P -6 route add default via fe80::ecee:eeff:feee:eeee dev eth0",
    );
  });
  lines.push(`ip -n ${pods[0]} addr add ${STOLEN}/32 dev eth0`);
  return lines.join("\n");
}

/** No socket listens for our TCP packets: the kernel's own answers would end the connections. */
function quiet(netns: string): string {
  return `ip netns exec ${netns} nft "add table inet quiet; ` +
    "add chain inet quiet out { type filter hook output priority 0; }; " +
    'add rule inet quiet out tcp flags & rst == rst drop"';
}

async function shell(script: string): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command("sh", {
    args: ["-ec", script],
    stdin: "null",
  }).output();
  const text = new TextDecoder();
  if (code !== 0) throw new Error(`the set-up failed (${code}): ${text.decode(stderr)}`);
  return text.decode(stdout);
}

const texts = new Map<string, string>();
/** Canonical text of an address that came in. */
function textOf(ip: Ip): string {
  const key = ip.bytes.join();
  if (texts.size === 0) {
    const known = [...outsideAddresses, ...translatedAddresses, STOLEN];
    for (let n = 0; n < PODS; n++) known.push(...podAddresses(n));
    for (const text of known) texts.set(mustIp(text).bytes.join(), text);
  }
  return texts.get(key) ?? "";
}

export const families: readonly Family[] = [4, 6];
