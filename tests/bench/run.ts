/**
 * `deno task bench [NAME…] [--write]`: the benchmarks by name, one after the other; plain tables with
 * the ratio to the named peer, which is measured in the same run. Without a name: those whose figures
 * the README quotes. `--write` puts machine, date and tables into tests/bench/RESULTS.md, where they
 * take the place of the same benchmarks' older ones.
 *
 * Needs root and dist/tortie (`deno task build`), or another executable in TORTIE_BINARY. Exit code 1
 * where a promised figure was missed.
 */
import { setup } from "../../installer/build/setup.ts";
import { ETCD_NOTE } from "../store/etcd_server.ts";
import * as bgp from "./bgp.ts";
import * as coldStart from "./cold_start.ts";
import * as cni from "./cni.ts";
import * as demo from "./demo.ts";
import * as etcd from "./etcd.ts";
import * as flows from "./flows.ts";
import * as follow from "./follow.ts";
import * as get from "./get.ts";
import * as help from "./help.ts";
import { measureHostLocal } from "./host_local.ts";
import * as ipam from "./ipam.ts";
import * as memory from "./memory.ts";
import * as nft from "./nft.ts";
import * as policy from "./policy.ts";
import * as policyChanges from "./policy_changes.ts";
import { machine, ms, type Outcome, ratio, render, type Table } from "./report.ts";
import * as route from "./route.ts";
import * as start from "./start.ts";
import * as kubernetes from "./kubernetes.ts";
import * as store from "./store.ts";

interface Benchmark {
  readonly what: string;
  /** Run when no name is given. */
  readonly usual: boolean;
  run(): Promise<Outcome>;
}

const BENCHMARKS: Record<string, Benchmark> = {
  start: { what: "start of the plugin, an empty module beside it", usual: true, run: start.run },
  help: { what: "help and completion, an empty module beside it", usual: true, run: help.run },
  cni: { what: "ADD and DEL, stock ptp and bridge beside them", usual: true, run: cni.run },
  ipam: { what: "IPAM assignments a second", usual: true, run: runIpam },
  memory: { what: "the node service at 10 and 250 pods", usual: true, run: memory.run },
  demo: { what: "the demo, from the built executable", usual: true, run: demo.run },
  store: { what: "the store, bare Deno KV beside it", usual: false, run: runStore },
  kubernetes: {
    what: "10,000 Pods of a Kubernetes API, plain fetch beside it",
    usual: false,
    run: kubernetes.run,
  },
  etcd: {
    what: "the etcd driver, its bare gateway and etcdctl beside it",
    usual: false,
    run: runEtcd,
  },
  get: {
    what: "get of 1,000 endpoints by datastore, etcdctl beside it",
    usual: true,
    run: get.run,
  },
  follow: {
    what: "a node service following 10,000 endpoints, by datastore",
    usual: true,
    run: follow.run,
  },
  nft: { what: "the nf_tables dataplane, nft beside it", usual: false, run: runNft },
  flows: { what: "cutting among 50,000 connections", usual: false, run: flows.run },
  policy: { what: "the policy engine at 1,000 endpoints", usual: false, run: runPolicy },
  "policy-changes": {
    what: "a policy change from store event to kernel, nft beside it",
    usual: true,
    run: policyChanges.run,
  },
  "cold-start": { what: "start of the service with 250 pods", usual: true, run: coldStart.run },
  route: { what: "rtnetlink by each carrier", usual: false, run: runRoute },
  bgp: {
    what: "10,000 routes by BGP to table and kernel, BIRD, FRR, GoBGP beside",
    usual: false,
    run: runBgp,
  },
};

async function runIpam(): Promise<Outcome> {
  const peer = await measureHostLocal();
  const figures: ipam.IpamFigures[] = [];
  for (const name of Object.keys(ipam.DRIVERS)) figures.push(await ipam.measureDriver(name));
  const beside = (n: number, theirs: number | undefined) => theirs ? ratio(n, theirs) : "";
  return {
    tables: [{
      title: "IPAM on a warm block; the peer is host-local, a process for each call",
      columns: [
        "store",
        "assignments/s",
        "ratio",
        "releases/s",
        "ratio",
        "writes each",
        "100 at once ms",
        "last block ms",
      ],
      rows: [
        ...(peer
          ? [[
            "host-local",
            `${peer.assignsPerSecond}`,
            "1.00",
            `${peer.releasesPerSecond}`,
            "1.00",
            "",
            "",
            "",
          ]]
          : []),
        ...figures.map((f) => [
          f.store,
          `${f.assignsPerSecond}`,
          beside(f.assignsPerSecond, peer?.assignsPerSecond),
          `${f.releasesPerSecond}`,
          beside(f.releasesPerSecond, peer?.releasesPerSecond),
          `${f.assign.writes} + ${f.release.writes}`,
          ms(f.burst.milliseconds),
          ms(f.fullPool.milliseconds),
        ]),
      ],
      notes: [
        "memory and kv in this process; etcd and the Kubernetes API of the tests in their own.",
        ETCD_NOTE,
        `One assignment: ${figures[0].assign.reads} reads, ${
          figures[0].assign.writes
        } writes; one ` +
        `release: ${figures[0].release.reads} reads, ${figures[0].release.writes} writes.`,
      ],
    }],
  };
}

async function runStore(): Promise<Outcome> {
  const { bare, direct, socket, open10000, memory10000 } = await store.measure();
  const row = (name: string, f: Partial<store.StoreFigures> & typeof bare) => [
    name,
    `${f.writes}`,
    ratio(f.writes, bare.writes),
    `${f.getMicros}`,
    ratio(f.getMicros, bare.getMicros),
    ms(f.list10000),
    ratio(f.list10000, bare.list10000),
    f.writes32 === undefined ? "" : `${f.writes32}`,
    f.watch ? `${ms(f.watch.p50)} / ${ms(f.watch.p99)}` : "",
  ];
  return {
    tables: [{
      title: "The embedded store",
      columns: [
        ...["", "writes/s", "ratio", "get us", "ratio", "list 10,000 ms", "ratio"],
        ...["writes/s, 32 at once", "watch ms p50 / p99"],
      ],
      rows: [
        row("bare Deno KV", bare),
        row("store, in its process", direct),
        row("store, over the socket", socket),
      ],
      notes: [`10,000 objects: opened in ${ms(open10000)} ms, ${memory10000} MiB more memory.`],
    }],
  };
}

async function runEtcd(): Promise<Outcome> {
  const { driver, bare, ratio: to, etcdctl } = await etcd.measure();
  return {
    tables: [{
      title: "The etcd driver; the peer is fetch on the same gateway that reads and checks nothing",
      columns: ["", "bare gateway", "driver", "ratio", "etcdctl, a process each"],
      rows: [
        [
          "writes/s",
          `${bare.writes}`,
          `${driver.writes}`,
          `${to.writes}`,
          `${Math.round(1000 / etcdctl.putMs)}`,
        ],
        ["writes/s, 32 at once", `${bare.writes32}`, `${driver.writes32}`, `${to.writes32}`, ""],
        ["get us", `${bare.getMicros}`, `${driver.getMicros}`, `${to.get}`, ""],
        [
          "list 10,000 ms",
          ms(bare.list10000),
          ms(driver.list10000),
          `${to.list10000}`,
          ms(etcdctl.list10000),
        ],
        ["watch ms p50 / p99", "", `${ms(driver.watch.p50)} / ${ms(driver.watch.p99)}`, "", ""],
      ],
      notes: ["A ratio of 1 is as quick as the bare gateway.", ETCD_NOTE],
    }],
  };
}

async function runNft(): Promise<Outcome> {
  const f = await nft.measure();
  const element = f.changes["one address"].dataplane, chain = f.changes["one policy"].dataplane;
  const change = (name: string, ours: nft.Spread, peer?: nft.Spread) => [
    name,
    ms(ours.p50),
    peer ? ratio(ours.p50, peer.p50) : "",
    ms(ours.p99),
    peer ? ratio(ours.p99, peer.p99) : "",
  ];
  return {
    tables: [{
      title:
        `nf_tables: ${f.endpoints} endpoints, ${f.policies} policies, ${f.addresses} addresses ` +
        "in each; ms, and the ratio to nft -f -",
      columns: ["", "p50", "ratio", "p99", "ratio"],
      rows: [
        change("one address, to the kernel", element, f.nft["one element"]),
        change("one policy, to the kernel", chain, f.nft["one chain"]),
        ...Object.entries(f.changes).map(([name, s]) => change(`${name}, policy included`, s)),
        ["empty table to full", ms(f.full), "", "", ""],
        ["taken over", ms(f.takeOver), "", "", ""],
        ["10,000 elements", ms(f.batch.build + f.batch.commit), "", "", ""],
      ],
    }],
  };
}

async function runPolicy(): Promise<Outcome> {
  const f = policy.measure();
  const rows = Object.entries(f.changes).map(([name, s]) => [name, ms(s.p50), ms(s.p99)]);
  const title = `Policy engine: ${f.endpoints} endpoints, ${f.policies} policies; ms to the delta`;
  return {
    tables: [{
      title,
      columns: ["", "p50", "p99"],
      rows: [["all, at first", ms(f.full), ""], ...rows],
    }],
  };
}

async function runRoute(): Promise<Outcome> {
  const rows = Object.entries(await route.measure()).map((
    [name, f],
  ) => [name, ms(f.min), ms(f.median)]);
  return { tables: [{ title: "rtnetlink, ms", columns: ["", "min", "median"], rows }] };
}

async function runBgp(): Promise<Outcome> {
  await setup(["test", "bench"]);
  return await bgp.run();
}

const RESULTS = new URL("RESULTS.md", import.meta.url);

/** One section for each benchmark; those that were not run stay. */
async function write(sections: Map<string, string>): Promise<void> {
  let old = "";
  try {
    old = await Deno.readTextFile(RESULTS);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const all = new Map<string, string>();
  for (const part of old.split(/^## /m).slice(1)) {
    const newline = part.indexOf("\n");
    all.set(part.slice(0, newline).trim(), part.slice(newline + 1).trim());
  }
  for (const [name, text] of sections) all.set(name, text);
  const ordered = Object.keys(BENCHMARKS).filter((name) => all.has(name));
  const body = ordered.map((name) => `## ${name}\n\n${all.get(name)}\n`).join("\n");
  await Deno.writeTextFile(
    RESULTS,
    "# Figures\n\nWritten by `deno task bench --write`; every ratio is of one run.\n\n" + body,
  );
}

async function main(args: readonly string[]): Promise<number> {
  const names = args.filter((arg) => !arg.startsWith("--"));
  const unknown = names.find((name) => !Object.hasOwn(BENCHMARKS, name));
  const option = args.find((arg) => arg.startsWith("--") && arg !== "--write");
  if (unknown || option) {
    console.error(`deno task bench [NAME…] [--write]: there is no "${unknown ?? option}"; names:`);
    for (const [name, { what }] of Object.entries(BENCHMARKS)) {
      console.error(`  ${name.padEnd(16)}${what}`);
    }
    return 2;
  }
  const chosen = names.length > 0
    ? names
    : Object.keys(BENCHMARKS).filter((name) => BENCHMARKS[name].usual);
  const failed: string[] = [];
  for (const name of chosen) {
    const head = `${new Date().toISOString().slice(0, 16)}Z; ${machine()}.`;
    const outcome = await BENCHMARKS[name].run();
    const text = outcome.tables.map((table: Table) => render(table)).join("\n\n");
    console.log(`== ${name}: ${head}\n\n${text}\n`);
    if (args.includes("--write")) {
      await write(new Map([[name, `${head}\n\n\`\`\`\n${text}\n\`\`\``]]));
    }
    failed.push(...outcome.failed ?? []);
  }
  for (const sentence of failed) console.error(sentence);
  return failed.length > 0 ? 1 : 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
