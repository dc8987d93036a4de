/** The chapters of the demo, in order: each makes something happen and says what is true then. */
import { Netns } from "../../ffi/netns.ts";
import { RouteSocket } from "../../ffi/route/socket.ts";
import { RT_TABLE_MAIN } from "../../ffi/route/route.ts";
import { signal } from "../../ffi/process.ts";
import { tabbed } from "../cli/tables.ts";
import {
  type Family,
  formatIp,
  formatPrefix,
  mustIp,
  mustPrefix,
  prefixContains,
} from "../net/mod.ts";
import type { NodeStatus } from "../node/api.ts";
import { addBirdMember } from "./bird.ts";
import { askNode, netnsPath, startNode, waitReady, withNetns } from "./cluster.ts";
import type { Narrator } from "./demo.ts";
import * as manifests from "./demo_manifests.ts";
import type { RunningPod } from "./lab.ts";
import { addressOf, matrix, pingMatrix, type Reach } from "./matrix.ts";
import { CniRefusal } from "./pods.ts";
import { ping, Pinger } from "./probe.ts";
import type { PodRecord } from "./record.ts";
import { transfer } from "./transfer.ts";
import { LabError } from "./workloads.ts";

type Chapter = (n: Narrator) => Promise<void>;

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until it is so, at most five seconds; whether it came to be. */
async function soon(isSo: () => boolean | Promise<boolean>): Promise<boolean> {
  for (const end = performance.now() + 5000; performance.now() < end; await pause(50)) {
    if (await isSo()) return true;
  }
  return await isSo();
}

const pings = (from: PodRecord, to: string) => pingsFrom(from.netns, to);

async function pingsFrom(namespace: string, to: string): Promise<boolean> {
  const netns = Netns.open(netnsPath(namespace));
  try {
    return await ping(netns, mustIp(to), 400) !== undefined;
  } finally {
    netns.close();
  }
}

/** The routes of a node that are ours, as `ip route` prints them. */
function routesOf(n: Narrator, node: string, family: Family = 4): string[] {
  return withNetns(n.lab.node(node).namespace, (netns) => {
    using socket = RouteSocket.open(netns);
    const names = new Map(socket.links().map((l) => [l.index, l.name]));
    return socket.routes({ family, table: RT_TABLE_MAIN })
      .filter((r) => r.protocol === 80 || r.protocol === 81)
      .map((r) => {
        const hops = (r.hops ?? []).map((h) =>
          `${h.gateway ? `via ${formatIp(h.gateway)} ` : ""}dev ${names.get(h.oif ?? 0)}`
        );
        const what = r.type === "blackhole" ? "blackhole " : "";
        const way = r.type === "blackhole" ? "" : ` ${hops.join(" ")}`;
        return `${what}${formatPrefix(r.destination)}${way} proto ${r.protocol}`;
      });
  });
}

const plain = new Map<string, RunningPod>();

const connectivity: Chapter = async (n) => {
  for (const [i, name] of ["one", "two", "three"].entries()) {
    const [pod] = await n.lab.run(manifests.PLAIN(name), { node: `node${i + 1}` });
    plain.set(name, pod);
    n.say(`  pod ${name} on ${pod.node} has ${pod.addresses.join(" and ")}`);
  }
  const [one, two, three] = [...plain.values()];
  const learned = () => routesOf(n, "node1").filter((r) => r.includes("proto 81")).length === 2;
  n.check(
    "node1 has learned the blocks of node2 and node3 by BGP (protocol 81)",
    await soon(learned),
  );
  n.show(routesOf(n, "node1").join("\n"));
  n.check(
    "pods of node1 and node2 ping each other",
    await pings(one, two.addresses[0]) &&
      await pings(two, one.addresses[0]),
  );
  const six = formatIp(addressOf(two, 6));
  n.check(
    "over IPv6 as well, each through the link-local gateway on its node",
    await soon(() => pings(one, six)),
  );
  const [address] = three.addresses;
  n.check(
    "pod three is alive: its own node pings it",
    await pingsFrom(n.lab.node("node3").namespace, address),
  );
  const route = routesOf(n, "node1").find((r) =>
    r.endsWith("proto 81") && prefixContains(mustPrefix(r.split(" ")[0]), mustIp(address))
  );
  n.check(
    "node1's route to pod three's block leads to the router, 10.10.1.1",
    route?.includes(" via 10.10.1.1 ") ?? false,
    route ?? "no route",
  );
  n.check("pod three, across the router, is out of reach", !await pings(one, address));
  n.say(
    "    Why: the pool has no encapsulation, and the router between the subnets knows the nodes",
  );
  n.say("    but no pods. node1's route to node3's block leads to that router, which drops it.");
};

/** Every pair, both ways; `undefined` where all reach all, else who does not. */
async function unreached(pods: readonly RunningPod[], family: Family): Promise<string | undefined> {
  const reach = await pingMatrix(pods, family);
  const silent = pods.flatMap((from, i) =>
    pods.filter((_, j) => !reach[i][j]).map((to) => `${from.name} does not reach ${to.name}`)
  );
  return silent.length === 0 ? undefined : silent.join(", ");
}

/** The member's blocks, of the two pools. */
const BIRD_BLOCKS = ["10.244.200.0/26", "fd00:10:244:0:200::/122"];

const foreignMember: Chapter = async (n) => {
  const { bird: program } = n.options;
  if (!program) {
    n.say("  (left out: no BIRD was named; with it: tortie lab demo --bird /usr/sbin/bird)");
    return;
  }
  const nodes = n.lab.record.layout.nodes.map((node) => node.name);
  const inEveryKernel = (there: boolean) =>
    nodes.every((node) =>
      BIRD_BLOCKS.map(mustPrefix).every((block) =>
        routesOf(n, node, block.ip.family).some((r) =>
          r.startsWith(`${formatPrefix(block)} `) && r.endsWith("proto 81")
        ) === there
      )
    );
  const bird = await addBirdMember(n.lab, { program, blocks: BIRD_BLOCKS.map(mustPrefix) });
  try {
    n.check(
      "without BIRD's announcements no kernel has routes to its blocks",
      inEveryKernel(false),
    );
    await bird.start();
    n.check(
      "BIRD, a member by its Node object, announces two blocks: every kernel has them",
      await soon(() => inEveryKernel(true)),
    );
    n.show(
      BIRD_BLOCKS.map(mustPrefix).flatMap((block) =>
        routesOf(n, "node1", block.ip.family).filter((r) => r.startsWith(formatPrefix(block)))
      ).join("\n"),
    );
    const [one] = [...plain.values()];
    const hosts = bird.hosts.map((ip) => formatIp(ip));
    const reached = async () => {
      for (const host of hosts) if (!await pings(one, host)) return false;
      return true;
    };
    const back = async () => {
      for (const address of one.addresses) {
        if (!await pingsFrom(bird.place.namespace, address)) return false;
      }
      return true;
    };
    n.check(
      "pod one and the host behind BIRD ping each other, IPv4 and IPv6",
      await soon(async () => await reached() && await back()),
    );
    await bird.kill();
    await pause(500);
    n.check(
      "killed with -9, BIRD's routes stay for its restart time (graceful restart)",
      inEveryKernel(true) && await reached(),
    );
    await bird.start();
    // At all nodes: one that it has not met again yet cannot be told that it ends, and waits for it.
    const met = async () => {
      const states = await Promise.all(
        n.lab.record.layout.nodes.map((node) => askNode<NodeStatus>(node, "node.status")),
      );
      return states.flatMap(({ peers }) => peers).every((peer) => peer.state === "Established");
    };
    n.check("started again, it is back in the mesh", await soon(met) && inEveryKernel(true));
    await bird.stop();
    n.check("ended in good order, its routes go at once", await soon(() => inEveryKernel(false)));
  } finally {
    await bird.remove();
  }
};

const crossSubnet: Chapter = async (n) => {
  const pods = [...plain.values()];
  const patch = async (pool: string) => {
    const change = '{"spec":{"vxlanMode":"CrossSubnet"}}';
    const { exit, stderr } = await n.lab.tortie(["patch", "ippool", pool, "-p", change]);
    if (exit !== 0) throw new LabError(stderr.trim());
    n.say(`    $ tortie patch ippool ${pool} -p '${change}'`);
  };
  const settled = async (family: Family) => {
    let missing: string | undefined = "nobody was asked";
    await soon(async () => (missing = await unreached(pods, family)) === undefined);
    return missing;
  };
  for (const [family, pool] of [[4, "default-ipv4-ippool"], [6, "default-ipv6-ippool"]] as const) {
    await patch(pool);
    const missing = await settled(family);
    n.check(
      `over IPv${family} all three pods ping each other now, the third node's too`,
      missing === undefined,
      missing,
    );
    const [, two, three] = pods;
    const towards = (pod: RunningPod) =>
      routesOf(n, "node1", family).find((r) => {
        const prefix = r.split(" ")[0];
        return !r.startsWith("blackhole") &&
          prefixContains(mustPrefix(prefix), addressOf(pod, family));
      }) ?? "no route";
    const [near, far] = [towards(two), towards(three)];
    n.check(
      "node1 sends to node3 through the tunnel, and to node2 on its own subnet without",
      / dev vxlan/.test(far) && / dev eth0/.test(near),
    );
    n.show(`${near}\n${far}`);
  }
};

const fixedAddresses: Chapter = async (n) => {
  const [one] = [...plain.values()];
  const [fixed] = await n.lab.run(manifests.FIXED, { node: "node1" });
  n.check("the pod that asks for 10.244.1.200 gets it", fixed.addresses[0] === "10.244.1.200");
  const [sticky] = await n.lab.run(manifests.STICKY, { node: "node2" });
  n.check("the Deployment's pod gets its 10.244.1.220", sticky.addresses[0] === "10.244.1.220");
  try {
    await n.lab.run(manifests.RIVAL, { node: "node2" });
    n.check("a second pod that asks for 10.244.1.200 is refused", false, "it was started");
  } catch (error) {
    const refused = error instanceof CniRefusal && error.message.includes("10.244.1.200");
    n.check("a second pod that asks for 10.244.1.200 is refused", refused, String(error));
    n.show((error as Error).message);
  }
  await n.lab.remove(fixed);
  const [moved] = await n.lab.run(manifests.FIXED, { node: "node2" });
  n.check(
    "deleted and made again on node2, it has the same address",
    moved.node === "node2" && moved.addresses[0] === "10.244.1.200",
  );
  const host = () =>
    routesOf(n, "node1").some((r) => r.startsWith("10.244.1.200/32 via 10.10.1.12"));
  n.check("node1 reaches it by a route to that one address", await soon(host));
  n.show(routesOf(n, "node1").filter((r) => r.startsWith("10.244.1.200")).join("\n"));
  n.check("and pings it", await pings(one, "10.244.1.200"));

  let waited = "";
  const replacement = n.lab.replacementOf(sticky)!;
  const starting = n.lab.start(replacement, n.lab.node("node1"), {
    workload: sticky.workload,
    patience: 20_000,
    onWaiting: (why) => waited = why,
  });
  await soon(() => waited !== "");
  n.check(
    "the Deployment's new pod waits while the old one has the address (code 11)",
    waited !== "",
  );
  n.show(waited);
  await n.lab.remove(sticky);
  const fresh = await starting;
  n.check("and has it as soon as the old one is gone", fresh.addresses[0] === "10.244.1.220");
};

const pools: Chapter = async (n) => {
  const v3 = await n.lab.tortie(["apply", "-f", "-"], manifests.POOLS("projectcalico.org/v3"));
  n.check(
    "pools with host bits are refused as projectcalico.org/v3, with the right value in the message",
    v3.exit !== 0 && v3.stderr.includes("10.244.3.0/24"),
    v3.stdout,
  );
  n.show(v3.stderr);
  const masked = manifests.POOLS("projectcalico.org/v3")
    .replace("10.244.3.220/24", "10.244.3.0/24").replace("10.244.4.221/24", "10.244.4.0/24");
  const overlap = await n.lab.tortie(["apply", "-f", "-"], masked);
  n.check(
    "corrected, they are refused because they overlap the default pool",
    overlap.exit !== 0 && overlap.stderr.includes("default-ipv4-ippool"),
    overlap.stdout,
  );
  n.show(overlap.stderr);
  const crd = await n.lab.tortie(["apply", "-f", "-"], manifests.POOLS("crd.projectcalico.org/v1"));
  n.check(
    "as crd.projectcalico.org/v1, the way kubectl writes them, they are accepted with a warning",
    crd.exit === 0 && /10\.244\.3\.0\/24/.test(crd.stderr),
    crd.stderr,
  );
  n.show(crd.stderr + crd.stdout);
  const inside = (pod: RunningPod, ...cidrs: string[]) =>
    cidrs.some((c) => prefixContains(mustPrefix(c), mustIp(pod.addresses[0])));
  const pods = await n.lab.run(manifests.POOLED);
  for (const pod of pods) n.say(`    ${pod.name} on ${pod.node} has ${pod.addresses[0]}`);
  n.check(
    "three replicas that ask for the two pools get addresses of them",
    pods.length === 3 && pods.every((p) => inside(p, "10.244.3.0/24", "10.244.4.0/24")),
  );
  const others: RunningPod[] = [];
  for (const name of ["four", "five", "six"]) {
    others.push(...await n.lab.run(manifests.PLAIN(name)));
  }
  n.check(
    "and pods that ask for none get none of theirs",
    others.every((p) => !inside(p, "10.244.3.0/24", "10.244.4.0/24")),
  );
  const listed = await n.lab.tortie(["get", "ippool", "-o", "wide"]);
  n.check(
    "get ippool lists the two beside the default ones of IPv4 and IPv6",
    ["default-ipv4-ippool", "default-ipv6-ippool", "new-pool1", "new-pool2"].every((p) =>
      listed.stdout.includes(p)
    ),
  );
  n.show(listed.stdout);
  for (const pod of [...pods, ...others]) await n.lab.remove(pod);
};

const policy: Chapter = async (n) => {
  // On all three nodes.
  const local = await n.lab.run(manifests.COLOURS);
  const name = (pod: RunningPod) => `${pod.namespace}/${pod.name}`;
  const blue = local.findIndex((p) => name(p) === "default/blue");
  /** Everything is open but blue, which lets in whom `admits` says. */
  const expected = (admits: (client: string) => boolean): Reach =>
    local.map((client, i) => local.map((_, j) => j !== blue || i === blue || admits(name(client))));
  const show = (reach: Reach) =>
    n.show(tabbed([
      ["CLIENT \\ SERVER", ...local.map(name)],
      ...local.map((p, i) => [name(p), ...reach[i].map((ok) => ok ? "." : "X")]),
    ]));
  const reaches = async (want: Reach): Promise<Reach> => {
    let found = await matrix(local, 80);
    for (let tries = 0; tries < 5 && JSON.stringify(found) !== JSON.stringify(want); tries++) {
      await pause(200);
      found = await matrix(local, 80);
    }
    return found;
  };
  const steps: [string, string | undefined, (client: string) => boolean][] = [
    ["without a policy everyone reaches everyone on TCP 80", undefined, () => true],
    [
      "color=blue accepts TCP 80 from color=red of its own namespace alone",
      manifests.BLUE_FROM_RED,
      (client) => client === "default/red",
    ],
    [
      "with namespaceSelector shape=square beside it, from red pods of square namespaces alone",
      manifests.BLUE_FROM_SQUARE_RED,
      (client) => client === "square/red",
    ],
  ];
  for (const [sentence, manifest, admits] of steps) {
    if (manifest) await n.lab.apply(manifest);
    const want = expected(admits);
    const found = await reaches(want);
    n.check(sentence, JSON.stringify(found) === JSON.stringify(want));
    show(found);
  }
  const red = local.find((p) => name(p) === "square/red")!;
  n.check(
    "a ping of blue by square/red is lost: the policy accepts TCP 80 alone",
    !await pings(red, local[blue].addresses[0]),
  );
  const question = ["--from", "square/red", "--to", "default/blue", "--port", "icmp"];
  const { stdout } = await n.lab.tortie(["policy", "explain", ...question]);
  n.check(
    "and policy explain says why, from the rules that the kernel has",
    /denied/i.test(stdout) && stdout.includes("blue-from-red"),
    stdout,
  );
  n.show(`$ tortie policy explain ${question.join(" ")}\n${stdout}`);
};

const restarts: Chapter = async (n) => {
  const [one, two, three] = [...plain.values()];
  const { megabytes } = n.options;
  using from = Netns.open(netnsPath(one.netns));
  using to = Netns.open(netnsPath(two.netns));
  const pingers = [addressOf(two, 4), addressOf(three, 4), addressOf(two, 6), addressOf(three, 6)]
    .map((ip) => new Pinger(ip, from));
  for (const pinger of pingers) pinger.start(10);
  // Paced, so that the kills fall into it.
  const moving = transfer(from, to, mustIp(two.addresses[0]), megabytes * 1e6, 25e6);
  const node = n.lab.node("node1");
  let kills = 0;
  for (; kills < 5; kills++) {
    await pause(200 + Math.random() * 800);
    const process = n.lab.record.processes.node1;
    if (!signal(process, 9)) break;
    await pause(Math.random() * 300);
    startNode(n.lab.record, node);
    await waitReady(n.lab.record);
  }
  const moved = await moving;
  const stopped = await Promise.all(pingers.map((pinger) => pinger.stop()));
  const sent = stopped.reduce((sum, p) => sum + p.sent, 0);
  const lost = stopped.flatMap((p) => p.lost);
  n.check("node1's service was killed with -9 five times, and took over each time", kills === 5);
  n.check(
    `${sent} pings to node2 and through the tunnel to node3, IPv4 and IPv6: none lost`,
    sent > 400 && lost.length === 0,
    `lost ${lost.length}: ${lost.slice(0, 10).join(", ")}`,
  );
  n.check(
    `${megabytes} MB by TCP meanwhile: received with the hash they were sent with`,
    moved.sent === moved.received,
    `${moved.sent} and ${moved.received}`,
  );
  n.say(`    sha256 ${moved.sent}, ${moved.seconds.toFixed(1)} s`);
  n.check("and the routes are what they were", await soon(() => routesOf(n, "node1").length > 3));
};

export const CHAPTERS: readonly (readonly [string, Chapter])[] = [
  ["1. Addresses from IPAM, routes by BGP", connectivity],
  ["2. A member of the mesh that is not ours: BIRD", foreignMember],
  ["3. A tunnel where it is needed: VXLAN, CrossSubnet", crossSubnet],
  ["4. Addresses of one's own choice", fixedAddresses],
  ["5. Pools", pools],
  ["6. NetworkPolicy", policy],
  ["7. The node service dies, the network does not", restarts],
];
