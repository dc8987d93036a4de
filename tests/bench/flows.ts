/**
 * Live connections against policy: 50,000 tracked connections of 100 endpoints in a network namespace
 * of its own, and changes of policy that concern one endpoint or all. Time from the rules in the
 * kernel to the last connection marked, the longest time for which the event loop got no turn
 * meanwhile, and conntrack(8) listing and deleting the same connections in the same run. Needs root,
 * ip, nft and conntrack.
 */
import { openConntrack } from "../../ffi/conntrack.ts";
import { createNetns, deleteNetns, Netns } from "../../ffi/netns.ts";
import { openFlowParts } from "../../mod/node/flow_parts.ts";
import type { Pass } from "../../mod/node/flow_cutter.ts";
import { formatIp, mustIp } from "../../mod/net/mod.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import type { PolicyObject } from "../../policy/inputs.ts";
import { calicoPolicy, endpoint, namespace, pod } from "../../policy/testing.ts";
import { ms, type Outcome, ratio, spread, timed } from "./report.ts";

const FLOWS = 50_000, ENDPOINTS = 100, ROUNDS = 5;
const silent = { debug() {}, info() {}, warn: console.error, error: console.error };

async function shell(script: string): Promise<void> {
  const { success, stderr } = await new Deno.Command("sh", {
    args: ["-ec", script],
    stdout: "null",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const four = (i: number) => `10.65.0.${i + 1}`;
const six = (i: number) => `fd00::${(i + 1).toString(16)}`;

/** The longest pause of the event loop while something is done. */
async function longestPause(work: () => Promise<unknown>): Promise<number> {
  let last = performance.now(), longest = 0;
  const timer = setInterval(() => {
    const now = performance.now();
    longest = Math.max(longest, now - last - 1);
    last = now;
  }, 1);
  await work();
  clearInterval(timer);
  return Math.max(longest, performance.now() - last);
}

export async function run(): Promise<Outcome> {
  const name = `flows-bench-${Deno.pid}`;
  createNetns(name);
  using netns = Netns.open(name);
  const table = openConntrack(netns);
  const inside = (script: string) => shell(`ip netns exec ${name} ${script}`);
  try {
    for (const family of ["ip", "ip6"]) {
      await inside(
        `nft "add table ${family} t; add chain ${family} t c { type filter hook input priority 0; }; ` +
          `add rule ${family} t c ct state new accept"`,
      );
    }
    fill(table);
    return await measure(netns, inside);
  } finally {
    table.close();
    deleteNetns(name);
  }
}

/** Half of each family; from as many clients, to two ports of each endpoint. */
function fill(table: ReturnType<typeof openConntrack>): void {
  for (let i = 0; i < FLOWS; i++) {
    const v4 = i % 2 === 0, n = i >> 1;
    const client = mustIp(v4 ? `10.9.${n % 200}.1` : `fd09::${n % 200}`);
    const server = mustIp(v4 ? four(n % ENDPOINTS) : six(n % ENDPOINTS));
    const [sourcePort, destinationPort] = [1024 + (n >> 1), 80 + (Math.floor(n / ENDPOINTS) & 1)];
    table.create({
      original: { source: client, destination: server, protocol: 6, sourcePort, destinationPort },
      reply: {
        source: server,
        destination: client,
        protocol: 6,
        sourcePort: destinationPort,
        destinationPort: sourcePort,
      },
      status: 14,
      timeout: 3600,
      tcpState: 3,
    });
  }
}

async function measure(netns: Netns, inside: (script: string) => Promise<void>): Promise<Outcome> {
  const engine = new PolicyEngine({ nodeName: "node1" });
  const put = (...objects: PolicyObject[]) => engine.update(objects.map((put) => ({ put })));
  put(namespace("x"));
  for (let i = 0; i < ENDPOINTS; i++) {
    put(pod("x", `p${i}`, { app: `p${i}` }), endpoint("x", `p${i}`, [four(i), six(i)]));
  }
  let passed: (pass: Pass) => void = () => {};
  const flows = openFlowParts({
    engine,
    kernel: { hostAddresses: () => [], isUp: () => true },
    log: silent,
    netns,
    onPass: (pass) => passed(pass),
  });
  const apply = async (object: PolicyObject): Promise<Pass> => {
    put(object);
    const done = new Promise<Pass>((resolve) => passed = resolve);
    const deltas = [engine.changes(4), engine.changes(6)].filter((d) => d !== undefined);
    flows.cutter.applied(deltas);
    return await done;
  };
  /** Some ports are closed; the second look is over before the next change. */
  const deny = (name: string, selector: string, ports: number[]) =>
    calicoPolicy("", name, {
      selector,
      order: name === "one" ? 1 : 2,
      types: ["Ingress"],
      ingress: [
        { action: "Deny", protocol: "TCP", destination: { ports } },
        { action: "Allow" },
      ],
    });
  const one = "app == 'p7'";
  const steps: Record<string, PolicyObject> = {
    "one endpoint: half of its connections cut": deny("one", one, [81]),
    "one endpoint: nothing to do": deny("one", one, [81, 1]),
    "one endpoint: allowed again": deny("one", one, [1]),
    "all endpoints: half of the connections cut": deny("all", "all()", [81]),
    "all endpoints: nothing to do": deny("all", "all()", [81, 1]),
    "all endpoints: allowed again": deny("all", "all()", [1]),
  };
  const times: Record<string, { passes: number[]; pauses: number[]; changed: number }> = {};
  try {
    await apply(deny("one", one, [1]));
    await apply(deny("all", "all()", [1]));
    for (let round = 0; round < ROUNDS; round++) {
      for (const [what, object] of Object.entries(steps)) {
        const figures = times[what] ??= { passes: [], pauses: [], changed: 0 };
        const pauses = await longestPause(async () => {
          const began = performance.now();
          const { cut, restored } = await apply(object);
          figures.passes.push(performance.now() - began);
          figures.changed = cut + restored;
          await new Promise<Pass>((resolve) => passed = resolve);
          // Each change comes by itself: who has rested begins at once.
          await new Promise((resolve) => setTimeout(resolve, 400));
        });
        figures.pauses.push(pauses);
      }
    }
  } finally {
    await flows.close();
  }
  const list: number[] = [], removals: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    list.push(
      await timed(async () => {
        await inside("conntrack -L -f ipv4");
        await inside("conntrack -L -f ipv6");
      }),
    );
    const [a, b] = [four(i + 20), six(i + 20)].map((ip) => formatIp(mustIp(ip)));
    removals.push(
      await timed(async () => {
        await inside(`conntrack -D -f ipv4 -d ${a} -p tcp --dport 81 || true`);
        await inside(`conntrack -D -f ipv6 -d ${b} -p tcp --dport 81 || true`);
      }),
    );
  }
  const [listing, removal] = [spread(list), spread(removals)];
  const rows = Object.entries(times).map(([what, { passes, pauses, changed }]) => {
    const s = spread(passes);
    const peer = what.startsWith("one") ? removal : listing;
    return [what, `${changed}`, ms(s.p50), ratio(s.p50, peer.p50), ms(Math.max(...pauses))];
  });
  const worst = Math.max(...Object.values(times).flatMap(({ pauses }) => pauses));
  const slowest = Math.max(...Object.values(times).flatMap(({ passes }) => passes));
  return {
    tables: [{
      title:
        `${FLOWS} tracked connections of ${ENDPOINTS} endpoints: from rules in the kernel to the ` +
        "last one marked, ms",
      columns: ["", "connections", "p50", "ratio", "longest pause of the loop"],
      rows: [
        ...rows,
        ["conntrack -L, both families", "", ms(listing.p50), "1.00", ""],
        ["conntrack -D of one endpoint's port", "", ms(removal.p50), "1.00", ""],
      ],
      notes: [
        "The first row's peer is conntrack -D, the others' conntrack -L, which only lists.",
      ],
    }],
    failed: [
      ...(worst > 500 ? [`the event loop got no turn for ${ms(worst)} ms (goal 500)`] : []),
      ...(slowest > 1000 ? [`a cut took ${ms(slowest)} ms (goal 1000)`] : []),
    ],
  };
}
