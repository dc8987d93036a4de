/**
 * The nf_tables dataplane at scale, on the real kernel: the rulesets of 1,000 local endpoints, 1,000
 * policies and 100 addresses in each policy's set, in a network namespace of its own. Time to the full
 * state on an empty table, to take it over by a fresh process, to read it again; time of one change
 * (an address, a policy, an endpoint) from the object to the commit, policy's computation included;
 * the same change given to `nft -f -`. And a batch of 10,000 elements. Needs root, ip and nft.
 *
 *     deno run -A --unstable-kv tests/bench/nft.ts [endpoints] [policies] [addresses]
 */
import { createNetns, deleteNetns, Netns } from "../../ffi/netns.ts";
import { openNftClient } from "../../ffi/nft/socket.ts";
import { EngineDataplane } from "../../mod/node/nft/engine_dataplane.ts";
import { type DataplaneEvent, NftDataplane } from "../../mod/node/nft/dataplane.ts";
import { openNftDataplane } from "../../mod/node/nft/open.ts";
import { memberElements, setDefinition } from "../../mod/node/nft/sets.ts";
import { PolicyEngine } from "../../policy/engine.ts";
import type { PolicyObject } from "../../policy/inputs.ts";
import { endpoint, kubernetesPolicy, namespace, pod } from "../../policy/testing.ts";

export interface NftFigures {
  endpoints: number;
  policies: number;
  addresses: number;
  rules: number;
  elements: number;
  /** Milliseconds. */
  full: number;
  takeOver: number;
  resync: number;
  /** Commit of 10,000 elements in one batch: with the building of it, and without. */
  batch: { build: number; commit: number };
  /** Per kind of change, in milliseconds: object to commit; of that in the dataplane. */
  changes: Record<string, Spread & { dataplane: Spread }>;
  /** One element, one chain by `nft -f -`, start of the process included. */
  nft: Record<string, Spread>;
}

export interface Spread {
  p50: number;
  p99: number;
}

function spread(times: number[]): Spread {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  return { p50: at(0.5), p99: at(0.99) };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

export async function measure(
  endpoints = 1000,
  policies = 1000,
  addresses = 100,
  rounds = 300,
): Promise<NftFigures> {
  const name = `nft-bench-${Deno.pid}`;
  createNetns(name);
  const netns = Netns.open(name);
  const events: DataplaneEvent[] = [];
  const dataplane = openNftDataplane({ netns, onEvent: (event) => events.push(event) });
  try {
    return await measureIn(
      name,
      netns,
      dataplane,
      endpoints,
      policies,
      addresses,
      rounds,
    );
  } finally {
    await dataplane.close();
    netns.close();
    deleteNetns(name);
    const refused = events.filter((e) => e.event === "refused");
    if (refused.length > 0) console.error(refused);
  }
}

async function measureIn(
  name: string,
  netns: Netns,
  dataplane: NftDataplane,
  endpoints: number,
  policies: number,
  addresses: number,
  rounds: number,
): Promise<NftFigures> {
  const ns = (i: number) => `ns${i % 10}`;
  const ip = (i: number) => `10.${64 + (i >> 16)}.${i >> 8 & 255}.${i & 255}`;
  const far = (i: number) => `10.${100 + (i >> 16)}.${i >> 8 & 255}.${i & 255}`;
  const podOf = (i: number) => pod(ns(i), `p${i}`, { app: `app${i}` });
  const endpointOf = (i: number) =>
    endpoint(ns(i), `p${i}`, [ip(i), `fd00::${i.toString(16)}`], {
      interfaceName: `cali${i.toString(16).padStart(11, "0")}`,
    });
  /** An endpoint of another node in the group that a policy speaks of. */
  const peerOf = (group: number, i: number) =>
    endpoint("far", `far${group}x${i}`, [far(group * addresses + i)], {
      node: "node2",
      labels: { group: `g${group}` },
    });
  const policyOf = (i: number) =>
    kubernetesPolicy(ns(i), `np${i}`, {
      podSelector: { matchLabels: { app: `app${i % endpoints}` } },
      policyTypes: ["Ingress", "Egress"],
      ingress: [{
        from: [{
          namespaceSelector: {},
          podSelector: { matchLabels: { group: `g${i % policies}` } },
        }],
        ports: [{ port: 80 }, { port: 53, protocol: "UDP" }],
      }],
      egress: [{ to: [{ ipBlock: { cidr: "10.0.0.0/8", except: [`10.0.${i & 255}.0/24`] } }] }],
    });
  const objects: PolicyObject[] = [namespace("far")];
  for (let i = 0; i < 10; i++) objects.push(namespace(`ns${i}`));
  for (let i = 0; i < endpoints; i++) objects.push(podOf(i), endpointOf(i));
  for (let i = 0; i < policies; i++) {
    objects.push(policyOf(i));
    for (let j = 0; j < addresses; j++) objects.push(peerOf(i, j));
  }
  const engine = new PolicyEngine({ nodeName: "node1" });
  engine.update(objects.map((put) => ({ put })));
  const adapter = new EngineDataplane(dataplane);
  const full = await timed(() => adapter.apply(engine));
  const rulesets = { 4: engine.ruleset(4), 6: engine.ruleset(6) };
  let rules = 0, elements = 0;
  for (const { chains, sets } of Object.values(rulesets)) {
    for (const chain of chains.values()) rules += chain.rules.length;
    for (const set of sets.values()) elements += set.members.size;
  }
  const second = openNftDataplane({ netns });
  const takeOver = await timed(() => second.apply(rulesets));
  await second.close();
  const resync = await timed(() => dataplane.resync());

  const changes: NftFigures["changes"] = {};
  const change = async (what: string, make: (i: number) => PolicyObject[]) => {
    const all: number[] = [], kernel: number[] = [];
    for (let i = 0; i < rounds; i++) {
      const objects = make(i);
      const start = performance.now();
      engine.update(objects.map((put) => ({ put })));
      const computed = performance.now();
      await adapter.apply(engine);
      const end = performance.now();
      all.push(end - start);
      kernel.push(end - computed);
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    changes[what] = { ...spread(all), dataplane: spread(kernel) };
  };
  await change("one address", (i) => [peerOf(i % policies, addresses + i)]);
  await change("one policy", (i) => [policyOf(policies + i)]);
  await change("one endpoint", (i) => [podOf(endpoints + i), endpointOf(endpoints + i)]);

  const client = openNftClient(netns);
  const table = { family: "ip", name: "bench" } as const;
  const set = { family: "ip", table: "bench", name: "many" } as const;
  await client.commit(
    client.begin().addTable(table).addSet({ ...setDefinition("bench", 4, "many", "addr"), id: 1 }),
  );
  const members = Array.from({ length: 10_000 }, (_, i) => `11.0.${i >> 8}.${i & 255}`);
  const start = performance.now();
  const tx = client.begin().addElements(
    set,
    members.flatMap((member) => memberElements("many", "addr", 4, member)),
    true,
  );
  tx.finish();
  const build = performance.now() - start;
  const commit = await timed(() => client.commit(tx));
  client.close();

  const [someSet] = [...rulesets[4].sets.values()].filter((s) =>
    s.kind === "addr" || s.kind === "net"
  ).filter((s) => s.members.size > 1).map((s) => s.name.replaceAll(":", "-"));
  const nft: NftFigures["nft"] = {};
  const byTool = async (what: string, script: (i: number) => string) => {
    const times: number[] = [];
    for (let i = 0; i < 20; i++) {
      times.push(await timed(() => runNft(name, script(i))));
    }
    nft[what] = spread(times);
  };
  await byTool("one element", (i) => `add element ip calico ${someSet} { 12.0.0.${i} }`);
  await byTool(
    "one chain",
    (i) => `add chain ip calico bench${i}\nadd rule ip calico bench${i} counter accept`,
  );
  return {
    endpoints,
    policies,
    addresses,
    rules,
    elements,
    full,
    takeOver,
    resync,
    batch: { build, commit },
    changes,
    nft,
  };
}

async function runNft(netns: string, script: string): Promise<void> {
  const child = new Deno.Command("ip", {
    args: ["netns", "exec", netns, "nft", "-f", "-"],
    stdin: "piped",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { code } = await child.status;
  if (code !== 0) throw new Error(`nft failed for: ${script}`);
}

export function printFigures(figures: NftFigures): void {
  const ms = (n: number) => `${n.toFixed(n < 10 ? 2 : 0)} ms`;
  const { endpoints, policies, addresses, rules, elements } = figures;
  console.log(
    `${endpoints} endpoints, ${policies} policies, ${addresses} addresses each: ` +
      `${rules} rules, ${elements} elements in both families`,
  );
  console.log(`empty table to full  ${ms(figures.full)}`);
  console.log(`taken over           ${ms(figures.takeOver)}`);
  console.log(`read again           ${ms(figures.resync)}`);
  for (const [what, { p50, p99, dataplane }] of Object.entries(figures.changes)) {
    console.log(
      `${what.padEnd(21)}p50 ${ms(p50)}, p99 ${ms(p99)}; ` +
        `of that to the kernel p50 ${ms(dataplane.p50)}, p99 ${ms(dataplane.p99)}`,
    );
  }
  const { build, commit } = figures.batch;
  console.log(`10,000 elements      ${ms(build)} to build, ${ms(commit)} to commit`);
  for (const [what, { p50, p99 }] of Object.entries(figures.nft)) {
    console.log(`nft: ${what.padEnd(16)}p50 ${ms(p50)}, p99 ${ms(p99)}`);
  }
}

if (import.meta.main) {
  printFigures(await measure(...Deno.args.map(Number)));
  Deno.exit();
}
