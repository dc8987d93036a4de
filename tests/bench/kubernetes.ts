/**
 * The Kubernetes datastore: what reading a cluster of 10,000 Pods costs, beside plain fetch that lists
 * the same pages and drops them; IPAM's assignments on it. The API server is the tests' own, in a
 * process of its own.
 *
 *     deno run -A --unstable-kv tests/bench/kubernetes.ts
 */
import { Ipam } from "../../mod/ipam/ipam.ts";
import { FaultyStore } from "../../mod/ipam/testing/faulty_store.ts";
import { openKubernetes } from "../../mod/store/kubernetes/mod.ts";
import { type Kube, startKube } from "../kube/kube.ts";
import { calicoDefinitions } from "../kube/calico_definitions.ts";
import type { ReaderFigures } from "./kubernetes_reader.ts";
import { ms, type Outcome, ratio } from "./report.ts";
import { RUN_MODULE } from "../tools/run_module.ts";

const PODS = 10_000;

/** As large as pods are: six kilobytes of which a network needs one tenth. */
function pod(i: number): object {
  const address = `10.244.${i >> 8}.${i & 255}`;
  const container = {
    name: "app",
    image: "registry.example/team/app:1.2.3",
    ports: [{ name: "http", containerPort: 8080 }],
    env: Array.from(
      { length: 40 },
      (_, n) => ({ name: `SETTING_${n}`, value: `value ${n} `.repeat(4) }),
    ),
    resources: { requests: { cpu: "100m", memory: "64Mi" } },
    volumeMounts: Array.from({ length: 6 }, (_, n) => ({ name: `v${n}`, mountPath: `/mnt/v${n}` })),
  };
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name: `app-${i}`,
      namespace: "default",
      uid: crypto.randomUUID(),
      labels: { app: `app${i % 50}`, "pod-template-hash": `${i % 500}` },
      annotations: {
        "cni.projectcalico.org/containerID": `${i}`.padStart(64, "0"),
        "cni.projectcalico.org/podIP": `${address}/32`,
        "cni.projectcalico.org/podIPs": `${address}/32`,
      },
    },
    spec: { nodeName: `node-${i % 100}`, serviceAccountName: "default", containers: [container] },
    status: {
      phase: "Running",
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map((type) => ({
        type,
        status: "True",
        lastTransitionTime: "2026-01-02T03:04:05Z",
      })),
    },
  };
}

async function read(kubeconfig: string, how: string): Promise<ReaderFigures> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      ...[...RUN_MODULE, "--v8-flags=--expose-gc"],
      new URL("kubernetes_reader.ts", import.meta.url).pathname,
      ...[kubeconfig, how],
    ],
    stdout: "piped",
    stderr: "piped",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

async function assignments(kubeconfig: string) {
  const store = await openKubernetes({ kubeconfig });
  const counted = new FaultyStore(store);
  const ipam = new Ipam(counted);
  await store.put("/calico/resources/v3/projectcalico.org/ippools/p", {
    metadata: { name: "p" },
    spec: { cidr: "10.250.0.0/16", blockSize: 24 },
  });
  const one = { num4: 1, host: "n1", use: "Workload" as const };
  await ipam.assign({ ...one, handle: "warm" });
  const rounds = 150;
  let assigning = 0, releasing = 0;
  counted.writes = 0;
  for (let i = 0; i < rounds; i++) {
    const start = performance.now();
    await ipam.assign({ ...one, handle: `h${i}` });
    const middle = performance.now();
    await ipam.releaseByHandle(`h${i}`);
    assigning += middle - start;
    releasing += performance.now() - middle;
  }
  await store.close();
  return {
    assigns: Math.round(rounds / assigning * 1000),
    releases: Math.round(rounds / releasing * 1000),
  };
}

export async function run(): Promise<Outcome> {
  const folder = await Deno.makeTempDir({ prefix: "tortie-bench-" });
  const kube: Kube = await startKube({ bookmarks: 0 });
  try {
    await Promise.all(calicoDefinitions().map((definition) => kube.crds([definition])));
    const node = { apiVersion: "v1", kind: "Node", metadata: { name: "n1" } };
    await kube.call("POST", "/api/v1/nodes", node);
    for (let i = 0; i < PODS; i++) {
      kube.cluster.revisions.put("/pods", `default/app-${i}`, pod(i) as any);
    }
    const kubeconfig = `${folder}/kubeconfig`;
    await Deno.writeTextFile(kubeconfig, kube.kubeconfig());
    // The server makes its texts once.
    await read(kubeconfig, "bare");
    const rounds: ReaderFigures[][] = [];
    for (let i = 0; i < 3; i++) {
      rounds.push([await read(kubeconfig, "bare"), await read(kubeconfig, "driver")]);
    }
    const least = (at: number) =>
      rounds.map((round) => round[at]).toSorted((a, b) => a.milliseconds - b.milliseconds)[0];
    const [bare, driver] = [least(0), least(1)];
    const row = (name: string, f: ReaderFigures) => [
      name,
      ms(f.milliseconds),
      ratio(f.milliseconds, bare.milliseconds),
      ms(f.stallMs),
      `${f.mebibytes}`,
      `${f.peakMebibytes}`,
    ];
    const ipam = await assignments(kubeconfig);
    return {
      tables: [{
        title: "Kubernetes' API with 10,000 Pods; the peer is plain fetch that keeps nothing",
        columns: ["", "read in ms", "ratio", "longest stall ms", "MiB kept", "MiB at most"],
        rows: [
          row("plain fetch, Pods alone", bare),
          row("the driver, all kinds, followed", driver),
        ],
        notes: [
          `${driver.entries} entries; the endpoints alone in ${ms(driver.endpointsMs)} ms.`,
          `IPAM on a warm block: ${ipam.assigns} assignments/s, ${ipam.releases} releases/s, the ` +
          "server in a process beside other work.",
        ],
      }],
    };
  } finally {
    await kube.close();
    await Deno.remove(folder, { recursive: true });
  }
}

if (import.meta.main) {
  const { tables } = await run();
  for (const { title, columns, rows, notes } of tables) {
    console.log(
      [title, columns.join(" | "), ...rows.map((r) => r.join(" | ")), ...notes ?? []].join("\n"),
    );
  }
}
